/* PostgreSQL's errors in words: one line with the cause and, where a person can do something, the
 * cure.
 *
 * The server tells a five-character SQLSTATE; libpq tells of a connection that could not be made
 * only in a text, which is looked through for what it is known to say. A text of libpq's is shown
 * without the password, even where somebody wrote it into the url unescaped. Any thread. */
#include <stdio.h>
#include <string.h>

#include "../../base/mem.h"
#include "pg_conn.h"

#define LINE_MAX_ 160

/* The first line of a message, without the password. */
static void first_line(const struct pg_place *place, const char *message, char ret[LINE_MAX_])
{
    const char *secrets[] = {place->password, place->hidden};
    snprintf(ret, LINE_MAX_, "%.*s", (int)strcspn(message, "\r\n"), message);
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (secrets[i] && *secrets[i] && strstr(ret, secrets[i]))
            snprintf(ret, LINE_MAX_, "the connection could not be made");
}

/* --- of a connection ------------------------------------------------------------------------ */

enum err_code pg_connect_fail(const struct pg_place *place, const PGconn *pg, struct err *err)
{
    static const struct {
        const char *said;
        enum err_code code;
        const char *text;
    } known[] = {
        {"no password supplied", ERR_PERMISSION,
         "it wants a password; set SONDE_DB_PASSWORD or put it into the url"},
        {"no pg_hba.conf entry", ERR_PERMISSION,
         "its pg_hba.conf lets nobody in like this; add a line for this user, database and host "
         "there, or TLS (sslmode) to the url"},
        {"certificate verify failed", ERR_PERMISSION,
         "its TLS certificate is of another authority; check sslrootcert in the url"},
        {"root certificate file", ERR_USAGE,
         "the file of sslrootcert is not there or unreadable; check the url"},
        {"could not read root certificate", ERR_USAGE,
         "the file of sslrootcert is no certificate; check the url"},
        {"server certificate for", ERR_PERMISSION,
         "its TLS certificate is for another host name; check the url"},
        {"does not support SSL", ERR_PERMISSION,
         "it speaks no TLS; turn ssl on there, or take sslmode out of the url"},
        {"session is read-only", ERR_READ_ONLY,
         "it takes no writes; a replica must be promoted, or default_transaction_read_only set "
         "off"},
        {"hot standby mode", ERR_READ_ONLY,
         "it is a replica and takes no writes; name the primary, or promote it"},
        {"could not translate host name", ERR_UNAVAILABLE,
         "its host name is unknown; check the url, and DNS"},
        {"too many clients", ERR_UNAVAILABLE,
         "it has no connection left; raise max_connections there"},
        {"remaining connection slots", ERR_UNAVAILABLE,
         "it has no connection left; raise max_connections there"},
        {"starting up", ERR_UNAVAILABLE, "it is starting up"},
        {"shutting down", ERR_UNAVAILABLE, "it is shutting down"},
        {"recovery mode", ERR_UNAVAILABLE, "it is recovering from a crash"},
        {"Connection refused", ERR_UNAVAILABLE, "nobody listens there; is it running?"},
        {"No such file or directory", ERR_UNAVAILABLE, "nobody listens there; is it running?"},
        {"timeout expired", ERR_UNAVAILABLE,
         "the host does not answer; is it up, and is that PostgreSQL's port?"},
        {"invalid response to SSL negotiation", ERR_UNAVAILABLE,
         "what answers there is not PostgreSQL; check host and port of the url"},
        {"expected authentication request", ERR_UNAVAILABLE,
         "what answers there is not PostgreSQL; check host and port of the url"},
        {"server closed the connection", ERR_UNAVAILABLE,
         "it hangs up; is that PostgreSQL's port, and is it up?"},
        {"Network is unreachable", ERR_UNAVAILABLE, "the host cannot be reached"},
        {"No route to host", ERR_UNAVAILABLE, "the host cannot be reached"},
        {"No space left on device", ERR_NO_SPACE, "its disk is full; free some space there"},
        {"could not write", ERR_NO_SPACE,
         "it cannot write its files: is its disk full? Its log tells"},
    };
    const char *said = PQerrorMessage(pg);
    const char *database = strstr(said, "database \""), *role = strstr(said, "role \"");
    if (database && strstr(database, "does not exist"))
        return err_set(err, ERR_NOT_FOUND, "%s: there is no such database; createdb makes one",
                       place->where);
    if (role && strstr(role, "does not exist"))
        return err_set(err, ERR_PERMISSION, "%s: there is no user %.40s", place->where,
                       place->user ? place->user : "of this name");
    if (strstr(said, "password authentication failed")) /* it does not tell which */
        return err_set(err, ERR_PERMISSION,
                       "%s: the password of the user is wrong, or there is no user %.40s",
                       place->where, place->user ? place->user : "of this name");
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strstr(said, known[i].said))
            return err_set(err, known[i].code, "%s: %s", place->where, known[i].text);
    char line[LINE_MAX_];
    first_line(place, said, line);
    return err_set(err, ERR_UNAVAILABLE, "%s: %s", place->where, line);
}

/* --- of a statement ------------------------------------------------------------------------- */

static enum err_code state_code(const char *state)
{
    static const struct {
        const char *begins;
        enum err_code code;
    } known[] = {
        {"25006", ERR_READ_ONLY},  {"25P03", ERR_UNAVAILABLE}, {"53100", ERR_NO_SPACE},
        {"53", ERR_UNAVAILABLE},   {"55P03", ERR_BUSY},        {"57014", ERR_UNAVAILABLE},
        {"57P", ERR_UNAVAILABLE},  {"08", ERR_UNAVAILABLE},    {"28", ERR_PERMISSION},
        {"42501", ERR_PERMISSION}, {"3D000", ERR_NOT_FOUND},   {"23", ERR_CONFLICT},
        {"40", ERR_BUSY},          {"54", ERR_LIMIT},          {"XX001", ERR_DB_CORRUPT},
        {"XX002", ERR_DB_CORRUPT}, {"58030", ERR_IO},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (!strncmp(state, known[i].begins, strlen(known[i].begins)))
            return known[i].code;
    return ERR_DB;
}

/* After these the connection is of no use: the server ends it, or it is no longer the primary. */
static int state_ends(const char *state)
{
    return !strncmp(state, "08", 2) || !strncmp(state, "57P0", 4) || !strcmp(state, "25P03") ||
           !strcmp(state, "25006");
}

static enum err_code in_words(struct pg_conn *conn, const PGresult *res, const char *state,
                              struct err *err)
{
    const char *constraint = PQresultErrorField(res, PG_DIAG_CONSTRAINT_NAME);
    const char *table = PQresultErrorField(res, PG_DIAG_TABLE_NAME);
    const char *said = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    enum err_code code = state_code(state);
    char line[LINE_MAX_];
    first_line(conn->place, said ? said : "(nothing)", line);
    const char *cure = NULL;
    if (code == ERR_CONFLICT && (constraint || table))
        return err_set(err, code, "%s: %s of table %s is violated", conn->where,
                       constraint ? constraint : "a constraint", table ? table : "(unknown)");
    if (!strcmp(state, "25006"))
        cure = "it takes no writes (any more); another server may";
    else if (!strcmp(state, "53100"))
        cure = "its disk is full; free some space there";
    else if (!strcmp(state, "55P03"))
        cure = "another process held the lock for too long";
    else if (!strcmp(state, "57014"))
        cure = "a statement took too long and was ended (statement_timeout)";
    else if (!strcmp(state, "25P03"))
        cure = "a transaction stood still and was ended";
    else if (!strncmp(state, "57P0", 4))
        cure = "the server ended the connection";
    else if (!strcmp(state, "42501"))
        return err_set(err, code, "%s: %s; make the user the owner of the database", conn->where,
                       line);
    if (cure)
        return err_set(err, code, "%s: %s", conn->where, cure);
    return err_set(err, code, "%s: %s (%.5s)", conn->where, line, state);
}

enum err_code pg_fail(struct pg_conn *conn, const PGresult *res, struct err *err)
{
    const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    conn->again = 0;
    if (PQstatus(conn->pg) != CONNECTION_OK)
        conn->lost = 1;
    if (!state) {
        if (!res || conn->lost) {
            conn->lost = 1;
            return err_set(err, ERR_UNAVAILABLE, "%s: the connection was lost", conn->where);
        }
        return err_set(err, ERR_DB, "%s: an answer that nobody understands", conn->where);
    }
    if (state_ends(state))
        conn->lost = 1;
    /* What was prepared before a change of the schema is prepared anew. */
    const char *function = PQresultErrorField(res, PG_DIAG_SOURCE_FUNCTION);
    if (!strcmp(state, "26000") ||
        (!strcmp(state, "0A000") && function && !strcmp(function, "RevalidateCachedQuery")))
        conn->stale = conn->again = 1;
    if (!strcmp(state, "40001") || !strcmp(state, "40P01"))
        conn->again = 1;
    return in_words(conn, res, state, err);
}

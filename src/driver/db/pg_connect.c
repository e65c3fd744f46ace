/* Making a PostgreSQL connection: the url, what every connection is set to, which server will do.
 *
 * A network that is cut says nothing, so each side is told to ask: keepalives and the user time-out
 * of TCP end a connection within ten seconds, on the server's side too, where a transaction of a
 * machine that vanished would hold the lock. Any thread. */
#include <stdio.h>
#include <string.h>

#include "../../base/mem.h"
#include "pg_conn.h"

/* --- the url -------------------------------------------------------------------------------- */

static const char *option_of(const PQconninfoOption *list, const char *name)
{
    for (; list->keyword; list++)
        if (!strcmp(list->keyword, name))
            return list->val && *list->val ? list->val : NULL;
    return NULL;
}

static enum err_code bad_url(struct err *err)
{
    return err_set(err, ERR_USAGE,
                   "the database url is no postgres://user@host:port/name; in its parts @ : / ? # "
                   "are written %%40 %%3A %%2F %%3F %%23 (or give the password apart)");
}

enum err_code pg_place_make(const char *url, const char *password, struct pg_place *ret,
                            struct err *err)
{
    *ret = (struct pg_place){0};
    char *why = NULL;
    PQconninfoOption *list = PQconninfoParse(url, &why);
    PQfreemem(why); /* it may quote a part of the password */
    if (!list)
        return bad_url(err);
    const char *host = option_of(list, "host"), *port = option_of(list, "port");
    const char *address = option_of(list, "hostaddr"), *name = option_of(list, "dbname");
    const char *user = option_of(list, "user"), *secret = option_of(list, "password");
    if (!host)
        host = address;
    if ((host && strchr(host, '@')) || (port && port[strspn(port, "0123456789,")])) {
        PQconninfoFree(list);
        return bad_url(err);
    }
    ret->url = xstrdup(url);
    ret->password = password && *password ? xstrdup(password) : NULL;
    ret->hidden = secret ? xstrdup(secret) : NULL;
    ret->user = user ? xstrdup(user) : NULL;
    ret->where = xasprintf("PostgreSQL at %.60s%s%.20s/%.40s", host ? host : "the local socket",
                           port ? ":" : "", port ? port : "",
                           name   ? name
                           : user ? user
                                  : "");
    PQconninfoFree(list);
    return ERR_OK;
}

void pg_place_free(struct pg_place *place)
{
    free(place->url);
    free(place->password);
    free(place->hidden);
    free(place->where);
    free(place->user);
    *place = (struct pg_place){0};
}

/* --- the connection ------------------------------------------------------------------------- */

static void say_nothing(void *ctx, const PGresult *res)
{
    (void)ctx;
    (void)res;
}

#define TEXT_(n) #n
#define TEXT(n)  TEXT_(n)

/* What stands before dbname can be set otherwise in the url; what stands behind it cannot. */
static PGconn *open_socket(const struct pg_place *place, enum pg_target target)
{
    static const char *const wanted[] = {[PG_WRITER] = "read-write", [PG_READER] = "primary"};
    const char *names[16] = {"connect_timeout",           "keepalives_idle",  "keepalives_interval",
                             "keepalives_count",          "tcp_user_timeout", "gssencmode",
                             "fallback_application_name", "dbname",           "client_encoding"};
    const char *values[16] = {TEXT(PG_CONNECT_S), "5",     "2",        "3",   "9000",
                              "disable",          "sonde", place->url, "UTF8"};
    int n = 9;
    if (place->password) {
        names[n] = "password";
        values[n++] = place->password;
    }
    if (target != PG_REPLICA) {
        names[n] = "target_session_attrs";
        values[n++] = wanted[target];
    }
    return PQconnectdbParams(names, values, 1);
}

static enum err_code check_server(struct pg_conn *conn, struct err *err)
{
    int version = PQserverVersion(conn->pg);
    const char *encoding = PQparameterStatus(conn->pg, "server_encoding");
    if (version < PG_VERSION_MIN)
        return err_set(err, ERR_UNSUPPORTED, "%s: it is version %d; sonde needs %d or newer",
                       conn->where, version / 10000, PG_VERSION_MIN / 10000);
    if (encoding && strcmp(encoding, "UTF8"))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the database is encoded in %.20s; make one with ENCODING 'UTF8'",
                       conn->where, encoding);
    return ERR_OK;
}

static enum err_code configure(struct pg_conn *conn, enum pg_target target, int lock_ms,
                               struct err *err)
{
    char sql[1024];
    snprintf(sql, sizeof sql,
             "SET client_min_messages = error; SET standard_conforming_strings = on; "
             "SET bytea_output = hex; SET extra_float_digits = 1; SET jit = off; "
             "SET statement_timeout = '%ds'; SET lock_timeout = %d; "
             "SET idle_in_transaction_session_timeout = '%ds'; "
             "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; "
             "SET tcp_keepalives_count = 3; SET tcp_user_timeout = 9000",
             PG_STATEMENT_S, lock_ms, target == PG_WRITER ? PG_IDLE_S : 6 * PG_IDLE_S);
    enum err_code code = pg_run(conn, sql, NULL, err);
    /* Where the server's system cannot, it only notices later that nobody waits any more. */
    if (!code && pg_run(conn, "SET client_connection_check_interval = '2s'", NULL, NULL) &&
        conn->lost)
        code = pg_fail(conn, NULL, err);
    return code;
}

enum err_code pg_connect(const struct pg_place *place, enum pg_target target, int lock_ms,
                         struct pg_conn **ret, struct err *err)
{
    *ret = NULL;
    PGconn *pg = open_socket(place, target);
    if (!pg)
        return err_set(err, ERR_NO_MEMORY, "no memory for a connection");
    if (PQstatus(pg) != CONNECTION_OK) {
        enum err_code code = pg_connect_fail(place, pg, err);
        PQfinish(pg);
        return code;
    }
    struct pg_conn *conn = xalloc(sizeof *conn);
    conn->pg = pg;
    conn->place = place;
    conn->where = place->where;
    conn->answer_s = PG_ANSWER_S;
    PQsetNoticeReceiver(pg, say_nothing, NULL);
    enum err_code code = check_server(conn, err);
    if (!code)
        code = configure(conn, target, lock_ms, err);
    if (code) {
        pg_disconnect(conn);
        return code;
    }
    *ret = conn;
    return ERR_OK;
}

struct pg_conn *pg_disconnect(struct pg_conn *conn)
{
    if (!conn)
        return NULL;
    pg_finish_rows(conn);
    for (size_t i = 0; i < conn->count; i++)
        free(conn->list[i].sql);
    PQfinish(conn->pg);
    free(conn);
    return NULL;
}

/* One PostgreSQL connection: sending, waiting with a deadline, prepared statements, rows.
 *
 * Round trips. Each costs a network's delay, so a statement is prepared once per connection, a
 * reader's BEGIN travels with its first statement (libpq's pipeline mode), and its COMMIT is sent
 * off without waiting: the answer is read before the connection's next use.
 *
 * Deadlines. A server that is stopped, not dead, keeps its sockets open and says nothing. So every
 * answer is waited for with poll, and after answer_s the connection counts as lost.
 *
 * Values. Parameters carry no type, so that the server takes that of the place where they stand:
 * numbers and texts go as text, bytes as bytes. A text is copied for its zero at the end; bytes in
 * it that are no UTF-8 become '?', because the server would refuse them and the row with them.
 * Answers come as text.
 *
 * A connection owns its statements and the rows handed out. One thread at a time: the writer's
 * leader, or whoever took it from a pool. */
#include "pg_conn.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../base/utf8.h"
#include "../../os/clock.h"
#include "db_postgres.h"

#define SQL_MAX     16384
#define TEXTS_MAX   ((size_t)1 << 30)
#define BOOL_OID    16
#define BYTEA_OID   17
#define BEGIN_READS "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

/* --- answers -------------------------------------------------------------------------------- */

/* TLS may hold bytes that poll knows nothing of. */
static int is_pending(const struct pg_conn *conn)
{
    return PQsslInUse(conn->pg) && SSL_pending(PQsslStruct(conn->pg, "OpenSSL")) > 0;
}

PGresult *pg_answer(struct pg_conn *conn, double until)
{
    while (PQisBusy(conn->pg)) {
        double left = until - clock_seconds();
        struct pollfd wait = {.fd = PQsocket(conn->pg), .events = POLLIN};
        int ready = is_pending(conn)           ? 1
                    : left > 0 && wait.fd >= 0 ? poll(&wait, 1, (int)(left * 1000) + 1)
                                               : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0 || !PQconsumeInput(conn->pg)) {
            conn->lost = 1;
            if (ready <= 0)
                return NULL;
            break; /* what the server said last is there yet */
        }
    }
    return PQgetResult(conn->pg);
}

static int is_good(const PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

/* All answers to what was sent: the first bad one, else the last; NULL when the server is gone. */
static PGresult *all_answers(struct pg_conn *conn)
{
    double until = clock_seconds() + conn->answer_s;
    PGresult *kept = NULL;
    for (PGresult *res; (res = pg_answer(conn, until)); kept = res) {
        ExecStatusType status = PQresultStatus(res);
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            conn->lost = 1; /* no SQL of ours: nobody would go on with it */
            return res;
        }
        if (kept && !is_good(kept)) {
            PQclear(res);
            res = kept;
        } else {
            PQclear(kept);
        }
    }
    if (conn->lost && kept && is_good(kept)) {
        PQclear(kept);
        return NULL;
    }
    return kept;
}

enum err_code pg_run(struct pg_conn *conn, const char *sql, PGresult **ret_res, struct err *err)
{
    if (ret_res)
        *ret_res = NULL;
    if (conn->sent) {
        enum err_code late = pg_settle(conn, err);
        if (late)
            return late;
    }
    PGresult *res = PQsendQuery(conn->pg, sql) ? all_answers(conn) : NULL;
    if (!res || !is_good(res)) {
        enum err_code code = pg_fail(conn, res, err);
        PQclear(res);
        return code;
    }
    if (ret_res)
        *ret_res = res;
    else
        PQclear(res);
    return ERR_OK;
}

int pg_drain(struct pg_conn *conn)
{
    if (!conn->draining)
        return conn->lost;
    conn->draining = 0;
    PGresult *res = all_answers(conn);
    int bad = !res || !is_good(res) || PQtransactionStatus(conn->pg) != PQTRANS_IDLE;
    PQclear(res);
    if (bad)
        conn->lost = 1;
    return conn->lost;
}

/* --- statements ----------------------------------------------------------------------------- */

static unsigned slot_of(const char *sql)
{
    uintptr_t at = (uintptr_t)sql;
    return (unsigned)((at >> 2) ^ (at >> 11)) & (PG_SLOTS - 1);
}

/* ?1 becomes $1, outside of quotes. The number of parameters, or -1: too long. */
static int translate(const char *sql, char out[SQL_MAX])
{
    int params = 0;
    char quote = 0;
    size_t n = 0;
    for (; *sql; sql++) {
        char c = *sql;
        if (n + 1 >= SQL_MAX)
            return -1;
        if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '\'' || c == '"')
            quote = c;
        else if (c == '?') {
            int number = (int)strtol(sql + 1, NULL, 10);
            params = number > params ? number : params;
            c = '$';
        }
        out[n++] = c;
    }
    out[n] = 0;
    return params;
}

static int find_kept(struct pg_conn *conn, const char *sql)
{
    unsigned slot = slot_of(sql);
    int i = conn->slots[slot] - 1;
    if (i >= 0 && conn->list[i].sql && !strcmp(conn->list[i].sql, sql))
        return i;
    for (size_t k = 0; k < conn->count; k++) {
        if (!conn->list[k].sql || strcmp(conn->list[k].sql, sql))
            continue;
        conn->slots[slot] = (unsigned char)(k + 1);
        return (int)k;
    }
    return -1;
}

static void forget(struct pg_conn *conn, size_t i)
{
    free(STEAL(conn->list[i].sql));
}

void pg_refresh(struct pg_conn *conn)
{
    if (!conn->stale || pg_run(conn, "DEALLOCATE ALL", NULL, NULL))
        return;
    conn->stale = 0;
    for (size_t i = 0; i < conn->count; i++)
        forget(conn, i);
}

/* A place for one more statement: that of the one unused for longest when all are taken. */
static enum err_code find_place(struct pg_conn *conn, int *ret, struct err *err)
{
    int oldest = 0;
    for (size_t k = 0; k < conn->count; k++) {
        if (!conn->list[k].sql) {
            *ret = (int)k;
            return ERR_OK;
        }
        if (conn->list[k].used < conn->list[oldest].used)
            oldest = (int)k;
    }
    if (conn->count < PG_STATEMENTS) {
        *ret = (int)conn->count++;
        return ERR_OK;
    }
    char sql[32];
    snprintf(sql, sizeof sql, "DEALLOCATE s%d", oldest);
    enum err_code code = pg_run(conn, sql, NULL, err);
    if (!code)
        forget(conn, (size_t)oldest);
    *ret = oldest;
    return code;
}

static enum err_code prepare(struct pg_conn *conn, const char *sql, int *ret, struct err *err)
{
    char text[SQL_MAX], name[16];
    int place = 0, params = translate(sql, text);
    if (params < 0)
        return err_set(err, ERR_LIMIT, "a statement is longer than %d bytes", SQL_MAX);
    enum err_code code = find_place(conn, &place, err);
    if (code)
        return code;
    snprintf(name, sizeof name, "s%d", place);
    PGresult *res = PQsendPrepare(conn->pg, name, text, 0, NULL) ? all_answers(conn) : NULL;
    if (!res || !is_good(res))
        code = pg_fail(conn, res, err);
    PQclear(res);
    if (code)
        return code;
    conn->list[place] = (struct pg_statement){.sql = xstrdup(sql), .params = params};
    conn->slots[slot_of(sql)] = (unsigned char)(place + 1);
    *ret = place;
    return ERR_OK;
}

/* --- parameters ----------------------------------------------------------------------------- */

struct params {
    const char *values[PG_ARGS];
    int lengths[PG_ARGS], formats[PG_ARGS];
    char numbers[PG_ARGS][32];
    char *texts; /* copies, one behind the other */
};

/* Copies `size` bytes and a zero; what is no UTF-8 becomes '?'. Returns behind the zero. */
static char *copy_text(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    out[size] = 0;
    if (strlen(out) < size || !utf8_valid(out)) {
        for (char *c = out, *end = out + size; c < end;) {
            uint32_t ignored;
            size_t n = utf8_char(c, &ignored);
            if (!n)
                *c = '?';
            c += n ? n : 1;
        }
    }
    return out + size + 1;
}

static enum err_code fill_params(struct params *p, const struct db_arg *args, size_t n,
                                 struct err *err)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        if (args[i].size > TEXTS_MAX || (size += args[i].size + 1) > TEXTS_MAX)
            return err_set(err, ERR_LIMIT, "the values of a statement are larger than 1 GB");
    }
    p->texts = try_alloc(size + 1, 1);
    if (!p->texts)
        return err_set(err, ERR_NO_MEMORY, "no memory for the values of a statement");
    char *at = p->texts;
    for (size_t i = 0; i < n; i++) {
        p->lengths[i] = 0;
        p->formats[i] = 0;
        p->values[i] = p->numbers[i];
        switch (args[i].type) {
        case DB_NULL:
            p->values[i] = NULL;
            break;
        case DB_INT:
            snprintf(p->numbers[i], sizeof p->numbers[i], "%lld", (long long)args[i].number);
            break;
        case DB_REAL:
            snprintf(p->numbers[i], sizeof p->numbers[i], "%.17g", args[i].real);
            break;
        case DB_TEXT:
            p->values[i] = at;
            at = copy_text(at, args[i].data, args[i].size);
            break;
        case DB_BLOB:
            p->values[i] = args[i].size ? args[i].data : "";
            p->lengths[i] = (int)args[i].size;
            p->formats[i] = 1;
            break;
        }
    }
    return ERR_OK;
}

/* --- running -------------------------------------------------------------------------------- */

/* In pipeline mode each statement's answers end with NULL, and all of them with a sync. The last
 * good answer, or the first bad one. */
static PGresult *piped_answers(struct pg_conn *conn, int statements)
{
    double until = clock_seconds() + conn->answer_s;
    PGresult *kept = NULL;
    int synced = 0, nulls = 0;
    while (!synced && nulls < statements + 2) {
        PGresult *res = pg_answer(conn, until);
        if (!res) {
            nulls++;
            if (conn->lost)
                break;
            continue;
        }
        synced = PQresultStatus(res) == PGRES_PIPELINE_SYNC;
        if (synced || (kept && !is_good(kept))) {
            PQclear(res);
        } else {
            PQclear(kept);
            kept = res;
        }
    }
    if (synced && PQexitPipelineMode(conn->pg))
        return kept;
    conn->lost = 1;
    if (kept && is_good(kept)) {
        PQclear(kept);
        kept = NULL;
    }
    return kept;
}

static PGresult *send_all(struct pg_tx *tx, const char *name, int n, const struct params *p)
{
    struct pg_conn *conn = tx->conn;
    if (conn->sent) {
        if (!PQsendQueryPrepared(conn->pg, name, n, p->values, p->lengths, p->formats, 0) ||
            !PQpipelineSync(conn->pg)) {
            conn->lost = 1;
            return NULL;
        }
        int before = conn->sent;
        conn->sent = 0;
        return piped_answers(conn, before + 1);
    }
    if (!tx->reading || tx->begun || tx->base.single)
        return PQsendQueryPrepared(conn->pg, name, n, p->values, p->lengths, p->formats, 0)
                   ? all_answers(conn)
                   : NULL;
    if (!PQenterPipelineMode(conn->pg) ||
        !PQsendQueryParams(conn->pg, BEGIN_READS, 0, NULL, NULL, NULL, NULL, 0) ||
        !PQsendQueryPrepared(conn->pg, name, n, p->values, p->lengths, p->formats, 0) ||
        !PQpipelineSync(conn->pg)) {
        conn->lost = 1;
        return NULL;
    }
    return piped_answers(conn, 2);
}

enum err_code pg_settle(struct pg_conn *conn, struct err *err)
{
    if (!conn->sent)
        return ERR_OK;
    int n = conn->sent;
    conn->sent = 0;
    conn->lost |= !PQpipelineSync(conn->pg);
    PGresult *res = conn->lost ? NULL : piped_answers(conn, n);
    enum err_code code = !res || !is_good(res) ? pg_fail(conn, res, err) : ERR_OK;
    PQclear(res);
    return code;
}

/* In pipeline mode, without a wish to hear of it yet. */
static int begin_sending(struct pg_conn *conn)
{
    if (conn->sent || PQenterPipelineMode(conn->pg))
        return 1;
    conn->lost = 1;
    return 0;
}

void pg_send_text(struct pg_conn *conn, const char *sql)
{
    if (begin_sending(conn) && PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0))
        conn->sent++;
    else
        conn->lost = 1;
}

/* The statement, prepared, and its values; free p->texts. */
static enum err_code get_ready(struct pg_conn *conn, const char *sql, const struct db_arg *args,
                               size_t n, char name[16], struct params *p, struct err *err)
{
    int i = -1;
    enum err_code code = ERR_OK;
    if ((i = find_kept(conn, sql)) < 0)
        code = pg_settle(conn, err);
    if (!code && i < 0)
        code = prepare(conn, sql, &i, err);
    if (code)
        return code;
    struct pg_statement *statement = &conn->list[i];
    statement->used = ++conn->clock;
    if ((size_t)statement->params != n || n > PG_ARGS)
        return err_set(err, ERR_DB, "a statement takes %d parameters and got %zu",
                       statement->params, n);
    snprintf(name, 16, "s%d", i);
    return fill_params(p, args, n, err);
}

enum err_code pg_send_args(struct db_tx *base, const char *sql, const struct db_arg *args, size_t n,
                           struct err *err)
{
    struct pg_conn *conn = ((struct pg_tx *)base)->conn;
    struct params p;
    char name[16];
    if (conn->lost)
        return pg_fail(conn, NULL, err);
    enum err_code code = get_ready(conn, sql, args, n, name, &p, err);
    if (code)
        return code;
    int ok = begin_sending(conn) &&
             PQsendQueryPrepared(conn->pg, name, (int)n, p.values, p.lengths, p.formats, 0);
    free(p.texts);
    conn->sent += ok;
    if (ok)
        return ERR_OK;
    conn->lost = 1;
    return pg_fail(conn, NULL, err);
}

static enum err_code execute(struct pg_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                             PGresult **ret, struct err *err)
{
    struct pg_conn *conn = tx->conn;
    struct params p;
    char name[16];
    if (pg_drain(conn))
        return pg_fail(conn, NULL, err);
    if (PQtransactionStatus(conn->pg) == PQTRANS_IDLE)
        pg_refresh(conn);
    enum err_code code = get_ready(conn, sql, args, n, name, &p, err);
    if (code)
        return code;
    PGresult *res = send_all(tx, name, (int)n, &p);
    free(p.texts);
    if (!res || !is_good(res)) {
        code = pg_fail(conn, res, err);
        PQclear(res);
    } else {
        *ret = res;
    }
    tx->begun |= !conn->lost && PQtransactionStatus(conn->pg) != PQTRANS_IDLE;
    return code;
}

enum err_code pg_execute(struct pg_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                         PGresult **ret, struct err *err)
{
    /* Nothing was read in this snapshot yet: another connection gives as good a one. */
    int fresh = tx->reading && !tx->begun;
    enum err_code code = execute(tx, sql, args, n, ret, err);
    for (int tries = 0; code && fresh && (tx->conn->lost || tx->conn->again) && tries < 3;
         tries++) {
        if (postgres_read_elsewhere(tx, err))
            break;
        code = execute(tx, sql, args, n, ret, err);
    }
    return code;
}

enum err_code pg_exec_args(struct db_tx *base, const char *sql, const struct db_arg *args, size_t n,
                           int64_t *ret_changed, struct err *err)
{
    PGresult *res = NULL;
    if (ret_changed)
        *ret_changed = 0;
    enum err_code code = pg_execute((struct pg_tx *)base, sql, args, n, &res, err);
    if (code)
        return code;
    const char *tag = PQcmdStatus(res);
    if (ret_changed && tag && strncmp(tag, "SELECT", 6))
        *ret_changed = strtoll(PQcmdTuples(res), NULL, 10);
    PQclear(res);
    return ERR_OK;
}

enum err_code pg_script_tx(struct db_tx *base, const char *sql, struct err *err)
{
    struct pg_conn *conn = ((struct pg_tx *)base)->conn;
    /* A change of the schema takes as long as it takes. */
    double answer_s = conn->answer_s;
    conn->answer_s = 24 * 3600;
    enum err_code code = pg_run(conn, "SET LOCAL statement_timeout = 0", NULL, err);
    if (!code)
        code = pg_run(conn, sql, NULL, err);
    conn->answer_s = answer_s;
    if (!code && PQtransactionStatus(conn->pg) != PQTRANS_INTRANS)
        code = err_set(err, ERR_DB, "a script must not end its transaction");
    conn->stale = 1;
    return code;
}

/* --- rows ----------------------------------------------------------------------------------- */

enum err_code pg_query_args(struct db_tx *base, const char *sql, const struct db_arg *args,
                            size_t n, struct db_rows **ret, struct err *err)
{
    struct pg_tx *tx = (struct pg_tx *)base;
    PGresult *res = NULL;
    enum err_code code = pg_execute(tx, sql, args, n, &res, err);
    if (code)
        return code;
    struct pg_rows *rows = xalloc(sizeof *rows);
    *rows = (struct pg_rows){.base.tx = base, .res = res, .at = -1, .next = tx->conn->open};
    tx->conn->open = rows;
    *ret = &rows->base;
    return ERR_OK;
}

struct decoded {
    struct decoded *next;
    int column;
    unsigned char *data;
    size_t size;
};

static void drop_decoded(struct pg_rows *rows)
{
    for (struct decoded *it = STEAL(rows->decoded), *next; it; it = next) {
        next = it->next;
        PQfreemem(it->data);
        free(it);
    }
}

int pg_next(struct db_rows *base, struct err *err)
{
    (void)err;
    struct pg_rows *rows = (struct pg_rows *)base;
    drop_decoded(rows);
    if (rows->at + 1 >= PQntuples(rows->res)) {
        rows->at = PQntuples(rows->res);
        return 0;
    }
    rows->at++;
    return 1;
}

static const struct pg_rows *of(const struct db_rows *rows)
{
    return (const struct pg_rows *)rows;
}

int pg_is_null(const struct db_rows *rows, int column)
{
    return PQgetisnull(of(rows)->res, of(rows)->at, column);
}

int64_t pg_int(const struct db_rows *rows, int column)
{
    const char *text = PQgetvalue(of(rows)->res, of(rows)->at, column);
    if (PQftype(of(rows)->res, column) == BOOL_OID)
        return *text == 't';
    return strtoll(text, NULL, 10);
}

double pg_real(const struct db_rows *rows, int column)
{
    return strtod(PQgetvalue(of(rows)->res, of(rows)->at, column), NULL);
}

static const char *decode(struct pg_rows *rows, int column, size_t *ret_size)
{
    struct decoded *it = rows->decoded;
    while (it && it->column != column)
        it = it->next;
    if (!it) {
        it = xalloc(sizeof *it);
        it->column = column;
        it->data = PQunescapeBytea((const unsigned char *)PQgetvalue(rows->res, rows->at, column),
                                   &it->size);
        it->next = rows->decoded;
        rows->decoded = it;
    }
    *ret_size = it->data ? it->size : 0;
    return it->data ? (const char *)it->data : "";
}

const char *pg_text(const struct db_rows *base, int column, size_t *ret_size)
{
    struct pg_rows *rows = (struct pg_rows *)(uintptr_t)base;
    const char *text = NULL;
    size_t size = 0;
    if (!pg_is_null(base, column)) {
        if (PQftype(rows->res, column) == BYTEA_OID) {
            text = decode(rows, column, &size);
        } else {
            text = PQgetvalue(rows->res, rows->at, column);
            size = (size_t)PQgetlength(rows->res, rows->at, column);
        }
    }
    if (ret_size)
        *ret_size = size;
    return text;
}

void pg_rows_done(struct db_rows *base)
{
    struct pg_rows *rows = (struct pg_rows *)base;
    struct pg_conn *conn = ((struct pg_tx *)base->tx)->conn;
    for (struct pg_rows **at = &conn->open; *at; at = &(*at)->next) {
        if (*at != rows)
            continue;
        *at = rows->next;
        drop_decoded(rows);
        PQclear(rows->res);
        free(rows);
        return;
    }
}

void pg_finish_rows(struct pg_conn *conn)
{
    while (conn->open)
        pg_rows_done(&conn->open->base);
}

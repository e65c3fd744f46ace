/* The PostgreSQL driver: one writing connection with group commit, pools of readers.
 *
 * Writing. The leader of a group (db_group.c) begins a transaction by taking one advisory lock, so
 * that of all processes one writes at a time, as on SQLite: nothing changes between what a work
 * reads and what it writes, and numbers rise in the order of commits. It runs each member in a
 * savepoint and commits once. A member that fails is rolled back alone; when the whole transaction
 * is lost on the way (a connection that died, a deferred constraint, a deadlock), nothing of it is
 * stored, and each member is run again on its own.
 *
 * A connection lost while committing. Each group first writes its number into the writer's own row
 * of sonde_commits. A new connection takes the lock, so that whatever is left of the lost one has
 * ended, and looks: the number is there, or nothing of the group is. That is so as well on a server
 * that crashed, and on a replica that was promoted (where the number of a transaction would prove
 * nothing: what had not reached the log is given again). Where it was committed, an empty durable
 * commit behind it makes sure that it has also reached whatever synchronous_standby_names asks for.
 * For this question the server is waited for longer: not to know costs its caller more than the
 * wait.
 *
 * A server that goes away is waited for for two seconds, so that a restart is a pause; after that
 * callers get their error at once, between tries to reach it.
 *
 * Threads: the writer belongs to the group's leader; for readers see pg_read.c. */
#include "db_postgres.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../base/id.h"
#include "../../base/mem.h"
#include "../../os/clock.h"

#define LOCK_KEY "499967849573" /* "sonde" as a number */

enum outcome {
    TOGETHER_SETTLED, /* every member has its answer */
    TOGETHER_LOST,    /* nothing is stored; members may be run again singly */
};

static void pause_s(struct postgres *p, double seconds)
{
    usleep((useconds_t)(seconds * 1e6 * (0.5 + 0.5 * rand_r(&p->random) / (double)RAND_MAX)));
}

/* --- the writing connection ----------------------------------------------------------------- */

static int may_pass(enum err_code code)
{
    return code == ERR_UNAVAILABLE || code == ERR_READ_ONLY || code == ERR_NO_SPACE;
}

/* One that is there, waiting so long for a server that is not. */
static enum err_code need_writer(struct postgres *p, double grace_s, struct err *err)
{
    if (p->writer && p->writer->lost)
        p->writer = pg_disconnect(p->writer);
    while (!p->writer) {
        if (!pg_backoff_wait(&p->backoff)) {
            struct err own = {0};
            enum err_code code = pg_connect(&p->place, PG_WRITER, p->lock_ms, &p->writer, &own);
            pg_backoff_note(&p->backoff, &p->random, code ? &own : NULL);
            if (code && !p->down_since)
                p->down_since = clock_seconds();
            if (!code)
                p->down_since = 0;
            if (code && !may_pass(code)) {
                *err = own;
                return code;
            }
        } else if (clock_seconds() - p->down_since > grace_s) {
            *err = p->backoff.why;
            return err->code;
        } else {
            pause_s(p, PG_BACKOFF_S / 2);
        }
    }
    p->tx.conn = p->writer;
    return ERR_OK;
}

/* Takes the lock and notes the group's number. */
static enum err_code begin(struct postgres *p, struct db_write **list, size_t n, struct err *err)
{
    int durable = 0;
    char sql[512];
    for (size_t i = 0; i < n; i++)
        durable |= list[i]->durability == DB_DURABLE;
    pg_refresh(p->writer);
    snprintf(sql, sizeof sql,
             "BEGIN ISOLATION LEVEL READ COMMITTED;%s SELECT pg_advisory_xact_lock(" LOCK_KEY
             "); INSERT INTO sonde_commits (writer, number, at) VALUES ('%s', %lld, now()) "
             "ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at;%s",
             durable ? "" : " SET LOCAL synchronous_commit = off;", p->mark, (long long)++p->number,
             n > 1 ? " SAVEPOINT member;" : "");
    enum err_code code = pg_run(p->writer, sql, NULL, err);
    if (code)
        p->marks_there = 0; /* perhaps it is another database by now */
    return code;
}

static void roll_back(struct postgres *p)
{
    pg_finish_rows(p->writer);
    if (!p->writer->lost && PQtransactionStatus(p->writer->pg) != PQTRANS_IDLE &&
        pg_run(p->writer, "ROLLBACK", NULL, NULL))
        p->writer->lost = 1;
}

/* Rows of writers that ended long ago go. */
static enum err_code make_marks(struct postgres *p, struct err *err)
{
    if (p->marks_there)
        return ERR_OK;
    enum err_code code =
        pg_run(p->writer,
               "BEGIN; SELECT pg_advisory_xact_lock(" LOCK_KEY "); CREATE TABLE IF NOT EXISTS "
               "sonde_commits (writer TEXT PRIMARY KEY, number BIGINT NOT NULL, at TIMESTAMPTZ NOT "
               "NULL); DELETE FROM sonde_commits WHERE at < now() - interval '1 day'; COMMIT",
               NULL, err);
    p->marks_there = !code;
    return code;
}

/* --- a commit that was not confirmed -------------------------------------------------------- */

enum fate { FATE_UNKNOWN, FATE_COMMITTED, FATE_ABORTED };

static enum fate find_fate(struct postgres *p)
{
    char sql[256];
    struct err err;
    PGresult *res = NULL;
    p->writer->lost = 1;
    if (need_writer(p, PG_FATE_S, &err))
        return FATE_UNKNOWN;
    snprintf(sql, sizeof sql,
             "BEGIN; SELECT pg_advisory_xact_lock(" LOCK_KEY
             "); SELECT count(*) FROM sonde_commits WHERE writer = '%s' AND number = %lld",
             p->mark, (long long)p->number);
    if (pg_run(p->writer, sql, &res, NULL)) {
        PQclear(res);
        roll_back(p);
        return FATE_UNKNOWN;
    }
    int there = !strcmp(PQgetvalue(res, 0, 0), "1");
    PQclear(res);
    if (pg_run(p->writer,
               there ? "SELECT pg_logical_emit_message(true, 'sonde', ''); COMMIT" : "COMMIT", NULL,
               NULL)) {
        roll_back(p);
        return FATE_UNKNOWN;
    }
    return there ? FATE_COMMITTED : FATE_ABORTED;
}

/* --- writing -------------------------------------------------------------------------------- */

/* One member. Non-zero: the transaction is lost, and *err tells why. */
static int run_member(struct postgres *p, struct db_write *write, int savepoint, int last,
                      struct err *err)
{
    struct pg_conn *conn = p->writer;
    write->err = (struct err){0};
    p->tx.base.worst = ERR_OK;
    conn->again = 0;
    write->code = write->work(&p->tx.base, write->ctx, &write->err);
    pg_finish_rows(conn);
    /* What was only sent is answered for now; the next savepoint goes along with it. */
    int renewed = conn->sent && !conn->lost && !write->code && savepoint && !last;
    if (renewed) {
        pg_send_text(conn, "RELEASE SAVEPOINT member");
        pg_send_text(conn, "SAVEPOINT member");
    }
    struct err late = {0};
    if (!conn->lost && pg_settle(conn, &late) && !write->code) {
        write->err = late;
        write->code = late.code;
        renewed = 0;
    }
    PGTransactionStatusType status = PQtransactionStatus(conn->pg);
    if (conn->lost || conn->again) {
        *err = write->err;
        if (!write->code)
            err_set(err, ERR_UNAVAILABLE, "%s: the connection was lost", p->place.where);
        return 1;
    }
    if (status == PQTRANS_IDLE) {
        err_set(err, ERR_DB, "%s: a transaction was ended by its work", p->place.where);
        return 1;
    }
    if (status == PQTRANS_INERROR && !write->code)
        write->code = err_set(&write->err, ERR_DB, "%s: a work went on after its statement failed",
                              p->place.where);
    if (renewed || !savepoint || (last && !write->code))
        return 0;
    return pg_run(conn,
                  write->code ? "ROLLBACK TO SAVEPOINT member"
                              : "RELEASE SAVEPOINT member; SAVEPOINT member",
                  NULL, err) != ERR_OK;
}

/* Gives those that have not failed on their own this answer. */
static enum outcome settle_good(struct db_write **list, size_t n, enum err_code code,
                                const struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i]->code)
            continue;
        list[i]->code = code;
        list[i]->err = *err;
    }
    return TOGETHER_SETTLED;
}

static enum outcome commit(struct postgres *p, struct db_write **list, size_t n, struct err *err)
{
    PGresult *res = NULL;
    enum err_code code = pg_run(p->writer, "COMMIT", &res, err);
    int committed = !code && !strcmp(PQcmdStatus(res), "COMMIT");
    PQclear(res);
    if (committed)
        return TOGETHER_SETTLED;
    if (!code) { /* it answered ROLLBACK */
        err_set(err, ERR_DB, "%s: a transaction could not be committed", p->place.where);
        return TOGETHER_LOST;
    }
    if (!p->writer->lost) { /* refused, so it is not there */
        roll_back(p);
        return TOGETHER_LOST;
    }
    switch (find_fate(p)) {
    case FATE_COMMITTED:
        return TOGETHER_SETTLED;
    case FATE_ABORTED:
        return TOGETHER_LOST;
    case FATE_UNKNOWN:
        break;
    }
    err_set(err, ERR_UNCERTAIN, "%s: the connection was lost while committing", p->place.where);
    return settle_good(list, n, ERR_UNCERTAIN, err);
}

/* *err: why the transaction was lost; *ret_again: another try may do better. */
static enum outcome run_together(struct postgres *p, struct db_write **list, size_t n,
                                 int *ret_again, struct err *err)
{
    int good = 0;
    *ret_again = 0;
    enum err_code code = need_writer(p, PG_GRACE_S, err);
    if (code) {
        db_group_settle(list, n, code, err);
        return TOGETHER_SETTLED;
    }
    code = make_marks(p, err);
    if (!code)
        code = begin(p, list, n, err);
    if (code) {
        *ret_again = p->writer->lost || p->writer->again;
        roll_back(p);
        if (*ret_again)
            return TOGETHER_LOST;
        db_group_settle(list, n, code, err);
        return TOGETHER_SETTLED;
    }
    for (size_t i = 0; i < n; i++) {
        if (run_member(p, list[i], n > 1, i + 1 == n, err)) {
            *ret_again = p->writer->lost || p->writer->again;
            roll_back(p);
            return TOGETHER_LOST;
        }
        good += !list[i]->code;
    }
    if (!good) {
        roll_back(p);
        return TOGETHER_SETTLED;
    }
    enum outcome outcome = commit(p, list, n, err);
    *ret_again = !p->writer || p->writer->lost || p->writer->again || err->code == ERR_UNAVAILABLE;
    return outcome;
}

static void run_single(struct postgres *p, struct db_write *write)
{
    struct err err = {0};
    int again = 1;
    for (int tries = 0; again && tries < PG_TRIES; tries++) {
        if (tries)
            pause_s(p, 0.01 * (1 << tries));
        if (run_together(p, &write, 1, &again, &err) == TOGETHER_SETTLED)
            return;
    }
    write->code = err.code;
    write->err = err;
}

static void run_group(void *impl, struct db_write **list, size_t n)
{
    struct postgres *p = impl;
    struct err err = {0};
    int again;
    if (n > 1 && run_together(p, list, n, &again, &err) == TOGETHER_SETTLED)
        return;
    for (size_t i = 0; i < n; i++)
        run_single(p, list[i]);
}

static enum err_code postgres_transact(void *impl, enum db_durability durability, db_work *work,
                                       void *ctx, struct err *err)
{
    struct postgres *p = impl;
    return db_group_transact(&p->group, durability, work, ctx, err);
}

/* --- opening and closing -------------------------------------------------------------------- */

static void postgres_close(void *impl)
{
    struct postgres *p = impl;
    db_group_drain(&p->group);
    pg_replicas_close(p);
    pg_pool_drain(&p->readers);
    pg_disconnect(p->writer);
    db_group_free(&p->group);
    pg_pool_free(&p->readers);
    pthread_mutex_destroy(&p->size_lock);
    pg_place_free(&p->place);
    free(p);
}

static enum err_code postgres_open(const struct db_options *options, const char *place, void **ret,
                                   struct err *err)
{
    (void)place;
    if (!PQisthreadsafe())
        return err_set(err, ERR_UNSUPPORTED, "this libpq is not made for threads");
    struct pg_place primary, again;
    enum err_code code = pg_place_make(options->url, options->password, &primary, err);
    if (code)
        return code;
    code = pg_place_make(options->url, options->password, &again, err);
    if (code) {
        pg_place_free(&primary);
        return code;
    }
    struct postgres *p = xalloc(sizeof *p);
    double busy = options->busy_seconds > 0 ? options->busy_seconds : 10;
    p->place = primary;
    p->readers.place = again;
    p->lock_ms = (int)((busy < 3600 ? busy : 3600) * 1000);
    p->random = (unsigned)clock_ns() ^ (unsigned)getpid();
    id_new(p->mark);
    p->tx.base.driver = &db_driver_postgres;
    p->tx.begun = 1;
    pthread_mutex_init(&p->size_lock, NULL);
    db_group_init(&p->group, p, run_group, NULL);
    pg_pool_init(&p->readers, PG_READER, p->lock_ms,
                 options->readers > 0 ? options->readers : PG_READERS);
    code = pg_connect(&p->place, PG_WRITER, p->lock_ms, &p->writer, err);
    enum err_code replicas = pg_replicas_open(p, options, code ? NULL : err);
    if (code || replicas) {
        postgres_close(p);
        return code ? code : replicas;
    }
    p->tx.conn = p->writer;
    *ret = p;
    return ERR_OK;
}

static unsigned postgres_caps(const void *impl)
{
    (void)impl;
    return DB_CAP_SHARED;
}

static const char *postgres_dialect(const void *impl)
{
    (void)impl;
    return "postgres";
}

const struct db_driver db_driver_postgres = {
    .name = "postgres",
    .open = postgres_open,
    .close = postgres_close,
    .caps = postgres_caps,
    .dialect = postgres_dialect,
    .size_bytes = postgres_size_bytes,
    .check = postgres_check,
    .backup = postgres_backup,
    .transact = postgres_transact,
    .read_begin = postgres_read_begin,
    .read_begin_stale = postgres_read_begin_stale,
    .read_end = postgres_read_end,
    .send = pg_send_args,
    .exec = pg_exec_args,
    .script = pg_script_tx,
    .query = pg_query_args,
    .next = pg_next,
    .is_null = pg_is_null,
    .column_int = pg_int,
    .column_real = pg_real,
    .column_text = pg_text,
    .rows_done = pg_rows_done,
};

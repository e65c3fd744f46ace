/* The SQLite driver: one writing connection with group commit, a pool of readers.
 *
 * Writing. The leader of a group (db_group.c) runs each member in a savepoint of one transaction
 * and commits once. A member that fails is rolled back alone. When the whole transaction is lost on
 * the way (disk full, a deferred constraint at the commit), nothing of it is stored, so each member
 * is run again on its own and gets its own answer.
 *
 * Durability. In WAL mode synchronous=FULL syncs the WAL after each commit, NORMAL only before a
 * checkpoint. The sync is of the whole file, so a durable commit makes the relaxed ones before it
 * durable too; and a kill of the process loses neither, since written bytes belong to the kernel.
 *
 * Reading. A reader's snapshot begins with its first statement. A thread prefers the connection it
 * used last (its caches are warm). A thread that reads while it reads gets a connection of its own
 * when none is free, because waiting for itself would hang. */
#include "db_sqlite.h"

#include <string.h>

#include "../../base/mem.h"

/* --- writing -------------------------------------------------------------------------------- */

enum outcome {
    TOGETHER_SETTLED, /* every member has its answer */
    TOGETHER_LOST,    /* nothing is stored; members may be run again singly */
};

/* synchronous can only be changed between transactions, and is a pragma that runs while it is
 * parsed: hence no prepared statement. */
static enum err_code set_sync(struct sqlite *s, int full, struct err *err)
{
    if (s->synced == full)
        return ERR_OK;
    enum err_code code = conn_script(
        s->writer, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", err);
    if (!code)
        s->synced = full;
    return code;
}

static int transaction_lost(const struct sqlite *s)
{
    return sqlite3_get_autocommit(s->writer->db);
}

static void roll_back(struct sqlite *s)
{
    conn_finish_rows(s->writer);
    if (!transaction_lost(s) && conn_run(s->writer, "ROLLBACK", NULL))
        sqlite3_exec(s->writer->db, "ROLLBACK", NULL, NULL, NULL);
}

/* One member in its savepoint. Non-zero: the transaction is lost. */
static int run_member(struct sqlite *s, struct db_write *write, int savepoint)
{
    struct conn *conn = s->writer;
    write->err = (struct err){0};
    if (savepoint && (write->code = conn_run(conn, "SAVEPOINT member", &write->err)))
        return 1;
    conn->tx.begun = 1;
    conn->tx.base.worst = ERR_OK;
    write->code = write->work(&conn->tx.base, write->ctx, &write->err);
    conn_finish_rows(conn);
    if (transaction_lost(s))
        return 1;
    if (!savepoint)
        return 0;
    if (write->code && conn_run(conn, "ROLLBACK TO member", NULL))
        return 1;
    return conn_run(conn, "RELEASE member", NULL) != ERR_OK;
}

/* The commit failed: is it certain that it did not happen? */
static int is_uncertain(struct sqlite *s)
{
    int rc = sqlite3_extended_errcode(s->writer->db);
    /* The frames are written; what the disk holds of them after a failed sync nobody knows. */
    return rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC;
}

static enum outcome commit(struct sqlite *s, struct db_write **list, size_t n)
{
    struct err err = {0};
    enum err_code code = conn_run(s->writer, "COMMIT", &err);
    if (!code)
        return TOGETHER_SETTLED;
    int uncertain = is_uncertain(s);
    roll_back(s);
    if (n > 1 && !uncertain)
        return TOGETHER_LOST;
    if (uncertain)
        code =
            err_set(&err, ERR_UNCERTAIN, "database %s: the disk did not confirm a commit", s->path);
    for (size_t i = 0; i < n; i++) {
        if (list[i]->code)
            continue; /* it failed on its own, whatever became of the others */
        list[i]->code = code;
        list[i]->err = err;
    }
    return TOGETHER_SETTLED;
}

static enum outcome run_together(struct sqlite *s, struct db_write **list, size_t n)
{
    struct err err = {0};
    int full = 0, good = 0;
    for (size_t i = 0; i < n; i++)
        full |= list[i]->durability == DB_DURABLE;
    enum err_code code = set_sync(s, full, &err);
    if (!code)
        code = conn_run(s->writer, "BEGIN IMMEDIATE", &err); /* waits busy_ms for others */
    if (code) {
        db_group_settle(list, n, code, &err);
        return TOGETHER_SETTLED;
    }
    for (size_t i = 0; i < n; i++) {
        int lost = run_member(s, list[i], n > 1);
        if (lost) {
            roll_back(s);
            if (n > 1)
                return TOGETHER_LOST;
            if (!list[0]->code)
                list[0]->code =
                    err_set(&list[0]->err, ERR_DB,
                            "database %s: a transaction was ended by its work", s->path);
            return TOGETHER_SETTLED;
        }
        good += !list[i]->code;
    }
    if (good)
        return commit(s, list, n);
    roll_back(s);
    return TOGETHER_SETTLED;
}

static void run_group(void *impl, struct db_write **list, size_t n)
{
    struct sqlite *s = impl;
    if (run_together(s, list, n) == TOGETHER_SETTLED)
        return;
    for (size_t i = 0; i < n; i++)
        run_together(s, &list[i], 1);
}

static enum err_code sqlite_transact(void *impl, enum db_durability durability, db_work *work,
                                     void *ctx, struct err *err)
{
    struct sqlite *s = impl;
    return db_group_transact(&s->group, durability, work, ctx, err);
}

/* --- reading -------------------------------------------------------------------------------- */

static _Thread_local int last_reader;  /* which of the pool this thread used last */
static _Thread_local int readers_held; /* by this thread */

static enum err_code open_reader(struct sqlite *s, struct conn **ret, struct err *err)
{
    enum err_code code = conn_open(s->path, 0, s->busy_ms, ret, err);
    /* Pages that are mapped are checked anew at each visit, which was a seventh of a lookup in a
     * large database. The writer goes on checking, and db_check looks at everything. */
    if (!code &&
        (code = conn_script(*ret, "PRAGMA query_only = ON; PRAGMA cell_size_check = OFF", err)))
        *ret = conn_close(*ret);
    return code;
}

/* A free connection of the pool with the lock held, or NULL. */
static struct conn *free_reader(struct sqlite *s)
{
    for (int i = 0; i < s->readers; i++) {
        int at = (last_reader + i) % s->readers;
        struct conn *conn = s->pool[at];
        if (conn->in_use)
            continue;
        last_reader = at;
        return conn;
    }
    return NULL;
}

static enum err_code sqlite_read_begin(void *impl, struct db_tx **ret, struct err *err)
{
    struct sqlite *s = impl;
    pthread_mutex_lock(&s->read_lock);
    struct conn *conn = free_reader(s);
    while (!conn && !readers_held) {
        s->read_waiting++;
        pthread_cond_wait(&s->read_free, &s->read_lock);
        s->read_waiting--;
        conn = free_reader(s);
    }
    if (conn)
        conn->in_use = 1;
    s->reading++;
    pthread_mutex_unlock(&s->read_lock);
    if (!conn) {
        enum err_code code = open_reader(s, &conn, err);
        if (code) {
            pthread_mutex_lock(&s->read_lock);
            s->reading--;
            pthread_cond_broadcast(&s->read_free);
            pthread_mutex_unlock(&s->read_lock);
            return code;
        }
        conn->extra = 1;
    }
    readers_held++;
    conn->owner = s;
    conn->tx.begun = 0;
    *ret = &conn->tx.base;
    return ERR_OK;
}

static void sqlite_read_end(struct db_tx *base)
{
    struct conn_tx *tx = (struct conn_tx *)base;
    struct conn *conn = tx->conn;
    struct sqlite *s = conn->owner;
    conn_finish_rows(conn);
    if (tx->begun && conn_run(conn, "COMMIT", NULL))
        sqlite3_exec(conn->db, "ROLLBACK", NULL, NULL, NULL);
    tx->begun = 0;
    if (conn->extra)
        conn = conn_close(conn);
    pthread_mutex_lock(&s->read_lock);
    if (conn)
        conn->in_use = 0;
    s->reading--;
    if (s->read_waiting)
        pthread_cond_broadcast(&s->read_free);
    pthread_mutex_unlock(&s->read_lock);
    readers_held--;
}

/* --- opening and closing -------------------------------------------------------------------- */

static int on_wal(void *ctx, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    struct sqlite *s = ctx;
    if ((uint64_t)pages < s->wal_pages) /* it has started over */
        s->wal_next = SQLITE_PASSIVE_PAGES;
    s->wal_pages = (uint64_t)pages; /* by the leader, who alone reads it */
    return SQLITE_OK;
}

/* Turns the WAL on and asks the database for proof that it can be read and written. */
static enum err_code prove(struct sqlite *s, struct err *err)
{
    struct conn *conn = s->writer;
    sqlite3_stmt *stmt = NULL;
    int wal = 0;
    int rc = sqlite3_prepare_v2(conn->db, "PRAGMA journal_mode = WAL", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        wal = !strcmp((const char *)sqlite3_column_text(stmt, 0), "wal");
    enum err_code code = rc == SQLITE_ROW ? ERR_OK : conn_fail(conn, rc, err);
    sqlite3_finalize(stmt);
    if (code)
        return code;
    if (!wal)
        return err_set(err, ERR_UNSUPPORTED,
                       "database %s: this file system has no shared memory maps; use a local one",
                       s->path);
    int64_t ignored;
    code = conn_number(conn, "SELECT count(*) FROM sqlite_schema", &ignored, err);
    if (!code)
        code = conn_script(conn, "BEGIN IMMEDIATE", err);
    if (!code)
        code = conn_script(conn, "ROLLBACK", err);
    return code;
}

static void sqlite_close(void *impl)
{
    struct sqlite *s = impl;
    db_group_drain(&s->group);
    pthread_mutex_lock(&s->read_lock);
    while (s->reading) {
        s->read_waiting++;
        pthread_cond_wait(&s->read_free, &s->read_lock);
        s->read_waiting--;
    }
    pthread_mutex_unlock(&s->read_lock);
    for (int i = 0; i < s->readers; i++)
        conn_close(s->pool[i]);
    conn_close(s->writer); /* the last one: moves the WAL into the database and removes it */
    db_group_free(&s->group);
    pthread_cond_destroy(&s->read_free);
    pthread_mutex_destroy(&s->read_lock);
    free(s->path);
    free(s);
}

static enum err_code sqlite_open(const struct db_options *options, const char *place, void **ret,
                                 struct err *err)
{
    struct sqlite *s = xalloc(sizeof *s);
    double busy = options->busy_seconds > 0 ? options->busy_seconds : 10;
    s->path = xstrdup(place);
    s->busy_ms = (int)((busy < 3600 ? busy : 3600) * 1000);
    s->synced = 1;
    s->wal_next = SQLITE_PASSIVE_PAGES;
    db_group_init(&s->group, s, run_group, sqlite_checkpoint);
    pthread_mutex_init(&s->read_lock, NULL);
    pthread_cond_init(&s->read_free, NULL);
    int want = options->readers > 0 ? options->readers : SQLITE_READERS;
    if (want > SQLITE_READERS_MAX)
        want = SQLITE_READERS_MAX;
    enum err_code code = conn_open(s->path, 1, s->busy_ms, &s->writer, err);
    if (!code)
        code = prove(s, err);
    while (!code && s->readers < want) {
        code = open_reader(s, &s->pool[s->readers], err);
        s->readers += !code;
    }
    if (code) {
        sqlite_close(s);
        return code;
    }
    sqlite3_wal_hook(s->writer->db, on_wal, s);
    *ret = s;
    return ERR_OK;
}

static unsigned sqlite_caps(const void *impl)
{
    (void)impl;
    return DB_CAP_LOCAL;
}

static const char *sqlite_dialect(const void *impl)
{
    (void)impl;
    return "sqlite";
}

const struct db_driver db_driver_sqlite = {
    .name = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .caps = sqlite_caps,
    .dialect = sqlite_dialect,
    .size_bytes = sqlite_size_bytes,
    .check = sqlite_check,
    .backup = sqlite_backup,
    .transact = sqlite_transact,
    .read_begin = sqlite_read_begin,
    .read_begin_stale = sqlite_read_begin, /* its own file is the only one, and never old */
    .read_end = sqlite_read_end,
    .exec = conn_exec_args,
    .script = conn_script_tx,
    .query = conn_query_args,
    .next = conn_next,
    .is_null = conn_is_null,
    .column_int = conn_int,
    .column_real = conn_real,
    .column_text = conn_text,
    .rows_done = conn_rows_done,
};

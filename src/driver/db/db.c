/* The database facade: picks the driver, measures, and keeps the rules that hold for all drivers.
 *
 * A thread that runs `work` may be the leader of a group commit, running the work of others, so
 * everything that would wait for that very leader (a transaction inside of a transaction) is
 * refused by an assertion here instead of hanging there. Threads: any; the struct is constant
 * after db_open. */
#include "db.h"

#include <assert.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../obs/metrics.h"
#include "../../os/clock.h"
#include "db_driver.h"

struct db {
    const struct db_driver *driver;
    void *impl;
    struct metric_series *read_seconds, *write_seconds;
    int ping_ready; /* its table is there */
};

/* The database whose `work` this thread is running. */
static _Thread_local const struct db *working_on;

const struct db_driver *db_driver_find(const char *url, const char **ret_place, struct err *err)
{
    static const struct {
        const char *scheme;
        const struct db_driver *driver;
    } known[] = {{"sqlite", &db_driver_sqlite},
                 {"postgres", &db_driver_postgres},
                 {"postgresql", &db_driver_postgres},
                 {"fault", &db_driver_fault}};
    for (size_t i = 0; url && i < ARRAY_LEN(known); i++) {
        size_t len = strlen(known[i].scheme);
        if (strncmp(url, known[i].scheme, len) || url[len] != ':' || !url[len + 1])
            continue;
        *ret_place = url + len + 1;
        return known[i].driver;
    }
    /* The url itself may hold a password. */
    err_set(err, ERR_USAGE,
            "no database url that sonde knows; it is sqlite:/path/to/file or "
            "postgres://user@host/name");
    return NULL;
}

enum err_code db_open(const struct db_options *options, struct db **ret, struct err *err)
{
    *ret = NULL;
    const char *place = NULL;
    const struct db_driver *driver = db_driver_find(options->url, &place, err);
    if (!driver)
        return ERR_USAGE;
    void *impl = NULL;
    enum err_code code = driver->open(options, place, &impl, err);
    if (code)
        return code;
    struct db *db = xalloc(sizeof *db);
    db->driver = driver;
    db->impl = impl;
    db->read_seconds = metric_get(METRIC_DB_SECONDS, "read", NULL, NULL);
    db->write_seconds = metric_get(METRIC_DB_SECONDS, "write", NULL, NULL);
    *ret = db;
    return ERR_OK;
}

struct db *db_close(struct db *db)
{
    if (!db)
        return NULL;
    assert(working_on != db);
    db->driver->close(db->impl);
    free(db);
    return NULL;
}

unsigned db_caps(const struct db *db)
{
    return db->driver->caps(db->impl);
}

const char *db_driver_name(const struct db *db)
{
    return db->driver->dialect(db->impl);
}

uint64_t db_size_bytes(struct db *db)
{
    return db->driver->size_bytes(db->impl);
}

enum err_code db_check(struct db *db, char **ret_problems, struct err *err)
{
    *ret_problems = NULL;
    return db->driver->check(db->impl, ret_problems, err);
}

enum err_code db_backup(struct db *db, const char *path, struct err *err)
{
    return db->driver->backup(db->impl, path, err);
}

/* A failure of the database itself, not an answer of the caller's work. */
static int is_database_failure(enum err_code code)
{
    switch (code) {
    case ERR_DB:
    case ERR_DB_CORRUPT:
    case ERR_NO_SPACE:
    case ERR_READ_ONLY:
    case ERR_PERMISSION:
    case ERR_UNCERTAIN:
    case ERR_UNAVAILABLE:
    case ERR_BUSY:
    case ERR_IO:
        return 1;
    default:
        return 0;
    }
}

static void count_failure(enum err_code code)
{
    if (code && is_database_failure(code))
        metric_add(metric_get(METRIC_DB_ERRORS, err_slug(code), NULL, NULL), 1);
}

/* --- writing -------------------------------------------------------------------------------- */

struct guarded {
    const struct db *db;
    db_work *work;
    void *ctx;
};

static enum err_code run_guarded(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct guarded *guarded = ctx;
    working_on = guarded->db;
    enum err_code code = guarded->work(tx, guarded->ctx, err);
    working_on = NULL;
    return code;
}

enum err_code db_transact(struct db *db, enum db_durability durability, db_work *work, void *ctx,
                          struct err *err)
{
    assert(working_on != db && "db_transact inside of a transaction's work");
    struct guarded guarded = {db, work, ctx};
    uint64_t start = clock_ns();
    enum err_code code = db->driver->transact(db->impl, durability, run_guarded, &guarded, err);
    metric_observe(db->write_seconds, (double)(clock_ns() - start) * 1e-9);
    count_failure(code);
    return code;
}

/* --- reading -------------------------------------------------------------------------------- */

static enum err_code begin_reading(struct db *db,
                                   enum err_code (*begin)(void *, struct db_tx **, struct err *),
                                   struct db_tx **ret, struct err *err)
{
    assert(working_on != db && "work reads through its own transaction");
    *ret = NULL;
    uint64_t start = clock_ns();
    enum err_code code = begin(db->impl, ret, err);
    if (code) {
        count_failure(code);
        return code;
    }
    (*ret)->db = db;
    (*ret)->started_ns = start;
    (*ret)->worst = ERR_OK;
    (*ret)->single = (*ret)->queries = 0;
    return ERR_OK;
}

enum err_code db_read_begin(struct db *db, struct db_tx **ret, struct err *err)
{
    return begin_reading(db, db->driver->read_begin, ret, err);
}

enum err_code db_read_begin_single(struct db *db, struct db_tx **ret, struct err *err)
{
    enum err_code code = begin_reading(db, db->driver->read_begin, ret, err);
    if (!code)
        (*ret)->single = 1;
    return code;
}

enum err_code db_read_begin_stale(struct db *db, struct db_tx **ret, struct err *err)
{
    return begin_reading(db, db->driver->read_begin_stale, ret, err);
}

void db_end(struct db_tx **tx)
{
    if (!*tx)
        return;
    struct db_tx *it = STEAL(*tx);
    struct metric_series *series = it->db->read_seconds;
    uint64_t start = it->started_ns;
    enum err_code worst = it->worst;
    it->driver->read_end(it); /* from here on `it` may belong to another thread */
    metric_observe(series, (double)(clock_ns() - start) * 1e-9);
    count_failure(worst);
}

struct db_arg db_text_arg(const char *text)
{
    if (!text)
        return DB_N;
    return (struct db_arg){.type = DB_TEXT, .data = text, .size = strlen(text)};
}

static enum err_code note(struct db_tx *tx, enum err_code code)
{
    if (code)
        tx->worst = code;
    return code;
}

enum err_code db_exec_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                           int64_t *ret_changed, struct err *err)
{
    return note(tx, tx->driver->exec(tx, sql, args, n, ret_changed, err));
}

enum err_code db_send_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                           struct err *err)
{
    if (!tx->driver->send)
        return db_exec_args(tx, sql, args, n, NULL, err);
    return note(tx, tx->driver->send(tx, sql, args, n, err));
}

enum err_code db_query_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                            struct db_rows **ret, struct err *err)
{
    *ret = NULL;
    assert((!tx->single || tx->queries++ == 0) && "one query was announced");
    return note(tx, tx->driver->query(tx, sql, args, n, ret, err));
}

int db_next(struct db_rows *rows, struct err *err)
{
    struct err own;
    if (!err)
        err = &own;
    int there = rows->tx->driver->next(rows, err);
    if (there < 0)
        note(rows->tx, err->code);
    return there;
}

int db_is_null(const struct db_rows *rows, int column)
{
    return rows->tx->driver->is_null(rows, column);
}

int64_t db_int(const struct db_rows *rows, int column)
{
    return rows->tx->driver->column_int(rows, column);
}

double db_real(const struct db_rows *rows, int column)
{
    return rows->tx->driver->column_real(rows, column);
}

const char *db_text(const struct db_rows *rows, int column, size_t *ret_size)
{
    return rows->tx->driver->column_text(rows, column, ret_size);
}

void db_rows_done(struct db_rows **rows)
{
    if (!*rows)
        return;
    struct db_rows *it = STEAL(*rows);
    it->tx->driver->rows_done(it);
}

/* --- ping ----------------------------------------------------------------------------------- */

static enum err_code make_ping_table(struct db_tx *tx, void *ctx, struct err *err)
{
    (void)ctx;
    return db_exec(tx,
                   "CREATE TABLE IF NOT EXISTS db_ping (id INTEGER PRIMARY KEY, "
                   "count BIGINT NOT NULL)",
                   NULL, err);
}

static enum err_code write_ping(struct db_tx *tx, void *ctx, struct err *err)
{
    (void)ctx;
    return db_exec(tx,
                   "INSERT INTO db_ping (id, count) VALUES (1, 1) "
                   "ON CONFLICT (id) DO UPDATE SET count = db_ping.count + 1",
                   NULL, err);
}

enum err_code db_ping(struct db *db, struct err *err)
{
    enum err_code code = ERR_OK;
    if (!__atomic_load_n(&db->ping_ready, __ATOMIC_RELAXED))
        code = db_transact(db, DB_RELAXED, make_ping_table, NULL, err);
    if (!code)
        __atomic_store_n(&db->ping_ready, 1, __ATOMIC_RELAXED);
    if (!code)
        code = db_transact(db, DB_DURABLE, write_ping, NULL, err);
    if (code)
        return code;
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    code = db_read_begin(db, &tx, err);
    if (!code)
        code = db_query(tx, "SELECT count FROM db_ping WHERE id = 1", &rows, err);
    if (code)
        return code;
    int there = db_next(rows, err);
    if (there < 0)
        return err ? err->code : ERR_DB;
    return there ? ERR_OK : err_set(err, ERR_DB, "the database lost a row that was just written");
}

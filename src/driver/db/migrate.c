/* Schema changes: each runs once, in a transaction of its own, and is noted with its SHA-256.
 *
 * What ran before is compared with what the program brings, so that neither a changed script nor a
 * database of a newer program goes unnoticed. Several processes may do this at once: whether a
 * script still has to run is decided inside of the transaction that runs it. */
#include <string.h>

#include "../../base/hash.h"
#include "../../base/mem.h"
#include "../../base/time.h"
#include "db_driver.h"

/* The first column of the first row. */
static enum err_code first_number(struct db_tx *tx, const char *sql, struct db_arg arg,
                                  int64_t *ret, struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    struct err own = {0};
    *ret = 0;
    enum err_code code =
        arg.type == DB_NULL ? db_query(tx, sql, &rows, err) : db_query(tx, sql, &rows, err, arg);
    if (code)
        return code;
    int there = db_next(rows, &own);
    if (there < 0) {
        if (err)
            *err = own;
        return own.code;
    }
    if (there)
        *ret = db_int(rows, 0);
    return ERR_OK;
}

/* SQLite files of before there was `needs` lack its column. */
static enum err_code add_needs(struct db_tx *tx, struct err *err)
{
    int64_t there = 0;
    if (strcmp(tx->driver->name, "sqlite"))
        return ERR_OK;
    enum err_code code = first_number(tx,
                                      "SELECT COUNT(*) FROM pragma_table_info('schema_migrations') "
                                      "WHERE name = 'needs'",
                                      DB_N, &there, err);
    if (code || there)
        return code;
    return db_exec(tx, "ALTER TABLE schema_migrations ADD COLUMN needs INTEGER NOT NULL DEFAULT 0",
                   NULL, err);
}

static enum err_code make_table(struct db_tx *tx, void *ctx, struct err *err)
{
    (void)ctx;
    enum err_code code =
        db_exec(tx,
                "CREATE TABLE IF NOT EXISTS schema_migrations (number INTEGER PRIMARY KEY, "
                "name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at BIGINT NOT NULL, "
                "needs INTEGER NOT NULL DEFAULT 0)",
                NULL, err);
    return code ? code : add_needs(tx, err);
}

struct step {
    const struct db_migration *migration;
    char sha256[SHA256_HEX];
    int applied; /* by us */
};

/* *ret_known: this migration has run before, unchanged. */
static enum err_code look_up(struct db_tx *tx, const struct step *step, int *ret_known,
                             struct err *err)
{
    *ret_known = 0;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code = db_query(tx, "SELECT sha256 FROM schema_migrations WHERE number = ?1",
                                  &rows, err, DB_I(step->migration->number));
    if (code)
        return code;
    struct err own = {0};
    int there = db_next(rows, &own);
    if (there < 0) {
        if (err)
            *err = own;
        return own.code;
    }
    if (!there)
        return ERR_OK;
    const char *before = db_text(rows, 0, NULL);
    *ret_known = 1;
    if (before && !strcmp(before, step->sha256))
        return ERR_OK;
    return err_set(err, ERR_DB, "schema change %d (%s) ran before with another content",
                   step->migration->number, step->migration->name);
}

static enum err_code apply(struct db_tx *tx, void *ctx, struct err *err)
{
    struct step *step = ctx;
    int known;
    step->applied = 0;
    enum err_code code = look_up(tx, step, &known, err);
    if (code || known)
        return code;
    code = tx->driver->script(tx, step->migration->sql, err);
    if (code) {
        err_prefix(err, "schema change %d (%s)", step->migration->number, step->migration->name);
        return code;
    }
    code = db_exec(tx,
                   "INSERT INTO schema_migrations (number, name, sha256, applied_at, needs) "
                   "VALUES (?1, ?2, ?3, ?4, ?5)",
                   NULL, err, DB_I(step->migration->number), DB_T(step->migration->name),
                   DB_T(step->sha256), DB_I(time_now_ms()), DB_I(step->migration->needs));
    step->applied = !code;
    return code;
}

struct newest {
    int highest; /* that the program knows */
};

/* A newer schema is one to work on when all of its changes say so. */
static enum err_code refuse_newer(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct newest *newest = ctx;
    int64_t needs = 0;
    enum err_code code =
        first_number(tx,
                     "SELECT COALESCE(MAX(CASE needs WHEN 0 THEN number ELSE needs END), 0) "
                     "FROM schema_migrations WHERE number > ?1",
                     DB_I(newest->highest), &needs, err);
    if (code || needs <= newest->highest)
        return code;
    return err_set(err, ERR_DB,
                   "the database was written by a newer sonde (it needs schema %lld, this one "
                   "knows %d)",
                   (long long)needs, newest->highest);
}

enum err_code db_migrate(struct db *db, const struct db_migration *migrations, size_t n,
                         int *ret_applied, struct err *err)
{
    int ignored;
    int *applied = ret_applied ? ret_applied : &ignored;
    *applied = 0;
    struct newest newest = {n ? migrations[n - 1].number : 0};
    for (size_t i = 0; i < n; i++)
        if (migrations[i].number <= (i ? migrations[i - 1].number : 0))
            return err_set(err, ERR_INTERNAL, "schema changes are not in order");
    enum err_code code = db_transact(db, DB_DURABLE, make_table, NULL, err);
    if (!code)
        code = db_transact(db, DB_RELAXED, refuse_newer, &newest, err);
    for (size_t i = 0; i < n && !code; i++) {
        struct step step = {.migration = &migrations[i]};
        code = sha256_mem(migrations[i].sql, strlen(migrations[i].sql), step.sha256, err);
        if (!code)
            code = db_transact(db, DB_DURABLE, apply, &step, err);
        if (!code)
            *applied += step.applied;
    }
    return code;
}

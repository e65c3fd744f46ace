/* The schema. The scripts of db/migrations are put into the program by the assembler (see
 * meson.build), so that a program and its schema cannot be of two versions. Runs once at start. */
#include "internal.h"

extern const char store_sql_0001[];

static enum err_code recount(struct db_tx *tx, void *ctx, struct err *err)
{
    (void)ctx;
    return db_exec_args(tx,
                        "UPDATE counters SET value = (SELECT COUNT(*) FROM analyses "
                        "WHERE status IN ('queued', 'running')) WHERE name = 'waiting'",
                        NULL, 0, NULL, err);
}

enum err_code store_migrate(struct db *db, int *ret_applied, struct err *err)
{
    const struct db_migration migrations[] = {
        {1, "store", store_sql_0001},
    };
    enum err_code code = db_migrate(db, migrations, ARRAY_LEN(migrations), ret_applied, err);
    /* Relaxed: lost with a power cut, it is counted again at the start after it. */
    return code ? code : db_transact(db, DB_RELAXED, recount, NULL, err);
}

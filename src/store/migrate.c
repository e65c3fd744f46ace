/* The schema. The scripts of db/migrations are put into the program by the assembler (see
 * meson.build), so that a program and its schema cannot be of two versions. Each change stands
 * there in the words of both databases under the same number. Runs once at start. */
#include "internal.h"

#include <string.h>

extern const char store_sqlite_0001[], store_sqlite_0002[];
extern const char store_postgres_0001[], store_postgres_0002[];

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
    int postgres = !strcmp(db_driver_name(db), "postgres");
    /* 0002 needs 1: a program that knows nothing of origins leaves them empty, and a keeper
     * publishes what such a program left behind. */
    const struct db_migration migrations[] = {
        {1, "store", postgres ? store_postgres_0001 : store_sqlite_0001, .needs = 1},
        {2, "processes", postgres ? store_postgres_0002 : store_sqlite_0002, .needs = 1},
    };
    enum err_code code = db_migrate(db, migrations, ARRAY_LEN(migrations), ret_applied, err);
    /* Relaxed: lost with a power cut, it is counted again at the start after it. */
    return code ? code : db_transact(db, DB_RELAXED, recount, NULL, err);
}

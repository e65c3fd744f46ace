/* Leases: what one process at a time does, such as retention, is done by whoever holds its row. A
 * lease that is not prolonged ends by itself, so a process that dies or hangs loses it. Any thread.
 */
#include "internal.h"

struct lease {
    const char *name, *owner;
    int64_t ms;
    int held; /* out */
};

static enum err_code lease_work(struct db_tx *tx, void *ctx, struct err *err)
{
    struct lease *l = ctx;
    int64_t now = time_now_ms(), changed = 0;
    /* An end far ahead was written by a clock that was wrong: nobody would prolong it, and nobody
     * could take it. */
    enum err_code code =
        db_exec(tx,
                "INSERT INTO leases (name, owner, until_ms) VALUES (?1, ?2, ?3) "
                "ON CONFLICT (name) DO UPDATE SET owner = ?2, until_ms = ?3 "
                "WHERE leases.owner = ?2 OR leases.until_ms <= ?4 OR leases.until_ms > ?5",
                &changed, err, DB_T(l->name), DB_T(l->owner), DB_I(now + l->ms), DB_I(now),
                DB_I(now + 10 * l->ms));
    l->held = changed > 0;
    return code;
}

enum err_code store_lease(struct db *db, const char *name, const char *owner, double seconds,
                          int *ret_held, struct err *err)
{
    struct lease l = {.name = name, .owner = owner, .ms = (int64_t)(seconds * 1e3)};
    *ret_held = 0;
    enum err_code code = db_transact(db, DB_RELAXED, lease_work, &l, err);
    if (!code)
        *ret_held = l.held;
    return code;
}

static enum err_code end_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct lease *l = ctx;
    return db_exec(tx, "DELETE FROM leases WHERE name = ?1 AND owner = ?2", NULL, err,
                   DB_T(l->name), DB_T(l->owner));
}

enum err_code store_lease_end(struct db *db, const char *name, const char *owner, struct err *err)
{
    return db_transact(db, DB_RELAXED, end_work, &(struct lease){.name = name, .owner = owner},
                       err);
}

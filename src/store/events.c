/* Events: which analyses changed, in order, so that a page that was away learns what it missed.
 * They are written by store_tx_event in the transaction of the change. store_tidy removes old ones
 * and notes up to where: who asks for what was removed is told so. Any thread. */
#include "internal.h"

#define EVENTS_MAX       1000  /* in one call of store_events */
#define TIDY_STEP        10000 /* rows that one transaction of store_tidy removes at most */
#define KEY_KEPT_MS      DAY_MS
#define DELIVERY_KEPT_MS (30 * DAY_MS)

/* Oldest number known, newest number given; both 0 at first. */
static enum err_code tx_bounds(struct db_tx *tx, int64_t *ret_removed, int64_t *ret_last,
                               struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = store_first(tx,
                                     "SELECT value, (SELECT MAX(id) FROM events) FROM counters "
                                     "WHERE name = ?1",
                                     &rows, &found, err, DB_T("events_removed"));
    if (code)
        return code;
    int64_t removed = found ? db_int(rows, 0) : 0, last = found ? db_int(rows, 1) : 0;
    *ret_removed = removed;
    *ret_last = last > removed ? last : removed;
    return ERR_OK;
}

static enum err_code read_events(struct db *db, int64_t after, int limit, struct store_event *list,
                                 int *ret_n, int *ret_complete, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int64_t removed = 0, last = 0;
    int found = 0, n = 0;
    enum err_code code = db_read_begin_single(db, &tx, err);
    if (!code) /* tx_bounds and the events; without events a row of NULLs beside the bounds */
        code = store_first(tx,
                           "SELECT e.id, e.analysis_id, e.deleted, c.value, "
                           "(SELECT MAX(id) FROM events) FROM counters c LEFT JOIN "
                           "(SELECT id, analysis_id, deleted FROM events WHERE id > ?1 "
                           "ORDER BY id LIMIT ?2) e ON TRUE "
                           "WHERE c.name = 'events_removed' ORDER BY e.id",
                           &rows, &found, err, DB_I(after), DB_I(limit));
    if (!code && found) {
        removed = db_int(rows, 3);
        last = db_int(rows, 4) > removed ? db_int(rows, 4) : removed;
    }
    while (!code && found && n < limit && !db_is_null(rows, 0)) {
        list[n].id = db_int(rows, 0);
        store_copy(list[n].analysis_id, sizeof list->analysis_id, rows, 1);
        list[n++].deleted = db_int(rows, 2) != 0;
        code = store_next(rows, &found, err);
    }
    *ret_n = n;
    /* Beyond the newest: of another database, such as one before a restore. */
    *ret_complete = after >= removed && after <= last;
    return code;
}

enum err_code store_events(struct db *db, int64_t after, int limit, store_each_event *each,
                           void *ctx, int *ret_complete, struct err *err)
{
    limit = limit < 1 ? 1 : limit > EVENTS_MAX ? EVENTS_MAX : limit;
    _cleanup_free_ struct store_event *list = xalloc((size_t)limit * sizeof *list);
    int n = 0, complete = 0;
    enum err_code code = read_events(db, after, limit, list, &n, &complete, err);
    if (code)
        return code;
    *ret_complete = complete;
    for (int i = 0; i < n; i++)
        if (each(ctx, &list[i]))
            break;
    return ERR_OK;
}

enum err_code store_last_event(struct db *db, int64_t *ret, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    int64_t removed = 0;
    enum err_code code = db_read_begin_single(db, &tx, err);
    return code ? code : tx_bounds(tx, &removed, ret, err);
}

/* --- tidying ------------------------------------------------------------------------------ */

struct tidy {
    int64_t now;
    int more; /* out: there is more to remove than one step */
};

static enum err_code tidy_events(struct db_tx *tx, struct tidy *t, struct err *err)
{
    int64_t removed = 0, last = 0;
    enum err_code code = tx_bounds(tx, &removed, &last, err);
    int64_t upto = last - STORE_EVENTS_KEPT;
    if (code || upto <= removed)
        return code;
    if (upto > removed + TIDY_STEP) {
        upto = removed + TIDY_STEP;
        t->more = 1;
    }
    code = db_exec(tx, "DELETE FROM events WHERE id <= ?1", NULL, err, DB_I(upto));
    return code ? code
                : db_exec(tx, "UPDATE counters SET value = ?1 WHERE name = 'events_removed'", NULL,
                          err, DB_I(upto));
}

static enum err_code tidy_old(struct db_tx *tx, struct tidy *t, const char *sql, int64_t kept_ms,
                              struct err *err)
{
    int64_t changed = 0;
    enum err_code code = db_exec(tx, sql, &changed, err, DB_I(t->now - kept_ms), DB_I(TIDY_STEP));
    if (!code && changed >= TIDY_STEP)
        t->more = 1;
    return code;
}

static enum err_code tidy_work(struct db_tx *tx, void *ctx, struct err *err)
{
    struct tidy *t = ctx;
    t->more = 0;
    enum err_code code = tidy_events(tx, t, err);
    if (!code)
        code = tidy_old(tx, t,
                        "DELETE FROM idempotency_answers WHERE key IN (SELECT key FROM idempotency "
                        "WHERE created_ms < ?1 ORDER BY created_ms, key LIMIT ?2)",
                        KEY_KEPT_MS, err);
    if (!code)
        code = tidy_old(tx, t,
                        "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency "
                        "WHERE created_ms < ?1 ORDER BY created_ms, key LIMIT ?2)",
                        KEY_KEPT_MS, err);
    if (!code)
        code = tidy_old(tx, t,
                        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries "
                        "WHERE created_ms < ?1 ORDER BY created_ms LIMIT ?2)",
                        DELIVERY_KEPT_MS, err);
    return code;
}

enum err_code store_tidy(struct db *db, struct err *err)
{
    struct tidy t = {.now = time_now_ms(), .more = 1};
    enum err_code code = ERR_OK;
    /* Relaxed: lost with a power cut, it is removed the next time. In steps, so that an upload
     * never waits long for its turn to write. */
    while (!code && t.more)
        code = db_transact(db, DB_RELAXED, tidy_work, &t, err);
    return code;
}

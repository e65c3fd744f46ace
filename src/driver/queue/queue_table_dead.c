/* The table driver's dead letters: burying, expiry, and what `sonde jobs` does with them.
 *
 * Expiry tells its caller first and buries afterwards, so that a crash between the two repeats the
 * telling instead of losing it. What expires cannot be received any more, so nobody comes between;
 * only a late settling may, and then there is nothing left to bury. Threads: any. */
#include "queue_table.h"

#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "queue_history.h"

#define EXPIRE_BATCH 64

enum err_code table_bury(struct db_tx *tx, const char *id, const char *reason, struct err *err)
{
    char tidy[QUEUE_REASON_MAX + 1];
    _cleanup_free_ char *history = NULL;
    queue_reason_tidy(reason, tidy);
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code =
        db_query(tx, "SELECT history FROM queue_messages WHERE id = ?1", &rows, err, DB_T(id));
    if (code || table_row(rows, &code, err) != 1)
        return code;
    const char *before = db_text(rows, 0, NULL);
    history = queue_history_add(before ? before : "[]", reason);
    db_rows_done(&rows);
    if (!history)
        return err_set(err, ERR_NO_MEMORY, "no memory for a dead letter");
    /* The same id may have died before, when it was published twice. */
    code = db_exec(tx, "DELETE FROM queue_dead WHERE id = ?1", NULL, err, DB_T(id));
    if (!code)
        code = db_exec(tx,
                       "INSERT INTO queue_dead (id, queue, body, reason, history, deliveries, "
                       "published_at, died_at) SELECT id, queue, body, ?2, ?3, delivery, "
                       "published_at, ?4 FROM queue_messages WHERE id = ?1",
                       NULL, err, DB_T(id), DB_T(tidy), DB_T(history), DB_I(time_steady_ms()));
    if (!code)
        code = db_exec(tx, "DELETE FROM queue_messages WHERE id = ?1", NULL, err, DB_T(id));
    return code;
}

/* --- expiry --------------------------------------------------------------------------------- */

struct doomed {
    struct {
        char id[ID_TEXT];
        char *body;
    } list[EXPIRE_BATCH];
    size_t n;
    int64_t now;
    const char *reason;
};

static void drop_doomed(struct doomed *doomed)
{
    for (size_t i = 0; i < doomed->n; i++)
        free(doomed->list[i].body);
    doomed->n = 0;
}

#define TOO_OLD                                                                                    \
    "SELECT id, body FROM queue_messages WHERE queue = ?1 AND published_at <= ?2 "                 \
    "AND +available_at <= ?3 LIMIT 64"
/* Every delivery was made and none settled: the lease of the last one has ended. */
#define USED_UP                                                                                    \
    "SELECT id, body FROM queue_messages WHERE queue = ?1 AND available_at <= ?3 "                 \
    "AND lease IS NOT NULL AND +delivery >= ?2 LIMIT 64"

static enum err_code find_doomed(struct queue_table *t, int name, const char *sql, int64_t limit,
                                 struct doomed *doomed, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int there = 0;
    enum err_code code = db_read_begin(t->db, &tx, err);
    if (!code)
        code =
            db_query(tx, sql, &rows, err, DB_T(queue_name(name)), DB_I(limit), DB_I(doomed->now));
    while (!code && doomed->n < EXPIRE_BATCH && (there = table_row(rows, &code, err)) == 1) {
        const char *id = db_text(rows, 0, NULL), *body = db_text(rows, 1, NULL);
        if (!id || strlen(id) >= ID_TEXT || !body)
            continue;
        char *copy = strdup(body);
        if (!copy)
            return err_set(err, ERR_NO_MEMORY, "no memory for a message");
        memcpy(doomed->list[doomed->n].id, id, strlen(id) + 1);
        doomed->list[doomed->n++].body = copy;
    }
    return code;
}

static enum err_code bury_doomed(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct doomed *doomed = ctx;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < doomed->n && !code; i++)
        code = table_bury(tx, doomed->list[i].id, doomed->reason, err);
    return code;
}

static enum err_code expire_queue(struct queue_table *t, int name, const char *sql, int64_t limit,
                                  const char *reason, queue_expired *expired, void *ctx,
                                  struct err *err)
{
    enum err_code code = ERR_OK;
    size_t found;
    do {
        _cleanup_(drop_doomed) struct doomed doomed = {.now = time_steady_ms(), .reason = reason};
        code = find_doomed(t, name, sql, limit, &doomed, err);
        found = doomed.n;
        for (size_t i = 0; i < found && !code; i++)
            expired(ctx, queue_name(name), doomed.list[i].body);
        if (found && !code)
            code = db_transact(t->db, DB_RELAXED, bury_doomed, &doomed, err);
    } while (!code && found == EXPIRE_BATCH);
    return code;
}

enum err_code table_expire(void *impl, queue_expired *expired, void *ctx, struct err *err)
{
    struct queue_table *t = impl;
    enum err_code code = ERR_OK;
    for (int i = 0; i < QUEUE_NAMES && !code; i++) {
        code = expire_queue(t, i, TOO_OLD, time_steady_ms() - TTL_MS,
                            "it waited for longer than a day", expired, ctx, err);
        if (!code)
            code =
                expire_queue(t, i, USED_UP, DELIVERIES_MAX,
                             "the lease of its last delivery ended unsettled", expired, ctx, err);
    }
    return code;
}

/* --- dead letters --------------------------------------------------------------------------- */

enum err_code table_dead_stats(struct queue_table *t, struct queue_stats *ret, struct err *err)
{
    int64_t now = time_steady_ms();
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code = db_read_begin(t->db, &tx, err);
    if (!code)
        code = db_query(tx, "SELECT count(*), COALESCE(MIN(died_at), ?1) FROM queue_dead", &rows,
                        err, DB_I(now));
    if (code || table_row(rows, &code, err) != 1)
        return code;
    ret->ready = (uint64_t)db_int(rows, 0);
    int64_t oldest = db_int(rows, 1);
    ret->oldest_s = oldest < now ? (double)(now - oldest) / 1000 : 0;
    return ERR_OK;
}

enum err_code table_dead_list(void *impl, queue_each_dead *each, void *ctx, struct err *err)
{
    struct queue_table *t = impl;
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code = db_read_begin(t->db, &tx, err);
    if (!code)
        code = db_query(tx,
                        "SELECT id, queue, body, reason, history, deliveries, published_at, "
                        "died_at FROM queue_dead ORDER BY died_at, id",
                        &rows, err);
    while (!code && table_row(rows, &code, err) == 1) {
        struct queue_dead_letter letter = {
            .id = db_text(rows, 0, NULL),
            .queue = db_text(rows, 1, NULL),
            .body = db_text(rows, 2, NULL),
            .reason = db_text(rows, 3, NULL),
            .history = db_text(rows, 4, NULL),
            .deliveries = (int)db_int(rows, 5),
            .published_ms = db_int(rows, 6),
            .died_ms = db_int(rows, 7),
        };
        if (each(ctx, &letter))
            break;
    }
    return code;
}

struct raising {
    const char *id; /* NULL: all */
    int64_t count;
};

static enum err_code raise_dead(struct db_tx *tx, void *ctx, struct err *err)
{
    struct raising *raising = ctx;
    enum err_code code =
        db_exec(tx,
                "INSERT INTO queue_messages (id, queue, available_at, lease, delivery, "
                "published_at, body, history) SELECT id, queue, ?2, NULL, 0, ?2, body, history "
                "FROM queue_dead WHERE id = COALESCE(?1, id) ON CONFLICT (id) DO NOTHING",
                NULL, err, DB_T(raising->id), DB_I(time_steady_ms()));
    if (!code)
        code = db_exec(tx, "DELETE FROM queue_dead WHERE id = COALESCE(?1, id)", &raising->count,
                       err, DB_T(raising->id));
    return code;
}

static enum err_code drop_dead(struct db_tx *tx, void *ctx, struct err *err)
{
    struct raising *raising = ctx;
    return db_exec(tx, "DELETE FROM queue_dead WHERE id = COALESCE(?1, id)", &raising->count, err,
                   DB_T(raising->id));
}

enum err_code table_dead_retry(void *impl, const char *id, uint64_t *ret_count, struct err *err)
{
    struct queue_table *t = impl;
    struct raising raising = {.id = id};
    *ret_count = 0;
    enum err_code code = db_transact(t->db, DB_DURABLE, raise_dead, &raising, err);
    if (code)
        return code;
    *ret_count = (uint64_t)raising.count;
    table_ring(t, -1);
    return ERR_OK;
}

enum err_code table_dead_drop(void *impl, const char *id, uint64_t *ret_count, struct err *err)
{
    struct queue_table *t = impl;
    struct raising raising = {.id = id};
    *ret_count = 0;
    enum err_code code = db_transact(t->db, DB_DURABLE, drop_dead, &raising, err);
    if (!code)
        *ret_count = (uint64_t)raising.count;
    return code;
}

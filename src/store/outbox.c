/* The outbox: jobs that were written in the transaction of their cause and wait to be published.
 * The relay peeks, publishes, and removes what was published; a crash between publishes a job
 * again, which consumers bear. Rows are added by store_tx_outbox and carry the process that wrote
 * them (store_set_origin): each relay moves its own at once, and one of them those that lie for so
 * long that their process must be gone. Any thread; one relay per process. */
#include "internal.h"

#include <string.h>

static enum err_code peek_row(const struct db_rows *rows, struct store_outbox_row *ret,
                              struct err *err)
{
    ret->row = db_int(rows, 0);
    store_copy(ret->id, sizeof ret->id, rows, 1);
    store_copy(ret->queue, sizeof ret->queue, rows, 2);
    return store_take(rows, 3, &ret->body, err);
}

static enum err_code query_rows(struct db_tx *tx, const struct store_outbox_filter *filter,
                                size_t cap, struct db_rows **ret, int *ret_found, struct err *err)
{
    if (!filter)
        return store_first(tx,
                           "SELECT number, id, queue, body FROM outbox ORDER BY number LIMIT ?1",
                           ret, ret_found, err, DB_I(cap));
    if (filter->origin)
        return store_first(tx,
                           "SELECT number, id, queue, body FROM outbox WHERE origin = ?1 "
                           "ORDER BY number LIMIT ?2",
                           ret, ret_found, err, DB_T(filter->origin), DB_I(cap));
    /* The second: written by a clock that is ahead, and would lie until ours has caught up. */
    return store_first(tx,
                       "SELECT number, id, queue, body FROM outbox WHERE created_ms < ?1 "
                       "OR created_ms > ?2 ORDER BY created_ms, number LIMIT ?3",
                       ret, ret_found, err, DB_I(filter->before_ms), DB_I(filter->after_ms),
                       DB_I(cap));
}

enum err_code store_outbox_peek(struct db *db, const struct store_outbox_filter *filter,
                                struct store_outbox_row *list, size_t cap, size_t *ret_n,
                                struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    size_t n = 0;
    *ret_n = 0;
    enum err_code code = db_read_begin_single(db, &tx, err);
    if (!code)
        code = query_rows(tx, filter, cap, &rows, &found, err);
    while (!code && found && n < cap) {
        code = peek_row(rows, &list[n], err);
        if (!code) {
            n++;
            code = store_next(rows, &found, err);
        }
    }
    if (code)
        while (n)
            free(STEAL(list[--n].body));
    *ret_n = n;
    return code;
}

struct sent {
    const struct store_outbox_row *list;
    size_t n;
};

static enum err_code sent_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct sent *s = ctx;
    enum err_code code = ERR_OK;
    for (size_t i = 0; !code && i < s->n; i++)
        code = db_send(tx, "DELETE FROM outbox WHERE number = ?1", err, DB_I(s->list[i].row));
    return code;
}

enum err_code store_outbox_sent(struct db *db, const struct store_outbox_row *list, size_t n,
                                struct err *err)
{
    if (!n)
        return ERR_OK;
    /* Relaxed: lost with a power cut, these are published again. */
    return db_transact(db, DB_RELAXED, sent_work, &(struct sent){list, n}, err);
}

enum err_code store_outbox_count(struct db *db, uint64_t *ret, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = db_read_begin(db, &tx, err);
    if (!code)
        code = store_first_args(tx, "SELECT COUNT(*) FROM outbox", NULL, 0, &rows, &found, err);
    if (!code)
        *ret = found ? (uint64_t)db_int(rows, 0) : 0;
    return code;
}

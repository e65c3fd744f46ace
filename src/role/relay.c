/* The relay: moves outbox rows into the queue, in order, at least once.
 *
 * A row is removed only after the queue has taken it; a crash between the two publishes it a second
 * time, which the consumers bear. One thread; woken by the store after each commit that wrote a
 * row, and by the clock.
 *
 * On a shared database each process moves the rows that it wrote itself, and the one keeper also
 * those that lie for ORPHAN_MS: of a process that died, or cannot reach the queue. */
#include <stdlib.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../base/time.h"
#include "../obs/metrics.h"
#include "../os/clock.h"
#include "roles.h"

#define BATCH     256
#define ORPHAN_MS 10000

static enum err_code move_batch(struct app *app, const struct store_outbox_filter *filter,
                                size_t *ret_moved, struct err *err)
{
    static __thread struct store_outbox_row rows[BATCH];
    struct queue_publication list[BATCH];
    size_t n = 0;
    enum err_code rc = store_outbox_peek(app->db, filter, rows, BATCH, &n, err);
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        list[i] = (struct queue_publication){
            .id = rows[i].id, .queue = rows[i].queue, .body = rows[i].body};
    if (rc == ERR_OK && n > 0)
        rc = queue_publish(app->queue, list, n, err);
    if (rc == ERR_OK && n > 0)
        rc = store_outbox_sent(app->db, rows, n, err);
    for (size_t i = 0; i < n; i++) {
        free(rows[i].body);
        rows[i].body = NULL;
    }
    *ret_moved = n;
    return rc;
}

/* Own rows, and now and then those of others. */
static enum err_code move(struct app *app, double *others_at, size_t *ret_moved, struct err *err)
{
    struct store_outbox_filter own = {.origin = app->instance};
    enum err_code rc = move_batch(app, app->shared ? &own : NULL, ret_moved, err);
    if (rc != ERR_OK || !app->shared || *ret_moved == BATCH || !atomic_load(&app->leads) ||
        clock_seconds() < *others_at)
        return rc;
    int64_t now = time_now_ms();
    struct store_outbox_filter old = {.before_ms = now - ORPHAN_MS, .after_ms = now + ORPHAN_MS};
    rc = move_batch(app, &old, ret_moved, err);
    if (rc == ERR_OK && *ret_moved < BATCH)
        *others_at = clock_seconds() + 1;
    return rc;
}

void *relay_run(void *ctx)
{
    struct app *app = ctx;
    uint64_t seen = 0;
    double pause = 0.1, others_at = 0;
    int failed = 0;
    /* Goes on when the other threads end, for what the last requests write. */
    while (!atomic_load(&app->relay_stop)) {
        struct err err = {0};
        size_t moved = 0;
        static struct log_limit limit;
        failed = move(app, &others_at, &moved, &err) != ERR_OK;
        if (failed) {
            if (log_allowed(&limit, 10, NULL))
                log_error(LOG_LEVEL_ERROR, "the outbox could not be moved; trying again", &err);
            bell_wait(&app->outbox, &seen, pause);
            pause = pause < 5 ? pause * 2 : 5;
        } else {
            pause = 0.1;
            if (moved < BATCH)
                bell_wait(&app->outbox, &seen, 1.0);
        }
    }
    size_t moved = BATCH;
    while (!failed && moved == BATCH) {
        struct store_outbox_filter own = {.origin = app->instance};
        failed = move_batch(app, app->shared ? &own : NULL, &moved, NULL) != ERR_OK;
    }
    return NULL;
}

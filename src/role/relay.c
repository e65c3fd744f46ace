/* The relay: moves outbox rows into the queue, in order, at least once.
 *
 * A row is removed only after the queue has taken it; a crash between the two publishes it a second
 * time, which the consumers bear. One thread; woken by the store after each commit that wrote a
 * row, and by the clock, for rows of other processes. */
#include <stdlib.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../obs/metrics.h"
#include "roles.h"

#define BATCH 256

static enum err_code move_batch(struct app *app, size_t *ret_moved, struct err *err)
{
    static __thread struct store_outbox_row rows[BATCH];
    struct queue_publication list[BATCH];
    size_t n = 0;
    enum err_code rc = store_outbox_peek(app->db, rows, BATCH, &n, err);
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

void *relay_run(void *ctx)
{
    struct app *app = ctx;
    uint64_t seen = 0;
    double pause = 0.1;
    while (!atomic_load(&app->stopping)) {
        struct err err = {0};
        size_t moved = 0;
        static struct log_limit limit;
        if (move_batch(app, &moved, &err) != ERR_OK) {
            if (log_allowed(&limit, 10, NULL))
                log_error(LOG_LEVEL_ERROR, "the outbox could not be moved; trying again", &err);
            bell_wait(&app->changed, &seen, pause);
            pause = pause < 5 ? pause * 2 : 5;
        } else {
            pause = 0.1;
            if (moved < BATCH)
                bell_wait(&app->changed, &seen, 1.0);
        }
    }
    return NULL;
}

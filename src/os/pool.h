/* A bounded worker pool: plain functions run on a few threads, in the order they came.
 *
 * An item belongs to exactly one side at a time: to the caller until pool_submit returns ERR_OK,
 * then to the pool, whose thread hands `ctx` to `work`. `work` cannot fail: what goes wrong stands
 * in ctx. It may submit more, and may not wait for the pool. */
#ifndef SONDE_OS_POOL_H
#define SONDE_OS_POOL_H

#include <stddef.h>

#include "../base/err.h"

struct pool;
typedef void pool_work(void *ctx);

/* `threads` >= 1 threads named `name` (15 characters at most); at most `queue_max` waiting items.
 * The threads have the signal mask of the caller. */
enum err_code pool_new(const char *name, int threads, size_t queue_max, struct pool **ret,
                       struct err *err) MUST_CHECK;
/* ERR_BUSY when the queue is full, ERR_SHUTTING_DOWN after pool_stop. */
enum err_code pool_submit(struct pool *pool, pool_work *work, void *ctx,
                          struct err *err) MUST_CHECK;
/* No more items are taken; what waits is still run. Returns when all threads have ended. */
void pool_stop(struct pool *pool);
/* pool_stop and free. NULL is fine. Returns NULL. */
struct pool *pool_free(struct pool *pool);

struct pool_stats {
    int threads, busy;
    size_t waiting, queue_max;
};
struct pool_stats pool_stats(const struct pool *pool);

#endif

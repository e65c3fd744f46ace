/* A worker pool: a ring of items, one mutex, two conditions.
 *
 * The ring has its full size from the start, so that submitting never allocates and a full queue is
 * known at once. Workers keep the signal mask of the thread that makes the pool. */
#include "pool.h"

#include <pthread.h>
#include <stdio.h>

#include "../base/mem.h"

#define POOL_THREADS_MAX 1024
#define POOL_QUEUE_LIMIT (1u << 20)

struct item {
    pool_work *work;
    void *ctx;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t arrived; /* an item, or the end */
    pthread_cond_t ended;   /* all threads are joined */
    struct item *ring;
    size_t first, waiting, queue_max;
    int threads, busy;
    int stopping, joining, joined;
    char name[16];
    pthread_t ids[];
};

static void *run_worker(void *arg)
{
    struct pool *pool = arg;
    pthread_setname_np(pthread_self(), pool->name);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->waiting == 0 && !pool->stopping)
            pthread_cond_wait(&pool->arrived, &pool->lock);
        if (pool->waiting == 0)
            break;
        struct item item = pool->ring[pool->first];
        pool->first = (pool->first + 1) % pool->queue_max;
        pool->waiting--;
        pool->busy++;
        pthread_mutex_unlock(&pool->lock);
        item.work(item.ctx);
        pthread_mutex_lock(&pool->lock);
        pool->busy--;
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

enum err_code pool_new(const char *name, int threads, size_t queue_max, struct pool **ret,
                       struct err *err)
{
    *ret = NULL;
    if (threads < 1 || threads > POOL_THREADS_MAX || queue_max < 1 || queue_max > POOL_QUEUE_LIMIT)
        return err_set(err, ERR_USAGE, "pool %s: %d threads and %zu places are out of range", name,
                       threads, queue_max);
    struct pool *pool = xalloc(sizeof *pool + (size_t)threads * sizeof pool->ids[0]);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->arrived, NULL);
    pthread_cond_init(&pool->ended, NULL);
    pool->queue_max = queue_max;
    snprintf(pool->name, sizeof pool->name, "%s", name);
    pool->ring = try_alloc(queue_max, sizeof *pool->ring);
    if (!pool->ring) {
        pool_free(pool);
        return err_set(err, ERR_NO_MEMORY, "no memory for a queue of %zu", queue_max);
    }
    for (; pool->threads < threads; pool->threads++) {
        int rc = pthread_create(&pool->ids[pool->threads], NULL, run_worker, pool);
        if (rc != 0) {
            pool_free(pool);
            return err_set_errno(err, ERR_NO_MEMORY, rc, "cannot start thread %s", name);
        }
    }
    *ret = pool;
    return ERR_OK;
}

enum err_code pool_submit(struct pool *pool, pool_work *work, void *ctx, struct err *err)
{
    pthread_mutex_lock(&pool->lock);
    enum err_code rc = pool->stopping                     ? ERR_SHUTTING_DOWN
                       : pool->waiting == pool->queue_max ? ERR_BUSY
                                                          : ERR_OK;
    if (rc == ERR_OK) {
        pool->ring[(pool->first + pool->waiting) % pool->queue_max] = (struct item){work, ctx};
        pool->waiting++;
        pthread_cond_signal(&pool->arrived);
    }
    pthread_mutex_unlock(&pool->lock);
    if (rc == ERR_BUSY)
        return err_set(err, rc, "%zu items already wait in %s", pool->queue_max, pool->name);
    if (rc == ERR_SHUTTING_DOWN)
        return err_set(err, rc, "%s takes no more work", pool->name);
    return rc;
}

void pool_stop(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = 1;
    pthread_cond_broadcast(&pool->arrived);
    if (pool->joining) { /* another thread stops it already */
        while (!pool->joined)
            pthread_cond_wait(&pool->ended, &pool->lock);
    } else {
        pool->joining = 1;
        pthread_mutex_unlock(&pool->lock);
        for (int i = 0; i < pool->threads; i++)
            pthread_join(pool->ids[i], NULL);
        pthread_mutex_lock(&pool->lock);
        pool->joined = 1;
        pthread_cond_broadcast(&pool->ended);
    }
    pthread_mutex_unlock(&pool->lock);
}

struct pool *pool_free(struct pool *pool)
{
    if (!pool)
        return NULL;
    pool_stop(pool);
    pthread_cond_destroy(&pool->ended);
    pthread_cond_destroy(&pool->arrived);
    pthread_mutex_destroy(&pool->lock);
    free(pool->ring);
    free(pool);
    return NULL;
}

struct pool_stats pool_stats(const struct pool *pool)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&pool->lock; /* looking changes only the lock */
    pthread_mutex_lock(lock);
    struct pool_stats stats = {.threads = pool->threads,
                               .busy = pool->busy,
                               .waiting = pool->waiting,
                               .queue_max = pool->queue_max};
    pthread_mutex_unlock(lock);
    return stats;
}

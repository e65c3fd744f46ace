/* Connections for reading of one PostgreSQL server.
 *
 * They are made when they are needed first and kept; one that was lost is replaced by the next who
 * needs one. A server that is not there is asked again after growing pauses only, with jitter, so
 * that many processes do not all come back to it at once. A thread that reads while it reads gets a
 * connection beyond the pool's size, because waiting for itself would hang. Any thread. */
#include <string.h>

#include "../../base/mem.h"
#include "../../os/clock.h"
#include "db_postgres.h"

static _Thread_local int held; /* connections, by this thread */

int pg_backoff_wait(const struct pg_backoff *backoff)
{
    return backoff->next > clock_seconds();
}

void pg_backoff_note(struct pg_backoff *backoff, unsigned *seed, const struct err *why)
{
    if (!why) {
        *backoff = (struct pg_backoff){0};
        return;
    }
    backoff->why = *why;
    double pause = backoff->pause * 2;
    pause = pause < PG_BACKOFF_S ? PG_BACKOFF_S : pause > PG_BACKOFF_MAX ? PG_BACKOFF_MAX : pause;
    backoff->pause = pause;
    backoff->next = clock_seconds() + pause * (0.5 + 0.5 * rand_r(seed) / (double)RAND_MAX);
}

void pg_pool_init(struct pg_pool *pool, enum pg_target target, int lock_ms, int size)
{
    pool->target = target;
    pool->lock_ms = lock_ms;
    pool->size = size > PG_READERS_MAX ? PG_READERS_MAX : size;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->free_one, NULL);
}

/* With the lock held, which is let go meanwhile. */
static enum err_code open_one(struct pg_pool *pool, struct pg_conn **ret, struct err *err)
{
    if (pg_backoff_wait(&pool->backoff)) {
        if (err)
            *err = pool->backoff.why;
        return pool->backoff.why.code;
    }
    struct err own = {0};
    pthread_mutex_unlock(&pool->lock);
    enum err_code code = pg_connect(&pool->place, pool->target, pool->lock_ms, ret, &own);
    pthread_mutex_lock(&pool->lock);
    unsigned seed = (unsigned)clock_ns();
    pg_backoff_note(&pool->backoff, &seed, code ? &own : NULL);
    if (code && err)
        *err = own;
    return code;
}

enum err_code pg_pool_take(struct pg_pool *pool, struct pg_conn **ret, struct err *err)
{
    enum err_code code = ERR_OK;
    *ret = NULL;
    pthread_mutex_lock(&pool->lock);
    while (pool->out >= pool->size && !held)
        pthread_cond_wait(&pool->free_one, &pool->lock);
    pool->out++;
    if (pool->idle_n)
        *ret = pool->idle[--pool->idle_n];
    else
        code = open_one(pool, ret, err);
    if (code) {
        pool->out--;
        pthread_cond_broadcast(&pool->free_one);
    }
    pthread_mutex_unlock(&pool->lock);
    held += !code;
    return code;
}

void pg_pool_give(struct pg_pool *pool, struct pg_conn *conn)
{
    held--;
    if (conn && conn->lost)
        conn = pg_disconnect(conn);
    pthread_mutex_lock(&pool->lock);
    pool->out--;
    if (conn && pool->idle_n < pool->size)
        pool->idle[pool->idle_n++] = STEAL(conn);
    pthread_cond_broadcast(&pool->free_one);
    pthread_mutex_unlock(&pool->lock);
    pg_disconnect(conn);
}

void pg_pool_drain(struct pg_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->out)
        pthread_cond_wait(&pool->free_one, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

void pg_pool_free(struct pg_pool *pool)
{
    while (pool->idle_n)
        pg_disconnect(pool->idle[--pool->idle_n]);
    pthread_cond_destroy(&pool->free_one);
    pthread_mutex_destroy(&pool->lock);
    pg_place_free(&pool->place);
}

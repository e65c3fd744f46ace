/* A stack of idle connections: the one used last goes out first, so that a quiet cache uses few.
 *
 * When Redis fails (a time-out, a broken connection, a demoted master), all connections of that
 * moment belong to the past: the generation moves on, and calls fail at once. One thread, the
 * mender, tries to connect again in growing intervals; when it succeeds, calls go on. So a dead
 * Redis costs the calls that were under way their time-out, and every later one nothing. No lock is
 * held while anything is sent, received or closed. */
#include "redis_pool.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../base/id.h"
#include "../../base/mem.h"
#include "../../os/clock.h"

#define STABLE_NS (2000 * 1000000ull) /* up for so long: the next failure is a new one */

struct redis_pool {
    const struct redis_target *target;
    const struct net_tls *tls;
    pthread_mutex_t lock;
    pthread_cond_t freed; /* a connection came back, or Redis went */
    pthread_cond_t wake;  /* of the mender: Redis went, or the end */
    struct redis_conn *idle[REDIS_POOL_MAX];
    int idle_count, open_count; /* open: idle, in use, or being made by a caller */
    unsigned generation;
    int gone, wait_ms, stopping;
    uint64_t back_ns; /* when it last came back */
    struct err why;   /* gone */
    pthread_t mender;
    int stop_fd;
};

int redis_wait(int *wait_ms)
{
    uint16_t dice;
    random_bytes(&dice, sizeof dice);
    int ms = *wait_ms / 2 + *wait_ms / 2 * (int)dice / UINT16_MAX;
    *wait_ms = *wait_ms * 2 > REDIS_WAIT_MAX ? REDIS_WAIT_MAX : *wait_ms * 2;
    return ms;
}

static struct timespec as_time(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

static void close_all(struct redis_conn **list, int count)
{
    for (int i = 0; i < count; i++)
        redis_conn_close(list[i]);
}

/* With the lock: takes all idle connections out, for close_all without it. */
static int drop_idle(struct redis_pool *p, struct redis_conn **ret)
{
    int count = p->idle_count;
    memcpy(ret, p->idle, (size_t)count * sizeof(struct redis_conn *));
    p->idle_count = 0;
    p->open_count -= count;
    return count;
}

/* With the lock. A failure of an older generation is no news. */
static int set_gone(struct redis_pool *p, unsigned generation, const struct err *why,
                    struct redis_conn **ret_drop)
{
    if (p->gone || generation != p->generation)
        return 0;
    p->gone = 1;
    p->generation++;
    p->why = *why;
    if (clock_ns() - p->back_ns > STABLE_NS)
        p->wait_ms = REDIS_WAIT_MIN;
    pthread_cond_signal(&p->wake);
    pthread_cond_broadcast(&p->freed);
    return drop_idle(p, ret_drop);
}

/* --- the mender ------------------------------------------------------------------------------- */

/* With the lock, given up meanwhile: one try. */
static void mend(struct redis_pool *p)
{
    struct redis_conn *conn = NULL;
    struct err why = {0};
    pthread_mutex_unlock(&p->lock);
    enum err_code rc =
        redis_connect(p->target, p->tls, net_until_ms(REDIS_CONNECT_MS, p->stop_fd), &conn, &why);
    pthread_mutex_lock(&p->lock);
    if (rc != ERR_OK) {
        p->why = why;
        return;
    }
    p->gone = 0;
    p->back_ns = clock_ns();
    conn->generation = p->generation;
    if (p->open_count < REDIS_POOL_MAX) {
        p->open_count++;
        p->idle[p->idle_count++] = STEAL(conn);
    }
    if (conn) { /* the old ones are still in use, all of them */
        pthread_mutex_unlock(&p->lock);
        redis_conn_close(conn);
        pthread_mutex_lock(&p->lock);
    }
}

static void *run_mender(void *arg)
{
    struct redis_pool *p = arg;
    pthread_setname_np(pthread_self(), "redis-mend");
    pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        if (!p->gone) {
            pthread_cond_wait(&p->wake, &p->lock);
            continue;
        }
        uint64_t until = clock_ns() + (uint64_t)redis_wait(&p->wait_ms) * 1000000u;
        const struct timespec when = as_time(until);
        while (!p->stopping && clock_ns() < until)
            pthread_cond_timedwait(&p->wake, &p->lock, &when);
        if (!p->stopping)
            mend(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* --- making and ending ------------------------------------------------------------------------ */

enum err_code redis_pool_new(const struct redis_target *target, const struct net_tls *tls,
                             struct redis_pool **ret, struct err *err)
{
    struct redis_pool *p = xalloc(sizeof *p);
    pthread_condattr_t monotonic;
    *ret = NULL;
    p->target = target;
    p->tls = tls;
    p->wait_ms = REDIS_WAIT_MIN;
    p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->freed, &monotonic);
    pthread_cond_init(&p->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (p->stop_fd >= 0 && pthread_create(&p->mender, NULL, run_mender, p) == 0) {
        *ret = p;
        return ERR_OK;
    }
    if (p->stop_fd >= 0)
        close(p->stop_fd);
    free(p);
    return err_set(err, ERR_UNAVAILABLE, "no thread for the cache");
}

struct redis_pool *redis_pool_free(struct redis_pool *p)
{
    static const uint64_t one = 1;
    if (!p)
        return NULL;
    pthread_mutex_lock(&p->lock);
    p->stopping = 1;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    ssize_t ignored = write(p->stop_fd, &one, sizeof one);
    (void)ignored;
    pthread_join(p->mender, NULL);
    close_all(p->idle, p->idle_count);
    close(p->stop_fd);
    pthread_cond_destroy(&p->freed);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}

/* --- taking and giving ------------------------------------------------------------------------ */

enum what { TOOK_IDLE, MAY_MAKE, MUST_WAIT, IS_GONE };

/* With the lock. */
static enum what look(struct redis_pool *p, struct redis_conn **ret)
{
    if (p->gone)
        return IS_GONE;
    if (p->idle_count) {
        *ret = p->idle[--p->idle_count];
        return TOOK_IDLE;
    }
    if (p->open_count == REDIS_POOL_MAX)
        return MUST_WAIT;
    p->open_count++;
    return MAY_MAKE;
}

static void lost_one(struct redis_pool *p, unsigned generation, const struct err *why)
{
    struct redis_conn *drop[REDIS_POOL_MAX];
    int count = 0;
    pthread_mutex_lock(&p->lock);
    p->open_count--;
    if (why)
        count = set_gone(p, generation, why, drop);
    pthread_cond_signal(&p->freed);
    pthread_mutex_unlock(&p->lock);
    close_all(drop, count);
}

static enum err_code make(struct redis_pool *p, unsigned generation, struct redis_conn **ret,
                          struct err *err)
{
    struct err why = {0};
    enum err_code rc =
        redis_connect(p->target, p->tls, net_until_ms(REDIS_CONNECT_MS, -1), ret, &why);
    if (rc == ERR_OK) {
        (*ret)->generation = generation;
        return ERR_OK;
    }
    lost_one(p, generation, &why);
    if (err)
        *err = why;
    return rc;
}

enum err_code redis_pool_take(struct redis_pool *p, struct net_until until, struct redis_conn **ret,
                              struct err *err)
{
    const struct timespec when = as_time(until.ns);
    *ret = NULL;
    for (;;) {
        struct err why = {0};
        pthread_mutex_lock(&p->lock);
        enum what what = look(p, ret);
        while (what == MUST_WAIT && clock_ns() < until.ns) {
            pthread_cond_timedwait(&p->freed, &p->lock, &when);
            what = look(p, ret);
        }
        unsigned generation = p->generation;
        if (what == IS_GONE)
            why = p->why;
        pthread_mutex_unlock(&p->lock);
        if (what == MAY_MAKE)
            return make(p, generation, ret, err);
        if (what == MUST_WAIT)
            return err_set(err, ERR_UNAVAILABLE, "Redis: all %d connections are busy",
                           REDIS_POOL_MAX);
        if (what == IS_GONE)
            return err_set(err, ERR_UNAVAILABLE, "%s; sonde keeps trying", why.text);
        if (!net_stale((*ret)->net))
            return ERR_OK;
        *ret = redis_conn_close(*ret); /* Redis closes idle ones, and all when it restarts */
        lost_one(p, generation, NULL);
    }
}

void redis_pool_give(struct redis_pool *p, struct redis_conn *conn, enum redis_fate fate,
                     const struct err *why)
{
    unsigned generation = conn->generation;
    if (fate == REDIS_GOOD) {
        pthread_mutex_lock(&p->lock);
        if (generation == p->generation) {
            p->idle[p->idle_count++] = STEAL(conn);
            pthread_cond_signal(&p->freed);
        }
        pthread_mutex_unlock(&p->lock);
        if (!conn)
            return;
    }
    redis_conn_close(conn);
    lost_one(p, generation, fate == REDIS_GONE ? why : NULL);
}

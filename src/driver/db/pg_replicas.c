/* Replicas: which of them keep up.
 *
 * A replica's own word for its lag, the time of the last transaction that it replayed, says nothing
 * while the primary is idle, and compares two clocks. So a watcher thread asks the primary how far
 * its log reaches, and notes when it asked; a replica that has replayed as far has all that was
 * committed until then. That is proof of an age measured with one clock, busy or idle, and it runs
 * out by itself: where the primary, the replica or the watcher hangs, readings go to the primary.
 *
 * The watcher has one connection to each server. Threads: any for picking; the watcher alone asks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../../base/mem.h"
#include "../../os/clock.h"
#include "db_postgres.h"

#define SAMPLES   64
#define TICK_MIN  0.05
#define TICK_MAX  1.0
#define URLS_MAX  8192
#define PG_PAGE   8192 /* of the log */
#define PAGE_HEAD 24   /* its header, */
#define FILE_HEAD 40   /* and that of a file's first page */

struct samples { /* the primary's log had reached `lsn` when it was asked `at` */
    struct {
        double at;
        uint64_t lsn;
    } list[SAMPLES];
    unsigned n;
};

/* A position right behind a page's header is the page's start. */
static uint64_t tidy(uint64_t lsn)
{
    uint64_t in_page = lsn % PG_PAGE;
    return in_page == PAGE_HEAD || in_page == FILE_HEAD ? lsn - in_page : lsn;
}

/* 0: it has not answered. */
static uint64_t ask(struct pg_conn *conn, const char *sql)
{
    PGresult *res = NULL;
    unsigned high = 0, low = 0;
    struct err err;
    if (pg_run(conn, sql, &res, &err)) {
        conn->lost = 1;
        return 0;
    }
    if (PQntuples(res) != 1 || sscanf(PQgetvalue(res, 0, 0), "%X/%X", &high, &low) != 2)
        high = low = 0;
    PQclear(res);
    return tidy((uint64_t)high << 32 | low);
}

static void keep_open(struct pg_conn **conn, const struct pg_place *place, enum pg_target target,
                      double *again)
{
    if (*conn && (*conn)->lost)
        *conn = pg_disconnect(*conn);
    if (*conn || clock_seconds() < *again)
        return;
    struct err err;
    if (pg_connect(place, target, 1000, conn, &err))
        *again = clock_seconds() + PG_BACKOFF_MAX;
    else
        (*conn)->answer_s = PG_REPLICA_S;
}

/* The primary's time for which this replica has everything; 0: none that is known. */
static double fresh_at(const struct samples *s, uint64_t replayed)
{
    for (unsigned i = 0; i < SAMPLES && i < s->n; i++) {
        unsigned at = (s->n - 1 - i) % SAMPLES;
        if (s->list[at].lsn && s->list[at].lsn <= replayed)
            return s->list[at].at;
    }
    return 0;
}

static void look(struct postgres *p, struct samples *s, double *primary_again)
{
    keep_open(&p->asks, &p->place, PG_READER, primary_again);
    if (p->asks) {
        double now = clock_seconds();
        uint64_t lsn = ask(p->asks, "SELECT pg_current_wal_insert_lsn()");
        if (lsn) {
            s->list[s->n % SAMPLES].at = now;
            s->list[s->n++ % SAMPLES].lsn = lsn;
        }
    }
    for (int i = 0; i < p->replicas_n; i++) {
        struct pg_replica *r = &p->replicas[i];
        keep_open(&r->asks, &r->pool.place, PG_REPLICA, &r->ask_again);
        uint64_t replayed = r->asks ? ask(r->asks, "SELECT CASE WHEN pg_is_in_recovery() "
                                                   "THEN pg_last_wal_replay_lsn() END")
                                    : 0;
        pthread_mutex_lock(&p->watch_lock);
        r->fresh_at = replayed ? fresh_at(s, replayed) : 0;
        pthread_mutex_unlock(&p->watch_lock);
    }
}

static void *watch(void *ctx)
{
    struct postgres *p = ctx;
    struct samples samples = {0};
    double primary_again = 0, tick = p->lag_s / 4;
    tick = tick < TICK_MIN ? TICK_MIN : tick > TICK_MAX ? TICK_MAX : tick;
    pthread_mutex_lock(&p->watch_lock);
    while (!p->stop) {
        pthread_mutex_unlock(&p->watch_lock);
        look(p, &samples, &primary_again);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        long ns = until.tv_nsec + (long)(tick * 1e9);
        until.tv_sec += ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        pthread_mutex_lock(&p->watch_lock);
        while (!p->stop && pthread_cond_timedwait(&p->watch_wake, &p->watch_lock, &until) == 0)
            ;
    }
    pthread_mutex_unlock(&p->watch_lock);
    return NULL;
}

/* --- for readers ---------------------------------------------------------------------------- */

struct pg_pool *pg_replica_pick(struct postgres *p)
{
    if (!p->replicas_n)
        return NULL;
    double oldest = clock_seconds() - p->lag_s;
    struct pg_pool *pool = NULL;
    pthread_mutex_lock(&p->watch_lock);
    for (int i = 0; i < p->replicas_n && !pool; i++) {
        struct pg_replica *r = &p->replicas[p->next_replica++ % (unsigned)p->replicas_n];
        if (r->fresh_at && r->fresh_at >= oldest)
            pool = &r->pool;
    }
    pthread_mutex_unlock(&p->watch_lock);
    return pool;
}

void pg_replica_failed(struct postgres *p, const struct pg_pool *pool)
{
    pthread_mutex_lock(&p->watch_lock);
    for (int i = 0; i < p->replicas_n; i++)
        if (&p->replicas[i].pool == pool)
            p->replicas[i].fresh_at = 0; /* until the watcher has reached it again */
    pthread_mutex_unlock(&p->watch_lock);
}

/* --- opening and closing -------------------------------------------------------------------- */

static enum err_code add_replica(struct postgres *p, const char *url,
                                 const struct db_options *options, struct err *err)
{
    if (p->replicas_n == PG_REPLICAS_MAX)
        return err_set(err, ERR_USAGE, "more than %d replicas", PG_REPLICAS_MAX);
    struct pg_replica *r = &p->replicas[p->replicas_n];
    enum err_code code = pg_place_make(url, options->password, &r->pool.place, err);
    if (code) {
        err_prefix(err, "replica %d", p->replicas_n + 1);
        return code;
    }
    pg_pool_init(&r->pool, PG_REPLICA, p->lock_ms, p->readers.size);
    p->replicas_n++;
    return ERR_OK;
}

enum err_code pg_replicas_open(struct postgres *p, const struct db_options *options,
                               struct err *err)
{
    pthread_mutex_init(&p->watch_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->watch_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    p->lag_s = options->replica_lag_s > 0 ? options->replica_lag_s : 1;
    if (!options->replicas || !*options->replicas)
        return ERR_OK;
    if (strlen(options->replicas) >= URLS_MAX)
        return err_set(err, ERR_LIMIT, "the replicas' urls are longer than %d bytes", URLS_MAX);
    p->replicas = xalloc(PG_REPLICAS_MAX * sizeof *p->replicas);
    _cleanup_free_ char *urls = xstrdup(options->replicas);
    char *rest = urls;
    enum err_code code = ERR_OK;
    for (char *url; !code && (url = strsep(&rest, " \t\r\n"));)
        if (*url)
            code = add_replica(p, url, options, err);
    if (!code && p->replicas_n) {
        int failed = pthread_create(&p->watcher, NULL, watch, p);
        p->watching = !failed;
        if (failed)
            code = err_set_errno(err, ERR_NO_MEMORY, failed, "a thread");
    }
    return code;
}

void pg_replicas_close(struct postgres *p)
{
    if (p->watching) {
        pthread_mutex_lock(&p->watch_lock);
        p->stop = 1;
        pthread_cond_signal(&p->watch_wake);
        pthread_mutex_unlock(&p->watch_lock);
        pthread_join(p->watcher, NULL);
    }
    pg_disconnect(p->asks);
    for (int i = 0; i < p->replicas_n; i++) {
        pg_disconnect(p->replicas[i].asks);
        pg_pool_drain(&p->replicas[i].pool);
        pg_pool_free(&p->replicas[i].pool);
    }
    free(p->replicas);
    pthread_cond_destroy(&p->watch_wake);
    pthread_mutex_destroy(&p->watch_lock);
}

/* Uses a cache from a few threads until its standard input ends, and compares every answer with
 * what it can be; tests/fault/redis.long.test.mjs breaks the server meanwhile.
 *   cache_probe URL [THREADS]        with SONDE_CACHE_PASSWORD, SONDE_CACHE_CA_FILE
 *   cache_probe URL --measure CALLS  CPU and time per get, one thread
 * Prints JSON lines: {"t":…,"ok":0|1,"error":…} when calls of the first thread start to fail or
 * work again, {"t":…,"listening":1} with each resync, {"t":…,"gap":ms} for the first message after
 * a gap; at the end one with the counts.
 *
 * Each thread has its own keys. A key's candidates are the values that it may have: after a set
 * that failed both the old and the new one, after a delete none. "No value" is always right. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"
#include "driver/cache/cache.h"
#include "os/clock.h"

enum { KEYS = 8, CANDIDATES = 8192, THREADS_MAX = 16 };
#define SHORT_S    0.3
#define SLACK_MS   50 /* of a clock read before and after */
#define AT_ONCE_MS 100

struct candidate {
    int64_t value, ends_ms; /* INT64_MAX: not known */
};

struct key {
    struct candidate list[CANDIDATES];
    int count;
};

struct worker {
    struct cache *cache;
    pthread_t thread;
    int number, state; /* state: the last call worked */
    unsigned dice;
    int64_t next_value, counter, counter_open;
    struct key keys[KEYS];
    int64_t calls, errors, late_errors, old, foreign, expired, miscounted, most_ms, values;
};

static atomic_int over;
static atomic_llong heard, resyncs, last_heard_ms, published;

static void hear(void *ctx, const char *channel, const char *text)
{
    (void)ctx;
    (void)text;
    int64_t now = time_now_ms();
    if (!channel) {
        atomic_fetch_add(&resyncs, 1);
        printf("{\"t\":%" PRId64 ",\"listening\":1}\n", now);
        return;
    }
    int64_t before = atomic_exchange(&last_heard_ms, now);
    atomic_fetch_add(&heard, 1);
    if (before && now - before > 300)
        printf("{\"t\":%" PRId64 ",\"gap\":%" PRId64 "}\n", now, now - before);
}

static void add_candidate(struct key *key, int64_t value, int64_t ends_ms)
{
    if (key->count == CANDIDATES) { /* far more failed sets than a test lasts for */
        memmove(key->list, key->list + 1, sizeof key->list - sizeof key->list[0]);
        key->count--;
    }
    key->list[key->count++] = (struct candidate){value, ends_ms};
}

static void complain(const struct worker *w, int k, const char *what, const char *got)
{
    printf("{\"t\":%" PRId64 ",\"wrong\":\"%s\",\"key\":\"%d-%d\",\"got\":\"%.60s\"}\n",
           time_now_ms(), what, w->number, k, got);
}

/* What a get or take gave at a moment not before from_ms. */
static void judge(struct worker *w, int k, const char *got, int64_t from_ms)
{
    struct key *key = &w->keys[k];
    int thread, index;
    int64_t value;
    char rest[2];
    if (!got) {
        key->count = 0;
        return;
    }
    w->values++;
    if (sscanf(got, "%d-%d-%" SCNd64 "%1s", &thread, &index, &value, rest) != 3 ||
        thread != w->number || index != k || value >= w->next_value) {
        w->foreign++;
        complain(w, k, "foreign", got);
        return;
    }
    struct candidate one = {value, INT64_MAX};
    int found = 0;
    for (int i = 0; i < key->count; i++) {
        if (key->list[i].value == value) {
            one = key->list[i];
            found = 1;
        }
    }
    if (!found && w->old++ < 5)
        complain(w, k, "old", got);
    if (one.ends_ms < from_ms) {
        w->expired++;
        complain(w, k, "expired", got);
    }
    key->list[0] = one;
    key->count = 1;
}

static enum err_code set(struct worker *w, int k, struct err *err)
{
    char name[32], text[64];
    int brief = rand_r(&w->dice) % 4 == 0;
    int64_t value = w->next_value++;
    snprintf(name, sizeof name, "%d-%d", w->number, k);
    int n = snprintf(text, sizeof text, "%d-%d-%" PRId64, w->number, k, value);
    enum err_code rc = cache_set(w->cache, name, text, (size_t)n, brief ? SHORT_S : 60, err);
    if (rc == ERR_OK)
        w->keys[k].count = 0;
    add_candidate(&w->keys[k], value,
                  rc == ERR_OK && brief ? time_steady_ms() + (int64_t)(SHORT_S * 1000) + SLACK_MS
                                        : INT64_MAX);
    return rc;
}

static enum err_code get(struct worker *w, int k, int take, struct err *err)
{
    char name[32], *got = NULL;
    size_t size;
    int64_t from = time_steady_ms();
    snprintf(name, sizeof name, "%d-%d", w->number, k);
    enum err_code rc = (take ? cache_take : cache_get)(w->cache, name, &got, &size, err);
    if (rc == ERR_OK) {
        judge(w, k, got, from);
        if (take)
            w->keys[k].count = 0;
    }
    free(got);
    return rc;
}

static enum err_code drop(struct worker *w, int k, struct err *err)
{
    char name[32];
    snprintf(name, sizeof name, "%d-%d", w->number, k);
    enum err_code rc = cache_delete(w->cache, name, err);
    if (rc == ERR_OK)
        w->keys[k].count = 0;
    return rc;
}

/* A counter is what was added, or less: it may forget. What failed may have been added. */
static enum err_code count(struct worker *w, struct err *err)
{
    char name[32];
    int64_t sum = 0;
    snprintf(name, sizeof name, "counter-%d", w->number);
    enum err_code rc = cache_add(w->cache, name, 1, 60, &sum, err);
    w->counter_open++;
    if (rc != ERR_OK)
        return rc;
    if (sum < 1 || sum > w->counter + w->counter_open)
        w->miscounted++;
    w->counter = sum;
    w->counter_open = 0;
    return rc;
}

static enum err_code publish(struct worker *w, struct err *err)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, w->calls);
    enum err_code rc = cache_publish(w->cache, "bell", text, err);
    if (rc == ERR_OK)
        atomic_fetch_add(&published, 1);
    return rc;
}

static enum err_code one_call(struct worker *w, struct err *err)
{
    int k = rand_r(&w->dice) % KEYS, what = rand_r(&w->dice) % 100;
    if (w->number == 0 && w->calls % 16 == 0)
        return publish(w, err);
    if (what < 35)
        return set(w, k, err);
    if (what < 75)
        return get(w, k, 0, err);
    if (what < 85)
        return drop(w, k, err);
    return what < 95 ? get(w, k, 1, err) : count(w, err);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&over)) {
        struct err err = {0};
        uint64_t from = clock_ns();
        enum err_code rc = one_call(w, &err);
        int64_t ms = (int64_t)((clock_ns() - from) / 1000000);
        w->calls++;
        w->most_ms = ms > w->most_ms ? ms : w->most_ms;
        w->errors += rc != ERR_OK;
        w->late_errors += rc != ERR_OK && ms > AT_ONCE_MS;
        if (w->number == 0 && w->state != (rc == ERR_OK)) {
            w->state = rc == ERR_OK;
            printf("{\"t\":%" PRId64 ",\"ok\":%d,\"error\":\"%s\"}\n", time_now_ms(), w->state,
                   err.text);
        }
        usleep(rc == ERR_OK ? 500 : 2000);
    }
    return NULL;
}

static void report(const struct worker *list, int count_of)
{
    static struct worker all;
    for (int i = 0; i < count_of; i++) {
        const struct worker *w = &list[i];
        all.calls += w->calls;
        all.errors += w->errors;
        all.late_errors += w->late_errors;
        all.old += w->old;
        all.foreign += w->foreign;
        all.expired += w->expired;
        all.miscounted += w->miscounted;
        all.values += w->values;
        all.most_ms = w->most_ms > all.most_ms ? w->most_ms : all.most_ms;
    }
    printf("{\"done\":1,\"calls\":%" PRId64 ",\"values\":%" PRId64 ",\"errors\":%" PRId64
           ",\"lateErrors\":%" PRId64 ",\"mostMs\":%" PRId64 ",\"old\":%" PRId64
           ",\"foreign\":%" PRId64 ",\"expired\":%" PRId64 ",\"miscounted\":%" PRId64
           ",\"heard\":%lld,\"published\":%lld,\"resyncs\":%lld}\n",
           all.calls, all.values, all.errors, all.late_errors, all.most_ms, all.old, all.foreign,
           all.expired, all.miscounted, (long long)heard, (long long)published, (long long)resyncs);
}

static int measure(struct cache *cache, long calls)
{
    struct err err = {0};
    struct rusage before, after;
    char value[100];
    memset(value, 'v', sizeof value);
    if (cache_set(cache, "measured", value, sizeof value, 600, &err) != ERR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    getrusage(RUSAGE_SELF, &before);
    uint64_t from = clock_ns();
    for (long i = 0; i < calls; i++) {
        char *got = NULL;
        size_t size;
        if (cache_get(cache, "measured", &got, &size, &err) != ERR_OK || size != sizeof value)
            return 1;
        free(got);
    }
    double us = (double)(clock_ns() - from) / 1e3 / (double)calls;
    getrusage(RUSAGE_SELF, &after);
    double user = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1e6 +
                  (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec);
    double sys = (double)(after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1e6 +
                 (double)(after.ru_stime.tv_usec - before.ru_stime.tv_usec);
    printf("{\"calls\":%ld,\"us\":%.2f,\"userUs\":%.2f,\"systemUs\":%.2f}\n", calls, us,
           user / (double)calls, sys / (double)calls);
    return 0;
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAX];
    struct cache *cache = NULL;
    struct err err = {0};
    if (argc < 2)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    const struct cache_options options = {.url = argv[1],
                                          .password = getenv("SONDE_CACHE_PASSWORD"),
                                          .ca_file = getenv("SONDE_CACHE_CA_FILE")};
    if (cache_open(&options, &cache, &err) != ERR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (argc == 4) {
        int rc = measure(cache, strtol(argv[3], NULL, 10));
        cache_close(cache);
        return rc;
    }
    long threads = argc > 2 ? strtol(argv[2], NULL, 10) : 4;
    if (threads < 1 || threads > THREADS_MAX || cache_listen(cache, hear, NULL, &err) != ERR_OK)
        return 2;
    for (int i = 0; i < threads; i++) {
        workers[i].cache = cache;
        workers[i].number = i;
        workers[i].dice = (unsigned)i + 1;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    atomic_store(&over, 1);
    for (int i = 0; i < threads; i++)
        pthread_join(workers[i].thread, NULL);
    int64_t from = time_steady_ms();
    cache_close(cache);
    printf("{\"closeMs\":%" PRId64 "}\n", time_steady_ms() - from);
    report(workers, (int)threads);
    return 0;
}

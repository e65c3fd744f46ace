/* The contract of driver/cache/cache.h, over every driver that keeps it. A new driver joins by a
 * row in `drivers`. A cache may forget, so each test stays far below any bound.
 *
 * The redis row needs a real server: its URL stands in SONDE_TEST_REDIS. Each test has a prefix of
 * its own there, so it finds nothing of others. */
#include "../support/cm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/time.h"
#include "driver/cache/cache.h"

static struct err err;
#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

static char prefix[24]; /* of the test that runs */

static struct cache *open_mem(void)
{
    struct cache *cache = NULL;
    OK(cache_open(&(struct cache_options){.url = "mem:"}, &cache, &err));
    return cache;
}

/* NULL when there is no server to test with. */
static struct cache *open_redis(void)
{
    struct cache *cache = NULL;
    const char *server = getenv("SONDE_TEST_REDIS");
    if (!server || !*server)
        return NULL;
    _cleanup_free_ char *url =
        xasprintf("%s%cprefix=%s:", server, strchr(server, '?') ? '&' : '?', prefix);
    const struct cache_options options = {.url = url, .ca_file = getenv("SONDE_TEST_REDIS_CA")};
    OK(cache_open(&options, &cache, &err));
    return cache;
}

static const struct driver {
    const char *name;
    struct cache *(*open)(void); /* the one of this test; again: another on the same values */
    int shared;
} drivers[] = {{"mem", open_mem, 0}, {"redis", open_redis, 1}};
static const struct driver *driver; /* of the test that runs */

static int setup(void **state)
{
    driver = *state;
    random_token(prefix, sizeof prefix);
    *state = driver->open();
    return 0;
}

static int teardown(void **state)
{
    assert_null(cache_close(*state));
    return 0;
}

/* At the start of each test. */
#define NEEDS_SERVER(cache)                                                                        \
    do {                                                                                           \
        if (!(cache)) {                                                                            \
            printf("SKIP: SONDE_TEST_REDIS names no Redis to test with\n");                        \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

static void assert_value(struct cache *cache, const char *key, const char *want)
{
    _cleanup_free_ char *got = NULL;
    size_t size = 0;
    OK(cache_get(cache, key, &got, &size, &err));
    if (!want) {
        assert_null(got);
        return;
    }
    assert_non_null(got);
    assert_int_equal(size, strlen(want));
    assert_string_equal(got, want);
}

static void set_text(struct cache *cache, const char *key, const char *text, double ttl_s)
{
    OK(cache_set(cache, key, text, strlen(text), ttl_s, &err));
}

static void many_are_got_at_once(void **state)
{
    char names[CACHE_MANY][8], *got[CACHE_MANY + 1];
    const char *keys[CACHE_MANY + 1];
    NEEDS_SERVER(*state);
    for (size_t i = 0; i < CACHE_MANY; i++) {
        snprintf(names[i], sizeof names[i], "m%zu", i);
        keys[i] = names[i];
        if (i % 3)
            set_text(*state, names[i], i % 3 == 1 ? names[i] : "", 60);
    }
    for (size_t n = 0; n <= CACHE_MANY; n += 8) {
        OK(cache_get_many(*state, keys, n, got, &err));
        for (size_t i = 0; i < n; i++) {
            if (i % 3 == 0)
                assert_null(got[i]);
            else
                assert_string_equal(got[i], i % 3 == 1 ? names[i] : "");
            free(got[i]);
        }
    }
    keys[1] = "";
    assert_int_equal(cache_get_many(*state, keys, 3, got, &err), ERR_LIMIT);
    assert_null(got[2]);
    assert_int_equal(cache_get_many(*state, keys, CACHE_MANY + 1, got, &err), ERR_LIMIT);
    assert_value(*state, "m1", "m1"); /* and all goes on */
}

static void values_come_back_until_replaced_or_deleted(void **state)
{
    NEEDS_SERVER(*state);
    OK(cache_ping(*state, &err));
    assert_value(*state, "k", NULL);
    set_text(*state, "k", "one", 60);
    assert_value(*state, "k", "one");
    assert_value(*state, "k", "one");
    set_text(*state, "k", "a longer two", 60);
    assert_value(*state, "k", "a longer two");
    assert_value(*state, "K", NULL);
    OK(cache_delete(*state, "k", &err));
    OK(cache_delete(*state, "k", &err));
    assert_value(*state, "k", NULL);
    set_text(*state, "empty", "", 60);
    assert_value(*state, "empty", "");
}

static void values_are_bytes(void **state)
{
    NEEDS_SERVER(*state);
    static const char bytes[] = "\0\xff\0x";
    _cleanup_free_ char *got = NULL;
    size_t size;
    OK(cache_set(*state, "b", bytes, sizeof bytes, 60, &err));
    OK(cache_get(*state, "b", &got, &size, &err));
    assert_int_equal(size, sizeof bytes);
    assert_memory_equal(got, bytes, size);
    assert_int_equal(got[size], 0);
}

static void values_end(void **state)
{
    NEEDS_SERVER(*state);
    set_text(*state, "short", "x", 0.05);
    set_text(*state, "long", "y", 60);
    assert_value(*state, "short", "x");
    usleep(120000);
    assert_value(*state, "short", NULL);
    assert_value(*state, "long", "y");
    set_text(*state, "long", "y", 0.05); /* a new set, a new end */
    usleep(120000);
    assert_value(*state, "long", NULL);
    set_text(*state, "now", "z", 60);
    set_text(*state, "now", "z", 0);
    assert_value(*state, "now", NULL);
    set_text(*state, "ages", "z", 1e30);
    assert_value(*state, "ages", "z");
    OK(cache_delete(*state, "ages", &err));
}

static void sizes_are_checked(void **state)
{
    NEEDS_SERVER(*state);
    _cleanup_free_ char *big = xalloc(CACHE_VALUE_MAX + 1);
    char key[CACHE_KEY_MAX + 2];
    char *got;
    size_t size;
    int64_t sum;
    memset(key, 'k', sizeof key - 1);
    key[CACHE_KEY_MAX + 1] = '\0';
    assert_int_equal(cache_set(*state, "v", big, CACHE_VALUE_MAX + 1, 60, &err), ERR_LIMIT);
    OK(cache_set(*state, "v", big, CACHE_VALUE_MAX, 60, &err));
    for (const char *bad = key; bad; bad = *bad ? "" : NULL) {
        assert_int_equal(cache_set(*state, bad, "x", 1, 60, &err), ERR_LIMIT);
        assert_int_equal(cache_get(*state, bad, &got, &size, &err), ERR_LIMIT);
        assert_int_equal(cache_take(*state, bad, &got, &size, &err), ERR_LIMIT);
        assert_int_equal(cache_delete(*state, bad, &err), ERR_LIMIT);
        assert_int_equal(cache_add(*state, bad, 1, 60, &sum, &err), ERR_LIMIT);
    }
    key[CACHE_KEY_MAX] = '\0';
    set_text(*state, key, "fits", 60);
    assert_value(*state, key, "fits");
}

static void counters_count_and_end(void **state)
{
    NEEDS_SERVER(*state);
    int64_t sum = 0;
    OK(cache_add(*state, "n", 5, 60, &sum, &err));
    assert_int_equal(sum, 5);
    OK(cache_add(*state, "n", -7, 60, &sum, &err));
    assert_int_equal(sum, -2);
    assert_value(*state, "n", "-2");
    set_text(*state, "n", "40", 60);
    OK(cache_add(*state, "n", 2, 60, &sum, &err));
    assert_int_equal(sum, 42);
    /* Adding does not prolong it. */
    OK(cache_add(*state, "brief", 1, 0.15, &sum, &err));
    usleep(90000);
    OK(cache_add(*state, "brief", 1, 60, &sum, &err));
    usleep(120000);
    OK(cache_add(*state, "brief", 1, 60, &sum, &err));
    assert_int_equal(sum, 1);
    set_text(*state, "word", "many", 60);
    assert_int_equal(cache_add(*state, "word", 1, 60, &sum, &err), ERR_CONFLICT);
    assert_value(*state, "word", "many");
    OK(cache_add(*state, "full", INT64_MAX, 60, &sum, &err));
    assert_int_equal(cache_add(*state, "full", 1, 60, &sum, &err), ERR_CONFLICT);
    assert_value(*state, "full", "9223372036854775807");
}

enum { TICKETS = 400, THREADS = 4 };
static atomic_int taken[TICKETS];

struct taker {
    struct cache *cache;
    int64_t last;
};

static void *take_all(void *arg)
{
    struct taker *t = arg;
    for (int i = 0; i < TICKETS; i++) {
        char key[16], *got = NULL;
        size_t size;
        struct err e;
        snprintf(key, sizeof key, "t%d", i);
        if (cache_take(t->cache, key, &got, &size, &e) == ERR_OK && got)
            atomic_fetch_add(&taken[i], 1);
        free(got);
        if (cache_add(t->cache, "sum", 1, 60, &t->last, &e) != ERR_OK)
            t->last = -1;
    }
    return NULL;
}

static void a_ticket_is_taken_once(void **state)
{
    NEEDS_SERVER(*state);
    pthread_t threads[THREADS];
    struct taker takers[THREADS];
    char *got;
    size_t size;
    set_text(*state, "one", "ticket", 60);
    OK(cache_take(*state, "one", &got, &size, &err));
    assert_string_equal(got, "ticket");
    free(got);
    OK(cache_take(*state, "one", &got, &size, &err));
    assert_null(got);
    for (int i = 0; i < TICKETS; i++) {
        char key[16];
        atomic_store(&taken[i], 0);
        snprintf(key, sizeof key, "t%d", i);
        set_text(*state, key, "x", 60);
    }
    for (int i = 0; i < THREADS; i++) {
        takers[i] = (struct taker){.cache = *state};
        pthread_create(&threads[i], NULL, take_all, &takers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(takers[i].last > 0);
    }
    for (int i = 0; i < TICKETS; i++)
        assert_int_equal(taken[i], 1);
    assert_value(*state, "sum", "1600"); /* no addition is lost */
}

/* --- telling and listening -------------------------------------------------------------------- */

enum { MESSAGES = 200 };

static struct ear {
    pthread_mutex_t lock;
    int hellos, resyncs, heard, odd;
} ear = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hear(void *ctx, const char *channel, const char *text)
{
    struct ear *e = ctx;
    pthread_mutex_lock(&e->lock);
    if (!channel)
        e->resyncs++;
    else if (strcmp(channel, "hello") == 0)
        e->hellos++;
    else if (strcmp(channel, "bell") == 0 && strtol(text, NULL, 10) == e->heard)
        e->heard++;
    else
        e->odd++;
    pthread_mutex_unlock(&e->lock);
}

static int read_ear(const int *count)
{
    pthread_mutex_lock(&ear.lock);
    int n = *count;
    pthread_mutex_unlock(&ear.lock);
    return n;
}

/* `from` says hello until it is heard. */
static void begin_to_hear(struct cache *cache, struct cache *from)
{
    int64_t until = time_steady_ms() + 5000;
    pthread_mutex_lock(&ear.lock);
    ear.hellos = ear.resyncs = ear.heard = ear.odd = 0;
    pthread_mutex_unlock(&ear.lock);
    OK(cache_listen(cache, hear, &ear, &err));
    while (!read_ear(&ear.hellos) && time_steady_ms() < until) {
        OK(cache_publish(from, "hello", "", &err));
        usleep(10000);
    }
    assert_true(read_ear(&ear.hellos) > 0);
}

static int wait_heard(int want)
{
    int64_t until = time_steady_ms() + 5000;
    while (read_ear(&ear.heard) < want && time_steady_ms() < until)
        usleep(2000);
    return read_ear(&ear.heard);
}

static void messages_reach_who_listens(void **state)
{
    NEEDS_SERVER(*state);
    struct cache *other = driver->shared ? driver->open() : *state;
    begin_to_hear(*state, other);
    for (int i = 0; i < MESSAGES; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        OK(cache_publish(i % 2 ? *state : other, "bell", text, &err)); /* one's own, too */
        if (driver->shared)
            wait_heard(i + 1);
    }
    assert_int_equal(wait_heard(MESSAGES), MESSAGES);
    assert_int_equal(read_ear(&ear.odd), 0);
    assert_value(*state, "bell", NULL); /* a channel is no key */
    if (other != *state)
        cache_close(other);
}

static void messages_have_bounds(void **state)
{
    NEEDS_SERVER(*state);
    char big[CACHE_MESSAGE_MAX + 2];
    memset(big, 'm', sizeof big - 1);
    big[CACHE_MESSAGE_MAX + 1] = '\0';
    begin_to_hear(*state, *state);
    assert_int_equal(cache_publish(*state, "bell", big, &err), ERR_LIMIT);
    assert_int_equal(cache_publish(*state, "", "x", &err), ERR_LIMIT);
    big[CACHE_MESSAGE_MAX] = '\0';
    big[0] = '0';
    big[1] = ' ';
    OK(cache_publish(*state, "bell", big, &err));
    assert_int_equal(wait_heard(1), 1);
    assert_int_equal(read_ear(&ear.odd), 0);
}

static void closing_ends_listening(void **state)
{
    NEEDS_SERVER(*state);
    struct cache *listener = driver->open();
    begin_to_hear(listener, driver->shared ? *state : listener);
    int64_t from = time_steady_ms();
    cache_close(listener);
    assert_true(time_steady_ms() - from < 1000);
    int before = read_ear(&ear.hellos);
    OK(cache_publish(*state, "hello", "", &err));
    usleep(50000);
    assert_int_equal(read_ear(&ear.hellos), before);
}

static void nobody_needs_to_listen(void **state)
{
    NEEDS_SERVER(*state);
    OK(cache_publish(*state, "bell", "0", &err));
    begin_to_hear(*state, *state);
    assert_int_equal(read_ear(&ear.heard), 0); /* what was told before is gone */
}

static void others_values_are_others(void **state)
{
    NEEDS_SERVER(*state);
    assert_string_equal(cache_driver_name(*state), driver->name);
    assert_int_equal(cache_shared(*state), driver->shared);
    if (!driver->shared)
        return;
    struct cache *same = driver->open();
    random_token(prefix, sizeof prefix);
    struct cache *strange = driver->open();
    set_text(*state, "k", "ours", 60);
    assert_value(same, "k", "ours");
    assert_value(strange, "k", NULL);
    begin_to_hear(*state, same);
    OK(cache_publish(strange, "bell", "9", &err));
    OK(cache_publish(same, "bell", "0", &err));
    assert_int_equal(wait_heard(1), 1);
    assert_int_equal(read_ear(&ear.odd), 0);
    cache_close(same);
    cache_close(strange);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest suite[] = {
        ROW(values_come_back_until_replaced_or_deleted),
        ROW(many_are_got_at_once),
        ROW(values_are_bytes),
        ROW(values_end),
        ROW(sizes_are_checked),
        ROW(counters_count_and_end),
        ROW(a_ticket_is_taken_once),
        ROW(messages_reach_who_listens),
        ROW(messages_have_bounds),
        ROW(closing_ends_listening),
        ROW(nobody_needs_to_listen),
        ROW(others_values_are_others),
    };
    struct CMUnitTest tests[ARRAY_LEN(drivers) * ARRAY_LEN(suite)];
    for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
        const struct driver *d = &drivers[i / ARRAY_LEN(suite)];
        tests[i] = suite[i % ARRAY_LEN(suite)];
        tests[i].name = xasprintf("%s: %s", d->name, tests[i].name);
        tests[i].initial_state = (void *)(uintptr_t)d;
    }
    int failed = cmocka_run_group_tests_name("contract_cache", tests, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        free((void *)(uintptr_t)tests[i].name);
    return failed;
}

/* driver/cache in memory: its bound, what goes first, and what is counted. */
#include "../../support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "driver/cache/cache.h"
#include "obs/metrics.h"

static struct err err;

static struct cache *open_small(uint64_t max_bytes)
{
    struct cache *cache = NULL;
    const struct cache_options options = {.url = "mem:", .max_bytes = max_bytes};
    assert_int_equal(cache_open(&options, &cache, &err), ERR_OK);
    return cache;
}

static int has(struct cache *cache, const char *key)
{
    _cleanup_free_ char *got = NULL;
    size_t size;
    assert_int_equal(cache_get(cache, key, &got, &size, &err), ERR_OK);
    return got != NULL;
}

static void set_size(struct cache *cache, int i, size_t size)
{
    static char value[20000];
    char key[16];
    snprintf(key, sizeof key, "k%d", i);
    assert_int_equal(cache_set(cache, key, value, size, 60, &err), ERR_OK);
}

static int count(struct cache *cache, int n)
{
    int there = 0;
    for (int i = 0; i < n; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        there += has(cache, key);
    }
    return there;
}

static void the_least_recently_used_go_first(void **state)
{
    (void)state;
    struct cache *cache = open_small(10000);
    for (int i = 0; i < 8; i++)
        set_size(cache, i, 1000);
    assert_int_equal(count(cache, 8), 8);
    assert_true(has(cache, "k0")); /* now the youngest */
    set_size(cache, 8, 1000);
    set_size(cache, 9, 1000);
    assert_true(has(cache, "k0"));
    assert_false(has(cache, "k1"));
    assert_true(has(cache, "k9"));
    cache_close(cache);
}

static void the_bound_holds_for_any_sizes(void **state)
{
    (void)state;
    struct cache *cache = open_small(100000);
    for (int i = 0; i < 3000; i++)
        set_size(cache, i, (size_t)(i * 37 % 900));
    int there = count(cache, 3000);
    assert_in_range(there, 100, 100000 / 450); /* 450 bytes each, and what each costs beside */
    for (int i = 0; i < 3000; i++)             /* tiny ones cost more than their bytes */
        set_size(cache, i, 0);
    assert_in_range(count(cache, 3000), 500, 100000 / 60);
    cache_close(cache);
}

static void what_is_too_large_alone_is_forgotten(void **state)
{
    (void)state;
    struct cache *cache = open_small(1000);
    set_size(cache, 1, 100);
    set_size(cache, 2, 5000);
    assert_false(has(cache, "k2"));
    set_size(cache, 1, 5000); /* the old value must not come back */
    assert_false(has(cache, "k1"));
    set_size(cache, 1, 100);
    assert_true(has(cache, "k1"));
    cache_close(cache);
}

static void many_keys_are_found_and_removed(void **state)
{
    (void)state;
    struct cache *cache = open_small(0);
    for (int i = 0; i < 20000; i++) {
        char key[32], value[32];
        snprintf(key, sizeof key, "%0*d", 1 + i % 20, i); /* every length of a last word */
        int n = snprintf(value, sizeof value, "v%d", i);
        assert_int_equal(cache_set(cache, key, value, (size_t)n, 60, &err), ERR_OK);
    }
    for (int i = 0; i < 20000; i++) {
        char key[32], value[32], *got = NULL;
        size_t size;
        snprintf(key, sizeof key, "%0*d", 1 + i % 20, i);
        snprintf(value, sizeof value, "v%d", i);
        assert_int_equal((i % 2 ? cache_take : cache_get)(cache, key, &got, &size, &err), ERR_OK);
        assert_non_null(got);
        assert_string_equal(got, value);
        free(got);
    }
    for (int i = 0; i < 20000; i++) {
        char key[32];
        snprintf(key, sizeof key, "%0*d", 1 + i % 20, i);
        assert_int_equal(has(cache, key), i % 2 == 0);
    }
    cache_close(cache);
}

static double counter(const char *outcome)
{
    char *text = NULL;
    size_t len;
    assert_int_equal(metrics_text(&text, &len, &err), ERR_OK);
    _cleanup_free_ char *start =
        xasprintf("\nsonde_cache_requests_total{outcome=\"%s\"} ", outcome);
    const char *line = strstr(text, start);
    double value = line ? strtod(line + strlen(start), NULL) : -1;
    free(text);
    return value;
}

static void hits_and_misses_are_counted(void **state)
{
    (void)state;
    struct cache *cache = open_small(0);
    double hits = counter("hit"), misses = counter("miss");
    set_size(cache, 1, 10);
    has(cache, "k1");
    has(cache, "k1");
    has(cache, "none");
    assert_true(counter("hit") == hits + 2);
    assert_true(counter("miss") == misses + 1);
    cache_close(cache);
}

static void urls_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "mem", "mem:x", "memory:", "redi:", "redisx://x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct cache *none = NULL;
        assert_int_equal(cache_open(&(struct cache_options){.url = bad[i]}, &none, &err),
                         ERR_USAGE);
        assert_null(none);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_recently_used_go_first),
        cmocka_unit_test(the_bound_holds_for_any_sizes),
        cmocka_unit_test(what_is_too_large_alone_is_forgotten),
        cmocka_unit_test(many_keys_are_found_and_removed),
        cmocka_unit_test(hits_and_misses_are_counted),
        cmocka_unit_test(urls_are_checked),
    };
    return cmocka_run_group_tests_name("driver_cache_mem", tests, NULL, NULL);
}

/* driver/cache: the URLs of Redis, and what its errors are told as. No server. */
#include "../../support/cm.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "driver/cache/redis_conn.h"
#include "driver/cache/redis_url.h"

static struct err err;

static struct redis_target *parse(const char *url, const char *password)
{
    struct redis_target *target = NULL;
    const struct cache_options options = {.url = url, .password = password};
    if (redis_target_parse(&options, &target, &err) != ERR_OK)
        fail_msg("%s: %s", url, err.text);
    return target;
}

static void one_server(void **state)
{
    (void)state;
    struct redis_target *t = parse("redis://cache.example:7000/3?prefix=test.1:", "secret");
    assert_string_equal(t->hosts[0].name, "cache.example");
    assert_int_equal(t->hosts[0].port, 7000);
    assert_int_equal(t->host_count, 1);
    assert_int_equal(t->number, 3);
    assert_string_equal(t->prefix, "test.1:");
    assert_string_equal(t->password, "secret");
    assert_null(t->user);
    assert_null(t->master);
    assert_false(t->tls);
    redis_target_free(t);
    t = parse("rediss://[::1]", "");
    assert_string_equal(t->hosts[0].name, "::1");
    assert_int_equal(t->hosts[0].port, 6379);
    assert_string_equal(t->prefix, "sonde:");
    assert_null(t->password);
    assert_true(t->tls);
    redis_target_free(t);
}

static void users_and_passwords(void **state)
{
    (void)state;
    struct redis_target *t = parse("redis://me:p%40ss%2fw@h:1/0", NULL);
    assert_string_equal(t->user, "me");
    assert_string_equal(t->password, "p@ss/w");
    redis_target_free(t);
    t = parse("redis://:a/b@c:d@h/1", NULL); /* not encoded */
    assert_null(t->user);
    assert_string_equal(t->password, "a/b@c:d");
    assert_string_equal(t->hosts[0].name, "h");
    assert_int_equal(t->number, 1);
    redis_target_free(t);
    t = parse("redis://me:old@h", "new");
    assert_string_equal(t->password, "new");
    redis_target_free(t);
}

static void sentinels(void **state)
{
    (void)state;
    struct redis_target *t =
        parse("sentinel://s1,s2:5000,[fe80::1]:26380/main/2?tls=1&prefix=x", NULL);
    assert_int_equal(t->host_count, 3);
    assert_string_equal(t->hosts[0].name, "s1");
    assert_int_equal(t->hosts[0].port, 26379);
    assert_int_equal(t->hosts[1].port, 5000);
    assert_string_equal(t->hosts[2].name, "fe80::1");
    assert_string_equal(t->master, "main");
    assert_int_equal(t->number, 2);
    assert_true(t->tls);
    assert_string_equal(t->prefix, "x");
    redis_target_free(t);
}

static void bad_urls_are_refused_and_not_repeated(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "redis:",
        "redis:/SECRET@h",
        "redis://",
        "redis://:SECRET@",
        "redis://:SECRET@h:0",
        "redis://:SECRET@h:65536",
        "redis://:SECRET@h:port",
        "redis://:SECRET@h/x",
        "redis://:SECRET@h/99999",
        "redis://:SECRET@a,b",
        "redis://:SECRET@h o",
        "redis://:SECRET@[::1",
        "redis://:SECRET@[::1]7",
        "redis://:SECRET%zz@h",
        "redis://:SECRET%00@h",
        "redis://SECRET@h", /* a user, or a password in the wrong place */
        "redis://:SECRET@h?db=1",
        "redis://:SECRET@h?prefix=",
        "redis://:SECRET@h?prefix=a*",
        "redis://:SECRET@h?tls=1",
        "redis://h?prefix=01234567890123456789012345678901234567890123456789012345678901234",
        "sentinel://:SECRET@h",
        "sentinel://:SECRET@h/",
        "sentinel://:SECRET@h,/main",
        "sentinel://:SECRET@1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17/main",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct redis_target *target;
        struct cache *cache;
        const struct cache_options options = {.url = bad[i]};
        if (redis_target_parse(&options, &target, &err) != ERR_USAGE)
            fail_msg("%s is taken", bad[i]);
        assert_null(target);
        assert_null(strstr(err.text, "SECRET"));
        assert_int_equal(cache_open(&options, &cache, &err), ERR_USAGE);
        assert_null(strstr(err.text, "SECRET"));
    }
    struct cache *cache;
    assert_int_equal(cache_open(&(struct cache_options){.url = "rdis://:SECRET@h"}, &cache, &err),
                     ERR_USAGE);
    assert_null(strstr(err.text, "SECRET"));
}

static void errors_say_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        enum err_code code;
        enum redis_fate fate;
        const char *says;
    } list[] = {
        {"LOADING Redis is loading the dataset in memory", ERR_UNAVAILABLE, REDIS_GONE, "reading"},
        {"READONLY You can't write against a read only replica.", ERR_UNAVAILABLE, REDIS_GONE,
         "fail-over"},
        {"OOM command not allowed when used memory > 'maxmemory'.", ERR_UNAVAILABLE, REDIS_GOOD,
         "maxmemory"},
        {"NOAUTH Authentication required.", ERR_UNAVAILABLE, REDIS_GONE, "SONDE_CACHE_PASSWORD"},
        {"WRONGPASS invalid username-password pair or user is disabled.", ERR_UNAVAILABLE,
         REDIS_GONE, "SONDE_CACHE_PASSWORD"},
        {"MISCONF Redis is configured to save RDB snapshots, but", ERR_UNAVAILABLE, REDIS_GOOD,
         "saving fails"},
        {"MOVED 3999 127.0.0.1:6381", ERR_UNAVAILABLE, REDIS_GOOD, "Cluster"},
        {"CLUSTERDOWN Hash slot not served", ERR_UNAVAILABLE, REDIS_GOOD, "Cluster"},
        {"WRONGTYPE Operation against a key holding", ERR_CONFLICT, REDIS_GOOD, "prefix"},
        {"ERR value is not an integer or out of range", ERR_CONFLICT, REDIS_GOOD, "no number"},
        {"ERR increment or decrement would overflow", ERR_CONFLICT, REDIS_GOOD, "overflow"},
        {"ERR unknown command 'GETDEL'", ERR_UNSUPPORTED, REDIS_GOOD, "6.0"},
        {"NOPERM this user has no permissions", ERR_UNAVAILABLE, REDIS_GOOD, "ACL"},
        {"STRANGE \033[31mthings\r\nmore", ERR_UNAVAILABLE, REDIS_GOOD, "STRANGE ?[31mthings"},
    };
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        enum redis_fate fate;
        char text[100];
        snprintf(text, sizeof text, "%s", list[i].reply);
        const redisReply reply = {.type = REDIS_REPLY_ERROR, .str = text, .len = strlen(text)};
        assert_int_equal(redis_explain(&reply, &fate, &err), list[i].code);
        assert_int_equal(fate, list[i].fate);
        assert_non_null(strstr(err.text, list[i].says));
        assert_null(strchr(err.text, '\n'));
        assert_true(strlen(err.text) < 120); /* there is room for which server */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_server),
        cmocka_unit_test(users_and_passwords),
        cmocka_unit_test(sentinels),
        cmocka_unit_test(bad_urls_are_refused_and_not_repeated),
        cmocka_unit_test(errors_say_what_to_do),
    };
    return cmocka_run_group_tests_name("driver_cache_redis_url", tests, NULL, NULL);
}

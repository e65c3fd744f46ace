/* The facade: picks the driver, checks lengths, counts hits and misses. Any thread. */
#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../obs/metrics.h"
#include "cache_driver.h"

struct cache {
    const struct cache_driver *driver;
    void *self;
    struct metric_series *hit, *miss;
};

/* What stands before the colon of a URL. */
static const struct {
    const char *scheme;
    const struct cache_driver *driver;
} schemes[] = {
    {"mem", &cache_mem},
    {"redis", &cache_redis},
    {"rediss", &cache_redis},
    {"sentinel", &cache_redis},
};

static const struct cache_driver *find_driver(const char *url)
{
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t n = strlen(schemes[i].scheme);
        if (strncmp(url, schemes[i].scheme, n) == 0 && url[n] == ':')
            return schemes[i].driver;
    }
    return NULL;
}

enum err_code cache_open(const struct cache_options *options, struct cache **ret, struct err *err)
{
    *ret = NULL;
    const struct cache_driver *driver = find_driver(options->url);
    if (!driver)
        return err_set(err, ERR_USAGE, /* a mistyped URL may hold a password */
                       "'%.100s' is no cache that sonde knows; give mem:, redis://host, "
                       "rediss://host or sentinel://host,host/master",
                       strchr(options->url, '@') ? "what was given" : options->url);
    void *self = NULL;
    enum err_code rc = driver->open(options, &self, err);
    if (rc != ERR_OK)
        return rc;
    struct cache *cache = xalloc(sizeof *cache);
    cache->driver = driver;
    cache->self = self;
    cache->hit = metric_get(METRIC_CACHE, "hit", NULL, NULL);
    cache->miss = metric_get(METRIC_CACHE, "miss", NULL, NULL);
    *ret = cache;
    return ERR_OK;
}

struct cache *cache_close(struct cache *cache)
{
    if (cache)
        cache->driver->close(cache->self);
    free(cache);
    return NULL;
}

enum err_code cache_ping(struct cache *cache, struct err *err)
{
    return cache->driver->ping(cache->self, err);
}

static enum err_code check_key(const char *key, struct err *err)
{
    size_t len = strnlen(key, CACHE_KEY_MAX + 1);
    if (len >= 1 && len <= CACHE_KEY_MAX)
        return ERR_OK;
    return err_set(err, ERR_LIMIT, "a key of the cache has 1 to %d bytes", CACHE_KEY_MAX);
}

static enum err_code get(struct cache *cache, const char *key, int take, char **ret,
                         size_t *ret_size, struct err *err)
{
    *ret = NULL;
    *ret_size = 0;
    enum err_code rc = check_key(key, err);
    if (rc == ERR_OK)
        rc = cache->driver->get(cache->self, key, take, ret, ret_size, err);
    if (rc == ERR_OK)
        metric_add(*ret ? cache->hit : cache->miss, 1);
    return rc;
}

enum err_code cache_get(struct cache *cache, const char *key, char **ret, size_t *ret_size,
                        struct err *err)
{
    return get(cache, key, 0, ret, ret_size, err);
}

enum err_code cache_get_many(struct cache *cache, const char *const *keys, size_t n, char **ret,
                             struct err *err)
{
    enum err_code rc = ERR_OK;
    if (n > CACHE_MANY)
        return err_set(err, ERR_LIMIT, "%d keys at once, not %zu", CACHE_MANY, n);
    for (size_t i = 0; i < n; i++)
        ret[i] = NULL;
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = check_key(keys[i], err);
    if (rc == ERR_OK && n)
        rc = cache->driver->get_many(cache->self, keys, n, ret, err);
    for (size_t i = 0; i < n; i++) {
        if (rc == ERR_OK)
            metric_add(ret[i] ? cache->hit : cache->miss, 1);
        else
            free(STEAL(ret[i]));
    }
    return rc;
}

enum err_code cache_take(struct cache *cache, const char *key, char **ret, size_t *ret_size,
                         struct err *err)
{
    return get(cache, key, 1, ret, ret_size, err);
}

enum err_code cache_set(struct cache *cache, const char *key, const void *value, size_t size,
                        double ttl_s, struct err *err)
{
    if (size > CACHE_VALUE_MAX)
        return err_set(err, ERR_LIMIT, "a value of the cache has at most %d bytes, not %zu",
                       CACHE_VALUE_MAX, size);
    if (!(ttl_s > 0))
        return cache_delete(cache, key, err);
    enum err_code rc = check_key(key, err);
    return rc == ERR_OK ? cache->driver->set(cache->self, key, value, size, ttl_s, err) : rc;
}

enum err_code cache_delete(struct cache *cache, const char *key, struct err *err)
{
    enum err_code rc = check_key(key, err);
    return rc == ERR_OK ? cache->driver->del(cache->self, key, err) : rc;
}

enum err_code cache_add(struct cache *cache, const char *key, int64_t by, double ttl_s,
                        int64_t *ret, struct err *err)
{
    enum err_code rc = check_key(key, err);
    return rc == ERR_OK ? cache->driver->add(cache->self, key, by, ttl_s, ret, err) : rc;
}

enum err_code cache_publish(struct cache *cache, const char *channel, const char *text,
                            struct err *err)
{
    enum err_code rc = check_key(channel, err);
    if (rc == ERR_OK && strnlen(text, CACHE_MESSAGE_MAX + 1) > CACHE_MESSAGE_MAX)
        rc = err_set(err, ERR_LIMIT, "a message has at most %d bytes", CACHE_MESSAGE_MAX);
    return rc == ERR_OK ? cache->driver->publish(cache->self, channel, text, err) : rc;
}

enum err_code cache_listen(struct cache *cache, cache_heard *heard, void *ctx, struct err *err)
{
    return cache->driver->listen(cache->self, heard, ctx, err);
}

const char *cache_driver_name(const struct cache *cache)
{
    return cache->driver->scheme;
}

int cache_shared(const struct cache *cache)
{
    return cache->driver->shared;
}

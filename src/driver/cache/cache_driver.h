/* What a cache driver is: one constant table, every slot filled. The facade (cache.c) has checked
 * lengths before, and counts. The contract of each slot is that of the function of the same name in
 * cache.h; `take` of get: also delete it, in one step. */
#ifndef SONDE_DRIVER_CACHE_DRIVER_H
#define SONDE_DRIVER_CACHE_DRIVER_H

#include "cache.h"

struct cache_driver {
    const char *scheme; /* "mem", "redis": its name; cache.c knows which URLs are its */
    enum err_code (*open)(const struct cache_options *options, void **ret_self, struct err *err);
    void (*close)(void *self);
    enum err_code (*ping)(void *self, struct err *err);
    enum err_code (*get)(void *self, const char *key, int take, char **ret, size_t *ret_size,
                         struct err *err);
    enum err_code (*get_many)(void *self, const char *const *keys, size_t n, char **ret,
                              struct err *err); /* ret[] is NULL at first; 1 <= n */
    enum err_code (*set)(void *self, const char *key, const void *value, size_t size, double ttl_s,
                         struct err *err); /* ttl_s > 0 */
    enum err_code (*del)(void *self, const char *key, struct err *err);
    enum err_code (*add)(void *self, const char *key, int64_t by, double ttl_s, int64_t *ret,
                         struct err *err);
    enum err_code (*publish)(void *self, const char *channel, const char *text, struct err *err);
    enum err_code (*listen)(void *self, cache_heard *heard, void *ctx, struct err *err);
    int shared;
};

extern const struct cache_driver cache_mem;
extern const struct cache_driver cache_redis;

#endif

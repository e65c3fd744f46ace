/* The cache facade: small values for a while. Drivers: mem (embedded), later redis.
 * It may forget anything at any time; nothing is right only because the cache says so. Threads:
 * shared. */
#ifndef SONDE_DRIVER_CACHE_H
#define SONDE_DRIVER_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "../../base/err.h"

#define CACHE_KEY_MAX   200
#define CACHE_VALUE_MAX (1 << 20)

struct cache;
struct cache_options {
    const char *url; /* "mem:" */
    /* Of keys and values with what each costs beside; least recently used go first. 0: 16 MiB. */
    uint64_t max_bytes;
};
enum err_code cache_open(const struct cache_options *options, struct cache **ret,
                         struct err *err) MUST_CHECK;
struct cache *cache_close(struct cache *cache);
enum err_code cache_ping(struct cache *cache, struct err *err) MUST_CHECK;

/* Keys are 1..CACHE_KEY_MAX bytes, values up to CACHE_VALUE_MAX: ERR_LIMIT. */
/* *ret NULL: not there. The caller frees *ret; a zero stands behind it. */
enum err_code cache_get(struct cache *cache, const char *key, char **ret, size_t *ret_size,
                        struct err *err) MUST_CHECK;
/* A ttl of 0 or less deletes. */
enum err_code cache_set(struct cache *cache, const char *key, const void *value, size_t size,
                        double ttl_s, struct err *err) MUST_CHECK;
enum err_code cache_delete(struct cache *cache, const char *key, struct err *err) MUST_CHECK;
/* Gets and deletes in one step: of two callers at most one gets it (one-time tickets). */
enum err_code cache_take(struct cache *cache, const char *key, char **ret, size_t *ret_size,
                         struct err *err) MUST_CHECK;
/* Adds to a counter (made at 0 with this ttl, which later calls do not change) and returns the sum.
 * cache_get reads it as decimal text. ERR_CONFLICT when the value is no number, or would overflow.
 */
enum err_code cache_add(struct cache *cache, const char *key, int64_t by, double ttl_s,
                        int64_t *ret, struct err *err) MUST_CHECK;

#endif

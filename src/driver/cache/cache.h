/* The cache facade: small values for a while. Drivers: mem (embedded), redis.
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
    /* "mem:"; "redis://[user@]host[:port][/number]" or "rediss://…" (TLS); or
     * "sentinel://host[:port][,host[:port]…]/master[/number]" */
    const char *url;
    const char *password; /* NULL: none */
    const char *ca_file;  /* of rediss: PEM of who signs the server's certificate */
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
/* The values of `n` <= CACHE_MANY keys by one exchange: ret[i] as cache_get's *ret. After an error
 * all of them are NULL. */
#define CACHE_MANY 64
enum err_code cache_get_many(struct cache *cache, const char *const *keys, size_t n, char **ret,
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

/* Tells every process that listens on this cache, this one too. Who is away misses it: it says that
 * there is something to look at, never what alone would be missed. `channel` is a short word;
 * messages are texts up to CACHE_MESSAGE_MAX. */
#define CACHE_MESSAGE_MAX 4096
enum err_code cache_publish(struct cache *cache, const char *channel, const char *text,
                            struct err *err) MUST_CHECK;
/* Once per cache, before others use it: `heard` is called for each message of every channel, on a
 * thread of the driver's (mem: the publisher's), until cache_close; it must not block. With `text`
 * NULL (and channel NULL): messages may have been missed, look at everything. */
typedef void cache_heard(void *ctx, const char *channel, const char *text);
enum err_code cache_listen(struct cache *cache, cache_heard *heard, void *ctx,
                           struct err *err) MUST_CHECK;
/* "mem", "redis"; and whether other processes share it. */
const char *cache_driver_name(const struct cache *cache);
int cache_shared(const struct cache *cache);

#endif

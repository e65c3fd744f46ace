/* The connections of a cache: a bounded number, shared by threads; and none while Redis is away. */
#ifndef SONDE_DRIVER_CACHE_REDIS_POOL_H
#define SONDE_DRIVER_CACHE_REDIS_POOL_H

#include "redis_conn.h"

#define REDIS_POOL_MAX 16
#define REDIS_WAIT_MIN 50 /* ms, before connecting again; it doubles up to the most */
#define REDIS_WAIT_MAX 2000

struct redis_pool;
/* `target` and `tls` (NULL: none) outlive the pool. Starts a thread; connects to nothing yet. */
enum err_code redis_pool_new(const struct redis_target *target, const struct net_tls *tls,
                             struct redis_pool **ret, struct err *err) MUST_CHECK;
/* Nobody uses it any more. Ends at once, whatever Redis does. */
struct redis_pool *redis_pool_free(struct redis_pool *pool);

/* A connection of this thread's until it is given back. ERR_UNAVAILABLE at once while Redis is
 * away, and when all are busy until then. */
enum err_code redis_pool_take(struct redis_pool *pool, struct net_until until,
                              struct redis_conn **ret, struct err *err) MUST_CHECK;
/* `why`: with REDIS_GONE, what others are told until Redis is back. */
void redis_pool_give(struct redis_pool *pool, struct redis_conn *conn, enum redis_fate fate,
                     const struct err *why);

/* How long to wait before the next try: between half of *wait_ms and all of it, so that many
 * processes do not come at once; *wait_ms doubles. */
int redis_wait(int *wait_ms);

#endif

/* Listening: a thread with a connection of its own that hears what is published. */
#ifndef SONDE_DRIVER_CACHE_REDIS_LISTEN_H
#define SONDE_DRIVER_CACHE_REDIS_LISTEN_H

#include "redis_conn.h"

#define REDIS_PING_MS 2000 /* of silence, before the listener asks whether the server is there */

/* The name of a channel: prefix, number of the database (Redis has one space of channels for all
 * numbers), '/', the facade's name. */
#define REDIS_CHANNEL_MAX (REDIS_PREFIX_MAX + CACHE_KEY_MAX + 16)
void redis_channel(const struct redis_target *target, const char *channel,
                   char ret[REDIS_CHANNEL_MAX]);

struct redis_listener;
enum err_code redis_listen(const struct redis_target *target, const struct net_tls *tls,
                           cache_heard *heard, void *ctx, struct redis_listener **ret,
                           struct err *err) MUST_CHECK;
/* Ends the thread, at once but for a call of `heard` that is under way. */
struct redis_listener *redis_listen_end(struct redis_listener *listener);
/* Why it has heard nothing for some seconds, though it tries; ERR_OK while it listens. */
enum err_code redis_listen_check(struct redis_listener *listener, struct err *err) MUST_CHECK;

#endif

/* The cache on Redis 6 and later, by itself or behind Sentinel.
 *
 * Every call is one exchange over a pooled connection and ends within REDIS_CONNECT_MS +
 * REDIS_COMMAND_MS; while Redis is away it fails at once (redis_pool.c). Nothing is sent twice: a
 * write that got no answer may have been done, and a caller that cares sets or deletes again. What
 * a fail-over to a replica that lagged brings back, no client can know: the facade promises nothing
 * that would need it. Any thread. */
#include "cache_driver.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "../../base/mem.h"
#include "redis_listen.h"
#include "redis_pool.h"

#define FULL_KEY    (REDIS_PREFIX_MAX + CACHE_KEY_MAX + 1)
#define NUMBER_TEXT 24
#define FOREVER_MS  ((double)(100 * 365) * 86400e3)

struct cache_redis {
    struct redis_target *target;
    struct net_tls *tls;
    struct redis_pool *pool;
    struct redis_listener *listener; /* set once, before others use the cache */
    atomic_int no_getdel;            /* Redis 6.0 */
};

static void redis_close(void *self)
{
    struct cache_redis *c = self;
    redis_listen_end(c->listener);
    redis_pool_free(c->pool);
    net_tls_free(c->tls);
    redis_target_free(c->target);
    free(c);
}

static enum err_code redis_open(const struct cache_options *options, void **ret_self,
                                struct err *err)
{
    struct cache_redis *c = xalloc(sizeof *c);
    enum err_code rc = redis_target_parse(options, &c->target, err);
    if (rc == ERR_OK && c->target->tls)
        rc = net_tls_new(c->target->ca_file, &c->tls, err);
    if (rc == ERR_OK)
        rc = redis_pool_new(c->target, c->tls, &c->pool, err);
    if (rc == ERR_OK)
        *ret_self = c;
    else
        redis_close(c);
    return rc;
}

/* --- exchanges -------------------------------------------------------------------------------- */

/* Sends the commands and receives a reply to each; reply[] is NULL behind a failure. `why` is
 * always filled; the caller gives the connection back. */
static enum err_code exchange(struct redis_conn *conn, struct net_until until,
                              const struct redis_command *commands, size_t count,
                              redisReply **reply, enum redis_fate *ret_fate, struct err *why)
{
    enum err_code rc = redis_conn_send(conn, commands, count, until, why);
    for (size_t i = 0; rc == ERR_OK && i < count; i++)
        rc = redis_conn_reply(conn, until, &reply[i], why);
    *ret_fate = rc == ERR_OK ? REDIS_GOOD : rc == ERR_UNAVAILABLE ? REDIS_GONE : REDIS_CLOSE;
    return rc;
}

/* What an error reply says, or one that does not fit. */
static enum err_code explain(const struct redis_conn *conn, const redisReply *reply,
                             enum redis_fate *ret_fate, struct err *why)
{
    enum err_code rc = redis_explain(reply, ret_fate, why);
    return rc == ERR_CONFLICT ? rc : err_prefix(why, "%s", conn->where);
}

static enum err_code done(struct cache_redis *c, struct redis_conn *conn, enum err_code rc,
                          enum redis_fate fate, const struct err *why, struct err *err)
{
    redis_pool_give(c->pool, conn, fate, why);
    if (rc != ERR_OK && err)
        *err = *why;
    return rc;
}

/* A connection, and until when its exchange may last: a call takes no longer than both times. */
static enum err_code begin(struct cache_redis *c, struct redis_conn **ret,
                           struct net_until *ret_until, struct err *err)
{
    struct net_until latest = net_until_ms(REDIS_CONNECT_MS + REDIS_COMMAND_MS, -1);
    enum err_code rc = redis_pool_take(c->pool, net_until_ms(REDIS_COMMAND_MS, -1), ret, err);
    *ret_until = net_until_ms(REDIS_COMMAND_MS, -1);
    if (ret_until->ns > latest.ns)
        *ret_until = latest;
    return rc;
}

/* One command whose reply is of one of two types; the caller frees *ret. */
static enum err_code ask(struct cache_redis *c, const struct redis_command *command, int type,
                         int or_type, redisReply **ret, struct err *err)
{
    struct redis_conn *conn;
    struct err why = {0};
    enum redis_fate fate;
    struct net_until until;
    *ret = NULL;
    enum err_code rc = begin(c, &conn, &until, err);
    if (rc != ERR_OK)
        return rc;
    rc = exchange(conn, until, command, 1, ret, &fate, &why);
    if (rc == ERR_OK && (*ret)->type != type && (*ret)->type != or_type) {
        rc = explain(conn, *ret, &fate, &why);
        redis_reply_free(ret);
    }
    return done(c, conn, rc, fate, &why, err);
}

#define TRANSACTION 4 /* MULTI, two commands, EXEC */

/* Two commands in one step. The caller frees *ret: an array of two replies, which may be errors. */
static enum err_code ask_both(struct cache_redis *c, struct redis_command first,
                              struct redis_command second, redisReply **ret, struct err *err)
{
    const struct redis_command commands[TRANSACTION] = {REDIS_COMMAND("MULTI"), first, second,
                                                        REDIS_COMMAND("EXEC")};
    redisReply *reply[TRANSACTION] = {0};
    struct redis_conn *conn;
    struct err why = {0};
    enum redis_fate fate;
    struct net_until until;
    *ret = NULL;
    enum err_code rc = begin(c, &conn, &until, err);
    if (rc != ERR_OK)
        return rc;
    rc = exchange(conn, until, commands, TRANSACTION, reply, &fate, &why);
    const redisReply *all = reply[TRANSACTION - 1];
    for (int i = 0; rc == ERR_OK && i < TRANSACTION - 1; i++) {
        if (reply[i]->type != REDIS_REPLY_STATUS) /* a refused command says more than EXEC then */
            rc = explain(conn, reply[i], &fate, &why);
    }
    if (rc == ERR_OK && (all->type != REDIS_REPLY_ARRAY || all->elements != 2))
        rc = explain(conn, all, &fate, &why);
    if (rc == ERR_OK && all->element[1]->type == REDIS_REPLY_ERROR)
        rc = explain(conn, all->element[1], &fate, &why);
    if (rc == ERR_OK)
        *ret = STEAL(reply[TRANSACTION - 1]);
    for (int i = 0; i < TRANSACTION; i++)
        redis_reply_free(&reply[i]);
    return done(c, conn, rc, fate, &why, err);
}

/* Milliseconds, at least one. */
static const char *ttl_text(double ttl_s, char ret[NUMBER_TEXT])
{
    double ms = ttl_s * 1000;
    int64_t whole = ms < FOREVER_MS ? (int64_t)ms : (int64_t)FOREVER_MS;
    snprintf(ret, NUMBER_TEXT, "%" PRId64, whole > 1 ? whole : 1);
    return ret;
}

static const char *full_key(const struct cache_redis *c, const char *key, char ret[FULL_KEY])
{
    size_t n = strlen(c->target->prefix), len = strlen(key);
    memcpy(ret, c->target->prefix, n);
    memcpy(ret + n, key, len + 1);
    return ret;
}

/* --- the calls -------------------------------------------------------------------------------- */

static enum err_code redis_ping(void *self, struct err *err)
{
    struct cache_redis *c = self;
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    const struct redis_command command = REDIS_COMMAND("PING");
    enum err_code rc = ask(c, &command, REDIS_REPLY_STATUS, REDIS_REPLY_STATUS, &reply, err);
    return rc == ERR_OK ? redis_listen_check(c->listener, err) : rc;
}

/* A value out of a reply (NULL: none there): its bytes, which hiredis ends with a zero. */
static enum err_code value_of(redisReply *reply, char **ret, size_t *ret_size, struct err *err)
{
    if (reply->type != REDIS_REPLY_STRING)
        return ERR_OK;
    if (reply->len > CACHE_VALUE_MAX)
        return err_set(
            err, ERR_LIMIT,
            "a value of %zu bytes is none of sonde's; give it its own ?prefix=", reply->len);
    *ret_size = reply->len;
    *ret = STEAL(reply->str);
    return ERR_OK;
}

/* Without GETDEL: the same in a transaction. */
static enum err_code take_in_two(struct cache_redis *c, const char *key, char **ret,
                                 size_t *ret_size, struct err *err)
{
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    enum err_code rc =
        ask_both(c, REDIS_COMMAND("GET", key), REDIS_COMMAND("DEL", key), &reply, err);
    return rc == ERR_OK ? value_of(reply->element[0], ret, ret_size, err) : rc;
}

static enum err_code redis_get(void *self, const char *key, int take, char **ret, size_t *ret_size,
                               struct err *err)
{
    struct cache_redis *c = self;
    char full[FULL_KEY];
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    full_key(c, key, full);
    if (take && atomic_load_explicit(&c->no_getdel, memory_order_relaxed))
        return take_in_two(c, full, ret, ret_size, err);
    const struct redis_command command = REDIS_COMMAND(take ? "GETDEL" : "GET", full);
    enum err_code rc = ask(c, &command, REDIS_REPLY_STRING, REDIS_REPLY_NIL, &reply, err);
    if (take && rc == ERR_UNSUPPORTED) {
        atomic_store_explicit(&c->no_getdel, 1, memory_order_relaxed);
        return take_in_two(c, full, ret, ret_size, err);
    }
    return rc == ERR_OK ? value_of(reply, ret, ret_size, err) : rc;
}

/* One exchange for all of them: what a request costs in system calls, and its wait for the network,
 * is shared. */
static enum err_code redis_get_many(void *self, const char *const *keys, size_t n, char **ret,
                                    struct err *err)
{
    struct cache_redis *c = self;
    char full[CACHE_MANY][FULL_KEY];
    struct redis_command commands[CACHE_MANY];
    redisReply *reply[CACHE_MANY] = {0};
    struct redis_conn *conn;
    struct err why = {0};
    enum redis_fate fate;
    struct net_until until;
    for (size_t i = 0; i < n; i++) {
        full_key(c, keys[i], full[i]);
        commands[i] = REDIS_COMMAND("GET", full[i]);
    }
    enum err_code rc = begin(c, &conn, &until, err);
    if (rc != ERR_OK)
        return rc;
    rc = exchange(conn, until, commands, n, reply, &fate, &why);
    for (size_t i = 0; i < n; i++) {
        size_t size;
        if (rc == ERR_OK && reply[i]->type != REDIS_REPLY_STRING &&
            reply[i]->type != REDIS_REPLY_NIL)
            rc = explain(conn, reply[i], &fate, &why);
        if (rc == ERR_OK)
            rc = value_of(reply[i], &ret[i], &size, &why);
        redis_reply_free(&reply[i]);
    }
    return done(c, conn, rc, fate, &why, err);
}

static enum err_code redis_set(void *self, const char *key, const void *value, size_t size,
                               double ttl_s, struct err *err)
{
    struct cache_redis *c = self;
    char full[FULL_KEY], ttl[NUMBER_TEXT];
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    struct redis_command command =
        REDIS_COMMAND("SET", full_key(c, key, full), "", "PX", ttl_text(ttl_s, ttl));
    command.part[2] = size ? value : "";
    command.size[2] = size;
    return ask(c, &command, REDIS_REPLY_STATUS, REDIS_REPLY_STATUS, &reply, err);
}

static enum err_code redis_del(void *self, const char *key, struct err *err)
{
    char full[FULL_KEY];
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    const struct redis_command command = REDIS_COMMAND("DEL", full_key(self, key, full));
    return ask(self, &command, REDIS_REPLY_INTEGER, REDIS_REPLY_INTEGER, &reply, err);
}

/* SET … NX makes the counter with its time to live, INCRBY keeps that: exact in 64 bits, where a
 * script's numbers are doubles, and no script has to be known to the server. One step, and one
 * moment of the clock for both, so that it cannot end in between and live on without an end. */
static enum err_code redis_add(void *self, const char *key, int64_t by, double ttl_s, int64_t *ret,
                               struct err *err)
{
    struct cache_redis *c = self;
    char full[FULL_KEY], ttl[NUMBER_TEXT], number[NUMBER_TEXT];
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    snprintf(number, sizeof number, "%" PRId64, by);
    full_key(c, key, full);
    enum err_code rc =
        ask_both(c, REDIS_COMMAND("SET", full, "0", "PX", ttl_text(ttl_s, ttl), "NX"),
                 REDIS_COMMAND("INCRBY", full, number), &reply, err);
    if (rc != ERR_OK)
        return rc;
    if (reply->element[1]->type != REDIS_REPLY_INTEGER)
        return err_set(err, ERR_UNAVAILABLE, "Redis: the answer to INCRBY is no number");
    *ret = reply->element[1]->integer;
    return ERR_OK;
}

static enum err_code redis_publish(void *self, const char *channel, const char *text,
                                   struct err *err)
{
    struct cache_redis *c = self;
    char full[REDIS_CHANNEL_MAX];
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    redis_channel(c->target, channel, full);
    const struct redis_command command = REDIS_COMMAND("PUBLISH", full, text);
    return ask(c, &command, REDIS_REPLY_INTEGER, REDIS_REPLY_INTEGER, &reply, err);
}

static enum err_code redis_hear(void *self, cache_heard *heard, void *ctx, struct err *err)
{
    struct cache_redis *c = self;
    return redis_listen(c->target, c->tls, heard, ctx, &c->listener, err);
}

const struct cache_driver cache_redis = {
    .scheme = "redis",
    .open = redis_open,
    .close = redis_close,
    .ping = redis_ping,
    .get = redis_get,
    .get_many = redis_get_many,
    .set = redis_set,
    .del = redis_del,
    .add = redis_add,
    .publish = redis_publish,
    .listen = redis_hear,
    .shared = 1,
};

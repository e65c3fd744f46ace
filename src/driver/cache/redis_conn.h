/* One connection that speaks RESP: commands out, replies in, and what an error reply means. */
#ifndef SONDE_DRIVER_CACHE_REDIS_CONN_H
#define SONDE_DRIVER_CACHE_REDIS_CONN_H

#include <hiredis/hiredis.h>

#include "redis_net.h"
#include "redis_url.h"

#define REDIS_CONNECT_MS 1000 /* all of it: name, Sentinel, TCP, TLS, AUTH, SELECT, PING */
#define REDIS_COMMAND_MS 1000 /* all of it, waiting for a free connection too */
#define REDIS_ARGS_MAX   6

struct redis_conn {
    struct net *net;
    redisReader *reader;
    unsigned generation; /* of the pool */
    char where[96];      /* "Redis at 10.0.0.1:6379", for errors */
};

struct redis_command {
    int count;
    const char *part[REDIS_ARGS_MAX];
    size_t size[REDIS_ARGS_MAX];
};
/* REDIS_COMMAND("GET", key): of texts. */
struct redis_command redis_command_of(int count, const char *const *parts);
#define REDIS_COMMAND(...)                                                                         \
    redis_command_of((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                \
                     (const char *[]){__VA_ARGS__})

/* What is to be done with the connection after an error: nothing, close it, or take the whole
 * server as gone. */
enum redis_fate { REDIS_GOOD, REDIS_CLOSE, REDIS_GONE };

/* Connects to the server, or to the master that a Sentinel names, and is ready for commands. */
enum err_code redis_connect(const struct redis_target *target, const struct net_tls *tls,
                            struct net_until until, struct redis_conn **ret,
                            struct err *err) MUST_CHECK;
struct redis_conn *redis_conn_close(struct redis_conn *conn);

/* Steps of redis_connect: the stream and nothing said yet; AUTH as `target` says. */
enum err_code redis_conn_dial(const struct redis_host *host, const struct net_tls *tls,
                              struct net_until until, struct redis_conn **ret,
                              struct err *err) MUST_CHECK;
enum err_code redis_conn_login(struct redis_conn *conn, const struct redis_target *target,
                               struct net_until until, struct err *err) MUST_CHECK;

/* Sends `count` commands in one go. */
enum err_code redis_conn_send(struct redis_conn *conn, const struct redis_command *commands,
                              size_t count, struct net_until until, struct err *err) MUST_CHECK;
/* The next reply, an error reply too; for redis_reply_free. ERR_LIMIT: it is longer than a value of
 * the cache may be. After any error the connection must be closed. */
enum err_code redis_conn_reply(struct redis_conn *conn, struct net_until until, redisReply **ret,
                               struct err *err) MUST_CHECK;
/* Both, for one command. */
enum err_code redis_conn_ask(struct redis_conn *conn, const struct redis_command *command,
                             struct net_until until, redisReply **ret, struct err *err) MUST_CHECK;
void redis_reply_free(redisReply **reply); /* for _cleanup_ */

/* Code, text with the cure, and fate for a reply that is an error or of a wrong type. Never repeats
 * what might be a password. */
enum err_code redis_explain(const redisReply *reply, enum redis_fate *ret_fate, struct err *err);

#endif

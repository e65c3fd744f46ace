/* RESP over one connection, and getting one ready.
 *
 * hiredis packs commands and unpacks replies; the bytes move in redis_net.c. A reply may not be
 * longer than a value of the cache and what stands around it, so a foreign giant under one of our
 * keys costs a connection and no memory. A connection belongs to one thread at a time. */
#include "redis_conn.h"

#include <stdio.h>
#include <string.h>

#include "../../base/mem.h"

#define REPLY_MAX    (CACHE_VALUE_MAX + 65536)
#define ELEMENTS_MAX 1024 /* ROLE lists the replicas */
#define READ_STEP    16384
#define NUMBER_TEXT  12

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/* hiredis makes room for as many elements as a reply announces. */
static redisReplyObjectFunctions functions;
static void *(*create_array)(const redisReadTask *, element_count);

static void *create_small_array(const redisReadTask *task, element_count count)
{
    return count <= ELEMENTS_MAX ? create_array(task, count) : NULL;
}

static __attribute__((constructor)) void set_functions(void)
{
    redisReader *reader = redisReaderCreate();
    if (!reader)
        return;
    functions = *reader->fn;
    create_array = functions.createArray;
    functions.createArray = create_small_array;
    redisReaderFree(reader);
}

struct redis_command redis_command_of(int count, const char *const *parts)
{
    struct redis_command c = {.count = count};
    for (int i = 0; i < count && i < REDIS_ARGS_MAX; i++) {
        c.part[i] = parts[i];
        c.size[i] = strlen(parts[i]);
    }
    return c;
}

void redis_reply_free(redisReply **reply)
{
    if (*reply)
        freeReplyObject(*reply);
    *reply = NULL;
}

struct redis_conn *redis_conn_close(struct redis_conn *conn)
{
    if (!conn)
        return NULL;
    if (conn->reader)
        redisReaderFree(conn->reader);
    net_close(conn->net);
    free(conn);
    return NULL;
}

enum err_code redis_conn_dial(const struct redis_host *host, const struct net_tls *tls,
                              struct net_until until, struct redis_conn **ret, struct err *err)
{
    struct net *net = NULL;
    struct redis_conn *conn = xalloc(sizeof *conn);
    *ret = NULL;
    snprintf(conn->where, sizeof conn->where,
             strchr(host->name, ':') ? "Redis at [%.70s]:%d" : "Redis at %.70s:%d", host->name,
             host->port);
    enum err_code rc = net_connect(host->name, host->port, tls, until, &net, err);
    if (rc != ERR_OK) {
        rc = err_prefix(err, "%s", conn->where);
        redis_conn_close(conn);
        return rc;
    }
    conn->net = net;
    conn->reader = redisReaderCreateWithFunctions(&functions);
    if (!conn->reader) {
        redis_conn_close(conn);
        return err_set(err, ERR_NO_MEMORY, "no memory for a connection to Redis");
    }
    *ret = conn;
    return ERR_OK;
}

/* --- commands and replies --------------------------------------------------------------------- */

/* The bytes of all commands behind each other; NULL when memory is gone. */
static char *pack(const struct redis_command *commands, size_t count, size_t *ret_size)
{
    char *all = NULL;
    *ret_size = 0;
    for (size_t i = 0; i < count; i++) {
        char *one = NULL;
        long long size = redisFormatCommandArgv(
            &one, commands[i].count, (const char **)(uintptr_t)commands[i].part, commands[i].size);
        char *both = size < 0 ? NULL : i ? realloc(all, *ret_size + (size_t)size) : one;
        if (!both) {
            free(all);
            if (size >= 0)
                redisFreeCommand(one);
            return NULL;
        }
        if (i) {
            memcpy(both + *ret_size, one, (size_t)size);
            redisFreeCommand(one);
        }
        all = both;
        *ret_size += (size_t)size;
    }
    return all;
}

enum err_code redis_conn_send(struct redis_conn *conn, const struct redis_command *commands,
                              size_t count, struct net_until until, struct err *err)
{
    size_t size;
    _cleanup_free_ char *bytes = pack(commands, count, &size);
    if (!bytes)
        return err_set(err, ERR_NO_MEMORY, "no memory for a command of Redis");
    enum err_code rc = net_send(conn->net, bytes, size, until, err);
    return rc == ERR_OK ? rc : err_prefix(err, "%s", conn->where);
}

static enum err_code parse_failed(const struct redis_conn *conn, struct err *err)
{
    if (conn->reader->err == REDIS_ERR_OOM)
        return err_set(err, ERR_LIMIT, "%s: an answer that is too long", conn->where);
    return err_set(err, ERR_UNAVAILABLE, "%s: what answers there does not speak Redis's protocol",
                   conn->where);
}

enum err_code redis_conn_reply(struct redis_conn *conn, struct net_until until, redisReply **ret,
                               struct err *err)
{
    size_t fed = 0, n;
    *ret = NULL;
    for (;;) {
        char data[READ_STEP];
        void *reply = NULL;
        if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK)
            return parse_failed(conn, err);
        if (reply) {
            *ret = reply;
            return ERR_OK;
        }
        enum err_code rc = net_receive(conn->net, data, sizeof data, until, &n, err);
        if (rc != ERR_OK)
            return err_prefix(err, "%s", conn->where);
        fed += n;
        if (fed > REPLY_MAX)
            return err_set(err, ERR_LIMIT,
                           "%s: an answer longer than any value of sonde's; another program writes "
                           "there: give sonde its own ?prefix=",
                           conn->where);
        if (redisReaderFeed(conn->reader, data, n) != REDIS_OK)
            return parse_failed(conn, err);
    }
}

enum err_code redis_conn_ask(struct redis_conn *conn, const struct redis_command *command,
                             struct net_until until, redisReply **ret, struct err *err)
{
    *ret = NULL;
    enum err_code rc = redis_conn_send(conn, command, 1, until, err);
    return rc == ERR_OK ? redis_conn_reply(conn, until, ret, err) : rc;
}

/* --- getting ready ---------------------------------------------------------------------------- */

static enum err_code refused(const struct redis_conn *conn, const redisReply *reply,
                             struct err *err)
{
    enum redis_fate fate;
    redis_explain(reply, &fate, err);
    err_prefix(err, "%s", conn->where);
    return ERR_UNAVAILABLE;
}

enum err_code redis_conn_login(struct redis_conn *conn, const struct redis_target *target,
                               struct net_until until, struct err *err)
{
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    if (!target->password)
        return ERR_OK;
    const struct redis_command command = target->user
                                             ? REDIS_COMMAND("AUTH", target->user, target->password)
                                             : REDIS_COMMAND("AUTH", target->password);
    enum err_code rc = redis_conn_ask(conn, &command, until, &reply, err);
    if (rc != ERR_OK || reply->type == REDIS_REPLY_STATUS)
        return rc;
    rc = refused(conn, reply, err);
    if (err && strstr(err->text, "it answers: ")) /* which might repeat the password */
        rc = err_set(err, ERR_UNAVAILABLE, "%s: it refuses AUTH", conn->where);
    return rc;
}

/* SELECT, and a question that only a server that is ready answers. */
static enum err_code prepare(struct redis_conn *conn, const struct redis_target *target,
                             struct net_until until, struct err *err)
{
    char number[NUMBER_TEXT];
    snprintf(number, sizeof number, "%d", target->number);
    const struct redis_command commands[] = {REDIS_COMMAND("PING"),
                                             REDIS_COMMAND("SELECT", number)};
    size_t count = target->number ? 2 : 1;
    enum err_code rc = redis_conn_login(conn, target, until, err);
    if (rc == ERR_OK)
        rc = redis_conn_send(conn, commands, count, until, err);
    for (size_t i = 0; rc == ERR_OK && i < count; i++) {
        _cleanup_(redis_reply_free) redisReply *reply = NULL;
        rc = redis_conn_reply(conn, until, &reply, err);
        if (rc == ERR_OK && reply->type != REDIS_REPLY_STATUS)
            rc = refused(conn, reply, err);
    }
    return rc;
}

/* What Sentinel says may be old: only a master is one. */
static enum err_code check_master(struct redis_conn *conn, struct net_until until, struct err *err)
{
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    const struct redis_command command = REDIS_COMMAND("ROLE");
    enum err_code rc = redis_conn_ask(conn, &command, until, &reply, err);
    if (rc != ERR_OK)
        return rc;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1 ||
        reply->element[0]->type != REDIS_REPLY_STRING)
        return refused(conn, reply, err);
    if (strcmp(reply->element[0]->str, "master") != 0)
        return err_set(
            err, ERR_UNAVAILABLE,
            "%s: Sentinel names it as the master, but it is none: a fail-over is going on",
            conn->where);
    return ERR_OK;
}

/* A connection that leads nowhere: what there may be instead of the Redis that is wanted. */
static enum err_code guess(const struct redis_host *host, int tls, struct err *err)
{
    if (!err)
        return ERR_UNAVAILABLE;
    if (!tls && strstr(err->text, "Connection reset by peer"))
        return err_set(
            err, ERR_UNAVAILABLE,
            "Redis at %.70s:%d: it hangs up; is it Redis, or a port for TLS (rediss://)?",
            host->name, host->port);
    if (tls && (strstr(err->text, "no answer in time") || strstr(err->text, "wrong version")))
        return err_set(err, ERR_UNAVAILABLE,
                       "Redis at %.70s:%d: no TLS comes back; without TLS the url is redis://",
                       host->name, host->port);
    return ERR_UNAVAILABLE;
}

static enum err_code open_server(const struct redis_target *target, const struct redis_host *host,
                                 const struct net_tls *tls, struct net_until until,
                                 struct redis_conn **ret, struct err *err)
{
    struct redis_conn *conn = NULL;
    *ret = NULL;
    enum err_code rc = redis_conn_dial(host, tls, until, &conn, err);
    if (rc == ERR_OK)
        rc = prepare(conn, target, until, err);
    if (rc == ERR_UNAVAILABLE)
        rc = guess(host, tls != NULL, err);
    if (rc == ERR_OK && target->master)
        rc = check_master(conn, until, err);
    if (rc != ERR_OK)
        conn = redis_conn_close(conn);
    *ret = conn;
    return rc;
}

/* --- Sentinel --------------------------------------------------------------------------------- */

/* A part of the whole time, so that a Sentinel that is silent leaves some to the next. */
static struct net_until share_of(struct net_until until, int parts)
{
    struct net_until now = net_until_ms(0, until.stop_fd);
    if (until.ns > now.ns)
        now.ns += (until.ns - now.ns) / (uint64_t)parts;
    return now;
}

static enum err_code ask_master(struct redis_conn *conn, const struct redis_target *target,
                                struct net_until until, redisReply **ret, struct err *err)
{
    const struct redis_command command =
        REDIS_COMMAND("SENTINEL", "get-master-addr-by-name", target->master);
    enum err_code rc = redis_conn_ask(conn, &command, until, ret, err);
    if (rc != ERR_OK || (*ret)->type != REDIS_REPLY_ERROR || strncmp((*ret)->str, "NOAUTH", 6) != 0)
        return rc;
    redis_reply_free(ret); /* it has a password as well */
    rc = redis_conn_login(conn, target, until, err);
    return rc == ERR_OK ? redis_conn_ask(conn, &command, until, ret, err) : rc;
}

static enum err_code find_master(const struct redis_target *target, const struct redis_host *at,
                                 const struct net_tls *tls, struct net_until until,
                                 struct redis_host *ret, struct err *err)
{
    struct redis_conn *conn = NULL;
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    enum err_code rc = redis_conn_dial(at, tls, until, &conn, err);
    if (rc == ERR_OK)
        rc = ask_master(conn, target, until, &reply, err);
    if (rc == ERR_OK && reply->type == REDIS_REPLY_NIL)
        rc = err_set(err, ERR_UNAVAILABLE,
                     "%s: this Sentinel knows no master '%.60s'; check the URL", conn->where,
                     target->master);
    else if (rc == ERR_OK && (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
                              reply->element[0]->type != REDIS_REPLY_STRING ||
                              reply->element[1]->type != REDIS_REPLY_STRING ||
                              reply->element[0]->len >= sizeof ret->name))
        rc = refused(conn, reply, err);
    if (rc == ERR_OK) {
        snprintf(ret->name, sizeof ret->name, "%s", reply->element[0]->str);
        ret->port = (int)strtol(reply->element[1]->str, NULL, 10);
    }
    redis_conn_close(conn);
    return rc;
}

/* Each Sentinel in turn, until one names a server that is the master. */
static enum err_code open_master(const struct redis_target *target, const struct net_tls *tls,
                                 struct net_until until, struct redis_conn **ret, struct err *err)
{
    struct err why; /* of the last that said something about a master, else of the last */
    enum err_code rc = ERR_UNAVAILABLE;
    int named = 0;
    err_set(err, rc, "no Sentinel answers");
    for (int i = 0; i < target->host_count && rc != ERR_OK && rc != ERR_CANCELLED; i++) {
        struct redis_host host;
        struct net_until share = share_of(until, target->host_count - i + 1);
        rc = find_master(target, &target->hosts[i], tls, share, &host, &why);
        if (rc == ERR_OK) {
            share = share_of(until, i + 1 < target->host_count ? 2 : 1);
            rc = open_server(target, &host, tls, share, ret, &why);
            named = 1;
            if (rc != ERR_OK && err)
                *err = why;
        } else if (!named) {
            if (err)
                *err = why;
            err_prefix(err, "Sentinel");
        }
    }
    return rc;
}

enum err_code redis_connect(const struct redis_target *target, const struct net_tls *tls,
                            struct net_until until, struct redis_conn **ret, struct err *err)
{
    *ret = NULL;
    return target->master ? open_master(target, tls, until, ret, err)
                          : open_server(target, &target->hosts[0], tls, until, ret, err);
}

/* The listener: connect, PSUBSCRIBE, tell that messages may have been missed, hear; from the start
 * when anything fails, after a growing moment. A server that is gone without a word is noticed by a
 * PING after two seconds of silence, answered within one. Only this thread touches its connection;
 * the rest is behind the lock. */
#include "redis_listen.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "../../os/clock.h"
#include "redis_pool.h"

#define SILENT_NS (5000 * 1000000ull)

struct redis_listener {
    const struct redis_target *target;
    const struct net_tls *tls;
    cache_heard *heard;
    void *ctx;
    pthread_t thread;
    int stop_fd;
    pthread_mutex_t lock;
    int listening;
    uint64_t since_ns; /* not listening */
    struct err why;
};

void redis_channel(const struct redis_target *target, const char *channel,
                   char ret[REDIS_CHANNEL_MAX])
{
    snprintf(ret, REDIS_CHANNEL_MAX, "%s%d/%s", target->prefix, target->number, channel);
}

static void set_state(struct redis_listener *l, int listening, const struct err *why)
{
    pthread_mutex_lock(&l->lock);
    if (l->listening && !listening)
        l->since_ns = clock_ns();
    l->listening = listening;
    if (why)
        l->why = *why;
    pthread_mutex_unlock(&l->lock);
}

static int is_text(const redisReply *reply, size_t max)
{
    return reply->type == REDIS_REPLY_STRING && reply->len <= max &&
           strlen(reply->str) == reply->len;
}

/* pmessage, pattern, channel, text. Anything else is an answer to PING. */
static void hear(const struct redis_listener *l, const redisReply *reply)
{
    char start[REDIS_CHANNEL_MAX];
    redis_channel(l->target, "", start);
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4 ||
        !is_text(reply->element[0], 16) || strcmp(reply->element[0]->str, "pmessage") != 0 ||
        !is_text(reply->element[2], REDIS_CHANNEL_MAX) ||
        !is_text(reply->element[3], CACHE_MESSAGE_MAX))
        return;
    const char *channel = reply->element[2]->str;
    if (strncmp(channel, start, strlen(start)) == 0)
        l->heard(l->ctx, channel + strlen(start), reply->element[3]->str);
}

static enum err_code subscribe(const struct redis_listener *l, struct redis_conn *conn,
                               struct err *err)
{
    char pattern[REDIS_CHANNEL_MAX];
    _cleanup_(redis_reply_free) redisReply *reply = NULL;
    enum redis_fate fate;
    redis_channel(l->target, "*", pattern); /* a prefix holds no character of patterns */
    const struct redis_command command = REDIS_COMMAND("PSUBSCRIBE", pattern);
    enum err_code rc =
        redis_conn_ask(conn, &command, net_until_ms(REDIS_COMMAND_MS, l->stop_fd), &reply, err);
    if (rc == ERR_OK && reply->type == REDIS_REPLY_ERROR) {
        redis_explain(reply, &fate, err);
        rc = err_prefix(err, "%s", conn->where);
    }
    return rc;
}

/* Hears until something fails, or the end. */
static enum err_code hear_all(const struct redis_listener *l, struct redis_conn *conn,
                              struct err *err)
{
    const struct redis_command ping = REDIS_COMMAND("PING");
    enum err_code rc = ERR_OK;
    while (rc == ERR_OK) {
        _cleanup_(redis_reply_free) redisReply *reply = NULL;
        int pending = conn->reader->pos < conn->reader->len;
        if (!pending && !net_readable(conn->net, net_until_ms(REDIS_PING_MS, l->stop_fd)))
            rc = redis_conn_send(conn, &ping, 1, net_until_ms(REDIS_COMMAND_MS, l->stop_fd), err);
        if (rc == ERR_OK)
            rc = redis_conn_reply(conn, net_until_ms(REDIS_COMMAND_MS, l->stop_fd), &reply, err);
        if (rc == ERR_OK)
            hear(l, reply);
    }
    return rc;
}

/* 1 when it is to end. */
static int wait_or_stop(const struct redis_listener *l, int ms)
{
    struct pollfd stop = {.fd = l->stop_fd, .events = POLLIN};
    return poll(&stop, 1, ms) > 0;
}

static void *run(void *arg)
{
    struct redis_listener *l = arg;
    int wait_ms = REDIS_WAIT_MIN;
    pthread_setname_np(pthread_self(), "redis-listen");
    do {
        struct redis_conn *conn = NULL;
        struct err why = {0};
        uint64_t from = clock_ns();
        enum err_code rc = redis_connect(l->target, l->tls,
                                         net_until_ms(REDIS_CONNECT_MS, l->stop_fd), &conn, &why);
        if (rc == ERR_OK)
            rc = subscribe(l, conn, &why);
        if (rc == ERR_OK) {
            set_state(l, 1, NULL);
            l->heard(l->ctx, NULL, NULL);
            rc = hear_all(l, conn, &why);
            if (clock_ns() - from > 2ull * REDIS_PING_MS * 1000000u)
                wait_ms = REDIS_WAIT_MIN;
        }
        redis_conn_close(conn);
        set_state(l, 0, &why);
    } while (!wait_or_stop(l, redis_wait(&wait_ms)));
    return NULL;
}

enum err_code redis_listen(const struct redis_target *target, const struct net_tls *tls,
                           cache_heard *heard, void *ctx, struct redis_listener **ret,
                           struct err *err)
{
    struct redis_listener *l = xalloc(sizeof *l);
    *ret = NULL;
    l->target = target;
    l->tls = tls;
    l->heard = heard;
    l->ctx = ctx;
    l->since_ns = clock_ns();
    l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&l->lock, NULL);
    if (l->stop_fd >= 0 && pthread_create(&l->thread, NULL, run, l) == 0) {
        *ret = l;
        return ERR_OK;
    }
    if (l->stop_fd >= 0)
        close(l->stop_fd);
    free(l);
    return err_set(err, ERR_UNAVAILABLE, "no thread for listening to Redis");
}

struct redis_listener *redis_listen_end(struct redis_listener *l)
{
    static const uint64_t one = 1;
    if (!l)
        return NULL;
    ssize_t ignored = write(l->stop_fd, &one, sizeof one);
    (void)ignored;
    pthread_join(l->thread, NULL);
    close(l->stop_fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
    return NULL;
}

enum err_code redis_listen_check(struct redis_listener *l, struct err *err)
{
    if (!l)
        return ERR_OK;
    pthread_mutex_lock(&l->lock);
    int silent = !l->listening && clock_ns() - l->since_ns > SILENT_NS;
    struct err why = l->why;
    pthread_mutex_unlock(&l->lock);
    return silent ? err_set(err, ERR_UNAVAILABLE, "listening: %s", why.text) : ERR_OK;
}

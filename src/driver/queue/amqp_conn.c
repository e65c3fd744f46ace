/* One connection to the broker: connecting, logging in, declaring what there has to be, and frames.
 *
 * Connecting and declaring block, within named limits; nothing can be served meanwhile anyway. From
 * then on nothing waits for an answer: methods are sent, and frames are read as they come.
 * librabbitmq's writes have no time limit, so the kernel gets one (TCP_USER_TIMEOUT): a peer that
 * takes nothing for that long is gone. Everything here runs on the I/O thread. */
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "queue_amqp.h"

#define CONNECT_S    3
#define HANDSHAKE_S  5
#define DECLARE_S    10 /* each; making a queue means electing its leader */
#define SEND_MS      20000
#define FRAME_MAX    131072
#define CHANNELS_MAX 2047 /* what brokers allow by default */

void amqp_full_name(const struct amqp_driver *d, int queue, char ret[128])
{
    snprintf(ret, 128, "%s%s", d->urls[0].prefix, amqp_queue_name(queue));
}

void amqp_delay_name(const struct amqp_driver *d, int queue, int step, char ret[128])
{
    snprintf(ret, 128, "%s%s.delay.%s", d->urls[0].prefix, amqp_queue_name(queue),
             amqp_step_name(step));
}

void amqp_conn_break(struct amqp_conn *conn, const char *fmt, ...)
{
    if (conn->broken)
        return;
    const struct amqp_url *url = &conn->driver->urls[conn->url];
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    conn->broken = 1;
    err_set(&conn->why, ERR_UNAVAILABLE, "the connection to the broker at %s:%d was lost: %s",
            url->host, url->port, text);
}

int amqp_conn_send(struct amqp_conn *conn, amqp_channel_t channel, amqp_method_number_t id,
                   void *method)
{
    if (!conn->up || conn->broken)
        return -1;
    int status = amqp_send_method(conn->state, channel, id, method);
    if (status == AMQP_STATUS_OK)
        return 0;
    amqp_conn_break(conn, "%s", amqp_error_string2(status));
    return -1;
}

int amqp_conn_read(struct amqp_conn *conn, amqp_frame_t *ret)
{
    static const struct timeval at_once = {0};
    struct timeval wait = at_once;
    int status = amqp_simple_wait_frame_noblock(conn->state, ret, &wait);
    if (status == AMQP_STATUS_OK)
        return 1;
    if (status == AMQP_STATUS_TIMEOUT)
        return 0;
    amqp_conn_break(conn, "%s", amqp_error_string2(status));
    return -1;
}

/* --- declaring ------------------------------------------------------------------------------ */

static void add_text(struct amqp_arguments *args, const char *key, const char *text)
{
    amqp_table_entry_t *entry = &args->list[args->n++];
    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_UTF8;
    entry->value.value.bytes = amqp_cstring_bytes(text);
}

static void add_number(struct amqp_arguments *args, const char *key, int n)
{
    amqp_table_entry_t *entry = &args->list[args->n++];
    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_I32;
    entry->value.value.i32 = n;
}

/* What leaves a queue on the broker's account (too old, too often) goes to `expired`. At least once
 * needs room for refusing messages: reject-publish, which without a length limit refuses none. */
static amqp_table_t work_arguments(const struct amqp_driver *d, int queue,
                                   struct amqp_arguments *args)
{
    args->n = 0;
    if (!d->classic)
        add_text(args, "x-queue-type", "quorum");
    if (queue == AMQP_DLQ || queue == AMQP_EXPIRED) {
        /* Looking at a dead letter is a delivery to the broker, and newer ones drop what was
         * delivered often unless told otherwise. */
        if (!d->classic)
            add_number(args, "x-delivery-limit", 1000000000);
        return (amqp_table_t){args->n, args->list};
    }
    amqp_full_name(d, AMQP_EXPIRED, args->name);
    snprintf(args->exchange, sizeof args->exchange, "%ssonde", d->urls[0].prefix);
    add_text(args, "x-dead-letter-exchange", args->exchange);
    add_text(args, "x-dead-letter-routing-key", args->name);
    add_number(args, "x-message-ttl", QUEUE_TTL_SECONDS * 1000);
    if (!d->classic) {
        add_text(args, "x-dead-letter-strategy", "at-least-once");
        add_text(args, "x-overflow", "reject-publish");
        add_number(args, "x-delivery-limit", AMQP_DELIVERY_LIMIT);
    }
    return (amqp_table_t){args->n, args->list};
}

amqp_table_t amqp_delay_arguments(const struct amqp_driver *d, int queue, int step,
                                  struct amqp_arguments *args)
{
    args->n = 0;
    amqp_full_name(d, queue, args->name);
    snprintf(args->exchange, sizeof args->exchange, "%ssonde", d->urls[0].prefix);
    if (!d->classic) {
        add_text(args, "x-queue-type", "quorum");
        add_text(args, "x-dead-letter-strategy", "at-least-once");
        add_text(args, "x-overflow", "reject-publish");
    }
    add_text(args, "x-dead-letter-exchange", args->exchange);
    add_text(args, "x-dead-letter-routing-key", args->name);
    add_number(args, "x-message-ttl", (int)(amqp_step_seconds(step) * 1000));
    return (amqp_table_t){args->n, args->list};
}

/* The broker's own words, cut and printable. */
static void words(amqp_bytes_t text, char ret[QUEUE_REASON_MAX + 1])
{
    char raw[QUEUE_REASON_MAX + 1] = {0};
    memcpy(raw, text.bytes, text.len < 150 ? text.len : 150);
    queue_reason_tidy(raw, ret);
}

/* The code of a refusal, 0: the connection failed instead. */
static int refusal(const amqp_rpc_reply_t *reply, char ret_words[QUEUE_REASON_MAX + 1])
{
    if (reply->reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION ||
        reply->reply_type == AMQP_RESPONSE_NONE) {
        const char *text = amqp_error_string2(reply->library_error);
        queue_reason_tidy(text, ret_words);
        return 0;
    }
    if (reply->reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *m = reply->reply.decoded;
        words(m->reply_text, ret_words);
        return m->reply_code;
    }
    if (reply->reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *m = reply->reply.decoded;
        words(m->reply_text, ret_words);
        return m->reply_code;
    }
    memcpy(ret_words, "?", 2);
    return 0;
}

static enum err_code open_channel(struct amqp_conn *conn, amqp_channel_t channel, struct err *err)
{
    char why[QUEUE_REASON_MAX + 1];
    amqp_channel_open(conn->state, channel);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn->state);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return ERR_OK;
    refusal(&reply, why);
    return err_set(err, ERR_UNAVAILABLE, "the broker opens no channel: %s", why);
}

/* After a refusal the channel is closed. */
static enum err_code refused(struct amqp_conn *conn, const char *name,
                             const amqp_rpc_reply_t *reply, int *ret_code, struct err *err)
{
    char why[QUEUE_REASON_MAX + 1];
    *ret_code = refusal(reply, why);
    if (*ret_code == 406 && strstr(why, "inequivalent"))
        return err_set(err, ERR_USAGE,
                       "the broker has \"%s\" declared otherwise; delete it there when it is "
                       "empty, or add ?prefix=… to the queue's address (%.90s)",
                       name, why);
    if (*ret_code == 403)
        return err_set(err, ERR_PERMISSION,
                       "user %s may not configure, write and read \"%s\" at the broker; grant it "
                       "with rabbitmqctl set_permissions (%.80s)",
                       conn->driver->urls[conn->url].user, name, why);
    return err_set(err, ERR_UNAVAILABLE, "the broker declares no \"%s\": %.120s", name, why);
}

static enum err_code declare_queue(struct amqp_conn *conn, int queue, int *ret_code,
                                   struct err *err)
{
    struct amqp_arguments args;
    char name[128], exchange[128];
    amqp_full_name(conn->driver, queue, name);
    snprintf(exchange, sizeof exchange, "%ssonde", conn->driver->urls[0].prefix);
    amqp_queue_declare(conn->state, AMQP_CH_TOPOLOGY, amqp_cstring_bytes(name), 0, 1, 0, 0,
                       work_arguments(conn->driver, queue, &args));
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn->state);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return refused(conn, name, &reply, ret_code, err);
    amqp_queue_bind(conn->state, AMQP_CH_TOPOLOGY, amqp_cstring_bytes(name),
                    amqp_cstring_bytes(exchange), amqp_cstring_bytes(name), amqp_empty_table);
    reply = amqp_get_rpc_reply(conn->state);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return refused(conn, name, &reply, ret_code, err);
    return ERR_OK;
}

static enum err_code declare_all(struct amqp_conn *conn, struct err *err)
{
    struct amqp_driver *d = conn->driver;
    char exchange[128];
    int refusal_code = 0;
    snprintf(exchange, sizeof exchange, "%ssonde", d->urls[0].prefix);
    enum err_code code = open_channel(conn, AMQP_CH_TOPOLOGY, err);
    if (code)
        return code;
    amqp_exchange_declare(conn->state, AMQP_CH_TOPOLOGY, amqp_cstring_bytes(exchange),
                          amqp_cstring_bytes("direct"), 0, 1, 0, 0, amqp_empty_table);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn->state);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return refused(conn, exchange, &reply, &refusal_code, err);
    for (int i = 0; i < AMQP_QUEUES && !code; i++) {
        code = declare_queue(conn, i, &refusal_code, err);
        /* A broker without quorum queues refuses the first of them in other words. */
        if (code == ERR_UNAVAILABLE && refusal_code == 406 && !d->classic) {
            d->classic = 1;
            code = open_channel(conn, AMQP_CH_TOPOLOGY, err);
            i = -1;
        }
    }
    return code;
}

/* --- connecting ----------------------------------------------------------------------------- */

static enum err_code make_socket(struct amqp_conn *conn, const struct amqp_url *url,
                                 amqp_socket_t **ret, struct err *err)
{
    const char *ca = conn->driver->ca_file;
    *ret = url->tls ? amqp_ssl_socket_new(conn->state) : amqp_tcp_socket_new(conn->state);
    if (!*ret)
        return err_set(err, ERR_NO_MEMORY, "no memory for a connection to the broker");
    if (!url->tls)
        return ERR_OK;
    amqp_ssl_socket_set_verify_peer(*ret, 1);
    amqp_ssl_socket_set_verify_hostname(*ret, 1);
    if (amqp_ssl_socket_set_ssl_versions(*ret, AMQP_TLSv1_2, AMQP_TLSvLATEST) != AMQP_STATUS_OK)
        return err_set(err, ERR_UNAVAILABLE, "no TLS 1.2 here");
    if (ca && amqp_ssl_socket_set_cacert(*ret, ca) != AMQP_STATUS_OK)
        return err_set(err, ERR_USAGE, "%s holds no certificates to check the broker's with", ca);
    if (!ca && SSL_CTX_set_default_verify_paths(amqp_ssl_socket_get_context(*ret)) != 1)
        return err_set(err, ERR_UNAVAILABLE, "the system's certificates cannot be read");
    return ERR_OK;
}

/* librabbitmq's own words say little: what is behind each, and what to do. */
static enum err_code cannot_connect(const struct amqp_url *url, const char *ca, int status,
                                    struct err *err)
{
    const char *why = amqp_error_string2(status);
    if (status == AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED)
        return err_set(err, ERR_UNAVAILABLE,
                       "the certificate of the broker at %s:%d is for another name; use the name "
                       "that it has",
                       url->host, url->port);
    if (status == AMQP_STATUS_SSL_PEER_VERIFY_FAILED)
        return err_set(err, ERR_UNAVAILABLE,
                       "the certificate of the broker at %s:%d is not signed by %s: set "
                       "SONDE_QUEUE_CA_FILE to who signed it",
                       url->host, url->port, ca ? ca : "an authority that this system knows");
    if (status <= AMQP_STATUS_SSL_ERROR)
        return err_set(err, ERR_UNAVAILABLE,
                       "no TLS with the broker at %s:%d (%.60s): use its port for TLS (5671 by "
                       "default), or amqp:// without TLS",
                       url->host, url->port, why);
    if (status == AMQP_STATUS_HOSTNAME_RESOLUTION_FAILED)
        return err_set(err, ERR_UNAVAILABLE, "the host name of the broker at %s:%d is unknown",
                       url->host, url->port);
    if (status == AMQP_STATUS_SOCKET_ERROR || status == AMQP_STATUS_TCP_ERROR)
        return err_set(
            err, ERR_UNAVAILABLE,
            "the broker at %s:%d cannot be reached: nobody listens there; is it running?",
            url->host, url->port);
    return err_set(err, ERR_UNAVAILABLE,
                   "the broker at %s:%d does not answer: %s; see that it runs, and what the "
                   "queue's address says",
                   url->host, url->port, why);
}

/* The connection is there, but no AMQP comes over it. */
static enum err_code no_greeting(const struct amqp_url *url, const amqp_rpc_reply_t *reply,
                                 const char *why, struct err *err)
{
    const char *said = NULL;
    switch (reply->library_error) {
    case AMQP_STATUS_TIMEOUT:
        said = "says nothing: is it RabbitMQ, and has it started?";
        break;
    case AMQP_STATUS_SOCKET_ERROR:
    case AMQP_STATUS_SOCKET_CLOSED:
    case AMQP_STATUS_CONNECTION_CLOSED:
        said = url->tls ? "hangs up: is it RabbitMQ?"
                        : "hangs up: is it RabbitMQ, or a port for TLS (amqps://)?";
        break;
    case AMQP_STATUS_WRONG_METHOD:
    case AMQP_STATUS_BAD_AMQP_DATA:
    case AMQP_STATUS_UNKNOWN_CLASS:
    case AMQP_STATUS_UNKNOWN_METHOD:
    case AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION:
        said = "does not speak AMQP 0-9-1: is it RabbitMQ?";
        break;
    default:
        break;
    }
    if (reply->reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && said)
        return err_set(err, ERR_UNAVAILABLE, "the broker at %s:%d %s", url->host, url->port, said);
    return err_set(err, ERR_UNAVAILABLE, "the broker at %s:%d lets nobody in: %.150s", url->host,
                   url->port, why);
}

static enum err_code log_in(struct amqp_conn *conn, const struct amqp_url *url, struct err *err)
{
    /* So that it tells when it blocks us, and when it ends a consumer. */
    amqp_table_entry_t able[] = {
        {amqp_cstring_bytes("connection.blocked"),
         {.kind = AMQP_FIELD_KIND_BOOLEAN, {.boolean = 1}}},
        {amqp_cstring_bytes("consumer_cancel_notify"),
         {.kind = AMQP_FIELD_KIND_BOOLEAN, {.boolean = 1}}},
        {amqp_cstring_bytes("authentication_failure_close"),
         {.kind = AMQP_FIELD_KIND_BOOLEAN, {.boolean = 1}}},
    };
    amqp_table_entry_t properties[] = {
        {amqp_cstring_bytes("capabilities"),
         {.kind = AMQP_FIELD_KIND_TABLE, {.table = {ARRAY_LEN(able), able}}}},
        {amqp_cstring_bytes("connection_name"),
         {.kind = AMQP_FIELD_KIND_UTF8,
          {.bytes = amqp_cstring_bytes(conn == &conn->driver->in ? "sonde: receives"
                                                                 : "sonde: publishes")}}},
    };
    amqp_table_t table = {ARRAY_LEN(properties), properties};
    amqp_rpc_reply_t reply = amqp_login_with_properties(
        conn->state, url->vhost, CHANNELS_MAX, FRAME_MAX, AMQP_HEARTBEAT_S, &table,
        AMQP_SASL_METHOD_PLAIN, url->user, url->password);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return ERR_OK;
    char why[QUEUE_REASON_MAX + 1];
    int code = refusal(&reply, why);
    if (code == 403)
        return err_set(err, ERR_PERMISSION,
                       "the broker at %s:%d refuses user %s: wrong name or password", url->host,
                       url->port, url->user);
    if (code == 530)
        return err_set(
            err, ERR_USAGE,
            "the broker at %s:%d has no virtual host \"%s\" for user %s; add it, or name "
            "another one in the queue's address (%.60s)",
            url->host, url->port, url->vhost, url->user, why);
    return no_greeting(url, &reply, why, err);
}

static enum err_code ready_publishing(struct amqp_conn *conn, struct err *err)
{
    enum err_code code = open_channel(conn, AMQP_CH_PUBLISH, err);
    if (code)
        return code;
    amqp_confirm_select(conn->state, AMQP_CH_PUBLISH);
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn->state);
    return reply.reply_type == AMQP_RESPONSE_NORMAL
               ? ERR_OK
               : err_set(err, ERR_UNAVAILABLE, "the broker confirms no messages");
}

static enum err_code connect_to(struct amqp_conn *conn, const struct amqp_url *url, struct err *err)
{
    struct timeval connect = {CONNECT_S, 0}, handshake = {HANDSHAKE_S, 0}, rpc = {DECLARE_S, 0};
    amqp_socket_t *socket = NULL;
    conn->state = amqp_new_connection();
    if (!conn->state)
        return err_set(err, ERR_NO_MEMORY, "no memory for a connection to the broker");
    amqp_set_handshake_timeout(conn->state, &handshake);
    amqp_set_rpc_timeout(conn->state, &rpc);
    enum err_code code = make_socket(conn, url, &socket, err);
    if (code)
        return code;
    int status = amqp_socket_open_noblock(socket, url->host, url->port, &connect);
    if (status != AMQP_STATUS_OK)
        return cannot_connect(url, conn->driver->ca_file, status, err);
    conn->fd = amqp_get_sockfd(conn->state);
    int on = 1, limit = SEND_MS;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(conn->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
    code = log_in(conn, url, err);
    if (!code)
        code = declare_all(conn, err);
    if (!code && conn == &conn->driver->out)
        code = ready_publishing(conn, err);
    return code;
}

enum err_code amqp_conn_open(struct amqp_conn *conn, struct err *err)
{
    struct err own = {0};
    enum err_code code = connect_to(conn, &conn->driver->urls[conn->url], &own);
    if (!code) {
        conn->up = 1;
        conn->broken = conn->blocked = 0;
        return ERR_OK;
    }
    conn->why = own;
    if (err)
        *err = own;
    if (conn->state)
        amqp_destroy_connection(conn->state);
    conn->state = NULL;
    conn->url = (conn->url + 1) % conn->driver->n_urls;
    return code;
}

void amqp_conn_close(struct amqp_conn *conn, int orderly)
{
    struct timeval soon = {2, 0};
    if (!conn->state)
        return;
    if (orderly && conn->up && !conn->broken) {
        amqp_set_rpc_timeout(conn->state, &soon);
        amqp_connection_close(conn->state, AMQP_REPLY_SUCCESS);
    }
    amqp_destroy_connection(conn->state);
    conn->state = NULL;
    conn->up = 0;
}

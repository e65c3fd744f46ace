/* The I/O thread: commands in, frames in, what is due, and sleep.
 *
 * Between two sleeps everything that has come is handled; nothing here waits for an answer, except
 * connecting (amqp_conn.c). A connection that breaks is only marked, wherever that is noticed, and
 * put away at one place of the loop. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "queue_amqp.h"

#define TICK_MS        1000 /* librabbitmq sends its heartbeats when it is asked for frames */
#define BACKOFF_MS     100
#define BACKOFF_MAX_MS 5000
#define FAREWELL_MS    2000

static void dispatch(struct amqp_driver *d, struct amqp_command *command)
{
    switch (command->kind) {
    case AMQP_PUBLISH:
        amqp_publish(d, command);
        break;
    case AMQP_RECEIVE:
        amqp_receive(d, command);
        break;
    case AMQP_STATS:
        amqp_stats(d, command);
        break;
    default:
        amqp_settle(d, command);
        break;
    }
}

/* 1 when the queue is closing. */
static int take_commands(struct amqp_driver *d, int *ret_look)
{
    uint64_t ignored;
    while (read(d->event, &ignored, sizeof ignored) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&d->lock);
    struct amqp_command *list = d->fresh;
    int closing = d->closing;
    *ret_look = d->look;
    d->fresh = NULL;
    d->fresh_end = &d->fresh;
    d->n_fresh = d->look = 0;
    pthread_mutex_unlock(&d->lock);
    while (list) {
        struct amqp_command *command = list;
        list = command->next;
        command->next = NULL;
        dispatch(d, command);
    }
    return closing;
}

/* --- frames --------------------------------------------------------------------------------- */

static void cut_words(amqp_bytes_t text, char ret[QUEUE_REASON_MAX + 1])
{
    char raw[151] = {0};
    memcpy(raw, text.bytes, text.len < 150 ? text.len : 150);
    queue_reason_tidy(raw, ret);
}

static void connection_frame(struct amqp_conn *conn, const amqp_frame_t *frame)
{
    const struct amqp_url *url = &conn->driver->urls[conn->url];
    char text[QUEUE_REASON_MAX + 1];
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return;
    if (frame->payload.method.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *m = frame->payload.method.decoded;
        amqp_connection_close_ok_t ok = {0};
        cut_words(m->reply_text, text);
        amqp_conn_send(conn, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        amqp_conn_break(conn, "it was closed: %.150s", text);
    } else if (frame->payload.method.id == AMQP_CONNECTION_BLOCKED_METHOD) {
        const amqp_connection_blocked_t *m = frame->payload.method.decoded;
        cut_words(m->reason, text);
        conn->blocked = 1;
        err_set(&conn->why, ERR_UNAVAILABLE,
                "the broker at %s:%d takes no messages (%.80s); give it more of that, it goes on "
                "by itself",
                url->host, url->port, text);
        if (conn == &conn->driver->out)
            amqp_publish_blocked(conn->driver);
    } else if (frame->payload.method.id == AMQP_CONNECTION_UNBLOCKED_METHOD) {
        conn->blocked = 0;
    }
}

static void read_frames(struct amqp_conn *conn)
{
    struct amqp_driver *d = conn->driver;
    amqp_frame_t frame;
    while (conn->up && !conn->broken && amqp_conn_read(conn, &frame) == 1) {
        int keep = 0;
        if (frame.channel == 0)
            connection_frame(conn, &frame);
        else if (conn == &d->out)
            keep = amqp_publish_frame(d, &frame);
        else if (frame.channel == AMQP_CH_PROBE)
            amqp_stats_frame(d, &frame);
        else
            keep = amqp_receive_frame(d, &frame);
        if (!keep)
            amqp_maybe_release_buffers_on_channel(conn->state, frame.channel);
    }
}

/* --- connections ---------------------------------------------------------------------------- */

static void put_away(struct amqp_conn *conn, int64_t now)
{
    struct amqp_driver *d = conn->driver;
    if (!conn->up || !conn->broken)
        return;
    amqp_conn_close(conn, 0);
    conn->retry_at = now;
    conn->backoff_ms = BACKOFF_MS;
    if (conn == &d->out) {
        amqp_publish_lost(d);
    } else {
        amqp_stats_lost(d);
        amqp_receive_lost(d);
    }
}

/* Half to one and a half of the back-off, so that many processes do not come at once. */
static void connect_again(struct amqp_conn *conn)
{
    struct amqp_driver *d = conn->driver;
    if (conn->up || time_steady_ms() < conn->retry_at)
        return;
    if (amqp_conn_open(conn, NULL) == ERR_OK) {
        conn->backoff_ms = BACKOFF_MS;
        if (conn == &d->in)
            amqp_receive_up(d);
        return;
    }
    uint32_t dice;
    random_bytes(&dice, sizeof dice);
    int64_t wait = conn->backoff_ms / 2 + (int64_t)(dice % (uint32_t)conn->backoff_ms);
    conn->retry_at = time_steady_ms() + wait;
    conn->backoff_ms =
        conn->backoff_ms * 2 < BACKOFF_MAX_MS ? conn->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* Each address is tried once. */
static enum err_code open_first(struct amqp_driver *d, struct err *err)
{
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < d->n_urls; i++) {
        code = amqp_conn_open(&d->in, err);
        if (!code)
            break;
    }
    d->out.url = d->in.url;
    return code ? code : amqp_conn_open(&d->out, err);
}

/* --- the loop ------------------------------------------------------------------------------- */

static void sleep_until(struct amqp_driver *d, int64_t due)
{
    struct pollfd fds[3] = {{.fd = d->event, .events = POLLIN}};
    struct amqp_conn *conns[] = {&d->in, &d->out};
    nfds_t n = 1;
    int64_t now = time_steady_ms(), most = now + TICK_MS;
    for (size_t i = 0; i < ARRAY_LEN(conns); i++) {
        if (conns[i]->up && !conns[i]->broken)
            fds[n++] = (struct pollfd){.fd = conns[i]->fd, .events = POLLIN};
        else if (conns[i]->up) /* broke just now */
            most = now;
        else if (conns[i]->retry_at < most)
            most = conns[i]->retry_at;
    }
    if (due < most)
        most = due;
    poll(fds, n, most > now ? (int)(most - now) : 0);
}

static int64_t turn(struct amqp_driver *d, int *ret_closing)
{
    int look;
    *ret_closing = take_commands(d, &look);
    read_frames(&d->in);
    read_frames(&d->out);
    int64_t now = time_steady_ms();
    int64_t due = amqp_publish_sweep(d, now);
    int64_t due_slots = amqp_receive_sweep(d, now, look), due_leases = amqp_lease_sweep(d, now);
    put_away(&d->in, now);
    put_away(&d->out, now);
    if (!*ret_closing) {
        connect_again(&d->in);
        connect_again(&d->out);
    }
    due = due < due_slots ? due : due_slots;
    return due < due_leases ? due : due_leases;
}

void *amqp_io_run(void *driver)
{
    struct amqp_driver *d = driver;
    struct err err = {0};
    d->first_tag = d->next_tag = 1;
    d->sent_due = d->slot_due = d->lease_due = AMQP_NEVER;
    enum err_code code = open_first(d, &err);
    pthread_mutex_lock(&d->lock);
    d->opened = 1;
    d->open_code = code;
    d->open_err = err;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    int closing = code != ERR_OK;
    int64_t until = 0;
    while (!code) {
        int64_t due = turn(d, &closing);
        int64_t now = time_steady_ms();
        if (closing && !until)
            until = now + FAREWELL_MS;
        /* What is on its way arrives; what comes too late is given back. */
        if (closing && ((!d->sent && amqp_receive_idle(d)) || now >= until))
            break;
        sleep_until(d, closing && until < due ? until : due);
    }
    amqp_conn_close(&d->out, 1);
    amqp_conn_close(&d->in, 1);
    amqp_publish_lost(d);
    amqp_stats_lost(d);
    amqp_receive_lost(d);
    amqp_receive_done(d);
    free(d->pending);
    return NULL;
}

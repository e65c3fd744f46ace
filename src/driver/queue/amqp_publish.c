/* Publishing: every message is confirmed by the broker, and nobody waits for one confirm before the
 * next message goes. Tags are counted by the broker and here alike, from 1 on each connection; a
 * ring remembers whose each is. A message that no queue takes comes back before its confirm and
 * carries its tag as correlation id. I/O thread. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "queue_amqp.h"

static struct amqp_pending *pending_of(struct amqp_driver *d, uint64_t tag)
{
    return &d->pending[tag % d->pending_cap];
}

/* Room for `n` more. 0, or -1. */
static int make_room(struct amqp_driver *d, size_t n)
{
    size_t used = d->next_tag - d->first_tag, cap = d->pending_cap ? d->pending_cap : 64;
    if (used + n > AMQP_PENDING_MAX)
        return -1;
    while (cap < used + n)
        cap *= 2;
    if (cap == d->pending_cap)
        return 0;
    struct amqp_pending *ring = try_alloc(cap, sizeof *ring);
    if (!ring)
        return -1;
    for (uint64_t tag = d->first_tag; tag < d->next_tag; tag++)
        ring[tag % cap] = *pending_of(d, tag);
    free(d->pending);
    d->pending = ring;
    d->pending_cap = cap;
    return 0;
}

/* --- commands that wait for confirms -------------------------------------------------------- */

static void add_sent(struct amqp_driver *d, struct amqp_command *command)
{
    command->sent_before = NULL;
    command->sent_after = d->sent;
    if (d->sent)
        d->sent->sent_before = command;
    d->sent = command;
    if (command->deadline < d->sent_due)
        d->sent_due = command->deadline;
}

static void finish(struct amqp_driver *d, struct amqp_command *command, enum err_code code,
                   const char *why)
{
    if (command->kind == AMQP_MOVE)
        amqp_settle_moved(d, command, code, why);
    else
        amqp_command_end(d, command, code, "%s", why);
}

static void finish_sent(struct amqp_driver *d, struct amqp_command *command, enum err_code code,
                        const char *why)
{
    if (command->sent_before)
        command->sent_before->sent_after = command->sent_after;
    else
        d->sent = command->sent_after;
    if (command->sent_after)
        command->sent_after->sent_before = command->sent_before;
    finish(d, command, code, why);
}

/* Nobody waits any longer for what was not confirmed. */
static void forget(struct amqp_driver *d, const struct amqp_command *command)
{
    for (uint64_t tag = d->first_tag; tag < d->next_tag; tag++)
        if (pending_of(d, tag)->command == command)
            pending_of(d, tag)->command = NULL;
}

int64_t amqp_publish_sweep(struct amqp_driver *d, int64_t now)
{
    if (now < d->sent_due)
        return d->sent_due;
    d->sent_due = AMQP_NEVER;
    for (struct amqp_command *c = d->sent, *next; c; c = next) {
        next = c->sent_after;
        if (c->deadline <= now) {
            forget(d, c);
            finish_sent(d, c, ERR_UNCERTAIN,
                        d->out.blocked ? d->out.why.text
                                       : "the broker confirmed no message in time");
        } else if (c->deadline < d->sent_due) {
            d->sent_due = c->deadline;
        }
    }
    return d->sent_due;
}

/* The broker handles what reached it before it was blocked, or when it goes on. */
void amqp_publish_blocked(struct amqp_driver *d)
{
    int64_t soon = time_steady_ms() + 2000;
    for (struct amqp_command *c = d->sent; c; c = c->sent_after)
        if (c->deadline > soon)
            c->deadline = soon;
    if (d->sent && d->sent_due > soon)
        d->sent_due = soon;
}

void amqp_publish_lost(struct amqp_driver *d)
{
    while (d->sent)
        finish_sent(d, d->sent, ERR_UNCERTAIN,
                    d->out.why.text[0] ? d->out.why.text : "the queue is closing");
    d->first_tag = d->next_tag = 1;
    d->returned.what = AMQP_NO_CONTENT;
    for (int i = 0; i < QUEUE_NAMES; i++)
        for (int k = 0; k < AMQP_STEPS; k++)
            if (d->delays[i][k] == AMQP_DECLARED)
                d->delays[i][k] = AMQP_THERE;
}

/* --- sending -------------------------------------------------------------------------------- */

/* On the publishing channel and without an answer: the broker takes one after the other. */
static void declare_delay(struct amqp_driver *d, int queue, int step, const char *name)
{
    struct amqp_arguments args;
    amqp_queue_declare_t m = {.queue = amqp_cstring_bytes(name), .durable = 1, .nowait = 1};
    if (d->delays[queue][step] == AMQP_DECLARED)
        return;
    m.arguments = amqp_delay_arguments(d, queue, step, &args);
    if (!amqp_conn_send(&d->out, AMQP_CH_PUBLISH, AMQP_QUEUE_DECLARE_METHOD, &m))
        d->delays[queue][step] = AMQP_DECLARED;
}

static int64_t life_left(const struct amqp_letter *letter)
{
    int64_t left = letter->published_ms + AMQP_TTL_MS - time_steady_ms();
    return left < 1 ? 1 : left > AMQP_TTL_MS ? AMQP_TTL_MS : left;
}

static int send_one(struct amqp_driver *d, struct amqp_command *command, size_t i)
{
    const struct amqp_letter *letter = &command->letters[i];
    int target = command->kind == AMQP_MOVE ? command->queue : letter->queue, declared = 0;
    int64_t expiration = target < QUEUE_NAMES ? life_left(letter) : -1;
    char name[128], exchange[128] = "";
    amqp_full_name(d, target, name);
    if (command->delays && command->delays[i] > 0 && target < QUEUE_NAMES) {
        int step = amqp_step(command->delays[i]);
        amqp_delay_name(d, target, step, name);
        declare_delay(d, target, step, name);
        declared = 1 + target * AMQP_STEPS + step;
        expiration = (int64_t)ceil(command->delays[i] * 1000);
    } else {
        snprintf(exchange, sizeof exchange, "%ssonde", d->urls[0].prefix);
    }
    struct amqp_room room;
    amqp_basic_properties_t properties;
    amqp_letter_write(letter, expiration, d->next_tag, &room, &properties);
    if (d->out.broken)
        return -1;
    int status = amqp_basic_publish(d->out.state, AMQP_CH_PUBLISH, amqp_cstring_bytes(exchange),
                                    amqp_cstring_bytes(name), 1, 0, &properties,
                                    amqp_cstring_bytes(letter->body));
    if (status != AMQP_STATUS_OK) {
        amqp_conn_break(&d->out, "%s", amqp_error_string2(status));
        return -1;
    }
    *pending_of(d, d->next_tag++) = (struct amqp_pending){command, 0, declared};
    return 0;
}

void amqp_publish(struct amqp_driver *d, struct amqp_command *command)
{
    if (!d->out.up || d->out.broken || d->out.blocked) {
        finish(d, command, ERR_UNAVAILABLE, d->out.why.text);
        return;
    }
    if (make_room(d, command->n)) {
        finish(d, command, ERR_BUSY, "too many messages wait for the broker's confirm");
        return;
    }
    command->left = command->n;
    add_sent(d, command);
    /* When it breaks on the way, all that waits ends with it. */
    for (size_t i = 0; i < command->n; i++)
        if (send_one(d, command, i))
            return;
}

/* --- answers -------------------------------------------------------------------------------- */

static void resolve(struct amqp_driver *d, uint64_t tag, int taken)
{
    struct amqp_pending *p = pending_of(d, tag);
    struct amqp_command *command = p->command;
    p->command = NULL;
    if (!command)
        return;
    if (p->returned)
        err_set(&command->err, command->code = ERR_UNAVAILABLE,
                "the broker has no queue for it any more; it is declared again");
    else if (!taken)
        err_set(&command->err, command->code = ERR_UNAVAILABLE, "the broker refused a message");
    if (--command->left)
        return;
    char why[ERR_TEXT_MAX];
    snprintf(why, sizeof why, "%s", command->err.text);
    finish_sent(d, command, command->code, why);
}

static void confirmed(struct amqp_driver *d, uint64_t tag, int multiple, int taken)
{
    if (tag >= d->next_tag) {
        amqp_conn_break(&d->out, "it confirmed what was never sent");
        return;
    }
    if (tag == 0)
        tag = d->next_tag - 1; /* all of them */
    for (uint64_t t = multiple ? d->first_tag : tag; t <= tag && t >= d->first_tag; t++)
        resolve(d, t, taken);
    while (d->first_tag < d->next_tag && !pending_of(d, d->first_tag)->command)
        d->first_tag++;
}

/* What came back: its queue is gone. */
static void returned(struct amqp_driver *d)
{
    char text[24] = {0};
    const amqp_basic_properties_t *p = d->returned.properties;
    if (!p || !(p->_flags & AMQP_BASIC_CORRELATION_ID_FLAG) || p->correlation_id.len > 20)
        return;
    memcpy(text, p->correlation_id.bytes, p->correlation_id.len);
    uint64_t tag = strtoull(text, NULL, 10);
    if (tag < d->first_tag || tag >= d->next_tag)
        return;
    struct amqp_pending *pending = pending_of(d, tag);
    pending->returned = 1;
    if (pending->declared)
        d->delays[(pending->declared - 1) / AMQP_STEPS][(pending->declared - 1) % AMQP_STEPS] =
            AMQP_UNKNOWN;
    else
        d->redeclare = 1;
}

static void channel_closed(struct amqp_driver *d, const amqp_channel_close_t *m)
{
    char raw[151] = {0}, text[QUEUE_REASON_MAX + 1];
    memcpy(raw, m->reply_text.bytes, m->reply_text.len < 150 ? m->reply_text.len : 150);
    queue_reason_tidy(raw, text);
    amqp_conn_break(&d->out, "%.150s%s", text,
                    strstr(text, "inequivalent") ? "; delete that queue there when it is empty"
                                                 : "");
}

int amqp_publish_frame(struct amqp_driver *d, const amqp_frame_t *frame)
{
    if (frame->frame_type != AMQP_FRAME_METHOD) {
        if (amqp_content_frame(&d->returned, frame)) {
            returned(d);
            d->returned.what = AMQP_NO_CONTENT;
        }
        return d->returned.what != AMQP_NO_CONTENT;
    }
    const amqp_method_t *method = &frame->payload.method;
    if (method->id == AMQP_BASIC_ACK_METHOD) {
        const amqp_basic_ack_t *m = method->decoded;
        confirmed(d, m->delivery_tag, m->multiple, 1);
    } else if (method->id == AMQP_BASIC_NACK_METHOD) {
        const amqp_basic_nack_t *m = method->decoded;
        confirmed(d, m->delivery_tag, m->multiple, 0);
    } else if (method->id == AMQP_BASIC_RETURN_METHOD) {
        amqp_content_begin(&d->returned, AMQP_RETURNED, 0, 0);
        return 1;
    } else if (method->id == AMQP_CHANNEL_CLOSE_METHOD) {
        channel_closed(d, method->decoded);
    }
    if (d->redeclare && !d->sent) {
        d->redeclare = 0;
        amqp_conn_break(&d->out, "a queue is gone");
    }
    return 0;
}

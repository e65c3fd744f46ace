/* How much waits: the broker tells it when a queue is declared passively.
 *
 * That closes the channel when there is no such queue, so this has a channel of its own, and what
 * is missing is remembered. A delay queue that another process made is noticed by the first message
 * that comes out of it, and by looking again now and then. One command at a time. I/O thread. */
#include <string.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "queue_amqp.h"

#define LOOK_AGAIN_MS                                                                              \
    (600 * 1000) /* each look at what is missing is a line in the broker's log                     \
                  */

static void ask(struct amqp_driver *d);

static void end_first(struct amqp_driver *d, enum err_code code, const char *why)
{
    struct amqp_command *command = d->asking;
    d->asking = command->next;
    command->next = NULL;
    amqp_command_end(d, command, code, "%s", why);
}

/* The age of the oldest that this process works on. */
static double oldest_leased(const struct amqp_driver *d, int queue)
{
    int64_t now = time_steady_ms(), oldest = now;
    for (size_t i = 0; i < AMQP_BUCKETS; i++)
        for (const struct amqp_lease *lease = d->leases[i]; lease; lease = lease->next)
            if (lease->from == queue && lease->letter.published_ms < oldest)
                oldest = lease->letter.published_ms;
    return (double)(now - oldest) / 1000;
}

static void next_step(struct amqp_driver *d)
{
    struct amqp_command *command = d->asking;
    int last = command->queue < QUEUE_NAMES ? AMQP_STEPS : 0;
    do
        command->step++;
    while (command->step < last && d->delays[command->queue][command->step] == AMQP_MISSING);
    if (command->step >= last) {
        if (command->queue < QUEUE_NAMES) {
            command->stats.leased = d->leased[command->queue];
            command->stats.oldest_s = oldest_leased(d, command->queue);
        }
        end_first(d, ERR_OK, "");
    }
    if (d->asking)
        ask(d);
}

static void ask(struct amqp_driver *d)
{
    const struct amqp_command *command = d->asking;
    char name[128];
    if (!d->probe_open) {
        amqp_channel_open_t open = {.out_of_band = amqp_empty_bytes};
        amqp_conn_send(&d->in, AMQP_CH_PROBE, AMQP_CHANNEL_OPEN_METHOD, &open);
        d->probe_open = 1;
    }
    if (command->step < 0)
        amqp_full_name(d, command->queue, name);
    else
        amqp_delay_name(d, command->queue, command->step, name);
    amqp_queue_declare_t m = {.queue = amqp_cstring_bytes(name), .passive = 1};
    amqp_conn_send(&d->in, AMQP_CH_PROBE, AMQP_QUEUE_DECLARE_METHOD, &m);
}

void amqp_stats(struct amqp_driver *d, struct amqp_command *command)
{
    if (!d->in.up || d->in.broken) {
        amqp_command_end(d, command, ERR_UNAVAILABLE, "%s", d->in.why.text);
        return;
    }
    if (time_steady_ms() >= d->look_again_at) {
        d->look_again_at = time_steady_ms() + LOOK_AGAIN_MS;
        for (int i = 0; i < QUEUE_NAMES; i++)
            for (int k = 0; k < AMQP_STEPS; k++)
                if (d->delays[i][k] == AMQP_MISSING)
                    d->delays[i][k] = AMQP_UNKNOWN;
    }
    struct amqp_command **end = &d->asking;
    while (*end)
        end = &(*end)->next;
    *end = command;
    command->step = -1;
    if (d->asking == command)
        ask(d);
}

static void counted(struct amqp_driver *d, uint64_t n)
{
    struct amqp_command *command = d->asking;
    if (command->step < 0) {
        command->stats.ready = n;
    } else {
        unsigned char *known = &d->delays[command->queue][command->step];
        command->stats.delayed += n;
        if (*known < AMQP_THERE)
            *known = AMQP_THERE;
    }
    next_step(d);
}

static void closed(struct amqp_driver *d, const amqp_channel_close_t *m)
{
    amqp_channel_close_ok_t ok = {0};
    amqp_conn_send(&d->in, AMQP_CH_PROBE, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    d->probe_open = 0;
    struct amqp_command *command = d->asking;
    if (!command)
        return;
    if (m->reply_code == AMQP_NOT_FOUND && command->step >= 0) {
        d->delays[command->queue][command->step] = AMQP_MISSING;
        next_step(d);
        return;
    }
    end_first(d, ERR_UNAVAILABLE, "the broker does not tell how much waits");
    if (m->reply_code == AMQP_NOT_FOUND)
        amqp_conn_break(&d->in, "a queue is gone");
    else if (d->asking)
        ask(d);
}

void amqp_stats_frame(struct amqp_driver *d, const amqp_frame_t *frame)
{
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return;
    if (frame->payload.method.id == AMQP_QUEUE_DECLARE_OK_METHOD && d->asking) {
        const amqp_queue_declare_ok_t *m = frame->payload.method.decoded;
        counted(d, m->message_count);
    } else if (frame->payload.method.id == AMQP_CHANNEL_CLOSE_METHOD) {
        closed(d, frame->payload.method.decoded);
    }
}

void amqp_stats_lost(struct amqp_driver *d)
{
    d->probe_open = 0;
    while (d->asking)
        end_first(d, ERR_UNAVAILABLE, d->in.why.text);
}

/* Leases: what this process has received and not settled, and settling it.
 *
 * The broker takes a message back only when its connection ends; so within a living process the
 * time of a lease is kept here. Whatever has to come again, or to stand elsewhere, is copied: the
 * copy is published, and when it is confirmed the original is acknowledged. A crash between the two
 * doubles a message and loses none. I/O thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "queue_amqp.h"

#define AGAIN_MS 5000 /* until what could not be moved is tried again */

static struct amqp_lease **bucket(struct amqp_driver *d, const char *id)
{
    uint32_t hash = 2166136261u;
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return &d->leases[hash % AMQP_BUCKETS];
}

struct amqp_lease *amqp_lease_find(struct amqp_driver *d, const char *id)
{
    struct amqp_lease *lease = *bucket(d, id);
    while (lease && strcmp(lease->id, id))
        lease = lease->next;
    return lease;
}

static void set_due(struct amqp_driver *d, struct amqp_lease *lease, int64_t until)
{
    lease->until = until;
    if (until < d->lease_due)
        d->lease_due = until;
}

struct amqp_lease *amqp_lease_add(struct amqp_driver *d, amqp_channel_t channel, uint64_t tag,
                                  int from, int64_t until, struct amqp_letter *letter)
{
    struct amqp_lease *lease = try_alloc(1, sizeof *lease);
    if (!lease) {
        amqp_letter_done(letter);
        return NULL;
    }
    id_new(lease->id);
    lease->channel = channel;
    lease->tag = tag;
    lease->from = from;
    lease->letter = *letter;
    set_due(d, lease, until);
    struct amqp_lease **at = bucket(d, lease->id);
    lease->next = *at;
    *at = lease;
    d->leased[from]++;
    return lease;
}

static void drop(struct amqp_driver *d, struct amqp_lease *lease)
{
    struct amqp_lease **at = bucket(d, lease->id);
    while (*at != lease)
        at = &(*at)->next;
    *at = lease->next;
    d->leased[lease->from]--;
    amqp_letter_done(&lease->letter);
    free(lease);
}

static void acknowledge(struct amqp_driver *d, struct amqp_lease *lease)
{
    amqp_basic_ack_t m = {.delivery_tag = lease->tag};
    amqp_conn_send(&d->in, lease->channel, AMQP_BASIC_ACK_METHOD, &m);
    drop(d, lease);
}

void amqp_lease_return(struct amqp_driver *d, struct amqp_lease *lease)
{
    amqp_basic_reject_t m = {.delivery_tag = lease->tag, .requeue = 1};
    amqp_conn_send(&d->in, lease->channel, AMQP_BASIC_REJECT_METHOD, &m);
    drop(d, lease);
}

void amqp_leases_lost(struct amqp_driver *d, amqp_channel_t channel)
{
    for (size_t i = 0; i < AMQP_BUCKETS; i++) {
        for (struct amqp_lease *lease = d->leases[i], *next; lease; lease = next) {
            next = lease->next;
            if (!channel || lease->channel == channel)
                drop(d, lease);
        }
    }
}

/* --- moving --------------------------------------------------------------------------------- */

/* Turns the copy into what shall stand at the target. 0, or -1: no memory. */
static int prepare(struct amqp_command *command, const struct amqp_lease *lease,
                   struct amqp_letter *copy)
{
    int received = lease->from < QUEUE_NAMES; /* else `made` tells already */
    enum amqp_move move = command->move;
    command->queue = lease->from;
    copy->died_ms = 0;
    if (move == AMQP_TO_RETRY && copy->made + 1 >= AMQP_DELIVERIES_MAX) {
        move = AMQP_TO_DEAD;
        command->dead = 1;
    }
    if (received && lease->handed && move != AMQP_TO_RELEASE)
        copy->made++;
    if (move == AMQP_TO_RAISE) {
        copy->made = copy->returned = 0;
        copy->published_ms = time_steady_ms();
        command->queue = copy->queue;
    }
    if (move == AMQP_TO_DEAD || move == AMQP_TO_EXPIRED) {
        command->queue = move == AMQP_TO_DEAD ? AMQP_DLQ : AMQP_EXPIRED;
        copy->died_ms = time_steady_ms();
        if (received) /* a dead letter tells of all of them */
            copy->made += copy->returned;
        copy->returned = 0;
    }
    free(copy->reason);
    copy->reason = NULL;
    if ((move == AMQP_TO_DEAD || move == AMQP_TO_EXPIRED) &&
        !(copy->reason = strdup(command->reason)))
        return -1;
    if (move != AMQP_TO_RETRY && move != AMQP_TO_DEAD)
        return 0;
    char *longer = queue_history_add(copy->history, command->reason);
    free(copy->history);
    copy->history = longer;
    return longer ? 0 : -1;
}

static void move(struct amqp_driver *d, struct amqp_command *command, struct amqp_lease *lease)
{
    command->letters = try_alloc(1, sizeof *command->letters);
    command->delays = try_alloc(1, sizeof *command->delays);
    if (command->letters && command->delays &&
        !amqp_letter_copy(&lease->letter, &command->letters[0])) {
        command->n = 1;
        command->delays[0] = command->delay_s;
        if (!prepare(command, lease, &command->letters[0])) {
            lease->settling = 1;
            amqp_publish(d, command);
            return;
        }
    }
    amqp_settle_moved(d, command, ERR_NO_MEMORY, "no memory for a message");
}

void amqp_settle_moved(struct amqp_driver *d, struct amqp_command *command, enum err_code code,
                       const char *why)
{
    struct amqp_lease *lease = amqp_lease_find(d, command->lease);
    if (!lease) { /* the connection that it came on was lost: it comes again */
        amqp_command_end(d, command, ERR_CONFLICT, "the lease of the message was lost");
        return;
    }
    if (!code) {
        acknowledge(d, lease);
        amqp_command_end(d, command, ERR_OK, NULL);
        return;
    }
    lease->settling = 0;
    if (lease->doomed)
        set_due(d, lease, time_steady_ms() + AGAIN_MS);
    else
        set_due(d, lease, lease->until);
    amqp_command_end(d, command, code, "%s", why);
}

void amqp_lease_move(struct amqp_driver *d, struct amqp_lease *lease, enum amqp_move to,
                     const char *reason)
{
    struct amqp_command *command = amqp_command_new(AMQP_MOVE);
    command->move = lease->move = to;
    lease->doomed = 1;
    lease->reason = reason;
    command->deadline = time_steady_ms() + AMQP_SETTLE_MS;
    memcpy(command->lease, lease->id, sizeof command->lease);
    snprintf(command->reason, sizeof command->reason, "%s", reason);
    move(d, command, lease);
}

/* --- callers -------------------------------------------------------------------------------- */

void amqp_settle(struct amqp_driver *d, struct amqp_command *command)
{
    struct amqp_lease *lease = amqp_lease_find(d, command->lease);
    if (!lease || lease->settling || lease->doomed) {
        amqp_command_end(d, command, ERR_CONFLICT, "the lease of the message was lost");
        return;
    }
    switch (command->kind) {
    case AMQP_MOVE:
        move(d, command, lease);
        return;
    case AMQP_EXTEND:
        set_due(d, lease, time_steady_ms() + command->lease_ms);
        break;
    case AMQP_RETURN:
        amqp_lease_return(d, lease);
        break;
    default:
        acknowledge(d, lease);
        break;
    }
    if (d->in.broken)
        amqp_command_end(d, command, ERR_CONFLICT, "the lease of the message was lost");
    else
        amqp_command_end(d, command, ERR_OK, NULL);
}

/* --- time ----------------------------------------------------------------------------------- */

static void passed(struct amqp_driver *d, struct amqp_lease *lease)
{
    if (lease->doomed)
        amqp_lease_move(d, lease, lease->move, lease->reason);
    else if (lease->from < QUEUE_NAMES && lease->letter.made + 1 >= AMQP_DELIVERIES_MAX)
        amqp_lease_move(d, lease, AMQP_TO_EXPIRED,
                        "the lease of its last delivery ended unsettled");
    else if (lease->from < QUEUE_NAMES) /* this was a try */
        amqp_lease_move(d, lease, AMQP_TO_COUNT, "");
    else
        amqp_lease_return(d, lease);
}

int64_t amqp_lease_sweep(struct amqp_driver *d, int64_t now)
{
    if (now < d->lease_due)
        return d->lease_due;
    d->lease_due = AMQP_NEVER;
    for (size_t i = 0; i < AMQP_BUCKETS; i++) {
        for (struct amqp_lease *lease = d->leases[i], *next; lease; lease = next) {
            next = lease->next;
            if (lease->settling)
                continue;
            if (lease->until <= now)
                passed(d, lease);
            else if (lease->until < d->lease_due)
                d->lease_due = lease->until;
        }
    }
    return d->lease_due;
}

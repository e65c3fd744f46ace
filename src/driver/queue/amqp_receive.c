/* Receiving: each caller gets a channel of its own for as long as it waits.
 *
 * It asks the queue once (basic.get). When nothing is there it becomes a consumer that may hold one
 * message, until one comes or its time is over; then it is cancelled, before its message is handed
 * out, so that the broker sends no second one. A process thus never holds a message that nobody
 * asked for. What arrives for a caller that has gone goes back uncounted. While one caller consumes
 * a queue it is empty, so others need not ask. I/O thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "queue_amqp.h"

/* --- content -------------------------------------------------------------------------------- */

void amqp_content_begin(struct amqp_content *content, int what, uint64_t tag, int redelivered)
{
    content->what = what;
    content->tag = tag;
    content->redelivered = redelivered;
    content->size = content->have = 0;
    content->properties = NULL;
}

int amqp_content_frame(struct amqp_content *content, const amqp_frame_t *frame)
{
    if (content->what == AMQP_NO_CONTENT)
        return 0;
    if (frame->frame_type == AMQP_FRAME_HEADER) {
        content->size = frame->payload.properties.body_size;
        content->properties = frame->payload.properties.decoded;
    } else if (frame->frame_type == AMQP_FRAME_BODY && content->properties) {
        amqp_bytes_t part = frame->payload.body_fragment;
        uint64_t room = content->have < QUEUE_BODY_MAX ? QUEUE_BODY_MAX - content->have : 0;
        if (room)
            memcpy(content->body + content->have, part.bytes, part.len < room ? part.len : room);
        content->have += part.len;
    }
    return content->properties && content->have >= content->size;
}

/* --- slots ---------------------------------------------------------------------------------- */

static void set_state(struct amqp_driver *d, struct amqp_slot *slot, enum amqp_slot_state state)
{
    d->consuming[slot->queue] -= slot->state == AMQP_SLOT_CONSUMING;
    d->consuming[slot->queue] += state == AMQP_SLOT_CONSUMING;
    slot->state = state;
}

static struct amqp_slot *free_slot(struct amqp_driver *d)
{
    struct amqp_slot *fresh = NULL;
    for (size_t i = 0; i < d->n_slots; i++) {
        if (d->slots[i]->state == AMQP_SLOT_FREE)
            return d->slots[i];
        if (d->slots[i]->state == AMQP_SLOT_NEW && !fresh)
            fresh = d->slots[i];
    }
    if (fresh)
        return fresh;
    if (try_grow(&d->slots, &d->slots_cap, d->n_slots, sizeof *d->slots, AMQP_SLOTS_MAX))
        return NULL;
    struct amqp_slot *slot = try_alloc(1, sizeof *slot);
    if (!slot)
        return NULL;
    slot->channel = (amqp_channel_t)(AMQP_CH_SLOTS + d->n_slots);
    d->slots[d->n_slots++] = slot;
    return slot;
}

static void consumer_tag(const struct amqp_slot *slot, char ret[24])
{
    snprintf(ret, 24, "r%" PRIu64, slot->consumer);
}

static void send_get(struct amqp_driver *d, struct amqp_slot *slot)
{
    char name[128];
    amqp_full_name(d, slot->queue, name);
    amqp_basic_get_t m = {.queue = amqp_cstring_bytes(name)};
    set_state(d, slot, AMQP_SLOT_GETTING);
    amqp_conn_send(&d->in, slot->channel, AMQP_BASIC_GET_METHOD, &m);
}

/* Its name is new each time: the broker remembers what an earlier one of that name still holds. */
static void send_consume(struct amqp_driver *d, struct amqp_slot *slot)
{
    char name[128], tag[24];
    slot->consumer = ++d->consumers;
    consumer_tag(slot, tag);
    amqp_full_name(d, slot->queue, name);
    amqp_basic_consume_t m = {.queue = amqp_cstring_bytes(name),
                              .consumer_tag = amqp_cstring_bytes(tag)};
    set_state(d, slot, AMQP_SLOT_CONSUMING);
    if (slot->command && slot->command->until < d->slot_due)
        d->slot_due = slot->command->until;
    amqp_conn_send(&d->in, slot->channel, AMQP_BASIC_CONSUME_METHOD, &m);
}

static void send_cancel(struct amqp_driver *d, struct amqp_slot *slot)
{
    char tag[24];
    consumer_tag(slot, tag);
    amqp_basic_cancel_t m = {.consumer_tag = amqp_cstring_bytes(tag)};
    set_state(d, slot, AMQP_SLOT_CANCELLING);
    amqp_conn_send(&d->in, slot->channel, AMQP_BASIC_CANCEL_METHOD, &m);
}

static void open_slot(struct amqp_driver *d, struct amqp_slot *slot)
{
    amqp_channel_open_t open = {.out_of_band = amqp_empty_bytes};
    amqp_basic_qos_t one = {.prefetch_count = 1};
    amqp_conn_send(&d->in, slot->channel, AMQP_CHANNEL_OPEN_METHOD, &open);
    amqp_conn_send(&d->in, slot->channel, AMQP_BASIC_QOS_METHOD, &one);
    slot->content.what = AMQP_NO_CONTENT;
}

static void park(struct amqp_driver *d, struct amqp_command *command)
{
    if (command->until <= time_steady_ms() || command->queue >= QUEUE_NAMES) {
        amqp_command_end(d, command, ERR_UNAVAILABLE, "%s", d->in.why.text);
        return;
    }
    command->next = d->parked;
    d->parked = command;
    if (command->until < d->slot_due)
        d->slot_due = command->until;
}

void amqp_receive(struct amqp_driver *d, struct amqp_command *command)
{
    if (amqp_command_gone(d, command)) {
        amqp_command_end(d, command, ERR_OK, NULL);
        return;
    }
    if (!d->in.up || d->in.broken) {
        park(d, command);
        return;
    }
    struct amqp_slot *slot = free_slot(d);
    if (!slot) {
        amqp_command_end(d, command, ERR_BUSY, "more than %d threads wait for messages",
                         AMQP_SLOTS_MAX);
        return;
    }
    if (slot->state == AMQP_SLOT_NEW)
        open_slot(d, slot);
    slot->queue = command->queue;
    slot->command = command;
    if (d->consuming[slot->queue] && command->until > time_steady_ms())
        send_consume(d, slot);
    else
        send_get(d, slot);
}

void amqp_receive_up(struct amqp_driver *d)
{
    struct amqp_command *list = STEAL(d->parked);
    while (list) {
        struct amqp_command *command = list;
        list = command->next;
        command->next = NULL;
        amqp_receive(d, command);
    }
}

/* --- a message ------------------------------------------------------------------------------ */

static void give_back(struct amqp_driver *d, struct amqp_lease *lease)
{
    if (lease->from < QUEUE_NAMES)
        amqp_lease_move(d, lease, AMQP_TO_RELEASE, "");
    else
        amqp_lease_return(d, lease);
}

static void hand_out(struct amqp_driver *d, struct amqp_command *command, struct amqp_lease *lease)
{
    char id[ID_TEXT];
    memcpy(id, lease->id, sizeof id);
    if (command && !amqp_command_gone(d, command)) {
        memcpy(command->lease, lease->id, sizeof command->lease);
        if (amqp_letter_copy(&lease->letter, &command->got)) {
            amqp_command_end(d, command, ERR_NO_MEMORY, "no memory for a message");
            give_back(d, lease);
            return;
        }
        lease->handed = 1;
        if (!amqp_command_end(d, command, ERR_OK, NULL))
            return;
        lease->handed = 0;
    } else if (command) {
        amqp_command_end(d, command, ERR_OK, NULL);
    }
    give_back(d, lease);
}

/* 1 when nobody can be given it; it is moved. */
static int unfit(struct amqp_driver *d, struct amqp_lease *lease)
{
    const struct amqp_letter *letter = &lease->letter;
    if (lease->from >= QUEUE_NAMES)
        return 0;
    if (letter->delay_step[0] >= 0 &&
        d->delays[letter->delay_step[0]][letter->delay_step[1]] < AMQP_THERE)
        d->delays[letter->delay_step[0]][letter->delay_step[1]] = AMQP_THERE;
    if (letter->defect)
        amqp_lease_move(d, lease, AMQP_TO_DEAD, letter->defect);
    else if (letter->made >= AMQP_DELIVERIES_MAX || letter->returned > AMQP_RETURNS_MAX)
        amqp_lease_move(d, lease, AMQP_TO_EXPIRED, "its last delivery ended unsettled");
    else if (letter->published_ms + AMQP_TTL_MS <= time_steady_ms())
        amqp_lease_move(d, lease, AMQP_TO_EXPIRED, "it waited for longer than a day");
    else if (letter->uncounted)
        amqp_lease_move(d, lease, AMQP_TO_COUNT, "");
    else
        return 0;
    return 1;
}

/* Nothing there, or nothing fit. */
static void try_on(struct amqp_driver *d, struct amqp_slot *slot, int empty)
{
    struct amqp_command *command = slot->command;
    if (command && !empty && !amqp_command_gone(d, command)) {
        send_get(d, slot);
    } else if (command && command->queue < QUEUE_NAMES && command->until > time_steady_ms() &&
               !amqp_command_gone(d, command)) {
        send_consume(d, slot);
    } else {
        set_state(d, slot, AMQP_SLOT_FREE);
        slot->command = NULL;
        if (command)
            amqp_command_end(d, command, ERR_OK, NULL);
    }
}

static void arrived(struct amqp_driver *d, struct amqp_slot *slot)
{
    struct amqp_content *content = &slot->content;
    struct amqp_letter letter;
    int was_got = content->what == AMQP_GOT;
    uint64_t kept = content->have < QUEUE_BODY_MAX ? content->have : QUEUE_BODY_MAX;
    content->what = AMQP_NO_CONTENT;
    struct amqp_lease *lease = NULL;
    if (!amqp_letter_read(&letter, content->properties, (amqp_bytes_t){kept, content->body},
                          content->size > QUEUE_BODY_MAX, slot->queue, content->redelivered,
                          d->urls[0].prefix)) {
        int64_t hold = slot->command ? slot->command->lease_ms : AMQP_SETTLE_MS;
        lease = amqp_lease_add(d, slot->channel, content->tag, slot->queue, time_steady_ms() + hold,
                               &letter);
    }
    if (!lease) {
        amqp_conn_break(&d->in, "no memory for a message");
        return;
    }
    if (unfit(d, lease)) {
        if (was_got)
            try_on(d, slot, 0);
        return; /* a consumer gets the next one when this is gone */
    }
    struct amqp_command *command = STEAL(slot->command);
    if (was_got)
        set_state(d, slot, AMQP_SLOT_FREE);
    else if (slot->state == AMQP_SLOT_CONSUMING)
        send_cancel(d, slot);
    hand_out(d, command, lease);
}

/* --- frames --------------------------------------------------------------------------------- */

static void channel_closed(struct amqp_driver *d, struct amqp_slot *slot,
                           const amqp_channel_close_t *m)
{
    char raw[151] = {0}, text[QUEUE_REASON_MAX + 1];
    amqp_channel_close_ok_t ok = {0};
    memcpy(raw, m->reply_text.bytes, m->reply_text.len < 150 ? m->reply_text.len : 150);
    queue_reason_tidy(raw, text);
    amqp_conn_send(&d->in, slot->channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    amqp_leases_lost(d, slot->channel);
    set_state(d, slot, AMQP_SLOT_NEW);
    slot->content.what = AMQP_NO_CONTENT;
    struct amqp_command *command = STEAL(slot->command);
    if (command)
        amqp_command_end(d, command, ERR_UNAVAILABLE, "the broker ended receiving: %.150s", text);
    if (m->reply_code == AMQP_NOT_FOUND)
        amqp_conn_break(&d->in, "a queue is gone"); /* the next one declares it */
}

static void method_frame(struct amqp_driver *d, struct amqp_slot *slot, const amqp_method_t *method)
{
    struct amqp_command *command;
    switch (method->id) {
    case AMQP_BASIC_GET_OK_METHOD: {
        const amqp_basic_get_ok_t *m = method->decoded;
        amqp_content_begin(&slot->content, AMQP_GOT, m->delivery_tag, m->redelivered);
        break;
    }
    case AMQP_BASIC_DELIVER_METHOD: {
        const amqp_basic_deliver_t *m = method->decoded;
        amqp_content_begin(&slot->content, AMQP_DELIVERED, m->delivery_tag, m->redelivered);
        break;
    }
    case AMQP_BASIC_GET_EMPTY_METHOD:
        try_on(d, slot, 1);
        break;
    case AMQP_BASIC_CANCEL_OK_METHOD:
        set_state(d, slot, AMQP_SLOT_FREE);
        command = STEAL(slot->command);
        if (command)
            amqp_command_end(d, command, ERR_OK, NULL);
        break;
    case AMQP_BASIC_CANCEL_METHOD: /* by the broker */
        set_state(d, slot, AMQP_SLOT_FREE);
        command = STEAL(slot->command);
        if (command)
            amqp_command_end(d, command, ERR_UNAVAILABLE, "the broker ended receiving");
        break;
    case AMQP_CHANNEL_CLOSE_METHOD:
        channel_closed(d, slot, method->decoded);
        break;
    default: /* open-ok, qos-ok, consume-ok */
        break;
    }
}

int amqp_receive_frame(struct amqp_driver *d, const amqp_frame_t *frame)
{
    size_t i = (size_t)frame->channel - AMQP_CH_SLOTS;
    if (frame->channel < AMQP_CH_SLOTS || i >= d->n_slots)
        return 0;
    struct amqp_slot *slot = d->slots[i];
    if (frame->frame_type == AMQP_FRAME_METHOD)
        method_frame(d, slot, &frame->payload.method);
    else if (amqp_content_frame(&slot->content, frame))
        arrived(d, slot);
    return slot->content.what != AMQP_NO_CONTENT;
}

/* --- time, loss, end ------------------------------------------------------------------------ */

static void sweep_parked(struct amqp_driver *d, int64_t now)
{
    for (struct amqp_command **at = &d->parked; *at;) {
        struct amqp_command *command = *at;
        if (command->until > now && !amqp_command_gone(d, command)) {
            if (command->until < d->slot_due)
                d->slot_due = command->until;
            at = &command->next;
            continue;
        }
        *at = command->next;
        amqp_command_end(d, command, ERR_UNAVAILABLE, "%s", d->in.why.text);
    }
}

int64_t amqp_receive_sweep(struct amqp_driver *d, int64_t now, int look)
{
    if (now < d->slot_due && !look)
        return d->slot_due;
    d->slot_due = AMQP_NEVER;
    sweep_parked(d, now);
    for (size_t i = 0; i < d->n_slots; i++) {
        struct amqp_slot *slot = d->slots[i];
        if (slot->state != AMQP_SLOT_CONSUMING || !slot->command)
            continue;
        int gone = amqp_command_gone(d, slot->command);
        if (gone || slot->command->until <= now)
            send_cancel(d, slot); /* its command ends with the answer, or with a message */
        else if (slot->command->until < d->slot_due)
            d->slot_due = slot->command->until;
    }
    return d->slot_due;
}

int amqp_receive_idle(const struct amqp_driver *d)
{
    for (size_t i = 0; i < d->n_slots && d->in.up; i++)
        if (d->slots[i]->state != AMQP_SLOT_FREE && d->slots[i]->state != AMQP_SLOT_NEW)
            return 0;
    return 1;
}

void amqp_receive_lost(struct amqp_driver *d)
{
    amqp_leases_lost(d, 0);
    for (size_t i = 0; i < d->n_slots; i++) {
        struct amqp_slot *slot = d->slots[i];
        set_state(d, slot, AMQP_SLOT_NEW);
        slot->content.what = AMQP_NO_CONTENT;
        struct amqp_command *command = STEAL(slot->command);
        if (command)
            park(d, command);
    }
}

void amqp_receive_done(struct amqp_driver *d)
{
    struct amqp_command *list = STEAL(d->parked);
    while (list) {
        struct amqp_command *command = list;
        list = command->next;
        amqp_command_end(d, command, ERR_SHUTTING_DOWN, "the queue is closing");
    }
    for (size_t i = 0; i < d->n_slots; i++)
        free(d->slots[i]);
    free(d->slots);
}

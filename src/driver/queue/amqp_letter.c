/* What a message looks like on the wire. Our own headers begin with "x-sonde-"; of the broker's,
 * x-delivery-count, x-death and x-first-death-* are read. Whoever can log in to the broker may have
 * written anything into them, so each is taken only in the type and within the bounds it has to
 * have. Any thread. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "queue_amqp.h"

static const struct {
    double seconds;
    const char *name;
} steps[AMQP_STEPS] = {
    {0.1, "0.1"}, {0.3, "0.3"},   {1, "1"},       {3, "3"},     {5, "5"},
    {10, "10"},   {30, "30"},     {60, "60"},     {120, "120"}, {300, "300"},
    {600, "600"}, {1800, "1800"}, {3600, "3600"},
};

int amqp_step(double delay_s)
{
    int step = 0;
    while (step < AMQP_STEPS - 1 && steps[step].seconds < delay_s)
        step++;
    return step;
}

double amqp_step_seconds(int step)
{
    return steps[step].seconds;
}

const char *amqp_step_name(int step)
{
    return steps[step].name;
}

const char *amqp_queue_name(int index)
{
    static const char *const others[] = {QUEUE_DLQ, "expired", "report_generation"};
    return index < QUEUE_NAMES ? queue_name(index) : others[index - QUEUE_NAMES];
}

void amqp_letter_done(struct amqp_letter *letter)
{
    free(letter->body);
    free(letter->reason);
    free(letter->history);
    letter->body = letter->reason = letter->history = NULL;
}

int amqp_letter_copy(const struct amqp_letter *from, struct amqp_letter *ret)
{
    *ret = *from;
    ret->body = strdup(from->body);
    ret->reason = from->reason ? strdup(from->reason) : NULL;
    ret->history = from->history ? strdup(from->history) : NULL;
    if (ret->body && !ret->reason == !from->reason && !ret->history == !from->history)
        return 0;
    amqp_letter_done(ret);
    return -1;
}

/* --- reading -------------------------------------------------------------------------------- */

static int is(amqp_bytes_t bytes, const char *text)
{
    return bytes.len == strlen(text) && !memcmp(bytes.bytes, text, bytes.len);
}

static const amqp_field_value_t *find(const amqp_table_t *table, const char *key)
{
    for (int i = 0; i < table->num_entries; i++)
        if (is(table->entries[i].key, key))
            return &table->entries[i].value;
    return NULL;
}

static int64_t number(const amqp_field_value_t *value, int64_t otherwise)
{
    switch (value ? value->kind : 0) {
    case AMQP_FIELD_KIND_I8:
        return value->value.i8;
    case AMQP_FIELD_KIND_U8:
        return value->value.u8;
    case AMQP_FIELD_KIND_I16:
        return value->value.i16;
    case AMQP_FIELD_KIND_U16:
        return value->value.u16;
    case AMQP_FIELD_KIND_I32:
        return value->value.i32;
    case AMQP_FIELD_KIND_U32:
        return value->value.u32;
    case AMQP_FIELD_KIND_I64:
        return value->value.i64;
    default:
        return otherwise;
    }
}

static int text_of(const amqp_field_value_t *value, amqp_bytes_t *ret)
{
    if (!value || (value->kind != AMQP_FIELD_KIND_UTF8 && value->kind != AMQP_FIELD_KIND_BYTES))
        return 0;
    *ret = value->value.bytes;
    return 1;
}

/* A copy as a C string, cut at `most` bytes and at a zero. NULL: no memory. */
static char *copy_of(amqp_bytes_t bytes, size_t most)
{
    return strndup(bytes.len ? bytes.bytes : "", bytes.len < most ? bytes.len : most);
}

/* Which work queue a full name is of, and through *ret_step which of its delay queues. -1. */
static int queue_of(amqp_bytes_t name, const char *prefix, int *ret_step)
{
    size_t skip = strlen(prefix);
    *ret_step = -1;
    if (name.len < skip || name.len > 200 || memcmp(name.bytes, prefix, skip))
        return -1;
    char text[201];
    memcpy(text, (char *)name.bytes + skip, name.len - skip);
    text[name.len - skip] = 0;
    char *delay = strstr(text, ".delay.");
    for (int i = 0; delay && i < AMQP_STEPS; i++)
        if (!strcmp(delay + 7, steps[i].name))
            *ret_step = i;
    if (delay)
        *delay = 0;
    return queue_name_index(text);
}

static void read_death(struct amqp_letter *ret, const amqp_table_t *headers, const char *prefix)
{
    amqp_bytes_t text;
    int step;
    const amqp_field_value_t *deaths = find(headers, "x-death");
    if (deaths && deaths->kind == AMQP_FIELD_KIND_ARRAY && deaths->value.array.num_entries > 0 &&
        deaths->value.array.entries[0].kind == AMQP_FIELD_KIND_TABLE &&
        text_of(find(&deaths->value.array.entries[0].value.table, "queue"), &text)) {
        int queue = queue_of(text, prefix, &step);
        if (queue >= 0 && step >= 0) {
            ret->delay_step[0] = queue;
            ret->delay_step[1] = step;
        }
    }
    if (ret->queue < 0 && text_of(find(headers, "x-first-death-queue"), &text))
        ret->queue = queue_of(text, prefix, &step);
}

/* Why the broker itself put it into `expired`. */
static const char *why_expired(const amqp_table_t *headers)
{
    amqp_bytes_t text = {0};
    const amqp_field_value_t *deaths = find(headers, "x-death");
    if (deaths && deaths->kind == AMQP_FIELD_KIND_ARRAY && deaths->value.array.num_entries > 0 &&
        deaths->value.array.entries[0].kind == AMQP_FIELD_KIND_TABLE)
        text_of(find(&deaths->value.array.entries[0].value.table, "reason"), &text);
    if (is(text, "delivery_limit"))
        return "the broker delivered it too often";
    return is(text, "rejected") ? "it was refused" : "it waited for longer than a day";
}

static int read_texts(struct amqp_letter *ret, const amqp_table_t *headers, int from)
{
    amqp_bytes_t text;
    char tidy[QUEUE_REASON_MAX + 1];
    if (text_of(find(headers, "x-sonde-reason"), &text) || from == AMQP_EXPIRED) {
        _cleanup_free_ char *raw = text_of(find(headers, "x-sonde-reason"), &text)
                                       ? copy_of(text, QUEUE_REASON_MAX)
                                       : strdup(why_expired(headers));
        if (!raw)
            return -1;
        queue_reason_tidy(raw, tidy);
        if (!(ret->reason = strdup(tidy)))
            return -1;
    }
    if (text_of(find(headers, "x-sonde-history"), &text) && text.len <= QUEUE_HISTORY_BYTES)
        if (!(ret->history = copy_of(text, text.len)))
            return -1;
    return 0;
}

/* An id of another's making may be none, or longer than ours; then it gets one for its way here. */
static void read_id(struct amqp_letter *ret, const amqp_basic_properties_t *p)
{
    amqp_bytes_t id = p->_flags & AMQP_BASIC_MESSAGE_ID_FLAG ? p->message_id : amqp_empty_bytes;
    int fine = id.len > 0 && id.len < ID_TEXT;
    for (size_t i = 0; fine && i < id.len; i++)
        fine = ((char *)id.bytes)[i] > ' ' && ((char *)id.bytes)[i] < 127;
    if (!fine) {
        id_new(ret->id);
        return;
    }
    memcpy(ret->id, id.bytes, id.len);
    ret->id[id.len] = 0;
}

static void read_counts(struct amqp_letter *ret, const amqp_table_t *headers, int from,
                        int redelivered)
{
    int64_t now = time_steady_ms(), made = number(find(headers, "x-sonde-delivery"), 0);
    int64_t again = number(find(headers, "x-delivery-count"), -1);
    made = made < 0 ? 0 : made > 1000 ? 1000 : made;
    /* How often a dead letter was looked at says nothing. */
    int64_t more = from >= QUEUE_NAMES ? 0 : again < 0 ? redelivered != 0 : again;
    int64_t returned = number(find(headers, "x-sonde-returned"), 0);
    returned = returned < 0 ? 0 : returned > 1000 ? 1000 : returned;
    ret->made = (int)made;
    ret->returned = (int)returned + (int)(more > 1000 ? 1000 : more);
    ret->delivery = ret->made + ret->returned + 1;
    ret->uncounted = from < QUEUE_NAMES && redelivered && again < 0;
    ret->published_ms = number(find(headers, "x-sonde-published"), now);
    if (ret->published_ms > now || ret->published_ms < 0) /* another machine's clock */
        ret->published_ms = now;
    ret->died_ms = number(find(headers, "x-sonde-died"), now);
    if (ret->died_ms > now || ret->died_ms < 0)
        ret->died_ms = now;
}

int amqp_letter_read(struct amqp_letter *ret, const amqp_basic_properties_t *p, amqp_bytes_t body,
                     int too_large, int from, int redelivered, const char *prefix)
{
    static const amqp_table_t none = {0};
    const amqp_table_t *headers = p->_flags & AMQP_BASIC_HEADERS_FLAG ? &p->headers : &none;
    amqp_bytes_t text;
    *ret = (struct amqp_letter){.queue = -1, .delay_step = {-1, -1}};
    read_id(ret, p);
    read_counts(ret, headers, from, redelivered);
    if (text_of(find(headers, "x-sonde-queue"), &text) && text.len < 32) {
        char name[32] = {0};
        memcpy(name, text.bytes, text.len);
        ret->queue = queue_name_index(name);
    }
    if (from < QUEUE_NAMES)
        ret->queue = from;
    read_death(ret, headers, prefix);
    ret->body = copy_of(body, QUEUE_BODY_MAX);
    if (!ret->body || read_texts(ret, headers, from)) {
        amqp_letter_done(ret);
        return -1;
    }
    if (too_large)
        ret->defect = "its body was larger than a message may be, and was cut";
    else if (strlen(ret->body) < body.len)
        ret->defect = "its body was no text, and was cut";
    return 0;
}

/* --- writing -------------------------------------------------------------------------------- */

static void put_text(amqp_table_entry_t *entry, const char *key, const char *text)
{
    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_UTF8;
    entry->value.value.bytes = amqp_cstring_bytes(text);
}

static void put_number(amqp_table_entry_t *entry, const char *key, int64_t n)
{
    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_I64;
    entry->value.value.i64 = n;
}

void amqp_letter_write(const struct amqp_letter *letter, int64_t expiration_ms, uint64_t tag,
                       struct amqp_room *room, amqp_basic_properties_t *ret)
{
    int n = 0;
    memset(ret, 0, sizeof *ret);
    memset(room, 0, sizeof *room);
    put_number(&room->headers[n++], "x-sonde-delivery", letter->made);
    put_number(&room->headers[n++], "x-sonde-published", letter->published_ms);
    if (letter->returned)
        put_number(&room->headers[n++], "x-sonde-returned", letter->returned);
    if (letter->queue >= 0)
        put_text(&room->headers[n++], "x-sonde-queue", queue_name(letter->queue));
    if (letter->history)
        put_text(&room->headers[n++], "x-sonde-history", letter->history);
    if (letter->reason)
        put_text(&room->headers[n++], "x-sonde-reason", letter->reason);
    if (letter->died_ms)
        put_number(&room->headers[n++], "x-sonde-died", letter->died_ms);
    ret->headers = (amqp_table_t){n, room->headers};
    snprintf(room->correlation, sizeof room->correlation, "%" PRIu64, tag);
    ret->correlation_id = amqp_cstring_bytes(room->correlation);
    ret->message_id = amqp_cstring_bytes(letter->id);
    ret->content_type = amqp_cstring_bytes("application/json");
    ret->delivery_mode = AMQP_DELIVERY_PERSISTENT;
    ret->_flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG |
                  AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG |
                  AMQP_BASIC_DELIVERY_MODE_FLAG;
    if (expiration_ms < 0)
        return;
    snprintf(room->expiration, sizeof room->expiration, "%" PRId64, expiration_ms);
    ret->expiration = amqp_cstring_bytes(room->expiration);
    ret->_flags |= AMQP_BASIC_EXPIRATION_FLAG;
}

/* The records between the decoding child and this side: writers, and the reader that trusts none.
 *
 * The reader is a state machine over one fixed buffer. Samples are handed on as their bytes arrive,
 * so a record never has to be in memory whole; every other record is at most PROTOCOL_SMALL_MAX
 * bytes. No allocation, no system calls: the fuzz target drives exactly this code.
 */
#include "protocol.h"

#include <endian.h>
#include <string.h>

#include "../base/mem.h"

/* Wire numbers of errors: own numbers, so that inserting a row in err.def changes no protocol, and
 * so that a child can only report what a child may find. Index = number; 0 is none. */
static const enum err_code wire_errors[] = {
    ERR_OK,       ERR_NOT_AUDIO, ERR_NO_AUDIO_TRACK, ERR_CODEC, ERR_DAMAGED,  ERR_TOO_LARGE,
    ERR_TOO_LONG, ERR_TIMEOUT,   ERR_MEMORY_LIMIT,   ERR_IO,    ERR_INTERNAL, ERR_SANDBOX,
};

static void put_u32(unsigned char *out, uint32_t v)
{
    v = htole32(v);
    memcpy(out, &v, sizeof v);
}

static void put_u64(unsigned char *out, uint64_t v)
{
    v = htole64(v);
    memcpy(out, &v, sizeof v);
}

static uint32_t get_u32(const unsigned char *in)
{
    uint32_t v;
    memcpy(&v, in, sizeof v);
    return le32toh(v);
}

static uint64_t get_u64(const unsigned char *in)
{
    uint64_t v;
    memcpy(&v, in, sizeof v);
    return le64toh(v);
}

void protocol_clean_text(char *out, size_t cap, const char *text)
{
    size_t n = 0;
    if (!text || !text[0])
        text = "unknown";
    for (; text[n] && n + 1 < cap; n++)
        out[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    out[n] = '\0';
}

size_t protocol_put_header(unsigned char *out, enum protocol_type type, size_t length)
{
    put_u32(out, (uint32_t)type);
    put_u32(out + 4, (uint32_t)length);
    return PROTOCOL_HEADER_BYTES;
}

size_t protocol_put_info(unsigned char *out, const struct media_info *info)
{
    unsigned char *p = out + protocol_put_header(out, PROTOCOL_INFO, PROTOCOL_INFO_BYTES);
    memset(p, 0, PROTOCOL_INFO_BYTES);
    protocol_clean_text((char *)p, sizeof info->container, info->container);
    protocol_clean_text((char *)p + 32, sizeof info->codec, info->codec);
    put_u32(p + 64, (uint32_t)info->sample_rate);
    put_u32(p + 68, (uint32_t)info->channels);
    put_u64(p + 72, (uint64_t)info->bit_rate);
    return PROTOCOL_HEADER_BYTES + PROTOCOL_INFO_BYTES;
}

size_t protocol_put_progress(unsigned char *out, uint64_t damaged)
{
    protocol_put_header(out, PROTOCOL_PROGRESS, PROTOCOL_PROGRESS_BYTES);
    put_u64(out + PROTOCOL_HEADER_BYTES, damaged);
    return PROTOCOL_HEADER_BYTES + PROTOCOL_PROGRESS_BYTES;
}

size_t protocol_put_end(unsigned char *out, uint64_t samples, uint64_t damaged, int truncated)
{
    unsigned char *p = out + protocol_put_header(out, PROTOCOL_END, PROTOCOL_END_BYTES);
    put_u64(p, samples);
    put_u64(p + 8, damaged);
    put_u32(p + 16, truncated ? 1 : 0);
    put_u32(p + 20, 0);
    return PROTOCOL_HEADER_BYTES + PROTOCOL_END_BYTES;
}

size_t protocol_put_error(unsigned char *out, enum err_code code, const char *text)
{
    char clean[PROTOCOL_TEXT_MAX + 1];
    uint32_t number = 0;
    protocol_clean_text(clean, sizeof clean, text);
    for (uint32_t i = 1; i < ARRAY_LEN(wire_errors); i++)
        number = wire_errors[i] == code ? i : number;
    if (!number)
        return protocol_put_error(out, ERR_INTERNAL, text);
    size_t length = strlen(clean);
    protocol_put_header(out, PROTOCOL_ERROR, 4 + length);
    put_u32(out + PROTOCOL_HEADER_BYTES, number);
    memcpy(out + PROTOCOL_HEADER_BYTES + 4, clean, length);
    return PROTOCOL_HEADER_BYTES + 4 + length;
}

uint64_t protocol_max_samples(const struct media_limits *limits)
{
    double n = limits->max_seconds * MEDIA_SAMPLE_RATE;
    return n < 1 ? 1 : n > 1e15 ? (uint64_t)1e15 : (uint64_t)n;
}

void protocol_reader_init(struct protocol_reader *reader, uint64_t max_samples)
{
    memset(reader, 0, offsetof(struct protocol_reader, buffer));
    reader->max_samples = max_samples;
}

unsigned char *protocol_reader_space(struct protocol_reader *reader, size_t *ret_room)
{
    /* MORE is only answered when less than one small record is left, so this moves little. */
    if (reader->begin > 0) {
        memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
        reader->end -= reader->begin;
        reader->begin = 0;
    }
    *ret_room = sizeof reader->buffer - reader->end;
    return reader->buffer + reader->end;
}

void protocol_reader_filled(struct protocol_reader *reader, size_t n)
{
    reader->end += n;
}

static enum protocol_event nonsense(const char *what, struct err *err)
{
    err_set(err, ERR_PROTOCOL, "the decoder sent %s", what);
    return PROTOCOL_EVENT_FAILED;
}

/* A NUL-terminated name: 1 to 31 printable characters, zero to the end. */
static int name_ok(const unsigned char *p)
{
    size_t n = 0;
    while (n < 32 && p[n] >= ' ' && p[n] <= '~')
        n++;
    if (n == 0 || n == 32)
        return 0;
    for (; n < 32; n++)
        if (p[n])
            return 0;
    return 1;
}

static enum protocol_event read_info(struct protocol_reader *reader, const unsigned char *p,
                                     struct err *err)
{
    uint32_t rate = get_u32(p + 64), channels = get_u32(p + 68);
    uint64_t bit_rate = get_u64(p + 72);
    if (reader->has_info)
        return nonsense("a second description", err);
    if (!name_ok(p) || !name_ok(p + 32))
        return nonsense("a name that is no name", err);
    if (rate < PROTOCOL_RATE_MIN || rate > PROTOCOL_RATE_MAX)
        return nonsense("an impossible sample rate", err);
    if (channels < 1 || channels > PROTOCOL_CHANNELS_MAX)
        return nonsense("an impossible number of channels", err);
    if (bit_rate > INT64_MAX)
        return nonsense("an impossible bit rate", err);
    memcpy(reader->info.container, p, 32);
    memcpy(reader->info.codec, p + 32, 32);
    reader->info.sample_rate = (int)rate;
    reader->info.channels = (int)channels;
    reader->info.bit_rate = (int64_t)bit_rate;
    reader->has_info = 1;
    return PROTOCOL_EVENT_MORE;
}

static enum protocol_event read_progress(struct protocol_reader *reader, const unsigned char *p,
                                         struct err *err)
{
    uint64_t damaged = get_u64(p);
    if (!reader->has_info || damaged < reader->info.damaged)
        return nonsense("progress out of order", err);
    reader->info.damaged = damaged;
    return PROTOCOL_EVENT_MORE;
}

static enum protocol_event read_end(struct protocol_reader *reader, const unsigned char *p,
                                    struct err *err)
{
    uint64_t damaged = get_u64(p + 8);
    uint32_t truncated = get_u32(p + 16);
    if (!reader->has_info || damaged < reader->info.damaged || truncated > 1 || get_u32(p + 20))
        return nonsense("an end out of order", err);
    if (get_u64(p) != reader->announced)
        return nonsense("an end that counts other samples", err);
    reader->info.damaged = damaged;
    reader->info.truncated = (int)truncated;
    reader->ended = 1;
    return PROTOCOL_EVENT_END;
}

static enum protocol_event read_error(const unsigned char *p, size_t length, struct err *err)
{
    uint32_t number = get_u32(p);
    char text[PROTOCOL_TEXT_MAX + 1];
    size_t n = length - 4;
    if (number == 0 || number >= ARRAY_LEN(wire_errors))
        return nonsense("an unknown error", err);
    for (size_t i = 0; i < n; i++)
        if (p[4 + i] < ' ' || p[4 + i] > '~')
            return nonsense("an error text that is no text", err);
    memcpy(text, p + 4, n);
    text[n] = '\0';
    err_set(err, wire_errors[number], "%s", text);
    return PROTOCOL_EVENT_FAILED;
}

/* Announces `length` bytes of samples; their bytes follow. */
static enum protocol_event begin_block(struct protocol_reader *reader, size_t length,
                                       struct err *err)
{
    size_t n = length / sizeof(float);
    if (!reader->has_info)
        return nonsense("samples before their description", err);
    if (length % sizeof(float) != 0 || n < 1 || n > PROTOCOL_BLOCK_MAX)
        return nonsense("a block of impossible size", err);
    if (n > reader->max_samples - reader->announced)
        return nonsense("more samples than it was allowed to", err);
    reader->announced += n;
    reader->block_left = n;
    return PROTOCOL_EVENT_MORE;
}

/* 1 when `length` fits the type. */
static int length_ok(uint32_t type, size_t length)
{
    switch (type) {
    case PROTOCOL_INFO:
        return length == PROTOCOL_INFO_BYTES;
    case PROTOCOL_PROGRESS:
        return length == PROTOCOL_PROGRESS_BYTES;
    case PROTOCOL_END:
        return length == PROTOCOL_END_BYTES;
    case PROTOCOL_ERROR:
        return length >= 5 && length <= 4 + PROTOCOL_TEXT_MAX;
    default:
        return 0;
    }
}

/* Reads one record header, and the record too unless it is samples. MORE with *ret_progress 0:
 * the buffer holds no whole one. */
static enum protocol_event read_record(struct protocol_reader *reader, int *ret_progress,
                                       struct err *err)
{
    const unsigned char *p = reader->buffer + reader->begin;
    size_t have = reader->end - reader->begin;
    *ret_progress = 0;
    if (have < PROTOCOL_HEADER_BYTES)
        return PROTOCOL_EVENT_MORE;
    uint32_t type = get_u32(p);
    size_t length = get_u32(p + 4);
    if (type == PROTOCOL_SAMPLES) {
        reader->begin += PROTOCOL_HEADER_BYTES;
        *ret_progress = 1;
        return begin_block(reader, length, err);
    }
    if (!length_ok(type, length))
        return nonsense("a record of impossible type or size", err);
    if (have < PROTOCOL_HEADER_BYTES + length)
        return PROTOCOL_EVENT_MORE;
    *ret_progress = 1;
    reader->begin += PROTOCOL_HEADER_BYTES + length;
    p += PROTOCOL_HEADER_BYTES;
    return type == PROTOCOL_INFO       ? read_info(reader, p, err)
           : type == PROTOCOL_PROGRESS ? read_progress(reader, p, err)
           : type == PROTOCOL_END      ? read_end(reader, p, err)
                                       : read_error(p, length, err);
}

/* Copies samples of the current block; SIZE_MAX when one is not finite. */
static size_t copy_block(struct protocol_reader *reader, float *samples, size_t cap)
{
    size_t n = (reader->end - reader->begin) / sizeof(float);
    uint32_t worst = 0;
    n = n < reader->block_left ? n : reader->block_left;
    n = n < cap ? n : cap;
    const unsigned char *p = reader->buffer + reader->begin;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = get_u32(p + 4 * i);
        uint32_t size = bits & 0x7fffffffu;
        worst = size > worst ? size : worst;
        memcpy(&samples[i], &bits, sizeof bits);
    }
    if (worst >= 0x7f800000u) /* exponent all ones: infinity or NaN */
        return SIZE_MAX;
    reader->begin += n * sizeof(float);
    reader->block_left -= n;
    return n;
}

enum protocol_event protocol_reader_take(struct protocol_reader *reader, float *samples, size_t cap,
                                         size_t *ret_n, struct err *err)
{
    size_t total = 0;
    *ret_n = 0;
    for (;;) {
        if (reader->block_left > 0) {
            size_t n = copy_block(reader, samples + total, cap - total);
            if (n == SIZE_MAX)
                return nonsense("a sample that is no number", err);
            total += n;
            reader->samples += n;
            reader->info.duration_s = (double)reader->samples / MEDIA_SAMPLE_RATE;
            if (total == cap || (reader->block_left > 0 && total > 0))
                break;
            if (reader->block_left > 0)
                return PROTOCOL_EVENT_MORE;
        }
        /* Never past a record that ends the stream while samples wait to be handed over. */
        size_t have = reader->end - reader->begin;
        if (total > 0 && (have < 4 || get_u32(reader->buffer + reader->begin) != PROTOCOL_SAMPLES))
            break;
        int progress;
        enum protocol_event event = read_record(reader, &progress, err);
        if (event != PROTOCOL_EVENT_MORE)
            return event;
        if (!progress && total == 0)
            return PROTOCOL_EVENT_MORE;
        if (!progress)
            break;
    }
    *ret_n = total;
    return PROTOCOL_EVENT_SAMPLES;
}

/* The records of the decoding child, which has read a hostile file and may send anything.
 *
 * The first three bytes set how the rest is cut up and taken; the reader must give the same result
 * however its bytes arrive, which is checked against one that gets them all at once.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "media/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_SAMPLES 100000

struct outcome {
    enum protocol_event last; /* MORE: the bytes ran out */
    enum err_code code;
    uint64_t samples;
    double sum;
    struct media_info info;
};

static void check_samples(const float *samples, size_t n, struct outcome *o)
{
    o->samples += n;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(samples[i]))
            abort();
        o->sum += samples[i];
    }
}

static void check_info(const struct protocol_reader *r)
{
    if (r->samples > r->max_samples || r->announced > r->max_samples || r->begin > r->end ||
        r->end > sizeof r->buffer || r->samples > r->announced)
        abort();
    if (r->has_info && (!memchr(r->info.container, 0, sizeof r->info.container) ||
                        !memchr(r->info.codec, 0, sizeof r->info.codec) || r->info.channels < 1 ||
                        r->info.channels > PROTOCOL_CHANNELS_MAX ||
                        r->info.sample_rate < PROTOCOL_RATE_MIN || r->info.bit_rate < 0))
        abort();
}

static struct outcome run(const uint8_t *data, size_t size, size_t step, size_t cap)
{
    static struct protocol_reader reader;
    static float samples[PROTOCOL_BLOCK_MAX];
    struct outcome o = {.last = PROTOCOL_EVENT_MORE};
    struct err err = {0};
    protocol_reader_init(&reader, MAX_SAMPLES);
    for (;;) {
        size_t n = 0;
        o.last = protocol_reader_take(&reader, samples, cap, &n, &err);
        check_info(&reader);
        if (o.last == PROTOCOL_EVENT_SAMPLES) {
            if (n == 0 || n > cap)
                abort();
            check_samples(samples, n, &o);
            continue;
        }
        if (o.last != PROTOCOL_EVENT_MORE || size == 0)
            break;
        size_t room;
        unsigned char *to = protocol_reader_space(&reader, &room);
        if (room == 0)
            abort();
        n = step < room ? step : room;
        n = n < size ? n : size;
        memcpy(to, data, n);
        protocol_reader_filled(&reader, n);
        data += n;
        size -= n;
    }
    o.code = err.code;
    if (o.last == PROTOCOL_EVENT_FAILED && (!err.code || !memchr(err.text, 0, sizeof err.text)))
        abort();
    o.info = reader.info;
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    size_t step = 1 + data[0] + 16u * data[1], cap = 1 + 37u * data[2];
    struct outcome a = run(data + 3, size - 3, step, cap);
    struct outcome b = run(data + 3, size - 3, PROTOCOL_BUFFER, PROTOCOL_BLOCK_MAX);
    if (a.last != b.last || a.code != b.code || memcmp(&a.info.container, &b.info.container, 64) ||
        a.info.damaged != b.info.damaged || a.info.truncated != b.info.truncated)
        abort();
    /* A bad sample late in a block may or may not be met before the good ones are handed on. */
    if (a.last != PROTOCOL_EVENT_FAILED && (a.samples != b.samples || fabs(a.sum - b.sum) > 0))
        abort();
    return 0;
}

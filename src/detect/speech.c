/* Speech activity from level and modulation.
 *
 * A frame is speech when its level in the telephone band stands above a gate and the level moves as
 * speech does: syllables come 2 to 8 times a second and swing the level by far more than 6 dB,
 * while noise, hum and tones hold it within about 2 dB. Noise beside a word has the word in its
 * neighbourhood, so a frame must stand above the quietest one there, too. The gate lies 30 dB below
 * the recording's loud frames, so gain does not matter, and never below what 16-bit rounding noise
 * can reach. */
#include "speech.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"

#define BAND_FROM 3  /* 203 Hz */
#define BAND_TO   53 /* 3360 Hz */

#define GATE_FLOOR_DB    -62.0f /* below this nothing is audible in 16-bit material */
#define ZEROS_DB         -95.0f /* below: digital silence, which no microphone makes */
#define GATE_RANGE_DB    30.0f  /* speech lies within this below the loud frames */
#define LOUD_QUANTILE    0.95   /* "loud": this quantile of the levels above the floor */
#define MODULATION_DB    6.0f   /* least swing within the neighbourhood */
#define MODULATION_REACH 50     /* frames to each side: 0.5 s */
#define ABOVE_DB         2.5f /* above the neighbourhood's quietest: else it is what lies between */
#define SMOOTH_REACH     2    /* frames to each side: 50 ms in all */
#define GAP_FRAMES       20   /* shorter pauses inside speech count as speech: 0.2 s */
#define BURST_FRAMES     8    /* shorter sounds do not: a click is no speech */

enum err_code speech_add(struct speech_track *track, const float *logband, size_t n, int bands,
                         struct err *err)
{
    const float to_db = 4.342944819f; /* 10 / ln 10 */
    int to = bands < BAND_TO ? bands : BAND_TO;
    for (size_t f = 0; f < n; f++) {
        if (try_grow(&track->level_db, &track->cap, track->count, sizeof *track->level_db,
                     SPEECH_MAX_FRAMES) < 0)
            return err_set(err, ERR_TOO_LONG, "longer than %d hours",
                           SPEECH_MAX_FRAMES / (3600 * 100));
        float sum = 0;
        for (int b = BAND_FROM; b < to; b++)
            sum += logband[f * (size_t)bands + (size_t)b];
        track->level_db[track->count++] = to_db * sum / (float)(to - BAND_FROM);
    }
    return ERR_OK;
}

int speech_possible(const struct speech_track *track, size_t from, size_t to)
{
    for (size_t f = from; f < to && f < track->count; f++)
        if (track->level_db[f] > GATE_FLOOR_DB)
            return 1;
    return 0;
}

/* The level that a share `q` of the audible frames does not exceed, to 1 dB. */
static float loud_level(const float *level, size_t n, double q)
{
    enum { LOWEST = -70, HIGHEST = 80, BINS = HIGHEST - LOWEST };
    size_t histogram[BINS] = {0}, audible = 0;
    for (size_t f = 0; f < n; f++) {
        if (level[f] < GATE_FLOOR_DB)
            continue;
        int bin = (int)lrintf(level[f]) - LOWEST;
        histogram[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
        audible++;
    }
    size_t need = (size_t)(q * (double)audible), seen = 0;
    for (int bin = 0; bin < BINS; bin++) {
        seen += histogram[bin];
        if (seen > need)
            return (float)(bin + LOWEST);
    }
    return GATE_FLOOR_DB;
}

/* out[f] = extreme of in[f - reach .. f + reach]; sign +1 maximum, -1 minimum. Monotone queue:
 * O(n). */
static void sliding_extreme(const float *in, float *out, size_t n, size_t reach, float sign,
                            size_t *queue)
{
    size_t head = 0, tail = 0, next = 0;
    for (size_t f = 0; f < n; f++) {
        for (; next < n && next <= f + reach; next++) {
            while (tail > head && sign * in[queue[tail - 1]] <= sign * in[next])
                tail--;
            queue[tail++] = next;
        }
        while (queue[head] + reach < f)
            head++;
        out[f] = in[queue[head]];
    }
}

static void smooth_level(const float *in, float *out, size_t n)
{
    for (size_t f = 0; f < n; f++) {
        size_t from = f < SMOOTH_REACH ? 0 : f - SMOOTH_REACH;
        size_t to = f + SMOOTH_REACH + 1 < n ? f + SMOOTH_REACH + 1 : n;
        float sum = 0;
        for (size_t i = from; i < to; i++)
            sum += in[i];
        out[f] = sum / (float)(to - from);
    }
}

/* Turns runs of `value` shorter than `shortest` into the other value; runs at the ends stay. */
static void flip_short_runs(uint8_t *flag, size_t n, uint8_t value, size_t shortest)
{
    for (size_t f = 0; f < n;) {
        size_t end = f;
        while (end < n && flag[end] == flag[f])
            end++;
        if (flag[f] == value && end - f < shortest && (value == 1 || (f > 0 && end < n)))
            memset(flag + f, !value, end - f);
        f = end;
    }
}

enum err_code speech_decide(struct speech_track *track, struct err *err)
{
    size_t n = track->count;
    if (n == 0)
        return ERR_OK;
    _cleanup_free_ float *level = try_alloc(n, sizeof *level);
    _cleanup_free_ float *high = try_alloc(n, sizeof *high);
    _cleanup_free_ float *low = try_alloc(n, sizeof *low);
    _cleanup_free_ size_t *queue = try_alloc(n, sizeof *queue);
    track->active = try_alloc(n, 1);
    if (!level || !high || !low || !queue || !track->active)
        return err_set(err, ERR_NO_MEMORY, "no memory for %zu frames", n);
    smooth_level(track->level_db, level, n);
    sliding_extreme(level, high, n, MODULATION_REACH, 1.0f, queue);
    sliding_extreme(level, low, n, MODULATION_REACH, -1.0f, queue);
    float gate = loud_level(track->level_db, n, LOUD_QUANTILE) - GATE_RANGE_DB;
    if (gate < GATE_FLOOR_DB)
        gate = GATE_FLOOR_DB;
    for (size_t f = 0; f < n; f++)
        track->active[f] =
            level[f] > gate && high[f] - low[f] >= MODULATION_DB && level[f] - low[f] >= ABOVE_DB;
    flip_short_runs(track->active, n, 0, GAP_FRAMES);
    flip_short_runs(track->active, n, 1, BURST_FRAMES);
    return ERR_OK;
}

size_t speech_frames(const struct speech_track *track, size_t from, size_t to)
{
    size_t sum = 0;
    for (size_t f = from; f < to && f < track->count; f++)
        sum += track->active[f];
    return sum;
}

double speech_to_noise_db(const struct speech_track *track)
{
    enum { PER_DB = 4, LOWEST = -100, BINS = 180 * PER_DB };
    size_t histogram[BINS] = {0}, total = 0;
    for (size_t f = 0; f < track->count; f++) {
        if (track->level_db[f] < ZEROS_DB)
            continue;
        int bin = (int)floorf((track->level_db[f] - LOWEST) * PER_DB);
        histogram[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
        total++;
    }
    size_t seen = 0, quiet = total / 10, loud = total - total / 20;
    int from = -1, to = -1;
    for (int bin = 0; bin < BINS; bin++) {
        seen += histogram[bin];
        if (from < 0 && seen > quiet)
            from = bin;
        if (to < 0 && seen >= loud)
            to = bin;
    }
    return from >= 0 && to > from ? (double)(to - from) / PER_DB : 0;
}

void speech_done(struct speech_track *track)
{
    free(track->level_db);
    free(track->active);
    *track = (struct speech_track){0};
}

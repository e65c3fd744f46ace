/* Tells music from speech by how long spectral peaks stay and how little the sound alternates.
 *
 * Every frame adds to a handful of sums; their means are taken once, at the end. A peak
 * may be missing for one frame (a beat, a click) without ending its stay. No memory is allocated;
 * the owner of a `struct music` is the thread that feeds it. */
#include "music.h"

#include <math.h>
#include <string.h>

#define PEAK_FROM   6    /* 390 Hz: below, a voice's harmonics stay as notes do */
#define PEAK_TO     78   /* 4.9 kHz; a multiple of 8 from PEAK_FROM */
#define PEAK_OVER   1.0f /* nats above the bands two away: a line, not a slope */
#define PEAK_WITHIN 7.0f /* nats below the frame's loudest band: no lines in the noise */
#define STEADY      12   /* frames: a gliding harmonic seldom stays as long in its band */
#define LASTING     30
#define LOUD_WITHIN 1.5f /* nats below the loudest band so far: fewer edges of tones */
#define BARE_BANDS  10   /* two lines and their skirts */
#define STAYED_MOST 1000 /* enough for any limit below */
#define LOW_FROM    3    /* 200 Hz: hum and rumble are below */
#define LOW_TO      16
#define HIGH_FROM   48
#define HIGH_TO     104
#define CHUNK       50     /* frames: a syllable or two */
#define QUIETEST    -18.0f /* nats: what digital silence is taken for */

/* Eight sums side by side, so that the compiler uses vectors; always in this order, so that the
 * bits are the same on every processor. */
static float mean_of(const float *v, int from, int to)
{
    float sums[8] = {0}, rest = 0;
    int b = from;
    for (; b + 8 <= to; b += 8)
        for (int i = 0; i < 8; i++)
            sums[i] += v[b + i];
    for (; b < to; b++)
        rest += v[b];
    rest += (sums[0] + sums[1] + sums[2] + sums[3]) + (sums[4] + sums[5] + sums[6] + sums[7]);
    return rest / (float)(to - from);
}

/* Without branches, for the same reason. */
static void add_peaks(struct music *m, const float *v)
{
    float tops[8], top;
    int near = 0, peaks = 0, steady = 0, lasting = 0;
    memcpy(tops, v + PEAK_FROM, sizeof tops);
    for (int b = PEAK_FROM; b + 8 <= PEAK_TO; b += 8)
        for (int i = 0; i < 8; i++)
            tops[i] = v[b + i] > tops[i] ? v[b + i] : tops[i];
    top = tops[0];
    for (int i = 1; i < 8; i++)
        top = tops[i] > top ? tops[i] : top;
    float least = top - PEAK_WITHIN;
    for (int b = PEAK_FROM; b < PEAK_TO; b++) {
        int hit = (v[b] > v[b - 1]) & (v[b] >= v[b + 1]) & (v[b] > least) &
                  (v[b] - 0.5f * (v[b - 2] + v[b + 2]) > PEAK_OVER);
        int stayed = m->stayed[b] + hit;
        stayed = (hit | !m->missed[b]) ? stayed : 0;
        m->stayed[b] = stayed < STAYED_MOST ? stayed : STAYED_MOST;
        m->missed[b] = !hit;
        near += v[b] > least;
        peaks += hit;
        steady += hit & (stayed >= STEADY);
        lasting += hit & (stayed >= LASTING);
    }
    m->peaks += (unsigned)peaks;
    m->steady += (unsigned)steady;
    m->lasting += (unsigned)lasting;
    m->loudest = m->frames == 0 || top > m->loudest ? top : m->loudest;
    m->loud += top > m->loudest - LOUD_WITHIN;
    m->bare += top > m->loudest - LOUD_WITHIN && near <= BARE_BANDS;
}

static void add_level(struct music *m, float level)
{
    if (m->chunk == CHUNK) {
        m->range += (double)(m->high - m->low) * CHUNK;
        m->chunk = 0;
    }
    m->low = m->chunk == 0 || level < m->low ? level : m->low;
    m->high = m->chunk == 0 || level > m->high ? level : m->high;
    m->chunk++;
    m->level += (double)level;
    m->level2 += (double)level * (double)level;
}

static void add_frame(struct music *m, const float *v)
{
    float tilt = fmaxf(mean_of(v, LOW_FROM, LOW_TO), QUIETEST) -
                 fmaxf(mean_of(v, HIGH_FROM, HIGH_TO), QUIETEST);
    float change[PEAK_TO];
    for (int b = LOW_FROM; b < PEAK_TO; b++)
        change[b] = fabsf(v[b] - m->last[b]);
    if (m->frames > 0)
        m->flux += (double)mean_of(change, LOW_FROM, PEAK_TO);
    memcpy(m->last, v, sizeof m->last);
    m->tilt += (double)tilt;
    m->tilt2 += (double)tilt * (double)tilt;
    add_level(m, fmaxf(mean_of(v, LOW_FROM, PEAK_TO), QUIETEST));
    add_peaks(m, v);
    m->frames++;
}

void music_add(struct music *music, const float *logband, size_t n, int bands)
{
    for (size_t f = 0; bands == MUSIC_BANDS && f < n; f++)
        add_frame(music, logband + f * MUSIC_BANDS);
}

static double deviation(double sum, double squares, double n)
{
    return sqrt(fmax(0, squares / n - sum / n * (sum / n)));
}

void music_means(const struct music *m, double ret[MUSIC_MEANS])
{
    double n = fmax(1, (double)m->frames), range = (double)(m->high - m->low) * m->chunk;
    const double means[MUSIC_MEANS] = {
        (double)m->peaks / n,
        log(1 + 4 * (double)m->steady / n),
        log(1 + 4 * (double)m->lasting / n),
        (double)m->steady / ((double)m->peaks + 0.1 * n),
        m->flux / n,
        deviation(m->tilt, m->tilt2, n),
        deviation(m->level, m->level2, n),
        (m->range + range) / n,
    };
    memcpy(ret, means, sizeof means);
}

double music_tones(const struct music *m)
{
    int held = m->loud > 0 && 5 * m->loud >= 2 * m->frames; /* else: a sung or stressed vowel */
    return held ? (double)m->bare / (double)m->loud : 0;
}

/* Tells music from speech by how long spectral peaks stay and how little the sound alternates.
 *
 * Every frame adds to a handful of sums; the score is made of their means once, at the end. A peak
 * may be missing for one frame (a beat, a click) without ending its stay. No memory is allocated;
 * the owner of a `struct music` is the thread that feeds it. */
#include "music.h"

#include <math.h>
#include <string.h>

#define PEAK_FROM   6    /* 390 Hz: below, a voice's harmonics stay as notes do */
#define PEAK_TO     80   /* 5 kHz */
#define PEAK_OVER   1.0f /* nats above the bands two away: a line, not a slope */
#define PEAK_WITHIN 7.0f /* nats below the frame's loudest band: no lines in the noise */
#define STEADY      12   /* frames: a gliding harmonic seldom stays as long in its band */
#define LASTING     30
#define LOUD_WITHIN 1.5f /* nats below the loudest band so far: fewer edges of tones */
#define BARE_BANDS  10   /* two lines and their skirts */
#define LOW_FROM    3    /* 200 Hz: hum and rumble are below */
#define LOW_TO      16
#define HIGH_FROM   48
#define HIGH_TO     104
#define CHUNK       50     /* frames: a syllable or two */
#define QUIETEST    -18.0f /* nats: what digital silence is taken for */

#define LIMIT_SHORT   4.1 /* up to SHORT_S */
#define LIMIT_LONG    1.5 /* from LONG_S on */
#define LIMIT_SHORT_S 6.5
#define LIMIT_LONG_S  16.0

static float mean_of(const float *v, int from, int to)
{
    float sum = 0;
    for (int b = from; b < to; b++)
        sum += v[b];
    return sum / (float)(to - from);
}

static void add_peaks(struct music *m, const float *v)
{
    float top = v[PEAK_FROM];
    int near = 0;
    for (int b = PEAK_FROM; b < PEAK_TO; b++)
        top = v[b] > top ? v[b] : top;
    for (int b = PEAK_FROM; b < PEAK_TO; b++)
        near += v[b] > top - PEAK_WITHIN;
    m->loudest = m->frames == 0 || top > m->loudest ? top : m->loudest;
    m->loud += top > m->loudest - LOUD_WITHIN;
    m->bare += top > m->loudest - LOUD_WITHIN && near <= BARE_BANDS;
    for (int b = PEAK_FROM; b < PEAK_TO; b++) {
        int peak = v[b] > v[b - 1] && v[b] >= v[b + 1] && v[b] > top - PEAK_WITHIN &&
                   v[b] - 0.5f * (v[b - 2] + v[b + 2]) > PEAK_OVER;
        if (!peak) {
            if (m->missed[b])
                m->stayed[b] = 0;
            m->missed[b] = 1;
            continue;
        }
        m->missed[b] = 0;
        m->stayed[b] += m->stayed[b] < UINT16_MAX;
        m->peaks++;
        m->steady += m->stayed[b] >= STEADY;
        m->lasting += m->stayed[b] >= LASTING;
    }
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
    float flux = 0;
    for (int b = LOW_FROM; b < PEAK_TO; b++)
        flux += fabsf(v[b] - m->last[b]);
    if (m->frames > 0)
        m->flux += (double)flux / (PEAK_TO - LOW_FROM);
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

double music_score(const struct music *m)
{
    double n = (double)m->frames;
    if (m->frames == 0)
        return -10;
    double range = m->range + (double)(m->high - m->low) * m->chunk;
    return 4.572 + 2.186 * log(1 + 4 * (double)m->steady / n) +
           11.73 * (double)m->steady / ((double)m->peaks + 0.1 * n) -
           0.406 * log(1 + 4 * (double)m->lasting / n) - 4.763 * m->flux / n -
           2.406 * deviation(m->tilt, m->tilt2, n) + 0.120 * deviation(m->level, m->level2, n) +
           0.535 * range / n;
}

double music_tones(const struct music *m)
{
    return m->loud > 0 ? (double)m->bare / (double)m->loud : 0;
}

double music_limit(double seconds)
{
    double part = (seconds - LIMIT_SHORT_S) / (LIMIT_LONG_S - LIMIT_SHORT_S);
    return LIMIT_SHORT + (LIMIT_LONG - LIMIT_SHORT) * fmin(1, fmax(0, part));
}

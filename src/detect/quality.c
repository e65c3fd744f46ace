/* Clipping and band edge, as the stream passes. No memory is allocated; the owner of a `struct
 * quality` is the thread that feeds it.
 *
 * Clipping: a clipped wave rests at its extreme for several samples, an unclipped one turns there.
 * The extremes are those of the recording, not full scale, because a clipped recording may have
 * been turned down since. They are not known before the end: whenever a sample goes beyond the
 * extreme so far by more than 1 %, what was counted there was none.
 *
 * Band edge: mean power per band, so that loud speech decides; from every fourth frame, because the
 * exponential of each band is the dear part and frames overlap anyway. */
#include "quality.h"

#include <math.h>

#define EDGE_TOLERANCE 0.01f
#define FLAT_RUN       3
#define EVERY          4
#define EDGE_DB        60.0
#define BAND_HZ        62.5
#define FIRST_BAND_HZ  15.6 /* lower edge of band 0 */
#define SILENCE        1e-7 /* mean band power: nothing but rounding below */

static void add_to_edge(struct quality_edge *e, float x)
{
    if (x > e->at * (1 + EDGE_TOLERANCE)) {
        *e = (struct quality_edge){.at = x, .run = 1};
    } else if (x > e->at * (1 - EDGE_TOLERANCE) && x > 0) {
        e->run++;
        e->flat += e->run == FLAT_RUN ? FLAT_RUN : e->run > FLAT_RUN;
    } else {
        e->run = 0;
    }
}

void quality_add_samples(struct quality *quality, const float *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        add_to_edge(&quality->top, samples[i]);
        add_to_edge(&quality->bottom, -samples[i]);
    }
    quality->samples += n;
}

void quality_add_frames(struct quality *quality, const float *logband, size_t n, int bands)
{
    for (size_t f = 0; bands == QUALITY_BANDS && f < n; f++) {
        if (quality->frames++ % EVERY)
            continue;
        const float *v = logband + f * QUALITY_BANDS;
        for (int b = 0; b < QUALITY_BANDS; b++)
            quality->power[b] += (double)expf(v[b]);
    }
}

double quality_clipped(const struct quality *q)
{
    return q->samples > 0 ? (double)(q->top.flat + q->bottom.flat) / (double)q->samples : 0;
}

double quality_band_edge(const struct quality *q)
{
    double top = 0, frames = (double)((q->frames + EVERY - 1) / EVERY);
    for (int b = 0; b < QUALITY_BANDS; b++)
        top = fmax(top, q->power[b]);
    if (q->frames == 0 || top < SILENCE * frames)
        return 0;
    int edge = QUALITY_BANDS - 1;
    while (edge > 0 && q->power[edge] < top * pow(10, -EDGE_DB / 10))
        edge--;
    return FIRST_BAND_HZ + BAND_HZ * (edge + 1);
}

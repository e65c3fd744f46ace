/* Clipping and band edge, as the stream passes. No memory is allocated; the owner of a `struct
 * quality` is the thread that feeds it.
 *
 * Clipping: speech is loud for moments only; cut off, it stays at its extreme. So the share of the
 * samples near the extreme tells, whatever became of the level since. Runs of equal samples would
 * tell more, but resampling and lossy codecs leave none.
 *
 * Band edge: mean power per band, so that loud speech decides; from every eighth frame, because the
 * exponential of each band is the dear part and frames overlap anyway. */
#include "quality.h"

#include <math.h>
#include <string.h>

#define LEVEL_SHIFT   20  /* of a float's bits: exponent and 3 bits of mantissa remain */
#define RARE          100 /* one sample in so many lies beyond the extreme: resampling overshoots */
#define NEAR_STEPS    4   /* 3 dB */
#define EVERY         8
#define EDGE_DB       60.0
#define BAND_HZ       62.5
#define FIRST_BAND_HZ 15.6 /* lower edge of band 0 */
#define SILENCE       1e-7 /* mean band power: nothing but rounding below */

void quality_add_samples(struct quality *quality, const float *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &samples[i], sizeof bits);
        quality->level[(bits & 0x7fffffffu) >> LEVEL_SHIFT]++;
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
    uint64_t beyond = 0, near = 0;
    int extreme = QUALITY_LEVELS - 1;
    while (extreme > 0 && beyond + q->level[extreme] <= q->samples / RARE)
        beyond += q->level[extreme--];
    if (extreme == 0) /* zeros only, or nothing */
        return 0;
    near = beyond;
    for (int l = extreme; l >= 0 && l > extreme - NEAR_STEPS; l--)
        near += q->level[l];
    return (double)near / (double)q->samples;
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

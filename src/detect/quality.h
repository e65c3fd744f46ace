/* What the recording did to the speech: samples cut off at the extremes, and the highest frequency
 * there is. Measured while the samples and frames pass; fixed memory; how the stream is cut changes
 * no bit. One thread at a time; zero it before the first sample. The level of the noise is the
 * speech gate's to know (speech.h). */
#ifndef SONDE_DETECT_QUALITY_H
#define SONDE_DETECT_QUALITY_H

#include <stddef.h>
#include <stdint.h>

#define QUALITY_BANDS 128

/* Samples within 1 % of the highest (or lowest) there was so far. */
struct quality_edge {
    float at;      /* the extreme's magnitude, to 1 % */
    uint32_t run;  /* neighbours there, up to the newest sample */
    uint64_t flat; /* in runs of 3 and more */
};

struct quality {
    uint64_t samples, frames;
    struct quality_edge top, bottom;
    double power[QUALITY_BANDS]; /* sums over every fourth frame */
};

void quality_add_samples(struct quality *quality, const float *samples, size_t n);
/* n frames as nn_frames gives them; of another number of bands than QUALITY_BANDS nothing is
 * kept. */
void quality_add_frames(struct quality *quality, const float *logband, size_t n, int bands);
/* Share of the samples that stand in flat runs at the extremes, 0 .. 1. */
double quality_clipped(const struct quality *quality);
/* Upper edge in Hz of the highest band within 60 dB of the strongest, in the long run; 0: unknown
 * (no frame, or silence). */
double quality_band_edge(const struct quality *quality);

#endif

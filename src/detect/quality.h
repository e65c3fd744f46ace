/* What the recording did to the speech: samples cut off at the extremes, and the highest frequency
 * there is. Measured while the samples and frames pass; fixed memory; how the stream is cut changes
 * no bit. One thread at a time; zero it before the first sample. The level of the noise is the
 * speech gate's to know (speech.h). */
#ifndef SONDE_DETECT_QUALITY_H
#define SONDE_DETECT_QUALITY_H

#include <stddef.h>
#include <stdint.h>

#define QUALITY_BANDS 128

/* Magnitudes are counted in steps of an eighth of their octave: the upper bits of a float. */
#define QUALITY_LEVELS 2048

struct quality {
    uint64_t samples, frames;
    uint64_t level[QUALITY_LEVELS]; /* samples of each magnitude */
    double power[QUALITY_BANDS];    /* sums over every eighth frame */
};

void quality_add_samples(struct quality *quality, const float *samples, size_t n);
/* n frames as nn_frames gives them; of another number of bands than QUALITY_BANDS nothing is
 * kept. */
void quality_add_frames(struct quality *quality, const float *logband, size_t n, int bands);
/* Share of the samples within 3 dB of the extreme (that which one in a hundred exceeds), 0 .. 1:
 * 3 % in speech, more where it is cut off. */
double quality_clipped(const struct quality *quality);
/* Upper edge in Hz of the highest band within 60 dB of the strongest, in the long run; 0: unknown
 * (no frame, or silence). */
double quality_band_edge(const struct quality *quality);

#endif

/* From any sample rate to another, mono, streaming. */
#ifndef SONDE_MEDIA_DECODER_RESAMPLE_H
#define SONDE_MEDIA_DECODER_RESAMPLE_H

#include "output.h"

struct resampler {
    int out_rate;      /* set it and `out` before use */
    struct sink out;   /* takes what comes out */
    struct soxr *soxr; /* NULL: nothing to do, or not begun */
    int rate;          /* of the input; 0: not begun */
};

/* Prepares for input at `rate`; when that changes in the middle, first writes out what is left. */
enum err_code resample_set_rate(struct resampler *resampler, int rate, struct err *err) MUST_CHECK;
/* Resamples n samples into `out`. */
enum err_code resample_feed(struct resampler *resampler, const float *samples, size_t n,
                            struct err *err) MUST_CHECK;
/* Writes out the tail that the filter still holds. */
enum err_code resample_flush(struct resampler *resampler, struct err *err) MUST_CHECK;

#endif

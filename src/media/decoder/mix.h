/* Decoded frames to one channel of floats. */
#ifndef SONDE_MEDIA_DECODER_MIX_H
#define SONDE_MEDIA_DECODER_MIX_H

#include <libavutil/frame.h>
#include <stddef.h>
#include <stdint.h>

/* Mean of the channels of samples at..at+n of the frame, -1..1 for integer formats. Float samples
 * that are NaN, infinite or beyond +-1e6 become 0; returns how many, or -1 for a sample format
 * that is none of FFmpeg's. The frame has 1 to 64 channels. */
int64_t mix_frame(const AVFrame *frame, size_t at, size_t n, float *out);

#endif

/* A recording as it sounds after a lossy change: encoded by one of FFmpeg's encoders and decoded
 * again, sample by sample in place. Runs in the locked-down child, streaming: it holds a few frames
 * of the codec. Owned by the child, which never frees: it ends. */
#ifndef SONDE_MEDIA_DECODER_THROUGH_H
#define SONDE_MEDIA_DECODER_THROUGH_H

#include <libavcodec/avcodec.h>

#include "resample.h"

struct through {
    const char *name; /* "MP3" … */
    AVCodecContext *encoder, *decoder;
    AVPacket *packet;
    AVFrame *in, *out;
    struct resampler before; /* to the encoder's rate */
    struct resampler after;  /* from the decoder's rate to 16 kHz */
    size_t held;             /* samples in `in` */
    uint64_t fed;            /* into the encoder, at its rate */
    uint64_t decoded;        /* by the decoder, at its own rate, the encoder's delay included */
};

/* Prepares the change; samples go to `out` afterwards. ERR_CODEC when this FFmpeg lacks the
 * encoder. `change` is anything but MEDIA_THROUGH_NONE. The struct must stay where it is. */
enum err_code through_init(struct through *through, enum media_through change, struct sink out,
                           struct err *err) MUST_CHECK;
/* Where 16 kHz samples are to be put. */
struct sink through_sink(struct through *through);
/* The end: what the codec still holds comes out. The length is then that of what went in, to within
 * a sample of the codec's rate: its delay and padding are cut. */
enum err_code through_end(struct through *through, struct err *err) MUST_CHECK;

#endif

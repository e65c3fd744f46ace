/* The mean of a frame's channels, for FFmpeg's twelve sample formats.
 *
 * One macro per layout, so that the compiler sees a plain loop over one type and vectorises it:
 * planar formats channel by channel, packed ones sample by sample. No state, any thread.
 */
#include "mix.h"

#include <math.h>
#include <string.h>

/* 120 dB above full scale: no recording, but a header that lies about the sample format. */
#define ABSURD 1e6

static float from_u8(uint8_t v, int64_t *bad)
{
    (void)bad;
    return (float)((int)v - 128);
}

static float from_s16(int16_t v, int64_t *bad)
{
    (void)bad;
    return (float)v;
}

static float from_s32(int32_t v, int64_t *bad)
{
    (void)bad;
    return (float)v;
}

static float from_s64(int64_t v, int64_t *bad)
{
    (void)bad;
    return (float)v;
}

static float from_float(float v, int64_t *bad)
{
    int ok = fabsf(v) <= (float)ABSURD; /* false for NaN */
    *bad += !ok;
    return ok ? v : 0.0f;
}

static float from_double(double v, int64_t *bad)
{
    int ok = fabs(v) <= ABSURD;
    *bad += !ok;
    return ok ? (float)v : 0.0f;
}

#define DEFINE_MIX(NAME, TYPE)                                                                     \
    static int64_t mix_packed_##NAME(const AVFrame *frame, int channels, size_t at, size_t n,      \
                                     float scale, float *out)                                      \
    {                                                                                              \
        const TYPE *in = (const TYPE *)(const void *)frame->data[0] + at * (size_t)channels;       \
        int64_t bad = 0;                                                                           \
        for (size_t i = 0; i < n; i++) {                                                           \
            float sum = 0;                                                                         \
            for (int c = 0; c < channels; c++)                                                     \
                sum += from_##NAME(in[i * (size_t)channels + (size_t)c], &bad);                    \
            out[i] = sum * scale;                                                                  \
        }                                                                                          \
        return bad;                                                                                \
    }                                                                                              \
    static int64_t mix_planar_##NAME(const AVFrame *frame, int channels, size_t at, size_t n,      \
                                     float scale, float *out)                                      \
    {                                                                                              \
        int64_t bad = 0;                                                                           \
        memset(out, 0, n * sizeof *out);                                                           \
        for (int c = 0; c < channels; c++) {                                                       \
            const TYPE *in = (const TYPE *)(const void *)frame->extended_data[c] + at;             \
            for (size_t i = 0; i < n; i++)                                                         \
                out[i] += from_##NAME(in[i], &bad);                                                \
        }                                                                                          \
        for (size_t i = 0; i < n; i++)                                                             \
            out[i] *= scale;                                                                       \
        return bad;                                                                                \
    }

DEFINE_MIX(u8, uint8_t)
DEFINE_MIX(s16, int16_t)
DEFINE_MIX(s32, int32_t)
DEFINE_MIX(s64, int64_t)
DEFINE_MIX(float, float)
DEFINE_MIX(double, double)

int64_t mix_frame(const AVFrame *frame, size_t at, size_t n, float *out)
{
    int channels = frame->ch_layout.nb_channels;
    float each = 1.0f / (float)channels;
    switch (frame->format) {
    case AV_SAMPLE_FMT_U8:
        return mix_packed_u8(frame, channels, at, n, each / 128.0f, out);
    case AV_SAMPLE_FMT_S16:
        return mix_packed_s16(frame, channels, at, n, each / 32768.0f, out);
    case AV_SAMPLE_FMT_S32:
        return mix_packed_s32(frame, channels, at, n, each * 0x1p-31f, out);
    case AV_SAMPLE_FMT_S64:
        return mix_packed_s64(frame, channels, at, n, each * 0x1p-63f, out);
    case AV_SAMPLE_FMT_FLT:
        return mix_packed_float(frame, channels, at, n, each, out);
    case AV_SAMPLE_FMT_DBL:
        return mix_packed_double(frame, channels, at, n, each, out);
    case AV_SAMPLE_FMT_U8P:
        return mix_planar_u8(frame, channels, at, n, each / 128.0f, out);
    case AV_SAMPLE_FMT_S16P:
        return mix_planar_s16(frame, channels, at, n, each / 32768.0f, out);
    case AV_SAMPLE_FMT_S32P:
        return mix_planar_s32(frame, channels, at, n, each * 0x1p-31f, out);
    case AV_SAMPLE_FMT_S64P:
        return mix_planar_s64(frame, channels, at, n, each * 0x1p-63f, out);
    case AV_SAMPLE_FMT_FLTP:
        return mix_planar_float(frame, channels, at, n, each, out);
    case AV_SAMPLE_FMT_DBLP:
        return mix_planar_double(frame, channels, at, n, each, out);
    default:
        return -1;
    }
}

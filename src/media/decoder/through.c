/* resampler -> encoder -> decoder -> delay cut -> resampler.
 *
 * The encoder says how many samples of silence it puts before the first (initial_padding); they are
 * dropped from what is decoded, and so is everything past the number of samples that went in. Some
 * pairs of encoder and decoder agree about that by themselves, others do not, so decoders are told
 * to leave it (SKIP_MANUAL) and everything is cut here. */
#include "through.h"

#include <math.h>
#include <string.h>

#include "../../base/mem.h"
#include "codecs.h"
#include "mix.h"

#define CHUNK 4096
/* Samples per frame where the codec does not care (G.711): 20 ms, as on a telephone line. */
#define FRAME_ANY 160

/* A test builds a decoder program whose FFmpeg seems to lack one. */
#ifndef THROUGH_MP3_ENCODER
#define THROUGH_MP3_ENCODER "libmp3lame"
#endif

/* What messengers, podcasts and telephone lines do to speech; see docs/detector.md, "Stability". */
static const struct row {
    const char *name, *encoder;
    int rate;     /* Hz */
    int bit_rate; /* 0: given by the codec */
} rows[MEDIA_THROUGH_COUNT] = {
    [MEDIA_THROUGH_MP3] = {"MP3", THROUGH_MP3_ENCODER, 16000, 64000},
    [MEDIA_THROUGH_AAC] = {"AAC", "aac", 16000, 48000},
    [MEDIA_THROUGH_OPUS] = {"Opus", "libopus", 16000, 24000},
    [MEDIA_THROUGH_NARROW] = {"G.711", "pcm_mulaw", 8000, 0},
};

static enum err_code fail(const struct through *t, int code, const char *what, struct err *err)
{
    if (code == AVERROR(ENOMEM))
        return err_set(err, ERR_MEMORY_LIMIT, "no memory to %s %s", what, t->name);
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    av_strerror(code, text, sizeof text);
    return err_set(err, ERR_INTERNAL, "cannot %s %s: %s", what, t->name, text);
}

/* Floats where the encoder takes them. */
static enum AVSampleFormat choose_format(const AVCodec *codec)
{
    for (const enum AVSampleFormat *f = codec->sample_fmts; f && *f != AV_SAMPLE_FMT_NONE; f++)
        if (*f == AV_SAMPLE_FMT_FLT || *f == AV_SAMPLE_FMT_FLTP)
            return *f; /* the same for one channel */
    return AV_SAMPLE_FMT_S16;
}

static enum err_code open_encoder(struct through *t, const struct row *row, struct err *err)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(row->encoder);
    if (!codec)
        return err_set(err, ERR_CODEC, "this FFmpeg has no %s encoder (%s)", row->name,
                       row->encoder);
    AVCodecContext *c = t->encoder = avcodec_alloc_context3(codec);
    if (!c)
        return fail(t, AVERROR(ENOMEM), "encode", err);
    c->thread_count = 1;
    c->sample_rate = row->rate;
    c->sample_fmt = choose_format(codec);
    c->bit_rate = row->bit_rate;
    c->time_base = (AVRational){1, row->rate};
    av_channel_layout_default(&c->ch_layout, 1);
    int failed = avcodec_open2(c, codec, NULL);
    return failed < 0 ? fail(t, failed, "set up the encoder of", err) : ERR_OK;
}

static enum err_code open_decoder(struct through *t, struct err *err)
{
    const AVCodec *codec = codecs_find(t->encoder->codec_id);
    AVCodecParameters *p = avcodec_parameters_alloc();
    if (!codec)
        return err_set(err, ERR_CODEC, "this FFmpeg has no %s decoder", t->name);
    t->decoder = avcodec_alloc_context3(codec);
    if (!t->decoder || !p || avcodec_parameters_from_context(p, t->encoder) < 0 ||
        avcodec_parameters_to_context(t->decoder, p) < 0)
        return fail(t, AVERROR(ENOMEM), "decode", err);
    avcodec_parameters_free(&p);
    t->decoder->thread_count = 1;
    t->decoder->pkt_timebase = t->encoder->time_base;
    t->decoder->flags2 |= AV_CODEC_FLAG2_SKIP_MANUAL;
    int failed = avcodec_open2(t->decoder, codec, NULL);
    return failed < 0 ? fail(t, failed, "set up the decoder of", err) : ERR_OK;
}

static enum err_code new_frame(struct through *t, struct err *err)
{
    AVFrame *f = t->in;
    f->nb_samples = t->encoder->frame_size > 0 ? t->encoder->frame_size : FRAME_ANY;
    f->format = t->encoder->sample_fmt;
    f->sample_rate = t->encoder->sample_rate;
    f->pts = (int64_t)t->fed;
    t->held = 0;
    int failed = av_channel_layout_copy(&f->ch_layout, &t->encoder->ch_layout);
    if (failed >= 0)
        failed = av_frame_get_buffer(f, 0);
    return failed < 0 ? fail(t, failed, "encode", err) : ERR_OK;
}

/* `n` samples of the encoder's rate as the decoder counts them: Opus decodes to 48 kHz. */
static uint64_t at_decoder_rate(const struct through *t, uint64_t n, int rate)
{
    return n * (uint64_t)rate / (uint64_t)t->encoder->sample_rate;
}

/* Passes on the part of the frame that stands for samples that were fed. */
static enum err_code take_decoded(struct through *t, const AVFrame *frame, struct err *err)
{
    int rate = frame->sample_rate;
    uint64_t skip = at_decoder_rate(t, (uint64_t)t->encoder->initial_padding, rate);
    uint64_t first = t->decoded, end = skip + at_decoder_rate(t, t->fed, rate);
    t->decoded += (uint64_t)frame->nb_samples;
    uint64_t from = first > skip ? first : skip;
    uint64_t to = t->decoded < end ? t->decoded : end;
    if (frame->ch_layout.nb_channels != 1 || rate <= 0)
        return err_set(err, ERR_INTERNAL, "%s comes back in another shape", t->name);
    enum err_code code = resample_set_rate(&t->after, rate, err);
    while (!code && from < to) {
        float mono[CHUNK];
        size_t n = to - from < CHUNK ? (size_t)(to - from) : CHUNK;
        if (mix_frame(frame, (size_t)(from - first), n, mono) < 0)
            return err_set(err, ERR_INTERNAL, "%s comes back in another format", t->name);
        code = resample_feed(&t->after, mono, n, err);
        from += n;
    }
    return code;
}

/* packet NULL: the end. */
static enum err_code decode(struct through *t, const AVPacket *packet, struct err *err)
{
    int failed = avcodec_send_packet(t->decoder, packet);
    if (failed < 0)
        return fail(t, failed, "decode", err);
    for (;;) {
        failed = avcodec_receive_frame(t->decoder, t->out);
        if (failed == AVERROR(EAGAIN) || failed == AVERROR_EOF)
            return ERR_OK;
        if (failed < 0)
            return fail(t, failed, "decode", err);
        enum err_code code = take_decoded(t, t->out, err);
        av_frame_unref(t->out);
        if (code)
            return code;
    }
}

/* frame NULL: the end. */
static enum err_code encode(struct through *t, const AVFrame *frame, struct err *err)
{
    int failed = avcodec_send_frame(t->encoder, frame);
    if (failed < 0)
        return fail(t, failed, "encode", err);
    for (;;) {
        failed = avcodec_receive_packet(t->encoder, t->packet);
        if (failed == AVERROR(EAGAIN) || failed == AVERROR_EOF)
            return ERR_OK;
        if (failed < 0)
            return fail(t, failed, "encode", err);
        enum err_code code = decode(t, t->packet, err);
        av_packet_unref(t->packet);
        if (code)
            return code;
    }
}

static void put(AVFrame *frame, size_t at, const float *samples, size_t n)
{
    float *floats = (float *)(void *)frame->data[0] + at;
    int16_t *shorts = (int16_t *)(void *)frame->data[0] + at;
    for (size_t i = 0; i < n; i++) {
        float x = fminf(fmaxf(samples[i], -1), 1); /* full scale is the end for any codec */
        if (frame->format == AV_SAMPLE_FMT_S16)
            shorts[i] = (int16_t)lrintf(x * 32767);
        else
            floats[i] = x;
    }
}

/* Gathers samples of the encoder's rate to frames. */
static enum err_code take_samples(void *ctx, const float *samples, size_t n, struct err *err)
{
    struct through *t = ctx;
    while (n > 0) {
        enum err_code code = t->in->buf[0] ? ERR_OK : new_frame(t, err);
        if (code)
            return code;
        size_t room = (size_t)t->in->nb_samples - t->held, take = room < n ? room : n;
        put(t->in, t->held, samples, take);
        t->held += take;
        t->fed += take;
        samples += take;
        n -= take;
        if (take < room)
            break;
        code = encode(t, t->in, err);
        av_frame_unref(t->in); /* the encoder may keep the buffer */
        t->held = 0;
        if (code)
            return code;
    }
    return ERR_OK;
}

static enum err_code take_16k(void *ctx, const float *samples, size_t n, struct err *err)
{
    struct through *t = ctx;
    return resample_feed(&t->before, samples, n, err);
}

struct sink through_sink(struct through *t)
{
    return (struct sink){t, take_16k};
}

enum err_code through_init(struct through *t, enum media_through change, struct sink out,
                           struct err *err)
{
    *t = (struct through){0};
    if (change <= MEDIA_THROUGH_NONE || change >= MEDIA_THROUGH_COUNT)
        return err_set(err, ERR_INTERNAL, "there is no change number %d", (int)change);
    const struct row *row = &rows[change];
    t->name = row->name;
    t->before = (struct resampler){.out_rate = row->rate, .out = {t, take_samples}};
    t->after = (struct resampler){.out_rate = MEDIA_SAMPLE_RATE, .out = out};
    enum err_code code = open_encoder(t, row, err);
    if (!code)
        code = open_decoder(t, err);
    if (code)
        return code;
    t->packet = av_packet_alloc();
    t->in = av_frame_alloc();
    t->out = av_frame_alloc();
    if (!t->packet || !t->in || !t->out)
        return fail(t, AVERROR(ENOMEM), "encode", err);
    return resample_set_rate(&t->before, MEDIA_SAMPLE_RATE, err);
}

enum err_code through_end(struct through *t, struct err *err)
{
    enum err_code code = resample_flush(&t->before, err);
    if (!code && t->held > 0) {
        t->in->nb_samples = (int)t->held;
        code = encode(t, t->in, err);
    }
    if (!code && t->fed > 0)
        code = encode(t, NULL, err);
    if (!code && t->fed > 0)
        code = decode(t, NULL, err);
    return code ? code : resample_flush(&t->after, err);
}

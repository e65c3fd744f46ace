/* Decoding one recording: container -> best audio track -> frames -> mono -> 16 kHz -> records;
 * before the last step possibly through another codec and back (through.c).
 *
 * Runs in the child, which ends right after: what it allocates it leaves to the kernel. Damage is
 * counted and passed over; only a recording of which nothing can be used is an error. Encoder delay
 * and padding (MP3, AAC, Opus) are cut by FFmpeg itself from the container's side data.
 */
#include "decode.h"

#include <libavcodec/avcodec.h>
#include <math.h>
#include <string.h>

#include "codecs.h"
#include "mix.h"
#include "resample.h"
#include "through.h"

#define CHUNK 4096
/* Damaged stretches end or the file does; a demuxer that fails this often in a row is stuck. */
#define READ_FAILURES_MAX 100

struct decode {
    struct input *input;
    struct output *output;
    AVFormatContext *container;
    AVStream *track;
    AVCodecContext *codec;
    struct resampler resampler;
    struct through *through; /* NULL: as it is */
    struct media_info info;  /* sent with the first frame */
    int info_sent;
    double seconds;   /* decoded, before resampling */
    int last_was_cut; /* the last packet of the track was incomplete */
    int gave_up;      /* the demuxer stopped before the end */
};

static enum err_code from_av(int code, enum err_code otherwise)
{
    return code == AVERROR(ENOMEM) ? ERR_MEMORY_LIMIT : otherwise;
}

static int refuse_io_open(AVFormatContext *s, AVIOContext **pb, const char *url, int flags,
                          AVDictionary **options)
{
    (void)s, (void)pb, (void)url, (void)flags, (void)options;
    return AVERROR(EACCES);
}

static enum err_code open_container(struct decode *d, const struct media_limits *limits,
                                    struct err *err)
{
    const AVInputFormat *format = NULL;
    enum err_code code = input_probe(d->input, &format, err);
    if (code)
        return code;
    protocol_clean_text(d->info.container, sizeof d->info.container, format->name);
    d->info.container[strcspn(d->info.container, ",")] = '\0';
    av_max_alloc(limits->max_memory);
    AVFormatContext *s = avformat_alloc_context();
    AVIOContext *io = input_new_io(d->input);
    if (!s || !io)
        return err_set(err, ERR_MEMORY_LIMIT, "no memory to open the file");
    s->pb = io;
    s->io_open = refuse_io_open;
    s->flags |= AVFMT_FLAG_CUSTOM_IO;
    s->codec_whitelist = av_strdup(codecs_list());
    s->protocol_whitelist = av_strdup("");
    /* FFmpeg looks for DTS hidden in 44.1 kHz WAVs, which takes it longer than decoding one. */
    if (strcmp(d->info.container, "wav") == 0)
        s->max_probe_packets = 1;
    int failed = avformat_open_input(&s, "", format, NULL);
    if (failed < 0 && d->input->errnum)
        return err_set_errno(err, ERR_IO, d->input->errnum, "cannot read");
    if (failed < 0)
        return err_set(err, from_av(failed, ERR_DAMAGED),
                       failed == AVERROR(ENOMEM)
                           ? "no memory for the header of the %s container"
                           : "the header of the %s container is missing or damaged",
                       d->info.container);
    d->container = s;
    return ERR_OK;
}

static int params_complete(const AVCodecParameters *p)
{
    return p->codec_id != AV_CODEC_ID_NONE && p->sample_rate > 0 && p->ch_layout.nb_channels > 0;
}

/* Looking into the packets costs time and code paths; most containers say all that is needed. */
static int must_look_inside(const AVFormatContext *s)
{
    int audio = 0;
    for (unsigned i = 0; i < s->nb_streams; i++) {
        const AVCodecParameters *p = s->streams[i]->codecpar;
        if (p->codec_type == AVMEDIA_TYPE_AUDIO && !params_complete(p))
            return 1;
        audio += p->codec_type == AVMEDIA_TYPE_AUDIO;
    }
    return audio == 0 || (s->ctx_flags & AVFMTCTX_NOHEADER);
}

static enum err_code choose_track(struct decode *d, struct err *err)
{
    AVFormatContext *s = d->container;
    if (must_look_inside(s)) {
        for (unsigned i = 0; i < s->nb_streams; i++)
            if (s->streams[i]->codecpar->codec_type != AVMEDIA_TYPE_AUDIO &&
                !(s->ctx_flags & AVFMTCTX_NOHEADER))
                s->streams[i]->discard = AVDISCARD_ALL;
        int failed = avformat_find_stream_info(s, NULL);
        if (failed < 0)
            return err_set(err, from_av(failed, ERR_DAMAGED),
                           "the %s container holds no usable data", d->info.container);
    }
    int best = av_find_best_stream(s, AVMEDIA_TYPE_AUDIO, -1, -1, NULL, 0);
    if (best < 0)
        return err_set(err, ERR_NO_AUDIO_TRACK, "the %s container has no audio track",
                       d->info.container);
    for (unsigned i = 0; i < s->nb_streams; i++)
        s->streams[i]->discard = (int)i == best ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    d->track = s->streams[best];
    return ERR_OK;
}

static enum err_code check_shape(int channels, int rate, struct err *err)
{
    if (channels < 1 || channels > PROTOCOL_CHANNELS_MAX)
        return err_set(err, ERR_CODEC, "%d channels: 1 to %d can be read", channels,
                       PROTOCOL_CHANNELS_MAX);
    if (rate < PROTOCOL_RATE_MIN || rate > PROTOCOL_RATE_MAX)
        return err_set(err, ERR_CODEC, "a sample rate of %d Hz: %d to %d can be read", rate,
                       PROTOCOL_RATE_MIN, PROTOCOL_RATE_MAX);
    return ERR_OK;
}

static enum err_code open_codec(struct decode *d, struct err *err)
{
    const AVCodecParameters *p = d->track->codecpar;
    const AVCodec *codec = codecs_find(p->codec_id);
    protocol_clean_text(d->info.codec, sizeof d->info.codec, avcodec_get_name(p->codec_id));
    if (!codec)
        return err_set(err, ERR_CODEC, "the codec %s cannot be read", d->info.codec);
    if (params_complete(p)) {
        enum err_code code = check_shape(p->ch_layout.nb_channels, p->sample_rate, err);
        if (code)
            return code;
    }
    d->info.bit_rate = p->bit_rate > 0 ? p->bit_rate : 0;
    d->codec = avcodec_alloc_context3(codec);
    if (!d->codec || avcodec_parameters_to_context(d->codec, p) < 0)
        return err_set(err, ERR_MEMORY_LIMIT, "no memory to decode %s", d->info.codec);
    d->codec->thread_count = 1;
    d->codec->pkt_timebase = d->track->time_base; /* needed to cut delay and padding exactly */
    int failed = avcodec_open2(d->codec, codec, NULL);
    if (failed < 0)
        return err_set(err, from_av(failed, ERR_DAMAGED),
                       failed == AVERROR(ENOMEM) ? "no memory to decode %s"
                                                 : "the set-up data of the %s track is damaged",
                       d->info.codec);
    return ERR_OK;
}

static enum err_code send_info(struct decode *d, int channels, int rate, struct err *err)
{
    if (d->info_sent)
        return ERR_OK;
    d->info_sent = 1;
    d->info.channels = channels;
    d->info.sample_rate = rate;
    return output_info(d->output, &d->info, err);
}

static enum err_code take_frame(struct decode *d, const AVFrame *frame, struct err *err)
{
    int channels = frame->ch_layout.nb_channels;
    enum err_code code = check_shape(channels, frame->sample_rate, err);
    if (!code)
        code = send_info(d, channels, frame->sample_rate, err);
    if (!code)
        code = resample_set_rate(&d->resampler, frame->sample_rate, err);
    size_t all = frame->nb_samples > 0 ? (size_t)frame->nb_samples : 0;
    for (size_t at = 0; !code && at < all; at += CHUNK) {
        float mono[CHUNK];
        size_t n = all - at < CHUNK ? all - at : CHUNK;
        int64_t bad = mix_frame(frame, at, n, mono);
        if (bad < 0)
            return err_set(err, ERR_CODEC, "%s gives samples of an unknown kind", d->info.codec);
        d->output->damaged += (uint64_t)bad;
        code = resample_feed(&d->resampler, mono, n, err);
    }
    d->seconds += (double)all / frame->sample_rate;
    return code;
}

/* Feeds one packet (NULL: the end) and takes every frame that comes of it. */
static enum err_code take_packet(struct decode *d, const AVPacket *packet, AVFrame *frame,
                                 struct err *err)
{
    int failed = avcodec_send_packet(d->codec, packet);
    if (failed == AVERROR(ENOMEM))
        return err_set(err, ERR_MEMORY_LIMIT, "no memory to decode %s", d->info.codec);
    if (failed < 0 && failed != AVERROR_EOF)
        d->output->damaged++;
    for (;;) {
        failed = avcodec_receive_frame(d->codec, frame);
        if (failed == AVERROR(EAGAIN) || failed == AVERROR_EOF)
            return ERR_OK;
        if (failed == AVERROR(ENOMEM))
            return err_set(err, ERR_MEMORY_LIMIT, "no memory to decode %s", d->info.codec);
        if (failed < 0) {
            d->output->damaged++;
            return ERR_OK;
        }
        enum err_code code = take_frame(d, frame, err);
        av_frame_unref(frame);
        if (code)
            return code;
    }
}

static enum err_code read_all(struct decode *d, struct err *err)
{
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    if (!packet || !frame)
        return err_set(err, ERR_MEMORY_LIMIT, "no memory to decode");
    enum err_code code = ERR_OK;
    int failures = 0;
    while (!code) {
        int failed = av_read_frame(d->container, packet);
        if (failed == AVERROR(ENOMEM))
            return err_set(err, ERR_MEMORY_LIMIT, "no memory to read the %s container",
                           d->info.container);
        if (d->input->errnum)
            return err_set_errno(err, ERR_IO, d->input->errnum, "cannot read");
        if (failed == AVERROR_EOF)
            break;
        if (failed < 0) {
            d->output->damaged++;
            d->gave_up = ++failures == READ_FAILURES_MAX || avio_feof(d->container->pb);
            if (d->gave_up)
                break;
            continue;
        }
        failures = 0;
        if (packet->stream_index == d->track->index) {
            d->last_was_cut = (packet->flags & AV_PKT_FLAG_CORRUPT) != 0;
            /* At the end of the file that is truncation, which is reported as such. */
            d->output->damaged += d->last_was_cut && !d->input->hit_end;
            code = take_packet(d, packet, frame, err);
        }
        av_packet_unref(packet);
    }
    if (!code)
        code = take_packet(d, NULL, frame, err);
    if (!code)
        code = resample_flush(&d->resampler, err);
    return code || !d->through ? code : through_end(d->through, err);
}

/* How long the header says the track is, in seconds; 0 when it does not say. */
static double stated_seconds(const struct decode *d)
{
    const AVFormatContext *s = d->container;
    const AVStream *t = d->track;
    /* FFmpeg's own guess from the bit rate and the size is no statement of the file. */
    if (s->duration_estimation_method == AVFMT_DURATION_FROM_BITRATE &&
        s->duration != AV_NOPTS_VALUE)
        return 0;
    if (t->duration != AV_NOPTS_VALUE && t->duration > 0)
        return (double)t->duration * av_q2d(t->time_base);
    if (s->nb_streams == 1 && s->duration != AV_NOPTS_VALUE && s->duration > 0)
        return (double)s->duration / AV_TIME_BASE;
    return 0;
}

static int is_truncated(const struct decode *d)
{
    double stated = stated_seconds(d);
    enum input_extent extent = input_find_extent(d->input, d->info.container);
    if (extent == INPUT_EXTENT_OPEN)
        return d->gave_up;
    if (d->gave_up || extent == INPUT_EXTENT_CUT || (d->last_was_cut && d->input->hit_end))
        return 1;
    return d->seconds < stated - 0.1 - 0.002 * stated;
}

enum err_code decode_run(struct input *input, struct output *output,
                         const struct media_limits *limits, enum media_through change,
                         struct err *err)
{
    struct decode d = {.input = input, .output = output};
    struct through through;
    enum err_code code = ERR_OK;
    d.resampler = (struct resampler){.out_rate = MEDIA_SAMPLE_RATE, .out = output_sink(output)};
    if (change != MEDIA_THROUGH_NONE) {
        code = through_init(&through, change, output_sink(output), err);
        d.through = &through;
        d.resampler.out = through_sink(&through);
    }
    if (!code)
        code = open_container(&d, limits, err);
    if (!code)
        code = choose_track(&d, err);
    if (!code)
        code = open_codec(&d, err);
    if (!code)
        code = read_all(&d, err);
    if (code)
        return code;
    int truncated = is_truncated(&d);
    if (!d.info_sent) {
        /* A header and no samples is a recording of length 0; anything else was lost. */
        const AVCodecParameters *p = d.track->codecpar;
        if (output->damaged > 0 || truncated || !params_complete(p))
            return err_set(err, ERR_DAMAGED, "nothing in the %s track could be decoded",
                           d.info.codec);
        code = send_info(&d, p->ch_layout.nb_channels, p->sample_rate, err);
    }
    return code ? code : output_end(output, truncated, err);
}

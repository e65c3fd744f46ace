/* media: every format that people have, compared with the signal it was made from. */
#include "../../support/cm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../support/audio.h"
#include "base/mem.h"

#define SECONDS 4.0

static struct media_service *service;
static float *voice;
static size_t voice_n;

static int setup(void **state)
{
    struct err err;
    if (audio_setup(state) || media_service_new(NULL, NULL, &service, &err))
        return -1;
    voice = audio_voice(SECONDS, &voice_n);
    audio_write("voice.f32", voice, voice_n * sizeof *voice);
    return 0;
}

static int teardown(void **state)
{
    free(voice);
    service = media_service_free(service);
    return audio_teardown(state);
}

struct format {
    const char *file;
    const char *args; /* of the encoder */
    const char *container, *codec;
    int rate, channels;
    double likeness;  /* least correlation */
    int max_lag;      /* samples at 16 kHz that the start may be off */
    double max_error; /* of any sample, for lossless 16 kHz; 0: do not ask */
};

static const struct format formats[] = {
    {"s16.wav", "-c:a pcm_s16le", "wav", "pcm_s16le", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"u8.wav", "-c:a pcm_u8", "wav", "pcm_u8", 16000, 1, 0.999, 0, 1.0 / 128},
    {"s24.wav", "-c:a pcm_s24le", "wav", "pcm_s24le", 16000, 1, 0.99999, 0, 1.0 / 8388608},
    {"s32.wav", "-c:a pcm_s32le", "wav", "pcm_s32le", 16000, 1, 0.99999, 0, 1e-7},
    {"f32.wav", "-c:a pcm_f32le", "wav", "pcm_f32le", 16000, 1, 0.99999, 0, 1e-12},
    {"f64.wav", "-c:a pcm_f64le", "wav", "pcm_f64le", 16000, 1, 0.99999, 0, 1e-12},
    {"alaw.wav", "-ar 8000 -c:a pcm_alaw", "wav", "pcm_alaw", 8000, 1, 0.995, 1, 0},
    {"mulaw.wav", "-ar 8000 -c:a pcm_mulaw", "wav", "pcm_mulaw", 8000, 1, 0.995, 1, 0},
    {"ima.wav", "-c:a adpcm_ima_wav", "wav", "adpcm_ima_wav", 16000, 1, 0.99, 1, 0},
    {"ms.wav", "-c:a adpcm_ms", "wav", "adpcm_ms", 16000, 1, 0.99, 1, 0},
    {"gsm.wav", "-ar 8000 -c:a libgsm_ms", "wav", "gsm_ms", 8000, 1, 0.9, 40, 0},
    {"s16.w64", "-c:a pcm_s16le", "w64", "pcm_s16le", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"rf64.wav", "-c:a pcm_s16le -rf64 always", "wav", "pcm_s16le", 16000, 1, 0.99999, 0,
     1.0 / 32768},
    {"s16.aiff", "-c:a pcm_s16be", "aiff", "pcm_s16be", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"s16.au", "-c:a pcm_s16be", "au", "pcm_s16be", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"s16.caf", "-c:a pcm_s16le", "caf", "pcm_s16le", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"s16.voc", "-c:a pcm_s16le", "voc", "pcm_s16le", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"s16.flac", "-c:a flac -sample_fmt s16", "flac", "flac", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"s24.flac", "-c:a flac -sample_fmt s32", "flac", "flac", 16000, 1, 0.99999, 0, 1.0 / 8388608},
    {"og.oga", "-c:a flac -f ogg", "ogg", "flac", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"alac.m4a", "-c:a alac", "mov", "alac", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"wv.wv", "-c:a wavpack", "wv", "wavpack", 16000, 1, 0.99999, 0, 1e-6},
    {"tta.tta", "-c:a tta", "tta", "tta", 16000, 1, 0.99999, 0, 1.0 / 32768},
    {"mp3.mp3", "-ar 44100 -ac 2 -b:a 128k", "mp3", "mp3", 44100, 2, 0.99, 2, 0},
    {"mp3low.mp3", "-ar 16000 -b:a 32k", "mp3", "mp3", 16000, 1, 0.99, 2, 0},
    {"mp3.wav", "-ar 22050 -c:a libmp3lame -b:a 64k", "wav", "mp3", 22050, 1, 0.98, 1200, 0},
    {"mp2.mp2", "-ar 48000 -c:a mp2 -b:a 192k", "mp3", "mp2", 48000, 1, 0.99, 1200, 0},
    {"vorbis.ogg", "-ar 44100 -ac 2 -c:a libvorbis -q:a 5", "ogg", "vorbis", 44100, 2, 0.99, 2, 0},
    {"opus.opus", "-c:a libopus -b:a 64k", "ogg", "opus", 48000, 1, 0.99, 2, 0},
    {"opus.webm", "-c:a libopus -b:a 96k -ac 2", "matroska", "opus", 48000, 2, 0.99, 2, 0},
    {"opus.mka", "-c:a libopus -b:a 64k", "matroska", "opus", 48000, 1, 0.99, 2, 0},
    {"vorbis.webm", "-c:a libvorbis -ar 48000 -q:a 5", "matroska", "vorbis", 48000, 1, 0.99, 2, 0},
    {"aac.m4a", "-ar 44100 -c:a aac -b:a 96k", "mov", "aac", 44100, 1, 0.99, 2, 0},
    {"aac.aac", "-ar 44100 -c:a aac -b:a 96k", "aac", "aac", 44100, 1, 0.99, 1200, 0},
    {"aac.3gp", "-ar 16000 -c:a aac -b:a 48k", "mov", "aac", 16000, 1, 0.99, 1200, 0},
    {"aac.mkv", "-ar 48000 -c:a aac -b:a 96k", "matroska", "aac", 48000, 1, 0.99, 1200, 0},
    {"aac.ts", "-ar 48000 -c:a aac -b:a 96k", "mpegts", "aac", 48000, 1, 0.99, 1200, 0},
    {"aac.flv", "-ar 44100 -c:a aac -b:a 96k", "flv", "aac", 44100, 1, 0.99, 1200, 0},
    {"wma.wma", "-ar 44100 -c:a wmav2 -b:a 96k", "asf", "wmav2", 44100, 1, 0.98, 1200, 0},
    {"ac3.ac3", "-ar 48000 -ac 2 -c:a ac3 -b:a 192k", "ac3", "ac3", 48000, 2, 0.98, 1200, 0},
    {"pcm.avi", "-ar 48000 -c:a pcm_s16le", "avi", "pcm_s16le", 48000, 1, 0.999, 2, 0},
    {"speex.ogg", "-c:a libspeex -b:a 28k", "ogg", "speex", 16000, 1, 0.5, 1200, 0},
    {"nb.amr", "AMR nb 8000", "amr", "amr_nb", 8000, 1, 0.5, 400, 0},
    {"wb.amr", "AMR wb 16000", "amr", "amr_wb", 16000, 1, 0.7, 400, 0},
    /* With pictures, as from a telephone. */
    {"video.mp4", "VIDEO -c:v mpeg4 -ar 44100 -c:a aac -b:a 96k -shortest", "mov", "aac", 44100, 1,
     0.99, 2, 0},
    {"video.mkv", "VIDEO -c:v mpeg4 -ar 48000 -c:a libopus -b:a 64k -shortest", "matroska", "opus",
     48000, 1, 0.99, 2, 0},
    {"video.mpg", "VIDEO -c:v mpeg2video -ar 48000 -c:a mp2 -b:a 128k -shortest", "mpeg", "mp2",
     48000, 1, 0.98, 1200, 0},
};

/* ffmpeg reads AMR but cannot write it; a little program of these tests can. */
static int encode_amr(const char *kind, const char *rate, const char *file)
{
    char command[1024];
    const char *build = getenv("SONDE_BUILD");
    if (!build ||
        audio_ffmpeg("-f f32le -ar 16000 -ac 1 -i voice.f32 -ar %s -f s16le amr.s16", rate))
        return 0;
    snprintf(command, sizeof command, "cd %s && %s/tests/unit/amr_encode %s amr.s16 %s >&2",
             audio_dir(), build, kind, file);
    return system(command) == 0;
}

/* 1 when it could be made. */
static int encode(const struct format *f)
{
    char kind[8], rate[8];
    if (sscanf(f->args, "AMR %7s %7s", kind, rate) == 2)
        return encode_amr(kind, rate, f->file);
    int video = strncmp(f->args, "VIDEO", 5) == 0;
    return audio_ffmpeg("-f f32le -ar 16000 -ac 1 -i voice.f32 %s %s %s",
                        video ? "-f lavfi -i testsrc=size=64x48:rate=5:duration=4" : "",
                        f->args + (video ? 5 : 0), f->file) == 0;
}

static double worst_error(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

static int check_format(const struct format *f)
{
    int bad = 0, lag = 0;
    struct audio_decoded d = audio_decode(service, f->file, 1);
    if (d.code) {
        print_error("%s: %s: %s\n", f->file, err_slug(d.code), d.err.text);
        return 1;
    }
    double like = audio_correlate(voice, voice_n, d.samples, d.n, f->max_lag + 20, &lag);
    double slack = f->max_lag <= 2 ? 0.1 : 0.16; /* seconds of padding that nothing records */
    bad |= strcmp(d.info.container, f->container) || strcmp(d.info.codec, f->codec);
    bad |= d.info.sample_rate != f->rate || d.info.channels != f->channels;
    bad |= like < f->likeness || abs(lag) > f->max_lag || d.info.truncated || d.info.damaged;
    bad |= fabs(d.info.duration_s - SECONDS) > slack;
    bad |= d.n != (size_t)(d.info.duration_s * MEDIA_SAMPLE_RATE + 0.5);
    double error = f->max_error > 0 && d.n == voice_n ? worst_error(voice, d.samples, voice_n) : 0;
    bad |= f->max_error > 0 && (d.n != voice_n || error > f->max_error);
    if (bad)
        print_error("%s: %s/%s %d Hz %d ch %.4f s, likeness %.5f lag %d error %g damaged %llu "
                    "truncated %d\n",
                    f->file, d.info.container, d.info.codec, d.info.sample_rate, d.info.channels,
                    d.info.duration_s, like, lag, error, (unsigned long long)d.info.damaged,
                    d.info.truncated);
    audio_decoded_done(&d);
    return bad;
}

static void every_format_sounds_as_it_was(void **state)
{
    (void)state;
    int bad = 0, made = 0;
    AUDIO_NEED_FFMPEG();
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        if (!encode(&formats[i])) {
            print_message("# SKIPPED: this ffmpeg cannot make %s\n", formats[i].file);
            continue;
        }
        made++;
        bad += check_format(&formats[i]);
    }
    print_message("# %d of %zu formats could be made\n", made, ARRAY_LEN(formats));
    assert_int_equal(bad, 0);
    assert_true(made > (int)ARRAY_LEN(formats) - 5);
}

static void every_rate_comes_to_16_khz(void **state)
{
    (void)state;
    static const int rates[] = {8000,  11025, 12000, 16000, 22050, 24000,
                                32000, 44100, 48000, 88200, 96000, 192000};
    AUDIO_NEED_FFMPEG();
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        int lag;
        assert_int_equal(audio_ffmpeg("-f f32le -ar 16000 -ac 1 -i voice.f32 -ar %d -c:a pcm_f32le "
                                      "rate.wav",
                                      rates[i]),
                         0);
        struct audio_decoded d = audio_decode(service, "rate.wav", 1);
        assert_int_equal(d.code, ERR_OK);
        assert_int_equal(d.info.sample_rate, rates[i]);
        assert_in_range(d.n, voice_n - 8, voice_n + 8);
        assert_true(audio_correlate(voice, voice_n, d.samples, d.n, 10, &lag) > 0.9995);
        assert_int_equal(lag, 0);
        audio_decoded_done(&d);
    }
}

/* Channel c holds (c + 1) * sample, so that the mean is known, and no channel can be lost. */
static void write_channels(const char *name, int channels, size_t n)
{
    int16_t *samples = malloc(n * (size_t)channels * sizeof *samples);
    assert_non_null(samples);
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < channels; c++)
            samples[i * (size_t)channels + (size_t)c] =
                (int16_t)lrint(voice[i] * 32000 * (c + 1) / channels);
    audio_write_wav16(name, samples, n * (size_t)channels, 16000, channels,
                      (uint32_t)(n * (size_t)channels * 2));
    free(samples);
}

static void any_channels_are_mixed_by_the_mean(void **state)
{
    (void)state;
    static const int counts[] = {1, 2, 3, 6, 8, 16, 33, 64};
    const size_t n = 8000;
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        int channels = counts[k];
        double worst = 0, factor = (channels + 1) / 2.0 / channels * 32000 / 32768;
        write_channels("channels.wav", channels, n);
        struct audio_decoded d = audio_decode(service, "channels.wav", 1);
        assert_int_equal(d.code, ERR_OK);
        assert_int_equal(d.info.channels, channels);
        assert_int_equal(d.n, n);
        for (size_t i = 0; i < n; i++)
            worst = fmax(worst, fabs(d.samples[i] - voice[i] * factor));
        assert_true(worst < 1.0 / 32768);
        audio_decoded_done(&d);
    }
}

static void too_many_channels_are_refused_with_their_number(void **state)
{
    (void)state;
    write_channels("channels65.wav", 65, 100);
    struct audio_decoded d = audio_decode(service, "channels65.wav", 0);
    assert_int_equal(d.code, ERR_CODEC);
    assert_non_null(strstr(d.err.text, "65 channels"));
}

/* Two Ogg streams after each other: another rate and number of channels from the middle on. */
static void a_change_of_rate_in_the_middle_is_followed(void **state)
{
    (void)state;
    size_t a_len, b_len;
    AUDIO_NEED_FFMPEG();
    if (audio_ffmpeg(
            "-f f32le -ar 16000 -ac 1 -i voice.f32 -ar 44100 -ac 2 -f adts -b:a 96k a.aac") ||
        audio_ffmpeg("-f f32le -ar 16000 -ac 1 -i voice.f32 -ar 16000 -f adts -b:a 64k b.aac"))
        skip();
    char *a = audio_read("a.aac", &a_len), *b = audio_read("b.aac", &b_len);
    a = realloc(a, a_len + b_len);
    assert_non_null(a);
    memcpy(a + a_len, b, b_len);
    audio_write("both.aac", a, a_len + b_len);
    free(a);
    free(b);
    struct audio_decoded d = audio_decode(service, "both.aac", 0);
    assert_int_equal(d.code, ERR_OK);
    assert_true(fabs(d.info.duration_s - 2 * SECONDS) < 0.4);
}

static void the_name_of_a_file_says_nothing(void **state)
{
    (void)state;
    AUDIO_NEED_FFMPEG();
    assert_int_equal(audio_ffmpeg("-f f32le -ar 16000 -ac 1 -i voice.f32 -f flac noise.mp3"), 0);
    struct audio_decoded d = audio_decode(service, "noise.mp3", 0);
    assert_int_equal(d.code, ERR_OK);
    assert_string_equal(d.info.container, "flac");
    assert_int_equal(d.n, voice_n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_sounds_as_it_was),
        cmocka_unit_test(every_rate_comes_to_16_khz),
        cmocka_unit_test(any_channels_are_mixed_by_the_mean),
        cmocka_unit_test(too_many_channels_are_refused_with_their_number),
        cmocka_unit_test(a_change_of_rate_in_the_middle_is_followed),
        cmocka_unit_test(the_name_of_a_file_says_nothing),
    };
    return cmocka_run_group_tests_name("media_formats", tests, setup, teardown);
}

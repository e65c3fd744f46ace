/* media: recordings that are damaged, lie, or are none: an error with a reason or what could be
 * saved, never a crash and never a wait without end. */
#include "../../support/cm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../support/audio.h"
#include "base/mem.h"
#include "os/clock.h"

static struct media_service *service;
static float *voice;
static size_t voice_n;

static int setup(void **state)
{
    struct err err;
    const struct media_limits limits = {.max_wall = 60};
    if (audio_setup(state) || media_service_new(NULL, &limits, &service, &err))
        return -1;
    voice = audio_voice(4, &voice_n);
    audio_write("voice.f32", voice, voice_n * sizeof *voice);
    return 0;
}

static int teardown(void **state)
{
    free(voice);
    service = media_service_free(service);
    return audio_teardown(state);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static const char *const kinds[] = {
    "c.wav",  "c.flac", "c.mp3", "c.ogg", "c.opus", "c.m4a",
    "c.webm", "c.aiff", "c.wma", "c.aac", "c.avi",
};

/* What any outcome for a damaged file must look like. Returns 1 when it does not. */
static int check_outcome(const char *what, const struct audio_decoded *d)
{
    int bad = d->code == ERR_DECODER_DIED || d->code == ERR_PROTOCOL || d->code == ERR_TIMEOUT ||
              d->code == ERR_INTERNAL;
    if (d->code)
        bad |= strlen(d->err.text) < 8;
    else
        bad |= !(d->info.duration_s >= 0 && d->info.duration_s < 60);
    if (bad)
        print_error("%s: %s: %s, %.2f s\n", what, err_slug(d->code), d->err.text,
                    d->info.duration_s);
    return bad;
}

static void files_cut_anywhere_end_in_a_result(void **state)
{
    (void)state;
    uint32_t seed = 1;
    int bad = 0, silent = 0, total = 0;
    AUDIO_NEED_FFMPEG();
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        if (audio_ffmpeg("-f f32le -ar 16000 -ac 1 -i voice.f32 -ar 48000 %s", kinds[k]))
            continue;
        size_t len;
        char *data = audio_read(kinds[k], &len), what[64];
        for (int i = 0; i < 40; i++) {
            size_t cut = 1 + next_random(&seed) % (len - 1);
            audio_write("cut", data, cut);
            struct audio_decoded d = audio_decode(service, "cut", 0);
            snprintf(what, sizeof what, "%s cut at %zu of %zu", kinds[k], cut, len);
            bad += check_outcome(what, &d);
            /* A tenth is gone: somebody must have noticed. Ogg, AAC and MP3 without a header of
             * their own state no length. */
            if (!d.code && cut < len * 9 / 10 && k != 3 && k != 4 && k != 9) {
                total++;
                if (!d.info.truncated) {
                    silent++;
                    print_message("# %s: %.2f s and no word of truncation\n", what,
                                  d.info.duration_s);
                }
            }
        }
        free(data);
    }
    print_message("# %d of %d cuts were not noticed\n", silent, total);
    assert_int_equal(bad, 0);
    assert_int_equal(silent, 0);
}

static void files_with_broken_bytes_end_in_a_result(void **state)
{
    (void)state;
    uint32_t seed = 7;
    int bad = 0;
    AUDIO_NEED_FFMPEG();
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        if (audio_ffmpeg("-f f32le -ar 16000 -ac 1 -i voice.f32 -ar 48000 %s", kinds[k]))
            continue;
        size_t len;
        unsigned char *data = audio_read(kinds[k], &len);
        for (int i = 0; i < 20; i++) {
            char what[64];
            for (int j = 0; j < 30; j++) /* every second time mostly in the header */
                data[next_random(&seed) % (i % 2 && len > 512 ? 512 : len)] =
                    (unsigned char)next_random(&seed);
            audio_write("broken", data, len);
            struct audio_decoded d = audio_decode(service, "broken", 0);
            snprintf(what, sizeof what, "%s broken, round %d", kinds[k], i);
            bad += check_outcome(what, &d);
        }
        free(data);
    }
    assert_int_equal(bad, 0);
}

static void expect(const char *name, enum err_code code, const char *text)
{
    struct audio_decoded d = audio_decode(service, name, 0);
    if (d.code != code || !strstr(d.err.text, text))
        print_error("%s: %s: %s (%.2f s)\n", name, err_slug(d.code), d.err.text, d.info.duration_s);
    assert_int_equal(d.code, code);
    assert_non_null(strstr(d.err.text, text));
}

static void what_is_no_audio_is_named(void **state)
{
    (void)state;
    static const char text[] = "Dear Sir or Madam,\n\nthis is no recording.\n";
    static const unsigned char png[] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10, 0, 0, 0, 13,
                                        'I',  'H', 'D', 'R', 0,  0,  0,  1,  0, 0, 0, 1,
                                        8,    2,   0,   0,   0,  0,  0,  0,  0, 0, 0, 0};
    static const char playlist[] = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n";
    static const char concat[] = "ffconcat version 1.0\nfile /etc/passwd\n";
    uint32_t seed = 3;
    unsigned char *noise = malloc(300000);
    assert_non_null(noise);
    audio_write("letter.wav", text, sizeof text - 1);
    expect("letter.wav", ERR_NOT_AUDIO, "no audio format");
    audio_write("picture.mp3", png, sizeof png);
    expect("picture.mp3", ERR_NOT_AUDIO, "no audio format");
    audio_write("list.m4a", playlist, sizeof playlist - 1);
    expect("list.m4a", ERR_NOT_AUDIO, "no audio format");
    audio_write("concat.wav", concat, sizeof concat - 1);
    expect("concat.wav", ERR_NOT_AUDIO, "no audio format");
    audio_write("one-byte.wav", "R", 1);
    expect("one-byte.wav", ERR_NOT_AUDIO, "no audio format");
    for (int round = 0; round < 20; round++) {
        size_t len = 1 + next_random(&seed) % 300000;
        for (size_t i = 0; i < len; i++)
            noise[i] = (unsigned char)next_random(&seed);
        audio_write("noise", noise, len);
        expect("noise", ERR_NOT_AUDIO, "no audio format");
    }
    memset(noise, 0, 300000);
    audio_write("zeros", noise, 300000);
    expect("zeros", ERR_NOT_AUDIO, "no audio format");
    free(noise);
}

static void a_film_without_sound_has_no_track(void **state)
{
    (void)state;
    AUDIO_NEED_FFMPEG();
    assert_int_equal(audio_ffmpeg("-f lavfi -i testsrc=size=64x48:rate=5:duration=1 -c:v mpeg4 "
                                  "silent.mp4"),
                     0);
    expect("silent.mp4", ERR_NO_AUDIO_TRACK, "no audio track");
}

static void a_wav_says_how_it_is_damaged(void **state)
{
    (void)state;
    int16_t samples[16000];
    for (int i = 0; i < 16000; i++)
        samples[i] = (int16_t)(i % 200);

    audio_write_wav16("zero.wav", samples, 0, 16000, 1, 0);
    struct audio_decoded d = audio_decode(service, "zero.wav", 0);
    assert_int_equal(d.code, ERR_OK);
    assert_int_equal(d.n, 0);
    assert_string_equal(d.info.codec, "pcm_s16le");
    assert_int_equal(d.info.truncated, 0);

    audio_write_wav16("one.wav", samples, 1, 16000, 1, 2);
    d = audio_decode(service, "one.wav", 0);
    assert_int_equal(d.code, ERR_OK);
    assert_int_equal(d.n, 1);

    audio_write_wav16("promises.wav", samples, 16000, 16000, 1, 64000);
    d = audio_decode(service, "promises.wav", 0);
    assert_int_equal(d.code, ERR_OK);
    assert_int_equal(d.n, 16000);
    assert_int_equal(d.info.truncated, 1);

    /* As a program that writes into a pipe leaves it: not truncated. */
    audio_write_wav16("piped.wav", samples, 16000, 16000, 1, 0xffffffffu);
    d = audio_decode(service, "piped.wav", 0);
    assert_int_equal(d.code, ERR_OK);
    assert_int_equal(d.n, 16000);
    assert_int_equal(d.info.truncated, 0);

    audio_write_wav16("nothing.wav", samples, 0, 16000, 1, 32000);
    expect("nothing.wav", ERR_DAMAGED, "nothing in the");
    audio_write_wav16("slow.wav", samples, 100, 7, 1, 200);
    expect("slow.wav", ERR_CODEC, "7 Hz");
}

static void an_mp4_cut_before_its_index_is_damaged(void **state)
{
    (void)state;
    size_t len;
    AUDIO_NEED_FFMPEG();
    assert_int_equal(audio_ffmpeg("-f f32le -ar 16000 -ac 1 -i voice.f32 index.m4a"), 0);
    char *data = audio_read("index.m4a", &len);
    audio_write("noindex.m4a", data, len / 2);
    free(data);
    expect("noindex.m4a", ERR_DAMAGED, "header of the mov container");
}

static void samples_that_are_no_numbers_become_zero(void **state)
{
    (void)state;
    AUDIO_NEED_FFMPEG();
    float *bad = malloc(voice_n * sizeof *bad);
    assert_non_null(bad);
    memcpy(bad, voice, voice_n * sizeof *bad);
    bad[10] = NAN;
    bad[11] = INFINITY;
    bad[12] = -INFINITY;
    bad[13] = 1e30f;
    bad[14] = 2.5f; /* loud, but a number */
    /* ffmpeg would clean them: make the WAV, then put them into its last bytes. */
    assert_int_equal(audio_ffmpeg("-f f32le -ar 16000 -ac 1 -i voice.f32 -c:a pcm_f32le nan.wav"),
                     0);
    size_t len;
    char *data = audio_read("nan.wav", &len);
    memcpy(data + len - voice_n * sizeof *bad, bad, voice_n * sizeof *bad);
    audio_write("nan.wav", data, len);
    free(data);
    free(bad);
    struct audio_decoded d = audio_decode(service, "nan.wav", 1);
    assert_int_equal(d.code, ERR_OK);
    assert_int_equal(d.n, voice_n);
    assert_int_equal(d.info.damaged, 4);
    for (int i = 10; i < 14; i++)
        assert_true(d.samples[i] == 0.0f);
    assert_true(d.samples[14] == 2.5f);
    assert_true(d.samples[15] == voice[15]);
    audio_decoded_done(&d);
}

/* --- limits ------------------------------------------------------------------------------------
 */

static struct audio_decoded decode_limited(const char *name, struct media_limits limits)
{
    struct media_service *limited;
    struct err err;
    assert_int_equal(media_service_new(NULL, &limits, &limited, &err), ERR_OK);
    struct audio_decoded d = audio_decode(limited, name, 0);
    media_service_free(limited);
    return d;
}

static void a_bomb_of_silence_stops_at_max_seconds(void **state)
{
    (void)state;
    AUDIO_NEED_FFMPEG();
    assert_int_equal(audio_ffmpeg("-f lavfi -i anullsrc=r=16000:cl=mono -t 20000 -c:a flac "
                                  "-compression_level 0 -frame_size 65535 bomb.flac"),
                     0);
    double t0 = clock_seconds();
    struct audio_decoded d = decode_limited("bomb.flac", (struct media_limits){.max_seconds = 100});
    assert_int_equal(d.code, ERR_TOO_LONG);
    assert_non_null(strstr(d.err.text, "100 seconds"));
    assert_true(d.n <= 100 * MEDIA_SAMPLE_RATE);
    assert_true(clock_seconds() - t0 < 3);
}

static void every_other_limit_has_its_error(void **state)
{
    (void)state;
    AUDIO_NEED_FFMPEG();
    assert_int_equal(audio_ffmpeg("-f lavfi -i sine=220:r=48000 -t 1200 -b:a 192k long.mp3"), 0);

    struct audio_decoded d = decode_limited("long.mp3", (struct media_limits){.max_bytes = 100000});
    assert_int_equal(d.code, ERR_TOO_LARGE);
    assert_non_null(strstr(d.err.text, "100000"));

    double t0 = clock_seconds();
    d = decode_limited("long.mp3", (struct media_limits){.max_wall = 0.2});
    assert_int_equal(d.code, ERR_TIMEOUT);
    assert_true(clock_seconds() - t0 < 3);

#if !AUDIO_SANITIZED
    d = decode_limited("long.mp3", (struct media_limits){.max_memory = 100000});
    assert_int_equal(d.code, ERR_MEMORY_LIMIT);
    d = decode_limited("long.mp3", (struct media_limits){.max_memory = 16 << 20});
    assert_int_equal(d.code, ERR_OK);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_cut_anywhere_end_in_a_result),
        cmocka_unit_test(files_with_broken_bytes_end_in_a_result),
        cmocka_unit_test(what_is_no_audio_is_named),
        cmocka_unit_test(a_film_without_sound_has_no_track),
        cmocka_unit_test(a_wav_says_how_it_is_damaged),
        cmocka_unit_test(an_mp4_cut_before_its_index_is_damaged),
        cmocka_unit_test(samples_that_are_no_numbers_become_zero),
        cmocka_unit_test(a_bomb_of_silence_stops_at_max_seconds),
        cmocka_unit_test(every_other_limit_has_its_error),
    };
    return cmocka_run_group_tests_name("media_damage", tests, setup, teardown);
}

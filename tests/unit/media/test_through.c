/* media: decoding through a lossy change keeps length and place, changes the samples, and does it
 * inside the same lock-down (C5). */
#include "../../support/cm.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../support/audio.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/file.h"

#define SECONDS 10

static struct media_service *service;

static const char *const names[MEDIA_THROUGH_COUNT] = {"none", "mp3", "aac", "opus", "narrow"};

static void write_voice(const char *name, double seconds, size_t less)
{
    size_t n;
    float *voice = audio_voice(seconds, &n);
    n -= less;
    int16_t *pcm = malloc(n * sizeof *pcm + 2);
    for (size_t i = 0; i < n; i++)
        pcm[i] = (int16_t)lrintf(voice[i] * 32767);
    audio_write_wav16(name, pcm, n, 16000, 1, (uint32_t)(n * 2));
    free(voice);
    free(pcm);
}

static int setup(void **state)
{
    struct err err;
    if (audio_setup(state) || media_service_new(NULL, NULL, &service, &err))
        return -1;
    write_voice("voice.wav", SECONDS, 0);
    return 0;
}

static int teardown(void **state)
{
    service = media_service_free(service);
    return audio_teardown(state);
}

static struct media_stream *open_through(struct media_service *by, const char *name,
                                         enum media_through through)
{
    struct media_open_options options = {.through = through};
    struct media_stream *stream = NULL;
    struct err err = {0};
    uint64_t size;
    int fd = -1;
    assert_int_equal(file_open_regular(audio_path(name), &fd, &size, &err), ERR_OK);
    if (media_open(by, fd, &options, &stream, &err))
        print_error("media_open: %s\n", err.text);
    assert_non_null(stream);
    close(fd);
    return stream;
}

/* All samples; the caller frees them. */
static float *decode(struct media_service *by, const char *name, enum media_through through,
                     size_t *ret_n, struct err *err)
{
    struct media_stream *stream = open_through(by, name, through);
    size_t cap = 1 << 16, n = 1, held = 0;
    float *samples = malloc(cap * sizeof *samples);
    *err = (struct err){0};
    while (n > 0) {
        if (cap - held < 16384)
            samples = realloc(samples, (cap *= 2) * sizeof *samples);
        if (media_read(stream, samples + held, cap - held, &n, err))
            break;
        held += n;
    }
    media_close(stream);
    *ret_n = held;
    return samples;
}

static double rms_of_difference(const float *a, const float *b, size_t n)
{
    double sum = 0, own = 0;
    for (size_t i = 0; i < n; i++) {
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        own += (double)a[i] * a[i];
    }
    return sqrt(sum / own);
}

static void every_change_keeps_length_and_place(void **state)
{
    (void)state;
    struct err err;
    size_t n, m;
    float *plain = decode(service, "voice.wav", MEDIA_THROUGH_NONE, &n, &err);
    assert_int_equal(err.code, ERR_OK);
    assert_int_equal(n, SECONDS * MEDIA_SAMPLE_RATE);
    for (enum media_through t = MEDIA_THROUGH_NONE + 1; t < MEDIA_THROUGH_COUNT; t++) {
        int lag = -1;
        double t0 = clock_seconds();
        float *changed = decode(service, "voice.wav", t, &m, &err);
        double took = clock_seconds() - t0;
        if (err.code)
            print_error("%s: %s\n", names[t], err.text);
        assert_int_equal(err.code, ERR_OK);
        double alike = audio_correlate(plain, n, changed, m, 800, &lag);
        double differs = rms_of_difference(plain, changed, n < m ? n : m);
        print_message("# %-6s %zu samples (%+ld), lag %d, correlation %.4f, difference %.3f, "
                      "%.0f ms\n",
                      names[t], m, (long)m - (long)n, lag, alike, differs, took * 1e3);
        assert_in_range(m, n - 16, n + 16);
        assert_in_range(lag + 8, 0, 16); /* half a millisecond */
        assert_true(alike > 0.9);
        assert_true(differs > 0.001);
        free(changed);
    }
    free(plain);
}

static void the_same_twice(void **state)
{
    (void)state;
    struct err err;
    size_t n, m;
    for (enum media_through t = MEDIA_THROUGH_NONE + 1; t < MEDIA_THROUGH_COUNT; t++) {
        float *one = decode(service, "voice.wav", t, &n, &err);
        float *two = decode(service, "voice.wav", t, &m, &err);
        assert_int_equal(n, m);
        assert_memory_equal(one, two, n * sizeof *one);
        free(one);
        free(two);
    }
}

/* Shorter than a frame of any codec, on its edges, and empty. */
static void odd_lengths(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 100, 319, 320, 576, 1024, 1025, 5000, 15999};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        write_voice("odd.wav", 1, MEDIA_SAMPLE_RATE - lengths[i]);
        for (enum media_through t = MEDIA_THROUGH_NONE; t < MEDIA_THROUGH_COUNT; t++) {
            struct err err;
            size_t n;
            free(decode(service, "odd.wav", t, &n, &err));
            if (err.code || (n > lengths[i] ? n - lengths[i] : lengths[i] - n) > 16)
                print_error("%s of %zu: %zu %s\n", names[t], lengths[i], n, err.text);
            assert_int_equal(err.code, ERR_OK);
            assert_in_range(n + 16, lengths[i], lengths[i] + 32);
        }
    }
}

static void a_long_recording_streams_through_little_memory(void **state)
{
    (void)state;
    static float block[16384];
    write_voice("long.wav", 240, 0);
    for (enum media_through t = MEDIA_THROUGH_NONE + 1; t < MEDIA_THROUGH_COUNT; t++) {
        struct err err = {0};
        struct media_stream *stream = open_through(service, "long.wav", t);
        long most = 0;
        size_t n, total = 0;
        while (media_read(stream, block, ARRAY_LEN(block), &n, &err) == ERR_OK && n > 0) {
            long now = audio_proc_kib(media_stream_pid(stream), "VmHWM");
            most = now > most ? now : most;
            total += n;
        }
        media_close(stream);
        print_message("# %s: 240 s with at most %ld KiB\n", names[t], most);
        assert_int_equal(err.code, ERR_OK);
        assert_in_range(total, 240 * MEDIA_SAMPLE_RATE - 16, 240 * MEDIA_SAMPLE_RATE + 16);
#if !AUDIO_SANITIZED
        assert_true(most > 0 && most < 64 * 1024);
#endif
    }
}

static void the_child_is_locked_down_as_ever(void **state)
{
    (void)state;
    write_voice("long.wav", 60, 0);
    for (enum media_through t = MEDIA_THROUGH_NONE + 1; t < MEDIA_THROUGH_COUNT; t++) {
        struct err err;
        float block[16];
        size_t n;
        struct media_stream *stream = open_through(service, "long.wav", t);
        assert_int_equal(media_read(stream, block, ARRAY_LEN(block), &n, &err), ERR_OK);
        int pid = (int)media_stream_pid(stream);
        assert_int_equal(audio_proc_kib(pid, "NoNewPrivs"), 1);
        assert_int_equal(audio_proc_kib(pid, "Seccomp"), 2);
        assert_int_equal(audio_proc_kib(pid, "Threads"), 1);
        kill(pid, SIGKILL);
        enum err_code code = ERR_OK;
        while (!code)
            code = media_read(stream, block, ARRAY_LEN(block), &n, &err);
        assert_int_equal(code, ERR_DECODER_DIED);
        media_close(stream);
    }
}

static void a_missing_encoder_is_said(void **state)
{
    (void)state;
    struct media_service *lacking = NULL;
    struct err err;
    size_t n;
    const char *program = getenv("SONDE_DECODER_LACKING");
    assert_non_null(program); /* the decoder program, built to look for an encoder of no name */
    assert_int_equal(media_service_new(program, NULL, &lacking, &err), ERR_OK);
    free(decode(lacking, "voice.wav", MEDIA_THROUGH_MP3, &n, &err));
    assert_int_equal(err.code, ERR_CODEC);
    assert_non_null(strstr(err.text, "no MP3 encoder"));
    assert_int_equal(n, 0);
    free(decode(lacking, "voice.wav", MEDIA_THROUGH_AAC, &n, &err));
    assert_int_equal(err.code, ERR_OK);
    free(decode(lacking, "voice.wav", MEDIA_THROUGH_COUNT, &n, &err)); /* a caller's mistake */
    assert_int_equal(err.code, ERR_INTERNAL);
    media_service_free(lacking);
}

static void damage_and_limits_hold_on_the_way(void **state)
{
    (void)state;
    const struct media_limits limits = {.max_seconds = 3};
    struct media_service *strict = NULL;
    struct err err;
    size_t n;
    assert_int_equal(media_service_new(NULL, &limits, &strict, &err), ERR_OK);
    audio_write("letter.wav", "Dear Sir", 8);
    for (enum media_through t = MEDIA_THROUGH_NONE; t < MEDIA_THROUGH_COUNT; t++) {
        free(decode(strict, "voice.wav", t, &n, &err));
        assert_int_equal(err.code, ERR_TOO_LONG);
        free(decode(strict, "letter.wav", t, &n, &err));
        assert_int_equal(err.code, ERR_NOT_AUDIO);
    }
    media_service_free(strict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_change_keeps_length_and_place),
        cmocka_unit_test(the_same_twice),
        cmocka_unit_test(odd_lengths),
        cmocka_unit_test(a_long_recording_streams_through_little_memory),
        cmocka_unit_test(the_child_is_locked_down_as_ever),
        cmocka_unit_test(a_missing_encoder_is_said),
        cmocka_unit_test(damage_and_limits_hold_on_the_way),
    };
    return cmocka_run_group_tests_name("media_through", tests, setup, teardown);
}

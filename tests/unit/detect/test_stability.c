/* detect/stability: every variant is what it says, the answer is the same twice, and what fails in
 * one row stays in it (C5). */
#include "../../support/cm.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../support/audio.h"
#include "base/mem.h"
#include "detect/stability.h"
#include "os/clock.h"

#define RATE MEDIA_SAMPLE_RATE

static struct detector *detector;
static struct analysis *analysis;
static struct media_service *media;
static struct stability panel; /* of voice.wav */

/* Silence, `seconds` of voice, silence. */
static void write_voice(const char *name, double before, double seconds, double after)
{
    size_t n, lead = (size_t)(before * RATE), all;
    float *voice = audio_voice(seconds, &n);
    all = lead + n + (size_t)(after * RATE);
    int16_t *pcm = calloc(all, sizeof *pcm);
    for (size_t i = 0; i < n; i++)
        pcm[lead + i] = (int16_t)lrintf(voice[i] * 32767);
    audio_write_wav16(name, pcm, all, RATE, 1, (uint32_t)(all * 2));
    free(pcm);
    free(voice);
}

static int open_file(const char *name)
{
    int fd = open(audio_path(name), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static enum err_code panel_of(struct media_service *by, const char *name, detect_progress *progress,
                              void *ctx, struct stability *ret, struct err *err)
{
    int fd = open_file(name);
    *err = (struct err){0};
    enum err_code rc = stability_make(analysis, by, fd, progress, ctx, ret, err);
    close(fd);
    return rc;
}

static int setup(void **state)
{
    if (audio_setup(state) || media_service_new(NULL, NULL, &media, NULL) ||
        detector_new(NULL, NN_ISA_AUTO, &detector, NULL) || analysis_new(detector, &analysis, NULL))
        return -1;
    write_voice("voice.wav", 2.5, 8, 1.7);
    write_voice("short.wav", 0.5, 3, 0.5);
    struct err err;
    double t0 = clock_seconds();
    int failed = panel_of(media, "voice.wav", NULL, NULL, &panel, &err) != ERR_OK;
    print_message("# 12.2 s in all variants: %.0f ms\n", 1e3 * (clock_seconds() - t0));
    return failed;
}

static int teardown(void **state)
{
    analysis = analysis_free(analysis);
    detector = detector_free(detector);
    media = media_service_free(media);
    return audio_teardown(state);
}

static const struct stability_row *row_of(const struct stability *s, const char *variant)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->rows[i].variant, variant) == 0)
            return &s->rows[i];
    fail_msg("no row %s", variant);
    return NULL;
}

static void every_variant_is_scored_the_same_twice(void **state)
{
    (void)state;
    static const char *const names[] = {"original", "trim",   "mp3",  "aac",
                                        "opus",     "narrow", "noise"};
    struct stability again;
    struct err err;
    double low = 1e9, high = -1e9;
    int flips = 0;
    assert_int_equal(panel_of(media, "voice.wav", NULL, NULL, &again, &err), ERR_OK);
    assert_int_equal(panel.n, STABILITY_VARIANTS);
    for (size_t i = 0; i < panel.n; i++) {
        const struct stability_row *r = &panel.rows[i];
        print_message("# %-8s %+.4f %s\n", r->variant, r->llr, verdict_name(r->verdict));
        assert_string_equal(r->variant, names[i]);
        assert_string_equal(stability_variant(i)->name, names[i]);
        assert_int_equal(r->error.code, ERR_OK);
        assert_true(r->scored);
        assert_memory_equal(&r->llr, &again.rows[i].llr, sizeof r->llr);
        for (size_t k = 0; k < i; k++) /* each changes something, and something else */
            assert_true(r->llr != panel.rows[k].llr);
        low = fmin(low, r->llr);
        high = fmax(high, r->llr);
        flips += r->verdict != panel.rows[0].verdict;
    }
    assert_true(panel.spread == high - low);
    assert_int_equal(panel.flips, flips);
    assert_true(fabs(panel.seconds - 12.2) < 1e-6);
    assert_int_equal(panel.cut, 0);
}

static void the_first_row_is_the_detection(void **state)
{
    (void)state;
    struct detection d;
    struct err err;
    int fd = open_file("voice.wav");
    assert_int_equal(detect_file(analysis, media, fd, NULL, NULL, &d, NULL, &err), ERR_OK);
    close(fd);
    const struct stability_row *r = &panel.rows[0];
    assert_true(r->llr == d.llr && r->p == d.p && r->verdict == d.verdict);
    detection_done(&d);
}

/* The samples of a file; the caller frees them. */
static float *samples_of(const char *name, size_t *ret_n)
{
    struct audio_decoded d = audio_decode(media, name, 1);
    assert_int_equal(d.code, ERR_OK);
    *ret_n = d.n;
    return d.samples;
}

static double llr_of(const float *x, size_t n)
{
    struct detection d;
    assert_int_equal(analysis_feed(analysis, x, n, NULL), ERR_OK);
    assert_int_equal(analysis_finish(analysis, &d, NULL), ERR_OK);
    double llr = d.llr;
    detection_done(&d);
    return llr;
}

/* First sample and end of the speech, by the track of the last analysis. */
static void find_speech(size_t *ret_from, size_t *ret_to)
{
    const struct speech_track *track = analysis_speech(analysis);
    size_t first = SIZE_MAX, last = 0;
    for (size_t f = 0; f < track->count; f++)
        if (track->active[f]) {
            first = first == SIZE_MAX ? f : first;
            last = f;
        }
    assert_true(first < last);
    *ret_from = first * 160;
    *ret_to = last * 160 + 400;
}

static void trim_removes_what_is_no_speech(void **state)
{
    (void)state;
    size_t n, from, to;
    float *x = samples_of("voice.wav", &n);
    llr_of(x, n);
    find_speech(&from, &to);
    /* 2.5 s of silence before and 1.7 s after 8 s; the gate is right to 0.3 s. */
    assert_true(fabs((double)from / RATE - 2.5) < 0.3);
    assert_true(fabs((double)to / RATE - 10.5) < 0.3);
    double expected = llr_of(x + from, to - from);
    assert_true(row_of(&panel, "trim")->llr == expected);
    assert_true(panel.rows[0].llr != expected);
    free(x);
}

static void noise_is_white_and_15_db_below_the_speech(void **state)
{
    (void)state;
    enum { N = 200000 };
    float *noise = calloc(N, sizeof *noise), *pieces = calloc(N, sizeof *pieces);
    double mean = 0, square = 0, lag1 = 0;
    stability_add_noise(noise, 0, N, 0.1);
    for (size_t at = 0; at < N; at += 777)
        stability_add_noise(pieces + at, at, N - at < 777 ? N - at : 777, 0.1);
    assert_memory_equal(noise, pieces, N * sizeof *noise);
    for (size_t i = 0; i < N; i++) {
        mean += noise[i] / N;
        square += (double)noise[i] * noise[i] / N;
        lag1 += i ? (double)noise[i] * noise[i - 1] / N : 0;
    }
    assert_true(fabs(mean) < 0.001);
    assert_true(fabs(sqrt(square) - 0.1) < 0.001);
    assert_true(fabs(lag1) < 0.01 * square);
    free(noise);
    free(pieces);

    size_t n, frames = 0;
    double sum = 0;
    float *x = samples_of("voice.wav", &n);
    llr_of(x, n);
    const struct speech_track *track = analysis_speech(analysis);
    for (size_t f = 0; f < track->count; f++) {
        for (size_t i = 0; track->active[f] && i < 160; i++)
            sum += (double)x[f * 160 + i] * x[f * 160 + i];
        frames += track->active[f];
    }
    stability_add_noise(x, 0, n, sqrt(sum / (160.0 * (double)frames)) * pow(10, -15.0 / 20));
    double expected = llr_of(x, n);
    assert_true(fabs(row_of(&panel, "noise")->llr - expected) < 1e-3); /* sums in another order */
    free(x);
}

static void a_missing_encoder_fails_its_row_only(void **state)
{
    (void)state;
    struct media_service *lacking = NULL;
    struct stability s, whole;
    struct err err;
    const char *program = getenv("SONDE_DECODER_LACKING");
    assert_non_null(program);
    assert_int_equal(media_service_new(program, NULL, &lacking, &err), ERR_OK);
    assert_int_equal(panel_of(lacking, "short.wav", NULL, NULL, &s, &err), ERR_OK);
    assert_int_equal(panel_of(media, "short.wav", NULL, NULL, &whole, &err), ERR_OK);
    media_service_free(lacking);
    assert_int_equal(s.n, STABILITY_VARIANTS);
    for (size_t i = 0; i < s.n; i++) {
        int mp3 = strcmp(s.rows[i].variant, "mp3") == 0;
        assert_int_equal(s.rows[i].error.code, mp3 ? ERR_CODEC : ERR_OK);
        assert_int_equal(s.rows[i].scored, !mp3);
        if (!mp3)
            assert_true(s.rows[i].llr == whole.rows[i].llr);
    }
    json_t *json = stability_json(&s);
    json_t *row = json_array_get(json_object_get(json, "rows"), 2);
    json_t *error = json_object_get(row, "error");
    assert_string_equal(json_string_value(json_object_get(error, "code")), "unsupported_codec");
    assert_non_null(strstr(json_string_value(json_object_get(error, "text")), "no MP3 encoder"));
    assert_true(json_is_null(json_object_get(row, "llr")));
    assert_true(json_is_null(json_object_get(row, "verdict")));
    assert_true(
        json_is_null(json_object_get(json_array_get(json_object_get(json, "rows"), 1), "error")));
    assert_int_equal(json_object_size(json), 4);
    assert_true(json_is_real(json_object_get(json, "spread")));
    json_decref(json);
}

/* The child that was started last: one before it may still be on its way out. */
static pid_t newest_child(pid_t pid)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fscanf(f, "%d", &child) == 1)
        continue;
    fclose(f);
    return (pid_t)child;
}

struct killer {
    double at_s; /* of all variants together */
    int killed;
};

/* Kills the decoding child once that much has been heard. */
static int kill_then(void *ctx, const struct detect_state *heard)
{
    struct killer *k = ctx;
    if (k->killed || heard->seconds < k->at_s)
        return 0;
    pid_t child = newest_child(newest_child(getpid()));
    assert_true(child > 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    k->killed = 1;
    return 0;
}

static void a_killed_decoder_fails_its_row_only(void **state)
{
    (void)state;
    struct stability s;
    struct err err;
    /* The pipe holds a second: what is heard of 20 s is far behind the decoder's end. */
    enum { LONG_S = 20 };
    write_voice("long.wav", 0, LONG_S, 0);
    struct killer killer = {.at_s = 3 * LONG_S + 5}; /* behind the three variants before it */
    assert_int_equal(panel_of(media, "long.wav", kill_then, &killer, &s, &err), ERR_OK);
    assert_int_equal(killer.killed, 1);
    for (size_t i = 0; i < s.n; i++) {
        int aac = strcmp(s.rows[i].variant, "aac") == 0;
        assert_int_equal(s.rows[i].error.code, aac ? ERR_DECODER_DIED : ERR_OK);
        assert_int_equal(s.rows[i].scored, !aac);
    }
    /* In the original it is an error of the whole. */
    killer = (struct killer){.at_s = 5};
    assert_int_equal(panel_of(media, "long.wav", kill_then, &killer, &s, &err), ERR_DECODER_DIED);
    assert_non_null(strstr(err.text, "SIGKILL"));
}

static void what_is_no_recording_has_no_panel(void **state)
{
    (void)state;
    struct stability s;
    struct err err;
    audio_write("letter.wav", "Dear Sir", 8);
    assert_int_equal(panel_of(media, "letter.wav", NULL, NULL, &s, &err), ERR_NOT_AUDIO);
    assert_true(err.text[0]);
}

struct counter {
    double stop_s; /* in all variants together; 0: never */
    int calls;
    double seconds;
};

static int count_then_stop(void *ctx, const struct detect_state *heard)
{
    struct counter *c = ctx;
    double seconds = heard->seconds;
    assert_true(seconds > c->seconds);
    c->seconds = seconds;
    c->calls++;
    return c->stop_s > 0 && seconds >= c->stop_s;
}

static void it_can_be_cancelled_in_any_variant(void **state)
{
    (void)state;
    struct stability s;
    struct err err;
    struct counter all = {0};
    assert_int_equal(panel_of(media, "short.wav", count_then_stop, &all, &s, &err), ERR_OK);
    assert_true(all.calls >= STABILITY_VARIANTS);
    /* Trimmed away or not, each variant hears the whole recording. */
    assert_true(fabs(all.seconds - STABILITY_VARIANTS * 4.0) < 0.05);
    for (size_t i = 0; i < STABILITY_VARIANTS; i++) {
        struct counter some = {.stop_s = 4.0 * (double)i + 1};
        assert_int_equal(panel_of(media, "short.wav", count_then_stop, &some, &s, &err),
                         ERR_CANCELLED);
        assert_true(some.seconds < some.stop_s + 1); /* and was not called again */
    }
    struct stability again;
    assert_int_equal(panel_of(media, "short.wav", NULL, NULL, &again, &err), ERR_OK);
    assert_true(again.n == STABILITY_VARIANTS && again.rows[6].scored);
}

static void silence_has_rows_without_scores(void **state)
{
    (void)state;
    struct stability s;
    struct err err;
    write_voice("silence.wav", 3, 0, 0);
    assert_int_equal(panel_of(media, "silence.wav", NULL, NULL, &s, &err), ERR_OK);
    for (size_t i = 0; i < s.n; i++) {
        assert_int_equal(s.rows[i].error.code, ERR_OK);
        assert_int_equal(s.rows[i].scored, 0);
        assert_int_equal(s.rows[i].verdict, VERDICT_INCONCLUSIVE);
    }
    assert_int_equal(s.flips, 0);
    json_t *json = stability_json(&s);
    assert_true(json_is_null(json_object_get(json, "spread")));
    assert_int_equal(json_array_size(json_object_get(json, "rows")), STABILITY_VARIANTS);
    json_decref(json);
}

#if !AUDIO_SANITIZED
static void a_long_recording_is_looked_at_in_part(void **state)
{
    (void)state;
    struct stability s;
    struct err err;
    struct counter all = {0};
    write_voice("long.wav", 0, 20, STABILITY_MAX_SECONDS); /* silence is coded fast */
    assert_int_equal(panel_of(media, "long.wav", count_then_stop, &all, &s, &err), ERR_OK);
    assert_true(s.seconds == STABILITY_MAX_SECONDS);
    assert_int_equal(s.cut, 1);
    assert_true(all.seconds <= STABILITY_VARIANTS * STABILITY_MAX_SECONDS);
    json_t *json = stability_json(&s);
    assert_true(json_real_value(json_object_get(json, "seconds")) == STABILITY_MAX_SECONDS);
    json_decref(json);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_is_scored_the_same_twice),
        cmocka_unit_test(the_first_row_is_the_detection),
        cmocka_unit_test(trim_removes_what_is_no_speech),
        cmocka_unit_test(noise_is_white_and_15_db_below_the_speech),
        cmocka_unit_test(a_missing_encoder_fails_its_row_only),
        cmocka_unit_test(a_killed_decoder_fails_its_row_only),
        cmocka_unit_test(what_is_no_recording_has_no_panel),
        cmocka_unit_test(it_can_be_cancelled_in_any_variant),
        cmocka_unit_test(silence_has_rows_without_scores),
#if !AUDIO_SANITIZED /* half an hour of sound: the code is the same, and slow there */
        cmocka_unit_test(a_long_recording_is_looked_at_in_part),
#endif
    };
    return cmocka_run_group_tests_name("detect_stability", tests, setup, teardown);
}

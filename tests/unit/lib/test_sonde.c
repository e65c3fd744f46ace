/* libsonde through its public header, linked as a program would: arguments, streams, files,
 * threads. */
#include "../../support/cm.h"
#include "../../support/voice.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sonde.h>

#define RATE 16000

/* Five seconds of something like speech. Caller frees. */
static float *make_sound(size_t *n)
{
    *n = 5 * RATE;
    float *x = malloc(*n * sizeof *x);
    for (size_t i = 0; i < *n; i++)
        x[i] = (float)voice((double)i / RATE);
    return x;
}

static void put(FILE *f, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        fputc((int)(value >> (8 * i)) & 255, f);
}

/* The sound as a 32-bit float wav: samples come back bit by bit. */
static void write_wav(const char *path, const float *x, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs("RIFF", f), put(f, (uint32_t)(36 + 4 * n), 4), fputs("WAVEfmt ", f), put(f, 16, 4);
    put(f, 3, 2), put(f, 1, 2), put(f, RATE, 4), put(f, 4 * RATE, 4), put(f, 4, 2), put(f, 32, 2);
    fputs("data", f), put(f, (uint32_t)(4 * n), 4);
    assert_int_equal(fwrite(x, sizeof *x, n, f), n);
    fclose(f);
}

static void wrong_arguments_are_told(void **state)
{
    (void)state;
    struct sonde_error error;
    sonde_detector *d = NULL;
    sonde_result *r = NULL;
    assert_int_equal(sonde_open(NULL, NULL, &error), SONDE_ERROR_ARGUMENT);
    struct sonde_options options = {.size = 3};
    assert_int_equal(sonde_open(&options, &d, &error), SONDE_ERROR_ARGUMENT);
    options = (struct sonde_options){.size = sizeof options, .isa = "mmx"};
    assert_int_equal(sonde_open(&options, &d, &error), SONDE_ERROR_ARGUMENT);
    assert_non_null(strstr(error.text, "mmx"));
    options = (struct sonde_options){.size = sizeof options, .prior = 1.5};
    assert_int_equal(sonde_open(&options, &d, &error), SONDE_ERROR_ARGUMENT);
    options = (struct sonde_options){.size = sizeof options, .model = "/nowhere"};
    assert_int_not_equal(sonde_open(&options, &d, &error), SONDE_OK);
    assert_true(strlen(error.slug) > 0 && strlen(error.hint) > 0);
    assert_null(d);
    assert_int_equal(sonde_open(NULL, &d, NULL), SONDE_OK);
    assert_int_equal(sonde_detect_file(d, "/nowhere/at.all", &r, &error), SONDE_ERROR_FILE);
    assert_string_equal(error.slug, "not_found");
    sonde_stream *s = NULL;
    assert_int_equal(sonde_stream_new(d, &s, &error), SONDE_OK);
    float nan = NAN;
    assert_int_equal(sonde_stream_feed(s, &nan, 1, &error), SONDE_ERROR_ARGUMENT);
    sonde_stream_free(s);
    sonde_stream_free(NULL);
    sonde_result_free(NULL);
    sonde_close(d);
    sonde_close(NULL);
    assert_string_equal(sonde_version(), SONDE_VERSION);
}

static void a_stream_and_a_file_give_the_same_answer(void **state)
{
    (void)state;
    size_t n;
    float *x = make_sound(&n);
    char path[] = "/tmp/sonde-lib-XXXXXX";
    close(mkstemp(path));
    write_wav(path, x, n);
    struct sonde_error error;
    sonde_detector *d = NULL;
    sonde_stream *s = NULL;
    sonde_result *streamed = NULL, *filed = NULL;
    assert_int_equal(sonde_open(NULL, &d, &error), SONDE_OK);
    assert_int_equal(sonde_stream_new(d, &s, &error), SONDE_OK);
    for (size_t i = 0; i < n; i += 1000)
        assert_int_equal(sonde_stream_feed(s, x + i, 1000, &error), SONDE_OK);
    assert_int_equal(sonde_stream_finish(s, &streamed, &error), SONDE_OK);
    assert_int_equal(sonde_detect_file(d, path, &filed, &error), SONDE_OK);
    assert_true(sonde_result_llr(streamed) == sonde_result_llr(filed));
    assert_true(isfinite(sonde_result_llr(filed)));
    assert_true(fabs(sonde_result_duration(filed) - 5.0) < 1e-9);
    assert_true(sonde_result_speech(filed) > 1.5);
    assert_true(
        strcmp(sonde_verdict_name(sonde_result_verdict(filed)),
               sonde_result_llr(filed) >= sonde_result_threshold(filed) ? "human" : "synthetic"));
    struct sonde_window w;
    assert_int_equal(sonde_result_window(filed, 0, &w), 1);
    assert_true(w.start == 0 && w.p_synthetic >= 0.01 && w.p_synthetic <= 0.99);
    assert_int_equal(sonde_result_window(filed, 99, &w), 0);
    assert_null(sonde_result_reason(filed, 99, NULL));
    assert_non_null(strstr(sonde_result_json(filed), "\"sha256\":\""));
    assert_non_null(strstr(sonde_result_json(streamed), "\"verdict\":\""));
    sonde_stream_free(s);
    sonde_close(d); /* results outlive it */
    assert_true(isfinite(sonde_result_p_synthetic(filed)));
    sonde_result_free(filed);
    sonde_result_free(streamed);
    unlink(path);
    free(x);
}

static void silence_has_a_reason_and_no_score(void **state)
{
    (void)state;
    sonde_detector *d = NULL;
    sonde_stream *s = NULL;
    sonde_result *r = NULL;
    assert_int_equal(sonde_open(NULL, &d, NULL), SONDE_OK);
    assert_int_equal(sonde_stream_new(d, &s, NULL), SONDE_OK);
    float zeros[RATE] = {0};
    assert_int_equal(sonde_stream_feed(s, zeros, RATE, NULL), SONDE_OK);
    assert_int_equal(sonde_stream_finish(s, &r, NULL), SONDE_OK);
    const char *text = NULL;
    assert_int_equal(sonde_result_verdict(r), SONDE_INCONCLUSIVE);
    assert_string_equal(sonde_result_reason(r, 0, &text), "no_speech");
    assert_true(strlen(text) > 10);
    assert_true(isnan(sonde_result_llr(r)) && isnan(sonde_result_p_synthetic(r)));
    sonde_result_free(r);
    sonde_stream_free(s);
    sonde_close(d);
}

struct task {
    sonde_detector *detector;
    const char *path;
    double llr;
};

static void *detect_on_thread(void *arg)
{
    struct task *task = arg;
    for (int i = 0; i < 5; i++) {
        sonde_result *r = NULL;
        task->llr = NAN;
        if (sonde_detect_file(task->detector, task->path, &r, NULL) != SONDE_OK)
            break;
        task->llr = sonde_result_llr(r);
        sonde_result_free(r);
    }
    return NULL;
}

static void one_detector_serves_many_threads(void **state)
{
    (void)state;
    enum { THREADS = 12 }; /* more than spare analyses */
    size_t n;
    float *x = make_sound(&n);
    char path[] = "/tmp/sonde-lib-XXXXXX";
    close(mkstemp(path));
    write_wav(path, x, n);
    sonde_detector *d = NULL;
    assert_int_equal(sonde_open(NULL, &d, NULL), SONDE_OK);
    pthread_t threads[THREADS];
    struct task tasks[THREADS];
    for (int i = 0; i < THREADS; i++) {
        tasks[i] = (struct task){.detector = d, .path = path};
        assert_int_equal(pthread_create(&threads[i], NULL, detect_on_thread, &tasks[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(isfinite(tasks[i].llr));
        assert_true(tasks[i].llr == tasks[0].llr);
    }
    sonde_close(d);
    unlink(path);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_arguments_are_told),
        cmocka_unit_test(a_stream_and_a_file_give_the_same_answer),
        cmocka_unit_test(silence_has_a_reason_and_no_score),
        cmocka_unit_test(one_detector_serves_many_threads),
    };
    return cmocka_run_group_tests_name("lib", tests, NULL, NULL);
}

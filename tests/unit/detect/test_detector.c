/* detect/detector: windows, pooling, reasons; the cut of the feed and the thread do not change a
 * bit. */
#include "../../support/cm.h"
#include "../../support/voice.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../nn/tiny.h"
#include "base/mem.h"
#include "detect/detector.h"

#define RATE 16000

static struct detector *detector;

static int open_model(void **state)
{
    (void)state;
    return detector_new(NULL, NN_ISA_AUTO, &detector, NULL);
}

static int close_model(void **state)
{
    (void)state;
    detector = detector_free(detector);
    return 0;
}

/* Caller frees. */
static float *make_sound(size_t n)
{
    float *x = malloc(n * sizeof *x + 4);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)voice((double)i / RATE);
    return x;
}

static struct detection analyse(struct analysis *a, const float *x, size_t n, size_t piece)
{
    struct detection d;
    for (size_t i = 0; i < n; i += piece)
        assert_int_equal(analysis_feed(a, x + i, n - i < piece ? n - i : piece, NULL), ERR_OK);
    assert_int_equal(analysis_finish(a, &d, NULL), ERR_OK);
    return d;
}

static void assert_same(const struct detection *a, const struct detection *b)
{
    assert_memory_equal(&a->llr, &b->llr, sizeof a->llr);
    assert_int_equal(a->n_timeline, b->n_timeline);
    assert_int_equal(a->verdict, b->verdict);
    for (size_t i = 0; i < a->n_timeline; i++)
        assert_memory_equal(&a->timeline[i], &b->timeline[i], sizeof a->timeline[i]);
}

static void the_cut_of_the_feed_changes_nothing(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 399, 400, 30000, 61680, 61681, 92400, 200001};
    static const size_t pieces[] = {1, 160, 4096, 77777};
    struct analysis *a = NULL;
    assert_int_equal(analysis_new(detector, &a, NULL), ERR_OK);
    float *x = make_sound(200001);
    for (size_t l = 0; l < ARRAY_LEN(lengths); l++) {
        struct detection whole = analyse(a, x, lengths[l], lengths[l]);
        for (size_t p = lengths[l] > 70000; p < ARRAY_LEN(pieces); p++) {
            struct detection cut = analyse(a, x, lengths[l], pieces[p]);
            assert_same(&whole, &cut);
            detection_done(&cut);
        }
        assert_true(fabs(whole.duration_s - (double)lengths[l] / RATE) < 1e-9);
        detection_done(&whole);
    }
    free(x);
    analysis_free(a);
}

static void windows_cover_the_recording(void **state)
{
    (void)state;
    struct analysis *a = NULL;
    assert_int_equal(analysis_new(detector, &a, NULL), ERR_OK);
    size_t n = 10 * RATE;
    float *x = make_sound(n);
    struct detection d = analyse(a, x, n, n);
    /* 160,000 samples: windows of 61,680 at 0, 30,720, 61,440, 92,160 and one that ends at the end.
     */
    assert_int_equal(d.n_timeline, 5);
    assert_true(d.timeline[0].start_s == 0);
    assert_true(fabs(d.timeline[3].start_s - 92160.0 / RATE) < 1e-9);
    assert_true(fabs(d.timeline[4].end_s - 10.0) < 1e-9);
    assert_true(d.scored && isfinite(d.llr) && d.p >= 0.01 && d.p <= 0.99);
    assert_int_equal(d.verdict, d.llr >= d.threshold ? VERDICT_SYNTHETIC : VERDICT_HUMAN);
    detection_done(&d);
    free(x);
    analysis_free(a);
}

/* Digital silence, and a noise far below speech: neither is judged, and the rest as without them.
 */
static void windows_without_speech_have_no_score(void **state)
{
    (void)state;
    struct analysis *a = NULL;
    assert_int_equal(analysis_new(detector, &a, NULL), ERR_OK);
    const size_t n = 40 * RATE, from = 10 * RATE, to = 30 * RATE;
    float *x = make_sound(n);
    for (int noise = 0; noise < 2; noise++) {
        unsigned seed = 7;
        for (size_t i = from; i < to; i++) {
            seed = seed * 1664525u + 1013904223u;
            x[i] = noise ? (float)(1e-4 * ((double)(seed >> 16) / 65536 - 0.5)) : 0;
        }
        struct detection d = analyse(a, x, n, 4096);
        double llr = 0, speech = 0;
        size_t without = 0;
        for (size_t i = 0; i < d.n_timeline; i++) {
            const struct detect_window *w = &d.timeline[i];
            int inside = w->start_s > 10 && w->end_s < 30;
            assert_int_equal(isnan(w->llr), inside);
            assert_int_equal(w->speech_s == 0, inside);
            without += (size_t)inside;
            llr += inside ? 0 : w->speech_s * w->llr;
            speech += w->speech_s;
        }
        assert_in_range(without, 7, 9); /* 1.92 s apart, 3.86 s long */
        assert_true(d.scored && fabs(d.llr - llr / speech) < 1e-9);
        for (size_t i = 0; i < d.n_parts; i++)
            assert_true(isfinite(d.parts[i].llr));
        json_t *json = detection_json(&d), *list = json_object_get(json, "timeline");
        for (size_t i = 0; i < d.n_timeline; i++) {
            const json_t *w = json_array_get(list, i);
            assert_int_equal(json_is_null(json_object_get(w, "llr")), isnan(d.timeline[i].llr));
            assert_int_equal(json_is_null(json_object_get(w, "p_synthetic")),
                             isnan(d.timeline[i].llr));
        }
        json_decref(json);
        detection_done(&d);
    }
    free(x);
    analysis_free(a);
}

static void too_little_speech_is_inconclusive(void **state)
{
    (void)state;
    struct analysis *a = NULL;
    assert_int_equal(analysis_new(detector, &a, NULL), ERR_OK);
    float *x = make_sound(RATE);
    struct detection d = analyse(a, x, RATE, RATE);
    assert_int_equal(d.verdict, VERDICT_INCONCLUSIVE);
    assert_string_equal(reason_slug(d.reasons[0].code), "too_short");
    assert_int_equal(d.reasons[0].decides, 1);
    char text[160];
    reason_sentence(&d.reasons[0], text, sizeof text);
    assert_non_null(strstr(text, "1.5 s are needed"));
    assert_int_equal(d.scored, 1);
    detection_done(&d);

    memset(x, 0, RATE * sizeof *x);
    for (int seconds = 0; seconds < 20; seconds++)
        assert_int_equal(analysis_feed(a, x, RATE, NULL), ERR_OK);
    assert_int_equal(analysis_finish(a, &d, NULL), ERR_OK);
    assert_int_equal(d.verdict, VERDICT_INCONCLUSIVE);
    assert_string_equal(reason_slug(d.reasons[0].code), "no_speech");
    assert_int_equal(d.scored, 0);
    assert_int_equal(d.n_timeline, 0);
    detection_done(&d);

    assert_int_equal(analysis_finish(a, &d, NULL), ERR_OK); /* no sample at all */
    assert_int_equal(d.verdict, VERDICT_INCONCLUSIVE);
    detection_done(&d);
    free(x);
    analysis_free(a);
}

struct thread_task {
    const float *x;
    size_t n;
    struct detection result;
};

static void *analyse_on_thread(void *arg)
{
    struct thread_task *task = arg;
    struct analysis *a = NULL;
    if (analysis_new(detector, &a, NULL) == ERR_OK &&
        analysis_feed(a, task->x, task->n, NULL) == ERR_OK &&
        analysis_finish(a, &task->result, NULL) != ERR_OK)
        task->result = (struct detection){0};
    analysis_free(a);
    return NULL;
}

static void threads_give_the_same_bits(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    size_t n = 6 * RATE;
    float *x = make_sound(n);
    pthread_t threads[THREADS];
    struct thread_task tasks[THREADS];
    for (int i = 0; i < THREADS; i++) {
        tasks[i] = (struct thread_task){.x = x, .n = n};
        assert_int_equal(pthread_create(&threads[i], NULL, analyse_on_thread, &tasks[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(tasks[0].result.scored);
    for (int i = 1; i < THREADS; i++)
        assert_same(&tasks[0].result, &tasks[i].result);
    for (int i = 0; i < THREADS; i++)
        detection_done(&tasks[i].result);
    free(x);
}

static void parts_are_disjoint_runs_above_the_threshold(void **state)
{
    (void)state;
    /* Half-overlapping windows of 4 s, so pieces of 2 s with the mean of two windows:
     * -1 0 2 2 -1 -2 1 0 and -2 for the last 4 s. The 1 reaches the threshold alone: too short. */
    static const double llr[] = {-1, 1, 3, 1, -3, -1, 3, -3, -1};
    struct detection d = {.threshold = 0.5, .n_timeline = ARRAY_LEN(llr)};
    d.timeline = calloc(ARRAY_LEN(llr), sizeof *d.timeline);
    for (size_t i = 0; i < ARRAY_LEN(llr); i++)
        d.timeline[i] = (struct detect_window){
            .start_s = 2.0 * (double)i, .end_s = 2.0 * (double)i + 4, .llr = llr[i]};
    assert_int_equal(detection_find_parts(&d, NULL), ERR_OK);
    assert_int_equal(d.n_parts, 1);
    assert_true(d.parts[0].start_s == 4 && d.parts[0].end_s == 8);
    assert_true(fabs(d.parts[0].llr - 2) < 1e-12);
    detection_done(&d);
}

static void probability_follows_bayes_within_its_bounds(void **state)
{
    (void)state;
    assert_true(fabs(detect_probability(0, 0.5) - 0.5) < 1e-12);
    assert_true(fabs(detect_probability(log(4), 0.2) - 0.5) < 1e-12);
    assert_true(detect_probability(1000, 0.5) == 0.99);
    assert_true(detect_probability(-1000, 0.5) == 0.01);
}

/* A small model whose LLR is its logit, with the threshold at 0; `more` adds to its metadata, pairs
 * of key and value up to NULL. */
static struct tiny *small_model(const char *const *more)
{
    struct tiny *tiny = tiny_new(384, 16, "16:0", 4, 4);
    static const char *const plain[] = {"hop_frames", "192", "llr_scale",     "1",
                                        "llr_offset", "0",   "threshold_llr", "0",
                                        "prior",      "0.5"};
    for (size_t i = 0; i < ARRAY_LEN(plain); i += 2)
        tiny_set_meta(tiny, plain[i], plain[i + 1]);
    for (; *more; more += 2)
        tiny_set_meta(tiny, more[0], more[1]);
    return tiny;
}

/* Frees the model. */
static struct detector *detector_of(struct tiny *tiny)
{
    char path[] = "/tmp/sonde-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    size_t len = 0;
    uint8_t *bytes = tiny_bytes(tiny, &len);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    struct detector *d = NULL;
    struct err err = {0};
    if (detector_new(path, NN_ISA_AUTO, &d, &err))
        fail_msg("%s", err.text);
    tiny_free(tiny);
    free(bytes);
    close(fd);
    unlink(path);
    return d;
}

/* The answer of a small model. Free it. */
static struct detection judged_by(const char *const *more, const float *x, size_t n)
{
    struct detector *d = detector_of(small_model(more));
    struct analysis *a = NULL;
    assert_int_equal(analysis_new(d, &a, NULL), ERR_OK);
    struct detection found = analyse(a, x, n, n);
    assert_true(found.scored);
    analysis_free(a);
    detector_free(d);
    return found;
}

static void an_answer_that_is_no_number_is_an_error(void **state)
{
    (void)state;
    const char *const none[] = {NULL};
    struct tiny *tiny = small_model(none);
    for (int i = 0; i < 4; i++) /* each a finite weight, the sum not */
        tiny_find(tiny, "fc2.weight")->values[i] = tiny_find(tiny, "fc1.bias")->values[i] = 3e38f;
    struct detector *d = detector_of(tiny);
    struct analysis *a = NULL;
    struct err err = {0};
    assert_int_equal(analysis_new(d, &a, NULL), ERR_OK);
    size_t n = 6 * RATE;
    float *x = make_sound(n);
    assert_int_equal(analysis_feed(a, x, n, &err), ERR_MODEL);
    assert_non_null(strstr(err.text, "no number"));
    free(x);
    analysis_free(a);
    detector_free(d);
}

static const struct reason *borderline(const struct detection *d)
{
    for (size_t i = 0; i < d->n_reasons; i++)
        if (d->reasons[i].code == REASON_BORDERLINE)
            return &d->reasons[i];
    return NULL;
}

static void between_the_limits_there_is_no_verdict(void **state)
{
    (void)state;
    size_t n = 6 * RATE;
    float *x = make_sound(n);
    static const struct {
        const char *shift; /* moves the LLR far to one side, or next to nothing */
        const char *below, *from;
        enum verdict verdict;
    } cases[] = {
        {"40", "-9", "9", VERDICT_SYNTHETIC},   {"-40", "-9", "9", VERDICT_HUMAN},
        {"1", "-9", "9", VERDICT_INCONCLUSIVE}, {"-1", "-9", "9", VERDICT_INCONCLUSIVE},
        {"1", "-9", "0", VERDICT_SYNTHETIC},    {"-1", "0", "9", VERDICT_HUMAN},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const more[] = {"llr_scale",          "0.001",           "llr_offset",
                                    cases[i].shift,       "human_below_llr", cases[i].below,
                                    "synthetic_from_llr", cases[i].from,     NULL};
        struct detection d = judged_by(more, x, n);
        const struct reason *why = borderline(&d);
        assert_int_equal(d.verdict, cases[i].verdict);
        assert_int_equal(why != NULL, cases[i].verdict == VERDICT_INCONCLUSIVE);
        if (why) {
            assert_int_equal(why->decides, 1);
            assert_true(why->measured == d.llr);
            assert_true(why->limit == (d.llr < 0 ? -9 : 9));
        }
        detection_done(&d);
    }
    /* The more speech, the narrower the gap: half as wide at the mean of the logarithms. */
    for (int closes = 2; closes <= 200; closes *= 10) {
        char end[16];
        snprintf(end, sizeof end, "%d", closes);
        const char *const more[] = {
            "llr_scale",  "0.001", "llr_offset",         "4", "human_below_llr", "-9",
            "gap_from_s", "1",     "synthetic_from_llr", "9", "gap_closes_s",    end,
            NULL};
        struct detection d = judged_by(more, x, n);
        double open = fmax(0, 1 - log(d.speech_s) / log(closes));
        assert_true(d.speech_s > 2 && fabs(d.synthetic_from - 9 * open) < 1e-9 &&
                    fabs(d.human_below + 9 * open) < 1e-9);
        assert_int_equal(d.verdict,
                         d.llr < d.synthetic_from ? VERDICT_INCONCLUSIVE : VERDICT_SYNTHETIC);
        assert_int_equal(d.verdict, closes > 2 ? VERDICT_INCONCLUSIVE : VERDICT_SYNTHETIC);
        detection_done(&d);
    }
    /* Too little speech is the better reason. */
    const char *const near[] = {"llr_scale", "0.001", "human_below_llr", "-9", "synthetic_from_llr",
                                "9",         NULL};
    struct detection d = judged_by(near, x, RATE);
    assert_int_equal(d.verdict, VERDICT_INCONCLUSIVE);
    assert_null(borderline(&d));
    detection_done(&d);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cut_of_the_feed_changes_nothing),
        cmocka_unit_test(windows_cover_the_recording),
        cmocka_unit_test(windows_without_speech_have_no_score),
        cmocka_unit_test(too_little_speech_is_inconclusive),
        cmocka_unit_test(threads_give_the_same_bits),
        cmocka_unit_test(between_the_limits_there_is_no_verdict),
        cmocka_unit_test(an_answer_that_is_no_number_is_an_error),
        cmocka_unit_test(parts_are_disjoint_runs_above_the_threshold),
        cmocka_unit_test(probability_follows_bayes_within_its_bounds),
    };
    return cmocka_run_group_tests_name("detect", tests, open_model, close_model);
}

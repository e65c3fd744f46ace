/* detect/picture: what is drawn stands where it was heard, for a second and for hours, however the
 * feed was cut (A1, C4). */
#include "../../support/cm.h"
#include "../../support/voice.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../support/audio.h"
#include "base/mem.h"
#include "detect/detector.h"
#include "detect/picture.h"

#define RATE 16000

static struct detector *detector;
static struct analysis *analysis;

static int setup(void **state)
{
    (void)state;
    return detector_new(NULL, NN_ISA_AUTO, &detector, NULL) ||
           analysis_new(detector, &analysis, NULL);
}

static int teardown(void **state)
{
    (void)state;
    analysis = analysis_free(analysis);
    detector = detector_free(detector);
    return 0;
}

/* A picture's JSON, decoded again. */
struct drawn {
    size_t columns, band_columns;
    signed char *peaks;   /* (min, max) per column */
    unsigned char *bands; /* PICTURE_BANDS per column */
};

static unsigned char *decode(const json_t *strip, size_t per_column, size_t *ret_columns)
{
    const char *text = json_string_value(json_object_get(strip, "data"));
    size_t columns = (size_t)json_integer_value(json_object_get(strip, "columns"));
    assert_non_null(text);
    assert_int_equal(strlen(text), (columns * per_column + 2) / 3 * 4);
    unsigned char *bytes = malloc(strlen(text) + 1);
    assert_non_null(bytes);
    if (*text)
        assert_true(EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)strlen(text)) > 0);
    *ret_columns = columns;
    return bytes;
}

static struct drawn draw(const struct picture *p, double duration_s)
{
    struct drawn d;
    char *text = picture_text(p, duration_s);
    assert_non_null(text);
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    assert_non_null(json);
    assert_true(json_real_value(json_object_get(json, "duration_s")) == duration_s);
    const json_t *s = json_object_get(json, "spectrogram");
    assert_int_equal(json_integer_value(json_object_get(s, "bands")), 128);
    assert_int_equal(json_integer_value(json_object_get(s, "top_hz")), 8000);
    assert_int_equal(json_integer_value(json_object_get(s, "floor_db")), -80);
    d.peaks = (signed char *)decode(json_object_get(json, "peaks"), 2, &d.columns);
    d.bands = decode(s, PICTURE_BANDS, &d.band_columns);
    assert_true(d.columns <= PICTURE_MAX_COLUMNS && d.band_columns <= PICTURE_MAX_COLUMNS);
    json_decref(json);
    return d;
}

static void drawn_done(struct drawn *d)
{
    free(d->peaks);
    free(d->bands);
}

static struct picture *new_picture(void)
{
    struct picture *p = NULL;
    assert_int_equal(picture_new(&p, NULL), ERR_OK);
    return p;
}

/* The analysis of x, drawn. */
static struct drawn analyse(const float *x, size_t n, size_t piece)
{
    struct picture *p = new_picture();
    struct detection detection;
    analysis_draw(analysis, p);
    for (size_t i = 0; i < n; i += piece)
        assert_int_equal(analysis_feed(analysis, x + i, n - i < piece ? n - i : piece, NULL),
                         ERR_OK);
    assert_int_equal(analysis_finish(analysis, &detection, NULL), ERR_OK);
    struct drawn d = draw(p, detection.duration_s);
    detection_done(&detection);
    picture_free(p);
    return d;
}

static float *sine(size_t n, double hz, double amplitude)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++)
        x[i] = (float)(amplitude * sin(2 * M_PI * hz * (double)i / RATE));
    return x;
}

static void a_sine_stands_in_its_band(void **state)
{
    (void)state;
    size_t n = 5 * RATE;
    float *x = sine(n, 2031, 0.5); /* amid band 32 */
    struct drawn d = analyse(x, n, 4096);
    assert_int_equal(d.columns, 500);
    assert_in_range(d.band_columns, 495, 500);
    for (size_t c = 0; c < d.band_columns; c++) {
        const unsigned char *cell = d.bands + c * PICTURE_BANDS;
        size_t best = 0;
        for (size_t b = 0; b < PICTURE_BANDS; b++)
            best = cell[b] > cell[best] ? b : best;
        assert_in_range(best, 31, 32); /* a band's edge may be a bin away */
        assert_true(cell[best] >= 250);
        assert_true(cell[100] < 40);
    }
    for (size_t c = 0; c < d.columns; c++) {
        assert_in_range(-d.peaks[2 * c], 63, 64); /* 63.5 */
        assert_in_range(d.peaks[2 * c + 1], 63, 64);
    }
    drawn_done(&d);
    free(x);
}

static void silence_is_nothing(void **state)
{
    (void)state;
    size_t n = 3 * RATE;
    float *x = calloc(n, sizeof *x);
    struct drawn d = analyse(x, n, n);
    assert_int_equal(d.columns, 300);
    for (size_t i = 0; i < d.columns * 2; i++)
        assert_int_equal(d.peaks[i], 0);
    for (size_t i = 0; i < d.band_columns * PICTURE_BANDS; i++)
        assert_int_equal(d.bands[i], 0);
    drawn_done(&d);
    /* Also beside something that is hardly louder. */
    for (size_t i = 0; i < RATE; i++)
        x[i] = (float)(1e-5 * sin((double)i));
    d = analyse(x, n, n);
    unsigned char loudest = 0;
    for (size_t i = 0; i < 90 * PICTURE_BANDS; i++)
        loudest = d.bands[i] > loudest ? d.bands[i] : loudest;
    assert_int_equal(loudest, 255);
    for (size_t i = 110 * PICTURE_BANDS; i < d.band_columns * PICTURE_BANDS; i++)
        assert_int_equal(d.bands[i], 0);
    drawn_done(&d);
    free(x);
}

static void decibels_are_relative_to_the_loudest(void **state)
{
    (void)state;
    size_t n = 2 * RATE;
    float *x = sine(n, 1031, 0.8);
    for (size_t i = RATE; i < n; i++)
        x[i] *= 0.01f; /* -40 dB: half way down to the floor */
    struct drawn d = analyse(x, n, n);
    unsigned char loud = 0, soft = 0;
    for (size_t b = 0; b < PICTURE_BANDS; b++) {
        unsigned char early = d.bands[50 * PICTURE_BANDS + b];
        unsigned char late = d.bands[150 * PICTURE_BANDS + b];
        loud = early > loud ? early : loud;
        soft = late > soft ? late : soft;
    }
    assert_in_range(loud, 253, 255);
    assert_in_range(soft, 126, 130);
    drawn_done(&d);
    free(x);
}

static void peaks_are_the_extremes_of_their_column(void **state)
{
    (void)state;
    size_t n = 100 * 160;
    float *x = calloc(n, sizeof *x);
    for (size_t c = 0; c < 100; c++) {
        x[c * 160 + c] = (float)c / 127;
        x[c * 160 + 159 - c] = -(float)(c / 2) / 127;
    }
    x[7 * 160] = 3;
    x[8 * 160] = -3;
    struct drawn d = analyse(x, n, 1000);
    assert_int_equal(d.columns, 100);
    for (size_t c = 0; c < 100; c++) {
        assert_int_equal(d.peaks[2 * c + 1], c == 7 ? 127 : c);
        assert_int_equal(d.peaks[2 * c], c == 8 ? -127 : -(int)(c / 2));
    }
    drawn_done(&d);
    free(x);
}

/* Three hours, fed as the front end would: a click and a loud frame at known times. */
static void hours_keep_the_limits_and_the_time_axis(void **state)
{
    (void)state;
    static const double at_s[] = {0.0, 1234.5, 5400.0, 10799.9};
    static float quiet[RATE], frames[100 * PICTURE_BANDS], power[100];
    size_t seconds = 3 * 3600;
    struct picture *p = new_picture();
    for (size_t i = 0; i < ARRAY_LEN(power); i++)
        power[i] = 1;
    for (size_t s = 0; s < seconds; s++) {
        for (size_t i = 0; i < ARRAY_LEN(frames); i++)
            frames[i] = -20;
        memset(quiet, 0, sizeof quiet);
        for (size_t k = 0; k < ARRAY_LEN(at_s); k++)
            if ((size_t)at_s[k] == s) {
                size_t frame = (size_t)((at_s[k] - (double)s) * 100 + 0.5);
                quiet[frame * 160] = 1;
                frames[frame * PICTURE_BANDS + 5] = 0;
            }
        picture_add_samples(p, quiet, RATE);
        picture_add_frames(p, frames, power, 100, PICTURE_BANDS);
    }
    struct drawn d = draw(p, (double)seconds);
    assert_in_range(d.columns, 1000, PICTURE_MAX_COLUMNS);
    assert_in_range(d.band_columns, 1000, PICTURE_MAX_COLUMNS);
    size_t clicks = 0, spots = 0;
    for (size_t c = 0; c < d.columns; c++)
        clicks += d.peaks[2 * c + 1] == 127;
    for (size_t c = 0; c < d.band_columns; c++)
        spots += d.bands[c * PICTURE_BANDS + 5] == 255;
    assert_int_equal(clicks, ARRAY_LEN(at_s));
    assert_int_equal(spots, ARRAY_LEN(at_s));
    for (size_t k = 0; k < ARRAY_LEN(at_s); k++) {
        double share = at_s[k] / (double)seconds;
        long column = (long)(share * (double)d.columns), found = 0;
        for (long c = column - 1; c <= column + 1; c++)
            found += c >= 0 && c < (long)d.columns && d.peaks[2 * c + 1] == 127 &&
                     d.bands[c * PICTURE_BANDS + 5] == 255;
        assert_int_equal(found, 1);
    }
    drawn_done(&d);
    picture_free(p);
}

static void the_cut_of_the_feed_changes_nothing(void **state)
{
    (void)state;
    /* Columns are joined at 20 s and at 40; once is enough under a sanitizer, where this is slow.
     */
    static const size_t lengths[] = {1, 399, 400, RATE, 200001, (AUDIO_SANITIZED ? 21 : 41) * RATE};
    static const size_t pieces[] = {1, 159, 160, 4096};
    size_t most = lengths[ARRAY_LEN(lengths) - 1];
    float *x = sine(most, 440, 0.3);
    unsigned seed = 3;
    for (size_t i = 0; i < most; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] += (float)(0.2 * ((double)(seed >> 16) / 65536 - 0.5));
    }
    for (size_t l = 0; l < ARRAY_LEN(lengths); l++) {
        struct drawn whole = analyse(x, lengths[l], lengths[l]);
        size_t cells = (lengths[l] + 159) / 160;
        assert_int_equal(whole.columns, cells < 2000 ? cells : 2000);
        for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
            if (pieces[i] < 100 && lengths[l] > RATE)
                continue; /* slow, and nothing new */
            struct drawn cut = analyse(x, lengths[l], pieces[i]);
            assert_int_equal(cut.columns, whole.columns);
            assert_int_equal(cut.band_columns, whole.band_columns);
            assert_memory_equal(cut.peaks, whole.peaks, 2 * whole.columns);
            if (whole.band_columns)
                assert_memory_equal(cut.bands, whole.bands, PICTURE_BANDS * whole.band_columns);
            drawn_done(&cut);
        }
        drawn_done(&whole);
    }
    free(x);
}

static void nothing_heard_is_an_empty_picture(void **state)
{
    (void)state;
    struct picture *p = new_picture();
    struct drawn d = draw(p, 0);
    assert_int_equal(d.columns, 0);
    assert_int_equal(d.band_columns, 0);
    drawn_done(&d);
    static float x[RATE];
    picture_add_samples(p, x, RATE);
    picture_reset(p);
    d = draw(p, 0);
    assert_int_equal(d.columns, 0);
    drawn_done(&d);
    picture_free(p);
}

/* The picture neither changes the answer nor outlives the recording for which it was wanted. */
static void drawing_changes_no_bit_and_ends_with_the_recording(void **state)
{
    (void)state;
    size_t n = 9 * RATE + 77;
    float *x = sine(n, 150, 0.4);
    struct detection plain, with, after;
    struct picture *p = new_picture();
    assert_int_equal(analysis_feed(analysis, x, n, NULL), ERR_OK);
    assert_int_equal(analysis_finish(analysis, &plain, NULL), ERR_OK);
    analysis_draw(analysis, p);
    assert_int_equal(analysis_feed(analysis, x, n, NULL), ERR_OK);
    assert_int_equal(analysis_finish(analysis, &with, NULL), ERR_OK);
    struct drawn one = draw(p, with.duration_s);
    assert_int_equal(analysis_feed(analysis, x, n, NULL), ERR_OK);
    assert_int_equal(analysis_finish(analysis, &after, NULL), ERR_OK);
    struct drawn two = draw(p, with.duration_s);
    assert_int_equal(one.columns, two.columns);
    assert_int_equal(plain.n_timeline, with.n_timeline);
    for (size_t i = 0; i < plain.n_timeline; i++)
        assert_memory_equal(&plain.timeline[i].llr, &with.timeline[i].llr, sizeof(double));
    drawn_done(&one);
    drawn_done(&two);
    detection_done(&plain);
    detection_done(&with);
    detection_done(&after);
    picture_free(p);
    free(x);
}

#if !AUDIO_SANITIZED /* which slows one down more than the other */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void drawing_costs_next_to_nothing(void **state)
{
    (void)state;
    size_t n = 60 * RATE, frames = 60 * 100;
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) /* what holds no speech is not judged */
        x[i] = (float)voice((double)i / RATE);
    float *logband = malloc(frames * PICTURE_BANDS * sizeof *logband);
    float *power = malloc(frames * sizeof *power);
    for (size_t f = 0; f < frames; f++)
        power[f] = 1;
    for (size_t i = 0; i < frames * PICTURE_BANDS; i++)
        logband[i] = (float)(i % 77);
    struct detection detection;
    double t0 = cpu_seconds();
    assert_int_equal(analysis_feed(analysis, x, n, NULL), ERR_OK);
    assert_int_equal(analysis_finish(analysis, &detection, NULL), ERR_OK);
    double analysing = cpu_seconds() - t0;
    struct picture *p = new_picture();
    double drawing = INFINITY; /* the best of three: the machine may be busy */
    for (int attempt = 0; attempt < 3; attempt++) {
        picture_reset(p);
        t0 = cpu_seconds();
        for (size_t at = 0; at < n; at += 16000)
            picture_add_samples(p, x + at, 16000);
        picture_add_frames(p, logband, power, frames, PICTURE_BANDS);
        drawing = fmin(drawing, cpu_seconds() - t0);
    }
    t0 = cpu_seconds();
    char *text = picture_text(p, 60);
    double encoding = cpu_seconds() - t0;
    print_message("# a minute: analysed in %.1f ms, drawn in %.2f ms (%.2f %%), JSON %.2f ms\n",
                  analysing * 1e3, drawing * 1e3, 100 * drawing / analysing, encoding * 1e3);
    assert_true(drawing < 0.02 * analysing);
    free(text);
    picture_free(p);
    detection_done(&detection);
    free(logband);
    free(power);
    free(x);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sine_stands_in_its_band),
        cmocka_unit_test(silence_is_nothing),
        cmocka_unit_test(decibels_are_relative_to_the_loudest),
        cmocka_unit_test(peaks_are_the_extremes_of_their_column),
        cmocka_unit_test(hours_keep_the_limits_and_the_time_axis),
        cmocka_unit_test(the_cut_of_the_feed_changes_nothing),
        cmocka_unit_test(nothing_heard_is_an_empty_picture),
        cmocka_unit_test(drawing_changes_no_bit_and_ends_with_the_recording),
#if !AUDIO_SANITIZED
        cmocka_unit_test(drawing_costs_next_to_nothing),
#endif
    };
    return cmocka_run_group_tests_name("detect_picture", tests, setup, teardown);
}

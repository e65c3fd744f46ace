/* detect/music, detect/quality and what the detector makes of them: each reason comes where it
 * should, stays away where it should not, and the cut of the stream changes no bit of it. All
 * sounds are made here. */
#include "../../support/audio.h"
#include "../../support/cm.h"
#include "../../support/voice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "detect/detector.h"
#include "detect/gate.h"
#include "detect/quality.h"

#define RATE 16000

static struct detector *detector;
static struct analysis *analysis;
static unsigned seed;

static int open_model(void **state)
{
    (void)state;
    return detector_new(NULL, NN_ISA_AUTO, &detector, NULL) ||
           analysis_new(detector, &analysis, NULL);
}

static int close_model(void **state)
{
    (void)state;
    analysis = analysis_free(analysis);
    detector = detector_free(detector);
    return 0;
}

static double noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (double)(seed >> 8) / 8388608.0 - 1.0;
}

typedef double generator(double t);

/* Four chords of three notes with overtones, plucked every half second. */
static double chords(double t)
{
    static const double root[] = {220.0, 174.6, 261.6, 196.0};
    static const double step[] = {1, 1.26, 1.498};
    double at = fmod(t, 0.5), sum = 0;
    for (int n = 0; n < 3; n++)
        for (int h = 1; h <= 8; h++)
            sum += sin(2 * M_PI * root[(int)(t / 2) % 4] * step[n] * h * t) / h;
    return 0.12 * sum * (0.3 + 0.7 * exp(-6 * at)) + 2e-4 * noise();
}

static double arpeggio(double t)
{
    static const double note[] = {1, 1.26, 1.498, 2, 1.498, 1.26};
    double at = fmod(t, 0.2), sum = 0;
    for (int h = 1; h <= 6; h++)
        sum += sin(2 * M_PI * 330 * note[(int)(t / 0.2) % 6] * h * t) / h;
    return 0.25 * sum * (0.15 + 0.85 * exp(-8 * at)) + 2e-4 * noise();
}

static double speech_over_quiet_music(double t)
{
    return voice(t) + 0.02 * chords(t);
}

static double noisy_speech(double t)
{
    return voice(t) + 0.06 * noise();
}

static double very_noisy_speech(double t)
{
    return voice(t) + 0.26 * noise();
}

static double clipped_speech(double t)
{
    return fmax(-0.4, fmin(0.4, 40 * voice(t)));
}

static double slightly_clipped_speech(double t)
{
    return fmax(-0.4, fmin(0.4, 1.5 * voice(t)));
}

static double white(double t)
{
    (void)t;
    return 0.3 * noise();
}

static double pink(double t)
{
    static double a, b, c;
    (void)t;
    double w = noise();
    a = 0.99765 * a + w * 0.099046;
    b = 0.963 * b + w * 0.2965164;
    c = 0.57 * c + w * 1.0526913;
    return 0.05 * (a + b + c + 0.1848 * w);
}

static double silence(double t)
{
    (void)t;
    return 0;
}

static double tone(double t)
{
    return 0.5 * sin(2 * M_PI * 1000 * t);
}

static double hum(double t)
{
    return 0.3 * sin(2 * M_PI * 50 * t) + 0.2 * sin(2 * M_PI * 150 * t) + 1e-3 * noise();
}

/* 100 ms of each digit, 60 ms between: their level moves as syllables do. */
static double dtmf(double t)
{
    static const double low[] = {697, 770, 852, 941}, high[] = {1209, 1336, 1477, 1633};
    int digit = (int)(t / 0.16);
    if (fmod(t, 0.16) > 0.1)
        return 1e-4 * noise();
    return 0.3 * (sin(2 * M_PI * low[digit % 4] * t) + sin(2 * M_PI * high[digit * 7 / 3 % 4] * t));
}

static double ringing(double t)
{
    if (fmod(t, 0.5) > 0.25)
        return 1e-4 * noise();
    return 0.4 * sin(2 * M_PI * 425 * t);
}

static double clicks(double t)
{
    return fmod(t, 0.5) < 0.002 ? 0.8 * noise() : 1e-4 * noise();
}

/* Ten crackles a second, at random; noise that swells four times a second; a siren. */
static double crackle(double t)
{
    static double tail;
    (void)t;
    double now = noise() > 0.99875 ? 0.8 : 0;
    tail = 0.8 * tail + now * noise();
    return tail + 1e-3 * noise();
}

static double swelling(double t)
{
    return 0.2 * noise() * (0.55 + 0.45 * sin(2 * M_PI * 4 * t));
}

/* Noise that goes from one random level to the next six times a second, as surf, wind and applause
 * do; and bursts of it. */
static double surf(double t)
{
    static double from, to, at;
    if (t == 0)
        from = to = at = 0;
    if (t >= at) {
        from = to;
        to = 2.2 * noise();
        at += 1 / 6.0;
    }
    return 0.05 * noise() * exp(to + (from - to) * 6 * (at - t));
}

static double bursts(double t)
{
    static double next, length, loud;
    if (t == 0)
        next = 0;
    if (t >= next) {
        length = 0.12 + 0.1 * noise();
        loud = 0.3 + 0.25 * noise();
        next = t + 0.35 + 0.25 * noise();
    }
    double left = next - t - 0.1;
    return (left > 0 && left < length ? loud * noise() * left / length : 0) + 1e-3 * noise();
}

static double siren(double t)
{
    return 0.4 * sin(2 * M_PI * 800 * t - 150 * cos(2 * M_PI * 2 * t)) + 1e-4 * noise();
}

static double buzz(double t)
{
    double sum = 0;
    for (int h = 1; h <= 20; h++)
        sum += sin(2 * M_PI * 110 * h * t) / h;
    return 0.3 * fmax(0, sin(2 * M_PI * 4 * t)) * sum + 1e-4 * noise();
}

static float *make(generator *sound, size_t n)
{
    float *x = malloc(n * sizeof *x);
    seed = 5;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)sound((double)i / RATE);
    return x;
}

static struct detection analyse(const float *x, size_t n, size_t piece)
{
    struct detection d;
    for (size_t i = 0; i < n; i += piece)
        assert_int_equal(analysis_feed(analysis, x + i, n - i < piece ? n - i : piece, NULL),
                         ERR_OK);
    assert_int_equal(analysis_finish(analysis, &d, NULL), ERR_OK);
    return d;
}

static struct detection hear(generator *sound, double seconds)
{
    size_t n = (size_t)(seconds * RATE);
    float *x = make(sound, n);
    struct detection d = analyse(x, n, n);
    free(x);
    return d;
}

static const struct reason *find(const struct detection *d, const char *slug)
{
    for (size_t i = 0; i < d->n_reasons; i++)
        if (strcmp(reason_slug(d->reasons[i].code), slug) == 0)
            return &d->reasons[i];
    return NULL;
}

/* What was found instead: a failed test should say it. */
static void tell(const struct detection *d)
{
    char text[160];
    for (size_t i = 0; i < d->n_reasons; i++) {
        reason_sentence(&d->reasons[i], text, sizeof text);
        print_message("# %s: %s\n", reason_slug(d->reasons[i].code), text);
    }
    print_message("# %s, %.2f s of speech\n", verdict_name(d->verdict), d->speech_s);
}

static void assert_reason(generator *sound, double seconds, const char *slug, int decides)
{
    struct detection d = hear(sound, seconds);
    const struct reason *r = find(&d, slug);
    char text[160];
    if (!r || r->decides != decides)
        tell(&d);
    assert_non_null(r);
    assert_int_equal(r->decides, decides);
    assert_int_equal(d.verdict == VERDICT_INCONCLUSIVE, decides || find(&d, "borderline"));
    reason_sentence(r, text, sizeof text);
    assert_true(strlen(text) > 20 && strlen(text) < sizeof text - 1);
    detection_done(&d);
}

static void assert_verdict_without(generator *sound, double seconds, const char *slug)
{
    struct detection d = hear(sound, seconds);
    assert_int_not_equal(d.verdict, VERDICT_INCONCLUSIVE);
    assert_null(find(&d, slug));
    detection_done(&d);
}

static void speech_has_a_verdict_and_nothing_to_remark(void **state)
{
    (void)state;
    struct detection d = hear(voice, 12);
    assert_int_not_equal(d.verdict, VERDICT_INCONCLUSIVE);
    assert_null(find(&d, "music"));
    assert_null(find(&d, "low_snr"));
    assert_null(find(&d, "clipped"));
    assert_null(find(&d, "narrow_band"));
    detection_done(&d);
}

static void music_has_no_verdict(void **state)
{
    (void)state;
    assert_reason(chords, 12, "music", 1);
    assert_reason(chords, 5, "music", 1);
    assert_reason(arpeggio, 20, "music", 1);
    assert_verdict_without(speech_over_quiet_music, 12, "music");
}

static void noise_is_remarked_and_then_decides(void **state)
{
    (void)state;
    assert_reason(noisy_speech, 8, "low_snr", 0);
    struct detection d = hear(very_noisy_speech, 8); /* which of the two says so is all the same */
    assert_int_equal(d.verdict, VERDICT_INCONCLUSIVE);
    assert_true(find(&d, "low_snr") || find(&d, "music"));
    detection_done(&d);
}

static void clipping_is_remarked_and_then_decides(void **state)
{
    (void)state;
    assert_reason(slightly_clipped_speech, 8, "clipped", 0);
    assert_reason(clipped_speech, 8, "clipped", 1);
}

/* A voice through a steep low-pass at 3.3 kHz: 14 times the same second-order section. */
static void a_telephone_band_is_remarked(void **state)
{
    (void)state;
    size_t n = 8 * RATE;
    float *x = make(voice, n);
    double w = tan(M_PI * 3300 / RATE), k = 1 / (1 + M_SQRT2 * w + w * w);
    for (int pass = 0; pass < 14; pass++) {
        double x1 = 0, x2 = 0, y1 = 0, y2 = 0;
        for (size_t i = 0; i < n; i++) {
            double in = (double)x[i];
            double y = k * (w * w * (in + 2 * x1 + x2) - 2 * (w * w - 1) * y1 -
                            (1 - M_SQRT2 * w + w * w) * y2);
            x2 = x1, x1 = in, y2 = y1, y1 = y;
            x[i] = (float)y;
        }
    }
    struct detection d = analyse(x, n, n);
    const struct reason *r = find(&d, "narrow_band");
    if (!r)
        tell(&d);
    assert_non_null(r);
    assert_int_equal(r->decides, 0);
    assert_true(r->measured > 2400 && r->measured < DETECT_NARROW_HZ);
    detection_done(&d);
    free(x);
}

static void no_verdict_on_what_is_no_speech(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        generator *sound;
    } sounds[] = {{"white noise", white}, {"pink noise", pink},
                  {"silence", silence},   {"tone", tone},
                  {"hum", hum},           {"DTMF", dtmf},
                  {"ringing", ringing},   {"clicks", clicks},
                  {"crackle", crackle},   {"swelling noise", swelling},
                  {"surf", surf},         {"bursts", bursts},
                  {"siren", siren},       {"buzz", buzz},
                  {"chords", chords}};
    const int longest =
        AUDIO_SANITIZED ? 6 : 18; /* seconds; the code is the same, and slow there */
    for (size_t i = 0; i < ARRAY_LEN(sounds); i++)
        for (int seconds = 2; seconds <= longest; seconds += seconds < 4 ? 1 : seconds) {
            struct detection d = hear(sounds[i].sound, seconds);
            if (d.verdict != VERDICT_INCONCLUSIVE)
                print_error("%s of %d s: %s\n", sounds[i].name, seconds, verdict_name(d.verdict));
            assert_int_equal(d.verdict, VERDICT_INCONCLUSIVE);
            detection_done(&d);
        }
}

static void the_cut_changes_no_reason(void **state)
{
    (void)state;
    static generator *const sounds[] = {chords, clipped_speech, very_noisy_speech};
    static const size_t pieces[] = {1, 37, 16384};
    size_t n = 5 * RATE + 77;
    for (size_t s = 0; s < ARRAY_LEN(sounds); s++) {
        float *x = make(sounds[s], n);
        struct detection whole = analyse(x, n, n);
        assert_true(whole.n_reasons > 0);
        for (size_t p = 0; p < ARRAY_LEN(pieces); p++) {
            struct detection cut = analyse(x, n, pieces[p]);
            assert_int_equal(cut.n_reasons, whole.n_reasons);
            for (size_t i = 0; i < cut.n_reasons; i++) {
                assert_int_equal(cut.reasons[i].code, whole.reasons[i].code);
                assert_memory_equal(&cut.reasons[i].measured, &whole.reasons[i].measured,
                                    sizeof(double));
            }
            detection_done(&cut);
        }
        detection_done(&whole);
        free(x);
    }
}

static void clipping_is_the_share_near_the_extreme(void **state)
{
    (void)state;
    static float x[10000]; /* an even ramp: of magnitudes 0 .. 1, 29 % are within 3 dB of 1 */
    for (size_t i = 0; i < ARRAY_LEN(x); i++)
        x[i] = (i % 2 ? 1.0f : -1.0f) * (float)i / (float)ARRAY_LEN(x);
    struct quality q = {0};
    quality_add_samples(&q, x, ARRAY_LEN(x));
    double share = quality_clipped(&q);
    assert_true(share > 0.2 && share < 0.35);
    for (size_t i = 0; i < ARRAY_LEN(x); i++)
        x[i] = fmaxf(-0.25f, fminf(0.25f, x[i])); /* cut off, at whatever level */
    q = (struct quality){0};
    quality_add_samples(&q, x, ARRAY_LEN(x));
    assert_true(quality_clipped(&q) > 0.75);
    static const float zeros[400];
    q = (struct quality){0};
    assert_true(quality_clipped(&q) == 0);
    quality_add_samples(&q, zeros, ARRAY_LEN(zeros));
    assert_true(quality_clipped(&q) == 0);
    assert_true(quality_band_edge(&q) == 0);
}

/* `n` windows of 4 s, one every 2 s. */
static struct detection with_windows(struct detect_window *w, size_t n, double llr)
{
    for (size_t i = 0; i < n; i++)
        w[i] = (struct detect_window){
            .start_s = 2 * (double)i, .end_s = 2 * (double)i + 4, .speech_s = 3, .llr = llr};
    return (struct detection){.timeline = w, .n_timeline = n, .threshold = 0.5};
}

static struct detect_stretch stretch_of(const struct detection *d, enum verdict side)
{
    struct detect_stretch ret;
    assert_int_equal(detection_find_stretch(d, side, &ret, NULL), ERR_OK);
    return ret;
}

static void a_stretch_stands_out_from_the_rest(void **state)
{
    (void)state;
    struct detect_window w[40];
    struct detection d = with_windows(w, ARRAY_LEN(w), -3);
    assert_true(stretch_of(&d, VERDICT_SYNTHETIC).contrast == 0);
    for (size_t i = 10; i < 14; i++)
        w[i].llr = 2;
    struct detect_stretch s = stretch_of(&d, VERDICT_SYNTHETIC);
    assert_true(fabs(s.contrast - 5 * 2) < 1e-9); /* four windows, five above the rest */
    assert_true(s.start_s == 21 && s.end_s == 29);
    assert_true(fabs(s.limit - (2 + 1.6 * log(40))) < 1e-9);
    /* The other way round: human in synthetic. */
    for (size_t i = 0; i < ARRAY_LEN(w); i++)
        w[i].llr = 1 - w[i].llr;
    struct detect_stretch other = stretch_of(&d, VERDICT_HUMAN);
    assert_true(fabs(other.contrast - s.contrast) < 1e-9 && other.start_s == s.start_s);
}

static void a_stretch_is_on_its_side_of_the_threshold(void **state)
{
    (void)state;
    struct detect_window w[40];
    struct detection d = with_windows(w, ARRAY_LEN(w), -9);
    for (size_t i = 10; i < 14; i++)
        w[i].llr = 0.2;
    assert_true(stretch_of(&d, VERDICT_SYNTHETIC).contrast == 0);
    w[11].llr = w[12].llr = 0.6;
    assert_true(fabs(stretch_of(&d, VERDICT_SYNTHETIC).contrast - 9.6 * sqrt(2)) < 1e-9);
}

static void a_stretch_is_half_of_the_windows_with_speech_at_most(void **state)
{
    (void)state;
    struct detect_window w[5];
    struct detection d = with_windows(w, ARRAY_LEN(w), -1);
    w[0].llr = w[1].llr = 4;
    w[4].speech_s = 0.9;
    struct detect_stretch s = stretch_of(&d, VERDICT_SYNTHETIC);
    assert_true(fabs(s.contrast - 2.5 * sqrt(2)) < 1e-9); /* two of four: the median is 1.5 */
    assert_true(s.start_s == 1 && s.end_s == 5);
    w[2].llr = 4; /* three of four are no exception */
    assert_true(stretch_of(&d, VERDICT_SYNTHETIC).contrast == 0);
    w[2].llr = -1;
    d.n_timeline = 4;
    assert_true(stretch_of(&d, VERDICT_SYNTHETIC).end_s == 5);
    w[3].speech_s = 0.9;
    assert_true(stretch_of(&d, VERDICT_SYNTHETIC).end_s == 0); /* too few to speak of parts */
}

static void a_reason_says_where(void **state)
{
    (void)state;
    char text[160];
    struct reason r = {.code = REASON_SYNTHETIC_PARTS,
                       .measured = 12.34,
                       .limit = 10.1,
                       .start_s = 83,
                       .end_s = 3700};
    reason_sentence(&r, text, sizeof text);
    assert_string_equal(text, "1:23 to 1:01:40 stands out: it sounds synthetic (contrast 12.3; "
                              "remark from 10.1)");
    struct detection d = {.n_reasons = 2, .reasons = {r, {.code = REASON_NARROW_BAND}}};
    json_t *json = detection_json(&d);
    json_t *reasons = json_object_get(json, "reasons");
    json_t *first = json_array_get(reasons, 0), *second = json_array_get(reasons, 1);
    assert_true(json_real_value(json_object_get(first, "start_s")) == 83);
    assert_true(json_real_value(json_object_get(first, "end_s")) == 3700);
    assert_null(json_object_get(second, "start_s"));
    assert_null(json_object_get(second, "end_s"));
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(speech_has_a_verdict_and_nothing_to_remark),
        cmocka_unit_test(music_has_no_verdict),
        cmocka_unit_test(noise_is_remarked_and_then_decides),
        cmocka_unit_test(clipping_is_remarked_and_then_decides),
        cmocka_unit_test(a_telephone_band_is_remarked),
        cmocka_unit_test(no_verdict_on_what_is_no_speech),
        cmocka_unit_test(the_cut_changes_no_reason),
        cmocka_unit_test(clipping_is_the_share_near_the_extreme),
        cmocka_unit_test(a_stretch_stands_out_from_the_rest),
        cmocka_unit_test(a_stretch_is_on_its_side_of_the_threshold),
        cmocka_unit_test(a_stretch_is_half_of_the_windows_with_speech_at_most),
        cmocka_unit_test(a_reason_says_where),
    };
    return cmocka_run_group_tests_name("detect_reasons", tests, open_model, close_model);
}

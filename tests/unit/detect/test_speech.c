/* detect/speech: silence, noise and tones are no speech; syllables are; gain does not matter. The
 * frames come from the real front end. */
#include "../../support/cm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "detect/detector.h"
#include "detect/speech.h"

#define RATE 16000

static struct detector *detector;
static struct nn_session *session;

static int open_model(void **state)
{
    (void)state;
    return detector_new(NULL, NN_ISA_AUTO, &detector, NULL) ||
           nn_session_new(detector_model(detector), &session, NULL);
}

static int close_model(void **state)
{
    (void)state;
    session = nn_session_free(session);
    detector = detector_free(detector);
    return 0;
}

typedef double generator(double t, unsigned *seed);

static double noise(double t, unsigned *seed)
{
    (void)t;
    *seed = *seed * 1664525u + 1013904223u;
    return (double)(*seed >> 8) / 8388608.0 - 1.0;
}

static double silence(double t, unsigned *seed)
{
    (void)t, (void)seed;
    return 0;
}

static double tone(double t, unsigned *seed)
{
    (void)seed;
    return sin(2 * M_PI * 440 * t);
}

static double hum(double t, unsigned *seed)
{
    return 0.5 * sin(2 * M_PI * 50 * t) + 0.3 * sin(2 * M_PI * 150 * t) + 0.02 * noise(t, seed);
}

/* A buzz with formant-like shape, four "syllables" a second. */
static double syllables(double t, unsigned *seed)
{
    double envelope = fmax(0, sin(2 * M_PI * 4 * t)), sum = 0;
    for (int h = 1; h <= 30; h++)
        sum += sin(2 * M_PI * 120 * h * t) / h;
    return envelope * sum * 0.5 + 0.0005 * noise(t, seed);
}

/* A word of half a second between 2 and 3 s, in noise 34 dB below it. */
static double one_word(double t, unsigned *seed)
{
    return (t > 2.25 && t < 2.75 ? syllables(t, seed) : 0) + 0.02 * noise(t, seed);
}

static double speech_share(generator *make, double gain)
{
    enum { SECONDS = 6, FRAMES = SECONDS * 100 - 2 };
    float *x = calloc(SECONDS * RATE, sizeof *x);
    float *logband = calloc((size_t)FRAMES * 128, sizeof *logband);
    float *power = calloc(FRAMES, sizeof *power);
    unsigned seed = 1;
    for (int i = 0; i < SECONDS * RATE; i++)
        x[i] = (float)(gain * make((double)i / RATE, &seed));
    nn_frames(session, x, FRAMES, logband, power);
    struct speech_track track = {0};
    assert_int_equal(speech_add(&track, logband, FRAMES, 128, NULL), ERR_OK);
    assert_int_equal(speech_decide(&track, NULL), ERR_OK);
    double share = (double)speech_frames(&track, 0, FRAMES) / FRAMES;
    assert_int_equal(speech_frames(&track, FRAMES, FRAMES + 50), 0);
    speech_done(&track);
    free(x);
    free(logband);
    free(power);
    return share;
}

static void silence_noise_and_tones_are_no_speech(void **state)
{
    (void)state;
    assert_true(speech_share(silence, 1) == 0);
    assert_true(speech_share(noise, 0.3) == 0);
    assert_true(speech_share(noise, 0.0001) == 0);
    assert_true(speech_share(tone, 0.5) == 0);
    assert_true(speech_share(hum, 0.5) == 0);
}

static void syllables_are_speech_at_any_gain(void **state)
{
    (void)state;
    double loud = speech_share(syllables, 0.5), quiet = speech_share(syllables, 0.01);
    assert_true(loud > 0.5);
    assert_true(fabs(loud - quiet) < 0.1);
}

/* Half a second of six: the noise before and after it does not become speech by its neighbourhood,
 * which would make a verdict on one word. */
static void noise_beside_a_word_is_no_speech(void **state)
{
    (void)state;
    double share = speech_share(one_word, 0.5);
    assert_true(share > 0.05 && share < 0.13);
}

static void an_empty_track_is_fine(void **state)
{
    (void)state;
    struct speech_track track = {0};
    assert_int_equal(speech_decide(&track, NULL), ERR_OK);
    assert_int_equal(speech_frames(&track, 0, 100), 0);
    speech_done(&track);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_noise_and_tones_are_no_speech),
        cmocka_unit_test(syllables_are_speech_at_any_gain),
        cmocka_unit_test(noise_beside_a_word_is_no_speech),
        cmocka_unit_test(an_empty_track_is_fine),
    };
    return cmocka_run_group_tests_name("detect_speech", tests, open_model, close_model);
}

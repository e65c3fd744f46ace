/* Engine = PyTorch: the logit of every window of 200 real clips, on every instruction set (A8, C1).
 * tests/golden/logits.tsv holds PyTorch's values (train/golden.py); the clips are in
 * ../shared/corpus and are not part of the project, so without them this test says that it skips.
 * Under a sanitizer, where the numbers are the same and slow, it is one clip in ten.
 */
#include "../../support/cm.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../support/audio.h"
#include "base/mem.h"
#include "detect/detector.h"

/* In logits, of which 1 is 0.15 of LLR. Measured: 2.8e-2. Both networks agree to 1e-3 and better on
 * the same numbers (layers.safetensors, detail.safetensors); but the second counts rounded steps,
 * and where a step lies on the border between two counts the last bit decides. */
#define TOLERANCE   5e-2
#define MOST_CLIPS  1000
#define MOST_SAMPLE (60 * MEDIA_SAMPLE_RATE)

static struct detector *detectors[NN_ISA_COUNT];
static struct nn_session *sessions[NN_ISA_COUNT];
static struct media_service *media;
static double worst[NN_ISA_COUNT];
static size_t windows_checked;

static size_t decode(const char *path, float *samples, size_t cap)
{
    struct err err = {0};
    struct media_stream *stream = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(media_open(media, fd, NULL, &stream, &err), ERR_OK);
    close(fd);
    size_t held = 0, n = 1;
    while (n > 0 && held < cap) {
        assert_int_equal(media_read(stream, samples + held, cap - held, &n, &err), ERR_OK);
        held += n;
    }
    media_close(stream);
    return held;
}

/* As train/frontend.py: every hop, the last one at the end, a short clip repeated. */
static size_t window_starts(size_t n, size_t window, size_t hop, size_t *starts, size_t cap)
{
    size_t count = 0;
    for (size_t at = 0; at == 0 || at + window <= n; at += hop)
        if (count < cap)
            starts[count++] = at;
    if (n > window && starts[count - 1] + window < n && count < cap)
        starts[count++] = n - window;
    return count;
}

static void check_clip(const char *path, char *logits, float *samples)
{
    const struct nn_shape *shape = nn_model_shape(detector_model(detectors[0]));
    size_t window = nn_window_samples(shape);
    size_t frames = (size_t)shape->window_frames, starts[256];
    size_t n = decode(path, samples, MOST_SAMPLE);
    for (size_t i = n; n > 0 && i < window; i++)
        samples[i] = samples[i - n];
    size_t count = window_starts(n, window, (size_t)shape->hop_frames * (size_t)shape->frame_hop,
                                 starts, ARRAY_LEN(starts));
    _cleanup_free_ float *logband = try_alloc(frames * (size_t)shape->bands, sizeof *logband);
    _cleanup_free_ float *power = try_alloc(frames, sizeof *power);
    char *save, *word = strtok_r(logits, " \n", &save);
    for (size_t w = 0; w < count; w++, word = strtok_r(NULL, " \n", &save)) {
        assert_non_null(word);
        for (int isa = 0; isa < NN_ISA_COUNT; isa++) {
            if (!sessions[isa])
                continue;
            nn_frames(sessions[isa], samples + starts[w], frames, logband, power);
            double gap =
                fabs((double)nn_window(sessions[isa], samples + starts[w], logband, power, NULL) -
                     atof(word));
            if (!(gap <= worst[isa]))
                worst[isa] = gap;
        }
        windows_checked++;
    }
    assert_null(word);
}

static int corpus_is_there(const char *source)
{
    _cleanup_free_ char *corpus = xasprintf("%s/../shared/corpus", source);
    return access(corpus, R_OK) == 0;
}

static void every_window_of_real_clips_is_pytorchs(void **state)
{
    (void)state;
    const char *source = getenv("SONDE_SOURCE");
    if (!source)
        source = ".";
    if (!corpus_is_there(source)) {
        print_message("SKIP: ../shared/corpus is not there\n");
        skip(); /* jumps: nothing may be allocated yet */
    }
    _cleanup_free_ char *golden = xasprintf("%s/tests/golden/logits.tsv", source);
    _cleanup_free_ char *corpus = xasprintf("%s/../shared/corpus", source);
    FILE *f = fopen(golden, "r");
    assert_non_null(f);
    _cleanup_free_ float *samples = try_alloc(MOST_SAMPLE, sizeof *samples);
    _cleanup_free_ char *line = NULL;
    size_t cap = 0, clips = 0, checked = 0;
    while (getline(&line, &cap, f) > 0) {
        if (line[0] == '#')
            continue;
        char *save, *cells[5];
        cells[0] = strtok_r(line, "\t", &save);
        for (int i = 1; i < 5; i++)
            assert_non_null(cells[i] = strtok_r(NULL, "\t", &save));
        _cleanup_free_ char *path = xasprintf("%s/%s", corpus, cells[1]);
        if (!AUDIO_SANITIZED || clips % 10 == 0) {
            check_clip(path, cells[4], samples);
            checked++;
        }
        clips++;
    }
    fclose(f);
    assert_in_range(clips, 200, MOST_CLIPS);
    for (int isa = 0; isa < NN_ISA_COUNT; isa++)
        if (sessions[isa]) {
            print_message("# %s: %zu windows of %zu clips, largest difference %.2g\n",
                          nn_isa_name(isa), windows_checked, checked, worst[isa]);
            assert_true(worst[isa] < TOLERANCE);
        }
}

static int open_all(void **state)
{
    (void)state;
    for (int isa = 0; isa < NN_ISA_COUNT; isa++)
        if (nn_isa_supported(isa) &&
            (detector_new(NULL, isa, &detectors[isa], NULL) ||
             nn_session_new(detector_model(detectors[isa]), &sessions[isa], NULL)))
            return -1;
    return media_service_new(NULL, NULL, &media, NULL);
}

static int close_all(void **state)
{
    (void)state;
    media = media_service_free(media);
    for (int isa = 0; isa < NN_ISA_COUNT; isa++) {
        sessions[isa] = nn_session_free(sessions[isa]);
        detectors[isa] = detector_free(detectors[isa]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_window_of_real_clips_is_pytorchs),
    };
    return cmocka_run_group_tests_name("detect_golden", tests, open_all, close_all);
}

/* nn: statistics of a window. Against the definition in double (golden file of train/golden.py);
 * what must not matter; and the network over them, as a part of a whole model. */
#include "../../support/cm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "nn/internal.h"
#include "../../../train/numbers.h"
#include "tiny.h"

#define WINDOW NUMBERS_WINDOW

static float samples[WINDOW + 16], out[NN_ISA_COUNT][NN_DETAIL_COUNT + 16];

/* The window of train/golden.py: two tones and noise, swelling and fading. */
static void golden_samples(float *x)
{
    uint32_t s = 1;
    for (size_t i = 0; i < WINDOW; i++) {
        s = s * 1664525u + 1013904223u;
        double noise = (s >> 8) / 8388608.0 - 1, t = (double)i;
        double swell = sin(2 * M_PI * 1.3 * t / 16000);
        x[i] = (float)(0.3 * sin(2 * M_PI * 220 * t / 16000) +
                       0.2 * sin(2 * M_PI * (500 + t * 0.05) * t / 16000) + 0.1 * noise) *
               (float)(0.02 + swell * swell);
    }
}

static void statistics(enum nn_isa isa, const float *x, float *ret)
{
    assert_int_equal(numbers_of(isa, x, ret), 0);
}

static void numbers_are_the_definitions(void **state)
{
    (void)state;
    const char *root = getenv("SONDE_SOURCE");
    _cleanup_free_ char *path = xasprintf("%s/tests/golden/detail.safetensors", root ? root : ".");
    _cleanup_free_ uint8_t *bytes = xalloc(1 << 16);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t len = fread(bytes, 1, 1 << 16, f);
    fclose(f);
    struct st_file *file = NULL;
    struct err err = {0};
    assert_int_equal(st_parse(bytes, len, &file, &err), ERR_OK);
    const struct st_tensor *t = st_find(file, "detail");
    assert_non_null(t);
    assert_int_equal(t->count, NN_DETAIL_COUNT);
    golden_samples(samples);
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa))
            continue;
        statistics(isa, samples, out[isa]);
        for (int i = 0; i < NN_DETAIL_COUNT; i++) {
            float right;
            memcpy(&right, t->data + 4 * i, sizeof right);
            if (!(fabsf(out[isa][i] - right) <= 1e-4f * (1 + fabsf(right))))
                fail_msg("%s: number %d is %g, not %g", nn_isa_name(isa), i, (double)out[isa][i],
                         (double)right);
        }
    }
    st_free(file);
}

static void level_and_place_in_memory_do_not_matter(void **state)
{
    (void)state;
    static float moved[WINDOW + 16], again[NN_DETAIL_COUNT + 16];
    golden_samples(samples);
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa))
            continue;
        statistics(isa, samples, out[isa]);
        memcpy(moved + 3, samples, WINDOW * sizeof(float));
        statistics(isa, moved + 3, again);
        assert_memory_equal(again, out[isa], NN_DETAIL_COUNT * sizeof(float));
        for (int i = 0; i < WINDOW; i++)
            moved[i] = samples[i] * 0.0625f;
        statistics(isa, moved, again);
        for (int i = 0; i < NN_DETAIL_COUNT; i++) {
            /* The floor of 1e-12 is the same at any level: 24 dB down the quiet frames see it. */
            float most = i < NN_DETAIL_COUNT - NN_DETAIL_QUIET ? 1e-3f : 1e-2f;
            assert_true(fabsf(again[i] - out[isa][i]) <= most * (1 + fabsf(again[i])));
        }
    }
}

static void silence_and_noise_have_finite_numbers(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int kind = 0; kind < 4; kind++) {
        for (int i = 0; i < WINDOW; i++) {
            float noise = tiny_random(&seed);
            samples[i] = kind == 0   ? 0
                         : kind == 1 ? (i / 100 % 2 ? 1.0f : -1.0f) /* overdriven */
                         : kind == 2 ? 1e-20f * noise
                                     : (i == 30000 ? 1.0f : 0); /* one click */
        }
        for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
            if (!nn_isa_supported(isa))
                continue;
            statistics(isa, samples, out[isa]);
            for (int i = 0; i < NN_DETAIL_COUNT; i++)
                assert_true(isfinite(out[isa][i]));
        }
    }
}

/* ---- the network over them ---- */

static enum err_code open_bytes(const struct tiny *tiny, enum nn_isa isa, struct nn_model **ret,
                                struct err *err)
{
    size_t len;
    _cleanup_free_ uint8_t *bytes = tiny_bytes(tiny, &len);
    return nn_model_open_mem(bytes, len, isa, ret, err);
}

struct seen {
    float numbers[NN_DETAIL_COUNT];
    int layers;
};

static void look(void *ctx, const char *layer, const float *data, int h, int w, int c,
                 uint64_t macs, uint64_t ns)
{
    struct seen *seen = ctx;
    (void)h, (void)w, (void)c, (void)macs, (void)ns;
    seen->layers += strncmp(layer, "detail", 6) == 0;
    if (strcmp(layer, "detail") == 0)
        memcpy(seen->numbers, data, sizeof seen->numbers);
}

static float logit_of(const struct tiny *tiny, enum nn_isa isa, struct seen *seen, float *gate)
{
    enum { N = 112 };
    static float logband[N * NN_BANDS], power[N];
    struct nn_model *model = NULL;
    struct nn_session *session = NULL;
    struct err err = {0};
    if (open_bytes(tiny, isa, &model, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_int_equal(nn_session_new(model, &session, &err), ERR_OK);
    nn_session_tap(session, look, seen);
    nn_frames(session, samples, N, logband, power);
    float logit = nn_window(session, samples, logband, power, gate);
    nn_session_free(session);
    nn_model_free(model);
    return logit;
}

/* The nearest 16-bit float with 11 digits, and evenly spaced ones below 2^-14. */
static double half_of(double x)
{
    int exponent;
    frexp(x, &exponent);
    const double step = ldexp(1, (exponent < -13 ? -13 : exponent) - 11);
    return rint(x / step) * step;
}

/* y[n] of a layer of `tiny`, in double; `halves`: with weights of 16 bits. */
static void layer(struct tiny *tiny, const char *name, const double *x, int k, int n, int relu,
                  int halves, double *y)
{
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const float *w = tiny_find(tiny, weight)->values, *b = tiny_find(tiny, bias)->values;
    for (int i = 0; i < n; i++) {
        double sum = b[i];
        for (int j = 0; j < k; j++)
            sum += (halves ? half_of((double)w[i * k + j]) : (double)w[i * k + j]) * x[j];
        y[i] = relu && sum < 0 ? 0 : sum;
    }
}

static void its_logit_is_added(void **state)
{
    (void)state;
    golden_samples(samples);
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa))
            continue;
        struct tiny *tiny = tiny_new(112, 16, "32:1,48:1", 48, 64);
        struct seen seen = {0};
        float without = logit_of(tiny, isa, &seen, NULL);
        assert_int_equal(seen.layers, 0);
        tiny_add_detail(tiny);
        float with = logit_of(tiny, isa, &seen, NULL);
        assert_int_equal(seen.layers, 4);
        double x[NN_DETAIL_COUNT], a[32], b[16], y;
        int cut = 0;
        for (int i = 0; i < NN_DETAIL_COUNT; i++) {
            x[i] = seen.numbers[i];
            cut += fabs(x[i]) >= (double)NN_DETAIL_MOST;
            assert_true(fabs(x[i]) <= (double)NN_DETAIL_MOST);
        }
        assert_true(cut > 0 && cut < NN_DETAIL_COUNT / 2); /* the tiny model has both */
        layer(tiny, "detail.fc1", x, NN_DETAIL_COUNT, 32, 1, isa == NN_ISA_AVX512VNNI, a);
        layer(tiny, "detail.fc2", a, 32, 16, 1, 0, b);
        layer(tiny, "detail.fc3", b, 16, 1, 0, 0, &y);
        assert_true(fabs(y) > 0.01);
        assert_true(fabs(with - without - y) < 1e-4);
        tiny_free(tiny);
    }
}

static void a_gate_looks_at_the_same_numbers(void **state)
{
    (void)state;
    golden_samples(samples);
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa))
            continue;
        struct tiny *tiny = tiny_new(112, 16, "32:1,48:1", 48, 64);
        struct seen seen = {0};
        float gate = 1, other;
        tiny_add_detail(tiny);
        float without = logit_of(tiny, isa, &seen, &gate);
        assert_true(gate == 0); /* the model has none */
        tiny_add_gate(tiny);
        assert_true(logit_of(tiny, isa, &seen, &gate) == without);
        const float *w = tiny_find(tiny, "gate.weight")->values;
        double sum = 0;
        for (int i = 0; i < NN_DETAIL_COUNT; i++)
            sum += (double)w[i] * (double)seen.numbers[i];
        assert_true(fabs(sum) > 0.1);
        assert_true(fabs(sum - (double)gate) < 1e-5 * fabs(sum));
        tiny_find(tiny, "gate.weight")->values[7] += 1;
        logit_of(tiny, isa, &seen, &other);
        assert_true(fabsf(other - gate - seen.numbers[7]) < 1e-3f);
        tiny_free(tiny);
    }
}

static void expect_refused(struct tiny *tiny, const char *why)
{
    struct nn_model *model = NULL;
    struct err err = {0};
    assert_int_equal(open_bytes(tiny, NN_ISA_SCALAR, &model, &err), ERR_MODEL);
    if (!strstr(err.text, why))
        fail_msg("'%s' does not say '%s'", err.text, why);
    tiny_free(tiny);
}

static struct tiny *with_detail(int window_frames)
{
    struct tiny *tiny = tiny_new(window_frames, 16, "32:1", 48, 64);
    tiny_add_detail(tiny);
    return tiny;
}

static void models_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct tiny *tiny = with_detail(112);
    tiny_set_meta(tiny, "detail_hidden", "32");
    expect_refused(tiny, "two hidden layers");
    tiny = with_detail(112);
    tiny_set_meta(tiny, "detail_hidden", "32,17");
    expect_refused(tiny, "detail_hidden");
    tiny = with_detail(112);
    tiny_set_meta(tiny, "detail_hidden", NULL);
    expect_refused(tiny, "tensors that this architecture does not have");
    tiny = with_detail(48); /* half a second */
    expect_refused(tiny, "and a second");
    tiny = with_detail(112);
    tiny_set_meta(tiny, "sample_rate", "8000");
    expect_refused(tiny, "16000 Hz");
    tiny = with_detail(112);
    snprintf(tiny_find(tiny, "detail.scale")->name, 32, "detail.other");
    expect_refused(tiny, "detail.scale is missing");
    tiny = with_detail(112);
    tiny_find(tiny, "detail.mean")->values[5] = NAN;
    expect_refused(tiny, "not finite");
    tiny = with_detail(112);
    tiny_add_gate(tiny);
    tiny_find(tiny, "gate.weight")->values[5] = NAN;
    expect_refused(tiny, "not finite");
    tiny = with_detail(112);
    tiny_add_gate(tiny);
    tiny_find(tiny, "gate.weight")->shape[0] = 2;
    tiny_find(tiny, "gate.weight")->count = 2;
    expect_refused(tiny, "gate.weight has not the shape");
    tiny = tiny_new(112, 16, "32:1", 48, 64);
    tiny_add_gate(tiny);
    expect_refused(tiny, "tensors that this architecture does not have");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_the_definitions),
        cmocka_unit_test(level_and_place_in_memory_do_not_matter),
        cmocka_unit_test(silence_and_noise_have_finite_numbers),
        cmocka_unit_test(its_logit_is_added),
        cmocka_unit_test(a_gate_looks_at_the_same_numbers),
        cmocka_unit_test(models_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests_name("nn_detail", tests, NULL, NULL);
}

/* nn/kernels: every kernel of every instruction set against the definition, computed in double. */
#include "../../support/cm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "nn/internal.h"
#include "tiny.h"

/* Runs a check on each instruction set that this processor has. */
#define EACH_ISA(check)                                                                            \
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {                                         \
        if (nn_isa_supported(isa))                                                                 \
            check(nn_kernels_for(isa));                                                            \
        else                                                                                       \
            print_message("# SKIP %s: not on this processor\n", nn_isa_name(isa));                 \
    }

static double ones[NN_CHANNELS_MAX]; /* no batch normalisation */

static float *random_floats(size_t n, uint32_t seed)
{
    float *p = try_alloc(n, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = tiny_random(&seed);
    return p;
}

static void assert_close(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s: %.9g, not %.9g (off by %.3g, allowed %.3g)", what, got, want,
                 fabs(got - want), tolerance);
}

/* Place of channel c, row y, column x (from 0) in a bordered, blocked activation. */
static size_t place(int v, int h, int w, int c, int y, int x)
{
    return (((size_t)(c / v) * (size_t)(h + 2) + (size_t)(y + 1)) * (size_t)(w + 2) +
            (size_t)(x + 1)) *
               (size_t)v +
           (size_t)(c % v);
}

/* What a convolution may be off by. Sums of K products of numbers in [-1, 1) are about sqrt(K) / 3;
 * the Winograd transforms multiply by up to 25 on the way in and 64 on the way out, which costs two
 * to three bits. In 16 bits the step of an output's weights is the sum of their sizes over 65535,
 * so it grows with the inputs; measured: 0.9e-4 per input at most, 6e-6 in the mean square. */
struct allowed {
    double most, rms;
};

static struct allowed allowed(const struct nn_kernels *k, int cin, int wino)
{
    const double root = sqrt(cin * 9.0);
    if (wino && k->cells16)
        return (struct allowed){2e-4 * cin * root, 1e-5 * cin * root};
    return wino ? (struct allowed){1.5e-5 * root, 1e-6 * root}
                : (struct allowed){2.5e-6 * root, 1e-6 * root};
}

struct conv_case {
    int cin, cout, h, w, stride;
    int residual; /* 0 none, 1 elsewhere, 2 in place: out is added to */
};

/* Convolution by the plan's own choice of kernel and layout, through a model of one layer. */
static void check_conv(const struct nn_kernels *k, const struct conv_case *t, int wino)
{
    const int v = k->width, padded = nn_pad_to(t->cout, 2 * v);
    const int hout = (t->h + t->stride - 1) / t->stride, wout = (t->w + t->stride - 1) / t->stride;
    const size_t in_floats = (size_t)t->cin * (size_t)(t->h + 2) * (size_t)(t->w + 2);
    const size_t out_floats = (size_t)t->cout * (size_t)(hout + 2) * (size_t)(wout + 2);
    _cleanup_free_ float *filter = random_floats((size_t)t->cin * (size_t)t->cout * 9, 7);
    _cleanup_free_ float *in = try_alloc(in_floats + NN_SLACK, sizeof(float));
    _cleanup_free_ float *out = random_floats(out_floats + NN_SLACK, 9);
    _cleanup_free_ float *residual = random_floats(out_floats + NN_SLACK, 11);
    _cleanup_free_ float *weights =
        try_alloc(nn_wino_weights(t->cin, padded, wino && k->cells16), sizeof(float));
    _cleanup_free_ float *bias = try_alloc((size_t)padded, sizeof(float));
    uint32_t seed = 3;
    for (int c = 0; c < t->cin; c++)
        for (int y = 0; y < t->h; y++)
            for (int x = 0; x < t->w; x++)
                in[place(v, t->h, t->w, c, y, x)] = fmaxf(tiny_random(&seed), 0); /* a ReLU's */
    for (int c = 0; c < t->cout; c++)
        bias[c] = tiny_random(&seed);
    struct nn_layer layer = {.kind = wino ? NN_CONV_WINO : NN_CONV_DIRECT,
                             .cin = t->cin,
                             .cout = t->cout,
                             .stride = t->stride,
                             .weight_count =
                                 (size_t)t->cin * (size_t)padded * (wino ? NN_WINO_MATRICES : 9)};
    nn_pack_filter(&layer, k, filter, ones, weights);
    const int block = nn_plan_tile_block(hout, wout, k);
    _cleanup_free_ float *scratch =
        wino ? try_alloc(nn_wino_scratch(t->cin, padded, t->stride, block), sizeof(float)) : NULL;
    struct nn_conv_args args = {.in = in,
                                .out = out,
                                .residual = t->residual == 2 ? out
                                            : t->residual    ? residual
                                                             : NULL,
                                .weights = weights,
                                .bias = bias,
                                .scratch = scratch,
                                .cin = t->cin,
                                .cout = t->cout,
                                .hin = t->h,
                                .win = t->w,
                                .hout = hout,
                                .wout = wout,
                                .stride = t->stride,
                                .tile_block = block};
    if (t->residual == 2)
        memcpy(out, residual, out_floats * sizeof(float));
    if (wino)
        k->conv_wino(&args);
    else
        k->conv_direct(&args);

    char what[96];
    snprintf(what, sizeof what, "V=%d%s %dx%d %d->%d stride %d %s", v, k->cells16 ? " 16 bits" : "",
             t->h, t->w, t->cin, t->cout, t->stride, wino ? "winograd" : "direct");
    const struct allowed most = allowed(k, t->cin, wino);
    double squares = 0;
    for (int n = 0; n < t->cout; n++)
        for (int y = -1; y <= hout; y++)
            for (int x = -1; x <= wout; x++) {
                double want = 0;
                if (y >= 0 && y < hout && x >= 0 && x < wout) {
                    want = bias[n];
                    for (int c = 0; c < t->cin; c++)
                        for (int i = 0; i < 9; i++)
                            want += (double)filter[(n * t->cin + c) * 9 + i] *
                                    in[place(v, t->h, t->w, c, y * t->stride + i / 3 - 1,
                                             x * t->stride + i % 3 - 1)];
                    if (t->residual)
                        want += residual[place(v, hout, wout, n, y, x)];
                    want = want > 0 ? want : 0;
                }
                const double got = out[place(v, hout, wout, n, y, x)];
                assert_close(got, want, most.most, what);
                squares += (got - want) * (got - want);
            }
    assert_close(sqrt(squares / ((double)t->cout * hout * wout)), 0, most.rms, what);
}

static void check_direct(const struct nn_kernels *k)
{
    static const struct conv_case cases[] = {
        {16, 32, 8, 24, 2, 0}, {32, 48, 7, 13, 2, 0}, {16, 16, 1, 1, 2, 0},  {16, 16, 5, 7, 1, 2},
        {48, 80, 3, 25, 1, 0}, {16, 32, 2, 40, 1, 1}, {96, 64, 4, 12, 2, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_conv(k, &cases[i], 0);
}

static void check_wino(const struct nn_kernels *k)
{
    static const struct conv_case cases[] = {
        {16, 16, 4, 4, 1, 0},    {32, 32, 32, 96, 1, 2}, {64, 64, 16, 48, 1, 0},
        {96, 96, 8, 24, 1, 1},   {48, 48, 12, 20, 1, 1}, {16, 80, 8, 60, 1, 0},
        {16, 32, 64, 192, 2, 0}, {32, 64, 32, 96, 2, 0}, {64, 96, 16, 48, 2, 2},
        {16, 48, 7, 31, 2, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_conv(k, &cases[i], 1);
}

static void direct_convolution(void **state)
{
    (void)state;
    EACH_ISA(check_direct)
}

static void winograd_convolution(void **state)
{
    (void)state;
    EACH_ISA(check_wino)
}

/* The largest sums there can be: every input of one tile makes the cell of point 1 as large as it
 * gets, in all channels alike, and no weight has the other sign. `peak`: the inputs' largest. */
static void check_largest(const struct nn_kernels *k, int cin, float peak)
{
    const int v = k->width, padded = nn_pad_to(16, 2 * v), block = nn_plan_tile_block(4, 4, k);
    _cleanup_free_ float *filter = try_alloc((size_t)cin * 16 * 9, sizeof(float));
    _cleanup_free_ float *in = try_alloc((size_t)cin * 36 + NN_SLACK, sizeof(float));
    _cleanup_free_ float *out = random_floats(16 * 36 + NN_SLACK, 9);
    _cleanup_free_ float *weights =
        try_alloc(nn_wino_weights(cin, padded, k->cells16), sizeof(float));
    _cleanup_free_ float *bias = try_alloc((size_t)padded, sizeof(float));
    _cleanup_free_ float *scratch =
        try_alloc(nn_wino_scratch(cin, padded, 1, block), sizeof(float));
    for (int i = 0; i < cin * 16 * 9; i++)
        filter[i] = 1;
    for (int c = 0; c < cin; c++)
        for (int i = 0; i < 16; i++) /* points 1, 2 and 3, 4 of either direction, with the border */
            in[place(v, 4, 4, c, i / 4, i % 4)] = (i / 4 < 2) == (i % 4 < 2) ? peak : 0;
    struct nn_layer layer = {.kind = NN_CONV_WINO,
                             .cin = cin,
                             .cout = 16,
                             .stride = 1,
                             .weight_count = (size_t)(cin * padded) * NN_WINO_MATRICES};
    nn_pack_filter(&layer, k, filter, ones, weights);
    struct nn_conv_args args = {.in = in,
                                .out = out,
                                .weights = weights,
                                .bias = bias,
                                .scratch = scratch,
                                .cin = cin,
                                .cout = 16,
                                .hin = 4,
                                .win = 4,
                                .hout = 4,
                                .wout = 4,
                                .stride = 1,
                                .tile_block = block};
    k->conv_wino(&args);
    for (int n = 0; n < 16; n++)
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 4; x++) {
                double want = 0;
                for (int i = 0; i < 9; i++)
                    want += (double)cin * in[place(v, 4, 4, 0, y + i / 3 - 1, x + i % 3 - 1)];
                assert_close(out[place(v, 4, 4, n, y, x)], want, 5e-3 * 9 * cin * peak, "largest");
            }
}

static void check_extremes(const struct nn_kernels *k)
{
    check_largest(k, 16, 1);
    check_largest(k, 512, 1);
    check_largest(k, 96, 1e12f);
    check_largest(k, 96, 1e-12f);
    check_largest(k, 16, 0);
}

static void the_largest_sums_stay_in_range(void **state)
{
    (void)state;
    EACH_ISA(check_extremes)
}

static void check_stem(const struct nn_kernels *k)
{
    const int v = k->width, bands = 128, frames = 21, cout = 32, hout = 64, wout = 11,
              pitch = NN_PLANE_PITCH;
    _cleanup_free_ float *plane = try_alloc((size_t)(frames + 3) * pitch, sizeof(float));
    _cleanup_free_ float *filter = random_floats((size_t)cout * 9, 5);
    _cleanup_free_ float *weights = try_alloc((size_t)cout * 9, sizeof(float));
    _cleanup_free_ float *bias = random_floats((size_t)cout, 6);
    _cleanup_free_ float *out = random_floats((size_t)cout * (hout + 2) * (wout + 2) + NN_SLACK, 8);
    uint32_t seed = 4;
    for (int f = 0; f < frames; f++)
        for (int b = 0; b < bands; b++)
            plane[(f + 1) * pitch + NN_PLANE_LEFT + b] = tiny_random(&seed);
    struct nn_layer layer = {.kind = NN_STEM, .cin = 1, .cout = cout, .weight_count = 9 * cout};
    nn_pack_filter(&layer, k, filter, ones, weights);
    struct nn_stem_args args = {.in = plane,
                                .out = out,
                                .weights = weights,
                                .bias = bias,
                                .cout = cout,
                                .hout = hout,
                                .wout = wout};
    k->stem(&args);
    for (int n = 0; n < cout; n++)
        for (int y = 0; y < hout; y++)
            for (int x = 0; x < wout; x++) {
                double want = bias[n];
                for (int i = 0; i < 9; i++)
                    want += (double)filter[n * 9 + i] *
                            plane[(2 * x + i % 3) * pitch + NN_PLANE_LEFT - 1 + 2 * y + i / 3];
                assert_close(out[place(v, hout, wout, n, y, x)], want > 0 ? want : 0, 2e-6, "stem");
            }
}

static void stem_convolution(void **state)
{
    (void)state;
    EACH_ISA(check_stem)
}

static void check_collapse(const struct nn_kernels *k)
{
    const int v = k->width, c = 48, h = 5, w = 7, steps = nn_pad_to(w, k->rows);
    const size_t floats = (size_t)c * (size_t)(h + 2) * (size_t)(w + 2);
    _cleanup_free_ float *in = random_floats(floats, 2);
    _cleanup_free_ float *filter = random_floats((size_t)(c * h), 3);
    _cleanup_free_ float *weights = try_alloc((size_t)(c * h), sizeof(float));
    _cleanup_free_ float *bias = random_floats((size_t)c, 4);
    _cleanup_free_ float *out = random_floats((size_t)(c * steps), 5);
    struct nn_layer layer = {
        .kind = NN_COLLAPSE, .cin = c, .cout = c, .hin = h, .weight_count = (size_t)(c * h)};
    nn_pack_filter(&layer, k, filter, ones, weights);
    struct nn_collapse_args args = {.in = in,
                                    .out = out,
                                    .weights = weights,
                                    .bias = bias,
                                    .channels = c,
                                    .h = h,
                                    .w = w,
                                    .steps = steps};
    k->collapse(&args);
    for (int n = 0; n < c; n++)
        for (int x = 0; x < w; x++) {
            double want = bias[n];
            for (int y = 0; y < h; y++)
                want += (double)filter[n * h + y] * in[place(v, h, w, n, y, x)];
            assert_close(out[(n / v * steps + x) * v + n % v], want > 0 ? want : 0, 2e-6,
                         "collapse");
        }
}

static void depthwise_collapse(void **state)
{
    (void)state;
    EACH_ISA(check_collapse)
}

static void check_dense(const struct nn_kernels *k)
{
    for (int depth = 1; depth < 200; depth += 33) {
        const int n = 48;
        _cleanup_free_ float *x = random_floats((size_t)depth, 1);
        _cleanup_free_ float *w = random_floats((size_t)(depth * n), 2);
        _cleanup_free_ float *b = random_floats((size_t)n, 3);
        _cleanup_free_ float *y = random_floats((size_t)n, 4);
        for (int relu = 0; relu < 2; relu++) {
            k->dense(x, depth, w, b, n, relu, y);
            for (int i = 0; i < n; i++) {
                double want = b[i];
                for (int j = 0; j < depth; j++)
                    want += (double)x[j] * w[j * n + i];
                assert_close(y[i], relu && want < 0 ? 0 : want, 5e-6, "dense");
            }
        }
    }
}

/* Weights that 16 bits hold exactly give what they give in 32. */
static void check_dense16(const struct nn_kernels *k)
{
    if (!k->dense16) {
        assert_null(k->halve);
        return;
    }
    const int n = 48, depth = 133;
    _cleanup_free_ float *x = random_floats((size_t)depth, 1);
    _cleanup_free_ float *w = random_floats((size_t)(depth * n), 2);
    _cleanup_free_ float *b = random_floats((size_t)n, 3);
    _cleanup_free_ float *y = random_floats((size_t)n, 4);
    _cleanup_free_ float *y16 = random_floats((size_t)n, 5);
    _cleanup_free_ uint16_t *halves = try_alloc((size_t)(depth * n), sizeof *halves);
    for (int i = 0; i < depth * n; i++)
        w[i] = (float)(rint(512 * (double)w[i]) / 512);
    k->halve(w, (size_t)(depth * n), halves);
    for (int relu = 0; relu < 2; relu++) {
        k->dense(x, depth, w, b, n, relu, y);
        k->dense16(x, depth, halves, b, n, relu, y16);
        assert_memory_equal(y, y16, (size_t)n * sizeof *y);
    }
    w[0] = 1 + 1.0f / 1024 + 1.0f / 2048; /* a half goes to the even side */
    w[1] = 70000;
    k->halve(w, 16, halves);
    assert_int_equal(halves[0], 0x3c02);
    assert_int_equal(halves[1], 0x7c00); /* infinity: such a model has no finite answer */
}

static void dense_layer(void **state)
{
    (void)state;
    EACH_ISA(check_dense)
    EACH_ISA(check_dense16)
}

static void check_attn(const struct nn_kernels *k)
{
    const int v = k->width, c = 48, hidden = 21, t = 10, steps = nn_pad_to(t, k->rows);
    const int padded = nn_pad_to(hidden, 2 * v);
    _cleanup_free_ float *in = random_floats((size_t)(c * steps), 1);
    _cleanup_free_ float *proj = try_alloc((size_t)(c * padded), sizeof(float));
    _cleanup_free_ float *bias = try_alloc((size_t)padded, sizeof(float));
    _cleanup_free_ float *score = try_alloc((size_t)padded, sizeof(float));
    _cleanup_free_ float *scratch = try_alloc((size_t)(steps * (padded + 2)), sizeof(float));
    _cleanup_free_ float *out = try_alloc((size_t)(2 * c), sizeof(float));
    uint32_t seed = 8;
    for (int n = 0; n < hidden; n++) {
        bias[n] = tiny_random(&seed);
        score[n] = 3 * tiny_random(&seed);
        for (int i = 0; i < c; i++)
            proj[(n / (2 * v) * c + i) * 2 * v + n % (2 * v)] = 3 * tiny_random(&seed);
    }
    for (int i = 0; i < c; i++) /* one channel that hardly moves: its spread is at the floor */
        for (int s = 0; i == 5 && s < t; s++)
            in[(i / v * steps + s) * v + i % v] = 0.5f;
    struct nn_attn_args args = {.in = in,
                                .out = out,
                                .proj = proj,
                                .bias = bias,
                                .score = score,
                                .scratch = scratch,
                                .channels = c,
                                .hidden = hidden,
                                .steps = steps,
                                .t = t};
    k->attn(&args);
    double a[16], total = 0;
    for (int s = 0; s < t; s++) {
        double e = 0;
        for (int n = 0; n < hidden; n++) {
            double sum = bias[n];
            for (int i = 0; i < c; i++)
                sum += (double)proj[(n / (2 * v) * c + i) * 2 * v + n % (2 * v)] *
                       in[(i / v * steps + s) * v + i % v];
            e += score[n] * tanh(sum);
        }
        total += a[s] = exp(e);
    }
    for (int i = 0; i < c; i++) {
        double mean = 0, square = 0;
        for (int s = 0; s < t; s++) {
            double x = in[(i / v * steps + s) * v + i % v];
            mean += a[s] / total * x;
            square += a[s] / total * x * x;
        }
        assert_close(out[i], mean, 1e-5, "attention mean");
        assert_close(out[c + i], sqrt(fmax(square - mean * mean, 1e-5)), 1e-4, "attention spread");
    }
}

static void attention_pooling(void **state)
{
    (void)state;
    EACH_ISA(check_attn)
}

/* A loud low tone beside bands 100 dB weaker: the transform must keep them apart. */
static void check_frames(const struct nn_kernels *k)
{
    enum { FRAMES = 16, SAMPLES = 400 + 160 * (FRAMES - 1) };
    static float samples[SAMPLES], logband[FRAMES * 128], power[FRAMES];
    static double want[FRAMES * 128], want_power[FRAMES];
    struct nn_front front = {0};
    struct nn_shape shape = {.frame_length = 400, .frame_hop = 160};
    nn_front_init(&front, &shape);
    _cleanup_free_ float *scratch = try_alloc(NN_FRONT_SCRATCH, sizeof(float));
    for (int trial = 0; trial < 3; trial++) {
        uint32_t seed = 77;
        for (int i = 0; i < SAMPLES; i++)
            samples[i] = trial == 0   ? tiny_random(&seed)
                         : trial == 1 ? (float)(0.9 * sin(i * 0.08) + 1e-5 * tiny_random(&seed))
                                      : 0.0f;
        for (int f = 0; f < FRAMES; f += k->width)
            k->frames(&front, samples + 160 * f, k->width, logband + 128 * f, power + f, scratch);
        tiny_frames(samples, FRAMES, want, want_power);
        for (int f = 0; f < FRAMES; f++) {
            assert_close(power[f], want_power[f], 1e-5 * want_power[f], "power");
            /* A float transform leaves noise of about (1e-7)^2 of the frame's power per bin. */
            for (int b = 0; b < 128; b++) {
                double band = exp(want[f * 128 + b]),
                       noise = 1e-7 * sqrt(want_power[f] * band) + 1e-14 * want_power[f];
                assert_close(logband[f * 128 + b], want[f * 128 + b], 3e-6 + 20 * noise / band,
                             "log band");
            }
        }
    }
}

static void front_end(void **state)
{
    (void)state;
    EACH_ISA(check_frames)
}

static void check_normalise(const struct nn_kernels *k)
{
    const int frames = 50, pitch = NN_PLANE_PITCH;
    _cleanup_free_ float *logband = random_floats((size_t)frames * 128, 12);
    _cleanup_free_ float *plane = random_floats((size_t)(frames + 2) * (size_t)pitch, 13);
    for (int i = 0; i < frames * 128; i++)
        logband[i] *= 20;
    for (int band_mean = 0; band_mean < 2; band_mean++) {
        k->normalise(logband, 3.0f, 13.8155106f, band_mean, frames, plane);
        for (int b = 0; b < 128; b++) {
            double mean = 0;
            for (int f = 0; f < frames; f++)
                mean += fmax((double)logband[f * 128 + b] - 3.0, -13.8155106) / frames;
            for (int f = 0; f < frames; f++)
                assert_close(plane[(f + 1) * pitch + NN_PLANE_LEFT + b],
                             fmax((double)logband[f * 128 + b] - 3.0, -13.8155106) -
                                 (band_mean ? mean : 0),
                             1e-5, "normalised");
        }
        for (int f = 0; f < frames + 2; f++)
            for (int b = 0; b < 130; b++)
                if (f == 0 || f == frames + 1 || b == 0 || b == 129)
                    assert_true(plane[f * pitch + NN_PLANE_LEFT - 1 + b] == 0);
    }
}

static void normalisation(void **state)
{
    (void)state;
    EACH_ISA(check_normalise)
}

int main(void)
{
    for (size_t i = 0; i < ARRAY_LEN(ones); i++)
        ones[i] = 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_convolution),
        cmocka_unit_test(winograd_convolution),
        cmocka_unit_test(stem_convolution),
        cmocka_unit_test(depthwise_collapse),
        cmocka_unit_test(dense_layer),
        cmocka_unit_test(attention_pooling),
        cmocka_unit_test(front_end),
        cmocka_unit_test(normalisation),
        cmocka_unit_test(the_largest_sums_stay_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

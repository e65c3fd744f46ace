/* Weights: from the file's tensors to what the kernels read.
 *
 * Batch normalisation after a convolution is a factor and an offset per output channel; both are
 * folded into weights and bias here, in double. 3x3 filters of stride 1 are transformed for
 * Winograd, U = G g G', also in double. Then everything is laid out in panels of two vectors of
 * outputs, padded with zeros (see kernels.h). Any thread. */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"

/* ---- what the file must hold ---- */

/* The walk over a plan's tensors: checks each and counts. */
struct check {
    const struct st_file *file;
    size_t tensors, parameters;
    struct err *err;
};

static enum err_code check_tensor(struct check *check, const char *prefix, const char *suffix,
                                  const int *shape, int rank, int optional_ones)
{
    char name[2 * NN_NAME_MAX];
    snprintf(name, sizeof name, "%s.%s", prefix, suffix);
    const struct st_tensor *t = st_find(check->file, name);
    if (!t)
        return err_set(check->err, ERR_MODEL, "tensor %s is missing", name);
    if (t->dtype != ST_F32 && t->dtype != ST_F16 && t->dtype != ST_BF16)
        return err_set(check->err, ERR_MODEL, "tensor %s is %s, not F32, F16 or BF16", name,
                       st_dtype_name(t->dtype));
    int same = t->rank >= rank && t->rank <= rank + optional_ones;
    for (int i = 0; same && i < t->rank; i++)
        same = t->shape[i] == (i < rank ? (uint64_t)shape[i] : 1);
    if (!same)
        return err_set(check->err, ERR_MODEL, "tensor %s has not the shape of the metadata", name);
    check->tensors++;
    check->parameters += t->count;
    return ERR_OK;
}

static enum err_code check_layer(struct check *check, const struct nn_layer *l)
{
    static const char *const norms[] = {"weight", "bias", "running_mean", "running_var"};
    enum err_code rc = ERR_OK;
    switch (l->kind) {
    case NN_STEM:
    case NN_CONV_DIRECT:
    case NN_CONV_WINO:
        rc = check_tensor(check, l->conv, "weight", (int[]){l->cout, l->cin, 3, 3}, 4, 0);
        break;
    case NN_COLLAPSE:
        rc = check_tensor(check, l->conv, "weight", (int[]){l->cout, 1, l->hin, 1}, 4, 0);
        break;
    case NN_ATTN: /* a linear layer, or a convolution of length one */
        rc = check_tensor(check, "attn.proj", "weight", (int[]){l->cout, l->cin}, 2, 1);
        if (!rc)
            rc = check_tensor(check, "attn.proj", "bias", (int[]){l->cout}, 1, 0);
        if (!rc)
            rc = check_tensor(check, "attn.score", "weight", (int[]){1, l->cout}, 2, 1);
        break;
    case NN_FC1:
    case NN_FC2:
        rc = check_tensor(check, l->conv, "weight", (int[]){l->cout, l->cin}, 2, 0);
        if (!rc)
            rc = check_tensor(check, l->conv, "bias", (int[]){l->cout}, 1, 0);
        break;
    case NN_DETAIL:
        rc = check_tensor(check, l->conv, "mean", (int[]){l->cout}, 1, 0);
        if (!rc)
            rc = check_tensor(check, l->conv, "scale", (int[]){l->cout}, 1, 0);
        if (!rc && l->gate)
            rc = check_tensor(check, "gate", "weight", (int[]){l->cout}, 1, 0);
        break;
    }
    for (size_t i = 0; !rc && *l->bn && i < ARRAY_LEN(norms); i++)
        rc = check_tensor(check, l->bn, norms[i], (int[]){l->cout}, 1, 0);
    return rc;
}

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

enum err_code nn_pack_check(const struct st_file *file, const struct nn_plan *plan,
                            size_t *ret_parameters, struct err *err)
{
    struct check check = {.file = file, .err = err};
    for (int i = 0; i < plan->layer_count; i++) {
        enum err_code rc = check_layer(&check, &plan->layers[i]);
        if (rc)
            return rc;
    }
    size_t ignored = 0; /* PyTorch's counters of batches have no meaning here */
    for (size_t i = 0; i < st_count(file); i++)
        ignored += (size_t)ends_with(st_at(file, i)->name, ".bn.num_batches_tracked") ||
                   ends_with(st_at(file, i)->name, ".bn1.num_batches_tracked") ||
                   ends_with(st_at(file, i)->name, ".bn2.num_batches_tracked");
    if (check.tensors + ignored != st_count(file))
        return err_set(err, ERR_MODEL, "%zu tensors that this architecture does not have",
                       st_count(file) - check.tensors - ignored);
    *ret_parameters = check.parameters;
    return ERR_OK;
}

/* ---- reading ---- */

static float half_to_float(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double x = exponent == 31  ? (mantissa ? NAN : INFINITY)
               : exponent == 0 ? ldexp(mantissa, -24)
                               : ldexp(mantissa + 1024, exponent - 25);
    return (float)(h & 0x8000 ? -x : x);
}

static float element(const struct st_tensor *t, size_t i)
{
    float f;
    uint32_t word;
    uint16_t half;
    switch (t->dtype) {
    case ST_F32:
        memcpy(&f, t->data + 4 * i, sizeof f);
        return f;
    case ST_BF16:
        memcpy(&half, t->data + 2 * i, sizeof half);
        word = (uint32_t)half << 16;
        memcpy(&f, &word, sizeof f);
        return f;
    default:
        memcpy(&half, t->data + 2 * i, sizeof half);
        return half_to_float(half);
    }
}

/* All of a tensor as floats, which the caller frees. NULL with *rc set on a value that is not
 * finite or no memory. */
static float *read_all(const struct st_file *file, const char *prefix, const char *suffix,
                       enum err_code *rc, struct err *err)
{
    char name[2 * NN_NAME_MAX];
    snprintf(name, sizeof name, "%s.%s", prefix, suffix);
    const struct st_tensor *t = st_find(file, name);
    _cleanup_free_ float *values = try_alloc(t->count, sizeof *values);
    if (!values) {
        *rc = err_set(err, ERR_NO_MEMORY, "no memory for tensor %s", name);
        return NULL;
    }
    for (size_t i = 0; i < t->count; i++) {
        values[i] = element(t, i);
        if (!isfinite(values[i])) {
            *rc = err_set(err, ERR_MODEL, "tensor %s holds a value that is not finite", name);
            return NULL;
        }
    }
    return STEAL(values);
}

/* The factor and offset per channel that a batch normalisation amounts to. */
struct fold {
    double scale[NN_CHANNELS_MAX];
    float offset[NN_CHANNELS_MAX];
};

static enum err_code read_fold(const struct st_file *file, const struct nn_layer *l,
                               struct fold *ret, struct err *err)
{
    enum err_code rc = ERR_OK;
    _cleanup_free_ float *gain = read_all(file, l->bn, "weight", &rc, err);
    _cleanup_free_ float *bias = gain ? read_all(file, l->bn, "bias", &rc, err) : NULL;
    _cleanup_free_ float *mean = bias ? read_all(file, l->bn, "running_mean", &rc, err) : NULL;
    _cleanup_free_ float *var = mean ? read_all(file, l->bn, "running_var", &rc, err) : NULL;
    if (rc)
        return rc;
    for (int c = 0; c < l->cout; c++) {
        if (var[c] < 0)
            return err_set(err, ERR_MODEL, "%s.running_var holds a negative variance", l->bn);
        ret->scale[c] = gain[c] / sqrt(var[c] + NN_BATCHNORM_EPS);
        ret->offset[c] = (float)(bias[c] - mean[c] * ret->scale[c]);
        if (!isfinite(ret->offset[c]))
            return err_set(err, ERR_MODEL, "%s folds to a value that is not finite", l->bn);
    }
    return ERR_OK;
}

/* ---- laying out ---- */

/* The filter transforms of one direction, three taps to six values. Stride 1: F(4,3) with points
 * 0, 1, -1, 2, -2, infinity. Stride 2: F(4,2) of the outer taps with points 0, 1, -1, 2, infinity,
 * and the middle tap as it is. */
static const double wino_g[2][6][3] = {
    {
        {1.0 / 4, 0, 0},
        {-1.0 / 6, -1.0 / 6, -1.0 / 6},
        {-1.0 / 6, 1.0 / 6, -1.0 / 6},
        {1.0 / 24, 1.0 / 12, 1.0 / 6},
        {1.0 / 24, -1.0 / 12, 1.0 / 6},
        {0, 0, 1},
    },
    {
        {1.0 / 2, 0, 0},
        {-1.0 / 2, 0, -1.0 / 2},
        {-1.0 / 6, 0, 1.0 / 6},
        {1.0 / 6, 0, 1.0 / 3},
        {0, 0, 1},
        {0, 1, 0},
    },
};

void nn_wino_filter(const float f[9], double scale, int stride, double u[NN_WINO_MATRICES])
{
    const double(*g)[3] = wino_g[stride == 2];
    for (int i = 0; i < 6; i++) {
        double row[3];
        for (int b = 0; b < 3; b++)
            row[b] = g[i][0] * f[b] + g[i][1] * f[3 + b] + g[i][2] * f[6 + b];
        for (int j = 0; j < 6; j++)
            u[6 * i + j] = scale * (g[j][0] * row[0] + g[j][1] * row[1] + g[j][2] * row[2]);
    }
}

/* Place of (k, n) in panels of `two_v` outputs and `depth` steps. */
static size_t in_panel(size_t k, int n, size_t depth, int two_v)
{
    return ((size_t)(n / two_v) * depth + k) * (size_t)two_v + (size_t)(n % two_v);
}

/* File [cout][cin][3][3] -> panels with K = [cin/V][kh][kw][V]. */
static void pack_direct(const struct nn_layer *l, int v, const float *from, const double *scale,
                        float *to)
{
    size_t depth = (size_t)l->cin * 9;
    for (int n = 0; n < l->cout; n++)
        for (int c = 0; c < l->cin; c++)
            for (int i = 0; i < 9; i++) {
                size_t k = ((size_t)(c / v) * 9 + (size_t)i) * (size_t)v + (size_t)(c % v);
                to[in_panel(k, n, depth, 2 * v)] =
                    (float)(from[((size_t)n * (size_t)l->cin + (size_t)c) * 9 + (size_t)i] *
                            scale[n]);
            }
}

/* File [cout][cin][3][3] -> 36 matrices of panels with K = cin. */
static void pack_wino(const struct nn_layer *l, int v, const float *from, const double *scale,
                      float *to)
{
    const size_t depth = (size_t)l->cin, matrix = l->weight_count / NN_WINO_MATRICES;
    for (int n = 0; n < l->cout; n++)
        for (int c = 0; c < l->cin; c++) {
            double u[NN_WINO_MATRICES];
            nn_wino_filter(from + ((size_t)n * depth + (size_t)c) * 9, scale[n], l->stride, u);
            for (int i = 0; i < NN_WINO_MATRICES; i++)
                to[(size_t)i * matrix + in_panel((size_t)c, n, depth, 2 * v)] = (float)u[i];
        }
}

/* File [cout][1][kh][kw] -> [cout/V][kw][kh][V]: the stem's input has time along its rows. */
static void pack_stem(const struct nn_layer *l, int v, const float *from, const double *scale,
                      float *to)
{
    for (int n = 0; n < l->cout; n++)
        for (int kh = 0; kh < 3; kh++)
            for (int kw = 0; kw < 3; kw++)
                to[((size_t)(n / v) * 9 + (size_t)(3 * kw + kh)) * (size_t)v + (size_t)(n % v)] =
                    (float)(from[n * 9 + 3 * kh + kw] * scale[n]);
}

/* File [c][1][h][1] -> [c/V][h][V]. */
static void pack_collapse(const struct nn_layer *l, int v, const float *from, const double *scale,
                          float *to)
{
    for (int n = 0; n < l->cout; n++)
        for (int y = 0; y < l->hin; y++)
            to[((size_t)(n / v) * (size_t)l->hin + (size_t)y) * (size_t)v + (size_t)(n % v)] =
                (float)(from[(size_t)n * (size_t)l->hin + (size_t)y] * scale[n]);
}

void nn_pack_filter(const struct nn_layer *l, const struct nn_kernels *kernels, const float *from,
                    const double *scale, float *to)
{
    const int v = kernels->width;
    switch (l->kind) {
    case NN_STEM:
        pack_stem(l, v, from, scale, to);
        break;
    case NN_COLLAPSE:
        pack_collapse(l, v, from, scale, to);
        break;
    case NN_CONV_WINO:
        if (kernels->cells16)
            nn_pack16_wino(l, v, from, scale, to);
        else
            pack_wino(l, v, from, scale, to);
        break;
    default:
        pack_direct(l, v, from, scale, to);
    }
}

static enum err_code pack_conv(const struct st_file *file, const struct nn_layer *l,
                               const struct nn_kernels *kernels, float *weights, struct err *err)
{
    struct fold fold;
    enum err_code rc = read_fold(file, l, &fold, err);
    if (rc)
        return rc;
    _cleanup_free_ float *from = read_all(file, l->conv, "weight", &rc, err);
    if (!from)
        return rc;
    float *to = weights + l->weights;
    memcpy(weights + l->bias, fold.offset, (size_t)l->cout * sizeof(float));
    nn_pack_filter(l, kernels, from, fold.scale, to);
    /* In 16 bits the steps behind the weights tell. */
    size_t first =
        l->kind == NN_CONV_WINO && kernels->cells16
            ? NN_WINO_MATRICES * (size_t)l->cin / 2 * (size_t)nn_pad_to(l->cout, 2 * kernels->width)
            : 0;
    for (size_t i = first; i < l->weight_count; i++)
        if (!isfinite(to[i]))
            return err_set(err, ERR_MODEL, "%s folds to a value that is not finite", l->conv);
    return ERR_OK;
}

static enum err_code pack_attn(const struct st_file *file, const struct nn_layer *l, int v,
                               float *weights, struct err *err)
{
    enum err_code rc = ERR_OK;
    _cleanup_free_ float *proj = read_all(file, "attn.proj", "weight", &rc, err);
    _cleanup_free_ float *bias = proj ? read_all(file, "attn.proj", "bias", &rc, err) : NULL;
    _cleanup_free_ float *score = bias ? read_all(file, "attn.score", "weight", &rc, err) : NULL;
    if (rc)
        return rc;
    for (int n = 0; n < l->cout; n++)
        for (int c = 0; c < l->cin; c++)
            weights[l->weights + in_panel((size_t)c, n, (size_t)l->cin, 2 * v)] =
                proj[(size_t)n * (size_t)l->cin + (size_t)c];
    memcpy(weights + l->bias, bias, (size_t)l->cout * sizeof(float));
    memcpy(weights + l->extra, score, (size_t)l->cout * sizeof(float));
    return ERR_OK;
}

/* File [n][k] -> [k][n padded to 16]; as 16-bit floats a few rows at a time. */
static enum err_code pack_dense(const struct st_file *file, const struct nn_layer *l,
                                const struct nn_kernels *kernels, float *weights, struct err *err)
{
    enum { ROWS = 64 };
    enum err_code rc = ERR_OK;
    _cleanup_free_ float *from = read_all(file, l->conv, "weight", &rc, err);
    _cleanup_free_ float *bias = from ? read_all(file, l->conv, "bias", &rc, err) : NULL;
    if (rc)
        return rc;
    const size_t padded = (size_t)nn_pad_to(l->cout, 16), depth = (size_t)l->cin;
    _cleanup_free_ float *some = l->halves ? try_alloc(ROWS * padded, sizeof *some) : NULL;
    if (l->halves && !some)
        return err_set(err, ERR_NO_MEMORY, "no memory for the weights of %s", l->name);
    for (size_t k = 0; k < depth; k += ROWS) {
        const size_t rows = k + ROWS < depth ? ROWS : depth - k;
        float *to = some ? some : weights + l->weights + k * padded;
        for (int n = 0; n < l->cout; n++)
            for (size_t r = 0; r < rows; r++)
                to[r * padded + (size_t)n] = from[(size_t)n * depth + k + r];
        if (some)
            kernels->halve(some, rows * padded,
                           (uint16_t *)(void *)(weights + l->weights) + k * padded);
    }
    memcpy(weights + l->bias, bias, (size_t)l->cout * sizeof(float));
    return ERR_OK;
}

static enum err_code pack_detail(const struct st_file *file, const struct nn_layer *l,
                                 float *weights, struct err *err)
{
    enum err_code rc = ERR_OK;
    _cleanup_free_ float *mean = read_all(file, l->conv, "mean", &rc, err);
    _cleanup_free_ float *scale = mean ? read_all(file, l->conv, "scale", &rc, err) : NULL;
    _cleanup_free_ float *gate =
        scale && l->gate ? read_all(file, "gate", "weight", &rc, err) : NULL;
    if (rc)
        return rc;
    if (gate)
        memcpy(weights + l->gate, gate, (size_t)l->cout * sizeof(float));
    memcpy(weights + l->weights, mean, (size_t)l->cout * sizeof(float));
    memcpy(weights + l->extra, scale, (size_t)l->cout * sizeof(float));
    return ERR_OK;
}

enum err_code nn_pack_weights(const struct st_file *file, const struct nn_plan *plan,
                              const struct nn_kernels *kernels, float *weights, struct err *err)
{
    for (int i = 0; i < plan->layer_count; i++) {
        const struct nn_layer *l = &plan->layers[i];
        enum err_code rc;
        if (l->kind == NN_ATTN)
            rc = pack_attn(file, l, kernels->width, weights, err);
        else if (l->kind == NN_DETAIL)
            rc = pack_detail(file, l, weights, err);
        else if (l->kind == NN_FC1 || l->kind == NN_FC2)
            rc = pack_dense(file, l, kernels, weights, err);
        else
            rc = pack_conv(file, l, kernels, weights, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

void nn_front_init(struct nn_front *front, const struct nn_shape *shape)
{
    const double two_pi = 6.283185307179586476925;
    front->frame_length = shape->frame_length;
    front->frame_hop = shape->frame_hop;
    for (int i = 0; i < NN_FFT_SIZE; i++) {
        /* The window as the training rounds it, halved for front_split. */
        float hann = (float)(0.5 - 0.5 * cos(two_pi * i / shape->frame_length));
        front->window[i] = i < shape->frame_length ? 0.5f * hann : 0.0f;
    }
    for (int n2 = 0; n2 < 16; n2++)
        for (int k1 = 0; k1 < 16; k1++) {
            double angle = -two_pi * n2 * k1 / 256;
            front->twiddle[n2][k1][0] = (float)cos(angle);
            front->twiddle[n2][k1][1] = (float)sin(angle);
        }
    for (int k = 0; k <= NN_FFT_SIZE / 4; k++) {
        double angle = -two_pi * k / NN_FFT_SIZE;
        front->split[k][0] = (float)cos(angle);
        front->split[k][1] = (float)sin(angle);
    }
}

static double hann(int i, int n)
{
    return 0.5 - 0.5 * cos(6.283185307179586476925 * i / n);
}

/* Half the Hann window as the training rounds it. */
static void half_window(float *window, int n)
{
    for (int i = 0; i < n; i++)
        window[i] = 0.5f * (float)hann(i, n);
}

static void patch_init(struct nn_detail_patch *patch, int frames, int bins)
{
    const double two_pi = 6.283185307179586476925;
    memset(patch, 0, sizeof *patch);
    for (int k = 0; k < bins; k++)
        for (int f = 0; f <= bins / 2; f++) {
            patch->across[k][2 * f] = (float)(hann(k, bins) * cos(two_pi * k * f / bins));
            patch->across[k][2 * f + 1] = (float)(-hann(k, bins) * sin(two_pi * k * f / bins));
        }
    for (int k = 0; k <= frames / 2; k++)
        for (int n = 0; n <= frames / 2; n++) {
            patch->even[k][n] = (float)(hann(n, frames) * cos(two_pi * n * k / frames));
            patch->odd[k][n] = (float)(hann(n, frames) * sin(two_pi * n * k / frames));
        }
}

void nn_detail_init(struct nn_detail_tables *tables)
{
    const double two_pi = 6.283185307179586476925;
    const int n_long = ARRAY_LEN(tables->long_window);
    half_window(tables->long_window, n_long);
    half_window(tables->mid_window, ARRAY_LEN(tables->mid_window));
    half_window(tables->short_window, ARRAY_LEN(tables->short_window));
    patch_init(&tables->patch[0], 16, 16);
    patch_init(&tables->patch[1], 32, 8);
    for (int k = 0; k < n_long / 2; k++) {
        double angle = -two_pi * k / (n_long / 2);
        tables->turn[k][0] = (float)cos(angle);
        tables->turn[k][1] = (float)sin(angle);
    }
    for (int k = 0; k <= n_long / 4; k++) {
        double angle = -two_pi * k / n_long;
        tables->split[k][0] = (float)cos(angle);
        tables->split[k][1] = (float)sin(angle);
    }
}

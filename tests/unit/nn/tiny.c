/* See tiny.h. Test programs only; one thread. */
#include "tiny.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "nn/internal.h"

#define PI 3.14159265358979323846

float tiny_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)((*seed >> 8) / 8388608.0 - 1.0);
}

/* ---- building ---- */

void tiny_set_meta(struct tiny *tiny, const char *key, const char *value)
{
    for (int i = 0; i < tiny->meta_count; i++) {
        if (strcmp(tiny->meta[i].key, key) != 0)
            continue;
        if (value)
            tiny->meta[i].value = value;
        else
            tiny->meta[i] = tiny->meta[--tiny->meta_count];
        return;
    }
    assert(value && tiny->meta_count < TINY_META_MAX);
    tiny->meta[tiny->meta_count++] = (struct tiny_meta){key, value};
}

struct tiny_tensor *tiny_find(struct tiny *tiny, const char *name)
{
    for (int i = 0; i < tiny->tensor_count; i++)
        if (strcmp(tiny->tensors[i].name, name) == 0)
            return &tiny->tensors[i];
    return NULL;
}

static struct tiny_tensor *add(struct tiny *tiny, const char *prefix, const char *suffix, int rank,
                               int a, int b, int c, int d, double middle, double spread)
{
    struct tiny_tensor *t = &tiny->tensors[tiny->tensor_count++];
    uint32_t seed = (uint32_t)tiny->tensor_count * 2654435761u;
    assert(tiny->tensor_count <= TINY_TENSORS_MAX);
    snprintf(t->name, sizeof t->name, "%s.%s", prefix, suffix);
    t->dtype = "F32";
    t->rank = rank;
    int shape[4] = {a, b, c, d};
    t->count = 1;
    for (int i = 0; i < rank; i++)
        t->count *= (size_t)(t->shape[i] = shape[i]);
    t->values = xalloc(t->count * sizeof(float));
    for (size_t i = 0; i < t->count; i++)
        t->values[i] = (float)(middle + spread * tiny_random(&seed));
    return t;
}

static void add_bn(struct tiny *tiny, const char *prefix, int channels)
{
    add(tiny, prefix, "weight", 1, channels, 0, 0, 0, 1.0, 0.3);
    add(tiny, prefix, "bias", 1, channels, 0, 0, 0, 0.1, 0.3);
    add(tiny, prefix, "running_mean", 1, channels, 0, 0, 0, 0.0, 0.2);
    add(tiny, prefix, "running_var", 1, channels, 0, 0, 0, 1.0, 0.5);
}

static void add_conv(struct tiny *tiny, const char *conv, const char *bn, int cout, int cin)
{
    add(tiny, conv, "weight", 4, cout, cin, 3, 3, 0, 1.2 / sqrt(cin * 9.0 / 2));
    add_bn(tiny, bn, cout);
}

static void add_network(struct tiny *tiny)
{
    char conv[64], bn[64];
    int cin = tiny->stem, h = 64;
    add_conv(tiny, "stem.conv", "stem.bn", tiny->stem, 1);
    for (int i = 0; i < tiny->stages; i++) {
        int c = tiny->channels[i];
        snprintf(conv, sizeof conv, "stages.%d.down.conv", i);
        snprintf(bn, sizeof bn, "stages.%d.down.bn", i);
        add_conv(tiny, conv, bn, c, cin);
        for (int j = 0; j < tiny->blocks[i]; j++)
            for (int k = 1; k <= 2; k++) {
                snprintf(conv, sizeof conv, "stages.%d.blocks.%d.conv%d", i, j, k);
                snprintf(bn, sizeof bn, "stages.%d.blocks.%d.bn%d", i, j, k);
                add_conv(tiny, conv, bn, c, c);
            }
        cin = c;
        h = (h + 1) / 2;
    }
    add(tiny, "collapse.conv", "weight", 4, cin, 1, h, 1, 0, 1.0 / sqrt(h));
    add_bn(tiny, "collapse.bn", cin);
    add(tiny, "attn.proj", "weight", 2, tiny->attn, cin, 0, 0, 0, 1.0 / sqrt(cin));
    add(tiny, "attn.proj", "bias", 1, tiny->attn, 0, 0, 0, 0, 0.3);
    add(tiny, "attn.score", "weight", 2, 1, tiny->attn, 0, 0, 0, 0.8);
    add(tiny, "fc1", "weight", 2, tiny->fc, 2 * cin, 0, 0, 0, 1.0 / sqrt(cin));
    add(tiny, "fc1", "bias", 1, tiny->fc, 0, 0, 0, 0, 0.2);
    add(tiny, "fc2", "weight", 2, 1, tiny->fc, 0, 0, 0, 0.5);
    add(tiny, "fc2", "bias", 1, 1, 0, 0, 0, 0, 0.2);
}

void tiny_add_detail(struct tiny *tiny)
{
    tiny_set_meta(tiny, "detail_hidden", "32,16");
    add(tiny, "detail", "mean", 1, NN_DETAIL_COUNT, 0, 0, 0, 0.3, 0.3);
    add(tiny, "detail", "scale", 1, NN_DETAIL_COUNT, 0, 0, 0, 3.0, 2.0);
    add(tiny, "detail.fc1", "weight", 2, 32, NN_DETAIL_COUNT, 0, 0, 0, 0.05);
    add(tiny, "detail.fc1", "bias", 1, 32, 0, 0, 0, 0, 0.2);
    add(tiny, "detail.fc2", "weight", 2, 16, 32, 0, 0, 0, 0.3);
    add(tiny, "detail.fc2", "bias", 1, 16, 0, 0, 0, 0, 0.2);
    add(tiny, "detail.fc3", "weight", 2, 1, 16, 0, 0, 0, 0.5);
    add(tiny, "detail.fc3", "bias", 1, 1, 0, 0, 0, 0, 0.2);
}

void tiny_add_gate(struct tiny *tiny)
{
    add(tiny, "gate", "weight", 1, NN_DETAIL_COUNT, 0, 0, 0, 0, 0.05);
}

struct tiny *tiny_new(int window_frames, int stem, const char *stages, int attn, int fc)
{
    static char numbers[8][64]; /* lives on: metadata points into it */
    struct tiny *tiny = xalloc(sizeof *tiny);
    tiny->window_frames = window_frames, tiny->stem = stem, tiny->attn = attn, tiny->fc = fc;
    tiny->band_mean = 1;
    numbers[4][0] = numbers[5][0] = '\0';
    for (const char *p = stages; *p; p += *p == ',') {
        char *end;
        int i = tiny->stages++;
        tiny->channels[i] = (int)strtol(p, &end, 10);
        tiny->blocks[i] = (int)strtol(end + 1, &end, 10);
        p = end;
        size_t a = strlen(numbers[4]), b = strlen(numbers[5]);
        snprintf(numbers[4] + a, 64 - a, "%s%d", i ? "," : "", tiny->channels[i]);
        snprintf(numbers[5] + b, 64 - b, "%s%d", i ? "," : "", tiny->blocks[i]);
    }
    snprintf(numbers[0], 64, "%d", window_frames);
    snprintf(numbers[1], 64, "%d", stem);
    snprintf(numbers[2], 64, "%d", attn);
    snprintf(numbers[3], 64, "%d", fc);
    const struct tiny_meta meta[] = {
        {"format", "sonde-detector/1"},
        {"name", "tiny"},
        {"arch", "resnet-attn"},
        {"sample_rate", "16000"},
        {"frame_length", "400"},
        {"frame_hop", "160"},
        {"fft_size", "512"},
        {"bands", "128"},
        {"window_frames", numbers[0]},
        {"hop_frames", "4"},
        {"floor_db", "60"},
        {"band_norm", "mean"},
        {"stem_channels", numbers[1]},
        {"stage_channels", numbers[4]},
        {"stage_blocks", numbers[5]},
        {"attn_hidden", numbers[2]},
        {"fc_hidden", numbers[3]},
    };
    for (size_t i = 0; i < ARRAY_LEN(meta); i++)
        tiny_set_meta(tiny, meta[i].key, meta[i].value);
    add_network(tiny);
    return tiny;
}

void tiny_free(struct tiny *tiny)
{
    for (int i = 0; i < tiny->tensor_count; i++)
        free(tiny->tensors[i].values);
    free(tiny);
}

static size_t element_size(const struct tiny_tensor *t)
{
    return strcmp(t->dtype, "F32") == 0 ? 4 : strcmp(t->dtype, "F64") == 0 ? 8 : 2;
}

/* Bits of an IEEE half, for values that a half can hold. */
static uint16_t half_bits(float f)
{
    uint32_t w;
    memcpy(&w, &f, sizeof w);
    int e = (int)(w >> 23 & 255) - 112;
    if (e <= 0)
        return (uint16_t)(w >> 16 & 0x8000);
    return (uint16_t)((w >> 16 & 0x8000) | (uint32_t)e << 10 | (w >> 13 & 1023));
}

static void write_values(const struct tiny_tensor *t, uint8_t *to)
{
    for (size_t i = 0; i < t->count; i++) {
        double wide = t->values[i];
        uint32_t w;
        memcpy(&w, &t->values[i], sizeof w);
        uint16_t half =
            strcmp(t->dtype, "F16") == 0 ? half_bits(t->values[i]) : (uint16_t)(w >> 16);
        if (element_size(t) == 8)
            memcpy(to + 8 * i, &wide, 8);
        else if (element_size(t) == 4)
            memcpy(to + 4 * i, &w, 4);
        else
            memcpy(to + 2 * i, &half, 2);
    }
}

uint8_t *tiny_bytes(const struct tiny *tiny, size_t *ret_len)
{
    size_t cap = 4096, data = 0, at = 8;
    for (int i = 0; i < tiny->tensor_count; i++)
        cap += 256 + tiny->tensors[i].count * 8;
    uint8_t *file = xalloc(cap);
    char *text = (char *)file;
    at += (size_t)sprintf(text + at, "{\"__metadata__\":{");
    for (int i = 0; i < tiny->meta_count; i++)
        at += (size_t)sprintf(text + at, "%s\"%s\":\"%s\"", i ? "," : "", tiny->meta[i].key,
                              tiny->meta[i].value);
    at += (size_t)sprintf(text + at, "}");
    for (int i = 0; i < tiny->tensor_count; i++) {
        const struct tiny_tensor *t = &tiny->tensors[i];
        at +=
            (size_t)sprintf(text + at, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, t->dtype);
        for (int j = 0; j < t->rank; j++)
            at += (size_t)sprintf(text + at, "%s%d", j ? "," : "", t->shape[j]);
        size_t bytes = t->count * element_size(t);
        at += (size_t)sprintf(text + at, "],\"data_offsets\":[%zu,%zu]}", data, data + bytes);
        data += bytes;
    }
    at += (size_t)sprintf(text + at, "}");
    uint64_t header = at - 8;
    memcpy(file, &header, 8);
    for (int i = 0; i < tiny->tensor_count; i++) {
        write_values(&tiny->tensors[i], file + at);
        at += tiny->tensors[i].count * element_size(&tiny->tensors[i]);
    }
    *ret_len = at;
    return file;
}

/* ---- the reference ---- */

void tiny_frames(const float *samples, int n, double *logband, double *power)
{
    static double cosine[512], sine[512];
    for (int i = 0; i < 512; i++)
        cosine[i] = cos(2 * PI * i / 512), sine[i] = sin(2 * PI * i / 512);
    for (int f = 0; f < n; f++) {
        double x[400], p[257];
        for (int i = 0; i < 400; i++)
            x[i] = samples[160 * f + i] * (0.5 - 0.5 * cos(2 * PI * i / 400));
        for (int k = 0; k <= 256; k++) {
            double re = 0, im = 0;
            for (int i = 0; i < 400; i++) {
                re += x[i] * cosine[i * k & 511];
                im -= x[i] * sine[i * k & 511];
            }
            p[k] = re * re + im * im;
        }
        power[f] = 0;
        for (int b = 0; b < 128; b++) {
            double band = p[2 * b + 1] + p[2 * b + 2];
            power[f] += band;
            logband[f * 128 + b] = log(band + 1e-10);
        }
    }
}

/* An activation, [c][h][w]. */
struct map {
    int c, h, w;
    double *v;
};

static struct map map_new(int c, int h, int w)
{
    return (struct map){c, h, w, xalloc((size_t)c * (size_t)h * (size_t)w * sizeof(double))};
}

static double norm(struct tiny *tiny, const char *bn, int c, double x)
{
    char name[96];
    float *v[4];
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s", bn, parts[i]);
        v[i] = tiny_find(tiny, name)->values;
    }
    return (x - v[2][c]) / sqrt(v[3][c] + 1e-5) * v[0][c] + v[1][c];
}

static const float *weights_of(struct tiny *tiny, const char *prefix)
{
    char name[96];
    snprintf(name, sizeof name, "%s.weight", prefix);
    return tiny_find(tiny, name)->values;
}

static struct map conv(struct tiny *tiny, struct map in, const char *name, const char *bn, int cout,
                       int stride, const struct map *residual)
{
    struct map out = map_new(cout, (in.h + stride - 1) / stride, (in.w + stride - 1) / stride);
    const float *g = weights_of(tiny, name);
    for (int o = 0; o < cout; o++)
        for (int y = 0; y < out.h; y++)
            for (int x = 0; x < out.w; x++) {
                double sum = 0;
                for (int c = 0; c < in.c; c++)
                    for (int k = 0; k < 9; k++) {
                        int iy = y * stride + k / 3 - 1, ix = x * stride + k % 3 - 1;
                        if (iy >= 0 && iy < in.h && ix >= 0 && ix < in.w)
                            sum += in.v[(c * in.h + iy) * in.w + ix] * g[(o * in.c + c) * 9 + k];
                    }
                size_t at = (size_t)((o * out.h + y) * out.w + x);
                sum = norm(tiny, bn, o, sum) + (residual ? residual->v[at] : 0);
                out.v[at] = sum > 0 ? sum : 0;
            }
    return out;
}

static struct map input(const struct tiny *tiny, const double *logband, const double *power)
{
    int n = tiny->window_frames;
    struct map x = map_new(1, 128, n);
    double sum = 0;
    for (int f = 0; f < n; f++)
        sum += power[f];
    double level = log(sum / (n * 128.0) + 1e-10);
    for (int b = 0; b < 128; b++) {
        double mean = 0;
        for (int f = 0; f < n; f++) {
            double y = logband[f * 128 + b] - level;
            x.v[b * n + f] = y > -log(1e6) ? y : -log(1e6);
            mean += x.v[b * n + f] / n;
        }
        for (int f = 0; tiny->band_mean && f < n; f++)
            x.v[b * n + f] -= mean;
    }
    return x;
}

/* h[c][t] -> mean and spread under the attention's weights. */
static void pool(struct tiny *tiny, struct map h, double *out)
{
    const float *proj = weights_of(tiny, "attn.proj"), *score = weights_of(tiny, "attn.score");
    const float *bias = tiny_find(tiny, "attn.proj.bias")->values;
    double *a = xalloc((size_t)h.w * sizeof *a), total = 0;
    for (int t = 0; t < h.w; t++) {
        double e = 0;
        for (int i = 0; i < tiny->attn; i++) {
            double sum = bias[i];
            for (int c = 0; c < h.c; c++)
                sum += proj[i * h.c + c] * h.v[c * h.w + t];
            e += score[i] * tanh(sum);
        }
        total += a[t] = exp(e);
    }
    for (int c = 0; c < h.c; c++) {
        double mean = 0, square = 0;
        for (int t = 0; t < h.w; t++) {
            double x = h.v[c * h.w + t];
            mean += a[t] / total * x;
            square += a[t] / total * x * x;
        }
        out[c] = mean;
        out[h.c + c] = sqrt(fmax(square - mean * mean, 1e-5));
    }
    free(a);
}

static double dense(struct tiny *tiny, const char *name, const double *x, int k, int row)
{
    char bias[96];
    snprintf(bias, sizeof bias, "%s.bias", name);
    double sum = tiny_find(tiny, bias)->values[row];
    const float *w = weights_of(tiny, name) + (size_t)row * (size_t)k;
    for (int i = 0; i < k; i++)
        sum += w[i] * x[i];
    return sum;
}

static struct map next(struct map old, struct map new)
{
    free(old.v);
    return new;
}

double tiny_window(struct tiny *tiny, const double *logband, const double *power)
{
    char name[64], bn[64];
    struct map x = input(tiny, logband, power);
    x = next(x, conv(tiny, x, "stem.conv", "stem.bn", tiny->stem, 2, NULL));
    for (int i = 0; i < tiny->stages; i++) {
        snprintf(name, sizeof name, "stages.%d.down.conv", i);
        snprintf(bn, sizeof bn, "stages.%d.down.bn", i);
        x = next(x, conv(tiny, x, name, bn, tiny->channels[i], 2, NULL));
        for (int j = 0; j < tiny->blocks[i]; j++) {
            snprintf(name, sizeof name, "stages.%d.blocks.%d.conv1", i, j);
            snprintf(bn, sizeof bn, "stages.%d.blocks.%d.bn1", i, j);
            struct map y = conv(tiny, x, name, bn, x.c, 1, NULL);
            snprintf(name, sizeof name, "stages.%d.blocks.%d.conv2", i, j);
            snprintf(bn, sizeof bn, "stages.%d.blocks.%d.bn2", i, j);
            y = next(y, conv(tiny, y, name, bn, x.c, 1, &x));
            x = next(x, y);
        }
    }
    struct map h = map_new(x.c, 1, x.w);
    const float *g = weights_of(tiny, "collapse.conv");
    for (int c = 0; c < x.c; c++)
        for (int t = 0; t < x.w; t++) {
            double sum = 0;
            for (int y = 0; y < x.h; y++)
                sum += g[c * x.h + y] * x.v[(c * x.h + y) * x.w + t];
            sum = norm(tiny, "collapse.bn", c, sum);
            h.v[c * x.w + t] = sum > 0 ? sum : 0;
        }
    double *pooled = xalloc(2 * (size_t)x.c * sizeof *pooled);
    double *hidden = xalloc((size_t)tiny->fc * sizeof *hidden);
    pool(tiny, h, pooled);
    for (int i = 0; i < tiny->fc; i++)
        hidden[i] = fmax(dense(tiny, "fc1", pooled, 2 * x.c, i), 0);
    double logit = dense(tiny, "fc2", hidden, tiny->fc, 0);
    free(pooled);
    free(hidden);
    free(h.v);
    free(x.v);
    return logit;
}

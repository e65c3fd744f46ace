/* Times the engine: front end, network, every layer, on every instruction set; prints JSON.
 *
 *     bench_engine MODEL [--isa NAME] [--rounds N] [--dump-input FILE]
 *
 * Times are CPU time of this thread (another process on the core does not count), the input is the
 * synthetic window of train/golden.py. --dump-input writes the network's normalised input as
 * float32 [bands][frames], so that another runtime can be given exactly the same. A layer's floor
 * is its multiply-adds at the peak rate that this program measures with independent ones in
 * registers: once as the layer is defined, in fp32, once as the engine computes it (Winograd needs
 * fewer, and on avx512vnni at the rate of 16 bits).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "nn/internal.h"

#define ROUNDS_DEFAULT 200
#define ROUNDS_MAX     100000
#define PEAK_LOOPS     2000000

struct options {
    const char *model, *dump;
    int rounds, isa; /* isa -1: all */
};

/* Times of one thing over the rounds. */
struct series {
    char name[NN_NAME_MAX];
    uint64_t macs, done; /* as defined; as computed */
    int wino;
    double *us;
    int count;
};

struct bench {
    const struct nn_model *model;
    struct nn_session *session;
    float *samples, *logband, *power;
    struct series layers[NN_LAYERS_MAX + 1];
    int layer_count, rounds;
    const char *dump;
};

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_series(const char *key, struct series *s)
{
    double sum = 0;
    for (int i = 0; i < s->count; i++)
        sum += s->us[i];
    qsort(s->us, (size_t)s->count, sizeof *s->us, by_value);
    printf("\"%s\":{\"mean_us\":%.2f,\"median_us\":%.2f,\"min_us\":%.2f}", key, sum / s->count,
           s->us[s->count / 2], s->us[0]);
}

static struct series series_new(int rounds)
{
    return (struct series){.us = xalloc((size_t)rounds * sizeof(double))};
}

/* Multiplications per multiply-add of the definition: see kernels/wino.inc. */
static void set_macs(struct series *s, const struct nn_plan *plan, uint64_t macs)
{
    s->macs = s->done = macs;
    for (int i = 0; i < plan->layer_count; i++) {
        const struct nn_layer *l = &plan->layers[i];
        if (strcmp(l->name, s->name) == 0 && l->kind == NN_CONV_WINO) {
            s->wino = 1;
            s->done = macs * NN_WINO_CELLS(l->stride) / (16 * 9);
        }
    }
}

static void on_layer(void *ctx, const char *layer, const float *data, int h, int w, int c,
                     uint64_t macs, uint64_t ns)
{
    struct bench *b = ctx;
    int i = 0;
    while (i < b->layer_count && strcmp(b->layers[i].name, layer) != 0)
        i++;
    if (i == b->layer_count) {
        b->layers[i] = series_new(b->rounds);
        snprintf(b->layers[i].name, sizeof b->layers[i].name, "%s", layer);
        set_macs(&b->layers[i], &b->model->plan, macs);
        b->layer_count++;
    }
    b->layers[i].us[b->layers[i].count++] = (double)ns / 1e3;
    if (b->dump && strcmp(layer, "input") == 0) {
        FILE *f = fopen(b->dump, "wb");
        size_t n = (size_t)h * (size_t)w * (size_t)c;
        if (!f || fwrite(data, sizeof(float), n, f) != n || fclose(f) != 0) {
            fprintf(stderr, "bench_engine: cannot write %s\n", b->dump);
            exit(1);
        }
        b->dump = NULL;
    }
}

static float *synthetic(size_t n)
{
    float *x = xalloc(n * sizeof *x);
    uint32_t s = 1;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        double noise = (s >> 8) / 8388608.0 - 1, t = (double)i;
        x[i] = (float)(0.3 * sin(2 * M_PI * 220 * t / 16000) +
                       0.2 * sin(2 * M_PI * (500 + t * 0.05) * t / 16000) + 0.1 * noise);
    }
    return x;
}

/* Multiply-adds per microsecond with everything in registers. */
static double peak_rate(uint64_t (*peak)(uint64_t loops, float *sink))
{
    double best = 0;
    float sink = 0;
    for (int i = 0; i < 5; i++) {
        double start = cpu_us();
        uint64_t macs = peak(PEAK_LOOPS, &sink);
        double rate = (double)macs / (cpu_us() - start);
        best = rate > best ? rate : best;
        sink = 0;
    }
    return best;
}

/* `peak16`: the rate of Winograd's products. */
static void print_layers(struct bench *b, double peak, double peak16)
{
    printf(",\"layers\":[");
    for (int i = 0; i < b->layer_count; i++) {
        struct series *s = &b->layers[i];
        printf("%s\n  {\"name\":\"%s\",\"macs\":%llu,\"floor_us\":%.2f,\"computed_macs\":%llu,"
               "\"computed_floor_us\":%.2f,\"wino\":%d,",
               i ? "," : "", s->name, (unsigned long long)s->macs, (double)s->macs / peak,
               (unsigned long long)s->done, (double)s->done / (s->wino ? peak16 : peak), s->wino);
        print_series("time", s);
        printf("}");
        free(s->us);
    }
    printf("]");
}

static void bench_isa(struct bench *b, const char *separator)
{
    const struct nn_shape *shape = nn_model_shape(b->model);
    const size_t frames = (size_t)shape->window_frames;
    struct series front = series_new(b->rounds), net = series_new(b->rounds);
    float logit = 0;
    b->samples = synthetic(nn_window_samples(shape));
    b->logband = xalloc(frames * (size_t)shape->bands * sizeof(float));
    b->power = xalloc(frames * sizeof(float));
    for (int i = -b->rounds / 10 - 1; i < b->rounds; i++) { /* the first tenth warms up */
        double t0 = cpu_us();
        nn_frames(b->session, b->samples, frames, b->logband, b->power);
        double t1 = cpu_us();
        logit = nn_window(b->session, b->samples, b->logband, b->power, NULL);
        double t2 = cpu_us();
        if (i >= 0) {
            front.us[front.count++] = t1 - t0;
            net.us[net.count++] = t2 - t1;
        }
    }
    nn_session_tap(b->session, on_layer, b);
    for (int i = 0; i < b->rounds; i++)
        nn_window(b->session, b->samples, b->logband, b->power, NULL);
    const struct nn_kernels *kernels = b->model->kernels;
    const double peak = peak_rate(kernels->peak);
    const double peak16 = kernels->peak16 ? peak_rate(kernels->peak16) : peak;
    printf("%s\n{\"isa\":\"%s\",\"logit\":%.6f,\"peak_gmacs\":%.2f,\"peak16_gmacs\":%.2f,"
           "\"macs\":%llu,",
           separator, nn_isa_name(nn_model_isa(b->model)), logit, peak / 1e3, peak16 / 1e3,
           (unsigned long long)nn_model_macs(b->model));
    print_series("front", &front);
    printf(",");
    print_series("network", &net);
    print_layers(b, peak, peak16);
    printf("}");
    free(front.us);
    free(net.us);
    free(b->samples);
    free(b->logband);
    free(b->power);
}

static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.rounds = ROUNDS_DEFAULT, .isa = -1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--isa") == 0 && i + 1 < argc) {
            i++;
            while (++o->isa < NN_ISA_COUNT && strcmp(nn_isa_name(o->isa), argv[i]) != 0)
                ;
            if (o->isa == NN_ISA_COUNT)
                return -1;
        } else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
            o->rounds = atoi(argv[++i]);
        } else if (strcmp(argv[i], "--dump-input") == 0 && i + 1 < argc) {
            o->dump = argv[++i];
        } else if (!o->model && argv[i][0] != '-') {
            o->model = argv[i];
        } else {
            return -1;
        }
    }
    return o->model && o->rounds > 0 && o->rounds <= ROUNDS_MAX ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct options o;
    if (parse(argc, argv, &o) < 0) {
        fprintf(stderr, "usage: bench_engine MODEL [--isa NAME] [--rounds N] "
                        "[--dump-input FILE]\n");
        return 2;
    }
    const char *separator = "[";
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa) || (o.isa >= 0 && o.isa != (int)isa))
            continue;
        struct nn_model *model = NULL;
        struct err err = {0};
        struct bench *b = xalloc(sizeof *b);
        b->rounds = o.rounds;
        b->dump = o.dump;
        if (nn_model_open(o.model, isa, &model, &err) || nn_session_new(model, &b->session, &err)) {
            fprintf(stderr, "bench_engine: %s\n", err.text);
            return 1;
        }
        b->model = model;
        bench_isa(b, separator);
        separator = ",";
        nn_session_free(b->session);
        nn_model_free(model);
        free(b);
    }
    printf("%s]\n", *separator == '[' ? "[" : "");
    return 0;
}

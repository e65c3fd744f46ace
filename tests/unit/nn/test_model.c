/* nn: whole models. Against PyTorch (golden file) and against the definition in double (tiny
 * models), on every instruction set; what a model file may not be; what a session promises. */
#include "../../support/cm.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "nn/internal.h"
#include "tiny.h"

/* ---- allocation is counted by standing in for malloc ---- */

static _Atomic long allocations;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));
static void count_malloc(const volatile void *p, size_t n)
{
    (void)p, (void)n;
    allocations++;
}
static void count_free(const volatile void *p)
{
    (void)p;
}
static void count_allocations(void)
{
    __sanitizer_install_malloc_and_free_hooks(count_malloc, count_free);
}
#else
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void *malloc(size_t n)
{
    allocations++;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
    allocations++;
    return __libc_realloc(p, n);
}
void *aligned_alloc(size_t align, size_t n)
{
    allocations++;
    return __libc_memalign(align, n);
}
static void count_allocations(void)
{
}
#endif

/* ---- helpers ---- */

static struct nn_model *open_tiny(const struct tiny *tiny, enum nn_isa isa)
{
    size_t len;
    _cleanup_free_ uint8_t *bytes = tiny_bytes(tiny, &len);
    struct nn_model *model = NULL;
    struct err err = {0};
    if (nn_model_open_mem(bytes, len, isa, &model, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return model; /* the bytes are gone: only metadata may be needed from now on */
}

static struct nn_session *session_of(const struct nn_model *model)
{
    struct nn_session *session = NULL;
    struct err err = {0};
    assert_int_equal(nn_session_new(model, &session, &err), ERR_OK);
    return session;
}

/* The window of train/golden.py: two tones and noise. */
static float *golden_samples(size_t n)
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

/* One window of samples -> logit; frames by nn_frames. */
static float infer(struct nn_session *session, const struct nn_model *model, const float *samples)
{
    const struct nn_shape *shape = nn_model_shape(model);
    size_t n = (size_t)shape->window_frames;
    _cleanup_free_ float *logband = xalloc(n * (size_t)shape->bands * sizeof(float));
    _cleanup_free_ float *power = xalloc(n * sizeof(float));
    nn_frames(session, samples, n, logband, power);
    return nn_window(session, samples, logband, power, NULL);
}

/* ---- against PyTorch ---- */

/* The largest errors allowed: of a layer, relative to its largest golden value, and of a logit. In
 * 16 bits, measured: 1.4e-3 (behind the last stage), 8e-4. */
struct allowed {
    double layer, logit;
};

static struct allowed allowed(enum nn_isa isa)
{
    return isa == NN_ISA_AVX512VNNI ? (struct allowed){4e-3, 3e-3} : (struct allowed){2e-5, 1e-4};
}

struct golden {
    struct st_file *file;
    int layers;
    struct allowed most;
};

static void compare_layer(void *ctx, const char *layer, const float *data, int h, int w, int c,
                          uint64_t macs, uint64_t ns)
{
    (void)macs, (void)ns;
    struct golden *golden = ctx;
    char name[96];
    snprintf(name, sizeof name, "%s.idx", layer);
    const struct st_tensor *idx = st_find(golden->file, name);
    if (!idx)
        return; /* inside a block: PyTorch shows only the block's end */
    snprintf(name, sizeof name, "%s.val", layer);
    const struct st_tensor *val = st_find(golden->file, name);
    assert_non_null(val);
    assert_int_equal(idx->dtype, ST_I32);
    assert_int_equal(val->dtype, ST_F32);
    assert_int_equal(idx->count, val->count);
    double most = 1, worst = 0;
    for (size_t i = 0; i < idx->count; i++) {
        int32_t at;
        float want;
        memcpy(&at, idx->data + 4 * i, 4);
        memcpy(&want, val->data + 4 * i, 4);
        assert_in_range(at, 0, (int64_t)h * w * c - 1);
        most = fmax(most, fabs(want));
        worst = fmax(worst, fabs(data[at] - want));
    }
    if (!(worst <= golden->most.layer * most))
        fail_msg("%s: off by %g, the largest value is %g", layer, worst, most);
    if (strcmp(layer, "logit") == 0 && !(worst <= golden->most.logit))
        fail_msg("logit: off by %g", worst);
    golden->layers++;
}

static char *source_path(const char *name)
{
    const char *root = getenv("SONDE_SOURCE");
    return xasprintf("%s/%s", root ? root : ".", name);
}

static uint8_t *slurp(const char *path, size_t *ret_len)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    uint8_t *bytes = xalloc(1 << 24);
    *ret_len = fread(bytes, 1, 1 << 24, f);
    fclose(f);
    return bytes;
}

static void every_layer_is_pytorchs(void **state)
{
    (void)state;
    _cleanup_free_ char *golden_path = source_path("tests/golden/layers.safetensors");
    _cleanup_free_ char *model_path = source_path("models/sonde-8.safetensors");
    size_t len = 0;
    _cleanup_free_ uint8_t *bytes = slurp(golden_path, &len);
    if (!bytes || access(model_path, R_OK) != 0) {
        print_message("# SKIP: no %s or no %s\n", golden_path, model_path);
        skip();
    }
    struct golden golden = {0};
    struct err err = {0};
    assert_int_equal(st_parse(bytes, len, &golden.file, &err), ERR_OK);
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        struct nn_model *model = NULL;
        if (!nn_isa_supported(isa)) {
            print_message("# SKIP %s: not on this processor\n", nn_isa_name(isa));
            continue;
        }
        if (nn_model_open(model_path, isa, &model, &err))
            fail_msg("%s", err.text);
        struct nn_session *session = session_of(model);
        _cleanup_free_ float *x = golden_samples(nn_window_samples(nn_model_shape(model)));
        nn_session_tap(session, compare_layer, &golden);
        golden.layers = 0;
        golden.most = allowed(isa);
        infer(session, model, x);
        assert_int_equal(golden.layers * 2 + golden.layers, st_count(golden.file));
        nn_session_free(session);
        nn_model_free(model);
    }
    st_free(golden.file);
}

/* ---- against the definition ---- */

static const struct {
    int frames, stem;
    const char *stages;
    int attn, fc;
    const char *norm;
} nets[] = {
    {48, 16, "32:1,64:1", 48, 64, "mean"},                   /* Winograd everywhere */
    {37, 16, "16:1,48:1,32:0", 5, 7, "none"},                /* odd sizes: direct, uneven panels */
    {8, 32, "16:1,32:1,48:1,16:1,32:1,16:1", 33, 1, "mean"}, /* down to one cell */
    {64, 48, "80:2", 16, 100, "mean"},
};

static void whole_network_is_the_definition(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(nets); i++) {
        struct tiny *tiny =
            tiny_new(nets[i].frames, nets[i].stem, nets[i].stages, nets[i].attn, nets[i].fc);
        tiny_set_meta(tiny, "band_norm", nets[i].norm);
        tiny->band_mean = strcmp(nets[i].norm, "mean") == 0;
        const int n = nets[i].frames;
        _cleanup_free_ float *x = golden_samples(400 + 160 * (size_t)(n - 1));
        _cleanup_free_ double *logband = xalloc((size_t)n * 128 * sizeof(double));
        _cleanup_free_ double *power = xalloc((size_t)n * sizeof(double));
        tiny_frames(x, n, logband, power);
        const double want = tiny_window(tiny, logband, power);
        for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
            if (!nn_isa_supported(isa))
                continue;
            struct nn_model *model = open_tiny(tiny, isa);
            struct nn_session *session = session_of(model);
            float got = infer(session, model, x);
            if (!(fabs(got - want) < allowed(isa).logit))
                fail_msg("net %zu on %s: %.7f, not %.7f", i, nn_isa_name(isa), got, want);
            nn_session_free(session);
            nn_model_free(model);
        }
        tiny_free(tiny);
    }
}

static void half_precision_weights_are_read(void **state)
{
    (void)state;
    struct tiny *tiny = tiny_new(8, 16, "16:1", 4, 4);
    for (int i = 0; i < tiny->tensor_count; i++) { /* values that both types hold exactly */
        tiny->tensors[i].dtype = i % 2 ? "F16" : "BF16";
        for (size_t j = 0; j < tiny->tensors[i].count; j++)
            tiny->tensors[i].values[j] = roundf(tiny->tensors[i].values[j] * 64) / 64;
    }
    _cleanup_free_ float *x = golden_samples(400 + 160 * 7);
    struct nn_model *model = open_tiny(tiny, NN_ISA_SCALAR);
    struct nn_session *session = session_of(model);
    float halves = infer(session, model, x);
    nn_session_free(session);
    nn_model_free(model);
    for (int i = 0; i < tiny->tensor_count; i++)
        tiny->tensors[i].dtype = "F32";
    model = open_tiny(tiny, NN_ISA_SCALAR);
    session = session_of(model);
    assert_true(infer(session, model, x) == halves);
    nn_session_free(session);
    nn_model_free(model);
    tiny_free(tiny);
}

/* ---- promises ---- */

static void a_frame_has_the_same_bits_wherever_it_is_cut(void **state)
{
    (void)state;
    enum { FRAMES = 53 };
    struct tiny *tiny = tiny_new(8, 16, "16:0", 4, 4);
    _cleanup_free_ float *x = golden_samples(400 + 160 * (FRAMES - 1));
    static float all[FRAMES * 128], power[FRAMES], part[FRAMES * 128], part_power[FRAMES];
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa))
            continue;
        struct nn_model *model = open_tiny(tiny, isa);
        struct nn_session *session = session_of(model);
        nn_frames(session, x, FRAMES, all, power);
        for (size_t n = 1; n <= 20; n++) {
            for (size_t f = 0; f < FRAMES; f += n) {
                size_t count = FRAMES - f < n ? FRAMES - f : n;
                /* An exact copy: a sanitizer sees any look past the last frame. */
                size_t have = 400 + 160 * (count - 1);
                _cleanup_free_ float *cut = xalloc(have * sizeof(float));
                memcpy(cut, x + 160 * f, have * sizeof(float));
                nn_frames(session, cut, count, part + 128 * f, part_power + f);
            }
            assert_memory_equal(part, all, sizeof all);
            assert_memory_equal(part_power, power, sizeof power);
        }
        nn_frames(session, x, 0, NULL, NULL);
        nn_session_free(session);
        nn_model_free(model);
    }
    tiny_free(tiny);
}

static void nothing_is_allocated_while_inferring(void **state)
{
    (void)state;
    struct tiny *tiny = tiny_new(48, 16, "32:1,48:1", 48, 64);
    _cleanup_free_ float *x = golden_samples(400 + 160 * 47);
    static float logband[48 * 128], power[48];
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa))
            continue;
        struct nn_model *model = open_tiny(tiny, isa);
        long before = allocations;
        struct nn_session *session = session_of(model);
        assert_true(allocations > before); /* the counter works */
        before = allocations;
        for (int i = 0; i < 3; i++) {
            nn_frames(session, x, 48, logband, power);
            nn_window(session, x, logband, power, NULL);
        }
        assert_int_equal(allocations, before);
        nn_session_free(session);
        nn_model_free(model);
    }
    tiny_free(tiny);
}

struct worker {
    const struct nn_model *model;
    const float *samples;
    float logits[20];
};

static void *work(void *ptr)
{
    struct worker *w = ptr;
    struct nn_session *session = NULL;
    struct err err;
    if (nn_session_new(w->model, &session, &err))
        return NULL;
    static const int frames = 48;
    float *logband = malloc(sizeof(float) * 48 * 128), power[48];
    for (size_t i = 0; i < ARRAY_LEN(w->logits); i++) {
        nn_frames(session, w->samples + 160 * i, frames, logband, power);
        w->logits[i] = nn_window(session, w->samples + 160 * i, logband, power, NULL);
    }
    free(logband);
    nn_session_free(session);
    return w;
}

static void threads_share_a_model_and_get_the_same_bits(void **state)
{
    (void)state;
    struct tiny *tiny = tiny_new(48, 16, "32:1,48:1", 48, 64);
    _cleanup_free_ float *x = golden_samples(400 + 160 * 67);
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa))
            continue;
        struct nn_model *model = open_tiny(tiny, isa);
        static struct worker w[3];
        for (int i = 0; i < 3; i++)
            w[i] = (struct worker){.model = model, .samples = x};
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        assert_non_null(work(&w[2]));
        assert_memory_equal(w[0].logits, w[2].logits, sizeof w[0].logits);
        assert_memory_equal(w[1].logits, w[2].logits, sizeof w[1].logits);
        assert_true(w[2].logits[0] != w[2].logits[1]);
        nn_model_free(model);
    }
    tiny_free(tiny);
}

/* What one window leaves in the arena must not show in the next. */
static void a_window_leaves_no_trace_in_the_next(void **state)
{
    (void)state;
    struct tiny *tiny = tiny_new(37, 16, "32:1,48:1", 48, 64);
    size_t n = 400 + 160 * 36;
    _cleanup_free_ float *x = golden_samples(n);
    _cleanup_free_ float *loud = xalloc(n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        loud[i] = i % 7 ? 1e15f : -3e18f; /* powers overflow: infinities and NaNs in every buffer */
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa))
            continue;
        struct nn_model *model = open_tiny(tiny, isa);
        struct nn_session *session = session_of(model);
        float first = infer(session, model, x);
        infer(session, model, loud);
        assert_true(infer(session, model, x) == first);
        nn_session_free(session);
        nn_model_free(model);
    }
    tiny_free(tiny);
}

/* ---- instruction sets ---- */

static void isa_is_chosen_and_forced(void **state)
{
    (void)state;
    enum nn_isa isa = NN_ISA_AUTO;
    struct err err = {0};
    unsetenv("SONDE_ISA");
    assert_int_equal(nn_isa_choose(NULL, &isa, &err), ERR_OK);
    assert_true(nn_isa_supported(isa));
    for (enum nn_isa better = isa + 1; better < NN_ISA_COUNT; better++)
        assert_false(nn_isa_supported(better));
    setenv("SONDE_ISA", "", 1); /* as good as unset */
    assert_int_equal(nn_isa_choose(NULL, &isa, &err), ERR_OK);

    struct tiny *tiny = tiny_new(8, 16, "16:0", 4, 4);
    setenv("SONDE_ISA", "scalar", 1);
    struct nn_model *model = open_tiny(tiny, NN_ISA_AUTO);
    assert_int_equal(nn_model_isa(model), NN_ISA_SCALAR);
    nn_model_free(model);

    setenv("SONDE_ISA", "mmx", 1);
    assert_int_equal(nn_isa_choose(NULL, &isa, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "mmx"));
    assert_non_null(strstr(err.text, "scalar"));
    size_t len;
    _cleanup_free_ uint8_t *bytes = tiny_bytes(tiny, &len);
    assert_int_equal(nn_model_open_mem(bytes, len, NN_ISA_AUTO, &model, &err), ERR_USAGE);
    unsetenv("SONDE_ISA");
    assert_int_equal(nn_model_open_mem(bytes, len, NN_ISA_COUNT, &model, &err), ERR_USAGE);
    tiny_free(tiny);
    assert_false(nn_isa_supported(NN_ISA_AUTO));
    assert_string_equal(nn_isa_name(NN_ISA_AVX512), "avx512");
    assert_string_equal(nn_isa_name(NN_ISA_AVX512VNNI), "avx512vnni");
    assert_string_equal(nn_isa_name(NN_ISA_COUNT), "auto");
}

/* ---- what a model tells, and what it may not be ---- */

static void a_model_tells_about_itself(void **state)
{
    (void)state;
    struct tiny *tiny = tiny_new(48, 16, "32:1", 48, 64);
    tiny_set_meta(tiny, "llr_scale", "1.5");
    struct nn_model *model = open_tiny(tiny, NN_ISA_SCALAR);
    const struct nn_shape *shape = nn_model_shape(model);
    assert_int_equal(shape->sample_rate, 16000);
    assert_int_equal(shape->window_frames, 48);
    assert_int_equal(shape->hop_frames, 4);
    assert_int_equal(nn_window_samples(shape), 400 + 47 * 160);
    size_t parameters = 0;
    for (int i = 0; i < tiny->tensor_count; i++)
        parameters += tiny->tensors[i].count;
    assert_int_equal(nn_model_parameters(model), parameters);
    uint64_t macs = 64 * 24 * 16 * 9 + 32 * 12 * 32 * (16 + 2 * 32) * 9 + 32 * 32 * 12 +
                    12 * (32 * 48 + 48 + 2 * 32) + 64 * 64 + 64;
    assert_int_equal(nn_model_macs(model), macs);
    assert_string_equal(nn_model_meta(model, "llr_scale"), "1.5");
    assert_null(nn_model_meta(model, "nothing"));
    const char *key, *value;
    assert_int_equal(nn_model_meta_at(model, 0, &key, &value), 1);
    assert_string_equal(key, "format");
    assert_int_equal(nn_model_meta_at(model, 1000, &key, &value), 0);
    size_t len;
    _cleanup_free_ uint8_t *bytes = tiny_bytes(tiny, &len);
    char hex[SHA256_HEX];
    struct err err;
    assert_int_equal(sha256_mem(bytes, len, hex, &err), ERR_OK);
    assert_string_equal(nn_model_sha256(model), hex);
    assert_null(nn_model_free(model));
    assert_null(nn_model_free(NULL));
    assert_null(nn_session_free(NULL));
    tiny_free(tiny);
}

static void assert_refused(const struct tiny *tiny, const char *says)
{
    size_t len;
    _cleanup_free_ uint8_t *bytes = tiny_bytes(tiny, &len);
    struct nn_model *model = NULL;
    struct err err = {0};
    assert_int_equal(nn_model_open_mem(bytes, len, NN_ISA_AUTO, &model, &err), ERR_MODEL);
    assert_null(model);
    if (!strstr(err.text, says))
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static const struct {
    const char *key, *value;
} bad_meta[] = {
    {"format", "sonde-detector/2"},
    {"format", NULL},
    {"arch", "aasist"},
    {"sample_rate", "0"},
    {"sample_rate", "16e3"},
    {"frame_length", "401"},
    {"frame_length", "528"},
    {"frame_hop", "0"},
    {"fft_size", "1024"},
    {"bands", "80"},
    {"window_frames", "7"},
    {"window_frames", "5000"},
    {"hop_frames", "0"},
    {"hop_frames", "9"},
    {"floor_db", "-60"},
    {"floor_db", "60 "},
    {"floor_db", "201"},
    {"band_norm", "variance"},
    {"band_norm", NULL},
    {"stem_channels", "24"},
    {"stem_channels", "528"},
    {"stem_channels", "0"},
    {"stem_channels", "99999999999999999999"},
    {"stage_channels", ""},
    {"stage_channels", "16,"},
    {"stage_channels", ",16"},
    {"stage_channels", "16;16"},
    {"stage_channels", "16,16,16,16,16,16,16"},
    {"stage_channels", "20"},
    {"stage_blocks", "1,1"},
    {"stage_blocks", "9"},
    {"attn_hidden", "0"},
    {"fc_hidden", "1025"},
};

static void wrong_metadata_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_meta); i++) {
        struct tiny *tiny = tiny_new(8, 16, "16:1", 4, 4);
        tiny_set_meta(tiny, bad_meta[i].key, bad_meta[i].value);
        /* Where two counts disagree, the other key may be the one that is named. */
        assert_refused(tiny,
                       strcmp(bad_meta[i].key, "stage_blocks") == 0 ? "stage_" : bad_meta[i].key);
        tiny_free(tiny);
    }
}

static void wrong_tensors_are_refused(void **state)
{
    (void)state;
    struct tiny *names = tiny_new(8, 16, "16:1", 4, 4);
    for (int i = 0; i < names->tensor_count; i++) {
        const char *name = names->tensors[i].name;
        struct tiny *tiny = tiny_new(8, 16, "16:1", 4, 4);
        struct tiny_tensor *t = tiny_find(tiny, name);
        t->dtype = "F64";
        assert_refused(tiny, name);
        t->dtype = "F32";
        t->values[t->count - 1] = NAN;
        assert_refused(tiny, "not finite");
        t->values[t->count - 1] = INFINITY;
        assert_refused(tiny, "not finite");
        t->values[t->count - 1] = 1;
        t->shape[0]++; /* one row more than the metadata says */
        t->count = t->count / (size_t)(t->shape[0] - 1) * (size_t)t->shape[0];
        t->values = realloc(t->values, t->count * sizeof(float));
        for (size_t j = 0; j < t->count; j++)
            t->values[j] = 1;
        assert_refused(tiny, name);
        snprintf(t->name, sizeof t->name, "other");
        assert_refused(tiny, name);
        tiny_free(tiny);
    }
    tiny_free(names);

    struct tiny *tiny = tiny_new(8, 16, "16:1", 4, 4);
    tiny_find(tiny, "stem.bn.running_var")->values[3] = -1;
    assert_refused(tiny, "negative");
    tiny_find(tiny, "stem.bn.running_var")->values[3] = 0;
    tiny_find(tiny, "stem.bn.weight")->values[3] = 1e38f;
    tiny_find(tiny, "stem.conv.weight")->values[3 * 9] = 1e38f;
    assert_refused(tiny, "finite");
    tiny_free(tiny);

    tiny = tiny_new(48, 16, "32:1", 4, 4); /* by Winograd, whatever its products are in */
    tiny_find(tiny, "stages.0.blocks.0.conv1.weight")->values[32 * 9 + 5] = 1e38f;
    tiny_find(tiny, "stages.0.blocks.0.bn1.weight")->values[1] = 1e38f;
    size_t len;
    _cleanup_free_ uint8_t *bytes = tiny_bytes(tiny, &len);
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        struct nn_model *model = NULL;
        struct err err = {0};
        if (nn_isa_supported(isa))
            assert_int_equal(nn_model_open_mem(bytes, len, isa, &model, &err), ERR_MODEL);
    }
    tiny_free(tiny);
}

static void extra_tensors_are_refused_but_counters(void **state)
{
    (void)state;
    struct tiny *tiny = tiny_new(8, 16, "16:1", 4, 4);
    struct tiny_tensor *extra = &tiny->tensors[tiny->tensor_count++];
    *extra = (struct tiny_tensor){.dtype = "F32", .rank = 1, .shape = {1}, .count = 1};
    extra->values = xalloc(sizeof(float));
    snprintf(extra->name, sizeof extra->name, "stem.bn.num_batches_tracked");
    nn_model_free(open_tiny(tiny, NN_ISA_AUTO));
    snprintf(extra->name, sizeof extra->name, "backdoor.weight");
    assert_refused(tiny, "1 tensors");
    tiny_free(tiny);
}

static void attention_may_be_stored_as_convolution(void **state)
{
    (void)state;
    struct tiny *tiny = tiny_new(8, 16, "16:1", 4, 4);
    const char *names[] = {"attn.proj.weight", "attn.score.weight"};
    for (int i = 0; i < 2; i++) {
        struct tiny_tensor *t = tiny_find(tiny, names[i]);
        t->shape[t->rank++] = 1;
    }
    nn_model_free(open_tiny(tiny, NN_ISA_AUTO));
    tiny_free(tiny);
}

static void a_model_that_needs_too_much_memory_is_refused(void **state)
{
    (void)state;
    struct tiny *tiny = tiny_new(4096, 512, "16:0", 4, 4);
    assert_refused(tiny, "MiB");
    tiny_free(tiny);
}

static void files_are_opened_with_their_own_errors(void **state)
{
    (void)state;
    struct nn_model *model = NULL;
    struct err err = {0};
    assert_int_equal(nn_model_open("/nonexistent", NN_ISA_AUTO, &model, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent"));
    assert_int_equal(nn_model_open("/", NN_ISA_AUTO, &model, &err), ERR_NOT_A_FILE);

    char path[] = "/tmp/sonde-test-model-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct tiny *tiny = tiny_new(8, 16, "16:1", 4, 4);
    size_t len;
    _cleanup_free_ uint8_t *bytes = tiny_bytes(tiny, &len);
    assert_int_equal(nn_model_open(path, NN_ISA_AUTO, &model, &err), ERR_EMPTY);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(nn_model_open(path, NN_ISA_AUTO, &model, &err), ERR_OK);
    nn_model_free(model);
    model = NULL;
    for (size_t cut = 1; cut < len; cut += len / 13) { /* a copy that broke off */
        assert_int_equal(ftruncate(fd, (off_t)cut), 0);
        assert_int_equal(pwrite(fd, bytes, cut, 0), cut);
        assert_int_equal(nn_model_open(path, NN_ISA_AUTO, &model, &err), ERR_MODEL);
    }
    assert_int_equal(ftruncate(fd, (off_t)NN_FILE_MAX + 1), 0);
    assert_int_equal(nn_model_open(path, NN_ISA_AUTO, &model, &err), ERR_MODEL);
    assert_non_null(strstr(err.text, "limit"));
    assert_null(model);
    close(fd);
    unlink(path);
    tiny_free(tiny);
}

int main(void)
{
    count_allocations();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_is_pytorchs),
        cmocka_unit_test(whole_network_is_the_definition),
        cmocka_unit_test(half_precision_weights_are_read),
        cmocka_unit_test(a_frame_has_the_same_bits_wherever_it_is_cut),
        cmocka_unit_test(nothing_is_allocated_while_inferring),
        cmocka_unit_test(threads_share_a_model_and_get_the_same_bits),
        cmocka_unit_test(a_window_leaves_no_trace_in_the_next),
        cmocka_unit_test(isa_is_chosen_and_forced),
        cmocka_unit_test(a_model_tells_about_itself),
        cmocka_unit_test(wrong_metadata_is_refused),
        cmocka_unit_test(wrong_tensors_are_refused),
        cmocka_unit_test(extra_tensors_are_refused_but_counters),
        cmocka_unit_test(attention_may_be_stored_as_convolution),
        cmocka_unit_test(a_model_that_needs_too_much_memory_is_refused),
        cmocka_unit_test(files_are_opened_with_their_own_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

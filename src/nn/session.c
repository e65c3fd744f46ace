/* Running the network: one session is one arena with the places that the model's plan gave out.
 * It belongs to one thread at a time and never allocates while it infers. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"
#include "../os/clock.h"

struct nn_session {
    const struct nn_model *model;
    float *arena;
    float *edge; /* the samples of a front-end batch that is not full, then its frames */
    float gate;  /* of the last window */
    nn_tap *tap;
    void *tap_ctx;
    float *tap_data; /* a layer's output as [h][w][c]; only while there is a tap */
};

/* Samples that one full batch of the front end reads. */
static size_t batch_samples(const struct nn_model *model)
{
    const struct nn_shape *shape = &model->config.shape;
    return (size_t)shape->frame_length +
           (size_t)(model->kernels->width - 1) * (size_t)shape->frame_hop;
}

enum err_code nn_session_new(const struct nn_model *model, struct nn_session **ret, struct err *err)
{
    struct nn_session *session = xalloc(sizeof *session);
    session->model = model;
    session->arena = try_alloc(model->plan.arena_floats, sizeof(float));
    session->edge = try_alloc(batch_samples(model), sizeof(float));
    if (!session->arena || !session->edge) {
        nn_session_free(session);
        return err_set(err, ERR_NO_MEMORY, "no memory for a session");
    }
    *ret = session;
    return ERR_OK;
}

struct nn_session *nn_session_free(struct nn_session *session)
{
    if (session) {
        free(session->arena);
        free(session->edge);
        free(session->tap_data);
        free(session);
    }
    return NULL;
}

void nn_frames(struct nn_session *session, const float *samples, size_t n, float *logband,
               float *power)
{
    const struct nn_model *model = session->model;
    const struct nn_shape *shape = &model->config.shape;
    const size_t width = (size_t)model->kernels->width, hop = (size_t)shape->frame_hop;
    for (size_t f = 0; f < n; f += width) {
        const float *from = samples + f * hop;
        size_t count = n - f < width ? n - f : width;
        if (count < width) { /* what lies behind the last frame is not ours to read */
            size_t have = (size_t)shape->frame_length + (count - 1) * hop;
            memcpy(session->edge, from, have * sizeof(float));
            memset(session->edge + have, 0, (batch_samples(model) - have) * sizeof(float));
            from = session->edge;
        }
        model->kernels->frames(&model->front, from, (int)count, logband + f * (size_t)shape->bands,
                               power + f, session->arena);
    }
}

/* ---- the tap ---- */

void nn_session_tap(struct nn_session *session, nn_tap *tap, void *ctx)
{
    const struct nn_plan *plan = &session->model->plan;
    session->tap = tap;
    session->tap_ctx = ctx;
    if (tap && !session->tap_data)
        session->tap_data = xalloc(plan->arena_floats * sizeof(float));
}

/* [c/V][h+2][w+2][V] -> [h][w][c]; `border` 0 for data without one. */
static void unblock(const float *from, float *to, int h, int w, int c, int v, int border, int pitch)
{
    const size_t plane = (size_t)(h + 2 * border) * (size_t)pitch * (size_t)v;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int i = 0; i < c; i++)
                *to++ =
                    from[(size_t)(i / v) * plane +
                         ((size_t)(y + border) * (size_t)pitch + (size_t)(x + border)) * (size_t)v +
                         (size_t)(i % v)];
}

static void tap_layer(struct nn_session *session, const struct nn_layer *l, uint64_t ns)
{
    const struct nn_model *model = session->model;
    const float *out = session->arena + model->plan.buffers[l->out].offset;
    int h = l->hout, w = l->wout, c = l->cout, v = model->kernels->width;
    switch (l->kind) {
    case NN_COLLAPSE:
        unblock(out, session->tap_data, h, w, c, v, 0, nn_pad_to(w, model->kernels->rows));
        break;
    case NN_ATTN:
        c = 2 * l->cin;
        memcpy(session->tap_data, out, (size_t)c * sizeof(float));
        break;
    case NN_DETAIL:
    case NN_FC1:
    case NN_FC2:
        memcpy(session->tap_data, out, (size_t)c * sizeof(float));
        break;
    default:
        unblock(out, session->tap_data, h, w, c, v, 1, w + 2);
    }
    session->tap(session->tap_ctx, l->name, session->tap_data, h, w, c, l->macs, ns);
}

/* The normalised input, [bands][frames][1]. */
static void tap_input(struct nn_session *session, uint64_t ns)
{
    const struct nn_plan *plan = &session->model->plan;
    const float *plane = session->arena + plan->buffers[plan->plane].offset;
    int bands = session->model->config.shape.bands;
    int frames = session->model->config.shape.window_frames;
    for (int b = 0; b < bands; b++)
        for (int f = 0; f < frames; f++)
            session->tap_data[b * frames + f] = plane[(f + 1) * NN_PLANE_PITCH + NN_PLANE_LEFT + b];
    session->tap(session->tap_ctx, "input", session->tap_data, bands, frames, 1, 0, ns);
}

/* ---- the layers ---- */

static void run_conv(const struct nn_model *model, float *arena, const struct nn_layer *l)
{
    const struct nn_buffer *buffers = model->plan.buffers;
    const struct nn_conv_args args = {
        .in = arena + buffers[l->in].offset,
        .out = arena + buffers[l->out].offset,
        .residual = l->residual >= 0 ? arena + buffers[l->residual].offset : NULL,
        .weights = model->weights + l->weights,
        .bias = model->weights + l->bias,
        .scratch = l->scratch >= 0 ? arena + buffers[l->scratch].offset : NULL,
        .cin = l->cin,
        .cout = l->cout,
        .hin = l->hin,
        .win = l->win,
        .hout = l->hout,
        .wout = l->wout,
        .stride = l->stride,
        .tile_block = l->tile_block,
    };
    if (l->kind == NN_CONV_WINO)
        model->kernels->conv_wino(&args);
    else
        model->kernels->conv_direct(&args);
}

static void run_stem(const struct nn_model *model, float *arena, const struct nn_layer *l)
{
    const struct nn_buffer *buffers = model->plan.buffers;
    const struct nn_stem_args args = {
        .in = arena + buffers[l->in].offset,
        .out = arena + buffers[l->out].offset,
        .weights = model->weights + l->weights,
        .bias = model->weights + l->bias,
        .cout = l->cout,
        .hout = l->hout,
        .wout = l->wout,
    };
    model->kernels->stem(&args);
}

static void run_collapse(const struct nn_model *model, float *arena, const struct nn_layer *l)
{
    const struct nn_buffer *buffers = model->plan.buffers;
    const struct nn_collapse_args args = {
        .in = arena + buffers[l->in].offset,
        .out = arena + buffers[l->out].offset,
        .weights = model->weights + l->weights,
        .bias = model->weights + l->bias,
        .channels = l->cout,
        .h = l->hin,
        .w = l->win,
        .steps = nn_pad_to(l->win, model->kernels->rows),
    };
    model->kernels->collapse(&args);
}

static void run_attn(const struct nn_model *model, float *arena, const struct nn_layer *l)
{
    const struct nn_buffer *buffers = model->plan.buffers;
    const struct nn_attn_args args = {
        .in = arena + buffers[l->in].offset,
        .out = arena + buffers[l->out].offset,
        .proj = model->weights + l->weights,
        .bias = model->weights + l->bias,
        .score = model->weights + l->extra,
        .scratch = arena + buffers[l->scratch].offset,
        .channels = l->cin,
        .hidden = l->cout,
        .steps = nn_pad_to(l->win, model->kernels->rows),
        .t = l->win,
    };
    model->kernels->attn(&args);
}

static void run_detail(struct nn_session *session, const float *samples, const struct nn_layer *l)
{
    const struct nn_model *model = session->model;
    const struct nn_buffer *buffers = model->plan.buffers;
    float *arena = session->arena;
    const struct nn_shape *shape = &model->config.shape;
    const float *mean = model->weights + l->weights, *scale = model->weights + l->extra;
    float *out = arena + buffers[l->out].offset;
    model->kernels->detail(model->detail, samples, (int)nn_window_samples(shape),
                           arena + buffers[l->in].offset, shape->window_frames, out,
                           arena + buffers[l->scratch].offset);
    for (int i = 0; i < l->cout; i++) { /* what lies far out says no more than "far out" */
        float x = (out[i] - mean[i]) * scale[i];
        out[i] = x < -NN_DETAIL_MOST ? -NN_DETAIL_MOST : x > NN_DETAIL_MOST ? NN_DETAIL_MOST : x;
    }
    double sum = 0;
    for (int i = 0; l->gate && i < l->cout; i++)
        sum += (double)model->weights[l->gate + (size_t)i] * (double)out[i];
    session->gate = (float)sum;
}

static void run_dense(const struct nn_model *model, float *arena, const struct nn_layer *l)
{
    const struct nn_buffer *buffers = model->plan.buffers;
    float *out = arena + buffers[l->out].offset;
    const float *in = arena + buffers[l->in].offset, *weights = model->weights + l->weights;
    const float *bias = model->weights + l->bias;
    const int n = nn_pad_to(l->cout, 16), relu = l->kind == NN_FC1;
    if (l->halves)
        model->kernels->dense16(in, l->cin, (const uint16_t *)(const void *)weights, bias, n, relu,
                                out);
    else
        model->kernels->dense(in, l->cin, weights, bias, n, relu, out);
    if (l->residual >= 0)
        out[0] += arena[buffers[l->residual].offset];
}

static void run_layer(struct nn_session *session, const float *samples, const struct nn_layer *l)
{
    const struct nn_model *model = session->model;
    float *arena = session->arena;
    switch (l->kind) {
    case NN_STEM:
        run_stem(model, arena, l);
        break;
    case NN_CONV_DIRECT:
    case NN_CONV_WINO:
        run_conv(model, arena, l);
        break;
    case NN_COLLAPSE:
        run_collapse(model, arena, l);
        break;
    case NN_ATTN:
        run_attn(model, arena, l);
        break;
    case NN_DETAIL:
        run_detail(session, samples, l);
        break;
    case NN_FC1:
    case NN_FC2:
        run_dense(model, arena, l);
    }
}

static void run_input(struct nn_session *session, const float *logband, const float *power)
{
    const struct nn_model *model = session->model;
    const struct nn_shape *shape = &model->config.shape;
    double sum = 0;
    for (int f = 0; f < shape->window_frames; f++)
        sum += power[f];
    double mean = sum / ((double)shape->window_frames * shape->bands);
    model->kernels->normalise(logband, (float)log(mean + 1e-10), model->config.floor,
                              model->config.band_mean, shape->window_frames,
                              session->arena + model->plan.buffers[model->plan.plane].offset);
}

float nn_window(struct nn_session *session, const float *samples, const float *logband,
                const float *power, float *ret_gate)
{
    const struct nn_model *model = session->model;
    const struct nn_plan *plan = &model->plan;
    uint64_t start = session->tap ? clock_ns() : 0;
    run_input(session, logband, power);
    if (session->tap)
        tap_input(session, clock_ns() - start);
    for (int i = 0; i < plan->layer_count; i++) {
        start = session->tap ? clock_ns() : 0;
        run_layer(session, samples, &plan->layers[i]);
        if (session->tap)
            tap_layer(session, &plan->layers[i], clock_ns() - start);
    }
    if (ret_gate)
        *ret_gate = session->gate;
    return session->arena[plan->buffers[plan->layers[plan->layer_count - 1].out].offset];
}

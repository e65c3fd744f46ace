/* From a configuration to layers in order, a place for every weight, and a place in one arena for
 * every activation: a buffer's bytes are used again once the last layer that reads it is done. The
 * plan is made once per model; a session is then one allocation, and nothing is allocated while it
 * runs. Any thread. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

/* Winograd tiles that are transformed, multiplied and transformed back together: enough for the
 * weights to be read seldom, few enough for both sides of the product to stay in the cache. */
#define WINO_TILE_BLOCK NN_WINO_BLOCK_MAX

static size_t align16(size_t floats)
{
    return (floats + 15) & ~(size_t)15;
}

static int add_buffer(struct nn_plan *plan, size_t floats)
{
    plan->buffers[plan->buffer_count] = (struct nn_buffer){
        .floats = align16(floats + NN_SLACK),
        .first = plan->layer_count,
        .last = plan->layer_count,
    };
    return plan->buffer_count++;
}

static int add_activation(struct nn_plan *plan, int channels, int h, int w)
{
    return add_buffer(plan, (size_t)channels * (size_t)(h + 2) * (size_t)(w + 2));
}

static size_t add_weights(struct nn_plan *plan, size_t floats)
{
    size_t at = plan->weight_floats;
    plan->weight_floats += align16(floats);
    return at;
}

static struct nn_layer *add_layer(struct nn_plan *plan, enum nn_layer_kind kind, const char *name)
{
    struct nn_layer *layer = &plan->layers[plan->layer_count];
    *layer = (struct nn_layer){.kind = kind, .in = -1, .out = -1, .residual = -1, .scratch = -1};
    snprintf(layer->name, sizeof layer->name, "%s", name);
    return layer;
}

/* Marks the buffers that the newest layer reads as alive until now, and counts the layer. */
static void finish_layer(struct nn_plan *plan, struct nn_layer *layer)
{
    int reads[] = {layer->in, layer->residual, layer->scratch};
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++)
        if (reads[i] >= 0)
            plan->buffers[reads[i]].last = plan->layer_count;
    plan->macs += layer->macs;
    plan->layer_count++;
}

int nn_plan_tile_block(int h, int w, const struct nn_kernels *kernels)
{
    int tiles = nn_pad_to(h / 4 * (w / 4), kernels->rows);
    return tiles < WINO_TILE_BLOCK ? tiles : WINO_TILE_BLOCK;
}

/* The activation that the next layer starts from. */
struct cursor {
    int buffer, channels, h, w;
};

/* A 3x3 convolution with its batch normalisation and ReLU. */
static void add_conv(struct nn_plan *plan, const struct nn_kernels *kernels, struct cursor *at,
                     const char *name, const char *conv, const char *bn, int cout, int stride,
                     int residual)
{
    int hout = (at->h + stride - 1) / stride, wout = (at->w + stride - 1) / stride;
    int wino = hout % 4 == 0 && wout % 4 == 0;
    int padded = nn_pad_to(cout, 2 * kernels->width);
    struct nn_layer *layer = add_layer(plan, wino ? NN_CONV_WINO : NN_CONV_DIRECT, name);
    snprintf(layer->conv, sizeof layer->conv, "%s", conv);
    snprintf(layer->bn, sizeof layer->bn, "%s", bn);
    layer->cin = at->channels, layer->cout = cout, layer->stride = stride;
    layer->hin = at->h, layer->win = at->w, layer->hout = hout, layer->wout = wout;
    layer->macs = 9ull * (uint64_t)at->channels * (uint64_t)cout * (uint64_t)hout * (uint64_t)wout;
    layer->weight_count = wino ? nn_wino_weights(at->channels, padded, kernels->cells16)
                               : (size_t)at->channels * (size_t)padded * 9;
    layer->weights = add_weights(plan, layer->weight_count);
    layer->bias = add_weights(plan, (size_t)padded);
    layer->in = at->buffer;
    layer->residual = residual;
    /* A block ends where it began: each output takes the place of the input that is added to it. */
    layer->out = residual >= 0 ? residual : add_activation(plan, cout, hout, wout);
    if (wino) {
        layer->tile_block = nn_plan_tile_block(hout, wout, kernels);
        layer->scratch =
            add_buffer(plan, nn_wino_scratch(at->channels, padded, stride, layer->tile_block));
    }
    finish_layer(plan, layer);
    *at = (struct cursor){layer->out, cout, hout, wout};
}

static void add_stem(struct nn_plan *plan, const struct nn_config *config, struct cursor *at)
{
    int bands = config->shape.bands, frames = config->shape.window_frames;
    int cout = config->stem_channels;
    struct nn_layer *layer = add_layer(plan, NN_STEM, "stem");
    snprintf(layer->conv, sizeof layer->conv, "stem.conv");
    snprintf(layer->bn, sizeof layer->bn, "stem.bn");
    layer->cin = 1, layer->cout = cout, layer->stride = 2;
    layer->hin = bands, layer->win = frames;
    layer->hout = (bands + 1) / 2, layer->wout = (frames + 1) / 2;
    layer->macs = 9ull * (uint64_t)cout * (uint64_t)layer->hout * (uint64_t)layer->wout;
    layer->weight_count = 9 * (size_t)cout;
    layer->weights = add_weights(plan, layer->weight_count);
    layer->bias = add_weights(plan, (size_t)cout);
    layer->in = plan->plane;
    layer->out = add_activation(plan, cout, layer->hout, layer->wout);
    finish_layer(plan, layer);
    *at = (struct cursor){layer->out, cout, layer->hout, layer->wout};
}

static void add_stage(struct nn_plan *plan, const struct nn_kernels *kernels, struct cursor *at,
                      int number, int channels, int blocks)
{
    char name[NN_NAME_MAX], conv[NN_NAME_MAX], bn[NN_NAME_MAX];
    snprintf(name, sizeof name, "stages.%d.down", number);
    snprintf(conv, sizeof conv, "stages.%d.down.conv", number);
    snprintf(bn, sizeof bn, "stages.%d.down.bn", number);
    add_conv(plan, kernels, at, name, conv, bn, channels, 2, -1);
    for (int block = 0; block < blocks; block++) {
        int input = at->buffer;
        snprintf(conv, sizeof conv, "stages.%d.blocks.%d.conv1", number, block);
        snprintf(bn, sizeof bn, "stages.%d.blocks.%d.bn1", number, block);
        add_conv(plan, kernels, at, conv, conv, bn, channels, 1, -1);
        snprintf(name, sizeof name, "stages.%d.blocks.%d", number, block);
        snprintf(conv, sizeof conv, "stages.%d.blocks.%d.conv2", number, block);
        snprintf(bn, sizeof bn, "stages.%d.blocks.%d.bn2", number, block);
        add_conv(plan, kernels, at, name, conv, bn, channels, 1, input);
    }
}

static void add_collapse(struct nn_plan *plan, const struct nn_kernels *kernels, struct cursor *at)
{
    struct nn_layer *layer = add_layer(plan, NN_COLLAPSE, "collapse");
    snprintf(layer->conv, sizeof layer->conv, "collapse.conv");
    snprintf(layer->bn, sizeof layer->bn, "collapse.bn");
    int steps = nn_pad_to(at->w, kernels->rows);
    layer->cin = layer->cout = at->channels;
    layer->hin = at->h, layer->win = at->w, layer->hout = 1, layer->wout = at->w;
    layer->macs = (uint64_t)at->channels * (uint64_t)at->h * (uint64_t)at->w;
    layer->weight_count = (size_t)at->channels * (size_t)at->h;
    layer->weights = add_weights(plan, layer->weight_count);
    layer->bias = add_weights(plan, (size_t)at->channels);
    layer->in = at->buffer;
    layer->out = add_buffer(plan, (size_t)at->channels * (size_t)steps);
    finish_layer(plan, layer);
    *at = (struct cursor){layer->out, at->channels, 1, at->w};
}

static void add_attn(struct nn_plan *plan, const struct nn_kernels *kernels, struct cursor *at,
                     int hidden)
{
    struct nn_layer *layer = add_layer(plan, NN_ATTN, "attn");
    int steps = nn_pad_to(at->w, kernels->rows), padded = nn_pad_to(hidden, 2 * kernels->width);
    layer->cin = at->channels, layer->cout = hidden, layer->win = at->w;
    layer->hin = layer->hout = 1, layer->wout = 1;
    layer->macs =
        (uint64_t)at->w * ((uint64_t)at->channels * (uint64_t)(hidden + 2) + (uint64_t)hidden);
    layer->weight_count = (size_t)at->channels * (size_t)padded;
    layer->weights = add_weights(plan, layer->weight_count);
    layer->bias = add_weights(plan, (size_t)padded);
    layer->extra = add_weights(plan, (size_t)padded);
    layer->in = at->buffer;
    layer->out = add_buffer(plan, 2 * (size_t)at->channels);
    layer->scratch = add_buffer(plan, (size_t)steps * (size_t)(padded + 2));
    finish_layer(plan, layer);
    *at = (struct cursor){layer->out, 2 * at->channels, 1, 1};
}

static void add_dense(struct nn_plan *plan, struct cursor *at, enum nn_layer_kind kind,
                      const char *name, const char *weights, int outputs, int residual, int halves)
{
    struct nn_layer *layer = add_layer(plan, kind, name);
    size_t padded = (size_t)nn_pad_to(outputs, 16);
    snprintf(layer->conv, sizeof layer->conv, "%s", weights);
    layer->residual = residual;
    layer->cin = at->channels, layer->cout = outputs;
    layer->hin = layer->win = layer->hout = layer->wout = 1;
    layer->macs = (uint64_t)at->channels * (uint64_t)outputs;
    layer->halves = halves;
    layer->weight_count = (size_t)at->channels * padded / (halves ? 2 : 1);
    layer->weights = add_weights(plan, layer->weight_count);
    layer->bias = add_weights(plan, padded);
    layer->in = at->buffer;
    layer->out = add_buffer(plan, padded);
    finish_layer(plan, layer);
    *at = (struct cursor){layer->out, outputs, 1, 1};
}

/* Statistics of the window and the small network that judges them: a buffer with its logit. They
 * come first, while the plane is there anyway and the memory is free. */
static int add_detail(struct nn_plan *plan, const struct nn_config *config,
                      const struct nn_kernels *kernels)
{
    struct nn_layer *layer = add_layer(plan, NN_DETAIL, "detail");
    snprintf(layer->conv, sizeof layer->conv, "detail");
    layer->cin = 1, layer->cout = NN_DETAIL_COUNT;
    layer->hin = layer->win = layer->hout = layer->wout = 1;
    layer->weights = add_weights(plan, NN_DETAIL_COUNT);
    layer->extra = add_weights(plan, NN_DETAIL_COUNT);
    if (config->gated)
        layer->gate = add_weights(plan, NN_DETAIL_COUNT);
    layer->in = plan->plane;
    layer->out = add_buffer(plan, NN_DETAIL_COUNT);
    layer->scratch = add_buffer(plan, nn_detail_scratch(nn_window_samples(&config->shape)));
    finish_layer(plan, layer);
    struct cursor at = {layer->out, NN_DETAIL_COUNT, 1, 1};
    add_dense(plan, &at, NN_FC1, "detail.fc1", "detail.fc1", config->detail_hidden[0], -1,
              kernels->dense16 != NULL);
    add_dense(plan, &at, NN_FC1, "detail.fc2", "detail.fc2", config->detail_hidden[1], -1, 0);
    add_dense(plan, &at, NN_FC2, "detail.fc3", "detail.fc3", 1, -1, 0);
    return at.buffer;
}

/* First fit: each buffer goes to the lowest place that no buffer alive with it occupies. */
static void place_buffers(struct nn_plan *plan)
{
    for (int i = 0; i < plan->buffer_count; i++) {
        struct nn_buffer *b = &plan->buffers[i];
        size_t at = 0;
        for (int moved = 1; moved;) {
            moved = 0;
            for (int j = 0; j < i; j++) {
                const struct nn_buffer *o = &plan->buffers[j];
                if (o->last < b->first || b->last < o->first || at >= o->offset + o->floats ||
                    o->offset >= at + b->floats)
                    continue;
                at = o->offset + o->floats;
                moved = 1;
            }
        }
        b->offset = at;
        if (at + b->floats > plan->arena_floats)
            plan->arena_floats = at + b->floats;
    }
}

enum err_code nn_plan_make(const struct nn_config *config, const struct nn_kernels *kernels,
                           struct nn_plan *ret, struct err *err)
{
    memset(ret, 0, sizeof *ret);
    struct cursor at;
    int detail = -1;
    ret->plane = add_buffer(ret, (size_t)(config->shape.window_frames + 2) * NN_PLANE_PITCH);
    if (config->detail_hidden[0])
        detail = add_detail(ret, config, kernels);
    add_stem(ret, config, &at);
    for (int i = 0; i < config->stages; i++)
        add_stage(ret, kernels, &at, i, config->channels[i], config->blocks[i]);
    add_collapse(ret, kernels, &at);
    add_attn(ret, kernels, &at, config->attn_hidden);
    add_dense(ret, &at, NN_FC1, "fc1", "fc1", config->fc_hidden, -1, 0);
    add_dense(ret, &at, NN_FC2, "logit", "fc2", 1, detail, 0);
    place_buffers(ret);
    if (ret->arena_floats < NN_FRONT_SCRATCH) /* nn_frames works in the same memory */
        ret->arena_floats = NN_FRONT_SCRATCH;
    if (ret->arena_floats > NN_ARENA_MAX / sizeof(float))
        return err_set(err, ERR_MODEL, "activations need %zu MiB, the limit is %d",
                       ret->arena_floats / (1024 * 1024 / sizeof(float)),
                       NN_ARENA_MAX / (1024 * 1024));
    return ERR_OK;
}

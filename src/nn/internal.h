/* What the files of src/nn share: a model's configuration, its layers and its memory plan.
 *
 *   config.c  metadata -> struct nn_config          plan.c  config -> layers, buffers, sizes
 *   pack.c    tensors -> folded, laid-out weights   pack16.c  those that are in 16 bits
 *   model.c   opens and owns                        session.c runs
 */
#ifndef SONDE_NN_INTERNAL_H
#define SONDE_NN_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"
#include "../base/hash.h"
#include "kernels/kernels.h"
#include "nn.h"
#include "safetensors.h"

/* What a model may ask for. */
#define NN_FILE_MAX      (64 * 1024 * 1024)  /* bytes */
#define NN_ARENA_MAX     (256 * 1024 * 1024) /* bytes of activations per session */
#define NN_STAGES_MAX    6
#define NN_BLOCKS_MAX    8 /* per stage */
#define NN_CHANNELS_MAX  512
#define NN_CHANNELS_UNIT 16 /* channel counts are multiples of it */
#define NN_HIDDEN_MAX    1024
#define NN_FRAMES_MIN    8 /* per window */
#define NN_FRAMES_MAX    4096
#define NN_FRAME_UNIT    16 /* frame lengths are multiples of it */
#define NN_FRAME_HOP_MAX 4096
#define NN_BATCHNORM_EPS 1e-5
#define NN_NAME_MAX      64

#define NN_LAYERS_MAX  (1 + NN_STAGES_MAX * (1 + 2 * NN_BLOCKS_MAX) + 4 + 4)
#define NN_BUFFERS_MAX (3 * NN_LAYERS_MAX)

/* Floats readable behind every activation: a register tile may look past the last row. */
#define NN_SLACK 1024

struct nn_config {
    struct nn_shape shape;
    float floor; /* natural logarithm of the power ratio that floor_db names */
    int band_mean;
    int stem_channels;
    int stages;
    int channels[NN_STAGES_MAX];
    int blocks[NN_STAGES_MAX];
    int attn_hidden;
    int fc_hidden;
    int detail_hidden[2]; /* of the network over the window's statistics; 0: the model has none */
    int gated;            /* weights for the same statistics that tell speech from all else */
};

enum nn_layer_kind {
    NN_STEM,
    NN_CONV_DIRECT,
    NN_CONV_WINO,
    NN_COLLAPSE,
    NN_ATTN,
    NN_FC1,
    NN_FC2,    /* without ReLU; its residual, if any, is added to the first output */
    NN_DETAIL, /* statistics of the window, less their means in training, in deviations */
};

/* One step of the network. Buffers are numbers in nn_plan.buffers, or -1. */
struct nn_layer {
    enum nn_layer_kind kind;
    char name[NN_NAME_MAX]; /* as nn_tap reports it */
    char conv[NN_NAME_MAX]; /* prefix of its weights in the file */
    char bn[NN_NAME_MAX];   /* prefix of its batch normalisation, or "" */
    int cin, cout, hin, win, hout, wout, stride;
    int in, out, residual, scratch;
    int tile_block;      /* Winograd */
    int halves;          /* dense: `weights` are 16-bit floats */
    size_t weights;      /* floats from the start of the model's weights */
    size_t bias;         /* likewise */
    size_t extra;        /* attention: the score vector; detail: the factors */
    size_t gate;         /* detail: what each tells of no speech; 0: there are none */
    size_t weight_count; /* floats at `weights` */
    uint64_t macs;       /* multiply-adds of the layer as defined (direct convolution) */
};

/* One range of the arena and the layers during which it is alive. */
struct nn_buffer {
    size_t floats, offset;
    int first, last;
};

struct nn_plan {
    struct nn_layer layers[NN_LAYERS_MAX];
    int layer_count;
    struct nn_buffer buffers[NN_BUFFERS_MAX];
    int buffer_count;
    int plane; /* buffer of the normalised input */
    size_t weight_floats;
    size_t arena_floats;
    uint64_t macs;
};

struct nn_model {
    struct nn_config config;
    struct nn_plan plan;
    struct nn_front front;
    struct nn_detail_tables *detail; /* NULL: the model has no such layer */
    const struct nn_kernels *kernels;
    enum nn_isa isa;
    struct st_file *file; /* for metadata: tensor data is gone after opening */
    float *weights;
    size_t parameters;
    char sha256[SHA256_HEX];
};

enum err_code nn_config_read(const struct st_file *file, struct nn_config *ret,
                             struct err *err) MUST_CHECK;
enum err_code nn_plan_make(const struct nn_config *config, const struct nn_kernels *kernels,
                           struct nn_plan *ret, struct err *err) MUST_CHECK;
/* Checks that the file holds exactly the tensors that the plan needs; counts their elements. */
enum err_code nn_pack_check(const struct st_file *file, const struct nn_plan *plan,
                            size_t *ret_parameters, struct err *err) MUST_CHECK;
/* Fills `weights` (plan->weight_floats, zeroed) from a file that nn_pack_check accepted. */
enum err_code nn_pack_weights(const struct st_file *file, const struct nn_plan *plan,
                              const struct nn_kernels *kernels, float *weights,
                              struct err *err) MUST_CHECK;
/* One convolution's filter [cout][cin][kh][kw], times scale[cout], in the layout of its kernel. */
void nn_pack_filter(const struct nn_layer *layer, const struct nn_kernels *kernels,
                    const float *from, const double *scale, float *to);
/* The 36 weights that one 3x3 filter times `scale` becomes. */
void nn_wino_filter(const float filter[9], double scale, int stride, double u[NN_WINO_MATRICES]);
/* As nn_pack_filter, Winograd in 16 bits: per matrix panels [cin / 2][2V][2], then the steps, [36]
 * [outputs]: infinity where a weight is not finite. */
void nn_pack16_wino(const struct nn_layer *layer, int v, const float *from, const double *scale,
                    float *to);
/* Tiles of one Winograd block for an output of h x w. */
int nn_plan_tile_block(int h, int w, const struct nn_kernels *kernels);
void nn_front_init(struct nn_front *front, const struct nn_shape *shape);
void nn_detail_init(struct nn_detail_tables *tables);

#endif

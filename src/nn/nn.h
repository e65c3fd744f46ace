/* The inference engine: our own CPU kernels for sonde's detector network.
 *
 *   samples --nn_frames--> log band powers per 10 ms frame --nn_window--> one logit per window
 *
 * A model is immutable and shared by threads; a session holds the activations, belongs to one
 * thread at a time, and never allocates while it infers. Kernels exist once per instruction set
 * from one source (kernels/); the best one is chosen at run time, SONDE_ISA or the caller may
 * force a lower one. On one instruction set the same input gives the same bits.
 */
#ifndef SONDE_NN_NN_H
#define SONDE_NN_NN_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"

/* From the slowest to the fastest. The last one rounds to 16 bits what goes into the products of
 * the convolutions, and the weights of the widest layer (docs/adr/0007-sixteen-bits.md); the others
 * compute in fp32 throughout. */
enum nn_isa {
    NN_ISA_AUTO = -1,
    NN_ISA_SCALAR,
    NN_ISA_AVX2,
    NN_ISA_AVX512,
    NN_ISA_AVX512VNNI,
    NN_ISA_COUNT
};

const char *nn_isa_name(enum nn_isa isa); /* "scalar" "avx2" "avx512" "avx512vnni" */
int nn_isa_supported(enum nn_isa isa);    /* by this processor */
/* The one called `name`; NULL or "": the one that SONDE_ISA names, else the best supported one. An
 * unknown or unsupported name is ERR_USAGE and lists what works here. */
enum err_code nn_isa_choose(const char *name, enum nn_isa *ret, struct err *err) MUST_CHECK;

/* Shape of the input, from the model's metadata. */
struct nn_shape {
    int sample_rate;   /* Hz, 16000 */
    int frame_length;  /* samples under the Hann window */
    int frame_hop;     /* samples from frame to frame */
    int bands;         /* linear bands per frame (128) */
    int window_frames; /* frames per window (384) */
    int hop_frames;    /* frames from window to window (192) */
};
/* Samples that one window covers: frame_length + (window_frames - 1) * frame_hop. */
size_t nn_window_samples(const struct nn_shape *shape);

struct nn_model;

/* Opens a safetensors file, or a block of memory at any alignment. Either is needed only during the
 * call: weights are folded with their batch normalisation and laid out for `isa` (NN_ISA_AUTO:
 * nn_isa_choose), metadata is kept. Everything is checked: a damaged or hostile file is ERR_MODEL.
 */
enum err_code nn_model_open(const char *path, enum nn_isa isa, struct nn_model **ret,
                            struct err *err) MUST_CHECK;
enum err_code nn_model_open_mem(const void *data, size_t len, enum nn_isa isa,
                                struct nn_model **ret, struct err *err) MUST_CHECK;
struct nn_model *nn_model_free(struct nn_model *model);

const struct nn_shape *nn_model_shape(const struct nn_model *model);
int nn_model_gated(const struct nn_model *model); /* whether it has weights for nn_window's gate */
enum nn_isa nn_model_isa(const struct nn_model *model);
const char *nn_model_sha256(const struct nn_model *model); /* hex, of the whole file */
size_t nn_model_parameters(const struct nn_model *model);
/* Multiply-adds of one window as the layers define them (direct convolution). */
uint64_t nn_model_macs(const struct nn_model *model);
/* A metadata string of the file, or NULL. */
const char *nn_model_meta(const struct nn_model *model, const char *key);
/* Metadata number `i` in file order: 0 when there is none. For `sonde model info`. */
int nn_model_meta_at(const struct nn_model *model, size_t i, const char **ret_key,
                     const char **ret_value);

struct nn_session;

enum err_code nn_session_new(const struct nn_model *model, struct nn_session **ret,
                             struct err *err) MUST_CHECK;
struct nn_session *nn_session_free(struct nn_session *session);

/* Front end. samples[0 .. frame_length + (n-1)*frame_hop) -> n frames:
 *   logband[f*bands + b] = ln(power of band b + 1e-10)      (frame-major)
 *   power[f]             = sum over bands of the band powers (not logs)
 * Frames are independent: however a recording is cut, a frame has the same bits. */
void nn_frames(struct nn_session *session, const float *samples, size_t n, float *logband,
               float *power);
/* One window: its nn_window_samples() samples (any alignment) and its window_frames frames as
 * nn_frames gave them -> logit, positive = synthetic. ret_gate, unless NULL: a score for being no
 * speech at all, of no unit, 0 from a model without one. */
float nn_window(struct nn_session *session, const float *samples, const float *logband,
                const float *power, float *ret_gate);

/* For tests and benchmarks: called after each layer with its output, [h][w][c], valid only during
 * the call; ns is the time the layer took. Names are the PyTorch module's. NULL switches it off. */
typedef void nn_tap(void *ctx, const char *layer, const float *data, int h, int w, int c,
                    uint64_t macs, uint64_t ns);
void nn_session_tap(struct nn_session *session, nn_tap *tap, void *ctx);

#endif

/* Small models with random weights, built in memory, and the network as its definition says it, in
 * double and without any cleverness: what the engine is held against. */
#ifndef SONDE_TESTS_TINY_H
#define SONDE_TESTS_TINY_H

#include <stddef.h>
#include <stdint.h>

#include "nn/nn.h"

#define TINY_META_MAX    32
#define TINY_TENSORS_MAX 256

struct tiny_meta {
    const char *key, *value;
};

struct tiny_tensor {
    char name[96];
    const char *dtype; /* "F32" unless a test changes it */
    int rank;
    int shape[4];
    size_t count;
    float *values;
};

/* Metadata and tensors that a test may bend before tiny_bytes writes them down. */
struct tiny {
    struct tiny_meta meta[TINY_META_MAX];
    int meta_count;
    struct tiny_tensor tensors[TINY_TENSORS_MAX];
    int tensor_count;
    int window_frames, stem, stages, channels[6], blocks[6], attn, fc;
    int band_mean;
};

/* stages: "32:1,48:0" = two stages, channels:blocks. The shape of the file's metadata follows. */
struct tiny *tiny_new(int window_frames, int stem, const char *stages, int attn, int fc);
/* Statistics of the window and a network of 32 and 16 over them. window_frames >= 100. */
void tiny_add_detail(struct tiny *tiny);
/* And what tells speech from all else by the same statistics. */
void tiny_add_gate(struct tiny *tiny);
void tiny_free(struct tiny *tiny);
struct tiny_tensor *tiny_find(struct tiny *tiny, const char *name);
void tiny_set_meta(struct tiny *tiny, const char *key, const char *value); /* NULL removes */
/* The safetensors file, to be freed. */
uint8_t *tiny_bytes(const struct tiny *tiny, size_t *ret_len);

/* Numbers in [-1, 1), the same ones for a seed everywhere. */
float tiny_random(uint32_t *seed);

/* Reference in double: n frames of 400 samples, 160 apart. */
void tiny_frames(const float *samples, int n, double *logband, double *power);
double tiny_window(struct tiny *tiny, const double *logband, const double *power);

#endif

/* The compute kernels: one table of functions per instruction set, all compiled from kernels.inc.
 *
 * Layout of activations: channels in blocks of `width` (V, the floats of one vector register),
 *     [channels / V][height + 2][width + 2][V]
 * with a border of zeros, so that a 3x3 kernel has no edge cases and every address in a hot loop
 * is one pointer plus a constant. Channel counts are multiples of 16, hence of every V.
 * Weights of matrix products: [panel of 2V outputs][K][2V], outputs padded with zeros.
 * Every pointer is 64-byte aligned unless said otherwise; nothing here allocates or fails.
 */
#ifndef SONDE_NN_KERNELS_H
#define SONDE_NN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "../nn.h"

#if defined(__x86_64__)
#define NN_X86 1
#endif

#define NN_FFT_SIZE 512 /* real points; the only transform there is */
#define NN_BANDS    128
/* Floats from frame to frame of the network's input, and those before its first band: rows start on
 * a cache line and have room for a border on both sides. */
#define NN_PLANE_LEFT  16
#define NN_PLANE_PITCH (NN_PLANE_LEFT + NN_BANDS + 16)

/* Winograd: values of one tile of 4x4 outputs, and matrices of weights (see conv.inc). */
#define NN_WINO_CELLS(stride) ((stride) == 2 ? 81 : 36)
#define NN_WINO_GROUP(stride) ((stride) == 2 ? 36 : 18) /* cells transformed at a time */
#define NN_WINO_BLOCK_MAX     12                        /* largest tile_block */
#define NN_WINO_MATRICES      36

/* Tables of the front end, the same for every instruction set. */
struct nn_front {
    int frame_length;                    /* samples, a multiple of 16, <= NN_FFT_SIZE */
    int frame_hop;                       /* samples */
    float window[NN_FFT_SIZE];           /* half the Hann window, then zeros */
    float twiddle[16][16][2];            /* [n2][k1]: exp(-2 pi i n2 k1 / 256) */
    float split[NN_FFT_SIZE / 4 + 1][2]; /* exp(-2 pi i k / 512), k = 0..128 */
};

/* A patch of a picture of levels, and its two-dimensional transform under Hann windows. */
#define NN_PATCH_FRAMES 32 /* at most */
#define NN_PATCH_ACROSS 16 /* bins at most */
struct nn_detail_patch {
    /* hann(k) cos and -sin of 2 pi k f / bins, in turn, f = 0 .. bins / 2; then zeros */
    float across[NN_PATCH_ACROSS][2 * NN_PATCH_ACROSS];
    /* [k][n]: hann(n) cos and sin of 2 pi n k / frames */
    float even[NN_PATCH_FRAMES / 2 + 1][NN_PATCH_FRAMES / 2 + 1];
    float odd[NN_PATCH_FRAMES / 2 + 1][NN_PATCH_FRAMES / 2 + 1];
};

/* Tables of the statistics of a window, the same for every instruction set. */
struct nn_detail_tables {
    struct nn_detail_patch patch[2]; /* 16 frames of 16 bins, 32 frames of 8 */
    float long_window[2048];         /* half the Hann window */
    float mid_window[256];           /* likewise */
    float short_window[64];          /* likewise */
    float turn[1024][2];             /* exp(-2 pi i k / 1024) */
    float split[512 + 1][2];         /* exp(-2 pi i k / 2048) */
};
#define NN_DETAIL_RATE  16000 /* Hz */
#define NN_DETAIL_COUNT 8110  /* statistics of a window: see detail.inc */
#define NN_DETAIL_QUIET 3767  /* the last of them, over the quiet frames */
#define NN_DETAIL_MOST  4.0f  /* deviations: larger values are cut to it */

/* One 3x3 convolution, padding 1, plus bias, optional residual, ReLU. */
struct nn_conv_args {
    const float *in;       /* [cin/V][hin+2][win+2][V], border zero; readable 4 KiB past its end;
                            * for Winograd in 16 bits none is negative */
    float *out;            /* [cout/V][hout+2][wout+2][V]; the border is written too */
    const float *residual; /* as out, and may be out itself; or NULL */
    const float *weights;  /* Winograd in 16 bits: as nn_pack16_wino packs them */
    const float *bias;     /* cout, padded with zeros to a multiple of 2V */
    float *scratch;        /* Winograd: nn_wino_scratch() floats */
    int cin, cout, hin, win, hout, wout;
    int stride;     /* 1 or 2 */
    int tile_block; /* Winograd: tiles transformed at a time, a multiple of `rows` */
};

struct nn_stem_args {
    const float *in;      /* plane: [win+2][NN_PLANE_PITCH], one row per frame, border zero */
    float *out;           /* as nn_conv_args.out */
    const float *weights; /* [cout/V][kw = frame][kh = band][V] */
    const float *bias;
    int cout, hout, wout; /* hout: bands, wout: frames */
};

struct nn_collapse_args {
    const float *in;      /* [channels/V][h+2][w+2][V] */
    float *out;           /* [channels/V][steps][V], steps >= w */
    const float *weights; /* [channels/V][h][V] */
    const float *bias;    /* channels */
    int channels, h, w, steps;
};

struct nn_attn_args {
    const float *in;                /* [channels/V][steps][V]; steps is a multiple of `rows` */
    float *out;                     /* mean[channels], spread[channels] */
    const float *proj;              /* panels, K = channels */
    const float *bias;              /* hidden, padded to a multiple of 2V */
    const float *score;             /* hidden, padded alike with zeros */
    float *scratch;                 /* steps * padded hidden, then 2 * steps */
    int channels, hidden, steps, t; /* t <= steps: time steps that exist */
};

struct nn_kernels {
    int width;   /* V: floats per vector */
    int rows;    /* rows of the matrix product's register tile */
    int cells16; /* Winograd's products are in 16 bits, see cells.inc */

    /* n frames, 1 <= n <= width, of samples[0 .. (width-1)*hop + length): all `width` are computed,
     * n are stored. scratch: NN_FRONT_SCRATCH floats. samples, logband, power: any alignment. */
    void (*frames)(const struct nn_front *front, const float *samples, int n, float *logband,
                   float *power, float *scratch);
    /* plane[1+f][NN_PLANE_LEFT+b] = max(logband[f][b] - mean_log, -floor) less its band's mean over
     * time when `band_mean`; a border of zeros around it. logband: any alignment. */
    void (*normalise)(const float *logband, float mean_log, float floor, int band_mean, int frames,
                      float *plane);
    void (*stem)(const struct nn_stem_args *args);
    void (*conv_direct)(const struct nn_conv_args *args);
    void (*conv_wino)(const struct nn_conv_args *args);
    void (*collapse)(const struct nn_collapse_args *args);
    void (*attn)(const struct nn_attn_args *args);
    /* y[n] = relu?(sum x[k] w[k][n] + bias[n]); n is a multiple of 16. */
    void (*dense)(const float *x, int k, const float *weights, const float *bias, int n, int relu,
                  float *y);
    /* The same with weights as 16-bit floats, or NULL; and what makes these of n floats, a
     * multiple of 16. */
    void (*dense16)(const float *x, int k, const uint16_t *weights, const float *bias, int n,
                    int relu, float *y);
    void (*halve)(const float *from, size_t n, uint16_t *to);
    /* Independent multiply-adds for `loops` rounds of `rows` x 2 registers: the peak rate. Returns
     * the multiply-adds done. */
    uint64_t (*peak)(uint64_t loops, float *sink);
    uint64_t (*peak16)(uint64_t loops, float *sink); /* likewise in 16 bits, or NULL */
    /* Statistics of one window: `count` samples (any alignment) and the normalised plane of its
     * `frames` frames -> out[NN_DETAIL_COUNT]. scratch: nn_detail_scratch() floats. */
    void (*detail)(const struct nn_detail_tables *tables, const float *samples, int count,
                   const float *plane, int frames, float *out, float *scratch);
};

/* Floats of scratch: two passes of the transform, powers, and one transposed block. */
#define NN_FRONT_SCRATCH (16 * (2 * 256 + 257 + 16 * 16 + 128 + 2))

/* Floats of one cell's inputs or products. Planes are one cache line longer than their data, so
 * that the cells of a tile do not collide in the cache. */
static inline size_t nn_wino_plane(int channels, int tile_block)
{
    return (size_t)channels * (size_t)tile_block + 16;
}

/* Floats of a Winograd convolution's weights: 36 matrices; in 16 bits, with the steps behind them.
 */
static inline size_t nn_wino_weights(int cin, int cout_padded, int cells16)
{
    const size_t floats = NN_WINO_MATRICES * (size_t)cin * (size_t)cout_padded;
    return cells16 ? floats / 2 + NN_WINO_MATRICES * (size_t)cout_padded : floats;
}

/* Floats of scratch of a Winograd convolution: transformed inputs and products. Cells of 16 bits
 * use half of their part. */
static inline size_t nn_wino_scratch(int cin, int cout_padded, int stride, int tile_block)
{
    return NN_WINO_GROUP(stride) * nn_wino_plane(cin, tile_block) +
           NN_WINO_CELLS(stride) * nn_wino_plane(cout_padded, tile_block);
}

/* Floats of scratch of the statistics of `count` samples. */
static inline size_t nn_detail_scratch(size_t count)
{
    size_t long_frames = count / 640 + 1, short_frames = count / 16 + 1;
    size_t long_part = long_frames * (1024 + 64 + 3) + 16 * (4 * 1024 + 1024) + 4 * 1024;
    size_t short_part = (2 * short_frames + 32) * 32 + 16 * 64 * 8 + short_frames / 25 * 170 +
                        4 * short_frames + 1024;
    size_t mid_part = (count / 64 + 33) * 128 + 16 * 256 * 5 + 4 * (count / 64 + 16);
    size_t plane_part = (count / 160 + 1) * (NN_BANDS + 4) + 8 * NN_BANDS;
    size_t quiet = count / 64 + 32; /* which frames are: while all of these are at work */
    size_t most = long_part > short_part ? long_part : short_part;
    most = most > mid_part ? most : mid_part;
    return quiet + (most > plane_part ? most : plane_part);
}

static inline int nn_pad_to(int n, int multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

extern const struct nn_kernels nn_kernels_scalar;
#ifdef NN_X86
extern const struct nn_kernels nn_kernels_avx2;
extern const struct nn_kernels nn_kernels_avx512;
extern const struct nn_kernels nn_kernels_avx512vnni;
#endif

const struct nn_kernels *nn_kernels_for(enum nn_isa isa);

#endif

/* Weights of a Winograd convolution whose products are in 16 bits (kernels/cells.inc).
 *
 * Each output of each of the 36 matrices has a step of its own: the smallest with which no weight
 * leaves 16 bits and the sizes of all add up to 65535 at most. An input of a product is between
 * -32768 and 32767, so no sum of products leaves 32 bits. Any thread. */
#include "internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"

#define WEIGHT_MOST     32767.0
#define WEIGHT_SUM_MOST 65535.0

/* One output's weights: all inputs, all matrices. */
struct cells {
    double u[NN_CHANNELS_MAX][NN_WINO_MATRICES];
};

/* Infinity when a weight is not finite, or no float. */
static double find_step(const struct cells *cells, int cin, int m)
{
    double sum = 0, most = 0;
    for (int c = 0; c < cin; c++) {
        sum += fabs(cells->u[c][m]);
        most = fmax(most, fabs(cells->u[c][m]));
    }
    if (!(sum <= FLT_MAX)) /* or a NaN */
        return INFINITY;
    double step = fmax(most / WEIGHT_MOST, sum / (WEIGHT_SUM_MOST - 0.5 * cin)); /* to be rounded */
    return fmax(step, FLT_MIN);
}

void nn_pack16_wino(const struct nn_layer *l, int v, const float *from, const double *scale,
                    float *to)
{
    const size_t depth = (size_t)l->cin, padded = (size_t)nn_pad_to(l->cout, 2 * v);
    const size_t matrix = depth * padded;
    uint8_t *weights = (uint8_t *)to;
    float *steps = to + NN_WINO_MATRICES * matrix / 2;
    struct cells *cells = xalloc(sizeof *cells);
    for (int n = 0; n < l->cout; n++) {
        for (int c = 0; c < l->cin; c++)
            nn_wino_filter(from + ((size_t)n * depth + (size_t)c) * 9, scale[n], l->stride,
                           cells->u[c]);
        for (int m = 0; m < NN_WINO_MATRICES; m++) {
            const float step = (float)find_step(cells, l->cin, m);
            steps[(size_t)m * padded + (size_t)n] = step;
            const size_t first = (size_t)m * matrix + (size_t)(n / (2 * v)) * depth * 2 * (size_t)v;
            for (size_t c = 0; c < depth; c++) {
                int16_t w = isfinite(step) ? (int16_t)lrint(cells->u[c][m] / step) : 0;
                size_t at = first + (c / 2 * 2 * (size_t)v + (size_t)(n % (2 * v))) * 2 + c % 2;
                memcpy(weights + at * sizeof w, &w, sizeof w);
            }
        }
    }
    free(cells);
}

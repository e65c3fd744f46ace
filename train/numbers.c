/* The engine's own kernels, with the front end's frames that they need. Built as a library for
 * train/numbers.py; memory is fixed and stays. */
#include "numbers.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/internal.h"

#define EXPORT __attribute__((visibility("default")))
#define FRAMES 384

static const struct nn_shape shape = {16000, 400, 160, NN_BANDS, FRAMES, 192};

EXPORT int numbers_count(void)
{
    return NN_DETAIL_COUNT;
}

EXPORT int numbers_of(enum nn_isa isa, const float *samples, float *ret)
{
    enum { BEHIND = 4096 / sizeof(float) }; /* readable past the end, as kernels.h asks */
    static struct nn_front front;
    static struct nn_detail_tables tables;
    static _Alignas(64) float logband[FRAMES * NN_BANDS], power[FRAMES],
        plane[(FRAMES + 2) * NN_PLANE_PITCH + BEHIND], numbers[NN_DETAIL_COUNT + 16], *scratch;
    if (!scratch) {
        nn_front_init(&front, &shape);
        nn_detail_init(&tables);
        scratch = try_alloc(nn_detail_scratch(NUMBERS_WINDOW) + NN_FRONT_SCRATCH, sizeof *scratch);
    }
    if (!scratch || (isa == NN_ISA_AUTO && nn_isa_choose(NULL, &isa, NULL) != ERR_OK))
        return -1;
    const struct nn_kernels *k = nn_kernels_for(isa);
    double sum = 0;
    for (int f = 0; f < FRAMES; f += k->width)
        k->frames(&front, samples + shape.frame_hop * f, k->width, logband + NN_BANDS * f,
                  power + f, scratch);
    for (int f = 0; f < FRAMES; f++)
        sum += power[f];
    k->normalise(logband, (float)log(sum / (FRAMES * NN_BANDS) + 1e-10), (float)log(1e6), 1, FRAMES,
                 plane);
    k->detail(&tables, samples, NUMBERS_WINDOW, plane, FRAMES, numbers, scratch);
    memcpy(ret, numbers, NN_DETAIL_COUNT * sizeof *ret);
    return 0;
}

/* The kernels for avx2: vectors of 8 floats. See kernels.inc; the build sets the flags. */
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile this file with -mavx2 -mfma"
#endif
#define V        8
#define ROWS     6
#define KERNELS_ nn_kernels_avx2
#include "kernels.inc"

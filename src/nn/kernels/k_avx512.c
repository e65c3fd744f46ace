/* The kernels for avx512: vectors of 16 floats. See kernels.inc; the build sets the flags. */
#if !defined(__AVX512F__) || !defined(__AVX512DQ__)
#error "compile this file with -mavx512f -mavx512dq -mavx512bw -mavx512vl"
#endif
#define V        16
#define ROWS     12
#define KERNELS_ nn_kernels_avx512
#include "kernels.inc"

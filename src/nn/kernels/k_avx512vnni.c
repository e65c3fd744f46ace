/* The kernels for avx512vnni: vectors of 16 floats, 16 bits where CELLS_16 says so. See
 * kernels.inc; the build sets the flags. */
#if !defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512VNNI__)
#error "compile this file with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vnni"
#endif
#define V        16
#define ROWS     12
#define CELLS_16 1
#define KERNELS_ nn_kernels_avx512vnni
#include "kernels.inc"

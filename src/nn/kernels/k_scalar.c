/* The kernels for scalar: vectors of 4 floats. See kernels.inc; the build sets the flags. */

#define V        4
#define ROWS     6
#define KERNELS_ nn_kernels_scalar
#include "kernels.inc"

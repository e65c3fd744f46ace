/* Which instruction set the kernels use: the best that this processor and operating system run, or
 * the one that the caller or SONDE_ISA names. The processor is asked by the compiler's own
 * __builtin_cpu_supports, which also checks that the kernel saves the wide registers. Any thread.
 */
#include "nn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

static const char *const names[NN_ISA_COUNT] = {"scalar", "avx2", "avx512", "avx512vnni"};

const char *nn_isa_name(enum nn_isa isa)
{
    return isa >= 0 && isa < NN_ISA_COUNT ? names[isa] : "auto";
}

int nn_isa_supported(enum nn_isa isa)
{
    switch (isa) {
    case NN_ISA_SCALAR:
        return 1;
#ifdef NN_X86
    case NN_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case NN_ISA_AVX512VNNI:
        return nn_isa_supported(NN_ISA_AVX512) && __builtin_cpu_supports("avx512vnni");
    case NN_ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    default:
        return 0;
    }
}

enum err_code nn_isa_choose(const char *name, enum nn_isa *ret, struct err *err)
{
    const char *want = name && *name ? name : getenv("SONDE_ISA");
    char works[64] = "";
    enum nn_isa best = NN_ISA_SCALAR;
    for (enum nn_isa isa = 0; isa < NN_ISA_COUNT; isa++) {
        if (!nn_isa_supported(isa))
            continue;
        if (want && strcmp(want, names[isa]) == 0) {
            *ret = isa;
            return ERR_OK;
        }
        size_t used = strlen(works);
        snprintf(works + used, sizeof works - used, "%s%s", used ? ", " : "", names[isa]);
        best = isa;
    }
    if (want && *want)
        return err_set(err, ERR_USAGE, "the instruction set %.20s does not work here; these do: %s",
                       want, works);
    *ret = best;
    return ERR_OK;
}

const struct nn_kernels *nn_kernels_for(enum nn_isa isa)
{
    switch (isa) {
#ifdef NN_X86
    case NN_ISA_AVX2:
        return &nn_kernels_avx2;
    case NN_ISA_AVX512:
        return &nn_kernels_avx512;
    case NN_ISA_AVX512VNNI:
        return &nn_kernels_avx512vnni;
#endif
    default:
        return &nn_kernels_scalar;
    }
}

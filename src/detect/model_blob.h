/* The shipped weights (models/sonde-8.safetensors), inside the program: nothing to find or install.
 */
#ifndef SONDE_DETECT_MODEL_BLOB_H
#define SONDE_DETECT_MODEL_BLOB_H

#include <stddef.h>

extern const unsigned char model_blob[] __attribute__((visibility("hidden")));
extern const unsigned char model_blob_end[] __attribute__((visibility("hidden")));

static inline size_t model_blob_size(void)
{
    return (size_t)(model_blob_end - model_blob);
}

#endif

/* Arbitrary bytes as a model file: parsing, metadata, shapes, weights, and, where the file is
 * accepted and small, one window through the network. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"
#include "nn/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RUN_MACS_MAX 4000000 /* larger networks are opened but not run */

/* What the parser promises: tensors inside the block, in order, with names and sizes. */
static void check_file(const struct st_file *file, const uint8_t *data, size_t size)
{
    const uint8_t *at = NULL;
    for (size_t i = 0; i < st_count(file); i++) {
        const struct st_tensor *t = st_at(file, i);
        if (t->data < data || t->bytes > size || t->data + t->bytes > data + size ||
            (at && t->data != at) || t->count == 0 || !t->name[0])
            abort();
        at = t->data + t->bytes;
    }
    const char *key, *value;
    for (size_t i = 0; st_meta_at(file, i, &key, &value); i++)
        if (!key || !value || st_meta(file, key) != value)
            abort();
}

static void run_window(const struct nn_model *model)
{
    const struct nn_shape *shape = nn_model_shape(model);
    size_t frames = (size_t)shape->window_frames;
    float *samples = calloc(nn_window_samples(shape), sizeof *samples);
    float *logband = calloc(frames * (size_t)shape->bands, sizeof *logband);
    float *power = calloc(frames, sizeof *power);
    struct nn_session *session = NULL;
    struct err err;
    if (!samples || !logband || !power || nn_session_new(model, &session, &err))
        abort();
    nn_frames(session, samples, frames, logband, power);
    nn_window(session, samples, logband, power, NULL);
    nn_session_free(session);
    free(samples);
    free(logband);
    free(power);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct st_file *file = NULL;
    if (st_parse(data, size, &file, &err) == ERR_OK)
        check_file(file, data, size);
    else if (file || !err.text[0])
        abort();
    st_free(file);

    enum nn_isa isa = (enum nn_isa)(size % NN_ISA_COUNT);
    struct nn_model *model = NULL;
    if (!nn_isa_supported(isa))
        isa = NN_ISA_SCALAR;
    if (nn_model_open_mem(data, size, isa, &model, &err) != ERR_OK) {
        if (model || !err.text[0])
            abort();
        return 0;
    }
    if (nn_model_macs(model) <= RUN_MACS_MAX)
        run_window(model);
    nn_model_free(model);
    return 0;
}

/* Opening a model: safetensors -> configuration -> plan -> weights laid out for one instruction
 * set.
 *
 * The file is read into memory at once rather than mapped: it is small, its weights are rearranged
 * anyway, and a mapping would turn a file that shrinks meanwhile into a fatal signal. What stays is
 * the metadata and one block of weights. A model is immutable after nn_model_open*: any number of
 * threads may use it; the caller owns it and frees it after its sessions. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../os/file.h"

size_t nn_window_samples(const struct nn_shape *shape)
{
    return (size_t)shape->frame_length +
           (size_t)(shape->window_frames - 1) * (size_t)shape->frame_hop;
}

static enum err_code choose_isa(enum nn_isa want, enum nn_isa *ret, struct err *err)
{
    if (want == NN_ISA_AUTO)
        return nn_isa_choose(NULL, ret, err);
    if (!nn_isa_supported(want))
        return err_set(err, ERR_USAGE, "this processor cannot run %s code", nn_isa_name(want));
    *ret = want;
    return ERR_OK;
}

static enum err_code fill_model(struct nn_model *model, const void *data, size_t len,
                                struct err *err)
{
    enum err_code rc = st_parse(data, len, &model->file, err);
    if (!rc)
        rc = nn_config_read(model->file, &model->config, err);
    if (!rc)
        rc = nn_plan_make(&model->config, model->kernels, &model->plan, err);
    if (!rc)
        rc = nn_pack_check(model->file, &model->plan, &model->parameters, err);
    if (rc)
        return rc;
    model->weights = try_alloc(model->plan.weight_floats, sizeof(float));
    if (!model->weights)
        return err_set(err, ERR_NO_MEMORY, "no memory for the model's weights");
    rc = nn_pack_weights(model->file, &model->plan, model->kernels, model->weights, err);
    if (!rc)
        rc = sha256_mem(data, len, model->sha256, err);
    nn_front_init(&model->front, &model->config.shape);
    if (!rc && model->config.detail_hidden[0]) {
        model->detail = xalloc(sizeof *model->detail);
        nn_detail_init(model->detail);
    }
    return rc;
}

enum err_code nn_model_open_mem(const void *data, size_t len, enum nn_isa isa,
                                struct nn_model **ret, struct err *err)
{
    enum nn_isa chosen;
    enum err_code rc = choose_isa(isa, &chosen, err);
    if (rc)
        return rc;
    if (len > NN_FILE_MAX)
        return err_set(err, ERR_MODEL, "a model of %zu bytes is over the limit of %d", len,
                       NN_FILE_MAX);
    struct nn_model *model = xalloc(sizeof *model);
    model->isa = chosen;
    model->kernels = nn_kernels_for(chosen);
    rc = fill_model(model, data, len, err);
    if (rc) {
        nn_model_free(model);
        return rc;
    }
    *ret = model;
    return ERR_OK;
}

static enum err_code read_file(const char *path, uint8_t **ret, size_t *ret_len, struct err *err)
{
    _cleanup_close_ int fd = -1;
    uint64_t size = 0;
    enum err_code rc = file_open_regular(path, &fd, &size, err);
    if (rc)
        return rc;
    if (size > NN_FILE_MAX)
        return err_set(err, ERR_MODEL, "a model of %llu bytes is over the limit of %d",
                       (unsigned long long)size, NN_FILE_MAX);
    _cleanup_free_ uint8_t *data = try_alloc((size_t)size, 1);
    if (!data)
        return err_set(err, ERR_NO_MEMORY, "no memory for a file of %zu bytes", (size_t)size);
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(fd, data + got, (size_t)size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read");
        if (n == 0)
            return err_set(err, ERR_MODEL, "the file became shorter while it was read");
        got += (size_t)n;
    }
    *ret = STEAL(data);
    *ret_len = got;
    return ERR_OK;
}

enum err_code nn_model_open(const char *path, enum nn_isa isa, struct nn_model **ret,
                            struct err *err)
{
    _cleanup_free_ uint8_t *data = NULL;
    size_t len = 0;
    enum err_code rc = read_file(path, &data, &len, err);
    if (!rc)
        rc = nn_model_open_mem(data, len, isa, ret, err);
    return rc ? err_prefix(err, "model %.150s", path) : ERR_OK;
}

struct nn_model *nn_model_free(struct nn_model *model)
{
    if (model) {
        st_free(model->file);
        free(model->weights);
        free(model->detail);
        free(model);
    }
    return NULL;
}

const struct nn_shape *nn_model_shape(const struct nn_model *model)
{
    return &model->config.shape;
}

int nn_model_gated(const struct nn_model *model)
{
    return model->config.gated;
}

enum nn_isa nn_model_isa(const struct nn_model *model)
{
    return model->isa;
}

const char *nn_model_sha256(const struct nn_model *model)
{
    return model->sha256;
}

size_t nn_model_parameters(const struct nn_model *model)
{
    return model->parameters;
}

uint64_t nn_model_macs(const struct nn_model *model)
{
    return model->plan.macs;
}

const char *nn_model_meta(const struct nn_model *model, const char *key)
{
    return st_meta(model->file, key);
}

int nn_model_meta_at(const struct nn_model *model, size_t i, const char **ret_key,
                     const char **ret_value)
{
    return st_meta_at(model->file, i, ret_key, ret_value);
}

/* Reading safetensors files (see safetensors.h).
 *
 * The JSON is jansson's work (duplicate keys, numbers that overflow and depth are refused there);
 * here every entry is turned into a checked struct st_tensor. The tensors, sorted by offset, must
 * tile the data exactly, as the format demands: an overlap or a gap means that a length is wrong
 * or that something hides in the file. The JSON tree is kept, since names point into it. */
#include "safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"

#define LENGTH_BYTES 8

struct st_file {
    json_t *root;
    json_t *meta; /* borrowed from root, or NULL */
    struct st_tensor *tensors;
    size_t count;
};

static const struct {
    const char *name;
    size_t size;
} dtypes[ST_DTYPE_COUNT] = {
    [ST_BOOL] = {"BOOL", 1}, [ST_U8] = {"U8", 1},   [ST_I8] = {"I8", 1},     [ST_I16] = {"I16", 2},
    [ST_U16] = {"U16", 2},   [ST_F16] = {"F16", 2}, [ST_BF16] = {"BF16", 2}, [ST_I32] = {"I32", 4},
    [ST_U32] = {"U32", 4},   [ST_F32] = {"F32", 4}, [ST_F64] = {"F64", 8},   [ST_I64] = {"I64", 8},
    [ST_U64] = {"U64", 8},
};

const char *st_dtype_name(enum st_dtype dtype)
{
    return dtypes[dtype].name;
}

static int dtype_of(json_t *value)
{
    const char *name = json_string_value(value);
    for (int i = 0; name && i < ST_DTYPE_COUNT; i++)
        if (strcmp(name, dtypes[i].name) == 0)
            return i;
    return -1;
}

/* A whole number >= 0, or -1. */
static int64_t whole(json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
                                                                    : -1;
}

static enum err_code read_shape(struct st_tensor *t, json_t *shape, struct err *err)
{
    if (!json_is_array(shape) || json_array_size(shape) > ST_RANK_MAX)
        return err_set(err, ERR_MODEL, "tensor %s: shape is no list of at most %d sizes", t->name,
                       ST_RANK_MAX);
    t->rank = (int)json_array_size(shape);
    t->count = 1;
    for (int i = 0; i < t->rank; i++) {
        int64_t n = whole(json_array_get(shape, (size_t)i));
        if (n < 1 || __builtin_mul_overflow(t->count, (size_t)n, &t->count))
            return err_set(err, ERR_MODEL, "tensor %s: bad size in its shape", t->name);
        t->shape[i] = (uint64_t)n;
    }
    return ERR_OK;
}

static enum err_code read_tensor(struct st_tensor *t, const char *name, json_t *entry,
                                 const uint8_t *data, size_t len, struct err *err)
{
    if (strlen(name) > ST_NAME_MAX || !*name)
        return err_set(err, ERR_MODEL, "a tensor's name is empty or longer than %d bytes",
                       ST_NAME_MAX);
    if (!json_is_object(entry) || json_object_size(entry) != 3)
        return err_set(err, ERR_MODEL, "tensor %s: not exactly dtype, shape, data_offsets", name);
    t->name = name;
    int dtype = dtype_of(json_object_get(entry, "dtype"));
    if (dtype < 0)
        return err_set(err, ERR_MODEL, "tensor %s: unknown dtype", name);
    t->dtype = (enum st_dtype)dtype;
    enum err_code rc = read_shape(t, json_object_get(entry, "shape"), err);
    if (rc)
        return rc;
    if (__builtin_mul_overflow(t->count, dtypes[dtype].size, &t->bytes))
        return err_set(err, ERR_MODEL, "tensor %s: too large", name);

    json_t *offsets = json_object_get(entry, "data_offsets");
    int64_t begin = whole(json_array_get(offsets, 0)), end = whole(json_array_get(offsets, 1));
    if (json_array_size(offsets) != 2 || begin < 0 || end < begin || (uint64_t)end > len)
        return err_set(err, ERR_MODEL, "tensor %s: data_offsets outside the file", name);
    if ((uint64_t)(end - begin) != t->bytes)
        return err_set(err, ERR_MODEL,
                       "tensor %s: data_offsets span %lld bytes, its shape needs %zu", name,
                       (long long)(end - begin), t->bytes);
    t->data = data + begin;
    return ERR_OK;
}

static enum err_code read_meta(struct st_file *file, json_t *meta, struct err *err)
{
    if (!json_is_object(meta) || json_object_size(meta) > ST_META_MAX)
        return err_set(err, ERR_MODEL, "__metadata__ is no object of at most %d strings",
                       ST_META_MAX);
    const char *key;
    json_t *value;
    json_object_foreach (meta, key, value) {
        if (!json_is_string(value) || strlen(key) > ST_META_KEY_MAX ||
            json_string_length(value) > ST_META_LEN_MAX)
            return err_set(err, ERR_MODEL, "metadata %.40s: no string, or too long", key);
    }
    file->meta = meta;
    return ERR_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    return x->data < y->data ? -1 : x->data > y->data;
}

static enum err_code read_header(struct st_file *file, const uint8_t *data, size_t len,
                                 struct err *err)
{
    size_t entries = json_object_size(file->root);
    if (entries > ST_TENSORS_MAX)
        return err_set(err, ERR_MODEL, "more than %d tensors", ST_TENSORS_MAX);
    file->tensors = try_alloc(entries, sizeof *file->tensors);
    if (!file->tensors)
        return err_set(err, ERR_NO_MEMORY, "no memory for a list of %zu tensors", entries);
    const char *name;
    json_t *entry;
    json_object_foreach (file->root, name, entry) {
        enum err_code rc =
            strcmp(name, "__metadata__") == 0
                ? read_meta(file, entry, err)
                : read_tensor(&file->tensors[file->count++], name, entry, data, len, err);
        if (rc)
            return rc;
    }
    qsort(file->tensors, file->count, sizeof *file->tensors, by_offset);
    const uint8_t *at = data;
    for (size_t i = 0; i < file->count; i++) {
        if (file->tensors[i].data != at)
            return err_set(err, ERR_MODEL, "tensor %s: a gap or an overlap before its data",
                           file->tensors[i].name);
        at += file->tensors[i].bytes;
    }
    if (at != data + len)
        return err_set(err, ERR_MODEL, "%zu bytes behind the last tensor",
                       (size_t)(data + len - at));
    return ERR_OK;
}

enum err_code st_parse(const void *data, size_t len, struct st_file **ret, struct err *err)
{
    const uint8_t *bytes = data;
    if (len < LENGTH_BYTES)
        return err_set(err, ERR_MODEL, "not a safetensors file: only %zu bytes", len);
    uint64_t header = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        header = header << 8 | bytes[i];
    if (header > ST_HEADER_MAX || header > len - LENGTH_BYTES)
        return err_set(err, ERR_MODEL, "not a safetensors file: a header of %llu bytes",
                       (unsigned long long)header);

    struct st_file *file = xalloc(sizeof *file);
    json_error_t why;
    file->root = json_loadb((const char *)bytes + LENGTH_BYTES, (size_t)header,
                            JSON_REJECT_DUPLICATES, &why);
    enum err_code rc;
    if (!json_is_object(file->root))
        rc = err_set(err, ERR_MODEL, "the header is no JSON object: %.120s",
                     file->root ? "another type" : why.text);
    else
        rc = read_header(file, bytes + LENGTH_BYTES + header, len - LENGTH_BYTES - (size_t)header,
                         err);
    if (rc) {
        st_free(file);
        return rc;
    }
    *ret = file;
    return ERR_OK;
}

struct st_file *st_free(struct st_file *file)
{
    if (file) {
        json_decref(file->root);
        free(file->tensors);
        free(file);
    }
    return NULL;
}

size_t st_count(const struct st_file *file)
{
    return file->count;
}

const struct st_tensor *st_at(const struct st_file *file, size_t i)
{
    return i < file->count ? &file->tensors[i] : NULL;
}

const struct st_tensor *st_find(const struct st_file *file, const char *name)
{
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

const char *st_meta(const struct st_file *file, const char *key)
{
    return json_string_value(json_object_get(file->meta, key));
}

int st_meta_at(const struct st_file *file, size_t i, const char **ret_key, const char **ret_value)
{
    void *it = json_object_iter(file->meta);
    for (; it && i > 0; i--)
        it = json_object_iter_next(file->meta, it);
    if (!it)
        return 0;
    *ret_key = json_object_iter_key(it);
    *ret_value = json_string_value(json_object_iter_value(it));
    return 1;
}

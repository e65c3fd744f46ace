/* Reader for safetensors: 8 bytes of header length (little endian), a JSON header, tensor bytes.
 *
 * It trusts nothing: lengths, offsets, shapes, names and counts are checked against the block and
 * against the limits below before anything is used, so that a tensor's `data` always spans `bytes`
 * readable bytes. The block must outlive the result, which points into it.
 */
#ifndef SONDE_NN_SAFETENSORS_H
#define SONDE_NN_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"

#define ST_HEADER_MAX   (1024 * 1024) /* bytes of JSON */
#define ST_TENSORS_MAX  4096
#define ST_RANK_MAX     8
#define ST_NAME_MAX     127 /* bytes of a tensor's name */
#define ST_META_MAX     256
#define ST_META_KEY_MAX 127
#define ST_META_LEN_MAX 65536 /* bytes of one metadata value */

enum st_dtype {
    ST_BOOL,
    ST_U8,
    ST_I8,
    ST_I16,
    ST_U16,
    ST_F16,
    ST_BF16,
    ST_I32,
    ST_U32,
    ST_F32,
    ST_F64,
    ST_I64,
    ST_U64,
    ST_DTYPE_COUNT
};

struct st_tensor {
    const char *name;
    enum st_dtype dtype;
    int rank;
    uint64_t shape[ST_RANK_MAX];
    const uint8_t *data; /* in the caller's block, at any alignment */
    size_t bytes;
    size_t count; /* elements; at least 1 */
};

struct st_file; /* immutable after st_parse: any number of threads */

enum err_code st_parse(const void *data, size_t len, struct st_file **ret,
                       struct err *err) MUST_CHECK;
struct st_file *st_free(struct st_file *file);

const char *st_dtype_name(enum st_dtype dtype);
size_t st_count(const struct st_file *file);
const struct st_tensor *st_at(const struct st_file *file, size_t i); /* in order of their data */
const struct st_tensor *st_find(const struct st_file *file, const char *name);
/* Metadata: by key (NULL when there is none), or number `i` in file order (0 at the end). */
const char *st_meta(const struct st_file *file, const char *key);
int st_meta_at(const struct st_file *file, size_t i, const char **ret_key, const char **ret_value);

#endif

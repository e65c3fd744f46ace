/* What a blob driver is: one constant table, every slot filled. The facade (blob.c) has checked the
 * key before, and fills in what all drivers share (timing, reading whole files). The contract of
 * each slot is that of the function of the same name in blob.h. */
#ifndef SONDE_DRIVER_BLOB_DRIVER_H
#define SONDE_DRIVER_BLOB_DRIVER_H

#include "blob.h"

struct blob_driver {
    const char *scheme; /* "fs": what stands before the colon of the URL */
    /* `rest` is the URL behind "scheme:", instead of options->url. *ret_self is handed to every
     * other slot. */
    enum err_code (*open_store)(const struct blob_options *options, const char *rest,
                                void **ret_self, struct err *err);
    void (*close_store)(void *self);
    enum err_code (*ping)(void *self, struct err *err);
    enum err_code (*put_file)(void *self, enum blob_bucket bucket, const char *key,
                              const char *path, const char *sha256, struct err *err);
    enum err_code (*put)(void *self, enum blob_bucket bucket, const char *key, const void *data,
                         size_t size, struct err *err);
    enum err_code (*open)(void *self, enum blob_bucket bucket, const char *key, int *ret_fd,
                          uint64_t *ret_size, struct err *err);
    enum err_code (*size)(void *self, enum blob_bucket bucket, const char *key, uint64_t *ret_size,
                          struct err *err);
    enum err_code (*del)(void *self, enum blob_bucket bucket, const char *key, struct err *err);
    enum err_code (*list)(void *self, enum blob_bucket bucket, blob_each *each, void *ctx,
                          struct err *err);
};

extern const struct blob_driver blob_fs;
extern const struct blob_driver blob_fault;
extern const struct blob_driver blob_s3;       /* "s3": TLS */
extern const struct blob_driver blob_s3_clear; /* "s3+http" */

/* The driver of a URL and what stands behind its scheme; NULL and ERR_USAGE when there is none. */
const struct blob_driver *blob_find_driver(const char *url, const char **ret_rest, struct err *err);
/* 1 for a key of the form that blob.h states. */
int blob_key_valid(const char *key);

#endif

/* The blob facade: whole files under a bucket and a key. Drivers: fs (embedded), s3.
 *
 * A put is all or nothing: whoever sees the key sees all of its bytes, and after ERR_OK a power cut
 * does not lose it. Keys are made by this program ([a-z0-9/._-], no "..", 200 characters at most,
 * no part empty or with a dot in front), never by a client; another form is ERR_INTERNAL. No key
 * may be a folder of another ("a" beside "a/b"): that put is ERR_CONFLICT where the storage has
 * folders. Writing fails with ERR_NO_SPACE, ERR_READ_ONLY, ERR_UNAVAILABLE … Threads: shared. */
#ifndef SONDE_DRIVER_BLOB_H
#define SONDE_DRIVER_BLOB_H

#include <stddef.h>
#include <stdint.h>

#include "../../base/err.h"

enum blob_bucket { BLOB_RAW, BLOB_PROCESSED, BLOB_MODELS, BLOB_REPORTS, BLOB_BUCKETS };
const char *blob_bucket_name(enum blob_bucket bucket); /* "raw" "processed" "models" "reports" */

struct blob;
struct blob_options {
    /* "fs:/path/to/folder"; "s3://host[:port]" (TLS) or "s3+http://host[:port]"; for tests also
     * "fault:<n>:<url>", which fails each n-th */
    const char *url;
    /* Of s3 only; NULL and 0 are sound defaults where one is named. */
    const char *key_id, *secret;
    const char *region;  /* us-east-1 */
    const char *prefix;  /* sonde-: buckets are sonde-raw, sonde-processed, sonde-models … */
    const char *ca_file; /* PEM of who signs the server's certificate; the system's */
    const char *spool;   /* folder for what is read or written at the moment */
    uint64_t part_size;  /* larger files go in parts of so many bytes: 16 MiB */
    int host_style;      /* bucket.host/key instead of host/bucket/key */
    int make_buckets;    /* make those that are missing when opening; else ERR_NO_SUCH says which */
};

enum err_code blob_open_store(const struct blob_options *options, struct blob **ret,
                              struct err *err) MUST_CHECK;
struct blob *blob_close_store(struct blob *blob);
enum err_code blob_ping(struct blob *blob, struct err *err) MUST_CHECK; /* writes, reads, deletes */

/* Stores the file at `path`, whose bytes the caller has fsync'ed or not: afterwards they are
 * durable. On success the file is gone from `path` (moved where that is possible, else copied and
 * unlinked); on failure it stays. An existing key is replaced. `sha256`: of the bytes, in hex,
 * where the caller knows it; NULL where not. A wrong one may be refused. */
enum err_code blob_put_file(struct blob *blob, enum blob_bucket bucket, const char *key,
                            const char *path, const char *sha256, struct err *err) MUST_CHECK;
enum err_code blob_put(struct blob *blob, enum blob_bucket bucket, const char *key,
                       const void *data, size_t size, struct err *err) MUST_CHECK;
/* A descriptor for reading all of it from a local file (s3 spools it), at its start; the caller
 * closes it. It stays readable when the key is deleted meanwhile. ERR_NO_SUCH. */
enum err_code blob_open(struct blob *blob, enum blob_bucket bucket, const char *key, int *ret_fd,
                        uint64_t *ret_size, struct err *err) MUST_CHECK;
/* Whether it is there, and how large: a question, where blob_open fetches it. ERR_NO_SUCH. */
enum err_code blob_size(struct blob *blob, enum blob_bucket bucket, const char *key,
                        uint64_t *ret_size, struct err *err) MUST_CHECK;
/* Whole content, allocated, with a zero behind it; ERR_LIMIT past `max`. */
enum err_code blob_get(struct blob *blob, enum blob_bucket bucket, const char *key, size_t max,
                       char **ret, size_t *ret_size, struct err *err) MUST_CHECK;
/* Deleting what is not there is fine. */
enum err_code blob_delete(struct blob *blob, enum blob_bucket bucket, const char *key,
                          struct err *err) MUST_CHECK;
/* Every key of the bucket, in no order, with the time of its put; what is put or deleted meanwhile
 * may be among them or not. `each` may call the store, and returns non-zero to stop. */
typedef int blob_each(void *ctx, const char *key, uint64_t size, int64_t modified_ms);
enum err_code blob_list(struct blob *blob, enum blob_bucket bucket, blob_each *each, void *ctx,
                        struct err *err) MUST_CHECK;

#endif

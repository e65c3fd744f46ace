/* The facade: picks the driver, checks keys, measures, and reads whole files for every driver.
 * It has no state but the driver's, so any thread may call it. */
#include "blob.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "../../obs/metrics.h"
#include "../../os/clock.h"
#include "blob_driver.h"

#define KEY_MAX 200

struct blob {
    const struct blob_driver *driver;
    void *self;
    struct metric_series *put, *open, *del, *list;
};

static const struct blob_driver *const drivers[] = {&blob_fs, &blob_fault, &blob_s3,
                                                    &blob_s3_clear};

const char *blob_bucket_name(enum blob_bucket bucket)
{
    static const char *const names[BLOB_BUCKETS] = {
        [BLOB_RAW] = "raw",
        [BLOB_PROCESSED] = "processed",
        [BLOB_MODELS] = "models",
        [BLOB_REPORTS] = "reports",
    };
    return names[bucket];
}

const struct blob_driver *blob_find_driver(const char *url, const char **ret_rest, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
        size_t n = strlen(drivers[i]->scheme);
        if (strncmp(url, drivers[i]->scheme, n) == 0 && url[n] == ':') {
            *ret_rest = url + n + 1;
            return drivers[i];
        }
    }
    err_set(err, ERR_USAGE,
            "'%.100s' is no storage that sonde knows; give fs:/path/to/folder, s3://host[:port] or "
            "s3+http://host[:port]",
            url);
    return NULL;
}

int blob_key_valid(const char *key)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789/._-";
    size_t len = strnlen(key, KEY_MAX + 1);
    if (len == 0 || len > KEY_MAX || strspn(key, allowed) != len || strstr(key, ".."))
        return 0;
    char before = '/'; /* each part has a first character, and that is no dot */
    for (const char *p = key; *p; before = *p++)
        if (before == '/' && (*p == '/' || *p == '.'))
            return 0;
    return before != '/';
}

static enum err_code check_key(const char *key, struct err *err)
{
    if (blob_key_valid(key))
        return ERR_OK;
    return err_set(err, ERR_INTERNAL, "'%.100s' is no valid key", key);
}

/* Ends a measured operation, and names the key where it failed. */
static enum err_code settle(enum err_code rc, double started, struct metric_series *series,
                            enum blob_bucket bucket, const char *key, struct err *err)
{
    metric_observe(series, clock_seconds() - started);
    if (rc != ERR_OK)
        err_prefix(err, "%s/%.120s", blob_bucket_name(bucket), key);
    return rc;
}

enum err_code blob_open_store(const struct blob_options *options, struct blob **ret,
                              struct err *err)
{
    const char *rest;
    *ret = NULL;
    const struct blob_driver *driver = blob_find_driver(options->url, &rest, err);
    if (!driver)
        return ERR_USAGE;
    void *self = NULL;
    enum err_code rc = driver->open_store(options, rest, &self, err);
    if (rc != ERR_OK)
        return rc;
    struct blob *blob = xalloc(sizeof *blob);
    *blob = (struct blob){
        .driver = driver,
        .self = self,
        .put = metric_get(METRIC_BLOB_SECONDS, "put", NULL, NULL),
        .open = metric_get(METRIC_BLOB_SECONDS, "open", NULL, NULL),
        .del = metric_get(METRIC_BLOB_SECONDS, "delete", NULL, NULL),
        .list = metric_get(METRIC_BLOB_SECONDS, "list", NULL, NULL),
    };
    *ret = blob;
    return ERR_OK;
}

struct blob *blob_close_store(struct blob *blob)
{
    if (blob)
        blob->driver->close_store(blob->self);
    free(blob);
    return NULL;
}

enum err_code blob_ping(struct blob *blob, struct err *err)
{
    return blob->driver->ping(blob->self, err);
}

enum err_code blob_put_file(struct blob *blob, enum blob_bucket bucket, const char *key,
                            const char *path, const char *sha256, struct err *err)
{
    double started = clock_seconds();
    enum err_code rc = check_key(key, err);
    if (rc == ERR_OK)
        rc = blob->driver->put_file(blob->self, bucket, key, path, sha256, err);
    return settle(rc, started, blob->put, bucket, key, err);
}

enum err_code blob_put(struct blob *blob, enum blob_bucket bucket, const char *key,
                       const void *data, size_t size, struct err *err)
{
    double started = clock_seconds();
    enum err_code rc = check_key(key, err);
    if (rc == ERR_OK)
        rc = blob->driver->put(blob->self, bucket, key, data, size, err);
    return settle(rc, started, blob->put, bucket, key, err);
}

enum err_code blob_open(struct blob *blob, enum blob_bucket bucket, const char *key, int *ret_fd,
                        uint64_t *ret_size, struct err *err)
{
    double started = clock_seconds();
    enum err_code rc = check_key(key, err);
    if (rc == ERR_OK)
        rc = blob->driver->open(blob->self, bucket, key, ret_fd, ret_size, err);
    return settle(rc, started, blob->open, bucket, key, err);
}

enum err_code blob_size(struct blob *blob, enum blob_bucket bucket, const char *key,
                        uint64_t *ret_size, struct err *err)
{
    double started = clock_seconds();
    enum err_code rc = check_key(key, err);
    *ret_size = 0;
    if (rc == ERR_OK)
        rc = blob->driver->size(blob->self, bucket, key, ret_size, err);
    return settle(rc, started, blob->open, bucket, key, err);
}

static enum err_code read_whole(int fd, size_t size, char *out, struct err *err)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, out + done, size - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read");
        if (n == 0)
            return err_set(err, ERR_IO, "it ends after %zu of %zu bytes", done, size);
        done += (size_t)n;
    }
    return ERR_OK;
}

enum err_code blob_get(struct blob *blob, enum blob_bucket bucket, const char *key, size_t max,
                       char **ret, size_t *ret_size, struct err *err)
{
    _cleanup_close_ int fd = -1;
    uint64_t size = 0;
    *ret = NULL;
    enum err_code rc = blob_open(blob, bucket, key, &fd, &size, err);
    if (rc != ERR_OK)
        return rc;
    if (size > max)
        return err_set(err, ERR_LIMIT, "%s/%.120s has %llu bytes, more than %zu",
                       blob_bucket_name(bucket), key, (unsigned long long)size, max);
    _cleanup_free_ char *data = size < SIZE_MAX ? try_alloc((size_t)size + 1, 1) : NULL;
    if (!data)
        return err_set(err, ERR_NO_MEMORY, "no memory for %llu bytes", (unsigned long long)size);
    rc = read_whole(fd, (size_t)size, data, err);
    if (rc != ERR_OK)
        return err_prefix(err, "%s/%.120s", blob_bucket_name(bucket), key), rc;
    *ret_size = (size_t)size;
    *ret = STEAL(data);
    return ERR_OK;
}

enum err_code blob_delete(struct blob *blob, enum blob_bucket bucket, const char *key,
                          struct err *err)
{
    double started = clock_seconds();
    enum err_code rc = check_key(key, err);
    if (rc == ERR_OK)
        rc = blob->driver->del(blob->self, bucket, key, err);
    return settle(rc, started, blob->del, bucket, key, err);
}

enum err_code blob_list(struct blob *blob, enum blob_bucket bucket, blob_each *each, void *ctx,
                        struct err *err)
{
    double started = clock_seconds();
    enum err_code rc = blob->driver->list(blob->self, bucket, each, ctx, err);
    return settle(rc, started, blob->list, bucket, "", err);
}

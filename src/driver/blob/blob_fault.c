/* "fault:<n>:<url>": every n-th operation on the store of <url> fails with ERR_UNAVAILABLE. For
 * tests of those who use a store.
 *
 * Most fail before they have any effect. Every second failing put fails after it: the key is there,
 * but the caller was told otherwise, as when a connection breaks before the answer. Counters are
 * atomic; any thread. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "blob_driver.h"

struct fault {
    const struct blob_driver *inner;
    void *inner_self;
    unsigned long every;
    atomic_ulong operations, failed_puts;
};

enum outcome { PASS, FAIL_BEFORE, FAIL_AFTER };

static enum outcome next(struct fault *fault, int is_put)
{
    if ((atomic_fetch_add(&fault->operations, 1) + 1) % fault->every != 0)
        return PASS;
    return is_put && atomic_fetch_add(&fault->failed_puts, 1) % 2 == 1 ? FAIL_AFTER : FAIL_BEFORE;
}

static enum err_code injected(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "a fault was asked for");
}

static enum err_code fault_open_store(const struct blob_options *options, const char *rest,
                                      void **ret_self, struct err *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long every = strtoul(rest, &end, 10);
    if (errno || end == rest || *end != ':' || every == 0)
        return err_set(err, ERR_USAGE, "a fault store is fault:<every n-th>:<url>");
    const char *inner_rest;
    const struct blob_driver *inner = blob_find_driver(end + 1, &inner_rest, err);
    if (!inner)
        return ERR_USAGE;
    void *inner_self = NULL;
    enum err_code rc = inner->open_store(options, inner_rest, &inner_self, err);
    if (rc != ERR_OK)
        return rc;
    struct fault *fault = xalloc(sizeof *fault);
    fault->inner = inner;
    fault->inner_self = inner_self;
    fault->every = every;
    *ret_self = fault;
    return ERR_OK;
}

static void fault_close(void *self)
{
    struct fault *fault = self;
    fault->inner->close_store(fault->inner_self);
    free(fault);
}

static enum err_code fault_ping(void *self, struct err *err)
{
    struct fault *fault = self;
    return next(fault, 0) == PASS ? fault->inner->ping(fault->inner_self, err) : injected(err);
}

/* Also the put that succeeds unseen leaves the file where it was: a link of it is stored. */
static enum err_code put_file_unseen(struct fault *fault, enum blob_bucket bucket, const char *key,
                                     const char *path, const char *sha256, struct err *err)
{
    _cleanup_free_ char *twin = xasprintf("%s.fault", path);
    if (link(path, twin) == 0) {
        enum err_code rc =
            fault->inner->put_file(fault->inner_self, bucket, key, twin, sha256, err);
        unlink(twin); /* gone already, unless it failed */
        if (rc != ERR_OK)
            return rc;
    }
    return injected(err);
}

static enum err_code fault_put_file(void *self, enum blob_bucket bucket, const char *key,
                                    const char *path, const char *sha256, struct err *err)
{
    struct fault *fault = self;
    enum outcome outcome = next(fault, 1);
    if (outcome == FAIL_BEFORE)
        return injected(err);
    if (outcome == FAIL_AFTER)
        return put_file_unseen(fault, bucket, key, path, sha256, err);
    return fault->inner->put_file(fault->inner_self, bucket, key, path, sha256, err);
}

static enum err_code fault_put(void *self, enum blob_bucket bucket, const char *key,
                               const void *data, size_t size, struct err *err)
{
    struct fault *fault = self;
    enum outcome outcome = next(fault, 1);
    if (outcome == FAIL_BEFORE)
        return injected(err);
    enum err_code rc = fault->inner->put(fault->inner_self, bucket, key, data, size, err);
    return rc == ERR_OK && outcome == FAIL_AFTER ? injected(err) : rc;
}

static enum err_code fault_open(void *self, enum blob_bucket bucket, const char *key, int *ret_fd,
                                uint64_t *ret_size, struct err *err)
{
    struct fault *fault = self;
    if (next(fault, 0) != PASS)
        return injected(err);
    return fault->inner->open(fault->inner_self, bucket, key, ret_fd, ret_size, err);
}

static enum err_code fault_size(void *self, enum blob_bucket bucket, const char *key,
                                uint64_t *ret_size, struct err *err)
{
    struct fault *fault = self;
    if (next(fault, 0) != PASS)
        return injected(err);
    return fault->inner->size(fault->inner_self, bucket, key, ret_size, err);
}

static enum err_code fault_delete(void *self, enum blob_bucket bucket, const char *key,
                                  struct err *err)
{
    struct fault *fault = self;
    if (next(fault, 0) != PASS)
        return injected(err);
    return fault->inner->del(fault->inner_self, bucket, key, err);
}

static enum err_code fault_list(void *self, enum blob_bucket bucket, blob_each *each, void *ctx,
                                struct err *err)
{
    struct fault *fault = self;
    if (next(fault, 0) != PASS)
        return injected(err);
    return fault->inner->list(fault->inner_self, bucket, each, ctx, err);
}

const struct blob_driver blob_fault = {
    .scheme = "fault",
    .open_store = fault_open_store,
    .close_store = fault_close,
    .ping = fault_ping,
    .put_file = fault_put_file,
    .put = fault_put,
    .open = fault_open,
    .size = fault_size,
    .del = fault_delete,
    .list = fault_list,
};

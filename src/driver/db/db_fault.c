/* A wrapper that fails on purpose, for tests of callers: "fault:<n>:<url>".
 *
 * Every n-th db_transact fails: in turn before its commit (ERR_UNAVAILABLE, rolled back) and after
 * it (ERR_UNCERTAIN, stored). Reading passes through. Threads: any. */
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "db_driver.h"

struct fault {
    const struct db_driver *below;
    void *impl;
    unsigned long every, count;
};

static enum err_code fault_open(const struct db_options *options, const char *place, void **ret,
                                struct err *err)
{
    char *end = NULL;
    unsigned long every = strtoul(place, &end, 10);
    const char *inner = NULL;
    if (end == place || *end != ':' || !every)
        return err_set(err, ERR_USAGE, "a fault url is fault:<n>:<url>");
    const struct db_driver *below = db_driver_find(end + 1, &inner, err);
    if (!below)
        return ERR_USAGE;
    void *impl = NULL;
    struct db_options own = *options;
    own.url = end + 1;
    enum err_code code = below->open(&own, inner, &impl, err);
    if (code)
        return code;
    struct fault *fault = xalloc(sizeof *fault);
    *fault = (struct fault){.below = below, .impl = impl, .every = every};
    *ret = fault;
    return ERR_OK;
}

static void fault_close(void *impl)
{
    struct fault *fault = impl;
    fault->below->close(fault->impl);
    free(fault);
}

static unsigned fault_caps(const void *impl)
{
    const struct fault *fault = impl;
    return fault->below->caps(fault->impl);
}

static const char *fault_dialect(const void *impl)
{
    const struct fault *fault = impl;
    return fault->below->dialect(fault->impl);
}

static uint64_t fault_size_bytes(void *impl)
{
    struct fault *fault = impl;
    return fault->below->size_bytes(fault->impl);
}

static enum err_code fault_check(void *impl, char **ret_problems, struct err *err)
{
    struct fault *fault = impl;
    return fault->below->check(fault->impl, ret_problems, err);
}

static enum err_code fault_backup(void *impl, const char *path, struct err *err)
{
    struct fault *fault = impl;
    return fault->below->backup(fault->impl, path, err);
}

struct fault_work {
    db_work *work;
    void *ctx;
};

static enum err_code work_then_fail(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct fault_work *inner = ctx;
    enum err_code code = inner->work(tx, inner->ctx, err);
    return code ? code : err_set(err, ERR_UNAVAILABLE, "a fault on purpose, before the commit");
}

static enum err_code fault_transact(void *impl, enum db_durability durability, db_work *work,
                                    void *ctx, struct err *err)
{
    struct fault *fault = impl;
    unsigned long count = __atomic_add_fetch(&fault->count, 1, __ATOMIC_RELAXED);
    if (count % fault->every)
        return fault->below->transact(fault->impl, durability, work, ctx, err);
    if (count / fault->every % 2) {
        struct fault_work inner = {work, ctx};
        return fault->below->transact(fault->impl, durability, work_then_fail, &inner, err);
    }
    enum err_code code = fault->below->transact(fault->impl, durability, work, ctx, err);
    return code ? code : err_set(err, ERR_UNCERTAIN, "a fault on purpose, after the commit");
}

static enum err_code fault_read_begin(void *impl, struct db_tx **ret, struct err *err)
{
    struct fault *fault = impl;
    return fault->below->read_begin(fault->impl, ret, err);
}

static enum err_code fault_read_begin_stale(void *impl, struct db_tx **ret, struct err *err)
{
    struct fault *fault = impl;
    return fault->below->read_begin_stale(fault->impl, ret, err);
}

/* The slots of transactions and rows stay empty: those that are handed out carry the table of the
 * driver below. */
const struct db_driver db_driver_fault = {
    .name = "fault",
    .open = fault_open,
    .close = fault_close,
    .caps = fault_caps,
    .dialect = fault_dialect,
    .size_bytes = fault_size_bytes,
    .check = fault_check,
    .backup = fault_backup,
    .transact = fault_transact,
    .read_begin = fault_read_begin,
    .read_begin_stale = fault_read_begin_stale,
};

/* Arbitrary bytes as a zip: whatever comes out keeps the promises of media/zip.h. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/utf8.h"
#include "media/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_BYTES (UINT64_C(1) << 20)

struct seen {
    uint64_t total;
    size_t entries;
    int open;
};

static void check_name(const char *name)
{
    if (strlen(name) > ZIP_NAME_MAX || !utf8_valid(name) || strpbrk(name, "/\\"))
        abort();
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20)
            abort();
}

static enum err_code begin(void *ctx, const char *name, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    check_name(name);
    if (s->open || !*name)
        abort();
    s->open = 1;
    return ERR_OK;
}

static enum err_code take(void *ctx, const void *data, size_t size, struct err *err)
{
    struct seen *s = ctx;
    (void)data, (void)err;
    s->total += size;
    if (!s->open || size == 0 || s->total > MOST_BYTES)
        abort();
    return ERR_OK;
}

static enum err_code end(void *ctx, const char *name, const struct err *why, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    check_name(name);
    if ((!s->open && !why) || (why && (why->code == ERR_OK || !why->text[0])))
        abort();
    s->open = 0;
    s->entries++;
    return ERR_OK;
}

static void skipped(void *ctx, const char *name, const char *reason)
{
    struct seen *s = ctx;
    check_name(name);
    if (!reason || s->open)
        abort();
    s->entries++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    const struct zip_limits limits = {.max_bytes = MOST_BYTES, .max_entries = 50};
    struct seen seen = {0};
    const struct zip_sink sink = {&seen, begin, take, end, skipped};
    struct err err = {0};
    if (fd < 0)
        fd = memfd_create("zip", MFD_CLOEXEC);
    if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        return 0;
    if (zip_each(fd, &limits, &sink, &err) != err.code || (err.code && !err.text[0]))
        abort();
    if (seen.entries > limits.max_entries || seen.open)
        abort();
    return 0;
}

/* Arbitrary bytes as a multipart body, fed whole and in uneven portions: both must tell the same,
 * and calls must come in order. Up to the first newline stands the boundary. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    int inside;
    uint64_t hash, parts, bytes;
};

static void mix(struct seen *seen, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        seen->hash = (seen->hash ^ (unsigned char)data[i]) * 1099511628211u;
    seen->bytes += size;
}

static enum err_code begin(void *ctx, const char *name, const char *filename, struct err *err)
{
    struct seen *seen = ctx;
    (void)err;
    if (seen->inside++)
        abort();
    seen->parts++;
    mix(seen, name, strlen(name) + 1);
    mix(seen, filename ? filename : "-", filename ? strlen(filename) + 1 : 1);
    if (filename) {
        _cleanup_free_ char *clean = upload_clean_name(filename);
        if (strlen(clean) > FILE_NAME_MAX || strchr(clean, '/') || strchr(clean, '\\') ||
            strchr(clean, '\n') || strcmp(clean, "..") == 0)
            abort();
    }
    return ERR_OK;
}

static enum err_code take(void *ctx, const char *data, size_t size, struct err *err)
{
    struct seen *seen = ctx;
    (void)err;
    if (!seen->inside || !size)
        abort();
    mix(seen, data, size);
    return ERR_OK;
}

static enum err_code end(void *ctx, struct err *err)
{
    struct seen *seen = ctx;
    (void)err;
    if (!seen->inside--)
        abort();
    mix(seen, "|", 1);
    return ERR_OK;
}

static enum err_code run(const char *type, const char *body, size_t size, size_t portion,
                         struct seen *seen)
{
    static const struct multipart_calls calls = {begin, take, end};
    struct multipart *m = NULL;
    struct err err = {0};
    memset(seen, 0, sizeof *seen);
    enum err_code code = multipart_new(type, &calls, seen, &m, &err);
    for (size_t at = 0; code == ERR_OK && at < size;) {
        size_t n = size - at < portion ? size - at : portion;
        char *exact = malloc(n); /* so that a sanitizer sees a byte read past it */
        memcpy(exact, body + at, n);
        code = multipart_feed(m, exact, n, &err);
        free(exact);
        at += n;
    }
    if (code == ERR_OK)
        code = multipart_finish(m, &err);
    if (code != ERR_OK && !err.text[0])
        abort();
    multipart_free(m);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = memchr(data, '\n', size);
    if (!line || line == data)
        return 0;
    _cleanup_free_ char *type = malloc((size_t)(line - data) + 40);
    memcpy(type, "multipart/form-data; ", 21);
    memcpy(type + 21, data, (size_t)(line - data));
    type[21 + (line - data)] = 0;
    const char *body = (const char *)line + 1;
    size_t rest = size - (size_t)(line + 1 - data);
    struct seen whole, cut;
    enum err_code code = run(type, body, rest, rest ? rest : 1, &whole);
    for (size_t portion = 1; portion < 8; portion += 2) {
        enum err_code other = run(type, body, rest, portion, &cut);
        if (other != code)
            abort();
        if (code == ERR_OK && (whole.hash != cut.hash || whole.parts != cut.parts))
            abort();
    }
    return 0;
}

/* The error table and the few functions that fill a struct err. No allocation, any thread. */
#include "err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *slug;
    int http;
    int retry;
    const char *hint;
} rows[ERR_COUNT] = {
    [ERR_OK] = {"ok", 200, 0, ""},
#define ERR_ROW(name, slug, http, retry, hint) [name] = {slug, http, retry, hint},
#include "err.def"
#undef ERR_ROW
};

enum err_code err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
    }
    return code;
}

enum err_code err_set_errno(struct err *err, enum err_code code, int errnum, const char *fmt, ...)
{
    if (err) {
        char reason[96];
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof err->text)
            snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s",
                     strerror_r(errnum, reason, sizeof reason));
    }
    return code;
}

enum err_code err_prefix(struct err *err, const char *fmt, ...)
{
    if (!err)
        return ERR_INTERNAL;
    char old[ERR_TEXT_MAX];
    memcpy(old, err->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", old);
    return err->code;
}

enum err_code err_from_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return ERR_PERMISSION;
    case EISDIR:
    case ENXIO:
    case ELOOP:
        return ERR_NOT_A_FILE;
    case ENOMEM:
        return ERR_NO_MEMORY;
    default:
        return ERR_IO;
    }
}

static enum err_code known(enum err_code code)
{
    return code >= 0 && code < ERR_COUNT ? code : ERR_INTERNAL;
}

const char *err_slug(enum err_code code)
{
    return rows[known(code)].slug;
}

const char *err_hint(enum err_code code)
{
    return rows[known(code)].hint;
}

int err_http_status(enum err_code code)
{
    return rows[known(code)].http;
}

int err_retryable(enum err_code code)
{
    return rows[known(code)].retry;
}

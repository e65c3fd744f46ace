/* Errors: a code from one table (err.def) and one line of text for people.
 *
 * A function that can fail returns `enum err_code` (0 = ok) and takes a caller-owned
 * `struct err *` last. It fills the text once, where the failure is known; a caller may prefix
 * context once (err_prefix). Never thread-local: results cross threads. `err` may be NULL.
 */
#ifndef SONDE_BASE_ERR_H
#define SONDE_BASE_ERR_H

#include <stdarg.h>

enum err_code {
    ERR_OK = 0,
#define ERR_ROW(name, slug, http, retry, hint) name,
#include "err.def"
#undef ERR_ROW
    ERR_COUNT
};

#define ERR_TEXT_MAX 256

struct err {
    enum err_code code;
    char text[ERR_TEXT_MAX];
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Sets code and text; returns the code, so that `return err_set(err, ERR_IO, "…")` reads well. */
enum err_code err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* As err_set, with strerror(errnum) appended: "text: No such file or directory". */
enum err_code err_set_errno(struct err *err, enum err_code code, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Puts "prefix: " before the text; returns the unchanged code. */
enum err_code err_prefix(struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The code for an errno of open/stat/read: not_found, permission_denied, io … */
enum err_code err_from_errno(int errnum);

const char *err_slug(enum err_code code);
const char *err_hint(enum err_code code);
int err_http_status(enum err_code code);
int err_retryable(enum err_code code);

#endif

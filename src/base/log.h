/* The log: one JSON object per line in ECS names, or a readable line on a terminal.
 *
 * Only roles and commands log; library folders return errors. Each line is one write() to standard
 * error, so lines of several threads never mix. Never log a secret: no header values, no bodies, no
 * webhook secrets, no tickets. Texts from outside are escaped. */
#ifndef SONDE_BASE_LOG_H
#define SONDE_BASE_LOG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format {
    LOG_FORMAT_AUTO,
    LOG_FORMAT_JSON,
    LOG_FORMAT_TEXT
}; /* AUTO: text on a terminal */

/* A field's key is an ECS name ("http.request.method") or "labels.something". */
struct log_field {
    const char *key;
    enum { LOG_TEXT, LOG_INT, LOG_REAL } kind;
    const char *text; /* NULL: the field is left out */
    int64_t number;
    double real;
};
#define LOG_T(k, v) ((struct log_field){.key = (k), .kind = LOG_TEXT, .text = (v)})
#define LOG_I(k, v) ((struct log_field){.key = (k), .kind = LOG_INT, .number = (int64_t)(v)})
#define LOG_R(k, v) ((struct log_field){.key = (k), .kind = LOG_REAL, .real = (v)})

/* Once, before other threads start. Default: AUTO, INFO. */
void log_setup(enum log_format format, enum log_level level);
int log_level_parse(const char *name, enum log_level *ret);   /* 0, or -1 */
int log_format_parse(const char *name, enum log_format *ret); /* 0, or -1 */
int log_wants(enum log_level level);
/* Lines written so far with this level. */
uint64_t log_lines(enum log_level level);

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t n);
/* log_event(LOG_LEVEL_INFO, "analysis done", LOG_T("labels.id", id), LOG_R("labels.seconds", s));
 */
#define log_event(level, message, ...)                                                             \
    log_write(level, message, (const struct log_field[]){__VA_ARGS__},                             \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
/* With error.code (the slug) and error.message of `err`. */
void log_failure(enum log_level level, const char *message, const struct err *err,
                 const struct log_field *fields, size_t n);
#define log_error(level, message, err, ...)                                                        \
    log_failure(level, message, err, (const struct log_field[]){__VA_ARGS__},                      \
                sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))

/* For what can fail many times a second: 1 at most once per `seconds` for this `limit`;
 * *ret_suppressed (may be NULL) tells how many were held back since. Any thread. */
struct log_limit {
    int64_t next_ms;
    uint64_t suppressed;
};
int log_allowed(struct log_limit *limit, double seconds, uint64_t *ret_suppressed);

#endif

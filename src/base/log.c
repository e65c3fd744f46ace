/* The log: each line is built in a buffer on the stack, then written at once.
 *
 * JSON is written by hand: a line is flat, its size is bounded, and a line that is too long must
 * still be valid, which a library's dump to a buffer cannot promise. The level and the format are
 * set before threads start; the counters are atomic; one mutex keeps long lines in a pipe whole
 * (the kernel promises that only up to 4096 bytes). Any thread. */
#include "log.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"
#include "time.h"
#include "utf8.h"

#define LINE_MAX_BYTES 16384
#define MESSAGE_MAX    4096 /* so that a long message leaves room for the fields */
#define ECS_VERSION    "8.11.0"

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const format_names[] = {"auto", "json", "text"};

static enum log_level least_level = LOG_LEVEL_INFO;
static enum log_format wanted_format = LOG_FORMAT_AUTO;
static _Atomic uint64_t written[ARRAY_LEN(level_names)];
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;

/* A line in the making. `end` is the last byte that content may use: behind it is always room for
 * what closes the line. */
struct line {
    char bytes[LINE_MAX_BYTES];
    size_t len, end;
    int json, cut;
};

static const char json_cut[] = ",\"labels.truncated\":\"true\"}\n";
static const char json_end[] = "}\n";
static const char text_cut[] = " [cut]\n";

void log_setup(enum log_format format, enum log_level level)
{
    wanted_format = format;
    least_level = level;
    tzset(); /* localtime_r may then run in any thread */
}

static int find_name(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; name && i < n; i++)
        if (strcmp(name, names[i]) == 0)
            return (int)i;
    return -1;
}

int log_level_parse(const char *name, enum log_level *ret)
{
    int i = find_name(name, level_names, ARRAY_LEN(level_names));
    if (i >= 0)
        *ret = (enum log_level)i;
    return i < 0 ? -1 : 0;
}

int log_format_parse(const char *name, enum log_format *ret)
{
    int i = find_name(name, format_names, ARRAY_LEN(format_names));
    if (i >= 0)
        *ret = (enum log_format)i;
    return i < 0 ? -1 : 0;
}

int log_wants(enum log_level level)
{
    return level >= least_level;
}

uint64_t log_lines(enum log_level level)
{
    return atomic_load_explicit(&written[level], memory_order_relaxed);
}

/* All of it or nothing; -1 when it does not fit. */
static int put(struct line *l, const char *bytes, size_t n)
{
    if (n > l->end - l->len) {
        l->cut = 1;
        return -1;
    }
    memcpy(l->bytes + l->len, bytes, n);
    l->len += n;
    return 0;
}

static int put_z(struct line *l, const char *s)
{
    return put(l, s, strlen(s));
}

/* How one character looks inside quotes: itself, or an escape. Returns its length. */
static size_t escape(const struct line *l, const char *s, size_t n, uint32_t c, char out[16])
{
    static const char short_from[] = "\n\r\t\"\\", short_to[] = "nrt\"\\";
    const char *found = n == 1 ? strchr(short_from, (int)c) : NULL;
    if (n == 0)
        return (size_t)snprintf(out, 16, "\xef\xbf\xbd"); /* a bad byte: U+FFFD */
    if (found)
        return (size_t)snprintf(out, 16, "\\%c", short_to[found - short_from]);
    if (utf8_unprintable(c)) /* all of these are below U+10000 */
        return (size_t)snprintf(out, 16, l->json || c > 0xff ? "\\u%04x" : "\\x%02x", (unsigned)c);
    memcpy(out, s, n);
    return n;
}

/* The characters of `s`, escaped, in at most `max` bytes. */
static void put_escaped(struct line *l, const char *s, size_t max)
{
    size_t start = l->len;
    while (*s) {
        uint32_t c = 0;
        char out[16];
        size_t n = utf8_char(s, &c);
        size_t len = escape(l, s, n, c, out);
        if (l->len - start + len > max) {
            l->cut = 1;
            return;
        }
        if (put(l, out, len) < 0)
            return;
        s += n ? n : 1;
    }
}

/* A text value in quotes, cut where it must be: the closing quote has its place kept. */
static int put_quoted(struct line *l, const char *s, size_t max)
{
    if (l->end - l->len < 2) {
        l->cut = 1;
        return -1;
    }
    l->bytes[l->len++] = '"';
    l->end--;
    put_escaped(l, s, max);
    l->end++;
    l->bytes[l->len++] = '"';
    return 0;
}

static int put_value(struct line *l, const struct log_field *f)
{
    char number[48];
    switch (f->kind) {
    case LOG_INT:
        snprintf(number, sizeof number, "%lld", (long long)f->number);
        return put_z(l, number);
    case LOG_REAL:
        if (l->json && !isfinite(f->real))
            return put_z(l, "null");
        snprintf(number, sizeof number, "%.12g", f->real);
        return put_z(l, number);
    default:
        /* Plain words stay without quotes in text, for the eye. */
        if (l->json || f->text[0] == '\0' || strpbrk(f->text, " \"=\\\t\r\n"))
            return put_quoted(l, f->text, LINE_MAX_BYTES);
        put_escaped(l, f->text, LINE_MAX_BYTES);
        return 0;
    }
}

/* A field, whole or with its text cut; one whose key or number does not fit is left out. */
static void put_field(struct line *l, const struct log_field *f)
{
    size_t before = l->len;
    if (f->kind == LOG_TEXT && !f->text)
        return;
    if (l->cut && l->end - l->len < 64)
        return;
    int rc = put_z(l, l->json ? ",\"" : " ");
    if (rc == 0) /* keys are the program's, but a bad one must not break the line */
        put_escaped(l, f->key, 200);
    if (rc == 0)
        rc = put_z(l, l->json ? "\":" : "=");
    if (rc == 0)
        rc = put_value(l, f);
    if (rc < 0)
        l->len = before;
}

static void begin_json(struct line *l, enum log_level level, const char *message)
{
    char at[TIME_TEXT], head[256];
    time_format(time_now_ms(), at);
    snprintf(head, sizeof head, "{\"@timestamp\":\"%s\",\"log.level\":\"%s\",\"message\":", at,
             level_names[level]);
    put_z(l, head);
    put_quoted(l, message, MESSAGE_MAX);
    snprintf(head, sizeof head,
             ",\"ecs.version\":\"" ECS_VERSION "\",\"service.name\":\"sonde\","
             "\"service.version\":\"" SONDE_VERSION "\",\"process.pid\":%ld",
             (long)getpid());
    put_z(l, head);
}

static void begin_text(struct line *l, enum log_level level, const char *message)
{
    int64_t ms = time_now_ms();
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm = {0};
    char head[64];
    localtime_r(&seconds, &tm); /* a terminal has somebody before it, who lives in a time zone */
    snprintf(head, sizeof head, "%02d:%02d:%02d.%03d %-5s ", tm.tm_hour, tm.tm_min, tm.tm_sec,
             (int)(ms % 1000), level_names[level]);
    put_z(l, head);
    put_escaped(l, message, MESSAGE_MAX);
}

static void end_line(struct line *l)
{
    const char *tail = l->json ? l->cut ? json_cut : json_end : l->cut ? text_cut : "\n";
    l->end = sizeof l->bytes;
    put_z(l, tail);
}

static void write_line(const struct line *l)
{
    size_t done = 0;
    pthread_mutex_lock(&write_lock);
    while (done < l->len) {
        ssize_t n = write(STDERR_FILENO, l->bytes + done, l->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* nowhere to complain */
        done += (size_t)n;
    }
    pthread_mutex_unlock(&write_lock);
}

static void log_line(enum log_level level, const char *message, const struct err *err,
                     const struct log_field *fields, size_t n)
{
    if (!log_wants(level))
        return;
    int saved = errno;
    struct line l;
    l.len = 0;
    l.end = sizeof l.bytes - sizeof json_cut;
    l.cut = 0;
    l.json = wanted_format == LOG_FORMAT_JSON ||
             (wanted_format == LOG_FORMAT_AUTO && !isatty(STDERR_FILENO));
    (l.json ? begin_json : begin_text)(&l, level, message ? message : "");
    if (!l.json && (n > 0 || err))
        put_z(&l, " "); /* two blanks between the message and the first field */
    if (err) {
        put_field(&l, &LOG_T("error.code", err_slug(err->code)));
        put_field(&l, &LOG_T("error.message", err->text));
    }
    for (size_t i = 0; i < n; i++)
        put_field(&l, &fields[i]);
    end_line(&l);
    write_line(&l);
    atomic_fetch_add_explicit(&written[level], 1, memory_order_relaxed);
    errno = saved;
}

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t n)
{
    log_line(level, message, NULL, fields, n);
}

void log_failure(enum log_level level, const char *message, const struct err *err,
                 const struct log_field *fields, size_t n)
{
    log_line(level, message, err, fields, n);
}

int log_allowed(struct log_limit *limit, double seconds, uint64_t *ret_suppressed)
{
    int64_t now = time_steady_ms();
    int64_t next = __atomic_load_n(&limit->next_ms, __ATOMIC_RELAXED);
    /* Of several threads at the same moment one wins the exchange; the others are held back. */
    if (now < next ||
        !__atomic_compare_exchange_n(&limit->next_ms, &next, now + (int64_t)(seconds * 1000), 0,
                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
        return 0;
    }
    uint64_t held = __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED);
    if (ret_suppressed)
        *ret_suppressed = held;
    return 1;
}

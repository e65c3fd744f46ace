/* traceparent headers of W3C Trace Context, read and written. No state, any thread. */
#include "trace.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../base/id.h"

#define HEADER_CHARS (TRACE_PARENT_TEXT - 1)

static void random_hex(char *out, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    int zero = 1;
    while (zero) { /* all zeros mean "none" */
        uint8_t bytes[TRACE_ID_TEXT];
        random_bytes(bytes, size - 1);
        for (size_t i = 0; i + 1 < size; i++) {
            out[i] = digits[bytes[i] & 15];
            zero &= out[i] == '0';
        }
    }
    out[size - 1] = '\0';
}

/* n lower-case hex digits at s. */
static int is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") >= n;
}

static int is_zero(const char *s, size_t n)
{
    return strspn(s, "0") >= n;
}

/* version-trace-parent-flags: 2, 32, 16 and 2 digits. */
static int valid(const char *s)
{
    size_t len = strnlen(s, HEADER_CHARS + 1);
    if (len < HEADER_CHARS || !is_hex(s, 2) || strncmp(s, "ff", 2) == 0)
        return 0;
    if (len > HEADER_CHARS && (strncmp(s, "00", 2) == 0 || s[HEADER_CHARS] != '-'))
        return 0; /* a later version may go on, after a dash */
    return s[2] == '-' && is_hex(s + 3, 32) && !is_zero(s + 3, 32) && s[35] == '-' &&
           is_hex(s + 36, 16) && !is_zero(s + 36, 16) && s[52] == '-' && is_hex(s + 53, 2);
}

void trace_begin(const char *traceparent, struct trace *ret)
{
    *ret = (struct trace){.sampled = 1};
    if (traceparent && valid(traceparent)) {
        memcpy(ret->trace_id, traceparent + 3, TRACE_ID_TEXT - 1);
        char digit = traceparent[54]; /* the flags' lowest bits */
        ret->sampled = (digit <= '9' ? digit - '0' : digit - 'a' + 10) & 1;
    } else {
        random_hex(ret->trace_id, sizeof ret->trace_id);
    }
    random_hex(ret->span_id, sizeof ret->span_id);
}

void trace_format(const struct trace *trace, char ret[TRACE_PARENT_TEXT])
{
    snprintf(ret, TRACE_PARENT_TEXT, "00-%s-%s-%02x", trace->trace_id, trace->span_id,
             trace->sampled ? 1u : 0u);
}

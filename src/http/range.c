/* Small header values: Range, lists of entity tags, Accept-Encoding with q-values.
 * Pure functions over text from outside; any thread; fuzzed. */
#include "internal.h"

#include <string.h>
#include <strings.h>

static const char *skip_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* A decimal number; NULL when there is none. One that does not fit counts as the largest. */
static const char *number(const char *p, uint64_t *ret)
{
    uint64_t value = 0;
    if (*p < '0' || *p > '9')
        return NULL;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            value = UINT64_MAX / 16; /* stays too large whatever follows */
    *ret = value;
    return p;
}

enum range_kind range_parse(const char *text, uint64_t size, uint64_t *ret_from, uint64_t *ret_len)
{
    uint64_t from = 0, to = 0;
    const char *p = text;
    *ret_from = 0;
    *ret_len = size;
    if (!p || strncasecmp(p, "bytes", 5) != 0)
        return RANGE_WHOLE;
    p = skip_blanks(p + 5);
    if (*p != '=')
        return RANGE_WHOLE;
    p = skip_blanks(p + 1);
    int suffix = *p == '-';
    if (suffix) {
        p = number(p + 1, &to);
    } else {
        p = number(p, &from);
        if (!p || *p != '-')
            return RANGE_WHOLE;
        const char *last = number(p + 1, &to);
        if (last && to < from)
            return RANGE_WHOLE; /* malformed, RFC 9110 14.1.1 */
        if (!last)
            to = UINT64_MAX;
        p = last ? last : p + 1;
    }
    if (!p || *skip_blanks(p))
        return RANGE_WHOLE; /* malformed, or several ranges: nobody needs those */
    if (suffix) {
        from = to < size ? size - to : 0;
        if (to == 0 || size == 0)
            return RANGE_NOT_SATISFIABLE;
        to = size - 1;
    }
    if (from >= size)
        return RANGE_NOT_SATISFIABLE;
    if (to >= size)
        to = size - 1;
    *ret_from = from;
    *ret_len = to - from + 1;
    return RANGE_PART;
}

int etag_matches(const char *list, const char *etag)
{
    if (!list || !etag)
        return 0;
    if (strncmp(etag, "W/", 2) == 0)
        etag += 2;
    size_t len = strlen(etag);
    for (const char *p = list;;) {
        p = skip_blanks(p);
        if (*p == '*')
            return 1;
        if (strncmp(p, "W/", 2) == 0)
            p += 2;
        if (*p == '"') {
            const char *end = strchr(p + 1, '"');
            if (!end)
                return 0;
            if ((size_t)(end + 1 - p) == len && memcmp(p, etag, len) == 0)
                return 1;
            p = end + 1;
        }
        p = strchr(p, ',');
        if (!p)
            return 0;
        p++;
    }
}

/* "q=0.5" after a coding, in thousandths. */
static int quality(const char *p, const char *end)
{
    for (; p < end; p++) {
        if (*p != ';')
            continue;
        p = skip_blanks(p + 1);
        if (p + 1 >= end || (*p | 0x20) != 'q' || p[1] != '=')
            continue;
        p += 2;
        if (p >= end || (*p != '0' && *p != '1'))
            return 0;
        int value = (*p - '0') * 1000;
        if (++p < end && *p == '.')
            for (int scale = 100; ++p < end && *p >= '0' && *p <= '9' && scale; scale /= 10)
                value += (*p - '0') * scale;
        return value > 1000 ? 1000 : value;
    }
    return 1000;
}

int coding_quality(const char *accept, const char *coding)
{
    size_t len = strlen(coding);
    int any = -1;
    for (const char *p = accept; p && *p;) {
        p = skip_blanks(p);
        size_t name = strcspn(p, " \t;,");
        const char *end = p + strcspn(p, ",");
        if (name == len && strncasecmp(p, coding, len) == 0)
            return quality(p + name, end);
        if (name == 1 && *p == '*')
            any = quality(p + name, end);
        p = *end ? end + 1 : end;
    }
    return any;
}

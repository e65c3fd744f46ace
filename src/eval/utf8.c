/* UTF-8 in, safe text out (utf8.h). No state; any thread. */
#include "utf8.h"

#include <string.h>

#include "../base/mem.h"

#define REPLACEMENT 0xFFFDu

uint32_t utf8_next(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    if (*p == 0)
        return 0;
    if (*p < 0x80)
        return *s += 1, *p;
    int more = *p >= 0xC2 && *p <= 0xDF   ? 1
               : (*p & 0xF0) == 0xE0      ? 2
               : *p >= 0xF0 && *p <= 0xF4 ? 3
                                          : 0;
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    uint32_t c = more ? *p & (0x3Fu >> more) : 0;
    int i = 1;
    while (i <= more && (p[i] & 0xC0) == 0x80) /* a NUL ends it: it is no continuation */
        c = c << 6 | (p[i++] & 0x3F);
    int bad = !more || i <= more || c < least[more] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF);
    *s += bad ? 1 : more + 1;
    return bad ? REPLACEMENT : c;
}

static int encode(uint32_t c, char out[5])
{
    int n = 0;
    if (c < 0x80) {
        out[n++] = (char)c;
    } else if (c < 0x800) {
        out[n++] = (char)(0xC0 | c >> 6);
    } else if (c < 0x10000) {
        out[n++] = (char)(0xE0 | c >> 12);
        out[n++] = (char)(0x80 | (c >> 6 & 0x3F));
    } else {
        out[n++] = (char)(0xF0 | c >> 18);
        out[n++] = (char)(0x80 | (c >> 12 & 0x3F));
        out[n++] = (char)(0x80 | (c >> 6 & 0x3F));
    }
    if (c >= 0x80)
        out[n++] = (char)(0x80 | (c & 0x3F));
    out[n] = '\0';
    return n;
}

char *utf8_clean(const char *s)
{
    char *clean = xalloc(3 * strlen(s) + 1), *at = clean; /* U+FFFD takes three bytes */
    for (uint32_t c; (c = utf8_next(&s));) {
        char one[5];
        int n = encode(c, one);
        memcpy(at, one, (size_t)n);
        at += n;
    }
    return clean;
}

/* C0, DEL, C1, and the marks that turn the direction of everything after them round. */
static int is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0x2028 || c == 0x2029 || c == 0xFEFF;
}

static int columns_of(uint32_t c)
{
    if ((c >= 0x300 && c <= 0x36F) || (c >= 0x200B && c <= 0x200F) || (c >= 0xFE00 && c <= 0xFE0F))
        return 0;
    return (c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xA4CF) ||
                   (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xF900 && c <= 0xFAFF) ||
                   (c >= 0xFE30 && c <= 0xFE6F) || (c >= 0xFF00 && c <= 0xFF60) ||
                   (c >= 0xFFE0 && c <= 0xFFE6) || (c >= 0x1F300 && c <= 0x1FAFF) ||
                   (c >= 0x20000 && c <= 0x3FFFD)
               ? 2
               : 1;
}

static uint32_t next_shown(const char **s)
{
    uint32_t c = utf8_next(s);
    return c && is_control(c) ? REPLACEMENT : c;
}

/* Columns of `s`, counting no further than `limit` + 1. */
static int width_of(const char *s, int limit)
{
    int width = 0;
    for (uint32_t c; width <= limit && (c = next_shown(&s));)
        width += columns_of(c);
    return width;
}

void utf8_put_cell(FILE *f, const char *s, int columns)
{
    int width = columns < 0 ? -columns : columns;
    int cut = width_of(s, width) > width, used = 0;
    for (uint32_t c; (c = next_shown(&s));) {
        char one[5];
        if (used + columns_of(c) > width - cut)
            break;
        encode(c, one);
        fputs(one, f);
        used += columns_of(c);
    }
    if (cut && width > 0)
        fputs("…", f), used++;
    for (; used < columns; used++)
        fputc(' ', f);
}

void utf8_put_xml(FILE *f, const char *s, int columns)
{
    for (uint32_t c; (c = next_shown(&s));) {
        char one[5];
        columns -= columns_of(c);
        if (columns < 0) {
            fputs("…", f);
            return;
        }
        encode(c == 0xFFFE || c == 0xFFFF ? REPLACEMENT : c, one); /* XML has no such characters */
        fputs(c == '&'    ? "&amp;"
              : c == '<'  ? "&lt;"
              : c == '>'  ? "&gt;"
              : c == '"'  ? "&quot;"
              : c == '\'' ? "&#39;"
                          : one,
              f);
    }
}

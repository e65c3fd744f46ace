/* The request target: cut into segments, decoded, checked.
 *
 * Cutting comes before decoding, so that %2F is a character of its segment and never a slash.
 * What passes is valid UTF-8 without zeros; everything after this file may rely on that.
 * Pure functions over memory; any thread. */
#include "internal.h"

#include <string.h>

#include "../base/mem.h"
#include "../base/utf8.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int64_t target_decode(const char *from, size_t size, int plus, char *to)
{
    size_t out = 0;
    int ascii = 1;
    for (size_t i = 0; i < size; i++) {
        char c = from[i];
        if (c == '%') {
            int high = size - i > 2 ? hex(from[i + 1]) : -1;
            int low = size - i > 2 ? hex(from[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if (!c)
            return -1;
        ascii &= !((unsigned char)c & 0x80);
        to[out++] = c;
    }
    to[out] = 0;
    return ascii || utf8_valid(to) ? (int64_t)out : -1;
}

/* Decodes the path into `to` and notes where its segments are. */
static char *decode_path(struct target *t, const char *text, size_t size, char *to)
{
    t->path = to;
    for (const char *at = text, *end = text + size; at < end;) {
        *to++ = *at++; /* the slash */
        size_t len = 0;
        while (at + len < end && at[len] != '/')
            len++;
        int64_t n = target_decode(at, len, 0, to);
        if (n < 0)
            return NULL;
        if (t->n_segments <= ROUTE_SEGMENTS_MAX)
            t->segments[t->n_segments++] = (struct route_segment){to, (size_t)n};
        to += n;
        at += len;
    }
    *to = 0;
    return to + 1;
}

static enum err_code decode_query(struct target *t, const char *query, char *to, struct err *err)
{
    size_t count = 1;
    for (const char *p = query; *p; p++)
        count += *p == '&';
    if (count > TARGET_QUERY_MAX)
        return err_set(err, ERR_BAD_REQUEST, "more than %d query parameters", TARGET_QUERY_MAX);
    t->pairs = xalloc(count * sizeof *t->pairs);
    for (const char *at = query;;) {
        size_t len = strcspn(at, "&");
        size_t name = 0;
        while (name < len && at[name] != '=')
            name++;
        if (len) {
            struct target_pair *pair = &t->pairs[t->n_pairs++];
            int64_t n = target_decode(at, name, 1, to);
            pair->name = to;
            to += n + 1;
            int64_t m = n < 0        ? -1
                        : name < len ? target_decode(at + name + 1, len - name - 1, 1, to)
                                     : target_decode("", 0, 1, to);
            pair->value = to;
            to += m + 1;
            if (m < 0)
                return err_set(err, ERR_BAD_REQUEST,
                               "the query is not percent-encoded UTF-8 without zeros");
        }
        if (!at[len])
            return ERR_OK;
        at += len + 1;
    }
}

enum err_code target_parse(struct target *t, const char *text, struct err *err)
{
    size_t size = strlen(text);
    if (size > HTTP_TARGET_MAX)
        return err_set(err, ERR_HEADERS_TOO_LARGE, "path and query have more than %d bytes",
                       HTTP_TARGET_MAX);
    if (text[0] != '/')
        return err_set(err, ERR_BAD_REQUEST, "the request target is no absolute path");
    /* Decoded text is never longer; each parameter takes two zeros and gives a '&' (and a '='). */
    size_t need = 2 * size + 4;
    char *to = t->room;
    if (need > sizeof t->room) {
        t->block = try_alloc(need, 1);
        if (!t->block)
            return err_set(err, ERR_NO_MEMORY, "no memory for a request target");
        to = t->block;
    }
    const char *query = strchr(text, '?');
    to = decode_path(t, text, query ? (size_t)(query - text) : size, to);
    if (!to)
        return err_set(err, ERR_BAD_REQUEST, "the path is not percent-encoded UTF-8 without zeros");
    return query && query[1] ? decode_query(t, query + 1, to, err) : ERR_OK;
}

void target_free(struct target *t)
{
    free(t->block);
    free(t->pairs);
    t->block = NULL;
    t->pairs = NULL;
}

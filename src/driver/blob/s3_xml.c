/* Reads S3's answers, which use a small part of XML: elements, text, five entities and numbers.
 *
 * A library would bring document types, files named by a stranger and megabytes of code for what is
 * a dozen element names. So everything that S3 does not send is refused, and what is read is held
 * to be from anybody: each step is checked against the end, the path against its buffer, and one
 * buffer as long as the input holds any text of it. No state; any thread. */
#include "s3_xml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"

#define NAME_MAX_BYTES 64

struct reader {
    const char *at, *end;
    char path[S3_XML_PATH_MAX];
    size_t path_len;
    char *text; /* of the innermost element, as far as it is read */
    size_t text_len;
    int leaf; /* no element has ended since the last one began */
};

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && is_space(*r->at))
        r->at++;
}

static int starts_with(const struct reader *r, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(r->end - r->at) >= n && memcmp(r->at, word, n) == 0;
}

/* Goes behind the next `word`; -1 when there is none. */
static int skip_past(struct reader *r, const char *word)
{
    const char *found = memmem(r->at, (size_t)(r->end - r->at), word, strlen(word));
    if (!found)
        return -1;
    r->at = found + strlen(word);
    return 0;
}

static int is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == ':';
}

/* The name at this place without its prefix; -1 when there is none or it is too long. */
static int take_name(struct reader *r, const char **ret, size_t *ret_len)
{
    const char *from = r->at, *colon;
    while (r->at < r->end && is_name(*r->at))
        r->at++;
    colon = memrchr(from, ':', (size_t)(r->at - from));
    *ret = colon ? colon + 1 : from;
    *ret_len = (size_t)(r->at - *ret);
    return *ret_len == 0 || *ret_len > NAME_MAX_BYTES ? -1 : 0;
}

/* name="value" as often as it stands there; the values mean nothing here. */
static int skip_attributes(struct reader *r)
{
    for (;;) {
        const char *name;
        size_t len;
        const char *before = r->at;
        skip_space(r);
        if (r->at == r->end)
            return -1;
        if (*r->at == '>' || *r->at == '/')
            return 0;
        if (before == r->at || take_name(r, &name, &len) < 0)
            return -1;
        skip_space(r);
        if (r->at == r->end || *r->at++ != '=')
            return -1;
        skip_space(r);
        if (r->at == r->end || (*r->at != '"' && *r->at != '\''))
            return -1;
        char quote[2] = {*r->at++, '\0'};
        const char *from = r->at;
        if (skip_past(r, quote) < 0 || memchr(from, '<', (size_t)(r->at - from)))
            return -1;
    }
}

/* --- text ----------------------------------------------------------------------------------- */

static int add_utf8(struct reader *r, uint32_t c)
{
    char *to = r->text + r->text_len;
    if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
        return -1;
    if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
        return -1;
    if (c < 0x80) {
        to[0] = (char)c;
        r->text_len += 1;
    } else if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        r->text_len += 2;
    } else if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        r->text_len += 3;
    } else {
        to[0] = (char)(0xf0 | c >> 18);
        to[1] = (char)(0x80 | (c >> 12 & 0x3f));
        to[2] = (char)(0x80 | (c >> 6 & 0x3f));
        to[3] = (char)(0x80 | (c & 0x3f));
        r->text_len += 4;
    }
    return 0;
}

/* "#38;" and "#x26;", behind the '&'. What it stands for is never longer. */
static int add_number(struct reader *r)
{
    uint32_t c = 0, base = 10;
    const char *from;
    r->at++;
    if (r->at < r->end && *r->at == 'x') {
        base = 16;
        r->at++;
    }
    for (from = r->at; r->at < r->end && *r->at != ';'; r->at++) {
        char d = *r->at;
        uint32_t value = d >= '0' && d <= '9'   ? (uint32_t)(d - '0')
                         : d >= 'a' && d <= 'f' ? (uint32_t)(d - 'a' + 10)
                         : d >= 'A' && d <= 'F' ? (uint32_t)(d - 'A' + 10)
                                                : 99;
        if (value >= base || r->at - from >= 7)
            return -1;
        c = c * base + value;
    }
    if (r->at == r->end || r->at == from)
        return -1;
    r->at++;
    return add_utf8(r, c);
}

static int add_entity(struct reader *r)
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"lt;", '<'}, {"gt;", '>'}, {"amp;", '&'}, {"quot;", '"'}, {"apos;", '\''}};
    r->at++;
    if (r->at < r->end && *r->at == '#')
        return add_number(r);
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (starts_with(r, known[i].name)) {
            r->at += strlen(known[i].name);
            r->text[r->text_len++] = known[i].c;
            return 0;
        }
    return -1;
}

static int take_text(struct reader *r)
{
    while (r->at < r->end && *r->at != '<') {
        if (*r->at == '&') {
            if (add_entity(r) < 0)
                return -1;
        } else if (*r->at == '\0') {
            return -1;
        } else {
            r->text[r->text_len++] = *r->at++;
        }
    }
    return 0;
}

/* --- elements ------------------------------------------------------------------------------- */

enum step { ON, DONE, BAD, STOPPED };

/* Tells of the innermost element, and leaves it. */
static enum step leave(struct reader *r, s3_xml_each *each, void *ctx)
{
    r->text[r->text_len] = '\0';
    if (each(ctx, r->path, r->leaf ? r->text : NULL) != 0)
        return STOPPED;
    char *slash = memrchr(r->path, '/', r->path_len);
    r->path_len = slash ? (size_t)(slash - r->path) : 0;
    r->path[r->path_len] = '\0';
    r->leaf = 0;
    r->text_len = 0;
    return r->path_len == 0 ? DONE : ON;
}

static enum step begin(struct reader *r, s3_xml_each *each, void *ctx)
{
    const char *name;
    size_t len;
    if (take_name(r, &name, &len) < 0 || r->path_len + len + 2 > sizeof r->path)
        return BAD;
    if (r->path_len > 0)
        r->path[r->path_len++] = '/';
    memcpy(r->path + r->path_len, name, len);
    r->path_len += len;
    r->path[r->path_len] = '\0';
    r->leaf = 1;
    r->text_len = 0;
    if (skip_attributes(r) < 0)
        return BAD;
    if (*r->at++ == '>')
        return ON;
    if (r->at == r->end || *r->at++ != '>')
        return BAD;
    return leave(r, each, ctx);
}

static enum step end(struct reader *r, s3_xml_each *each, void *ctx)
{
    const char *name;
    size_t len;
    if (take_name(r, &name, &len) < 0)
        return BAD;
    const char *slash = memrchr(r->path, '/', r->path_len);
    const char *open = slash ? slash + 1 : r->path;
    if (strlen(open) != len || memcmp(open, name, len) != 0)
        return BAD;
    skip_space(r);
    if (r->at == r->end || *r->at++ != '>')
        return BAD;
    return leave(r, each, ctx);
}

/* What stands before the root: white space, "<?xml …?>" and comments. */
static int skip_head(struct reader *r)
{
    if (starts_with(r, "\xef\xbb\xbf"))
        r->at += 3;
    for (;;) {
        skip_space(r);
        if (starts_with(r, "<?")) {
            if (skip_past(r, "?>") < 0)
                return -1;
        } else if (starts_with(r, "<!--")) {
            if (skip_past(r, "-->") < 0)
                return -1;
        } else {
            return 0;
        }
    }
}

static enum step read_step(struct reader *r, s3_xml_each *each, void *ctx)
{
    if (r->path_len > 0 && take_text(r) < 0)
        return BAD;
    if (starts_with(r, "<!--"))
        return skip_past(r, "-->") < 0 ? BAD : ON;
    if (r->path_len > 0 && starts_with(r, "</")) {
        r->at += 2;
        return end(r, each, ctx);
    }
    if (r->at == r->end || *r->at != '<')
        return BAD;
    r->at++; /* a '!' or '?' behind it is no name, and so refused */
    return begin(r, each, ctx);
}

enum err_code s3_xml_read(const char *data, size_t size, s3_xml_each *each, void *ctx,
                          struct err *err)
{
    struct reader r = {.at = data, .end = data + size};
    /* No text is longer than what it is read from: the shortest entity has four bytes. */
    _cleanup_free_ char *text = size < SIZE_MAX ? try_alloc(size + 1, 1) : NULL;
    if (!text)
        return err_set(err, ERR_NO_MEMORY, "no memory for an answer of %zu bytes", size);
    r.text = text;
    enum step step = skip_head(&r) < 0 ? BAD : ON;
    while (step == ON)
        step = read_step(&r, each, ctx);
    skip_space(&r);
    if (step == STOPPED)
        return err_set(err, ERR_LIMIT, "an answer has more in it than it should");
    if (step == BAD || r.at != r.end)
        return err_set(err, ERR_UNAVAILABLE, "an answer is no XML of S3");
    return ERR_OK;
}

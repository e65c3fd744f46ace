/* multipart/form-data (RFC 7578), fed in any portions. No I/O and no memory besides one fixed
 * struct, so that a body of any size costs the same, and the fuzzer can have all of it.
 *
 * Strict where leniency helps only attackers: lines end in CRLF, the closing boundary must come,
 * a part needs Content-Disposition: form-data with a name. Browsers write " CR LF in names as
 * %22 %0D %0A, curl and others write \" and \\: both are understood, and nothing else is changed.
 * filename* is not read, as RFC 7578 says.
 *
 * Owner: the body of one request; one thread at a time. */
#include "internal.h"

#include <string.h>
#include <strings.h>

#include "../base/mem.h"
#include "../base/utf8.h"

#define DELIMITER_MAX (4 + MULTIPART_BOUNDARY_MAX)

enum state {
    PREAMBLE, /* before the first boundary: ignored */
    LINE_END, /* behind a boundary: "--", or blanks and CRLF */
    DASH,     /* the second '-' of the closing boundary */
    PAD,      /* blanks behind a boundary */
    CR,       /* the LF behind it */
    HEADERS,  /* of a part, up to the empty line */
    DATA,     /* of a part */
    EPILOGUE  /* behind the closing boundary: ignored */
};

struct multipart {
    const struct multipart_calls *calls;
    void *ctx;
    enum state state;
    char delimiter[DELIMITER_MAX + 1]; /* CR LF -- boundary */
    size_t delimiter_size, matched;    /* bytes of it that stand right before the input */
    size_t header_size;
    char header[HTTP_PART_HEADER_MAX + 1];
};

/* A parameter of a header value: ; name="value" or ; name=token. Decoded into `out` (as large as
 * the text); 1 found, 0 absent, -1 malformed. Skips quoted strings properly, so that a name inside
 * one is not taken for a parameter. */
static int parameter(const char *value, const char *name, char *out)
{
    size_t len = strlen(name);
    const char *p = value + strcspn(value, ";");
    while (*p == ';') {
        p++;
        p += strspn(p, " \t");
        size_t n = strcspn(p, "=; \t");
        int wanted = n == len && strncasecmp(p, name, len) == 0;
        p += n;
        p += strspn(p, " \t");
        char *to = out;
        if (*p == '=') {
            p++;
            p += strspn(p, " \t");
            if (*p == '"') {
                for (p++; *p != '"'; p++) {
                    if (!*p)
                        return -1;
                    if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
                        p++;
                    if (wanted)
                        *to++ = *p;
                }
                p++;
            } else {
                n = strcspn(p, "; \t");
                if (wanted) {
                    memcpy(to, p, n);
                    to += n;
                }
                p += n;
            }
        } else if (wanted) {
            return -1;
        }
        if (wanted) {
            *to = 0;
            return 1;
        }
        p += strspn(p, " \t");
    }
    return *p ? -1 : 0;
}

static int boundary_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("'()+_,-./:=? ", c));
}

enum err_code multipart_new(const char *content_type, const struct multipart_calls *calls,
                            void *ctx, struct multipart **ret, struct err *err)
{
    _cleanup_free_ char *boundary = NULL;
    size_t size = strlen(content_type);
    *ret = NULL;
    if (size > HTTP_PART_HEADER_MAX)
        return err_set(err, ERR_BAD_REQUEST, "the Content-Type is too long");
    boundary = xalloc(size + 1);
    if (parameter(content_type, "boundary", boundary) != 1)
        return err_set(err, ERR_BAD_REQUEST, "the Content-Type names no boundary");
    size = strlen(boundary);
    int valid = size > 0 && size <= MULTIPART_BOUNDARY_MAX && boundary[size - 1] != ' ';
    for (size_t i = 0; valid && i < size; i++)
        valid = boundary_char(boundary[i]);
    if (!valid)
        return err_set(err, ERR_BAD_REQUEST, "the boundary is not 1 to %d permitted characters",
                       MULTIPART_BOUNDARY_MAX);
    struct multipart *m = xalloc(sizeof *m);
    m->calls = calls;
    m->ctx = ctx;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary, size);
    m->delimiter_size = size + 4;
    m->matched = 2; /* a boundary may be the very first line */
    *ret = m;
    return ERR_OK;
}

struct multipart *multipart_free(struct multipart *m)
{
    free(m);
    return NULL;
}

/* What browsers write in names for characters that would end them. */
static void decode_percent(char *text)
{
    char *to = text;
    for (const char *p = text; *p; p++) {
        if (*p == '%' && (strncmp(p, "%22", 3) == 0 || strncasecmp(p, "%0D", 3) == 0 ||
                          strncasecmp(p, "%0A", 3) == 0)) {
            *to++ = p[1] == '2' ? '"' : (p[2] | 0x20) == 'd' ? '\r' : '\n';
            p += 2;
        } else {
            *to++ = *p;
        }
    }
    *to = 0;
}

/* The value of Content-Disposition among the lines of m->header, each ended by a zero. */
static const char *find_disposition(const struct multipart *m)
{
    static const char name[] = "content-disposition:";
    const char *end = m->header + m->header_size;
    for (const char *line = m->header; line < end; line += strlen(line) + 1)
        if (strncasecmp(line, name, sizeof name - 1) == 0)
            return line + sizeof name - 1 + strspn(line + sizeof name - 1, " \t");
    return NULL;
}

static enum err_code begin_part(struct multipart *m, struct err *err)
{
    m->header[m->header_size] = 0;
    if (memchr(m->header, 0, m->header_size))
        return err_set(err, ERR_BAD_REQUEST, "a zero in the headers of a part");
    for (char *p = m->header; (p = strchr(p, '\r')); p++) {
        if (p[1] != '\n')
            return err_set(err, ERR_BAD_REQUEST, "a bare CR in the headers of a part");
        *p++ = 0;
        *p = 0;
    }
    const char *value = find_disposition(m);
    if (!value || strncasecmp(value, "form-data", 9) != 0 ||
        (value[9] && !strchr("; \t", value[9])))
        return err_set(err, ERR_BAD_REQUEST, "a part without Content-Disposition: form-data");
    size_t size = strlen(value) + 1;
    _cleanup_free_ char *name = xalloc(2 * size);
    char *filename = name + size;
    int has_name = parameter(value, "name", name);
    int has_filename = parameter(value, "filename", filename);
    if (has_name != 1 || has_filename < 0)
        return err_set(err, ERR_BAD_REQUEST, "a part without a name, or with a malformed one");
    decode_percent(name);
    decode_percent(filename);
    if (!utf8_valid(name))
        return err_set(err, ERR_BAD_REQUEST, "the name of a part is not UTF-8");
    return m->calls->begin(m->ctx, name, has_filename == 1 ? filename : NULL, err);
}

/* Collects header bytes up to and with the empty line; *used tells how many were taken. */
static enum err_code feed_headers(struct multipart *m, const char *data, size_t size, size_t *used,
                                  struct err *err)
{
    for (size_t i = 0; i < size; i++) {
        if (m->header_size == HTTP_PART_HEADER_MAX)
            return err_set(err, ERR_BAD_REQUEST, "the headers of a part have more than %d bytes",
                           HTTP_PART_HEADER_MAX);
        char c = data[i];
        size_t n = m->header_size;
        if (c == '\n' && (n == 0 || m->header[n - 1] != '\r'))
            return err_set(err, ERR_BAD_REQUEST, "a line of a part does not end in CRLF");
        m->header[m->header_size++] = c;
        /* The empty line: CRLF right at the start, or behind a line's CRLF. */
        if (c == '\n' && (n == 1 || (n >= 3 && m->header[n - 2] == '\n'))) {
            *used = i + 1;
            m->header_size -= 2;
            m->state = DATA;
            return begin_part(m, err);
        }
    }
    *used = size;
    return ERR_OK;
}

static enum err_code emit(struct multipart *m, const char *data, size_t size, struct err *err)
{
    return m->state == DATA && size ? m->calls->data(m->ctx, data, size, err) : ERR_OK;
}

/* Looks for the delimiter and passes on what is before it. Only its first byte is a CR, so a match
 * that fails can only begin anew at the byte where it failed. */
static enum err_code feed_data(struct multipart *m, const char *data, size_t size, size_t *used,
                               struct err *err)
{
    size_t i = 0, from = 0; /* data[from..i) is content that was not passed on yet */
    while (i < size) {
        if (m->matched == 0) {
            const char *cr = memchr(data + i, '\r', size - i);
            i = cr ? (size_t)(cr - data) : size;
            if (!cr)
                break;
            enum err_code code = emit(m, data + from, i - from, err);
            if (code != ERR_OK)
                return code;
            m->matched = 1;
            from = ++i;
        } else if (data[i] == m->delimiter[m->matched]) {
            from = ++i;
            if (++m->matched < m->delimiter_size)
                continue;
            enum err_code code = m->state == DATA ? m->calls->end(m->ctx, err) : ERR_OK;
            m->matched = 0;
            m->state = LINE_END;
            *used = i;
            return code;
        } else {
            enum err_code code = emit(m, m->delimiter, m->matched, err);
            if (code != ERR_OK)
                return code;
            m->matched = 0;
            from = i;
        }
    }
    *used = size;
    return emit(m, data + from, size - from, err);
}

/* The rest of a boundary's line, byte by byte. */
static enum err_code feed_line_end(struct multipart *m, char c, struct err *err)
{
    if (m->state == LINE_END && c == '-') {
        m->state = DASH;
    } else if (m->state == DASH && c == '-') {
        m->state = EPILOGUE;
    } else if ((m->state == LINE_END || m->state == PAD) && (c == ' ' || c == '\t')) {
        m->state = PAD;
    } else if ((m->state == LINE_END || m->state == PAD) && c == '\r') {
        m->state = CR;
    } else if (m->state == CR && c == '\n') {
        m->state = HEADERS;
        m->header_size = 0;
    } else {
        return err_set(err, ERR_BAD_REQUEST, "a boundary is not followed by CRLF or --");
    }
    return ERR_OK;
}

enum err_code multipart_feed(struct multipart *m, const char *data, size_t size, struct err *err)
{
    while (size) {
        size_t used = 1;
        enum err_code code = ERR_OK;
        switch (m->state) {
        case PREAMBLE:
        case DATA:
            code = feed_data(m, data, size, &used, err);
            break;
        case HEADERS:
            code = feed_headers(m, data, size, &used, err);
            break;
        case EPILOGUE:
            return ERR_OK;
        default:
            code = feed_line_end(m, data[0], err);
        }
        if (code != ERR_OK)
            return code;
        data += used;
        size -= used;
    }
    return ERR_OK;
}

enum err_code multipart_finish(struct multipart *m, struct err *err)
{
    return m->state == EPILOGUE
               ? ERR_OK
               : err_set(err, ERR_BAD_REQUEST, "the body ends before its closing boundary");
}

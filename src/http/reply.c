/* Answers: one MHD response per request, made by the handler's thread, queued by the connection's.
 *
 * Headers that every answer carries are added once, when the answer is complete. gzip runs only on
 * workers, because it takes longer than an I/O thread may. */
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <zlib.h>

#include "../base/mem.h"

#define GZIP_MIN   1024
#define GZIP_MAX   (64 * 1024 * 1024)
#define GZIP_LEVEL 4

#define PAGE_POLICY                                                                                \
    "default-src 'self'; style-src 'self' "                                                        \
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; img-src 'self' data: blob:; "          \
    "media-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; "             \
    "frame-ancestors 'none'; form-action 'self'"
#define API_POLICY "default-src 'none'; frame-ancestors 'none'; sandbox"

void reply_set(struct http_request *request, int status, struct MHD_Response *response)
{
    if (request->replied) { /* a handler's mistake: the first answer stands */
        if (response)
            MHD_destroy_response(response);
        return;
    }
    request->replied = 1;
    request->status = status;
    request->response = response;
}

void http_reply_header(struct http_request *request, const char *name, const char *value)
{
    struct reply_header *header = xalloc(sizeof *header);
    header->name = xstrdup(name);
    header->value = xstrdup(value);
    header->next = request->headers;
    request->headers = header;
}

int reply_has_header(const struct http_request *request, const char *name)
{
    for (const struct reply_header *h = request->headers; h; h = h->next)
        if (strcasecmp(h->name, name) == 0)
            return 1;
    return 0;
}

static void add(struct http_request *request, const char *name, const char *value)
{
    if (request->headers && reply_has_header(request, name))
        return;
    (void)MHD_add_response_header(request->response, name, value);
}

static void add_policies(struct http_request *request)
{
    if (request->page && request->err.code == ERR_OK) { /* and no problem in its place */
        add(request, "Content-Security-Policy", PAGE_POLICY);
        add(request, "X-Frame-Options", "DENY");
        add(request, "Permissions-Policy", "microphone=(self), camera=(), geolocation=()");
        add(request, "Cross-Origin-Opener-Policy", "same-origin");
    } else {
        add(request, "Content-Security-Policy", API_POLICY);
        add(request, "Cache-Control", "no-store");
    }
    add(request, "Referrer-Policy", "no-referrer");
    add(request, "Cross-Origin-Resource-Policy", "same-origin");
}

static void add_identity(struct http_request *request)
{
    char parent[TRACE_PARENT_TEXT];
    request_identify(request);
    trace_format(&request->trace, parent);
    add(request, "X-Request-Id", request->id);
    add(request, "traceresponse", parent);
}

void reply_finish(struct http_request *request)
{
    if (!request->response || request->finished)
        return;
    request->finished = 1;
    add(request, "X-Content-Type-Options", "nosniff");
    if (request->route && request->route->open_to_sites && request->status < 400 &&
        !request->traceparent && !request->identified) {
        /* Asked every second by a probe that reads the status: no ids, which cost as much as all
         * the rest, and no policies for pages. */
        add(request, "Cache-Control", "no-store");
    } else {
        add_policies(request);
        add_identity(request);
    }
    if (request->close_after)
        add(request, "Connection", "close");
    /* The list holds the last one first; the order does not matter. */
    for (const struct reply_header *h = request->headers; h; h = h->next)
        (void)MHD_add_response_header(request->response, h->name, h->value);
}

/* --- gzip ---------------------------------------------------------------------------------------
 */

static int compressible(const char *type)
{
    return strncmp(type, "application/json", 16) == 0 || strncmp(type, "text/", 5) == 0;
}

/* The gzip of `data`, or NULL when that is not worth it. */
static void *gzip(const void *data, size_t size, size_t *ret_size)
{
    z_stream z = {0};
    if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    size_t room = deflateBound(&z, size);
    void *out = malloc(room);
    z.next_in = (Bytef *)data;
    z.avail_in = (uInt)size;
    z.next_out = out;
    z.avail_out = (uInt)room;
    int done = out && deflate(&z, Z_FINISH) == Z_STREAM_END;
    *ret_size = z.total_out;
    deflateEnd(&z);
    if (!done || *ret_size >= size) {
        free(out);
        return NULL;
    }
    return out;
}

void http_reply_mem(struct http_request *request, int status, const char *type, void *data,
                    size_t size)
{
    int packed = 0;
    if (compressible(type) && size > GZIP_MIN && size < GZIP_MAX) {
        http_reply_header(request, "Vary", "Accept-Encoding");
        const char *accept = http_header(request, "Accept-Encoding");
        if (request->on_worker && !request->replied && coding_quality(accept, "gzip") > 0) {
            size_t small;
            void *z = gzip(data, size, &small);
            if (z) {
                free(data);
                data = z;
                size = small;
                packed = 1;
            }
        }
    }
    if (!data)
        size = 0;
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(size, data, free);
    if (!response) {
        free(data);
    } else {
        (void)MHD_add_response_header(response, "Content-Type", type);
        if (packed)
            (void)MHD_add_response_header(response, "Content-Encoding", "gzip");
    }
    reply_set(request, status, response);
}

void http_reply_json(struct http_request *request, int status, json_t *json)
{
    /* 15 digits are what every double keeps: 9.82275 stays that, and is not 9.8227499999999992. */
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(json);
    if (!text) {
        struct err err;
        err_set(&err, ERR_INTERNAL, "the answer could not be written as JSON");
        problem_reply(request, ERR_INTERNAL, &err);
        return;
    }
    http_reply_mem(request, status, "application/json", text, strlen(text));
}

void http_reply_text(struct http_request *request, int status, const char *type, const char *text)
{
    size_t size = strlen(text);
    if (size > GZIP_MIN && request->on_worker) {
        http_reply_mem(request, status, type, xstrdup(text), size);
        return;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, (void *)text, MHD_RESPMEM_MUST_COPY);
    if (response)
        (void)MHD_add_response_header(response, "Content-Type", type);
    reply_set(request, status, response);
}

void http_reply_empty(struct http_request *request, int status)
{
    reply_set(request, status, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

/* --- files ---------------------------------------------------------------------------------------
 */

/* inline; filename="a_b.wav"; filename*=UTF-8''a%C3%A9b.wav (RFC 6266, RFC 8187) */
static char *disposition(const char *name, int attachment)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = strlen(name), at = 0;
    _cleanup_free_ char *plain = xalloc(len + 1);
    _cleanup_free_ char *coded = xalloc(3 * len + 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        int letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 0x80;
        int simple = letter || (c >= '0' && c <= '9') || (c && strchr(".-_", c));
        plain[i] = simple || (c && strchr(" ()+,=@~", c)) ? (char)c : '_';
        if (simple) {
            coded[at++] = (char)c;
        } else {
            coded[at++] = '%';
            coded[at++] = hex[c >> 4];
            coded[at++] = hex[c & 15];
        }
    }
    return xasprintf("%s; filename=\"%s\"; filename*=UTF-8''%s",
                     attachment ? "attachment" : "inline", plain, coded);
}

void http_reply_file(struct http_request *request, const char *type, int fd, uint64_t size,
                     const char *etag, const char *name, int attachment)
{
    struct err err;
    if (etag && etag_matches(http_header(request, "If-None-Match"), etag)) {
        close(fd);
        http_reply_header(request, "ETag", etag);
        http_reply_empty(request, 304);
        return;
    }
    const char *condition = http_header(request, "If-Range");
    const char *range = http_header(request, "Range");
    if (condition && (!etag || strcmp(condition, etag) != 0)) /* strong: a date never matches */
        range = NULL;
    uint64_t from, len;
    enum range_kind kind = range_parse(range, size, &from, &len);
    char text[80];
    if (kind == RANGE_NOT_SATISFIABLE) {
        close(fd);
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)size);
        http_reply_header(request, "Content-Range", text);
        err_set(&err, ERR_RANGE, "the file has %llu bytes", (unsigned long long)size);
        problem_reply(request, ERR_RANGE, &err);
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_fd_at_offset64(len, fd, from);
    if (!response) {
        close(fd);
        reply_set(request, 500, NULL);
        return;
    }
    (void)MHD_add_response_header(response, "Content-Type", type);
    (void)MHD_add_response_header(response, "Accept-Ranges", "bytes");
    if (etag) {
        (void)MHD_add_response_header(response, "ETag", etag);
        if (!reply_has_header(request, "Cache-Control"))
            http_reply_header(request, "Cache-Control", "private, no-cache");
    }
    if (name) {
        _cleanup_free_ char *value = disposition(name, attachment);
        (void)MHD_add_response_header(response, "Content-Disposition", value);
    }
    if (kind == RANGE_PART) {
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)from,
                 (unsigned long long)(from + len - 1), (unsigned long long)size);
        (void)MHD_add_response_header(response, "Content-Range", text);
    }
    reply_set(request, kind == RANGE_PART ? 206 : 200, response);
}

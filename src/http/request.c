/* What a handler asks of its request. Everything points into memory of the request or of MHD's
 * connection, both of which live until the request has ended; one thread at a time. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../base/mem.h"

#define WAIT_MAX_S 60.0

const char *http_method(const struct http_request *request)
{
    return request->method;
}

const char *http_path(const struct http_request *request)
{
    return request->target.path;
}

const char *http_path_param(const struct http_request *request, const char *name)
{
    int index = request->route ? route_param_index(request->route, name) : -1;
    if (index < 0)
        return NULL;
    /* Segments are not zero-terminated; the copy is made once and is the request's. */
    struct http_request *r = (struct http_request *)request;
    if (!r->params[index]) {
        const struct route_segment *segment = &r->target.segments[index];
        char *copy = xalloc(segment->size + 1);
        memcpy(copy, segment->text, segment->size);
        r->params[index] = copy;
    }
    return r->params[index];
}

const char *http_query(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->target.n_pairs; i++)
        if (strcmp(request->target.pairs[i].name, name) == 0)
            return request->target.pairs[i].value;
    return NULL;
}

const char *http_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

const char *http_field(const struct http_request *request, const char *name)
{
    return body_field(request->body, name);
}

const char *http_peer(const struct http_request *request)
{
    return request->conn->peer;
}

void request_identify(struct http_request *request)
{
    if (request->identified)
        return;
    request->identified = 1;
    id_new(request->id);
    trace_begin(request->traceparent, &request->trace);
}

const char *http_request_id(const struct http_request *request)
{
    request_identify((struct http_request *)request);
    return request->id;
}

const struct trace *http_trace(const struct http_request *request)
{
    request_identify((struct http_request *)request);
    return &request->trace;
}

void request_free(struct http_request *request)
{
    if (request->context_done)
        request->context_done(request->context);
    if (request->response)
        MHD_destroy_response(request->response);
    body_free(request->body);
    for (struct reply_header *h = request->headers, *next; h; h = next) {
        next = h->next;
        free(h->name);
        free(h->value);
        free(h);
    }
    if (request->route)
        for (int i = 0; i < ROUTE_SEGMENTS_MAX; i++)
            free(request->params[i]);
    target_free(&request->target);
    struct conn *conn = request->conn;
    atomic_fetch_add_explicit(&conn->requests, 1, memory_order_relaxed);
    conn_phase(conn, CONN_IDLE, request->start_ns);
    atomic_fetch_sub(&request->server->active, 1);
    free(request);
}

int64_t http_content_length(const struct http_request *request)
{
    return request->content_length;
}

double http_prefer_wait(const struct http_request *request)
{
    const char *p = http_header(request, "Prefer");
    while (p && *p) {
        p += strspn(p, " \t,;");
        size_t len = strcspn(p, ",;");
        if (strncasecmp(p, "wait", 4) == 0) {
            const char *value = p + 4 + strspn(p + 4, " \t");
            char *end;
            if (*value == '=') {
                value += 1 + strspn(value + 1, " \t");
                if (*value < '0' || *value > '9')
                    return 0;
                unsigned long seconds = strtoul(value, &end, 10);
                end += strspn(end, " \t");
                if (*end && *end != ',' && *end != ';')
                    return 0;
                return seconds > WAIT_MAX_S ? WAIT_MAX_S : (double)seconds;
            }
        }
        p += len;
    }
    return 0;
}

const json_t *http_json(const struct http_request *request)
{
    return body_json(request->body);
}

struct http_file *http_files(struct http_request *request, size_t *ret_n)
{
    return body_files(request->body, ret_n);
}

void http_set_context(struct http_request *request, void *context, void (*done)(void *))
{
    if (request->context_done)
        request->context_done(request->context);
    request->context = context;
    request->context_done = done;
}

void *http_context(const struct http_request *request)
{
    return request->context;
}

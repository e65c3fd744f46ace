/* The life of a request, as libmicrohttpd tells it: request line, headers, body, answer, end.
 * All of it runs on the I/O thread of the connection.
 *
 * libmicrohttpd takes an answer only before the body (and then closes the connection) or behind
 * it. So a refusal waits for the end of the body when little is left of it, which keeps the
 * connection; otherwise it is written past libmicrohttpd, which writes nothing itself while a body
 * comes, and what the client still sends is read for a while and thrown away: closing at once
 * would reset the connection, and the client would never read why. */
#include "internal.h"

#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "../base/mem.h"
#include "../os/clock.h"

#define DRAIN_MAX  (64 * 1024)       /* of a refused body, to keep the connection */
#define LINGER_MAX (4 * 1024 * 1024) /* of a refused body, before the connection is closed */

/* --- the request line ------------------------------------------------------------------------- */

void *life_target(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http_server *server = cls;
    struct http_request *request = xalloc(sizeof *request);
    request->server = server;
    request->mhd = mhd;
    request->conn =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    request->start_ns = clock_ns();
    request->content_length = 0;
    atomic_fetch_add_explicit(&server->active, 1, memory_order_relaxed);
    conn_phase(request->conn, CONN_HEAD, request->start_ns);
    request->refused = target_parse(&request->target, uri ? uri : "", &request->err);
    /* The query was read above. libmicrohttpd would parse it again, into memory that is meant for
     * headers; the text is its own buffer, so it may end here. */
    char *query = uri ? strchr((char *)(uintptr_t)uri, '?') : NULL;
    if (query && query[1])
        query[1] = 0;
    return request;
}

/* --- the headers --------------------------------------------------------------------------------
 */

struct scan {
    struct http_request *request;
    const char *problem;
    unsigned hosts, lengths, codings;
};

static const unsigned char token[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1,
};

static int is(const char *name, size_t size, const char *wanted, size_t wanted_size)
{
    return size == wanted_size && strncasecmp(name, wanted, size) == 0;
}
#define IS(wanted) is(name, size, wanted, sizeof(wanted) - 1)

static const char *scan_length(struct http_request *request, const char *value)
{
    int64_t length = 0;
    size_t n = strspn(value, "0123456789");
    if (n == 0 || n > 18 || value[n + strspn(value + n, " \t")]) {
        request->has_body = 1; /* libmicrohttpd may expect one */
        return "a Content-Length that is no number, or too large";
    }
    for (size_t i = 0; i < n; i++)
        length = 10 * length + (value[i] - '0');
    request->content_length = length;
    request->has_body |= length > 0;
    return NULL;
}

/* libmicrohttpd overwrites what ends a line with zeros, as many as there were bytes; so a line that
 * did not end in CRLF, and a zero inside of it, can still be seen. Of a folded header it makes one
 * whose name is no longer right before its value. */
static const char *scan_line(const char *name, size_t size, const char *value, size_t value_size)
{
    if (size == 0 || !value)
        return "a header without a name";
    for (size_t i = 0; i < size; i++)
        if (!token[(unsigned char)name[i]])
            return "a header whose name has a character that no name has";
    const char *p = name + size + 1;
    while (p < value && (*p == ' ' || *p == '\t'))
        p++;
    if (p != value)
        return "a folded header";
    if (value[value_size + 1] || memchr(value, '\r', value_size))
        return "a header line that does not end in CRLF, or with a zero";
    return NULL;
}

/* A header without a name ends the head, for libmicrohttpd. So does a bare LF. */
static int head_is_whole(const struct http_request *request, const char *version)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    static const char end[4];
    if (!info || info->header_size < 16 || version[strlen(version) + 1])
        return 0;
    return memcmp(request->method + info->header_size - sizeof end, end, sizeof end) == 0;
}

static enum MHD_Result scan_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   size_t size, const char *value, size_t value_size)
{
    struct scan *scan = cls;
    struct http_request *r = scan->request;
    (void)kind;
    scan->problem = scan_line(name, size, value, value_size);
    if (scan->problem)
        return MHD_NO;
    switch (name[0] | 0x20) {
    case 'h':
        if (IS("Host") && ++scan->hosts)
            r->host = value;
        break;
    case 'o':
        if (IS("Origin"))
            r->origin = value;
        break;
    case 's':
        if (IS("Sec-Fetch-Site"))
            r->site = value;
        else if (IS("Sec-Fetch-Mode"))
            r->mode = value;
        break;
    case 'e':
        r->expects |= IS("Expect");
        break;
    case 'c':
        if (IS("Content-Type"))
            r->content_type = value;
        else if (IS("Content-Length") && ++scan->lengths)
            scan->problem = scan_length(r, value);
        break;
    case 't':
        if (IS("traceparent"))
            r->traceparent = value;
        else if (IS("Transfer-Encoding") && ++scan->codings)
            r->chunked = strcasecmp(value, "chunked") == 0;
        break;
    default:
        break;
    }
    return MHD_YES;
}

/* What two programs could read in two ways is refused: that is how requests are smuggled. */
static enum err_code read_headers(struct http_request *request, const char *version,
                                  struct err *err)
{
    struct scan scan = {.request = request};
    MHD_get_connection_values_n(request->mhd, MHD_HEADER_KIND, scan_header, &scan);
    const char *problem = scan.problem;
    if (!problem && !head_is_whole(request, version))
        problem = "a line that does not end in CRLF, or a header without a name";
    if (!problem && scan.hosts > 1)
        problem = "more than one Host";
    if (!problem && scan.lengths > 1)
        problem = "more than one Content-Length";
    if (!problem && scan.codings && scan.lengths)
        problem = "both Content-Length and Transfer-Encoding";
    if (!problem && scan.codings && (scan.codings > 1 || !request->chunked))
        problem = "a Transfer-Encoding other than chunked";
    if (!problem && scan.codings && strcmp(version, MHD_HTTP_VERSION_1_1) != 0)
        problem = "a Transfer-Encoding in HTTP/1.0";
    if (scan.codings) { /* whatever it is, bytes may follow */
        request->has_body = 1;
        request->content_length = -1;
    }
    if (problem) {
        request->close_after = 1;
        return err_set(err, ERR_BAD_REQUEST, "the request has %s", problem);
    }
    return ERR_OK;
}

static enum err_code find_route(struct http_request *request, struct err *err)
{
    struct target *target = &request->target;
    struct route_match match =
        route_find(request->server->table, request->method, target->segments, target->n_segments);
    request->route = match.route;
    request->allow = match.allow;
    if (match.route) {
        request->handle = match.route->handle;
        return ERR_OK;
    }
    const char *elsewhere = request->server->config.elsewhere;
    if (!match.allow && elsewhere)
        return err_set(err, ERR_NO_ROUTE, "%s", elsewhere);
    if (!elsewhere && static_has(request)) {
        request->page = 1;
        return ERR_OK;
    }
    if (!match.allow)
        return err_set(err, ERR_NO_ROUTE, "there is nothing at %.120s", target->path);
    return err_set(err, ERR_METHOD, "%.20s is not possible here", request->method);
}

static enum err_code check_origin(const struct http_request *request, struct err *err)
{
    if (request->route && request->route->open_to_sites)
        return ERR_OK;
    struct guard_request guard = {
        .host = request->host,
        .origin = request->origin,
        .site = request->site,
        .mode = request->mode,
        .safe = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0,
        .page = request->page,
    };
    return guard_check(request->server->guard, &guard, err);
}

/* Everything that can be decided before the body. */
static enum err_code check_head(struct http_request *request, const char *version, struct err *err)
{
    enum err_code code = read_headers(request, version, err);
    if (code == ERR_OK && request->refused != ERR_OK)
        code = request->refused; /* of the target; err holds its text */
    /* What only reads is still answered: a proxy that had the connection open sees no failure. */
    if (code == ERR_OK && atomic_load_explicit(&request->server->stopping, memory_order_relaxed)) {
        request->close_after = 1;
        if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0)
            code = err_set(err, ERR_SHUTTING_DOWN, "the server is shutting down");
    }
    if (code == ERR_OK)
        code = find_route(request, err);
    if (code == ERR_OK || code == ERR_METHOD || code == ERR_NO_ROUTE) {
        struct err other;
        enum err_code guarded = check_origin(request, &other);
        if (guarded != ERR_OK) {
            *err = other;
            code = guarded;
        }
    }
    if (code != ERR_OK || !request->has_body)
        return code;
    if ((!request->route || request->route->body == HTTP_BODY_NONE) &&
        request->content_length > HTTP_STRAY_BODY_MAX)
        return err_set(err, ERR_TOO_LARGE, "this takes no body");
    return code;
}

/* --- refusals
 * -------------------------------------------------------------------------------------- */

/* Writes the answer on the socket itself. It is small and the socket's buffer is empty, so it fits;
 * when it does not, the connection ends without it. */
static void answer_raw(struct http_request *request, enum err_code code)
{
    size_t size;
    _cleanup_free_ char *raw = problem_raw(request, code, &request->err, &size);
    request->raw = 1;
    request->status = err_http_status(code);
    if (raw && send(request->conn->fd, raw, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size)
        shutdown(request->conn->fd, SHUT_WR);
    account_request(request);
}

/* Refuses a request whose body is still coming. */
static void refuse_body(struct http_request *request, enum err_code code)
{
    uint64_t got = atomic_load_explicit(&request->conn->body_bytes, memory_order_relaxed);
    request->refused = code;
    request->body = body_free(request->body);
    int little = request->content_length >= 0 &&
                 (uint64_t)request->content_length <= got + DRAIN_MAX && !request->close_after;
    if (!little)
        answer_raw(request, code);
}

static enum MHD_Result queue(struct http_request *request)
{
    if (!request->response)
        return MHD_NO;
    if (request->status == MHD_HTTP_SWITCHING_PROTOCOLS) {
        request->upgraded = 1;
        conn_phase(request->conn, CONN_UPGRADED, clock_ns());
        atomic_fetch_sub_explicit(&request->server->active, 1, memory_order_relaxed);
    }
    enum MHD_Result queued =
        MHD_queue_response(request->mhd, (unsigned)request->status, request->response);
    MHD_destroy_response(STEAL(request->response));
    account_request(request);
    return queued;
}

static enum MHD_Result queue_problem(struct http_request *request, enum err_code code)
{
    struct err err = request->err;
    problem_reply(request, code, &err);
    reply_finish(request);
    return queue(request);
}

/* "OPTIONS" of something that is there. */
static enum MHD_Result queue_options(struct http_request *request)
{
    char allow[64];
    route_allow_text(request->allow ? request->allow : 0x43, allow, sizeof allow);
    http_reply_header(request, "Allow", allow);
    http_reply_empty(request, 204);
    reply_finish(request);
    return queue(request);
}

/* --- the steps
 * ---------------------------------------------------------------------------------------- */

/* First call: the head is complete. */
static enum MHD_Result on_head(struct http_request *request, const char *version)
{
    struct err *err = &request->err;
    enum err_code code = check_head(request, version, err);
    if (code == ERR_METHOD && strcmp(request->method, "OPTIONS") == 0) {
        request->refused = ERR_OK;
        request->options = 1;
        code = ERR_OK;
    } else if (code == ERR_OK && request->route) {
        code = request->route->admit && request->has_body
                   ? request->route->admit(request, request->server->config.app, err)
                   : ERR_OK;
        if (code == ERR_OK)
            code = body_new(request, &request->body, err);
    }
    request->refused = code;
    conn_phase(request->conn, request->has_body ? CONN_BODY : CONN_WORK, request->start_ns);
    atomic_store_explicit(&request->conn->body_bytes, 0, memory_order_relaxed);
    if (code == ERR_OK)
        return MHD_YES;
    if (request->expects && request->has_body)
        return queue_problem(request, code); /* instead of 100: nothing has been sent yet */
    if (request->has_body)
        refuse_body(request, code);
    return MHD_YES;
}

static enum MHD_Result on_data(struct http_request *request, const char *data, size_t size)
{
    struct conn *conn = request->conn;
    uint64_t got = atomic_load_explicit(&conn->body_bytes, memory_order_relaxed) + size;
    atomic_store_explicit(&conn->body_bytes, got, memory_order_relaxed);
    atomic_fetch_add_explicit(&request->server->received, size, memory_order_relaxed);
    if (request->refused != ERR_OK) {
        request->discarded += size;
        return request->raw && request->discarded > LINGER_MAX ? MHD_NO : MHD_YES;
    }
    enum err_code code = ERR_OK;
    if (request->body)
        code = body_data(request->body, data, size, &request->err);
    else if (got > HTTP_STRAY_BODY_MAX)
        code = err_set(&request->err, ERR_TOO_LARGE, "this takes no body");
    if (code != ERR_OK)
        refuse_body(request, code);
    return MHD_YES;
}

/* The request is complete. */
static enum MHD_Result on_end(struct http_request *request)
{
    if (request->raw)
        return MHD_NO;
    if (request->has_body)
        conn_phase(request->conn, CONN_WORK, request->start_ns);
    if (request->refused != ERR_OK)
        return queue_problem(request, request->refused);
    if (request->options)
        return queue_options(request);
    /* A suspended request is another thread's now, even to look at. */
    return run_start(request) ? queue(request) : MHD_YES;
}

enum MHD_Result life_access(void *cls, struct MHD_Connection *mhd, const char *url,
                            const char *method, const char *version, const char *data, size_t *size,
                            void **context)
{
    struct http_request *request = *context;
    (void)cls;
    (void)mhd;
    (void)url;
    if (!request->begun) {
        request->begun = 1;
        request->method = method;
        return on_head(request, version);
    }
    if (*size) {
        size_t n = *size;
        *size = 0;
        return on_data(request, data, n);
    }
    if (!request->ended) {
        request->ended = 1;
        return on_end(request);
    }
    return queue(request);
}

void life_completed(void *cls, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode how)
{
    struct http_request *request = *context;
    (void)cls;
    (void)mhd;
    (void)how;
    if (!request)
        return;
    *context = NULL;
    if (request->upgraded) {
        atomic_fetch_add_explicit(&request->server->active, 1, memory_order_relaxed);
    } else if (!request->raw && !request->ended && atomic_load(&request->conn->cut)) {
        err_set(&request->err, ERR_SLOW_CLIENT, "the request came too slowly");
        answer_raw(request, ERR_SLOW_CLIENT);
    }
    request_free(request);
}

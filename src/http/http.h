/* The HTTP server: libmicrohttpd, routes from one table, uploads into spool files, problem+json.
 *
 * I/O threads never block. A route says where its handler runs: HTTP_ON_LOOP handlers answer there;
 * all others suspend the connection, run as plain synchronous code on the worker pool, and resume
 * it. A request belongs to one thread at a time.
 *
 * A handler returns ERR_OK after one http_reply_*, or an error code with `err` filled, which
 * becomes the problem+json answer (status from err.def). It never logs: the server writes the
 * access line and, for answers of 500 and above, the error. A line for each request would cost more
 * than the request: at level info only those appear that failed (400 and above) or took more than a
 * second, at level debug all; 503 at most once a second, with a count of what was held back.
 *
 * Some refusals come from libmicrohttpd, with a short HTML body and the end of the connection: 400
 * (no colon in a header, no Host in HTTP/1.1, a malformed Content-Length or chunk), 413 (a
 * Content-Length or chunk size past 64 bits), 431 or no answer at all (the head does not fit into
 * HTTP_HEADERS_MAX), 505. A request line that is none closes the connection without an answer. */
#ifndef SONDE_HTTP_H
#define SONDE_HTTP_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"
#include "../base/hash.h"
#include "../obs/trace.h"
#include "../os/pool.h"

struct http_server;
struct http_request;

/* --- routes ------------------------------------------------------------------------------- */

enum http_where {
    HTTP_ON_LOOP,          /* takes microseconds, never waits */
    HTTP_ON_WORKER,        /* may wait: database, files */
    HTTP_ON_LOOP_IF_LOCAL, /* on the loop when http_config.local_reads, else on a worker */
};

enum http_body {
    HTTP_BODY_NONE,  /* a body is refused with 413 past HTTP_STRAY_BODY_MAX, else ignored */
    HTTP_BODY_JSON,  /* in memory, up to body_max; must be application/json */
    HTTP_BODY_FILES, /* multipart/form-data or raw, each file into a spool file, up to body_max in
                        all */
};
#define HTTP_STRAY_BODY_MAX  4096
#define HTTP_JSON_MAX        65536
#define HTTP_FILES_MAX       100  /* parts of one multipart body */
#define HTTP_PART_HEADER_MAX 4096 /* bytes of one part's headers */
#define HTTP_FIELD_MAX       4096 /* bytes of a form field that is no file */
#define HTTP_FIELDS_MAX      32
#define HTTP_TARGET_MAX      8192  /* bytes of path and query */
#define HTTP_HEADERS_MAX     16384 /* bytes of request line and headers together */

typedef enum err_code http_handler(struct http_request *request, void *app, struct err *err);
/* Runs on the loop when the headers have come, before the body: may refuse (full, too large,
 * shutting down) so that nobody uploads in vain. http_content_length tells what is announced. */
typedef enum err_code http_admit(struct http_request *request, void *app, struct err *err);

struct http_param {
    const char *name;
    const char *in;     /* "query" "path" "header" */
    const char *schema; /* JSON Schema text: "{\"type\":\"string\"}" */
    int required;
    const char *text; /* one sentence */
};

struct http_route {
    const char *method; /* GET (answers HEAD too), POST, DELETE … */
    const char *path;   /* "/api/v1/analyses/{id}": a {name} matches one segment without a slash */
    const char *id;     /* operationId, and the metrics' label is the path template */
    const char *tag, *summary, *text;
    enum http_where where;
    enum http_body body;
    uint64_t body_max; /* 0: HTTP_JSON_MAX, or http_config.upload_max for files */
    http_admit *admit; /* or NULL */
    http_handler *handle;
    const struct http_param *params;
    size_t n_params;
    int status;                 /* of success, for the document */
    const char *also;           /* further statuses with the same body: "206 503", or NULL */
    const char *reply_type;     /* "application/json", "application/json text/csv" … */
    const char *reply_schema;   /* of the JSON one: name in components/schemas, or NULL */
    const char *errors;         /* slugs of the errors that are this route's own: "no_such gone" */
    const char *request_schema; /* for HTTP_BODY_JSON */
    int hidden;                 /* 1: not in the OpenAPI document (pages) */
    int open_to_sites; /* 1: other origins and any Host may ask (health, metrics); else refused as
                          cross_site. Its good answers carry no ids unless a traceparent came */
};

/* The OpenAPI 3.1 document of a table. `schemas`: JSON object text of components/schemas. */
enum err_code http_openapi(const struct http_route *routes, size_t n, const char *schemas,
                           const char *title, const char *version, json_t **ret,
                           struct err *err) MUST_CHECK;

/* --- what a handler asks ------------------------------------------------------------------- */

const char *http_method(const struct http_request *request);
const char *http_path(const struct http_request *request); /* decoded */
/* Decoded, valid UTF-8 without zeros (anything else was refused before); NULL when absent. */
const char *http_path_param(const struct http_request *request, const char *name);
const char *http_query(const struct http_request *request, const char *name);
const char *http_header(const struct http_request *request, const char *name);
const char *http_field(const struct http_request *request,
                       const char *name);                  /* multipart, no file */
const char *http_peer(const struct http_request *request); /* "127.0.0.1" */
const char *http_request_id(const struct http_request *request);
const struct trace *http_trace(const struct http_request *request);
int64_t http_content_length(const struct http_request *request); /* -1: unknown (chunked) */
/* Seconds that `Prefer: wait=N` asks for (RFC 7240), 0 without, at most 60. */
double http_prefer_wait(const struct http_request *request);
const json_t *http_json(const struct http_request *request); /* an object or array; borrowed */

/* One received file: spooled, hashed on the way. */
struct http_file {
    char *name;  /* base name as the client called it: UTF-8, no control characters, no slashes, <=
                    255 bytes; "" unknown */
    char *field; /* of the form; "" for a raw body */
    char *path;  /* in the spool folder; unlinked when the request ends unless taken */
    uint64_t bytes;
    char sha256[SHA256_HEX];
    unsigned char head[64]; /* the first bytes, for sniffing; bytes past the end are zero */
};
struct http_file *http_files(struct http_request *request, size_t *ret_n);
/* The path now belongs to the caller (frees it, and removes or moves the file). */
char *http_file_take(struct http_file *file);

/* --- answers: each at most once per request ------------------------------------------------ */

void http_reply_header(struct http_request *request, const char *name, const char *value);
void http_reply_json(struct http_request *request, int status, json_t *json); /* takes json */
void http_reply_text(struct http_request *request, int status, const char *type,
                     const char *text); /* copies */
void http_reply_mem(struct http_request *request, int status, const char *type, void *data,
                    size_t size); /* takes (free) */
void http_reply_empty(struct http_request *request, int status);
/* Takes fd: a regular file of `size` bytes. Range, If-Range, If-None-Match (etag "…" with quotes,
 * or NULL) and HEAD are handled: 200, 206, 304, 416. name: for Content-Disposition (RFC 6266/8187),
 * or NULL; inline unless attachment. */
void http_reply_file(struct http_request *request, const char *type, int fd, uint64_t size,
                     const char *etag, const char *name, int attachment);

/* The handler returns ERR_OK without a reply: the request stays suspended until http_resume is
 * called once from any thread, which runs `handle` on the worker pool (with `app` as before). */
struct http_deferred;
struct http_deferred *http_defer(struct http_request *request);
void http_resume(struct http_deferred *deferred, http_handler *handle);
/* The same, but `handle` runs before this returns, on this thread, which must be one that may wait;
 * where the handler that deferred has not returned yet, on the pool as above. `context` (taken,
 * ends by `done`) is what http_context tells it, unless NULL. */
void http_resume_here(struct http_deferred *deferred, http_handler *handle, void *context,
                      void (*done)(void *));
/* A pointer of the handler's own, from before the deferral to after; `done` (may be NULL) frees it
 * at the end, or when another takes its place. */
void http_set_context(struct http_request *request, void *context, void (*done)(void *));
void *http_context(const struct http_request *request);

/* --- the server ---------------------------------------------------------------------------- */

struct http_config {
    const char
        *listen; /* "127.0.0.1:8080", "[::1]:8080", ":8080" (every address), port 0: any free one */
    int loops;   /* I/O threads, 0: processors, at most 4 */
    int max_connections, max_per_ip; /* 0: 20000, and 0 = no limit per address */
    double idle_s;                   /* keep-alive and stalled bodies; 0: 60 */
    double header_s; /* time for the whole head of a request, so that a slowloris ends; 0: 15 */
    double min_body_rate; /* bytes/s that a body must keep over 30 s, 0: 500 */
    uint64_t upload_max;
    const char *spool; /* folder for bodies; must exist */
    const char
        *web_dir; /* serve the page from this folder (development) instead of the built-in one */
    const char
        *hosts; /* further names in Host that are accepted, separated by blanks; "*": any. Loopback
                   names, and the address listened on, always are. Against DNS rebinding. */
    int local_reads;
    const struct http_route *routes;
    size_t n_routes;
    const char *elsewhere; /* not NULL: no page here, and this is said of every other path */
    void *app;
    struct pool *workers; /* outlives the server */
};

/* Listens when it returns. The table and strings of the configuration must outlive the server.
 * ERR_USAGE for an address that is none, ERR_CONFLICT when it is taken (names it), ERR_PERMISSION.
 */
enum err_code http_server_start(const struct http_config *config, struct http_server **ret,
                                struct err *err) MUST_CHECK;
int http_server_port(const struct http_server *server);
const char *http_server_url(const struct http_server *server); /* "http://127.0.0.1:8080" */
/* Stops listening; requests under way get up to `grace_s`, then their connections are cut. New
 * requests on kept connections get 503 shutting_down. NULL is fine. Returns NULL.
 * Handlers that still run are waited for, whatever grace_s says; what is deferred ends with 503,
 * and a later http_resume of it does nothing. Free a ws_hub before, the pool of workers after. */
struct http_server *http_server_stop(struct http_server *server, double grace_s);

#endif

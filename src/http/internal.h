/* What the parts of the HTTP server share; nobody outside src/http includes it. */
#ifndef SONDE_HTTP_INTERNAL_H
#define SONDE_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include "http.h"
#include "../base/id.h"
#include "../obs/metrics.h"

/* --- route.c: the table, compiled --------------------------------------------------------- */

#define ROUTE_SEGMENTS_MAX 12
#define ROUTE_METHODS      7

struct route_table;

/* One path, cut at its slashes. `text` points into the decoded path; not zero-terminated. */
struct route_segment {
    const char *text;
    size_t size;
};
struct route_match {
    const struct http_route *route; /* NULL: no such path, or (allow != 0) no such method */
    unsigned allow;                 /* bits of route_method() that this path knows */
};

enum err_code route_table_new(const struct http_route *routes, size_t n, struct route_table **ret,
                              struct err *err) MUST_CHECK;
struct route_table *route_table_free(struct route_table *table);
/* 0..ROUTE_METHODS-1, or -1 for a method that no route can have. */
int route_method(const char *method);
struct route_match route_find(const struct route_table *table, const char *method,
                              const struct route_segment *segments, size_t n);
/* "GET, HEAD, OPTIONS" */
void route_allow_text(unsigned allow, char *ret, size_t size);
/* Where in the path the parameter `name` of a route stands, or -1. */
int route_param_index(const struct http_route *route, const char *name);

/* --- target.c: path and query from what came on the request line ---------------------------- */

#define TARGET_QUERY_MAX 64 /* parameters */

struct target_pair {
    const char *name, *value;
};
/* Everything points into one block that target_parse makes (or into `room` when that is enough). */
struct target {
    char *block; /* NULL when `room` was enough */
    const char *path;
    struct route_segment segments[ROUTE_SEGMENTS_MAX + 1];
    size_t n_segments; /* ROUTE_SEGMENTS_MAX + 1: more than any route has */
    struct target_pair *pairs;
    size_t n_pairs;
    char room[192];
};
/* ERR_BAD_REQUEST for what is no absolute path, a bad percent code, a zero or invalid UTF-8;
 * ERR_HEADERS_TOO_LARGE past HTTP_TARGET_MAX. */
enum err_code target_parse(struct target *target, const char *text, struct err *err) MUST_CHECK;
void target_free(struct target *target);
/* Decodes %XX (and + as a blank when `plus`) from `from` to `to`, which may be the same place; the
 * length, or -1: bad code, a zero, or invalid UTF-8. Writes a zero behind. */
int64_t target_decode(const char *from, size_t size, int plus, char *to);

/* --- range.c -------------------------------------------------------------------------------- */

enum range_kind { RANGE_WHOLE, RANGE_PART, RANGE_NOT_SATISFIABLE };
/* One range of `bytes=`; anything malformed, and more than one range, means the whole. */
enum range_kind range_parse(const char *text, uint64_t size, uint64_t *ret_from, uint64_t *ret_len);
/* Whether `etag` stands in the list of If-None-Match or If-Match: "a", W/"b", * (weak comparison).
 */
int etag_matches(const char *list, const char *etag);
/* Accept-Encoding: the q of `coding` in thousandths (0 = refused), -1 when it is not named and no
 * "*" is. */
int coding_quality(const char *accept, const char *coding);

/* --- multipart.c ---------------------------------------------------------------------------- */

#define MULTIPART_BOUNDARY_MAX 70

struct multipart_calls {
    /* filename NULL: a field. Both are decoded, as the client sent them. */
    enum err_code (*begin)(void *ctx, const char *name, const char *filename, struct err *err);
    enum err_code (*data)(void *ctx, const char *data, size_t size, struct err *err);
    enum err_code (*end)(void *ctx, struct err *err);
};
struct multipart;
/* `content_type` is the header's value. ERR_BAD_REQUEST without a usable boundary. */
enum err_code multipart_new(const char *content_type, const struct multipart_calls *calls,
                            void *ctx, struct multipart **ret, struct err *err) MUST_CHECK;
/* Bytes in any portions. After an error nothing more may be fed. */
enum err_code multipart_feed(struct multipart *m, const char *data, size_t size,
                             struct err *err) MUST_CHECK;
/* The body has ended: ERR_BAD_REQUEST when the closing boundary has not come. */
enum err_code multipart_finish(struct multipart *m, struct err *err) MUST_CHECK;
struct multipart *multipart_free(struct multipart *m);

/* --- upload.c: spool files ------------------------------------------------------------------ */

#define FILE_NAME_MAX 255

struct upload;
struct upload *upload_new(const char *spool);
/* Removes every file that was not taken. NULL is fine; returns NULL. */
struct upload *upload_free(struct upload *upload);
enum err_code upload_begin(struct upload *upload, const char *field, const char *name,
                           struct err *err) MUST_CHECK;
enum err_code upload_data(struct upload *upload, const void *data, size_t size,
                          struct err *err) MUST_CHECK;
enum err_code upload_end(struct upload *upload, struct err *err) MUST_CHECK;
struct http_file *upload_files(struct upload *upload, size_t *ret_n);
/* What a client calls a file, made harmless: allocated, see struct http_file. */
char *upload_clean_name(const char *name);

/* --- body.c: from received bytes to JSON, fields, files -------------------------------------- */

struct body;
/* By the route and Content-Type. *ret may be NULL: this request has no body to keep. */
enum err_code body_new(struct http_request *request, struct body **ret, struct err *err) MUST_CHECK;
enum err_code body_data(struct body *body, const char *data, size_t size,
                        struct err *err) MUST_CHECK;
enum err_code body_end(struct body *body, struct err *err) MUST_CHECK;
const json_t *body_json(const struct body *body);
const char *body_field(const struct body *body, const char *name);
struct http_file *body_files(struct body *body, size_t *ret_n);
struct body *body_free(struct body *body);

/* --- watch.c: every open connection, and those that take too long ----------------------------- */

enum conn_phase {
    CONN_IDLE,    /* before the request line is complete */
    CONN_HEAD,    /* headers are coming */
    CONN_BODY,    /* the body is coming */
    CONN_WORK,    /* a handler works, or the answer is being sent */
    CONN_UPGRADED /* no longer ours */
};
struct conn {
    struct conn *prev, *next; /* under watch.lock */
    int fd;
    _Atomic int phase;
    _Atomic uint64_t since_ns;   /* of the phase */
    _Atomic uint64_t body_bytes; /* so far */
    _Atomic int cut;             /* the watch has ended it: too slow */
    _Atomic uint32_t requests;   /* so far */
    /* Only the watching thread. */
    uint64_t window_ns, window_bytes; /* of the body's rate */
    uint64_t probe_ns, probe_bytes;   /* received when last looked at while idle */
    uint32_t probe_requests;
    uint64_t head_ns; /* when a head was seen to have begun; 0 = not */
    uint64_t cut_ns;
    char peer[INET6_ADDRSTRLEN];
};
struct watch;
enum err_code watch_new(double header_s, double idle_s, double min_body_rate, struct watch **ret,
                        struct err *err) MUST_CHECK;
struct watch *watch_free(struct watch *watch);
struct conn *watch_add(struct watch *watch, int fd, const struct sockaddr *address);
void watch_remove(struct watch *watch, struct conn *conn);
size_t watch_count(struct watch *watch);
/* Ends the reading and writing of every connection that is not upgraded. */
void watch_cut_all(struct watch *watch);
void conn_phase(struct conn *conn, enum conn_phase phase, uint64_t now_ns);
/* Called by the watching thread at each turn (about every quarter second). */
void watch_on_turn(struct watch *watch, void (*call)(void *ctx), void *ctx);

/* --- guard.c --------------------------------------------------------------------------------- */

struct guard;
struct guard *guard_new(const char *listen_host, const char *hosts);
struct guard *guard_free(struct guard *guard);
struct guard_request {
    const char *host, *origin, *site, *mode;
    int safe; /* GET or HEAD */
    int page; /* a page that other sites may link to */
};
enum err_code guard_check(const struct guard *guard, const struct guard_request *request,
                          struct err *err) MUST_CHECK;

/* --- static.c ----------------------------------------------------------------------------------
 */

/* Whether the page has something at this path (GET and HEAD). */
int static_has(const struct http_request *request);
enum err_code static_reply(struct http_request *request, struct err *err) MUST_CHECK;

/* --- listen.c ----------------------------------------------------------------------------------
 */

/* Opens, binds and listens. *ret_host: allocated, as to be written in a URL ("127.0.0.1", "[::1]").
 */
enum err_code listen_open(const char *text, int *ret_fd, int *ret_port, char **ret_host,
                          int *ret_any, struct err *err) MUST_CHECK;

/* --- accept.c ----------------------------------------------------------------------------------
 */

struct accept_config {
    int fd; /* listens, does not block */
    struct MHD_Daemon *const *loops;
    int n_loops, max_connections, max_per_ip;
};
struct acceptor;
/* Takes over fd, also when it fails; the loops outlive the thread (acceptor_stop). */
enum err_code acceptor_new(const struct accept_config *config, struct acceptor **ret,
                           struct err *err) MUST_CHECK;
enum err_code acceptor_start(struct acceptor *acceptor, struct err *err) MUST_CHECK;
/* An I/O thread has begun with a connection that was handed to it. */
void acceptor_began(struct acceptor *acceptor);
/* A connection of this address is gone. Any thread. */
void acceptor_ended(struct acceptor *acceptor, const struct sockaddr *address);
/* From here on connections are refused, and the I/O threads have those that were taken in. Once
 * more is fine. */
void acceptor_stop(struct acceptor *acceptor);
/* After the loops, which tell of the ends. NULL is fine; returns NULL. */
struct acceptor *acceptor_free(struct acceptor *acceptor);

/* --- the server and a request ------------------------------------------------------------------
 */

#define STATUS_SLOTS 48

struct series_cache {
    _Atomic(struct metric_series *) requests[STATUS_SLOTS];
    _Atomic(struct metric_series *) seconds;
};

struct http_server {
    struct http_config config;
    struct MHD_Daemon **loops; /* config.loops of them, each on its thread */
    struct acceptor *acceptor;
    struct route_table *table;
    struct guard *guard;
    struct watch *watch;
    int port;
    char *host, *url;
    _Atomic int stopping;
    _Atomic int64_t active;      /* requests that MHD told us of and that have not ended */
    _Atomic uint64_t received;   /* bytes of bodies since the last scrape */
    struct series_cache *series; /* one per route, then one for pages, one for no route */
    pthread_mutex_t lock;        /* of what follows */
    pthread_cond_t changed;
    int suspended;                /* connections that wait for a worker or an event */
    int closing;                  /* and there will be no more of them */
    struct http_request *retries; /* resumed, and the pool was full */
    struct http_request *parked;  /* deferred and not yet resumed (run.c's lock) */
    int cancelled;                /* nothing is parked any more (run.c's lock) */
};

struct reply_header {
    struct reply_header *next;
    char *name, *value;
};

struct http_deferred;

struct http_request {
    struct http_server *server;
    struct MHD_Connection *mhd;
    struct conn *conn;
    const struct http_route *route; /* NULL: a page, or none */
    const char *method;
    http_handler *handle; /* what runs next */
    uint64_t start_ns;
    int64_t content_length; /* -1 unknown */
    /* Headers that nearly every request needs, found in one pass. */
    const char *host, *origin, *site, *mode, *content_type, *traceparent;
    unsigned has_body : 1, chunked : 1, expects : 1; /* as the head says */
    unsigned begun : 1, ended : 1;                   /* steps of life.c */
    unsigned page : 1;                               /* static.c answers */
    unsigned replied : 1, finished : 1, close_after : 1;
    unsigned on_worker : 1, upgraded : 1, raw : 1; /* raw: answered past MHD, see life.c */
    unsigned identified : 1;                       /* id and trace are made */
    unsigned options : 1;                          /* OPTIONS: what is possible here */
    unsigned body_done : 1;                        /* body_end was called */
    enum err_code refused;                         /* before or while the body came */
    enum err_code target_code;
    uint64_t discarded; /* bytes of a refused body */
    struct body *body;
    unsigned allow;
    /* The answer. */
    struct MHD_Response *response;
    int status;
    struct reply_header *headers;
    struct err err; /* of what was refused or failed: for the log */
    struct http_deferred *deferred;
    struct http_request *next, *prev; /* in server->retries or ->parked */
    void *context;
    void (*context_done)(void *);
    struct trace trace;
    char id[ID_TEXT];
    char *params[ROUTE_SEGMENTS_MAX]; /* copies, made when asked for */
    struct target target;
};

/* request.c: fills in what http_request_id and http_trace tell. */
void request_identify(struct http_request *request);
void request_free(struct http_request *request);

/* reply.c: gives the response to the request, which must have none; MHD_destroy_response is done
 * here. For answers that http_reply_* does not know (101). */
void reply_set(struct http_request *request, int status, struct MHD_Response *response);
/* Adds the headers that every answer has. Once, before it is queued. */
void reply_finish(struct http_request *request);
int reply_has_header(const struct http_request *request, const char *name); /* set by the handler */

/* problem.c: the answer for an error. */
void problem_reply(struct http_request *request, enum err_code code, const struct err *err);
/* The whole answer as bytes on the wire, for when MHD cannot send it; allocated. */
char *problem_raw(struct http_request *request, enum err_code code, const struct err *err,
                  size_t *ret_size);

/* life.c */
enum MHD_Result life_access(void *cls, struct MHD_Connection *mhd, const char *url,
                            const char *method, const char *version, const char *data, size_t *size,
                            void **context);
void *life_target(void *cls, const char *uri, struct MHD_Connection *mhd);
void life_completed(void *cls, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode how);
/* run.c: runs request->handle where its route says. 1: there is an answer; 0: the connection is
 * suspended, and the request another thread's. */
int run_start(struct http_request *request);
/* Tries again what the full pool refused. */
void run_retries(struct http_server *server);
/* Ends what is deferred, with 503. */
void run_cancel_parked(struct http_server *server);

/* account.c: metrics and the access line. */
void account_request(struct http_request *request);

#endif

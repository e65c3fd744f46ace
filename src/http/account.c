/* The metrics and the access line of a finished request.
 *
 * A line for each request would cost more than the request, so at level info only those appear
 * that failed (400 and above) or took more than a second; level debug shows all of them. Series
 * are looked up once per route and status and kept. */
#include "internal.h"

#include "../base/log.h"
#include "../base/mem.h"
#include "../os/clock.h"

#define SLOW_S 1.0

/* Statuses that occur, densely; -1 for others, which are looked up each time. */
static int slot_of(int status)
{
    if (status >= 200 && status <= 209)
        return status - 200;
    if (status >= 300 && status <= 309)
        return 10 + status - 300;
    if (status >= 400 && status <= 417)
        return 20 + status - 400;
    switch (status) {
    case 101:
        return 47;
    case 422:
        return 38;
    case 426:
        return 39;
    case 429:
        return 40;
    case 431:
        return 41;
    default:
        return status >= 500 && status <= 503 ? 43 + status - 500 : -1;
    }
}

static void count(struct http_request *request, double seconds)
{
    const struct http_server *server = request->server;
    size_t row = request->route  ? (size_t)(request->route - server->config.routes)
                 : request->page ? server->config.n_routes
                                 : server->config.n_routes + 1;
    const char *method = request->route ? request->route->method : request->page ? "GET" : "other";
    const char *path = request->route ? request->route->path : request->page ? "page" : "none";
    struct series_cache *cache = &server->series[row];
    int slot = slot_of(request->status);
    struct metric_series *requests =
        slot < 0 ? NULL : atomic_load_explicit(&cache->requests[slot], memory_order_acquire);
    if (!requests) {
        char code[12] = {0};
        code[0] = (char)('0' + request->status / 100 % 10);
        code[1] = (char)('0' + request->status / 10 % 10);
        code[2] = (char)('0' + request->status % 10);
        requests = metric_get(METRIC_HTTP_REQUESTS, method, path, code);
        if (slot >= 0)
            atomic_store_explicit(&cache->requests[slot], requests, memory_order_release);
    }
    struct metric_series *time = atomic_load_explicit(&cache->seconds, memory_order_acquire);
    if (!time) {
        time = metric_get(METRIC_HTTP_SECONDS, method, path, NULL);
        atomic_store_explicit(&cache->seconds, time, memory_order_release);
    }
    metric_add(requests, 1);
    metric_observe(time, seconds);
}

void account_request(struct http_request *request)
{
    double seconds = (double)(clock_ns() - request->start_ns) / 1e9;
    count(request, seconds);
    int failed = request->status >= 500;
    enum log_level level = failed                                        ? LOG_LEVEL_ERROR
                           : request->status >= 400 || seconds >= SLOW_S ? LOG_LEVEL_INFO
                                                                         : LOG_LEVEL_DEBUG;
    static struct log_limit limit;
    uint64_t held = 0;
    if (request->status == 503) { /* overload must not fill the disk as well */
        level = LOG_LEVEL_WARN;
        if (!log_allowed(&limit, 1, &held))
            return;
    }
    if (!log_wants(level))
        return;
    request_identify(request);
    const struct log_field fields[] = {
        LOG_T("http.request.method", request->method ? request->method : "-"),
        LOG_T("url.path", request->target.path ? request->target.path : "-"),
        LOG_I("http.response.status_code", request->status),
        LOG_I("event.duration", seconds * 1e9),
        LOG_T("client.ip", request->conn->peer),
        LOG_T("http.request.id", request->id),
        LOG_T("trace.id", request->trace.trace_id),
        LOG_I("labels.held_back", held),
    };
    size_t n = ARRAY_LEN(fields) - (held == 0);
    if (request->status >= 400) /* without an error of its own it says so by its status alone */
        log_failure(level, failed ? "request failed" : "request refused",
                    request->err.code ? &request->err : NULL, fields, n);
    else
        log_write(level, "request", fields, n);
}

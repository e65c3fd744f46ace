/* Starting and stopping the server: a few libmicrohttpds, each with epoll on a thread, one thread
 * that takes connections in (accept.c), one that watches them (watch.c).
 *
 * Who frees what: a connection's entry ends with libmicrohttpd's notice of its end, a request with
 * the notice of its completion, the server in http_server_stop, when both have happened for all.
 *
 * Figures asked for at a scrape come through a hook, so that requests do not pay for them. */
#include "internal.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../os/clock.h"

/* For the head of a request and, behind it, that of the answer. */
#define POOL_SIZE       (HTTP_HEADERS_MAX + 4096)
#define LOOPS_MAX       4
#define CONNECTIONS_MAX 20000
#define STOP_TURN_NS    10000000 /* how often a stopping server looks whether all have ended */

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = cls;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *context = watch_add(
            server->watch, fd,
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
        acceptor_began(server->acceptor);
    } else if (*context) {
        watch_remove(server->watch, *context);
        *context = NULL;
        acceptor_ended(
            server->acceptor,
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
    }
}

/* Escapes stay as they are: target.c has read them. */
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
    (void)cls;
    (void)mhd;
    return strlen(text);
}

static void fill_metrics(void *ctx)
{
    struct http_server *server = ctx;
    metric_set(metric_get(METRIC_HTTP_IN_FLIGHT, NULL, NULL, NULL),
               (double)atomic_load(&server->active));
    metric_set(metric_get(METRIC_HTTP_CONNECTIONS, NULL, NULL, NULL),
               (double)watch_count(server->watch));
    metric_add(metric_get(METRIC_HTTP_RECEIVED, NULL, NULL, NULL),
               (double)atomic_exchange(&server->received, 0));
}

static void on_turn(void *ctx)
{
    run_retries(ctx);
}

static void set_defaults(struct http_config *config)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (config->loops <= 0)
        config->loops = processors < 1 ? 1 : processors > LOOPS_MAX ? LOOPS_MAX : (int)processors;
    if (config->max_connections <= 0)
        config->max_connections = CONNECTIONS_MAX;
    if (config->idle_s <= 0)
        config->idle_s = 60;
    if (config->header_s <= 0)
        config->header_s = 15;
    if (config->min_body_rate <= 0)
        config->min_body_rate = 500;
}

static struct MHD_Daemon *start_loop(struct http_server *server)
{
    const struct http_config *config = &server->config;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC |
                     MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE;
    unsigned idle = config->idle_s < 1 ? 1 : (unsigned)(config->idle_s + 0.5);
    return MHD_start_daemon(
        flags, 0, NULL, NULL, life_access, server, MHD_OPTION_NOTIFY_COMPLETED, life_completed,
        server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_URI_LOG_CALLBACK,
        life_target, server, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_SIZE, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)config->max_connections, MHD_OPTION_CONNECTION_TIMEOUT, idle,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

static enum err_code start_loops(struct http_server *server, struct err *err)
{
    for (int i = 0; i < server->config.loops; i++) {
        server->loops[i] = start_loop(server);
        if (!server->loops[i])
            return err_set(err, ERR_NO_MEMORY, "the HTTP server could not start");
    }
    return acceptor_start(server->acceptor, err);
}

/* Nobody is let in any more: acceptor_stop. Ends the connections that are left. */
static void stop_loops(struct http_server *server)
{
    for (int i = 0; i < server->config.loops; i++)
        if (server->loops[i])
            MHD_stop_daemon(STEAL(server->loops[i]));
}

static struct http_server *server_free(struct http_server *server)
{
    if (server->acceptor)
        acceptor_stop(server->acceptor);
    stop_loops(server);
    acceptor_free(server->acceptor);
    if (server->watch)
        metrics_unhook(server);
    watch_free(server->watch);
    free(server->loops);
    route_table_free(server->table);
    guard_free(server->guard);
    free(server->series);
    free(server->host);
    free(server->url);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server);
    return NULL;
}

static enum err_code listen_on(struct http_server *server, int *ret_any, struct err *err)
{
    struct http_config *config = &server->config;
    struct accept_config accept = {.loops = server->loops,
                                   .n_loops = config->loops,
                                   .max_connections = config->max_connections,
                                   .max_per_ip = config->max_per_ip};
    enum err_code code =
        listen_open(config->listen, &accept.fd, &server->port, &server->host, ret_any, err);
    return code == ERR_OK ? acceptor_new(&accept, &server->acceptor, err) : code;
}

static enum err_code start(struct http_server *server, struct err *err)
{
    struct http_config *config = &server->config;
    int any = 0;
    server->loops = xalloc((size_t)config->loops * sizeof(struct MHD_Daemon *));
    enum err_code code = route_table_new(config->routes, config->n_routes, &server->table, err);
    if (code == ERR_OK)
        code = listen_on(server, &any, err);
    if (code == ERR_OK)
        code =
            watch_new(config->header_s, config->idle_s, config->min_body_rate, &server->watch, err);
    if (code != ERR_OK)
        return code;
    server->url = xasprintf("http://%s:%d", server->host, server->port);
    server->guard = guard_new(any ? NULL : server->host, config->hosts);
    server->series = xalloc((config->n_routes + 2) * sizeof *server->series);
    metrics_hook(fill_metrics, server);
    watch_on_turn(server->watch, on_turn, server);
    return start_loops(server, err);
}

enum err_code http_server_start(const struct http_config *config, struct http_server **ret,
                                struct err *err)
{
    struct http_server *server = xalloc(sizeof *server);
    pthread_condattr_t attr;
    server->config = *config;
    set_defaults(&server->config);
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &attr);
    pthread_condattr_destroy(&attr);
    enum err_code code = start(server, err);
    *ret = code == ERR_OK ? server : server_free(server);
    return code;
}

int http_server_port(const struct http_server *server)
{
    return server->port;
}

const char *http_server_url(const struct http_server *server)
{
    return server->url;
}

/* Waits until no request is under way, or the time has come. */
static void wait_for_requests(struct http_server *server, uint64_t until_ns)
{
    struct timespec turn = {0, STOP_TURN_NS};
    while (atomic_load(&server->active) > 0 && clock_ns() < until_ns)
        nanosleep(&turn, NULL);
}

/* Handlers that still run must return before their connections can be ended: the application's
 * memory is theirs, too. What the pool had refused is tried on by the watching thread. */
static void wait_for_workers(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->closing = 1;
    while (server->suspended > 0)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
}

struct http_server *http_server_stop(struct http_server *server, double grace_s)
{
    if (!server)
        return NULL;
    atomic_store(&server->stopping, 1);
    acceptor_stop(server->acceptor);
    wait_for_requests(server, clock_ns() + (uint64_t)(grace_s * 1e9));
    if (atomic_load(&server->active) > 0) {
        watch_cut_all(server->watch);
        run_cancel_parked(server);
    }
    wait_for_workers(server);
    return server_free(server);
}

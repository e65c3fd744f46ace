/* Every open connection, and an eye on those that take too long.
 *
 * libmicrohttpd only ends connections that are silent. A client that sends a byte now and then
 * would hold one for ever, so one thread looks at them all a few times a second:
 *   head  must be complete header_s after its first byte;
 *   body  must keep min_body_rate over any window of 30 s (of idle_s, when that is shorter).
 * When a head begins is not told by libmicrohttpd before its first line is complete; for idle
 * connections the kernel's count of received bytes tells it, asked for seldom.
 *
 * An offender's socket is shut down for reading; its I/O thread notices and ends it (life.c says
 * 408). It need not notice: where a byte of the client comes at the same moment, the thread reads
 * that and learns nothing of the rest. So it is told again at each turn, and after another header_s
 * the socket is shut down for writing, too, which nobody overlooks. Entries are added and removed
 * by I/O threads; an entry's descriptor is open as long as it is in the list, so under the lock it
 * is safe to use. */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "../base/mem.h"
#include "../os/clock.h"

#define TURN_S        0.25
#define BODY_WINDOW_S 30.0

struct watch {
    uint64_t header_ns, window_ns, turn_ns;
    double min_body_rate;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct conn *first;
    size_t count;
    int stop;
    void (*call)(void *ctx);
    void *ctx;
    pthread_t thread;
};

static uint64_t ns(double seconds)
{
    return (uint64_t)(seconds * 1e9);
}

static void cut(struct conn *conn, uint64_t now)
{
    conn->cut_ns = now;
    atomic_store(&conn->cut, 1);
    shutdown(conn->fd, SHUT_RD);
}

/* One that has been cut and is still there. */
static void cut_again(const struct watch *watch, struct conn *conn, uint64_t now)
{
    int phase = atomic_load(&conn->phase);
    if (phase == CONN_IDLE || phase == CONN_HEAD || phase == CONN_BODY)
        shutdown(conn->fd, now - conn->cut_ns > watch->header_ns ? SHUT_RDWR : SHUT_RD);
}

static uint64_t received(int fd)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    memset(&info, 0, sizeof info);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_bytes_received : 0;
}

/* Before the request line: bytes that came since the last request ended are a head in the making.
 */
static void look_at_idle(struct watch *watch, struct conn *conn, uint64_t now)
{
    uint32_t requests = atomic_load_explicit(&conn->requests, memory_order_relaxed);
    if (conn->head_ns && requests == conn->probe_requests) {
        if (now - conn->head_ns > watch->header_ns)
            cut(conn, now);
        return;
    }
    if (now - conn->probe_ns < watch->header_ns / 4 && requests == conn->probe_requests)
        return;
    uint64_t bytes = received(conn->fd);
    int fresh = requests == 0; /* from its first byte on */
    int same = requests == conn->probe_requests && conn->probe_ns;
    conn->head_ns = (fresh && bytes) || (same && bytes > conn->probe_bytes) ? now : 0;
    conn->probe_bytes = bytes;
    conn->probe_ns = now;
    conn->probe_requests = requests;
}

static void look_at_body(struct watch *watch, struct conn *conn, uint64_t now)
{
    uint64_t since = atomic_load(&conn->since_ns);
    uint64_t bytes = atomic_load_explicit(&conn->body_bytes, memory_order_relaxed);
    if (conn->window_ns < since || bytes < conn->window_bytes) { /* another body */
        conn->window_ns = since;
        conn->window_bytes = 0;
    }
    if (now < conn->window_ns + watch->window_ns)
        return;
    double seconds = (double)(now - conn->window_ns) / 1e9;
    if ((double)(bytes - conn->window_bytes) < seconds * watch->min_body_rate)
        cut(conn, now);
    conn->window_ns = now;
    conn->window_bytes = bytes;
}

static void look_at(struct watch *watch, struct conn *conn, uint64_t now)
{
    if (atomic_load(&conn->cut)) {
        cut_again(watch, conn, now);
        return;
    }
    switch (atomic_load(&conn->phase)) {
    case CONN_IDLE:
        look_at_idle(watch, conn, now);
        break;
    case CONN_HEAD:
        if (now > atomic_load(&conn->since_ns) + watch->header_ns)
            cut(conn, now);
        break;
    case CONN_BODY:
        look_at_body(watch, conn, now);
        break;
    default:
        break;
    }
}

static void *run(void *arg)
{
    struct watch *watch = arg;
    pthread_setname_np(pthread_self(), "http-watch");
    pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        uint64_t now = clock_ns(), until = now + watch->turn_ns;
        for (struct conn *conn = watch->first; conn; conn = conn->next)
            look_at(watch, conn, now);
        void (*call)(void *) = watch->call;
        pthread_mutex_unlock(&watch->lock);
        if (call)
            call(watch->ctx);
        pthread_mutex_lock(&watch->lock);
        struct timespec at = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
        while (!watch->stop && pthread_cond_timedwait(&watch->wake, &watch->lock, &at) == 0)
            continue;
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

enum err_code watch_new(double header_s, double idle_s, double min_body_rate, struct watch **ret,
                        struct err *err)
{
    struct watch *watch = xalloc(sizeof *watch);
    pthread_condattr_t attr;
    watch->header_ns = ns(header_s);
    watch->window_ns = ns(idle_s < BODY_WINDOW_S ? idle_s : BODY_WINDOW_S);
    watch->turn_ns = ns(header_s / 8 < TURN_S ? header_s / 8 : TURN_S);
    watch->min_body_rate = min_body_rate;
    pthread_mutex_init(&watch->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&watch->wake, &attr);
    pthread_condattr_destroy(&attr);
    int failed = pthread_create(&watch->thread, NULL, run, watch);
    if (failed) {
        free(watch);
        return err_set_errno(err, ERR_NO_MEMORY, failed, "cannot start a thread");
    }
    *ret = watch;
    return ERR_OK;
}

struct watch *watch_free(struct watch *watch)
{
    if (!watch)
        return NULL;
    pthread_mutex_lock(&watch->lock);
    watch->stop = 1;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
    return NULL;
}

void watch_on_turn(struct watch *watch, void (*call)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&watch->lock);
    watch->call = call;
    watch->ctx = ctx;
    pthread_mutex_unlock(&watch->lock);
}

static void write_peer(const struct sockaddr *address, char *ret, socklen_t size)
{
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;
    if (address && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &v4->sin_addr, ret, size);
    else if (address && address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], ret, size);
    else if (address && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, ret, size);
}

struct conn *watch_add(struct watch *watch, int fd, const struct sockaddr *address)
{
    struct conn *conn = xalloc(sizeof *conn);
    conn->fd = fd;
    conn->probe_ns = clock_ns();
    atomic_store(&conn->since_ns, conn->probe_ns);
    write_peer(address, conn->peer, sizeof conn->peer);
    pthread_mutex_lock(&watch->lock);
    conn->next = watch->first;
    if (conn->next)
        conn->next->prev = conn;
    watch->first = conn;
    watch->count++;
    pthread_mutex_unlock(&watch->lock);
    return conn;
}

void watch_remove(struct watch *watch, struct conn *conn)
{
    pthread_mutex_lock(&watch->lock);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        watch->first = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    watch->count--;
    pthread_mutex_unlock(&watch->lock);
    free(conn);
}

size_t watch_count(struct watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    size_t count = watch->count;
    pthread_mutex_unlock(&watch->lock);
    return count;
}

void watch_cut_all(struct watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    for (struct conn *conn = watch->first; conn; conn = conn->next)
        if (atomic_load(&conn->phase) != CONN_UPGRADED)
            shutdown(conn->fd, SHUT_RDWR);
    pthread_mutex_unlock(&watch->lock);
}

void conn_phase(struct conn *conn, enum conn_phase phase, uint64_t now_ns)
{
    atomic_store_explicit(&conn->since_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&conn->phase, phase, memory_order_release);
}

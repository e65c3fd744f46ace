/* Takes connections in on a thread of its own, and deals them out to the I/O threads in turn.
 *
 * libmicrohttpd could listen itself, but not stop listening without a race: in 0.9.75
 * MHD_quiesce_daemon and each I/O thread take the socket out of the thread's epoll set, and who
 * comes second aborts the program. So its threads never see our socket, and the end is simple: this
 * thread is joined, then the socket is closed. Each I/O thread is a libmicrohttpd of its own, since
 * of a pool it picks one by the number of the descriptor, and where every second descriptor is a
 * spool file, half of the threads would do all the work.
 *
 * When max_connections are open, further ones wait in the kernel's queue. So they do when no
 * descriptor is left, until one is.
 *
 * Owner: the listening socket from acceptor_new on; a connection's socket is libmicrohttpd's once
 * it has been handed over. Threads: the acceptor's own, and acceptor_began, acceptor_ended on the
 * I/O threads. What is counted here is given back when libmicrohttpd tells of a connection's end,
 * which it does of every one except where it had no memory to begin it. */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"

#define BUCKETS        1024
#define FULL_MS        10 /* how often to look again for a place */
#define ARRIVE_TURNS   1000
#define ARRIVE_TURN_NS 1000000
#define PAUSE_MS       100 /* after the kernel had no descriptor or memory for one */

/* How many connections one address has; only where there is a limit. */
struct peer {
    struct peer *next;
    struct in6_addr address;
    int count;
};

struct acceptor {
    struct accept_config config;
    int wake; /* eventfd */
    int started;
    unsigned turn; /* of the I/O threads */
    _Atomic int stop, open;
    _Atomic int waiting; /* handed over, and the I/O thread has not begun with it */
    pthread_t thread;
    pthread_mutex_t lock; /* of peers */
    struct peer *peers[BUCKETS];
};

/* --- the limit of an address */

static struct in6_addr plain(const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;
    struct in6_addr ret = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    if (address->sa_family == AF_INET6)
        return v6->sin6_addr;
    memcpy(&ret.s6_addr[12], &v4->sin_addr, 4);
    return ret;
}

/* The link that leads to the address' entry, or where it would be. With the lock. */
static struct peer **find(struct acceptor *a, const struct in6_addr *address)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < sizeof address->s6_addr; i++)
        hash = (hash ^ address->s6_addr[i]) * 16777619u;
    struct peer **at = &a->peers[(hash ^ hash >> 16) % BUCKETS];
    while (*at && memcmp(&(*at)->address, address, sizeof *address) != 0)
        at = &(*at)->next;
    return at;
}

/* Whether the address may have one more. */
static int peer_add(struct acceptor *a, const struct sockaddr *address)
{
    if (a->config.max_per_ip <= 0)
        return 1;
    struct in6_addr key = plain(address);
    pthread_mutex_lock(&a->lock);
    struct peer **at = find(a, &key);
    if (!*at) {
        *at = xalloc(sizeof **at); /* at most max_connections of them */
        (*at)->address = key;
    }
    int room = (*at)->count < a->config.max_per_ip;
    (*at)->count += room;
    pthread_mutex_unlock(&a->lock);
    return room;
}

static void peer_remove(struct acceptor *a, const struct sockaddr *address)
{
    if (a->config.max_per_ip <= 0)
        return;
    struct in6_addr key = plain(address);
    pthread_mutex_lock(&a->lock);
    struct peer **at = find(a, &key);
    if (*at && --(*at)->count == 0) {
        struct peer *gone = *at;
        *at = gone->next;
        free(gone);
    }
    pthread_mutex_unlock(&a->lock);
}

void acceptor_began(struct acceptor *a)
{
    atomic_fetch_sub(&a->waiting, 1);
}

void acceptor_ended(struct acceptor *a, const struct sockaddr *address)
{
    peer_remove(a, address);
    atomic_fetch_sub(&a->open, 1);
}

/* --- the thread */

static void hand_over(struct acceptor *a, int fd, const struct sockaddr *address, socklen_t size)
{
    if (!peer_add(a, address)) {
        close(fd);
        return;
    }
    atomic_fetch_add(&a->open, 1);
    atomic_fetch_add(&a->waiting, 1);
    struct MHD_Daemon *loop = a->config.loops[a->turn++ % (unsigned)a->config.n_loops];
    if (MHD_add_connection(loop, fd, address, size) != MHD_YES) { /* which has closed it */
        acceptor_began(a);
        acceptor_ended(a, address);
    }
}

static int full(struct acceptor *a)
{
    return atomic_load(&a->open) >= a->config.max_connections;
}

/* All that wait. For how many milliseconds the kernel should be left alone then. */
static int accept_all(struct acceptor *a)
{
    static struct log_limit limit;
    while (!atomic_load(&a->stop) && !full(a)) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        int fd =
            accept4(a->config.fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(a, fd, (struct sockaddr *)&address, size);
        } else if (errno == EAGAIN) {
            return 0;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            struct err err;
            err_set_errno(&err, ERR_LIMIT, errno, "no connection can be taken in");
            if (log_allowed(&limit, 10, NULL))
                log_error(LOG_LEVEL_ERROR, "clients have to wait", &err);
            return PAUSE_MS;
        }
    }
    return 0;
}

static void *run(void *ctx)
{
    struct acceptor *a = ctx;
    int pause_ms = 0;
    pthread_setname_np(pthread_self(), "http-accept");
    while (!atomic_load(&a->stop)) {
        if (pause_ms == 0 && full(a))
            pause_ms = FULL_MS;
        struct pollfd fds[2] = {{.fd = pause_ms ? -1 : a->config.fd, .events = POLLIN},
                                {.fd = a->wake, .events = POLLIN}};
        (void)poll(fds, ARRAY_LEN(fds), pause_ms ? pause_ms : -1);
        pause_ms = pause_ms || fds[0].revents ? accept_all(a) : 0;
    }
    return NULL;
}

/* --- beginning and end */

enum err_code acceptor_new(const struct accept_config *config, struct acceptor **ret,
                           struct err *err)
{
    struct acceptor *a = xalloc(sizeof *a);
    a->config = *config;
    a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->wake < 0) {
        enum err_code code =
            err_set_errno(err, ERR_LIMIT, errno, "the HTTP server could not start");
        close(config->fd);
        free(a);
        return code;
    }
    pthread_mutex_init(&a->lock, NULL);
    *ret = a;
    return ERR_OK;
}

enum err_code acceptor_start(struct acceptor *a, struct err *err)
{
    int failed = pthread_create(&a->thread, NULL, run, a);
    if (failed)
        return err_set_errno(err, ERR_NO_MEMORY, failed, "cannot start a thread");
    a->started = 1;
    return ERR_OK;
}

void acceptor_stop(struct acceptor *a)
{
    uint64_t one = 1;
    atomic_store(&a->stop, 1);
    if (a->started) {
        (void)!write(a->wake, &one, sizeof one);
        pthread_join(a->thread, NULL);
        a->started = 0;
    }
    if (a->config.fd >= 0)
        close(a->config.fd); /* whoever is still in the kernel's queue is reset */
    a->config.fd = -1;
    /* Those that were handed over must have arrived before their I/O thread is stopped: it looks
     * through what is left then without a lock. That takes no time, but for want of memory. */
    for (int i = 0; i < ARRIVE_TURNS && atomic_load(&a->waiting) > 0; i++)
        nanosleep(&(struct timespec){0, ARRIVE_TURN_NS}, NULL);
}

struct acceptor *acceptor_free(struct acceptor *a)
{
    if (!a)
        return NULL;
    acceptor_stop(a);
    for (size_t i = 0; i < BUCKETS; i++)
        while (a->peers[i]) {
            struct peer *gone = a->peers[i];
            a->peers[i] = gone->next;
            free(gone);
        }
    close(a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a);
    return NULL;
}

/* getaddrinfo may take as long as the system's resolver likes (10 s and more with a dead name
 * server), and nothing ends it. So a name is looked up on a thread of its own; a caller whose time
 * is over leaves, and the thread drops what nobody waits for any more. Addresses are taken at once.
 *
 * The look-up belongs to both sides: whoever leaves it last frees it. */
#include "redis_resolve.h"

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "../../os/clock.h"

struct lookup {
    atomic_int users;
    int done_fd; /* readable once `why` and `found` stand */
    int why;     /* of getaddrinfo */
    struct redis_addresses found;
    char *host;
    int port;
};

static int look_up(const char *host, int port, int flags, struct redis_addresses *ret)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char service[12];
    snprintf(service, sizeof service, "%d", port);
    ret->count = 0;
    int why = getaddrinfo(host, service, &hints, &list);
    if (why)
        return why;
    for (const struct addrinfo *a = list; a && ret->count < REDIS_ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof ret->list[0])
            continue;
        memcpy(&ret->list[ret->count], a->ai_addr, a->ai_addrlen);
        ret->size[ret->count++] = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return ret->count ? 0 : EAI_NONAME;
}

static void leave(struct lookup *l)
{
    if (atomic_fetch_sub(&l->users, 1) > 1)
        return;
    close(l->done_fd);
    free(l->host);
    free(l);
}

static void *run(void *arg)
{
    struct lookup *l = arg;
    l->why = look_up(l->host, l->port, AI_ADDRCONFIG, &l->found);
    if (l->why) /* AI_ADDRCONFIG overlooks loopback where nothing else is configured */
        l->why = look_up(l->host, l->port, 0, &l->found);
    uint64_t one = 1;
    ssize_t ignored = write(l->done_fd, &one, sizeof one);
    (void)ignored;
    leave(l);
    return NULL;
}

/* 1 once it is done. */
static int wait_done(int fd, struct net_until until)
{
    for (;;) {
        uint64_t now = clock_ns();
        struct pollfd list[2] = {{.fd = fd, .events = POLLIN},
                                 {.fd = until.stop_fd, .events = POLLIN}};
        int ms = now < until.ns ? (int)((until.ns - now + 999999) / 1000000) : 0;
        int n = poll(list, until.stop_fd >= 0 ? 2 : 1, ms);
        if (n > 0)
            return list[0].revents != 0;
        if (n == 0 && now >= until.ns)
            return 0;
    }
}

enum err_code redis_resolve(const char *host, int port, struct net_until until,
                            struct redis_addresses *ret, struct err *err)
{
    if (look_up(host, port, AI_NUMERICHOST, ret) == 0)
        return ERR_OK;
    pthread_t thread;
    struct lookup *l = xalloc(sizeof *l);
    l->users = 2;
    l->done_fd = eventfd(0, EFD_CLOEXEC);
    l->host = xstrdup(host);
    l->port = port;
    if (l->done_fd < 0 || pthread_create(&thread, NULL, run, l) != 0) {
        l->users = 1;
        leave(l);
        return err_set(err, ERR_UNAVAILABLE, "no thread to look up %.100s", host);
    }
    pthread_detach(thread);
    enum err_code rc = ERR_OK;
    uint64_t once;
    if (!wait_done(l->done_fd, until))
        rc = err_set(err, ERR_UNAVAILABLE, "looking up %.100s: no answer in time", host);
    else if (read(l->done_fd, &once, sizeof once) > 0 && l->why)
        rc = err_set(err, ERR_UNAVAILABLE, "looking up %.100s: %s", host, gai_strerror(l->why));
    else
        *ret = l->found;
    leave(l);
    return rc;
}

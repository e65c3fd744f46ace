/* The hub: every WebSocket on one thread with one epoll.
 *
 * Other threads never touch a connection. They put a command into a list under the lock and wake
 * the thread by an eventfd; the list is worked off in order, so that a subscription comes before
 * the broadcast that followed it. A connection is found by its id (slot and generation), never by a
 * pointer, so a late command or event misses it harmlessly.
 *
 * Owner: the hub owns connections from ws_hub_adopt on; only its thread reads or writes them. A
 * handshake under way counts as a reference, because libmicrohttpd may call back at any later time.
 *
 * Time: a connection is pinged every ping_s and ended when it was silent for two of them. A close
 * waits for the peer's answer for CLOSE_S. The thread sleeps without end while there is no
 * connection and no timer. */
#include "websocket.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include "../base/mem.h"
#include "ws_frames.h"
#include "ws_hub.h"

#define CLOSE_S     2.0  /* for the peer to answer a close */
#define STOP_S      1.0  /* the same when the server ends */
#define TICK_MS     1000 /* how exactly pings and deadlines are kept, at most; see tick_ms */
#define READ_BYTES  16384
#define READS_MAX   4 /* reads in a row from one connection, so that one cannot starve the others */
#define EVENTS      64
#define NO_SLOT     UINT32_MAX
#define WAKE_ID     0 /* of the eventfd; no connection has it */
#define SLOTS_LIMIT (1u << 24)

struct conn {
    ws_id id;
    struct ws_hub *hub;
    struct ws_frames frames;
    struct ws_socket socket;
    void *context;
    void (*release)(void *context);
    void *extra;
    size_t n_extra;
    int64_t heard_ms, pinged_ms, deadline_ms; /* deadline: of the close; 0 = none */
    struct conn *next_dirty;
    unsigned dirty : 1, subscribed : 1, wants_out : 1, shut : 1;
};

struct slot {
    struct conn *conn; /* NULL: free */
    uint32_t generation, next_free;
};

enum command_kind { ADOPT, SEND, BROADCAST, SUBSCRIBE, CLOSE, AFTER };
struct command {
    struct command *next;
    enum command_kind kind;
    ws_id id;
    struct conn *conn;    /* ADOPT */
    struct ws_text *text; /* SEND, BROADCAST; NULL: there was no memory for it */
    int number;           /* SUBSCRIBE: on; CLOSE: code */
    char *reason;
    double seconds;
    ws_call *call;
};

struct timer {
    struct timer *prev;
    int64_t at_ms;
    ws_id id;
    ws_call *call;
};

struct ws_hub {
    struct ws_callbacks callbacks;
    void *ctx;
    int64_t ping_ms;
    int max_connections;
    pthread_t thread;
    int epoll, wake;
    atomic_int refs, reserved, open;
    pthread_mutex_t lock; /* of what follows */
    struct command *first, **last;
    int stopping; /* no more commands are taken */
    /* Only the thread. */
    struct slot *slots;
    size_t n_slots, cap_slots;
    uint32_t free_slot;
    struct conn *dirty;
    struct timer *latest; /* by time, the last first: mostly a new one is the last */
    int64_t earliest_ms;  /* INT64_MAX: none */
    struct ws_text *ping;
    int64_t tick_at_ms;
    unsigned char *buffer;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- commands: any thread ------------------------------------------------------------------- */

static void unref(struct ws_hub *hub)
{
    if (atomic_fetch_sub(&hub->refs, 1) != 1)
        return;
    if (hub->epoll >= 0)
        close(hub->epoll);
    if (hub->wake >= 0)
        close(hub->wake);
    pthread_mutex_destroy(&hub->lock);
    ws_text_unref(hub->ping);
    free(hub->slots);
    free(hub->buffer);
    free(hub);
}

static void wake(struct ws_hub *hub)
{
    uint64_t one = 1;
    while (write(hub->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void command_free(struct command *command)
{
    ws_text_unref(command->text);
    free(command->reason);
    free(command);
}

/* Takes `filled`'s content. 0, or -1 when the hub has ended: then nothing was taken. */
static int submit(struct ws_hub *hub, const struct command *filled)
{
    struct command *command = xalloc(sizeof *command);
    *command = *filled;
    pthread_mutex_lock(&hub->lock);
    int stopping = hub->stopping, first = !hub->first;
    if (!stopping) {
        *hub->last = command;
        hub->last = &command->next;
    }
    pthread_mutex_unlock(&hub->lock);
    if (stopping) {
        free(command);
        return -1;
    }
    if (first) /* otherwise somebody woke it for the one before */
        wake(hub);
    return 0;
}

static void submit_or_drop(struct ws_hub *hub, struct command filled)
{
    if (submit(hub, &filled) < 0) {
        ws_text_unref(filled.text);
        free(filled.reason);
    }
}

void ws_send(struct ws_hub *hub, ws_id id, const char *text, size_t size)
{
    submit_or_drop(hub,
                   (struct command){.kind = SEND, .id = id, .text = ws_text_new(1, text, size)});
}

void ws_broadcast(struct ws_hub *hub, const char *text, size_t size)
{
    submit_or_drop(hub, (struct command){.kind = BROADCAST, .text = ws_text_new(1, text, size)});
}

void ws_subscribe(struct ws_hub *hub, ws_id id, int on)
{
    submit_or_drop(hub, (struct command){.kind = SUBSCRIBE, .id = id, .number = on});
}

void ws_close(struct ws_hub *hub, ws_id id, int code, const char *reason)
{
    submit_or_drop(hub, (struct command){.kind = CLOSE,
                                         .id = id,
                                         .number = code,
                                         .reason = reason ? xasprintf("%.123s", reason) : NULL});
}

void ws_after(struct ws_hub *hub, double seconds, ws_call *call, ws_id id)
{
    submit_or_drop(hub,
                   (struct command){.kind = AFTER, .id = id, .seconds = seconds, .call = call});
}

int ws_count(const struct ws_hub *hub)
{
    return atomic_load(&((struct ws_hub *)(uintptr_t)hub)->open);
}

enum err_code ws_hub_reserve(struct ws_hub *hub, struct err *err)
{
    pthread_mutex_lock(&hub->lock);
    int stopping = hub->stopping;
    pthread_mutex_unlock(&hub->lock);
    if (stopping)
        return err_set(err, ERR_SHUTTING_DOWN, "the server is stopping");
    if (atomic_fetch_add(&hub->reserved, 1) >= hub->max_connections) {
        atomic_fetch_sub(&hub->reserved, 1);
        return err_set(err, ERR_BUSY, "%d live connections are open; no more are taken",
                       hub->max_connections);
    }
    atomic_fetch_add(&hub->refs, 1);
    return ERR_OK;
}

void ws_hub_unreserve(struct ws_hub *hub)
{
    atomic_fetch_sub(&hub->reserved, 1);
    unref(hub);
}

/* The last of a connection, whoever held it. */
static void conn_free(struct conn *c)
{
    c->socket.close(c->socket.handle, c->socket.fd);
    ws_frames_done(&c->frames);
    atomic_fetch_sub(&c->hub->reserved, 1);
    if (c->release)
        c->release(c->context);
    unref(c->hub);
    free(c->extra);
    free(c);
}

/* --- one connection: the hub's thread from here on ---------------------------------------------
 */

static struct conn *find(struct ws_hub *hub, ws_id id)
{
    size_t slot = (size_t)(id & 0xffffffff);
    if (slot >= hub->n_slots || !hub->slots[slot].conn || hub->slots[slot].conn->id != id)
        return NULL;
    return hub->slots[slot].conn;
}

static void mark_dirty(struct conn *c)
{
    if (c->dirty)
        return;
    c->dirty = 1;
    c->next_dirty = c->hub->dirty;
    c->hub->dirty = c;
}

static void remove_conn(struct conn *c)
{
    struct ws_hub *hub = c->hub;
    struct slot *slot = &hub->slots[c->id & 0xffffffff];
    if (c->dirty) {
        struct conn **link = &hub->dirty;
        while (*link != c)
            link = &(*link)->next_dirty;
        *link = c->next_dirty;
    }
    epoll_ctl(hub->epoll, EPOLL_CTL_DEL, c->socket.fd, NULL);
    slot->conn = NULL;
    slot->next_free = hub->free_slot;
    hub->free_slot = (uint32_t)(c->id & 0xffffffff);
    atomic_fetch_sub(&hub->open, 1);
    if (hub->callbacks.closed)
        hub->callbacks.closed(hub->ctx, c->id, c->context);
    conn_free(c);
}

static void set_deadline(struct conn *c, double seconds)
{
    int64_t at = now_ms() + (int64_t)(seconds * 1000);
    if (c->deadline_ms == 0 || at < c->deadline_ms)
        c->deadline_ms = at;
    if (c->hub->tick_at_ms == 0 || at < c->hub->tick_at_ms)
        c->hub->tick_at_ms = at;
}

static void begin_close(struct conn *c, int code, const char *reason, int drop)
{
    ws_frames_close(&c->frames, code, reason, drop);
    mark_dirty(c);
}

/* Sends what waits and decides whether the connection lives on. */
static void settle(struct conn *c)
{
    int more = c->frames.broken ? -1 : ws_frames_flush(&c->frames, c->socket.fd);
    if (more < 0) {
        remove_conn(c);
        return;
    }
    if (c->frames.closing && c->deadline_ms == 0)
        set_deadline(c, CLOSE_S);
    if (c->frames.closing && !more) {
        if (c->frames.heard_close) {
            remove_conn(c);
            return;
        }
        /* Our close is out. The peer answers it or ends; until then its bytes are read, because
         * closing a socket with unread bytes resets it, and the peer would lose the close frame. */
        if (!c->shut && c->frames.deaf) {
            shutdown(c->socket.fd, SHUT_WR);
            c->shut = 1;
        }
    }
    if (more != (int)c->wants_out) {
        struct epoll_event event = {.events = EPOLLIN | (more ? EPOLLOUT : 0), .data.u64 = c->id};
        c->wants_out = more != 0;
        if (epoll_ctl(c->hub->epoll, EPOLL_CTL_MOD, c->socket.fd, &event) < 0)
            remove_conn(c);
    }
}

static void settle_dirty(struct ws_hub *hub)
{
    while (hub->dirty) {
        struct conn *c = hub->dirty;
        hub->dirty = c->next_dirty;
        c->dirty = 0;
        settle(c);
    }
}

/* A message for one connection. When it does not fit, what waits may only be waiting for this turn
 * of the loop. */
static void send_to(struct conn *c, struct ws_text *text)
{
    int rc = text ? ws_frames_send(&c->frames, text) : -1;
    if (rc < 0 && text && ws_frames_flush(&c->frames, c->socket.fd) >= 0)
        rc = ws_frames_send(&c->frames, text);
    if (rc < 0)
        begin_close(c, 1013, "too slow", 1);
    mark_dirty(c);
}

static void message_came(void *ctx, const char *text, size_t size)
{
    struct conn *c = ctx;
    if (c->hub->callbacks.message)
        c->hub->callbacks.message(c->hub->ctx, c->id, c->context, text, size);
}

static void feed(struct conn *c, const void *data, size_t size)
{
    c->heard_ms = now_ms();
    ws_frames_feed(&c->frames, data, size);
    mark_dirty(c);
}

static void readable(struct conn *c)
{
    struct ws_hub *hub = c->hub;
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = recv(c->socket.fd, hub->buffer, READ_BYTES, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
        if (n <= 0) {
            remove_conn(c);
            return;
        }
        feed(c, hub->buffer, (size_t)n);
        if (n < READ_BYTES)
            return;
    }
}

/* --- commands: on the thread -------------------------------------------------------------------
 */

static uint32_t new_slot(struct ws_hub *hub)
{
    uint32_t at = hub->free_slot;
    if (at != NO_SLOT) {
        hub->free_slot = hub->slots[at].next_free;
        return at;
    }
    if (try_grow(&hub->slots, &hub->cap_slots, hub->n_slots, sizeof *hub->slots, SLOTS_LIMIT) < 0)
        return NO_SLOT;
    hub->slots[hub->n_slots] = (struct slot){0};
    return (uint32_t)hub->n_slots++;
}

static void adopt(struct ws_hub *hub, struct conn *c)
{
    uint32_t at = new_slot(hub);
    if (at == NO_SLOT) {
        conn_free(c);
        return;
    }
    struct slot *slot = &hub->slots[at];
    slot->conn = c;
    if (++slot->generation == 0) /* so that no id is 0 */
        slot->generation = 1;
    c->id = (ws_id)slot->generation << 32 | at;
    c->heard_ms = c->pinged_ms = now_ms();
    atomic_fetch_add(&hub->open, 1);
    if (hub->callbacks.opened)
        hub->callbacks.opened(hub->ctx, c->id, c->context);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = c->id};
    if (epoll_ctl(hub->epoll, EPOLL_CTL_ADD, c->socket.fd, &event) < 0) {
        remove_conn(c);
        return;
    }
    if (c->n_extra > 0)
        feed(c, c->extra, c->n_extra);
    free(STEAL(c->extra));
    if (hub->tick_at_ms == 0)
        hub->tick_at_ms = now_ms();
}

static void add_timer(struct ws_hub *hub, const struct command *command)
{
    struct timer *timer = xalloc(sizeof *timer), **link = &hub->latest;
    timer->at_ms = now_ms() + (int64_t)ceil(fmax(0, fmin(command->seconds, 1e9)) * 1000);
    timer->id = command->id;
    timer->call = command->call;
    while (*link && (*link)->at_ms > timer->at_ms)
        link = &(*link)->prev;
    timer->prev = *link;
    *link = timer;
    if (timer->at_ms < hub->earliest_ms)
        hub->earliest_ms = timer->at_ms;
}

static void broadcast(struct ws_hub *hub, struct ws_text *text)
{
    for (size_t i = 0; i < hub->n_slots; i++)
        if (hub->slots[i].conn && hub->slots[i].conn->subscribed)
            send_to(hub->slots[i].conn, text);
}

static void run_command(struct ws_hub *hub, const struct command *command)
{
    struct conn *c = find(hub, command->id);
    switch (command->kind) {
    case ADOPT:
        adopt(hub, command->conn);
        break;
    case SEND:
        if (c)
            send_to(c, command->text);
        break;
    case BROADCAST:
        broadcast(hub, command->text);
        break;
    case SUBSCRIBE:
        if (c)
            c->subscribed = command->number != 0;
        break;
    case CLOSE:
        if (c)
            begin_close(c, command->number, command->reason, 0);
        break;
    case AFTER:
        add_timer(hub, command);
        break;
    }
}

static struct command *take_commands(struct ws_hub *hub, int *ret_stopping)
{
    pthread_mutex_lock(&hub->lock);
    struct command *list = hub->first;
    hub->first = NULL;
    hub->last = &hub->first;
    *ret_stopping = hub->stopping;
    pthread_mutex_unlock(&hub->lock);
    return list;
}

/* 1 when the hub is stopping. Callbacks may submit more: the next turn takes those. */
static int run_commands(struct ws_hub *hub)
{
    int stopping;
    struct command *list = take_commands(hub, &stopping);
    while (list) {
        struct command *command = list;
        list = command->next;
        run_command(hub, command);
        command_free(command);
    }
    return stopping;
}

/* --- time ----------------------------------------------------------------------------------------
 */

/* Pings and deadlines of all connections. A walk over thousands takes less than a millisecond. */
static void tick(struct ws_hub *hub, int64_t now)
{
    int64_t step = hub->ping_ms / 4 < TICK_MS ? hub->ping_ms / 4 + 1 : TICK_MS;
    hub->tick_at_ms = atomic_load(&hub->open) > 0 ? now + step : 0;
    for (size_t i = 0; i < hub->n_slots; i++) {
        struct conn *c = hub->slots[i].conn;
        if (!c)
            continue;
        if ((c->deadline_ms > 0 && now >= c->deadline_ms) || now - c->heard_ms > 2 * hub->ping_ms) {
            remove_conn(c);
            continue;
        }
        if (c->deadline_ms > 0 && c->deadline_ms < hub->tick_at_ms)
            hub->tick_at_ms = c->deadline_ms;
        if (now - c->pinged_ms >= hub->ping_ms && !c->frames.closing) {
            c->pinged_ms = now;
            if (ws_frames_send(&c->frames, hub->ping) == 0)
                mark_dirty(c);
        }
    }
}

/* Calls the timers that are due, the earliest first. */
static void run_timers(struct ws_hub *hub, int64_t now)
{
    struct timer **link = &hub->latest, *ordered = NULL;
    if (now < hub->earliest_ms)
        return;
    hub->earliest_ms = INT64_MAX;
    while (*link && (*link)->at_ms > now) {
        hub->earliest_ms = (*link)->at_ms;
        link = &(*link)->prev;
    }
    struct timer *due = STEAL(*link);
    while (due) {
        struct timer *timer = due;
        due = timer->prev;
        timer->prev = ordered;
        ordered = timer;
    }
    while (ordered) {
        struct timer *timer = ordered;
        ordered = timer->prev;
        struct conn *c = find(hub, timer->id);
        if (c)
            timer->call(hub->ctx, c->id, c->context);
        free(timer);
    }
}

/* Milliseconds until there is something to do, -1: for ever. */
static int time_to_wait(const struct ws_hub *hub)
{
    int64_t now = now_ms(), next = hub->earliest_ms;
    if (hub->tick_at_ms > 0 && hub->tick_at_ms < next)
        next = hub->tick_at_ms;
    if (next == INT64_MAX)
        return -1;
    return next <= now ? 0 : next - now > 60000 ? 60000 : (int)(next - now);
}

/* --- the thread
 * ------------------------------------------------------------------------------------ */

static void handle_event(struct ws_hub *hub, const struct epoll_event *event)
{
    uint64_t count;
    struct conn *c = find(hub, event->data.u64);
    if (event->data.u64 == WAKE_ID) {
        while (read(hub->wake, &count, sizeof count) < 0 && errno == EINTR)
            ;
        return;
    }
    if (!c)
        return;
    if (event->events & EPOLLOUT)
        mark_dirty(c);
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        readable(c);
}

static void close_all(struct ws_hub *hub)
{
    for (size_t i = 0; i < hub->n_slots; i++) {
        struct conn *c = hub->slots[i].conn;
        if (!c)
            continue;
        begin_close(c, 1001, "the server goes away", 1);
        set_deadline(c, STOP_S);
    }
}

static void *run(void *ctx)
{
    struct ws_hub *hub = ctx;
    int closing = 0;
    pthread_setname_np(pthread_self(), "websocket");
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(hub->epoll, events, EVENTS, time_to_wait(hub));
        for (int i = 0; i < n; i++)
            handle_event(hub, &events[i]);
        int stopping = run_commands(hub);
        if (stopping && !closing)
            close_all(hub);
        closing = stopping;
        int64_t now = now_ms();
        if (hub->tick_at_ms > 0 && now >= hub->tick_at_ms)
            tick(hub, now);
        run_timers(hub, now);
        settle_dirty(hub);
        if (closing && atomic_load(&hub->open) == 0)
            break;
    }
    while (hub->latest) {
        struct timer *timer = hub->latest;
        hub->latest = timer->prev;
        free(timer);
    }
    return NULL;
}

/* --- beginning and end
 * ----------------------------------------------------------------------------- */

void ws_hub_adopt(struct ws_hub *hub, const struct ws_socket *sock, void *context,
                  void (*release)(void *context))
{
    struct conn *c = xalloc(sizeof *c);
    int one = 1, flags = fcntl(sock->fd, F_GETFL);
    c->hub = hub;
    c->socket = *sock;
    c->context = context;
    c->release = release;
    ws_frames_init(&c->frames, message_came, c);
    c->n_extra = sock->n_extra;
    c->extra = sock->n_extra > 0 ? try_alloc(1, sock->n_extra) : NULL;
    (void)setsockopt(sock->fd, IPPROTO_TCP, TCP_NODELAY, &one,
                     sizeof one); /* a socketpair of a test has none */
    if ((sock->n_extra > 0 && !c->extra) || flags < 0 ||
        fcntl(sock->fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        conn_free(c);
        return;
    }
    if (c->extra)
        memcpy(c->extra, sock->extra, sock->n_extra);
    if (submit(hub, &(struct command){.kind = ADOPT, .conn = c}) < 0)
        conn_free(c);
}

enum err_code ws_hub_new(const struct ws_callbacks *callbacks, void *ctx, double ping_s,
                         int max_connections, struct ws_hub **ret, struct err *err)
{
    struct ws_hub *hub = xalloc(sizeof *hub);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE_ID};
    *ret = NULL;
    hub->callbacks = *callbacks;
    hub->ctx = ctx;
    hub->ping_ms = (int64_t)(fmax(0.01, ping_s) * 1000);
    hub->max_connections = max_connections;
    hub->free_slot = NO_SLOT;
    hub->last = &hub->first;
    hub->earliest_ms = INT64_MAX;
    atomic_init(&hub->refs, 1);
    pthread_mutex_init(&hub->lock, NULL);
    hub->buffer = try_alloc(1, READ_BYTES);
    hub->ping = ws_text_new(9, NULL, 0);
    hub->epoll = epoll_create1(EPOLL_CLOEXEC);
    hub->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = -1;
    if (hub->buffer && hub->ping && hub->epoll >= 0 && hub->wake >= 0)
        rc = epoll_ctl(hub->epoll, EPOLL_CTL_ADD, hub->wake, &event) < 0 ? errno : 0;
    if (rc == 0)
        rc = pthread_create(&hub->thread, NULL, run, hub);
    if (rc != 0) {
        unref(hub);
        return rc < 0 ? err_set_errno(err, ERR_LIMIT, errno, "cannot prepare for live connections")
                      : err_set_errno(err, ERR_LIMIT, rc, "cannot prepare for live connections");
    }
    *ret = hub;
    return ERR_OK;
}

void ws_hub_stop(struct ws_hub *hub)
{
    if (!hub)
        return;
    pthread_mutex_lock(&hub->lock);
    int was = hub->stopping;
    hub->stopping = 1;
    pthread_mutex_unlock(&hub->lock);
    if (was)
        return;
    wake(hub);
    pthread_join(hub->thread, NULL);
}

struct ws_hub *ws_hub_free(struct ws_hub *hub)
{
    if (!hub)
        return NULL;
    ws_hub_stop(hub);
    unref(hub);
    return NULL;
}

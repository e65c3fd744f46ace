/* http: the WebSocket hub, from the peer's side of a socket; and through the real server. */
#include "../../support/cm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/http.h"
#include "http/websocket.h"
#include "http/ws_hub.h"

#define WAIT_MS 5000 /* for what should come at once */

/* --- what the hub calls --------------------------------------------------------------------- */

static struct ws_hub *hub;
static atomic_int opened, closed, released, messages, timed;
static _Atomic(ws_id) last_id;

static void on_open(void *ctx, ws_id id, void *context)
{
    (void)ctx;
    (void)context;
    last_id = id;
    opened++;
}

/* Echo; "bye" closes with 4408, "join" subscribes, "flood" sends without end. */
static void on_message(void *ctx, ws_id id, void *context, const char *text, size_t size)
{
    (void)ctx;
    (void)context;
    messages++;
    if (size == 3 && memcmp(text, "bye", 3) == 0)
        ws_close(hub, id, 4408, "bye");
    else if (size == 4 && memcmp(text, "join", 4) == 0)
        ws_subscribe(hub, id, 1);
    else
        ws_send(hub, id, text, size);
}

static void on_close(void *ctx, ws_id id, void *context)
{
    (void)ctx;
    (void)id;
    (void)context;
    closed++;
}

static void on_time(void *ctx, ws_id id, void *context)
{
    (void)ctx;
    (void)context;
    timed++;
    ws_close(hub, id, 4408, "no hello");
}

static void release(void *context)
{
    (void)context;
    released++;
}

static void close_fd(void *handle, int fd)
{
    (void)handle;
    close(fd);
}

static void start(double ping_s, int max)
{
    static const struct ws_callbacks callbacks = {on_open, on_message, on_close};
    struct err err;
    opened = closed = released = messages = timed = 0;
    assert_int_equal(ws_hub_new(&callbacks, NULL, ping_s, max, &hub, &err), ERR_OK);
}

static int wait_for(atomic_int *value, int want)
{
    for (int i = 0; i < WAIT_MS && *value != want; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return *value == want;
}

/* --- a peer ----------------------------------------------------------------------------------- */

static int join_extra(const void *extra, size_t n)
{
    int ends[2];
    struct err err;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(ws_hub_reserve(hub, &err), ERR_OK);
    ws_hub_adopt(hub, &(struct ws_socket){ends[0], close_fd, NULL, extra, n}, NULL, release);
    return ends[1];
}

static int join(void)
{
    return join_extra(NULL, 0);
}

static size_t frame(unsigned char *out, int first, int masked, const void *data, size_t size)
{
    static const unsigned char mask[4] = {0x12, 0x34, 0x56, 0x78};
    size_t n = 2;
    out[0] = (unsigned char)first;
    if (size < 126) {
        out[1] = (unsigned char)size;
    } else {
        out[1] = 126;
        out[2] = (unsigned char)(size >> 8);
        out[3] = (unsigned char)size;
        n = 4;
    }
    if (masked) {
        out[1] |= 0x80;
        memcpy(out + n, mask, 4);
        n += 4;
    }
    for (size_t i = 0; i < size; i++)
        out[n + i] = (unsigned char)(((const unsigned char *)data)[i] ^ (masked ? mask[i % 4] : 0));
    return n + size;
}

static void put(int fd, const void *data, size_t size)
{
    assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* first: 0x81 a whole text, 0x01 its beginning, 0x00 0x80 further parts, 0x88 close, 0x89 ping */
static void put_frame(int fd, int first, const void *data, size_t size)
{
    unsigned char out[8192];
    put(fd, out, frame(out, first, 1, data, size));
}

static void put_text(int fd, const char *text)
{
    put_frame(fd, 0x81, text, strlen(text));
}

/* Reads exactly n bytes; 0 when the connection ends or nothing comes. */
static int get(int fd, void *to, size_t n)
{
    for (size_t got = 0; got < n;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, WAIT_MS) <= 0)
            return 0;
        ssize_t k = recv(fd, (char *)to + got, n - got, 0);
        if (k <= 0)
            return 0;
        got += (size_t)k;
    }
    return 1;
}

struct got {
    int first; /* -1: the end */
    size_t size;
    char text[70000];
};

static struct got got;

static void get_frame(int fd)
{
    unsigned char head[8];
    got.first = -1;
    got.size = 0;
    if (!get(fd, head, 2))
        return;
    assert_false(head[1] & 0x80); /* a server never masks */
    size_t size = head[1];
    if (size == 126) {
        assert_true(get(fd, head + 2, 2));
        size = (size_t)head[2] << 8 | head[3];
    } else if (size == 127) {
        assert_true(get(fd, head, 8));
        size = (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
        head[0] = 0x81;
    }
    assert_true(size < sizeof got.text);
    assert_true(get(fd, got.text, size));
    got.text[size] = '\0';
    got.first = head[0];
    got.size = size;
}

static void expect_text(int fd, const char *text)
{
    get_frame(fd);
    assert_int_equal(got.first, 0x81);
    assert_string_equal(got.text, text);
}

/* A close frame with this code, then, when it is answered, the end. */
static void expect_close(int fd, int code)
{
    get_frame(fd);
    assert_int_equal(got.first, 0x88);
    assert_true(got.size >= 2);
    assert_int_equal((unsigned char)got.text[0] << 8 | (unsigned char)got.text[1], code);
    unsigned char out[16], reply[2] = {(unsigned char)(code >> 8), (unsigned char)code};
    (void)!send(fd, out, frame(out, 0x88, 1, reply, 2), MSG_NOSIGNAL);
    get_frame(fd);
    assert_int_equal(got.first, -1);
}

static void leave(int fd)
{
    int before = closed;
    close(fd);
    assert_true(wait_for(&closed, before + 1));
    assert_true(wait_for(&released, before + 1));
}

static int begin(void **state)
{
    (void)state;
    start(60, 1000);
    return 0;
}

static int end(void **state)
{
    (void)state;
    hub = ws_hub_free(hub);
    return 0;
}

/* --- messages -----------------------------------------------------------------------------------
 */

static void what_is_sent_comes_back(void **state)
{
    (void)state;
    int fd = join();
    char longest[WS_MESSAGE_MAX + 1];
    memset(longest, 'x', WS_MESSAGE_MAX);
    longest[WS_MESSAGE_MAX] = '\0';
    put_text(fd, "hello");
    expect_text(fd, "hello");
    put_text(fd, "");
    expect_text(fd, "");
    put_text(fd, longest);
    expect_text(fd, longest);
    assert_int_equal(ws_count(hub), 1);
    leave(fd);
    assert_int_equal(ws_count(hub), 0);
}

static void fragments_make_one_message_with_a_ping_between(void **state)
{
    (void)state;
    int fd = join();
    put_frame(fd, 0x01, "Hel", 3);
    put_frame(fd, 0x89, "pulse", 5);
    get_frame(fd);
    assert_int_equal(got.first, 0x8a);
    assert_string_equal(got.text, "pulse");
    put_frame(fd, 0x00, "lo ", 3);
    put_frame(fd, 0x80, "you", 3);
    expect_text(fd, "Hello you");
    assert_int_equal(messages, 1);
    leave(fd);
}

/* Byte by byte, so that every state between two bytes is kept; then many messages at once. */
static void it_does_not_matter_how_bytes_arrive(void **state)
{
    (void)state;
    int fd = join();
    unsigned char out[1024];
    size_t n = frame(out, 0x81, 1, "one", 3);
    n += frame(out + n, 0x01, 1, "tw", 2);
    n += frame(out + n, 0x80, 1, "o", 1);
    for (size_t i = 0; i < n; i++) {
        put(fd, out + i, 1);
        nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
    }
    expect_text(fd, "one");
    expect_text(fd, "two");
    n = 0;
    for (int i = 0; i < 50; i++)
        n += frame(out + n, 0x81, 1, "many", 4);
    put(fd, out, n);
    for (int i = 0; i < 50; i++)
        expect_text(fd, "many");
    leave(fd);
}

static void bytes_from_before_the_handover_count(void **state)
{
    (void)state;
    unsigned char out[64];
    size_t n = frame(out, 0x81, 1, "early", 5);
    int fd = join_extra(out, n - 2);
    put(fd, out + n - 2, 2);
    expect_text(fd, "early");
    leave(fd);
}

/* --- what breaks the rules ----------------------------------------------------------------------
 */

static void raw_close(const void *data, size_t size, int code)
{
    int fd = join();
    put(fd, data, size);
    expect_close(fd, code);
    close(fd);
}

static void broken_rules_have_their_codes(void **state)
{
    (void)state;
    unsigned char out[8192];
    char big[WS_MESSAGE_MAX + 1];
    memset(big, 'x', sizeof big);
    raw_close(out, frame(out, 0x81, 0, "no mask", 7), 1002);
    raw_close(out, frame(out, 0xc1, 1, "RSV1", 4), 1002);
    raw_close(out, frame(out, 0x83, 1, "opcode 3", 8), 1002);
    raw_close(out, frame(out, 0x80, 1, "the rest of nothing", 19), 1002);
    raw_close(out, frame(out, 0x09, 1, "a ping in parts", 15), 1002);
    raw_close(out, frame(out, 0x88, 1, "\x03", 1), 1002);
    raw_close(out, frame(out, 0x88, 1, "\x03\xed", 2), 1002); /* 1005 may not be sent */
    raw_close(out, frame(out, 0x81, 1, "\xc3\x28", 2), 1007);
    raw_close(out, frame(out, 0x81, 1, "\xed\xa0\x80", 3), 1007); /* a surrogate */
    raw_close(out, frame(out, 0x81, 1, big, sizeof big), 1009);
    raw_close(out, frame(out, 0x82, 1, "binary", 6), 1003);
    raw_close("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10, 1002); /* 2^64 - 1 bytes */
    assert_int_equal(messages, 0);
    assert_true(wait_for(&closed, opened));
    assert_int_equal(ws_count(hub), 0);
}

static void fragments_are_counted_together(void **state)
{
    (void)state;
    int fd = join();
    char half[WS_MESSAGE_MAX / 2 + 1];
    memset(half, 'x', sizeof half);
    put_frame(fd, 0x01, half, sizeof half);
    put_frame(fd, 0x80, half, sizeof half);
    expect_close(fd, 1009);
    close(fd);
}

/* --- closing
 * -------------------------------------------------------------------------------------- */

static void a_close_is_answered_with_its_code(void **state)
{
    (void)state;
    int fd = join();
    put_frame(fd, 0x88,
              "\x03\xe8"
              "done",
              6);
    get_frame(fd);
    assert_int_equal(got.first, 0x88);
    assert_memory_equal(got.text, "\x03\xe8", 2);
    get_frame(fd);
    assert_int_equal(got.first, -1);
    assert_true(wait_for(&released, 1));
    assert_int_equal(closed, 1);
    close(fd);
}

static void the_server_closes_with_code_and_reason(void **state)
{
    (void)state;
    int fd = join();
    put_text(fd, "bye");
    expect_close(fd, 4408);
    close(fd);
    assert_true(wait_for(&released, 1));
}

static void who_does_not_answer_a_close_is_cut(void **state)
{
    (void)state;
    int fd = join();
    put_text(fd, "bye");
    get_frame(fd);
    assert_int_equal(got.first, 0x88);
    get_frame(fd); /* CLOSE_S later */
    assert_int_equal(got.first, -1);
    assert_int_equal(closed, 1);
    close(fd);
}

static void ids_that_are_gone_are_no_error(void **state)
{
    (void)state;
    int fd = join();
    put_text(fd, "x");
    expect_text(fd, "x");
    ws_id old = last_id;
    leave(fd);
    int other = join(); /* takes the same slot */
    put_text(other, "y");
    expect_text(other, "y");
    assert_true(last_id != old);
    ws_send(hub, old, "for nobody", 10);
    ws_close(hub, old, 1000, NULL);
    ws_send(hub, 12345, "for nobody", 10);
    ws_send(hub, 0, "for nobody", 10);
    ws_send(hub, last_id, "for you", 7);
    expect_text(other, "for you");
    leave(other);
}

/* --- time
 * ------------------------------------------------------------------------------------------ */

static void timers_run_in_order_and_only_for_the_living(void **state)
{
    (void)state;
    int fd = join(), gone = join();
    assert_true(wait_for(&opened, 2));
    put_text(gone, "x");
    expect_text(gone, "x");
    ws_id id_gone = last_id; /* the second one */
    put_text(fd, "x");
    expect_text(fd, "x");
    leave(gone);
    ws_after(hub, 0.05, on_time, id_gone);
    ws_after(hub, 30, on_time, id_gone);
    ws_id living = 0;
    for (uint32_t slot = 0; slot < 2; slot++) /* the other slot, first generation */
        if (((ws_id)1 << 32 | slot) != id_gone)
            living = (ws_id)1 << 32 | slot;
    ws_after(hub, 0.1, on_time, living);
    expect_close(fd, 4408);
    assert_int_equal(timed, 1);
    close(fd);
}

static void the_silent_are_pinged_and_then_cut(void **state)
{
    (void)state;
    start(0.2, 10);
    int fd = join(), alive = join();
    int pings = 0;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (get_frame(fd); got.first >= 0 && pings < 10; get_frame(fd)) {
        assert_int_equal(got.first, 0x89);
        pings++;
        put_frame(alive, 0x8a, "", 0); /* the other one answers */
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    double seconds = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    assert_in_range(pings, 1, 3);
    assert_true(seconds > 0.35 && seconds < 2);
    put_text(alive, "still here");
    do
        get_frame(alive);
    while (got.first == 0x89);
    assert_string_equal(got.text, "still here");
    close(fd);
    close(alive);
    hub = ws_hub_free(hub);
    assert_int_equal(closed, 2);
    assert_int_equal(released, 2);
}

/* --- much
 * ------------------------------------------------------------------------------------------- */

static void who_reads_too_slowly_is_closed_with_1013(void **state)
{
    (void)state;
    int slow = join(), quick = join();
    static char block[60000];
    memset(block, 'b', sizeof block);
    put_text(quick, "join");
    put_text(slow, "join");
    put_text(quick, "ready");
    put_text(slow, "ready");
    expect_text(slow, "ready");
    expect_text(quick, "ready");
    for (int i = 0; i < 20; i++) { /* 1.2 MB: more than the socket and the backlog hold */
        ws_broadcast(hub, block, sizeof block);
        get_frame(quick);
        assert_int_equal(got.size, sizeof block);
    }
    do /* what is left of the socket, then the reason */
        get_frame(slow);
    while (got.first == 0x81);
    assert_int_equal(got.first, 0x88);
    assert_memory_equal(got.text, "\x03\xf5", 2);
    put_text(quick, "fine");
    expect_text(quick, "fine");
    close(slow);
    close(quick);
}

/* A burst larger than the backlog, all in one turn, to a peer that reads. */
static void a_burst_reaches_who_reads(void **state)
{
    (void)state;
    int fd = join();
    static char block[1000];
    memset(block, 'b', sizeof block);
    put_text(fd, "x");
    expect_text(fd, "x");
    for (int i = 0; i < 100; i++)
        ws_send(hub, last_id, block, sizeof block);
    for (int i = 0; i < 100; i++) {
        get_frame(fd);
        assert_int_equal(got.size, sizeof block);
    }
    leave(fd);
}

/* Pings whose pongs nobody reads. */
static void a_flood_of_pings_is_bounded(void **state)
{
    (void)state;
    int fd = join(), done = 0;
    unsigned char out[256];
    char load[125];
    memset(load, 'p', sizeof load);
    size_t n = frame(out, 0x89, 1, load, sizeof load);
    struct timeval limit = {.tv_usec = 200000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    for (int i = 0; i < 10000000 && !done; i++) {
        ssize_t sent = send(fd, out, n, MSG_NOSIGNAL);
        done = sent < 0 && errno == EPIPE;
        if (sent >= 0 && sent < (ssize_t)n) /* keep the frames whole */
            done = send(fd, out + sent, n - (size_t)sent, MSG_NOSIGNAL) < 0;
    }
    assert_true(done); /* cut, not stored */
    close(fd);
    assert_true(wait_for(&released, 1));
}

#define MANY 500

static void five_hundred_get_a_broadcast(void **state)
{
    (void)state;
    static int fds[MANY];
    for (int i = 0; i < MANY; i++) {
        fds[i] = join();
        if (i % 2 == 0)
            put_text(fds[i], "join");
        put_text(fds[i], "ready");
    }
    for (int i = 0; i < MANY; i++)
        expect_text(fds[i], "ready");
    assert_int_equal(ws_count(hub), MANY);
    ws_broadcast(hub, "news", 4);
    for (int i = 0; i < MANY; i++) {
        if (i % 2) /* not subscribed: an echo comes, no news before it */
            put_text(fds[i], "echo");
        expect_text(fds[i], i % 2 ? "echo" : "news");
    }
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    assert_true(wait_for(&closed, MANY));
    assert_true(wait_for(&released, MANY));
}

static void there_is_a_most(void **state)
{
    (void)state;
    struct err err;
    start(60, 2);
    int a = join(), b = join();
    assert_int_equal(ws_hub_reserve(hub, &err), ERR_BUSY);
    leave(a);
    int c = join(); /* the place is free again */
    assert_int_equal(ws_hub_reserve(hub, &err), ERR_BUSY);
    hub = ws_hub_free(hub);
    assert_int_equal(released, 3);
    close(b);
    close(c);
}

static atomic_int busy;
static void *talk(void *ctx)
{
    struct ws_hub *h = ctx;
    while (busy) {
        ws_broadcast(h, "x", 1);
        ws_send(h, last_id, "y", 1);
        ws_subscribe(h, last_id, 1);
        ws_after(h, 0.001, on_time, 77);
        (void)ws_count(h);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return NULL;
}

/* Threads send and connections come until the end; who reads hears 1001. */
static void it_ends_while_busy(void **state)
{
    (void)state;
    int fds[20];
    pthread_t threads[3];
    start(60, 100);
    busy = 1;
    for (int i = 0; i < 20; i++) {
        fds[i] = join();
        if (i >= 10)
            put_text(fds[i], "join");
    }
    assert_true(wait_for(&opened, 20)); /* or the talk would fill one of the first ten */
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, talk, hub), 0);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    ws_hub_stop(hub); /* nobody answers: a second at most */
    struct err err;
    assert_int_equal(ws_hub_reserve(hub, &err), ERR_SHUTTING_DOWN);
    busy = 0;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 20; i++) {
        do
            get_frame(fds[i]);
        while (got.first == 0x81);
        if (i < 10) /* the others may have had no room left for it */
            assert_int_equal(got.first, 0x88);
        if (got.first == 0x88)
            assert_memory_equal(got.text, "\x03\xe9", 2);
        close(fds[i]);
    }
    assert_int_equal(opened, 20);
    assert_int_equal(closed, 20);
    assert_int_equal(released, 20);
    assert_int_equal(ws_count(hub), 0);
    hub = ws_hub_free(hub);
}

static void a_handshake_may_outlive_the_hub(void **state)
{
    (void)state;
    int ends[2];
    struct err err;
    start(60, 10);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(ws_hub_reserve(hub, &err), ERR_OK);
    struct ws_hub *late = hub;
    hub = ws_hub_free(hub);
    ws_hub_adopt(late, &(struct ws_socket){ends[0], close_fd, NULL, NULL, 0}, NULL, release);
    get_frame(ends[1]);
    assert_int_equal(got.first, -1);
    assert_int_equal(released, 1);
    assert_int_equal(opened, 0);
    close(ends[1]);
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

#define IDLE 5000

/* Idle ones, after each has said something. Under a sanitizer the figure is its own, so nothing is
 * asked of it. */
static void an_idle_one_costs_little(void **state)
{
    (void)state;
    struct rlimit limit;
    static int fds[IDLE];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * IDLE + 100)
        skip();
    start(60, IDLE);
    fds[0] = join();
    put_text(fds[0], "warm");
    expect_text(fds[0], "warm");
    long before = resident_kib();
    for (int i = 1; i < IDLE; i++)
        fds[i] = join();
    for (int i = 1; i < IDLE; i++)
        put_text(fds[i], "hello");
    for (int i = 1; i < IDLE; i++)
        expect_text(fds[i], "hello");
    double each = (double)(resident_kib() - before) / (IDLE - 1);
    print_message("%.2f KiB for each idle connection\n", each);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(each < 4);
#endif
    for (int i = 0; i < IDLE; i++)
        close(fds[i]);
    assert_true(wait_for(&closed, IDLE));
    hub = ws_hub_free(hub);
    assert_int_equal(released, IDLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_sent_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(fragments_make_one_message_with_a_ping_between, begin, end),
        cmocka_unit_test_setup_teardown(it_does_not_matter_how_bytes_arrive, begin, end),
        cmocka_unit_test_setup_teardown(bytes_from_before_the_handover_count, begin, end),
        cmocka_unit_test_setup_teardown(broken_rules_have_their_codes, begin, end),
        cmocka_unit_test_setup_teardown(fragments_are_counted_together, begin, end),
        cmocka_unit_test_setup_teardown(a_close_is_answered_with_its_code, begin, end),
        cmocka_unit_test_setup_teardown(the_server_closes_with_code_and_reason, begin, end),
        cmocka_unit_test_setup_teardown(who_does_not_answer_a_close_is_cut, begin, end),
        cmocka_unit_test_setup_teardown(ids_that_are_gone_are_no_error, begin, end),
        cmocka_unit_test_setup_teardown(timers_run_in_order_and_only_for_the_living, begin, end),
        cmocka_unit_test(the_silent_are_pinged_and_then_cut),
        cmocka_unit_test_setup_teardown(who_reads_too_slowly_is_closed_with_1013, begin, end),
        cmocka_unit_test_setup_teardown(a_burst_reaches_who_reads, begin, end),
        cmocka_unit_test_setup_teardown(a_flood_of_pings_is_bounded, begin, end),
        cmocka_unit_test_setup_teardown(five_hundred_get_a_broadcast, begin, end),
        cmocka_unit_test(there_is_a_most),
        cmocka_unit_test(it_ends_while_busy),
        cmocka_unit_test(a_handshake_may_outlive_the_hub),
        cmocka_unit_test(an_idle_one_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* http: WebSockets through the real server: handshakes, the way of the socket, the end. */
#include "../../support/cm.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/http.h"
#include "http/websocket.h"
#include "raw.h"
#include "site.h"

#define SOCKETS_MAX 40
#define KEY         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define HEAD        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define VERSION     "Sec-WebSocket-Version: 13\r\n"

static struct ws_hub *hub;
static struct site site;
static atomic_int opened, closed, released;

static void on_open(void *ctx, ws_id id, void *context)
{
    (void)ctx;
    (void)context;
    opened++;
    ws_send(hub, id, "welcome", 7);
}

static void on_message(void *ctx, ws_id id, void *context, const char *text, size_t size)
{
    (void)ctx;
    (void)context;
    ws_send(hub, id, text, size);
}

static void on_close(void *ctx, ws_id id, void *context)
{
    (void)ctx;
    (void)id;
    (void)context;
    closed++;
}

static void release(void *context)
{
    free(context);
    released++;
}

static enum err_code handle(struct http_request *request, void *app, struct err *err)
{
    char *context = xstrdup("of this connection");
    enum err_code rc = http_reply_websocket(request, hub, context, release, err);
    (void)app;
    if (rc != ERR_OK)
        free(context);
    return rc;
}

static const struct http_route routes[] = {
    {.method = "GET", .path = "/loop", .id = "loop", .handle = handle, .status = 101},
    {.method = "GET",
     .path = "/worker",
     .id = "worker",
     .handle = handle,
     .where = HTTP_ON_WORKER,
     .status = 101},
};

static int begin(void **state)
{
    static const struct ws_callbacks callbacks = {on_open, on_message, on_close};
    struct err err;
    (void)state;
    opened = closed = released = 0;
    if (ws_hub_new(&callbacks, NULL, 60, SOCKETS_MAX, &hub, &err) != ERR_OK)
        return -1;
    site_start(&site, &(struct http_config){.routes = routes, .n_routes = ARRAY_LEN(routes)});
    return 0;
}

static int end(void **state)
{
    (void)state;
    ws_hub_stop(hub);
    site_stop(&site, 5);
    hub = ws_hub_free(hub);
    return 0;
}

static int wait_for(atomic_int *value, int want)
{
    for (int i = 0; i < 5000 && *value != want; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return *value == want;
}

/* Reads n bytes; those that came with the answer first. 0 at the end. */
static struct reply reply;
static int get(int fd, void *to, size_t n)
{
    size_t got = n < reply.rest_size ? n : reply.rest_size;
    memcpy(to, reply.rest, got);
    memmove(reply.rest, reply.rest + got, reply.rest_size - got);
    reply.rest_size -= got;
    while (got < n) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t k = poll(&p, 1, 5000) > 0 ? recv(fd, (char *)to + got, n - got, 0) : -1;
        if (k <= 0)
            return 0;
        got += (size_t)k;
    }
    return 1;
}

static void expect(int fd, int first, const char *data, size_t size)
{
    unsigned char head[2];
    char text[126];
    assert_true(get(fd, head, 2));
    assert_int_equal(head[0], first);
    assert_int_equal(head[1], size);
    assert_true(get(fd, text, size));
    assert_memory_equal(text, data, size);
}

static int connect_new(void)
{
    reply.rest_size = 0;
    return raw_connect(site.port);
}

static void ask(int fd, const char *path, const char *headers)
{
    raw_format(fd, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", path, site.port, headers);
}

static int open_at(const char *path)
{
    int fd = connect_new();
    ask(fd, path, HEAD VERSION KEY);
    raw_read(fd, &reply, 1);
    assert_int_equal(reply.status, 101);
    return fd;
}

/* A masked "hi" with the mask 0. */
static const char hi[] = "\x81\x82\0\0\0\0hi";

static void the_answer_is_that_of_the_standard(void **state)
{
    (void)state;
    static const char *const paths[] = {"/loop", "/worker"};
    for (int i = 0; i < 2; i++) {
        int fd = open_at(paths[i]);
        /* RFC 6455, section 1.3 */
        assert_string_equal(raw_header(&reply, "Sec-WebSocket-Accept"),
                            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_string_equal(raw_header(&reply, "Upgrade"), "websocket");
        assert_null(raw_header(&reply, "Sec-WebSocket-Extensions"));
        assert_null(raw_header(&reply, "Content-Length"));
        expect(fd, 0x81, "welcome", 7);
        raw_send(fd, hi, 8);
        expect(fd, 0x81, "hi", 2);
        close(fd);
        raw_free(&reply);
        assert_true(wait_for(&released, i + 1));
    }
    assert_int_equal(closed, 2);
}

/* The first frame right behind the request, in one packet: libmicrohttpd has read it already. */
static void a_hasty_client_loses_nothing(void **state)
{
    (void)state;
    char text[1024];
    int fd = connect_new();
    int n = snprintf(text, sizeof text, "GET /worker HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n",
                     site.port, HEAD VERSION KEY);
    memcpy(text + n, hi, 8);
    raw_send(fd, text, (size_t)n + 8);
    raw_read(fd, &reply, 1);
    assert_int_equal(reply.status, 101);
    expect(fd, 0x81, "welcome", 7);
    expect(fd, 0x81, "hi", 2);
    close(fd);
    raw_free(&reply);
}

static void the_close_goes_both_ways(void **state)
{
    (void)state;
    int fd = open_at("/loop");
    expect(fd, 0x81, "welcome", 7);
    raw_send(fd, "\x88\x82\0\0\0\0\x03\xe8", 8);
    expect(fd, 0x88, "\x03\xe8", 2);
    assert_true(raw_closed(fd, 5));
    close(fd);
    raw_free(&reply);
    assert_true(wait_for(&released, 1));
}

static void refused(const char *headers, int status, const char *code)
{
    char want[64];
    int fd = connect_new();
    ask(fd, "/loop", headers);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, status);
    snprintf(want, sizeof want, "\"%s\"", code);
    assert_non_null(strstr(reply.body, want));
    close(fd);
}

static void what_is_no_handshake_is_refused(void **state)
{
    (void)state;
    refused("", 426, "upgrade_required");
    assert_string_equal(raw_header(&reply, "Upgrade"), "websocket");
    raw_free(&reply);
    refused("Connection: Upgrade\r\nUpgrade: h2c\r\n" VERSION KEY, 426, "upgrade_required");
    raw_free(&reply);
    refused("Upgrade: websocket\r\n" VERSION KEY, 426, "upgrade_required");
    raw_free(&reply);
    refused(HEAD "Sec-WebSocket-Version: 8\r\n" KEY, 426, "upgrade_required");
    assert_string_equal(raw_header(&reply, "Sec-WebSocket-Version"), "13");
    raw_free(&reply);
    refused(HEAD VERSION, 400, "bad_request");
    raw_free(&reply);
    refused(HEAD VERSION "Sec-WebSocket-Key: c2hvcnQ=\r\n", 400, "bad_request");
    raw_free(&reply);
    refused(HEAD VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==x\r\n", 400, "bad_request");
    raw_free(&reply);
    refused(HEAD VERSION KEY "Origin: http://evil.example\r\n", 403, "cross_site");
    raw_free(&reply);
    refused(HEAD VERSION KEY "Origin: null\r\n", 403, "cross_site");
    raw_free(&reply);
    assert_int_equal(opened, 0);
    assert_int_equal(ws_count(hub), 0);
}

/* libmicrohttpd cannot upgrade HTTP/1.0; it must not hang, nor leave a place taken. */
static void http_1_0_gets_no_socket(void **state)
{
    (void)state;
    int fd = connect_new();
    raw_format(fd, "GET /loop HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n%s\r\n", site.port,
               HEAD VERSION KEY);
    raw_read(fd, &reply, 1);
    assert_int_not_equal(reply.status, 101);
    close(fd);
    raw_free(&reply);
    assert_true(wait_for(&released, 1) || released == 0);
    assert_int_equal(opened, 0);
}

static void a_page_of_the_same_host_may(void **state)
{
    (void)state;
    int fd = connect_new();
    raw_format(
        fd,
        "GET /loop HTTP/1.1\r\nHost: localhost:%d\r\nOrigin: http://localhost:%d\r\n" HEAD VERSION
            KEY "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        site.port, site.port);
    raw_read(fd, &reply, 1);
    assert_int_equal(reply.status, 101);
    assert_null(raw_header(&reply, "Sec-WebSocket-Extensions"));
    close(fd);
    raw_free(&reply);
}

static void there_is_a_most_and_places_come_back(void **state)
{
    (void)state;
    int fds[SOCKETS_MAX];
    for (int round = 1; round <= 2; round++) {
        for (int i = 0; i < SOCKETS_MAX; i++) {
            fds[i] = open_at(i % 2 ? "/loop" : "/worker");
            raw_free(&reply);
        }
        refused(HEAD VERSION KEY, 503, "busy");
        assert_non_null(raw_header(&reply, "Retry-After"));
        raw_free(&reply);
        for (int i = 0; i < SOCKETS_MAX; i++)
            close(fds[i]);
        assert_true(wait_for(&released, round * SOCKETS_MAX));
    }
}

/* Clients that leave right after asking, so that the answer meets a socket that is gone. */
static void who_leaves_during_the_handshake_leaves_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        int fd = connect_new();
        ask(fd, i % 2 ? "/loop" : "/worker", HEAD VERSION KEY);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        close(fd);        /* a reset */
        if (i % 20 == 19) /* fewer at a time than there are places */
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    for (int i = 0; i < 1000 && ws_count(hub) > 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    int fds[SOCKETS_MAX]; /* every place is free again */
    for (int i = 0; i < SOCKETS_MAX; i++) {
        fds[i] = open_at("/loop");
        raw_free(&reply);
    }
    for (int i = 0; i < SOCKETS_MAX; i++)
        close(fds[i]);
}

static void the_end_says_1001(void **state)
{
    (void)state;
    int late = connect_new(), fd = open_at("/loop");
    expect(fd, 0x81, "welcome", 7);
    ws_hub_stop(hub);
    expect(fd, 0x88,
           "\x03\xe9"
           "the server goes away",
           22);
    raw_free(&reply);
    ask(late, "/loop", HEAD VERSION KEY);
    raw_read(late, &reply, 0);
    assert_int_equal(reply.status, 503);
    close(late);
    close(fd);
    raw_free(&reply);
    assert_int_equal(released, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_answer_is_that_of_the_standard, begin, end),
        cmocka_unit_test_setup_teardown(a_hasty_client_loses_nothing, begin, end),
        cmocka_unit_test_setup_teardown(the_close_goes_both_ways, begin, end),
        cmocka_unit_test_setup_teardown(what_is_no_handshake_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(http_1_0_gets_no_socket, begin, end),
        cmocka_unit_test_setup_teardown(a_page_of_the_same_host_may, begin, end),
        cmocka_unit_test_setup_teardown(there_is_a_most_and_places_come_back, begin, end),
        cmocka_unit_test_setup_teardown(who_leaves_during_the_handshake_leaves_nothing, begin, end),
        cmocka_unit_test_setup_teardown(the_end_says_1001, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

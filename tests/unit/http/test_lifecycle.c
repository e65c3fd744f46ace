/* http: waiting requests do not hold up others, deferral, slow clients, and how a server ends. */
#include "../../support/cm.h"

#include <errno.h>
#include <netinet/in.h>
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
#include "os/clock.h"
#include "raw.h"
#include "site.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static struct site site;
static struct reply reply;

static void rest(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)}, NULL);
}

static int finish(void **state)
{
    (void)state;
    raw_free(&reply);
    return 0;
}

static int ask_open(const char *text)
{
    int fd = raw_connect(site.port);
    reply.rest_size = 0;
    raw_text(fd, text);
    return fd;
}

/* Waits until `probe` gives `want`. */
static void until(int (*probe)(void), int want)
{
    for (int i = 0; i < 1000 && probe() != want; i++)
        rest(0.005);
    assert_int_equal(probe(), want);
}

static void waiting_requests_block_nobody(void **state)
{
    (void)state;
    int fds[8];
    site_start(&site, NULL);
    for (int i = 0; i < 8; i++)
        fds[i] = ask_open(GET("/held"));
    until(site_held, 8);
    double start = clock_seconds();
    for (int i = 0; i < 50; i++) {
        raw_ask(site.port, GET("/loop"), &reply);
        assert_int_equal(reply.status, 200);
    }
    assert_true(clock_seconds() - start < 5);
    for (int i = 0; i < 8; i++)
        site_release();
    for (int i = 0; i < 8; i++) {
        reply.rest_size = 0;
        raw_read(fds[i], &reply, 0);
        assert_string_equal(reply.body, "released");
        close(fds[i]);
    }
    site_stop(&site, 1);
}

static void full_pool_is_busy(void **state)
{
    (void)state;
    enum { WAITING = 8 + 256 };
    static int fds[WAITING];
    site_start(&site, NULL);
    for (int i = 0; i < WAITING; i++)
        fds[i] = ask_open(GET("/held"));
    until(site_held, 8);
    int status = 0;
    for (int i = 0; i < 200 && status != 503; i++) { /* until the queue has them all */
        rest(0.01);
        int fd = ask_open(GET("/items/x"));
        struct pool_stats stats = pool_stats(site.workers);
        if (stats.waiting >= stats.queue_max) {
            raw_read(fd, &reply, 0);
            status = reply.status;
        }
        close(fd);
    }
    assert_int_equal(status, 503);
    assert_non_null(strstr(reply.body, "\"busy\""));
    for (int i = 0; i < WAITING; i++)
        site_release();
    for (int i = 0; i < WAITING; i++)
        close(fds[i]);
    site_stop(&site, 5);
}

static void defers(void **state)
{
    (void)state;
    int fds[6];
    site_start(&site, NULL);
    for (int i = 0; i < 6; i++)
        fds[i] = ask_open(i % 2 ? GET("/later") : GET("/later-loop"));
    until(site_later, 6);
    raw_ask(site.port, GET("/items/x"), &reply);
    assert_int_equal(reply.status, 200);
    site_resume(); /* every second one is told something */
    int told = 0;
    for (int i = 0; i < 6; i++) {
        reply.rest_size = 0;
        raw_read(fds[i], &reply, 0);
        if (strcmp(reply.body, "told") == 0)
            told++;
        else
            assert_string_equal(reply.body, "later");
        close(fds[i]);
    }
    assert_int_equal(told, 3);
    for (int i = 0; i < 50; i++) { /* resumed before the handler returns */
        raw_ask(site.port, i % 2 ? GET("/later?now=1") : GET("/later-loop?now=1"), &reply);
        assert_string_equal(reply.body, "later");
        raw_ask(site.port, i % 2 ? GET("/later?now=here") : GET("/later-loop?now=here"), &reply);
        assert_string_equal(reply.body, "told");
    }
    /* The client has gone when it is resumed. */
    for (int i = 0; i < 2; i++) {
        int fd = ask_open(GET("/later"));
        until(site_later, 1);
        close(fd);
        rest(0.05);
        site_resume();
        until(site_contexts, 0);
    }
    site_stop(&site, 1);
}

static void ends_what_is_deferred(void **state)
{
    (void)state;
    site_start(&site, NULL);
    int fds[2] = {ask_open(GET("/later")), ask_open(GET("/later"))};
    until(site_later, 2);
    site_stop(&site, 0.1);
    for (int i = 0; i < 2; i++) {
        reply.rest_size = 0;
        raw_read(fds[i], &reply, 0);
        assert_true(reply.status == 0 || reply.status == 503);
        close(fds[i]);
    }
    assert_int_equal(site_contexts(), 0);
    site_resume(); /* the handles outlived the server */
    assert_int_equal(site_contexts(), 0);
}

static void *stop(void *arg)
{
    site_stop(&site, 5);
    return arg;
}

static void stops_gracefully(void **state)
{
    (void)state;
    pthread_t thread;
    site_start(&site, NULL);
    int kept = ask_open(GET("/loop")), posting = ask_open(GET("/loop"));
    raw_read(kept, &reply, 0);
    raw_read(posting, &reply, 0);
    int fd = ask_open(GET("/held"));
    until(site_held, 1);
    pthread_create(&thread, NULL, stop, NULL);
    int gone = 0; /* nobody is let in any more */
    for (int i = 0; i < 500 && !gone; i++) {
        int other = raw_connect(site.port);
        gone = other < 0;
        if (other >= 0)
            close(other);
        rest(0.005);
    }
    assert_true(gone);
    reply.rest_size = 0;
    raw_text(kept, GET("/loop")); /* who only reads is answered, once */
    raw_read(kept, &reply, 0);
    assert_int_equal(reply.status, 200);
    assert_string_equal(raw_header(&reply, "Connection"), "close");
    reply.rest_size = 0;
    raw_text(posting, "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd");
    raw_read(posting, &reply, 0);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "shutting_down"));
    assert_string_equal(raw_header(&reply, "Connection"), "close");
    site_release();
    reply.rest_size = 0;
    raw_read(fd, &reply, 0);
    assert_string_equal(reply.body, "released");
    pthread_join(thread, NULL);
    close(fd);
    close(kept);
    close(posting);
}

static _Atomic int running;

static void *load(void *arg)
{
    struct reply *r = calloc(1, sizeof *r);
    while (atomic_load(&running)) {
        int fd = raw_connect(site.port);
        if (fd < 0)
            break;
        r->rest_size = 0;
        raw_text(fd, GET("/items/x") GET("/loop"));
        raw_text(fd, "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
        static const char bytes[100000];
        raw_send(fd, bytes, (uintptr_t)arg % 2 ? sizeof bytes : 5000);
        raw_read(fd, r, 0);
        if (r->status != 200 && r->status != 503 && r->status != 0)
            atomic_store(&running, -1);
        close(fd);
    }
    raw_free(r);
    free(r);
    return NULL;
}

static void stops_under_load(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        pthread_t threads[8];
        site_start(&site, NULL);
        atomic_store(&running, 1);
        for (uintptr_t i = 0; i < 8; i++)
            pthread_create(&threads[i], NULL, load, (void *)i);
        rest(0.2);
        double start = clock_seconds();
        site_stop(&site, round % 2 ? 0 : 0.3);
        assert_true(clock_seconds() - start < 8);
        assert_int_equal(atomic_load(&running), 1);
        atomic_store(&running, 0);
        for (int i = 0; i < 8; i++)
            pthread_join(threads[i], NULL);
    }
}

static void ends_slow_heads(void **state)
{
    (void)state;
    site_start(&site, &(struct http_config){.header_s = 0.5});
    int line = ask_open("GET /lo"), head = ask_open("GET /loop HTTP/1.1\r\nHost: localhost\r\n");
    int kept = ask_open(GET("/loop")), idle = ask_open(GET("/loop"));
    raw_read(idle, &reply, 0);
    reply.rest_size = 0;
    raw_read(kept, &reply, 0);
    rest(0.3); /* the kept one begins another head later */
    int open = 1;
    double start = clock_seconds();
    for (int i = 0; open && clock_seconds() - start < 20; i++) {
        raw_text(line, "o");
        raw_text(head, "x-y: z\r\n");
        raw_text(kept, i ? "x" : "GET /");
        open = !raw_closed(line, 0.05) || !raw_closed(head, 0.02) || !raw_closed(kept, 0.02);
    }
    assert_false(open);
    reply.rest_size = 0;
    raw_text(idle, GET("/loop")); /* silence is no offence */
    raw_read(idle, &reply, 0);
    assert_int_equal(reply.status, 200);
    close(line);
    close(head);
    close(kept);
    close(idle);
    site_stop(&site, 1);
}

/* A byte that comes at the very moment when a connection is cut does not save it. */
static void ends_slow_heads_that_go_on(void **state)
{
    (void)state;
    enum { MANY = 16, BYTES = 12000 /* the head would be too large a little later */ };
    int fds[MANY], open = MANY;
    site_start(&site, &(struct http_config){.header_s = 0.5});
    for (int i = 0; i < MANY; i++)
        fds[i] = ask_open("GET /loop HTTP/1.1\r\nHost: localhost\r\nx: ");
    for (int n = 0; open > 0 && n < BYTES; n++) {
        for (int i = 0; i < MANY; i++) {
            if (fds[i] < 0)
                continue;
            (void)!send(fds[i], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
            ssize_t got = recv(fds[i], reply.head, sizeof reply.head, MSG_DONTWAIT);
            if (got == 0 || (got < 0 && errno != EAGAIN)) {
                close(fds[i]);
                fds[i] = -1;
                open--;
            }
        }
        rest(0.0001);
    }
    assert_int_equal(open, 0);
    site_stop(&site, 1);
}

static void ends_slow_bodies(void **state)
{
    (void)state;
    site_start(&site, &(struct http_config){.idle_s = 1, .min_body_rate = 1000});
    int slow = ask_open("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n");
    int quick =
        ask_open("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n");
    char part[300] = {0};
    double start = clock_seconds();
    for (int i = 0; i < 30; i++) {
        raw_text(slow, "x");
        raw_send(quick, part, sizeof part);
        rest(0.1);
    }
    assert_true(clock_seconds() - start < 20);
    raw_read(slow, &reply, 0);
    assert_int_equal(reply.status, 408);
    assert_non_null(strstr(reply.body, "slow_client"));
    reply.rest_size = 0;
    raw_read(quick, &reply, 0);
    assert_int_equal(reply.status, 202);
    close(slow);
    close(quick);
    site_stop(&site, 1);
}

static int asks(int fd)
{
    reply.rest_size = 0;
    raw_text(fd, GET("/loop"));
    raw_read(fd, &reply, 0);
    return reply.status;
}

static void limits_connections(void **state)
{
    (void)state;
    site_start(&site, &(struct http_config){.max_per_ip = 3});
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = raw_connect(site.port);
        assert_int_equal(asks(fds[i]), i < 3 ? 200 : 0);
    }
    for (int round = 0; round < 3; round++) { /* who goes makes room */
        close(fds[round]);
        fds[round] = -1;
        for (int i = 0; i < 200 && fds[round] < 0; i++) {
            rest(0.01);
            int fd = raw_connect(site.port);
            if (asks(fd) == 200)
                fds[round] = fd;
            else
                close(fd);
        }
        assert_true(fds[round] >= 0);
    }
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    site_stop(&site, 1);
}

static enum err_code who(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    (void)err;
    char text[24];
    snprintf(text, sizeof text, "%d", gettid());
    http_reply_text(r, 200, "text/plain", text);
    return ERR_OK;
}

/* Whatever the numbers of their descriptors are: here every second one is the client's. */
static void deals_connections_out_evenly(void **state)
{
    (void)state;
    enum { LOOPS = 4, EACH = 3 };
    static const struct http_route routes[] = {{.method = "GET", .path = "/loop", .handle = who}};
    int fds[LOOPS * EACH], had[LOOPS] = {0};
    char names[LOOPS][24] = {{0}};
    site_start(&site, &(struct http_config){.loops = LOOPS, .routes = routes, .n_routes = 1});
    for (int i = 0; i < LOOPS * EACH; i++) {
        fds[i] = raw_connect(site.port);
        assert_int_equal(asks(fds[i]), 200);
        int at = 0;
        while (at < LOOPS && names[at][0] && strcmp(names[at], reply.body) != 0)
            at++;
        assert_true(at < LOOPS);
        snprintf(names[at], sizeof names[at], "%s", reply.body);
        had[at]++;
    }
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(had[i], EACH);
    for (int i = 0; i < LOOPS * EACH; i++)
        close(fds[i]);
    site_stop(&site, 1);
}

static void further_connections_wait(void **state)
{
    (void)state;
    site_start(&site, &(struct http_config){.max_connections = 3});
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = raw_connect(site.port);
        assert_int_equal(asks(fds[i]), 200);
    }
    int waits = ask_open(GET("/loop"));
    rest(0.3);
    assert_int_equal(recv(waits, reply.head, 1, MSG_DONTWAIT), -1); /* open, and no answer */
    assert_int_equal(errno, EAGAIN);
    close(fds[1]);
    raw_read(waits, &reply, 0);
    assert_int_equal(reply.status, 200);
    assert_int_equal(asks(fds[2]), 200); /* the others were not disturbed */
    close(fds[0]);
    close(fds[2]);
    close(waits);
    site_stop(&site, 1);
}

static void waits_for_descriptors(void **state)
{
    (void)state;
    struct rlimit all, none;
    site_start(&site, NULL);
    int fd = raw_connect(site.port);
    assert_int_equal(asks(fd), 200);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = all.rlim_max};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)site.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int failed = connect(late, (struct sockaddr *)&to, sizeof to);
    raw_text(late, GET("/loop"));
    rest(0.3);
    int kept = asks(fd);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
    assert_int_equal(failed, 0);
    assert_int_equal(kept, 200); /* who is in goes on */
    reply.rest_size = 0;
    raw_read(late, &reply, 0);
    assert_int_equal(reply.status, 200);
    close(late);
    close(fd);
    site_stop(&site, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_requests_block_nobody),
        cmocka_unit_test(full_pool_is_busy),
        cmocka_unit_test(defers),
        cmocka_unit_test(ends_what_is_deferred),
        cmocka_unit_test(stops_gracefully),
        cmocka_unit_test(stops_under_load),
        cmocka_unit_test(ends_slow_heads),
        cmocka_unit_test(ends_slow_heads_that_go_on),
        cmocka_unit_test(ends_slow_bodies),
        cmocka_unit_test(limits_connections),
        cmocka_unit_test(deals_connections_out_evenly),
        cmocka_unit_test(further_connections_wait),
        cmocka_unit_test(waits_for_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}

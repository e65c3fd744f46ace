/* http/server: routes, methods, headers, keep-alive, what is refused, files and ranges, the page.
 * Over real sockets, byte by byte. */
#include "../../support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "raw.h"
#include "site.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

#define POST_RAW(rest) "POST /upload HTTP/1.1\r\nHost: localhost\r\n" rest

static struct site site;
static struct reply reply;

static int up(void **state)
{
    (void)state;
    site_start(&site, NULL);
    return 0;
}

static int down(void **state)
{
    (void)state;
    site_stop(&site, 1);
    raw_free(&reply);
    return 0;
}

static void ask(const char *text)
{
    raw_ask(site.port, text, &reply);
}

/* The reply is a problem of this code, whole and with the right status. */
static void assert_problem(int status, const char *code)
{
    char want[64];
    assert_int_equal(reply.status, status);
    assert_string_equal(raw_header(&reply, "Content-Type"), "application/problem+json");
    snprintf(want, sizeof want, "\"code\":\"%s\"", code);
    if (!strstr(reply.body, want))
        fail_msg("%s is not in %s", want, reply.body);
    assert_non_null(strstr(reply.body, "\"request_id\":\""));
    assert_non_null(strstr(reply.body, "\"trace_id\":\""));
    assert_non_null(strstr(reply.body, "\"hint\":\""));
}

static void finds_routes(void **state)
{
    (void)state;
    ask(GET("/healthz"));
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "ok\n");
    ask(GET("/items/a%2Fb%20c?x&q=1+2%26&q=no"));
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.body, "\"id\":\"a/b c\""));
    assert_non_null(strstr(reply.body, "\"q\":\"1 2&\""));
    assert_non_null(strstr(reply.body, "\"peer\":\"127.0.0.1\""));
    ask(GET("/items/special"));
    assert_string_equal(reply.body, "ok\n");
    ask(GET("/items/special/part")); /* back from the literal to the parameter */
    assert_non_null(strstr(reply.body, "\"id\":\"special\""));
    ask(GET("/items/"));
    assert_problem(404, "no_route");
    ask(GET("/items/a/b/c"));
    assert_problem(404, "no_route");
    ask(GET("/healthz/"));
    assert_problem(404, "no_route");
    ask(GET("/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s"));
    assert_int_equal(reply.status, 200); /* the page's own path */
    ask(GET("/x/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s"));
    assert_problem(404, "no_route");
    ask(GET("/items/missing"));
    assert_problem(404, "no_such");
    ask(GET("/items/silent"));
    assert_problem(500, "internal");
}

static void knows_methods(void **state)
{
    (void)state;
    ask("PATCH /items/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_problem(405, "method_not_allowed");
    assert_string_equal(raw_header(&reply, "Allow"), "GET, HEAD, DELETE, OPTIONS");
    ask("BREW /items/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_problem(405, "method_not_allowed");
    ask("OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(reply.status, 204);
    assert_string_equal(raw_header(&reply, "Allow"), "POST, OPTIONS");
    ask("HEAD /items/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(reply.status, 200);
    assert_true(strtol(raw_header(&reply, "Content-Length"), NULL, 10) > 20);
    assert_int_equal(reply.rest_size, 0);
}

static void keeps_connections(void **state)
{
    (void)state;
    int fd = raw_connect(site.port);
    reply.rest_size = 0;
    /* Three at once: a loop handler, a worker, a refusal; then more on the same connection. */
    raw_text(fd, GET("/healthz") GET("/items/two") GET("/none"));
    raw_read(fd, &reply, 0);
    assert_string_equal(reply.body, "ok\n");
    raw_read(fd, &reply, 0);
    assert_non_null(strstr(reply.body, "two"));
    raw_read(fd, &reply, 0);
    assert_problem(404, "no_route");
    raw_text(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                 "Content-Length: 5\r\n\r\nhello" GET("/healthz"));
    raw_read(fd, &reply, 0);
    assert_problem(400, "bad_request");
    raw_read(fd, &reply, 0);
    assert_string_equal(reply.body, "ok\n");
    raw_text(fd, "HEAD /items/x HTTP/1.1\r\nHost: localhost\r\n\r\n" GET("/items/three"));
    raw_read(fd, &reply, 1);
    raw_read(fd, &reply, 0);
    assert_non_null(strstr(reply.body, "three"));
    close(fd);
}

static void sends_security_headers(void **state)
{
    (void)state;
    ask(GET("/items/x"));
    assert_string_equal(raw_header(&reply, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(raw_header(&reply, "Referrer-Policy"), "no-referrer");
    assert_string_equal(raw_header(&reply, "Cross-Origin-Resource-Policy"), "same-origin");
    assert_string_equal(raw_header(&reply, "Cache-Control"), "no-store");
    assert_string_equal(raw_header(&reply, "Content-Security-Policy"),
                        "default-src 'none'; frame-ancestors 'none'; sandbox");
    assert_int_equal(strlen(raw_header(&reply, "X-Request-Id")), 36);
    ask("GET /items/x HTTP/1.1\r\nHost: localhost\r\n"
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n");
    assert_int_equal(
        strncmp(raw_header(&reply, "traceresponse"), "00-0af7651916cd43dd8448eb211c80319c-", 36),
        0);
    assert_null(strstr(raw_header(&reply, "traceresponse"), "b7ad6b7169203331"));
    assert_non_null(strstr(reply.body, "0af7651916cd43dd8448eb211c80319c"));
}

static void serves_the_page(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "/history", "/about", "/a/019a", "/index.html"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char text[200];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", paths[i]);
        ask(text);
        assert_string_equal(reply.body, "<p>page");
        assert_string_equal(raw_header(&reply, "Cache-Control"), "no-cache");
        assert_string_equal(raw_header(&reply, "X-Frame-Options"), "DENY");
        assert_int_equal(strncmp(raw_header(&reply, "Content-Security-Policy"),
                                 "default-src 'self'; style-src 'self' 'sha256-", 45),
                         0);
    }
    ask("GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, br\r\n\r\n");
    assert_string_equal(raw_header(&reply, "Content-Encoding"), "br");
    assert_string_equal(reply.body, "b");
    ask("GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: br;q=0.5, gzip\r\n\r\n");
    assert_string_equal(raw_header(&reply, "Content-Encoding"), "gzip");
    assert_string_equal(raw_header(&reply, "Vary"), "Accept-Encoding");
    ask("GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip;q=0, br;q=0\r\n\r\n");
    assert_null(raw_header(&reply, "Content-Encoding"));
    ask("GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"x\", W/\"index-1\"\r\n\r\n");
    assert_int_equal(reply.status, 304);
    ask(GET("/assets/app-abc123.js"));
    assert_non_null(strstr(raw_header(&reply, "Cache-Control"), "immutable"));
    ask(GET("/assets/../../etc/passwd"));
    assert_problem(404, "no_route");
    ask("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(reply.status, 404);
    /* Who follows a wrong link in a browser reads it from the page; a program gets a problem. */
    ask("GET /nowhere HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Mode: navigate\r\n"
        "If-None-Match: \"index-1\"\r\n\r\n");
    assert_int_equal(reply.status, 404);
    assert_string_equal(reply.body, "<p>page");
    assert_null(raw_header(&reply, "ETag"));
    ask("GET /api/v1/nowhere HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Mode: navigate\r\n\r\n");
    assert_problem(404, "no_route");
}

static void refuses_other_sites(void **state)
{
    (void)state;
    static const struct {
        const char *headers, *path;
        int status;
    } cases[] = {
        {"Host: localhost", "/loop", 200},
        {"Host: LOCALHOST:8080", "/loop", 200},
        {"Host: 127.0.0.1:1", "/loop", 200},
        {"Host: [::1]:80", "/loop", 200},
        {"Host: sonde.localhost", "/loop", 200},
        {"Host: rebound.example", "/loop", 403},
        {"Host: rebound.example", "/", 403},
        {"Host: 127.0.0.1.rebound.example", "/loop", 403},
        {"Host: 10.0.0.1", "/loop", 403},
        {"Host: localhost:80x", "/loop", 403},
        {"Host: ", "/loop", 403},
        {"Host: rebound.example", "/healthz", 200},
        {"Host: localhost:8080\r\nOrigin: http://localhost:8080", "/loop", 200},
        {"Host: localhost:8080\r\nOrigin: http://localhost:8081", "/loop", 403},
        {"Host: localhost:8080\r\nOrigin: https://evil.example", "/loop", 403},
        {"Host: localhost:8080\r\nOrigin: null", "/loop", 403},
        {"Host: localhost:8080\r\nOrigin: https://evil.example", "/healthz", 200},
        {"Host: localhost:8080\r\nOrigin: https://evil.example", "/none", 403},
        {"Host: localhost\r\nSec-Fetch-Site: same-origin", "/loop", 200},
        {"Host: localhost\r\nSec-Fetch-Site: none", "/loop", 200},
        {"Host: localhost\r\nSec-Fetch-Site: cross-site", "/loop", 403},
        {"Host: localhost\r\nSec-Fetch-Site: same-site", "/loop", 403},
        {"Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate", "/", 200},
        {"Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors", "/", 403},
        {"Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate", "/loop", 403},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[400];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n%s\r\n\r\n", cases[i].path,
                 cases[i].headers);
        ask(text);
        if (reply.status != cases[i].status)
            fail_msg("%s with %s: %d", cases[i].path, cases[i].headers, reply.status);
    }
    assert_problem(403, "cross_site");
}

static void refuses_malformed_requests(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "GET /items/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /items/%4 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /items/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /items/%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /items/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /items/x?q=%c3%28 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /items/x?q=a%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\r\nBad Name: x\r\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\r\nName : x\r\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\r\nA: b\r\n : x\r\nC: d\r\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\r\nX-: y\r\n Z\r\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\r\nX-y: a\rb\r\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\n\r\n",
        "GET /items/x HTTP/1.1\r\nHost: localhost\r\n\n",
        "GET /items/x HTTP/1.1\nHost: localhost\r\n\r\n",
        POST_RAW("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
        POST_RAW("Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
        POST_RAW("Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        POST_RAW("Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        POST_RAW("Transfer-Encoding: identity\r\n\r\n"),
        POST_RAW("Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        POST_RAW("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "2\r\n{}\r\n0\r\n\r\n"),
        POST_RAW("Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        "POST /upload HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST_RAW("Content-Length: +2\r\n\r\n{}"),
        POST_RAW("Content-Length: 2, 2\r\n\r\n{}"),
        POST_RAW("Content-Length: -1\r\n\r\n{}"),
        POST_RAW("Content-Length: 0x2\r\n\r\n{}"),
        POST_RAW("Content-Length: 9999999999999999999\r\n\r\n{}"),
        "GET /items/x HTTP/1.1\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ask(bad[i]);
        if (reply.status != 400)
            fail_msg("%s: %d", bad[i], reply.status);
    }
    /* What libmicrohttpd closes without a word. */
    static const char *const closed[] = {"nonsense\r\n\r\n", "GET / x HTTP/1.1\r\nHost: a\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(closed); i++) {
        ask(closed[i]);
        assert_true(reply.status == 0 || reply.status == 400);
    }
    ask("GET /items/x HTTP/3.7\r\nHost: localhost\r\n\r\n");
    assert_true(reply.status == 505 || reply.status == 400);
    static const char zero[] = "GET /items/x HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n";
    int fd = raw_connect(site.port);
    reply.rest_size = 0;
    raw_send(fd, zero, sizeof zero - 1);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 400);
    close(fd);
    ask(GET("/healthz"));
    assert_int_equal(reply.status, 200);
}

static void knows_further_hosts(void **state)
{
    (void)state;
    struct site other;
    site_start(&other, &(struct http_config){.hosts = "sonde.example, second.example"});
    raw_ask(other.port, "GET /loop HTTP/1.1\r\nHost: Second.example:80\r\n\r\n", &reply);
    assert_int_equal(reply.status, 200);
    raw_ask(other.port, "GET /loop HTTP/1.1\r\nHost: third.example\r\n\r\n", &reply);
    assert_int_equal(reply.status, 403);
    site_stop(&other, 1);
    site_start(&other, &(struct http_config){.hosts = "*"});
    raw_ask(other.port, "GET /loop HTTP/1.1\r\nHost: third.example\r\n\r\n", &reply);
    assert_int_equal(reply.status, 200);
    site_stop(&other, 1);
}

static void serves_a_folder(void **state)
{
    (void)state;
    struct site other;
    char dir[] = "/tmp/sonde-http-web-XXXXXX";
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *index = xasprintf("%s/index.html", dir);
    _cleanup_free_ char *outside = xasprintf("%s/link.txt", dir);
    FILE *f = fopen(index, "w");
    assert_non_null(f);
    fputs("<p>folder", f);
    fclose(f);
    assert_int_equal(symlink("/etc/passwd", outside), 0);
    site_start(&other, &(struct http_config){.web_dir = dir});
    raw_ask(other.port, GET("/history"), &reply);
    assert_string_equal(reply.body, "<p>folder");
    assert_string_equal(raw_header(&reply, "Content-Type"), "text/html; charset=utf-8");
    raw_ask(other.port, GET("/link.txt"), &reply);
    assert_int_equal(reply.status, 404);
    raw_ask(other.port, GET("/%2e%2e/%2e%2e/etc/passwd"), &reply);
    assert_int_equal(reply.status, 404);
    raw_ask(other.port, GET("/..%2f..%2fetc%2fpasswd"), &reply);
    assert_int_equal(reply.status, 404);
    site_stop(&other, 1);
    unlink(index);
    unlink(outside);
    rmdir(dir);
}

static void limits_headers(void **state)
{
    (void)state;
    _cleanup_free_ char *text = xalloc(300000);
    memset(text, 0, 300000);
    int n = snprintf(text, 200, "GET /items/");
    memset(text + n, 'a', 9000);
    snprintf(text + n + 9000, 200, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ask(text);
    assert_problem(431, "headers_too_large");

    n = snprintf(text, 200, "GET /items/x?");
    memset(text + n, '&', 8000);
    snprintf(text + n + 8000, 200, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ask(text);
    assert_problem(400, "bad_request");

    n = snprintf(text, 200, "GET /items/x HTTP/1.1\r\nHost: localhost\r\n");
    for (int i = 0; i < 10000; i++)
        n += snprintf(text + n, 40, "x-%05d: yyyyyyyyyy\r\n", i);
    snprintf(text + n, 3, "\r\n");
    int fd = raw_connect(site.port);
    reply.rest_size = 0;
    raw_text(fd, text);
    raw_read(fd, &reply, 0);
    assert_true(reply.status == 431 || reply.status == 0); /* a reset may swallow the answer */
    close(fd);

    n = snprintf(text, 200, "GET /items/x HTTP/1.1\r\nHost: localhost\r\nX-Large: ");
    memset(text + n, 'a', 7000);
    snprintf(text + n + 7000, 5, "\r\n\r\n");
    ask(text);
    assert_int_equal(reply.status, 200);
}

static void answers_ranges(void **state)
{
    (void)state;
    ask(GET("/file"));
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.size, 1000000);
    assert_string_equal(raw_header(&reply, "Accept-Ranges"), "bytes");
    assert_string_equal(raw_header(&reply, "Content-Disposition"),
                        "inline; filename=\"caf__ _1_.wav\"; "
                        "filename*=UTF-8''caf%C3%A9%20%221%22.wav");
    unsigned char at[3] = {(unsigned char)(999 * 31 >> 3), (unsigned char)(1000 * 31 >> 3),
                           (unsigned char)(999999u * 31 >> 3)};
    ask("GET /file HTTP/1.1\r\nHost: localhost\r\nRange: bytes=999-1000\r\n\r\n");
    assert_int_equal(reply.status, 206);
    assert_int_equal(reply.size, 2);
    assert_memory_equal(reply.body, at, 2);
    assert_string_equal(raw_header(&reply, "Content-Range"), "bytes 999-1000/1000000");
    ask("GET /file HTTP/1.1\r\nHost: localhost\r\nRange: bytes=-1\r\n\r\n");
    assert_int_equal(reply.size, 1);
    assert_int_equal((unsigned char)reply.body[0], at[2]);
    ask("GET /file HTTP/1.1\r\nHost: localhost\r\nRange: bytes=500000-\r\n\r\n");
    assert_int_equal(reply.size, 500000);
    ask("GET /file HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1,5-6\r\n\r\n");
    assert_int_equal(reply.status, 200);
    ask("GET /file HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1000000-\r\n\r\n");
    assert_problem(416, "range_not_satisfiable");
    assert_string_equal(raw_header(&reply, "Content-Range"), "bytes */1000000");
    ask("GET /file HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\nIf-Range: \"e1\"\r\n\r\n");
    assert_int_equal(reply.status, 206);
    ask("GET /file HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\nIf-Range: \"e0\"\r\n\r\n");
    assert_int_equal(reply.status, 200);
    ask("GET /file HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: \"e1\"\r\n\r\n");
    assert_int_equal(reply.status, 304);
    ask("HEAD /file HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_string_equal(raw_header(&reply, "Content-Length"), "1000000");
}

static void compresses(void **state)
{
    (void)state;
    ask(GET("/big"));
    assert_null(raw_header(&reply, "Content-Encoding"));
    assert_string_equal(raw_header(&reply, "Vary"), "Accept-Encoding");
    size_t plain = reply.size;
    ask("GET /big HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_string_equal(raw_header(&reply, "Content-Encoding"), "gzip");
    assert_true(reply.size < plain);
    assert_int_equal((unsigned char)reply.body[0], 0x1f);
    ask("GET /big HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip;q=0\r\n\r\n");
    assert_null(raw_header(&reply, "Content-Encoding"));
}

static void reads_prefer(void **state)
{
    (void)state;
    static const struct {
        const char *value, *want;
    } cases[] = {{"wait=5", "\"wait\":5.0"},
                 {"respond-async, wait=10", "\"wait\":10.0"},
                 {"wait=999999999999999999999", "\"wait\":60.0"},
                 {"wait=-1", "\"wait\":0.0"},
                 {"wait=x", "\"wait\":0.0"},
                 {"waiting=5", "\"wait\":0.0"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[200];
        snprintf(text, sizeof text,
                 "GET /items/x HTTP/1.1\r\nHost: localhost\r\nPrefer: %s\r\n\r\n", cases[i].value);
        ask(text);
        if (!strstr(reply.body, cases[i].want))
            fail_msg("%s: %s", cases[i].value, reply.body);
    }
}

static void refuses_bad_addresses(void **state)
{
    (void)state;
    struct err err;
    struct http_server *server = NULL;
    struct http_config config = {.workers = site.workers, .spool = "/tmp"};
    static const char *const bad[] = {"",       "8080",    "127.0.0.1",    "127.0.0.1:65536",
                                      "host:1", "[::1:80", "127.0.0.1:-1", "127.0.0.1:80x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        config.listen = bad[i];
        assert_int_equal(http_server_start(&config, &server, &err), ERR_USAGE);
        assert_null(server);
    }
    _cleanup_free_ char *taken = xasprintf("127.0.0.1:%d", site.port);
    config.listen = taken;
    assert_int_equal(http_server_start(&config, &server, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.text, taken));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_routes),
        cmocka_unit_test(knows_methods),
        cmocka_unit_test(keeps_connections),
        cmocka_unit_test(sends_security_headers),
        cmocka_unit_test(serves_the_page),
        cmocka_unit_test(refuses_other_sites),
        cmocka_unit_test(refuses_malformed_requests),
        cmocka_unit_test(knows_further_hosts),
        cmocka_unit_test(serves_a_folder),
        cmocka_unit_test(limits_headers),
        cmocka_unit_test(answers_ranges),
        cmocka_unit_test(compresses),
        cmocka_unit_test(reads_prefer),
        cmocka_unit_test(refuses_bad_addresses),
    };
    return cmocka_run_group_tests(tests, up, down);
}

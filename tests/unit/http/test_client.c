/* http: POSTs to others, against small servers of this process. */
#include "../../support/cm.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http/client.h"

/* --- a server that answers one request at a time with a text of the test's choice ---------------
 */

static struct {
    int fd, port, stop_pipe[2];
    pthread_t thread;
    atomic_int requests, drained;
    const char *answer; /* NULL: none, until the client goes */
    size_t endless;     /* bytes of body after it */
    char request[8192];
} server;

static int wait_readable(int fd)
{
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
                          {.fd = server.stop_pipe[0], .events = POLLIN}};
    return poll(p, 2, 10000) > 0 && (p[0].revents & (POLLIN | POLLHUP)) != 0;
}

/* The head, and as much of a body as Content-Length says. */
static void read_request(int fd)
{
    size_t used = 0, want = sizeof server.request - 1;
    while (used < want && wait_readable(fd)) {
        ssize_t n = recv(fd, server.request + used, sizeof server.request - 1 - used, 0);
        if (n <= 0)
            break;
        used += (size_t)n;
        server.request[used] = '\0';
        char *end = strstr(server.request, "\r\n\r\n");
        char *length = strcasestr(server.request, "content-length:");
        if (end)
            want =
                (size_t)(end + 4 - server.request) + (length ? strtoul(length + 15, NULL, 10) : 0);
    }
}

static void answer(int fd)
{
    static const char block[4096];
    char end[256];
    read_request(fd);
    server.requests++;
    if (!server.answer) {
        if (wait_readable(fd))
            server.drained++;
        return;
    }
    (void)!send(fd, server.answer, strlen(server.answer), MSG_NOSIGNAL);
    for (size_t sent = 0; sent < server.endless; sent += sizeof block)
        if (send(fd, block, sizeof block, MSG_NOSIGNAL) < 0) {
            server.drained++;
            return;
        }
    shutdown(fd, SHUT_WR);
    while (wait_readable(fd) && recv(fd, end, sizeof end, 0) > 0)
        ;
}

static void *serve(void *ctx)
{
    (void)ctx;
    for (;;) {
        struct pollfd p[2] = {{.fd = server.fd, .events = POLLIN},
                              {.fd = server.stop_pipe[0], .events = POLLIN}};
        if (poll(p, 2, -1) < 0 || p[1].revents)
            return NULL;
        int fd = accept(server.fd, NULL, NULL);
        if (fd >= 0) {
            answer(fd);
            close(fd);
        }
    }
}

static int listen_on(int *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                listen(fd, 8) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void start(const char *text)
{
    memset(&server, 0, sizeof server);
    server.answer = text;
    server.fd = listen_on(&server.port);
    assert_int_equal(pipe(server.stop_pipe), 0);
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void stop(void)
{
    (void)!write(server.stop_pipe[1], "x", 1);
    pthread_join(server.thread, NULL);
    close(server.fd);
    close(server.stop_pipe[0]);
    close(server.stop_pipe[1]);
}

static enum err_code post(const char *scheme, int port, double timeout_s, int *ret_status,
                          struct err *err)
{
    static const char *const headers[] = {"Content-Type: application/json", "webhook-id: 7", NULL};
    char url[128];
    struct http_client_reply reply = {-1};
    snprintf(url, sizeof url, "%s://127.0.0.1:%d/hook?a=1", scheme, port);
    enum err_code rc = http_client_post(url, headers, "{\"a\":1}", 7, timeout_s, &reply, err);
    *ret_status = reply.status;
    return rc;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- tests
 * ---------------------------------------------------------------------------------------- */

static void the_request_is_as_asked(void **state)
{
    (void)state;
    int status;
    struct err err = {0};
    start("HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(post("http", server.port, 5, &status, &err), ERR_OK);
    stop();
    assert_int_equal(status, 204);
    assert_memory_equal(server.request, "POST /hook?a=1 HTTP/1.1\r\n", 25);
    assert_non_null(strstr(server.request, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(server.request, "\r\nwebhook-id: 7\r\n"));
    assert_non_null(strstr(server.request, "\r\nUser-Agent: sonde/"));
    assert_null(strcasestr(server.request, "Expect"));
    assert_non_null(strstr(server.request, "\r\n\r\n{\"a\":1}"));
}

static void any_status_is_an_answer(void **state)
{
    (void)state;
    int status;
    struct err err = {0};
    start("HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops");
    assert_int_equal(post("http", server.port, 5, &status, &err), ERR_OK);
    stop();
    assert_int_equal(status, 500);
}

static void a_redirect_is_not_followed(void **state)
{
    (void)state;
    int status;
    struct err err = {0};
    char text[256];
    start(NULL);
    snprintf(text, sizeof text,
             "HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:%d/other\r\nContent-Length: "
             "0\r\n\r\n",
             server.port);
    server.answer = text;
    assert_int_equal(post("http", server.port, 5, &status, &err), ERR_OK);
    stop();
    assert_int_equal(status, 307);
    assert_int_equal(server.requests, 1);
}

static void silence_ends_in_time(void **state)
{
    (void)state;
    int status;
    struct err err = {0};
    start(NULL);
    double from = seconds();
    assert_int_equal(post("http", server.port, 0.3, &status, &err), ERR_UNAVAILABLE);
    double took = seconds() - from;
    stop();
    assert_int_equal(status, 0);
    assert_true(took > 0.25 && took < 3);
}

static void nobody_there_is_unavailable(void **state)
{
    (void)state;
    int status, port;
    struct err err = {0};
    close(listen_on(&port)); /* free again */
    assert_int_equal(post("http", port, 5, &status, &err), ERR_UNAVAILABLE);
    assert_int_equal(status, 0);
    assert_true(err.text[0] != '\0');
}

static void garbage_is_no_answer(void **state)
{
    (void)state;
    static const char *const texts[] = {"SSH-2.0-OpenSSH_9.2\r\n", "", "HTTP/1.1 banana\r\n\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int status;
        struct err err = {0};
        start(texts[i]);
        assert_int_equal(post("http", server.port, 5, &status, &err), ERR_UNAVAILABLE);
        stop();
        assert_int_equal(status, 0);
    }
}

static void of_a_long_answer_only_the_status_counts(void **state)
{
    (void)state;
    int status;
    struct err err = {0};
    start("HTTP/1.1 200 OK\r\n\r\n");
    server.endless = (size_t)1 << 30;
    double from = seconds();
    assert_int_equal(post("http", server.port, 20, &status, &err), ERR_OK);
    double took = seconds() - from;
    stop();
    assert_int_equal(status, 200);
    assert_int_equal(server.drained, 1); /* the client went before the end */
    assert_true(took < 3);
}

static void a_header_cannot_smuggle_another(void **state)
{
    (void)state;
    static const char *const headers[] = {"X-A: 1\r\nX-B: 2", NULL};
    struct http_client_reply reply;
    struct err err;
    assert_int_equal(http_client_post("http://127.0.0.1:1/", headers, "", 0, 1, &reply, &err),
                     ERR_INTERNAL);
}

static void which_addresses_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {
        "http://example.org",
        "https://example.org/hook?x=1#y",
        "HTTPS://EXAMPLE.ORG:8443/a%20b",
        "http://127.0.0.1:9/",
        "http://[::1]:8080/x",
        "https://a.b/@user:x",
    };
    static const char *const bad[] = {
        "",
        "example.org",
        "/hook",
        "//example.org/x",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "https:example.org",
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://:x@example.org/",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://example.org:99999/",
        "javascript:alert(1)",
        "http://[::1/",
        "gopher://x/",
        "http://?x",
        "http://@example.org/",
    };
    char text[2100] = "http://example.org/";
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!http_client_url_ok(good[i]))
            fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (http_client_url_ok(bad[i]))
            fail_msg("%s is taken", bad[i]);
    assert_false(http_client_url_ok(NULL));
    size_t n = strlen(text);
    memset(text + n, 'x', 2000 - n);
    assert_true(http_client_url_ok(text));
    text[2000] = 'x';
    assert_false(http_client_url_ok(text));
    int status;
    struct err err;
    assert_int_equal(post("ftp", 1, 1, &status, &err), ERR_BAD_REQUEST);
}

/* --- TLS
 * --------------------------------------------------------------------------------------------- */

static SSL_CTX *self_signed(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_true(ctx && key && cert);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"127.0.0.1", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_EXTENSION *name = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(cert, name, -1);
    X509_EXTENSION_free(name);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

static SSL_CTX *tls;
static int tls_listener;
static atomic_int tls_requests;

static void *serve_tls(void *unused)
{
    char request[4096];
    (void)unused;
    int fd = accept(tls_listener, NULL, NULL);
    SSL *ssl = SSL_new(tls);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1 && SSL_read(ssl, request, sizeof request) > 0) {
        tls_requests++;
        SSL_write(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38);
    }
    SSL_free(ssl);
    close(fd);
    return NULL;
}

static void a_certificate_of_nobody_is_refused(void **state)
{
    (void)state;
    pthread_t thread;
    int port, status;
    struct err err = {0};
    tls = self_signed();
    tls_listener = listen_on(&port);
    assert_int_equal(pthread_create(&thread, NULL, serve_tls, NULL), 0);
    assert_int_equal(post("https", port, 5, &status, &err), ERR_UNAVAILABLE);
    pthread_join(thread, NULL);
    assert_int_equal(status, 0);
    assert_non_null(strstr(err.text, "ertificate"));
    assert_int_equal(tls_requests, 0); /* nothing was told to it */
    close(tls_listener);
    SSL_CTX_free(tls);
}

static int setup(void **state)
{
    struct err err;
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* of the TLS server above */
    unsetenv("http_proxy");
    unsetenv("https_proxy");
    unsetenv("HTTPS_PROXY");
    unsetenv("ALL_PROXY");
    unsetenv("all_proxy");
    return http_client_setup(&err) == ERR_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_is_as_asked),
        cmocka_unit_test(any_status_is_an_answer),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(silence_ends_in_time),
        cmocka_unit_test(nobody_there_is_unavailable),
        cmocka_unit_test(garbage_is_no_answer),
        cmocka_unit_test(of_a_long_answer_only_the_status_counts),
        cmocka_unit_test(a_header_cannot_smuggle_another),
        cmocka_unit_test(which_addresses_are_taken),
        cmocka_unit_test(a_certificate_of_nobody_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

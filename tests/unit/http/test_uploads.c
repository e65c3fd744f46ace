/* http: bodies. Multipart and raw files reach the spool whole, limits hold while bytes come, and
 * nothing stays in the spool folder however a request ends. */
#include "../../support/cm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "os/clock.h"
#include "raw.h"
#include "site.h"

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

static void wait_for_empty_spool(void)
{
    for (int i = 0; i < 500 && site_spooled(&site); i++)
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    assert_int_equal(site_spooled(&site), 0);
}

static int open_post(const char *path, const char *headers, size_t length)
{
    int fd = raw_connect(site.port);
    reply.rest_size = 0;
    raw_format(fd, "POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n", path,
               headers, length);
    return fd;
}

static void post(const char *path, const char *headers, const char *body, size_t size)
{
    int fd = open_post(path, headers, size);
    raw_send(fd, body, size);
    raw_read(fd, &reply, 0);
    close(fd);
}

#define FORM "Content-Type: multipart/form-data; boundary=xyz\r\n"
#define JSON "Content-Type: application/json\r\n"

static void takes_raw_files(void **state)
{
    (void)state;
    char hex[SHA256_HEX];
    struct err err;
    post("/upload?name=..%2Fa%2Fcall%0A.m4a", "", "RIFFdata", 8);
    assert_int_equal(reply.status, 202);
    assert_int_equal(sha256_mem("RIFFdata", 8, hex, &err), ERR_OK);
    assert_non_null(strstr(reply.body, hex));
    assert_non_null(strstr(reply.body, "\"name\":\"call.m4a\""));
    assert_non_null(strstr(reply.body, "\"bytes\":8"));
    assert_non_null(strstr(reply.body, "\"stored\":8"));
    assert_non_null(strstr(reply.body, "\"head\":82"));
    post("/upload", "", "", 0);
    assert_non_null(strstr(reply.body, "\"files\":[]"));
    post("/upload?take=1", "", "mine", 4);
    assert_int_equal(reply.status, 202);
    wait_for_empty_spool();
}

static void takes_chunked_files(void **state)
{
    (void)state;
    raw_ask(site.port,
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
            &reply);
    assert_int_equal(reply.status, 202);
    assert_non_null(strstr(reply.body, "\"bytes\":5"));
    raw_ask(site.port,
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabcd\r\n0\r\n\r\n",
            &reply);
    assert_true(reply.status == 400 || reply.status == 0);
    raw_ask(site.port,
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            "ffffffffffffffffff\r\nabcd",
            &reply);
    assert_true(reply.status == 413 || reply.status == 400);
    wait_for_empty_spool();
}

static void takes_forms(void **state)
{
    (void)state;
    static const char body[] =
        "--xyz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n"
        "--xyz\r\nContent-Disposition: form-data; name=\"file\"; "
        "filename=\"C:\\x\\\\a\\\"b.wav\"\r\n"
        "Content-Type: audio/wav\r\n\r\none\r\n-\r\n--xy\r\n"
        "--xyz\r\ncontent-disposition: Form-Data; filename=two; name=file\r\n\r\n\r\n"
        "--xyz--\r\n";
    post("/upload", FORM, body, sizeof body - 1);
    assert_int_equal(reply.status, 202);
    assert_non_null(strstr(reply.body, "\"note\":\"hello\""));
    assert_non_null(strstr(reply.body, "\"name\":\"a\\\"b.wav\""));
    assert_non_null(strstr(reply.body, "\"bytes\":12"));
    assert_non_null(strstr(reply.body, "\"name\":\"two\",\"field\":\"file\",\"bytes\":0"));
    /* The same, cut at every place. */
    for (size_t cut = 1; cut < sizeof body - 1; cut += 7) {
        int fd = open_post("/upload", FORM, sizeof body - 1);
        raw_send(fd, body, cut);
        nanosleep(&(struct timespec){0, 300000}, NULL);
        raw_send(fd, body + cut, sizeof body - 1 - cut);
        struct reply other = {0};
        raw_read(fd, &other, 0);
        close(fd);
        assert_int_equal(other.status, 202);
        assert_string_equal(other.body, reply.body);
        raw_free(&other);
    }
    static const char *const bad[] = {
        "--xyz\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\nno end",
        "--xyz\r\nContent-Disposition: attachment; name=\"f\"\r\n\r\nx\r\n--xyz--\r\n",
        "--xyz\r\nContent-Type: a/b\r\n\r\nx\r\n--xyz--\r\n",
        "--xyz\nContent-Disposition: form-data; name=\"f\"\n\nx\n--xyz--\n",
        "--xyz\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\na\xff\r\n--xyz--\r\n",
        "nothing at all",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        post("/upload", FORM, bad[i], strlen(bad[i]));
        assert_int_equal(reply.status, 400);
    }
    post("/upload", "Content-Type: multipart/form-data\r\n", body, sizeof body - 1);
    assert_int_equal(reply.status, 400);
    post("/upload", "Content-Type: multipart/mixed; boundary=xyz\r\n", body, sizeof body - 1);
    assert_int_equal(reply.status, 400);
    wait_for_empty_spool();
}

static void limits_forms(void **state)
{
    (void)state;
    _cleanup_free_ char *body = xalloc(200000);
    size_t n = 0;
    for (int i = 0; i <= HTTP_FILES_MAX; i++)
        n += (size_t)snprintf(body + n, 100,
                              "--xyz\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n"
                              "x\r\n");
    n += (size_t)snprintf(body + n, 100, "--xyz--\r\n");
    post("/upload", FORM, body, n);
    assert_int_equal(reply.status, 413);
    n = 0;
    for (int i = 0; i <= HTTP_FIELDS_MAX; i++)
        n += (size_t)snprintf(body + n, 100,
                              "--xyz\r\nContent-Disposition: form-data; name=f\r\n\r\nx\r\n");
    n += (size_t)snprintf(body + n, 100, "--xyz--\r\n");
    post("/upload", FORM, body, n);
    assert_int_equal(reply.status, 400);
    n = (size_t)snprintf(body, 100, "--xyz\r\nContent-Disposition: form-data; name=f\r\n\r\n");
    memset(body + n, 'x', HTTP_FIELD_MAX + 1);
    n += HTTP_FIELD_MAX + 1;
    n += (size_t)snprintf(body + n, 100, "\r\n--xyz--\r\n");
    post("/upload", FORM, body, n);
    assert_int_equal(reply.status, 400);
    wait_for_empty_spool();
}

static void limits_sizes(void **state)
{
    (void)state;
    /* Announced too large: refused before a byte of it is sent, and the connection ends. */
    int fd = open_post("/upload", "", SITE_UPLOAD_MAX + 1);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 413);
    assert_string_equal(raw_header(&reply, "Connection"), "close");
    assert_true(raw_closed(fd, 5));
    close(fd);
    /* The same for a client that sends on regardless: it still reads the answer. */
    _cleanup_free_ char *bytes = xalloc(1 << 20);
    fd = open_post("/upload", "", SITE_UPLOAD_MAX + 1);
    raw_send(fd, bytes, 1 << 20);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 413);
    close(fd);
    /* Chunked: counted as it comes. */
    fd = raw_connect(site.port);
    reply.rest_size = 0;
    raw_text(fd, "POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i <= 8; i++) {
        raw_text(fd, "100000\r\n");
        raw_send(fd, bytes, 1 << 20);
        raw_text(fd, "\r\n");
    }
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 413);
    close(fd);
    /* JSON. */
    fd = open_post("/echo", JSON, HTTP_JSON_MAX + 1);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 413);
    close(fd);
    /* A route without a body ignores a little, and refuses much. */
    fd = raw_connect(site.port);
    reply.rest_size = 0;
    raw_text(fd, "GET /loop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
                 "GET /loop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n");
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 200);
    raw_send(fd, bytes, 5000);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 413);
    close(fd);
    wait_for_empty_spool();
}

static void answers_expectations(void **state)
{
    (void)state;
    int fd = open_post("/upload", "Expect: 100-continue\r\n", 3);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 100);
    raw_send(fd, "abc", 3);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 202);
    close(fd);
    site_admit(0);
    fd = open_post("/admitted", "Expect: 100-continue\r\n", 3);
    raw_read(fd, &reply, 0); /* without 100 first */
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "queue_full"));
    assert_non_null(raw_header(&reply, "Retry-After"));
    close(fd);
    /* Without Expect, a little body is read and the connection stays. */
    fd = open_post("/admitted", "", 3);
    raw_text(fd, "abcGET /loop HTTP/1.1\r\nHost: localhost\r\n\r\n");
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 503);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 200);
    close(fd);
    site_admit(1);
    fd = open_post("/upload", "Expect: 100-continue\r\n", SITE_UPLOAD_MAX + 1);
    raw_read(fd, &reply, 0);
    assert_int_equal(reply.status, 413);
    close(fd);
    wait_for_empty_spool();
}

static void reads_json(void **state)
{
    (void)state;
    post("/echo", JSON, "{\"a\":[1,2]}", 11);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "{\"a\":[1,2]}");
    post("/echo", "Content-Type: application/json; charset=utf-8\r\n", "[]", 2);
    assert_int_equal(reply.status, 200);
    static const char *const bad[] = {"{", "{\"a\":1,\"a\":2}", "\"text\"", "{} x", "[1,]", "\xff"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        post("/echo", JSON, bad[i], strlen(bad[i]));
        assert_int_equal(reply.status, 400);
    }
    post("/echo", JSON, "", 0);
    assert_int_equal(reply.status, 400);
    post("/echo", "", "{}", 2);
    assert_int_equal(reply.status, 400);
    char deep[202];
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    post("/echo", JSON, deep, 200);
    assert_int_equal(reply.status, 400);
    assert_non_null(strstr(reply.body, "deeper"));
    _cleanup_free_ char *large = xalloc(HTTP_JSON_MAX);
    memset(large, ' ', HTTP_JSON_MAX);
    memcpy(large, "[]", 2);
    post("/echo", JSON, large, HTTP_JSON_MAX);
    assert_int_equal(reply.status, 200);
}

static void forgets_uploads_of_clients_that_leave(void **state)
{
    (void)state;
    char part[3000] = {0};
    int fds[20];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = open_post("/upload", i % 2 ? FORM : "", 1000000);
        raw_text(fds[i], "--xyz\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n");
        raw_send(fds[i], part, sizeof part);
    }
    for (int i = 0; i < 500 && site_spooled(&site) < (int)ARRAY_LEN(fds); i++)
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    assert_int_equal(site_spooled(&site), ARRAY_LEN(fds));
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    wait_for_empty_spool();
}

static void reports_a_full_disk(void **state)
{
    (void)state;
    struct rlimit old, small = {.rlim_cur = 100000};
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    _cleanup_free_ char *bytes = xalloc(1 << 20);
    post("/upload", "", bytes, 1 << 20);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.body, "\"no_space\""));
    wait_for_empty_spool();
}

#define PARALLEL   50
#define FILE_BYTES 2000000

static void *upload_one(void *arg)
{
    static const char head[] =
        "--xyz\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n";
    static const char tail[] = "\r\n--xyz--\r\n";
    unsigned seed = (unsigned)(uintptr_t)arg;
    char *bytes = malloc(FILE_BYTES), hex[SHA256_HEX];
    for (size_t i = 0; i < FILE_BYTES; i++)
        bytes[i] = (char)((seed = seed * 1103515245 + 12345) >> 16 & 7 ? seed >> 20 : '\r');
    struct err err;
    int good = sha256_mem(bytes, FILE_BYTES, hex, &err) == ERR_OK;
    int fd = raw_connect(site.port);
    raw_format(fd,
               "POST /upload HTTP/1.1\r\nHost: localhost\r\n" FORM "Content-Length: %zu\r\n\r\n",
               sizeof head - 1 + FILE_BYTES + sizeof tail - 1);
    raw_text(fd, head);
    raw_send(fd, bytes, FILE_BYTES);
    raw_text(fd, tail);
    struct reply *r = calloc(1, sizeof *r);
    raw_read(fd, r, 0);
    good = good && r->status == 202 && strstr(r->body, hex);
    close(fd);
    raw_free(r);
    free(r);
    free(bytes);
    return good ? arg : NULL;
}

static void takes_many_at_once(void **state)
{
    (void)state;
    pthread_t threads[PARALLEL];
    double start = clock_seconds();
    for (uintptr_t i = 0; i < PARALLEL; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, upload_one, (void *)(i + 1)), 0);
    for (int i = 0; i < PARALLEL; i++) {
        void *good;
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
    print_message("# %d uploads of %d bytes: %.2f s\n", PARALLEL, FILE_BYTES,
                  clock_seconds() - start);
    wait_for_empty_spool();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_raw_files),
        cmocka_unit_test(takes_chunked_files),
        cmocka_unit_test(takes_forms),
        cmocka_unit_test(limits_forms),
        cmocka_unit_test(limits_sizes),
        cmocka_unit_test(answers_expectations),
        cmocka_unit_test(reads_json),
        cmocka_unit_test(forgets_uploads_of_clients_that_leave),
        cmocka_unit_test(reports_a_full_disk),
        cmocka_unit_test(takes_many_at_once),
    };
    return cmocka_run_group_tests(tests, up, down);
}

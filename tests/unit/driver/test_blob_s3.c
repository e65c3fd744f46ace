/* driver/blob, S3: what is asked, and what becomes of answers that are late, cut, wrong or a
 * refusal. The server is a script, because a real one cannot be made to do these things; the
 * contract suite runs on a real one. */
#include "../../support/cm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../support/folder.h"
#include "base/mem.h"
#include "base/time.h"
#include "driver/blob/s3.h"
#include "os/clock.h"
#include "test_blob_s3_server.h"

#define SECRET "a-secret-that-nobody-may-see"

static struct script *server;
static struct s3 *s3;
static char *dir;
static struct err err;

static struct blob_options options_for(void)
{
    return (struct blob_options){.key_id = "the-key", .secret = SECRET, .spool = dir};
}

static char *rest_of(void)
{
    return xasprintf("//127.0.0.1:%d", script_port(server));
}

static void open_with(const struct blob_options *options)
{
    void *self = NULL;
    _cleanup_free_ char *rest = rest_of();
    if (blob_s3_clear.open_store(options, rest, &self, &err) != ERR_OK)
        fail_msg("%s", err.text);
    s3 = self;
    s3->timing.backoff_s = 0.001;
    s3->timing.backoff_max_s = 0.002;
    s3->timing.stall_seconds = 1;
    s3->timing.call_seconds = 20;
}

static int setup(void **state)
{
    (void)state;
    server = script_new();
    dir = folder_new();
    struct blob_options options = options_for();
    open_with(&options);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (s3)
        blob_s3.close_store(s3);
    s3 = NULL;
    server = script_free(server);
    int left = folder_count(dir);
    dir = folder_drop(dir);
    return left; /* nothing of what was spooled has a name */
}

#define SCRIPT(...)                                                                                \
    script_set(server, (const struct step[]){__VA_ARGS__},                                         \
               ARRAY_LEN(((const struct step[]){__VA_ARGS__})))
#define EMPTY_200   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define UNAVAILABLE "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
#define ETAG(n)     "ETag: \"e" #n "\"\r\n"
#define TEXT(status, text)                                                                         \
    "HTTP/1.1 " status "\r\nConnection: close\r\nContent-Type: application/xml\r\n\r\n" text, 0,   \
        0, 1

static enum err_code put(const char *text)
{
    return blob_s3_clear.put(s3, BLOB_RAW, "a/key", text, strlen(text), &err);
}

/* What is stored under a/key, as text; NULL when that failed. */
static char *get(void)
{
    int fd = -1;
    uint64_t size = 0;
    if (blob_s3_clear.open(s3, BLOB_RAW, "a/key", &fd, &size, &err) != ERR_OK) {
        assert_int_equal(fd, -1);
        return NULL;
    }
    char *text = xalloc((size_t)size + 1);
    assert_int_equal(read(fd, text, (size_t)size + 1), (ssize_t)size);
    close(fd);
    return text;
}

static void assert_got(const char *want)
{
    _cleanup_free_ char *got = get();
    if (!got)
        fail_msg("%s", err.text);
    assert_string_equal(got, want);
}

static void assert_asked(size_t i, const char *part)
{
    if (!strstr(script_request(server, i), part))
        fail_msg("request %zu has no '%s': %s", i, part, script_request(server, i));
}

static void assert_not_asked(size_t i, const char *part)
{
    if (strstr(script_request(server, i), part))
        fail_msg("request %zu has '%s'", i, part);
}

static void assert_told(const char *part)
{
    if (!strstr(err.text, part))
        fail_msg("'%s' is not told: %s", part, err.text);
    assert_null(strstr(err.text, SECRET));
}

/* --- what is asked -------------------------------------------------------------------------- */

static void requests_are_signed_and_share_a_connection(void **state)
{
    (void)state;
    SCRIPT({EMPTY_200}, {"HTTP/1.1 204 No Content\r\n\r\n"}, {EMPTY_200 ETAG(1)},
           {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"});
    assert_int_equal(put("hello"), ERR_OK);
    assert_int_equal(blob_s3_clear.del(s3, BLOB_MODELS, "x", &err), ERR_OK);
    assert_int_equal(blob_s3_clear.put(s3, BLOB_RAW, "empty", NULL, 0, &err), ERR_OK);
    assert_int_equal(script_requests(server), 3);
    assert_got("hi");
    _cleanup_free_ char *host = xasprintf("\r\nHost: 127.0.0.1:%d\r\n", script_port(server));
    assert_asked(0, "PUT /sonde-raw/a/key HTTP/1.1\r\n");
    assert_asked(0, host);
    assert_asked(0, "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=the-key/");
    assert_asked(0, "/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
                    "Signature=");
    assert_asked(0, "\r\nx-amz-content-sha256: "
                    "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\r\n");
    assert_asked(0, "\r\nContent-Length: 5\r\n");
    assert_asked(0, "\r\n\r\nhello");
    assert_not_asked(0, "Expect:");
    assert_asked(1, "DELETE /sonde-models/x HTTP/1.1\r\n");
    assert_asked(2, "\r\nContent-Length: 0\r\n");
    assert_asked(3, "GET /sonde-raw/a/key HTTP/1.1\r\n");
    assert_asked(3, "x-amz-content-sha256: " S3_EMPTY_PAYLOAD);
    assert_not_asked(3, "Range:");
    assert_int_equal(script_connections(server), 0); /* that of the opening, still */
}

static void a_bucket_may_be_part_of_the_host(void **state)
{
    (void)state;
    s3->host_style = 1;
    free(s3->host);
    s3->host = xasprintf("localhost:%d", script_port(server));
    SCRIPT({EMPTY_200});
    assert_int_equal(put("hello"), ERR_OK);
    assert_asked(0, "PUT /a/key HTTP/1.1\r\n");
    assert_asked(0, "\r\nHost: sonde-raw.localhost:");
}

/* --- tries ---------------------------------------------------------------------------------- */

static void what_passes_is_waited_out(void **state)
{
    (void)state;
    /* The third is lost on a connection that was good before. */
    SCRIPT({TEXT("400 Bad Request", "<Error><Code>RequestTimeout</Code></Error>")}, {UNAVAILABLE},
           {NULL, 0, 0, 1}, {EMPTY_200});
    assert_int_equal(put("the same body each time"), ERR_OK);
    assert_int_equal(script_requests(server), 4);
    for (size_t i = 0; i < 4; i++)
        assert_asked(i, "\r\n\r\nthe same body each time");
}

static void tries_have_an_end(void **state)
{
    (void)state;
    struct step steps[SCRIPT_STEPS];
    for (size_t i = 0; i < SCRIPT_STEPS; i++)
        steps[i] = (struct step){
            TEXT("503 Slow Down", "<Error><Code>SlowDown</Code><Message>x</Message></Error>")};
    script_set(server, steps, SCRIPT_STEPS);
    assert_int_equal(put("x"), ERR_UNAVAILABLE);
    assert_int_equal(script_requests(server), 6);
    assert_told("503 SlowDown");
    /* Nor is there one when the time does not last. */
    script_set(server, steps, SCRIPT_STEPS);
    s3->timing.call_seconds = 0.3;
    s3->timing.backoff_s = s3->timing.backoff_max_s = 30;
    double started = clock_seconds();
    assert_int_equal(put("x"), ERR_UNAVAILABLE);
    assert_true(clock_seconds() - started < 5);
    assert_true(script_requests(server) <= 2);
}

static void a_server_may_say_how_long_to_wait(void **state)
{
    (void)state;
    SCRIPT({"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"}, {EMPTY_200});
    s3->timing.backoff_max_s = 0.4;
    double started = clock_seconds();
    assert_int_equal(put("x"), ERR_OK);
    assert_true(clock_seconds() - started >= 0.4); /* but no longer than it waits anyway */
    assert_true(clock_seconds() - started < 0.95);
}

static void a_server_that_is_gone_is_named(void **state)
{
    (void)state;
    free(s3->host);
    s3->host = xstrdup("127.0.0.1:1");
    assert_int_equal(put("x"), ERR_UNAVAILABLE);
    assert_told("127.0.0.1:1 cannot be reached");
    assert_told("SONDE_BLOB_URL");
    free(s3->host);
    s3->host = xstrdup("no-such-host.invalid");
    assert_int_equal(put("x"), ERR_UNAVAILABLE);
    assert_told("no-such-host.invalid cannot be reached");
}

/* --- refusals ------------------------------------------------------------------------------- */

static void refusals_have_cause_and_cure(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum err_code put, get;
        const char *told;
    } rows[] = {
#define REFUSAL(status, code)                                                                      \
    "HTTP/1.1 " status "\r\nConnection: close\r\n\r\n<Error><Code>" code "</Code>"                 \
    "<Message>m\x1b\n" SECRET_LIKE "</Message><Region>eu-1</Region></Error>"
#define SECRET_LIKE "&lt;text&gt;"
        {REFUSAL("403 F", "SignatureDoesNotMatch"), ERR_UNAVAILABLE, ERR_UNAVAILABLE,
         "SONDE_BLOB_SECRET is not that of key the-key"},
        {REFUSAL("403 F", "InvalidAccessKeyId"), ERR_UNAVAILABLE, ERR_UNAVAILABLE,
         "SONDE_BLOB_KEY_ID"},
        {REFUSAL("403 F", "AccessDenied"), ERR_READ_ONLY, ERR_UNAVAILABLE, "sonde-raw"},
        {REFUSAL("404 N", "NoSuchBucket"), ERR_UNAVAILABLE, ERR_UNAVAILABLE,
         "no bucket sonde-raw: make it, or let sonde do it (SONDE_BLOB_MAKE_BUCKETS=1)"},
        {REFUSAL("404 N", "NoSuchKey"), ERR_NO_SUCH, ERR_NO_SUCH, "nothing is stored there"},
        {REFUSAL("507 I", "X"), ERR_NO_SPACE, ERR_NO_SPACE, "no room left (507 X)"},
        {REFUSAL("403 F", "QuotaExceeded"), ERR_NO_SPACE, ERR_NO_SPACE, "QuotaExceeded"},
        {REFUSAL("400 B", "AuthorizationHeaderMalformed"), ERR_UNAVAILABLE, ERR_UNAVAILABLE,
         "set SONDE_BLOB_REGION to eu-1"},
        {REFUSAL("301 M", "PermanentRedirect"), ERR_UNAVAILABLE, ERR_UNAVAILABLE, "eu-1"},
        {REFUSAL("400 B", "EntityTooLarge"), ERR_LIMIT, ERR_LIMIT, "SONDE_BLOB_PART_SIZE"},
        {REFUSAL("501 N", "NotImplemented"), ERR_UNSUPPORTED, ERR_UNSUPPORTED, "cannot do that"},
        {REFUSAL("400 B", "Strange\x7f"), ERR_UNAVAILABLE, ERR_UNAVAILABLE,
         "answers 400 Strange: m<text>"},
        {"HTTP/1.1 403 F\r\nContent-Length: 0\r\n\r\n", ERR_READ_ONLY, ERR_UNAVAILABLE, "(403)"},
        {"HTTP/1.1 404 N\r\nConnection: close\r\n\r\n<html><p>no page", ERR_NO_SUCH, ERR_NO_SUCH,
         "nothing"},
        {"HTTP/1.1 418 T\r\nConnection: close\r\n\r\n<html>tea", ERR_UNAVAILABLE, ERR_UNAVAILABLE,
         "answers 418"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int end = !strstr(rows[i].answer, "Content-Length");
        SCRIPT({rows[i].answer, 0, 0, end}, {rows[i].answer, 0, 0, end});
        assert_int_equal(put("x"), rows[i].put);
        assert_told(rows[i].told);
        assert_null(get());
        assert_int_equal(err.code, rows[i].get);
        assert_told("");
        assert_int_equal(script_requests(server), 2); /* none of them is worth a second try */
    }
}

/* A job must not fail because its recording seems to be gone, when it is the bucket that cannot be
 * looked into for a moment. */
static void a_size_tells_an_outage_from_what_is_gone(void **state)
{
    (void)state;
    static const char no_head[] = "HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n";
    uint64_t size = 0;
    SCRIPT({no_head}, {REFUSAL("404 N", "NoSuchBucket"), 0, 0, 1});
    assert_int_equal(blob_s3_clear.size(s3, BLOB_RAW, "a/b", &size, &err), ERR_UNAVAILABLE);
    assert_asked(0, "HEAD /sonde-raw/a/b HTTP/1.1");
    assert_asked(1, "GET /sonde-raw/a/b HTTP/1.1");
    SCRIPT({no_head}, {REFUSAL("404 N", "NoSuchKey"), 0, 0, 1});
    assert_int_equal(blob_s3_clear.size(s3, BLOB_RAW, "a/b", &size, &err), ERR_NO_SUCH);
    SCRIPT({no_head}, {"HTTP/1.1 200 O\r\nContent-Length: 3\r\n\r\nabc"});
    assert_int_equal(blob_s3_clear.size(s3, BLOB_RAW, "a/b", &size, &err), ERR_OK);
    assert_int_equal(size, 3);
}

static void opening_tells_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum err_code code;
        const char *told;
    } rows[] = {
        {REFUSAL("403 F", "SignatureDoesNotMatch"), ERR_PERMISSION, "SONDE_BLOB_SECRET"},
        {REFUSAL("403 F", "InvalidAccessKeyId"), ERR_PERMISSION, "key the-key"},
        {REFUSAL("403 F", "AccessDenied"), ERR_PERMISSION, "denies"},
        {REFUSAL("404 N", "NoSuchBucket"), ERR_NO_SUCH, "no bucket sonde-processed: make it"},
        {REFUSAL("301 M", "PermanentRedirect"), ERR_USAGE, "SONDE_BLOB_REGION"},
    };
    struct blob_options options = options_for();
    _cleanup_free_ char *rest = rest_of();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        void *self = NULL;
        /* The second bucket: its HEAD says nothing but the status. */
        _cleanup_free_ char *head =
            xasprintf("%.12s X\r\nContent-Length: 0\r\n\r\n", rows[i].answer);
        SCRIPT({EMPTY_200}, {head}, {rows[i].answer, 0, 0, 1});
        assert_int_equal(blob_s3_clear.open_store(&options, rest, &self, &err), rows[i].code);
        assert_null(self);
        assert_told(rows[i].told);
        assert_asked(1, "HEAD /sonde-processed HTTP/1.1");
        assert_asked(2, "GET /sonde-processed?list-type=2&max-keys=1 HTTP/1.1");
    }
}

static void missing_buckets_are_made_when_asked_for(void **state)
{
    (void)state;
    static const char no_head[] = "HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n";
    struct step missing = {REFUSAL("404 N", "NoSuchBucket"), 0, 0, 1};
    struct blob_options options = options_for();
    blob_s3.close_store(s3);
    options.make_buckets = 1;
    options.region = "eu-1";
    options.prefix = "my.";
    SCRIPT({no_head}, missing, {EMPTY_200}, {no_head}, missing,
           {REFUSAL("409 C", "BucketAlreadyOwnedByYou"), 0, 0, 1}, {EMPTY_200}, {EMPTY_200},
           {EMPTY_200}, {EMPTY_200}, {EMPTY_200}, {EMPTY_200});
    open_with(&options);
    assert_asked(2, "PUT /my.raw HTTP/1.1");
    assert_asked(2, "<LocationConstraint>eu-1</LocationConstraint>");
    assert_asked(5, "PUT /my.processed HTTP/1.1");
    assert_asked(7, "HEAD /my.reports HTTP/1.1");
    blob_s3.close_store(s3);
    s3 = NULL;
    void *self = NULL;
    _cleanup_free_ char *rest = rest_of();
    SCRIPT({no_head}, missing, {REFUSAL("409 C", "BucketAlreadyExists"), 0, 0, 1});
    assert_int_equal(blob_s3_clear.open_store(&options, rest, &self, &err), ERR_CONFLICT);
    assert_told("SONDE_BLOB_PREFIX");
}

static void wrong_settings_are_told_without_a_request(void **state)
{
    (void)state;
    static const struct {
        const char *rest;
        struct blob_options options;
        const char *told;
    } rows[] = {
        {"host", {.key_id = "k", .secret = SECRET}, "s3://host[:port]"},
        {"//", {.key_id = "k", .secret = SECRET}, "s3://host[:port]"},
        {"//host/bucket", {.key_id = "k", .secret = SECRET}, "prefix"},
        {"//user:pass@host", {.key_id = "k", .secret = SECRET}, "their own settings"},
        {"//h", {.secret = SECRET}, "SONDE_BLOB_KEY_ID"},
        {"//h", {.key_id = "k"}, "SONDE_BLOB_SECRET"},
        {"//h", {.key_id = "k", .secret = SECRET "\n"}, "SONDE_BLOB_SECRET"},
        {"//h", {.key_id = "k", .secret = SECRET, .region = "a/b"}, "SONDE_BLOB_REGION"},
        {"//h", {.key_id = "k", .secret = SECRET, .prefix = "UPPER"}, "UPPER"},
        {"//h", {.key_id = "k", .secret = SECRET, .part_size = 1}, "1 MiB to 5 GiB"},
        {"//h", {.key_id = "k", .secret = SECRET, .ca_file = "/no/such.pem"}, "/no/such.pem"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        void *self = NULL;
        assert_int_equal(blob_s3.open_store(&rows[i].options, rows[i].rest, &self, &err),
                         ERR_USAGE);
        assert_null(self);
        assert_told(rows[i].told);
    }
    struct blob *blob;
    assert_int_equal(blob_open_store(&(struct blob_options){.url = "ftp://x"}, &blob, &err),
                     ERR_USAGE);
    assert_told("s3+http://");
}

/* --- clocks --------------------------------------------------------------------------------- */

/* "403" with the time of a clock that is `minutes` ahead. */
static char *refusal_at(int minutes, const char *code)
{
    char date[64];
    time_t at = time(NULL) + minutes * 60;
    struct tm tm;
    gmtime_r(&at, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (!code)
        return xasprintf("HTTP/1.1 403 F\r\nDate: %s\r\nContent-Length: 0\r\n\r\n", date);
    return xasprintf("HTTP/1.1 403 F\r\nDate: %s\r\nConnection: close\r\n\r\n<Error><Code>%s"
                     "</Code></Error>",
                     date, code);
}

/* Minutes between now and what request `i` was signed with. */
static double signed_ahead(size_t i)
{
    struct tm tm = {0};
    const char *at = strstr(script_request(server, i), "x-amz-date: ");
    assert_non_null(at);
    assert_non_null(strptime(at + 12, "%Y%m%dT%H%M%SZ", &tm));
    return difftime(timegm(&tm), time(NULL)) / 60;
}

static void the_servers_clock_is_learnt(void **state)
{
    (void)state;
    _cleanup_free_ char *bare = refusal_at(90, NULL),
                        *back = refusal_at(-30, "RequestTimeTooSkewed");
    SCRIPT({bare}, {EMPTY_200}, {EMPTY_200}, {back, 0, 0, 1}, {EMPTY_200});
    assert_int_equal(put("x"), ERR_OK);
    assert_int_equal(put("y"), ERR_OK);
    assert_int_equal(put("z"), ERR_OK);
    assert_int_equal(script_requests(server), 5);
    assert_true(signed_ahead(0) > -1 && signed_ahead(0) < 1);
    assert_true(signed_ahead(1) > 89 && signed_ahead(1) < 91);
    assert_true(signed_ahead(2) > 89 && signed_ahead(2) < 91); /* and kept */
    assert_true(signed_ahead(4) > -31 && signed_ahead(4) < -29);
}

static void a_clock_that_stays_wrong_is_told(void **state)
{
    (void)state;
    _cleanup_free_ char *skewed = refusal_at(-42, "RequestTimeTooSkewed");
    SCRIPT({skewed, 0, 0, 1}, {skewed, 0, 0, 1});
    assert_int_equal(put("x"), ERR_UNAVAILABLE);
    assert_told("42 minutes behind");
    assert_int_equal(script_requests(server), 2);
    /* A refusal within five minutes is one of its own kind. */
    _cleanup_free_ char *near = refusal_at(-42 + 3, "AccessDenied");
    SCRIPT({near, 0, 0, 1});
    assert_int_equal(put("x"), ERR_READ_ONLY);
    /* Also one that stays when the offset is known. */
    _cleanup_free_ char *denied = refusal_at(50, "AccessDenied");
    SCRIPT({denied, 0, 0, 1}, {denied, 0, 0, 1});
    assert_int_equal(put("x"), ERR_READ_ONLY);
    assert_int_equal(script_requests(server), 2);
}

/* --- downloads ------------------------------------------------------------------------------ */

#define WHOLE(n, etag, text) "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\n" etag "\r\n" text
#define REST(n, range, text)                                                                       \
    "HTTP/1.1 206 Partial Content\r\nContent-Length: " #n "\r\nContent-Range: bytes " range        \
    "\r\n" ETAG(1) "\r\n" text

static void a_broken_download_goes_on(void **state)
{
    (void)state;
    SCRIPT({WHOLE(10, ETAG(1), "0123"), 0, 0, 1}, {UNAVAILABLE}, {REST(6, "4-9/10", "45"), 0, 0, 1},
           {REST(4, "6-9/10", "6789")});
    assert_got("0123456789");
    assert_not_asked(0, "Range:");
    for (size_t i = 1; i < 3; i++) {
        assert_asked(i, "\r\nRange: bytes=4-\r\n");
        assert_asked(i, "\r\nIf-Match: \"e1\"\r\n");
    }
    assert_asked(3, "\r\nRange: bytes=6-\r\n");
    /* As long as it gets on, tries do not run out. */
    struct step bytes[SCRIPT_STEPS];
    char *texts[20];
    for (size_t i = 0; i < 20; i++) {
        texts[i] = xasprintf("HTTP/1.1 206 P\r\nContent-Length: %zu\r\nContent-Range: bytes "
                             "%zu-19/20\r\nETag: \"e1\"\r\n\r\n%c",
                             20 - i, i, (char)('a' + i));
        bytes[i] = (struct step){texts[i], 0, 0, 1};
    }
    bytes[0] = (struct step){WHOLE(20, ETAG(1), "a"), 0, 0, 1};
    script_set(server, bytes, 20);
    assert_got("abcdefghijklmnopqrst");
    for (size_t i = 0; i < 20; i++)
        free(texts[i]);
}

static void a_download_is_of_one_object(void **state)
{
    (void)state;
    /* Replaced meanwhile. */
    SCRIPT({WHOLE(10, ETAG(1), "0123"), 0, 0, 1}, {"HTTP/1.1 412 P\r\nContent-Length: 0\r\n\r\n"},
           {WHOLE(3, ETAG(2), "new")});
    assert_got("new");
    assert_not_asked(2, "Range:");
    /* A server that knows no ranges. */
    SCRIPT({WHOLE(10, ETAG(1), "0123456"), 0, 0, 1}, {WHOLE(3, ETAG(2), "all")});
    assert_got("all");
    SCRIPT({WHOLE(10, ETAG(1), "0123456"), 0, 0, 1}, {WHOLE(0, ETAG(2), "")});
    assert_got("");
    /* Without an ETag nobody knows. */
    SCRIPT({WHOLE(10, "", "0123"), 0, 0, 1}, {WHOLE(10, "", "abcdefghij")});
    assert_got("abcdefghij");
    assert_not_asked(1, "Range:");
    SCRIPT({WHOLE(10, ETAG(1), "0123"), 0, 0, 1}, {WHOLE(10, "", "ABC"), 0, 0, 1},
           {WHOLE(10, "", "abcdefghij")});
    assert_got("abcdefghij");
    assert_not_asked(2, "Range:");
    /* A rest that is none. */
    SCRIPT({WHOLE(10, ETAG(1), "0123"), 0, 0, 1}, {REST(6, "3-9/10", "345678")},
           {REST(6, "4-8/10", "45678")}, {REST(6, "4-9/10", "456789")});
    assert_got("0123456789");
    /* Deleted meanwhile. */
    SCRIPT({WHOLE(10, ETAG(1), "0123"), 0, 0, 1}, {REFUSAL("404 N", "NoSuchKey"), 0, 0, 1});
    assert_null(get());
    assert_int_equal(err.code, ERR_NO_SUCH);
}

static void downloads_are_bounded(void **state)
{
    (void)state;
    struct step steps[SCRIPT_STEPS];
    static const struct {
        struct step step;
        const char *told;
    } rows[] = {
        {{"HTTP/1.1 200 OK\r\n\r\n", FOR_EVER, 0, 1}, "length"},
        {{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", 0, 0, 1}, "127.0.0.1"},
        {{"HTTP/1.1 200 OK\r\nX-Long: ", FOR_EVER, 0, 1}, "127.0.0.1"},
        {{"HTTP/1.1 500 E\r\n\r\n", FOR_EVER, 0, 1}, "too much"},
        {{"nonsense\r\n\r\n", 0, 0, 1}, "no HTTP; if it speaks TLS, use s3://"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t k = 0; k < SCRIPT_STEPS; k++)
            steps[k] = rows[i].step;
        script_set(server, steps, SCRIPT_STEPS);
        assert_null(get());
        assert_int_equal(err.code, ERR_UNAVAILABLE);
        assert_told(rows[i].told);
        assert_int_equal(script_requests(server), 6);
    }
    char *many = xalloc(80000);
    strcpy(many, "HTTP/1.1 200 OK\r\n");
    while (strlen(many) < 70000)
        strcat(many, "X-One-Of-Many: 0123456789012345678901234567890123456789012345678901234\r\n");
    for (size_t k = 0; k < SCRIPT_STEPS; k++)
        steps[k] = (struct step){many, 0, 0, 1};
    script_set(server, steps, SCRIPT_STEPS);
    assert_null(get());
    assert_told("too many headers");
    free(many);
}

static void slow_answers_end(void **state)
{
    (void)state;
    struct step drip[SCRIPT_STEPS], silent[SCRIPT_STEPS];
    for (size_t k = 0; k < SCRIPT_STEPS; k++) {
        drip[k] =
            (struct step){"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", FOR_EVER, 20, 1};
        silent[k] = (struct step){NULL, FOR_EVER, 900, 1};
    }
    s3->timing.bytes_a_second = 1e9;
    s3->timing.backoff_s = s3->timing.backoff_max_s = 1e6; /* one try */
    script_set(server, drip, SCRIPT_STEPS);
    double started = clock_seconds();
    assert_null(get());
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_told("too slow");
    script_set(server, silent, SCRIPT_STEPS);
    assert_int_equal(put("x"), ERR_UNAVAILABLE);
    /* Fast enough to be no stall, but without an end in sight. */
    s3->timing.stall_seconds = 1000;
    s3->timing.call_seconds = 1;
    script_set(server, drip, SCRIPT_STEPS);
    assert_null(get());
    assert_told("did not end a request in its time");
    assert_true(clock_seconds() - started < 20);
}

static void a_full_disk_is_told_and_not_tried_again(void **state)
{
    (void)state;
    struct rlimit old, small = {.rlim_cur = 4096, .rlim_max = RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    SCRIPT({"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", 10000, 0, 0});
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    char *got = get();
    setrlimit(RLIMIT_FSIZE, &old);
    assert_null(got);
    assert_told("temporary file");
    assert_int_equal(script_requests(server), 1);
    free(s3->spool);
    s3->spool = xstrdup("/no/such/folder");
    assert_null(get());
    assert_told("/no/such/folder");
}

/* --- parts ---------------------------------------------------------------------------------- */

#define STARTED                                                                                    \
    TEXT("200 OK", "<InitiateMultipartUploadResult><UploadId>the/id=</UploadId>"                   \
                   "</InitiateMultipartUploadResult>")
#define PART(n) "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" ETAG(n) "\r\n"
#define JOINED                                                                                     \
    TEXT("200 OK", "\n  <CompleteMultipartUploadResult><ETag>x</ETag>"                             \
                   "</CompleteMultipartUploadResult>")

static char *large_file(void)
{
    char *path = xasprintf("%s/large", dir);
    char *data = xalloc(5 << 19); /* two and a half parts */
    memset(data, 'a', 1 << 20);
    memset(data + (1 << 20), 'b', 1 << 20);
    memset(data + (2 << 20), 'c', 1 << 19);
    folder_write(path, data, 5 << 19);
    free(data);
    s3->part_size = 1 << 20;
    return path;
}

static void large_files_go_in_parts(void **state)
{
    (void)state;
    _cleanup_free_ char *path = large_file();
    SCRIPT({STARTED}, {PART(1)}, {UNAVAILABLE}, {PART(2)}, {PART(3)},
           {TEXT("200 OK", "   <Error><Code>InternalError</Code></Error>")},
           {TEXT("200 OK", "  <CompleteMultip")}, {JOINED});
    if (blob_s3_clear.put_file(s3, BLOB_RAW, "a/key", path, NULL, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(script_requests(server), 8);
    assert_asked(0, "POST /sonde-raw/a/key?uploads= HTTP/1.1");
    assert_asked(1, "PUT /sonde-raw/a/key?partNumber=1&uploadId=the%2Fid%3D HTTP/1.1");
    assert_asked(1, "\r\n\r\naaaa");
    assert_asked(2, "?partNumber=2&");
    assert_asked(3, "?partNumber=2&");
    assert_asked(3, "\r\n\r\nbbbb");
    assert_asked(4, "?partNumber=3&");
    assert_asked(4, "\r\nContent-Length: 524288\r\n");
    for (size_t i = 5; i < 8; i++) {
        assert_asked(i, "POST /sonde-raw/a/key?uploadId=the%2Fid%3D HTTP/1.1");
        assert_asked(i, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"e1\""
                        "</ETag></Part><Part><PartNumber>2</PartNumber><ETag>\"e2\"</ETag></Part>");
    }
}

static void putting_parts_together_may_take_its_time(void **state)
{
    (void)state;
    _cleanup_free_ char *path = large_file();
    s3->part_size = 2 << 20;
    SCRIPT({STARTED}, {PART(1)}, {PART(2)},
           {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<CompleteMultipartUploadResult><ETag>",
            300, 9, 1},
           {JOINED});
    if (blob_s3_clear.put_file(s3, BLOB_RAW, "a/key", path, NULL, &err) != ERR_OK)
        fail_msg("%s", err.text);
    /* It was waited for, longer than a stall may take; only then it was seen to be no answer. */
    assert_int_equal(script_requests(server), 5);
    assert_true(strlen(err.text) > 0);
    assert_told("answers 200");
}

static void an_upload_that_fails_is_aborted(void **state)
{
    (void)state;
    _cleanup_free_ char *path = large_file();
    static const char gone[] = "HTTP/1.1 204 No Content\r\n\r\n";
    SCRIPT({STARTED}, {PART(1)}, {REFUSAL("507 N", "X"), 0, 0, 1}, {gone});
    assert_int_equal(blob_s3_clear.put_file(s3, BLOB_RAW, "a/key", path, NULL, &err), ERR_NO_SPACE);
    assert_asked(3, "DELETE /sonde-raw/a/key?uploadId=the%2Fid%3D HTTP/1.1");
    assert_int_equal(script_requests(server), 4);
    SCRIPT({STARTED}, {PART(1)}, {PART(2)}, {PART(3)},
           {TEXT("200 OK", "<Error><Code>InvalidPart</Code><Message>no</Message></Error>")},
           {gone});
    assert_int_equal(blob_s3_clear.put_file(s3, BLOB_RAW, "a/key", path, NULL, &err),
                     ERR_UNAVAILABLE);
    assert_told("InvalidPart");
    assert_asked(5, "DELETE ");
    /* Without an ETag the parts cannot be put together. */
    SCRIPT({STARTED}, {EMPTY_200}, {gone});
    assert_int_equal(blob_s3_clear.put_file(s3, BLOB_RAW, "a/key", path, NULL, &err),
                     ERR_UNAVAILABLE);
    SCRIPT({TEXT("200 OK", "<Other/>")});
    assert_int_equal(blob_s3_clear.put_file(s3, BLOB_RAW, "a/key", path, NULL, &err),
                     ERR_UNAVAILABLE);
    assert_told("no id");
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
}

static void uploads_of_the_dead_are_swept(void **state)
{
    (void)state;
    char old[TIME_TEXT], young[TIME_TEXT];
    time_format(time_now_ms() - 25 * 3600 * 1000LL, old);
    time_format(time_now_ms() - 23 * 3600 * 1000LL, young);
    _cleanup_free_ char *list = xasprintf(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<ListMultipartUploadsResult>"
        "<Upload><Key>a/old</Key><UploadId>1</UploadId><Initiated>%s</Initiated></Upload>"
        "<Upload><Key>a/young</Key><UploadId>2</UploadId><Initiated>%s</Initiated></Upload>"
        "<Upload><Key>Not Ours</Key><UploadId>3</UploadId><Initiated>%s</Initiated></Upload>"
        "<Upload><Key>a/undated</Key><UploadId>4</UploadId></Upload>"
        "</ListMultipartUploadsResult>",
        old, young, old);
    blob_s3.close_store(s3);
    SCRIPT({EMPTY_200}, {EMPTY_200}, {EMPTY_200}, {EMPTY_200}, {list, 0, 0, 1},
           {"HTTP/1.1 204 No Content\r\n\r\n"}, {REFUSAL("403 F", "AccessDenied"), 0, 0, 1},
           {TEXT("200 OK", "no xml")}, {EMPTY_200});
    struct blob_options options = options_for();
    open_with(&options);
    assert_int_equal(script_requests(server), 9);
    assert_asked(4, "GET /sonde-raw?uploads= HTTP/1.1");
    assert_asked(5, "DELETE /sonde-raw/a/old?uploadId=1 HTTP/1.1");
    assert_asked(6, "GET /sonde-processed?uploads= HTTP/1.1");
}

/* --- listings ------------------------------------------------------------------------------- */

static char seen[1000];

static int see(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    size_t n = strlen(seen);
    (void)ctx;
    snprintf(seen + n, sizeof seen - n, "%s %llu %lld;", key, (unsigned long long)size,
             (long long)modified_ms);
    return 0;
}

static enum err_code list(void)
{
    seen[0] = '\0';
    return blob_s3_clear.list(s3, BLOB_RAW, see, NULL, &err);
}

#define PAGE(head, keys) TEXT("200 OK", "<ListBucketResult>" head keys "</ListBucketResult>")
#define ENTRY(key, size)                                                                           \
    "<Contents><Key>" key "</Key><Size>" size "</Size>"                                            \
    "<LastModified>1970-01-01T00:00:01.500Z</LastModified></Contents>"
#define MORE "<IsTruncated>true</IsTruncated>"

static void listings_have_pages(void **state)
{
    (void)state;
    SCRIPT({PAGE(MORE "<NextContinuationToken>t/1=</NextContinuationToken>",
                 ENTRY("a%2Fb", "3") ENTRY("Foreign+Key", "1"))},
           {PAGE(MORE, ENTRY("a/c", "18446744073709551615"))}, {PAGE("", ENTRY("a/d", "0"))});
    assert_int_equal(list(), ERR_OK);
    assert_string_equal(seen, "a/b 3 1500;a/c 18446744073709551615 1500;a/d 0 1500;");
    assert_asked(0, "GET /sonde-raw?encoding-type=url&list-type=2&max-keys=1000 HTTP/1.1");
    assert_asked(1, "GET /sonde-raw?continuation-token=t%2F1%3D&encoding-type=url&list-type=2&");
    assert_asked(2, "&start-after=a%2Fc HTTP/1.1"); /* where there is no token */
}

static void wrong_listings_are_refused(void **state)
{
    (void)state;
    SCRIPT({PAGE(MORE, ENTRY("a", "1"))}, {PAGE(MORE, ENTRY("a", "1"))});
    assert_int_equal(list(), ERR_UNAVAILABLE);
    assert_told("again and again");
    SCRIPT({PAGE(MORE "<NextContinuationToken>t</NextContinuationToken>", ENTRY("a", "1"))},
           {PAGE(MORE "<NextContinuationToken>t</NextContinuationToken>", ENTRY("b", "1"))});
    assert_int_equal(list(), ERR_UNAVAILABLE);
    assert_told("again and again");
    SCRIPT({TEXT("200 OK", "<ListBucketResult><Contents>")});
    assert_int_equal(list(), ERR_UNAVAILABLE);
    assert_told("no XML");
    SCRIPT({EMPTY_200});
    assert_int_equal(list(), ERR_UNAVAILABLE);
    char *much = xalloc(1001 * 100);
    strcpy(much, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<ListBucketResult>");
    size_t n = strlen(much);
    for (int i = 0; i <= 1000; i++)
        n += (size_t)sprintf(much + n, "<Contents><Key>k%d</Key></Contents>", i);
    strcpy(much + n, "</ListBucketResult>");
    SCRIPT({much, 0, 0, 1});
    assert_int_equal(list(), ERR_LIMIT);
    assert_string_equal(seen, "");
    free(much);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(requests_are_signed_and_share_a_connection),
        ROW(a_bucket_may_be_part_of_the_host),
        ROW(what_passes_is_waited_out),
        ROW(tries_have_an_end),
        ROW(a_server_may_say_how_long_to_wait),
        ROW(a_server_that_is_gone_is_named),
        ROW(refusals_have_cause_and_cure),
        ROW(a_size_tells_an_outage_from_what_is_gone),
        ROW(opening_tells_mistakes),
        ROW(missing_buckets_are_made_when_asked_for),
        ROW(wrong_settings_are_told_without_a_request),
        ROW(the_servers_clock_is_learnt),
        ROW(a_clock_that_stays_wrong_is_told),
        ROW(a_broken_download_goes_on),
        ROW(a_download_is_of_one_object),
        ROW(downloads_are_bounded),
        ROW(slow_answers_end),
        ROW(a_full_disk_is_told_and_not_tried_again),
        ROW(large_files_go_in_parts),
        ROW(putting_parts_together_may_take_its_time),
        ROW(an_upload_that_fails_is_aborted),
        ROW(uploads_of_the_dead_are_swept),
        ROW(listings_have_pages),
        ROW(wrong_listings_are_refused),
    };
    return cmocka_run_group_tests_name("driver_blob_s3", tests, NULL, NULL);
}

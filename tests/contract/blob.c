/* The contract of driver/blob/blob.h, over every driver that keeps it. A new driver joins by a row
 * in `drivers`: how to make an empty store, and how to take it away.
 *
 * The rows of S3 need a server: SONDE_TEST_S3 is its url, SONDE_TEST_S3_KEY and _SECRET a key that
 * may make and remove buckets; SONDE_TEST_S3_TLS and SONDE_TEST_S3_CA the same behind TLS. Each
 * test has buckets of its own there. Without them these rows are skipped, and say so. */
#include "../support/cm.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../support/folder.h"
#include "base/mem.h"
#include "base/time.h"
#include "base/id.h"
#include "driver/blob/blob.h"
#include "driver/blob/s3.h"

/* What each test gets: a store, and a folder for the caller's own files. */
struct bench {
    struct blob *blob;
    struct blob_options options;
    char *url, *store, *own, *prefix;
    int rounds; /* of the race */
};

static struct err err;
#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

static void open_in(struct bench *b, const char *prefix)
{
    b->store = folder_new();
    b->url = xasprintf("%sfs:%s/blobs", prefix, b->store);
    b->options.url = b->url;
    b->rounds = 150;
    OK(blob_open_store(&b->options, &b->blob, &err));
}

static void open_fs(struct bench *b)
{
    open_in(b, "");
}

/* A wrapper that never gets to its fault must be as good as what it wraps. */
static void open_fault(struct bench *b)
{
    open_in(b, "fault:1000000000:");
}

static void open_s3_at(struct bench *b, const char *prefix, const char *url, const char *ca_file)
{
    unsigned number;
    random_bytes(&number, sizeof number);
    b->store = folder_new();
    b->url = xasprintf("%s%s", prefix, url);
    b->prefix = xasprintf("test-%08x-", number);
    b->rounds = 8; /* hundreds of requests */
    b->options = (struct blob_options){.url = b->url,
                                       .key_id = getenv("SONDE_TEST_S3_KEY"),
                                       .secret = getenv("SONDE_TEST_S3_SECRET"),
                                       .prefix = b->prefix,
                                       .ca_file = ca_file,
                                       .spool = b->store,
                                       .make_buckets = 1};
    OK(blob_open_store(&b->options, &b->blob, &err));
}

static void open_s3(struct bench *b)
{
    open_s3_at(b, "", getenv("SONDE_TEST_S3"), NULL);
}

/* Also: the wrapper hands on what S3 needs to know. */
static void open_s3_tls(struct bench *b)
{
    open_s3_at(b, "fault:1000000000:", getenv("SONDE_TEST_S3_TLS"), getenv("SONDE_TEST_S3_CA"));
}

struct dropping {
    void *s3;
    enum blob_bucket bucket;
};

static int drop_key(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    struct dropping *d = ctx;
    (void)size;
    (void)modified_ms;
    (void)!blob_s3.del(d->s3, d->bucket, key, NULL);
    return 0;
}

/* The buckets with what is left in them. */
static void drop_s3(struct bench *b)
{
    const char *rest;
    void *s3 = NULL;
    const char *url = strstr(b->url, "s3");
    const struct blob_driver *plain = blob_find_driver(url, &rest, &err);
    if (plain->open_store(&b->options, rest, &s3, &err) != ERR_OK)
        return;
    for (int i = 0; i < BLOB_BUCKETS; i++) {
        struct dropping dropping = {s3, i};
        struct s3_call call = {.method = "DELETE", .bucket = i};
        if (plain->list(s3, i, drop_key, &dropping, &err) != ERR_OK ||
            s3_call(s3, &call, &err) != ERR_OK)
            print_error("a bucket of %s stays: %s\n", b->prefix, err.text);
        s3_call_done(&call);
    }
    plain->close_store(s3);
}

static const struct driver {
    const char *name;
    void (*open)(struct bench *b);
    void (*drop)(struct bench *b);
    const char *needs; /* a variable of the environment, without which its tests are skipped */
} drivers[] = {
    {"fs", open_fs, NULL, NULL},
    {"fault", open_fault, NULL, NULL},
    {"s3", open_s3, drop_s3, "SONDE_TEST_S3"},
    {"s3 over TLS", open_s3_tls, drop_s3, "SONDE_TEST_S3_TLS"},
};
static const struct driver *driver; /* of the test that runs */

static int setup(void **state)
{
    driver = *state;
    struct bench *b = xalloc(sizeof *b);
    b->own = folder_new();
    driver->open(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    blob_close_store(b->blob);
    if (driver->drop)
        driver->drop(b);
    folder_drop(b->store);
    folder_drop(b->own);
    free(b->prefix);
    free(b->url);
    free(b);
    return 0;
}

static void assert_content(struct bench *b, const char *key, const char *want)
{
    _cleanup_free_ char *got = NULL;
    size_t size = 0;
    OK(blob_get(b->blob, BLOB_RAW, key, 1 << 20, &got, &size, &err));
    assert_int_equal(size, strlen(want));
    assert_string_equal(got, want);
    uint64_t told = 0;
    OK(blob_size(b->blob, BLOB_RAW, key, &told, &err));
    assert_int_equal(told, size);
}

static void assert_absent(struct bench *b, const char *key)
{
    int fd = -1;
    uint64_t size;
    assert_int_equal(blob_open(b->blob, BLOB_RAW, key, &fd, &size, &err), ERR_NO_SUCH);
    assert_int_equal(fd, -1);
    assert_int_equal(blob_size(b->blob, BLOB_RAW, key, &size, &err), ERR_NO_SUCH);
}

static void put_text(struct bench *b, const char *key, const char *text)
{
    OK(blob_put(b->blob, BLOB_RAW, key, text, strlen(text), &err));
}

static int count_key(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    (void)key;
    (void)size;
    (void)modified_ms;
    ++*(int *)ctx;
    return 0;
}

static int listed(struct bench *b, enum blob_bucket bucket)
{
    int n = 0;
    OK(blob_list(b->blob, bucket, count_key, &n, &err));
    return n;
}

static void what_is_put_comes_back(void **state)
{
    struct bench *b = *state;
    static const char binary[] = "a\0b\xff\n";
    _cleanup_free_ char *got = NULL;
    size_t size = 99;
    OK(blob_ping(b->blob, &err));
    put_text(b, "2026/11/21/one.wav", "first");
    assert_content(b, "2026/11/21/one.wav", "first");
    put_text(b, "2026/11/21/one.wav", "second and longer");
    assert_content(b, "2026/11/21/one.wav", "second and longer");
    put_text(b, "2026/11/21/one.wav", "3");
    assert_content(b, "2026/11/21/one.wav", "3");
    OK(blob_put(b->blob, BLOB_RAW, "empty", NULL, 0, &err));
    assert_content(b, "empty", "");
    OK(blob_put(b->blob, BLOB_REPORTS, "binary", binary, sizeof binary, &err));
    OK(blob_get(b->blob, BLOB_REPORTS, "binary", sizeof binary, &got, &size, &err));
    assert_int_equal(size, sizeof binary);
    assert_memory_equal(got, binary, size);
    assert_int_equal(got[size], 0);
}

static void buckets_are_apart(void **state)
{
    struct bench *b = *state;
    assert_string_equal(blob_bucket_name(BLOB_RAW), "raw");
    assert_string_equal(blob_bucket_name(BLOB_REPORTS), "reports");
    OK(blob_put(b->blob, BLOB_MODELS, "x", "m", 1, &err));
    assert_absent(b, "x");
    put_text(b, "x", "r");
    OK(blob_delete(b->blob, BLOB_MODELS, "x", &err));
    assert_content(b, "x", "r");
    assert_int_equal(listed(b, BLOB_MODELS), 0);
    assert_int_equal(listed(b, BLOB_RAW), 1);
}

static void a_file_moves_in(void **state)
{
    struct bench *b = *state;
    _cleanup_free_ char *path = xasprintf("%s/upload", b->own);
    folder_write(path, "spooled", 7);
    /* Its age counts from the put: what sweeps up old keys must not take a new one. */
    const struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    OK(blob_put_file(b->blob, BLOB_RAW, "a/b/file", path, NULL, &err));
    assert_int_not_equal(access(path, F_OK), 0);
    assert_content(b, "a/b/file", "spooled");
    folder_write(path, "again, and longer", 17);
    OK(blob_put_file(b->blob, BLOB_RAW, "a/b/file", path, NULL, &err));
    assert_content(b, "a/b/file", "again, and longer");
    assert_int_equal(folder_count(b->own), 0);
}

static void a_known_hash_is_believed_or_checked(void **state)
{
    struct bench *b = *state;
    _cleanup_free_ char *path = xasprintf("%s/upload", b->own);
    char sha256[SHA256_HEX];
    OK(sha256_mem("spooled", 7, sha256, &err));
    folder_write(path, "spooled", 7);
    OK(blob_put_file(b->blob, BLOB_RAW, "a/b/file", path, sha256, &err));
    assert_content(b, "a/b/file", "spooled");
    folder_write(path, "other", 5);
    if (blob_put_file(b->blob, BLOB_RAW, "a/b/wrong", path, sha256, &err) == ERR_OK) {
        assert_content(b, "a/b/wrong", "other");
        assert_int_not_equal(access(path, F_OK), 0);
    } else { /* where it is checked, nothing is stored, and the file stays */
        assert_absent(b, "a/b/wrong");
        assert_int_equal(access(path, F_OK), 0);
    }
}

static void a_file_that_cannot_be_put_stays(void **state)
{
    struct bench *b = *state;
    _cleanup_free_ char *path = xasprintf("%s/upload", b->own);
    _cleanup_free_ char *folder = xasprintf("%s/folder", b->own);
    _cleanup_free_ char *link = xasprintf("%s/link", b->own);
    folder_write(path, "spooled", 7);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(blob_put_file(b->blob, BLOB_RAW, "Bad Key", path, NULL, &err), ERR_INTERNAL);
    assert_int_not_equal(blob_put_file(b->blob, BLOB_RAW, "x", "/nowhere/at/all", NULL, &err),
                         ERR_OK);
    assert_int_not_equal(blob_put_file(b->blob, BLOB_RAW, "x", folder, NULL, &err), ERR_OK);
    assert_int_not_equal(blob_put_file(b->blob, BLOB_RAW, "x", link, NULL, &err), ERR_OK);
    assert_int_equal(folder_count(b->own), 3);
    assert_absent(b, "x");
    assert_int_equal(listed(b, BLOB_RAW), 0);
}

static void an_open_file_outlives_its_key(void **state)
{
    struct bench *b = *state;
    char text[16] = "";
    uint64_t size = 0;
    _cleanup_close_ int fd = -1;
    put_text(b, "gone", "still here");
    OK(blob_open(b->blob, BLOB_RAW, "gone", &fd, &size, &err));
    assert_int_equal(size, 10);
    put_text(b, "gone", "replaced");
    OK(blob_delete(b->blob, BLOB_RAW, "gone", &err));
    assert_int_equal(read(fd, text, sizeof text), 10);
    assert_string_equal(text, "still here");
    assert_absent(b, "gone");
}

static void get_keeps_its_limit(void **state)
{
    struct bench *b = *state;
    char *got = (char *)1;
    size_t size;
    put_text(b, "ten", "0123456789");
    assert_int_equal(blob_get(b->blob, BLOB_RAW, "ten", 9, &got, &size, &err), ERR_LIMIT);
    assert_null(got);
    OK(blob_get(b->blob, BLOB_RAW, "ten", 10, &got, &size, &err));
    free(got);
    assert_int_equal(blob_get(b->blob, BLOB_RAW, "none", 10, &got, &size, &err), ERR_NO_SUCH);
    assert_null(got);
    assert_non_null(strstr(err.text, "none"));
}

static void deleting_is_for_good_and_may_repeat(void **state)
{
    struct bench *b = *state;
    put_text(b, "a/b/c", "x");
    put_text(b, "a/d", "y");
    OK(blob_delete(b->blob, BLOB_RAW, "a/b/c", &err));
    OK(blob_delete(b->blob, BLOB_RAW, "a/b/c", &err));
    OK(blob_delete(b->blob, BLOB_RAW, "never/was", &err));
    OK(blob_delete(b->blob, BLOB_RAW, "a", &err)); /* part of a key is no key */
    assert_absent(b, "a/b/c");
    assert_absent(b, "a");
    assert_content(b, "a/d", "y");
    put_text(b, "a/b/c", "back");
    assert_content(b, "a/b/c", "back");
}

static void keys_have_one_form(void **state)
{
    struct bench *b = *state;
    char long_key[202];
    memset(long_key, 'k', sizeof long_key);
    long_key[201] = '\0';
    static const char *const bad[] = {"",     "A",    "a b",  "/a",   "a/",      "a//b",
                                      "..",   "a/..", "../a", "a..b", "a/./b",   ".hidden",
                                      "a/.b", "a\nb", "a\\b", "a:b",  "\xd0\x9f"};
    for (size_t i = 0; i <= ARRAY_LEN(bad); i++) {
        const char *key = i < ARRAY_LEN(bad) ? bad[i] : long_key;
        int fd;
        uint64_t size;
        assert_int_equal(blob_put(b->blob, BLOB_RAW, key, "x", 1, &err), ERR_INTERNAL);
        assert_int_equal(blob_open(b->blob, BLOB_RAW, key, &fd, &size, &err), ERR_INTERNAL);
        assert_int_equal(blob_size(b->blob, BLOB_RAW, key, &size, &err), ERR_INTERNAL);
        assert_int_equal(blob_delete(b->blob, BLOB_RAW, key, &err), ERR_INTERNAL);
    }
    assert_int_equal(listed(b, BLOB_RAW), 0);
    long_key[200] = '\0';
    put_text(b, long_key, "long");
    put_text(b, "a-b_c.d/0.x", "all letters");
    assert_content(b, long_key, "long");
    assert_content(b, "a-b_c.d/0.x", "all letters");
}

struct seen {
    struct bench *b;
    int flags, calls, stop_after;
    int64_t earliest;
};

static int see(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    struct seen *seen = ctx;
    static const char *const keys[] = {"one", "a/two", "a/b/three"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcmp(key, keys[i]) == 0) {
            assert_int_equal(size, i + 1);
            assert_false(seen->flags & 1 << i); /* once each */
            seen->flags |= 1 << i;
        }
    assert_in_range(modified_ms, seen->earliest - 5000, time_now_ms() + 5000);
    return ++seen->calls == seen->stop_after;
}

static int delete_seen(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    struct seen *seen = ctx;
    (void)size;
    (void)modified_ms;
    OK(blob_delete(seen->b->blob, BLOB_RAW, key, &err));
    seen->calls++;
    return 0;
}

static void a_list_has_each_key_once(void **state)
{
    struct bench *b = *state;
    struct seen seen = {.b = b, .earliest = time_now_ms()};
    _cleanup_free_ char *path = xasprintf("%s/upload", b->own);
    folder_write(path, "123", 3);
    const struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    put_text(b, "one", "1");
    put_text(b, "a/two", "12");
    OK(blob_put_file(b->blob, BLOB_RAW, "a/b/three", path, NULL, &err));
    OK(blob_list(b->blob, BLOB_RAW, see, &seen, &err));
    assert_int_equal(seen.flags, 7);
    assert_int_equal(seen.calls, 3);
    seen = (struct seen){.b = b, .stop_after = 2, .earliest = seen.earliest};
    OK(blob_list(b->blob, BLOB_RAW, see, &seen, &err));
    assert_int_equal(seen.calls, 2);
    seen = (struct seen){.b = b};
    OK(blob_list(b->blob, BLOB_RAW, delete_seen, &seen, &err)); /* `each` may call the store */
    assert_int_equal(seen.calls, 3);
    assert_int_equal(listed(b, BLOB_RAW), 0);
}

static void what_is_stored_outlives_the_store(void **state)
{
    struct bench *b = *state;
    put_text(b, "kept/one", "still");
    b->blob = blob_close_store(b->blob);
    assert_null(b->blob);
    OK(blob_open_store(&b->options, &b->blob, &err));
    assert_content(b, "kept/one", "still");
    assert_null(blob_close_store(NULL));
}

struct racer {
    struct bench *b;
    int number;
    atomic_int *torn;
};

/* Puts, reads and deletes keys of folders that others empty at the same moment. */
static void *race(void *arg)
{
    struct racer *r = arg;
    char shared[] = "race/x/shared", own[40], text[5000];
    struct err e;
    snprintf(own, sizeof own, "race/x/own%d", r->number);
    memset(text, 'a' + r->number, sizeof text);
    for (int i = 0; i < r->b->rounds; i++) {
        char *got = NULL;
        size_t size = 0;
        int bad = blob_put(r->b->blob, BLOB_RAW, own, text, sizeof text, &e) != ERR_OK;
        bad |= blob_put(r->b->blob, BLOB_RAW, shared, text, sizeof text, &e) != ERR_OK;
        enum err_code rc = blob_get(r->b->blob, BLOB_RAW, shared, 1 << 20, &got, &size, &e);
        bad |= rc != ERR_OK && rc != ERR_NO_SUCH;
        for (size_t k = 0; rc == ERR_OK && k < size; k++)
            bad |= got[k] != got[0];
        bad |= rc == ERR_OK && size != sizeof text;
        free(got);
        got = NULL;
        /* Nobody else touches this one: it must be there. */
        bad |= blob_get(r->b->blob, BLOB_RAW, own, 1 << 20, &got, &size, &e) != ERR_OK;
        free(got);
        bad |= blob_delete(r->b->blob, BLOB_RAW, own, &e) != ERR_OK;
        bad |= blob_delete(r->b->blob, BLOB_RAW, shared, &e) != ERR_OK;
        if (bad)
            atomic_fetch_add(r->torn, 1);
    }
    return NULL;
}

static void threads_see_whole_values_or_none(void **state)
{
    atomic_int torn = 0;
    pthread_t threads[4];
    struct racer racers[4];
    for (int i = 0; i < 4; i++) {
        racers[i] = (struct racer){*state, i, &torn};
        pthread_create(&threads[i], NULL, race, &racers[i]);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(torn, 0);
    assert_int_equal(listed(*state, BLOB_RAW), 0);
}

static void needs_a_server(void **state)
{
    (void)state;
    skip();
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest suite[] = {
        ROW(what_is_put_comes_back),
        ROW(buckets_are_apart),
        ROW(a_file_moves_in),
        ROW(a_known_hash_is_believed_or_checked),
        ROW(a_file_that_cannot_be_put_stays),
        ROW(an_open_file_outlives_its_key),
        ROW(get_keeps_its_limit),
        ROW(deleting_is_for_good_and_may_repeat),
        ROW(keys_have_one_form),
        ROW(a_list_has_each_key_once),
        ROW(what_is_stored_outlives_the_store),
        ROW(threads_see_whole_values_or_none),
    };
    struct CMUnitTest tests[ARRAY_LEN(drivers) * ARRAY_LEN(suite)];
    for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
        const struct driver *d = &drivers[i / ARRAY_LEN(suite)];
        tests[i] = suite[i % ARRAY_LEN(suite)];
        int missing = d->needs && !getenv(d->needs);
        tests[i].name = xasprintf("%s: %s%s%s%s", d->name, tests[i].name, missing ? " (" : "",
                                  missing ? d->needs : "", missing ? " is not set)" : "");
        tests[i].initial_state = (void *)(uintptr_t)d;
        if (missing)
            tests[i] = (struct CMUnitTest){.name = tests[i].name, .test_func = needs_a_server};
    }
    int failed = cmocka_run_group_tests_name("contract_blob", tests, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        free((void *)(uintptr_t)tests[i].name);
    return failed;
}

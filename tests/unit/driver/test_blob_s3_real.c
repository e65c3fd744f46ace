/* driver/blob, S3, on a real server (see tests/contract/blob.c for what it needs in the
 * environment): what the contract does not ask for, and what a server says when a setting is wrong.
 * Without a server these tests are skipped. */
#include "../../support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../support/folder.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/time.h"
#include "driver/blob/s3.h"

static struct blob_options options;
static char *dir;
static char prefix[32];
static struct err err;

static const char *clear_rest(void)
{
    return strchr(getenv("SONDE_TEST_S3"), ':') + 1;
}

static struct s3 *open_s3(void)
{
    void *self = NULL;
    if (blob_s3_clear.open_store(&options, clear_rest(), &self, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return self;
}

static int setup(void **state)
{
    unsigned number;
    (void)state;
    if (!getenv("SONDE_TEST_S3"))
        return 0;
    random_bytes(&number, sizeof number);
    snprintf(prefix, sizeof prefix, "test-%08x-", number);
    dir = folder_new();
    options = (struct blob_options){.key_id = getenv("SONDE_TEST_S3_KEY"),
                                    .secret = getenv("SONDE_TEST_S3_SECRET"),
                                    .prefix = prefix,
                                    .spool = dir,
                                    .make_buckets = 1};
    return 0;
}

static int drop_key(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    (void)size;
    (void)modified_ms;
    (void)!blob_s3_clear.del(ctx, BLOB_RAW, key, NULL);
    return 0;
}

/* Only the buckets that a test has made are there. */
static int teardown(void **state)
{
    (void)state;
    void *s3 = NULL;
    if (!getenv("SONDE_TEST_S3"))
        return 0;
    options.make_buckets = 0;
    if (blob_s3_clear.open_store(&options, clear_rest(), &s3, &err) == ERR_OK) {
        (void)!blob_s3_clear.list(s3, BLOB_RAW, drop_key, s3, &err);
        for (int i = 0; i < BLOB_BUCKETS; i++) {
            struct s3_call call = {.method = "DELETE", .bucket = i};
            if (s3_call(s3, &call, &err) != ERR_OK)
                print_error("a bucket of %s stays: %s\n", prefix, err.text);
            s3_call_done(&call);
        }
        blob_s3_clear.close_store(s3);
    }
    dir = folder_drop(dir);
    return 0;
}

#define NEEDS(name)                                                                                \
    if (!getenv(name)) {                                                                           \
        print_message("%s is not set\n", name);                                                    \
        skip();                                                                                    \
    }

static void assert_told(const char *part)
{
    if (!strstr(err.text, part))
        fail_msg("'%s' is not told: %s", part, err.text);
    assert_null(strstr(err.text, options.secret));
}

static void large_files_come_back(void **state)
{
    (void)state;
    NEEDS("SONDE_TEST_S3");
    enum { SIZE = (7 << 20) / 2 };
    options.part_size = 1 << 20;
    struct s3 *s3 = open_s3();
    _cleanup_free_ char *path = xasprintf("%s/large", dir);
    char *data = xalloc(SIZE), *back = xalloc(SIZE);
    int fd = -1;
    uint64_t size = 0;
    random_bytes(data, SIZE);
    folder_write(path, data, SIZE);
    if (blob_s3_clear.put_file(s3, BLOB_RAW, "a/large", path, NULL, &err) != ERR_OK ||
        blob_s3_clear.open(s3, BLOB_RAW, "a/large", &fd, &size, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_int_equal(size, SIZE);
    for (size_t done = 0; done < SIZE;) {
        ssize_t n = read(fd, back + done, SIZE - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
    assert_memory_equal(back, data, SIZE);
    close(fd);
    free(data);
    free(back);
    assert_int_equal(folder_count(dir), 0);
    blob_s3_clear.close_store(s3);
}

static int count_key(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    (void)key;
    (void)size;
    (void)modified_ms;
    ++*(int *)ctx;
    return 0;
}

static void a_listing_has_pages(void **state)
{
    (void)state;
    NEEDS("SONDE_TEST_S3");
    struct s3 *s3 = open_s3();
    int n = 0;
    s3->page_keys = 3;
    for (int i = 0; i < 10; i++) {
        char key[32];
        snprintf(key, sizeof key, "page/%d.x_y-z", i);
        assert_int_equal(blob_s3_clear.put(s3, BLOB_RAW, key, "x", 1, &err), ERR_OK);
    }
    assert_int_equal(blob_s3_clear.list(s3, BLOB_RAW, count_key, &n, &err), ERR_OK);
    assert_int_equal(n, 10);
    blob_s3_clear.close_store(s3);
}

static void a_wrong_clock_is_set_right(void **state)
{
    (void)state;
    NEEDS("SONDE_TEST_S3");
    struct s3 *s3 = open_s3();
    int64_t hour = 3600 * 1000;
    s3->skew_ms = hour; /* as if the server's clock had been put back since */
    if (blob_s3_clear.ping(s3, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_true(s3->skew_ms > -5000 && s3->skew_ms < 5000);
    s3->skew_ms = -hour;
    if (blob_s3_clear.put(s3, BLOB_RAW, "x", "x", 1, &err) != ERR_OK)
        fail_msg("%s", err.text);
    blob_s3_clear.close_store(s3);
}

static void a_bucket_may_be_part_of_the_host(void **state)
{
    (void)state;
    NEEDS("SONDE_TEST_S3");
    struct s3 *s3 = open_s3();
    char *port = strrchr(s3->host, ':');
    if (strncmp(s3->host, "127.0.0.1:", 10) != 0) {
        blob_s3_clear.close_store(s3);
        skip(); /* only the server of the tests is known to be localhost too */
    }
    char *named = xasprintf("localhost%s", port);
    free(s3->host);
    s3->host = named;
    s3->host_style = 1;
    if (blob_s3_clear.ping(s3, &err) != ERR_OK ||
        blob_s3_clear.put(s3, BLOB_RAW, "a/b", "x", 1, &err) != ERR_OK)
        fail_msg("%s", err.text);
    int n = 0;
    assert_int_equal(blob_s3_clear.list(s3, BLOB_RAW, count_key, &n, &err), ERR_OK);
    assert_int_equal(n, 1);
    blob_s3_clear.close_store(s3);
}

static void wrong_settings_are_told(void **state)
{
    (void)state;
    NEEDS("SONDE_TEST_S3");
    void *self = NULL;
    struct blob_options wrong = options;
    wrong.secret = "not-the-secret";
    assert_int_equal(blob_s3_clear.open_store(&wrong, clear_rest(), &self, &err), ERR_PERMISSION);
    assert_told("SONDE_BLOB_SECRET");
    assert_null(strstr(err.text, wrong.secret));
    wrong = options;
    wrong.key_id = "nobody:here";
    assert_int_equal(blob_s3_clear.open_store(&wrong, clear_rest(), &self, &err), ERR_PERMISSION);
    assert_told("nobody:here");
    wrong = options;
    wrong.make_buckets = 0;
    assert_int_equal(blob_s3_clear.open_store(&wrong, clear_rest(), &self, &err), ERR_NO_SUCH);
    assert_told(prefix);
    assert_told("raw");
    assert_told("SONDE_BLOB_MAKE_BUCKETS");
    assert_int_not_equal(blob_s3.open_store(&options, clear_rest(), &self, &err), ERR_OK);
    assert_told("s3+http://");
    assert_null(self);
}

static void a_certificate_must_be_signed_by_whom_the_settings_name(void **state)
{
    (void)state;
    NEEDS("SONDE_TEST_S3_TLS");
    void *self = NULL;
    const char *rest = strchr(getenv("SONDE_TEST_S3_TLS"), ':') + 1;
    assert_int_equal(blob_s3.open_store(&options, rest, &self, &err), ERR_UNAVAILABLE);
    assert_told("SONDE_BLOB_CA_FILE");
    _cleanup_free_ char *empty = xasprintf("%s/empty.pem", dir);
    folder_write(empty, "x", 1);
    struct blob_options wrong = options;
    wrong.ca_file = empty;
    assert_int_equal(blob_s3.open_store(&wrong, rest, &self, &err), ERR_USAGE);
    assert_told("empty.pem");
    assert_int_not_equal(blob_s3_clear.open_store(&options, rest, &self, &err), ERR_OK);
    assert_told("s3://");
    assert_null(self);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(large_files_come_back),
        ROW(a_listing_has_pages),
        ROW(a_wrong_clock_is_set_right),
        ROW(a_bucket_may_be_part_of_the_host),
        ROW(wrong_settings_are_told),
        ROW(a_certificate_must_be_signed_by_whom_the_settings_name),
    };
    return cmocka_run_group_tests_name("driver_blob_s3_real", tests, NULL, NULL);
}

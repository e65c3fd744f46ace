/* driver/blob/s3_sign: the signatures that the S3 documentation publishes for its example keys, and
 * the encodings under them. */
#include "../../support/cm.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "driver/blob/s3_sign.h"

static const struct s3_keys keys = {"AKIAIOSFODNN7EXAMPLE",
                                    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"};
static struct err err;

#define DATE "20130524T000000Z"
#define HOST                                                                                       \
    {"host", "examplebucket.s3.amazonaws.com"},                                                    \
    {                                                                                              \
        "x-amz-date", DATE                                                                         \
    }
#define EMPTY                                                                                      \
    {                                                                                              \
        "x-amz-content-sha256", S3_EMPTY_PAYLOAD                                                   \
    }
#define WELCOME "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

/* "Authenticating Requests: Using the Authorization Header", examples in its order. */
static const struct golden {
    const char *method, *path, *payload;
    struct s3_pair query[2], headers[6];
    const char *names, *signature;
} golden[] = {
    {"GET",
     "/test.txt",
     S3_EMPTY_PAYLOAD,
     {{0}},
     {{"range", "bytes=0-9"}, HOST, EMPTY},
     "host;range;x-amz-content-sha256;x-amz-date",
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT",
     "/test$file.text",
     WELCOME,
     {{0}},
     {{"x-amz-storage-class", " REDUCED_REDUNDANCY "},
      HOST,
      {"date", "Fri, 24 May 2013 00:00:00 GMT"},
      {"x-amz-content-sha256", WELCOME}},
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET",
     "/",
     S3_EMPTY_PAYLOAD,
     {{"lifecycle", ""}},
     {HOST, EMPTY},
     "host;x-amz-content-sha256;x-amz-date",
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"GET",
     "/",
     S3_EMPTY_PAYLOAD,
     {{"prefix", "J"}, {"max-keys", "2"}},
     {HOST, EMPTY},
     "host;x-amz-content-sha256;x-amz-date",
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static size_t pairs(const struct s3_pair *list, size_t max)
{
    size_t n = 0;
    while (n < max && list[n].name)
        n++;
    return n;
}

static void published_requests_have_their_signatures(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
        const struct golden *g = &golden[i];
        struct s3_signing r = {.method = g->method,
                               .path = g->path,
                               .query = g->query,
                               .n_query = pairs(g->query, ARRAY_LEN(g->query)),
                               .headers = g->headers,
                               .n_headers = pairs(g->headers, ARRAY_LEN(g->headers)),
                               .payload = g->payload,
                               .date = DATE};
        _cleanup_free_ char *got = NULL;
        _cleanup_free_ char *want = xasprintf(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=%s,Signature=%s",
            g->names, g->signature);
        assert_int_equal(s3_sign(&keys, &r, &got, &err), ERR_OK);
        assert_string_equal(got, want);
    }
}

static void the_published_address_has_its_signature(void **state)
{
    (void)state;
    const struct s3_pair host[] = {HOST};
    struct s3_signing r = {
        .method = "GET", .path = "/test.txt", .headers = host, .n_headers = 2, .date = DATE};
    _cleanup_free_ char *got = NULL;
    char *none = NULL;
    assert_int_equal(s3_presign(&keys, &r, 86400, &got, &err), ERR_OK);
    assert_string_equal(
        got, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524"
             "%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
             "&X-Amz-SignedHeaders=host&X-Amz-Signature="
             "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    assert_int_equal(s3_presign(&keys, &r, 0, &none, &err), ERR_INTERNAL);
    assert_int_equal(s3_presign(&keys, &r, 604801, &none, &err), ERR_INTERNAL);
    r.n_headers = 0;
    assert_int_equal(s3_presign(&keys, &r, 60, &none, &err), ERR_INTERNAL);
    assert_null(none);
}

static void texts_are_encoded_as_s3_wants_it(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int slashes;
        const char *want;
    } rows[] = {
        {"aZ09-_.~", 0, "aZ09-_.~"},
        {"a/b c+d", 1, "a/b%20c%2Bd"},
        {"a/b", 0, "a%2Fb"},
        {"\xd0\x9f%", 1, "%D0%9F%25"},
        {"", 1, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_free_ char *got = s3_encode(rows[i].text, rows[i].slashes);
        assert_string_equal(got, rows[i].want);
    }
    const struct s3_pair list[] = {{"uploads", ""}, {"b", "2/1"}, {"b", "1"}, {"a b", "x&y"}};
    _cleanup_free_ char *query = NULL;
    assert_int_equal(s3_query(list, ARRAY_LEN(list), &query, &err), ERR_OK);
    assert_string_equal(query, "a%20b=x%26y&b=1&b=2%2F1&uploads=");
    char *none = NULL;
    assert_int_equal(s3_query(list, S3_PAIRS_MAX + 1, &none, &err), ERR_INTERNAL);
    char date[S3_DATE_TEXT];
    s3_date(1369353600999, date);
    assert_string_equal(date, DATE);
    s3_date(INT64_MAX, date);
    assert_string_equal(date, "19700101T000000Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_requests_have_their_signatures),
        cmocka_unit_test(the_published_address_has_its_signature),
        cmocka_unit_test(texts_are_encoded_as_s3_wants_it),
    };
    return cmocka_run_group_tests_name("driver_blob_s3_sign", tests, NULL, NULL);
}

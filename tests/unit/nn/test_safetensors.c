/* nn/safetensors: a good file, and the many ways in which a file can lie. */
#include "../../support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "nn/safetensors.h"

/* Header text and `data` zero bytes as a file; *ret_len bytes, to be freed. */
static uint8_t *file_of(const char *header, size_t data, size_t *ret_len)
{
    uint64_t n = strlen(header);
    uint8_t *file = xalloc(8 + n + data);
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    *ret_len = 8 + n + data;
    return file;
}

static void reads_tensors_and_metadata_in_order(void **state)
{
    (void)state;
    size_t len;
    _cleanup_free_ uint8_t *bytes =
        file_of("{\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
                "\"__metadata__\":{\"z\":\"last?\",\"a\":\"\\u00e9\"},"
                "\"a\":{\"dtype\":\"I16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                "\"scalar\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[28,36]}}   ",
                36, &len);
    struct st_file *file = NULL;
    struct err err = {0};
    assert_int_equal(st_parse(bytes, len, &file, &err), ERR_OK);
    assert_int_equal(st_count(file), 3);
    assert_string_equal(st_at(file, 0)->name, "a");
    assert_string_equal(st_at(file, 1)->name, "b");
    assert_null(st_at(file, 3));
    const struct st_tensor *b = st_find(file, "b");
    assert_int_equal(b->dtype, ST_F32);
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->count, 6);
    assert_int_equal(b->bytes, 24);
    assert_ptr_equal(b->data, bytes + len - 36 + 4);
    assert_int_equal(st_find(file, "scalar")->count, 1);
    assert_null(st_find(file, "c"));
    const char *key, *value;
    assert_int_equal(st_meta_at(file, 0, &key, &value), 1);
    assert_string_equal(key, "z");
    assert_string_equal(value, "last?");
    assert_int_equal(st_meta_at(file, 1, &key, &value), 1);
    assert_string_equal(key, "a");
    assert_int_equal(st_meta_at(file, 2, &key, &value), 0);
    assert_string_equal(st_meta(file, "z"), "last?");
    assert_null(st_meta(file, "y"));
    st_free(file);
}

static void a_file_without_metadata_or_tensors_is_fine(void **state)
{
    (void)state;
    size_t len;
    _cleanup_free_ uint8_t *bytes = file_of("{}", 0, &len);
    struct st_file *file = NULL;
    struct err err = {0};
    const char *key, *value;
    assert_int_equal(st_parse(bytes, len, &file, &err), ERR_OK);
    assert_int_equal(st_count(file), 0);
    assert_null(st_meta(file, "a"));
    assert_int_equal(st_meta_at(file, 0, &key, &value), 0);
    assert_null(st_free(file));
    assert_null(st_free(NULL));
}

#define F32_AT(shape, offsets)                                                                     \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct {
    const char *header;
    size_t data;
    const char *says; /* part of the message */
} broken[] = {
    {"", 0, "JSON"},
    {"[]", 0, "another type"},
    {"{", 0, "JSON"},
    {"{}x", 0, "JSON"},
    {"{\"a\":1}", 0, "not exactly dtype"},
    {"{\"a\":{}}", 0, "not exactly dtype"},
    {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "name"},
    {F32_AT("[1]", "[0,4]"), 8, "behind the last"},
    {F32_AT("[1]", "[0,4]"), 3, "outside"},
    {F32_AT("[1]", "[4,8]"), 8, "gap"},
    {F32_AT("[1]", "[4,0]"), 8, "outside"},
    {F32_AT("[1]", "[-4,0]"), 8, "outside"},
    {F32_AT("[1]", "[0]"), 4, "outside"},
    {F32_AT("[1]", "[0,4,8]"), 8, "outside"},
    {F32_AT("[1]", "{}"), 4, "outside"},
    {F32_AT("[1]", "[0.0,4.0]"), 4, "outside"},
    {F32_AT("[1]", "[0,9223372036854775807]"), 4, "outside"},
    {F32_AT("[1]", "[0,9223372036854775808]"), 4, "JSON"},
    {F32_AT("[2]", "[0,4]"), 4, "its shape needs 8"},
    {F32_AT("[0]", "[0,0]"), 0, "bad size"},
    {F32_AT("[-1]", "[0,4]"), 4, "bad size"},
    {F32_AT("[1.5]", "[0,4]"), 4, "bad size"},
    {F32_AT("[\"1\"]", "[0,4]"), 4, "bad size"},
    {F32_AT("1", "[0,4]"), 4, "no list"},
    {F32_AT("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "no list"},
    {F32_AT("[4294967296,4294967296]", "[0,4]"), 4, "bad size"},
    {F32_AT("[4611686018427387904]", "[0,4]"), 4, "too large"},
    {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype"},
    {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "exactly"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "duplicate"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
     4, "overlap"},
    {"{\"__metadata__\":[]}", 0, "__metadata__"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "metadata a"},
    {"{\"__metadata__\":{\"a\":\"\\u0000\"}}", 0, "JSON"},
    {"{\"__metadata__\":{\"a\":\"\xff\"}}", 0, "JSON"},
};

static void every_lie_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        size_t len;
        _cleanup_free_ uint8_t *bytes = file_of(broken[i].header, broken[i].data, &len);
        struct st_file *file = NULL;
        struct err err = {0};
        assert_int_equal(st_parse(bytes, len, &file, &err), ERR_MODEL);
        assert_null(file);
        if (!strstr(err.text, broken[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", broken[i].header, err.text, broken[i].says);
    }
}

static void a_wrong_header_length_is_refused(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {3, 100, ST_HEADER_MAX + 1, UINT64_MAX, UINT64_MAX - 7};
    struct st_file *file = NULL;
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        uint8_t bytes[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        memcpy(bytes, &lengths[i], 8);
        assert_int_equal(st_parse(bytes, sizeof bytes, &file, &err), ERR_MODEL);
    }
    for (size_t len = 0; len < 8; len++)
        assert_int_equal(st_parse("\2\0\0\0\0\0\0\0", len, &file, &err), ERR_MODEL);
}

static void limits_hold(void **state)
{
    (void)state;
    struct err err = {0};
    struct st_file *file = NULL;
    size_t len, cap = 400000;
    _cleanup_free_ char *text = xalloc(cap);

    size_t at = (size_t)snprintf(text, cap, "{\"__metadata__\":{");
    for (int i = 0; i <= ST_META_MAX; i++)
        at += (size_t)snprintf(text + at, cap - at, "%s\"k%d\":\"\"", i ? "," : "", i);
    snprintf(text + at, cap - at, "}}");
    _cleanup_free_ uint8_t *meta = file_of(text, 0, &len);
    assert_int_equal(st_parse(meta, len, &file, &err), ERR_MODEL);

    at = (size_t)snprintf(text, cap, "{");
    for (int i = 0; i <= ST_TENSORS_MAX; i++)
        at += (size_t)snprintf(text + at, cap - at,
                               "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                               i ? "," : "", i, i, i + 1);
    snprintf(text + at, cap - at, "}");
    _cleanup_free_ uint8_t *many = file_of(text, ST_TENSORS_MAX + 1, &len);
    assert_int_equal(st_parse(many, len, &file, &err), ERR_MODEL);
    assert_non_null(strstr(err.text, "more than"));

    char name[ST_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    snprintf(text, cap, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", name);
    _cleanup_free_ uint8_t *longer = file_of(text, 1, &len);
    assert_int_equal(st_parse(longer, len, &file, &err), ERR_MODEL);

    memset(text, '[', 5000); /* deeper than the parser goes */
    text[5000] = '\0';
    _cleanup_free_ uint8_t *deep = file_of(text, 0, &len);
    assert_int_equal(st_parse(deep, len, &file, &err), ERR_MODEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_and_metadata_in_order),
        cmocka_unit_test(a_file_without_metadata_or_tensors_is_fine),
        cmocka_unit_test(every_lie_is_refused),
        cmocka_unit_test(a_wrong_header_length_is_refused),
        cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

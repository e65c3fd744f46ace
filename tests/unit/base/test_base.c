/* base: the error table, allocation with limits, SHA-256. */
#include "../../support/cm.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"

static void every_error_has_slug_hint_and_status(void **state)
{
    (void)state;
    for (int code = 1; code < ERR_COUNT; code++) {
        assert_non_null(err_slug(code));
        assert_true(strlen(err_hint(code)) > 5);
        assert_in_range(err_http_status(code), 400, 599);
        for (int other = 1; other < code; other++)
            assert_string_not_equal(err_slug(code), err_slug(other));
    }
    assert_string_equal(err_slug(ERR_COUNT + 7), "internal");
}

static void text_is_bounded_and_prefixed(void **state)
{
    (void)state;
    struct err err = {0};
    char longer[2 * ERR_TEXT_MAX];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(err_set(&err, ERR_IO, "%s", longer), ERR_IO);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_int_equal(err_set_errno(&err, ERR_NOT_FOUND, ENOENT, "cannot open"), ERR_NOT_FOUND);
    assert_string_equal(err.text, "cannot open: No such file or directory");
    assert_int_equal(err_prefix(&err, "call.m4a"), ERR_NOT_FOUND);
    assert_string_equal(err.text, "call.m4a: cannot open: No such file or directory");
    assert_int_equal(err_set(NULL, ERR_IO, "no place for text"), ERR_IO);
}

static void allocation_refuses_overflow_and_limits(void **state)
{
    (void)state;
    assert_null(try_alloc(SIZE_MAX / 2, 3));
    int *p = try_alloc(3, sizeof *p);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    assert_int_equal(p[0] | p[1] | p[2], 0);
    free(p);

    int *items = NULL;
    size_t cap = 0, n = 0;
    while (try_grow(&items, &cap, n, sizeof *items, 100) == 0)
        items[n] = (int)n, n++;
    assert_int_equal(n, 100);
    assert_int_equal(items[99], 99);
    free(items);
}

static void sha256_matches_the_standard(void **state)
{
    (void)state;
    /* FIPS 180-2, appendix B.1. */
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    char hex[SHA256_HEX];
    struct err err;
    assert_int_equal(sha256_mem("abc", 3, hex, &err), ERR_OK);
    assert_string_equal(hex, abc);

    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(fwrite("abc", 1, 3, f), 3);
    fflush(f);
    uint64_t bytes = 0;
    assert_int_equal(sha256_fd(fileno(f), 3, hex, &bytes, &err), ERR_OK);
    assert_string_equal(hex, abc);
    assert_int_equal(bytes, 3);
    assert_int_equal(sha256_fd(fileno(f), 2, hex, &bytes, &err), ERR_TOO_LARGE);
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_slug_hint_and_status),
        cmocka_unit_test(text_is_bounded_and_prefixed),
        cmocka_unit_test(allocation_refuses_overflow_and_limits),
        cmocka_unit_test(sha256_matches_the_standard),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}

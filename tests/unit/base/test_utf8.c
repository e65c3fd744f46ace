/* base/utf8: what RFC 3629 calls valid, and nothing else. */
#include "../../support/cm.h"

#include "base/mem.h"
#include "base/utf8.h"

static void takes_whole_characters(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        uint32_t c;
        size_t n;
    } good[] = {
        {"a", 'a', 1},
        {"\x7f", 0x7f, 1},
        {"\xc2\x80", 0x80, 2},
        {"\xd0\x9f", 0x41f, 2},
        {"\xe0\xa0\x80", 0x800, 3},
        {"\xed\x9f\xbf", 0xd7ff, 3},
        {"\xee\x80\x80", 0xe000, 3},
        {"\xf0\x90\x80\x80", 0x10000, 4},
        {"\xf4\x8f\xbf\xbf", 0x10ffff, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint32_t c = 0;
        assert_int_equal(utf8_char(good[i].bytes, &c), good[i].n);
        assert_int_equal(c, good[i].c);
        assert_true(utf8_valid(good[i].bytes));
    }
    assert_true(utf8_valid(""));
}

static void refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",     /* a continuation alone */
        "\xc0\xaf", /* overlong */
        "\xc1\xbf",
        "\xe0\x9f\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xed\xa0\x80",     /* a surrogate */
        "\xf4\x90\x80\x80", /* past U+10FFFF */
        "\xf5\x80\x80\x80",
        "\xff",
        "\xd0", /* cut off */
        "\xe2\x82",
        "\xf0\x9f\x98",
        "\xd0 x",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint32_t c;
        assert_int_equal(utf8_char(bad[i], &c), 0);
        assert_false(utf8_valid(bad[i]));
    }
    uint32_t c;
    assert_int_equal(utf8_char("", &c), 0);
}

static void knows_what_a_terminal_must_not_see(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0x07, 0x1b, 0x7f, 0x9b, 0x200f, 0x2028, 0x202e, 0x2066, 0xfeff};
    static const uint32_t good[] = {' ', '~', 0xa0, 0xe9, 0x41f, 0x2013, 0x4e2d, 0x1f600};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(utf8_unprintable(bad[i]));
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_false(utf8_unprintable(good[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_whole_characters),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(knows_what_a_terminal_must_not_see),
    };
    return cmocka_run_group_tests_name("base_utf8", tests, NULL, NULL);
}

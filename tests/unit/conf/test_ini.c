/* conf/ini: the form of the file, and what is no file of this form. */
#include "../../support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "conf/conf.h"
#include "conf/ini.h"

static char heard[65536];

static void add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void add(const char *fmt, ...)
{
    va_list args;
    size_t len = strlen(heard);
    va_start(args, fmt);
    vsnprintf(heard + len, sizeof heard - len, fmt, args);
    va_end(args);
}

static void row(void *ctx, unsigned line, const char *section, const char *key, const char *value)
{
    (void)ctx;
    if (key)
        add("%u %s.%s=%s|", line, section, key, value);
    else
        add("%u [%s]|", line, section);
}

static void wrong(void *ctx, unsigned line, const char *text)
{
    (void)ctx;
    add("%u !%.12s|", line, text);
}

/* On memory of exactly that size, so that a sanitizer sees each byte too far. */
static const char *read_bytes(const char *text, size_t size)
{
    _cleanup_free_ char *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    memcpy(exact, text, size);
    heard[0] = 0;
    ini_read(exact, size, row, wrong, NULL);
    return heard;
}
#define READ(literal) read_bytes(literal, sizeof literal - 1)

static void reads_sections_and_values(void **state)
{
    (void)state;
    assert_string_equal(READ(""), "");
    assert_string_equal(READ("[a]\nk = v\n"), "1 [a]|2 a.k=v|");
    assert_string_equal(READ("  [ a ]  \n\t k=v \n[b]\nk = w"), "1 [a]|2 a.k=v|3 [b]|4 b.k=w|");
    assert_string_equal(READ("# c\n; c\n\n  # c = d\n[a]\n"), "5 [a]|");
    assert_string_equal(READ("[a]\nk = x = y\nq = \"z\"\nh = a # b\n"),
                        "1 [a]|2 a.k=x = y|3 a.q=\"z\"|4 a.h=a # b|");
    assert_string_equal(READ("[a]\nk =\n"), "1 [a]|2 a.k=|");
    assert_string_equal(READ("[a]\nk = \xd1\x8f \xe2\x82\xac\n"),
                        "1 [a]|2 a.k=\xd1\x8f \xe2\x82\xac|");
}

static void overlooks_a_mark_and_carriage_returns(void **state)
{
    (void)state;
    assert_string_equal(READ("\xef\xbb\xbf[a]\r\nk = v\r\n\r\n"), "1 [a]|2 a.k=v|");
    assert_string_equal(READ("\xef\xbb\xbf"), "");
    assert_string_equal(READ("\xef\xbb"), "1 !not readable|");
    assert_string_equal(READ("[a]\nk = v\rw\n"), "1 [a]|2 !not readable|"); /* inside of a line */
}

static void tells_what_is_wrong_and_goes_on(void **state)
{
    (void)state;
    assert_string_equal(READ("k = v\n[a]\nk = w\n"), "1 !a setting st|2 [a]|3 a.k=w|");
    assert_string_equal(READ("[a\nk = v\n[b]\nk = w\n"), "1 !a section's |3 [b]|4 b.k=w|");
    assert_string_equal(READ("[a] b\n[]\n[ ]\n"),
                        "1 !a section's |2 !a section ha|3 !a section ha|");
    assert_string_equal(READ("[\n"), "1 !a section's |");
    assert_string_equal(READ("[a]\nword\n= v\nk = v\n"),
                        "1 [a]|2 !neither [sec|3 !there is no |4 a.k=v|");
    assert_string_equal(READ("[a]\nk = \x01\nk = \xff\nk = \xe2\x80\xae\nk = v\n"),
                        "1 [a]|2 !not readable|3 !not readable|4 !not readable|5 a.k=v|");
}

static void stops_at_what_is_no_text(void **state)
{
    (void)state;
    assert_string_equal(READ("[a]\nk = v\0w\nk = w\n"), "1 [a]|2 !there is a z|");
    assert_string_equal(READ("\xff\xfe[\0a\0]\0"), "1 !there is a z|"); /* UTF-16 */
}

static void bounds_a_line(void **state)
{
    char text[2 * CONF_VALUE_MAX];
    (void)state;
    memcpy(text, "[a]\nk=", 6);
    memset(text + 6, 'x', sizeof text - 6);
    memcpy(text + 4 + CONF_VALUE_MAX, "\nl=2\n", 5);
    const char *got = read_bytes(text, 4 + CONF_VALUE_MAX + 5);
    assert_true(strncmp(got, "1 [a]|2 a.k=xxx", 15) == 0 && strstr(got, "|3 a.l=2|"));
    assert_int_equal(strlen(got), strlen("1 [a]|2 a.k=|3 a.l=2|") + CONF_VALUE_MAX - 2);
    memset(text + 4 + CONF_VALUE_MAX, 'x', 6);
    memcpy(text + 4 + CONF_VALUE_MAX + 1, "\nl=2\n", 5);
    assert_string_equal(read_bytes(text, 4 + CONF_VALUE_MAX + 6), "1 [a]|2 !the line is |3 a.l=2|");
    /* A long section's name fits, too. */
    memset(text, 'y', sizeof text);
    text[0] = '[';
    text[CONF_VALUE_MAX - 1] = ']';
    assert_true(strncmp(read_bytes(text, CONF_VALUE_MAX), "1 [yyyy", 7) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_sections_and_values),
        cmocka_unit_test(overlooks_a_mark_and_carriage_returns),
        cmocka_unit_test(tells_what_is_wrong_and_goes_on),
        cmocka_unit_test(stops_at_what_is_no_text),
        cmocka_unit_test(bounds_a_line),
    };
    return cmocka_run_group_tests_name("conf_ini", tests, NULL, NULL);
}

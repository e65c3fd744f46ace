/* base/time: RFC 3339 in both directions, clocks that agree. */
#include "../../support/cm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"

static void formats_and_clamps(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1795255200123, "2026-11-21T10:00:00.123Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
        {INT64_MIN, "1970-01-01T00:00:00.000Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[TIME_TEXT];
        time_format(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void parses_every_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01", 0},
        {"2026-11-21", 1795219200000},
        {"2026-11-21T10:00:00.123Z", 1795255200123},
        {"2026-11-21t10:00:00.1239999999z", 1795255200123},
        {"2026-11-21 10:00:00.1Z", 1795255200100},
        {"2026-11-21T13:00:00+03:00", 1795255200000},
        {"2026-11-20T22:30:00-11:30", 1795255200000},
        {"2016-12-31T23:59:60Z", 1483228800000}, /* a leap second */
        {"2000-02-29T00:00:00Z", 951782400000},
        {"1969-12-31T23:59:59.999Z", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = 42;
        assert_int_equal(time_parse(rows[i].text, &ms), 0);
        assert_int_equal(ms, rows[i].ms);
    }
}

static void refuses_the_rest(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "now",
        "2026",
        "2026-11",
        "2026-13-01",
        "2026-00-10",
        "2026-02-29",
        "2100-02-29",
        "2026-04-31",
        "2026-11-21T",
        "2026-11-21T10:00Z",
        "2026-11-21T10:00:00",
        "2026-11-21T24:00:00Z",
        "2026-11-21T10:60:00Z",
        "2026-11-21T10:00:61Z",
        "2026-11-21T10:00:00.Z",
        "2026-11-21T10:00:00Zx",
        "2026-11-21T10:00:00+24:00",
        "2026-11-21T10:00:00+0300",
        "2026-11-21T10:00:00+03:60",
        " 2026-11-21",
        "2026-11-21 ",
        "+026-11-21",
        "2026-1-21",
        "2026-11-21T-1:00:00Z",
        "12026-11-21",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t ms = 42;
        assert_int_equal(time_parse(bad[i], &ms), -1);
        assert_int_equal(ms, 42);
    }
    int64_t ms;
    assert_int_equal(time_parse(NULL, &ms), -1);
}

static void what_is_formatted_parses_back(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u; /* xorshift: the same times each run */
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        int64_t ms = (int64_t)(x % 253402300800000u), back = -1;
        char text[TIME_TEXT];
        time_format(ms, text);
        assert_int_equal(time_parse(text, &back), 0);
        assert_int_equal(back, ms);
    }
}

static void clocks_go_forward_together(void **state)
{
    (void)state;
    int64_t wall = time_now_ms(), steady = time_steady_ms();
    assert_true(wall > 1700000000000);
    assert_true(llabs(wall - steady) < 1000);
    usleep(20000);
    assert_true(time_steady_ms() - steady >= 19);
    for (int i = 0; i < 1000; i++) {
        int64_t now = time_steady_ms();
        assert_true(now >= steady);
        steady = now;
    }
}

static void seconds_into_a_recording(void **state)
{
    (void)state;
    const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0:00"}, {7.4, "0:07"}, {59.6, "1:00"}, {3599.4, "59:59"}, {3723, "1:02:03"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[24];
        time_clock(text, sizeof text, cases[i].seconds);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_and_clamps),
        cmocka_unit_test(parses_every_form),
        cmocka_unit_test(refuses_the_rest),
        cmocka_unit_test(what_is_formatted_parses_back),
        cmocka_unit_test(clocks_go_forward_together),
        cmocka_unit_test(seconds_into_a_recording),
    };
    return cmocka_run_group_tests_name("base_time", tests, NULL, NULL);
}

/* obs/trace: traceparent taken over when it is valid, else a new trace. */
#include "../../support/cm.h"

#include <string.h>

#include "base/mem.h"
#include "obs/trace.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

static void assert_new(const char *header)
{
    struct trace trace;
    trace_begin(header, &trace);
    assert_string_not_equal(trace.trace_id, TRACE);
    assert_int_equal(strspn(trace.trace_id, "0123456789abcdef"), 32);
    assert_int_equal(strlen(trace.trace_id), 32);
    assert_int_not_equal(strspn(trace.trace_id, "0"), 32);
    assert_int_equal(strspn(trace.span_id, "0123456789abcdef"), 16);
    assert_int_equal(strlen(trace.span_id), 16);
    assert_int_equal(trace.sampled, 1);
}

static void a_valid_one_goes_on_with_a_new_span(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int sampled;
    } rows[] = {
        {"00-" TRACE "-" SPAN "-01", 1},  {"00-" TRACE "-" SPAN "-00", 0},
        {"00-" TRACE "-" SPAN "-0b", 1},  {"00-" TRACE "-" SPAN "-fe", 0},
        {"cc-" TRACE "-" SPAN "-01", 1},  {"01-" TRACE "-" SPAN "-01-more-to-come", 1},
        {"cc-" TRACE "-" SPAN "-00-", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct trace trace;
        char text[TRACE_PARENT_TEXT];
        trace_begin(rows[i].header, &trace);
        assert_string_equal(trace.trace_id, TRACE);
        assert_string_not_equal(trace.span_id, SPAN);
        assert_int_equal(trace.sampled, rows[i].sampled);
        trace_format(&trace, text);
        assert_int_equal(strlen(text), 55);
        assert_memory_equal(text, "00-" TRACE "-", 36);
        assert_memory_equal(text + 36, trace.span_id, 16);
        assert_string_equal(text + 52, rows[i].sampled ? "-01" : "-00");
    }
}

static void an_invalid_one_starts_anew(void **state)
{
    (void)state;
    static const char *const bad[] = {
        NULL,
        "",
        "00",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-011",
        "00-" TRACE "-" SPAN "-01-more",
        "ff-" TRACE "-" SPAN "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "00-" TRACE "-" SPAN "-0g",
        "0x-" TRACE "-" SPAN "-01",
        "cc-" TRACE "-" SPAN "-01.more",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b71-01",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_new(bad[i]);
}

static void new_ones_differ_and_read_back(void **state)
{
    (void)state;
    struct trace a, b;
    char text[TRACE_PARENT_TEXT];
    trace_begin(NULL, &a);
    trace_begin(NULL, &b);
    assert_string_not_equal(a.trace_id, b.trace_id);
    assert_string_not_equal(a.span_id, b.span_id);
    trace_format(&a, text);
    trace_begin(text, &b);
    assert_string_equal(a.trace_id, b.trace_id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_valid_one_goes_on_with_a_new_span),
        cmocka_unit_test(an_invalid_one_starts_anew),
        cmocka_unit_test(new_ones_differ_and_read_back),
    };
    return cmocka_run_group_tests_name("obs_trace", tests, NULL, NULL);
}

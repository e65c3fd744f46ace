/* cli/options: values, units, ranges, environment, errors. */
#include "../../support/cm.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/options.h"

struct sample {
    int flag, count;
    const char *text;
    uint64_t size;
    double seconds;
};

static const struct option_row rows[] = {
    {"flag", 'f', OPTION_FLAG, offsetof(struct sample, flag), NULL, NULL, 0, 0, "a flag", NULL},
    {"count", 'c', OPTION_COUNT, offsetof(struct sample, count), "N", "SONDE_TEST_COUNT", 1, 9, "n",
     NULL},
    {"text", 0, OPTION_TEXT, offsetof(struct sample, text), "T", NULL, 0, 0, "text", NULL},
    {"size", 0, OPTION_SIZE, offsetof(struct sample, size), "S", NULL, 1, 1e15, "bytes", NULL},
    {"time", 0, OPTION_SECONDS, offsetof(struct sample, seconds), "T", NULL, 1, 1e6, "s", NULL},
};
static const struct command command = {
    .name = "try", .arguments = "FILE", .summary = "", .text = "", .options = rows, .n_options = 5};

static enum err_code parse(struct sample *s, int *first, struct err *err, int argc, char **argv)
{
    int help = 0;
    *s = (struct sample){0};
    return options_parse(&command, argc, argv, s, first, &help, err);
}
#define PARSE(...)                                                                                 \
    parse(&s, &first, &err, ARRAY_LEN(((char *[]){"try", __VA_ARGS__})),                           \
          (char *[]){"try", __VA_ARGS__, NULL})

static void reads_every_kind(void **state)
{
    (void)state;
    struct sample s;
    struct err err;
    int first = 0;
    assert_int_equal(PARSE("-f", "-c", "3", "--text=x y", "--size", "4G", "--time", "2h", "a", "b"),
                     ERR_OK);
    assert_int_equal(s.flag, 1);
    assert_int_equal(s.count, 3);
    assert_string_equal(s.text, "x y");
    assert_true(s.size == UINT64_C(4) << 30);
    assert_true(s.seconds == 7200.0);
    assert_int_equal(first, 9);
    assert_int_equal(PARSE("--", "-f"), ERR_OK);
    assert_int_equal(s.flag, 0);
    assert_int_equal(first, 2);
    assert_int_equal(PARSE("-"), ERR_OK); /* standard input is an argument, no option */
    assert_int_equal(first, 1);
}

static void refuses_what_it_does_not_understand(void **state)
{
    (void)state;
    struct sample s;
    struct err err;
    int first = 0;
    assert_int_equal(PARSE("--nonsense"), ERR_USAGE);
    assert_non_null(strstr(err.text, "--nonsense"));
    assert_int_equal(PARSE("--text"), ERR_USAGE);
    assert_non_null(strstr(err.text, "missing"));
    assert_int_equal(PARSE("--count", "10"), ERR_USAGE);
    assert_int_equal(PARSE("--count", "3x"), ERR_USAGE);
    assert_int_equal(PARSE("--size", "12Q"), ERR_USAGE);
    assert_int_equal(PARSE("--size", "-1"), ERR_USAGE);
    assert_int_equal(PARSE("--size", "nan"), ERR_USAGE);
    assert_int_equal(PARSE("--time", "1e999"), ERR_USAGE);
}

static void environment_fills_what_was_not_given(void **state)
{
    (void)state;
    struct sample s;
    struct err err;
    int first = 0;
    setenv("SONDE_TEST_COUNT", "7", 1);
    assert_int_equal(PARSE("-f"), ERR_OK);
    assert_int_equal(s.count, 7);
    assert_int_equal(PARSE("-c", "2"), ERR_OK);
    assert_int_equal(s.count, 2);
    setenv("SONDE_TEST_COUNT", "70", 1);
    assert_int_equal(PARSE("-f"), ERR_USAGE);
    assert_non_null(strstr(err.text, "SONDE_TEST_COUNT"));
    unsetenv("SONDE_TEST_COUNT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(refuses_what_it_does_not_understand),
        cmocka_unit_test(environment_fills_what_was_not_given),
    };
    return cmocka_run_group_tests_name("cli_options", tests, NULL, NULL);
}

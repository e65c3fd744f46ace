/* base/log: lines that a machine reads back, lines that a terminal may show, whole lines only. */
#include "../../support/cm.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"

static int kept_stderr = -1;
static FILE *sink;

/* What is written to standard error from here on goes into a file … */
static void capture(void)
{
    sink = tmpfile();
    assert_non_null(sink);
    kept_stderr = dup(STDERR_FILENO);
    dup2(fileno(sink), STDERR_FILENO);
}

/* … and comes back as text, which the caller frees. */
static char *captured(void)
{
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    off_t size = lseek(fileno(sink), 0, SEEK_END);
    char *text = xalloc((size_t)size + 1);
    assert_int_equal(pread(fileno(sink), text, (size_t)size, 0), size);
    fclose(sink);
    return text;
}

static const char *text_at(json_t *line, const char *key)
{
    return json_string_value(json_object_get(line, key));
}

static void json_lines_carry_ecs_names(void **state)
{
    (void)state;
    struct err err;
    int64_t before = time_now_ms(), at = 0;
    err_set(&err, ERR_QUEUE_FULL, "7 wait");
    log_setup(LOG_FORMAT_AUTO, LOG_LEVEL_INFO); /* a file is no terminal: JSON */
    uint64_t warned = log_lines(LOG_LEVEL_WARN);
    capture();
    log_error(LOG_LEVEL_WARN, "refused", &err, LOG_T("http.request.method", "POST"),
              LOG_I("http.response.status_code", 503), LOG_R("labels.seconds", 0.25),
              LOG_T("labels.none", NULL), LOG_R("labels.nan", NAN));
    log_event(LOG_LEVEL_DEBUG, "not wanted");
    _cleanup_free_ char *text = captured();
    assert_int_equal(log_lines(LOG_LEVEL_WARN), warned + 1);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_int_equal(json_object_size(line), 13);
    assert_int_equal(time_parse(text_at(line, "@timestamp"), &at), 0);
    assert_in_range(at, before, time_now_ms());
    assert_string_equal(text_at(line, "log.level"), "warn");
    assert_string_equal(text_at(line, "message"), "refused");
    assert_non_null(text_at(line, "ecs.version"));
    assert_string_equal(text_at(line, "service.name"), "sonde");
    assert_string_equal(text_at(line, "service.version"), SONDE_VERSION);
    assert_int_equal(json_integer_value(json_object_get(line, "process.pid")), getpid());
    assert_string_equal(text_at(line, "error.code"), "queue_full");
    assert_string_equal(text_at(line, "error.message"), "7 wait");
    assert_string_equal(text_at(line, "http.request.method"), "POST");
    assert_int_equal(json_integer_value(json_object_get(line, "http.response.status_code")), 503);
    assert_true(json_real_value(json_object_get(line, "labels.seconds")) == 0.25);
    assert_true(json_is_null(json_object_get(line, "labels.nan")));
    json_decref(line);
}

static void hostile_texts_stay_inside_their_quotes(void **state)
{
    (void)state;
    static const char evil[] =
        "\",\"log.level\":\"fatal\n\x1b[2J\x7f\\ \xff\xd0 \xc2\x9b \xe2\x80\xae \xd0\x9f";
    log_setup(LOG_FORMAT_JSON, LOG_LEVEL_DEBUG);
    capture();
    log_event(LOG_LEVEL_DEBUG, evil, LOG_T("labels.name", evil), LOG_T("bad\"key\n", "x"));
    _cleanup_free_ char *json = captured();
    for (const char *p = json; p[1]; p++)
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
    json_t *line = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_string_equal(text_at(line, "log.level"), "debug");
    assert_string_equal(text_at(line, "labels.name"),
                        "\",\"log.level\":\"fatal\n\x1b[2J\x7f\\ \xef\xbf\xbd\xef\xbf\xbd "
                        "\xc2\x9b \xe2\x80\xae \xd0\x9f");
    json_decref(line);

    log_setup(LOG_FORMAT_TEXT, LOG_LEVEL_DEBUG);
    capture();
    log_event(LOG_LEVEL_DEBUG, evil, LOG_T("labels.name", evil));
    _cleanup_free_ char *text = captured();
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_null(strpbrk(text, "\x1b\x7f\r\t"));
    assert_null(strstr(text, "\xc2\x9b"));
    assert_null(strstr(text, "\xe2\x80\xae"));
    assert_non_null(strstr(text, "\\x1b[2J\\x7f"));
    assert_non_null(strstr(text, "\xd0\x9f"));
}

static void text_lines_read_well(void **state)
{
    (void)state;
    log_setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    capture();
    log_event(LOG_LEVEL_INFO, "analysis done", LOG_T("labels.id", "42"), LOG_T("file", "my call"),
              LOG_R("seconds", 1.5), LOG_T("empty", ""));
    log_event(LOG_LEVEL_ERROR, "bare");
    _cleanup_free_ char *text = captured();
    int h, m, s, ms;
    assert_int_equal(sscanf(text, "%2d:%2d:%2d.%3d ", &h, &m, &s, &ms), 4);
    char *second = strchr(text, '\n') + 1;
    second[-1] = '\0';
    assert_string_equal(
        text + 13, "info  analysis done  labels.id=42 file=\"my call\" seconds=1.5 empty=\"\"");
    assert_string_equal(second + 13, "error bare\n");
}

static void long_lines_are_cut_validly(void **state)
{
    (void)state;
    enum { SIZE = 40000 };
    _cleanup_free_ char *long_text = xalloc(SIZE + 1);
    for (int form = 0; form < 4; form++) {
        for (int i = 0; i < SIZE; i += 4) /* cut inside of escapes and of characters */
            memcpy(long_text + i, form & 1 ? "\xf0\x9f\x98\x80" : "a\n\x01\"", 4);
        log_setup(form & 2 ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON, LOG_LEVEL_INFO);
        for (int shift = 0; shift < 12; shift++) {
            char key[16];
            snprintf(key, sizeof key, "%.*s", shift + 1, "kkkkkkkkkkkkkkk");
            capture();
            log_event(LOG_LEVEL_INFO, long_text, LOG_T(key, long_text), LOG_T("last", long_text),
                      LOG_I("number", 123456));
            _cleanup_free_ char *line = captured();
            size_t len = strlen(line);
            assert_in_range(len, 14000, 16384);
            assert_ptr_equal(strchr(line, '\n'), line + len - 1);
            if (form & 2) {
                assert_non_null(strstr(line, "[cut]\n"));
                continue;
            }
            json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
            assert_non_null(json);
            assert_string_equal(text_at(json, "labels.truncated"), "true");
            assert_non_null(text_at(json, key));
            assert_non_null(json_object_get(json, "process.pid"));
            json_decref(json);
        }
    }
}

static void many_fields_never_break_a_line(void **state)
{
    (void)state;
    enum { FIELDS = 900 };
    static struct log_field fields[FIELDS];
    static char keys[FIELDS][24];
    log_setup(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
    for (int n = 500; n <= FIELDS; n += 7) {
        for (int i = 0; i < n; i++) {
            snprintf(keys[i], sizeof keys[i], "labels.field%d", i);
            fields[i] = i % 2 ? LOG_I(keys[i], i * 1000003LL) : LOG_T(keys[i], "\xd0\x9f\n");
        }
        capture();
        log_write(LOG_LEVEL_INFO, "many", fields, (size_t)n);
        _cleanup_free_ char *line = captured();
        json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        json_decref(json);
    }
}

static void levels_and_formats_have_names(void **state)
{
    (void)state;
    enum log_level level = LOG_LEVEL_INFO;
    enum log_format format = LOG_FORMAT_AUTO;
    assert_int_equal(log_level_parse("error", &level), 0);
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_int_equal(log_level_parse("debug", &level), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_parse("loud", &level), -1);
    assert_int_equal(log_level_parse(NULL, &level), -1);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_int_equal(log_format_parse("text", &format), 0);
    assert_int_equal(format, LOG_FORMAT_TEXT);
    assert_int_equal(log_format_parse("xml", &format), -1);
    log_setup(LOG_FORMAT_JSON, LOG_LEVEL_WARN);
    assert_false(log_wants(LOG_LEVEL_INFO));
    assert_true(log_wants(LOG_LEVEL_WARN));
    assert_true(log_wants(LOG_LEVEL_ERROR));
}

static void *write_many(void *arg)
{
    char text[6000]; /* longer than what a pipe writes at once */
    memset(text, *(char *)arg, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 40; i++)
        log_event(LOG_LEVEL_INFO, "from a thread", LOG_T("labels.text", text));
    return NULL;
}

/* Reads a pipe to its end. */
static void *drain(void *arg)
{
    char *all = xalloc(8 << 20);
    size_t len = 0;
    for (ssize_t n; (n = read(*(int *)arg, all + len, 65536)) > 0;)
        len += (size_t)n;
    return all;
}

static void threads_do_not_mix_their_lines(void **state)
{
    (void)state;
    int ends[2];
    void *all;
    pthread_t reader, writers[4];
    char names[4] = {'a', 'b', 'c', 'd'};
    log_setup(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    /* The smallest pipe: each line waits in the middle, where another could get in. */
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
    int kept = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    pthread_create(&reader, NULL, drain, &ends[0]);
    for (int i = 0; i < 4; i++)
        pthread_create(&writers[i], NULL, write_many, &names[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(writers[i], NULL);
    dup2(kept, STDERR_FILENO);
    close(kept);
    pthread_join(reader, &all);
    close(ends[0]);
    int lines = 0;
    for (char *rest = all, *line; (line = strsep(&rest, "\n")) && *line; lines++) {
        json_t *json = json_loads(line, 0, NULL);
        assert_non_null(json);
        const char *text = text_at(json, "labels.text");
        assert_int_equal(strspn(text, (char[]){text[0], 0}), 5999);
        json_decref(json);
    }
    assert_int_equal(lines, 160);
    free(all);
}

struct storm {
    struct log_limit limit;
    int allowed;
    uint64_t told;
};

static void *ask_often(void *arg)
{
    struct storm *storm = arg;
    for (int i = 0; i < 10000; i++) {
        uint64_t held = 0;
        if (log_allowed(&storm->limit, 3600, &held)) {
            __atomic_fetch_add(&storm->allowed, 1, __ATOMIC_RELAXED);
            __atomic_fetch_add(&storm->told, held, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

static void what_repeats_is_held_back_and_counted(void **state)
{
    (void)state;
    struct storm storm = {0};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, ask_often, &storm);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(storm.allowed, 1);
    assert_int_equal(storm.told + storm.limit.suppressed, 39999);

    struct log_limit limit = {0};
    uint64_t held = 9;
    assert_true(log_allowed(&limit, 0.05, &held));
    assert_int_equal(held, 0);
    assert_false(log_allowed(&limit, 0.05, &held));
    assert_false(log_allowed(&limit, 0.05, NULL));
    usleep(60000);
    assert_true(log_allowed(&limit, 0.05, &held));
    assert_int_equal(held, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines_carry_ecs_names),
        cmocka_unit_test(hostile_texts_stay_inside_their_quotes),
        cmocka_unit_test(text_lines_read_well),
        cmocka_unit_test(long_lines_are_cut_validly),
        cmocka_unit_test(many_fields_never_break_a_line),
        cmocka_unit_test(levels_and_formats_have_names),
        cmocka_unit_test(threads_do_not_mix_their_lines),
        cmocka_unit_test(what_repeats_is_held_back_and_counted),
    };
    return cmocka_run_group_tests_name("base_log", tests, NULL, NULL);
}

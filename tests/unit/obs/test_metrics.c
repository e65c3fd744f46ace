/* obs/metrics: the text that Prometheus reads, bounded labels, and updates while scraping. */
#include "../../support/cm.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../support/folder.h"
#include "base/log.h"
#include "base/mem.h"
#include "obs/metrics.h"

static char *scrape(void)
{
    char *text = NULL;
    size_t len = 0;
    struct err err;
    assert_int_equal(metrics_text(&text, &len, &err), ERR_OK);
    assert_int_equal(strlen(text), len);
    return text;
}

/* The value behind "series " in the text; fails when there is no such line. */
static double value_of(const char *text, const char *series)
{
    size_t len = strlen(series);
    for (const char *line = text; (line = strchr(line, '\n')); line++)
        if (strncmp(line + 1, series, len) == 0 && line[1 + len] == ' ')
            return strtod(line + 1 + len, NULL);
    fail_msg("no series %s", series);
    return NAN;
}

static void every_family_has_help_and_type_in_order(void **state)
{
    (void)state;
    static const char *const names[] = {
#define METRIC_ROW(id, kind, name, labels, buckets, help) name,
#include "obs/metrics.def"
#undef METRIC_ROW
    };
    _cleanup_free_ char *text = scrape();
    const char *at = text;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        _cleanup_free_ char *help = xasprintf("# HELP %s ", names[i]);
        _cleanup_free_ char *type = xasprintf("# TYPE %s ", names[i]);
        at = strstr(at, help);
        assert_non_null(at);
        at = strstr(at, type);
        assert_non_null(at);
        assert_null(strstr(at + 1, help));
    }
    assert_true(value_of(text, "sonde_audio_seconds_total") == 0);
    assert_true(value_of(text, "sonde_decode_duration_seconds_count") == 0);
    assert_true(value_of(text, "sonde_build_info{version=\"" SONDE_VERSION "\",model=\"\"}") == 1);
}

static void counters_and_gauges_add_up(void **state)
{
    (void)state;
    struct metric_series *get = metric_get(METRIC_HTTP_REQUESTS, "GET", "/status", "200");
    assert_ptr_equal(get, metric_get(METRIC_HTTP_REQUESTS, "GET", "/status", "200"));
    assert_ptr_not_equal(get, metric_get(METRIC_HTTP_REQUESTS, "GET", "/status", "404"));
    assert_ptr_not_equal(metric_get(METRIC_HTTP_REQUESTS, "a", "bc", ""),
                         metric_get(METRIC_HTTP_REQUESTS, "ab", "c", ""));
    metric_add(get, 1);
    metric_add(get, 2);
    metric_add(get, -5); /* a counter never falls */
    metric_add(get, NAN);
    metric_observe(get, 1);
    struct metric_series *open = metric_get(METRIC_HTTP_CONNECTIONS, NULL, NULL, NULL);
    metric_add(open, 3);
    metric_add(open, -1);
    metric_set(metric_get(METRIC_DISK_FREE, NULL, NULL, NULL), 123456789012345.0);
    metric_set(metric_get(METRIC_QUEUE_AGE, "q", NULL, NULL), 0.1);
    metric_add(metric_get(METRIC_AUDIO_SECONDS, NULL, NULL, NULL), 0.1 + 0.2);
    metric_add(metric_get(METRIC_DECODE_SECONDS, NULL, NULL, NULL), 7); /* no counter */
    _cleanup_free_ char *text = scrape();
    assert_true(value_of(text, "sonde_http_requests_total{method=\"GET\",route=\"/status\",code="
                               "\"200\"}") == 3);
    assert_true(value_of(text, "sonde_http_connections") == 2);
    assert_non_null(strstr(text, "\nsonde_data_free_bytes 123456789012345\n"));
    assert_non_null(strstr(text, "\nsonde_queue_oldest_seconds{queue=\"q\"} 0.1\n"));
    assert_true(value_of(text, "sonde_audio_seconds_total") == 0.1 + 0.2);
    assert_true(value_of(text, "sonde_decode_duration_seconds_count") == 0);
}

static void histograms_are_cumulative(void **state)
{
    (void)state;
    struct metric_series *s = metric_get(METRIC_LLR, NULL, NULL, NULL);
    static const double values[] = {-100, -6, -5.9, 0, 0.1, 6, 6.1, INFINITY, NAN};
    for (size_t i = 0; i < ARRAY_LEN(values) - 2; i++)
        metric_observe(s, values[i]);
    metric_observe(s, NAN);
    _cleanup_free_ char *text = scrape();
    assert_true(value_of(text, "sonde_llr_ratio_bucket{le=\"-6\"}") == 2);
    assert_true(value_of(text, "sonde_llr_ratio_bucket{le=\"-4\"}") == 3);
    assert_true(value_of(text, "sonde_llr_ratio_bucket{le=\"0\"}") == 4);
    assert_true(value_of(text, "sonde_llr_ratio_bucket{le=\"0.5\"}") == 5);
    assert_true(value_of(text, "sonde_llr_ratio_bucket{le=\"6\"}") == 6);
    assert_true(value_of(text, "sonde_llr_ratio_bucket{le=\"+Inf\"}") == 7);
    assert_true(value_of(text, "sonde_llr_ratio_count") == 7);
    assert_true(fabs(value_of(text, "sonde_llr_ratio_sum") - -99.7) < 1e-9);
}

static void labels_are_escaped_and_made_valid(void **state)
{
    (void)state;
    char long_text[300];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    metric_add(metric_get(METRIC_VERDICTS, "a\"b\\c\nd", NULL, NULL), 1);
    metric_add(metric_get(METRIC_VERDICTS, "bad\xff\xd0\x9f", NULL, NULL), 1);
    metric_add(metric_get(METRIC_VERDICTS, long_text, NULL, NULL), 1);
    metric_add(metric_get(METRIC_VERDICTS, NULL, NULL, NULL), 1);
    _cleanup_free_ char *text = scrape();
    assert_non_null(strstr(text, "\nsonde_verdicts_total{verdict=\"a\\\"b\\\\c\\nd\"} 1\n"));
    assert_non_null(strstr(text, "\nsonde_verdicts_total{verdict=\"bad?\xd0\x9f\"} 1\n"));
    assert_non_null(strstr(text, "\nsonde_verdicts_total{verdict=\"\"} 1\n"));
    const char *x = strstr(text, "{verdict=\"xxx");
    assert_non_null(x);
    assert_int_equal(strspn(x + 10, "x"), METRIC_LABEL_BYTES);
}

static void too_many_labels_count_as_other(void **state)
{
    (void)state;
    char code[32];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < METRIC_SERIES_MAX + 100; i++) {
            snprintf(code, sizeof code, "code%d", i);
            metric_add(metric_get(METRIC_FAILURES, code, NULL, NULL), 1);
        }
    _cleanup_free_ char *text = scrape();
    assert_true(value_of(text, "sonde_analysis_failures_total{code=\"code511\"}") == 2);
    assert_true(value_of(text, "sonde_analysis_failures_total{code=\"other\"}") == 200);
    assert_null(strstr(text, "code512"));
}

static void process_figures_are_plausible(void **state)
{
    (void)state;
    volatile double burnt = 0;
    for (int i = 0; i < 3000000; i++)
        burnt += sqrt(i);
    assert_true(burnt > 0);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    _cleanup_free_ char *before = scrape();
    close(fd);
    _cleanup_free_ char *text = scrape();
    assert_true(value_of(text, "process_open_fds") == value_of(before, "process_open_fds") - 1);
    assert_true(value_of(text, "process_open_fds") >= 3);
    assert_true(value_of(text, "process_max_fds") >= value_of(text, "process_open_fds"));
    double cpu = value_of(text, "process_cpu_seconds_total");
    assert_true(cpu > 0 && cpu < 100 && cpu >= value_of(before, "process_cpu_seconds_total"));
    assert_true(value_of(text, "process_resident_memory_bytes") > 100000);
    assert_true(value_of(text, "process_virtual_memory_bytes") >=
                value_of(text, "process_resident_memory_bytes"));
    double age = (double)time(NULL) - value_of(text, "process_start_time_seconds");
    assert_true(age > -3 && age < 600);
}

static void build_info_is_one_series(void **state)
{
    (void)state;
    metrics_build_info("1.2.3", "sonde-1");
    _cleanup_free_ char *text = scrape();
    assert_true(value_of(text, "sonde_build_info{version=\"1.2.3\",model=\"sonde-1\"}") == 1);
    metrics_build_info("1.2.3", "sonde-2");
    _cleanup_free_ char *later = scrape();
    assert_true(value_of(later, "sonde_build_info{version=\"1.2.3\",model=\"sonde-2\"}") == 1);
    assert_null(strstr(later, "model=\"sonde-1\""));
    assert_null(strstr(later, "model=\"\""));
}

static void log_lines_are_mirrored(void **state)
{
    (void)state;
    int kept = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDERR_FILENO);
    log_event(LOG_LEVEL_WARN, "one");
    log_event(LOG_LEVEL_WARN, "two");
    log_event(LOG_LEVEL_ERROR, "three");
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(nowhere);
    _cleanup_free_ char *text = scrape();
    assert_true(value_of(text, "sonde_log_lines_total{level=\"warn\"}") == 2);
    assert_true(value_of(text, "sonde_log_lines_total{level=\"error\"}") == 1);
}

static void fill_gauge(void *ctx)
{
    metric_set(metric_get(METRIC_OUTBOX, NULL, NULL, NULL), ++*(int *)ctx);
}

static void hooks_run_at_each_scrape_until_removed(void **state)
{
    (void)state;
    int calls = 0, others[METRIC_HOOKS_MAX] = {0};
    assert_int_equal(metrics_hook(fill_gauge, &calls), 0);
    free(scrape());
    _cleanup_free_ char *b = scrape();
    assert_true(value_of(b, "sonde_outbox_rows") == 2);
    metrics_unhook(&calls);
    free(scrape());
    assert_int_equal(calls, 2);
    for (int i = 0; i < METRIC_HOOKS_MAX; i++)
        assert_int_equal(metrics_hook(fill_gauge, &others[i]), 0);
    assert_int_equal(metrics_hook(fill_gauge, &calls), -1);
    for (int i = 0; i < METRIC_HOOKS_MAX; i++)
        metrics_unhook(&others[i]);
}

static atomic_int writers_left;

static void *update_many(void *arg)
{
    struct metric_series *count = metric_get(METRIC_JOBS, "q", "acked", NULL);
    struct metric_series *time_s = metric_get(METRIC_STAGE_SECONDS, "analyse", NULL, NULL);
    for (int i = 0; i < 20000; i++) {
        char name[16];
        metric_add(count, 1);
        metric_observe(time_s, 0.25);
        snprintf(name, sizeof name, "%d-%d", *(int *)arg, i % 40);
        if (i % 100 == 0)
            metric_add(metric_get(METRIC_REASONS, name, NULL, NULL), 1);
    }
    atomic_fetch_sub(&writers_left, 1);
    return NULL;
}

static void a_scrape_sees_whole_series_while_threads_update(void **state)
{
    (void)state;
    pthread_t threads[4];
    int names[4] = {0, 1, 2, 3}, scrapes = 0;
    atomic_store(&writers_left, 4);
    metric_get(METRIC_STAGE_SECONDS, "analyse", NULL, NULL);
    metric_get(METRIC_JOBS, "q", "acked", NULL);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, update_many, &names[i]);
    double last = 0;
    while (atomic_load(&writers_left) > 0 || scrapes == 0) {
        _cleanup_free_ char *text = scrape();
        double n = value_of(text, "sonde_job_stage_duration_seconds_count{stage=\"analyse\"}");
        double inf = value_of(
            text, "sonde_job_stage_duration_seconds_bucket{stage=\"analyse\",le=\"+Inf\"}");
        double sum = value_of(text, "sonde_job_stage_duration_seconds_sum{stage=\"analyse\"}");
        assert_true(n == inf);
        assert_true(sum == n * 0.25);
        assert_true(n >= last);
        last = n;
        scrapes++;
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    _cleanup_free_ char *text = scrape();
    assert_true(value_of(text, "sonde_jobs_total{queue=\"q\",outcome=\"acked\"}") == 80000);
    assert_true(value_of(text, "sonde_job_stage_duration_seconds_count{stage=\"analyse\"}") ==
                80000);
    assert_true(value_of(text, "sonde_reasons_total{reason=\"3-20\"}") == 100);
}

/* promtool's own opinion of all that the tests above left. */
static void promtool_accepts_the_text(void **state)
{
    (void)state;
    extern char **environ;
    if (access("/usr/bin/promtool", X_OK) != 0) {
        print_message("SKIP: no promtool here (package prometheus)\n");
        skip();
    }
    char *dir = folder_new();
    _cleanup_free_ char *path = xasprintf("%s/metrics", dir);
    _cleanup_free_ char *out = xasprintf("%s/opinion", dir);
    _cleanup_free_ char *text = scrape();
    folder_write(path, text, strlen(text));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, path, O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid;
    int status = -1;
    char *const argv[] = {"promtool", "check", "metrics", NULL};
    assert_int_equal(posix_spawn(&pid, "/usr/bin/promtool", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    _cleanup_free_ char *opinion = folder_read(out, NULL);
    folder_drop(dir);
    if (status != 0 || opinion[0])
        fail_msg("promtool: status %d, %s", status, opinion);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_has_help_and_type_in_order),
        cmocka_unit_test(counters_and_gauges_add_up),
        cmocka_unit_test(histograms_are_cumulative),
        cmocka_unit_test(labels_are_escaped_and_made_valid),
        cmocka_unit_test(too_many_labels_count_as_other),
        cmocka_unit_test(process_figures_are_plausible),
        cmocka_unit_test(build_info_is_one_series),
        cmocka_unit_test(log_lines_are_mirrored),
        cmocka_unit_test(hooks_run_at_each_scrape_until_removed),
        cmocka_unit_test(a_scrape_sees_whole_series_while_threads_update),
        cmocka_unit_test(promtool_accepts_the_text),
    };
    return cmocka_run_group_tests_name("obs_metrics", tests, NULL, NULL);
}

/* conf: the table, where values come from, every error with its place, secrets that never show. */
#include "../../support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../support/folder.h"
#include "base/mem.h"
#include "conf/conf.h"

#define MARK "hunter2secret" /* the secret of these tests */

static void done(struct conf **conf)
{
    *conf = conf_free(*conf);
}
#define CONF _cleanup_(done) struct conf *conf = conf_new()

static void read_text(struct conf *conf, const char *text)
{
    conf_read_text(conf, "f", text, strlen(text));
}

/* All problems, joined by |; the caller frees it. */
static char *problems(const struct conf *conf)
{
    char *all = xstrdup("");
    const struct conf_problem *p;
    for (size_t i = 0; (p = conf_problem_at(conf, i)); i++) {
        char *more = xasprintf("%s%s%s|", all, p->warning ? "warning " : "", p->text);
        free(all);
        all = more;
    }
    return all;
}

static void expect(const struct conf *conf, const char *want)
{
    _cleanup_free_ char *got = problems(conf);
    assert_string_equal(got, want);
}

static void expect_part(const struct conf *conf, const char *part)
{
    _cleanup_free_ char *got = problems(conf);
    if (!strstr(got, part))
        fail_msg("'%s' is not in '%s'", part, got);
    assert_null(strstr(got, MARK));
}

static void the_table_is_sound(void **state)
{
    (void)state;
    CONF;
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        const struct conf_setting *s = &conf_settings[id];
        struct err err;
        assert_int_equal(conf_find(s->section, s->key), id); /* no name twice */
        assert_true(!s->initial == !!s->otherwise && !s->initial == !!s->example);
        assert_non_null(s->env);
        assert_true(strncmp(s->env, "SONDE_", 6) == 0);
        for (enum conf_id k = 0; k < id; k++)
            assert_string_not_equal(conf_settings[k].env, s->env);
        if (s->kind == CONF_SECRET) {
            assert_int_equal(conf_settings[id + 1].kind, CONF_SECRET_FILE);
            assert_null(s->flag); /* everybody reads command lines */
        }
        if (s->example && conf_set(conf, id, CONF_FROM_FLAG, s->example, &err) != ERR_OK)
            fail_msg("%s.%s: %s", s->section, s->key, err.text);
    }
    assert_int_equal(conf_find("server", "nothing"), CONF_SETTINGS);
}

static void defaults_hold(void **state)
{
    (void)state;
    CONF;
    assert_string_equal(conf_text(conf, CONF_SERVER_LISTEN), "127.0.0.1:8080");
    assert_true(conf_bytes(conf, CONF_SERVER_MIN_FREE) == UINT64_C(512) << 20);
    assert_true(conf_number(conf, CONF_RETENTION_AUDIO) == 30);
    assert_true(conf_number(conf, CONF_RETENTION_RESULTS) == CONF_FOREVER);
    assert_null(conf_text(conf, CONF_DB_URL));
    assert_null(conf_secret(conf, CONF_DB_PASSWORD));
    expect(conf, "");
}

static void later_origins_win_in_any_order(void **state)
{
    (void)state;
    static const char text[] = "[server]\nworkers = 3\nlisten = file:1\n[log]\nlevel = warn\n";
    struct err err;
    for (int order = 0; order < 2; order++) {
        CONF;
        setenv("SONDE_WORKERS", "4", 1);
        setenv("SONDE_LISTEN", "env:1", 1);
        setenv("SONDE_HOSTS", "", 1); /* as if it were not there */
        if (order)
            read_text(conf, text);
        conf_read_environment(conf);
        assert_int_equal(conf_set(conf, CONF_SERVER_WORKERS, CONF_FROM_FLAG, "5", &err), ERR_OK);
        if (!order)
            read_text(conf, text);
        assert_int_equal(conf_set(conf, CONF_SERVER_DATA, CONF_FROM_DEFAULT, "/d", &err), ERR_OK);
        assert_true(conf_number(conf, CONF_SERVER_WORKERS) == 5);
        assert_string_equal(conf_text(conf, CONF_SERVER_LISTEN), "env:1");
        assert_string_equal(conf_text(conf, CONF_LOG_LEVEL), "warn");
        assert_string_equal(conf_text(conf, CONF_SERVER_DATA), "/d");
        static const struct {
            enum conf_id id;
            const char *source;
        } sources[] = {{CONF_SERVER_WORKERS, "--workers"},
                       {CONF_SERVER_LISTEN, "SONDE_LISTEN"},
                       {CONF_LOG_LEVEL, "f:5"},
                       {CONF_SERVER_DATA, "default"}};
        for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
            _cleanup_free_ char *source = conf_source(conf, sources[i].id);
            assert_string_equal(source, sources[i].source);
        }
        expect(conf, "");
        unsetenv("SONDE_WORKERS");
        unsetenv("SONDE_LISTEN");
        unsetenv("SONDE_HOSTS");
    }
}

static void each_kind_takes_its_values_and_no_others(void **state)
{
    (void)state;
    static const struct {
        enum conf_id id;
        const char *good, *bad, *why;
    } cases[] = {
        {CONF_SERVER_ROLE, "upload keeper", "upload,keeper", "none of: upload"},
        {CONF_SERVER_ROLE, "all", "  ", "some of"},
        {CONF_SERVER_WORKERS, "256", "257", "outside 1 to 256"},
        {CONF_SERVER_WORKERS, "1", "2x", "whole number"},
        {CONF_SERVER_WORKERS, "1", "99999999999999999999", "whole number"},
        {CONF_SERVER_UPLOAD_MAX, "5M", "5Q", "unknown unit"},
        {CONF_SERVER_UPLOAD_MAX, "1", "0", "outside 1 to"},
        {CONF_BLOB_PART_SIZE, "5M", "4M", "outside 5M to 5G"},
        {CONF_SERVER_DRAIN, "15m", "2d", "unknown unit"},
        {CONF_DETECTOR_PRIOR, "0.25", "nan", "not a number"},
        {CONF_DETECTOR_PRIOR, "0.25", "1", "outside 0.001 to 0.999"},
        {CONF_RETENTION_AUDIO, "0", "-1", "outside 0 to 36500 days, and not forever"},
        {CONF_RETENTION_RESULTS, "forever", "0", "outside"},
        {CONF_RETENTION_RESULTS, "0.5", "for ever", "number of days, or forever"},
        {CONF_BLOB_HOST_STYLE, "yes", "true", "neither yes nor no"},
        {CONF_LOG_LEVEL, "error", "loud", "none of: debug info warn error"},
        {CONF_DB_URL, "postgresql://h/d", "mysql://u:" MARK "@h/d", "postgres postgresql sqlite"},
        {CONF_DB_URL, "sqlite:/x", "postgres://u:" MARK "@h/a b", "one url, without blanks"},
        {CONF_DB_URL, "fault:3:sqlite:/x", MARK, "known are"},
        {CONF_QUEUE_URL, "amqp://a amqps://b", "amqp://a u:" MARK "@b", "amqp amqps table"},
        {CONF_SERVER_LISTEN, "[::1]:0", "a\tb", "control characters"},
        {CONF_SERVER_LISTEN, "x", "\xff", "not UTF-8"},
        {CONF_SERVER_LISTEN, "x", "", "there is no value"},
    };
    CONF;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        assert_int_equal(conf_set(conf, cases[i].id, CONF_FROM_FLAG, cases[i].good, &err), ERR_OK);
        assert_int_equal(conf_set(conf, cases[i].id, CONF_FROM_FLAG, cases[i].bad, &err),
                         ERR_USAGE);
        if (!strstr(err.text, cases[i].why))
            fail_msg("%s: '%s' lacks '%s'", cases[i].bad, err.text, cases[i].why);
        assert_null(strstr(err.text, MARK));
        assert_string_equal(conf_text(conf, cases[i].id), cases[i].good);
    }
    char longer[CONF_VALUE_MAX + 2];
    struct err err;
    memset(longer, 'x', sizeof longer);
    longer[CONF_VALUE_MAX + 1] = 0;
    assert_int_equal(conf_set(conf, CONF_SERVER_HOSTS, CONF_FROM_ENV, longer, &err), ERR_USAGE);
    longer[CONF_VALUE_MAX] = 0;
    assert_int_equal(conf_set(conf, CONF_SERVER_HOSTS, CONF_FROM_ENV, longer, &err), ERR_OK);
}

static void names_are_checked_and_the_nearest_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"[sever]\nlisten = x\n", "f:1: there is no section [sever]; did you mean [server]?|"},
        {"[mail]\nhost = x\n", "f:1: there is no section [mail]|"},
        {"[server]\nlissten = x\n", "f:2: [server] has no setting lissten; did you mean listen?|"},
        {"[server]\nUpload-Max = 1M\n",
         "f:2: [server] has no setting Upload-Max; did you mean upload_max?|"},
        {"[retention]\nkeep-audio = 3\n",
         "f:2: [retention] has no setting keep-audio; did you mean audio?|"},
        {"[server]\nlevel = info\n", "f:2: [server] has no setting level; [log] has one|"},
        {"[server]\ncolour = red\n",
         "f:2: [server] has no setting colour; `sonde config docs` lists them all|"},
        /* The end of a secret that was broken into two lines. */
        {"[db]\npassword = x\n" MARK "==\n",
         "f:3: [db] has no setting (the word before the =); `sonde config docs` lists them all|"},
        {"[db]\npassword " MARK "\n", "f:2: neither [section], nor key = value, nor a comment|"},
        {"[log]\nlevel = info\nlevel = warn\n", "f:3: level is set in line 2 already|"},
        {"[log]\nlevel = info\n[db]\nreaders = 1\n[log]\nlevel = warn\n",
         "f:6: level is set in line 2 already|"},
        {"[log]\nlevel = loud\n", "f:2: level: 'loud' is none of: debug info warn error|"},
        {"[log]\nlevel =\n",
         "f:2: level: there is no value; leave the setting out for its default|"},
        {"[server]\nlisten = \"x\"\n", "f:2: listen: the value is written without quotes|"},
        {"[server]\nlisten = x # y\n", "f:2: listen: a comment stands on a line of its own|"},
        {"[db]\npassword = '" MARK "'\n",
         "warning f:2: password: the quotes are taken as a part of it|"},
        {"[db]\npassword = a # \"b\n", ""},
        {"[db]\nurl = mysql://u:" MARK "@h\n", "f:2: url: a url of a kind that is not known here; "
                                               "known are those that begin with one of: "
                                               "postgres postgresql sqlite, and a colon|"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CONF;
        read_text(conf, cases[i].text);
        expect(conf, cases[i].want);
    }
}

static void everything_wrong_is_told_at_once(void **state)
{
    (void)state;
    CONF;
    setenv("SONDE_JOBS", "many", 1);
    setenv("SONDE_DB_PASSWROD", MARK, 1);
    setenv("SONDE_DB_SERVICE_HOST", "10.0.0.1", 1); /* Kubernetes */
    setenv("SONDE_DB_PORT_5432_TCP", "x", 1);
    setenv("SONDE_SERVER_SOMETHING_ELSE", "x", 1);
    read_text(conf, "[server]\nworkers = none\n[log]\nlevel = loud\n");
    conf_read_environment(conf);
    unsetenv("SONDE_JOBS");
    unsetenv("SONDE_DB_PASSWROD");
    unsetenv("SONDE_DB_SERVICE_HOST");
    unsetenv("SONDE_DB_PORT_5432_TCP");
    unsetenv("SONDE_SERVER_SOMETHING_ELSE");
    expect(conf, "f:2: workers: 'none' is not a whole number|"
                 "f:4: level: 'loud' is none of: debug info warn error|"
                 "SONDE_JOBS: 'many' is not a whole number|"
                 "warning SONDE_DB_PASSWROD: no such setting; did you mean SONDE_DB_PASSWORD?|");
    assert_int_equal(conf_errors(conf), 3);
    char many[20 * 2 * CONF_PROBLEMS_MAX] = "";
    for (int i = 0; i < 2 * CONF_PROBLEMS_MAX; i++)
        strcat(many, "nonsense\n");
    read_text(conf, many);
    assert_null(conf_problem_at(conf, CONF_PROBLEMS_MAX));
    assert_int_equal(conf_errors(conf), 3 + 2 * CONF_PROBLEMS_MAX);
}

static void files_are_bounded_and_named(void **state)
{
    char *folder = *state;
    _cleanup_free_ char *path = xasprintf("%s/sonde.conf", folder);
    _cleanup_free_ char *missing = xasprintf("%s/missing", folder);
    static char big[CONF_FILE_MAX + 1];
    {
        CONF;
        conf_read_file(conf, missing, 0);
        expect(conf, "");
        assert_null(conf_file(conf));
        conf_read_file(conf, missing, 1);
        expect_part(conf, "missing: cannot open it: No such file");
    }
    {
        CONF;
        conf_read_file(conf, folder, 1);
        expect_part(conf, "it is a folder, not a file");
    }
    {
        CONF;
        conf_read_file(conf, "/dev/null", 1);
        expect(conf, "");
    }
    memset(big, '\n', sizeof big);
    folder_write(path, big, sizeof big);
    {
        CONF;
        conf_read_file(conf, path, 1);
        expect_part(conf, "larger than 1048576 bytes");
    }
    folder_write(path, big, sizeof big - 1);
    {
        CONF;
        conf_read_file(conf, path, 1);
        expect(conf, "");
        assert_string_equal(conf_file(conf), path);
    }
    if (geteuid() != 0) { /* root reads everything */
        chmod(path, 0);
        CONF;
        conf_read_file(conf, path, 0);
        expect_part(conf, "warning ");
        assert_int_equal(conf_errors(conf), 0);
        conf_read_file(conf, path, 1);
        assert_int_equal(conf_errors(conf), 1);
    }
}

static void readable_secrets_give_a_warning(void **state)
{
    char *folder = *state;
    _cleanup_free_ char *path = xasprintf("%s/sonde.conf", folder);
    static const struct {
        const char *text;
        int mode, warns;
    } cases[] = {
        {"[db]\npassword = " MARK "\n", 0644, 1},
        {"[db]\npassword = " MARK "\n", 0640, 0},
        {"[db]\npassword = " MARK "\n", 0600, 0},
        {"[db]\nurl = postgres://u:" MARK "@h/d\n", 0604, 1},
        {"[queue]\nurl = amqp://h amqp://u:" MARK "@h\n", 0604, 1},
        {"[db]\nurl = postgres://u@h:5432/d\npassword_file = /x\n", 0644, 0},
        {"[server]\nworkers = 3\n", 0666, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CONF;
        folder_write(path, cases[i].text, strlen(cases[i].text));
        assert_int_equal(chmod(path, (mode_t)cases[i].mode), 0);
        conf_read_file(conf, path, 1);
        assert_int_equal(!!conf_problem_at(conf, 0), cases[i].warns);
        if (cases[i].warns)
            expect_part(conf, "chmod 600");
        assert_int_equal(conf_errors(conf), 0);
    }
}

static void secrets_come_from_files(void **state)
{
    char *folder = *state;
    _cleanup_free_ char *path = xasprintf("%s/secret", folder);
    static char big[CONF_VALUE_MAX + 1];
    memset(big, 'x', sizeof big);
    const struct {
        const char *data;
        size_t size;
        const char *why; /* NULL: good */
    } cases[] = {
        {MARK, strlen(MARK), NULL},
        {MARK "\n", strlen(MARK) + 1, NULL},
        {MARK "\r\n", strlen(MARK) + 2, NULL},
        {"", 0, "it is empty"},
        {"\n", 1, "it is empty"},
        {MARK "\nx\n", strlen(MARK) + 3, "more than one line"},
        {MARK "\n\n", strlen(MARK) + 2, "more than one line"},
        {MARK "\0x", strlen(MARK) + 2, "zero byte"},
        {MARK "\xff", strlen(MARK) + 1, "not UTF-8"},
        {big, sizeof big, "larger than 4096 bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CONF;
        struct err err;
        folder_write(path, cases[i].data, cases[i].size);
        assert_int_equal(conf_set(conf, CONF_DB_PASSWORD_FILE, CONF_FROM_FLAG, path, &err), ERR_OK);
        conf_finish(conf);
        if (cases[i].why) {
            expect_part(conf, cases[i].why);
            expect_part(conf, path);
        } else {
            expect(conf, "");
            assert_string_equal(conf_secret(conf, CONF_DB_PASSWORD), MARK);
            _cleanup_free_ char *shown = conf_shown(conf, CONF_DB_PASSWORD_FILE);
            assert_string_equal(shown, path);
        }
    }
}

static void of_two_secrets_the_later_holds(void **state)
{
    char *folder = *state;
    _cleanup_free_ char *path = xasprintf("%s/secret", folder);
    _cleanup_free_ char *text = xasprintf("[db]\npassword_file = %s\n", path);
    struct err err;
    folder_write(path, "from file\n", 10);
    {
        CONF;
        read_text(conf, text);
        assert_int_equal(conf_set(conf, CONF_DB_PASSWORD, CONF_FROM_ENV, MARK, &err), ERR_OK);
        conf_finish(conf);
        assert_string_equal(conf_secret(conf, CONF_DB_PASSWORD), MARK);
        expect(conf, "");
    }
    {
        CONF;
        read_text(conf, "[db]\npassword = " MARK "\n");
        assert_int_equal(conf_set(conf, CONF_DB_PASSWORD_FILE, CONF_FROM_ENV, path, &err), ERR_OK);
        conf_finish(conf);
        assert_string_equal(conf_secret(conf, CONF_DB_PASSWORD), "from file");
    }
    {
        CONF;
        _cleanup_free_ char *both = xasprintf("%spassword = %s\n", text, MARK);
        read_text(conf, both);
        conf_finish(conf);
        expect(conf, "f: password and password_file are both set: which one holds?|");
    }
}

static void nothing_secret_is_shown(void **state)
{
    (void)state;
    CONF;
    read_text(conf, "[db]\nurl = postgres://u:" MARK "@h/d?sslpassword=" MARK
                    "&a=b\npassword = " MARK "\n[queue]\nurl = amqp://u:" MARK "@a amqps://b\n");
    _cleanup_free_ char *url = conf_shown(conf, CONF_DB_URL),
                        *queue = conf_shown(conf, CONF_QUEUE_URL);
    _cleanup_free_ char *password = conf_shown(conf, CONF_DB_PASSWORD);
    assert_string_equal(url, "postgres://u:********@h/d?sslpassword=********&a=b");
    assert_string_equal(queue, "amqp://u:********@a amqps://b");
    assert_string_equal(password, "********");
    assert_null(conf_shown(conf, CONF_CACHE_URL));
    assert_string_equal(conf_secret(conf, CONF_DB_PASSWORD), MARK);
}

/* What conf_print_… writes, in memory. */
static char *printed(void (*print)(FILE *))
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    print(out);
    fclose(out);
    return text;
}

static void the_sample_is_a_configuration(void **state)
{
    (void)state;
    _cleanup_free_ char *sample = printed(conf_print_sample);
    {
        CONF;
        read_text(conf, sample);
        expect(conf, "");
        for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
            assert_int_equal(conf_origin(conf, id), CONF_FROM_DEFAULT);
    }
    CONF;
    for (char *p = sample; (p = strstr(p, "\n#")); p++) /* "#key = …", not "# words" */
        if (p[2] != ' ')
            p[1] = ' ';
    read_text(conf, sample);
    expect(conf, "");
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
        assert_int_equal(conf_origin(conf, id), CONF_FROM_FILE);
}

static void the_docs_name_everything(void **state)
{
    (void)state;
    _cleanup_free_ char *docs = printed(conf_print_docs);
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        _cleanup_free_ char *key = xasprintf("| `%s` |", conf_settings[id].key);
        _cleanup_free_ char *env = xasprintf("`%s`", conf_settings[id].env);
        assert_non_null(strstr(docs, key));
        assert_non_null(strstr(docs, env));
    }
}

static int make_folder(void **state)
{
    *state = folder_new();
    return 0;
}

static int drop_folder(void **state)
{
    *state = folder_drop(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(defaults_hold),
        cmocka_unit_test(later_origins_win_in_any_order),
        cmocka_unit_test(each_kind_takes_its_values_and_no_others),
        cmocka_unit_test(names_are_checked_and_the_nearest_told),
        cmocka_unit_test(everything_wrong_is_told_at_once),
        cmocka_unit_test_setup_teardown(files_are_bounded_and_named, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(readable_secrets_give_a_warning, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(secrets_come_from_files, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(of_two_secrets_the_later_holds, make_folder, drop_folder),
        cmocka_unit_test(nothing_secret_is_shown),
        cmocka_unit_test(the_sample_is_a_configuration),
        cmocka_unit_test(the_docs_name_everything),
    };
    return cmocka_run_group_tests_name("conf_conf", tests, NULL, NULL);
}

/* conf/check: named files and folders, and settings that do not go together. */
#include "../../support/cm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../support/folder.h"
#include "base/mem.h"
#include "conf/conf.h"

static void done(struct conf **conf)
{
    *conf = conf_free(*conf);
}

static void check_text(const char *text, const char *part)
{
    _cleanup_(done) struct conf *conf = conf_new();
    conf_read_text(conf, "f", text, strlen(text));
    conf_finish(conf);
    assert_int_equal(conf_errors(conf), 0);
    conf_check(conf);
    const struct conf_problem *p = conf_problem_at(conf, 0);
    if (!part && p)
        fail_msg("'%s' in %s", p->text, text);
    if (part && (!p || !strstr(p->text, part)))
        fail_msg("'%s' lacks '%s'", p ? p->text : "nothing", part);
    if (p)
        assert_null(strstr(p->text, "hunter2"));
}

static void settings_that_do_not_go_together(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", NULL},
        {"[server]\nrole = upload\n", "f:2: [server] role: the other roles run in other processes"},
        {"[server]\nrole = upload inference keeper\n", NULL},
        {"[server]\nrole = upload\n[db]\nurl = postgres://h/d\n", "set [blob] url"},
        {"[server]\nrole = keeper\n[db]\nurl = postgres://h/d\n[blob]\nurl = fs:/shared\n", NULL},
        {"[blob]\nurl = s3://h\n", "needs key_id"},
        {"[blob]\nurl = s3+http://h\nkey_id = k\n", "needs secret"},
        {"[blob]\nurl = s3://h\nkey_id = k\nsecret = hunter2\n", NULL},
        {"[blob]\nkey_id = k\n", "f:2: [blob] key_id: there is a key, and no url"},
        {"[blob]\nsecret = hunter2\n", "[blob] secret: there is a key, and no url"},
        {"[db]\npassword = hunter2\n", "f:2: [db] password: there is a password, and no url"},
        {"[db]\nurl = postgres://u:hunter2@h/d\npassword = hunter2\n", "which holds"},
        {"[db]\nurl = postgres://u@h:1/d\npassword = hunter2\n", NULL},
        {"[db]\nreplicas = postgres://h/d\n", "replicas are of a postgres:// url"},
        {"[queue]\nurl = amqp://h\nca_file = /etc/hostname\n", "there is no certificate"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_text(cases[i].text, cases[i].part);
}

static void certificates_need_tls(void **state)
{
    char *folder = *state;
    static const struct {
        const char *settings, *part;
    } cases[] = {
        {"[queue]\nurl = amqp://h\n", "only amqps"},
        {"[queue]\nurl = amqps://h\n", NULL},
        {"[cache]\nurl = redis://h\n", "only rediss"},
        {"[cache]\nurl = rediss://h\n", NULL},
        {"[blob]\nurl = s3+http://h\nkey_id = k\nsecret = s\n", "only s3"},
        {"[blob]\nurl = s3://h\nkey_id = k\nsecret = s\n", NULL},
    };
    _cleanup_free_ char *ca = xasprintf("%s/ca.pem", folder);
    folder_write(ca, "-----BEGIN CERTIFICATE-----\n", 28);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_free_ char *text = xasprintf("%sca_file = %s\n", cases[i].settings, ca);
        check_text(text, cases[i].part);
    }
}

static void named_files_and_folders(void **state)
{
    char *folder = *state;
    _cleanup_free_ char *file = xasprintf("%s/file", folder);
    folder_write(file, "x", 1);
    const struct {
        const char *section, *key, *path, *part;
    } cases[] = {
        {"detector", "model", "/file", NULL},
        {"detector", "model", "/none", "No such file"},
        {"detector", "model", "", "is not a file"},
        {"server", "web", "", NULL},
        {"server", "web", "/none", "No such file"},
        {"server", "web", "/file", "not a folder"},
        {"server", "data", "", NULL},
        {"server", "data", "/made/at/start", NULL},
        {"server", "data", "/file", "not a folder"},
        {"server", "data", "/file/below", "not a folder"},
        {"blob", "ca_file", "/none", "No such file"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_free_ char *text =
            xasprintf("[%s]\n%s = %s%s\n", cases[i].section, cases[i].key, folder, cases[i].path);
        check_text(text, cases[i].part);
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
        cmocka_unit_test(settings_that_do_not_go_together),
        cmocka_unit_test_setup_teardown(certificates_need_tls, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(named_files_and_folders, make_folder, drop_folder),
    };
    return cmocka_run_group_tests_name("conf_check", tests, NULL, NULL);
}

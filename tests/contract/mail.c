/* The contract of driver/mail/mail.h, over every driver that keeps it. A new driver joins by a row
 * in `drivers`: how to open it, and how to count what has arrived. */
#include "../support/cm.h"

#include <stdlib.h>
#include <string.h>

#include "../support/folder.h"
#include "base/mem.h"
#include "driver/mail/mail.h"

static struct err err;
static char *folder;

static enum err_code open_file(const char *from, struct mail **ret)
{
    _cleanup_free_ char *url = xasprintf("file:%s/mail", folder);
    return mail_open(&(struct mail_options){.url = url, .from = from}, ret, &err);
}

static int arrived_file(void)
{
    _cleanup_free_ char *path = xasprintf("%s/mail", folder);
    return folder_count(path);
}

static const struct driver {
    const char *name;
    enum err_code (*open)(const char *from, struct mail **ret);
    int (*arrived)(void);
} drivers[] = {{"file", open_file, arrived_file}};
static const struct driver *driver; /* of the test that runs */

static int setup(void **state)
{
    driver = *state;
    folder = folder_new();
    struct mail *mail = NULL;
    assert_int_equal(driver->open("sonde <sonde@example.org>", &mail), ERR_OK);
    *state = mail;
    return 0;
}

static int teardown(void **state)
{
    assert_null(mail_close(*state));
    folder = folder_drop(folder);
    return 0;
}

static enum err_code send_to(struct mail *mail, const char *to, const char *subject)
{
    return mail_send(mail, &(struct mail_message){.to = to, .subject = subject, .text = "text"},
                     &err);
}

static void good_messages_arrive(void **state)
{
    static const char *const good[] = {"a@example.org",
                                       "a.b+c@sub.example.org",
                                       "Anna <anna@example.org>",
                                       "\"Anna B.\" <a@b.org>",
                                       "\xd0\x90\xd0\xbd\xd0\xbd\xd0\xb0 <a@b.org>",
                                       "root@localhost"};
    int sent = 0;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(send_to(*state, good[i], "hello"), ERR_OK);
        assert_int_equal(driver->arrived(), ++sent);
    }
    struct mail_message both = {.to = good[0], .subject = "", .text = "", .html = "<p>x</p>"};
    assert_int_equal(mail_send(*state, &both, &err), ERR_OK);
    assert_int_equal(driver->arrived(), ++sent);
}

static void bad_addresses_and_subjects_are_refused(void **state)
{
    static const char *const bad_to[] = {NULL,
                                         "",
                                         "a",
                                         "@example.org",
                                         "a@",
                                         "a@b@c.org",
                                         "a b@example.org",
                                         "a@exa mple.org",
                                         "a@example.org, b@example.org",
                                         "a@example.org;b@example.org",
                                         "a@example.org\r\nBcc: b@example.org",
                                         "a\n@example.org",
                                         "Anna\r\nBcc: x <a@example.org>",
                                         "Anna <a@example.org",
                                         "<a@example.org> x",
                                         ".a@example.org",
                                         "a..b@example.org",
                                         "a@example..org",
                                         "a@-example.org",
                                         "\xd0\xb0@example.org",
                                         "Anna\xff <a@example.org>",
                                         "a@example.org\x01"};
    static const char *const bad_subject[] = {
        NULL, "a\r\nBcc: b@example.org", "a\nb", "a\rb", "a\x1b[2J", "bad \xff"};
    char long_text[MAIL_SUBJECT_MAX + 2];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(bad_to); i++)
        assert_int_equal(send_to(*state, bad_to[i], "s"), ERR_BAD_REQUEST);
    for (size_t i = 0; i < ARRAY_LEN(bad_subject); i++)
        assert_int_equal(send_to(*state, "a@example.org", bad_subject[i]), ERR_BAD_REQUEST);
    assert_int_equal(send_to(*state, "a@example.org", long_text), ERR_BAD_REQUEST);
    struct mail_message m = {.to = "a@b.org", .subject = "s", .text = "\xff"};
    assert_int_equal(mail_send(*state, &m, &err), ERR_BAD_REQUEST);
    m.text = NULL;
    assert_int_equal(mail_send(*state, &m, &err), ERR_BAD_REQUEST);
    _cleanup_free_ char *huge = xalloc(MAIL_BODY_MAX + 2);
    memset(huge, 'x', MAIL_BODY_MAX + 1);
    m.text = huge;
    assert_int_equal(mail_send(*state, &m, &err), ERR_LIMIT);
    assert_int_equal(driver->arrived(), 0);
}

static void a_bad_sender_does_not_open(void **state)
{
    (void)state;
    struct mail *mail = NULL;
    assert_int_equal(driver->open("nobody", &mail), ERR_BAD_REQUEST);
    assert_int_equal(driver->open("a@b.org\r\nX: y", &mail), ERR_BAD_REQUEST);
    assert_null(mail);
    assert_null(mail_close(NULL));
    assert_int_equal(
        mail_open(&(struct mail_options){.url = "pigeon:", .from = "a@b.org"}, &mail, &err),
        ERR_USAGE);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest suite[] = {
        ROW(good_messages_arrive),
        ROW(bad_addresses_and_subjects_are_refused),
        ROW(a_bad_sender_does_not_open),
    };
    struct CMUnitTest tests[ARRAY_LEN(drivers) * ARRAY_LEN(suite)];
    for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
        const struct driver *d = &drivers[i / ARRAY_LEN(suite)];
        tests[i] = suite[i % ARRAY_LEN(suite)];
        tests[i].name = xasprintf("%s: %s", d->name, tests[i].name);
        tests[i].initial_state = (void *)(uintptr_t)d;
    }
    int failed = cmocka_run_group_tests_name("contract_mail", tests, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        free((void *)(uintptr_t)tests[i].name);
    return failed;
}

/* base/url: whatever a password looks like, it does not show. */
#include "../../support/cm.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/url.h"

#define M "********"

static void passwords_are_hidden(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"table:", "table:"},
        {"sqlite:/a/b.db", "sqlite:/a/b.db"},
        {"postgres://h:5432/d", "postgres://h:5432/d"},
        {"postgres://u@h:5432/d", "postgres://u@h:5432/d"},
        {"postgres://u:p@h:5432/d", "postgres://u:" M "@h:5432/d"},
        {"postgres://u:@h/d", "postgres://u:@h/d"},
        {"redis://:p@h/1", "redis://:" M "@h/1"},
        {"amqp://u:p@h1 amqps://u:p@h2/v  amqp://h3",
         "amqp://u:" M "@h1 amqps://u:" M "@h2/v  amqp://h3"},
        /* passwords that a proper url would have escaped */
        {"postgres://u:p@p:p/p?p#p@h/d", "postgres://u:" M "@h/d"},
        {"fault:3:postgres://u:p@h/d", "fault:3:postgres://u:" M "@h/d"},
        {"postgres://h/d?user=u&password=p&sslmode=x",
         "postgres://h/d?user=u&password=" M "&sslmode=x"},
        {"postgres://h/d?sslpassword=p", "postgres://h/d?sslpassword=" M},
        {"postgres://h/d?PassWord=p", "postgres://h/d?PassWord=" M},
        {"postgres://h/d?nopassword=p", "postgres://h/d?nopassword=p"},
        {"host=h password=p user=u", "host=h password=" M " user=u"},
        {"password=p", "password=" M},
        {"password=p://q:r@s", "password=" M},
        {"postgres://h/d?password=", "postgres://h/d?password="},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_free_ char *masked = url_masked(cases[i][0]);
        assert_string_equal(masked, cases[i][1]);
        assert_int_equal(url_has_password(cases[i][0]), strcmp(cases[i][0], cases[i][1]) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passwords_are_hidden),
    };
    return cmocka_run_group_tests_name("base_url", tests, NULL, NULL);
}

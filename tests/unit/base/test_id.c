/* base/id: UUIDs of version 7 that sort by time, tokens of the right letters. */
#include "../../support/cm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unistd.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/time.h"

#define MANY 5000

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int64_t stamp_of(const char *id)
{
    char hex[13];
    memcpy(hex, id, 8);
    memcpy(hex + 8, id + 9, 4);
    hex[12] = '\0';
    return (int64_t)strtoull(hex, NULL, 16);
}

static void ids_are_valid_unique_and_carry_the_time(void **state)
{
    (void)state;
    static char ids[MANY][ID_TEXT];
    int64_t before = time_now_ms();
    for (int i = 0; i < MANY; i++)
        id_new(ids[i]);
    int64_t after = time_now_ms();
    for (int i = 0; i < MANY; i++) {
        assert_true(id_valid(ids[i]));
        assert_in_range(stamp_of(ids[i]), before, after);
    }
    qsort(ids, MANY, ID_TEXT, by_text);
    for (int i = 1; i < MANY; i++)
        assert_string_not_equal(ids[i - 1], ids[i]);
}

static void later_ids_sort_later(void **state)
{
    (void)state;
    char a[ID_TEXT], b[ID_TEXT];
    id_new(a);
    for (int i = 0; i < 500; i++) {
        usleep(1); /* several in a millisecond, and fewer than it has numbers */
        id_new(b);
        assert_true(strcmp(a, b) < 0);
        memcpy(a, b, ID_TEXT);
    }
}

static void other_forms_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "019a2c4e",
        "019a2c4e-7d3f-7a10-9c55-0e8b7c1d2f3",   /* short */
        "019a2c4e-7d3f-7a10-9c55-0e8b7c1d2f345", /* long */
        "019a2c4e-7d3f-4a10-9c55-0e8b7c1d2f34",  /* version 4 */
        "019a2c4e-7d3f-7a10-cc55-0e8b7c1d2f34",  /* another variant */
        "019A2C4E-7D3F-7A10-9C55-0E8B7C1D2F34",  /* upper case */
        "019a2c4e07d3f-7a10-9c55-0e8b7c1d2f34",  /* no dash */
        "019a2c4e-7d3f-7a10-9c55-0e8b7c1d2f3g",
        "../../../../../../../../../../../../",
    };
    assert_true(id_valid("019a2c4e-7d3f-7a10-9c55-0e8b7c1d2f34"));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(id_valid(bad[i]));
}

static void tokens_have_their_length_and_letters(void **state)
{
    (void)state;
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    int seen[256] = {0};
    char token[44], other[44];
    for (int i = 0; i < 500; i++) {
        memset(token, 1, sizeof token);
        random_token(token, sizeof token);
        assert_int_equal(strlen(token), sizeof token - 1);
        assert_int_equal(strspn(token, letters), sizeof token - 1);
        for (const char *p = token; *p; p++)
            seen[(unsigned char)*p]++;
    }
    for (const char *p = letters; *p; p++) /* 336 expected of each */
        assert_in_range(seen[(unsigned char)*p], 200, 500);
    random_token(other, sizeof other);
    assert_string_not_equal(token, other);
    random_token(other, 1);
    assert_string_equal(other, "");
}

static void random_bytes_fill_all_of_it(void **state)
{
    (void)state;
    static unsigned char bytes[1000 + 2];
    int seen[sizeof bytes] = {0};
    for (int round = 0; round < 8; round++) { /* a byte that stays 0 eight times: 1 in 10^16 each */
        random_bytes(bytes + 1, 1000);
        for (size_t i = 0; i < sizeof bytes; i++)
            seen[i] |= bytes[i];
    }
    assert_int_equal(seen[0] | seen[1001], 0);
    for (int i = 1; i <= 1000; i++)
        assert_int_not_equal(seen[i], 0);
}

/* The block that small wishes are served from must not be given out twice. */
static void a_forked_child_draws_other_bytes(void **state)
{
    (void)state;
    unsigned char first[16], mine[16], childs[16];
    int pipes[2], status = -1;
    random_bytes(first, sizeof first); /* fills the block */
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        random_bytes(mine, sizeof mine);
        _exit(write(pipes[1], mine, sizeof mine) != sizeof mine);
    }
    random_bytes(mine, sizeof mine);
    assert_int_equal(read(pipes[0], childs, sizeof childs), sizeof childs);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_memory_not_equal(mine, childs, sizeof mine);
    assert_memory_not_equal(mine, first, sizeof mine);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_valid_unique_and_carry_the_time),
        cmocka_unit_test(later_ids_sort_later),
        cmocka_unit_test(other_forms_are_refused),
        cmocka_unit_test(tokens_have_their_length_and_letters),
        cmocka_unit_test(random_bytes_fill_all_of_it),
        cmocka_unit_test(a_forked_child_draws_other_bytes),
    };
    return cmocka_run_group_tests_name("base_id", tests, NULL, NULL);
}

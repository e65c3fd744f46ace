/* What several processes on one database need: leases, the outbox by its writer, runs as a fence,
 * and the look after an uncertain commit. Two handles of one database stand for two processes. */
#include <jansson.h>

#include <unistd.h>

#include "helper.h"

static int held_by(struct db *db, const char *owner, double seconds)
{
    int held = -1;
    OK(store_lease(db, "keeper", owner, seconds, &held, err));
    return held;
}

static void a_lease_has_one_owner(void **state)
{
    struct box *box = *state;
    struct db *other = box_open(box, "");
    assert_int_equal(held_by(box->db, "one", 15), 1);
    assert_int_equal(held_by(other, "two", 15), 0);
    assert_int_equal(held_by(box->db, "one", 15), 1); /* prolonged */
    OK(store_lease_end(other, "keeper", "two", err)); /* not its own */
    assert_int_equal(held_by(other, "two", 15), 0);
    OK(store_lease_end(box->db, "keeper", "one", err));
    assert_int_equal(held_by(other, "two", 15), 1);
    assert_int_equal(held_by(box->db, "one", 15), 0);
    db_close(other);
}

static void a_lease_that_is_not_prolonged_ends(void **state)
{
    struct box *box = *state;
    assert_int_equal(held_by(box->db, "one", 0.05), 1);
    usleep(100000);
    assert_int_equal(held_by(box->db, "two", 15), 1);
    assert_int_equal(held_by(box->db, "one", 15), 0);
    /* Written by a clock that is a day ahead: taken all the same. */
    box_run(box, "UPDATE leases SET until_ms = until_ms + 86400000");
    assert_int_equal(held_by(box->db, "one", 15), 1);
}

static size_t peek(struct db *db, const struct store_outbox_filter *filter)
{
    struct store_outbox_row rows[8] = {0};
    size_t n = 0;
    OK(store_outbox_peek(db, filter, rows, 8, &n, err));
    for (size_t i = 0; i < n; i++) {
        json_t *body = json_loads(rows[i].body, 0, NULL);
        assert_int_equal(json_integer_value(json_object_get(body, "v")), STORE_MESSAGE_VERSION);
        json_decref(body);
        free(rows[i].body);
    }
    return n;
}

static void the_outbox_knows_who_wrote_a_row(void **state)
{
    struct box *box = *state;
    int64_t now = time_now_ms();
    struct store_outbox_filter one = {.origin = "one"}, two = {.origin = "two"};
    struct store_outbox_filter old = {.before_ms = now - 10000, .after_ms = now + 10000};
    store_set_origin("one");
    add(box->db, "a", "a");
    add(box->db, "b", "b");
    store_set_origin("two");
    add(box->db, "c", "c");
    store_set_origin("");
    assert_int_equal(peek(box->db, &one), 2);
    assert_int_equal(peek(box->db, &two), 1);
    assert_int_equal(peek(box->db, NULL), 3);
    assert_int_equal(peek(box->db, &old), 0);
    box_run(box, "UPDATE outbox SET created_ms = created_ms - 11000 WHERE origin = 'two'");
    assert_int_equal(peek(box->db, &old), 1);
    /* Of a clock that is ahead: it would else lie until ours has caught up. */
    box_run(box, "UPDATE outbox SET created_ms = created_ms + 86400000 WHERE origin = 'one'");
    assert_int_equal(peek(box->db, &old), 3);
}

static void who_was_overtaken_does_not_fail_what_another_one_does(void **state)
{
    struct box *box = *state;
    struct ids ids = add(box->db, "a", "a");
    struct store_analysis first, second;
    int stale = -1;
    OK(store_start(box->db, ids.analysis, &first, &stale, err));
    OK(store_start(box->db, ids.analysis, &second, &stale, err)); /* delivered once more */
    assert_int_equal(first.runs + 1, second.runs);
    OK(store_fail(box->db, ids.analysis, first.runs, &(struct err){ERR_TIMEOUT, "slept"}, &stale,
                  err));
    assert_int_equal(stale, 1);
    OK(store_requeue(box->db, ids.analysis, first.runs, err));
    assert_string_equal(status_of(box->db, ids.analysis), "running");
    box_counted(box);
    OK(store_requeue(box->db, ids.analysis, second.runs, err));
    assert_string_equal(status_of(box->db, ids.analysis), "queued");
    OK(store_fail(box->db, ids.analysis, second.runs, &(struct err){ERR_DAMAGED, "cut"}, &stale,
                  err));
    assert_int_equal(stale, 0);
    assert_string_equal(status_of(box->db, ids.analysis), "failed");
    box_counted(box);
}

static void the_first_result_stays_whoever_brings_it(void **state)
{
    struct box *box = *state;
    struct db *other = box_open(box, "");
    struct ids ids = add(box->db, "a", "a");
    struct store_analysis a;
    int stale = -1;
    OK(store_start(box->db, ids.analysis, &a, &stale, err));
    OK(store_start(other, ids.analysis, &a, &stale, err));
    finish(box->db, ids.analysis, -1.5, "human",
           MODEL_A); /* the one that was overtaken, but first */
    struct store_result late = result_of(2.5, "synthetic", MODEL_A);
    OK(store_finish(other, ids.analysis, &late, &stale, err));
    assert_int_equal(stale, 1);
    assert_string_equal(get(other, ids.analysis).verdict, "human");
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM results"), 1);
    db_close(other);
}

static void after_an_uncertain_commit_one_can_look(void **state)
{
    struct box *box = *state;
    struct ids ids = add(box->db, "a", "a");
    char never[ID_TEXT];
    int there = -1;
    id_new(never);
    OK(store_accepted(box->db, ids.analysis, &there, err));
    assert_int_equal(there, 1);
    OK(store_accepted(box->db, never, &there, err));
    assert_int_equal(there, 0);
}

static void whether_anything_was_ever_taken_in(void **state)
{
    struct box *box = *state;
    int any = -1;
    OK(store_has_uploads(box->db, &any, err));
    assert_int_equal(any, 0);
    add(box->db, "a", "a");
    OK(store_has_uploads(box->db, &any, err));
    assert_int_equal(any, 1);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, box_setup, box_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_lease_has_one_owner),
        TEST(a_lease_that_is_not_prolonged_ends),
        TEST(the_outbox_knows_who_wrote_a_row),
        TEST(who_was_overtaken_does_not_fail_what_another_one_does),
        TEST(the_first_result_stays_whoever_brings_it),
        TEST(after_an_uncertain_commit_one_can_look),
        TEST(whether_anything_was_ever_taken_in),
    };
    return cmocka_run_group_tests_name("store processes", tests, NULL, NULL);
}

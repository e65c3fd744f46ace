/* Final answers in the cache: what was deleted is never answered from there, however the steps of
 * readers and of the one who deletes fall together (B10). */
#include "../store/helper.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "role/roles.h"

#define ROUNDS  60
#define READERS 3

static struct app app;

static int setup(void **state)
{
    box_setup(state);
    struct box *box = *state;
    app = (struct app){.db = box->db, .cached = 1};
    OK(cache_open(&(struct cache_options){.url = "mem:"}, &app.cache, err));
    return 0;
}

static int teardown(void **state)
{
    app.cache = cache_close(app.cache);
    return box_teardown(state);
}

static int has(enum cached_what what, const char *id)
{
    _cleanup_free_ char *text = cached_get(&app, what, id);
    return text != NULL;
}

static void what_was_put_is_answered(void **state)
{
    struct box *box = *state;
    struct ids ids = add_done(box->db, "a", "a");
    assert_false(has(CACHED_STATUS, ids.analysis));
    cached_put(&app, CACHED_STATUS, ids.analysis, "{\"a\":1}");
    cached_put(&app, CACHED_RESULT, ids.analysis, "{\"b\":2}");
    _cleanup_free_ char *status = cached_get(&app, CACHED_STATUS, ids.analysis);
    _cleanup_free_ char *result = cached_get(&app, CACHED_RESULT, ids.analysis);
    assert_string_equal(status, "{\"a\":1}");
    assert_string_equal(result, "{\"b\":2}");
    assert_int_equal(cached_forget(&app, ids.analysis), 1);
    assert_false(has(CACHED_STATUS, ids.analysis));
    assert_false(has(CACHED_RESULT, ids.analysis));
}

static void without_a_shared_cache_nothing_is_kept(void **state)
{
    struct box *box = *state;
    struct ids ids = add_done(box->db, "a", "a");
    app.cached = 0;
    cached_put(&app, CACHED_STATUS, ids.analysis, "{}");
    app.cached = 1;
    assert_false(has(CACHED_STATUS, ids.analysis));
}

/* The reader that read before the commit, and puts after everything. */
static void who_comes_late_takes_back_what_he_put(void **state)
{
    struct box *box = *state;
    struct ids ids = add_done(box->db, "a", "a");
    OK(store_delete(box->db, ids.analysis, err));
    assert_int_equal(cached_forget(&app, ids.analysis), 1);
    cached_put(&app, CACHED_STATUS, ids.analysis, "{}");
    cached_put(&app, CACHED_RESULT, ids.analysis, "{}");
    assert_false(has(CACHED_STATUS, ids.analysis));
    assert_false(has(CACHED_RESULT, ids.analysis));
}

static struct ids at_hand;
static atomic_int go, ended;

static void *read_on(void *ctx)
{
    (void)ctx;
    while (!atomic_load(&go))
        ;
    while (!atomic_load(&ended)) {
        struct store_analysis a;
        if (!has(CACHED_STATUS, at_hand.analysis) &&
            store_get_status(app.db, at_hand.analysis, &a, NULL) == ERR_OK)
            cached_put(&app, CACHED_STATUS, at_hand.analysis, "{}");
    }
    return NULL;
}

static void deleting_wins_against_all_readers(void **state)
{
    struct box *box = *state;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t readers[READERS];
        at_hand = add_done(box->db, "a", "a");
        atomic_store(&go, 0);
        atomic_store(&ended, 0);
        for (int i = 0; i < READERS; i++)
            assert_int_equal(pthread_create(&readers[i], NULL, read_on, NULL), 0);
        atomic_store(&go, 1);
        usleep((useconds_t)(round * 50));
        cached_forget(&app, at_hand.analysis);
        OK(store_delete(box->db, at_hand.analysis, err));
        cached_forget(&app, at_hand.analysis);
        atomic_store(&ended, 1);
        for (int i = 0; i < READERS; i++)
            pthread_join(readers[i], NULL);
        assert_false(has(CACHED_STATUS, at_hand.analysis));
    }
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_put_is_answered),
        TEST(without_a_shared_cache_nothing_is_kept),
        TEST(who_comes_late_takes_back_what_he_put),
        TEST(deleting_wins_against_all_readers),
    };
    return cmocka_run_group_tests_name("role cached", tests, NULL, NULL);
}

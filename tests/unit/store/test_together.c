/* store: several threads at once, and transactions that break off in the middle or at the end. */
#include "helper.h"

#include <pthread.h>

#define THREADS 8

/* --- threads ------------------------------------------------------------------------------ */

struct worker {
    pthread_t thread;
    struct box *box;
    int number, taken, full, finished, stale, replayed;
    const char *id;
    struct ids ids[40];
};

static void run_workers(struct box *box, struct worker *workers, void *(*work)(void *),
                        const char *id)
{
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.box = box, .number = i, .id = id};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
}

/* No cmocka assertion may fail outside of the main thread: workers only count. */
static enum err_code accept_one(struct db *db, struct ids *ids, const struct store_idempotency *key,
                                uint64_t max, char **ret_replay)
{
    id_new(ids->upload);
    id_new(ids->analysis);
    struct store_upload upload = {.upload_id = ids->upload,
                                  .analysis_id = ids->analysis,
                                  .file_name = "a.wav",
                                  .sha256 = MODEL_A};
    return store_accept(db, &upload, 1, key, max, ret_replay, NULL);
}

static void *accept_many(void *arg)
{
    struct worker *w = arg;
    char *replay = NULL;
    for (int i = 0; i < 40; i++) {
        enum err_code code = accept_one(w->box->db, &w->ids[w->taken], NULL, THREADS * 30, &replay);
        w->taken += code == ERR_OK;
        w->full += code == ERR_QUEUE_FULL;
    }
    return NULL;
}

static void the_last_place_is_given_once(void **state)
{
    struct box *box = *state;
    struct worker w[THREADS];
    run_workers(box, w, accept_many, NULL);
    int taken = 0, full = 0;
    for (int i = 0; i < THREADS; i++) {
        taken += w[i].taken;
        full += w[i].full;
        for (int k = 0; k < w[i].taken; k++)
            assert_string_equal(status_of(box->db, w[i].ids[k].analysis), "queued");
    }
    assert_int_equal(taken, THREADS * 30);
    assert_int_equal(full, THREADS * 10);
    box_counted(box);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM outbox"), taken);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM events"), taken);
}

static void *use_the_key(void *arg)
{
    struct worker *w = arg;
    struct store_idempotency key = {"key", "print"};
    char *replay = NULL;
    if (accept_one(w->box->db, &w->ids[0], &key, 0, &replay) == ERR_OK) {
        w->taken = !replay;
        if (replay)
            snprintf(w->ids[0].analysis, ID_TEXT, "%s", replay);
        free(replay);
    }
    return NULL;
}

static void a_key_is_claimed_once(void **state)
{
    struct box *box = *state;
    struct worker w[THREADS];
    run_workers(box, w, use_the_key, NULL);
    int taken = 0;
    for (int i = 0; i < THREADS; i++) {
        taken += w[i].taken;
        assert_string_equal(w[i].ids[0].analysis, w[0].ids[0].analysis);
    }
    assert_int_equal(taken, 1);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM analyses"), 1);
}

static void *finish_one(void *arg)
{
    struct worker *w = arg;
    int stale = -1;
    enum err_code code;
    if (w->number % 2) {
        _cleanup_free_ char *json = xasprintf("{\"worker\":%d}", w->number);
        struct store_result result = result_of(w->number, "human", MODEL_A);
        result.json = json;
        code = store_finish(w->box->db, w->id, &result, &stale, NULL);
    } else {
        struct err why = {.code = ERR_TIMEOUT, .text = "slow"};
        code = store_fail(w->box->db, w->id, 0, &why, &stale, NULL);
    }
    w->finished = code == ERR_OK && !stale;
    w->stale = code == ERR_OK && stale;
    return NULL;
}

static void of_several_that_finish_one_wins(void **state)
{
    struct box *box = *state;
    struct store_webhook hook = {.url = "https://a/", .secret = "whsec_a"};
    id_new(hook.id);
    OK(store_webhook_add(box->db, &hook, err));
    for (int round = 0; round < 20; round++) {
        struct ids ids = add(box->db, "a", "a");
        struct worker w[THREADS];
        run_workers(box, w, finish_one, ids.analysis);
        int winner = -1, stale = 0;
        for (int i = 0; i < THREADS; i++) {
            stale += w[i].stale;
            if (w[i].finished)
                winner = i;
        }
        assert_int_equal(stale, THREADS - 1);
        struct store_analysis a = get(box->db, ids.analysis);
        _cleanup_free_ char *json = NULL;
        OK(store_get_result(box->db, ids.analysis, &json, err));
        if (winner % 2) {
            _cleanup_free_ char *want = xasprintf("{\"worker\":%d}", winner);
            assert_int_equal(a.status, STORE_DONE);
            assert_true(a.llr == winner);
            assert_string_equal(json, want);
        } else {
            assert_int_equal(a.status, STORE_FAILED);
            assert_null(json);
        }
    }
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM deliveries"), 20);
    box_counted(box);
}

static void *live(void *arg)
{
    struct worker *w = arg;
    char *replay = NULL, *cursor = NULL;
    struct store_analysis a;
    struct store_result result = result_of(w->number, "human", MODEL_A);
    int stale = 0, reused = 0;
    uint64_t count = 0;
    for (int i = 0; i < 25; i++) {
        struct ids *ids = &w->ids[i];
        if (accept_one(w->box->db, ids, NULL, 0, &replay) ||
            store_checked(w->box->db, ids->analysis, MODEL_A, DB_DURABLE, NULL, &reused, &stale,
                          NULL))
            continue;
        if (!reused && (store_start(w->box->db, ids->analysis, &a, &stale, NULL) ||
                        store_finish(w->box->db, ids->analysis, &result, &stale, NULL)))
            continue;
        w->finished += !stale;
        if (i % 5 == 0)
            w->taken += store_delete(w->box->db, ids->analysis, NULL) == ERR_OK;
        if (i % 7 == 0)
            w->full += store_expire_audio(w->box->db, INT64_MAX, 3, &count, NULL) != ERR_OK;
        w->full += store_waiting(w->box->db, &count, NULL) != ERR_OK;
        (void)cursor;
    }
    return NULL;
}

static void all_at_once_adds_up(void **state)
{
    struct box *box = *state;
    struct worker w[THREADS];
    run_workers(box, w, live, NULL);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(w[i].finished, 25);
        assert_int_equal(w[i].taken, 5);
        assert_int_equal(w[i].full, 0);
    }
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM analyses"), THREADS * 20);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM results"), THREADS * 20);
    box_counted(box);
    /* What has no analysis any more has no upload, and every dropped recording is noted. */
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM uploads"), THREADS * 20);
    assert_int_equal(
        box_number(box, "SELECT COUNT(*) FROM blob_deletions WHERE bucket = 0"),
        box_number(box, "SELECT COUNT(*) FROM uploads WHERE audio_deleted_ms IS NOT NULL") +
            THREADS * 5);
}

/* --- broken off --------------------------------------------------------------------------- */

/* Ids that the changes below work on, made anew for each. */
struct scene {
    struct ids queued, running, done, failed;
    char hook[ID_TEXT], delivery[ID_TEXT], fresh[ID_TEXT], fresh_upload[ID_TEXT];
};

static void make_scene(struct box *box, struct scene *s)
{
    struct store_webhook hook = {.url = "https://a/", .secret = "whsec_a"};
    struct store_analysis a;
    int stale = 0;
    box_run(box, "DELETE FROM webhooks");
    id_new(hook.id);
    memcpy(s->hook, hook.id, ID_TEXT);
    OK(store_webhook_add(box->db, &hook, err));
    id_new(s->delivery);
    OK(store_delivery_test(box->db, s->hook, s->delivery, &(struct store_delivery){0}, err));
    s->done = add_done(box->db, "done", "same");
    s->queued = add(box->db, "queued", "same");
    s->running = add(box->db, "running", "running");
    OK(store_start(box->db, s->running.analysis, &a, &stale, err));
    s->failed = add(box->db, "failed", "failed");
    OK(store_fail(box->db, s->failed.analysis, 0, &(struct err){ERR_DAMAGED, "x"}, &stale, err));
    id_new(s->fresh);
    id_new(s->fresh_upload);
}

typedef enum err_code change(struct db *db, const struct scene *s);

static enum err_code do_accept(struct db *db, const struct scene *s)
{
    struct store_upload upload = {
        .upload_id = s->fresh_upload, .analysis_id = s->fresh, .file_name = "a", .sha256 = MODEL_A};
    char *replay = NULL;
    enum err_code code =
        store_accept(db, &upload, 1, &(struct store_idempotency){s->fresh, "p"}, 0, &replay, NULL);
    free(replay);
    return code;
}

static enum err_code do_rerun(struct db *db, const struct scene *s)
{
    return store_rerun(db, s->done.analysis, s->fresh, NULL, NULL);
}

static enum err_code do_reuse(struct db *db, const struct scene *s)
{
    int reused, stale;
    return store_checked(db, s->queued.analysis, MODEL_A, DB_DURABLE, NULL, &reused, &stale, NULL);
}

static enum err_code do_check(struct db *db, const struct scene *s)
{
    int reused, stale;
    return store_checked(db, s->queued.analysis, MODEL_B, DB_DURABLE, NULL, &reused, &stale, NULL);
}

static enum err_code do_start(struct db *db, const struct scene *s)
{
    struct store_analysis a;
    int stale;
    return store_start(db, s->queued.analysis, &a, &stale, NULL);
}

static enum err_code do_requeue(struct db *db, const struct scene *s)
{
    return store_requeue(db, s->running.analysis, 0, NULL);
}

static enum err_code do_finish(struct db *db, const struct scene *s)
{
    struct store_result result = result_of(1, "human", MODEL_A);
    result.drop_audio = 1;
    int stale;
    return store_finish(db, s->running.analysis, &result, &stale, NULL);
}

static enum err_code do_fail(struct db *db, const struct scene *s)
{
    int stale;
    return store_fail(db, s->running.analysis, 0, &(struct err){ERR_DAMAGED, "x"}, &stale, NULL);
}

static enum err_code do_ask(struct db *db, const struct scene *s)
{
    return store_stability_ask(db, s->done.analysis, NULL);
}

static enum err_code do_delete(struct db *db, const struct scene *s)
{
    return store_delete(db, s->done.analysis, NULL);
}

static enum err_code do_delete_running(struct db *db, const struct scene *s)
{
    return store_delete(db, s->running.analysis, NULL);
}

static enum err_code do_expire_audio(struct db *db, const struct scene *s)
{
    (void)s;
    uint64_t count;
    return store_expire_audio(db, INT64_MAX, 100, &count, NULL);
}

static enum err_code do_expire_results(struct db *db, const struct scene *s)
{
    (void)s;
    uint64_t count;
    return store_expire_results(db, INT64_MAX, 100, &count, NULL);
}

static enum err_code do_reopen(struct db *db, const struct scene *s)
{
    return store_reopen(db, s->failed.analysis, NULL);
}

static enum err_code do_webhook_delete(struct db *db, const struct scene *s)
{
    return store_webhook_delete(db, s->hook, NULL);
}

static enum err_code do_delivery_test(struct db *db, const struct scene *s)
{
    return store_delivery_test(db, s->hook, s->fresh, &(struct store_delivery){0}, NULL);
}

static change *const changes[] = {
    do_accept,         do_rerun,        do_reuse,          do_check,         do_start,
    do_requeue,        do_finish,       do_fail,           do_ask,           do_delete,
    do_delete_running, do_expire_audio, do_webhook_delete, do_delivery_test, do_reopen,
    do_expire_results,
};

/* A table that refuses to be written makes the change break off when it comes to it. */
static void a_change_that_breaks_off_leaves_nothing(void **state)
{
    struct box *box = *state;
    static const char *const tables[] = {
        "uploads", "analyses",       "results",  "counters",   "idempotency", "idempotency_answers",
        "outbox",  "blob_deletions", "webhooks", "deliveries", "events",
    };
    static const char *const verbs[] = {"INSERT", "UPDATE", "DELETE"};
    int broken = 0, through = 0;
    for (size_t c = 0; c < ARRAY_LEN(changes); c++) {
        struct scene scene;
        make_scene(box, &scene);
        for (size_t t = 0; t < ARRAY_LEN(tables) * 3; t++) {
            box_trap(box, verbs[t % 3], tables[t / 3]);
            _cleanup_free_ char *before = box_dump(box);
            enum err_code code = changes[c](box->db, &scene);
            box_untrap(box, tables[t / 3]);
            _cleanup_free_ char *after = box_dump(box);
            if (code) {
                if (strcmp(before, after))
                    fail_msg("change %zu, %s on %s: half of it is there", c, verbs[t % 3],
                             tables[t / 3]);
                broken++;
            } else {
                through++;
                make_scene(box, &scene);
            }
            box_counted(box);
        }
    }
    assert_true(broken > 60);
    assert_true(through > 100);
}

/* The driver fails every transaction, in turn before and after its commit. */
static void a_commit_that_fails_is_all_or_nothing(void **state)
{
    struct box *box = *state;
    struct db *faulty = box_open(box, "fault:1:");
    int before_commit = 0, after_commit = 0;
    for (int round = 0; round < 2; round++)
        for (size_t c = 0; c < ARRAY_LEN(changes); c++) {
            struct scene scene;
            make_scene(box, &scene);
            _cleanup_free_ char *before = box_dump(box);
            enum err_code code = changes[c](faulty, &scene);
            _cleanup_free_ char *after = box_dump(box);
            assert_true(code == ERR_UNAVAILABLE || code == ERR_UNCERTAIN);
            if (code == ERR_UNAVAILABLE)
                assert_string_equal(before, after);
            else
                assert_string_not_equal(before, after);
            before_commit += code == ERR_UNAVAILABLE;
            after_commit += code == ERR_UNCERTAIN;
            box_counted(box);
        }
    assert_int_equal(before_commit, ARRAY_LEN(changes));
    assert_int_equal(after_commit, ARRAY_LEN(changes));
    db_close(faulty);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, box_setup, box_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_last_place_is_given_once),
        TEST(a_key_is_claimed_once),
        TEST(of_several_that_finish_one_wins),
        TEST(all_at_once_adds_up),
        TEST(a_change_that_breaks_off_leaves_nothing),
        TEST(a_commit_that_fails_is_all_or_nothing),
    };
    return cmocka_run_group_tests_name("store together", tests, NULL, NULL);
}

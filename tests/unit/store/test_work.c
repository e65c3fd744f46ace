/* store: the state machine of an analysis, reuse of earlier results, the stability panel. */
#include "helper.h"

/* --- the state machine -------------------------------------------------------------------- */

enum made { QUEUED, CHECKED, RUNNING, DONE, FAILED, DELETED, MADES };
enum step { CHECK, START, REQUEUE, FINISH, FAIL, REOPEN, STEPS };

static struct ids make(struct box *box, enum made made, int number)
{
    _cleanup_free_ char *bytes = xasprintf("bytes %d", number);
    struct ids ids = add(box->db, "a.wav", bytes);
    struct store_analysis a;
    int stale = 0, reused = 0;
    if (made == CHECKED)
        OK(store_checked(box->db, ids.analysis, MODEL_B, DB_DURABLE, NULL, &reused, &stale, err));
    if (made == RUNNING)
        OK(store_start(box->db, ids.analysis, &a, &stale, err));
    if (made == DONE)
        finish(box->db, ids.analysis, 1, "synthetic", MODEL_A);
    if (made == FAILED)
        OK(store_fail(box->db, ids.analysis, 0, &(struct err){ERR_DAMAGED, "cut"}, &stale, err));
    if (made == DELETED)
        OK(store_delete(box->db, ids.analysis, err));
    return ids;
}

/* Whether it was stale. */
static int take_step(struct box *box, const char *id, enum step step)
{
    struct store_analysis a;
    struct store_result result = result_of(0, "inconclusive", MODEL_B);
    int stale = -1, reused = -1;
    if (step == CHECK)
        OK(store_checked(box->db, id, MODEL_B, DB_DURABLE, NULL, &reused, &stale, err));
    if (step == START)
        OK(store_start(box->db, id, &a, &stale, err));
    if (step == REQUEUE) {
        OK(store_requeue(box->db, id, 0, err));
        stale = 0;
    }
    if (step == REOPEN) {
        OK(store_reopen(box->db, id, err));
        stale = 0;
    }
    if (step == FINISH)
        OK(store_finish(box->db, id, &result, &stale, err));
    if (step == FAIL)
        OK(store_fail(box->db, id, 0, &(struct err){ERR_TIMEOUT, "slow"}, &stale, err));
    return stale;
}

static void every_step_from_every_state(void **state)
{
    struct box *box = *state;
    /* What it becomes; "-": stale, nothing changes; "=": not stale, but stays as it is. */
    static const char *const table[MADES][STEPS] = {
        /*            checked   start      requeue   finish  fail     reopen */
        [QUEUED] = {"queued", "running", "=", "done", "failed", "="},
        [CHECKED] = {"-", "running", "=", "done", "failed", "="},
        [RUNNING] = {"-", "running", "queued", "done", "failed", "="},
        [DONE] = {"-", "-", "=", "-", "-", "="},
        [FAILED] = {"-", "-", "=", "-", "-", "queued"},
        [DELETED] = {"-", "-", "=", "-", "-", "="},
    };
    for (int made = 0; made < MADES; made++)
        for (int step = 0; step < STEPS; step++) {
            struct ids ids = make(box, (enum made)made, made * STEPS + step);
            _cleanup_free_ char *before = box_dump(box);
            int stale = take_step(box, ids.analysis, (enum step)step);
            _cleanup_free_ char *after = box_dump(box);
            const char *want = table[made][step];
            if ((want[0] == '-') != stale)
                fail_msg("state %d step %d: stale is %d", made, step, stale);
            if (want[0] == '-' || want[0] == '=')
                assert_string_equal(before, after);
            else
                assert_string_equal(status_of(box->db, ids.analysis), want);
            box_counted(box);
        }
}

/* store_start is relaxed: a crash of the database may take it back while its worker goes on. */
static void a_failure_counts_although_its_start_was_lost(void **state)
{
    struct box *box = *state;
    struct ids ids = add(box->db, "a.wav", "a"), other = add(box->db, "b.wav", "b");
    struct store_analysis a;
    int stale = -1;
    OK(store_fail(box->db, ids.analysis, 1, &(struct err){ERR_DAMAGED, "cut"}, &stale, err));
    assert_int_equal(stale, 0);
    /* But not that of a worker that was overtaken. */
    OK(store_start(box->db, other.analysis, &a, &stale, err));
    OK(store_start(box->db, other.analysis, &a, &stale, err));
    OK(store_fail(box->db, other.analysis, 1, &(struct err){ERR_DAMAGED, "cut"}, &stale, err));
    assert_int_equal(stale, 1);
}

static void a_result_is_kept_as_it_was(void **state)
{
    struct box *box = *state;
    struct ids ids = add(box->db, "a.wav", "a");
    struct store_analysis a;
    int stale = -1;
    OK(store_start(box->db, ids.analysis, &a, &stale, err));
    assert_int_equal(a.status, STORE_RUNNING);
    assert_int_equal(a.runs, 1);
    assert_true(a.started_ms >= a.created_ms);
    assert_string_equal(a.file_name, "a.wav");
    OK(store_start(box->db, ids.analysis, &a, &stale, err));
    assert_int_equal(a.runs, 2);
    OK(store_requeue(box->db, ids.analysis, 0, err));
    a = get(box->db, ids.analysis);
    assert_int_equal(a.started_ms, 0);
    assert_int_equal(a.runs, 2);
    char *json = (char *)1;
    OK(store_get_result(box->db, ids.analysis, &json, err));
    assert_null(json);
    finish(box->db, ids.analysis, -2.125, "human", MODEL_A);
    a = get(box->db, ids.analysis);
    assert_int_equal(a.status, STORE_DONE);
    assert_int_equal(a.scored, 1);
    assert_true(a.llr == -2.125 && a.p == 0.25 && a.duration_s == 12.5 && a.speech_s == 10.25);
    assert_string_equal(a.verdict, "human");
    assert_string_equal(a.model_name, "sonde-2");
    assert_string_equal(a.model_sha256, MODEL_A);
    assert_true(a.finished_ms >= a.created_ms);
    assert_int_equal(a.audio_kept, 1);
    OK(store_get_result(box->db, ids.analysis, &json, err));
    assert_string_equal(json, "{\"verdict\":\"human\"}");
    free(json);
    OK(store_get_status(box->db, ids.analysis, &a, err));
    assert_string_equal(a.verdict, "human");
    assert_true(a.scored && a.llr == -2.125 && a.p == 0.25 && a.created_ms == 0);
    id_new(ids.analysis);
    FAILS(ERR_NO_SUCH, store_get_status(box->db, ids.analysis, &a, err));
    FAILS(ERR_NO_SUCH, store_get(box->db, ids.analysis, &a, err));
    FAILS(ERR_NO_SUCH, store_get(box->db, "' OR 1=1 --", &a, err));
}

static void what_was_not_scored_has_no_figures(void **state)
{
    struct box *box = *state;
    struct ids ids = add(box->db, "a.wav", "a");
    struct store_result result = result_of(5, "inconclusive", MODEL_A);
    result.scored = 0;
    int stale = -1;
    OK(store_finish(box->db, ids.analysis, &result, &stale, err));
    struct store_analysis a = get(box->db, ids.analysis);
    assert_int_equal(a.scored, 0);
    assert_true(a.llr == 0 && a.p == 0);
    assert_string_equal(a.verdict, "inconclusive");
}

static void a_failure_is_kept_with_its_reason(void **state)
{
    struct box *box = *state;
    struct ids ids = make(box, FAILED, 1);
    struct store_analysis a = get(box->db, ids.analysis);
    assert_string_equal(a.error_code, "damaged_audio");
    assert_string_equal(a.error_text, "cut");
    assert_int_equal(a.scored, 0);
    assert_string_equal(a.verdict, "");
    OK(store_get_status(box->db, ids.analysis, &a, err));
    assert_string_equal(a.error_code, "damaged_audio");
}

static void what_failed_can_be_opened_again(void **state)
{
    struct box *box = *state;
    struct ids ids = make(box, FAILED, 1);
    OK(store_reopen(box->db, ids.analysis, err));
    struct store_analysis a = get(box->db, ids.analysis);
    assert_string_equal(a.error_code, "");
    assert_string_equal(a.error_text, "");
    assert_int_equal(a.finished_ms + a.started_ms, 0);
    uint64_t count = 99;
    OK(store_expire_audio(box->db, INT64_MAX, 10, &count, err)); /* it needs its recording */
    assert_int_equal(count, 0);
    OK(store_expire_results(box->db, INT64_MAX, 10, &count, err));
    assert_int_equal(count, 0);
    finish(box->db, ids.analysis, 1, "synthetic", MODEL_A);
    OK(store_reopen(box->db, ids.analysis, err));
    assert_string_equal(status_of(box->db, ids.analysis), "done");
    box_counted(box);
}

static void a_recording_goes_with_the_last_that_waits(void **state)
{
    struct box *box = *state;
    struct ids ids = add(box->db, "a.wav", "a");
    char again[ID_TEXT];
    id_new(again);
    OK(store_rerun(box->db, ids.analysis, again, NULL, err));
    struct store_result result = result_of(0, "human", MODEL_A);
    result.drop_audio = 1;
    int stale = -1;
    OK(store_finish(box->db, ids.analysis, &result, &stale, err));
    assert_int_equal(get(box->db, ids.analysis).audio_kept, 1); /* the rerun needs it */
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM blob_deletions"), 0);
    OK(store_finish(box->db, again, &result, &stale, err));
    assert_int_equal(get(box->db, ids.analysis).audio_kept, 0);
    assert_int_equal(get(box->db, again).audio_kept, 0);
    _cleanup_free_ char *key = box_text(box, "SELECT bucket || key FROM blob_deletions");
    char want[STORE_KEY_MAX];
    store_blob_key(ids.upload, want);
    assert_int_equal(key[0], '0' + BLOB_RAW);
    assert_string_equal(key + 1, want);
}

/* --- reuse -------------------------------------------------------------------------------- */

static int check(struct box *box, const char *id, const char *model)
{
    int reused = -1, stale = -1;
    OK(store_checked(box->db, id, model, DB_DURABLE, "00-t", &reused, &stale, err));
    assert_int_equal(stale, 0);
    return reused;
}

static void the_same_bytes_are_not_analysed_again(void **state)
{
    struct box *box = *state;
    struct ids first = add(box->db, "a.wav", "same");
    assert_int_equal(check(box, first.analysis, MODEL_A), 0);
    struct ids early = add(box->db, "e.wav", "same"); /* nothing is done yet */
    assert_int_equal(check(box, early.analysis, MODEL_A), 0);
    finish(box->db, first.analysis, 2.5, "synthetic", MODEL_A);
    box_run(box, "DELETE FROM outbox");

    struct ids copy = add(box->db, "b.wav", "same");
    assert_int_equal(check(box, copy.analysis, MODEL_A), 1);
    struct store_analysis a = get(box->db, copy.analysis), o = get(box->db, first.analysis);
    assert_int_equal(a.status, STORE_DONE);
    assert_string_equal(a.reused_from, first.analysis);
    assert_string_equal(a.file_name, "b.wav");
    assert_true(a.scored && a.llr == 2.5 && a.p == o.p);
    assert_true(a.duration_s == o.duration_s && a.speech_s == o.speech_s);
    assert_string_equal(a.verdict, "synthetic");
    assert_string_equal(a.model_name, o.model_name);
    assert_string_equal(a.model_sha256, MODEL_A);
    assert_true(a.finished_ms >= a.created_ms);
    _cleanup_free_ char *json = NULL;
    OK(store_get_result(box->db, copy.analysis, &json, err));
    assert_string_equal(json, "{\"verdict\":\"human\"}");
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM outbox WHERE queue = 'ml_inference'"),
                     0);
    box_counted(box);

    struct ids fresh = add_full(box->db, "c.wav", "same", 1), bytes = add(box->db, "d", "other"),
               model = add(box->db, "e", "same");
    assert_int_equal(check(box, fresh.analysis, MODEL_A), 0);
    assert_int_equal(check(box, bytes.analysis, MODEL_A), 0);
    assert_int_equal(check(box, model.analysis, MODEL_B), 0);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM outbox WHERE queue = 'ml_inference'"),
                     3);
}

static void copies_name_the_original_as_long_as_it_is_there(void **state)
{
    struct box *box = *state;
    struct ids first = add_done(box->db, "a", "same"), b = add(box->db, "b", "same"),
               c = add(box->db, "c", "same"), d = add(box->db, "d", "same"),
               e = add(box->db, "e", "same");
    assert_int_equal(check(box, b.analysis, MODEL_A), 1);
    box_run(box,
            "UPDATE analyses SET finished_ms = finished_ms + 1000 WHERE reused_from IS NOT NULL");
    assert_int_equal(check(box, c.analysis, MODEL_A), 1); /* from b, which is newer */
    assert_string_equal(get(box->db, c.analysis).reused_from, first.analysis);
    OK(store_delete(box->db, first.analysis, err));
    assert_int_equal(check(box, d.analysis, MODEL_A), 1);
    assert_string_equal(get(box->db, d.analysis).reused_from, b.analysis);
    OK(store_delete(box->db, b.analysis, err));
    OK(store_delete(box->db, c.analysis, err));
    OK(store_delete(box->db, d.analysis, err));
    assert_int_equal(check(box, e.analysis, MODEL_A), 0);
}

static void the_newest_result_is_taken(void **state)
{
    struct box *box = *state;
    struct ids old = add(box->db, "a", "same"), young = add_full(box->db, "b", "same", 1);
    finish(box->db, old.analysis, 1, "synthetic", MODEL_A);
    finish(box->db, young.analysis, 2, "synthetic", MODEL_A);
    box_run(box, "UPDATE analyses SET finished_ms = finished_ms + 1000 WHERE llr = 1");
    struct ids copy = add(box->db, "c", "same");
    assert_int_equal(check(box, copy.analysis, MODEL_A), 1);
    assert_true(get(box->db, copy.analysis).llr == 1);
    /* One without its result is none. */
    box_run(box, "DELETE FROM results WHERE analysis_id IN (SELECT id FROM analyses WHERE llr=1)");
    struct ids next = add(box->db, "d", "same");
    assert_int_equal(check(box, next.analysis, MODEL_A), 1);
    assert_true(get(box->db, next.analysis).llr == 2);
}

/* --- stability ---------------------------------------------------------------------------- */

static void a_panel_is_asked_for_once(void **state)
{
    struct box *box = *state;
    struct ids ids = add_done(box->db, "a", "a");
    box_run(box, "DELETE FROM outbox");
    OK(store_stability_ask(box->db, ids.analysis, err));
    OK(store_stability_ask(box->db, ids.analysis, err));
    assert_string_equal(get(box->db, ids.analysis).stability_status, "queued");
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM outbox WHERE queue = 'stability'"), 1);
    _cleanup_free_ char *body = box_text(box, "SELECT body FROM outbox");
    _cleanup_free_ char *want = xasprintf("{\"v\":1,\"analysis\":\"%s\"}", ids.analysis);
    assert_string_equal(body, want);

    OK(store_stability_set(box->db, ids.analysis, "running", NULL, err));
    assert_string_equal(get(box->db, ids.analysis).stability_status, "running");
    char *json = (char *)1;
    OK(store_get_stability(box->db, ids.analysis, &json, err));
    assert_null(json);
    OK(store_stability_set(box->db, ids.analysis, "done", "{\"rows\":[]}", err));
    OK(store_stability_set(box->db, ids.analysis, "failed", NULL, err)); /* a late worker */
    OK(store_stability_set(box->db, ids.analysis, "running", NULL, err));
    assert_string_equal(get(box->db, ids.analysis).stability_status, "done");
    OK(store_get_stability(box->db, ids.analysis, &json, err));
    assert_string_equal(json, "{\"rows\":[]}");
    free(json);
    OK(store_stability_ask(box->db, ids.analysis, err));
    assert_string_equal(get(box->db, ids.analysis).stability_status, "done");
    FAILS(ERR_INTERNAL, store_stability_set(box->db, ids.analysis, "queued", NULL, err));
    FAILS(ERR_INTERNAL, store_stability_set(box->db, ids.analysis, "done", NULL, err));
}

static void a_panel_needs_a_result_and_a_recording(void **state)
{
    struct box *box = *state;
    struct ids ids = add(box->db, "a", "a"), failed = make(box, FAILED, 1);
    FAILS(ERR_CONFLICT, store_stability_ask(box->db, ids.analysis, err));
    FAILS(ERR_CONFLICT, store_stability_ask(box->db, failed.analysis, err));
    OK(store_stability_set(box->db, ids.analysis, "running", NULL, err)); /* nobody asked */
    assert_string_equal(get(box->db, ids.analysis).stability_status, "");
    finish(box->db, ids.analysis, 0, "human", MODEL_A);
    struct ids asked = add_done(box->db, "b", "b");
    OK(store_stability_ask(box->db, asked.analysis, err));
    uint64_t count = 0;
    OK(store_expire_audio(box->db, INT64_MAX, 10, &count, err));
    FAILS(ERR_GONE, store_stability_ask(box->db, ids.analysis, err));
    OK(store_stability_ask(box->db, asked.analysis, err)); /* was asked before */
    OK(store_stability_set(box->db, asked.analysis, "failed", NULL, err));
    assert_string_equal(get(box->db, asked.analysis).stability_status, "failed");
    OK(store_delete(box->db, asked.analysis, err));
    OK(store_stability_set(box->db, asked.analysis, "done", "{}", err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM stability"), 0);
    FAILS(ERR_NO_SUCH, store_stability_ask(box->db, asked.analysis, err));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, box_setup, box_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_step_from_every_state),
        TEST(a_failure_counts_although_its_start_was_lost),
        TEST(a_result_is_kept_as_it_was),
        TEST(what_was_not_scored_has_no_figures),
        TEST(a_failure_is_kept_with_its_reason),
        TEST(what_failed_can_be_opened_again),
        TEST(a_recording_goes_with_the_last_that_waits),
        TEST(the_same_bytes_are_not_analysed_again),
        TEST(copies_name_the_original_as_long_as_it_is_there),
        TEST(the_newest_result_is_taken),
        TEST(a_panel_is_asked_for_once),
        TEST(a_panel_needs_a_result_and_a_recording),
    };
    return cmocka_run_group_tests_name("store work", tests, NULL, NULL);
}

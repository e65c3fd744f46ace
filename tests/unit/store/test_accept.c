/* store: migrations, taking in, idempotency, the bound on what waits, reruns, blob keys. */
#include "helper.h"

#include <jansson.h>
#include <pthread.h>

static void blob_keys_are_spread_by_the_ids_own_day(void **state)
{
    (void)state;
    char key[STORE_KEY_MAX];
    store_blob_key("019a2c4e-7d3f-7a10-9c55-0e8b7c1d2f34", key);
    assert_string_equal(key, "2025/10/28/019a2c4e-7d3f-7a10-9c55-0e8b7c1d2f34");
    char id[ID_TEXT];
    id_new(id);
    store_blob_key(id, key);
    assert_int_equal(strlen(key), 11 + 36);
    assert_string_equal(key + 11, id);
}

static void an_upload_is_stored_with_its_job_and_event(void **state)
{
    struct box *box = *state;
    struct ids ids;
    id_new(ids.upload);
    id_new(ids.analysis);
    struct store_upload upload = {.upload_id = ids.upload,
                                  .analysis_id = ids.analysis,
                                  .file_name = "Звонок.m4a",
                                  .sha256 = MODEL_B,
                                  .bytes = 201344,
                                  .traceparent = "00-\"trace\"-01"};
    char *replay = NULL;
    int64_t before = time_now_ms();
    OK(store_accept(box->db, &upload, 1, NULL, 0, &replay, err));
    assert_null(replay);

    struct store_analysis a = get(box->db, ids.analysis);
    assert_string_equal(a.id, ids.analysis);
    assert_string_equal(a.upload_id, ids.upload);
    assert_int_equal(a.status, STORE_QUEUED);
    assert_string_equal(a.file_name, "Звонок.m4a");
    assert_int_equal(a.bytes, 201344);
    assert_string_equal(a.sha256, MODEL_B);
    assert_int_equal(a.audio_kept, 1);
    assert_in_range(a.created_ms, before, time_now_ms());
    assert_int_equal(a.started_ms + a.finished_ms + a.scored + a.runs, 0);
    assert_string_equal(a.verdict, "");
    assert_string_equal(a.stability_status, "");
    assert_string_equal(a.reused_from, "");

    struct store_outbox_row rows[2] = {0};
    size_t n = 0;
    OK(store_outbox_peek(box->db, NULL, rows, 2, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(rows[0].queue, QUEUE_MEDICAL_DATA);
    assert_true(id_valid(rows[0].id));
    json_t *body = json_loads(rows[0].body, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(body, "analysis")), ids.analysis);
    assert_string_equal(json_string_value(json_object_get(body, "traceparent")), "00-\"trace\"-01");
    json_decref(body);
    free(rows[0].body);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM events"), 1);
    box_counted(box);
}

static void long_names_are_cut_at_a_character(void **state)
{
    struct box *box = *state;
    char name[600] = "";
    for (int i = 0; i < 199; i++)
        memcpy(name + 3 * i, "語", 4);
    struct ids ids = add(box->db, name, "x");
    struct store_analysis a = get(box->db, ids.analysis);
    assert_int_equal(strlen(a.file_name), 255);
    assert_memory_equal(a.file_name, name, 255);
    name[0] = 'x', name[1] = 'y', name[2] = 'z';
    memmove(name + 1, name, strlen(name) + 1);
    ids = add(box->db, name, "x");
    a = get(box->db, ids.analysis);
    assert_int_equal(strlen(a.file_name), 253);
}

static void many_are_taken_or_none(void **state)
{
    struct box *box = *state;
    struct ids ids[3];
    struct store_upload uploads[3];
    for (int i = 0; i < 3; i++) {
        id_new(ids[i].upload);
        id_new(ids[i].analysis);
        uploads[i] = (struct store_upload){.upload_id = ids[i].upload,
                                           .analysis_id = ids[i].analysis,
                                           .file_name = "a.wav",
                                           .sha256 = MODEL_A};
    }
    char *replay = NULL;
    _cleanup_free_ char *before = box_dump(box);
    uploads[2].analysis_id = uploads[0].analysis_id; /* the third cannot be inserted */
    struct err why;
    assert_int_not_equal(store_accept(box->db, uploads, 3, NULL, 0, &replay, &why), ERR_OK);
    _cleanup_free_ char *after = box_dump(box);
    assert_string_equal(before, after);
    uploads[2].analysis_id = ids[2].analysis;
    FAILS(ERR_QUEUE_FULL, store_accept(box->db, uploads, 3, NULL, 2, &replay, err));
    _cleanup_free_ char *full = box_dump(box);
    assert_string_equal(before, full);
    OK(store_accept(box->db, uploads, 3, NULL, 3, &replay, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM outbox"), 3);
    OK(store_accept(box->db, uploads, 0, NULL, 3, &replay, err));
    box_counted(box);
}

static void places_come_back(void **state)
{
    struct box *box = *state;
    struct ids first = add(box->db, "a", "1"), second = add(box->db, "b", "2"),
               third = add(box->db, "c", "3");
    struct ids next;
    id_new(next.upload);
    id_new(next.analysis);
    struct store_upload upload = {.upload_id = next.upload,
                                  .analysis_id = next.analysis,
                                  .file_name = "d",
                                  .sha256 = MODEL_A};
    char *replay = NULL;
    FAILS(ERR_QUEUE_FULL, store_accept(box->db, &upload, 1, NULL, 3, &replay, err));
    struct store_analysis started;
    int stale = 0;
    OK(store_start(box->db, first.analysis, &started, &stale, err)); /* running counts too */
    FAILS(ERR_QUEUE_FULL, store_accept(box->db, &upload, 1, NULL, 3, &replay, err));
    finish(box->db, first.analysis, 0, "human", MODEL_A);
    OK(store_accept(box->db, &upload, 1, NULL, 3, &replay, err));
    id_new(next.upload);
    id_new(next.analysis);
    FAILS(ERR_QUEUE_FULL, store_accept(box->db, &upload, 1, NULL, 3, &replay, err));
    struct err why = {.code = ERR_DAMAGED, .text = "cut off"};
    OK(store_fail(box->db, second.analysis, 0, &why, &stale, err));
    OK(store_accept(box->db, &upload, 1, NULL, 3, &replay, err));
    OK(store_delete(box->db, third.analysis, err));
    box_counted(box);
    uint64_t waiting = 0;
    OK(store_waiting(box->db, &waiting, err));
    assert_int_equal(waiting, 2);
    /* A wrong counter heals at the next start. */
    box_run(box, "UPDATE counters SET value = 77 WHERE name = 'waiting'");
    int applied = -1;
    OK(store_migrate(box->db, &applied, err));
    assert_int_equal(applied, 0);
    box_counted(box);
}

/* --- idempotency -------------------------------------------------------------------------- */

static enum err_code accept_with_key(struct db *db, const char *key, const char *fingerprint,
                                     size_t n, struct ids *ids, char **ret_replay, struct err *err)
{
    struct store_upload uploads[4];
    for (size_t i = 0; i < n; i++) {
        id_new(ids[i].upload);
        id_new(ids[i].analysis);
        uploads[i] = (struct store_upload){.upload_id = ids[i].upload,
                                           .analysis_id = ids[i].analysis,
                                           .file_name = "a.wav",
                                           .sha256 = MODEL_A};
    }
    return store_accept(db, uploads, n, &(struct store_idempotency){key, fingerprint}, 0,
                        ret_replay, err);
}

static void the_same_key_gives_the_first_answer(void **state)
{
    struct box *box = *state;
    struct ids first[3], again[3];
    char *replay = NULL;
    OK(accept_with_key(box->db, "key", "print", 3, first, &replay, err));
    assert_null(replay);
    OK(accept_with_key(box->db, "key", "print", 3, again, &replay, err));
    _cleanup_free_ char *want =
        xasprintf("%s %s %s", first[0].analysis, first[1].analysis, first[2].analysis);
    assert_string_equal(replay, want);
    free(STEAL(replay));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM analyses"), 3);
    FAILS(ERR_IDEMPOTENCY, accept_with_key(box->db, "key", "other", 1, again, &replay, err));
    assert_null(replay);
    OK(accept_with_key(box->db, "Key", "other", 1, again, &replay, err)); /* another key */
    assert_null(replay);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM analyses"), 4);

    OK(store_delete(box->db, first[1].analysis, err));
    OK(accept_with_key(box->db, "key", "print", 3, again, &replay, err));
    free(want);
    want = xasprintf("%s %s", first[0].analysis, first[2].analysis);
    assert_string_equal(replay, want);
    free(STEAL(replay));
    OK(store_delete(box->db, first[0].analysis, err));
    OK(store_delete(box->db, first[2].analysis, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM idempotency WHERE key = 'key'"), 0);
    OK(accept_with_key(box->db, "key", "other", 1, again, &replay, err));
    assert_null(replay); /* nothing is left that it could name: it is new */
}

static void a_key_is_kept_for_a_day(void **state)
{
    struct box *box = *state;
    struct ids ids[2];
    char *replay = NULL;
    OK(accept_with_key(box->db, "old", "print", 2, ids, &replay, err));
    OK(accept_with_key(box->db, "young", "print", 1, ids, &replay, err));
    box_run(box, "UPDATE idempotency SET created_ms = created_ms - 86400000 + 5000");
    OK(store_tidy(box->db, err));
    FAILS(ERR_IDEMPOTENCY, accept_with_key(box->db, "old", "x", 1, ids, &replay, err));
    box_run(box, "UPDATE idempotency SET created_ms = created_ms - 5001 WHERE key = 'old'");
    OK(accept_with_key(box->db, "old", "x", 1, ids, &replay, err));
    assert_null(replay);
    OK(accept_with_key(box->db, "old", "x", 1, ids + 1, &replay, err));
    assert_string_equal(replay, ids[0].analysis); /* and no id of the old answer */
    free(replay);
    box_run(box, "UPDATE idempotency SET created_ms = created_ms - 86400001 WHERE key = 'old'");
    OK(store_tidy(box->db, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM idempotency"), 1);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM idempotency_answers"), 1);
}

static void a_full_queue_does_not_use_up_the_key(void **state)
{
    struct box *box = *state;
    add(box->db, "a", "a");
    struct ids ids;
    id_new(ids.upload);
    id_new(ids.analysis);
    struct store_upload upload = {
        .upload_id = ids.upload, .analysis_id = ids.analysis, .file_name = "b", .sha256 = MODEL_A};
    struct store_idempotency key = {"key", "print"};
    char *replay = NULL;
    FAILS(ERR_QUEUE_FULL, store_accept(box->db, &upload, 1, &key, 1, &replay, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM idempotency"), 0);
    OK(store_accept(box->db, &upload, 1, &key, 2, &replay, err));
    assert_null(replay);
    OK(store_accept(box->db, &upload, 1, &key, 1, &replay, err)); /* a replay takes no place */
    assert_string_equal(replay, ids.analysis);
    free(replay);
}

/* --- rerun -------------------------------------------------------------------------------- */

static void a_rerun_is_a_new_analysis_of_the_same_upload(void **state)
{
    struct box *box = *state;
    struct ids ids = add_done(box->db, "a.wav", "a");
    char again[ID_TEXT], third[ID_TEXT];
    id_new(again);
    OK(store_rerun(box->db, ids.analysis, again, "00-t", err));
    struct store_analysis a = get(box->db, again);
    assert_string_equal(a.upload_id, ids.upload);
    assert_int_equal(a.status, STORE_QUEUED);
    assert_string_equal(a.file_name, "a.wav");
    assert_int_equal(a.audio_kept, 1);
    box_counted(box);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM outbox WHERE queue = 'medical_data'"),
                     2);
    int reused = -1, stale = -1;
    OK(store_checked(box->db, again, MODEL_A, DB_DURABLE, NULL, &reused, &stale, err));
    assert_int_equal(reused, 0); /* it is asked for to be done again */
    assert_int_equal(stale, 0);

    id_new(third);
    FAILS(ERR_NO_SUCH, store_rerun(box->db, third, third, NULL, err));
    finish(box->db, again, 0, "human", MODEL_A);
    uint64_t count = 0;
    OK(store_expire_audio(box->db, INT64_MAX, 10, &count, err));
    assert_int_equal(count, 1);
    FAILS(ERR_GONE, store_rerun(box->db, ids.analysis, third, NULL, err));
    box_counted(box);
}

/* --- migrations --------------------------------------------------------------------------- */

static void migrations_run_once_and_may_not_change(void **state)
{
    struct box *box = *state;
    int applied = -1;
    OK(store_migrate(box->db, &applied, err));
    assert_int_equal(applied, 0);
    struct db *other = box_open(box, "");
    OK(store_migrate(other, &applied, err));
    assert_int_equal(applied, 0);
    box_run(box, "UPDATE schema_migrations SET sha256 = 'changed' WHERE number = 1");
    FAILS(ERR_DB, store_migrate(other, &applied, err));
    db_close(other);
}

static int changes;
static unsigned last_grown;
static void on_change(void *ctx, unsigned grown)
{
    last_grown = grown;
    assert_ptr_equal(ctx, &changes);
    __atomic_add_fetch(&changes, 1, __ATOMIC_RELAXED);
}

static void who_asked_is_told_of_changes(void **state)
{
    struct box *box = *state;
    store_on_change(on_change, &changes);
    changes = 0;
    struct ids ids = add(box->db, "a", "a");
    assert_int_equal(changes, 1);
    assert_int_equal(last_grown, STORE_GREW_OUTBOX | STORE_GREW_EVENTS);
    struct store_analysis a;
    OK(store_get(box->db, ids.analysis, &a, err));
    assert_int_equal(changes, 1);
    char id[ID_TEXT];
    id_new(id);
    FAILS(ERR_NO_SUCH, store_delete(box->db, id, err));
    assert_int_equal(changes, 1); /* a failure changed nothing */
    OK(store_delete(box->db, ids.analysis, err));
    assert_int_equal(changes, 2);
    store_on_change(NULL, NULL);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, box_setup, box_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blob_keys_are_spread_by_the_ids_own_day),
        TEST(an_upload_is_stored_with_its_job_and_event),
        TEST(long_names_are_cut_at_a_character),
        TEST(many_are_taken_or_none),
        TEST(places_come_back),
        TEST(the_same_key_gives_the_first_answer),
        TEST(a_key_is_kept_for_a_day),
        TEST(a_full_queue_does_not_use_up_the_key),
        TEST(a_rerun_is_a_new_analysis_of_the_same_upload),
        TEST(migrations_run_once_and_may_not_change),
        TEST(who_asked_is_told_of_changes),
    };
    return cmocka_run_group_tests_name("store accept", tests, NULL, NULL);
}

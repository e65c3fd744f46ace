/* store: deletion, expiry, blobs, the outbox, events, webhooks and their deliveries. */
#include "helper.h"

/* --- deletion ----------------------------------------------------------------------------- */

/* Everything there is around one analysis. */
static struct ids add_everything(struct box *box)
{
    struct ids ids = add_done(box->db, "secret name.wav", "secret");
    OK(store_stability_ask(box->db, ids.analysis, err));
    OK(store_stability_set(box->db, ids.analysis, "done", "{\"rows\":[]}", err));
    return ids;
}

static void a_deleted_analysis_leaves_nothing(void **state)
{
    struct box *box = *state;
    struct store_webhook hook = {.url = "https://example.org/", .secret = "whsec_x"};
    id_new(hook.id);
    OK(store_webhook_add(box->db, &hook, err));
    struct ids other = add_done(box->db, "other.wav", "other"), ids = add_everything(box);
    box_run(box, "DELETE FROM outbox");
    OK(store_delete(box->db, ids.analysis, err));
    struct store_analysis a;
    FAILS(ERR_NO_SUCH, store_get(box->db, ids.analysis, &a, err));
    FAILS(ERR_NO_SUCH, store_delete(box->db, ids.analysis, err));

    _cleanup_free_ char *dump = box_dump(box);
    assert_null(strstr(dump, "secret name"));
    char *line = strstr(dump, ids.analysis);
    int mentions = 0;
    for (; line; line = strstr(line + 1, ids.analysis))
        mentions++;
    assert_int_equal(mentions, 2); /* its "deleted" event, and its picture that is to go */
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM events WHERE deleted = 1"), 1);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM blob_deletions"), 2);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM deliveries"), 1);
    assert_string_equal(status_of(box->db, other.analysis), "done");
    box_counted(box);
}

static void an_upload_goes_with_its_last_analysis(void **state)
{
    struct box *box = *state;
    struct ids ids = add_done(box->db, "a", "a");
    char again[ID_TEXT];
    id_new(again);
    OK(store_rerun(box->db, ids.analysis, again, NULL, err));
    OK(store_delete(box->db, ids.analysis, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM uploads"), 1);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM blob_deletions WHERE bucket = 0"), 0);
    assert_int_equal(get(box->db, again).audio_kept, 1);
    OK(store_delete(box->db, again, err)); /* while it is queued */
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM uploads"), 0);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM blob_deletions WHERE bucket = 0"), 1);
    box_counted(box);
}

static void what_is_finished_after_its_deletion_is_stale(void **state)
{
    struct box *box = *state;
    struct ids ids = add(box->db, "a", "a");
    struct store_analysis a;
    struct store_result result = result_of(0, "human", MODEL_A);
    int stale = -1;
    OK(store_start(box->db, ids.analysis, &a, &stale, err));
    OK(store_delete(box->db, ids.analysis, err));
    box_counted(box);
    OK(store_finish(box->db, ids.analysis, &result, &stale, err));
    assert_int_equal(stale, 1);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM results"), 0);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM analyses"), 0);
    box_counted(box);
}

static void recordings_expire_once_all_is_done(void **state)
{
    struct box *box = *state;
    struct ids waits = add(box->db, "w", "w"), a = add_done(box->db, "a", "a"),
               b = add_done(box->db, "b", "b"), c = add_done(box->db, "c", "c");
    char again[ID_TEXT];
    id_new(again);
    OK(store_rerun(box->db, c.analysis, again, NULL, err));
    box_run(box, "UPDATE uploads SET settled_ms = 1000 WHERE file_name = 'a'");
    box_run(box, "UPDATE uploads SET settled_ms = 2000 WHERE file_name = 'b'");
    int64_t last = 0;
    OK(store_last_event(box->db, &last, err));
    uint64_t count = 99;
    OK(store_expire_audio(box->db, 1000, 10, &count, err));
    assert_int_equal(count, 0);
    OK(store_expire_audio(box->db, 5000, 1, &count, err));
    assert_int_equal(count, 1);
    assert_int_equal(get(box->db, a.analysis).audio_kept, 0);
    assert_int_equal(get(box->db, b.analysis).audio_kept, 1);
    OK(store_expire_audio(box->db, INT64_MAX, 10, &count, err));
    assert_int_equal(count, 1);
    assert_int_equal(get(box->db, c.analysis).audio_kept, 1);
    assert_int_equal(get(box->db, waits.analysis).audio_kept, 1);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM blob_deletions"), 2);
    int64_t now = 0;
    OK(store_last_event(box->db, &now, err));
    assert_int_equal(now, last + 2); /* pages learn that it is no longer kept */
    finish(box->db, again, 0, "human", MODEL_A);
    OK(store_expire_audio(box->db, INT64_MAX, 10, &count, err));
    assert_int_equal(count, 1);
    /* Its blob is gone already: deleting the analysis must not note it again. */
    box_run(box, "DELETE FROM blob_deletions WHERE number = (SELECT MIN(number) FROM "
                 "blob_deletions WHERE bucket = 0)");
    OK(store_delete(box->db, a.analysis, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM blob_deletions WHERE bucket = 0"), 2);
}

static void a_deletion_may_settle_the_upload(void **state)
{
    struct box *box = *state;
    struct ids ids = add_done(box->db, "a", "a");
    char again[ID_TEXT];
    struct store_analysis started;
    int stale = 0;
    id_new(again);
    OK(store_rerun(box->db, ids.analysis, again, NULL, err));
    OK(store_start(box->db, again, &started, &stale, err));
    char third[ID_TEXT]; /* while one runs, the end of another settles nothing */
    id_new(third);
    OK(store_rerun(box->db, ids.analysis, third, NULL, err));
    finish(box->db, third, 0, "human", MODEL_A);
    uint64_t count = 99;
    OK(store_expire_audio(box->db, INT64_MAX, 10, &count, err));
    assert_int_equal(count, 0);
    OK(store_delete(box->db, again, err));
    OK(store_expire_audio(box->db, INT64_MAX, 10, &count, err));
    assert_int_equal(count, 1);
}

static void results_expire_oldest_first(void **state)
{
    struct box *box = *state;
    struct ids waits = add(box->db, "w", "w"), a = add_done(box->db, "a", "a"),
               b = add_done(box->db, "b", "b");
    box_run(box, "UPDATE analyses SET finished_ms = 1000 WHERE name_folded = 'a'");
    box_run(box, "UPDATE analyses SET finished_ms = 2000 WHERE name_folded = 'b'");
    uint64_t count = 99;
    struct store_analysis got;
    OK(store_expire_results(box->db, 3000, 1, &count, err));
    assert_int_equal(count, 1);
    FAILS(ERR_NO_SUCH, store_get(box->db, a.analysis, &got, err));
    OK(store_expire_results(box->db, 3000, 10, &count, err));
    assert_int_equal(count, 1);
    FAILS(ERR_NO_SUCH, store_get(box->db, b.analysis, &got, err));
    OK(store_expire_results(box->db, INT64_MAX, 10, &count, err));
    assert_int_equal(count, 0);
    OK(store_expire_results(box->db, INT64_MAX, 0, &count, err));
    assert_string_equal(status_of(box->db, waits.analysis), "queued");
}

/* --- blobs -------------------------------------------------------------------------------- */

struct blobs {
    struct box *box;
    int n, stop_after;
    int64_t rows[8];
    int buckets[8];
    char keys[8][STORE_KEY_MAX];
};

static int on_blob(void *ctx, int64_t row, int bucket, const char *key)
{
    struct blobs *b = ctx;
    b->rows[b->n] = row;
    b->buckets[b->n] = bucket;
    snprintf(b->keys[b->n++], STORE_KEY_MAX, "%s", key);
    if (b->box) /* the callback may use the store */
        OK(store_blob_deleted(b->box->db, row, err));
    return b->n == b->stop_after;
}

static void blobs_are_noted_until_they_are_gone(void **state)
{
    struct box *box = *state;
    struct ids ids = add_done(box->db, "a", "a");
    int knows = -1;
    OK(store_knows_upload(box->db, ids.upload, &knows, err));
    assert_int_equal(knows, 1);
    OK(store_knows_upload(box->db, ids.analysis, &knows, err));
    assert_int_equal(knows, 1);
    OK(store_delete(box->db, ids.analysis, err));
    OK(store_knows_upload(box->db, ids.upload, &knows, err));
    assert_int_equal(knows, 1); /* it is to be deleted */
    struct blobs b = {0};
    OK(store_blobs_to_delete(box->db, 8, on_blob, &b, err));
    OK(store_blobs_to_delete(box->db, 8, on_blob, &b, err)); /* again: nothing was confirmed */
    assert_int_equal(b.n, 4);
    b = (struct blobs){.stop_after = 1};
    OK(store_blobs_to_delete(box->db, 8, on_blob, &b, err));
    assert_int_equal(b.n, 1);
    b = (struct blobs){.box = box};
    OK(store_blobs_to_delete(box->db, 8, on_blob, &b, err));
    assert_int_equal(b.n, 2);
    char want[STORE_KEY_MAX];
    for (int i = 0; i < 2; i++) {
        store_blob_key(b.buckets[i] == BLOB_RAW ? ids.upload : ids.analysis, want);
        assert_string_equal(b.keys[i], want);
    }
    assert_int_equal(b.buckets[0] + b.buckets[1], BLOB_RAW + BLOB_PROCESSED);
    OK(store_blobs_to_delete(box->db, 8, on_blob, &b, err));
    assert_int_equal(b.n, 2);
    OK(store_knows_upload(box->db, ids.upload, &knows, err));
    assert_int_equal(knows, 0);
    OK(store_blob_deleted(box->db, 12345, err)); /* was struck out before */
}

static void a_blob_without_a_row_is_noted_once(void **state)
{
    struct box *box = *state;
    char id[ID_TEXT], want[STORE_KEY_MAX];
    int knows = -1;
    id_new(id);
    OK(store_blob_stray(box->db, BLOB_PROCESSED, id, err));
    OK(store_blob_stray(box->db, BLOB_PROCESSED, id, err));
    OK(store_knows_upload(box->db, id, &knows, err));
    assert_int_equal(knows, 1);
    struct blobs b = {.box = box};
    OK(store_blobs_to_delete(box->db, 8, on_blob, &b, err));
    assert_int_equal(b.n, 1);
    store_blob_key(id, want);
    assert_string_equal(b.keys[0], want);
    assert_int_equal(b.buckets[0], BLOB_PROCESSED);
    OK(store_knows_upload(box->db, id, &knows, err));
    assert_int_equal(knows, 0);
}

static void a_recording_that_is_gone_is_no_longer_kept(void **state)
{
    struct box *box = *state;
    struct ids ids = add_done(box->db, "a", "a");
    OK(store_audio_gone(box->db, ids.upload, err));
    assert_int_equal(get(box->db, ids.analysis).audio_kept, 0);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM blob_deletions"), 0);
}

struct kept {
    int n, stop_after;
    char last[ID_TEXT];
};

static int on_kept(void *ctx, const char *upload_id, uint64_t bytes, const char *sha256)
{
    struct kept *k = ctx;
    assert_int_equal(bytes, 1000);
    assert_int_equal(strlen(sha256), SHA256_HEX - 1);
    assert_true(strcmp(k->last, upload_id) < 0);
    memcpy(k->last, upload_id, ID_TEXT);
    return ++k->n == k->stop_after;
}

static void doctor_sees_every_kept_recording(void **state)
{
    struct box *box = *state;
    box_run(box, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1234) "
                 "INSERT INTO uploads (id, sha256, bytes, file_name, created_ms) "
                 "SELECT printf('%036d', i), '" MODEL_A "', 1000, 'x', i FROM n");
    box_run(box, "UPDATE uploads SET audio_deleted_ms = 1 WHERE created_ms % 10 = 0");
    struct kept k = {0};
    OK(store_each_kept(box->db, on_kept, &k, err));
    assert_int_equal(k.n, 1234 - 123);
    k = (struct kept){.stop_after = 700};
    OK(store_each_kept(box->db, on_kept, &k, err));
    assert_int_equal(k.n, 700);
}

/* --- the outbox --------------------------------------------------------------------------- */

static void the_outbox_gives_the_oldest_until_they_are_sent(void **state)
{
    struct box *box = *state;
    for (int i = 0; i < 5; i++)
        add(box->db, "a", "a");
    struct store_outbox_row rows[3], again[5];
    size_t n = 0;
    uint64_t count = 0;
    OK(store_outbox_peek(box->db, NULL, rows, 3, &n, err));
    assert_int_equal(n, 3);
    assert_true(rows[0].row < rows[1].row && rows[1].row < rows[2].row);
    OK(store_outbox_count(box->db, &count, err));
    assert_int_equal(count, 5);
    OK(store_outbox_sent(box->db, rows, 2, err));
    OK(store_outbox_sent(box->db, rows, 2, err)); /* repeated after a crash */
    OK(store_outbox_sent(box->db, NULL, 0, err));
    for (int i = 0; i < 3; i++)
        free(rows[i].body);
    OK(store_outbox_peek(box->db, NULL, again, 5, &n, err));
    assert_int_equal(n, 3);
    assert_int_equal(again[0].row, rows[2].row);
    OK(store_outbox_sent(box->db, again, n, err));
    int64_t last = again[2].row;
    for (int i = 0; i < 3; i++)
        free(again[i].body);
    add(box->db, "a", "a"); /* numbers are not given again, even when the box was empty */
    OK(store_outbox_peek(box->db, NULL, rows, 3, &n, err));
    assert_int_equal(n, 1);
    assert_true(rows[0].row > last);
    free(rows[0].body);
}

/* --- events ------------------------------------------------------------------------------- */

struct seen {
    int n, deleted, stop_after;
    int64_t first, last;
    char id[ID_TEXT];
};

static int on_event(void *ctx, const struct store_event *event)
{
    struct seen *s = ctx;
    assert_true(event->id > s->last);
    s->last = event->id;
    if (!s->n++)
        s->first = event->id;
    s->deleted += event->deleted;
    memcpy(s->id, event->analysis_id, ID_TEXT);
    return s->n == s->stop_after;
}

static void events_can_be_resumed(void **state)
{
    struct box *box = *state;
    struct seen s = {0};
    int complete = -1;
    int64_t last = -1;
    OK(store_last_event(box->db, &last, err));
    assert_int_equal(last, 0);
    OK(store_events(box->db, 0, 100, on_event, &s, &complete, err));
    assert_int_equal(complete, 1);
    assert_int_equal(s.n, 0);
    struct ids a = add(box->db, "a", "a");
    struct store_analysis got;
    int stale;
    OK(store_start(box->db, a.analysis, &got, &stale, err));
    finish(box->db, a.analysis, 0, "human", MODEL_A);
    OK(store_events(box->db, 0, 100, on_event, &s, &complete, err));
    assert_int_equal(s.n, 3); /* created, running, done */
    OK(store_last_event(box->db, &last, err));
    assert_int_equal(last, s.last);
    struct ids b = add(box->db, "b", "b");
    OK(store_delete(box->db, a.analysis, err));
    s.n = 0;
    OK(store_events(box->db, last, 100, on_event, &s, &complete, err));
    assert_int_equal(complete, 1);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.deleted, 1);
    assert_string_equal(s.id, a.analysis);
    s = (struct seen){0}; /* the deleted one's own events are gone, which is not missing any */
    OK(store_events(box->db, 0, 100, on_event, &s, &complete, err));
    assert_int_equal(complete, 1);
    assert_int_equal(s.n, 2);
    s = (struct seen){.stop_after = 1};
    OK(store_events(box->db, 0, 100, on_event, &s, &complete, err));
    assert_int_equal(s.n, 1);
    assert_string_equal(s.id, b.analysis);
    s = (struct seen){0};
    OK(store_events(box->db, 0, 1, on_event, &s, &complete, err));
    assert_int_equal(s.n, 1);
    OK(store_events(box->db, s.last + 1000, 1, on_event, &s, &complete, err));
    assert_int_equal(complete, 0); /* of another database */
}

static void old_events_are_removed_and_missed(void **state)
{
    struct box *box = *state;
    add(box->db, "a", "a");
    box_run(box, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 125000) "
                 "INSERT INTO events (analysis_id, deleted, created_ms) SELECT 'x', 0, i FROM n");
    OK(store_tidy(box->db, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM events"), STORE_EVENTS_KEPT);
    int64_t last = 0;
    OK(store_last_event(box->db, &last, err));
    struct seen s = {0};
    int complete = -1;
    OK(store_events(box->db, last - STORE_EVENTS_KEPT, 10, on_event, &s, &complete, err));
    assert_int_equal(complete, 1);
    assert_int_equal(s.first, last - STORE_EVENTS_KEPT + 1);
    s = (struct seen){0};
    OK(store_events(box->db, last - STORE_EVENTS_KEPT - 1, 10, on_event, &s, &complete, err));
    assert_int_equal(complete, 0);
    OK(store_tidy(box->db, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM events"), STORE_EVENTS_KEPT);
}

/* --- webhooks ----------------------------------------------------------------------------- */

static int count_webhook(void *ctx, const struct store_webhook *webhook)
{
    assert_string_equal(webhook->secret, "whsec_secret");
    return ++*(int *)ctx == 7;
}

static void webhooks_are_kept_up_to_a_limit(void **state)
{
    struct box *box = *state;
    struct store_webhook hook = {.url = "https://example.org/hook", .secret = "whsec_secret"}, got;
    for (int i = 0; i < STORE_WEBHOOKS_MAX; i++) {
        id_new(hook.id);
        hook.created_ms = 1000 + i;
        OK(store_webhook_add(box->db, &hook, err));
    }
    OK(store_webhook_get(box->db, hook.id, &got, err));
    assert_string_equal(got.url, hook.url);
    assert_int_equal(got.created_ms, 1000 + STORE_WEBHOOKS_MAX - 1);
    int n = 100;
    OK(store_webhook_list(box->db, count_webhook, &n, err));
    assert_int_equal(n, 100 + STORE_WEBHOOKS_MAX);
    n = 0;
    OK(store_webhook_list(box->db, count_webhook, &n, err));
    assert_int_equal(n, 7);
    char last[ID_TEXT];
    memcpy(last, hook.id, sizeof last);
    id_new(hook.id);
    FAILS(ERR_LIMIT, store_webhook_add(box->db, &hook, err));
    FAILS(ERR_NO_SUCH, store_webhook_get(box->db, hook.id, &got, err));
    FAILS(ERR_NO_SUCH, store_webhook_delete(box->db, hook.id, err));
    OK(store_webhook_delete(box->db, last, err));
    OK(store_webhook_add(box->db, &hook, err));
}

static struct store_delivery list[64];
static int on_delivery(void *ctx, const struct store_delivery *delivery)
{
    int *n = ctx;
    list[(*n)++] = *delivery;
    return 0;
}

static void every_webhook_is_told_once_of_what_is_final(void **state)
{
    struct box *box = *state;
    struct store_webhook hooks[2] = {{.url = "https://a/", .secret = "whsec_a"},
                                     {.url = "https://b/", .secret = "whsec_b"}};
    for (int i = 0; i < 2; i++) {
        id_new(hooks[i].id);
        OK(store_webhook_add(box->db, &hooks[i], err));
    }
    struct ids done = add(box->db, "a", "same"), failed = add(box->db, "b", "b"),
               copy = add(box->db, "c", "same");
    int stale, reused, n = 0;
    box_run(box, "DELETE FROM outbox");
    finish(box->db, done.analysis, 0, "human", MODEL_A);
    OK(store_fail(box->db, failed.analysis, 0, &(struct err){ERR_DAMAGED, "x"}, &stale, err));
    OK(store_checked(box->db, copy.analysis, MODEL_A, DB_DURABLE, NULL, &reused, &stale, err));
    assert_int_equal(reused, 1);
    struct store_result result = result_of(0, "human", MODEL_A);
    OK(store_finish(box->db, done.analysis, &result, &stale, err)); /* stale: told no more */
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM outbox WHERE queue = 'webhook'"), 6);
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM outbox, deliveries WHERE "
                                     "body = '{\"v\":1,\"delivery\":\"' || deliveries.id || '\"}'"),
                     6);
    box_run(box, "UPDATE deliveries SET created_ms = (CASE analysis_id WHEN (SELECT id FROM "
                 "analyses WHERE name_folded = 'b') THEN 5000 ELSE 1000 END)");
    OK(store_delivery_list(box->db, hooks[1].id, on_delivery, &n, err));
    assert_int_equal(n, 3);
    assert_string_equal(list[0].analysis_id, failed.analysis); /* newest first */
    assert_string_equal(list[0].type, "analysis.failed");
    assert_string_equal(list[1].type, "analysis.done");
    assert_string_equal(list[0].outcome, "pending");
    assert_int_equal(list[0].tries + list[0].status + list[0].last_ms, 0);
    OK(store_webhook_delete(box->db, hooks[1].id, err));
    struct store_delivery got;
    FAILS(ERR_NO_SUCH, store_delivery_get(box->db, list[0].id, &got, err));
    FAILS(ERR_NO_SUCH, store_delivery_set(box->db, &list[0], err));
    FAILS(ERR_NO_SUCH, store_delivery_list(box->db, hooks[1].id, on_delivery, &n, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM deliveries"), 3);
}

static void a_delivery_is_noted(void **state)
{
    struct box *box = *state;
    struct store_webhook hook = {.url = "https://a/", .secret = "whsec_a"};
    id_new(hook.id);
    char id[ID_TEXT];
    id_new(id);
    struct store_delivery d, stored;
    FAILS(ERR_NO_SUCH, store_delivery_test(box->db, hook.id, id, &stored, err));
    OK(store_webhook_add(box->db, &hook, err));
    OK(store_delivery_test(box->db, hook.id, id, &stored, err));
    assert_string_equal(stored.id, id);
    assert_string_equal(stored.outcome, "pending");
    assert_int_equal(stored.tries + stored.status + stored.last_ms, 0);
    OK(store_delivery_get(box->db, id, &d, err));
    assert_string_equal(d.type, "test");
    assert_int_equal(d.created_ms, stored.created_ms);
    assert_string_equal(d.analysis_id, "");
    assert_string_equal(d.webhook_id, hook.id);
    d.tries = 2;
    d.status = 503;
    snprintf(d.outcome, sizeof d.outcome, "gave_up");
    snprintf(d.error, sizeof d.error, "503 Service Unavailable");
    d.last_ms = 77;
    OK(store_delivery_set(box->db, &d, err));
    OK(store_delivery_get(box->db, id, &d, err));
    assert_int_equal(d.tries, 2);
    assert_int_equal(d.status, 503);
    assert_string_equal(d.outcome, "gave_up");
    assert_string_equal(d.error, "503 Service Unavailable");
    assert_int_equal(d.last_ms, 77);
    for (int i = 0; i < 60; i++) {
        id_new(id);
        OK(store_delivery_test(box->db, hook.id, id, &stored, err));
    }
    int n = 0;
    OK(store_delivery_list(box->db, hook.id, on_delivery, &n, err));
    assert_int_equal(n, 50);
    box_run(box, "UPDATE deliveries SET created_ms = created_ms - 2678400000 WHERE tries = 2");
    OK(store_tidy(box->db, err));
    assert_int_equal(box_number(box, "SELECT COUNT(*) FROM deliveries"), 60);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, box_setup, box_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_deleted_analysis_leaves_nothing),
        TEST(an_upload_goes_with_its_last_analysis),
        TEST(what_is_finished_after_its_deletion_is_stale),
        TEST(recordings_expire_once_all_is_done),
        TEST(a_deletion_may_settle_the_upload),
        TEST(results_expire_oldest_first),
        TEST(blobs_are_noted_until_they_are_gone),
        TEST(a_blob_without_a_row_is_noted_once),
        TEST(a_recording_that_is_gone_is_no_longer_kept),
        TEST(doctor_sees_every_kept_recording),
        TEST(the_outbox_gives_the_oldest_until_they_are_sent),
        TEST(events_can_be_resumed),
        TEST(old_events_are_removed_and_missed),
        TEST(webhooks_are_kept_up_to_a_limit),
        TEST(every_webhook_is_told_once_of_what_is_final),
        TEST(a_delivery_is_noted),
    };
    return cmocka_run_group_tests_name("store delete", tests, NULL, NULL);
}

/* Deleting, and what is to be deleted from the blob store.
 *
 * A blob cannot be deleted in a transaction of the database, so its deletion is noted in the one
 * that forgets it, and whoever deletes blobs (src/role) strikes the note out afterwards: a crash in
 * between repeats a deletion, which is harmless, and never leaves a blob that nobody knows of.
 * "Really deleted" in the database file itself needs the driver's PRAGMA secure_delete.
 *
 * Any thread; the works may run on another one, and again. */
#include "internal.h"

#include <string.h>

#define KEPT_PAGE 500   /* uploads that store_each_kept reads in one snapshot */
#define STEP_MAX  10000 /* rows that one call expires or lists at most, whatever `limit` says */

/* --- one analysis ------------------------------------------------------------------------- */

/* Rows that belong to the analysis alone. The key of an idempotent request goes with the last
 * analysis that it names. */
static enum err_code delete_parts(struct db_tx *tx, const char *id, struct err *err)
{
    static const char *const parts[] = {
        "DELETE FROM results WHERE analysis_id = ?1",
        "DELETE FROM stability WHERE analysis_id = ?1",
        "DELETE FROM events WHERE analysis_id = ?1",
        "DELETE FROM deliveries WHERE analysis_id = ?1",
        "DELETE FROM idempotency WHERE key IN "
        "(SELECT key FROM idempotency_answers WHERE analysis_id = ?1) AND NOT EXISTS "
        "(SELECT 1 FROM idempotency_answers o "
        "WHERE o.key = idempotency.key AND o.analysis_id <> ?1)",
        "DELETE FROM idempotency_answers WHERE analysis_id = ?1",
        "DELETE FROM analyses WHERE id = ?1",
    };
    enum err_code code = ERR_OK;
    for (size_t i = 0; !code && i < ARRAY_LEN(parts); i++)
        code = db_exec(tx, parts[i], NULL, err, DB_T(id));
    return code;
}

/* The upload goes with its last analysis. */
static enum err_code leave_upload(struct db_tx *tx, const char *upload_id, int64_t now,
                                  struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = store_first(tx, "SELECT 1 FROM analyses WHERE upload_id = ?1 LIMIT 1",
                                     &rows, &found, err, DB_T(upload_id));
    if (code)
        return code;
    if (found) {
        db_rows_done(&rows);
        rows = NULL;
        return store_tx_settle(tx, upload_id, 0, now, err);
    }
    code = store_tx_drop_audio(tx, upload_id, now, err);
    return code ? code
                : db_exec(tx, "DELETE FROM uploads WHERE id = ?1", NULL, err, DB_T(upload_id));
}

static enum err_code delete_analysis(struct db_tx *tx, const char *id, struct err *err)
{
    struct store_analysis analysis;
    int64_t now = time_now_ms();
    enum err_code code = store_tx_get(tx, id, &analysis, err);
    if (!code)
        code = delete_parts(tx, id, err);
    if (!code && analysis.status <= STORE_RUNNING)
        code = store_tx_waiting(tx, -1, err);
    if (!code) /* its picture, whether it got one or not */
        code = store_tx_blob(tx, BLOB_PROCESSED, id, now, err);
    if (!code)
        code = leave_upload(tx, analysis.upload_id, now, err);
    return code ? code : store_tx_event(tx, id, 1, now, err);
}

static enum err_code delete_work(struct db_tx *tx, void *ctx, struct err *err)
{
    return delete_analysis(tx, ctx, err);
}

enum err_code store_delete(struct db *db, const char *id, struct err *err)
{
    /* Durable: what somebody was told is deleted must not come back. */
    return store_write(db, DB_DURABLE, delete_work, (void *)(uintptr_t)id, err);
}

/* --- expiry ------------------------------------------------------------------------------- */

struct expire {
    int64_t before_ms;
    int limit;
    const char *sql; /* ids: ?1 before, ?2 limit */
    enum err_code (*one)(struct db_tx *tx, const char *id, struct err *err);
    char (*ids)[ID_TEXT];
    uint64_t count; /* out */
};

static enum err_code expire_work(struct db_tx *tx, void *ctx, struct err *err)
{
    struct expire *e = ctx;
    e->count = 0;
    uint64_t n = 0;
    int found = 0;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code =
        store_first(tx, e->sql, &rows, &found, err, DB_I(e->before_ms), DB_I(e->limit));
    while (!code && found && n < (uint64_t)e->limit) {
        store_copy(e->ids[n++], ID_TEXT, rows, 0);
        code = store_next(rows, &found, err);
    }
    db_rows_done(&rows);
    rows = NULL;
    for (uint64_t i = 0; !code && i < n; i++)
        code = e->one(tx, e->ids[i], err);
    if (!code)
        e->count = n;
    return code;
}

static enum err_code expire(struct db *db, struct expire *e, uint64_t *ret_count, struct err *err)
{
    *ret_count = 0;
    if (e->limit < 1)
        return ERR_OK;
    if (e->limit > STEP_MAX)
        e->limit = STEP_MAX;
    _cleanup_free_ char(*ids)[ID_TEXT] = try_alloc((size_t)e->limit, sizeof *ids);
    if (!ids)
        return err_set(err, ERR_NO_MEMORY, "no memory for %d ids", e->limit);
    e->ids = ids;
    /* Durable: the recordings are deleted next, and then the database must not offer them. */
    enum err_code code = store_write(db, DB_DURABLE, expire_work, e, err);
    if (!code)
        *ret_count = e->count;
    return code;
}

static enum err_code expire_recording(struct db_tx *tx, const char *upload_id, struct err *err)
{
    enum err_code code = store_tx_drop_audio(tx, upload_id, time_now_ms(), err);
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    char id[ID_TEXT] = "";
    if (!code) /* file.kept changed, of all its analyses: pages that show one learn it */
        code = store_first(tx, "SELECT id FROM analyses WHERE upload_id = ?1 ORDER BY id", &rows,
                           &found, err, DB_T(upload_id));
    while (!code && found) {
        store_copy(id, sizeof id, rows, 0);
        code = store_tx_event(tx, id, 0, time_now_ms(), err);
        if (!code)
            code = store_next(rows, &found, err);
    }
    return code;
}

enum err_code store_expire_audio(struct db *db, int64_t before_ms, int limit, uint64_t *ret_count,
                                 struct err *err)
{
    struct expire e = {
        .before_ms = before_ms,
        .limit = limit,
        .sql = "SELECT id FROM uploads WHERE settled_ms < ?1 AND audio_deleted_ms IS NULL "
               "ORDER BY settled_ms LIMIT ?2",
        .one = expire_recording,
    };
    return expire(db, &e, ret_count, err);
}

enum err_code store_expire_results(struct db *db, int64_t before_ms, int limit, uint64_t *ret_count,
                                   struct err *err)
{
    struct expire e = {
        .before_ms = before_ms,
        .limit = limit,
        .sql = "SELECT id FROM analyses WHERE finished_ms < ?1 ORDER BY finished_ms LIMIT ?2",
        .one = delete_analysis,
    };
    return expire(db, &e, ret_count, err);
}

/* --- blobs -------------------------------------------------------------------------------- */

struct blob_row {
    int64_t number;
    int bucket;
    char key[STORE_KEY_MAX];
};

static enum err_code read_blobs(struct db *db, struct blob_row *list, int limit, int *ret_n,
                                struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0, n = 0;
    enum err_code code = db_read_begin(db, &tx, err);
    if (!code)
        code = store_first(tx,
                           "SELECT number, bucket, key FROM blob_deletions "
                           "ORDER BY number LIMIT ?1",
                           &rows, &found, err, DB_I(limit));
    while (!code && found && n < limit) {
        list[n].number = db_int(rows, 0);
        list[n].bucket = (int)db_int(rows, 1);
        store_copy(list[n++].key, sizeof list->key, rows, 2);
        code = store_next(rows, &found, err);
    }
    *ret_n = n;
    return code;
}

enum err_code store_blobs_to_delete(struct db *db, int limit, store_each_blob *each, void *ctx,
                                    struct err *err)
{
    if (limit < 1)
        return ERR_OK;
    if (limit > STEP_MAX)
        limit = STEP_MAX;
    _cleanup_free_ struct blob_row *list = try_alloc((size_t)limit, sizeof *list);
    if (!list)
        return err_set(err, ERR_NO_MEMORY, "no memory for %d blobs", limit);
    int n = 0;
    enum err_code code = read_blobs(db, list, limit, &n, err);
    for (int i = 0; !code && i < n; i++)
        if (each(ctx, list[i].number, list[i].bucket, list[i].key))
            break;
    return code;
}

static enum err_code blob_deleted_work(struct db_tx *tx, void *ctx, struct err *err)
{
    return db_exec(tx, "DELETE FROM blob_deletions WHERE number = ?1", NULL, err,
                   DB_I(*(const int64_t *)ctx));
}

enum err_code store_blob_deleted(struct db *db, int64_t row, struct err *err)
{
    /* Relaxed: lost with a power cut, the blob is deleted once more. */
    return db_transact(db, DB_RELAXED, blob_deleted_work, &row, err);
}

struct stray {
    int bucket;
    const char *id;
};

static enum err_code stray_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct stray *stray = ctx;
    return store_tx_blob(tx, stray->bucket, stray->id, time_now_ms(), err);
}

enum err_code store_blob_stray(struct db *db, int bucket, const char *id, struct err *err)
{
    struct stray stray = {bucket, id};
    return db_transact(db, DB_RELAXED, stray_work, &stray, err);
}

/* --- doctor ------------------------------------------------------------------------------- */

enum err_code store_knows_upload(struct db *db, const char *upload_id, int *ret, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    char key[STORE_KEY_MAX];
    store_blob_key(upload_id, key);
    enum err_code code = db_read_begin(db, &tx, err);
    return code ? code
                : store_first(tx,
                              "SELECT 1 FROM uploads WHERE id = ?1 "
                              "UNION ALL SELECT 1 FROM analyses WHERE id = ?1 "
                              "UNION ALL SELECT 1 FROM blob_deletions WHERE key = ?2",
                              &rows, ret, err, DB_T(upload_id), DB_T(key));
}

enum err_code store_has_uploads(struct db *db, int *ret, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code = db_read_begin(db, &tx, err);
    return code ? code
                : store_first_args(tx, "SELECT 1 FROM uploads LIMIT 1", NULL, 0, &rows, ret, err);
}

struct kept {
    char id[ID_TEXT];
    char sha256[SHA256_HEX];
    uint64_t bytes;
};

static enum err_code read_kept(struct db *db, const char *after, struct kept *list, size_t *ret_n,
                               struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    size_t n = 0;
    enum err_code code = db_read_begin(db, &tx, err);
    if (!code)
        code = store_first(tx,
                           "SELECT id, bytes, sha256 FROM uploads "
                           "WHERE id > ?1 AND audio_deleted_ms IS NULL ORDER BY id LIMIT ?2",
                           &rows, &found, err, DB_T(after), DB_I(KEPT_PAGE));
    while (!code && found && n < KEPT_PAGE) {
        store_copy(list[n].id, sizeof list->id, rows, 0);
        list[n].bytes = (uint64_t)db_int(rows, 1);
        store_copy(list[n++].sha256, sizeof list->sha256, rows, 2);
        code = store_next(rows, &found, err);
    }
    *ret_n = n;
    return code;
}

/* In pages: doctor reads every recording, and a snapshot held for that long would keep the
 * write-ahead log from being emptied. */
enum err_code store_each_kept(struct db *db, store_each_upload *each, void *ctx, struct err *err)
{
    _cleanup_free_ struct kept *list = xalloc(KEPT_PAGE * sizeof *list);
    char after[ID_TEXT] = "";
    size_t n = KEPT_PAGE;
    while (n == KEPT_PAGE) {
        enum err_code code = read_kept(db, after, list, &n, err);
        if (code)
            return code;
        for (size_t i = 0; i < n; i++)
            if (each(ctx, list[i].id, list[i].bytes, list[i].sha256))
                return ERR_OK;
        if (n)
            store_copy_text(after, sizeof after, list[n - 1].id);
    }
    return ERR_OK;
}

static enum err_code audio_gone_work(struct db_tx *tx, void *ctx, struct err *err)
{
    return db_exec(tx,
                   "UPDATE uploads SET audio_deleted_ms = ?2 WHERE id = ?1 AND "
                   "audio_deleted_ms IS NULL",
                   NULL, err, DB_T(ctx), DB_I(time_now_ms()));
}

enum err_code store_audio_gone(struct db *db, const char *upload_id, struct err *err)
{
    /* Relaxed: only backups say so, and a backup is whole once its manifest is there. */
    return store_write(db, DB_RELAXED, audio_gone_work, (void *)(uintptr_t)upload_id, err);
}

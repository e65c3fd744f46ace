/* Taking recordings in: store_accept, store_rerun.
 *
 * An upload, its analysis, the job that will check it and the event that shows it are one
 * transaction, so neither a crash nor a queue that is down loses or doubles a recording. The bound
 * on what waits is part of the UPDATE that counts, so that two requests cannot both take the last
 * place. Any thread; the works may run on another one, and again. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define KEY_KEPT_MS DAY_MS

struct accept {
    const struct store_upload *uploads;
    size_t n;
    const struct store_idempotency *idempotency; /* its key is set, or it is NULL */
    int64_t max_waiting;
    char *replay; /* out */
};

void store_blob_key(const char *upload_id, char ret[STORE_KEY_MAX])
{
    /* The first 48 bits of a UUID of version 7 are its milliseconds. */
    int64_t ms = 0;
    int digits = 0;
    for (const char *c = upload_id; *c && digits < 12; c++) {
        if (*c == '-')
            continue;
        int digit = *c >= '0' && *c <= '9' ? *c - '0' : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10 : 0;
        ms = ms << 4 | digit;
        digits++;
    }
    char day[TIME_TEXT];
    time_format(ms, day);
    snprintf(ret, STORE_KEY_MAX, "%.4s/%.2s/%.2s/%s", day, day + 5, day + 8, upload_id);
}

/* The ids that the first request with this key was answered with, separated by blanks. */
static enum err_code read_answer(struct db_tx *tx, const char *key, char **ret, struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = store_first(tx, "SELECT COUNT(*) FROM idempotency_answers WHERE key = ?1",
                                     &rows, &found, err, DB_T(key));
    if (code)
        return code;
    size_t cap = found ? (size_t)db_int(rows, 0) : 0, n = 0;
    _cleanup_free_ char *ids = try_alloc(cap + 1, ID_TEXT);
    if (!ids)
        return err_set(err, ERR_NO_MEMORY, "no memory for %zu ids", cap);
    db_rows_done(&rows);
    rows = NULL;
    code = store_first(tx,
                       "SELECT analysis_id FROM idempotency_answers WHERE key = ?1 "
                       "ORDER BY position",
                       &rows, &found, err, DB_T(key));
    for (char *at = ids; !code && found && n < cap; n++) {
        if (n)
            *at++ = ' ';
        store_copy(at, ID_TEXT, rows, 0);
        at += strlen(at);
        code = store_next(rows, &found, err);
    }
    if (!code)
        *ret = STEAL(ids);
    return code;
}

/* Known and young: the answer, or ERR_IDEMPOTENCY. Else the key is noted for this request. */
static enum err_code claim_key(struct db_tx *tx, struct accept *a, int64_t now, struct err *err)
{
    const char *key = a->idempotency->key, *fingerprint = a->idempotency->fingerprint;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code =
        store_first(tx, "SELECT fingerprint, created_ms FROM idempotency WHERE key = ?1", &rows,
                    &found, err, DB_T(key));
    if (code)
        return code;
    if (found && db_int(rows, 1) > now - KEY_KEPT_MS) {
        const char *known = db_text(rows, 0, NULL);
        if (!known || strcmp(known, fingerprint) != 0)
            return err_set(err, ERR_IDEMPOTENCY, "this Idempotency-Key was used for other content");
        return read_answer(tx, key, &a->replay, err);
    }
    code = db_exec(tx, "DELETE FROM idempotency_answers WHERE key = ?1", NULL, err, DB_T(key));
    if (!code)
        code = db_exec(tx,
                       "INSERT INTO idempotency (key, fingerprint, created_ms) VALUES (?1, ?2, ?3) "
                       "ON CONFLICT (key) DO UPDATE SET fingerprint = ?2, created_ms = ?3",
                       NULL, err, DB_T(key), DB_T(fingerprint), DB_I(now));
    for (size_t i = 0; !code && i < a->n; i++)
        code = db_send(tx,
                       "INSERT INTO idempotency_answers (key, position, analysis_id) "
                       "VALUES (?1, ?2, ?3)",
                       err, DB_T(key), DB_I(i), DB_T(a->uploads[i].analysis_id));
    return code;
}

static enum err_code take_places(struct db_tx *tx, const struct accept *a, struct err *err)
{
    int64_t changed = 0;
    enum err_code code = db_exec(tx,
                                 "UPDATE counters SET value = value + ?1 "
                                 "WHERE name = 'waiting' AND value + ?1 <= ?2",
                                 &changed, err, DB_I(a->n), DB_I(a->max_waiting));
    if (!code && !changed)
        return err_set(err, ERR_QUEUE_FULL, "%lld recordings may wait, and that many do",
                       (long long)a->max_waiting);
    return code;
}

static enum err_code insert_analysis(struct db_tx *tx, const char *id, const char *upload_id,
                                     const char *sha256, const char *file_name, int fresh,
                                     int64_t now, struct err *err)
{
    char folded[STORE_NAME_MAX];
    store_fold(file_name, folded, sizeof folded);
    return db_send(tx,
                   "INSERT INTO analyses (id, upload_id, status, sha256, name_folded, fresh, "
                   "created_ms) VALUES (?1, ?2, 'queued', ?3, ?4, ?5, ?6)",
                   err, DB_T(id), DB_T(upload_id), DB_T(sha256), DB_T(folded), DB_I(fresh),
                   DB_I(now));
}

static enum err_code insert_upload(struct db_tx *tx, const struct store_upload *u, int64_t now,
                                   struct err *err)
{
    char name[STORE_NAME_MAX];
    store_copy_text(name, sizeof name, u->file_name);
    enum err_code code =
        db_send(tx,
                "INSERT INTO uploads (id, sha256, bytes, file_name, created_ms) "
                "VALUES (?1, ?2, ?3, ?4, ?5)",
                err, DB_T(u->upload_id), DB_T(u->sha256), DB_I(u->bytes), DB_T(name), DB_I(now));
    if (!code)
        code = insert_analysis(tx, u->analysis_id, u->upload_id, u->sha256, name, !!u->fresh, now,
                               err);
    if (!code)
        code = store_tx_outbox(tx, QUEUE_MEDICAL_DATA, "analysis", u->analysis_id, u->traceparent,
                               now, err);
    return code ? code : store_tx_event(tx, u->analysis_id, 0, now, err);
}

static enum err_code accept_work(struct db_tx *tx, void *ctx, struct err *err)
{
    struct accept *a = ctx;
    free(STEAL(a->replay));
    int64_t now = time_now_ms();
    enum err_code code = a->idempotency ? claim_key(tx, a, now, err) : ERR_OK;
    if (code || a->replay)
        return code;
    code = take_places(tx, a, err);
    for (size_t i = 0; !code && i < a->n; i++)
        code = insert_upload(tx, &a->uploads[i], now, err);
    return code;
}

enum err_code store_accept(struct db *db, const struct store_upload *uploads, size_t n,
                           const struct store_idempotency *idempotency, uint64_t max_waiting,
                           char **ret_replay, struct err *err)
{
    *ret_replay = NULL;
    if (!n)
        return ERR_OK;
    struct accept a = {
        .uploads = uploads,
        .n = n,
        .idempotency = idempotency && idempotency->key ? idempotency : NULL,
        .max_waiting = max_waiting && max_waiting < INT64_MAX ? (int64_t)max_waiting : INT64_MAX,
    };
    /* Durable: the client is told 202, and then the recording must outlive a power cut. */
    enum err_code code = store_write(db, DB_DURABLE, accept_work, &a, err);
    if (code)
        free(a.replay);
    else
        *ret_replay = a.replay;
    return code;
}

struct look {
    const char *id;
    int found; /* out */
};

static enum err_code look_work(struct db_tx *tx, void *ctx, struct err *err)
{
    struct look *l = ctx;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    l->found = 0;
    return store_first(tx, "SELECT 1 FROM analyses WHERE id = ?1", &rows, &l->found, err,
                       DB_T(l->id));
}

enum err_code store_accepted(struct db *db, const char *analysis_id, int *ret, struct err *err)
{
    struct look look = {.id = analysis_id};
    enum err_code code = db_transact(db, DB_RELAXED, look_work, &look, err);
    if (!code)
        *ret = look.found;
    return code;
}

struct rerun {
    const char *analysis_id, *new_id, *traceparent;
};

static enum err_code rerun_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct rerun *r = ctx;
    struct store_analysis old;
    enum err_code code = store_tx_get(tx, r->analysis_id, &old, err);
    if (code)
        return code;
    if (!old.audio_kept)
        return err_set(err, ERR_GONE, "the recording of %s is no longer kept", r->analysis_id);
    int64_t now = time_now_ms();
    /* fresh: a copy of the earlier answer is not what somebody asks for who asks again. */
    code = insert_analysis(tx, r->new_id, old.upload_id, old.sha256, old.file_name, 1, now, err);
    if (!code) /* it waits again, so its recording must not expire */
        code = db_exec(tx, "UPDATE uploads SET settled_ms = NULL WHERE id = ?1", NULL, err,
                       DB_T(old.upload_id));
    if (!code)
        code = store_tx_waiting(tx, 1, err);
    if (!code)
        code = store_tx_outbox(tx, QUEUE_MEDICAL_DATA, "analysis", r->new_id, r->traceparent, now,
                               err);
    return code ? code : store_tx_event(tx, r->new_id, 0, now, err);
}

enum err_code store_rerun(struct db *db, const char *analysis_id, const char *new_id,
                          const char *traceparent, struct err *err)
{
    /* Durable: it is answered with 202, too. */
    return store_write(db, DB_DURABLE, rerun_work,
                       &(struct rerun){analysis_id, new_id, traceparent}, err);
}

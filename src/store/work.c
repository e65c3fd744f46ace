/* The life of an analysis: checked, started, requeued, done, failed; and its stability panel.
 *
 * Each transition is one UPDATE whose WHERE names the states it may leave, so two workers that
 * finish the same analysis, or a worker whose analysis was deleted, cannot both win: the UPDATE
 * that changes no row is the stale one. No worker's UPDATE leaves done or failed.
 *
 *   store_checked  queued (once) -> done by reuse, or stays queued with a job for ml_inference
 *   store_start    queued, running -> running      store_requeue  running -> queued
 *   store_finish   queued, running -> done         store_fail     queued, running -> failed
 *   store_reopen   failed -> queued, by hand
 *
 * Any thread; the works may run on another one, and again. */
#include "internal.h"

#include <string.h>

/* An UPDATE of one analysis that returns its upload_id; *ret_changed 0 when it is in none of the
 * states that the UPDATE may leave. */
#define UPDATE_ONE(tx, sql, upload_id, ret_changed, err, ...)                                      \
    update_one(tx, sql " RETURNING upload_id", (const struct db_arg[]){__VA_ARGS__},               \
               sizeof((const struct db_arg[]){__VA_ARGS__}) / sizeof(struct db_arg), upload_id,    \
               ret_changed, err)
static enum err_code update_one(struct db_tx *tx, const char *sql, const struct db_arg *args,
                                size_t n, char upload_id[ID_TEXT], int *ret_changed,
                                struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code = store_first_args(tx, sql, args, n, &rows, ret_changed, err);
    if (!code && *ret_changed)
        store_copy(upload_id, ID_TEXT, rows, 0);
    return code;
}

/* What follows when an analysis got final: one waits less, who asked is told. *ret_grown: what
 * grew, of enum store_grown. */
static enum err_code tx_final(struct db_tx *tx, const char *id, const char *upload_id,
                              const char *type, int drop_audio, int64_t now, unsigned *ret_grown,
                              struct err *err)
{
    size_t told = 0;
    enum err_code code = store_tx_waiting(tx, -1, err);
    if (!code)
        code = store_tx_settle(tx, upload_id, drop_audio, now, err);
    if (!code)
        code = store_tx_notify(tx, id, type, now, &told, err);
    *ret_grown = STORE_GREW_EVENTS | (told ? STORE_GREW_OUTBOX : 0);
    return code ? code : store_tx_event(tx, id, 0, now, err);
}

/* --- checked ------------------------------------------------------------------------------ */

struct checked {
    const char *id, *model_sha256, *traceparent;
    int reused, stale; /* out */
    unsigned grown;    /* out */
};

/* The newest result for the same bytes and model: its analysis in `source`, "" for none. `origin`
 * is what the copy names: the analysis that was really done, as long as it is there. */
static enum err_code find_source(struct db_tx *tx, const char *sha256, const char *model_sha256,
                                 char source[ID_TEXT], char origin[ID_TEXT], struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code =
        store_first(tx,
                    "SELECT a.id, COALESCE(o.id, a.id) FROM analyses a "
                    "LEFT JOIN analyses o ON o.id = a.reused_from "
                    "WHERE a.sha256 = ?1 AND a.model_sha256 = ?2 AND a.status = 'done' "
                    "AND EXISTS (SELECT 1 FROM results WHERE analysis_id = a.id) "
                    "ORDER BY a.finished_ms DESC LIMIT 1",
                    &rows, &found, err, DB_T(sha256), DB_T(model_sha256));
    source[0] = '\0';
    if (!code && found) {
        store_copy(source, ID_TEXT, rows, 0);
        store_copy(origin, ID_TEXT, rows, 1);
    }
    return code;
}

static enum err_code copy_result(struct db_tx *tx, const char *id, const char *source,
                                 const char *origin, int64_t now, unsigned *ret_grown,
                                 struct err *err)
{
    char upload_id[ID_TEXT] = "";
    int changed = 0;
    enum err_code code =
        UPDATE_ONE(tx,
                   "UPDATE analyses SET status = 'done', finished_ms = ?4, reused_from = ?3, "
                   "(verdict, llr, p, duration_s, speech_s, model_name, model_sha256) = "
                   "(SELECT s.verdict, s.llr, s.p, s.duration_s, s.speech_s, s.model_name, "
                   "s.model_sha256 FROM analyses s WHERE s.id = ?2) "
                   "WHERE id = ?1",
                   upload_id, &changed, err, DB_T(id), DB_T(source), DB_T(origin), DB_I(now));
    if (!code)
        code = db_send(tx,
                       "INSERT INTO results (analysis_id, json) "
                       "SELECT ?1, json FROM results WHERE analysis_id = ?2",
                       err, DB_T(id), DB_T(source));
    return code ? code : tx_final(tx, id, upload_id, "analysis.done", 0, now, ret_grown, err);
}

static enum err_code checked_work(struct db_tx *tx, void *ctx, struct err *err)
{
    struct checked *c = ctx;
    int64_t now = time_now_ms();
    c->reused = c->stale = 0;
    c->grown = STORE_GREW_OUTBOX;
    /* Once: the message that asked for the check may come again. */
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    char source[ID_TEXT] = "", origin[ID_TEXT], sha256[SHA256_HEX] = "";
    int changed = 0;
    enum err_code code =
        store_first(tx,
                    "UPDATE analyses SET checked_ms = ?2 WHERE id = ?1 "
                    "AND status = 'queued' AND checked_ms IS NULL RETURNING sha256, fresh",
                    &rows, &changed, err, DB_T(c->id), DB_I(now));
    if (code || !changed) {
        c->stale = 1;
        return code;
    }
    store_copy(sha256, sizeof sha256, rows, 0);
    int fresh = (int)db_int(rows, 1);
    db_rows_done(&rows);
    if (!fresh)
        code = find_source(tx, sha256, c->model_sha256, source, origin, err);
    if (code)
        return code;
    c->reused = source[0] != '\0';
    if (c->reused)
        return copy_result(tx, c->id, source, origin, now, &c->grown, err);
    return store_tx_outbox(tx, QUEUE_ML_INFERENCE, "analysis", c->id, c->traceparent, now, err);
}

enum err_code store_checked(struct db *db, const char *id, const char *model_sha256,
                            enum db_durability durability, const char *traceparent, int *ret_reused,
                            int *ret_stale, struct err *err)
{
    struct checked c = {.id = id, .model_sha256 = model_sha256, .traceparent = traceparent};
    /* The caller settles its message next: it knows what that needs. */
    enum err_code code = store_write_grown(db, durability, checked_work, &c, &c.grown, err);
    if (!code) {
        *ret_reused = c.reused;
        *ret_stale = c.stale;
    }
    return code;
}

/* --- started, requeued -------------------------------------------------------------------- */

static const unsigned grew_events = STORE_GREW_EVENTS;

struct start {
    const char *id;
    struct store_analysis analysis; /* out */
    int stale;
};

static enum err_code start_work(struct db_tx *tx, void *ctx, struct err *err)
{
    struct start *s = ctx;
    int64_t now = time_now_ms(), changed = 0;
    s->stale = 0;
    enum err_code code = db_exec(tx,
                                 "UPDATE analyses SET status = 'running', started_ms = ?2, "
                                 "runs = runs + 1 "
                                 "WHERE id = ?1 AND status IN ('queued', 'running')",
                                 &changed, err, DB_T(s->id), DB_I(now));
    if (code || !changed) {
        s->stale = 1;
        return code;
    }
    code = store_tx_event(tx, s->id, 0, now, err);
    return code ? code : store_tx_get(tx, s->id, &s->analysis, err);
}

enum err_code store_start(struct db *db, const char *id, struct store_analysis *ret, int *ret_stale,
                          struct err *err)
{
    struct start s = {.id = id};
    /* Relaxed: lost with a power cut, it is queued and its message comes again. */
    enum err_code code = store_write_grown(db, DB_RELAXED, start_work, &s, &grew_events, err);
    if (code)
        return code;
    *ret_stale = s.stale;
    if (!s.stale)
        *ret = s.analysis;
    return ERR_OK;
}

struct requeue {
    const char *id;
    int run;
};

static enum err_code requeue_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct requeue *r = ctx;
    int64_t changed = 0;
    enum err_code code = db_exec(tx,
                                 "UPDATE analyses SET status = 'queued', started_ms = NULL "
                                 "WHERE id = ?1 AND status = 'running' "
                                 "AND (runs <= ?2 OR ?2 = 0)",
                                 &changed, err, DB_T(r->id), DB_I(r->run));
    return code || !changed ? code : store_tx_event(tx, r->id, 0, time_now_ms(), err);
}

enum err_code store_requeue(struct db *db, const char *id, int run, struct err *err)
{
    /* Relaxed: "running" instead of "queued" is no harm, the next try starts from either. */
    return store_write_grown(db, DB_RELAXED, requeue_work, &(struct requeue){id, run}, &grew_events,
                             err);
}

/* --- done, failed ------------------------------------------------------------------------- */

struct finish {
    const char *id;
    const struct store_result *result;
    const struct err *why;
    int run;        /* of why */
    int stale;      /* out */
    unsigned grown; /* out */
};

static enum err_code finish_work(struct db_tx *tx, void *ctx, struct err *err)
{
    struct finish *f = ctx;
    const struct store_result *r = f->result;
    char upload_id[ID_TEXT] = "";
    int64_t now = time_now_ms();
    int changed = 0;
    f->stale = 0;
    enum err_code code = UPDATE_ONE(
        tx,
        "UPDATE analyses SET status = 'done', finished_ms = ?2, verdict = ?3, llr = ?4, p = ?5, "
        "duration_s = ?6, speech_s = ?7, model_name = ?8, model_sha256 = ?9 "
        "WHERE id = ?1 AND status IN ('queued', 'running')",
        upload_id, &changed, err, DB_T(f->id), DB_I(now), DB_T(r->verdict),
        r->scored ? DB_R(r->llr) : DB_N, r->scored ? DB_R(r->p) : DB_N, DB_R(r->duration_s),
        DB_R(r->speech_s), DB_T(r->model_name), DB_T(r->model_sha256));
    if (code || !changed) {
        f->stale = 1;
        return code;
    }
    code = db_send(tx, "INSERT INTO results (analysis_id, json) VALUES (?1, ?2)", err, DB_T(f->id),
                   DB_T(r->json));
    return code ? code
                : tx_final(tx, f->id, upload_id, "analysis.done", r->drop_audio, now, &f->grown,
                           err);
}

enum err_code store_finish(struct db *db, const char *id, const struct store_result *result,
                           int *ret_stale, struct err *err)
{
    struct finish f = {.id = id, .result = result};
    enum err_code code = store_write_grown(db, result->durability, finish_work, &f, &f.grown, err);
    if (!code)
        *ret_stale = f.stale;
    return code;
}

static enum err_code fail_work(struct db_tx *tx, void *ctx, struct err *err)
{
    struct finish *f = ctx;
    char upload_id[ID_TEXT] = "";
    int64_t now = time_now_ms();
    int changed = 0;
    f->stale = 0;
    /* Fewer runs than this worker's: its start was lost in a crash of the database, and nobody has
     * begun since. */
    enum err_code code =
        UPDATE_ONE(tx,
                   "UPDATE analyses SET status = 'failed', finished_ms = ?2, error_code = ?3, "
                   "error_text = ?4 WHERE id = ?1 AND status IN ('queued', 'running') "
                   "AND (runs <= ?5 OR ?5 = 0)",
                   upload_id, &changed, err, DB_T(f->id), DB_I(now), DB_T(err_slug(f->why->code)),
                   DB_T(f->why->text), DB_I(f->run));
    if (code || !changed) {
        f->stale = 1;
        return code;
    }
    return tx_final(tx, f->id, upload_id, "analysis.failed", 0, now, &f->grown, err);
}

enum err_code store_fail(struct db *db, const char *id, int run, const struct err *why,
                         int *ret_stale, struct err *err)
{
    struct finish f = {.id = id, .run = run, .why = why};
    /* Durable: nothing hurries here. */
    enum err_code code = store_write_grown(db, DB_DURABLE, fail_work, &f, &f.grown, err);
    if (!code)
        *ret_stale = f.stale;
    return code;
}

/* --- open again --------------------------------------------------------------------------- */

static enum err_code reopen_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const char *id = ctx;
    int64_t changed = 0;
    enum err_code code = db_exec(tx,
                                 "UPDATE analyses SET status = 'queued', started_ms = NULL, "
                                 "finished_ms = NULL, error_code = NULL, error_text = NULL "
                                 "WHERE id = ?1 AND status = 'failed'",
                                 &changed, err, DB_T(id));
    if (code || !changed)
        return code;
    /* Its recording must not expire meanwhile. */
    code = db_exec(tx,
                   "UPDATE uploads SET settled_ms = NULL WHERE id = "
                   "(SELECT upload_id FROM analyses WHERE id = ?1)",
                   NULL, err, DB_T(id));
    if (!code)
        code = store_tx_waiting(tx, 1, err);
    return code ? code : store_tx_event(tx, id, 0, time_now_ms(), err);
}

enum err_code store_reopen(struct db *db, const char *id, struct err *err)
{
    /* Durable: the message that is put back after this must not find the analysis failed. */
    return store_write(db, DB_DURABLE, reopen_work, (void *)(uintptr_t)id, err);
}

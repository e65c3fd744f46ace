/* The stability panel of an analysis: "" -> queued -> running -> done | failed, each by an UPDATE
 * that names the states it may leave. Any thread; the works may run on another one, and again. */
#include "internal.h"

#include <string.h>

static enum err_code ask_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const char *id = ctx;
    struct store_analysis analysis;
    enum err_code code = store_tx_get(tx, id, &analysis, err);
    if (code)
        return code;
    if (analysis.status != STORE_DONE)
        return err_set(err, ERR_CONFLICT, "%s is %s, not done", id,
                       store_status_name(analysis.status));
    if (analysis.stability_status[0])
        return ERR_OK;
    if (!analysis.audio_kept)
        return err_set(err, ERR_GONE, "the recording of %s is no longer kept", id);
    int64_t now = time_now_ms(), changed = 0;
    code = db_exec(tx,
                   "UPDATE analyses SET stability_status = 'queued' "
                   "WHERE id = ?1 AND status = 'done' AND stability_status = ''",
                   &changed, err, DB_T(id));
    if (code || !changed)
        return code;
    code = store_tx_outbox(tx, QUEUE_STABILITY, "analysis", id, NULL, now, err);
    return code ? code : store_tx_event(tx, id, 0, now, err);
}

enum err_code store_stability_ask(struct db *db, const char *id, struct err *err)
{
    /* Durable: it is answered with 202. */
    return store_write(db, DB_DURABLE, ask_work, (void *)(uintptr_t)id, err);
}

struct panel {
    const char *id, *status, *json;
};

static enum err_code set_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct panel *p = ctx;
    int64_t changed = 0;
    enum err_code code = db_exec(tx,
                                 "UPDATE analyses SET stability_status = ?2 "
                                 "WHERE id = ?1 AND stability_status IN ('queued', 'running')",
                                 &changed, err, DB_T(p->id), DB_T(p->status));
    if (code || !changed) /* deleted, or settled by another worker */
        return code;
    if (p->json)
        code = db_exec(tx,
                       "INSERT INTO stability (analysis_id, json) VALUES (?1, ?2) "
                       "ON CONFLICT (analysis_id) DO UPDATE SET json = ?2",
                       NULL, err, DB_T(p->id), DB_T(p->json));
    return code ? code : store_tx_event(tx, p->id, 0, time_now_ms(), err);
}

enum err_code store_stability_set(struct db *db, const char *id, const char *status,
                                  const char *json, struct err *err)
{
    int done = strcmp(status, "done") == 0;
    if ((!done && strcmp(status, "running") != 0 && strcmp(status, "failed") != 0) ||
        done != !!json)
        return err_set(err, ERR_INTERNAL, "no stability status: %.16s", status);
    /* Relaxed while it runs: lost with a power cut, its message comes again. The end is durable,
     * because the message is settled next. */
    return store_write(db, strcmp(status, "running") == 0 ? DB_RELAXED : DB_DURABLE, set_work,
                       &(struct panel){id, status, json}, err);
}

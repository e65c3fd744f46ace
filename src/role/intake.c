/* Intake: consumes medical_data. Looks whether the stored recording is there as it was accepted,
 * whether the same bytes were judged by this model before (then that answer is taken), and passes
 * the rest on to ml_inference. Cheap: nothing is decoded here. */
#include <string.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../base/time.h"
#include "../obs/metrics.h"
#include "../os/clock.h"
#include "roles.h"

static enum err_code look_at_recording(struct app *app, const struct store_analysis *a,
                                       struct err *err)
{
    char key[STORE_KEY_MAX];
    uint64_t size = 0;
    store_blob_key(a->upload_id, key);
    enum err_code rc = blob_size(app->blob, BLOB_RAW, key, &size, err);
    if (rc == ERR_OK && size != a->bytes)
        return err_set(err, ERR_IO, "the stored recording has %llu bytes instead of %llu",
                       (unsigned long long)size, (unsigned long long)a->bytes);
    return rc;
}

static enum outcome intake_work(struct app *app, void *own, const struct queue_message *message,
                                const json_t *data, struct err *err)
{
    (void)own;
    const char *id = json_string_value(json_object_get(data, "analysis"));
    struct store_analysis a;
    if (!id || !id_valid(id))
        return OUTCOME_DONE;
    double started = clock_seconds();
    metric_observe(metric_get(METRIC_STAGE_SECONDS, "wait_medical_data", NULL, NULL),
                   (double)(time_steady_ms() - message->published_ms) / 1e3);
    enum err_code rc = store_get(app->db, id, &a, err);
    if (rc == ERR_OK && a.status == STORE_DONE && a.reused_from[0] &&
        blobs_copy_picture(app, id, err) != ERR_OK) /* a kill may have come in between */
        return OUTCOME_RETRY;
    if (rc == ERR_NO_SUCH || (rc == ERR_OK && a.status != STORE_QUEUED))
        return OUTCOME_DONE; /* deleted, or another delivery was faster */
    int reused = 0, stale = 0;
    if (rc == ERR_OK && !a.audio_kept) { /* no try will bring it back */
        struct err gone;
        err_set(&gone, ERR_GONE, NO_RECORDING);
        return store_fail(app->db, id, 0, &gone, &stale, err) == ERR_OK ? OUTCOME_DONE
                                                                        : OUTCOME_RETRY;
    }
    if (rc == ERR_OK)
        rc = look_at_recording(app, &a, err);
    if (rc == ERR_OK)
        rc = store_checked(app->db, id, app->model_sha256, app_durability(app),
                           json_string_value(json_object_get(data, "traceparent")), &reused, &stale,
                           err);
    if (rc != ERR_OK)
        return OUTCOME_RETRY;
    if (reused) {
        metric_add(metric_get(METRIC_UPLOADS, "reused", NULL, NULL), 1);
        rc = blobs_copy_picture(app, id, err);
        keeper_settled(app);
    }
    metric_observe(metric_get(METRIC_STAGE_SECONDS, "check", NULL, NULL),
                   clock_seconds() - started);
    return rc == ERR_OK ? OUTCOME_DONE : OUTCOME_RETRY;
}

/* A job of any kind that used up its tries: its analysis says so. */
static void analysis_died(struct app *app, const json_t *data, const struct err *why)
{
    const char *id = json_string_value(json_object_get(data, "analysis"));
    struct err gave_up, err = {0};
    int stale = 0;
    err_set(&gave_up, ERR_GAVE_UP, "tried %d times, the last time: %s", QUEUE_MAX_RETRIES + 1,
            why->text);
    if (id && store_fail(app->db, id, 0, &gave_up, &stale, &err) != ERR_OK)
        log_error(LOG_LEVEL_ERROR, "a failure could not be noted yet", &err,
                  LOG_T("labels.analysis", id));
    metric_add(metric_get(METRIC_FAILURES, err_slug(ERR_GAVE_UP), NULL, NULL), 1);
    metric_add(metric_get(METRIC_ANALYSES, "failed", NULL, NULL), 1);
}

const struct consumer_kind intake_kind = {
    .queue = QUEUE_MEDICAL_DATA,
    .threads = 1,
    .threads_shared = 8,
    .lease_s = 60,
    .work = intake_work,
    .died = analysis_died,
};

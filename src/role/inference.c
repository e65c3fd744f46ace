/* Inference: consumes ml_inference, and stability while nothing waits there. One thread per
 * processor, each with an analysis (a model session) of its own; so many recordings are judged at
 * once.
 *
 * The recording is read from storage and hashed again: what is judged are the bytes that were
 * accepted, or nothing. The lease is prolonged while the work goes on (consumers.c); when it is
 * lost, or the program ends, the work is dropped. The result is written under a condition of the
 * store, so that of two deliveries one counts; and a worker that was overtaken while it slept can
 * neither fail nor requeue what the other one is at (`runs`). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../base/time.h"
#include "../detect/picture.h"
#include "../detect/report.h"
#include "../detect/stability.h"
#include "../obs/metrics.h"
#include "../os/clock.h"
#include "roles.h"

#define LEASE_SECONDS 60
#define TELL_SECONDS  0.25
#define ANALYSTS_MAX  256
#define HEARD_MAX     512 /* of other processes, remembered */
#define HEARD_SECONDS 30

/* What each thread is at, for those who ask; and what other processes told of theirs, the oldest
 * giving way. */
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static struct inference_now slots[ANALYSTS_MAX], others[HEARD_MAX];
static double others_at[HEARD_MAX];

struct analyst {
    struct analysis *analysis;
    struct picture *picture;
    int slot;
};

/* One piece of work, while it is heard. */
struct hearing {
    struct app *app;
    struct analyst *me;
    const struct queue_message *message;
    const char *id;
    double tell_at;
    int lost; /* the lease, or the analysis */
    struct detect_state state;
    int quiet; /* nobody is told how far it is */
};

double inference_progress(const char *id)
{
    double progress = -1;
    double now = clock_seconds();
    pthread_mutex_lock(&slots_lock);
    for (int i = 0; i < HEARD_MAX; i++)
        if (strcmp(others[i].id, id) == 0 && now - others_at[i] < HEARD_SECONDS)
            progress = others[i].progress;
    for (int i = 0; i < ANALYSTS_MAX; i++)
        if (strcmp(slots[i].id, id) == 0)
            progress = slots[i].progress;
    pthread_mutex_unlock(&slots_lock);
    return progress;
}

void inference_heard(const char *id, double progress)
{
    int at = 0;
    pthread_mutex_lock(&slots_lock);
    for (int i = 0; i < HEARD_MAX; i++) {
        if (strcmp(others[i].id, id) == 0) {
            at = i;
            break;
        }
        if (others_at[i] < others_at[at])
            at = i;
    }
    snprintf(others[at].id, sizeof others[at].id, "%s", id);
    others[at].progress = progress;
    others_at[at] = clock_seconds();
    pthread_mutex_unlock(&slots_lock);
}

size_t inference_running(struct inference_now *list, size_t cap)
{
    size_t n = 0;
    pthread_mutex_lock(&slots_lock);
    for (int i = 0; i < ANALYSTS_MAX && n < cap; i++)
        if (slots[i].id[0] && slots[i].progress >= 0)
            list[n++] = slots[i];
    pthread_mutex_unlock(&slots_lock);
    return n;
}

static void set_slot(int slot, const char *id, double progress)
{
    pthread_mutex_lock(&slots_lock);
    snprintf(slots[slot].id, sizeof slots[slot].id, "%s", id);
    slots[slot].progress = progress;
    pthread_mutex_unlock(&slots_lock);
}

static void analyst_close(void *own)
{
    struct analyst *me = own;
    if (me) {
        analysis_free(me->analysis);
        picture_free(me->picture);
        free(me);
    }
}

static void *analyst_open(struct app *app, int thread, struct err *err)
{
    struct analyst *me = xalloc(sizeof *me);
    me->slot = thread % ANALYSTS_MAX;
    if (analysis_new(app->detector, &me->analysis, err) == ERR_OK &&
        picture_new(&me->picture, err) == ERR_OK)
        return me;
    analyst_close(me);
    return NULL;
}

/* detect_progress: keeps the lease, tells how far it is, stops when there is no point in going on.
 */
static int hear(void *ctx, const struct detect_state *state)
{
    struct hearing *h = ctx;
    double now = clock_seconds();
    h->state = *state;
    if (atomic_load(&h->app->stopping))
        return 1;
    if (now >= h->tell_at) {
        struct store_analysis a;
        h->tell_at = now + TELL_SECONDS;
        if (consumers_lost(h->app, h->message) ||
            store_get_status(h->app->db, h->id, &a, NULL) == ERR_NO_SUCH) {
            h->lost = 1; /* another's now; or deleted: nobody is to listen to it any more */
        } else if (!h->quiet && state->share >= 0) {
            set_slot(h->me->slot, h->id, state->share);
            events_progress(h->app, h->id, state->share);
        }
    }
    return h->lost;
}

static enum err_code open_recording(struct app *app, const struct store_analysis *a, int *ret_fd,
                                    struct file_report *report, struct err *err)
{
    char key[STORE_KEY_MAX];
    uint64_t size = 0;
    store_blob_key(a->upload_id, key);
    enum err_code rc = blob_open(app->blob, BLOB_RAW, key, ret_fd, &size, err);
    if (rc == ERR_OK)
        rc = sha256_fd(*ret_fd, a->bytes, report->sha256, &report->bytes, err);
    if (rc == ERR_TOO_LARGE || (rc == ERR_OK && strcmp(report->sha256, a->sha256) != 0))
        rc =
            err_set(err, ERR_IO, "the stored recording is not what was uploaded (SHA-256 differs)");
    return rc;
}

static void count_result(const struct file_report *report, const struct detect_state *state,
                         double total_s)
{
    const struct detection *d = &report->detection;
    metric_add(metric_get(METRIC_ANALYSES, "done", NULL, NULL), 1);
    metric_add(metric_get(METRIC_VERDICTS, verdict_name(d->verdict), NULL, NULL), 1);
    for (size_t i = 0; i < d->n_reasons; i++)
        metric_add(metric_get(METRIC_REASONS, reason_slug(d->reasons[i].code), NULL, NULL), 1);
    if (d->scored)
        metric_observe(metric_get(METRIC_LLR, NULL, NULL, NULL), d->llr);
    metric_add(metric_get(METRIC_AUDIO_SECONDS, NULL, NULL, NULL), d->duration_s);
    metric_observe(metric_get(METRIC_DECODE_SECONDS, NULL, NULL, NULL), state->decode_s);
    metric_observe(metric_get(METRIC_INFERENCE_SECONDS, NULL, NULL, NULL), state->analyse_s);
    if (d->duration_s > 0)
        metric_observe(metric_get(METRIC_REAL_TIME_FACTOR, NULL, NULL, NULL),
                       total_s / d->duration_s);
}

/* A millionth, as the result's JSON has it: what /status and a list say is the very number. */
static double as_told(double value)
{
    return round(value * 1e6) / 1e6;
}

static enum err_code store_result_of(struct app *app, const char *id,
                                     const struct file_report *report, int *ret_stale,
                                     struct err *err)
{
    const struct detection *d = &report->detection;
    json_t *json = file_report_json(report, app->detector);
    json_object_del(json, "file");
    _cleanup_free_ char *text =
        json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(json);
    if (!text)
        return err_set(err, ERR_NO_MEMORY, "no memory for the result");
    struct store_result result = {
        .json = text,
        .verdict = verdict_name(d->verdict),
        .model_name = app->model_name,
        .model_sha256 = app->model_sha256,
        .scored = d->scored,
        .llr = as_told(d->llr),
        .p = as_told(d->p),
        .duration_s = d->duration_s,
        .speech_s = d->speech_s,
        .drop_audio = app->settings.keep_audio_days == 0,
        .durability = app_durability(app),
    };
    return store_finish(app->db, id, &result, ret_stale, err);
}

/* From storage to a stored result. *ret_input = 1: the error lies in the recording itself. */
static enum err_code judge(struct hearing *h, const struct store_analysis *a, int *ret_input,
                           struct err *err)
{
    struct app *app = h->app;
    struct file_report report = {.path = a->file_name[0] ? (char *)(uintptr_t)a->file_name : ""};
    _cleanup_close_ int fd = -1;
    double started = clock_seconds();
    *ret_input = !a->audio_kept;
    if (!a->audio_kept)
        return err_set(err, ERR_GONE, NO_RECORDING);
    enum err_code rc = open_recording(app, a, &fd, &report, err);
    if (rc != ERR_OK)
        return rc;
    metric_observe(metric_get(METRIC_STAGE_SECONDS, "fetch", NULL, NULL),
                   clock_seconds() - started);
    double heard = clock_seconds(), cpu = clock_thread();
    picture_reset(h->me->picture);
    analysis_draw(h->me->analysis, h->me->picture);
    rc = detect_file(h->me->analysis, app->media, fd, hear, h, &report.detection, &report.media,
                     err);
    analysis_draw(h->me->analysis, NULL);
    double done = clock_seconds();
    metric_observe(metric_get(METRIC_STAGE_SECONDS, "analyse", NULL, NULL), done - heard);
    metric_add(metric_get(METRIC_ANALYSE_CPU, NULL, NULL, NULL), clock_thread() - cpu);
    if (rc != ERR_OK) {
        *ret_input = rc != ERR_CANCELLED && !err_retryable(rc);
        return rc;
    }
    int stale = 0;
    if (app->settings.keep_audio_days == 0 || report.detection.duration_s > BLOBS_DRAW_SECONDS)
        rc = blobs_put_picture(app, a->id,
                               picture_text(h->me->picture, report.detection.duration_s), err);
    if (rc == ERR_OK)
        rc = store_result_of(app, a->id, &report, &stale, err);
    if (rc == ERR_OK && !stale) {
        count_result(&report, &h->state, done - started);
        metric_observe(metric_get(METRIC_STAGE_SECONDS, "store", NULL, NULL),
                       clock_seconds() - done);
        metric_observe(metric_get(METRIC_STAGE_SECONDS, "total", NULL, NULL),
                       (double)(time_now_ms() - a->created_ms) / 1e3);
    }
    if (rc == ERR_OK && stale)
        blobs_drop_picture(app, a->id);
    detection_done(&report.detection);
    return rc;
}

static void note_failure(struct app *app, const char *id, int run, struct err *why)
{
    struct err err = {0};
    int stale = 0;
    if (store_fail(app->db, id, run, why, &stale, &err) != ERR_OK)
        *why = err; /* the caller tries again */
    else if (!stale) {
        why->code = ERR_OK;
        metric_add(metric_get(METRIC_ANALYSES, "failed", NULL, NULL), 1);
    } else {
        why->code = ERR_OK;
    }
}

static enum outcome inference_work(struct app *app, void *own, const struct queue_message *message,
                                   const json_t *data, struct err *err)
{
    const char *id = json_string_value(json_object_get(data, "analysis"));
    struct analyst *me = own;
    struct store_analysis a;
    int stale = 0, input = 0;
    if (!id || !id_valid(id))
        return OUTCOME_DONE;
    metric_observe(metric_get(METRIC_STAGE_SECONDS, "wait_ml_inference", NULL, NULL),
                   (double)(time_steady_ms() - message->published_ms) / 1e3);
    enum err_code rc = store_start(app->db, id, &a, &stale, err);
    if (rc != ERR_OK)
        return rc == ERR_NO_SUCH ? OUTCOME_DONE : OUTCOME_RETRY;
    if (stale)
        return OUTCOME_DONE;
    double now = clock_seconds();
    struct hearing h = {app, me, message, id, now + TELL_SECONDS, 0, {0}, 0};
    set_slot(me->slot, id, -1);
    rc = judge(&h, &a, &input, err);
    set_slot(me->slot, "", -1);
    if (rc == ERR_OK) {
        if (app->settings.keep_audio_days == 0)
            keeper_sweep(app);
        return OUTCOME_DONE;
    }
    if (h.lost)
        return OUTCOME_DONE; /* deleted; or somebody else has it, and settling it is refused */
    if (input) {
        enum err_code code = err->code;
        note_failure(app, id, a.runs, err);
        if (err->code == ERR_OK) {
            metric_add(metric_get(METRIC_FAILURES, err_slug(code), NULL, NULL), 1);
            keeper_settled(app);
            return OUTCOME_DONE;
        }
        return OUTCOME_RETRY;
    }
    if (store_requeue(app->db, id, a.runs, NULL) != ERR_OK) {
        /* it stays "running" until the next delivery starts it */
    }
    return rc == ERR_CANCELLED ? OUTCOME_GIVE_BACK : OUTCOME_RETRY;
}

static void inference_died(struct app *app, const json_t *data, const struct err *why)
{
    intake_kind.died(app, data, why);
}

/* --- the stability panel */

static enum err_code make_panel(struct hearing *h, const struct store_analysis *a, struct err *err)
{
    struct app *app = h->app;
    struct file_report report = {0};
    struct stability panel;
    _cleanup_close_ int fd = -1;
    enum err_code rc = open_recording(app, a, &fd, &report, err);
    if (rc == ERR_OK)
        rc = stability_make(h->me->analysis, app->media, fd, hear, h, &panel, err);
    if (rc != ERR_OK)
        return rc;
    json_t *json = stability_json(&panel);
    _cleanup_free_ char *text =
        json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(json);
    if (!text)
        return err_set(err, ERR_NO_MEMORY, "no memory for the stability panel");
    return store_stability_set(app->db, a->id, "done", text, err);
}

static enum outcome stability_work(struct app *app, void *own, const struct queue_message *message,
                                   const json_t *data, struct err *err)
{
    const char *id = json_string_value(json_object_get(data, "analysis"));
    struct store_analysis a;
    if (!id || !id_valid(id))
        return OUTCOME_DONE;
    enum err_code rc = store_get(app->db, id, &a, err);
    if (rc == ERR_NO_SUCH || (rc == ERR_OK && (a.status != STORE_DONE || !a.audio_kept)))
        return OUTCOME_DONE;
    if (rc == ERR_OK)
        rc = store_stability_set(app->db, id, "running", NULL, err);
    double now = clock_seconds();
    struct hearing h = {app, own, message, id, now, 0, {0}, 1};
    if (rc == ERR_OK)
        rc = make_panel(&h, &a, err);
    if (rc == ERR_OK || h.lost)
        return OUTCOME_DONE;
    if (rc == ERR_CANCELLED)
        return OUTCOME_GIVE_BACK;
    if (err_retryable(rc))
        return OUTCOME_RETRY;
    log_error(LOG_LEVEL_WARN, "no stability panel", err, LOG_T("labels.analysis", id));
    return store_stability_set(app->db, id, "failed", NULL, err) == ERR_OK ? OUTCOME_DONE
                                                                           : OUTCOME_RETRY;
}

static void stability_died(struct app *app, const json_t *data, const struct err *why)
{
    const char *id = json_string_value(json_object_get(data, "analysis"));
    struct err err = {0};
    (void)why;
    if (id && store_stability_set(app->db, id, "failed", NULL, &err) != ERR_OK)
        log_error(LOG_LEVEL_ERROR, "a failure could not be noted", &err,
                  LOG_T("labels.analysis", id));
}

const struct consumer_kind stability_kind = {
    .queue = QUEUE_STABILITY,
    .lease_s = LEASE_SECONDS,
    .work = stability_work,
    .died = stability_died,
};

const struct consumer_kind inference_kind = {
    .queue = QUEUE_ML_INFERENCE,
    .lease_s = LEASE_SECONDS,
    .nice = 5,
    .open = analyst_open,
    .close = analyst_close,
    .work = inference_work,
    .died = inference_died,
    .idle = &stability_kind,
};

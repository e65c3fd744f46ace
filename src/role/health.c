/* What the process says of itself: alive, ready, metrics, info, its API. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../nn/nn.h"
#include "../obs/metrics.h"
#include "../os/clock.h"
#include "roles.h"

/* Reaching every part costs files and a decoding: the answer serves for so long. */
#define READY_SECONDS 2.0

enum err_code health_alive(struct http_request *request, void *ctx, struct err *err)
{
    (void)ctx, (void)err;
    http_reply_text(request, 200, "text/plain", "ok\n");
    return ERR_OK;
}

enum err_code health_metrics(struct http_request *request, void *ctx, struct err *err)
{
    char *text = NULL;
    size_t size = 0;
    (void)ctx;
    enum err_code rc = metrics_text(&text, &size, err);
    if (rc == ERR_OK)
        http_reply_mem(request, 200, "text/plain; version=0.0.4; charset=utf-8", text, size);
    return rc;
}

enum err_code health_openapi(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    (void)err;
    http_reply_json(request, 200,
                    json_deep_copy(app->openapi)); /* jansson's counts are not shared safely */
    return ERR_OK;
}

/* --- ready */

enum err_code app_try_detector(struct detector *detector, struct media_service *media,
                               struct err *err)
{
    enum { RATE = 16000, HEAD = 44 };
    static const unsigned char head[HEAD] =
        "RIFF\x24\x7d\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0"
        "data\0\x7d\0";
    struct analysis *analysis = NULL;
    struct detection detection = {0};
    unsigned char *wav = xalloc(HEAD + 2 * RATE);
    uint32_t noise = 1;
    memcpy(wav, head, HEAD);
    for (int i = HEAD; i < HEAD + 2 * RATE; i++)
        wav[i] = (unsigned char)((noise = noise * 1664525u + 1013904223u) >> 24);
    int fd = memfd_create("sonde-ready", MFD_CLOEXEC);
    enum err_code rc = ERR_OK;
    if (fd < 0 || write(fd, wav, HEAD + 2 * RATE) != HEAD + 2 * RATE)
        rc = err_set(err, ERR_NO_MEMORY, "no memory to try the detector");
    free(wav);
    if (rc == ERR_OK)
        rc = analysis_new(detector, &analysis, err);
    if (rc == ERR_OK)
        rc = detect_file(analysis, media, fd, NULL, NULL, &detection, NULL, err);
    if (rc == ERR_OK && fabs(detection.duration_s - 1) > 0.01)
        rc = err_set(err, ERR_INTERNAL, "a second of sound came back as %.2f s",
                     detection.duration_s);
    detection_done(&detection);
    analysis_free(analysis);
    if (fd >= 0)
        close(fd);
    return rc;
}

static enum err_code try_detector(struct app *app, struct err *err)
{
    return app_try_detector(app->detector, app->media, err);
}

static enum err_code try_db(struct app *app, struct err *err)
{
    return db_ping(app->db, err);
}

static enum err_code try_blob(struct app *app, struct err *err)
{
    return blob_ping(app->blob, err);
}

static enum err_code try_queue(struct app *app, struct err *err)
{
    return queue_ping(app->queue, err);
}

static enum err_code try_cache(struct app *app, struct err *err)
{
    return cache_ping(app->cache, err);
}

/* Without a shared cache live updates are slower and the database is asked more often: that is
 * told, but no reason to send clients elsewhere. */
static const struct {
    const char *name;
    unsigned roles;
    int vital;
    enum err_code (*try)(struct app *, struct err *);
} parts[] = {
    {"model", ROLE_INFERENCE, 1, try_detector},
    {"db", ROLE_ALL, 1, try_db},
    {"blob", ROLE_ALL, 1, try_blob},
    {"queue", ROLE_ALL, 1, try_queue},
    {"cache", ROLE_ALL, 0, try_cache},
};

static json_t *try_parts(struct app *app, int *ret_ready)
{
    json_t *json = json_object(), *checks = json_array();
    *ret_ready = !atomic_load(&app->draining);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!(parts[i].roles & app->settings.roles))
            continue;
        struct err err = {0};
        double started = clock_seconds();
        int ok = parts[i].try(app, &err) == ERR_OK;
        json_t *check = json_object();
        json_object_set_new(check, "name", json_string(parts[i].name));
        json_object_set_new(check, "ok", json_boolean(ok));
        json_object_set_new(check, "seconds",
                            json_real(round((clock_seconds() - started) * 1e6) / 1e6));
        if (!ok)
            json_object_set_new(check, "error", json_string(err.text));
        json_array_append_new(checks, check);
        *ret_ready = *ret_ready && (ok || !parts[i].vital);
    }
    json_object_set_new(json, "status", json_string(*ret_ready ? "ready" : "not ready"));
    json_object_set_new(json, "checks", checks);
    return json;
}

enum err_code health_ready(struct http_request *request, void *ctx, struct err *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char *text;
    static int ready;
    static double at;
    static int trying, drained;
    struct app *app = ctx;
    (void)err;
    pthread_mutex_lock(&lock);
    int draining = atomic_load(&app->draining);
    /* Asking a server that is away takes long: one request does, the others get the last answer, so
     * that probes do not take every worker. */
    if (!text || ((clock_seconds() - at > READY_SECONDS || draining != drained) && !trying)) {
        int now_ready = 0;
        trying = 1;
        pthread_mutex_unlock(&lock);
        json_t *json = try_parts(app, &now_ready);
        char *now = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(6));
        json_decref(json);
        pthread_mutex_lock(&lock);
        free(text);
        text = now;
        ready = now_ready;
        drained = draining;
        trying = 0;
        at = clock_seconds();
    }
    int say = ready && !draining;
    if (!say)
        http_reply_header(request, "Retry-After", "5");
    http_reply_text(request, say ? 200 : 503, "application/json", text ? text : "{}");
    pthread_mutex_unlock(&lock);
    return ERR_OK;
}

/* --- info */

static void set_number(json_t *json, const char *key, const char *text)
{
    char *end;
    double value = text ? strtod(text, &end) : 0;
    json_object_set_new(json, key, text && end != text ? json_real(value) : json_null());
}

static json_t *model_json(struct app *app)
{
    const struct nn_model *model = detector_model(app->detector);
    json_t *json = detector_model_json(app->detector), *rates = json_object();
    static const struct {
        const char *key, *meta;
    } rows[] = {{"false_alarm", "eval_fpr"},
                {"false_alarm_low", "eval_fpr_lo"},
                {"false_alarm_high", "eval_fpr_hi"},
                {"miss", "eval_fnr"},
                {"miss_low", "eval_fnr_lo"},
                {"miss_high", "eval_fnr_hi"},
                {"undecided_human", "eval_undecided_bonafide"},
                {"undecided_synthetic", "eval_undecided_spoof"},
                {"eer", "eval_eer"},
                {"auc", "eval_auc"},
                {"cllr", "eval_cllr"},
                {"human_clips", "eval_n_bonafide"},
                {"synthetic_clips", "eval_n_spoof"}};
    const char *set = nn_model_meta(model, "eval_set"), *date = nn_model_meta(model, "train_date");
    json_object_set_new(json, "threshold", json_real(detector_threshold(app->detector)));
    json_object_set_new(json, "prior", json_real(detector_prior(app->detector)));
    json_object_set_new(json, "trained", date ? json_string(date) : json_null());
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        set_number(rates, rows[i].key, nn_model_meta(model, rows[i].meta));
    json_object_set_new(rates, "set", set ? json_string(set) : json_null());
    json_object_set_new(json, "rates", rates);
    return json;
}

static json_t *days_json(double days)
{
    return days == KEEP_FOREVER ? json_null() : json_real(days);
}

enum err_code health_info(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    double recording_s =
        app->media ? media_service_limits(app->media)->max_seconds : MEDIA_MAX_SECONDS_DEFAULT;
    json_t *json = json_object(), *part;
    (void)err;
    json_object_set_new(json, "version", json_string(SONDE_VERSION));
    json_object_set_new(json, "model", app->detector ? model_json(app) : json_null());
    part = json_object();
    json_object_set_new(part, "upload_bytes", json_integer((json_int_t)app->settings.upload_max));
    json_object_set_new(part, "files_per_upload", json_integer(HTTP_FILES_MAX));
    json_object_set_new(part, "recording_s", json_real(recording_s));
    json_object_set_new(part, "waiting", json_integer((json_int_t)app->settings.queue_max));
    json_object_set_new(json, "limits", part);
    part = json_object(); /* null: for ever */
    json_object_set_new(part, "audio_days", days_json(app->settings.keep_audio_days));
    json_object_set_new(part, "result_days", days_json(app->settings.keep_results_days));
    json_object_set_new(json, "retention", part);
    part = json_object();
    json_object_set_new(part, "waiting", json_integer((json_int_t)atomic_load(&app->waiting)));
    json_object_set_new(json, "queue", part);
    http_reply_json(request, 200, json);
    return ERR_OK;
}

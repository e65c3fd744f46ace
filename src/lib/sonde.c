/* The public C API: a thin coat over src/detect, so that programs and the command line share every
 * line of the way to a verdict. Threads: the decoder program is started once, under a lock, by the
 * first file; each call on a file has an analysis of its own, kept in a small free list. */
#include "../../include/sonde.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"
#include "../detect/report.h"

#define SPARE_ANALYSES 8 /* kept for reuse; more concurrent files allocate their own */

struct sonde_detector {
    struct detector *detector;
    struct media_limits limits;
    char *decoder;
    pthread_mutex_t lock; /* guards the rest */
    struct media_service *media;
    struct analysis *spare[SPARE_ANALYSES];
    size_t n_spare;
};

struct sonde_stream {
    const struct sonde_detector *owner;
    struct analysis *analysis;
};

struct sonde_result {
    struct detection detection;
    char *json;
    char texts[REASON_COUNT][160];
};

static int public_code(enum err_code code)
{
    switch (code) {
    case ERR_OK:
        return SONDE_OK;
    case ERR_USAGE:
    case ERR_MANIFEST:
        return SONDE_ERROR_ARGUMENT;
    case ERR_NOT_FOUND:
    case ERR_PERMISSION:
    case ERR_NOT_A_FILE:
    case ERR_EMPTY:
    case ERR_IO:
        return SONDE_ERROR_FILE;
    case ERR_NOT_AUDIO:
    case ERR_NO_AUDIO_TRACK:
    case ERR_CODEC:
    case ERR_DAMAGED:
        return SONDE_ERROR_AUDIO;
    case ERR_TOO_LARGE:
    case ERR_TOO_LONG:
    case ERR_TIMEOUT:
    case ERR_MEMORY_LIMIT:
    case ERR_LIMIT:
        return SONDE_ERROR_LIMIT;
    case ERR_MODEL:
        return SONDE_ERROR_MODEL;
    case ERR_NO_MEMORY:
    case ERR_DECODER_DIED:
    case ERR_SANDBOX:
    case ERR_CANCELLED:
        return SONDE_ERROR_RESOURCES;
    default: /* bugs, and the server's own: no function of this library answers with those */
        return SONDE_ERROR_INTERNAL;
    }
}

static int fail(const struct err *err, struct sonde_error *error)
{
    int code = public_code(err->code);
    if (error) {
        error->code = code;
        error->slug = err_slug(err->code);
        error->hint = err_hint(err->code);
        memcpy(error->text, err->text, sizeof error->text);
    }
    return code;
}
_Static_assert(sizeof(((struct sonde_error *)0)->text) == ERR_TEXT_MAX, "the texts have one size");

static int fail_argument(const char *what, struct sonde_error *error)
{
    struct err err;
    err_set(&err, ERR_USAGE, "%s", what);
    return fail(&err, error);
}

int sonde_open(const struct sonde_options *options, sonde_detector **ret, struct sonde_error *error)
{
    if (!ret)
        return fail_argument("ret is NULL", error);
    if (options && options->size != sizeof *options)
        return fail_argument("options.size is not sizeof(struct sonde_options)", error);
    static const struct sonde_options defaults;
    const struct sonde_options *o = options ? options : &defaults;
    if (!(o->max_seconds >= 0 && o->max_wall >= 0))
        return fail_argument("a limit is negative", error);
    struct err err;
    enum nn_isa isa;
    if (nn_isa_choose(o->isa, &isa, &err) != ERR_OK)
        return fail(&err, error);
    sonde_detector *d = xalloc(sizeof *d);
    d->limits = (struct media_limits){.max_bytes = o->max_bytes,
                                      .max_seconds = o->max_seconds,
                                      .max_wall = o->max_wall,
                                      .max_memory = o->max_memory};
    d->decoder = o->decoder ? xstrdup(o->decoder) : NULL;
    pthread_mutex_init(&d->lock, NULL);
    enum err_code rc = detector_new(o->model, isa, &d->detector, &err);
    if (rc == ERR_OK && o->prior != 0)
        rc = detector_set_prior(d->detector, o->prior, &err);
    if (rc != ERR_OK) {
        sonde_close(d);
        return fail(&err, error);
    }
    *ret = d;
    return SONDE_OK;
}

void sonde_close(sonde_detector *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n_spare; i++)
        analysis_free(d->spare[i]);
    media_service_free(d->media);
    detector_free(d->detector);
    pthread_mutex_destroy(&d->lock);
    free(d->decoder);
    free(d);
}

/* The decoder program and an analysis for one file. */
static enum err_code borrow(sonde_detector *d, struct analysis **ret, struct err *err)
{
    enum err_code rc = ERR_OK;
    struct analysis *a = NULL;
    pthread_mutex_lock(&d->lock);
    if (!d->media)
        rc = media_service_new(d->decoder, &d->limits, &d->media, err);
    if (rc == ERR_OK && d->n_spare > 0)
        a = d->spare[--d->n_spare];
    pthread_mutex_unlock(&d->lock);
    if (rc == ERR_OK && !a)
        rc = analysis_new(d->detector, &a, err);
    if (rc == ERR_OK)
        *ret = a;
    return rc;
}

static void give_back(sonde_detector *d, struct analysis *a)
{
    pthread_mutex_lock(&d->lock);
    if (d->n_spare < SPARE_ANALYSES)
        d->spare[d->n_spare++] = STEAL(a);
    pthread_mutex_unlock(&d->lock);
    analysis_free(a);
}

static enum err_code make_result(json_t *json, struct detection *detection, sonde_result **ret,
                                 struct err *err)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) {
        detection_done(detection);
        return err_set(err, ERR_NO_MEMORY, "no memory for the result");
    }
    sonde_result *r = xalloc(sizeof *r);
    r->detection = *detection;
    r->json = text;
    for (size_t i = 0; i < detection->n_reasons; i++)
        reason_sentence(&detection->reasons[i], r->texts[i], sizeof r->texts[i]);
    *ret = r;
    return ERR_OK;
}

int sonde_detect_file(sonde_detector *d, const char *path, sonde_result **ret,
                      struct sonde_error *error)
{
    if (!d || !path || !ret)
        return fail_argument("detector, path or ret is NULL", error);
    struct err err;
    struct analysis *a = NULL;
    enum err_code rc = borrow(d, &a, &err);
    if (rc != ERR_OK)
        return fail(&err, error);
    struct file_report report = {0};
    rc = file_report_make(a, d->media, path, NULL, NULL, &report, &err);
    give_back(d, a);
    if (rc == ERR_OK) {
        json_t *json = file_report_json(&report, d->detector);
        struct detection detection = report.detection;
        report.detection = (struct detection){0};
        rc = make_result(json, &detection, ret, &err);
    }
    file_report_done(&report);
    return rc == ERR_OK ? SONDE_OK : fail(&err, error);
}

int sonde_stream_new(sonde_detector *d, sonde_stream **ret, struct sonde_error *error)
{
    if (!d || !ret)
        return fail_argument("detector or ret is NULL", error);
    struct err err;
    struct analysis *a = NULL;
    if (analysis_new(d->detector, &a, &err) != ERR_OK)
        return fail(&err, error);
    sonde_stream *s = xalloc(sizeof *s);
    s->owner = d;
    s->analysis = a;
    *ret = s;
    return SONDE_OK;
}

int sonde_stream_feed(sonde_stream *s, const float *samples, size_t count,
                      struct sonde_error *error)
{
    if (!s || (!samples && count > 0))
        return fail_argument("stream or samples is NULL", error);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(samples[i]))
            return fail_argument("a sample is not finite", error);
    struct err err;
    if (analysis_feed(s->analysis, samples, count, &err) != ERR_OK)
        return fail(&err, error);
    return SONDE_OK;
}

int sonde_stream_finish(sonde_stream *s, sonde_result **ret, struct sonde_error *error)
{
    if (!s || !ret)
        return fail_argument("stream or ret is NULL", error);
    struct err err;
    struct detection detection;
    if (analysis_finish(s->analysis, &detection, &err) != ERR_OK)
        return fail(&err, error);
    json_t *json = detection_json(&detection);
    if (json)
        json_object_set_new(json, "model", detector_model_json(s->owner->detector));
    if (make_result(json, &detection, ret, &err) != ERR_OK)
        return fail(&err, error);
    return SONDE_OK;
}

void sonde_stream_free(sonde_stream *s)
{
    if (s) {
        analysis_free(s->analysis);
        free(s);
    }
}

enum sonde_verdict sonde_result_verdict(const sonde_result *r)
{
    return (enum sonde_verdict)r->detection.verdict;
}
_Static_assert((int)SONDE_INCONCLUSIVE == (int)VERDICT_INCONCLUSIVE &&
                   (int)SONDE_SYNTHETIC == (int)VERDICT_SYNTHETIC,
               "verdicts have one order");

const char *sonde_verdict_name(enum sonde_verdict verdict)
{
    return (unsigned)verdict <= SONDE_INCONCLUSIVE ? verdict_name((enum verdict)verdict)
                                                   : "unknown";
}

double sonde_result_p_synthetic(const sonde_result *r)
{
    return r->detection.scored ? r->detection.p : NAN;
}

double sonde_result_llr(const sonde_result *r)
{
    return r->detection.scored ? r->detection.llr : NAN;
}

double sonde_result_threshold(const sonde_result *r)
{
    return r->detection.threshold;
}

double sonde_result_prior(const sonde_result *r)
{
    return r->detection.prior;
}

double sonde_result_duration(const sonde_result *r)
{
    return r->detection.duration_s;
}

double sonde_result_speech(const sonde_result *r)
{
    return r->detection.speech_s;
}

const char *sonde_result_reason(const sonde_result *r, size_t i, const char **ret_text)
{
    if (i >= r->detection.n_reasons)
        return NULL;
    if (ret_text)
        *ret_text = r->texts[i];
    return reason_slug(r->detection.reasons[i].code);
}

int sonde_result_window(const sonde_result *r, size_t i, struct sonde_window *ret)
{
    if (i >= r->detection.n_timeline)
        return 0;
    const struct detect_window *w = &r->detection.timeline[i];
    *ret = (struct sonde_window){.start = w->start_s,
                                 .end = w->end_s,
                                 .speech = w->speech_s,
                                 .llr = w->llr,
                                 .p_synthetic = detect_probability(w->llr, r->detection.prior)};
    return 1;
}

const char *sonde_result_json(const sonde_result *r)
{
    return r->json;
}

void sonde_result_free(sonde_result *r)
{
    if (r) {
        detection_done(&r->detection);
        free(r->json);
        free(r);
    }
}

const char *sonde_version(void)
{
    return SONDE_VERSION;
}

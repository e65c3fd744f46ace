/* Windows over a stream of samples, pooling, calibration, verdict.
 *
 * The sample buffer always keeps the last window's worth of samples (the final window is aligned to
 * the end of the recording, not to the frame grid) and what is not yet framed. Frames are computed
 * hop by hop, once, and shared by the windows that overlap. A detector is immutable; an analysis
 * belongs to one thread at a time. */
#include "detector.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../base/mem.h"
#include "../os/clock.h"
#include "gate.h"
#include "model_blob.h"
#include "music.h"
#include "picture.h"
#include "quality.h"
#include "rates.h"
#include "speech.h"

#define MAX_WINDOWS (SPEECH_MAX_FRAMES / 16)
#define PRIOR_MIN   0.001
#define PRIOR_MAX   0.999
#define FEED_STEP   16384 /* samples per media_read */

struct detector {
    struct nn_model *model;
    double scale, offset; /* LLR = scale * logit + offset */
    double threshold, prior;
    double human_below, synthetic_from; /* around the threshold: no verdict between them */
    double gap_from_s, gap_closes_s; /* speech from which they draw near, and at which they meet */
    double gate_limit;               /* of the network's score for being no speech */
    struct rates *rates;             /* NULL: the model states none */
};

struct analysis {
    const struct detector *detector;
    struct nn_session *session;
    const struct nn_shape *shape;
    size_t window_samples, hop_samples, block_samples;
    float *samples; /* buffer of `room` samples; [0] is sample number `first` of the recording */
    size_t room, held;
    uint64_t first;      /* recording position of samples[0] */
    uint64_t next_frame; /* frames computed so far */
    float *logband;      /* up to window_frames frames, frame-major */
    float *power;
    size_t frames; /* held in logband */
    struct detect_window *windows;
    size_t n_windows, cap_windows;
    struct speech_track speech;
    struct speech_track ended; /* of the recording before, for analysis_speech */
    struct music music;
    struct quality quality;
    struct picture *picture; /* the caller's; NULL: nothing to draw */
};

static enum err_code meta_number(const struct nn_model *model, const char *key, double low,
                                 double high, double *ret, struct err *err)
{
    const char *text = nn_model_meta(model, key);
    if (!text)
        return err_set(err, ERR_MODEL, "the model has no '%s'", key);
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || *end || !(value >= low && value <= high))
        return err_set(err, ERR_MODEL, "the model's '%s' is not a number from %g to %g", key, low,
                       high);
    *ret = value;
    return ERR_OK;
}

/* The threshold, and where verdicts begin on its two sides: at the threshold, unless the model
 * leaves room for scores that are too close to call. */
static enum err_code read_limits(struct detector *d, struct err *err)
{
    enum err_code rc = meta_number(d->model, "threshold_llr", -50, 50, &d->threshold, err);
    d->human_below = d->synthetic_from = d->threshold;
    if (rc == ERR_OK && nn_model_meta(d->model, "human_below_llr"))
        rc = meta_number(d->model, "human_below_llr", -50, d->threshold, &d->human_below, err);
    if (rc == ERR_OK && nn_model_meta(d->model, "synthetic_from_llr"))
        rc = meta_number(d->model, "synthetic_from_llr", d->threshold, 50, &d->synthetic_from, err);
    d->gap_from_s = INFINITY;
    if (rc != ERR_OK || !nn_model_meta(d->model, "gap_from_s"))
        return rc;
    rc = meta_number(d->model, "gap_from_s", 0.1, 1e4, &d->gap_from_s, err);
    if (rc == ERR_OK)
        rc =
            meta_number(d->model, "gap_closes_s", 1.01 * d->gap_from_s, 1e5, &d->gap_closes_s, err);
    return rc;
}

enum err_code detector_new(const char *model_path, enum nn_isa isa, struct detector **ret,
                           struct err *err)
{
    struct detector *d = xalloc(sizeof *d);
    enum err_code rc;
    if (!model_path || !*model_path)
        model_path = secure_getenv("SONDE_MODEL");
    if (model_path && *model_path)
        rc = nn_model_open(model_path, isa, &d->model, err);
    else
        rc = nn_model_open_mem(model_blob, model_blob_size(), isa, &d->model, err);
    if (rc == ERR_OK)
        rc = meta_number(d->model, "llr_scale", 1e-3, 1e3, &d->scale, err);
    if (rc == ERR_OK)
        rc = meta_number(d->model, "llr_offset", -1e3, 1e3, &d->offset, err);
    if (rc == ERR_OK)
        rc = read_limits(d, err);
    d->gate_limit = INFINITY;
    if (rc == ERR_OK && nn_model_gated(d->model))
        rc = meta_number(d->model, "gate_limit", -1e3, 1e3, &d->gate_limit, err);
    if (rc == ERR_OK)
        rc = meta_number(d->model, "prior", PRIOR_MIN, PRIOR_MAX, &d->prior, err);
    if (rc == ERR_OK)
        rc = rates_new(nn_model_meta(d->model, "eval_groups"), &d->rates, err);
    if (rc != ERR_OK) {
        detector_free(d);
        return rc;
    }
    *ret = d;
    return ERR_OK;
}

struct detector *detector_free(struct detector *d)
{
    if (d) {
        nn_model_free(d->model);
        rates_free(d->rates);
        free(d);
    }
    return NULL;
}

const struct nn_model *detector_model(const struct detector *d)
{
    return d->model;
}

json_t *detector_rates_json(const struct detector *d, const struct detection *detection,
                            const struct media_info *media)
{
    return rates_json(d->rates, detection, media);
}

double detector_threshold(const struct detector *d)
{
    return d->threshold;
}

void detector_limits(const struct detector *d, double speech_s, double *ret_human_below,
                     double *ret_synthetic_from)
{
    double open = 1;
    if (speech_s > d->gap_from_s)
        open = fmax(0, log(d->gap_closes_s / speech_s) / log(d->gap_closes_s / d->gap_from_s));
    *ret_human_below = d->threshold - open * (d->threshold - d->human_below);
    *ret_synthetic_from = d->threshold + open * (d->synthetic_from - d->threshold);
}

double detector_prior(const struct detector *d)
{
    return d->prior;
}

enum err_code detector_set_prior(struct detector *d, double prior, struct err *err)
{
    if (!(prior >= PRIOR_MIN && prior <= PRIOR_MAX))
        return err_set(err, ERR_USAGE, "the prior %g is not within %g and %g", prior, PRIOR_MIN,
                       PRIOR_MAX);
    d->prior = prior;
    return ERR_OK;
}

json_t *detector_model_json(const struct detector *d)
{
    const char *name = nn_model_meta(d->model, "name");
    return json_pack("{s:s, s:s, s:s}", "name", name ? name : "unnamed", "sha256",
                     nn_model_sha256(d->model), "isa", nn_isa_name(nn_model_isa(d->model)));
}

enum err_code analysis_new(const struct detector *detector, struct analysis **ret, struct err *err)
{
    struct analysis *a = xalloc(sizeof *a);
    a->detector = detector;
    a->shape = nn_model_shape(detector->model);
    a->window_samples = nn_window_samples(a->shape);
    a->hop_samples = (size_t)a->shape->hop_frames * (size_t)a->shape->frame_hop;
    /* Samples under one hop of frames: the hop itself and the overhang of its last frame. */
    a->block_samples = a->hop_samples + (size_t)(a->shape->frame_length - a->shape->frame_hop);
    a->room = 2 * a->window_samples + a->block_samples + FEED_STEP;
    enum err_code rc = nn_session_new(detector->model, &a->session, err);
    size_t frames = (size_t)a->shape->window_frames;
    a->samples = try_alloc(a->room, sizeof *a->samples);
    a->logband = try_alloc(frames * (size_t)a->shape->bands, sizeof *a->logband);
    a->power = try_alloc(frames, sizeof *a->power);
    if (rc == ERR_OK && (!a->samples || !a->logband || !a->power))
        rc = err_set(err, ERR_NO_MEMORY, "no memory for an analysis");
    if (rc != ERR_OK) {
        analysis_free(a);
        return rc;
    }
    *ret = a;
    return ERR_OK;
}

struct analysis *analysis_free(struct analysis *a)
{
    if (a) {
        nn_session_free(a->session);
        speech_done(&a->speech);
        speech_done(&a->ended);
        free(a->samples);
        free(a->logband);
        free(a->power);
        free(a->windows);
        free(a);
    }
    return NULL;
}

static void forget_samples(struct analysis *a)
{
    speech_done(&a->speech);
    speech_done(&a->ended);
    a->music = (struct music){0};
    a->quality = (struct quality){0};
    a->held = a->frames = a->n_windows = 0;
    a->first = a->next_frame = 0;
}

void analysis_reset(struct analysis *a)
{
    forget_samples(a);
    a->picture = NULL;
}

const struct speech_track *analysis_speech(const struct analysis *a)
{
    return &a->ended;
}

void analysis_draw(struct analysis *a, struct picture *picture)
{
    a->picture = picture;
}

/* What the front end made of the next n frames goes to all that looks at frames, and is drawn. */
static enum err_code take_frames(struct analysis *a, const float *logband, const float *power,
                                 size_t n, struct err *err)
{
    if (a->picture)
        picture_add_frames(a->picture, logband, power, n, a->shape->bands);
    music_add(&a->music, logband, n, a->shape->bands);
    quality_add_frames(&a->quality, logband, n, a->shape->bands);
    return speech_add(&a->speech, logband, n, a->shape->bands, err);
}

/* The frames of a window, as the track of speech counts them. */
static void frames_of(const struct analysis *a, double start_s, double end_s, size_t *ret_from,
                      size_t *ret_to)
{
    double frames_per_s = (double)a->shape->sample_rate / a->shape->frame_hop;
    *ret_from = (size_t)lrint(start_s * frames_per_s);
    *ret_to = (size_t)lrint(end_s * frames_per_s);
}

/* Judges the window of these samples, whose frames stand in logband and power; not a silent one,
 * which the networks would take as long for. */
static enum err_code add_window(struct analysis *a, const float *samples, double start_s,
                                double end_s, struct err *err)
{
    size_t from, to;
    double llr = NAN;
    float network = 0;
    frames_of(a, start_s, end_s, &from, &to);
    if (speech_possible(&a->speech, from, to)) {
        float logit = nn_window(a->session, samples, a->logband, a->power, &network);
        if (!isfinite(logit) || !isfinite(network)) /* finite weights are no promise of it */
            return err_set(err, ERR_MODEL,
                           "the model's answer to the window at %.2f s is no number", start_s);
        llr = a->detector->scale * (double)logit + a->detector->offset;
    }
    if (try_grow(&a->windows, &a->cap_windows, a->n_windows, sizeof *a->windows, MAX_WINDOWS) < 0)
        return err_set(err, ERR_TOO_LONG, "more than %d windows", MAX_WINDOWS);
    a->windows[a->n_windows++] = (struct detect_window){
        .start_s = start_s,
        .end_s = end_s,
        .llr = llr,
        .texture =
            gate_texture(a->logband, a->power, (size_t)a->shape->window_frames, a->shape->bands),
        .network = (double)network,
    };
    return ERR_OK;
}

/* Computes the hop of frames that starts at next_frame, and a window when one is complete. */
static enum err_code add_hop(struct analysis *a, struct err *err)
{
    const struct nn_shape *shape = a->shape;
    size_t hop = (size_t)shape->hop_frames, bands = (size_t)shape->bands;
    size_t window = (size_t)shape->window_frames;
    const float *at = a->samples + (size_t)(a->next_frame * (uint64_t)shape->frame_hop - a->first);
    float *logband = a->logband + a->frames * bands;
    nn_frames(a->session, at, hop, logband, a->power + a->frames);
    enum err_code rc = take_frames(a, logband, a->power + a->frames, hop, err);
    if (rc != ERR_OK)
        return rc;
    a->next_frame += hop;
    a->frames += hop;
    if (a->frames < window)
        return ERR_OK;
    uint64_t start = (a->next_frame - window) * (uint64_t)shape->frame_hop;
    rc = add_window(a, a->samples + (start - a->first), (double)start / shape->sample_rate,
                    (double)(start + a->window_samples) / shape->sample_rate, err);
    memmove(a->logband, a->logband + hop * bands, (window - hop) * bands * sizeof *a->logband);
    memmove(a->power, a->power + hop, (window - hop) * sizeof *a->power);
    a->frames = window - hop;
    return rc;
}

/* Drops samples that neither a coming frame nor the final window can need. */
static void drop_old_samples(struct analysis *a)
{
    uint64_t framed = a->next_frame * (uint64_t)a->shape->frame_hop;
    size_t spare = (size_t)(framed - a->first);
    size_t beyond_window = a->held > a->window_samples ? a->held - a->window_samples : 0;
    size_t drop = spare < beyond_window ? spare : beyond_window;
    if (drop < a->window_samples / 2)
        return; /* move rarely */
    memmove(a->samples, a->samples + drop, (a->held - drop) * sizeof *a->samples);
    a->held -= drop;
    a->first += drop;
}

enum err_code analysis_feed(struct analysis *a, const float *samples, size_t n, struct err *err)
{
    if (a->held == 0)
        speech_done(&a->ended);
    if (a->picture)
        picture_add_samples(a->picture, samples, n);
    quality_add_samples(&a->quality, samples, n);
    while (n > 0) {
        size_t take = a->room - a->held < n ? a->room - a->held : n;
        memcpy(a->samples + a->held, samples, take * sizeof *samples);
        a->held += take;
        samples += take;
        n -= take;
        while (a->first + a->held >=
               a->next_frame * (uint64_t)a->shape->frame_hop + a->block_samples) {
            enum err_code rc = add_hop(a, err);
            if (rc != ERR_OK)
                return rc;
        }
        drop_old_samples(a);
    }
    return ERR_OK;
}

/* Frames after the last whole hop: too few for a window of their own, but they may hold speech. */
static enum err_code add_last_frames(struct analysis *a, struct err *err)
{
    size_t from = (size_t)(a->next_frame * (uint64_t)a->shape->frame_hop - a->first);
    size_t left = a->held - from, length = (size_t)a->shape->frame_length;
    if (left < length)
        return ERR_OK;
    size_t n = (left - length) / (size_t)a->shape->frame_hop + 1;
    nn_frames(a->session, a->samples + from, n, a->logband, a->power);
    return take_frames(a, a->logband, a->power, n, err);
}

/* The window that ends with the recording, unless one on the grid does; a recording shorter than a
 * window is repeated until it fills one. */
static enum err_code add_last_window(struct analysis *a, struct err *err)
{
    uint64_t total = a->first + a->held;
    size_t window = a->window_samples;
    uint64_t grid_end =
        a->n_windows > 0 ? (uint64_t)(a->n_windows - 1) * a->hop_samples + window : 0;
    if (total == 0 || grid_end == total)
        return ERR_OK;
    float *at = a->samples + (a->held >= window ? a->held - window : 0);
    for (size_t i = a->held; i < window; i++)
        a->samples[i] = a->samples[i - a->held];
    nn_frames(a->session, at, (size_t)a->shape->window_frames, a->logband, a->power);
    uint64_t start = total > window ? total - window : 0;
    return add_window(a, at, (double)start / a->shape->sample_rate,
                      (double)total / a->shape->sample_rate, err);
}

static void remark(struct detection *d, enum reason_code code, double measured, double limit)
{
    d->reasons[d->n_reasons++] =
        (struct reason){.code = code, .measured = measured, .limit = limit};
}

static void add_reason(struct detection *d, enum reason_code code, double measured, double limit)
{
    remark(d, code, measured, limit);
    if (reason_decides(code)) {
        d->reasons[d->n_reasons - 1].decides = 1;
        d->verdict = VERDICT_INCONCLUSIVE;
    }
}

int detection_is_narrow(const struct detection *d)
{
    return d->band_edge_hz > 0 && d->band_edge_hz < DETECT_NARROW_HZ;
}

/* Means over the windows, weighted by speech: the LLR, and the scores for being no speech. Where
 * none was found, the texture's is the plain mean, and there is no LLR (0). */
static struct detect_window pool(struct analysis *a)
{
    double frames_per_s = (double)a->shape->sample_rate / a->shape->frame_hop, plain = 0;
    struct detect_window sum = {0};
    for (size_t i = 0; i < a->n_windows; i++) {
        struct detect_window *w = &a->windows[i];
        size_t from, to, speech;
        frames_of(a, w->start_s, w->end_s, &from, &to);
        plain += w->texture;
        speech = isnan(w->llr) ? 0 : speech_frames(&a->speech, from, to);
        if (speech == 0) {
            w->llr = NAN;
            continue;
        }
        w->speech_s = (double)speech / frames_per_s;
        sum.llr += w->speech_s * w->llr;
        sum.texture += w->speech_s * w->texture;
        sum.network += w->speech_s * w->network;
        sum.speech_s += w->speech_s;
    }
    if (sum.speech_s <= 0)
        return (struct detect_window){.texture = plain / (double)a->n_windows};
    return (struct detect_window){.llr = sum.llr / sum.speech_s,
                                  .texture = sum.texture / sum.speech_s,
                                  .network = sum.network / sum.speech_s};
}

/* What the recording did to the speech. */
static void add_quality_reasons(const struct analysis *a, struct detection *d)
{
    double snr = speech_to_noise_db(&a->speech);
    double clipped = 100 * quality_clipped(&a->quality);
    if (snr < DETECT_SNR_DB)
        add_reason(d, REASON_LOW_SNR, snr, DETECT_SNR_DB);
    else if (snr < DETECT_SNR_REMARK_DB)
        remark(d, REASON_LOW_SNR, snr, DETECT_SNR_REMARK_DB);
    if (clipped > DETECT_CLIPPED)
        add_reason(d, REASON_CLIPPED, clipped, DETECT_CLIPPED);
    else if (clipped > DETECT_CLIPPED_REMARK)
        remark(d, REASON_CLIPPED, clipped, DETECT_CLIPPED_REMARK);
    if (detection_is_narrow(d))
        remark(d, REASON_NARROW_BAND, d->band_edge_hz, DETECT_NARROW_HZ);
}

/* A stretch that stands out and speaks for the other side of the threshold than the whole does. */
static enum err_code add_parts_reason(struct detection *d, struct err *err)
{
    struct detect_stretch stretch;
    if (d->verdict == VERDICT_INCONCLUSIVE)
        return ERR_OK;
    const int human = d->verdict == VERDICT_HUMAN;
    enum err_code rc =
        detection_find_stretch(d, human ? VERDICT_SYNTHETIC : VERDICT_HUMAN, &stretch, err);
    if (rc != ERR_OK || stretch.contrast == 0 || stretch.contrast < stretch.limit)
        return rc;
    remark(d, human ? REASON_SYNTHETIC_PARTS : REASON_DISAGREEMENT, stretch.contrast,
           stretch.limit);
    d->reasons[d->n_reasons - 1].start_s = stretch.start_s;
    d->reasons[d->n_reasons - 1].end_s = stretch.end_s;
    return ERR_OK;
}

/* Too near the threshold to say either. Last of all, and alone: what else keeps a verdict back says
 * more, and a remark on parts needs a side. */
static void add_borderline_reason(struct detection *d)
{
    if (d->verdict == VERDICT_SYNTHETIC && d->llr < d->synthetic_from)
        add_reason(d, REASON_BORDERLINE, d->llr, d->synthetic_from);
    else if (d->verdict == VERDICT_HUMAN && d->llr >= d->human_below)
        add_reason(d, REASON_BORDERLINE, d->llr, d->human_below);
}

static void add_reasons(const struct analysis *a, struct detection *d,
                        const struct detect_window *mean)
{
    double margin = gate_margin(mean->texture, mean->network, a->detector->gate_limit, &a->music,
                                d->duration_s);
    int overdriven = 100 * quality_clipped(&a->quality) > DETECT_CLIPPED;
    int no_speech = margin >= 0 && !overdriven; /* overdriven speech is as flat as music */
    if (music_tones(&a->music) >= DETECT_TONES)
        d->speech_s = 0; /* what the gate took for syllables were dialled digits */
    if (d->speech_s < DETECT_ANY_SPEECH_S) {
        d->scored = 0; /* a score of noise would only mislead */
        add_reason(d, REASON_NO_SPEECH, d->speech_s, DETECT_MIN_SPEECH_S);
        return;
    }
    if (no_speech) /* and no more to say: its "speech" is none */
        add_reason(d, REASON_MUSIC, margin, 0);
    else if (d->speech_s < DETECT_MIN_SPEECH_S)
        add_reason(d, REASON_TOO_SHORT, d->speech_s, DETECT_MIN_SPEECH_S);
    if (!no_speech)
        add_quality_reasons(a, d);
}

static enum err_code conclude(struct analysis *a, struct detection *d, struct err *err)
{
    const struct detector *detector = a->detector;
    double frames_per_s = (double)a->shape->sample_rate / a->shape->frame_hop;
    struct detect_window mean = {0};
    d->prior = detector->prior;
    d->threshold = detector->threshold;
    d->duration_s = (double)(a->first + a->held) / a->shape->sample_rate;
    d->speech_s = (double)speech_frames(&a->speech, 0, a->speech.count) / frames_per_s;
    d->band_edge_hz = quality_band_edge(&a->quality);
    d->scored = a->n_windows > 0;
    if (d->scored) {
        mean = pool(a);
        d->llr = mean.llr;
        d->p = detect_probability(d->llr, d->prior);
    }
    d->verdict = d->scored && d->llr >= d->threshold ? VERDICT_SYNTHETIC : VERDICT_HUMAN;
    add_reasons(a, d, &mean);
    d->timeline = STEAL(a->windows);
    d->n_timeline = d->scored ? a->n_windows : 0;
    a->cap_windows = 0;
    enum err_code rc = add_parts_reason(d, err);
    detector_limits(detector, d->speech_s, &d->human_below, &d->synthetic_from);
    add_borderline_reason(d);
    return rc;
}

enum err_code analysis_finish(struct analysis *a, struct detection *ret, struct err *err)
{
    struct detection d = {0};
    enum err_code rc = add_last_frames(a, err);
    if (rc == ERR_OK)
        rc = add_last_window(a, err);
    if (rc == ERR_OK)
        rc = speech_decide(&a->speech, err);
    if (rc == ERR_OK)
        rc = conclude(a, &d, err);
    if (rc == ERR_OK)
        rc = detection_find_parts(&d, err);
    struct speech_track speech = a->speech;
    a->speech = (struct speech_track){0};
    analysis_reset(a);
    a->ended = speech;
    if (rc == ERR_OK)
        *ret = d;
    else
        detection_done(&d);
    return rc;
}

static void add_media_reasons(struct detection *d, const struct media_info *info)
{
    if (info->damaged > 0)
        add_reason(d, REASON_DAMAGED, (double)info->damaged, 0);
    if (info->truncated)
        add_reason(d, REASON_TRUNCATED, d->duration_s, 0);
}

static void cleanup_stream(struct media_stream **stream)
{
    media_close(*stream);
}

/* What the file's size makes of its stated bit rate; 0: unknown. Only to show progress. */
static double expected_seconds(int fd, const struct media_info *info)
{
    struct stat st;
    if (info->bit_rate <= 0 || fstat(fd, &st) != 0)
        return 0;
    return 8.0 * (double)st.st_size / (double)info->bit_rate;
}

enum err_code detect_file(struct analysis *a, struct media_service *media, int fd,
                          detect_progress *progress, void *ctx, struct detection *ret,
                          struct media_info *ret_info, struct err *err)
{
    _cleanup_(cleanup_stream) struct media_stream *stream = NULL;
    _cleanup_free_ float *samples = try_alloc(FEED_STEP, sizeof *samples);
    if (!samples) {
        analysis_reset(a);
        return err_set(err, ERR_NO_MEMORY, "no memory for %d samples", FEED_STEP);
    }
    forget_samples(a);
    enum err_code rc = media_open(media, fd, NULL, &stream, err);
    struct detect_state state = {.share = -1};
    double expected = 0, then = clock_seconds();
    while (rc == ERR_OK) {
        size_t n = 0;
        rc = media_read(stream, samples, FEED_STEP, &n, err);
        double now = clock_seconds();
        state.decode_s += now - then;
        then = now;
        if (rc != ERR_OK || n == 0)
            break;
        rc = analysis_feed(a, samples, n, err);
        now = clock_seconds();
        state.analyse_s += now - then;
        then = now;
        if (state.seconds == 0)
            expected = expected_seconds(fd, media_stream_info(stream));
        state.seconds += (double)n / MEDIA_SAMPLE_RATE;
        if (expected > 0)
            state.share = fmin(state.seconds / expected, 0.99);
        if (rc == ERR_OK && progress && progress(ctx, &state) != 0)
            rc = err_set(err, ERR_CANCELLED, "cancelled");
    }
    if (rc == ERR_OK)
        rc = analysis_finish(a, ret, err);
    if (rc != ERR_OK) {
        analysis_reset(a);
        return rc;
    }
    add_media_reasons(ret, media_stream_info(stream));
    if (ret_info)
        *ret_info = *media_stream_info(stream);
    return ERR_OK;
}

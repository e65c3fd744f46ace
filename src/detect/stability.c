/* The stability panel: one pass of the detector per variant.
 *
 * The codecs work inside the decoder's locked-down child (media_open's options). Trimming and noise
 * are done here, on the stream, with what the first pass, over the original, has learnt: where
 * speech begins and ends, and how loud it is. */
#include "stability.h"

#include <math.h>
#include <stdlib.h>

#include "../base/mem.h"

#define STEP        16384 /* samples per media_read */
#define MAX_SAMPLES ((uint64_t)STABILITY_MAX_SECONDS * MEDIA_SAMPLE_RATE)
#define HOP         160 /* samples per frame of the speech track */
#define MAX_FRAMES  (MAX_SAMPLES / HOP)
#define FRAME       400 /* samples that a frame of the speech track looks at */

enum change { CHANGE_NONE, CHANGE_TRIM, CHANGE_NOISE };

static const struct row {
    struct stability_variant public;
    enum media_through through;
    enum change change;
} rows[STABILITY_VARIANTS] = {
    {{"original", "as it is"}, MEDIA_THROUGH_NONE, CHANGE_NONE},
    {{"trim", "what comes before the first speech and after the last cut away"},
     MEDIA_THROUGH_NONE,
     CHANGE_TRIM},
    {{"mp3", "through MP3 at 64 kbit/s"}, MEDIA_THROUGH_MP3, CHANGE_NONE},
    {{"aac", "through AAC at 48 kbit/s"}, MEDIA_THROUGH_AAC, CHANGE_NONE},
    {{"opus", "through Opus at 24 kbit/s"}, MEDIA_THROUGH_OPUS, CHANGE_NONE},
    {{"narrow", "through a telephone line: 8 kHz, G.711"}, MEDIA_THROUGH_NARROW, CHANGE_NONE},
    {{"noise", "with white noise, 15 dB below the speech"}, MEDIA_THROUGH_NONE, CHANGE_NOISE},
};

const struct stability_variant *stability_variant(size_t i)
{
    return &rows[i].public;
}

struct panel {
    struct analysis *analysis;
    struct media_service *media;
    int fd;
    detect_progress *progress;
    void *ctx;
    uint64_t analysed; /* samples in all variants so far */
    float *samples;    /* STEP */
    float *energy;     /* MAX_FRAMES sums of squares over HOP samples of the original */
    /* What the original taught. */
    uint64_t length;   /* samples looked at */
    int cut;           /* there are more */
    uint64_t from, to; /* samples between which there is speech; equal: none */
    double noise_rms;
};

static void cleanup_stream(struct media_stream **stream)
{
    media_close(*stream);
}

static void add_energy(struct panel *p, const float *x, uint64_t at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p->energy[(at + i) / HOP] += x[i] * x[i];
}

void stability_add_noise(float *x, uint64_t at, size_t n, double rms)
{
    const double half_width = rms * sqrt(3); /* of a uniform distribution with that deviation */
    for (size_t i = 0; i < n; i++) {
        uint64_t z = (at + i + 1) * UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        x[i] += (float)(half_width * ((double)(z >> 11) * 0x1p-52 - 1));
    }
}

/* The samples at..at+n of the recording, changed, into the analysis. */
static enum err_code feed_changed(struct panel *p, const struct row *row, uint64_t at, size_t n,
                                  struct err *err)
{
    float *x = p->samples;
    if (row == rows)
        add_energy(p, x, at, n);
    if (row->change == CHANGE_NOISE)
        stability_add_noise(x, at, n, p->noise_rms);
    uint64_t from = at, to = at + n;
    if (row->change == CHANGE_TRIM) {
        from = from > p->from ? from : p->from;
        to = to < p->to ? to : p->to;
    }
    return from < to ? analysis_feed(p->analysis, x + (from - at), (size_t)(to - from), err)
                     : ERR_OK;
}

static enum err_code feed_all(struct panel *p, const struct row *row, struct err *err)
{
    const struct media_open_options options = {.through = row->through};
    _cleanup_(cleanup_stream) struct media_stream *stream = NULL;
    enum err_code rc = media_open(p->media, p->fd, &options, &stream, err);
    uint64_t total = 0;
    while (rc == ERR_OK) {
        size_t n = 0;
        rc = media_read(stream, p->samples, STEP, &n, err);
        if (rc != ERR_OK || n == 0)
            break;
        if (row == rows && total + n > MAX_SAMPLES)
            p->cut = 1;
        if (total + n > MAX_SAMPLES)
            n = (size_t)(MAX_SAMPLES - total);
        if (n == 0)
            break;
        rc = feed_changed(p, row, total, n, err);
        total += n;
        p->analysed += n;
        struct detect_state state = {(double)p->analysed / MEDIA_SAMPLE_RATE, -1, 0, 0};
        if (rc == ERR_OK && p->progress && p->progress(p->ctx, &state) != 0)
            rc = err_set(err, ERR_CANCELLED, "cancelled");
    }
    if (row == rows)
        p->length = total;
    return rc;
}

/* Where speech is in the original, and the noise that is 15 dB below it. */
static void learn(struct panel *p)
{
    const struct speech_track *track = analysis_speech(p->analysis);
    double sum = 0;
    size_t frames = 0;
    p->from = p->to = 0;
    for (size_t f = 0; f < track->count && f < MAX_FRAMES; f++) {
        if (!track->active[f])
            continue;
        if (frames == 0)
            p->from = (uint64_t)f * HOP;
        p->to = (uint64_t)f * HOP + FRAME;
        sum += (double)p->energy[f];
        frames++;
    }
    double rms = frames > 0 ? sqrt(sum / ((double)frames * HOP)) : 0;
    p->noise_rms = rms * pow(10, -STABILITY_SNR_DB / 20);
}

static enum err_code make_row(struct panel *p, const struct row *row, struct stability_row *ret,
                              struct err *err)
{
    struct detection d = {0};
    *ret = (struct stability_row){.variant = row->public.name};
    analysis_reset(p->analysis);
    enum err_code rc = feed_all(p, row, err);
    if (rc == ERR_OK)
        rc = analysis_finish(p->analysis, &d, err);
    if (rc != ERR_OK)
        return rc;
    ret->scored = d.scored;
    ret->llr = d.llr;
    ret->p = d.p;
    ret->verdict = d.verdict;
    detection_done(&d);
    return ERR_OK;
}

static void compare(struct stability *s)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < s->n; i++) {
        const struct stability_row *r = &s->rows[i];
        if (r->scored) {
            low = fmin(low, r->llr);
            high = fmax(high, r->llr);
        }
        s->flips += r->error.code == ERR_OK && r->verdict != s->rows[0].verdict;
    }
    s->spread = high >= low ? high - low : 0;
}

static enum err_code make_rows(struct panel *p, struct stability *s, struct err *err)
{
    for (; s->n < STABILITY_VARIANTS; s->n++) {
        struct stability_row *row = &s->rows[s->n];
        struct err failure = {0};
        enum err_code rc = make_row(p, &rows[s->n], row, &failure);
        if (rc != ERR_OK && (s->n == 0 || rc == ERR_CANCELLED)) {
            if (err)
                *err = failure;
            return rc;
        }
        row->error = failure;
        row->error.code = rc;
        if (s->n == 0)
            learn(p);
    }
    return ERR_OK;
}

enum err_code stability_make(struct analysis *analysis, struct media_service *media, int fd,
                             detect_progress *progress, void *ctx, struct stability *ret,
                             struct err *err)
{
    struct panel p = {
        .analysis = analysis, .media = media, .fd = fd, .progress = progress, .ctx = ctx};
    struct stability s = {0};
    _cleanup_free_ float *samples = p.samples = try_alloc(STEP, sizeof *samples);
    _cleanup_free_ float *energy = p.energy = try_alloc(MAX_FRAMES, sizeof *energy);
    if (!samples || !energy)
        return err_set(err, ERR_NO_MEMORY, "no memory for %d samples", STEP);
    enum err_code rc = make_rows(&p, &s, err);
    analysis_reset(analysis);
    if (rc != ERR_OK)
        return rc;
    s.seconds = (double)p.length / MEDIA_SAMPLE_RATE;
    s.cut = p.cut;
    compare(&s);
    *ret = s;
    return ERR_OK;
}

/* As everywhere in results: 6 decimals. */
static json_t *number(int known, double value)
{
    return known && isfinite(value) ? json_real(round(value * 1e6) / 1e6) : json_null();
}

static json_t *error_json(const struct err *e)
{
    if (e->code == ERR_OK)
        return json_null();
    json_t *json = json_object();
    int failed = json_object_set_new(json, "code", json_string(err_slug(e->code)));
    failed |= json_object_set_new(json, "text", json_string(e->text));
    if (failed) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static json_t *row_json(const struct stability_row *r)
{
    int holds = r->error.code == ERR_OK;
    json_t *json = json_object();
    int failed = json_object_set_new(json, "variant", json_string(r->variant));
    failed |= json_object_set_new(json, "llr", number(holds && r->scored, r->llr));
    failed |= json_object_set_new(json, "p_synthetic", number(holds && r->scored, r->p));
    failed |= json_object_set_new(json, "verdict",
                                  holds ? json_string(verdict_name(r->verdict)) : json_null());
    failed |= json_object_set_new(json, "error", error_json(&r->error));
    if (failed) {
        json_decref(json);
        return NULL;
    }
    return json;
}

json_t *stability_json(const struct stability *s)
{
    json_t *json = json_object(), *list = json_array();
    int scored = 0, failed = 0;
    for (size_t i = 0; i < s->n; i++) {
        scored += s->rows[i].scored;
        failed |= json_array_append_new(list, row_json(&s->rows[i]));
    }
    failed |= json_object_set_new(json, "rows", list);
    failed |= json_object_set_new(json, "spread", number(scored > 0, s->spread));
    failed |= json_object_set_new(json, "flips", json_integer(s->flips));
    failed |= json_object_set_new(json, "seconds", number(1, s->seconds));
    if (failed) {
        json_decref(json);
        return NULL;
    }
    return json;
}

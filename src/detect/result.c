/* Results: names, sentences, JSON. No state; any thread. */
#include "result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../base/mem.h"
#include "../base/time.h"

/* A stretch is worth a remark from STRETCH_LEAST + STRETCH_MORE * ln(windows) on; docs/detector.md
 * says how that was found. */
#define STRETCH_LEAST 2.0
#define STRETCH_MORE  1.6

const char *verdict_name(enum verdict verdict)
{
    static const char *const names[] = {"human", "synthetic", "inconclusive"};
    return names[verdict];
}

static const struct {
    const char *slug;
    int decides;
    const char *unit;
} rows[REASON_COUNT] = {
#define REASON_ROW(name, slug, decides, unit, text) [name] = {slug, decides, unit},
#include "reason.def"
#undef REASON_ROW
};

const char *reason_slug(enum reason_code code)
{
    return rows[code].slug;
}

int reason_decides(enum reason_code code)
{
    return rows[code].decides;
}

void reason_sentence(const struct reason *reason, char *buf, size_t size)
{
    char from[24], to[24];
    time_clock(from, sizeof from, reason->start_s);
    time_clock(to, sizeof to, reason->end_s);
    /* A switch, not a table: the compiler then checks each format. */
    switch (reason->code) {
#define REASON_ROW(name, slug, decides, unit, text)                                                \
    case name:                                                                                     \
        snprintf(buf, size, text, reason->measured, reason->limit, from, to);                      \
        break;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#include "reason.def"
#pragma GCC diagnostic pop
#undef REASON_ROW
    case REASON_COUNT:
        break;
    }
}

/* Mean LLR of the windows with speech that cover [from, to). `first` moves along: windows come by
 * start. */
static double piece_llr(const struct detection *d, double from, double to, size_t *first)
{
    double sum = 0;
    size_t n = 0;
    while (*first < d->n_timeline && d->timeline[*first].end_s <= from)
        ++*first;
    for (size_t i = *first; i < d->n_timeline && d->timeline[i].start_s < to; i++) {
        if (d->timeline[i].end_s <= from || isnan(d->timeline[i].llr))
            continue;
        sum += d->timeline[i].llr;
        n++;
    }
    return n > 0 ? sum / (double)n : -INFINITY;
}

static void drop_short_parts(struct detection *d)
{
    double window = d->timeline[0].end_s - d->timeline[0].start_s;
    size_t kept = 0;
    for (size_t i = 0; i < d->n_parts; i++)
        if (d->parts[i].end_s - d->parts[i].start_s >= 0.99 * window)
            d->parts[kept++] = d->parts[i];
    d->n_parts = kept;
}

enum err_code detection_find_parts(struct detection *d, struct err *err)
{
    size_t n = d->n_timeline, first = 0;
    double seconds = 0; /* of the part being built */
    d->n_parts = 0;
    if (n == 0)
        return ERR_OK;
    d->parts = try_alloc(n, sizeof *d->parts);
    if (!d->parts)
        return err_set(err, ERR_NO_MEMORY, "no memory for %zu parts", n);
    for (size_t i = 0; i < n; i++) {
        double from = d->timeline[i].start_s;
        double to = i + 1 < n ? d->timeline[i + 1].start_s : d->timeline[i].end_s;
        double llr = piece_llr(d, from, to, &first);
        if (llr < d->threshold)
            continue;
        struct detect_part *part = d->n_parts > 0 ? &d->parts[d->n_parts - 1] : NULL;
        if (!part || part->end_s < from) {
            part = &d->parts[d->n_parts++];
            *part = (struct detect_part){.start_s = from, .end_s = from};
            seconds = 0;
        }
        part->llr = (part->llr * seconds + llr * (to - from)) / (seconds + to - from);
        part->end_s = to;
        seconds += to - from;
    }
    drop_short_parts(d);
    return ERR_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n) /* sorts them */
{
    qsort(values, n, sizeof *values, by_value);
    return 0.5 * (values[(n - 1) / 2] + values[n / 2]);
}

enum err_code detection_find_stretch(const struct detection *d, enum verdict side,
                                     struct detect_stretch *ret, struct err *err)
{
    enum { LEAST_WINDOWS = 4 };
    static const size_t lengths[] = {2, 3, 4, 6, 8, 12, 16};
    const double sign = side == VERDICT_SYNTHETIC ? 1 : -1;
    size_t n = 0;
    *ret = (struct detect_stretch){0};
    if (d->n_timeline < LEAST_WINDOWS)
        return ERR_OK;
    /* beyond[i]: how far window which[i] lies on that side of the threshold */
    _cleanup_free_ double *beyond = try_alloc(2 * d->n_timeline, sizeof *beyond);
    _cleanup_free_ size_t *which = try_alloc(d->n_timeline, sizeof *which);
    if (!beyond || !which)
        return err_set(err, ERR_NO_MEMORY, "no memory for %zu windows", d->n_timeline);
    double *sorted = beyond + d->n_timeline;
    for (size_t i = 0; i < d->n_timeline; i++) {
        if (d->timeline[i].speech_s < 1.0)
            continue;
        which[n] = i;
        sorted[n] = beyond[n] = sign * (d->timeline[i].llr - d->threshold);
        n++;
    }
    if (n < LEAST_WINDOWS)
        return ERR_OK;
    const double middle = median(sorted, n);
    ret->limit = STRETCH_LEAST + STRETCH_MORE * log((double)n);
    for (size_t k = 0; k < ARRAY_LEN(lengths) && lengths[k] <= n / 2; k++) {
        const size_t length = lengths[k];
        for (size_t first = 0; first + length <= n; first++) {
            double mean = 0;
            for (size_t i = first; i < first + length; i++)
                mean += beyond[i] / (double)length;
            double contrast = (mean - middle) * sqrt((double)length);
            if (mean < 0 || contrast <= ret->contrast)
                continue;
            const struct detect_window *from = &d->timeline[which[first]];
            const struct detect_window *to = &d->timeline[which[first + length - 1]];
            const double quarter = 0.25 * (from->end_s - from->start_s);
            ret->contrast = contrast;
            ret->start_s = from->start_s + quarter;
            ret->end_s = to->end_s - quarter;
        }
    }
    return ERR_OK;
}

void detection_done(struct detection *detection)
{
    free(detection->timeline);
    free(detection->parts);
    *detection = (struct detection){0};
}

/* Rounded, so that JSON shows what is known: 6 decimals in the middle of a pipeline are plenty. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(round(value * 1e6) / 1e6) : json_null();
}

static json_t *reasons_json(const struct detection *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->n_reasons; i++) {
        const struct reason *r = &d->reasons[i];
        char text[160];
        reason_sentence(r, text, sizeof text);
        json_t *row = json_pack("{s:s, s:b, s:o, s:o, s:s, s:s}", "code", reason_slug(r->code),
                                "decides", r->decides, "measured", number(r->measured), "limit",
                                number(r->limit), "unit", rows[r->code].unit, "text", text);
        if (row && r->end_s > 0) {
            json_object_set_new(row, "start_s", number(r->start_s));
            json_object_set_new(row, "end_s", number(r->end_s));
        }
        json_array_append_new(list, row);
    }
    return list;
}

/* Never 0 % or 100 %: no detector knows that much. */
double detect_probability(double llr, double prior)
{
    double p = 1.0 / (1.0 + exp(-(llr + log(prior / (1.0 - prior)))));
    return isnan(p) ? p : fmin(0.99, fmax(0.01, p));
}

static json_t *timeline_json(const struct detection *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->n_timeline; i++) {
        const struct detect_window *w = &d->timeline[i];
        json_array_append_new(list,
                              json_pack("{s:o, s:o, s:o, s:o, s:o}", "start_s", number(w->start_s),
                                        "end_s", number(w->end_s), "speech_s", number(w->speech_s),
                                        "llr", number(w->llr), "p_synthetic",
                                        number(detect_probability(w->llr, d->prior))));
    }
    return list;
}

static json_t *parts_json(const struct detection *d)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->n_parts; i++)
        json_array_append_new(
            list, json_pack("{s:o, s:o, s:o}", "start_s", number(d->parts[i].start_s), "end_s",
                            number(d->parts[i].end_s), "llr", number(d->parts[i].llr)));
    return list;
}

json_t *detection_json(const struct detection *d)
{
    json_t *json = json_object();
    if (!json)
        return NULL;
    /* One call per key: a format string of ten would drop a value in silence when it is miscounted.
     */
    json_object_set_new(json, "verdict", json_string(verdict_name(d->verdict)));
    json_object_set_new(json, "p_synthetic", d->scored ? number(d->p) : json_null());
    json_object_set_new(json, "llr", d->scored ? number(d->llr) : json_null());
    json_object_set_new(json, "prior", number(d->prior));
    json_object_set_new(json, "threshold", number(d->threshold));
    json_object_set_new(json, "human_below", number(d->human_below));
    json_object_set_new(json, "synthetic_from", number(d->synthetic_from));
    json_object_set_new(json, "reasons", reasons_json(d));
    json_object_set_new(json, "duration_s", number(d->duration_s));
    json_object_set_new(json, "speech_s", number(d->speech_s));
    json_object_set_new(json, "band_edge_hz",
                        d->band_edge_hz > 0 ? number(d->band_edge_hz) : json_null());
    json_object_set_new(json, "timeline", timeline_json(d));
    json_object_set_new(json, "synthetic_parts", parts_json(d));
    return json;
}

json_t *media_info_json(const struct media_info *info)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:b}", "container", info->container, "codec",
                     info->codec, "sample_rate", info->sample_rate, "channels", info->channels,
                     "bit_rate", (json_int_t)info->bit_rate, "damaged", (json_int_t)info->damaged,
                     "truncated", info->truncated);
}

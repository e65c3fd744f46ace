/* Results: names, sentences, JSON. No state; any thread. */
#include "result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../base/mem.h"

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
    /* A switch, not a table: the compiler then checks each format. */
    switch (reason->code) {
#define REASON_ROW(name, slug, decides, unit, text)                                                \
    case name:                                                                                     \
        snprintf(buf, size, text, reason->measured, reason->limit);                                \
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

/* Mean LLR of the windows that cover [from, to). `first` moves along: windows come by start. */
static double piece_llr(const struct detection *d, double from, double to, size_t *first)
{
    double sum = 0;
    size_t n = 0;
    while (*first < d->n_timeline && d->timeline[*first].end_s <= from)
        ++*first;
    for (size_t i = *first; i < d->n_timeline && d->timeline[i].start_s < to; i++) {
        if (d->timeline[i].end_s <= from)
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

int detection_extremes(const struct detection *d, double *ret_high, double *ret_low)
{
    enum { LEAST_WINDOWS = 4 };
    double high = -INFINITY, low = INFINITY, before = 0;
    size_t n = 0;
    for (size_t i = 0; i < d->n_timeline; i++) {
        const struct detect_window *w = &d->timeline[i];
        if (w->speech_s < 1.0)
            continue;
        if (n++ > 0) {
            high = fmax(high, 0.5 * (before + w->llr));
            low = fmin(low, 0.5 * (before + w->llr));
        }
        before = w->llr;
    }
    *ret_high = high;
    *ret_low = low;
    return n >= LEAST_WINDOWS;
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
        json_array_append_new(
            list, json_pack("{s:s, s:b, s:o, s:o, s:s, s:s}", "code", reason_slug(r->code),
                            "decides", r->decides, "measured", number(r->measured), "limit",
                            number(r->limit), "unit", rows[r->code].unit, "text", text));
    }
    return list;
}

/* Never 0 % or 100 %: no detector knows that much. */
double detect_probability(double llr, double prior)
{
    double p = 1.0 / (1.0 + exp(-(llr + log(prior / (1.0 - prior)))));
    return fmin(0.99, fmax(0.01, p));
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

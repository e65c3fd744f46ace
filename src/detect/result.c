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

void detection_done(struct detection *detection)
{
    free(detection->timeline);
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
                            "decides", reason_decides(r->code), "measured", number(r->measured),
                            "limit", number(r->limit), "unit", rows[r->code].unit, "text", text));
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

json_t *detection_json(const struct detection *d)
{
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "verdict", verdict_name(d->verdict),
        "p_synthetic", d->scored ? number(d->p) : json_null(), "llr",
        d->scored ? number(d->llr) : json_null(), "prior", number(d->prior), "threshold",
        number(d->threshold), "reasons", reasons_json(d), "duration_s", number(d->duration_s),
        "speech_s", number(d->speech_s), "timeline", timeline_json(d));
}

json_t *media_info_json(const struct media_info *info)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:b}", "container", info->container, "codec",
                     info->codec, "sample_rate", info->sample_rate, "channels", info->channels,
                     "bit_rate", (json_int_t)info->bit_rate, "damaged", (json_int_t)info->damaged,
                     "truncated", info->truncated);
}

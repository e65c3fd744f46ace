/* The evaluation as JSON (report.h lists the keys). The returned tree owns all it holds; any
 * thread. */
#include "report.h"

#include <math.h>
#include <stdlib.h>

#include "../base/mem.h"
#include "groups.h"
#include "utf8.h"

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *text(const char *s)
{
    _cleanup_free_ char *clean = utf8_clean(s ? s : "");
    return json_string(clean);
}

static json_t *interval(struct rate r)
{
    return isfinite(r.lo) ? json_pack("[f,f]", r.lo, r.hi) : json_null();
}

static void put_count(json_t *o, const char *key, size_t n)
{
    json_object_set_new(o, key, json_integer((json_int_t)n));
}

static void put_rates(json_t *o, struct rate fpr, struct rate fnr)
{
    json_object_set_new(o, "fpr", number(fpr.value));
    json_object_set_new(o, "fpr_ci", interval(fpr));
    json_object_set_new(o, "fnr", number(fnr.value));
    json_object_set_new(o, "fnr_ci", interval(fnr));
}

static void put_counts(json_t *o, const struct eval_counts *c)
{
    put_count(o, "n", c->n);
    put_count(o, "n_bonafide", c->n_bonafide);
    put_count(o, "n_spoof", c->n_spoof);
    put_count(o, "n_scored", c->n_scored_bonafide + c->n_scored_spoof);
    put_count(o, "n_decided", c->fpr.n + c->fnr.n);
    put_count(o, "n_decided_bonafide", c->fpr.n);
    put_count(o, "n_decided_spoof", c->fnr.n);
    put_count(o, "n_inconclusive", c->n_inconclusive);
    put_count(o, "n_inconclusive_bonafide", c->n_inconclusive_bonafide);
    put_count(o, "n_inconclusive_spoof", c->n_inconclusive_spoof);
    put_count(o, "n_failed", c->n_failed);
}

static json_t *group_json(const struct eval_group *g)
{
    json_t *o = json_object();
    json_object_set_new(o, "name", text(g->name));
    put_counts(o, &g->counts);
    json_object_set_new(o, "eer", number(g->own.eer));
    if (!isnan(g->below_s)) {
        json_object_set_new(o, "from_s", number(g->from_s));
        json_object_set_new(o, "below_s", number(g->below_s)); /* null: the longest */
    }
    json_object_set_new(o, "auc", number(g->own.auc));
    json_object_set_new(o, "cllr", number(g->cllr));
    json_object_set_new(o, "min_cllr", number(g->min_cllr));
    json_object_set_new(o, "eer_vs_all_bonafide", number(g->vs_all_bonafide.eer));
    json_object_set_new(o, "auc_vs_all_bonafide", number(g->vs_all_bonafide.auc));
    put_rates(o, g->counts.fpr, g->counts.fnr);
    return o;
}

static json_t *by_json(const struct eval_result *r)
{
    json_t *by = json_object();
    for (int i = 0; i < EVAL_BY_COUNT; i++) {
        json_t *list = json_array();
        for (size_t g = 0; g < r->by[i].count; g++)
            json_array_append_new(list, group_json(&r->by[i].groups[g]));
        json_object_set_new(by, eval_by_name((enum eval_by)i), list);
    }
    return by;
}

static json_t *reliability_json(const struct reliability *r)
{
    json_t *list = json_array();
    for (int i = 0; i < RELIABILITY_BINS; i++) {
        json_t *bin = json_object();
        json_object_set_new(bin, "lo", number(r->bin[i].lo));
        json_object_set_new(bin, "hi", number(r->bin[i].hi));
        put_count(bin, "n", r->bin[i].n);
        json_object_set_new(bin, "predicted", number(r->bin[i].predicted));
        json_object_set_new(bin, "observed", number(r->bin[i].observed));
        json_object_set_new(bin, "weight", number(r->bin[i].weight));
        json_array_append_new(list, bin);
    }
    return list;
}

static json_t *det_json(const struct eval_result *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_roc; i = metrics_det_next(r->roc, r->n_roc, i, 0.02, 1e-5)) {
        json_t *point = json_array();
        json_array_append_new(point, number(r->roc[i].fpr));
        json_array_append_new(point, number(r->roc[i].fnr));
        json_array_append_new(point, number(r->roc[i].threshold));
        json_array_append_new(list, point);
    }
    return list;
}

static json_t *definitions(void)
{
    static const char *const rows[][2] = {
        {"score", "log-likelihood ratio, natural log; higher is more synthetic"},
        {"fpr", "bona fide files called synthetic / bona fide files decided; inconclusive and "
                "failed files are left out"},
        {"fnr", "spoof files called human / spoof files decided; inconclusive and failed files are "
                "left out"},
        {"forced", "the same rates with every scored file decided by llr >= threshold"},
        {"ci", "Wilson 95 % interval"},
        {"eer", "linear ROC through every distinct score, where fpr = fnr; every scored file"},
        {"eer_vs_all_bonafide", "the group's spoof files against all bona fide files"},
        {"cllr", "bits; every scored file; min_cllr after pool-adjacent-violators"},
        {"dcf", "(cost_fp (1-prior) fpr + cost_fn prior fnr) / min(cost_fp (1-prior), cost_fn "
                "prior); every scored file"},
        {"reliability", "observed share of spoof per bin of p, classes weighted to the prior"},
    };
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        json_object_set_new(o, rows[i][0], json_string(rows[i][1]));
    return o;
}

static void put_threshold_rates(json_t *o, const struct eval_result *r)
{
    json_object_set_new(o, "threshold", number(r->params.threshold));
    put_rates(o, r->counts.fpr, r->counts.fnr);
    json_object_set_new(o, "hter", number(r->hter));
    put_count(o, "false_alarms", r->counts.fpr.k);
    put_count(o, "misses", r->counts.fnr.k);
    json_t *forced = json_object();
    put_rates(forced, r->forced_fpr, r->forced_fnr);
    json_object_set_new(o, "forced", forced);
}

json_t *eval_report_json(const struct eval_result *r)
{
    json_t *o = json_object();
    json_object_set_new(o, "title", r->params.title ? text(r->params.title) : json_null());
    put_counts(o, &r->counts);
    json_object_set_new(o, "eer", number(r->all.eer));
    json_object_set_new(o, "eer_threshold", number(r->all.eer_threshold));
    json_object_set_new(o, "auc", number(r->all.auc));
    json_object_set_new(o, "cllr", number(r->cllr));
    json_object_set_new(o, "min_cllr", number(r->min_cllr));
    put_threshold_rates(o, r);
    json_object_set_new(o, "act_dcf", number(r->act_dcf));
    json_object_set_new(o, "min_dcf", number(r->min_dcf));
    json_object_set_new(o, "dcf",
                        json_pack("{s:f,s:f,s:f,s:f}", "prior_spoof", r->params.dcf.prior,
                                  "cost_fp", r->params.dcf.cost_fp, "cost_fn",
                                  r->params.dcf.cost_fn, "threshold", r->dcf_threshold));
    json_object_set_new(o, "prior", number(r->params.prior));
    json_object_set_new(o, "ece", number(r->reliability.ece));
    json_object_set_new(o, "reliability", reliability_json(&r->reliability));
    json_object_set_new(o, "det", det_json(r));
    json_object_set_new(o, "by", by_json(r));
    json_object_set_new(o, "definitions", definitions());
    return o;
}

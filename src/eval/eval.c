/* Computes an eval_result from items: check, count, collect scores, then metrics and groups. The
 * result owns its arrays. Any thread. */
#include "eval.h"

#include <math.h>
#include <stdlib.h>

#include "../base/mem.h"
#include "groups.h"

const char *eval_verdict_name(enum eval_verdict verdict)
{
    switch (verdict) {
    case EVAL_HUMAN:
        return "human";
    case EVAL_SYNTHETIC:
        return "synthetic";
    case EVAL_INCONCLUSIVE:
        return "inconclusive";
    case EVAL_FAILED:
        break;
    }
    return "failed";
}

void eval_result_free(struct eval_result *r)
{
    if (!r)
        return;
    free(r->bona);
    free(r->spoof);
    free(r->roc);
    for (int i = 0; i < EVAL_BY_COUNT; i++)
        free(r->by[i].groups);
    free(r);
}

void eval_result_cleanup(struct eval_result **r)
{
    eval_result_free(*r);
}

static int in_open_unit(double v)
{
    return v > 0 && v < 1;
}

static enum err_code check(const struct eval_item *items, size_t n, struct eval_params params,
                           struct err *err)
{
    if (!isfinite(params.threshold) || !in_open_unit(params.prior) ||
        !in_open_unit(params.dcf.prior) || !(params.dcf.cost_fp > 0) || !(params.dcf.cost_fn > 0) ||
        !isfinite(params.dcf.cost_fp) || !isfinite(params.dcf.cost_fn))
        return err_set(err, ERR_USAGE,
                       "priors lie between 0 and 1, costs are above 0, the threshold is finite");
    for (size_t i = 0; i < n; i++) {
        if (!eval_item_scored(&items[i]))
            continue;
        if (!isfinite(items[i].llr))
            return err_set(err, ERR_INTERNAL, "%.150s: its score is not a finite number",
                           items[i].row->path);
        if (!(items[i].p >= 0 && items[i].p <= 1))
            return err_set(err, ERR_INTERNAL, "%.150s: its probability is not within 0 and 1",
                           items[i].row->path);
    }
    return ERR_OK;
}

/* Scores and probabilities by class; the probabilities stay unsorted. */
static enum err_code collect(const struct eval_item *items, size_t n, struct eval_result *r,
                             struct err *err)
{
    size_t nb = r->counts.n_scored_bonafide, ns = r->counts.n_scored_spoof, b = 0, s = 0;
    _cleanup_free_ double *p_bona = try_alloc(nb, sizeof *p_bona);
    _cleanup_free_ double *p_spoof = try_alloc(ns, sizeof *p_spoof);
    r->bona = try_alloc(nb, sizeof *r->bona);
    r->spoof = try_alloc(ns, sizeof *r->spoof);
    if (!p_bona || !p_spoof || !r->bona || !r->spoof)
        return err_set(err, ERR_NO_MEMORY, "no memory for %zu scores", nb + ns);
    for (size_t i = 0; i < n; i++) {
        if (!eval_item_scored(&items[i]))
            continue;
        if (items[i].row->label == EVAL_SPOOF) {
            p_spoof[s] = items[i].p;
            r->spoof[s++] = items[i].llr;
        } else {
            p_bona[b] = items[i].p;
            r->bona[b++] = items[i].llr;
        }
    }
    r->reliability = metrics_reliability(p_bona, nb, p_spoof, ns, r->params.prior);
    enum err_code code = metrics_sort(r->bona, nb, err);
    if (!code)
        code = metrics_sort(r->spoof, ns, err);
    r->scores = (struct score_set){r->bona, r->spoof, nb, ns};
    return code;
}

static void measure(struct eval_result *r)
{
    r->all = metrics_discrimination(r->scores);
    r->cllr = metrics_cllr(r->scores);
    r->min_cllr = metrics_min_cllr(r->scores);
    r->act_dcf = metrics_act_dcf(r->scores, r->params.dcf);
    r->min_dcf = metrics_min_dcf(r->scores, r->params.dcf);
    r->dcf_threshold = metrics_bayes_threshold(r->params.dcf);
    r->hter = (r->counts.fpr.value + r->counts.fnr.value) / 2;
    r->forced_fpr = metrics_fpr(r->scores, r->params.threshold);
    r->forced_fnr = metrics_fnr(r->scores, r->params.threshold);
}

enum err_code eval_compute(const struct eval_item *items, size_t n, struct eval_params params,
                           struct eval_result **ret, struct err *err)
{
    enum err_code code = check(items, n, params, err);
    if (code)
        return code;
    _cleanup_(eval_result_cleanup) struct eval_result *r = xalloc(sizeof *r);
    r->params = params;
    for (size_t i = 0; i < n; i++)
        eval_counts_add(&r->counts, &items[i]);
    eval_counts_finish(&r->counts);
    code = collect(items, n, r, err);
    if (code)
        return code;
    measure(r);
    code = metrics_roc(r->scores, &r->roc, &r->n_roc, err);
    for (int by = 0; by < EVAL_BY_COUNT && !code; by++)
        code =
            eval_group_by((enum eval_by)by, items, n, r->bona, r->scores.n_bona, &r->by[by], err);
    if (code)
        return code;
    *ret = STEAL(r);
    return ERR_OK;
}

/* Figures of merit from sorted scores; formulas and sources are in metrics.h.
 *
 * Nearly all of them walk the same path: merge the two sorted classes upwards and stop at every
 * distinct score (struct sweep). Nothing here owns memory except PAV's blocks. Any thread.
 */
#include "metrics.h"

#include <math.h>
#include <stdlib.h>

#include "../base/mem.h"
#include "sweep.h"

static int cmp_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum err_code metrics_sort(double *scores, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(scores[i]))
            return err_set(err, ERR_INTERNAL, "score %zu is not a finite number", i);
    if (n > 1)
        qsort(scores, n, sizeof *scores, cmp_double);
    return ERR_OK;
}

struct discrimination metrics_discrimination(struct score_set s)
{
    struct discrimination d = {NAN, NAN, NAN};
    if (s.n_bona == 0 || s.n_spoof == 0)
        return d;
    double pairs = 0, fpr = 1, fnr = 0;
    int found = 0;
    for (struct sweep w = sweep_start(s); sweep_next(&w);) {
        pairs += (double)w.d_spoof * ((double)(w.bona - w.d_bona) + (double)w.d_bona / 2);
        double fpr_next = sweep_fpr(&w), fnr_next = sweep_fnr(&w);
        if (!found && fnr_next >= fpr_next) {
            /* From here to the next vertex fnr - fpr goes from below 0 to 0 or above. */
            double before = fpr - fnr, after = fnr_next - fpr_next;
            double above = sweep_peek(&w);
            d.eer = fnr + before / (before + after) * (fnr_next - fnr);
            d.eer_threshold = after > 0 || isnan(above) ? w.score : w.score / 2 + above / 2;
            found = 1;
        }
        fpr = fpr_next, fnr = fnr_next;
    }
    d.auc = pairs / ((double)s.n_bona * (double)s.n_spoof);
    return d;
}

/* log2(1 + e^x) without overflow. */
static double softplus2(double x)
{
    return ((x > 0 ? x : 0) + log1p(exp(-fabs(x)))) / M_LN2;
}

double metrics_cllr(struct score_set s)
{
    if (s.n_bona == 0 || s.n_spoof == 0)
        return NAN;
    double bona = 0, spoof = 0;
    for (size_t i = 0; i < s.n_bona; i++)
        bona += softplus2(s.bona[i]) / (double)s.n_bona;
    for (size_t i = 0; i < s.n_spoof; i++)
        spoof += softplus2(-s.spoof[i]) / (double)s.n_spoof;
    return bona / 2 + spoof / 2;
}

/* Scores that share one optimal posterior. */
struct block {
    size_t bona, spoof;
};

/* Is a's posterior >= b's? spoof_a / n_a >= spoof_b / n_b without a division. */
static int not_below(struct block a, struct block b)
{
    return (double)a.spoof * (double)b.bona >= (double)b.spoof * (double)a.bona;
}

/* Pool adjacent violators: blocks with rising posterior, in place on a stack. */
static size_t pool_blocks(struct score_set s, struct block *stack)
{
    size_t n = 0;
    for (struct sweep w = sweep_start(s); sweep_next(&w);) {
        struct block top = {w.d_bona, w.d_spoof};
        while (n > 0 && not_below(stack[n - 1], top)) {
            n--;
            top.bona += stack[n].bona;
            top.spoof += stack[n].spoof;
        }
        stack[n++] = top;
    }
    return n;
}

double metrics_min_cllr(struct score_set s)
{
    if (s.n_bona == 0 || s.n_spoof == 0)
        return NAN;
    _cleanup_free_ struct block *blocks = try_alloc(s.n_bona + s.n_spoof, sizeof *blocks);
    if (!blocks)
        return NAN;
    size_t n = pool_blocks(s, blocks);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double b = (double)blocks[i].bona / (double)s.n_bona;
        double t = (double)blocks[i].spoof / (double)s.n_spoof;
        /* The block's likelihood ratio is t/b; a block of one class costs nothing. */
        if (b > 0 && t > 0)
            sum += t * log2(1 + b / t) + b * log2(1 + t / b);
    }
    return sum / 2;
}

double metrics_bayes_threshold(struct dcf_params p)
{
    return log(p.cost_fp * (1 - p.prior) / (p.cost_fn * p.prior));
}

static double dcf(struct dcf_params p, double fpr, double fnr)
{
    double fp = p.cost_fp * (1 - p.prior), fn = p.cost_fn * p.prior;
    return (fp * fpr + fn * fnr) / (fp < fn ? fp : fn);
}

double metrics_act_dcf(struct score_set s, struct dcf_params p)
{
    double t = metrics_bayes_threshold(p);
    return dcf(p, metrics_fpr(s, t).value, metrics_fnr(s, t).value);
}

double metrics_min_dcf(struct score_set s, struct dcf_params p)
{
    if (s.n_bona == 0 || s.n_spoof == 0)
        return NAN;
    double best = dcf(p, 1, 0);
    for (struct sweep w = sweep_start(s); sweep_next(&w);) {
        double here = dcf(p, sweep_fpr(&w), sweep_fnr(&w));
        best = here < best ? here : best;
    }
    return best;
}

struct rate metrics_rate(size_t k, size_t n)
{
    struct rate r = {k, n, NAN, NAN, NAN};
    if (n == 0)
        return r;
    const double z = 1.959963984540054, N = (double)n;
    double p = (double)k / N, denominator = 1 + z * z / N;
    double centre = (p + z * z / (2 * N)) / denominator;
    double half = z * sqrt(p * (1 - p) / N + z * z / (4 * N * N)) / denominator;
    r.value = p;
    /* Exact at the ends, where rounding would leave 1e-19 or go past 1. */
    r.lo = k == 0 || centre - half < 0 ? 0 : centre - half;
    r.hi = k == n || centre + half > 1 ? 1 : centre + half;
    return r;
}

/* How many of the ascending `v` are below t. */
static size_t count_below(const double *v, size_t n, double t)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (v[mid] < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct rate metrics_fpr(struct score_set s, double threshold)
{
    return metrics_rate(s.n_bona - count_below(s.bona, s.n_bona, threshold), s.n_bona);
}

struct rate metrics_fnr(struct score_set s, double threshold)
{
    return metrics_rate(count_below(s.spoof, s.n_spoof, threshold), s.n_spoof);
}

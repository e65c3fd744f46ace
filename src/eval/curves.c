/* Curves and bins: ROC vertices, the probit scale, histograms, reliability (metrics.h). The ROC is
 * the caller's to free; the rest writes into the caller's structs. Any thread. */
#include "metrics.h"

#include <math.h>

#include "../base/mem.h"
#include "sweep.h"

enum err_code metrics_roc(struct score_set s, struct roc_point **ret, size_t *ret_n,
                          struct err *err)
{
    *ret = NULL;
    *ret_n = 0;
    if (s.n_bona == 0 || s.n_spoof == 0)
        return ERR_OK;
    _cleanup_free_ struct roc_point *points = try_alloc(s.n_bona + s.n_spoof + 1, sizeof *points);
    if (!points)
        return err_set(err, ERR_NO_MEMORY, "no memory for the ROC of %zu scores",
                       s.n_bona + s.n_spoof);
    size_t n = 0;
    struct sweep w = sweep_start(s);
    points[n++] = (struct roc_point){1, 0, sweep_peek(&w)};
    while (sweep_next(&w)) {
        double above = sweep_peek(&w);
        points[n++] =
            (struct roc_point){sweep_fpr(&w), sweep_fnr(&w), isnan(above) ? INFINITY : above};
    }
    *ret = STEAL(points);
    *ret_n = n;
    return ERR_OK;
}

/* Acklam's coefficients: the central region and the tails. */
static double probit_start(double p)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00};
    if (p > 0.97575)
        return -probit_start(1 - p);
    if (p < 0.02425) {
        double q = sqrt(-2 * log(p));
        return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
               ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
    }
    double q = p - 0.5, r = q * q;
    return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
           (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

double metrics_probit(double p)
{
    if (!(p > 0 && p < 1))
        return p >= 1 ? INFINITY : p <= 0 ? -INFINITY : NAN;
    double x = probit_start(p);
    double e = erfc(-x / M_SQRT2) / 2 - p, u = e * sqrt(2 * M_PI) * exp(x * x / 2);
    return isfinite(u) ? x - u / (1 + x * u / 2) : x;
}

static double det_axis(double rate, double floor)
{
    return metrics_probit(rate < floor ? floor : rate > 1 - floor ? 1 - floor : rate);
}

size_t metrics_det_next(const struct roc_point *points, size_t n, size_t at, double step,
                        double floor)
{
    double x = det_axis(points[at].fpr, floor), y = det_axis(points[at].fnr, floor);
    for (size_t i = at + 1; i < n; i++)
        if (i == n - 1 || fabs(det_axis(points[i].fpr, floor) - x) > step ||
            fabs(det_axis(points[i].fnr, floor) - y) > step)
            return i;
    return n;
}

void metrics_histogram(const double *values, size_t n, double lo, double hi, size_t *counts,
                       size_t bins)
{
    for (size_t i = 0; i < bins; i++)
        counts[i] = 0;
    if (bins == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        double at = hi > lo ? (values[i] - lo) / (hi - lo) * (double)bins : 0;
        size_t bin = at >= (double)bins ? bins - 1 : at > 0 ? (size_t)at : 0;
        counts[bin]++;
    }
}

static void reliability_add(struct reliability *r, double spoof[RELIABILITY_BINS], const double *p,
                            size_t n, double weight, int is_spoof)
{
    for (size_t i = 0; i < n; i++) {
        double at = p[i] * RELIABILITY_BINS;
        size_t bin = at >= RELIABILITY_BINS ? RELIABILITY_BINS - 1 : at > 0 ? (size_t)at : 0;
        r->bin[bin].n++;
        r->bin[bin].weight += weight;
        r->bin[bin].predicted += weight * p[i];
        spoof[bin] += is_spoof ? weight : 0;
    }
}

struct reliability metrics_reliability(const double *p_bona, size_t n_bona, const double *p_spoof,
                                       size_t n_spoof, double prior)
{
    struct reliability r = {0};
    double spoof[RELIABILITY_BINS] = {0};
    int both = n_bona > 0 && n_spoof > 0;
    reliability_add(&r, spoof, p_bona, n_bona, both ? (1 - prior) / (double)n_bona : 1, 0);
    reliability_add(&r, spoof, p_spoof, n_spoof, both ? prior / (double)n_spoof : 1, 1);
    for (int i = 0; i < RELIABILITY_BINS; i++) {
        double weight = r.bin[i].weight;
        r.bin[i].lo = (double)i / RELIABILITY_BINS;
        r.bin[i].hi = (double)(i + 1) / RELIABILITY_BINS;
        r.bin[i].predicted = weight > 0 ? r.bin[i].predicted / weight : NAN;
        r.bin[i].observed = weight > 0 && both ? spoof[i] / weight : NAN;
        if (weight > 0 && both)
            r.ece += weight * fabs(r.bin[i].predicted - r.bin[i].observed);
    }
    if (!both)
        r.ece = NAN;
    return r;
}

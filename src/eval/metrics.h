/* Figures of merit for a two-class detector, from scores and truth.
 *
 * A score is a log-likelihood ratio: natural log, higher = more synthetic. "Positive" is spoof:
 *   fpr(t) = share of bona fide with score >= t   (a human called synthetic; false alarm)
 *   fnr(t) = share of spoof     with score <  t   (synthetic speech called human; miss)
 * ASVspoof turns both round: its target is bona fide, so its "miss" is our fpr and its "false
 * acceptance" is our fnr.
 *
 * Every function takes each class as an ascending array (metrics_sort), so a class that many groups
 * are held against is sorted once. A figure that needs a class without scores is NaN, never an
 * error. All are pure; any thread.
 */
#ifndef SONDE_EVAL_METRICS_H
#define SONDE_EVAL_METRICS_H

#include <stddef.h>

#include "../base/err.h"

/* Two classes of ascending, finite scores. */
struct score_set {
    const double *bona, *spoof;
    size_t n_bona, n_spoof;
};

/* Sorts ascending; ERR_INTERNAL when a score is NaN or infinite. */
enum err_code metrics_sort(double *scores, size_t n, struct err *err) MUST_CHECK;

struct discrimination {
    /* Equal error rate: where the ROC, drawn through the (fpr, fnr) of every distinct score with
     * straight lines between, meets fpr = fnr. Scores that tie are passed in one step, so a tie
     * across the classes becomes a sloping line: all scores equal gives 0.5, a detector the wrong
     * way round more than 0.5. (T. Fawcett, "An introduction to ROC analysis", Pattern
     * Recognition Letters 27, 2006, on tied scores.) ASVspoof's script takes the mean of fpr and
     * fnr at the nearest vertex instead; the two differ by less than one step of the ROC.
     * The convex hull's EER is lower or equal; it is not used, as nobody runs the hull. */
    double eer;
    double eer_threshold; /* halfway between the scores around it where the EER is a vertex */
    /* Area under the ROC = P(spoof > bona fide) + P(spoof = bona fide) / 2: the Mann-Whitney U
     * over n_bona * n_spoof, from one merge of the sorted classes. (Hanley & McNeil, Radiology
     * 143, 1982.) */
    double auc;
};
struct discrimination metrics_discrimination(struct score_set s);

/* Cllr in bits: (mean over spoof of log2(1 + e^-llr) + mean over bona fide of log2(1 + e^llr)) / 2.
 * 0 = perfect, 1 = the LLR is always 0. (N. Brümmer & J. du Preez, "Application-independent
 * evaluation of speaker detection", Computer Speech & Language 20, 2006.) */
double metrics_cllr(struct score_set s);
/* Cllr after the best monotone recalibration on these very scores: pool-adjacent-violators gives
 * each score its optimal posterior, and posterior odds over class odds is the ratio (same
 * paper). Scores that tie stay together. Never above metrics_cllr, nor above 1. */
double metrics_min_cllr(struct score_set s);

/* Detection cost, normalised by the better of "call all human" and "call all synthetic":
 *   dcf(t) = (cost_fp (1-prior) fpr(t) + cost_fn prior fnr(t)) / min(cost_fp (1-prior), cost_fn
 * prior) with prior = P(spoof). The defaults are ASVspoof 5's (track 1): P_spoof 0.05, rejecting
 * bona fide costs 1 (its C_miss), accepting spoof costs 10 (its C_fa). (X. Wang et al., "ASVspoof
 * 5", arXiv 2408.08739, and the challenge's evaluation package.) */
struct dcf_params {
    double prior, cost_fp, cost_fn;
};
#define DCF_ASVSPOOF5 ((struct dcf_params){.prior = 0.05, .cost_fp = 1.0, .cost_fn = 10.0})

/* Bayes' threshold for these costs, log(cost_fp (1-prior) / (cost_fn prior)); an LLR at or above it
 * is called synthetic. */
double metrics_bayes_threshold(struct dcf_params p);
double metrics_act_dcf(struct score_set s, struct dcf_params p); /* at Bayes' threshold */
double metrics_min_dcf(struct score_set s, struct dcf_params p); /* at the best threshold */

/* A share with its Wilson 95 % interval (E. B. Wilson, JASA 22, 1927; recommended for small n by
 * Brown, Cai & DasGupta, Statistical Science 16, 2001). NaN throughout when n = 0. */
struct rate {
    size_t k, n;
    double value, lo, hi;
};
struct rate metrics_rate(size_t k, size_t n);
struct rate metrics_fpr(struct score_set s, double threshold);
struct rate metrics_fnr(struct score_set s, double threshold);

/* The ROC's vertices from (fpr 1, fnr 0) to (0, 1): `threshold` is the lowest score still called
 * synthetic, +infinity at the last one. The caller frees *ret. Either class empty: no points. */
struct roc_point {
    double fpr, fnr, threshold;
};
enum err_code metrics_roc(struct score_set s, struct roc_point **ret, size_t *ret_n,
                          struct err *err) MUST_CHECK;
/* The normal quantile, the scale of a DET plot's axes (A. Martin et al., "The DET curve in
 * assessment of detection task performance", Eurospeech 1997), by P. J. Acklam's rational
 * approximation and one step of Halley: |error| < 1e-9. p outside (0, 1) gives -/+ infinity. */
double metrics_probit(double p);

/* For drawing and printing: the index of the next vertex after `at` that lies more than `step` away
 * on either probit axis, or is the last; n at the end. Rates below `floor` count as `floor`. */
size_t metrics_det_next(const struct roc_point *points, size_t n, size_t at, double step,
                        double floor);

/* Counts of `n` values in `bins` equal bins of [lo, hi]; values beyond go to the edge bins. */
void metrics_histogram(const double *values, size_t n, double lo, double hi, size_t *counts,
                       size_t bins);

#define RELIABILITY_BINS 10
/* Reliability: in equal bins of the predicted probability, the mean prediction and the observed
 * share of spoof. A test set's mix of classes is not the prior that `p` was computed with, so each
 * spoof weighs prior/n_spoof and each bona fide (1-prior)/n_bona: the share is what a stream with
 * that prior would show. (M. H. DeGroot & S. E. Fienberg, The Statistician 32, 1983.)
 * ece = sum over bins of weight * |mean prediction - observed| (Naeini et al., AAAI 2015).
 * With a class empty, `observed` and ece are NaN. */
struct reliability {
    double ece;
    struct {
        size_t n;
        double lo, hi, predicted, observed, weight;
    } bin[RELIABILITY_BINS];
};
struct reliability metrics_reliability(const double *p_bona, size_t n_bona, const double *p_spoof,
                                       size_t n_spoof, double prior);

#endif

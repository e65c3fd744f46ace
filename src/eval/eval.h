/* One evaluation: what the detector said about each recording of a manifest, turned into figures.
 *
 * What counts where (the reports repeat it):
 *   EER, AUC, Cllr, DCF, DET, reliability   every file that has a score, inconclusive or not
 *   fpr, fnr, hter                          decided files only (verdict human or synthetic)
 *   forced_fpr, forced_fnr                  every file that has a score, cut at the threshold
 *   n_inconclusive                          files on which the detector abstained
 *   n_failed                                files without a result; in no figure
 */
#ifndef SONDE_EVAL_EVAL_H
#define SONDE_EVAL_EVAL_H

#include <stddef.h>

#include "../base/err.h"
#include "manifest.h"
#include "metrics.h"

enum eval_verdict { EVAL_FAILED, EVAL_INCONCLUSIVE, EVAL_HUMAN, EVAL_SYNTHETIC };
const char *eval_verdict_name(enum eval_verdict verdict);

/* Borrowed strings; NULL is as good as "". A failed item's score is ignored. */
struct eval_item {
    const struct manifest_row *row;
    enum eval_verdict verdict;
    int has_score;
    double llr;          /* natural log, higher = more synthetic; finite */
    double p;            /* probability of synthetic at eval_params.prior, 0..1 */
    double duration_s;   /* as decoded; NaN or <= 0: the manifest's is used */
    double speech_s;     /* NaN: unknown */
    const char *format;  /* as decoded; used where the manifest has no orig_format */
    const char *channel; /* "narrow band", "wide band"; NULL: unknown */
    const char *reasons;
    const char *error;
};

struct eval_params {
    const char *title; /* shown by the reports; NULL: none */
    double threshold;  /* the detector's fixed one: for the rates with every scored file decided */
    double prior;      /* P(synthetic) that `p` was computed with, in (0, 1) */
    struct dcf_params dcf;
};
#define EVAL_PARAMS_DEFAULT ((struct eval_params){.prior = 0.5, .dcf = DCF_ASVSPOOF5})

struct eval_counts {
    size_t n, n_bonafide, n_spoof; /* all files, whatever became of them */
    size_t n_scored_bonafide, n_scored_spoof;
    size_t n_inconclusive, n_inconclusive_bonafide, n_inconclusive_spoof, n_failed;
    struct rate fpr, fnr; /* verdicts */
};

/* The files that share one value of a column. */
struct eval_group {
    const char *name; /* borrowed from the manifest or a constant; "unknown" for an empty cell */
    double from_s, below_s; /* duration classes: from, and below (INFINITY: the last); else NaN */
    struct eval_counts counts;
    struct discrimination own; /* this group's spoof against this group's bona fide */
    double cllr, min_cllr;     /* likewise */
    /* This group's spoof against ALL bona fide files of the evaluation: the meaningful figure
     * where a value belongs to one label only, as system and kind do. NaN without spoof,
     * and for what is left of a column once it has cost 500 million steps. */
    struct discrimination vs_all_bonafide;
};

enum eval_by {
    EVAL_BY_FORMAT,
    EVAL_BY_SOURCE,
    EVAL_BY_SYSTEM,
    EVAL_BY_KIND,
    EVAL_BY_LANGUAGE,
    EVAL_BY_RATE,
    EVAL_BY_DURATION,
    EVAL_BY_CHANNEL,
    EVAL_BY_COUNT
};
const char *eval_by_name(enum eval_by by); /* "format", … */

/* Most files first, then by name; duration classes from short to long. count = 0 when no file has a
 * value there. */
struct eval_grouping {
    struct eval_group *groups;
    size_t count;
};

/* Owns its arrays; borrows names from the manifest and params.title from the caller. */
struct eval_result {
    struct eval_params params;
    struct eval_counts counts;
    struct discrimination all;
    double cllr, min_cllr, act_dcf, min_dcf, dcf_threshold, hter;
    struct rate forced_fpr, forced_fnr;
    struct reliability reliability;
    struct score_set scores; /* points to bona and spoof */
    double *bona, *spoof;    /* ascending */
    struct roc_point *roc;
    size_t n_roc;
    struct eval_grouping by[EVAL_BY_COUNT];
};

/* ERR_INTERNAL for a score that is not finite or a p outside 0..1 (with the path), ERR_USAGE for
 * parameters out of range. No items, or one class only, is no error: figures are NaN. */
enum err_code eval_compute(const struct eval_item *items, size_t n, struct eval_params params,
                           struct eval_result **ret, struct err *err) MUST_CHECK;
void eval_result_free(struct eval_result *r);
void eval_result_cleanup(struct eval_result **r);

#endif

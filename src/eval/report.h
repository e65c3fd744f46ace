/* An evaluation as JSON, as a table for people, as a tsv of every file, and as a picture.
 *
 * Writers return ERR_IO when the stream went wrong; they flush, but do not close it. */
#ifndef SONDE_EVAL_REPORT_H
#define SONDE_EVAL_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "eval.h"

/* Rates and errors are shares (0..1), never per cent. A figure that does not exist is null.
 *   title n n_bonafide n_spoof n_scored n_decided n_inconclusive n_inconclusive_bonafide
 *   n_inconclusive_spoof n_failed
 *   eer eer_threshold auc cllr min_cllr
 *   threshold fpr fpr_ci fnr fnr_ci hter false_alarms misses     (decided files)
 *   forced {fpr fpr_ci fnr fnr_ci}                               (every scored file)
 *   act_dcf min_dcf dcf {prior_spoof cost_fp cost_fn threshold}
 *   prior ece reliability [{lo hi n predicted observed weight}]
 *   det [[fpr, fnr, threshold], …]   thinned; the last threshold is null (above every score)
 *   by {format source system kind language rate duration: [{name n n_bonafide n_spoof
 *       n_inconclusive n_failed eer auc cllr min_cllr eer_vs_all_bonafide auc_vs_all_bonafide
 *       fpr fpr_ci fnr fnr_ci}, …]}
 *   definitions {…}   one sentence each
 * The caller owns the reference; NULL when memory is gone. */
json_t *eval_report_json(const struct eval_result *r);

/* At most 100 columns wide; 20 groups of a column (the JSON has all). */
enum err_code eval_report_text(const struct eval_result *r, FILE *f, struct err *err) MUST_CHECK;

/* path label llr p_synthetic verdict duration_s speech_s reasons error, then the manifest's known
 * columns. Tab, line feed, carriage return and backslash in a value are written \t \n \r \\. */
enum err_code eval_scores_tsv(const struct manifest *m, const struct eval_item *items, size_t n,
                              FILE *f, struct err *err) MUST_CHECK;

/* One SVG without scripts, fonts or links: DET curve, histogram of scores, figures. */
enum err_code eval_svg(const struct eval_result *r, FILE *f, struct err *err) MUST_CHECK;

#endif

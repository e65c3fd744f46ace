/* Group-by: the figures of each value of a manifest column (eval.h has the types). */
#ifndef SONDE_EVAL_GROUPS_H
#define SONDE_EVAL_GROUPS_H

#include "eval.h"

int eval_item_scored(const struct eval_item *item);
/* Counts one item; fpr and fnr hold k and n only, until counts_finish. */
void eval_counts_add(struct eval_counts *counts, const struct eval_item *item);
void eval_counts_finish(struct eval_counts *counts);

/* `all_bona`: ascending scores of every scored bona fide file. Items were checked. */
enum err_code eval_group_by(enum eval_by by, const struct eval_item *items, size_t n,
                            const double *all_bona, size_t n_all_bona, struct eval_grouping *ret,
                            struct err *err) MUST_CHECK;

#endif

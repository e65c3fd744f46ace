/* Group-by over one column.
 *
 * Items are sorted by the column's value, then each run of equal values is one group; its scores
 * are copied into two scratch arrays and sorted. Bona fide of the whole evaluation come in sorted
 * already, so holding every group against all of them costs one merge each. The grouping owns its
 * array of groups; names are borrowed. Any thread.
 */
#include "groups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"

static const char *const by_names[EVAL_BY_COUNT] = {
    [EVAL_BY_FORMAT] = "format",     [EVAL_BY_SOURCE] = "source",     [EVAL_BY_SYSTEM] = "system",
    [EVAL_BY_KIND] = "kind",         [EVAL_BY_LANGUAGE] = "language", [EVAL_BY_RATE] = "rate",
    [EVAL_BY_DURATION] = "duration", [EVAL_BY_CHANNEL] = "channel",
};

/* A class holds durations below its limit. */
static const struct {
    double below;
    const char *name;
} durations[] = {
    {1.5, "< 1.5 s"}, {3, "1.5-3 s"}, {6, "3-6 s"}, {15, "6-15 s"}, {INFINITY, ">= 15 s"},
};

struct keyed {
    const char *key;
    int order; /* compared before the key: the duration's class */
    const struct eval_item *item;
};

const char *eval_by_name(enum eval_by by)
{
    return (size_t)by < EVAL_BY_COUNT ? by_names[by] : "";
}

int eval_item_scored(const struct eval_item *item)
{
    return item->has_score && item->verdict != EVAL_FAILED;
}

void eval_counts_add(struct eval_counts *c, const struct eval_item *item)
{
    int spoof = item->row->label == EVAL_SPOOF, scored = eval_item_scored(item);
    c->n++;
    c->n_spoof += spoof;
    c->n_bonafide += !spoof;
    c->n_scored_spoof += scored && spoof;
    c->n_scored_bonafide += scored && !spoof;
    c->n_failed += item->verdict == EVAL_FAILED;
    if (item->verdict == EVAL_INCONCLUSIVE) {
        c->n_inconclusive++;
        c->n_inconclusive_spoof += spoof;
        c->n_inconclusive_bonafide += !spoof;
    }
    if (item->verdict == EVAL_HUMAN || item->verdict == EVAL_SYNTHETIC) {
        struct rate *rate = spoof ? &c->fnr : &c->fpr;
        rate->n++;
        rate->k += item->verdict == (spoof ? EVAL_HUMAN : EVAL_SYNTHETIC);
    }
}

void eval_counts_finish(struct eval_counts *c)
{
    c->fpr = metrics_rate(c->fpr.k, c->fpr.n);
    c->fnr = metrics_rate(c->fnr.k, c->fnr.n);
}

static void key_of_duration(const struct eval_item *item, struct keyed *ret)
{
    double d = item->duration_s > 0 ? item->duration_s : item->row->duration_s;
    if (!(d >= 0))
        return;
    for (size_t i = 0; i < ARRAY_LEN(durations); i++)
        if (d < durations[i].below) {
            *ret = (struct keyed){durations[i].name, (int)i, item};
            return;
        }
}

/* A NULL key: the item says nothing about this column. */
static struct keyed key_of(enum eval_by by, const struct eval_item *item)
{
    static const enum manifest_column columns[EVAL_BY_COUNT] = {
        [EVAL_BY_FORMAT] = MANIFEST_ORIG_FORMAT, [EVAL_BY_SOURCE] = MANIFEST_SOURCE,
        [EVAL_BY_SYSTEM] = MANIFEST_SYSTEM,      [EVAL_BY_KIND] = MANIFEST_KIND,
        [EVAL_BY_LANGUAGE] = MANIFEST_LANGUAGE,  [EVAL_BY_RATE] = MANIFEST_ORIG_RATE,
    };
    struct keyed k = {NULL, (int)ARRAY_LEN(durations), item};
    if (by == EVAL_BY_DURATION) {
        key_of_duration(item, &k);
        return k;
    }
    if (by == EVAL_BY_CHANNEL) {
        k.key = item->channel;
        return k;
    }
    k.key = item->row->text[columns[by]];
    if (!k.key[0] && by == EVAL_BY_FORMAT && item->format)
        k.key = item->format;
    if (!k.key[0])
        k.key = NULL;
    return k;
}

static int cmp_keyed(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    return x->order != y->order ? x->order - y->order : strcmp(x->key, y->key);
}

static int cmp_group(const void *a, const void *b)
{
    const struct eval_group *x = a, *y = b;
    if (x->counts.n != y->counts.n)
        return x->counts.n < y->counts.n ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* Merge steps that one column may spend on vs_all_bonafide (seconds of work). A column with another
 * value in every row of a large manifest would be quadratic otherwise. */
#define GROUP_WORK_MAX ((size_t)500000000)

struct grouper {
    size_t work;
    const double *all_bona;
    size_t n_all_bona;
    double *bona, *spoof; /* scratch, as many as there are items */
    struct eval_grouping *ret;
    size_t cap;
    struct err *err;
};

static enum err_code add_group(struct grouper *g, const struct keyed *keyed, size_t n)
{
    if (try_grow(&g->ret->groups, &g->cap, g->ret->count, sizeof *g->ret->groups,
                 MANIFEST_MAX_ROWS))
        return err_set(g->err, ERR_NO_MEMORY, "no memory for %zu groups", g->ret->count + 1);
    struct eval_group *group = &g->ret->groups[g->ret->count];
    *group = (struct eval_group){.name = keyed[0].key, .from_s = NAN, .below_s = NAN};
    if (keyed[0].order < (int)ARRAY_LEN(durations)) {
        group->from_s = keyed[0].order ? durations[keyed[0].order - 1].below : 0;
        group->below_s = durations[keyed[0].order].below;
    }
    struct score_set own = {g->bona, g->spoof, 0, 0};
    for (size_t i = 0; i < n; i++) {
        const struct eval_item *item = keyed[i].item;
        eval_counts_add(&group->counts, item);
        if (eval_item_scored(item) && item->row->label == EVAL_SPOOF)
            g->spoof[own.n_spoof++] = item->llr;
        else if (eval_item_scored(item))
            g->bona[own.n_bona++] = item->llr;
    }
    eval_counts_finish(&group->counts);
    enum err_code code = metrics_sort(g->bona, own.n_bona, g->err);
    if (!code)
        code = metrics_sort(g->spoof, own.n_spoof, g->err);
    if (code)
        return code;
    group->own = metrics_discrimination(own);
    group->cllr = metrics_cllr(own);
    group->min_cllr = metrics_min_cllr(own);
    group->vs_all_bonafide = (struct discrimination){NAN, NAN, NAN};
    g->work += own.n_spoof ? g->n_all_bona + own.n_spoof : 0;
    if (g->work <= GROUP_WORK_MAX)
        group->vs_all_bonafide = metrics_discrimination(
            (struct score_set){g->all_bona, g->spoof, g->n_all_bona, own.n_spoof});
    g->ret->count++;
    return ERR_OK;
}

enum err_code eval_group_by(enum eval_by by, const struct eval_item *items, size_t n,
                            const double *all_bona, size_t n_all_bona, struct eval_grouping *ret,
                            struct err *err)
{
    _cleanup_free_ struct keyed *keyed = try_alloc(n, sizeof *keyed);
    _cleanup_free_ double *bona = try_alloc(n, sizeof *bona);
    _cleanup_free_ double *spoof = try_alloc(n, sizeof *spoof);
    if (!keyed || !bona || !spoof)
        return err_set(err, ERR_NO_MEMORY, "no memory to group %zu files", n);
    int any = 0;
    for (size_t i = 0; i < n; i++) {
        keyed[i] = key_of(by, &items[i]);
        any |= keyed[i].key != NULL;
        if (!keyed[i].key)
            keyed[i].key = "unknown";
    }
    if (!any)
        return ERR_OK; /* the column is not there: no groups, rather than one of "unknown" */
    qsort(keyed, n, sizeof *keyed, cmp_keyed);
    struct grouper g = {0, all_bona, n_all_bona, bona, spoof, ret, 0, err};
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && cmp_keyed(&keyed[from], &keyed[to]) == 0; to++) {
        }
        enum err_code code = add_group(&g, keyed + from, to - from);
        if (code)
            return code;
    }
    if (by != EVAL_BY_DURATION)
        qsort(ret->groups, ret->count, sizeof *ret->groups, cmp_group);
    return ERR_OK;
}

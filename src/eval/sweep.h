/* The walk that EER, AUC, min Cllr, min DCF and the ROC share: merge two ascending classes and stop
 * at every distinct score. After sweep_next, `score` has been passed: it is called human now, and
 * everything above it synthetic. */
#ifndef SONDE_EVAL_SWEEP_H
#define SONDE_EVAL_SWEEP_H

#include <math.h>

#include "metrics.h"

struct sweep {
    struct score_set s;
    size_t bona, spoof;     /* passed so far */
    size_t d_bona, d_spoof; /* passed by this step */
    double score;
};

static inline struct sweep sweep_start(struct score_set s)
{
    return (struct sweep){.s = s};
}

/* The next distinct score, or NaN at the end. */
static inline double sweep_peek(const struct sweep *w)
{
    int b = w->bona < w->s.n_bona, t = w->spoof < w->s.n_spoof;
    if (b && t)
        return w->s.bona[w->bona] < w->s.spoof[w->spoof] ? w->s.bona[w->bona]
                                                         : w->s.spoof[w->spoof];
    return b ? w->s.bona[w->bona] : t ? w->s.spoof[w->spoof] : NAN;
}

static inline int sweep_next(struct sweep *w)
{
    w->score = sweep_peek(w);
    w->d_bona = w->d_spoof = 0;
    while (w->bona < w->s.n_bona && w->s.bona[w->bona] == w->score)
        w->bona++, w->d_bona++;
    while (w->spoof < w->s.n_spoof && w->s.spoof[w->spoof] == w->score)
        w->spoof++, w->d_spoof++;
    return w->d_bona + w->d_spoof > 0;
}

static inline double sweep_fpr(const struct sweep *w)
{
    return (double)(w->s.n_bona - w->bona) / (double)w->s.n_bona;
}

static inline double sweep_fnr(const struct sweep *w)
{
    return (double)w->spoof / (double)w->s.n_spoof;
}

#endif

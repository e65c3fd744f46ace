/* What the detector says about one recording, and its JSON form. */
#ifndef SONDE_DETECT_RESULT_H
#define SONDE_DETECT_RESULT_H

#include <jansson.h>
#include <stddef.h>

#include "../base/err.h"
#include "../media/media.h"

enum verdict { VERDICT_HUMAN, VERDICT_SYNTHETIC, VERDICT_INCONCLUSIVE };
const char *verdict_name(enum verdict verdict); /* "human" "synthetic" "inconclusive" */

/* Why there is no verdict, or what to know about it. One row per reason in reason.def. */
enum reason_code {
#define REASON_ROW(name, slug, decides, unit, text) name,
#include "reason.def"
#undef REASON_ROW
    REASON_COUNT
};

struct reason {
    enum reason_code code;
    double measured, limit; /* in the row's unit */
    double start_s, end_s;  /* of the stretch that it is about; 0 and 0: the whole recording */
    int decides;            /* 1: made the verdict inconclusive; only of a row that may */
};
const char *reason_slug(enum reason_code code);
int reason_decides(enum reason_code code); /* 1: may make the verdict inconclusive */
/* "only 0.9 s of speech; 1.5 s are needed" into buf. */
void reason_sentence(const struct reason *reason, char *buf, size_t size);

/* One window of the recording. */
struct detect_window {
    double start_s, end_s;
    double speech_s;         /* of it */
    double llr;              /* NAN: no speech in it, so no score */
    double texture, network; /* shares of the recording's scores for being no speech, see gate.h */
};

/* A stretch that scores synthetic in a recording that does not as a whole, or not throughout. */
struct detect_part {
    double start_s, end_s;
    double llr; /* mean over it */
};

struct detection {
    enum verdict verdict;
    int scored;       /* 0: nothing to score; llr and p are meaningless */
    double llr;       /* ln p(recording | synthetic) / p(recording | human), calibrated */
    double p;         /* P(synthetic) at `prior`, within 0.01 .. 0.99 */
    double prior;     /* P(synthetic) before hearing it */
    double threshold; /* on llr: both kinds of error are alike there; parts are found by it */
    double human_below, synthetic_from; /* on llr: no verdict between them */
    double duration_s;                  /* decoded */
    double speech_s;
    double band_edge_hz; /* the highest frequency there is; 0: unknown */
    struct reason reasons[REASON_COUNT];
    size_t n_reasons;
    struct detect_window *timeline; /* owned; by start, overlapping */
    size_t n_timeline;
    struct detect_part *parts; /* owned; disjoint, by start */
    size_t n_parts;
};

/* P(synthetic) of an LLR at a prior by Bayes' rule, shown within 0.01 .. 0.99. */
double detect_probability(double llr, double prior); /* NAN of NAN */

/* Fills parts from the timeline. The recording is cut where windows start; a piece's LLR is the
 * mean of the windows with speech over it; neighbouring pieces at or above the threshold make one
 * part. */
enum err_code detection_find_parts(struct detection *detection, struct err *err) MUST_CHECK;

/* The stretch that speaks most for `side` (VERDICT_SYNTHETIC or VERDICT_HUMAN) and stands out from
 * the rest: of 2 to 16 neighbouring windows with a second of speech or more in each, at most half
 * of all such windows, whose mean LLR lies on that side of the threshold, the one with the largest
 * contrast: (mean - median of all such windows) towards that side * square root of how many. */
struct detect_stretch {
    double start_s, end_s; /* less a quarter of a window at both ends, which it may share */
    double contrast;       /* 0: there is none, or fewer than four windows: no parts to speak of */
    double limit;          /* worth a remark from here on: the more windows, the more chances */
};
enum err_code detection_find_stretch(const struct detection *detection, enum verdict side,
                                     struct detect_stretch *ret, struct err *err) MUST_CHECK;

void detection_done(struct detection *detection);
/* Object with verdict p_synthetic llr prior threshold reasons duration_s speech_s timeline
 * synthetic_parts; the caller owns it. NULL when memory is gone. */
json_t *detection_json(const struct detection *detection);
/* Object with container codec sample_rate channels bit_rate damaged truncated. */
json_t *media_info_json(const struct media_info *info);

#endif

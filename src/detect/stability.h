/* How much an answer hangs on details: the same recording scored again after small changes that
 * leave the speaker, the words and (to a listener) nearly the sound as they were. A verdict that
 * flips under them, or a spread of the LLR that reaches across the threshold, deserves less trust.
 *
 * The recording is decoded once per variant, streaming, and everything is deterministic: asked
 * twice, the answer is the same. 10 s of speech take 0.4 s, most of it in the AAC and Opus
 * encoders.
 */
#ifndef SONDE_DETECT_STABILITY_H
#define SONDE_DETECT_STABILITY_H

#include "detector.h"

#define STABILITY_VARIANTS    7
#define STABILITY_MAX_SECONDS 300  /* of a longer recording only these first ones are looked at */
#define STABILITY_SNR_DB      15.0 /* of the variant "noise", against the level of the speech */

/* The variants in the order of the rows; the first is the original. */
struct stability_variant {
    const char *name; /* "original" "trim" "mp3" "aac" "opus" "narrow" "noise" */
    const char *what; /* one line for people */
};
const struct stability_variant *stability_variant(size_t i); /* i < STABILITY_VARIANTS */

struct stability_row {
    const char *variant; /* its name; static */
    int scored;          /* 0: no score, llr and p are meaningless (an error, or no speech) */
    double llr, p;       /* as in struct detection */
    enum verdict verdict;
    struct err error; /* code ERR_OK: the row holds; else only `variant` does */
};

struct stability {
    struct stability_row rows[STABILITY_VARIANTS];
    size_t n;
    double seconds; /* looked at, of the original */
    int cut;        /* 1: the recording is longer than that */
    double spread;  /* largest LLR minus smallest among scored rows; 0 when there is none */
    int flips;      /* rows without error whose verdict is another than the original's */
};

/* Scores the regular file behind `fd` (the caller's, as for media_open) in all variants. Uses the
 * analysis, which must be idle, and leaves it ready for the next recording; a picture is not fed.
 * A variant that fails is a row with an error; an error of the original, or a cancellation, is one
 * of the whole. `progress` (may be NULL) hears the seconds analysed so far in all variants
 * together, up to STABILITY_VARIANTS times the recording's; a non-zero answer cancels
 * (ERR_CANCELLED). *ret owns nothing and is written only on ERR_OK. On the caller's thread. */
enum err_code stability_make(struct analysis *analysis, struct media_service *media, int fd,
                             detect_progress *progress, void *ctx, struct stability *ret,
                             struct err *err) MUST_CHECK;
/* Adds the noise of the variant "noise" to samples at .. at+n of a recording: white, uniform, of
 * the given deviation. Each number depends on its place alone, so it is the same in every run and
 * however the recording is cut. */
void stability_add_noise(float *samples, uint64_t at, size_t n, double rms);
/* {rows: [{variant, llr, p_synthetic, verdict, error}], spread, flips, seconds}. In a row `error`
 * is null or {code, text}, and llr, p_synthetic and verdict are null with an error; llr and
 * p_synthetic also without a score. `spread` is null when no row is scored. The caller owns it;
 * NULL when memory is gone. */
json_t *stability_json(const struct stability *stability);

#endif

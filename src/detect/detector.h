/* The detector: a stream of samples in, one detection out.
 *
 *   struct detector *d;  detector_new(NULL, NN_ISA_AUTO, &d, &err);       once, shared by threads
 *   struct analysis *a;  analysis_new(d, &a, &err);                       one per thread
 *   analysis_feed(a, samples, n, &err) …;  analysis_finish(a, &detection, &err);
 *
 * Windows of the model's length stand every hop over the recording; the last one ends where the
 * recording ends; a shorter recording is repeated until it fills one. Each window's logit becomes
 * an LLR by the model's calibration; the recording's LLR is their mean, weighted by the speech in
 * each.
 */
#ifndef SONDE_DETECT_DETECTOR_H
#define SONDE_DETECT_DETECTOR_H

#include <stddef.h>

#include "../base/err.h"
#include "../media/media.h"
#include "../nn/nn.h"
#include "picture.h"
#include "result.h"
#include "speech.h"

/* Speech needed for a verdict, seconds, and what counts as any speech at all. */
#define DETECT_MIN_SPEECH_S 1.5
#define DETECT_ANY_SPEECH_S 0.2

/* Limits of the other reasons; docs/detector.md says how they were measured. */
#define DETECT_SNR_DB         8.0 /* speech above the sound between words: less is no answer */
#define DETECT_SNR_REMARK_DB  20.0
#define DETECT_CLIPPED        30.0 /* per cent of the samples at the extremes: more is no answer */
#define DETECT_CLIPPED_REMARK 10.0
#define DETECT_TONES          0.7 /* share of loud frames with a line or two: no speech */
#define DETECT_NARROW_HZ      4400.0

struct detector;
struct analysis;

/* model_path NULL: SONDE_MODEL from the environment, else the weights inside the program. */
enum err_code detector_new(const char *model_path, enum nn_isa isa, struct detector **ret,
                           struct err *err) MUST_CHECK;
struct detector *detector_free(struct detector *detector);
const struct nn_model *detector_model(const struct detector *detector);
/* On the LLR: where both kinds of error are alike. */
double detector_threshold(const struct detector *detector);
/* Verdicts on the LLR of a recording with so many seconds of speech: human below the one, synthetic
 * from the other on, none between. The more speech, the nearer the threshold they are. */
void detector_limits(const struct detector *detector, double speech_s, double *ret_human_below,
                     double *ret_synthetic_from);
double detector_prior(const struct detector *detector);
/* Another prior, 0.001 .. 0.999, for the probabilities; LLR and verdict do not depend on it. Only
 * before the detector is shared. */
enum err_code detector_set_prior(struct detector *detector, double prior,
                                 struct err *err) MUST_CHECK;
/* How often this model was wrong on recordings like this one, as rates.h says. */
json_t *detector_rates_json(const struct detector *detector, const struct detection *detection,
                            const struct media_info *media);
/* Whether it came through a telephone or the like: such recordings have rates of their own. */
int detection_is_narrow(const struct detection *detection);
/* {name, sha256, isa}: what a result says about its model. Caller owns it. */
json_t *detector_model_json(const struct detector *detector);

enum err_code analysis_new(const struct detector *detector, struct analysis **ret,
                           struct err *err) MUST_CHECK;
struct analysis *analysis_free(struct analysis *analysis);
/* 16 kHz mono samples, finite, nominally -1..1, in pieces of any size: the cut does not change a
 * bit of the result. */
enum err_code analysis_feed(struct analysis *analysis, const float *samples, size_t n,
                            struct err *err) MUST_CHECK;
/* The answer; free it with detection_done. The analysis is then ready for the next recording. */
enum err_code analysis_finish(struct analysis *analysis, struct detection *ret,
                              struct err *err) MUST_CHECK;
/* Where speech was in the recording that analysis_finish (or detect_file) ended last: its `active`
 * frames, 10 ms each. Borrowed until the analysis is fed again, reset or freed. */
const struct speech_track *analysis_speech(const struct analysis *analysis);
/* Forgets what was fed, and draws no more. */
void analysis_reset(struct analysis *analysis);
/* From now until the recording ends (analysis_finish, analysis_reset, or detect_file's return) what
 * is analysed is also added to the picture (picture.h), which stays the caller's; NULL stops it.
 * Costs about 1 % of the analysis and changes no bit of its answer. */
void analysis_draw(struct analysis *analysis, struct picture *picture);

/* How far detect_file is. */
struct detect_state {
    double seconds;   /* decoded so far */
    double share;     /* 0 .. 1: how much of the recording, by its size and bit rate; -1: unknown */
    double decode_s;  /* spent waiting for samples */
    double analyse_s; /* spent on them */
};
typedef int detect_progress(void *ctx, const struct detect_state *state);
/* Decodes the regular file behind `fd` and analyses it. ret_info may be NULL. `progress` (may be
 * NULL) is called after each piece; a non-zero answer cancels (ERR_CANCELLED). */
enum err_code detect_file(struct analysis *analysis, struct media_service *media, int fd,
                          detect_progress *progress, void *ctx, struct detection *ret,
                          struct media_info *ret_info, struct err *err) MUST_CHECK;

#endif

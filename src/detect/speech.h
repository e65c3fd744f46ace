/* How much of a recording is speech, and where. A gate on level and modulation, not a model: it
 * answers "is there enough here to judge?", never "who speaks?". Works on the front end's frames,
 * so it costs next to nothing, and needs the whole recording before it decides (its gate is
 * relative to the recording's own level), at 4 bytes per 10 ms frame. */
#ifndef SONDE_DETECT_SPEECH_H
#define SONDE_DETECT_SPEECH_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"

/* Frames kept: 24 hours of 10 ms frames, 35 MB. */
#define SPEECH_MAX_FRAMES (24 * 3600 * 100)

struct speech_track {
    float *level_db; /* per frame: mean log band power between 200 and 3400 Hz, dB */
    uint8_t *active; /* per frame, after speech_decide: 1 = speech */
    size_t count, cap;
};

/* Adds n frames of `bands` log band powers (natural log, as nn_frames gives them; band b covers
 * 62.5 Hz from 46.9 + 62.5 b). */
enum err_code speech_add(struct speech_track *track, const float *logband, size_t n, int bands,
                         struct err *err) MUST_CHECK;
/* Whether speech_decide may find speech in [from, to), whatever comes after it: 0 where no frame is
 * loud enough to be any (but for its outermost two, which a loud one beside them can make it). */
int speech_possible(const struct speech_track *track, size_t from, size_t to);
/* Decides frame by frame; call once, after the last speech_add. */
enum err_code speech_decide(struct speech_track *track, struct err *err) MUST_CHECK;
/* Speech frames in [from, to), clipped to the track. */
size_t speech_frames(const struct speech_track *track, size_t from, size_t to);
/* How far the loud frames (the 95th percentile) stand above the quiet ones (the 10th), dB; frames
 * of pure zeros aside. In clean speech the quiet ones are its pauses, in noisy speech the noise. 0:
 * there is nothing to compare. */
double speech_to_noise_db(const struct speech_track *track);
void speech_done(struct speech_track *track);

#endif

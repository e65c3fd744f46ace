/* Whether what is heard is speech at all. The detector was made for speech: asked about music or a
 * rattling fan it answers all the same, and the answer means nothing.
 *
 * A score is a weighted sum of a window's texture (texture.h) and of what stays in the recording
 * (music.h). `python3 -m train.gate` finds the weights by logistic regression on speech of both
 * kinds, music and noises, and writes gate_weights.inc. It looks at frames only, not at the
 * network: other weights of the detector change nothing here. docs/detector.md has the figures. */
#ifndef SONDE_DETECT_GATE_H
#define SONDE_DETECT_GATE_H

#include <stddef.h>

#include "music.h"

/* The window's share of the score, from its frames. 0 for another number of bands than the weights
 * were found for. */
double gate_window(const float *logband, const float *power, size_t frames, int bands);
/* How far a recording of so many seconds lies beyond the limit for its length; 0 and more: music or
 * noise, no speech. `windows` is the mean of its windows' shares, weighted by the speech in each.
 * Two seconds of speech can look like music (a held vowel, a noisy word), half a minute does not:
 * the limits fall with the length. */
double gate_margin(double windows, const struct music *music, double seconds);

#endif

/* Whether what is heard is speech at all. The detector was made for speech: asked about music or a
 * rattling fan it answers all the same, and the answer means nothing.
 *
 * There are two scores, and either may refuse. One is a weighted sum of a window's texture
 * (texture.h) and of what stays in the recording (music.h). `python3 -m train.gate` finds the
 * weights on speech of both kinds, music and noises, and writes gate_weights.inc. It looks at
 * frames only: other weights of the detector change nothing here. The other is nn_window's, a
 * weighted sum of what the second network looks at; its weights and limit are the model's own
 * (`python3 -m train.gate --numbers`). docs/detector.md has the figures. */
#ifndef SONDE_DETECT_GATE_H
#define SONDE_DETECT_GATE_H

#include <stddef.h>

#include "music.h"

/* The window's share of the first score, from its frames. 0 for another number of bands than the
 * weights were found for. */
double gate_texture(const float *logband, const float *power, size_t frames, int bands);
/* How far a recording of so many seconds lies beyond a limit; 0 and more: music or noise, no
 * speech. `texture` and `network` are the means of its windows' shares, weighted by the speech in
 * each; `network_limit` is the model's, INFINITY where it has no such score. Two seconds of speech
 * can look like music (a held vowel, a noisy word), half a minute does not: the limits of the
 * texture fall with the length. */
double gate_margin(double texture, double network, double network_limit, const struct music *music,
                   double seconds);

#endif

/* What a window of sound is made of: how lines, slopes, onsets and slow movements are spread over
 * its spectrogram. No single number among these tells speech from music; gate.h weighs them. They
 * are made of differences of log levels, so gain does not matter and a fixed filter little. */
#ifndef SONDE_DETECT_TEXTURE_H
#define SONDE_DETECT_TEXTURE_H

#include <stddef.h>

#define TEXTURE_BANDS  128
#define TEXTURE_FRAMES 4096 /* a window's frames at most, as the engine has it */
#define TEXTURE_GROUPS 8    /* of neighbouring bands */
#define TEXTURE_KINDS  20   /* numbers of each group */
#define TEXTURE_LAGS   9    /* of the level over all bands */
#define TEXTURE_COUNT  (TEXTURE_GROUPS * TEXTURE_KINDS + TEXTURE_LAGS)

/* Of `frames` frames of TEXTURE_BANDS log band powers (frame-major) and their powers, as nn_frames
 * gives them. The same input gives the same bits on every processor. No memory is allocated. */
void texture_window(const float *logband, const float *power, size_t frames,
                    float ret[TEXTURE_COUNT]);

#endif

/* What tells music from speech over a whole recording, in the front end's frames:
 *   - notes stay: a spectral peak of music rests in its 62.5 Hz band for a tenth of a second and
 *     more, a voice's harmonics glide from band to band;
 *   - speech alternates: vowels low, fricatives high, pauses between, several times a second.
 * gate.h makes a score of it. Fixed memory; the cut of the stream changes no bit. One thread at a
 * time; zero it before the first frame. */
#ifndef SONDE_DETECT_MUSIC_H
#define SONDE_DETECT_MUSIC_H

#include <stddef.h>
#include <stdint.h>

#define MUSIC_BANDS 128
#define MUSIC_MEANS 8

/* Sums over frames. */
struct music {
    uint64_t frames, peaks, steady, lasting;
    uint64_t loud, bare; /* loud frames, and those of them with hardly more than a line or two */
    double flux, tilt, tilt2, level, level2;
    double range;                /* of the chunks before this one, times their frames */
    float loudest;               /* band so far, nats */
    float low, high;             /* levels in this chunk of half a second */
    unsigned chunk;              /* frames in it */
    float last[MUSIC_BANDS];     /* the frame before */
    int32_t stayed[MUSIC_BANDS]; /* frames for which a peak has stayed in the band */
    int32_t missed[MUSIC_BANDS]; /* 1: there was none in the frame before */
};

/* Adds n frames of log band powers as nn_frames gives them. Of another number of bands than
 * MUSIC_BANDS nothing is known, and nothing added. */
void music_add(struct music *music, const float *logband, size_t n, int bands);
/* Peaks of a frame; how many stay, and stay long (logarithms); the share that stays; change from
 * frame to frame; deviation of tilt and of level; range of the level within half a second. */
void music_means(const struct music *music, double ret[MUSIC_MEANS]);
/* Share of the loud frames that are nothing but a line or two: dial tones, whistles;
 * 0 .. 1. 0 unless two frames in five are loud: tones are held, a voice seldom is. */
double music_tones(const struct music *music);

#endif

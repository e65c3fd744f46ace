/* Whether a recording is music. The detector was made for speech: asked about music it answers all
 * the same, and the answer means nothing. What tells the two apart, in the front end's frames:
 *   - notes stay: a spectral peak of music rests in its 62.5 Hz band for a tenth of a second and
 *     more, a voice's harmonics glide from band to band;
 *   - speech alternates: vowels low, fricatives high, pauses between, several times a second.
 * Speech over quiet music counts as speech. Drums without notes are not found.
 *
 * A score is a weighted sum of such features, fitted on speech and music by logistic regression;
 * docs/detector.md has the figures. Fixed memory; the cut of the stream changes no bit. One thread
 * at a time; zero it before the first frame. */
#ifndef SONDE_DETECT_MUSIC_H
#define SONDE_DETECT_MUSIC_H

#include <stddef.h>
#include <stdint.h>

#define MUSIC_BANDS 128

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
 * MUSIC_BANDS nothing is known: the score stays low. */
void music_add(struct music *music, const float *logband, size_t n, int bands);
/* Positive: more like music than like speech. */
double music_score(const struct music *music);
/* Share of the loud frames that are nothing but a line or two: dial tones, whistles;
 * 0 .. 1. 0 unless two frames in five are loud: tones are held, a voice seldom is. */
double music_tones(const struct music *music);
/* The score from which a recording of so many seconds is taken for music. A few seconds of speech
 * can look like it (a held vowel, a noisy word), a quarter of a minute does not. */
double music_limit(double seconds);

#endif

/* Something that the program takes for speech, made of nothing: vowels of four formants that move
 * from syllable to syllable, hissing consonants, stress, pauses. Call it for t = 0, 1/16000 … in
 * turn; from t = 0 on it is the same every time. One thread. */
#ifndef SONDE_TESTS_VOICE_H
#define SONDE_TESTS_VOICE_H

#include <math.h>
#include <stdint.h>

#define VOICE_RATE      4.4 /* syllables a second */
#define VOICE_CONSONANT 0.2 /* of a syllable */

static inline double voice_dice(int syllable, unsigned salt)
{
    uint32_t k = (uint32_t)syllable * 7919u + salt * 104729u + 12345u;
    k = (k ^ k >> 13) * 0x5bd1e995u;
    k = (k ^ k >> 15) * 0x27d4eb2du;
    return (double)((k ^ k >> 13) & 0xffff) / 65536.0;
}

/* From the syllable before to this one, in its first 40 %. */
static inline double voice_glide(int syllable, double part, unsigned salt)
{
    double before = voice_dice(syllable - 1, salt), here = voice_dice(syllable, salt);
    return before + (here - before) * (0.5 - 0.5 * cos(M_PI * fmin(1, 2.5 * part)));
}

static inline double voice_vowel(int k, double part, double phase, double pitch)
{
    const double at[] = {300 + 550 * voice_glide(k, part, 2), 900 + 1400 * voice_glide(k, part, 3),
                         2300 + 700 * voice_glide(k, part, 4),
                         3500 + 300 * voice_glide(k, part, 5)};
    static const double width[] = {90, 130, 200, 300}, gain[] = {1, 0.6, 0.3, 0.15};
    double sum = 0;
    for (int h = 1; h * pitch < 7800; h++) {
        double level = 0.002;
        for (int f = 0; f < 4; f++) {
            double off = (h * pitch - at[f]) / width[f];
            level += gain[f] / (1 + off * off);
        }
        sum += level * sin(h * phase + 0.7 * h * h);
    }
    return sum;
}

static inline double voice(double t)
{
    static double phase, last;
    static unsigned seed;
    if (t == 0)
        phase = last = seed = 0;
    seed = seed * 1664525u + 1013904223u;
    double noise = (double)(seed >> 8) / 8388608.0 - 1, hiss = noise - last;
    last = noise;
    int k = (int)(t * VOICE_RATE);
    double part = t * VOICE_RATE - k, open = (part - VOICE_CONSONANT) / (1 - VOICE_CONSONANT);
    double pitch = 95 + 60 * voice_glide(k, part, 1) + 25 * cos(2 * M_PI * 0.31 * t) - 12 * part;
    phase = fmod(phase + 2 * M_PI * pitch / 16000, 2 * M_PI);
    if (k % 5 == 4)
        return 1e-4 * noise;
    if (open < 0)
        return (voice_dice(k, 9) > 0.3) * sin(M_PI * part / VOICE_CONSONANT) * hiss *
                   (0.08 + 0.25 * voice_dice(k, 10)) +
               1e-4 * noise;
    return 0.3 * (0.3 + 0.7 * voice_dice(k, 7)) * pow(sin(M_PI * fmin(1, open)), 0.6) *
               voice_vowel(k, part, phase, pitch) +
           1e-4 * noise;
}

#endif

/* Weighted sums; those of the texture stand in gate_weights.inc. No state; any thread. */
#include "gate.h"

#include <math.h>

#include "../base/mem.h"
#include "gate_weights.inc"
#include "texture.h"

_Static_assert(ARRAY_LEN(window_weights) == TEXTURE_COUNT, "make gate_weights.inc anew");
_Static_assert(ARRAY_LEN(music_weights) == MUSIC_MEANS, "make gate_weights.inc anew");

/* What stays and how little alternates, alone: bare tones and plucked strings lie so far from all
 * that the weights above were found on that these may miss them. Limits by duration as well. */
static const double stay_weights[MUSIC_MEANS] = {0,      2.186,  -0.406, 11.73,
                                                 -4.763, -2.406, 0.120,  0.535};
#define STAY_BIAS    4.572
#define STAY_SHORT   5.5 /* up to STAY_SHORT_S */
#define STAY_LONG    3.0 /* from STAY_LONG_S on */
#define STAY_SHORT_S 6.5
#define STAY_LONG_S  16.0

double gate_texture(const float *logband, const float *power, size_t frames, int bands)
{
    float texture[TEXTURE_COUNT];
    double sum = 0;
    if (bands != TEXTURE_BANDS)
        return 0;
    texture_window(logband, power, frames, texture);
    for (int i = 0; i < TEXTURE_COUNT; i++)
        sum += window_weights[i] * (double)texture[i];
    return sum;
}

static double limit_at(double seconds)
{
    enum { LAST = ARRAY_LEN(limits) - 1 };
    if (seconds <= limits[0].seconds)
        return limits[0].score;
    for (int i = 1; i <= LAST; i++)
        if (seconds < limits[i].seconds) {
            double part =
                (seconds - limits[i - 1].seconds) / (limits[i].seconds - limits[i - 1].seconds);
            return limits[i - 1].score + part * (limits[i].score - limits[i - 1].score);
        }
    return limits[LAST].score;
}

static double stay_limit_at(double seconds)
{
    double part = (seconds - STAY_SHORT_S) / (STAY_LONG_S - STAY_SHORT_S);
    return STAY_SHORT + (STAY_LONG - STAY_SHORT) * fmin(1, fmax(0, part));
}

double gate_margin(double texture, double network, double network_limit, const struct music *music,
                   double seconds)
{
    double means[MUSIC_MEANS], score = bias + texture, stays = STAY_BIAS;
    if (music->frames == 0)
        return -INFINITY;
    music_means(music, means);
    for (int i = 0; i < MUSIC_MEANS; i++) {
        score += music_weights[i] * means[i];
        stays += stay_weights[i] * means[i];
    }
    double margin = fmax(score - limit_at(seconds), stays - stay_limit_at(seconds));
    return fmax(margin, network - network_limit);
}

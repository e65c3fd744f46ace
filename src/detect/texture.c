/* Texture of a window's spectrogram, as sums over its frames.
 *
 * Sums stand band by band, side by side, so that the compiler uses vectors and every processor adds
 * in the same order. Levels are floored 60 dB below the window's mean power, as the network's are:
 * what a codec makes of silence says nothing. No state; any thread. */
#include "texture.h"

#include <math.h>
#include <string.h>

#define FLOOR 13.8155f /* nats: 60 dB */
#define SHORT 4        /* frames: an onset */
#define LONG  16       /* a syllable */
#define STAY  8        /* a line that stays for 80 ms: a vowel or a note */
#define REST  24       /* for 240 ms: a note */
#define RING  32       /* frames kept of lines and levels; a power of two above REST */
#define MOST  128      /* the longest of `lags` */

static const int edges[TEXTURE_GROUPS + 1] = {3, 8, 14, 22, 34, 52, 78, 104, 128};
static const int lags[TEXTURE_LAGS] = {1, 2, 4, 8, 16, 32, 64, 96, 128};
static const int group_lags[] = {1, 4, 16, 64};

enum kind {
    LEVEL,
    LEVEL2,
    LINE,
    LINE2,
    EDGE,
    STEP,
    STEP2,
    UP,
    DOWN,
    MOVE2,
    RISE,
    FALL,
    SWING2,
    STAYS,
    RESTS,
    BY_BAND
};

struct sums {
    float band[BY_BAND][TEXTURE_BANDS];
    float slow[TEXTURE_GROUPS][5]; /* movements of the group's level at group_lags; its squares */
    float mean[TEXTURE_GROUPS];
    float all[TEXTURE_LAGS];
};

struct past {
    float x[RING][TEXTURE_BANDS], line[RING][TEXTURE_BANDS];
    float group[MOST + 1][TEXTURE_GROUPS], whole[MOST + 1];
};

static void add_shape(struct sums *s, struct past *p, size_t f)
{
    const float *x = p->x[f % RING];
    float *line = p->line[f % RING];
    float edge[TEXTURE_BANDS];
    /* Apart from the sums: in one loop gcc 12 sees branches, and uses no vectors. */
    for (int b = 2; b < TEXTURE_BANDS - 2; b++) {
        float wide = x[b] - 0.5f * (x[b - 2] + x[b + 2]),
              near = x[b] - 0.5f * (x[b - 1] + x[b + 1]);
        line[b] = wide > 0 ? wide : 0;
        edge[b] = near > 0 ? near : 0;
    }
    for (int b = 2; b < TEXTURE_BANDS - 2; b++) {
        s->band[LEVEL][b] += x[b];
        s->band[LEVEL2][b] += x[b] * x[b];
        s->band[LINE][b] += line[b];
        s->band[LINE2][b] += line[b] * line[b];
        s->band[EDGE][b] += edge[b];
    }
}

static void add_steps(struct sums *s, const struct past *p, size_t f)
{
    const float *x = p->x[f % RING], *before = p->x[(f - 1) % RING];
    for (int b = 0; b < TEXTURE_BANDS; b++) {
        float d = fabsf(x[b] - before[b]);
        s->band[STEP][b] += d;
        s->band[STEP2][b] += d * d;
    }
}

/* Rises and falls over `lag` frames go to sums `up` and the two after it. */
static void add_moves(struct sums *s, const struct past *p, size_t f, size_t lag, int up)
{
    const float *x = p->x[f % RING], *before = p->x[(f - lag) % RING];
    for (int b = 0; b < TEXTURE_BANDS; b++) {
        float d = x[b] - before[b];
        s->band[up][b] += d > 0 ? d : 0;
        s->band[up + 1][b] += d < 0 ? -d : 0;
        s->band[up + 2][b] += d * d;
    }
}

static void add_stays(struct sums *s, const struct past *p, size_t f, size_t lag, int kind)
{
    const float *line = p->line[f % RING], *before = p->line[(f - lag) % RING];
    for (int b = 0; b < TEXTURE_BANDS; b++)
        s->band[kind][b] += line[b] < before[b] ? line[b] : before[b];
}

static void add_levels(struct sums *s, struct past *p, size_t f)
{
    enum { ROWS = MOST + 1 };
    const float *x = p->x[f % RING];
    float whole = 0;
    for (int g = 0; g < TEXTURE_GROUPS; g++) {
        float level = 0;
        for (int b = edges[g]; b < edges[g + 1]; b++)
            level += x[b];
        level /= (float)(edges[g + 1] - edges[g]);
        p->group[f % ROWS][g] = level;
        whole += level / TEXTURE_GROUPS;
        s->mean[g] += level;
        s->slow[g][4] += level * level;
        for (size_t i = 0; i < 4; i++)
            if (f >= (size_t)group_lags[i])
                s->slow[g][i] += fabsf(level - p->group[(f - (size_t)group_lags[i]) % ROWS][g]);
    }
    p->whole[f % ROWS] = whole;
    for (size_t i = 0; i < TEXTURE_LAGS; i++)
        if (f >= (size_t)lags[i])
            s->all[i] += fabsf(whole - p->whole[(f - (size_t)lags[i]) % ROWS]);
}

static float deviation(float square, float mean)
{
    return sqrtf(fmaxf(0, square - mean * mean));
}

static void conclude(const struct sums *s, float n, float *ret)
{
    for (int g = 0; g < TEXTURE_GROUPS; g++, ret += TEXTURE_KINDS) {
        float mean[BY_BAND], cells = n * (float)(edges[g + 1] - edges[g]);
        for (int k = 0; k < BY_BAND; k++) {
            mean[k] = 0;
            for (int b = edges[g]; b < edges[g + 1]; b++)
                mean[k] += s->band[k][b];
            mean[k] /= cells;
        }
        memcpy(ret, mean, sizeof mean);
        ret[LEVEL2] = deviation(mean[LEVEL2], mean[LEVEL]);
        ret[LINE2] = deviation(mean[LINE2], mean[LINE]);
        ret[STEP2] = deviation(mean[STEP2], mean[STEP]);
        ret[MOVE2] = sqrtf(mean[MOVE2]);
        ret[SWING2] = sqrtf(mean[SWING2]);
        for (int i = 0; i < 4; i++)
            ret[BY_BAND + i] = s->slow[g][i] / n;
        ret[BY_BAND + 4] = deviation(s->slow[g][4] / n, s->mean[g] / n);
    }
    for (int i = 0; i < TEXTURE_LAGS; i++)
        ret[i] = s->all[i] / n;
}

void texture_window(const float *logband, const float *power, size_t frames,
                    float ret[TEXTURE_COUNT])
{
    struct sums s = {0};
    struct past p = {0};
    double total = 0;
    for (size_t f = 0; f < frames; f++)
        total += (double)power[f];
    float least = (float)log(total / ((double)frames * TEXTURE_BANDS) + 1e-10) - FLOOR;
    for (size_t f = 0; f < frames; f++) {
        const float *v = logband + f * TEXTURE_BANDS;
        float *x = p.x[f % RING];
        for (int b = 0; b < TEXTURE_BANDS; b++)
            x[b] = (v[b] > least ? v[b] : least) - least - FLOOR;
        add_shape(&s, &p, f);
        add_levels(&s, &p, f);
        if (f >= 1)
            add_steps(&s, &p, f);
        if (f >= SHORT)
            add_moves(&s, &p, f, SHORT, UP);
        if (f >= LONG)
            add_moves(&s, &p, f, LONG, RISE);
        if (f >= STAY)
            add_stays(&s, &p, f, STAY, STAYS);
        if (f >= REST)
            add_stays(&s, &p, f, REST, RESTS);
    }
    conclude(&s, (float)frames, ret);
}

/* gate_dump < RECORDINGS > NUMBERS: what src/detect/gate.c weighs, for `python3 -m train.gate`,
 * which starts it. A recording is its number of samples (32 bits, little endian) and the samples
 * (float, 16 kHz mono); for each, these floats come back: seconds, seconds of speech, share of bare
 * tones, MUSIC_MEANS means, and, in the mean of its windows, weighted by the speech in each, their
 * texture and the second network's input. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "detect/music.h"
#include "detect/speech.h"
#include "detect/texture.h"
#include "nn/kernels/kernels.h"
#include "nn/nn.h"

#define RATE      16000
#define SAMPLES   (120 * RATE)
#define FRAMES    (SAMPLES / 160 + 512)
#define FIRST_ROW (3 + MUSIC_MEANS)
#define NUMBERS   NN_DETAIL_COUNT

static float numbers[NUMBERS]; /* of the last window */
static float samples[SAMPLES + 65536], logband[FRAMES * TEXTURE_BANDS], power[FRAMES];

/* Frames of the recording itself go to what looks at all of it. */
static enum err_code look(size_t frames, struct music *music, struct speech_track *track)
{
    enum err_code rc = speech_add(track, logband, frames, TEXTURE_BANDS, NULL);
    music_add(music, logband, frames, TEXTURE_BANDS);
    return rc != ERR_OK ? rc : speech_decide(track, NULL);
}

static void keep_numbers(void *ctx, const char *layer, const float *data, int h, int w, int c,
                         uint64_t macs, uint64_t ns)
{
    (void)ctx, (void)h, (void)w, (void)macs, (void)ns;
    if (strcmp(layer, "detail") == 0 && c == NUMBERS)
        memcpy(numbers, data, sizeof numbers);
}

static void add_window(struct nn_session *session, const struct nn_shape *shape,
                       const struct speech_track *track, size_t at, double *sums, double *weights,
                       double *plain)
{
    float texture[TEXTURE_COUNT];
    size_t frames = (size_t)shape->window_frames;
    double weight = (double)speech_frames(track, at, at + frames);
    texture_window(logband + at * TEXTURE_BANDS, power + at, frames, texture);
    for (int i = 0; i < TEXTURE_COUNT; i++) {
        sums[i] += weight * (double)texture[i];
        plain[i] += (double)texture[i];
    }
    if (weight > 0) {
        nn_window(session, samples + at * (size_t)shape->frame_hop, logband + at * TEXTURE_BANDS,
                  power + at, NULL);
        for (int i = 0; i < NUMBERS; i++)
            sums[TEXTURE_COUNT + i] += weight * (double)numbers[i];
    }
    *weights += weight;
}

static enum err_code measure(struct nn_session *session, const struct nn_shape *shape, size_t n,
                             float *row)
{
    size_t window = nn_window_samples(shape), frames, own, windows = 0;
    static double sums[TEXTURE_COUNT + NUMBERS];
    double plain[TEXTURE_COUNT] = {0}, weights = 0, means[MUSIC_MEANS];
    struct music music = {0};
    struct speech_track track = {0};
    memset(sums, 0, sizeof sums);
    own = n < 400 ? 0 : (n - 400) / 160 + 1;
    for (size_t i = n; i < window; i++)
        samples[i] = samples[i - n];
    frames = n < window ? (size_t)shape->window_frames : own;
    nn_frames(session, samples, own, logband, power);
    enum err_code rc = look(own, &music, &track);
    nn_frames(session, samples, frames, logband, power);
    size_t last = frames - (size_t)shape->window_frames;
    for (size_t at = 0; rc == ERR_OK; at += (size_t)shape->hop_frames) {
        at = at < last ? at : last;
        add_window(session, shape, &track, at, sums, &weights, plain);
        windows++;
        if (at == last)
            break;
    }
    row[0] = (float)n / RATE;
    row[1] = (float)speech_frames(&track, 0, track.count) / 100;
    row[2] = (float)music_tones(&music);
    music_means(&music, means);
    for (int i = 0; i < MUSIC_MEANS; i++)
        row[3 + i] = (float)means[i];
    for (int i = 0; i < TEXTURE_COUNT; i++)
        row[FIRST_ROW + i] = (float)(weights > 0 ? sums[i] / weights : plain[i] / (double)windows);
    for (int i = 0; i < NUMBERS; i++)
        row[FIRST_ROW + TEXTURE_COUNT + i] =
            (float)(weights > 0 ? sums[TEXTURE_COUNT + i] / weights : 0);
    speech_done(&track);
    return rc;
}

int main(int argc, char **argv)
{
    struct nn_model *model = NULL;
    struct nn_session *session = NULL;
    struct err err = {0};
    static float row[FIRST_ROW + TEXTURE_COUNT + NUMBERS];
    uint32_t n;
    if (argc != 2) {
        fprintf(stderr, "usage: gate_dump MODEL < recordings > numbers\n");
        return 2;
    }
    if (nn_model_open(argv[1], NN_ISA_AUTO, &model, &err) ||
        nn_session_new(model, &session, &err)) {
        fprintf(stderr, "gate_dump: %s\n", err.text);
        return 1;
    }
    nn_session_tap(session, keep_numbers, NULL);
    while (fread(&n, sizeof n, 1, stdin) == 1) {
        if (n == 0 || n > SAMPLES || fread(samples, sizeof *samples, n, stdin) != n ||
            measure(session, nn_model_shape(model), n, row) != ERR_OK ||
            fwrite(row, sizeof row, 1, stdout) != 1) {
            fprintf(stderr, "gate_dump: a recording of %u samples cannot be measured\n", n);
            return 1;
        }
        fflush(stdout);
    }
    nn_session_free(session);
    nn_model_free(model);
    return 0;
}

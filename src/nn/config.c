/* Reads a model's shape from its metadata, every number within a named limit. Any thread. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_DIGITS_MAX 9

/* Digits only; the end is returned. NULL when there is no number, or one out of range. */
static const char *read_number(const char *text, int least, int most, int *ret)
{
    int n = 0, digits = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (++digits > NUMBER_DIGITS_MAX)
            return NULL;
        n = 10 * n + (*text - '0');
    }
    if (!digits || n < least || n > most)
        return NULL;
    *ret = n;
    return text;
}

static enum err_code get_text(const struct st_file *file, const char *key, const char **ret,
                              struct err *err)
{
    *ret = st_meta(file, key);
    return *ret ? ERR_OK : err_set(err, ERR_MODEL, "metadata %s is missing", key);
}

static enum err_code get_exact(const struct st_file *file, const char *key, const char *want,
                               struct err *err)
{
    const char *text;
    enum err_code rc = get_text(file, key, &text, err);
    if (!rc && strcmp(text, want) != 0)
        rc = err_set(err, ERR_MODEL, "metadata %s is \"%.40s\", this program knows \"%s\"", key,
                     text, want);
    return rc;
}

static enum err_code get_int(const struct st_file *file, const char *key, int least, int most,
                             int unit, int *ret, struct err *err)
{
    const char *text;
    enum err_code rc = get_text(file, key, &text, err);
    if (rc)
        return rc;
    const char *end = read_number(text, least, most, ret);
    if (!end || *end || *ret % unit != 0)
        return err_set(err, ERR_MODEL, "metadata %s is \"%.20s\": not %d to %d in steps of %d", key,
                       text, least, most, unit);
    return ERR_OK;
}

static enum err_code get_list(const struct st_file *file, const char *key, int least, int most,
                              int unit, int items[NN_STAGES_MAX], int *ret_count, struct err *err)
{
    const char *text;
    enum err_code rc = get_text(file, key, &text, err);
    if (rc)
        return rc;
    int count = 0;
    for (const char *p = text;; p++) {
        if (count < NN_STAGES_MAX)
            p = read_number(p, least, most, &items[count]);
        if (!p || count == NN_STAGES_MAX || items[count] % unit != 0)
            return err_set(err, ERR_MODEL,
                           "metadata %s is \"%.40s\": not 1 to %d numbers, %d to %d in steps of %d",
                           key, text, NN_STAGES_MAX, least, most, unit);
        count++;
        if (*p == '\0')
            break;
        if (*p != ',')
            return err_set(err, ERR_MODEL, "metadata %s is \"%.40s\": no list of numbers", key,
                           text);
    }
    *ret_count = count;
    return ERR_OK;
}

static enum err_code read_front(const struct st_file *file, struct nn_config *config,
                                struct err *err)
{
    struct nn_shape *shape = &config->shape;
    int fft_size, floor_db;
    enum err_code rc = get_int(file, "sample_rate", 8000, 48000, 1, &shape->sample_rate, err);
    if (!rc)
        rc = get_int(file, "fft_size", NN_FFT_SIZE, NN_FFT_SIZE, 1, &fft_size, err);
    if (!rc)
        rc = get_int(file, "bands", NN_BANDS, NN_BANDS, 1, &shape->bands, err);
    if (!rc)
        rc = get_int(file, "frame_length", NN_FRAME_UNIT, NN_FFT_SIZE, NN_FRAME_UNIT,
                     &shape->frame_length, err);
    if (!rc)
        rc = get_int(file, "frame_hop", 1, NN_FRAME_HOP_MAX, 1, &shape->frame_hop, err);
    if (!rc)
        rc = get_int(file, "window_frames", NN_FRAMES_MIN, NN_FRAMES_MAX, 1, &shape->window_frames,
                     err);
    if (!rc)
        rc = get_int(file, "hop_frames", 1, shape->window_frames, 1, &shape->hop_frames, err);
    if (!rc)
        rc = get_int(file, "floor_db", 1, 200, 1, &floor_db, err);
    if (rc)
        return rc;
    config->floor = (float)(floor_db * log(10.0) / 10.0);
    const char *norm;
    rc = get_text(file, "band_norm", &norm, err);
    if (rc)
        return rc;
    config->band_mean = strcmp(norm, "mean") == 0;
    if (!config->band_mean && strcmp(norm, "none") != 0)
        return err_set(err, ERR_MODEL, "metadata band_norm is \"%.20s\", not mean or none", norm);
    return ERR_OK;
}

/* The network over a window's statistics: two hidden layers. */
static enum err_code read_detail(const struct st_file *file, struct nn_config *config,
                                 struct err *err)
{
    int hidden[NN_STAGES_MAX], n = 0;
    enum err_code rc = get_list(file, "detail_hidden", NN_CHANNELS_UNIT, NN_HIDDEN_MAX,
                                NN_CHANNELS_UNIT, hidden, &n, err);
    if (rc)
        return rc;
    size_t samples = nn_window_samples(&config->shape);
    if (n != 2 || config->shape.sample_rate != NN_DETAIL_RATE || samples < NN_DETAIL_RATE)
        return err_set(err, ERR_MODEL,
                       "statistics of a window need two hidden layers, %d Hz and a second",
                       NN_DETAIL_RATE);
    memcpy(config->detail_hidden, hidden, sizeof config->detail_hidden);
    config->gated = st_find(file, "gate.weight") != NULL;
    return ERR_OK;
}

enum err_code nn_config_read(const struct st_file *file, struct nn_config *ret, struct err *err)
{
    struct nn_config config = {0};
    int stages = 0;
    enum err_code rc = get_exact(file, "format", "sonde-detector/1", err);
    if (!rc)
        rc = get_exact(file, "arch", "resnet-attn", err);
    if (!rc)
        rc = read_front(file, &config, err);
    if (!rc)
        rc = get_int(file, "stem_channels", NN_CHANNELS_UNIT, NN_CHANNELS_MAX, NN_CHANNELS_UNIT,
                     &config.stem_channels, err);
    if (!rc)
        rc = get_list(file, "stage_channels", NN_CHANNELS_UNIT, NN_CHANNELS_MAX, NN_CHANNELS_UNIT,
                      config.channels, &config.stages, err);
    if (!rc)
        rc = get_list(file, "stage_blocks", 0, NN_BLOCKS_MAX, 1, config.blocks, &stages, err);
    if (!rc)
        rc = get_int(file, "attn_hidden", 1, NN_HIDDEN_MAX, 1, &config.attn_hidden, err);
    if (!rc)
        rc = get_int(file, "fc_hidden", 1, NN_HIDDEN_MAX, 1, &config.fc_hidden, err);
    if (!rc && st_meta(file, "detail_hidden"))
        rc = read_detail(file, &config, err);
    if (!rc && stages != config.stages)
        rc = err_set(err, ERR_MODEL, "stage_channels has %d numbers, stage_blocks %d",
                     config.stages, stages);
    if (!rc)
        *ret = config;
    return rc;
}

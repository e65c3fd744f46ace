/* Peaks and spectrogram in fixed memory.
 *
 * Both are a strip of cells over time, and a cell is a row of maxima; the lowest sample is kept as
 * the maximum of the negated samples. When the strip is full, neighbours are merged and the cells
 * get twice as long. Maxima are exact and can be taken in any order, which is why the cut of the
 * feed does not matter. There are twice as many cells as columns, so that dividing the cells into
 * columns moves an edge by half a column at most. */
#include "picture.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"

#define CELLS        (2 * PICTURE_MAX_COLUMNS)
#define CELL_SAMPLES 160 /* of the finest peaks: 10 ms, as a frame */
#define LANES        8

struct strip {
    float *cells;    /* CELLS rows of `width` */
    size_t width;    /* values in a cell */
    size_t count;    /* cells begun */
    size_t finest;   /* units (samples or frames) in a cell to begin with */
    size_t per_cell; /* and now */
    size_t in_last;  /* units in the last cell */
};

struct picture {
    struct strip peaks; /* per cell: maximum of -x, maximum of x; unit: sample */
    struct strip bands; /* per cell: maximum of each log band; unit: frame */
};

static int strip_init(struct strip *s, size_t width, size_t finest)
{
    *s = (struct strip){.width = width, .finest = finest, .per_cell = finest};
    s->cells = try_alloc(CELLS * width, sizeof *s->cells);
    return s->cells ? 0 : -1;
}

static void strip_reset(struct strip *s)
{
    s->count = s->in_last = 0;
    s->per_cell = s->finest;
}

static void take_maxima(float *into, const float *from, size_t width)
{
    for (size_t i = 0; i < width; i++)
        into[i] = from[i] > into[i] ? from[i] : into[i];
}

/* Only when every cell is full. */
static void strip_halve(struct strip *s)
{
    for (size_t c = 0; c < CELLS / 2; c++) {
        float *to = s->cells + c * s->width;
        memmove(to, s->cells + 2 * c * s->width, s->width * sizeof *to);
        take_maxima(to, s->cells + (2 * c + 1) * s->width, s->width);
    }
    s->count = CELLS / 2;
    s->per_cell *= 2;
    s->in_last = s->per_cell;
}

/* The cell for the next unit, and how many units it has room for. */
static float *strip_cell(struct strip *s, size_t *ret_room)
{
    if (s->count == 0 || s->in_last == s->per_cell) {
        if (s->count == CELLS)
            strip_halve(s);
        float *cell = s->cells + s->count++ * s->width;
        for (size_t i = 0; i < s->width; i++)
            cell[i] = -INFINITY;
        s->in_last = 0;
    }
    *ret_room = s->per_cell - s->in_last;
    return s->cells + (s->count - 1) * s->width;
}

enum err_code picture_new(struct picture **ret, struct err *err)
{
    struct picture *p = xalloc(sizeof *p);
    if (strip_init(&p->peaks, 2, CELL_SAMPLES) < 0 || strip_init(&p->bands, PICTURE_BANDS, 1) < 0) {
        picture_free(p);
        return err_set(err, ERR_NO_MEMORY, "no memory for a picture");
    }
    *ret = p;
    return ERR_OK;
}

struct picture *picture_free(struct picture *p)
{
    if (p) {
        free(p->peaks.cells);
        free(p->bands.cells);
        free(p);
    }
    return NULL;
}

void picture_reset(struct picture *p)
{
    strip_reset(&p->peaks);
    strip_reset(&p->bands);
}

/* In lanes, which the compiler makes vectors of: one maximum after the other would wait for each.
 */
static void find_extremes(const float *x, size_t n, float *low_high)
{
    float low[LANES], high[LANES];
    for (size_t k = 0; k < LANES; k++)
        low[k] = high[k] = -INFINITY;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            float v = x[i + k];
            low[k] = -v > low[k] ? -v : low[k];
            high[k] = v > high[k] ? v : high[k];
        }
    for (size_t k = 0; i < n; i++, k++) {
        low[k] = -x[i] > low[k] ? -x[i] : low[k];
        high[k] = x[i] > high[k] ? x[i] : high[k];
    }
    for (size_t k = 0; k < LANES; k++) {
        low_high[0] = low[k] > low_high[0] ? low[k] : low_high[0];
        low_high[1] = high[k] > low_high[1] ? high[k] : low_high[1];
    }
}

void picture_add_samples(struct picture *p, const float *samples, size_t n)
{
    while (n > 0) {
        size_t room, take;
        float *cell = strip_cell(&p->peaks, &room);
        take = room < n ? room : n;
        find_extremes(samples, take, cell);
        p->peaks.in_last += take;
        samples += take;
        n -= take;
    }
}

void picture_add_frames(struct picture *p, const float *logband, const float *power, size_t frames,
                        int bands)
{
    size_t width = bands < PICTURE_BANDS ? (size_t)bands : PICTURE_BANDS;
    for (size_t f = 0; f < frames; f++) {
        size_t room;
        float *cell = strip_cell(&p->bands, &room);
        if (power[f] > 0)
            take_maxima(cell, logband + f * (size_t)bands, width);
        p->bands.in_last++;
    }
}

static size_t strip_columns(const struct strip *s)
{
    return s->count < PICTURE_MAX_COLUMNS ? s->count : PICTURE_MAX_COLUMNS;
}

/* Maxima of all cells of one of the strip's columns. */
static void strip_column(const struct strip *s, size_t column, float *out)
{
    size_t columns = strip_columns(s);
    size_t from = column * s->count / columns, to = (column + 1) * s->count / columns;
    memcpy(out, s->cells + from * s->width, s->width * sizeof *out);
    for (size_t c = from + 1; c < to; c++)
        take_maxima(out, s->cells + c * s->width, s->width);
}

/* Takes over `bytes` (NULL: memory is gone). */
static json_t *base64_json(unsigned char *bytes, size_t n)
{
    _cleanup_free_ unsigned char *in = bytes;
    _cleanup_free_ unsigned char *text = try_alloc((n + 2) / 3 * 4 + 1, 1);
    if (!in || !text)
        return NULL;
    int length = n > 0 ? EVP_EncodeBlock(text, in, (int)n) : 0;
    return json_stringn((const char *)text, (size_t)length);
}

static int to_s8(float x)
{
    return (int)lrintf(127 * fminf(fmaxf(x, -1), 1));
}

static json_t *peaks_json(const struct strip *s)
{
    size_t columns = strip_columns(s);
    unsigned char *bytes = try_alloc(2 * columns + 1, 1);
    for (size_t c = 0; bytes && c < columns; c++) {
        float cell[2];
        strip_column(s, c, cell);
        bytes[2 * c] = (unsigned char)(int8_t)to_s8(-cell[0]);
        bytes[2 * c + 1] = (unsigned char)(int8_t)to_s8(cell[1]);
    }
    return base64_json(bytes, 2 * columns);
}

/* ln power of the loudest cell; -INFINITY when there was nothing but silence. */
static float loudest(const struct strip *s)
{
    float top = -INFINITY;
    for (size_t i = 0; i < s->count * s->width; i++)
        top = s->cells[i] > top ? s->cells[i] : top;
    return top;
}

static json_t *bands_json(const struct strip *s)
{
    const float to_db = 4.342944819f; /* 10 / ln 10 */
    size_t columns = strip_columns(s), n = 0;
    float top = loudest(s), cell[PICTURE_BANDS];
    unsigned char *bytes = try_alloc(columns * PICTURE_BANDS + 1, 1);
    for (size_t c = 0; bytes && c < columns; c++) {
        strip_column(s, c, cell);
        for (size_t b = 0; b < PICTURE_BANDS; b++, n++) {
            float above = to_db * (cell[b] - top) - PICTURE_FLOOR_DB; /* the floor; NaN: silence */
            bytes[n] = above > 0 ? (unsigned char)lrintf(255 * above / -PICTURE_FLOOR_DB) : 0;
        }
    }
    return base64_json(bytes, columns * PICTURE_BANDS);
}

/* {columns, data}; NULL when memory is gone. Takes over `data`. */
static json_t *strip_json(const struct strip *s, json_t *data)
{
    json_t *json = data ? json_object() : NULL;
    if (!json) {
        json_decref(data);
        return NULL;
    }
    int failed = json_object_set_new(json, "columns", json_integer((json_int_t)strip_columns(s)));
    failed |= json_object_set_new(json, "data", data);
    if (failed) {
        json_decref(json);
        return NULL;
    }
    return json;
}

json_t *picture_json(const struct picture *p, double duration_s)
{
    json_t *peaks = strip_json(&p->peaks, peaks_json(&p->peaks));
    json_t *bands = strip_json(&p->bands, bands_json(&p->bands));
    json_t *json = json_object();
    int failed = json_object_set_new(bands, "bands", json_integer(PICTURE_BANDS));
    failed |= json_object_set_new(bands, "top_hz", json_integer(PICTURE_TOP_HZ));
    failed |= json_object_set_new(bands, "floor_db", json_integer(PICTURE_FLOOR_DB));
    failed |= json_object_set_new(json, "duration_s", json_real(duration_s));
    failed |= json_object_set_new(json, "peaks", peaks); /* fails for NULL, too */
    failed |= json_object_set_new(json, "spectrogram", bands);
    if (failed) {
        json_decref(json);
        return NULL;
    }
    return json;
}

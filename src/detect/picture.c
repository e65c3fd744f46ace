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
#include <stdio.h>
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

/* Appends the base64 of n bytes to the text; there is room. */
static char *put_base64(char *at, const unsigned char *bytes, size_t n)
{
    if (n > 0)
        at += EVP_EncodeBlock((unsigned char *)at, bytes, (int)n);
    return at;
}

static size_t base64_size(size_t n)
{
    return (n + 2) / 3 * 4 + 1;
}

static int to_s8(float x)
{
    return (int)lrintf(127 * fminf(fmaxf(x, -1), 1));
}

static void peak_bytes(const struct strip *s, unsigned char *bytes)
{
    for (size_t c = 0; c < strip_columns(s); c++) {
        float cell[2];
        strip_column(s, c, cell);
        bytes[2 * c] = (unsigned char)(int8_t)to_s8(-cell[0]);
        bytes[2 * c + 1] = (unsigned char)(int8_t)to_s8(cell[1]);
    }
}

/* ln power of the loudest cell; -INFINITY when there was nothing but silence. */
static float loudest(const struct strip *s)
{
    float top = -INFINITY;
    for (size_t i = 0; i < s->count * s->width; i++)
        top = s->cells[i] > top ? s->cells[i] : top;
    return top;
}

static void band_bytes(const struct strip *s, unsigned char *bytes)
{
    const float to_db = 4.342944819f; /* 10 / ln 10 */
    float top = loudest(s), cell[PICTURE_BANDS];
    for (size_t c = 0; c < strip_columns(s); c++, bytes += PICTURE_BANDS) {
        strip_column(s, c, cell);
        for (size_t b = 0; b < PICTURE_BANDS; b++) {
            float above = to_db * (cell[b] - top) - PICTURE_FLOOR_DB; /* the floor; NaN: silence */
            bytes[b] = above > 0 ? (unsigned char)(255 * above / -PICTURE_FLOOR_DB + 0.5f)
                                 : 0; /* to 255 */
        }
    }
}

/* As a JSON number, with as many digits as bring the same number back. */
static void print_number(double x, char *ret, size_t size)
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(ret, size, "%.*g", digits, x);
        if (strtod(ret, NULL) == x)
            break;
    }
    if (!strpbrk(ret, ".e"))
        snprintf(ret, size, "%.1f", x);
}

/* Nine tenths of the text are base64, which needs no escaping: written at once, it costs a quarter
 * of what building and printing a tree of JSON values does. */
char *picture_text(const struct picture *p, double duration_s)
{
    size_t n_peaks = 2 * strip_columns(&p->peaks),
           n_bands = PICTURE_BANDS * strip_columns(&p->bands);
    char number[40];
    const size_t frame = 256; /* all but the data */
    _cleanup_free_ unsigned char *bytes = try_alloc(n_peaks + n_bands + 1, 1);
    char *text = try_alloc(base64_size(n_peaks) + base64_size(n_bands) + frame, 1), *at = text;
    if (!bytes || !text) {
        free(text);
        return NULL;
    }
    peak_bytes(&p->peaks, bytes);
    band_bytes(&p->bands, bytes + n_peaks);
    print_number(isfinite(duration_s) ? duration_s : 0, number, sizeof number);
    at += snprintf(at, frame, "{\"duration_s\":%s,\"peaks\":{\"columns\":%zu,\"data\":\"", number,
                   strip_columns(&p->peaks));
    at = put_base64(at, bytes, n_peaks);
    at += snprintf(at, frame / 2,
                   "\"},\"spectrogram\":{\"columns\":%zu,\"bands\":%d,\"top_hz\":%d,"
                   "\"floor_db\":%d,\"data\":\"",
                   strip_columns(&p->bands), PICTURE_BANDS, PICTURE_TOP_HZ, PICTURE_FLOOR_DB);
    at = put_base64(at, bytes + n_peaks, n_bands);
    memcpy(at, "\"}}", sizeof "\"}}");
    return text;
}

/* What a page draws of a recording: the waveform's peaks and a spectrogram, gathered while it is
 * analysed.
 *
 *   struct picture *p;  picture_new(&p, &err);
 *   analysis_draw(analysis, p);                              (detector.h) feeds it from then on
 *   detect_file(analysis, …, &detection, …);
 *   char *text = picture_text(p, detection.duration_s);      the shape that docs/api.md promises
 *   picture_free(p);
 *
 * The memory is fixed (2 MB) for any length: cells of 10 ms are merged in pairs, and their length
 * doubled, whenever there would be too many. A cell keeps extremes only (the loudest value of each
 * band, the lowest and the highest sample), so a click stays visible in hours of silence, and the
 * way in which a recording is cut into pieces cannot change the picture.
 *
 * One thread at a time.
 */
#ifndef SONDE_DETECT_PICTURE_H
#define SONDE_DETECT_PICTURE_H

#include <stddef.h>

#include "../base/err.h"

#define PICTURE_MAX_COLUMNS 2000
#define PICTURE_BANDS       128  /* of the front end: 62.5 Hz each, the lowest first */
#define PICTURE_TOP_HZ      8000 /* upper edge of the highest */
#define PICTURE_FLOOR_DB    -80  /* below the loudest cell of the recording: drawn as nothing */

struct picture;

/* An empty picture, to be freed with picture_free. ERR_NO_MEMORY. */
enum err_code picture_new(struct picture **ret, struct err *err) MUST_CHECK;
/* NULL is fine. Returns NULL. No analysis may be feeding it any more. */
struct picture *picture_free(struct picture *picture);
/* Forgets what was added: ready for the next recording. */
void picture_reset(struct picture *picture);

/* The next n samples, 16 kHz mono, nominally -1..1 (what exceeds that is drawn at the edge). */
void picture_add_samples(struct picture *picture, const float *samples, size_t n);
/* The next frames, one per 10 ms, as nn_frames gives them: natural logs of the band powers, frame
 * after frame, and the power of each frame. `bands` is PICTURE_BANDS; of any other number nothing
 * is drawn above the smaller one. A frame of power 0 (digital silence) is drawn as nothing, even
 * when the rest of the recording is hardly louder. */
void picture_add_frames(struct picture *picture, const float *logband, const float *power,
                        size_t frames, int bands);

/* The JSON of docs/api.md ("The picture"): duration_s, peaks, spectrogram, with base64 data. The
 * columns divide the duration evenly; a column's edge is right to 10 ms, or to 1/2000 of a
 * recording of more than 20 s. 0 dB is the loudest cell of the recording. A recording too short
 * for a frame (25 ms) has a spectrogram of 0 columns; without a sample the peaks have 0, too. The
 * caller frees the text; NULL when memory is gone. Does not change the picture. */
char *picture_text(const struct picture *picture, double duration_s);

#endif

/* Manifests: which recordings an evaluation reads, and what each of them truly is.
 *
 * A manifest is a UTF-8 tsv with a header row. Two columns must be there:
 *   path   relative to the manifest's own folder, or absolute
 *   label  bona fide: bonafide bona-fide human real genuine 0
 *          spoof:     spoof fake synthetic 1                       (case does not matter)
 * Known besides: split kind system speaker language source orig_format orig_rate duration_s.
 * Other columns are read past. Column names are compared without case. A BOM, CRLF line ends and
 * empty lines are tolerated; a quote is an ordinary character; there is no escaping. `duration_s`
 * is a number of seconds, or one of "", "-", "na", "unknown".
 *
 * Or it is a folder with bonafide/ (human/, real/, genuine/) and spoof/ (fake/, synthetic/)
 * sub-folders: see manifest_from_folder.
 *
 * Whatever breaks these rules, or a limit below, is ERR_MANIFEST with the line's number.
 */
#ifndef SONDE_EVAL_MANIFEST_H
#define SONDE_EVAL_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"

#define MANIFEST_MAX_BYTES   ((size_t)256 * 1024 * 1024)
#define MANIFEST_MAX_ROWS    ((size_t)5000000)
#define MANIFEST_MAX_COLUMNS 64
#define MANIFEST_MAX_LINE    ((size_t)65536)
#define MANIFEST_MAX_CELL    ((size_t)4096) /* bytes; a path can be no longer (PATH_MAX) */

enum eval_label { EVAL_BONAFIDE = 0, EVAL_SPOOF = 1 };

enum manifest_column {
    MANIFEST_SPLIT,
    MANIFEST_KIND,
    MANIFEST_SYSTEM,
    MANIFEST_SPEAKER,
    MANIFEST_LANGUAGE,
    MANIFEST_SOURCE,
    MANIFEST_ORIG_FORMAT,
    MANIFEST_ORIG_RATE,
    MANIFEST_TEXT_COLUMNS
};

struct manifest_row {
    const char *path; /* as written; manifest_row_path makes it one to open */
    const char *text[MANIFEST_TEXT_COLUMNS]; /* "" where the column or the cell is empty */
    double duration_s;                       /* NaN where unknown */
    enum eval_label label;
    uint32_t line; /* of the file, from 1; 0 for a folder */
};

/* Owns everything that its rows point to. Read-only after parsing and filtering, so threads may
 * share it. */
struct manifest {
    struct manifest_row *rows;
    size_t count;
    unsigned char has[MANIFEST_TEXT_COLUMNS]; /* is the column there at all? */
    unsigned char has_duration;
    char *base_dir; /* what relative paths start from; NULL: the current folder */
    char *text;
};

enum err_code manifest_parse(const char *data, size_t len, struct manifest **ret,
                             struct err *err) MUST_CHECK;
/* A tsv file, or a folder (then as manifest_from_folder). */
enum err_code manifest_open(const char *path, struct manifest **ret, struct err *err) MUST_CHECK;
/* Every regular file below the label folders of `dir`, sorted by path. At least one label folder
 * must be there; several of one label add up; their names are compared without case. Files and
 * folders whose name starts with a dot are skipped, symbolic links to folders are not followed
 * (so there are no loops), links to files are. `source` becomes the first folder below the label
 * folder, `orig_format` the file name's extension in lower case. */
enum err_code manifest_from_folder(const char *dir, struct manifest **ret,
                                   struct err *err) MUST_CHECK;
void manifest_free(struct manifest *m);
void manifest_cleanup(struct manifest **m);

/* Keeps the rows that say "column=value" (split=valid, label=spoof). The value is compared
 * exactly, labels by meaning. ERR_USAGE for a column that is unknown or not in this manifest,
 * ERR_MANIFEST when no row is left. */
enum err_code manifest_filter(struct manifest *m, const char *expression,
                              struct err *err) MUST_CHECK;

/* The path to open; the caller frees it. */
char *manifest_row_path(const struct manifest *m, const struct manifest_row *row);

const char *manifest_column_name(enum manifest_column column);
/* 0, or -1 for a word that names no label. */
int eval_label_parse(const char *word, enum eval_label *ret);
const char *eval_label_name(enum eval_label label); /* "bonafide", "spoof" */

#endif

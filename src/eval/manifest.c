/* Reads manifests (manifest.h has the format).
 *
 * One copy of the file is cut up in place: every tab and line end becomes a NUL and the rows point
 * into the copy, so five million rows need one allocation for text and one for rows. The manifest
 * owns both. Any thread.
 */
#include "manifest.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../os/file.h"

static const char *const column_names[MANIFEST_TEXT_COLUMNS] = {
    [MANIFEST_SPLIT] = "split",
    [MANIFEST_KIND] = "kind",
    [MANIFEST_SYSTEM] = "system",
    [MANIFEST_SPEAKER] = "speaker",
    [MANIFEST_LANGUAGE] = "language",
    [MANIFEST_SOURCE] = "source",
    [MANIFEST_ORIG_FORMAT] = "orig_format",
    [MANIFEST_ORIG_RATE] = "orig_rate",
};

static const struct {
    const char *word;
    enum eval_label label;
} label_words[] = {
    {"bonafide", EVAL_BONAFIDE}, {"bona-fide", EVAL_BONAFIDE}, {"human", EVAL_BONAFIDE},
    {"real", EVAL_BONAFIDE},     {"genuine", EVAL_BONAFIDE},   {"0", EVAL_BONAFIDE},
    {"spoof", EVAL_SPOOF},       {"fake", EVAL_SPOOF},         {"synthetic", EVAL_SPOOF},
    {"1", EVAL_SPOOF},
};

/* What a column of the file is for; text columns count up from COL_TEXT. */
enum { COL_IGNORED = -4, COL_PATH, COL_LABEL, COL_DURATION, COL_TEXT };

struct parser {
    struct manifest *m;
    int column[MANIFEST_MAX_COLUMNS];
    size_t columns;
    size_t rows_cap;
    uint32_t line;
    struct err *err;
};

const char *manifest_column_name(enum manifest_column column)
{
    return (size_t)column < MANIFEST_TEXT_COLUMNS ? column_names[column] : "";
}

int eval_label_parse(const char *word, enum eval_label *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(label_words); i++)
        if (strcasecmp(word, label_words[i].word) == 0) {
            *ret = label_words[i].label;
            return 0;
        }
    return -1;
}

const char *eval_label_name(enum eval_label label)
{
    return label == EVAL_SPOOF ? "spoof" : "bonafide";
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    free(m->rows);
    free(m->base_dir);
    free(m->text);
    free(m);
}

void manifest_cleanup(struct manifest **m)
{
    manifest_free(*m);
}

static int text_column(const char *name)
{
    for (int i = 0; i < MANIFEST_TEXT_COLUMNS; i++)
        if (strcasecmp(name, column_names[i]) == 0)
            return i;
    return -1;
}

static int column_role(const char *name)
{
    if (strcasecmp(name, "path") == 0)
        return COL_PATH;
    if (strcasecmp(name, "label") == 0)
        return COL_LABEL;
    if (strcasecmp(name, "duration_s") == 0)
        return COL_DURATION;
    int text = text_column(name);
    return text < 0 ? COL_IGNORED : COL_TEXT + text;
}

/* Cuts one line into cells; the number of them, or -1 past a limit. */
static int split_cells(struct parser *p, char *line, char *cells[MANIFEST_MAX_COLUMNS])
{
    size_t n = 0;
    for (char *at = line; at;) {
        if (n == MANIFEST_MAX_COLUMNS) {
            err_set(p->err, ERR_MANIFEST, "line %u: more than %d columns", p->line,
                    MANIFEST_MAX_COLUMNS);
            return -1;
        }
        cells[n] = at;
        char *tab = strchr(at, '\t');
        size_t len = tab ? (size_t)(tab - at) : strlen(at);
        if (len > MANIFEST_MAX_CELL) {
            err_set(p->err, ERR_MANIFEST, "line %u: cell %zu is longer than %zu bytes", p->line,
                    n + 1, MANIFEST_MAX_CELL);
            return -1;
        }
        if (tab)
            *tab++ = '\0';
        at = tab;
        n++;
    }
    return (int)n;
}

static enum err_code parse_header(struct parser *p, char *line)
{
    char *cells[MANIFEST_MAX_COLUMNS];
    int n = split_cells(p, line, cells), path = 0, label = 0;
    if (n < 0)
        return ERR_MANIFEST;
    p->columns = (size_t)n;
    for (int i = 0; i < n; i++) {
        /* A nameless column (the row index that some programs write) may repeat. */
        for (int j = 0; j < i && cells[i][0]; j++)
            if (strcasecmp(cells[i], cells[j]) == 0)
                return err_set(p->err, ERR_MANIFEST, "line %u: two columns named \"%.40s\"",
                               p->line, cells[i]);
        int role = column_role(cells[i]);
        p->column[i] = role;
        path |= role == COL_PATH;
        label |= role == COL_LABEL;
        if (role >= COL_TEXT)
            p->m->has[role - COL_TEXT] = 1;
        if (role == COL_DURATION)
            p->m->has_duration = 1;
    }
    if (!path || !label)
        return err_set(p->err, ERR_MANIFEST, "line %u: the header has no column \"%s\"", p->line,
                       path ? "label" : "path");
    return ERR_OK;
}

static int parse_duration(const char *cell, double *ret)
{
    *ret = NAN;
    if (!cell[0] || strcmp(cell, "-") == 0 || strcasecmp(cell, "na") == 0 ||
        strcasecmp(cell, "unknown") == 0)
        return 0;
    char *end = NULL;
    double v = strtod(cell, &end);
    if (*end || !isfinite(v) || v < 0)
        return -1;
    *ret = v;
    return 0;
}

static enum err_code parse_row(struct parser *p, char *line)
{
    char *cells[MANIFEST_MAX_COLUMNS];
    int n = split_cells(p, line, cells);
    if (n < 0)
        return ERR_MANIFEST;
    if ((size_t)n != p->columns)
        return err_set(p->err, ERR_MANIFEST, "line %u: %d cells where the header has %zu", p->line,
                       n, p->columns);
    if (p->m->count >= MANIFEST_MAX_ROWS)
        return err_set(p->err, ERR_MANIFEST, "line %u: more than %zu rows", p->line,
                       MANIFEST_MAX_ROWS);
    if (try_grow(&p->m->rows, &p->rows_cap, p->m->count, sizeof *p->m->rows, MANIFEST_MAX_ROWS))
        return err_set(p->err, ERR_NO_MEMORY, "no memory for %zu rows", p->m->count + 1);
    struct manifest_row *row = &p->m->rows[p->m->count];
    *row = (struct manifest_row){.line = p->line, .duration_s = NAN};
    for (int c = 0; c < MANIFEST_TEXT_COLUMNS; c++)
        row->text[c] = "";
    for (int i = 0; i < n; i++) {
        int role = p->column[i];
        if (role == COL_PATH)
            row->path = cells[i];
        else if (role == COL_LABEL && eval_label_parse(cells[i], &row->label) < 0)
            return err_set(p->err, ERR_MANIFEST,
                           "line %u: label \"%.40s\" is neither bonafide nor spoof", p->line,
                           cells[i]);
        else if (role == COL_DURATION && parse_duration(cells[i], &row->duration_s) < 0)
            return err_set(p->err, ERR_MANIFEST,
                           "line %u: duration_s \"%.40s\" is no number of seconds", p->line,
                           cells[i]);
        else if (role >= COL_TEXT)
            row->text[role - COL_TEXT] = cells[i];
    }
    if (!row->path[0])
        return err_set(p->err, ERR_MANIFEST, "line %u: the path is empty", p->line);
    p->m->count++;
    return ERR_OK;
}

static uint32_t line_of(const char *text, size_t offset)
{
    uint32_t line = 1;
    for (size_t i = 0; i < offset; i++)
        line += text[i] == '\n';
    return line;
}

/* Parses m->text, which is `len` bytes and a NUL. */
static enum err_code parse_text(struct manifest *m, size_t len, struct err *err)
{
    struct parser p = {.m = m, .err = err};
    const char *nul = memchr(m->text, '\0', len);
    if (nul)
        return err_set(err, ERR_MANIFEST, "line %u: a NUL byte; this is no text file",
                       line_of(m->text, (size_t)(nul - m->text)));
    char *at = m->text, *end = m->text + len;
    if (len >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0)
        at += 3;
    while (at < end) {
        p.line++;
        char *stop = memchr(at, '\n', (size_t)(end - at));
        char *next = stop ? stop + 1 : end;
        size_t bytes = (size_t)((stop ? stop : end) - at);
        if (bytes > MANIFEST_MAX_LINE)
            return err_set(err, ERR_MANIFEST, "line %u: longer than %zu bytes", p.line,
                           MANIFEST_MAX_LINE);
        if (bytes > 0 && at[bytes - 1] == '\r')
            bytes--;
        at[bytes] = '\0';
        if (bytes > 0) {
            enum err_code code = p.columns ? parse_row(&p, at) : parse_header(&p, at);
            if (code)
                return code;
        }
        at = next;
    }
    if (!p.columns)
        return err_set(err, ERR_MANIFEST, "line 1: there is no header row");
    if (m->count == 0)
        return err_set(err, ERR_MANIFEST, "line %u: there are no rows after the header", p.line);
    return ERR_OK;
}

enum err_code manifest_parse(const char *data, size_t len, struct manifest **ret, struct err *err)
{
    if (len > MANIFEST_MAX_BYTES)
        return err_set(err, ERR_MANIFEST, "larger than the limit of %zu bytes", MANIFEST_MAX_BYTES);
    _cleanup_(manifest_cleanup) struct manifest *m = xalloc(sizeof *m);
    m->text = try_alloc(len + 1, 1);
    if (!m->text)
        return err_set(err, ERR_NO_MEMORY, "no memory for a manifest of %zu bytes", len);
    if (len > 0)
        memcpy(m->text, data, len);
    enum err_code code = parse_text(m, len, err);
    if (code)
        return code;
    *ret = STEAL(m);
    return ERR_OK;
}

static enum err_code read_text(int fd, size_t len, struct manifest *m, struct err *err)
{
    m->text = try_alloc(len + 1, 1);
    if (!m->text)
        return err_set(err, ERR_NO_MEMORY, "no memory for a manifest of %zu bytes", len);
    for (size_t have = 0; have < len;) {
        ssize_t n = read(fd, m->text + have, len - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, err_from_errno(errno), errno, "cannot read");
        if (n == 0)
            return err_set(err, ERR_IO, "the file became shorter while it was read");
        have += (size_t)n;
    }
    return ERR_OK;
}

static enum err_code open_file(const char *path, struct manifest **ret, struct err *err)
{
    _cleanup_close_ int fd = -1;
    uint64_t size = 0;
    enum err_code code = file_open_regular(path, &fd, &size, err);
    if (code)
        return code;
    if (size > MANIFEST_MAX_BYTES)
        return err_set(err, ERR_MANIFEST, "larger than the limit of %zu bytes", MANIFEST_MAX_BYTES);
    _cleanup_(manifest_cleanup) struct manifest *m = xalloc(sizeof *m);
    code = read_text(fd, (size_t)size, m, err);
    if (!code)
        code = parse_text(m, (size_t)size, err);
    if (code)
        return code;
    const char *slash = strrchr(path, '/');
    if (slash)
        m->base_dir = slash == path ? xstrdup("/") : strndup(path, (size_t)(slash - path));
    if (slash && !m->base_dir)
        return err_set(err, ERR_NO_MEMORY, "no memory for a path");
    *ret = STEAL(m);
    return ERR_OK;
}

enum err_code manifest_open(const char *path, struct manifest **ret, struct err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return manifest_from_folder(path, ret, err);
    enum err_code code = open_file(path, ret, err);
    if (code)
        err_prefix(err, "%s", path);
    return code;
}

char *manifest_row_path(const struct manifest *m, const struct manifest_row *row)
{
    if (row->path[0] == '/' || !m->base_dir)
        return xstrdup(row->path);
    size_t n = strlen(m->base_dir);
    return xasprintf("%s%s%s", m->base_dir, n && m->base_dir[n - 1] == '/' ? "" : "/", row->path);
}

enum err_code manifest_filter(struct manifest *m, const char *expression, struct err *err)
{
    const char *equals = strchr(expression, '=');
    char name[64] = "";
    if (!equals || equals == expression || (size_t)(equals - expression) >= sizeof name)
        return err_set(err, ERR_USAGE, "a filter is written column=value, not \"%.60s\"",
                       expression);
    memcpy(name, expression, (size_t)(equals - expression));
    int by_label = strcasecmp(name, "label") == 0, column = text_column(name);
    enum eval_label label = EVAL_BONAFIDE;
    if (by_label && eval_label_parse(equals + 1, &label) < 0)
        return err_set(err, ERR_USAGE, "label \"%.40s\" is neither bonafide nor spoof", equals + 1);
    if (!by_label && (column < 0 || !m->has[column]))
        return err_set(err, ERR_USAGE, "the manifest has no column \"%s\" to filter by", name);
    size_t kept = 0;
    for (size_t i = 0; i < m->count; i++)
        if (by_label ? m->rows[i].label == label : strcmp(m->rows[i].text[column], equals + 1) == 0)
            m->rows[kept++] = m->rows[i];
    m->count = kept;
    if (kept == 0)
        return err_set(err, ERR_MANIFEST, "no row has %.200s", expression);
    return ERR_OK;
}

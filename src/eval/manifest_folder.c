/* A folder as a manifest: bonafide/ and spoof/ walked to the bottom (manifest.h says how).
 *
 * The walk holds one open folder per level (MANIFEST_MAX_DEPTH bounds them) and opens each child
 * from its parent with O_NOFOLLOW, so a link can neither loop nor lead away between two steps.
 * Paths gather in one growing buffer; entries keep offsets until it no longer moves. Any thread.
 */
#include "manifest.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/mem.h"

struct entry {
    size_t path, source, format; /* offsets into walk.text */
    enum eval_label label;
};

struct walk {
    char *text;
    size_t text_len, text_cap;
    struct entry *entries;
    size_t count, cap;
    enum eval_label label;
    struct err *err;
};

static void walk_cleanup(struct walk *w)
{
    free(w->text);
    free(w->entries);
}

static void dir_cleanup(DIR **d)
{
    if (*d)
        closedir(*d);
}

static enum err_code put_text(struct walk *w, const char *s, size_t len, size_t *ret_offset)
{
    while (w->text_len + len + 1 > w->text_cap) {
        size_t cap = w->text_cap ? 2 * w->text_cap : 4096;
        char *grown = cap <= 2 * MANIFEST_MAX_BYTES ? realloc(w->text, cap) : NULL;
        if (!grown)
            return err_set(w->err, ERR_MANIFEST, "the paths need more than %zu bytes",
                           MANIFEST_MAX_BYTES);
        w->text = grown;
        w->text_cap = cap;
    }
    *ret_offset = w->text_len;
    memcpy(w->text + w->text_len, s, len);
    w->text[w->text_len + len] = '\0';
    w->text_len += len + 1;
    return ERR_OK;
}

/* `path` is "label folder/…/name". */
static enum err_code add_file(struct walk *w, const char *path)
{
    if (try_grow(&w->entries, &w->cap, w->count, sizeof *w->entries, MANIFEST_MAX_ROWS))
        return err_set(w->err, ERR_MANIFEST, "more than %zu files", MANIFEST_MAX_ROWS);
    struct entry *e = &w->entries[w->count];
    e->label = w->label;
    const char *below = strchr(path, '/') + 1, *slash = strchr(below, '/');
    const char *name = strrchr(path, '/') + 1, *dot = strrchr(name, '.');
    enum err_code code = put_text(w, path, strlen(path), &e->path);
    if (!code)
        code = put_text(w, below, slash ? (size_t)(slash - below) : 0, &e->source);
    if (!code)
        code = put_text(w, dot ? dot + 1 : "", dot ? strlen(dot + 1) : 0, &e->format);
    if (code)
        return code;
    for (char *c = w->text + e->format; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    w->count++;
    return ERR_OK;
}

static enum err_code walk_folder(struct walk *w, int parent, const char *name, const char *path,
                                 int depth, int flags);

static enum err_code walk_entry(struct walk *w, int dir, const char *name, const char *path,
                                int depth)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return ERR_OK; /* it went away meanwhile */
    if (S_ISDIR(st.st_mode))
        return walk_folder(w, dir, name, path, depth + 1, O_NOFOLLOW);
    if (S_ISLNK(st.st_mode) && fstatat(dir, name, &st, 0) < 0)
        return ERR_OK;
    return S_ISREG(st.st_mode) ? add_file(w, path) : ERR_OK;
}

static enum err_code walk_folder(struct walk *w, int parent, const char *name, const char *path,
                                 int depth, int flags)
{
    if (depth > MANIFEST_MAX_DEPTH)
        return err_set(w->err, ERR_MANIFEST, "%.150s: more than %d folders deep", path,
                       MANIFEST_MAX_DEPTH);
    _cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
    if (fd < 0)
        return err_set_errno(w->err, err_from_errno(errno), errno, "%.150s", path);
    _cleanup_(dir_cleanup) DIR *d = fdopendir(fd);
    if (!d)
        return err_set_errno(w->err, ERR_IO, errno, "%.150s", path);
    fd = -1; /* now the DIR's */
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e && errno)
            return err_set_errno(w->err, ERR_IO, errno, "%.150s", path);
        if (!e)
            return ERR_OK;
        if (e->d_name[0] == '.')
            continue;
        _cleanup_free_ char *child = xasprintf("%s/%s", path, e->d_name);
        if (strlen(child) > MANIFEST_MAX_CELL)
            return err_set(w->err, ERR_MANIFEST, "a path is longer than %zu bytes",
                           MANIFEST_MAX_CELL);
        enum err_code code = walk_entry(w, dirfd(d), e->d_name, child, depth);
        if (code)
            return code;
    }
}

static int entry_cmp(const void *a, const void *b, void *text)
{
    const struct entry *x = a, *y = b;
    return strcmp((char *)text + x->path, (char *)text + y->path);
}

static enum err_code build(struct walk *w, const char *dir, struct manifest **ret)
{
    _cleanup_(manifest_cleanup) struct manifest *m = xalloc(sizeof *m);
    m->rows = try_alloc(w->count, sizeof *m->rows);
    if (!m->rows)
        return err_set(w->err, ERR_NO_MEMORY, "no memory for %zu rows", w->count);
    qsort_r(w->entries, w->count, sizeof *w->entries, entry_cmp, w->text);
    m->text = STEAL(w->text);
    m->count = w->count;
    for (size_t i = 0; i < w->count; i++) {
        const struct entry *e = &w->entries[i];
        struct manifest_row *row = &m->rows[i];
        *row =
            (struct manifest_row){.path = m->text + e->path, .label = e->label, .duration_s = NAN};
        for (int c = 0; c < MANIFEST_TEXT_COLUMNS; c++)
            row->text[c] = "";
        row->text[MANIFEST_SOURCE] = m->text + e->source;
        row->text[MANIFEST_ORIG_FORMAT] = m->text + e->format;
        m->has[MANIFEST_SOURCE] |= row->text[MANIFEST_SOURCE][0] != '\0';
    }
    m->has[MANIFEST_ORIG_FORMAT] = 1;
    m->base_dir = xstrdup(dir);
    *ret = STEAL(m);
    return ERR_OK;
}

enum err_code manifest_from_folder(const char *dir, struct manifest **ret, struct err *err)
{
    _cleanup_(walk_cleanup) struct walk w = {.err = err};
    _cleanup_(dir_cleanup) DIR *d = opendir(dir);
    if (!d)
        return err_set_errno(err, err_from_errno(errno), errno, "%.150s", dir);
    int label_folders = 0;
    for (const struct dirent *e; (e = readdir(d));) {
        struct stat st;
        /* "0" and "1" are labels in a table, but folders of other meanings in many a data set. */
        if (isdigit((unsigned char)e->d_name[0]) || eval_label_parse(e->d_name, &w.label) < 0)
            continue;
        if (fstatat(dirfd(d), e->d_name, &st, 0) < 0 || !S_ISDIR(st.st_mode))
            continue;
        label_folders++;
        enum err_code code = walk_folder(&w, dirfd(d), e->d_name, e->d_name, 0, 0);
        if (code)
            return code;
    }
    if (!label_folders)
        return err_set(err, ERR_MANIFEST, "%.150s: has no folder bonafide/ or spoof/ in it", dir);
    if (w.count == 0)
        return err_set(err, ERR_MANIFEST, "%.150s: bonafide/ and spoof/ hold no files", dir);
    return build(&w, dir, ret);
}

/* A folder as a manifest: bonafide/ and spoof/ walked to the bottom (manifest.h says how; os/walk.h
 * does the walking). Any thread.
 */
#include "manifest.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../base/mem.h"
#include "../os/walk.h"

/* One label folder's files. */
struct labelled {
    struct walk_list files; /* dir/label folder/…/name */
    enum eval_label label;
};
#define MAX_LABEL_FOLDERS 32 /* every spelling of every label, and then some */

struct label_folders {
    struct labelled folders[MAX_LABEL_FOLDERS];
    size_t count;
};

static void folders_cleanup(struct label_folders *f)
{
    for (size_t i = 0; i < f->count; i++)
        walk_list_done(&f->folders[i].files);
}

static void dir_cleanup(DIR **d)
{
    if (*d)
        closedir(*d);
}

static enum err_code find_label_folders(const char *dir, struct label_folders *found,
                                        struct err *err)
{
    _cleanup_(dir_cleanup) DIR *d = opendir(dir);
    if (!d)
        return err_set_errno(err, err_from_errno(errno), errno, "%.150s", dir);
    for (const struct dirent *e; (e = readdir(d)) && found->count < MAX_LABEL_FOLDERS;) {
        struct labelled *folder = &found->folders[found->count];
        struct stat st;
        /* "0" and "1" are labels in a table, but folders of other meanings in many a data set. */
        if (isdigit((unsigned char)e->d_name[0]) || eval_label_parse(e->d_name, &folder->label) < 0)
            continue;
        if (fstatat(dirfd(d), e->d_name, &st, 0) < 0 || !S_ISDIR(st.st_mode))
            continue;
        found->count++;
        _cleanup_free_ char *path = xasprintf("%s/%s", dir, e->d_name);
        enum err_code rc = walk_folder(path, NULL, NULL, &folder->files, err);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

/* Copies `len` bytes and a NUL to *at, and moves *at behind them. */
static const char *put_text(char **at, const char *s, size_t len)
{
    char *start = memcpy(*at, s, len);
    start[len] = '\0';
    *at += len + 1;
    return start;
}

/* `path` is "label folder/…/name". */
static void fill_row(struct manifest_row *row, const char *path, enum eval_label label, char **at)
{
    const char *below = strchr(path, '/') + 1, *slash = strchr(below, '/');
    const char *name = strrchr(path, '/') + 1, *dot = strrchr(name, '.');
    *row = (struct manifest_row){.label = label, .duration_s = NAN};
    for (int c = 0; c < MANIFEST_TEXT_COLUMNS; c++)
        row->text[c] = "";
    row->path = put_text(at, path, strlen(path));
    row->text[MANIFEST_SOURCE] = put_text(at, below, slash ? (size_t)(slash - below) : 0);
    char *format = *at;
    row->text[MANIFEST_ORIG_FORMAT] = put_text(at, dot ? dot + 1 : "", dot ? strlen(dot + 1) : 0);
    for (; *format; format++)
        *format = (char)tolower((unsigned char)*format);
}

static int by_path(const void *a, const void *b)
{
    const struct manifest_row *x = a, *y = b;
    return strcmp(x->path, y->path);
}

static enum err_code build(const struct label_folders *found, const char *dir, size_t count,
                           struct manifest **ret, struct err *err)
{
    _cleanup_(manifest_cleanup) struct manifest *m = xalloc(sizeof *m);
    size_t prefix = strlen(dir) + 1, bytes = 0;
    for (size_t i = 0; i < found->count; i++)
        for (size_t f = 0; f < found->folders[i].files.count; f++)
            bytes += 3 * (strlen(found->folders[i].files.paths[f]) + 1); /* path, source, format */
    m->rows = try_alloc(count, sizeof *m->rows);
    m->text = try_alloc(bytes, 1);
    if (!m->rows || !m->text)
        return err_set(err, ERR_NO_MEMORY, "no memory for %zu rows", count);
    char *at = m->text;
    for (size_t i = 0; i < found->count; i++)
        for (size_t f = 0; f < found->folders[i].files.count; f++)
            fill_row(&m->rows[m->count++], found->folders[i].files.paths[f] + prefix,
                     found->folders[i].label, &at);
    qsort(m->rows, m->count, sizeof *m->rows, by_path);
    for (size_t i = 0; i < m->count; i++)
        m->has[MANIFEST_SOURCE] |= m->rows[i].text[MANIFEST_SOURCE][0] != '\0';
    m->has[MANIFEST_ORIG_FORMAT] = 1;
    m->base_dir = xstrdup(dir);
    *ret = STEAL(m);
    return ERR_OK;
}

enum err_code manifest_from_folder(const char *dir, struct manifest **ret, struct err *err)
{
    _cleanup_(folders_cleanup) struct label_folders found = {0};
    enum err_code rc = find_label_folders(dir, &found, err);
    size_t count = 0;
    for (size_t i = 0; i < found.count; i++)
        count += found.folders[i].files.count;
    if (rc != ERR_OK)
        return rc;
    if (found.count == 0)
        return err_set(err, ERR_MANIFEST, "%.150s: has no folder bonafide/ or spoof/ in it", dir);
    if (count == 0)
        return err_set(err, ERR_MANIFEST, "%.150s: bonafide/ and spoof/ hold no files", dir);
    return build(&found, dir, count, ret, err);
}

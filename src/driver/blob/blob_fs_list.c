/* The walk through a bucket: folders relative to their parents' descriptors, files as keys.
 *
 * Others put and delete meanwhile: what vanishes between two steps is left out. Foreign files,
 * whose names are no keys, are left out too. Symbolic links are not followed. Any thread. */
#include "blob_fs_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../base/mem.h"

struct walk {
    blob_each *each;
    void *ctx;
    char key[512]; /* longer than a key may be, plus a name */
    int stopped;
};

static void cleanup_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static enum err_code walk_folder(struct walk *w, int parent, const char *name, size_t len,
                                 struct err *err);

/* One entry, whose name stands at w->key + len. */
static enum err_code visit(struct walk *w, int folder, size_t len, struct err *err)
{
    struct stat st;
    const char *name = w->key + len;
    if (!blob_key_valid(w->key) || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return ERR_OK;
    if (S_ISDIR(st.st_mode))
        return walk_folder(w, folder, name, len + strlen(name), err);
    if (S_ISREG(st.st_mode))
        w->stopped = w->each(w->ctx, w->key, (uint64_t)st.st_size,
                             (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000);
    return ERR_OK;
}

/* `len` characters of w->key are the path of this folder. Depth is bounded by the key's length. */
static enum err_code walk_folder(struct walk *w, int parent, const char *name, size_t len,
                                 struct err *err)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && len > 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return ERR_OK;
    _cleanup_(cleanup_dir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        enum err_code rc = err_set_errno(err, err_from_errno(errno), errno, "cannot read a folder");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (!w->stopped) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry)
            return errno ? err_set_errno(err, ERR_IO, errno, "cannot read a folder") : ERR_OK;
        int n = snprintf(w->key + len, sizeof w->key - len, "%s%s", len ? "/" : "", entry->d_name);
        if (n < 0 || (size_t)n >= sizeof w->key - len)
            continue;
        enum err_code rc = visit(w, dirfd(dir), len + (len > 0), err);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

enum err_code blob_fs_walk(const char *path, blob_each *each, void *ctx, struct err *err)
{
    struct walk w = {.each = each, .ctx = ctx};
    return walk_folder(&w, AT_FDCWD, path, 0, err);
}

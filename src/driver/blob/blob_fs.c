/* Blobs as files: <root>/<bucket>/<key>, made in <root>/tmp and moved into place.
 *
 * Order of a put: the file's bytes reach the disk (fsync), its name changes (rename, atomic), the
 * folder's entry reaches the disk (fsync). Whoever looks meanwhile sees the old whole file or the
 * new one; after a crash there is at most a file in tmp, which the next start removes.
 *
 * A file of the caller is not renamed but linked: so it is still in its place when a later step
 * fails. Folders that become empty are removed; a put whose folder vanishes under it makes it
 * again.
 *
 * The store is stateless but for a lock on tmp, which tells whether another process works in it,
 * and a mutex for making folders: who finds a folder must be able to rely on it being durable. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../base/id.h"
#include "../../base/mem.h"
#include "../../os/disk.h"
#include "blob_driver.h"
#include "blob_fs_list.h"

#define COPY_STEP   (256 * 1024)
#define PLACE_TRIES 1000 /* each needs another delete in the same folder at the same moment */
#define TOKEN_TEXT  25

struct blob_dir {
    char *root;
    int tmp_fd; /* <root>/tmp, with a shared lock */
    pthread_mutex_t folders;
};

/* The code for a failed write: whoever may not write sees a read-only store. */
static enum err_code write_code(int errnum)
{
    enum err_code code = disk_err_code(errnum);
    return code == ERR_PERMISSION ? ERR_READ_ONLY : code;
}

static enum err_code fail(struct err *err, int errnum, const char *what)
{
    return err_set_errno(err, write_code(errnum), errnum, "cannot %s", what);
}

/* tmp belongs to whoever is alone in it: leftovers go only then. */
static enum err_code claim_tmp(struct blob_dir *dir, const char *path, struct err *err)
{
    dir->tmp_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->tmp_fd < 0)
        return err_set_errno(err, write_code(errno), errno, "cannot open %.150s", path);
    if (flock(dir->tmp_fd, LOCK_EX | LOCK_NB) == 0) {
        enum err_code rc = disk_clear_folder(path, NULL, err);
        if (rc != ERR_OK)
            return rc;
    }
    while (flock(dir->tmp_fd, LOCK_SH) < 0)
        if (errno != EINTR)
            return err_set_errno(err, ERR_IO, errno, "cannot lock %.150s", path);
    return ERR_OK;
}

static void fs_close(void *self)
{
    struct blob_dir *dir = self;
    if (dir->tmp_fd >= 0)
        close(dir->tmp_fd);
    pthread_mutex_destroy(&dir->folders);
    free(dir->root);
    free(dir);
}

static enum err_code fs_open_store(const struct blob_options *options, const char *rest,
                                   void **ret_self, struct err *err)
{
    (void)options;
    if (rest[0] == '\0')
        return err_set(err, ERR_USAGE, "fs: needs a folder, as in fs:/path/to/folder");
    struct blob_dir *dir = xalloc(sizeof *dir);
    dir->root = xstrdup(rest);
    dir->tmp_fd = -1;
    pthread_mutex_init(&dir->folders, NULL);
    _cleanup_free_ char *tmp = xasprintf("%s/tmp", rest);
    enum err_code rc = disk_make_folder(tmp, err);
    for (int i = 0; rc == ERR_OK && i < BLOB_BUCKETS; i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", rest, blob_bucket_name(i));
        rc = disk_make_folder(path, err);
    }
    if (rc == ERR_OK)
        rc = claim_tmp(dir, tmp, err);
    if (rc != ERR_OK) {
        fs_close(dir);
        return rc;
    }
    *ret_self = dir;
    return ERR_OK;
}

/* "<root>/<bucket>/<key>"; ret_bucket_len: where the bucket's own path ends. */
static char *path_of(const struct blob_dir *dir, enum blob_bucket bucket, const char *key,
                     size_t *ret_bucket_len)
{
    char *path = xasprintf("%s/%s/%s", dir->root, blob_bucket_name(bucket), key);
    if (ret_bucket_len)
        *ret_bucket_len = strlen(path) - strlen(key) - 1;
    return path;
}

static enum err_code write_all(int fd, const char *data, size_t size, struct err *err)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, errno, "write");
        data += n;
        size -= (size_t)n;
    }
    return ERR_OK;
}

static enum err_code copy_all(int from, int to, struct err *err)
{
    _cleanup_free_ char *block = try_alloc(COPY_STEP, 1);
    if (!block)
        return err_set(err, ERR_NO_MEMORY, "no memory for copying");
    for (off_t at = 0;;) {
        ssize_t n = pread(from, block, COPY_STEP, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read");
        if (n == 0)
            return ERR_OK;
        enum err_code rc = write_all(to, block, (size_t)n, err);
        if (rc != ERR_OK)
            return rc;
        at += n;
    }
}

/* A new file in tmp with the bytes of `data`, or of `from` when that is a descriptor; on the disk.
 * On failure nothing is left. */
static enum err_code make_temp(struct blob_dir *dir, int from, const void *data, size_t size,
                               char name[TOKEN_TEXT], struct err *err)
{
    random_token(name, TOKEN_TEXT);
    _cleanup_close_ int fd =
        openat(dir->tmp_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(err, errno, "make a temporary file");
    enum err_code rc = from >= 0 ? copy_all(from, fd, err) : write_all(fd, data, size, err);
    if (rc == ERR_OK && fsync(fd) < 0)
        rc = fail(err, errno, "sync the file");
    if (rc != ERR_OK)
        unlinkat(dir->tmp_fd, name, 0);
    return rc;
}

static int has_bucket(char *path, size_t bucket_len)
{
    char kept = path[bucket_len];
    path[bucket_len] = '\0';
    int there = access(path, F_OK) == 0;
    path[bucket_len] = kept;
    return there;
}

/* The folder of `path`, made where it is missing; -1 and ERR_NOT_FOUND when a delete removed it
 * again meanwhile. path is changed for a moment. */
static int open_folder(struct blob_dir *dir, char *path, size_t bucket_len, struct err *err)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
    char *last = strrchr(path, '/');
    *last = '\0';
    pthread_mutex_lock(&dir->folders);
    int fd = open(path, flags);
    int errnum = errno;
    enum err_code rc = ERR_OK;
    if (fd < 0 && errnum == ENOENT && has_bucket(path, bucket_len)) {
        rc = disk_make_folder(path, err);
        fd = rc == ERR_OK ? open(path, flags) : -1;
        errnum = errno;
    } else if (fd < 0 && errnum == ENOENT) {
        /* Never made anew here: it may be a disk that is not mounted any more. */
        rc = err_set(err, ERR_IO, "the bucket's folder is gone");
    }
    if (fd < 0 && rc == ERR_OK)
        err_set_errno(err, errnum == ENOTDIR ? ERR_CONFLICT : write_code(errnum), errnum,
                      "cannot open its folder");
    pthread_mutex_unlock(&dir->folders);
    *last = '/';
    return fd;
}

/* One try to move tmp/name to its place. *ret_again: a delete took the folder away meanwhile. */
static enum err_code place_once(struct blob_dir *dir, const char *name, char *path,
                                size_t bucket_len, int *ret_again, struct err *err)
{
    struct stat st;
    *ret_again = 0;
    _cleanup_close_ int folder = open_folder(dir, path, bucket_len, err);
    if (folder < 0) {
        *ret_again = err->code == ERR_NOT_FOUND;
        return err->code == ERR_PERMISSION ? ERR_READ_ONLY : err->code;
    }
    if (renameat(dir->tmp_fd, name, folder, strrchr(path, '/') + 1) == 0)
        return fsync(folder) < 0 ? fail(err, errno, "sync the folder") : ERR_OK;
    int errnum = errno;
    if (errnum == EISDIR || errnum == ENOTDIR || errnum == ENOTEMPTY)
        return err_set(err, ERR_CONFLICT, "another key has this one as its folder");
    /* A removed folder has no links; else it is the file in tmp that somebody took away. */
    if (errnum == ENOENT)
        *ret_again = fstat(folder, &st) == 0 && st.st_nlink == 0;
    return err_set_errno(err, errnum == ENOENT ? ERR_IO : write_code(errnum), errnum,
                         "cannot move it into place");
}

/* Moves tmp/name to its place, durably. On failure the file in tmp is gone too. */
static enum err_code place(struct blob_dir *dir, const char *name, enum blob_bucket bucket,
                           const char *key, struct err *err)
{
    size_t bucket_len;
    struct err local;
    _cleanup_free_ char *path = path_of(dir, bucket, key, &bucket_len);
    enum err_code rc;
    int again, tries = 0;
    do
        rc = place_once(dir, name, path, bucket_len, &again, err ? err : &local);
    while (again && ++tries < PLACE_TRIES);
    if (again)
        rc = err_set(err, ERR_BUSY, "its folder is removed again and again");
    /* Not only on failure: renaming one link of a file onto another does nothing at all. */
    unlinkat(dir->tmp_fd, name, 0);
    return rc;
}

static enum err_code fs_put(void *self, enum blob_bucket bucket, const char *key, const void *data,
                            size_t size, struct err *err)
{
    char name[TOKEN_TEXT];
    enum err_code rc = make_temp(self, -1, data, size, name, err);
    return rc == ERR_OK ? place(self, name, bucket, key, err) : rc;
}

/* A second name in tmp for the file at `path`; without hard links, a copy. */
static enum err_code link_temp(struct blob_dir *dir, const char *path, int fd,
                               char name[TOKEN_TEXT], struct err *err)
{
    futimens(fd, NULL); /* its age counts from now; what fails here only makes it look older */
    if (fsync(fd) < 0)
        return fail(err, errno, "sync the file");
    random_token(name, TOKEN_TEXT);
    if (linkat(AT_FDCWD, path, dir->tmp_fd, name, 0) == 0)
        return ERR_OK;
    if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP)
        return fail(err, errno, "link the file");
    return make_temp(dir, fd, NULL, 0, name, err);
}

static enum err_code fs_put_file(void *self, enum blob_bucket bucket, const char *key,
                                 const char *path, const char *sha256, struct err *err)
{
    (void)sha256;
    char name[TOKEN_TEXT];
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_set_errno(err, err_from_errno(errno), errno, "cannot open %.100s", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_NOT_A_FILE, "%.100s is no regular file", path);
    enum err_code rc = link_temp(self, path, fd, name, err);
    if (rc == ERR_OK)
        rc = place(self, name, bucket, key, err);
    if (rc == ERR_OK && unlink(path) < 0 && errno != ENOENT)
        rc = fail(err, errno, "remove the stored file from where it was");
    return rc;
}

static enum err_code fs_open(void *self, enum blob_bucket bucket, const char *key, int *ret_fd,
                             uint64_t *ret_size, struct err *err)
{
    struct stat st;
    _cleanup_free_ char *path = path_of(self, bucket, key, NULL);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, ERR_NO_SUCH, "nothing is stored there");
    if (fd < 0)
        return err_set_errno(err, err_from_errno(errno), errno, "cannot open");
    if (fstat(fd, &st) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot stat");
    if (!S_ISREG(st.st_mode)) /* a folder of keys */
        return err_set(err, ERR_NO_SUCH, "nothing is stored there");
    *ret_size = (uint64_t)st.st_size;
    *ret_fd = STEAL_FD(fd);
    return ERR_OK;
}

static enum err_code fs_size(void *self, enum blob_bucket bucket, const char *key,
                             uint64_t *ret_size, struct err *err)
{
    _cleanup_close_ int fd = -1;
    return fs_open(self, bucket, key, &fd, ret_size, err);
}

/* Removes folders that became empty, up to the bucket's. One with something in it ends it. */
static void prune(char *path, size_t bucket_len)
{
    for (;;) {
        *strrchr(path, '/') = '\0';
        if (strlen(path) <= bucket_len || rmdir(path) < 0)
            return;
    }
}

static enum err_code fs_delete(void *self, enum blob_bucket bucket, const char *key,
                               struct err *err)
{
    size_t bucket_len;
    _cleanup_free_ char *path = path_of(self, bucket, key, &bucket_len);
    char *last = strrchr(path, '/');
    *last = '\0';
    _cleanup_close_ int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *last = '/';
    if (folder < 0)
        return errno == ENOENT || errno == ENOTDIR ? ERR_OK : fail(err, errno, "open its folder");
    if (unlinkat(folder, last + 1, 0) < 0) {
        int errnum = errno;
        struct stat st;
        if (errnum == ENOENT ||
            (fstatat(folder, last + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)))
            return ERR_OK; /* not there, or a folder of keys, which is no key */
        return fail(err, errnum, "delete");
    }
    if (fsync(folder) < 0)
        return fail(err, errno, "sync the folder");
    prune(path, bucket_len);
    return ERR_OK;
}

static enum err_code fs_ping(void *self, struct err *err)
{
    struct blob_dir *dir = self;
    static const char text[] = "sonde was here";
    char name[TOKEN_TEXT], back[sizeof text] = "";
    enum err_code rc = make_temp(dir, -1, text, sizeof text, name, err);
    if (rc == ERR_OK) {
        _cleanup_close_ int fd = openat(dir->tmp_fd, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, back, sizeof back) != sizeof back || memcmp(text, back, sizeof text))
            rc = err_set(err, ERR_IO, "what was written does not read back");
        if (unlinkat(dir->tmp_fd, name, 0) < 0 && rc == ERR_OK)
            rc = fail(err, errno, "delete the test file");
    }
    if (rc != ERR_OK)
        err_prefix(err, "%.150s", dir->root);
    return rc;
}

static enum err_code fs_list(void *self, enum blob_bucket bucket, blob_each *each, void *ctx,
                             struct err *err)
{
    struct blob_dir *dir = self;
    _cleanup_free_ char *path = xasprintf("%s/%s", dir->root, blob_bucket_name(bucket));
    return blob_fs_walk(path, each, ctx, err);
}

const struct blob_driver blob_fs = {
    .scheme = "fs",
    .open_store = fs_open_store,
    .close_store = fs_close,
    .ping = fs_ping,
    .put_file = fs_put_file,
    .put = fs_put,
    .open = fs_open,
    .size = fs_size,
    .del = fs_delete,
    .list = fs_list,
};

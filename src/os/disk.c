/* The data folder's primitives: folders that last, one owner, free space. No state; any thread. */
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../base/id.h"
#include "../base/mem.h"

enum err_code disk_err_code(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case EROFS:
        return ERR_READ_ONLY;
    default:
        return err_from_errno(errnum);
    }
}

static enum err_code fail(struct err *err, int errnum, const char *what, const char *path)
{
    return err_set_errno(err, disk_err_code(errnum), errnum, "cannot %s %.150s", what, path);
}

enum err_code disk_sync_folder(const char *path, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EINVAL: a file system that has no such thing; it keeps its folders in its own way. */
    if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
        return fail(err, errno, "sync folder", path);
    return ERR_OK;
}

/* One level: made and entered into its parent for good, or already there. */
static enum err_code make_one(char *path, struct err *err)
{
    struct stat st;
    int made = mkdir(path, 0700) == 0;
    /* There already, also where making would be EROFS or EACCES; or removed again before the look.
     */
    for (int errnum = errno, tries = 0; !made; errnum = errno) {
        if (stat(path, &st) == 0)
            return S_ISDIR(st.st_mode) ? ERR_OK : fail(err, ENOTDIR, "make folder", path);
        if (errnum != EEXIST || ++tries > 100)
            return fail(err, errnum, "make folder", path);
        made = mkdir(path, 0700) == 0;
    }
    char *slash = strrchr(path, '/');
    if (!slash)
        return disk_sync_folder(".", err);
    char kept = slash[1];
    slash[slash == path] = '\0'; /* the root keeps its slash */
    enum err_code rc = disk_sync_folder(path, err);
    slash[1] = kept;
    slash[0] = '/';
    return rc;
}

enum err_code disk_make_folder(const char *path, struct err *err)
{
    if (path[0] == '\0')
        return fail(err, ENOENT, "make folder", "with an empty name");
    _cleanup_free_ char *copy = xstrdup(path);
    size_t len = strlen(copy);
    while (len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        enum err_code rc = make_one(copy, err);
        *p = '/';
        if (rc != ERR_OK)
            return rc;
    }
    return make_one(copy, err);
}

enum err_code disk_free_bytes(const char *path, uint64_t *ret, struct err *err)
{
    struct statvfs fs;
    if (statvfs(path, &fs) < 0)
        return fail(err, errno, "ask for the free space of", path);
    *ret = (uint64_t)fs.f_bavail * fs.f_frsize;
    return ERR_OK;
}

static enum err_code write_temp(int folder, const char *name, const void *data, size_t size,
                                struct err *err)
{
    _cleanup_close_ int fd =
        openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(err, errno, "make", name);
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, errno, "write", name);
        done += (size_t)n;
    }
    return fsync(fd) < 0 ? fail(err, errno, "sync", name) : ERR_OK;
}

enum err_code disk_write_file(const char *folder, const char *name, const void *data, size_t size,
                              struct err *err)
{
    char token[17];
    random_token(token, sizeof token);
    _cleanup_free_ char *temp = xasprintf(".%s-%s", name, token);
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, errno, "open folder", folder);
    enum err_code rc = write_temp(fd, temp, data, size, err);
    if (rc == ERR_OK && renameat(fd, temp, fd, name) < 0)
        rc = fail(err, errno, "make", name);
    if (rc != ERR_OK) {
        unlinkat(fd, temp, 0);
        return rc;
    }
    return fsync(fd) < 0 ? fail(err, errno, "sync folder", folder) : ERR_OK;
}

/* Who holds the lock, as its file says; 0 when it does not. */
static long lock_owner(int fd)
{
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

enum err_code disk_lock_folder(const char *path, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *file = xasprintf("%s/lock", path);
    /* Closed on exec, so that no child program keeps the folder. */
    _cleanup_close_ int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(err, errno, "open", file);
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return fail(err, errno, "lock", file);
        return err_set(err, ERR_DATA_IN_USE, "%.150s is used by process %ld", path, lock_owner(fd));
    }
    /* The pid is a courtesy: a full disk must not keep the server from starting. */
    char text[24];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) != n)
        (void)!ftruncate(fd, 0);
    *ret_fd = STEAL_FD(fd);
    return ERR_OK;
}

static void cleanup_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

enum err_code disk_clear_folder(const char *path, uint64_t *ret_removed, struct err *err)
{
    uint64_t removed = 0;
    _cleanup_(cleanup_dir) DIR *dir = opendir(path);
    if (!dir)
        return fail(err, errno, "read folder", path);
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry && errno)
            return fail(err, errno, "read folder", path);
        if (!entry)
            break;
        struct stat st;
        int fd = dirfd(dir);
        if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode))
            continue; /* gone meanwhile, or a folder */
        if (unlinkat(fd, entry->d_name, 0) == 0)
            removed++;
        else if (errno != ENOENT)
            return fail(err, errno, "empty folder", path);
    }
    if (ret_removed)
        *ret_removed = removed;
    return ERR_OK;
}

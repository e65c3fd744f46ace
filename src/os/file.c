/* Opening files from outside, and spooling streams into unnamed files. Any thread. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/mem.h"

#define SPOOL_STEP (256 * 1024)

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a folder"
           : S_ISFIFO(mode) ? "a pipe (FIFO)"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a device"
           : S_ISBLK(mode)  ? "a device"
                            : "no regular file";
}

enum err_code file_open_regular(const char *path, int *ret_fd, uint64_t *ret_size, struct err *err)
{
    /* O_NONBLOCK: opening a FIFO returns at once; on a regular file it does nothing. */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set_errno(err, err_from_errno(errno), errno, "cannot open");
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot stat");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_NOT_A_FILE, "it is %s, not a file", kind_of(st.st_mode));
    if (st.st_size == 0)
        return err_set(err, ERR_EMPTY, "the file is empty");
    *ret_size = (uint64_t)st.st_size;
    *ret_fd = STEAL_FD(fd);
    return ERR_OK;
}

const char *file_temp_folder(void)
{
    const char *folder = getenv("TMPDIR");
    return folder && folder[0] == '/' ? folder : "/tmp";
}

int file_open_unnamed(const char *folder)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    /* A file system without O_TMPFILE, such as some network folders: a named file that is unlinked
     * at once. */
    _cleanup_free_ char *path = xasprintf("%s/sonde-XXXXXX", folder);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

enum err_code file_spool(int in, uint64_t max_bytes, int *ret_fd, uint64_t *ret_size,
                         struct err *err)
{
    _cleanup_close_ int out = file_open_unnamed(file_temp_folder());
    if (out < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot make a temporary file");
    _cleanup_free_ char *block = try_alloc(SPOOL_STEP, 1);
    if (!block)
        return err_set(err, ERR_NO_MEMORY, "no memory for a %d byte buffer", SPOOL_STEP);
    uint64_t total = 0;
    for (;;) {
        ssize_t n = read(in, block, SPOOL_STEP);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, err_from_errno(errno), errno, "cannot read");
        if (n == 0)
            break;
        total += (uint64_t)n;
        if (total > max_bytes)
            return err_set(err, ERR_TOO_LARGE, "larger than the limit of %llu bytes",
                           (unsigned long long)max_bytes);
        if (write_all(out, block, (size_t)n) < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot write the temporary file");
    }
    if (total == 0)
        return err_set(err, ERR_EMPTY, "there was nothing to read");
    if (lseek(out, 0, SEEK_SET) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot rewind the temporary file");
    *ret_size = total;
    *ret_fd = STEAL_FD(out);
    return ERR_OK;
}

char *file_program_dir(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return NULL;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    return xstrdup(path);
}

/* Reading the files of the configuration: bounded, never blocking on a pipe. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../base/utf8.h"
#include "internal.h"

char *conf_forget(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
    return NULL;
}

static enum err_code open_file(const char *path, int *ret_fd, struct stat *st, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set_errno(err, err_from_errno(errno), errno, "cannot open it");
    if (fstat(fd, st) != 0)
        return err_set_errno(err, ERR_IO, errno, "cannot look at it");
    if (!S_ISREG(st->st_mode) && !S_ISCHR(st->st_mode)) /* /dev/null is a file without settings */
        return err_set(err, ERR_NOT_A_FILE, "it is %s, not a file",
                       S_ISDIR(st->st_mode) ? "a folder" : "something else");
    *ret_fd = STEAL_FD(fd);
    return ERR_OK;
}

enum err_code conf_read_whole(const char *path, size_t max, char **ret, size_t *ret_size,
                              unsigned *ret_mode, struct err *err)
{
    struct stat st;
    _cleanup_close_ int fd = -1;
    enum err_code rc = open_file(path, &fd, &st, err);
    if (rc != ERR_OK)
        return rc;
    /* One byte more than allowed tells a larger file; sizes in stat may lie (/proc, /dev). */
    _cleanup_free_ char *data = try_alloc(max + 2, 1);
    size_t size = 0;
    if (!data)
        return err_set(err, ERR_NO_MEMORY, "no memory to read it");
    for (ssize_t n; size <= max; size += (size_t)n) {
        n = read(fd, data + size, max + 1 - size);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n < 0)
            return err_set_errno(err, err_from_errno(errno), errno, "cannot read it");
        else if (n == 0)
            break;
    }
    if (size > max)
        return err_set(err, ERR_LIMIT, "it is larger than %zu bytes", max);
    *ret = STEAL(data);
    *ret_size = size;
    *ret_mode = st.st_mode;
    return ERR_OK;
}

/* Cuts the line end off, and looks at what is left. */
static enum err_code check_secret(char *data, size_t size, struct err *err)
{
    if (memchr(data, 0, size))
        return err_set(err, ERR_USAGE, "there is a zero byte in it");
    if (size > 0 && data[size - 1] == '\n')
        data[--size] = 0;
    if (size > 0 && data[size - 1] == '\r')
        data[--size] = 0;
    if (size == 0)
        return err_set(err, ERR_USAGE, "it is empty");
    if (strpbrk(data, "\r\n"))
        return err_set(err, ERR_USAGE, "it has more than one line");
    return utf8_valid(data) ? ERR_OK : err_set(err, ERR_USAGE, "it is not UTF-8 text");
}

enum err_code conf_read_secret(const char *path, char **ret, struct err *err)
{
    char *data = NULL;
    size_t size = 0;
    unsigned mode = 0;
    enum err_code rc = conf_read_whole(path, CONF_VALUE_MAX, &data, &size, &mode, err);
    if (rc == ERR_OK)
        rc = check_secret(data, size, err);
    if (rc != ERR_OK) {
        if (data)
            explicit_bzero(data, size);
        free(data);
        return rc;
    }
    *ret = data;
    return ERR_OK;
}

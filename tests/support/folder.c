/* See folder.h. */
#include "folder.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

char *folder_new(void)
{
    const char *base = getenv("TMPDIR");
    char *path = xasprintf("%s/sonde-test-XXXXXX", base && base[0] == '/' ? base : "/tmp");
    if (!mkdtemp(path)) {
        perror(path);
        abort();
    }
    return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

char *folder_drop(char *path)
{
    if (path)
        nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    free(path);
    return NULL;
}

static int counted;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)st;
    (void)type;
    counted += at->level > 0;
    return 0;
}

int folder_count(const char *path)
{
    counted = 0;
    return nftw(path, count_one, 32, FTW_PHYS) == 0 ? counted : -1;
}

void folder_write(const char *path, const void *data, size_t size)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        perror(path);
        abort();
    }
}

char *folder_read(const char *path, size_t *ret_size)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    char *data = xalloc((size_t)st.st_size + 1);
    if (read(fd, data, (size_t)st.st_size) != st.st_size)
        abort();
    if (ret_size)
        *ret_size = (size_t)st.st_size;
    return data;
}

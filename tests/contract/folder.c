/* Temporary folders of tests. */
#include "folder.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int folder_make(char ret[FOLDER_MAX])
{
    snprintf(ret, FOLDER_MAX, "/tmp/sonde-test-XXXXXX");
    return mkdtemp(ret) ? 0 : -1;
}

int folder_add(const char *path)
{
    return mkdir(path, 0700);
}

static int drop_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int folder_drop(const char *path)
{
    return nftw(path, drop_one, 16, FTW_DEPTH | FTW_PHYS);
}

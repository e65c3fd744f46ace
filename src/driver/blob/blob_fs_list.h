/* Listing the files of a bucket's folder. */
#ifndef SONDE_DRIVER_BLOB_FS_LIST_H
#define SONDE_DRIVER_BLOB_FS_LIST_H

#include "blob_driver.h"

/* Calls `each` for the files below `path` whose relative names are valid keys. */
enum err_code blob_fs_walk(const char *path, blob_each *each, void *ctx,
                           struct err *err) MUST_CHECK;

#endif

/* The data folder: durable renames, free space, one owner. */
#ifndef SONDE_OS_DISK_H
#define SONDE_OS_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"

/* The code for an errno of writing: ERR_NO_SPACE, ERR_READ_ONLY, else as err_from_errno. */
enum err_code disk_err_code(int errnum);
/* Makes `path` and its parents (mode 0700); an existing folder is fine. ERR_READ_ONLY,
 * ERR_PERMISSION … name the path. */
enum err_code disk_make_folder(const char *path, struct err *err) MUST_CHECK;
/* Bytes that this user may still write on the file system of `path`. */
enum err_code disk_free_bytes(const char *path, uint64_t *ret, struct err *err) MUST_CHECK;
/* fsync of a folder, after a rename or unlink in it. */
enum err_code disk_sync_folder(const char *path, struct err *err) MUST_CHECK;
/* A whole file, or none: written under another name in `folder`, synced, renamed, folder synced. */
enum err_code disk_write_file(const char *folder, const char *name, const void *data, size_t size,
                              struct err *err) MUST_CHECK;
/* Takes the folder for this process: a lock (flock) on `path`/lock that ends with the process,
 * however it ends. ERR_DATA_IN_USE names the other's pid. *ret_fd is the lock; close it to give it
 * back. */
enum err_code disk_lock_folder(const char *path, int *ret_fd, struct err *err) MUST_CHECK;
/* Removes every file directly in `path` (temporary files of a process that died); folders in it
 * stay. Counts them (ret_removed may be NULL). */
enum err_code disk_clear_folder(const char *path, uint64_t *ret_removed,
                                struct err *err) MUST_CHECK;

#endif

/* Files from outside: opened so that nothing but a regular file gets in, and nothing blocks; and
 * files without a name to keep them in. Any thread. */
#ifndef SONDE_OS_FILE_H
#define SONDE_OS_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"

/* Opens a regular, non-empty file for reading. A folder, FIFO, socket or device is
 * ERR_NOT_A_FILE (a FIFO never blocks), no bytes is ERR_EMPTY. */
enum err_code file_open_regular(const char *path, int *ret_fd, uint64_t *ret_size,
                                struct err *err) MUST_CHECK;

/* Where temporary files go: TMPDIR if that is a whole path, or /tmp. Not the caller's to free. */
const char *file_temp_folder(void);
/* A new, empty file of that folder without a name, for reading and writing; gone when it is closed.
 * The caller closes it. -1: errno says why. */
int file_open_unnamed(const char *folder);

/* Copies everything from `fd` (a pipe, say) into an unnamed temporary file in TMPDIR or /tmp and
 * returns that, positioned at its start. ERR_TOO_LARGE past max_bytes, ERR_EMPTY for nothing. */
enum err_code file_spool(int fd, uint64_t max_bytes, int *ret_fd, uint64_t *ret_size,
                         struct err *err) MUST_CHECK;

/* Path of the running program's folder, without a trailing slash; caller frees. NULL if unknown. */
char *file_program_dir(void);

#endif

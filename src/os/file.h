/* Files from outside: opened so that nothing but a regular file gets in, and nothing blocks. */
#ifndef SONDE_OS_FILE_H
#define SONDE_OS_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"

/* Opens a regular, non-empty file for reading. A folder, FIFO, socket or device is
 * ERR_NOT_A_FILE (a FIFO never blocks), no bytes is ERR_EMPTY. */
enum err_code file_open_regular(const char *path, int *ret_fd, uint64_t *ret_size,
                                struct err *err) MUST_CHECK;

/* Copies everything from `fd` (a pipe, say) into an unnamed temporary file in TMPDIR or /tmp and
 * returns that, positioned at its start. ERR_TOO_LARGE past max_bytes, ERR_EMPTY for nothing. */
enum err_code file_spool(int fd, uint64_t max_bytes, int *ret_fd, uint64_t *ret_size,
                         struct err *err) MUST_CHECK;

/* Path of the running program's folder, without a trailing slash; caller frees. NULL if unknown. */
char *file_program_dir(void);

#endif

/* A temporary folder for a test, and looking into it. */
#ifndef SONDE_TESTS_FOLDER_H
#define SONDE_TESTS_FOLDER_H

#include <stddef.h>

/* A new folder below TMPDIR or /tmp; ends the program when it cannot be made. */
char *folder_new(void);
/* Removes it with all that is in it, and frees the name; NULL is fine. Returns NULL. */
char *folder_drop(char *path);
/* Files and folders below `path`, at any depth, without itself; -1 when it is not there. */
int folder_count(const char *path);
/* Writes a file; ends the program when that fails. */
void folder_write(const char *path, const void *data, size_t size);
/* A whole file with a zero behind it, or NULL; the caller frees it. */
char *folder_read(const char *path, size_t *ret_size);

#endif

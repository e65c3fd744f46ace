/* SHA-256 (OpenSSL) and its hex form. */
#ifndef SONDE_BASE_HASH_H
#define SONDE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define SHA256_BYTES 32
#define SHA256_HEX   (2 * SHA256_BYTES + 1)

/* Hex SHA-256 of a memory block. */
enum err_code sha256_mem(const void *data, size_t len, char ret_hex[SHA256_HEX],
                         struct err *err) MUST_CHECK;
/* Hex SHA-256 of `fd` from offset 0 to its end, by pread (the file position does not move);
 * ERR_TOO_LARGE past max_bytes. Reads in 256 KiB steps. */
enum err_code sha256_fd(int fd, uint64_t max_bytes, char ret_hex[SHA256_HEX], uint64_t *ret_bytes,
                        struct err *err) MUST_CHECK;

/* The same in pieces. sha256_end frees; ret_hex NULL: only that. */
struct sha256;
enum err_code sha256_begin(struct sha256 **ret, struct err *err) MUST_CHECK;
enum err_code sha256_more(struct sha256 *hash, const void *data, size_t len,
                          struct err *err) MUST_CHECK;
enum err_code sha256_end(struct sha256 *hash, char *ret_hex, struct err *err);

#endif

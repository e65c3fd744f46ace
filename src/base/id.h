/* Identifiers and randomness, from the kernel's generator. */
#ifndef SONDE_BASE_ID_H
#define SONDE_BASE_ID_H

#include <stddef.h>

#define ID_TEXT 37 /* 36 characters and a zero */

/* A UUID of version 7 (RFC 9562, method 3): milliseconds since 1970, 12 bits of the part of a
 * millisecond, 62 random bits. Of one process, ids made later sort later, as long as it makes fewer
 * than 4096 in a millisecond and nobody sets the clock back; of several, as far as their clocks
 * agree. Nobody can guess one. Any thread. */
void id_new(char ret[ID_TEXT]);
/* 1 when `text` has the form that id_new writes (lower case, version 7). */
int id_valid(const char *text);

/* Fills `out`; aborts when the kernel has no randomness, because nothing sound is left to do. */
void random_bytes(void *out, size_t size);
/* A token of `size` - 1 characters of A-Za-z0-9-_ (6 bits each). */
void random_token(char *out, size_t size);

#endif

/* Which bytes are one character of UTF-8: for texts from outside, before they reach a log, a label
 * or a mail. */
#ifndef SONDE_BASE_UTF8_H
#define SONDE_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes (1..4) of the valid character at `s`, and the character in *ret; 0 for a bad byte and at
 * the end. Reads no further than the zero. */
size_t utf8_char(const char *s, uint32_t *ret);
/* 1 when all of `s` is valid. */
int utf8_valid(const char *s);
/* 1 for what must not reach a terminal as it is: controls (C0, DEL, C1), line and paragraph
 * separators, and the marks that turn the direction of writing. */
int utf8_unprintable(uint32_t c);

#endif

/* Text from outside, made safe for a terminal, for JSON and for XML. Names and paths are bytes that
 * somebody else chose: they may be no UTF-8, or carry escape sequences. */
#ifndef SONDE_EVAL_UTF8_H
#define SONDE_EVAL_UTF8_H

#include <stdint.h>
#include <stdio.h>

/* Decodes one character and moves *s behind it; a bad byte gives U+FFFD and moves by one. 0 at the
 * end. */
uint32_t utf8_next(const char **s);
/* Valid UTF-8: each bad byte becomes U+FFFD. The caller frees it. */
char *utf8_clean(const char *s);
/* Exactly `columns` of a terminal: cut with "…", filled with spaces; a negative number only cuts.
 * Control characters show as U+FFFD, wide (East Asian) characters count two. */
void utf8_put_cell(FILE *f, const char *s, int columns);
/* XML text of at most `columns`, then "…". */
void utf8_put_xml(FILE *f, const char *s, int columns);

#endif

/* The form of sonde.conf: [section], key = value, # and ; comments on lines of their own.
 *
 * No quotes, no escapes, no continued lines: a value is what stands behind the =, without the
 * blanks around it. A byte order mark at the start and CR before LF are overlooked. */
#ifndef SONDE_CONF_INI_H
#define SONDE_CONF_INI_H

#include <stddef.h>

/* key NULL: the line opens the section. Texts are borrowed during the call, valid UTF-8 without
 * controls. */
typedef void ini_row(void *ctx, unsigned line, const char *section, const char *key,
                     const char *value);
/* The line is left out. The text quotes nothing of it: it may hold a secret. */
typedef void ini_wrong(void *ctx, unsigned line, const char *text);

/* Size and content are untrusted; reads no byte past data[size - 1], allocates nothing. */
void ini_read(const char *data, size_t size, ini_row *row, ini_wrong *wrong, void *ctx);

#endif

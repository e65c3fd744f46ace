/* The mail facade. Drivers: file (.eml files in a folder, embedded), later smtp. Threads: shared.
 */
#ifndef SONDE_DRIVER_MAIL_H
#define SONDE_DRIVER_MAIL_H

#include <stddef.h>

#include "../../base/err.h"

struct mail;
struct mail_options {
    const char *url;  /* "file:/path/to/folder" */
    const char *from; /* "sonde <sonde@example.org>" */
};
struct mail_message {
    const char *to, *subject, *text, *html; /* UTF-8; html may be NULL */
};
enum err_code mail_open(const struct mail_options *options, struct mail **ret,
                        struct err *err) MUST_CHECK;
struct mail *mail_close(struct mail *mail);
/* ERR_BAD_REQUEST for an address or subject with line breaks or of bad form. */
enum err_code mail_send(struct mail *mail, const struct mail_message *message,
                        struct err *err) MUST_CHECK;

#endif

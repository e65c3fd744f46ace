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
#define MAIL_SUBJECT_MAX 500       /* bytes */
#define MAIL_BODY_MAX    (1 << 20) /* bytes, of text and of html */
struct mail_message {
    const char *to;                    /* one address, "a@example.org" or "name <a@example.org>" */
    const char *subject, *text, *html; /* UTF-8; html may be NULL */
};
enum err_code mail_open(const struct mail_options *options, struct mail **ret,
                        struct err *err) MUST_CHECK;
struct mail *mail_close(struct mail *mail);
/* ERR_BAD_REQUEST for an address or subject with line breaks or of bad form, or
 * texts that are no UTF-8; ERR_LIMIT for texts past MAIL_BODY_MAX. */
enum err_code mail_send(struct mail *mail, const struct mail_message *message,
                        struct err *err) MUST_CHECK;

#endif

/* What a mail driver is: one constant table, every slot filled. The facade (mail.c) has checked the
 * message and composed it (mime.c); a driver carries bytes. */
#ifndef SONDE_DRIVER_MAIL_DRIVER_H
#define SONDE_DRIVER_MAIL_DRIVER_H

#include "mail.h"

struct mail_driver {
    const char *scheme; /* "file": what stands before the colon of the URL */
    enum err_code (*open)(const char *rest, void **ret_self, struct err *err);
    void (*close)(void *self);
    /* from, to: addresses alone, for an envelope. data: a whole RFC 5322 message, lines with CRLF.
     */
    enum err_code (*send)(void *self, const char *from, const char *to, const char *data,
                          size_t size, struct err *err);
};

extern const struct mail_driver mail_file;

#endif

/* From a message to the bytes of RFC 5322 and MIME. */
#ifndef SONDE_DRIVER_MAIL_MIME_H
#define SONDE_DRIVER_MAIL_MIME_H

#include <stdint.h>

#include "mail.h"

#define MAIL_ADDRESS_MAX 254
#define MAIL_NAME_MAX    200

/* "name <local@domain>" or "local@domain", taken apart. */
struct mail_address {
    char name[MAIL_NAME_MAX + 1];       /* UTF-8, "" for none */
    char address[MAIL_ADDRESS_MAX + 1]; /* ASCII */
};
/* ERR_BAD_REQUEST: no single plain address, or anything that could end a line. */
enum err_code mail_address_parse(const char *text, struct mail_address *ret,
                                 struct err *err) MUST_CHECK;
/* ERR_BAD_REQUEST, ERR_LIMIT: subject and texts. */
enum err_code mail_check_texts(const struct mail_message *message, struct err *err) MUST_CHECK;

/* The whole message, allocated; subject and texts are checked. `now_ms` becomes its Date. */
enum err_code mail_compose(const struct mail_address *from, const struct mail_address *to,
                           const struct mail_message *message, int64_t now_ms, char **ret,
                           size_t *ret_size, struct err *err) MUST_CHECK;

#endif

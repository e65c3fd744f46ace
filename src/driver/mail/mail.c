/* The facade: picks the driver, checks and composes a message, hands it over. The sender is fixed
 * when the driver is opened. Any thread. */
#include "mail.h"

#include <stdint.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "mail_driver.h"
#include "mime.h"

struct mail {
    const struct mail_driver *driver;
    void *self;
    struct mail_address from;
};

static const struct mail_driver *const drivers[] = {&mail_file};

static const struct mail_driver *find_driver(const char *url, const char **ret_rest)
{
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
        size_t n = strlen(drivers[i]->scheme);
        if (strncmp(url, drivers[i]->scheme, n) == 0 && url[n] == ':') {
            *ret_rest = url + n + 1;
            return drivers[i];
        }
    }
    return NULL;
}

enum err_code mail_open(const struct mail_options *options, struct mail **ret, struct err *err)
{
    const char *rest = NULL;
    *ret = NULL;
    const struct mail_driver *driver = find_driver(options->url, &rest);
    if (!driver)
        return err_set(err, ERR_USAGE,
                       "'%.100s' is no way of mail that sonde knows; give file:/path/to/folder",
                       options->url);
    struct mail *mail = xalloc(sizeof *mail);
    mail->driver = driver;
    enum err_code rc = mail_address_parse(options->from, &mail->from, err);
    if (rc != ERR_OK)
        err_prefix(err, "the sender");
    else
        rc = driver->open(rest, &mail->self, err);
    if (rc != ERR_OK) {
        free(mail);
        return rc;
    }
    *ret = mail;
    return ERR_OK;
}

struct mail *mail_close(struct mail *mail)
{
    if (mail)
        mail->driver->close(mail->self);
    free(mail);
    return NULL;
}

enum err_code mail_send(struct mail *mail, const struct mail_message *message, struct err *err)
{
    struct mail_address to;
    _cleanup_free_ char *data = NULL;
    size_t size = 0;
    enum err_code rc = mail_address_parse(message->to, &to, err);
    if (rc == ERR_OK)
        rc = mail_check_texts(message, err);
    if (rc == ERR_OK)
        rc = mail_compose(&mail->from, &to, message, time_now_ms(), &data, &size, err);
    if (rc == ERR_OK)
        rc = mail->driver->send(mail->self, mail->from.address, to.address, data, size, err);
    return rc;
}

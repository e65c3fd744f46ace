/* Mail as .eml files in a folder, for a machine without a mail server and for tests. Their names
 * sort by time; each is whole or not there. The only state is the folder's path. Any thread. */
#include <stdio.h>
#include <string.h>

#include "../../base/id.h"
#include "../../base/mem.h"
#include "../../os/disk.h"
#include "mail_driver.h"

static enum err_code file_open(const char *rest, void **ret_self, struct err *err)
{
    if (rest[0] == '\0')
        return err_set(err, ERR_USAGE, "file: needs a folder, as in file:/path/to/folder");
    enum err_code rc = disk_make_folder(rest, err);
    if (rc == ERR_OK)
        *ret_self = xstrdup(rest);
    return rc;
}

static void file_close(void *self)
{
    free(self);
}

static enum err_code file_send(void *self, const char *from, const char *to, const char *data,
                               size_t size, struct err *err)
{
    char id[ID_TEXT], name[ID_TEXT + 4];
    (void)from;
    (void)to;
    id_new(id);
    snprintf(name, sizeof name, "%s.eml", id);
    enum err_code rc = disk_write_file(self, name, data, size, err);
    return rc == ERR_PERMISSION ? ERR_READ_ONLY : rc;
}

const struct mail_driver mail_file = {
    .scheme = "file",
    .open = file_open,
    .close = file_close,
    .send = file_send,
};

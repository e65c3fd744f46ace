/* Pictures in storage: bucket processed, keyed like recordings, by the analysis' id. Any worker
 * thread. */
#include <stdlib.h>
#include <string.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "roles.h"

#define PICTURE_BYTES_MAX                                                                          \
    (2 << 20) /* 2000 columns of 128 bands and of peaks in base64 are 0.4 MB */

enum err_code blobs_put_picture(struct app *app, const char *analysis_id, char *picture,
                                struct err *err)
{
    char key[STORE_KEY_MAX];
    _cleanup_free_ char *text = picture;
    if (!text)
        return err_set(err, ERR_NO_MEMORY, "no memory for the picture");
    store_blob_key(analysis_id, key);
    return blob_put(app->blob, BLOB_PROCESSED, key, text, strlen(text), err);
}

void blobs_drop_picture(struct app *app, const char *analysis_id)
{
    char key[STORE_KEY_MAX];
    struct store_analysis a;
    struct err err = {0};
    if (store_get_status(app->db, analysis_id, &a, NULL) != ERR_NO_SUCH)
        return;
    store_blob_key(analysis_id, key);
    if (blob_delete(app->blob, BLOB_PROCESSED, key, &err) != ERR_OK)
        log_error(LOG_LEVEL_WARN, "a deleted analysis' picture goes at the next start", &err,
                  LOG_T("labels.analysis", analysis_id));
}

enum err_code blobs_get_picture(struct app *app, const struct store_analysis *a, char **ret,
                                size_t *ret_size, struct err *err)
{
    char key[STORE_KEY_MAX];
    if (a->status != STORE_DONE)
        return err_set(err, ERR_NO_SUCH, "there is a picture once the analysis is done");
    store_blob_key(a->id, key);
    enum err_code rc =
        blob_get(app->blob, BLOB_PROCESSED, key, PICTURE_BYTES_MAX, ret, ret_size, err);
    if (rc == ERR_NO_SUCH && a->reused_from[0]) { /* the copy is being made just now */
        store_blob_key(a->reused_from, key);
        rc = blob_get(app->blob, BLOB_PROCESSED, key, PICTURE_BYTES_MAX, ret, ret_size, err);
    }
    return rc;
}

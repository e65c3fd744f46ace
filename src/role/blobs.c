/* Pictures in storage: bucket processed, keyed like recordings, by the analysis' id. Any worker
 * thread. */
#include <stdlib.h>
#include <string.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../detect/picture.h"
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
    if (blob_delete(app->blob, BLOB_PROCESSED, key, &err) != ERR_OK &&
        store_blob_stray(app->db, BLOB_PROCESSED, analysis_id, &err) != ERR_OK)
        log_error(LOG_LEVEL_WARN, "a deleted analysis' picture could not be removed yet", &err,
                  LOG_T("labels.analysis", analysis_id));
}

static enum err_code stored_picture(struct app *app, const struct store_analysis *a, char **ret,
                                    size_t *ret_size, struct err *err)
{
    char key[STORE_KEY_MAX];
    store_blob_key(a->id, key);
    enum err_code rc =
        blob_get(app->blob, BLOB_PROCESSED, key, PICTURE_BYTES_MAX, ret, ret_size, err);
    if (rc == ERR_NO_SUCH && a->reused_from[0]) {
        store_blob_key(a->reused_from, key);
        rc = blob_get(app->blob, BLOB_PROCESSED, key, PICTURE_BYTES_MAX, ret, ret_size, err);
    }
    return rc;
}

enum err_code blobs_copy_picture(struct app *app, const char *analysis_id, struct err *err)
{
    struct store_analysis a;
    char *data = NULL;
    size_t size = 0;
    enum err_code rc = store_get(app->db, analysis_id, &a, err);
    if (rc == ERR_OK)
        rc = stored_picture(app, &a, &data, &size, err);
    if (rc == ERR_OK)
        rc = blobs_put_picture(app, analysis_id, data, err);
    blobs_drop_picture(app, analysis_id); /* deleted meanwhile */
    if (rc == ERR_OK || rc == ERR_NO_SUCH)
        return ERR_OK;
    /* It may be the only one: that is worth another try. */
    if (rc == ERR_UNAVAILABLE || rc == ERR_BUSY)
        return rc;
    log_error(LOG_LEVEL_WARN, "a picture could not be copied", err,
              LOG_T("labels.analysis", analysis_id));
    return ERR_OK; /* it is drawn when somebody asks */
}

/* Analyses the recording once more, for its picture alone. */
static enum err_code draw(struct app *app, const struct store_analysis *a, char **ret,
                          struct err *err)
{
    struct analysis *analysis = NULL;
    struct picture *picture = NULL;
    struct detection detection = {0};
    char key[STORE_KEY_MAX];
    uint64_t size = 0;
    _cleanup_close_ int fd = -1;
    store_blob_key(a->upload_id, key);
    enum err_code rc = blob_open(app->blob, BLOB_RAW, key, &fd, &size, err);
    if (rc == ERR_OK)
        rc = picture_new(&picture, err);
    if (rc == ERR_OK)
        rc = analysis_new(app->detector, &analysis, err);
    if (rc == ERR_OK) {
        analysis_draw(analysis, picture);
        rc = detect_file(analysis, app->media, fd, NULL, NULL, &detection, NULL, err);
    }
    if (rc == ERR_OK && !(*ret = picture_text(picture, detection.duration_s)))
        rc = err_set(err, ERR_NO_MEMORY, "no memory for the picture");
    detection_done(&detection);
    analysis_free(analysis);
    picture_free(picture);
    return rc;
}

enum err_code blobs_get_picture(struct app *app, const struct store_analysis *a, char **ret,
                                size_t *ret_size, struct err *err)
{
    if (a->status != STORE_DONE)
        return err_set(err, ERR_NO_SUCH, "there is a picture once the analysis is done");
    enum err_code rc = stored_picture(app, a, ret, ret_size, err);
    if (rc != ERR_NO_SUCH || !a->audio_kept)
        return rc;
    if (!app->detector || !app->media) /* a process that neither takes in nor judges */
        return err_set(err, ERR_NO_SUCH, "there is no picture of it any more");
    struct err kept = {0};
    rc = draw(app, a, ret, err);
    if (rc != ERR_OK)
        return rc;
    *ret_size = strlen(*ret);
    if (blobs_put_picture(app, a->id, xstrdup(*ret), &kept) != ERR_OK) /* drawn again next time */
        log_error(LOG_LEVEL_WARN, "a picture could not be kept", &kept,
                  LOG_T("labels.analysis", a->id));
    blobs_drop_picture(app, a->id); /* deleted meanwhile */
    return ERR_OK;
}

/* From a path to a report. Reads the file twice, first to hash it: the hash must be of the very
 * bytes that were judged, and they come from one open descriptor. Any thread. */
#include "report.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../os/file.h"

static enum err_code open_input(const char *path, uint64_t max_bytes, int *ret_fd,
                                uint64_t *ret_size, struct err *err)
{
    if (strcmp(path, "-") == 0)
        return file_spool(STDIN_FILENO, max_bytes, ret_fd, ret_size, err);
    enum err_code rc = file_open_regular(path, ret_fd, ret_size, err);
    if (rc == ERR_OK && *ret_size > max_bytes) {
        close(*ret_fd);
        *ret_fd = -1;
        rc = err_set(err, ERR_TOO_LARGE, "%llu bytes; the limit is %llu",
                     (unsigned long long)*ret_size, (unsigned long long)max_bytes);
    }
    return rc;
}

/* The panel's progress goes on where the detection's ended. */
struct onward {
    detect_progress *progress;
    void *ctx;
    double seconds;
};

static int hear_onward(void *ctx, const struct detect_state *state)
{
    const struct onward *o = ctx;
    struct detect_state all = *state;
    all.seconds += o->seconds;
    return o->progress ? o->progress(o->ctx, &all) : 0;
}

static enum err_code add_stability(struct analysis *analysis, struct media_service *media, int fd,
                                   struct onward *onward, struct file_report *report)
{
    struct stability made;
    enum err_code rc =
        stability_make(analysis, media, fd, hear_onward, onward, &made, &report->stability_error);
    report->stability_error.code = rc;
    if (rc == ERR_CANCELLED)
        report->error = report->stability_error;
    if (rc != ERR_OK)
        return rc;
    report->stability = xalloc(sizeof made);
    *report->stability = made;
    return ERR_OK;
}

static enum err_code make(struct analysis *analysis, struct media_service *media, const char *path,
                          int stability, detect_progress *progress, void *ctx,
                          struct file_report *report, struct err *err)
{
    *report = (struct file_report){.path = xstrdup(path)};
    struct err *failure = &report->error;
    uint64_t max_bytes = media_service_limits(media)->max_bytes;
    _cleanup_close_ int fd = -1;
    enum err_code rc = open_input(path, max_bytes, &fd, &report->bytes, failure);
    if (rc == ERR_OK)
        rc = sha256_fd(fd, max_bytes, report->sha256, &report->bytes, failure);
    if (rc == ERR_OK)
        rc = detect_file(analysis, media, fd, progress, ctx, &report->detection, &report->media,
                         failure);
    struct onward onward = {progress, ctx, report->detection.duration_s};
    if (rc == ERR_OK && stability &&
        add_stability(analysis, media, fd, &onward, report) == ERR_CANCELLED)
        rc = ERR_CANCELLED;
    report->error.code = rc;
    if (rc != ERR_OK && err)
        *err = report->error;
    return rc;
}

enum err_code file_report_make(struct analysis *analysis, struct media_service *media,
                               const char *path, detect_progress *progress, void *ctx,
                               struct file_report *report, struct err *err)
{
    return make(analysis, media, path, 0, progress, ctx, report, err);
}

enum err_code file_report_make_stability(struct analysis *analysis, struct media_service *media,
                                         const char *path, detect_progress *progress, void *ctx,
                                         struct file_report *report, struct err *err)
{
    return make(analysis, media, path, 1, progress, ctx, report, err);
}

/* JSON is UTF-8, paths (and error texts that quote them) are bytes: a byte of no valid UTF-8 text
 * is shown as U+FFFD. */
static json_t *text_json(const char *bytes)
{
    json_t *text = json_string(bytes);
    if (text)
        return text;
    _cleanup_free_ char *shown = xalloc(3 * strlen(bytes) + 1);
    char *out = shown;
    for (const char *p = bytes; *p; p++) {
        if ((unsigned char)*p < 0x80) {
            *out++ = *p;
        } else {
            memcpy(out, "\xef\xbf\xbd", 3);
            out += 3;
        }
    }
    return json_string(shown);
}

static json_t *error_json(const struct err *e)
{
    json_t *json = json_object();
    json_object_set_new(json, "code", json_string(err_slug(e->code)));
    json_object_set_new(json, "text", text_json(e->text));
    json_object_set_new(json, "hint", json_string(err_hint(e->code)));
    return json;
}

static json_t *report_stability_json(const struct file_report *r)
{
    if (r->stability)
        return stability_json(r->stability);
    json_t *json = json_object();
    json_object_set_new(json, "error", error_json(&r->stability_error));
    return json;
}

json_t *file_report_json(const struct file_report *r, const struct detector *detector)
{
    json_t *json = json_object();
    json_object_set_new(json, "file", text_json(r->path));
    json_object_set_new(json, "sha256", r->sha256[0] ? json_string(r->sha256) : json_null());
    json_object_set_new(json, "bytes", json_integer((json_int_t)r->bytes));
    if (r->error.code != ERR_OK) {
        json_object_set_new(json, "error", error_json(&r->error));
        return json;
    }
    json_t *detection = detection_json(&r->detection);
    json_object_update(json, detection);
    json_decref(detection);
    json_object_set_new(json, "media", media_info_json(&r->media));
    json_object_set_new(json, "model", detector_model_json(detector));
    json_object_set_new(json, "rates", detector_rates_json(detector, &r->detection, &r->media));
    if (r->stability || r->stability_error.code != ERR_OK)
        json_object_set_new(json, "stability", report_stability_json(r));
    return json;
}

void file_report_done(struct file_report *report)
{
    free(report->path);
    free(report->stability);
    detection_done(&report->detection);
    *report = (struct file_report){0};
}

/* One file from path to answer: opened, hashed, decoded, judged; and the JSON line about it. */
#ifndef SONDE_DETECT_REPORT_H
#define SONDE_DETECT_REPORT_H

#include <stdint.h>

#include "../base/hash.h"
#include "detector.h"
#include "stability.h"

struct file_report {
    char *path;              /* as it was given; "-" is standard input */
    char sha256[SHA256_HEX]; /* of the file's bytes; "" when it could not be read */
    uint64_t bytes;
    struct media_info media;
    struct detection detection;
    struct err error; /* code ERR_OK: detection holds */
    /* The panel, when it was asked for and there is no error; owned. */
    struct stability *stability;
    struct err stability_error; /* code ERR_OK: stability holds */
};

/* Fills the report; a failure is also kept in report->error, so that a report is complete either
 * way. path "-" reads standard input. progress as in detect_file. */
enum err_code file_report_make(struct analysis *analysis, struct media_service *media,
                               const char *path, detect_progress *progress, void *ctx,
                               struct file_report *report, struct err *err) MUST_CHECK;
/* The same with the stability panel (stability.h), whose failure is kept in report->stability_error
 * and fails nothing else; only ERR_CANCELLED does. `progress` hears on, past the recording's end,
 * what the panel analyses. */
enum err_code file_report_make_stability(struct analysis *analysis, struct media_service *media,
                                         const char *path, detect_progress *progress, void *ctx,
                                         struct file_report *report, struct err *err) MUST_CHECK;
/* One object: file sha256 bytes, then either detection_json's keys, media and model, or error.
 * With a panel also stability: stability_json's object, or {error: {code, text, hint}}. */
json_t *file_report_json(const struct file_report *report, const struct detector *detector);
void file_report_done(struct file_report *report);

#endif

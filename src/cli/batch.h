/* Judges many recordings on several threads and hands the reports over in order. */
#ifndef SONDE_CLI_BATCH_H
#define SONDE_CLI_BATCH_H

#include "../detect/report.h"
#include "commands.h"

/* Called on the caller's thread, for path 0, 1, 2 …; the report is freed afterwards. */
typedef void batch_emit(void *ctx, size_t item, const struct file_report *report);

/* A failing recording is a report with an error; only what stops everything is an error here. Each
 * recording is judged by one thread, so the answers do not depend on how many there are. */
enum err_code batch_run(const struct engine *engine, char *const *paths, size_t count,
                        batch_emit *emit, void *ctx, struct err *err) MUST_CHECK;

#endif

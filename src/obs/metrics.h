/* Metrics of this process in Prometheus' text format, all declared in metrics.def.
 *
 * Labels are bounded: a family keeps at most METRIC_SERIES_MAX combinations, then counts into one
 * whose labels are all "other". Values are updated from any thread; a scrape sees each series
 * whole. */
#ifndef SONDE_OBS_METRICS_H
#define SONDE_OBS_METRICS_H

#include <stddef.h>

#include "../base/err.h"

#define METRIC_SERIES_MAX  512
#define METRIC_LABELS_MAX  3
#define METRIC_LABEL_BYTES 128

enum metric {
#define METRIC_ROW(id, kind, name, labels, buckets, help) id,
#include "metrics.def"
#undef METRIC_ROW
    METRIC_COUNT
};

struct metric_series;

/* The series of a family with these label values (as many as the family has labels; NULL for the
 * rest; copied, invalid UTF-8 replaced, cut at METRIC_LABEL_BYTES). Never NULL; valid for the life
 * of the process; look it up once on a hot path. */
struct metric_series *metric_get(enum metric metric, const char *a, const char *b, const char *c);
/* What makes no sense for the family (observing a counter, a negative step of one, a NaN) changes
 * nothing. */
void metric_add(struct metric_series *series, double value);     /* counter, gauge */
void metric_set(struct metric_series *series, double value);     /* gauge, or a mirrored counter */
void metric_observe(struct metric_series *series, double value); /* histogram */

/* Called at each scrape, before writing: sets gauges that are cheaper to ask for than to keep. At
 * most METRIC_HOOKS_MAX (-1 past that); call before the server starts. metrics_unhook removes every
 * hook with this ctx and waits for a scrape that runs it: a hook must not unhook itself. */
#define METRIC_HOOKS_MAX 16
int metrics_hook(void (*fill)(void *ctx), void *ctx);
void metrics_unhook(void *ctx);

/* Labels of sonde_build_info: the last call counts. Without one: this build's version, no model. */
void metrics_build_info(const char *version, const char *model);

/* The whole text, format 0.0.4, allocated; *ret_len without the zero. Families stand in the order
 * of metrics.def, every family at least with its HELP and TYPE. Process figures (CPU, memory, fds,
 * start time) and build info are part of it. */
enum err_code metrics_text(char **ret, size_t *ret_len, struct err *err) MUST_CHECK;

#endif

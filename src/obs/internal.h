/* What metrics.c (values) and metrics_text.c (their text) share. */
#ifndef SONDE_OBS_INTERNAL_H
#define SONDE_OBS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "metrics.h"

#define BUCKETS_MAX 24

enum metric_kind { COUNTER, GAUGE, HISTOGRAM };

struct metric_series {
    struct metric_family *family;
    struct metric_series *in_bucket;      /* next with the same hash; under the family's lock */
    _Atomic(struct metric_series *) next; /* next in the order of creation */
    char *labels[METRIC_LABELS_MAX];
    atomic_int hidden;
    _Atomic uint64_t bits; /* counter, gauge: a double's bits */

    /* Of a histogram, all under its lock, so that a scrape sees sum and buckets of one moment. */
    pthread_mutex_t lock;
    double sum;
    uint64_t counts[BUCKETS_MAX + 1]; /* not cumulative; the last one is +Inf */
};

struct metric_family {
    enum metric_kind kind;
    const char *name, *help;
    const char *label_names[METRIC_LABELS_MAX];
    int labels;
    double bounds[BUCKETS_MAX];
    int buckets;
    pthread_mutex_t lock; /* of adding series */
    int series;
    struct metric_series *hash[64];
    struct metric_series *other; /* for what exceeds METRIC_SERIES_MAX */
    _Atomic(struct metric_series *) first;
    struct metric_series *last;
};

/* The families, set up. */
struct metric_family *metrics_families(void);
double metric_value(const struct metric_series *series);
/* Fills the process_* families. */
void process_metrics(void);

#endif

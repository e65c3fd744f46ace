/* Metric values: families from metrics.def, their series, and updates from any thread.
 *
 * A series lives as long as the process, so that callers keep the pointer; the list of a family
 * only grows, and is read without a lock. Counters and gauges are one atomic double; a histogram
 * has a lock of its own, held for a few additions, because its buckets and its sum belong together.
 */
#include "metrics.h"

#include <math.h>
#include <string.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../base/utf8.h"
#include "internal.h"

static struct metric_family families[METRIC_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct {
    enum metric_kind kind;
    const char *name, *labels, *buckets, *help;
} rows[METRIC_COUNT] = {
#define METRIC_ROW(id, kind, name, labels, buckets, help)                                          \
    [id] = {kind, name, labels, buckets, help},
#include "metrics.def"
#undef METRIC_ROW
};

static struct metric_series *add_series(struct metric_family *f, const char *const values[]);

static void setup_family(struct metric_family *f, size_t i)
{
    f->kind = rows[i].kind;
    f->name = rows[i].name;
    f->help = rows[i].help;
    pthread_mutex_init(&f->lock, NULL);
    /* Kept: the names point into it. */
    char *rest = rows[i].labels[0] ? xstrdup(rows[i].labels) : NULL, *word;
    while (f->labels < METRIC_LABELS_MAX && (word = strsep(&rest, " ")))
        if (*word)
            f->label_names[f->labels++] = word;
    _cleanup_free_ char *bounds = xstrdup(rows[i].buckets);
    char *at = bounds;
    while (f->buckets < BUCKETS_MAX && (word = strsep(&at, " ")))
        if (*word)
            f->bounds[f->buckets++] = strtod(word, NULL);
    /* What counts from zero stands there from the start, so that a rate sees the first step. */
    if (f->labels == 0 && f->kind != GAUGE)
        add_series(f, (const char *const[METRIC_LABELS_MAX]){0});
}

static void setup(void)
{
    for (size_t i = 0; i < METRIC_COUNT; i++)
        setup_family(&families[i], i);
}

struct metric_family *metrics_families(void)
{
    pthread_once(&once, setup);
    return families;
}

/* A label's value as the text may carry it: a scrape with invalid UTF-8 is refused as a whole. */
static char *copy_label(const char *value)
{
    char out[METRIC_LABEL_BYTES + 1];
    size_t len = 0;
    uint32_t c;
    while (value && *value) {
        size_t n = utf8_char(value, &c);
        if (len + (n ? n : 1) > METRIC_LABEL_BYTES)
            break;
        if (n)
            memcpy(out + len, value, n);
        else
            out[len] = '?';
        len += n ? n : 1;
        value += n ? n : 1;
    }
    out[len] = '\0';
    return xstrdup(out);
}

/* With the family's lock, or while there is one thread. */
static struct metric_series *add_series(struct metric_family *f, const char *const values[])
{
    struct metric_series *s = xalloc(sizeof *s);
    s->family = f;
    pthread_mutex_init(&s->lock, NULL);
    for (int i = 0; i < f->labels; i++)
        s->labels[i] = copy_label(values[i]);
    if (f->last)
        atomic_store_explicit(&f->last->next, s, memory_order_release);
    else
        atomic_store_explicit(&f->first, s, memory_order_release);
    f->last = s;
    return s;
}

static unsigned hash_of(char *const values[METRIC_LABELS_MAX], int n)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (int i = 0; i < n; i++)
        for (const char *p = values[i];; p++) {
            h = (h ^ (unsigned char)*p) * 16777619u;
            if (*p == '\0')
                break;
        }
    return h;
}

static int same_labels(const struct metric_series *s, char *const values[], int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(s->labels[i], values[i]) != 0)
            return 0;
    return 1;
}

static struct metric_series *find_or_add(struct metric_family *f, char *const values[])
{
    struct metric_series **head = &f->hash[hash_of(values, f->labels) % ARRAY_LEN(f->hash)];
    for (struct metric_series *s = *head; s; s = s->in_bucket)
        if (same_labels(s, values, f->labels))
            return s;
    if (f->series >= METRIC_SERIES_MAX) {
        static const char *const other[METRIC_LABELS_MAX] = {"other", "other", "other"};
        if (!f->other)
            f->other = add_series(f, other);
        return f->other;
    }
    struct metric_series *s = add_series(f, (const char *const *)values);
    s->in_bucket = *head;
    *head = s;
    f->series++;
    return s;
}

struct metric_series *metric_get(enum metric metric, const char *a, const char *b, const char *c)
{
    struct metric_family *f = &metrics_families()[metric];
    if (f->labels == 0 && f->kind != GAUGE)
        return f->first;
    const char *const given[METRIC_LABELS_MAX] = {a, b, c};
    char *values[METRIC_LABELS_MAX] = {0};
    for (int i = 0; i < f->labels; i++)
        values[i] = copy_label(given[i]);
    pthread_mutex_lock(&f->lock);
    struct metric_series *s = find_or_add(f, values);
    pthread_mutex_unlock(&f->lock);
    for (int i = 0; i < f->labels; i++)
        free(values[i]);
    return s;
}

static double from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t to_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

double metric_value(const struct metric_series *s)
{
    return from_bits(atomic_load_explicit(&s->bits, memory_order_relaxed));
}

void metric_add(struct metric_series *s, double value)
{
    if (s->family->kind == HISTOGRAM || isnan(value) || (s->family->kind == COUNTER && value < 0))
        return;
    uint64_t old = atomic_load_explicit(&s->bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&s->bits, &old, to_bits(from_bits(old) + value),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void metric_set(struct metric_series *s, double value)
{
    if (s->family->kind != HISTOGRAM)
        atomic_store_explicit(&s->bits, to_bits(value), memory_order_relaxed);
}

void metric_observe(struct metric_series *s, double value)
{
    const struct metric_family *f = s->family;
    if (f->kind != HISTOGRAM || isnan(value))
        return;
    int bucket = 0;
    while (bucket < f->buckets && value > f->bounds[bucket])
        bucket++;
    pthread_mutex_lock(&s->lock);
    s->counts[bucket]++;
    s->sum += value;
    pthread_mutex_unlock(&s->lock);
}

void metrics_build_info(const char *version, const char *model)
{
    struct metric_family *f = &metrics_families()[METRIC_BUILD_INFO];
    struct metric_series *now = metric_get(METRIC_BUILD_INFO, version, model, NULL);
    metric_set(now, 1);
    for (struct metric_series *s = f->first; s; s = s->next)
        s->hidden = s != now;
}

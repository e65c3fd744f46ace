/* A scrape: asks the hooks, mirrors what others count, and writes all families as text (format
 * 0.0.4). One scrape at a time; updates go on meanwhile. */
#include "metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "internal.h"

static struct {
    void (*fill)(void *ctx);
    void *ctx;
} hooks[METRIC_HOOKS_MAX];
static size_t hook_count;
/* Held while hooks run: metrics_unhook returns only when its ctx is out of use. */
static pthread_mutex_t scrape_lock = PTHREAD_MUTEX_INITIALIZER;

int metrics_hook(void (*fill)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&scrape_lock);
    int rc = hook_count < METRIC_HOOKS_MAX ? 0 : -1;
    if (rc == 0) {
        hooks[hook_count].fill = fill;
        hooks[hook_count++].ctx = ctx;
    }
    pthread_mutex_unlock(&scrape_lock);
    return rc;
}

void metrics_unhook(void *ctx)
{
    pthread_mutex_lock(&scrape_lock);
    size_t kept = 0;
    for (size_t i = 0; i < hook_count; i++)
        if (hooks[i].ctx != ctx)
            hooks[kept++] = hooks[i];
    hook_count = kept;
    pthread_mutex_unlock(&scrape_lock);
}

/* Shortest of two forms that reads back as the same double. */
static void put_number(FILE *f, double v)
{
    char text[40];
    if (isnan(v)) {
        fputs("NaN", f);
        return;
    }
    if (isinf(v)) {
        fputs(v > 0 ? "+Inf" : "-Inf", f);
        return;
    }
    snprintf(text, sizeof text, "%.15g", v);
    if (strtod(text, NULL) != v)
        snprintf(text, sizeof text, "%.17g", v);
    fputs(text, f);
}

static void put_escaped(FILE *f, const char *s, int quotes)
{
    for (; *s; s++) {
        if (*s == '\n')
            fputs("\\n", f);
        else if (*s == '\\' || (*s == '"' && quotes))
            fprintf(f, "\\%c", *s);
        else
            fputc(*s, f);
    }
}

/* name{label="value",…,le="bound"} ; le NULL: without. */
static void put_name(FILE *f, const struct metric_series *s, const char *suffix, const char *le)
{
    const struct metric_family *family = s->family;
    const char *before = "{";
    fprintf(f, "%s%s", family->name, suffix);
    for (int i = 0; i < family->labels; i++) {
        fprintf(f, "%s%s=\"", before, family->label_names[i]);
        put_escaped(f, s->labels[i], 1);
        fputc('"', f);
        before = ",";
    }
    if (le) {
        fprintf(f, "%sle=\"%s\"", before, le);
        before = ",";
    }
    fputs(*before == '{' ? " " : "} ", f);
}

static void put_histogram(FILE *f, struct metric_series *s)
{
    const struct metric_family *family = s->family;
    uint64_t counts[BUCKETS_MAX + 1], total = 0;
    pthread_mutex_lock(&s->lock);
    memcpy(counts, s->counts, sizeof counts);
    double sum = s->sum;
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i <= family->buckets; i++) {
        char le[40] = "+Inf";
        if (i < family->buckets)
            snprintf(le, sizeof le, "%.15g", family->bounds[i]);
        total += counts[i];
        put_name(f, s, "_bucket", le);
        fprintf(f, "%llu\n", (unsigned long long)total);
    }
    put_name(f, s, "_sum", NULL);
    put_number(f, sum);
    fputc('\n', f);
    put_name(f, s, "_count", NULL);
    fprintf(f, "%llu\n", (unsigned long long)total);
}

static void put_family(FILE *f, struct metric_family *family)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    fprintf(f, "# HELP %s ", family->name);
    put_escaped(f, family->help, 0);
    fprintf(f, "\n# TYPE %s %s\n", family->name, kinds[family->kind]);
    struct metric_series *s = atomic_load_explicit(&family->first, memory_order_acquire);
    for (; s; s = atomic_load_explicit(&s->next, memory_order_acquire)) {
        if (s->hidden)
            continue;
        if (family->kind == HISTOGRAM) {
            put_histogram(f, s);
            continue;
        }
        put_name(f, s, "", NULL);
        put_number(f, metric_value(s));
        fputc('\n', f);
    }
}

/* Everything that is asked for at a scrape. */
static void refresh(void)
{
    pthread_mutex_lock(&scrape_lock);
    for (size_t i = 0; i < hook_count; i++)
        hooks[i].fill(hooks[i].ctx);
    pthread_mutex_unlock(&scrape_lock);
    process_metrics();
    metric_set(metric_get(METRIC_LOG_LINES, "warn", NULL, NULL), (double)log_lines(LOG_LEVEL_WARN));
    metric_set(metric_get(METRIC_LOG_LINES, "error", NULL, NULL),
               (double)log_lines(LOG_LEVEL_ERROR));
    if (!atomic_load(&metrics_families()[METRIC_BUILD_INFO].first))
        metrics_build_info(SONDE_VERSION, "");
}

enum err_code metrics_text(char **ret, size_t *ret_len, struct err *err)
{
    *ret = NULL;
    struct metric_family *families = metrics_families();
    refresh();
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return err_set(err, ERR_NO_MEMORY, "no memory for the metrics");
    for (int i = 0; i < METRIC_COUNT; i++)
        put_family(f, &families[i]);
    int bad = ferror(f);
    if (fclose(f) != 0 || bad) {
        free(text);
        return err_set(err, ERR_NO_MEMORY, "no memory for the metrics");
    }
    *ret = text;
    *ret_len = len;
    return ERR_OK;
}

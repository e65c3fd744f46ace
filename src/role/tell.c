/* What other processes should know at once, by way of a shared cache's channels:
 *
 *   changed    <instance>                       the events have grown: look
 *   progress   {from, analysis, progress}       how far an analysis is that runs there
 *
 * Messages say that there is something to look at; who misses one looks a second later anyway. One
 * thread publishes, so that neither a committing nor an analysing thread waits for the cache, and a
 * burst of commits becomes one message. Hearing happens on a thread of the driver's, which only
 * rings and hands texts to the hub. Without a shared cache there is none of this. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../os/clock.h"
#include "roles.h"

#define CHANGED          "changed"
#define PROGRESS         "progress"
#define COALESCE_US      20000
#define PROGRESS_SECONDS 0.25
#define AWAY_SECONDS     1.0

static void heard_progress(struct app *app, const char *text)
{
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const char *from = json_string_value(json_object_get(json, "from"));
    const char *id = json_string_value(json_object_get(json, "analysis"));
    const json_t *progress = json_object_get(json, "progress");
    if (from && strcmp(from, app->instance) != 0 && id && id_valid(id) &&
        json_is_number(progress)) {
        inference_heard(id, json_number_value(progress));
        events_progress(app, id, json_number_value(progress));
    }
    json_decref(json);
}

static void heard(void *ctx, const char *channel, const char *text)
{
    struct app *app = ctx;
    if (!channel || !text)
        bell_ring(&app->news); /* something may have been missed */
    else if (strcmp(channel, CHANGED) == 0 && strcmp(text, app->instance) != 0)
        bell_ring(&app->news);
    else if (strcmp(channel, PROGRESS) == 0)
        heard_progress(app, text);
}

enum err_code tell_open(struct app *app, struct err *err)
{
    return cache_shared(app->cache) ? cache_listen(app->cache, heard, app, err) : ERR_OK;
}

static enum err_code tell_progress(struct app *app, struct err *err)
{
    struct inference_now list[64];
    size_t n = inference_running(list, ARRAY_LEN(list));
    enum err_code rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        json_t *json = json_object();
        json_object_set_new(json, "from", json_string(app->instance));
        json_object_set_new(json, "analysis", json_string(list[i].id));
        json_object_set_new(json, "progress", json_real(list[i].progress));
        _cleanup_free_ char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(4));
        json_decref(json);
        if (text)
            rc = cache_publish(app->cache, PROGRESS, text, err);
    }
    return rc;
}

void *tell_run(void *ctx)
{
    struct app *app = ctx;
    uint64_t seen = 0, told = 0;
    double progress_at = 0;
    while (!atomic_load(&app->stopping)) {
        struct err err = {0};
        static struct log_limit limit;
        enum err_code rc = ERR_OK;
        bell_wait(&app->changed, &seen, PROGRESS_SECONDS);
        if (seen != told)
            rc = cache_publish(app->cache, CHANGED, app->instance, &err);
        if (rc == ERR_OK)
            told = seen;
        if (rc == ERR_OK && clock_seconds() >= progress_at) {
            progress_at = clock_seconds() + PROGRESS_SECONDS;
            rc = tell_progress(app, &err);
        }
        if (rc == ERR_OK) {
            usleep(COALESCE_US);
            continue;
        }
        if (log_allowed(&limit, 60, NULL))
            log_error(LOG_LEVEL_WARN,
                      "other processes are not told of changes; they look each second", &err);
        for (double until = clock_seconds() + AWAY_SECONDS;
             clock_seconds() < until && !atomic_load(&app->stopping);)
            usleep(COALESCE_US);
    }
    return NULL;
}

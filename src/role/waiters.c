/* Requests held back until an analysis is final (Prefer: wait). A short list under one lock: it is
 * bounded, and looked through only when an analysis ends. A waiter leaves the list before it is
 * resumed, so that it is resumed once. Any thread. */
#include <string.h>

#include "../base/mem.h"
#include "../os/clock.h"
#include "roles.h"

struct waiter {
    char id[ID_TEXT];
    double until; /* clock_seconds */
    struct http_deferred *deferred;
    http_handler *handle;
};

struct waiters {
    pthread_mutex_t lock;
    struct waiter list[WAITERS_MAX];
    size_t count;
};

struct waiters *waiters_new(void)
{
    struct waiters *w = xalloc(sizeof *w);
    pthread_mutex_init(&w->lock, NULL);
    return w;
}

struct waiters *waiters_free(struct waiters *w)
{
    if (w) {
        waiters_report_all(w);
        pthread_mutex_destroy(&w->lock);
        free(w);
    }
    return NULL;
}

enum err_code waiters_add(struct waiters *w, const char *id, struct http_request *request,
                          double seconds, http_handler *handle, struct err *err)
{
    enum err_code rc = ERR_OK;
    pthread_mutex_lock(&w->lock);
    if (w->count == WAITERS_MAX) {
        rc = err_set(err, ERR_BUSY, "%d requests are waiting for results already", WAITERS_MAX);
    } else {
        struct waiter *waiter = &w->list[w->count++];
        memcpy(waiter->id, id, ID_TEXT);
        waiter->until = clock_seconds() + seconds;
        waiter->deferred = http_defer(request);
        waiter->handle = handle;
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

int waiters_has(struct waiters *w, const char *id)
{
    int has = 0;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->count && !has; i++)
        has = strcmp(w->list[i].id, id) == 0;
    pthread_mutex_unlock(&w->lock);
    return has;
}

/* Takes one waiter out: of `id` (NULL: of any) whose time is up at `now`. */
static int take(struct waiters *w, const char *id, double now, struct waiter *ret)
{
    int found = 0;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->count && !found; i++) {
        if ((id && strcmp(w->list[i].id, id) != 0) || w->list[i].until > now)
            continue;
        *ret = w->list[i];
        w->list[i] = w->list[--w->count];
        found = 1;
    }
    pthread_mutex_unlock(&w->lock);
    return found;
}

#define EVER 1e300

void waiters_report(struct waiters *w, const char *id)
{
    struct waiter waiter;
    while (take(w, id, EVER, &waiter))
        http_resume(waiter.deferred, waiter.handle);
}

void waiters_report_all(struct waiters *w)
{
    waiters_report(w, NULL);
}

double waiters_tick(struct waiters *w, double most)
{
    struct waiter waiter;
    double now = clock_seconds();
    while (take(w, NULL, now, &waiter))
        http_resume(waiter.deferred, waiter.handle);
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->count; i++)
        if (w->list[i].until - now < most)
            most = w->list[i].until - now;
    pthread_mutex_unlock(&w->lock);
    return most > 0.01 ? most : 0.01;
}

enum err_code wait_for_analysis(struct app *app, struct http_request *request, const char *id,
                                http_handler *handle, struct err *err)
{
    char own[ID_TEXT]; /* `id` may live in the request, which is another thread's after the deferral
                        */
    memcpy(own, id, ID_TEXT);
    enum err_code rc =
        waiters_add(app->waiters, own, request, http_prefer_wait(request), handle, err);
    if (rc != ERR_OK)
        return rc;
    /* It may have become final before it was on the list, or the program may be ending. */
    struct store_analysis analysis;
    if (atomic_load(&app->stopping) || /* those on the list then were resumed already */
        store_get_status(app->db, own, &analysis, NULL) != ERR_OK ||
        analysis.status == STORE_DONE || analysis.status == STORE_FAILED)
        waiters_report(app->waiters, own);
    bell_ring(&app->news); /* the thread that ticks learns of the new deadline */
    return ERR_OK;
}

/* GET /status by way of the cache, many at a time.
 *
 * A look into the cache is a few microseconds of work and half a dozen system calls and changes of
 * threads around it. So a request that asks while another look is under way waits for its end, and
 * all that came meanwhile look together: one thread is woken, one exchange made for up to
 * CACHE_MANY of them. Somebody who is alone looks alone, at once.
 *
 * The I/O threads add, one worker at a time looks and answers. The list owns what waits in it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "../base/mem.h"
#include "roles.h"

struct poll {
    struct poll *next;
    struct http_deferred *deferred;
    http_handler *handle;
    char id[ID_TEXT];
};

struct polls {
    struct app *app;
    pthread_mutex_t lock;
    struct poll *first, **last;
    int looking; /* a worker is at it, or about to be */
};

struct polls *polls_new(struct app *app)
{
    struct polls *p = xalloc(sizeof *p);
    p->app = app;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

struct polls *polls_free(struct polls *p)
{
    if (!p)
        return NULL;
    pthread_mutex_destroy(&p->lock); /* the pool has run what it took, so the list is empty */
    free(p);
    return NULL;
}

/* Up to CACHE_MANY that wait, in order. When there are none, the look is over. */
static size_t take(struct polls *p, struct poll **list)
{
    size_t n = 0;
    pthread_mutex_lock(&p->lock);
    while (p->first && n < CACHE_MANY) {
        list[n++] = p->first;
        p->first = p->first->next;
    }
    if (!p->first)
        p->last = &p->first;
    if (!n)
        p->looking = 0;
    pthread_mutex_unlock(&p->lock);
    return n;
}

static void look(void *ctx)
{
    struct polls *p = ctx;
    struct poll *list[CACHE_MANY];
    size_t n;
    while ((n = take(p, list)) > 0) {
        const char *ids[CACHE_MANY];
        char *texts[CACHE_MANY];
        for (size_t i = 0; i < n; i++)
            ids[i] = list[i]->id;
        cached_get_many(p->app, CACHED_STATUS, ids, n, texts);
        for (size_t i = 0; i < n; i++) {
            if (texts[i])
                http_resume_here(list[i]->deferred, list[i]->handle, texts[i], free);
            else
                http_resume(list[i]->deferred, list[i]->handle);
            free(list[i]);
        }
    }
}

void polls_add(struct polls *p, struct http_request *request, const char *id, http_handler *handle)
{
    struct poll *poll = xalloc(sizeof *poll);
    poll->handle = handle;
    poll->deferred = http_defer(request);
    snprintf(poll->id, sizeof poll->id, "%s", id);
    pthread_mutex_lock(&p->lock);
    if (!p->looking)
        p->looking = pool_submit(p->app->workers, look, p, NULL) == ERR_OK;
    if (p->looking) {
        *p->last = poll;
        p->last = &poll->next;
        poll = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    if (poll) { /* too much to do: in its turn */
        http_resume(poll->deferred, handle);
        free(poll);
    }
}

/* Where handlers run: on the I/O thread, or on the worker pool while the connection is suspended;
 * and what happens to a handler that wants to be called again later (http_defer).
 *
 * A suspended request is counted in server->suspended until its connection has been resumed,
 * because libmicrohttpd must not be stopped before. A deferral has two ends, the request and the
 * caller's handle; defer_lock guards which of them are still there. It is one lock for the whole
 * process, since a handle may outlive its server; it is only held for a few assignments. */
#include "internal.h"

#include "../base/mem.h"

struct http_deferred {
    struct http_request *request; /* NULL: answered without waiting for http_resume */
    http_handler *handle;         /* set by http_resume */
    void *context;                /* and by http_resume_here, for the request; or NULL */
    void (*context_done)(void *);
    int parked; /* the handler has returned, so http_resume starts the next */
};

static pthread_mutex_t defer_lock = PTHREAD_MUTEX_INITIALIZER;

/* 0 when the server is ending and nothing may be suspended any more. */
static int suspend(struct http_request *request)
{
    struct http_server *server = request->server;
    pthread_mutex_lock(&server->lock);
    int open = !server->closing;
    server->suspended += open;
    pthread_mutex_unlock(&server->lock);
    if (open)
        MHD_suspend_connection(request->mhd);
    return open;
}

/* Back to the I/O thread, which queues the answer. The request may be gone when this returns. */
static void release(struct http_request *request)
{
    struct http_server *server = request->server;
    reply_finish(request);
    MHD_resume_connection(request->mhd);
    pthread_mutex_lock(&server->lock);
    server->suspended--;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static void unlink_parked(struct http_request *request)
{
    struct http_server *server = request->server;
    if (request->prev)
        request->prev->next = request->next;
    else
        server->parked = request->next;
    if (request->next)
        request->next->prev = request->prev;
    request->prev = request->next = NULL;
}

/* What came with http_resume_here is the request's now. */
static void hand_over(struct http_deferred *deferred, struct http_request *request)
{
    if (deferred->context)
        http_set_context(request, deferred->context, deferred->context_done);
}

/* The request no longer waits for the handle. With defer_lock. */
static void detach(struct http_request *request)
{
    struct http_deferred *deferred = STEAL(request->deferred);
    deferred->request = NULL;
    if (deferred->handle) { /* resumed already: nobody else has it */
        hand_over(deferred, request);
        free(deferred);
    }
}

/* Whether the request has to wait. Otherwise there is an answer, or another handler to run. */
static int park(struct http_request *request)
{
    struct http_server *server = request->server;
    pthread_mutex_lock(&defer_lock);
    struct http_deferred *deferred = request->deferred;
    int wait = 0;
    if (request->replied || server->cancelled) {
        detach(request);
    } else if (deferred->handle) {
        request->handle = deferred->handle;
        detach(request);
    } else {
        deferred->parked = wait = 1;
        request->next = server->parked;
        if (request->next)
            request->next->prev = request;
        server->parked = request;
    }
    int cancelled = server->cancelled;
    pthread_mutex_unlock(&defer_lock);
    if (cancelled && !request->replied)
        problem_reply(request, ERR_SHUTTING_DOWN, NULL);
    return wait;
}

/* Runs the handler that is due: afterwards there is an answer, or a deferral. */
static void answer_once(struct http_request *request)
{
    struct err err = {0};
    enum err_code code = ERR_OK;
    if (!request->body_done) {
        request->body_done = 1;
        code = body_end(request->body, &err);
    }
    if (code == ERR_OK && request->page)
        code = static_reply(request, &err);
    else if (code == ERR_OK)
        code = request->handle(request, request->server->config.app, &err);
    if (code == ERR_OK && !request->replied && !request->deferred)
        code = err_set(&err, ERR_INTERNAL, "the handler gave no answer");
    if (code != ERR_OK) {
        if (request->response)
            MHD_destroy_response(STEAL(request->response));
        request->replied = 0;
        problem_reply(request, code, &err);
    }
}

static void work(void *ctx)
{
    struct http_request *request = ctx;
    request->on_worker = 1;
    do {
        answer_once(request);
        if (request->deferred && park(request))
            return; /* and not ours any more */
    } while (!request->replied);
    release(request);
}

/* Gives a suspended request to the pool. */
static void submit(struct http_request *request, int retry)
{
    struct http_server *server = request->server;
    struct err err = {0};
    enum err_code code = pool_submit(server->config.workers, work, request, &err);
    if (code == ERR_OK)
        return;
    if (code == ERR_BUSY && retry) { /* it has been accepted long ago: it only has to wait */
        pthread_mutex_lock(&server->lock);
        request->next = server->retries;
        server->retries = request;
        pthread_mutex_unlock(&server->lock);
        return;
    }
    problem_reply(request, code, &err);
    release(request);
}

static void drop_deferral(struct http_request *request)
{
    pthread_mutex_lock(&defer_lock);
    detach(request);
    pthread_mutex_unlock(&defer_lock);
}

static int refuse_ending(struct http_request *request)
{
    problem_reply(request, ERR_SHUTTING_DOWN, NULL);
    reply_finish(request);
    return 1;
}

int run_start(struct http_request *request)
{
    const struct http_route *route = request->route;
    int on_loop = !route || route->where == HTTP_ON_LOOP ||
                  (route->where == HTTP_ON_LOOP_IF_LOCAL && request->server->config.local_reads);
    if (!on_loop) {
        if (!suspend(request))
            return refuse_ending(request);
        submit(request, 0);
        return 0;
    }
    answer_once(request);
    if (!request->deferred) {
        reply_finish(request);
        return 1;
    }
    if (!suspend(request)) {
        drop_deferral(request);
        return refuse_ending(request);
    }
    if (park(request))
        return 0;
    if (request->replied)
        release(request);
    else
        submit(request, 1);
    return 0;
}

void run_retries(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    struct http_request *list = STEAL(server->retries);
    pthread_mutex_unlock(&server->lock);
    while (list) {
        struct http_request *request = list;
        list = STEAL(request->next);
        submit(request, 1);
    }
}

void run_cancel_parked(struct http_server *server)
{
    pthread_mutex_lock(&defer_lock);
    server->cancelled = 1;
    struct http_request *list = STEAL(server->parked);
    for (struct http_request *r = list; r; r = r->next) {
        r->prev = NULL;
        detach(r);
    }
    pthread_mutex_unlock(&defer_lock);
    while (list) {
        struct http_request *request = list;
        list = STEAL(request->next);
        problem_reply(request, ERR_SHUTTING_DOWN, NULL);
        release(request);
    }
}

struct http_deferred *http_defer(struct http_request *request)
{
    struct http_deferred *deferred = xalloc(sizeof *deferred);
    deferred->request = request;
    request->deferred = deferred;
    return deferred;
}

/* The request, when it is for the caller to go on with it. */
static struct http_request *resume(struct http_deferred *deferred, http_handler *handle,
                                   void *context, void (*done)(void *))
{
    pthread_mutex_lock(&defer_lock);
    struct http_request *request = deferred->request;
    deferred->handle = handle;
    deferred->context = context;
    deferred->context_done = done;
    if (!request || deferred->parked) {
        if (request) {
            unlink_parked(request);
            request->handle = handle;
            request->deferred = NULL;
            hand_over(deferred, request);
        } else if (context && done) {
            done(context);
        }
        free(deferred);
    } else {
        request = NULL; /* its handler still runs, and finds deferred->handle when it returns */
    }
    pthread_mutex_unlock(&defer_lock);
    return request;
}

void http_resume(struct http_deferred *deferred, http_handler *handle)
{
    struct http_request *request = resume(deferred, handle, NULL, NULL);
    if (request)
        submit(request, 1);
}

void http_resume_here(struct http_deferred *deferred, http_handler *handle, void *context,
                      void (*done)(void *))
{
    struct http_request *request = resume(deferred, handle, context, done);
    if (request)
        work(request);
}

/* Threads that take messages from a queue, and what becomes of a message.
 *
 *   work -> DONE       ack
 *        -> RETRY      again after a pause; after QUEUE_MAX_RETRIES of them a dead letter: died()
 *        -> GIVE_BACK  at once, uncounted (the program is ending)
 *
 * A full or read-only disk is no fault of the job: then RETRY is GIVE_BACK after a moment, so that
 * no number of tries on a full disk makes a dead letter; and settling is tried until it succeeds.
 *
 * A lost lease means that somebody else works on the message now: settling is refused by the queue,
 * and the store's conditions keep the first result. One thread handles one message at a time. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../obs/metrics.h"
#include "../os/clock.h"
#include "roles.h"

#define THREADS_MAX  300
#define DISK_SECONDS 1.0 /* how long a full disk is left alone */

struct consumer {
    struct app *app;
    const struct consumer_kind *kind;
    void *own, *idle_own;
    int thread;
    pthread_t id;
};

struct consumers {
    struct consumer list[THREADS_MAX];
    size_t count;
};

static int disk_refuses(enum err_code code)
{
    return code == ERR_NO_SPACE || code == ERR_READ_ONLY;
}

static void pause_for(struct app *app, double seconds)
{
    for (double until = clock_seconds() + seconds;
         clock_seconds() < until && !atomic_load(&app->stopping);)
        usleep(20000);
}

static enum err_code settle_once(struct app *app, const struct queue_message *message,
                                 enum outcome outcome, const struct err *why, int *ret_dead,
                                 struct err *err)
{
    switch (outcome) {
    case OUTCOME_DONE:
        return queue_ack(app->queue, message, err);
    case OUTCOME_GIVE_BACK:
        return queue_release(app->queue, message, err);
    case OUTCOME_RETRY:
        break;
    }
    return queue_retry(app->queue, message, queue_backoff(message->delivery), why->text, ret_dead,
                       err);
}

static void settle(struct app *app, const struct consumer_kind *kind,
                   const struct queue_message *message, const json_t *data, enum outcome outcome,
                   const struct err *why)
{
    struct err err = {0};
    static struct log_limit limit;
    int dead = 0;
    if (outcome == OUTCOME_RETRY && disk_refuses(why->code)) {
        if (log_allowed(&limit, 10, NULL))
            log_error(LOG_LEVEL_ERROR, "jobs wait for the disk", why,
                      LOG_T("labels.queue", kind->queue));
        outcome = OUTCOME_GIVE_BACK;
        pause_for(app, DISK_SECONDS);
    }
    enum err_code rc = settle_once(app, message, outcome, why, &dead, &err);
    while (disk_refuses(rc) && !atomic_load(&app->stopping)) {
        pause_for(app, DISK_SECONDS);
        rc = settle_once(app, message, outcome, why, &dead, &err);
    }
    if (rc == ERR_OK && dead)
        kind->died(app, data, why);
    if (outcome == OUTCOME_RETRY)
        log_error(dead ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN,
                  dead ? "job gave up" : "job failed, trying again", why,
                  LOG_T("labels.queue", kind->queue), LOG_I("labels.delivery", message->delivery),
                  LOG_T("labels.analysis", json_string_value(json_object_get(data, "analysis"))));
    if (rc != ERR_OK && rc != ERR_CONFLICT)
        log_error(LOG_LEVEL_ERROR, "a job could not be settled; it will come again", &err,
                  LOG_T("labels.queue", kind->queue));
}

static void handle(struct app *app, const struct consumer_kind *kind, void *own,
                   struct queue_message *message)
{
    struct err why = {0};
    json_t *data = json_loads(message->body, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(data)) { /* not ours: kept where an operator sees it */
        if (queue_dead(app->queue, message, "the message is no JSON object", &why) != ERR_OK)
            log_error(LOG_LEVEL_ERROR, "a message that is no job could not be put aside", &why);
    } else {
        enum outcome outcome = kind->work(app, own, message, data, &why);
        settle(app, kind, message, data, outcome, &why);
    }
    json_decref(data);
    queue_message_done(message);
}

/* 1 when a message was handled. */
static int take_one(struct app *app, const struct consumer_kind *kind, void *own, double wait_s)
{
    struct queue_message message = {0};
    struct err err = {0};
    static struct log_limit limit;
    if (queue_receive(app->queue, kind->queue, kind->lease_s, wait_s, &message, &err) != ERR_OK) {
        if (log_allowed(&limit, 10, NULL))
            log_error(LOG_LEVEL_ERROR, "the queue does not answer", &err,
                      LOG_T("labels.queue", kind->queue));
        usleep(200000);
        return 0;
    }
    if (!message.body)
        return 0;
    handle(app, kind, own, &message);
    return 1;
}

static void *consumer_run(void *ctx)
{
    struct consumer *c = ctx;
    const struct consumer_kind *kind = c->kind;
    /* Analysing takes the processor for long: requests go first. */
    if (kind->nice)
        setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), kind->nice);
    while (!atomic_load(&c->app->stopping)) {
        /* While the idle queue has work, the first is only glanced at between two of its messages.
         */
        if (!take_one(c->app, kind, c->own, kind->idle ? 0 : 1.0) && kind->idle &&
            !take_one(c->app, kind->idle, c->own, 0) && !atomic_load(&c->app->stopping))
            take_one(c->app, kind, c->own, 0.5);
    }
    return NULL;
}

static enum err_code start_kind(struct app *app, const struct consumer_kind *kind, struct err *err)
{
    int threads = kind->threads > 0 ? kind->threads : app->settings.analysts;
    struct consumers *all = app->consumers;
    for (int i = 0; i < threads && all->count < THREADS_MAX; i++) {
        struct consumer *c = &all->list[all->count];
        *c = (struct consumer){.app = app, .kind = kind, .thread = i};
        if (kind->open && !(c->own = kind->open(app, i, err)))
            return err->code;
        int rc = pthread_create(&c->id, NULL, consumer_run, c);
        if (rc != 0) {
            if (kind->close)
                kind->close(c->own);
            return err_set_errno(err, ERR_NO_MEMORY, rc, "cannot start a thread for %s",
                                 kind->queue);
        }
        pthread_setname_np(c->id, kind->queue);
        all->count++;
    }
    return ERR_OK;
}

enum err_code consumers_start(struct app *app, struct err *err)
{
    app->consumers = xalloc(sizeof *app->consumers);
    enum err_code rc = start_kind(app, &intake_kind, err);
    if (rc == ERR_OK)
        rc = start_kind(app, &inference_kind, err);
    if (rc == ERR_OK)
        rc = start_kind(app, &webhook_kind, err);
    return rc;
}

void consumers_stop(struct app *app)
{
    struct consumers *all = app->consumers;
    if (!all)
        return;
    queue_stop(app->queue);
    for (size_t i = 0; i < all->count; i++) {
        pthread_join(all->list[i].id, NULL);
        if (all->list[i].kind->close)
            all->list[i].kind->close(all->list[i].own);
    }
    free(all);
    app->consumers = NULL;
}

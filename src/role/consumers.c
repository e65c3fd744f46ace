/* Threads that take messages from a queue, and what becomes of a message.
 *
 *   work -> DONE       ack
 *        -> RETRY      again after a pause; after QUEUE_MAX_RETRIES of them a dead letter: died()
 *        -> FAILED     the same, whatever the error is
 *        -> GIVE_BACK  at once, uncounted (the program is ending)
 *
 * A full disk, or a server that is away, is no fault of the job: then RETRY is GIVE_BACK after a
 * pause that grows, so that no number of tries makes a dead letter; and settling is tried until it
 * succeeds or the lease is over. A message of a newer program is given back for a newer process.
 *
 * One thread, the pulse, prolongs the leases of all that is worked on here, so a lease tells that
 * its process lives, and can be short where others wait for it. A lost lease means that somebody
 * else works on the message now: settling is refused by the queue, and the store's conditions keep
 * the first result. One thread handles one message at a time. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/id.h"
#include "../base/log.h"
#include "../base/mem.h"
#include "../obs/metrics.h"
#include "../os/clock.h"
#include "roles.h"

#define THREADS_MAX   300
#define PAUSE_FIRST   0.5 /* how long what is away is left alone, at first and at most */
#define PAUSE_MOST    5.0
#define NEWER_SECONDS 1.0
#define SHARED_LEASE  15.0 /* a process that was killed is noticed by this */

struct consumer {
    struct app *app;
    const struct consumer_kind *kind;
    void *own;
    int thread;
    double pause; /* the next one, 0: none was needed */
    pthread_t id;
    /* Under the lock of struct consumers, for the pulse. */
    const struct queue_message *message; /* NULL: none */
    double lease_s, extend_at;
    int lost;
};

struct consumers {
    pthread_mutex_t lock;
    pthread_t pulse;
    atomic_int end;
    struct consumer list[THREADS_MAX];
    size_t count;
};

/* A part of the server does not work; no job is at fault. */
static int is_away(enum err_code code)
{
    return code == ERR_NO_SPACE || code == ERR_READ_ONLY || code == ERR_UNAVAILABLE ||
           code == ERR_UNCERTAIN || code == ERR_BUSY;
}

static void pause_for(struct app *app, double seconds)
{
    for (double until = clock_seconds() + seconds;
         clock_seconds() < until && !atomic_load(&app->stopping);)
        usleep(20000);
}

/* Longer each time, and not in step with the others. */
static void back_off(struct consumer *c)
{
    uint32_t dice;
    random_bytes(&dice, sizeof dice);
    c->pause = c->pause <= 0 ? PAUSE_FIRST : c->pause * 2 < PAUSE_MOST ? c->pause * 2 : PAUSE_MOST;
    pause_for(c->app, c->pause * (0.8 + 0.4 * dice / UINT32_MAX));
}

/* --- leases */

static double lease_of(const struct app *app, const struct consumer_kind *kind)
{
    return app->shared && kind->lease_s > SHARED_LEASE ? SHARED_LEASE : kind->lease_s;
}

static void hold(struct consumer *c, const struct queue_message *message, double lease_s)
{
    pthread_mutex_lock(&c->app->consumers->lock);
    c->message = message;
    c->lease_s = lease_s;
    c->extend_at = clock_seconds() + lease_s / 4;
    c->lost = 0;
    pthread_mutex_unlock(&c->app->consumers->lock);
}

int consumers_lost(struct app *app, const struct queue_message *message)
{
    struct consumers *all = app->consumers;
    int lost = 0;
    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < all->count && !lost; i++)
        lost = all->list[i].message == message && all->list[i].lost;
    pthread_mutex_unlock(&all->lock);
    return lost;
}

/* Copies the message (without its body), because its thread may be done with it meanwhile. */
static int next_due(struct consumers *all, size_t at, struct queue_message *ret, double *ret_lease)
{
    double now = clock_seconds();
    struct consumer *c = &all->list[at];
    pthread_mutex_lock(&all->lock);
    int due = c->message && !c->lost && now >= c->extend_at;
    if (due) {
        *ret = *c->message;
        ret->body = NULL;
        *ret_lease = c->lease_s;
        c->extend_at = now + c->lease_s / 4;
    }
    pthread_mutex_unlock(&all->lock);
    return due;
}

static void mark_lost(struct consumers *all, size_t at, const struct queue_message *message)
{
    struct consumer *c = &all->list[at];
    pthread_mutex_lock(&all->lock);
    if (c->message && strcmp(c->message->lease, message->lease) == 0)
        c->lost = 1;
    pthread_mutex_unlock(&all->lock);
}

static void *pulse_run(void *ctx)
{
    struct app *app = ctx;
    struct consumers *all = app->consumers;
    while (!atomic_load(&all->end)) {
        for (size_t i = 0; i < all->count; i++) {
            struct queue_message message;
            double lease_s = 0;
            if (next_due(all, i, &message, &lease_s) &&
                queue_extend(app->queue, &message, lease_s, NULL) == ERR_CONFLICT)
                mark_lost(all, i, &message);
        }
        usleep(100000);
    }
    return NULL;
}

/* --- what becomes of a message */

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
    case OUTCOME_FAILED:
        break;
    }
    return queue_retry(app->queue, message, queue_backoff(message->delivery), why->text, ret_dead,
                       err);
}

static void settle(struct consumer *c, const struct consumer_kind *kind,
                   const struct queue_message *message, const json_t *data, enum outcome outcome,
                   const struct err *why)
{
    struct err err = {0};
    struct app *app = c->app;
    static struct log_limit limit;
    int dead = 0;
    if (outcome == OUTCOME_RETRY && is_away(why->code)) {
        if (log_allowed(&limit, 10, NULL))
            log_error(LOG_LEVEL_ERROR, "jobs wait for a part of the server", why,
                      LOG_T("labels.queue", kind->queue));
        outcome = OUTCOME_GIVE_BACK;
        back_off(c);
    } else {
        c->pause = 0;
    }
    double until = clock_seconds() + lease_of(app, kind);
    enum err_code rc = settle_once(app, message, outcome, why, &dead, &err);
    while (is_away(rc) && clock_seconds() < until && !atomic_load(&app->stopping)) {
        back_off(c);
        rc = settle_once(app, message, outcome, why, &dead, &err);
    }
    if (rc == ERR_OK && dead)
        kind->died(app, data, why);
    if (outcome == OUTCOME_RETRY || outcome == OUTCOME_FAILED)
        log_error(dead ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN,
                  dead ? "job gave up" : "job failed, trying again", why,
                  LOG_T("labels.queue", kind->queue), LOG_I("labels.delivery", message->delivery),
                  LOG_T("labels.analysis", json_string_value(json_object_get(data, "analysis"))));
    if (rc != ERR_OK && rc != ERR_CONFLICT && log_allowed(&limit, 10, NULL))
        log_error(LOG_LEVEL_ERROR, "a job could not be settled; it will come again", &err,
                  LOG_T("labels.queue", kind->queue));
}

/* Of a program that means something else by it than this one would do. */
static int is_newer(const json_t *data)
{
    return json_integer_value(json_object_get(data, "v")) > STORE_MESSAGE_VERSION;
}

static enum outcome leave_it(struct app *app, const struct consumer_kind *kind)
{
    static struct log_limit limit;
    if (log_allowed(&limit, 60, NULL))
        log_event(LOG_LEVEL_WARN, "jobs of a newer sonde are left for a newer process",
                  LOG_T("labels.queue", kind->queue));
    pause_for(app, NEWER_SECONDS);
    return OUTCOME_GIVE_BACK;
}

static void handle(struct consumer *c, const struct consumer_kind *kind,
                   struct queue_message *message)
{
    struct err why = {0};
    struct app *app = c->app;
    json_t *data = json_loads(message->body, JSON_REJECT_DUPLICATES, NULL);
    hold(c, message, lease_of(app, kind));
    if (!json_is_object(data)) { /* not ours: kept where an operator sees it */
        if (queue_dead(app->queue, message, "the message is no JSON object", &why) != ERR_OK)
            log_error(LOG_LEVEL_ERROR, "a message that is no job could not be put aside", &why);
    } else {
        enum outcome outcome =
            is_newer(data) ? leave_it(app, kind) : kind->work(app, c->own, message, data, &why);
        settle(c, kind, message, data, outcome, &why);
    }
    hold(c, NULL, 0);
    json_decref(data);
    queue_message_done(message);
}

/* 1 when a message was handled. */
static int take_one(struct consumer *c, const struct consumer_kind *kind, double wait_s)
{
    struct queue_message message = {0};
    struct err err = {0};
    static struct log_limit limit;
    if (queue_receive(c->app->queue, kind->queue, lease_of(c->app, kind), wait_s, &message, &err) !=
        ERR_OK) {
        if (log_allowed(&limit, 10, NULL))
            log_error(LOG_LEVEL_ERROR, "the queue does not answer", &err,
                      LOG_T("labels.queue", kind->queue));
        back_off(c);
        return 0;
    }
    if (!message.body) {
        c->pause = 0;
        return 0;
    }
    handle(c, kind, &message);
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
        if (!take_one(c, kind, kind->idle ? 0 : 1.0) && kind->idle && !take_one(c, kind->idle, 0) &&
            !atomic_load(&c->app->stopping))
            take_one(c, kind, 0.5);
    }
    return NULL;
}

static enum err_code start_kind(struct app *app, const struct consumer_kind *kind, struct err *err)
{
    int threads = kind->threads > 0 ? kind->threads : app->settings.analysts;
    if (app->shared && kind->threads_shared > 0)
        threads = kind->threads_shared;
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
        pthread_mutex_lock(&all->lock);
        all->count++;
        pthread_mutex_unlock(&all->lock);
    }
    return ERR_OK;
}

enum err_code consumers_start(struct app *app, struct err *err)
{
    static const struct {
        unsigned role;
        const struct consumer_kind *kind;
    } rows[] = {
        {ROLE_INFERENCE, &intake_kind},
        {ROLE_INFERENCE, &inference_kind},
        {ROLE_KEEPER, &webhook_kind},
    };
    struct consumers *all = app->consumers = xalloc(sizeof *app->consumers);
    pthread_mutex_init(&all->lock, NULL);
    enum err_code rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(rows); i++)
        if (app->settings.roles & rows[i].role)
            rc = start_kind(app, rows[i].kind, err);
    /* Last: from now on the list stays as it is. */
    int failed = rc == ERR_OK ? pthread_create(&all->pulse, NULL, pulse_run, app) : 0;
    if (failed) {
        all->pulse = 0;
        rc = err_set_errno(err, ERR_NO_MEMORY, failed, "cannot start a thread");
    }
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
    atomic_store(&all->end, 1);
    if (all->pulse)
        pthread_join(all->pulse, NULL);
    pthread_mutex_destroy(&all->lock);
    free(all);
    app->consumers = NULL;
}

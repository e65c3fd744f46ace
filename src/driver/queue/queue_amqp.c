/* The queue on RabbitMQ: for several processes.
 *
 * One I/O thread owns both connections, for librabbitmq is not made for several. Callers hand it
 * commands through a list and an eventfd and sleep until the outcome is there. A command is held by
 * its caller and by the I/O thread; whoever leaves last frees it, so a caller may give up on a
 * broker that does not answer.
 *
 * What a message goes through is told in docs/adr/0006: taken one at a time, counted in a header of
 * our own, copied and acknowledged when it has to come again.
 *
 * This file: opening, closing, and the callers' side of commands. Any thread. */
#include "queue_amqp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "../../base/time.h"

#define SETTLE_MS  15000
#define PUBLISH_MS 15000
#define STATS_MS   10000
#define GRACE_MS   5000 /* beyond what the I/O thread keeps to itself: it may be connecting */

/* --- commands ------------------------------------------------------------------------------- */

struct amqp_command *amqp_command_new(enum amqp_kind kind)
{
    pthread_condattr_t monotonic;
    struct amqp_command *command = xalloc(sizeof *command);
    command->kind = kind;
    command->refs = 1;
    command->step = -1;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&command->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return command;
}

static void command_free(struct amqp_command *command)
{
    for (size_t i = 0; command->letters && i < command->n; i++)
        amqp_letter_done(&command->letters[i]);
    free(command->letters);
    free(command->delays);
    amqp_letter_done(&command->got);
    pthread_cond_destroy(&command->wake);
    free(command);
}

void amqp_command_drop(struct amqp_driver *d, struct amqp_command *command)
{
    if (!command)
        return;
    pthread_mutex_lock(&d->lock);
    int left = --command->refs;
    pthread_mutex_unlock(&d->lock);
    if (!left)
        command_free(command);
}

int amqp_command_gone(struct amqp_driver *d, struct amqp_command *command)
{
    pthread_mutex_lock(&d->lock);
    int gone = command->abandoned;
    pthread_mutex_unlock(&d->lock);
    return gone;
}

int amqp_command_end(struct amqp_driver *d, struct amqp_command *command, enum err_code code,
                     const char *fmt, ...)
{
    va_list args;
    char text[ERR_TEXT_MAX] = "";
    if (fmt) {
        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
    }
    pthread_mutex_lock(&d->lock);
    int heard = command->has_caller && !command->abandoned;
    command->code = code;
    if (code)
        err_set(&command->err, code, "%s", text);
    command->done = 1;
    pthread_cond_signal(&command->wake);
    int left = --command->refs;
    pthread_mutex_unlock(&d->lock);
    if (!left)
        command_free(command);
    return heard ? 0 : -1;
}

static void ring(struct amqp_driver *d)
{
    uint64_t one = 1;
    while (write(d->event, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void unlink_waiting(struct amqp_driver *d, struct amqp_command *command)
{
    if (command->before)
        command->before->after = command->after;
    else
        d->waiting = command->after;
    if (command->after)
        command->after->before = command->before;
}

static void hand_over(struct amqp_driver *d, struct amqp_command *command)
{
    command->refs++;
    command->has_caller = 1;
    *d->fresh_end = command;
    d->fresh_end = &command->next;
    d->n_fresh++;
    command->after = d->waiting;
    if (d->waiting)
        d->waiting->before = command;
    d->waiting = command;
}

/* 1 when it ended. Under the lock. */
static int wait_for(struct amqp_driver *d, struct amqp_command *command, int64_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (timeout_ms + GRACE_MS) / 1000;
    int late = 0;
    while (!command->done && !command->abandoned && !late)
        late = pthread_cond_timedwait(&command->wake, &d->lock, &until) != 0;
    unlink_waiting(d, command);
    if (!command->done)
        command->abandoned = 1;
    d->look |= command->abandoned;
    return !command->abandoned; /* amqp_stop may have, and then it does not count what came */
}

enum err_code amqp_command_run(struct amqp_driver *d, struct amqp_command *command,
                               int64_t timeout_ms, struct err *err)
{
    /* Of receiving, amqp_stop lets everybody go at once, but not who tends the dead letters. */
    int stoppable = command->kind == AMQP_RECEIVE && command->queue < QUEUE_NAMES;
    command->deadline = time_steady_ms() + timeout_ms;
    pthread_mutex_lock(&d->lock);
    if (d->closing || (stoppable && d->stopped)) {
        pthread_mutex_unlock(&d->lock);
        return stoppable ? ERR_OK : err_set(err, ERR_SHUTTING_DOWN, "the queue is closing");
    }
    if (d->n_fresh >= AMQP_COMMANDS_MAX) {
        pthread_mutex_unlock(&d->lock);
        return err_set(err, ERR_BUSY, "the queue has more to do than it can remember");
    }
    d->inside++;
    int first = !d->n_fresh;
    hand_over(d, command);
    pthread_mutex_unlock(&d->lock);
    if (first)
        ring(d);
    pthread_mutex_lock(&d->lock);
    int done = wait_for(d, command, timeout_ms), stopped = d->stopped;
    enum err_code code = command->code;
    if (done && code && err)
        *err = command->err;
    if (!--d->inside)
        pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    if (done)
        return code;
    ring(d); /* what it held is let go */
    if (stoppable && stopped)
        return ERR_OK;
    return err_set(err, command->kind == AMQP_PUBLISH ? ERR_UNCERTAIN : ERR_UNAVAILABLE,
                   "the broker did not answer within %lld s", (long long)timeout_ms / 1000);
}

/* --- opening and closing -------------------------------------------------------------------- */

static void free_driver(struct amqp_driver *d)
{
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    if (d->event >= 0)
        close(d->event);
    explicit_bzero(d->urls, sizeof d->urls);
    free(d->ca_file);
    free(d);
}

/* Hostile headers may nest deeply, and are read recursively. */
#define IO_STACK (32 << 20)

static int start_thread(struct amqp_driver *d)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, IO_STACK);
    int rc = pthread_create(&d->thread, &attr, amqp_io_run, d);
    pthread_attr_destroy(&attr);
    if (!rc)
        pthread_setname_np(d->thread, "amqp");
    return rc;
}

static enum err_code amqp_open(const struct queue_options *options, void **ret, struct err *err)
{
    struct amqp_driver *d = xalloc(sizeof *d);
    d->event = -1;
    d->fresh_end = &d->fresh;
    d->in.driver = d->out.driver = d;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    enum err_code code = amqp_urls_parse(options->url, options->password, d->urls, &d->n_urls, err);
    if (!code && options->ca_file && *options->ca_file)
        d->ca_file = xstrdup(options->ca_file);
    if (!code && (d->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        code = err_set_errno(err, ERR_UNAVAILABLE, errno, "the queue cannot be opened");
    int rc = code ? 0 : start_thread(d);
    if (rc)
        code = err_set_errno(err, ERR_NO_MEMORY, rc, "no thread for the queue");
    if (code) {
        free_driver(d);
        return code;
    }
    pthread_mutex_lock(&d->lock);
    while (!d->opened)
        pthread_cond_wait(&d->changed, &d->lock);
    code = d->open_code;
    if (code && err)
        *err = d->open_err;
    pthread_mutex_unlock(&d->lock);
    if (code) {
        pthread_join(d->thread, NULL);
        free_driver(d);
        return code;
    }
    *ret = d;
    return ERR_OK;
}

static void amqp_stop(void *impl)
{
    struct amqp_driver *d = impl;
    pthread_mutex_lock(&d->lock);
    d->stopped = d->look = 1;
    for (struct amqp_command *c = d->waiting; c; c = c->after) {
        if (c->kind == AMQP_RECEIVE && c->queue < QUEUE_NAMES && !c->done) {
            c->abandoned = 1;
            pthread_cond_signal(&c->wake);
        }
    }
    pthread_mutex_unlock(&d->lock);
    ring(d);
}

static void amqp_close(void *impl)
{
    struct amqp_driver *d = impl;
    pthread_mutex_lock(&d->lock);
    while (d->inside)
        pthread_cond_wait(&d->changed, &d->lock);
    d->closing = 1;
    pthread_mutex_unlock(&d->lock);
    ring(d);
    pthread_join(d->thread, NULL);
    free_driver(d);
}

/* --- publishing ----------------------------------------------------------------------------- */

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_NO_MEMORY, "no memory for a message");
}

static enum err_code fill_letters(struct amqp_command *command,
                                  const struct queue_publication *list, size_t n, struct err *err)
{
    command->letters = try_alloc(n, sizeof *command->letters);
    command->delays = try_alloc(n, sizeof *command->delays);
    if (!command->letters || !command->delays)
        return no_memory(err);
    command->n = n;
    for (size_t i = 0; i < n; i++) {
        struct amqp_letter *letter = &command->letters[i];
        memcpy(letter->id, list[i].id, strlen(list[i].id) + 1);
        letter->queue = queue_name_index(list[i].queue);
        letter->published_ms = time_steady_ms();
        letter->body = strdup(list[i].body);
        if (!letter->body)
            return no_memory(err);
        double delay = list[i].delay_s > 0 ? list[i].delay_s : 0;
        command->delays[i] = delay < QUEUE_DELAY_MAX_SECONDS ? delay : QUEUE_DELAY_MAX_SECONDS;
    }
    return ERR_OK;
}

static enum err_code amqp_publish_all(void *impl, const struct queue_publication *list, size_t n,
                                      struct err *err)
{
    struct amqp_driver *d = impl;
    if (n > AMQP_PENDING_MAX)
        return err_set(err, ERR_LIMIT, "at most %d messages can be published at once",
                       AMQP_PENDING_MAX);
    struct amqp_command *command = amqp_command_new(AMQP_PUBLISH);
    enum err_code code = fill_letters(command, list, n, err);
    if (!code)
        code = amqp_command_run(d, command, PUBLISH_MS, err);
    amqp_command_drop(d, command);
    return code;
}

/* --- receiving and settling ----------------------------------------------------------------- */

static enum err_code amqp_receive_one(void *impl, int name, double lease_s, double wait_s,
                                      struct queue_message *ret, struct err *err)
{
    struct amqp_driver *d = impl;
    struct amqp_command *command = amqp_command_new(AMQP_RECEIVE);
    command->queue = name;
    command->lease_ms = (int64_t)(lease_s * 1000);
    int64_t wait_ms = (int64_t)(wait_s * 1000);
    command->until = time_steady_ms() + wait_ms;
    enum err_code code = amqp_command_run(d, command, wait_ms + SETTLE_MS, err);
    if (!code && !command->abandoned && command->got.body) {
        memcpy(ret->id, command->got.id, sizeof ret->id);
        memcpy(ret->lease, command->lease, sizeof ret->lease);
        ret->queue = queue_name(name);
        ret->delivery = command->got.delivery;
        ret->published_ms = command->got.published_ms;
        ret->body = STEAL(command->got.body);
    }
    amqp_command_drop(d, command);
    return code;
}

static enum err_code settle(struct amqp_driver *d, struct amqp_command *command, const char *lease,
                            const char *reason, int *ret_dead, struct err *err)
{
    snprintf(command->lease, sizeof command->lease, "%s", lease);
    queue_reason_tidy(reason ? reason : "", command->reason);
    enum err_code code = amqp_command_run(d, command, SETTLE_MS, err);
    if (ret_dead)
        *ret_dead = !code && command->dead;
    amqp_command_drop(d, command);
    return code;
}

enum err_code amqp_finish(struct amqp_driver *d, enum amqp_kind kind, enum amqp_move move,
                          const char *lease, const char *reason, struct err *err)
{
    struct amqp_command *command = amqp_command_new(kind);
    command->move = move;
    return settle(d, command, lease, reason, NULL, err);
}

static enum err_code amqp_extend_one(void *impl, const struct queue_message *message,
                                     double lease_s, struct err *err)
{
    struct amqp_command *command = amqp_command_new(AMQP_EXTEND);
    command->lease_ms = (int64_t)(lease_s * 1000);
    return settle(impl, command, message->lease, NULL, NULL, err);
}

static enum err_code amqp_ack_one(void *impl, const struct queue_message *message, struct err *err)
{
    return amqp_finish(impl, AMQP_ACK, 0, message->lease, NULL, err);
}

static enum err_code amqp_retry_one(void *impl, const struct queue_message *message, double delay_s,
                                    const char *reason, int *ret_dead, struct err *err)
{
    struct amqp_command *command = amqp_command_new(AMQP_MOVE);
    command->move = AMQP_TO_RETRY;
    command->delay_s = delay_s;
    return settle(impl, command, message->lease, reason, ret_dead, err);
}

static enum err_code amqp_dead_one(void *impl, const struct queue_message *message,
                                   const char *reason, struct err *err)
{
    return amqp_finish(impl, AMQP_MOVE, AMQP_TO_DEAD, message->lease, reason, err);
}

static enum err_code amqp_release_one(void *impl, const struct queue_message *message,
                                      struct err *err)
{
    return amqp_finish(impl, AMQP_MOVE, AMQP_TO_RELEASE, message->lease, NULL, err);
}

enum err_code amqp_take(struct amqp_driver *d, int queue, struct amqp_command **ret,
                        struct err *err)
{
    struct amqp_command *command = amqp_command_new(AMQP_RECEIVE);
    command->queue = queue;
    command->lease_ms = 60000;
    command->until = time_steady_ms();
    enum err_code code = amqp_command_run(d, command, SETTLE_MS, err);
    if (code) {
        amqp_command_drop(d, command);
        command = NULL;
    }
    *ret = command;
    return code;
}

/* --- the rest ------------------------------------------------------------------------------- */

enum err_code amqp_stats_of(void *impl, int name, struct queue_stats *ret, struct err *err)
{
    struct amqp_driver *d = impl;
    struct amqp_command *command = amqp_command_new(AMQP_STATS);
    command->queue = name;
    enum err_code code = amqp_command_run(d, command, STATS_MS, err);
    if (!code)
        *ret = command->stats;
    amqp_command_drop(d, command);
    return code;
}

static enum err_code amqp_ping(void *impl, struct err *err)
{
    struct queue_stats ignored;
    return amqp_stats_of(impl, AMQP_DLQ, &ignored, err);
}

/* Nothing to do: the broker noticed when the last process died. */
static enum err_code amqp_recover(void *impl, uint64_t *ret_returned, struct err *err)
{
    (void)impl;
    (void)err;
    *ret_returned = 0;
    return ERR_OK;
}

const struct queue_driver queue_driver_amqp = {
    .name = "amqp",
    .open = amqp_open,
    .close = amqp_close,
    .stop = amqp_stop,
    .ping = amqp_ping,
    .publish = amqp_publish_all,
    .receive = amqp_receive_one,
    .extend = amqp_extend_one,
    .ack = amqp_ack_one,
    .retry = amqp_retry_one,
    .dead = amqp_dead_one,
    .release = amqp_release_one,
    .recover = amqp_recover,
    .expire = amqp_expire,
    .stats = amqp_stats_of,
    .dead_list = amqp_dead_list,
    .dead_retry = amqp_dead_retry,
    .dead_drop = amqp_dead_drop,
};

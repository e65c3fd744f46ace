/* Dead letters and what expired: a caller takes them one by one as leases, and puts them where they
 * belong or back. Nothing leaves a queue before its copy stands elsewhere, so processes that do
 * this at once miss what the other holds, but lose nothing; whoever looks for one letter looks
 * twice. Runs on the caller's thread. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "queue_amqp.h"

#define BACK_MS 1000 /* somebody else may have taken them meanwhile */

/* What is held meanwhile. */
struct held {
    char (*list)[ID_TEXT];
    size_t n, cap;
};

static void held_done(struct held *held)
{
    free(held->list);
}

/* One more letter of the queue. *ret NULL: none left, or as many as may be looked at. */
static enum err_code take_more(struct amqp_driver *d, int queue, struct held *held,
                               struct amqp_command **ret, struct err *err)
{
    *ret = NULL;
    if (held->n >= AMQP_DEAD_MAX)
        return ERR_OK;
    if (try_grow(&held->list, &held->cap, held->n, sizeof *held->list, AMQP_DEAD_MAX))
        return err_set(err, ERR_NO_MEMORY, "no memory for dead letters");
    enum err_code code = amqp_take(d, queue, ret, err);
    if (code || (*ret)->got.body)
        return code;
    amqp_command_drop(d, *ret);
    *ret = NULL;
    return ERR_OK;
}

static void hold(struct held *held, const char *lease)
{
    memcpy(held->list[held->n++], lease, ID_TEXT);
}

/* The last first: the broker puts each before those that are there. A lease that was lost meanwhile
 * is back already. Waits until the broker counts them again, so that who looks next sees them. */
static void give_all_back(struct amqp_driver *d, const struct held *held)
{
    for (size_t i = held->n; i-- > 0;)
        if (amqp_finish(d, AMQP_RETURN, 0, held->list[i], NULL, NULL) == ERR_UNAVAILABLE)
            return;
    for (int i = 0; held->n && i < BACK_MS / 10; i++) {
        struct queue_stats stats = {0};
        if (amqp_stats_of(d, AMQP_DLQ, &stats, NULL) || stats.ready >= held->n)
            return;
        usleep(10000);
    }
}

/* --- what expired --------------------------------------------------------------------------- */

enum err_code amqp_expire(void *impl, queue_expired *expired, void *ctx, struct err *err)
{
    struct amqp_driver *d = impl;
    for (int i = 0; i < AMQP_DEAD_MAX; i++) {
        struct amqp_command *command = NULL;
        enum err_code code = amqp_take(d, AMQP_EXPIRED, &command, err);
        if (code)
            return code;
        const struct amqp_letter *letter = &command->got;
        int there = letter->body != NULL;
        if (there && letter->queue >= 0)
            expired(ctx, queue_name(letter->queue), letter->body);
        if (there)
            code = amqp_finish(d, AMQP_MOVE, AMQP_TO_DEAD, command->lease,
                               letter->reason ? letter->reason : "", err);
        amqp_command_drop(d, command);
        if (code && code != ERR_CONFLICT) /* lost: it is there again */
            return code;
        if (!there)
            break;
    }
    return ERR_OK;
}

/* --- dead letters --------------------------------------------------------------------------- */

static int show(const struct amqp_letter *got, queue_each_dead *each, void *ctx)
{
    struct queue_dead_letter letter = {
        .id = got->id,
        .queue = got->queue >= 0 ? queue_name(got->queue) : "unknown",
        .body = got->body,
        .reason = got->reason ? got->reason : "",
        .history = got->history && queue_history_valid(got->history) ? got->history : "[]",
        .deliveries = got->made,
        .published_ms = got->published_ms,
        .died_ms = got->died_ms,
    };
    return each(ctx, &letter);
}

enum err_code amqp_dead_list(void *impl, queue_each_dead *each, void *ctx, struct err *err)
{
    struct amqp_driver *d = impl;
    _cleanup_(held_done) struct held held = {0};
    struct amqp_command *command = NULL;
    enum err_code code;
    int enough = 0;
    while (!enough && !(code = take_more(d, AMQP_DLQ, &held, &command, err)) && command) {
        hold(&held, command->lease);
        enough = show(&command->got, each, ctx);
        amqp_command_drop(d, command);
    }
    give_all_back(d, &held);
    return enough ? ERR_OK : code;
}

/* Settles the letter `id`, or all of them. */
static enum err_code settle_dead(struct amqp_driver *d, const char *id, int raise,
                                 uint64_t *ret_count, struct err *err)
{
    _cleanup_(held_done) struct held held = {0};
    struct amqp_command *command = NULL;
    enum err_code code;
    int found = 0;
    while (!found && !(code = take_more(d, AMQP_DLQ, &held, &command, err)) && command) {
        const struct amqp_letter *got = &command->got;
        int wanted = !id || !strcmp(got->id, id);
        if (wanted && (!raise || got->queue >= 0)) {
            code = amqp_finish(d, raise ? AMQP_MOVE : AMQP_ACK, AMQP_TO_RAISE, command->lease, NULL,
                               err);
            *ret_count += !code;
            found = id != NULL || code;
        } else {
            hold(&held, command->lease);
            if (wanted && id)
                code = err_set(err, ERR_UNSUPPORTED,
                               "nobody knows which queue the dead letter %s came from", id);
            found = wanted && id;
        }
        amqp_command_drop(d, command);
    }
    give_all_back(d, &held);
    return code;
}

static enum err_code settle_some(struct amqp_driver *d, const char *id, int raise,
                                 uint64_t *ret_count, struct err *err)
{
    *ret_count = 0;
    enum err_code code = settle_dead(d, id, raise, ret_count, err);
    if (code || !id || *ret_count)
        return code;
    usleep(300000); /* somebody else may have held it */
    return settle_dead(d, id, raise, ret_count, err);
}

enum err_code amqp_dead_retry(void *impl, const char *id, uint64_t *ret_count, struct err *err)
{
    return settle_some(impl, id, 1, ret_count, err);
}

enum err_code amqp_dead_drop(void *impl, const char *id, uint64_t *ret_count, struct err *err)
{
    return settle_some(impl, id, 0, ret_count, err);
}

/* The queue facade: picks the driver, checks what callers give, counts what became of deliveries.
 * Threads: any; the struct is constant after queue_open. */
#include "queue.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../obs/metrics.h"
#include "queue_driver.h"

static const char *const names[QUEUE_NAMES] = {
    QUEUE_MEDICAL_DATA,
    QUEUE_ML_INFERENCE,
    QUEUE_STABILITY,
    QUEUE_WEBHOOK,
};

enum fate { FATE_ACKED, FATE_RETRIED, FATE_DEAD, FATE_LOST, FATES };

struct queue {
    const struct queue_driver *driver;
    void *impl;
    struct metric_series *fates[QUEUE_NAMES][FATES];
};

int queue_name_index(const char *name)
{
    for (int i = 0; name && i < QUEUE_NAMES; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

const char *queue_name(int index)
{
    return names[index];
}

static enum err_code no_such_queue(const char *name, struct err *err)
{
    return err_set(err, ERR_USAGE, "no queue is called %.40s", name ? name : "(nothing)");
}

static const struct queue_driver *driver_of(const char *url)
{
    if (url && !strcmp(url, "table:"))
        return &queue_driver_table;
    if (url && (!strncmp(url, "amqp://", 7) || !strncmp(url, "amqps://", 8)))
        return &queue_driver_amqp;
    return NULL;
}

enum err_code queue_open(const struct queue_options *options, struct queue **ret, struct err *err)
{
    static const char *const outcomes[FATES] = {"acked", "retried", "dead", "lost_lease"};
    *ret = NULL;
    const struct queue_driver *driver = driver_of(options->url);
    if (!driver)
        return err_set(err, ERR_USAGE,
                       "no queue url that sonde knows; it is table:, or "
                       "amqp://user@host[:port][/vhost], or amqps://…");
    void *impl = NULL;
    enum err_code code = driver->open(options, &impl, err);
    if (code)
        return code;
    struct queue *queue = xalloc(sizeof *queue);
    queue->driver = driver;
    queue->impl = impl;
    for (int i = 0; i < QUEUE_NAMES; i++)
        for (int k = 0; k < FATES; k++)
            queue->fates[i][k] = metric_get(METRIC_JOBS, names[i], outcomes[k], NULL);
    *ret = queue;
    return ERR_OK;
}

struct queue *queue_close(struct queue *queue)
{
    if (!queue)
        return NULL;
    queue->driver->stop(queue->impl);
    queue->driver->close(queue->impl);
    free(queue);
    return NULL;
}

void queue_stop(struct queue *queue)
{
    queue->driver->stop(queue->impl);
}

enum db_durability queue_needs(const struct queue *queue)
{
    return queue->driver->in_database ? DB_RELAXED : DB_DURABLE;
}

enum err_code queue_ping(struct queue *queue, struct err *err)
{
    return queue->driver->ping(queue->impl, err);
}

static double clamp(double seconds, double most)
{
    return seconds > 0 ? fmin(seconds, most) : 0; /* also what is not a number */
}

enum err_code queue_publish(struct queue *queue, const struct queue_publication *list, size_t n,
                            struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (queue_name_index(list[i].queue) < 0)
            return no_such_queue(list[i].queue, err);
        if (!list[i].id || !*list[i].id || strlen(list[i].id) >= ID_TEXT)
            return err_set(err, ERR_USAGE, "a message needs an id of at most %d characters",
                           ID_TEXT - 1);
        if (!list[i].body)
            return err_set(err, ERR_USAGE, "a message needs a body");
        if (strnlen(list[i].body, QUEUE_BODY_MAX + 1) > QUEUE_BODY_MAX)
            return err_set(err, ERR_LIMIT, "a message is larger than %d bytes", QUEUE_BODY_MAX);
    }
    return n ? queue->driver->publish(queue->impl, list, n, err) : ERR_OK;
}

enum err_code queue_receive(struct queue *queue, const char *name, double lease_s, double wait_s,
                            struct queue_message *ret, struct err *err)
{
    *ret = (struct queue_message){0};
    int index = queue_name_index(name);
    if (index < 0)
        return no_such_queue(name, err);
    return queue->driver->receive(queue->impl, index, clamp(lease_s, QUEUE_LEASE_MAX_SECONDS),
                                  clamp(wait_s, 24 * 3600), ret, err);
}

static enum err_code count(struct queue *queue, const struct queue_message *message, enum fate fate,
                           enum err_code code)
{
    int index = queue_name_index(message->queue);
    if (code == ERR_CONFLICT)
        fate = FATE_LOST;
    else if (code)
        return code;
    if (index >= 0)
        metric_add(queue->fates[index][fate], 1);
    return code;
}

enum err_code queue_extend(struct queue *queue, const struct queue_message *message, double lease_s,
                           struct err *err)
{
    /* Not counted when lost: the settling that follows is. */
    return queue->driver->extend(queue->impl, message, clamp(lease_s, QUEUE_LEASE_MAX_SECONDS),
                                 err);
}

enum err_code queue_ack(struct queue *queue, const struct queue_message *message, struct err *err)
{
    return count(queue, message, FATE_ACKED, queue->driver->ack(queue->impl, message, err));
}

enum err_code queue_retry(struct queue *queue, const struct queue_message *message, double delay_s,
                          const char *reason, int *ret_dead, struct err *err)
{
    int ignored;
    int *dead = ret_dead ? ret_dead : &ignored;
    *dead = 0;
    enum err_code code =
        queue->driver->retry(queue->impl, message, clamp(delay_s, QUEUE_DELAY_MAX_SECONDS),
                             reason ? reason : "", dead, err);
    return count(queue, message, *dead ? FATE_DEAD : FATE_RETRIED, code);
}

enum err_code queue_dead(struct queue *queue, const struct queue_message *message,
                         const char *reason, struct err *err)
{
    return count(queue, message, FATE_DEAD,
                 queue->driver->dead(queue->impl, message, reason ? reason : "", err));
}

enum err_code queue_release(struct queue *queue, const struct queue_message *message,
                            struct err *err)
{
    return queue->driver->release(queue->impl, message, err);
}

void queue_message_done(struct queue_message *message)
{
    free(message->body);
    message->body = NULL;
}

double queue_backoff(int delivery)
{
    static const double seconds[] = {5, 30, 300};
    const char *unit = secure_getenv("SONDE_QUEUE_BACKOFF");
    int last = (int)ARRAY_LEN(seconds) - 1;
    int at = delivery < 1 ? 0 : delivery - 1 > last ? last : delivery - 1;
    uint32_t dice;
    random_bytes(&dice, sizeof dice);
    double base = unit && *unit ? clamp(strtod(unit, NULL), seconds[at]) : seconds[at];
    return base * (0.8 + 0.4 * dice / UINT32_MAX);
}

enum err_code queue_recover(struct queue *queue, uint64_t *ret_returned, struct err *err)
{
    uint64_t ignored;
    return queue->driver->recover(queue->impl, ret_returned ? ret_returned : &ignored, err);
}

struct counting {
    struct queue *queue;
    queue_expired *expired;
    void *ctx;
};

static void count_expired(void *ctx, const char *name, const char *body)
{
    const struct counting *counting = ctx;
    int index = queue_name_index(name);
    if (index >= 0)
        metric_add(counting->queue->fates[index][FATE_DEAD], 1);
    if (counting->expired)
        counting->expired(counting->ctx, name, body);
}

enum err_code queue_expire(struct queue *queue, queue_expired *expired, void *ctx, struct err *err)
{
    struct counting counting = {queue, expired, ctx};
    return queue->driver->expire(queue->impl, count_expired, &counting, err);
}

enum err_code queue_stats(struct queue *queue, const char *name, struct queue_stats *ret,
                          struct err *err)
{
    *ret = (struct queue_stats){0};
    int index = name && !strcmp(name, QUEUE_DLQ) ? QUEUE_NAMES : queue_name_index(name);
    if (index < 0)
        return no_such_queue(name, err);
    return queue->driver->stats(queue->impl, index, ret, err);
}

enum err_code queue_dead_list(struct queue *queue, queue_each_dead *each, void *ctx,
                              struct err *err)
{
    return queue->driver->dead_list(queue->impl, each, ctx, err);
}

enum err_code queue_dead_retry(struct queue *queue, const char *id, uint64_t *ret_count,
                               struct err *err)
{
    uint64_t ignored;
    return queue->driver->dead_retry(queue->impl, id, ret_count ? ret_count : &ignored, err);
}

enum err_code queue_dead_drop(struct queue *queue, const char *id, uint64_t *ret_count,
                              struct err *err)
{
    uint64_t ignored;
    return queue->driver->dead_drop(queue->impl, id, ret_count ? ret_count : &ignored, err);
}

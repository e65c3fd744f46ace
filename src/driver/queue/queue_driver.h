/* What a queue driver is: one const table, every slot filled. Only src/driver/queue includes this.
 *
 * The facade has checked names, sizes and times before a driver sees them. */
#ifndef SONDE_DRIVER_QUEUE_DRIVER_H
#define SONDE_DRIVER_QUEUE_DRIVER_H

#include "queue.h"

#define QUEUE_NAMES 4 /* that messages are published to */

struct queue_driver {
    const char *name;
    int in_database; /* its messages stand in queue_options.db */
    enum err_code (*open)(const struct queue_options *options, void **ret, struct err *err);
    void (*close)(void *impl);
    void (*stop)(void *impl);
    enum err_code (*ping)(void *impl, struct err *err);
    enum err_code (*publish)(void *impl, const struct queue_publication *list, size_t n,
                             struct err *err);
    /* `name` is the index of the queue, as queue_name gives it. */
    enum err_code (*receive)(void *impl, int name, double lease_s, double wait_s,
                             struct queue_message *ret, struct err *err);
    enum err_code (*extend)(void *impl, const struct queue_message *message, double lease_s,
                            struct err *err);
    enum err_code (*ack)(void *impl, const struct queue_message *message, struct err *err);
    enum err_code (*retry)(void *impl, const struct queue_message *message, double delay_s,
                           const char *reason, int *ret_dead, struct err *err);
    enum err_code (*dead)(void *impl, const struct queue_message *message, const char *reason,
                          struct err *err);
    enum err_code (*release)(void *impl, const struct queue_message *message, struct err *err);
    enum err_code (*recover)(void *impl, uint64_t *ret_returned, struct err *err);
    enum err_code (*expire)(void *impl, queue_expired *expired, void *ctx, struct err *err);
    /* QUEUE_NAMES: of the dead letters, all of them `ready`. */
    enum err_code (*stats)(void *impl, int name, struct queue_stats *ret, struct err *err);
    enum err_code (*dead_list)(void *impl, queue_each_dead *each, void *ctx, struct err *err);
    enum err_code (*dead_retry)(void *impl, const char *id, uint64_t *ret_count, struct err *err);
    enum err_code (*dead_drop)(void *impl, const char *id, uint64_t *ret_count, struct err *err);
};

extern const struct queue_driver queue_driver_table, queue_driver_amqp;

/* 0..QUEUE_NAMES-1, or -1; and back, as one of the constants. */
int queue_name_index(const char *name);
const char *queue_name(int index);

#endif

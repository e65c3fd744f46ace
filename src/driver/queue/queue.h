/* The queue facade: messages that are delivered at least once. Drivers: table (a table of the
 * database, embedded), amqp (RabbitMQ).
 *
 * What both keep: a published message is delivered, and again until it is settled; while it is
 * leased nobody else gets it; when its lease ends unsettled it comes back. No order. At most
 * QUEUE_MAX_RETRIES deliveries after the first, then it is a dead letter; older than its queue's
 * time to live, likewise. A delivery counts when it is made, so a message that kills its consumer
 * ends as a dead letter too (amqp: after 15 of them, because the broker does not tell a consumer
 * that died from a connection that was cut). Bodies are small JSON texts (ids, not data). Threads:
 * shared. */
#ifndef SONDE_DRIVER_QUEUE_H
#define SONDE_DRIVER_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "../../base/err.h"
#include "../../base/id.h"
#include "../db/db.h"

#define QUEUE_MAX_RETRIES 3
#define QUEUE_BODY_MAX    4096
#define QUEUE_TTL_SECONDS (24 * 3600)
/* Longer leases and delays are shortened to these, so that a clock that was set back between two
 * runs holds nothing up for longer. */
#define QUEUE_LEASE_MAX_SECONDS 3600
#define QUEUE_DELAY_MAX_SECONDS 3600

/* The queues there are. */
#define QUEUE_MEDICAL_DATA "medical_data" /* uploaded data to check */
#define QUEUE_ML_INFERENCE "ml_inference" /* checked recordings to analyse */
#define QUEUE_STABILITY    "stability" /* panels somebody asked for; only when nothing else waits */
#define QUEUE_WEBHOOK      "webhook"   /* deliveries */
#define QUEUE_DLQ          "dlq"       /* dead letters of all of them */

struct queue;

struct queue_options {
    /* "table:"; "amqp://user@host[:port][/vhost]" or "amqps://…", several separated by blanks: the
     * first that answers. "?prefix=name" goes before the names of all queues, so that several
     * sondes can share a virtual host */
    const char *url;
    struct db *db;        /* for the table driver; outlives the queue */
    const char *password; /* of amqp; NULL: what the url says */
    const char *ca_file;  /* of amqps: PEM of who signs the server's certificate */
};

struct queue_message {
    char id[ID_TEXT];
    const char *queue;    /* one of the names above */
    char *body;           /* owned by the message; NULL: no message */
    int delivery;         /* 1 for the first */
    int64_t published_ms; /* steady time */
    char lease[ID_TEXT];  /* this delivery's own name */
};

enum err_code queue_open(const struct queue_options *options, struct queue **ret,
                         struct err *err) MUST_CHECK;
/* Wakes whoever waits in queue_receive (they get no message). NULL is fine. Returns NULL. */
struct queue *queue_close(struct queue *queue);
/* DB_RELAXED when the messages stand in the very database that they are about: what a power cut
 * takes back of a change it then takes back of the message that was settled after it, too, and the
 * work is done again. Else DB_DURABLE: the change has to be on the disk before the message goes. */
enum db_durability queue_needs(const struct queue *queue);
/* After this every queue_receive returns at once without a message. */
void queue_stop(struct queue *queue);
enum err_code queue_ping(struct queue *queue, struct err *err) MUST_CHECK;

/* Several at once, all or nothing where the driver can. A power cut may undo it, but then also what
 * was committed to the driver's own database afterwards: whoever keeps the cause there loses
 * nothing. Each has an id of the caller's (the outbox row's): the same id published twice may be
 * delivered twice, or once. delay_s: not before. */
struct queue_publication {
    const char *id, *queue, *body;
    double delay_s;
};
enum err_code queue_publish(struct queue *queue, const struct queue_publication *list, size_t n,
                            struct err *err) MUST_CHECK;

/* Waits up to wait_s for a message of queue `name` and leases it. ret->body NULL: none came. */
enum err_code queue_receive(struct queue *queue, const char *name, double lease_s, double wait_s,
                            struct queue_message *ret, struct err *err) MUST_CHECK;
/* Prolongs the lease from now. ERR_CONFLICT: it was lost meanwhile; stop working on it. */
enum err_code queue_extend(struct queue *queue, const struct queue_message *message, double lease_s,
                           struct err *err) MUST_CHECK;
/* Settles it: done. Settling a lost lease is ERR_CONFLICT and changes nothing. */
enum err_code queue_ack(struct queue *queue, const struct queue_message *message,
                        struct err *err) MUST_CHECK;
/* It failed: again after delay_s, or into the dead letters when its retries are used up
 * (*ret_dead = 1). `reason` is kept with its history. */
enum err_code queue_retry(struct queue *queue, const struct queue_message *message, double delay_s,
                          const char *reason, int *ret_dead, struct err *err) MUST_CHECK;
/* It will never succeed. */
enum err_code queue_dead(struct queue *queue, const struct queue_message *message,
                         const char *reason, struct err *err) MUST_CHECK;
/* Back to the queue at once, and this delivery does not count (orderly shutdown). */
enum err_code queue_release(struct queue *queue, const struct queue_message *message,
                            struct err *err) MUST_CHECK;
void queue_message_done(struct queue_message *message); /* frees the body */

/* 5 s, 30 s, 5 min … with ±20 % jitter: the usual delay before delivery + 1. For tests, the
 * environment variable SONDE_QUEUE_BACKOFF is a number of seconds that each of them is cut to. */
double queue_backoff(int delivery);

/* At start, by the only process that uses the table: leases of a process that died end now, and
 * neither a clock that was set since, nor the time that nobody was there, holds anything up or
 * makes it expire. */
enum err_code queue_recover(struct queue *queue, uint64_t *ret_returned,
                            struct err *err) MUST_CHECK;
/* Moves expired messages to the dead letters, and those whose last delivery ended unsettled; calls
 * `expired` (may be NULL) for each, before it is moved, so after a crash perhaps once more. Call
 * now and then. */
typedef void queue_expired(void *ctx, const char *queue, const char *body);
enum err_code queue_expire(struct queue *queue, queue_expired *expired, void *ctx,
                           struct err *err) MUST_CHECK;

struct queue_stats {
    uint64_t ready, delayed;
    uint64_t leased; /* amqp: by this process; the broker does not tell of the others */
    double oldest_s; /* age of the oldest that is not settled, 0: none; amqp: of those leased */
};
/* Of QUEUE_DLQ: the dead letters, as `ready`. */
enum err_code queue_stats(struct queue *queue, const char *name, struct queue_stats *ret,
                          struct err *err) MUST_CHECK;

/* Dead letters, for `sonde jobs`. Texts are borrowed during the call. */
struct queue_dead_letter {
    const char *id, *queue, *body, *reason, *history; /* history: JSON array of {at, reason} */
    int deliveries;
    int64_t published_ms, died_ms;
};
typedef int queue_each_dead(void *ctx, const struct queue_dead_letter *letter);
enum err_code queue_dead_list(struct queue *queue, queue_each_dead *each, void *ctx,
                              struct err *err) MUST_CHECK;
/* Publishes it again with a fresh count (retry), or forgets it (drop). id NULL: all of them. */
enum err_code queue_dead_retry(struct queue *queue, const char *id, uint64_t *ret_count,
                               struct err *err) MUST_CHECK;
enum err_code queue_dead_drop(struct queue *queue, const char *id, uint64_t *ret_count,
                              struct err *err) MUST_CHECK;

#endif

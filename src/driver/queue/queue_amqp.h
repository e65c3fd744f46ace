/* The parts of the amqp driver among themselves. Only src/driver/queue/amqp_*.c includes this.
 *
 * Who runs what: "caller" functions run on any thread; all others on the driver's one I/O thread,
 * which alone touches connections, channels and leases. Between them stand commands. */
#ifndef SONDE_DRIVER_QUEUE_AMQP_H
#define SONDE_DRIVER_QUEUE_AMQP_H

#include <amqp.h>
#include <pthread.h>
#include <stdint.h>

#include "queue_driver.h"
#include "queue_history.h"

#define AMQP_DELIVERIES_MAX (QUEUE_MAX_RETRIES + 1)
#define AMQP_TTL_MS         ((int64_t)QUEUE_TTL_SECONDS * 1000)
/* The broker's own count, a net behind ours: higher than any orderly life of a message needs. */
#define AMQP_DELIVERY_LIMIT 20
/* A lost connection says little about the messages that were on it, so it is no try; what ends one
 * process after the other does it so often. */
#define AMQP_RETURNS_MAX  15
#define AMQP_HEARTBEAT_S  10
#define AMQP_URLS_MAX     8
#define AMQP_SLOTS_MAX    1000  /* threads that receive at once */
#define AMQP_PENDING_MAX  65536 /* messages that wait for their confirm */
#define AMQP_COMMANDS_MAX 4096  /* that callers have handed over */
#define AMQP_DEAD_MAX     10000 /* dead letters looked at in one go */
#define AMQP_STEPS        13    /* delay queues of each queue */

/* Behind QUEUE_NAMES, whose indices are the same here. */
enum { AMQP_DLQ = QUEUE_NAMES, AMQP_EXPIRED, AMQP_REPORT, AMQP_QUEUES };

/* --- amqp_url.c ----------------------------------------------------------------------------- */

struct amqp_url {
    char host[256], user[128], password[256], vhost[128], prefix[48];
    int tls, port;
};
/* The urls of `text`, separated by blanks, all with one prefix; `password` (may be NULL) goes
 * before what they say. */
enum err_code amqp_urls_parse(const char *text, const char *password,
                              struct amqp_url ret[AMQP_URLS_MAX], size_t *ret_n,
                              struct err *err) MUST_CHECK;

/* --- amqp_letter.c -------------------------------------------------------------------------- */

/* A message apart from the wire. Owns its texts. */
struct amqp_letter {
    char id[ID_TEXT];
    int queue;     /* the work queue that it is of; -1: nobody knows */
    int made;      /* tries that ended before it was put where it stood */
    int returned;  /* times that it came back because a connection ended: the broker's end, the
                      network's, or its consumer's */
    int delivery;  /* this one's number, as far as the broker tells */
    int uncounted; /* it came before, and the broker does not count: a classic queue */
    int64_t published_ms, died_ms;
    char *body, *reason, *history; /* reason, history NULL: none */
    const char *defect;            /* why nobody can be given it; NULL: it is fine */
    int delay_step[2]; /* {queue, step} of the delay queue it came through; {-1, -1}: none */
};
void amqp_letter_done(struct amqp_letter *letter);
/* 0, or -1: no memory. */
int amqp_letter_copy(const struct amqp_letter *from, struct amqp_letter *ret);
/* From what the broker sent; `from` is the queue it stood in. Nothing in there is trusted. 0, -1.
 */
int amqp_letter_read(struct amqp_letter *ret, const amqp_basic_properties_t *p, amqp_bytes_t body,
                     int too_large, int from, int redelivered, const char *prefix);
/* Properties of a message to send; borrows from the letter and from `room`. */
struct amqp_room {
    amqp_table_entry_t headers[8];
    char expiration[24], correlation[24];
};
void amqp_letter_write(const struct amqp_letter *letter, int64_t expiration_ms, uint64_t tag,
                       struct amqp_room *room, amqp_basic_properties_t *ret);
/* The delay queue for a delay: 0..AMQP_STEPS-1. */
int amqp_step(double delay_s);
double amqp_step_seconds(int step);
const char *amqp_step_name(int step);
const char *amqp_queue_name(int index); /* without prefix */

/* --- amqp_conn.c ---------------------------------------------------------------------------- */

struct amqp_driver;

/* One of the two connections: a broker that is short of memory or disk stops reading from whoever
 * publishes, and what was leased has to be settled nevertheless. */
struct amqp_conn {
    struct amqp_driver *driver;
    amqp_connection_state_t state;
    int fd, up, broken, blocked;
    size_t url;
    int64_t retry_at, backoff_ms;
    struct err why; /* it is not up, or is blocked */
};
#define AMQP_CH_TOPOLOGY 1
#define AMQP_CH_PUBLISH  2 /* of the connection for publishing */
#define AMQP_CH_PROBE    2 /* of the other */
#define AMQP_CH_SLOTS    3

/* Connects to the next url and declares what there has to be. Blocks for some seconds at most. */
enum err_code amqp_conn_open(struct amqp_conn *conn, struct err *err) MUST_CHECK;
void amqp_conn_close(struct amqp_conn *conn, int orderly);
/* 0; -1: it broke, which amqp_io notices. */
int amqp_conn_send(struct amqp_conn *conn, amqp_channel_t channel, amqp_method_number_t id,
                   void *method);
/* 1, 0: nothing there, -1: it broke. */
int amqp_conn_read(struct amqp_conn *conn, amqp_frame_t *ret);
void amqp_conn_break(struct amqp_conn *conn, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* "sonde.ml_inference" */
void amqp_full_name(const struct amqp_driver *d, int queue, char ret[128]);
void amqp_delay_name(const struct amqp_driver *d, int queue, int step, char ret[128]);
/* The arguments of a delay queue's declaration; borrows from `room`. */
struct amqp_arguments {
    amqp_table_entry_t list[8];
    int n;
    char exchange[128], name[128];
};
amqp_table_t amqp_delay_arguments(const struct amqp_driver *d, int queue, int step,
                                  struct amqp_arguments *room);

/* --- commands ------------------------------------------------------------------------------- */

enum amqp_kind {
    AMQP_PUBLISH,
    AMQP_RECEIVE,
    AMQP_EXTEND,
    AMQP_ACK,
    AMQP_RETURN,
    AMQP_MOVE,
    AMQP_STATS
};
enum amqp_move {
    AMQP_TO_RETRY,
    AMQP_TO_DEAD,
    AMQP_TO_RELEASE,
    AMQP_TO_EXPIRED,
    AMQP_TO_COUNT, /* to where it was, with what was counted of it written down */
    AMQP_TO_RAISE
};

struct amqp_command {
    enum amqp_kind kind;
    /* Under the driver's lock. */
    int refs, done, abandoned;
    pthread_cond_t wake;
    struct amqp_command *next;           /* in the list of new ones, or of those that wait */
    struct amqp_command *before, *after; /* whose caller waits */
    /* The outcome; written before `done`. */
    enum err_code code;
    struct err err;
    int dead;
    struct amqp_letter got; /* RECEIVE */
    struct queue_stats stats;
    /* What to do. */
    int has_caller;
    int64_t deadline;
    int queue;
    int64_t lease_ms, until; /* RECEIVE; EXTEND */
    char lease[ID_TEXT];
    enum amqp_move move;
    double delay_s;
    char reason[QUEUE_REASON_MAX + 1];
    struct amqp_letter *letters; /* PUBLISH; what MOVE sends */
    double *delays;
    size_t n, left;
    int step; /* STATS: which delay queue is asked for; -1: the queue itself */
    struct amqp_command *sent_before, *sent_after; /* those that wait for confirms */
};

/* --- the driver ----------------------------------------------------------------------------- */

enum amqp_slot_state {
    AMQP_SLOT_NEW,
    AMQP_SLOT_FREE,
    AMQP_SLOT_GETTING,
    AMQP_SLOT_CONSUMING,
    AMQP_SLOT_CANCELLING
};

/* A message that comes in, on its way between frames. */
struct amqp_content {
    enum { AMQP_NO_CONTENT, AMQP_GOT, AMQP_DELIVERED, AMQP_RETURNED } what;
    uint64_t tag, size, have;
    int redelivered, header, from;
    amqp_basic_properties_t *properties; /* in the channel's pool, kept until it is complete */
    char body[QUEUE_BODY_MAX + 1];
};

/* A channel that receives for one caller at a time. */
struct amqp_slot {
    enum amqp_slot_state state;
    amqp_channel_t channel;
    struct amqp_command *command; /* NULL: its caller has gone */
    int queue;
    uint64_t consumer; /* number of its last consumer */
    struct amqp_content content;
};

struct amqp_lease {
    char id[ID_TEXT];
    amqp_channel_t channel;
    uint64_t tag;
    int64_t until;
    int from;     /* the queue it was taken from */
    int handed;   /* to somebody */
    int settling; /* its copy is on the way */
    int doomed;   /* it is nobody's and shall be moved */
    enum amqp_move move;
    const char *reason;
    struct amqp_letter letter;
    struct amqp_lease *next;
};
#define AMQP_BUCKETS 1024

struct amqp_pending {
    struct amqp_command *command; /* NULL: confirmed */
    int returned, declared;       /* declared: 1 + index of its delay queue */
};

struct amqp_driver {
    /* Constant after opening. */
    struct amqp_url urls[AMQP_URLS_MAX];
    size_t n_urls;
    char *ca_file;
    pthread_t thread;
    int event;
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* opened, or somebody left */
    struct amqp_command *fresh, **fresh_end, *waiting;
    int n_fresh, stopped, closing, inside, opened;
    int look; /* somebody has given up */
    struct err open_err;
    enum err_code open_code;
    /* The I/O thread's. */
    struct amqp_conn in, out;
    int classic; /* the broker refused quorum queues */
    /* amqp_publish.c */
    struct amqp_pending *pending; /* a ring, by tag */
    size_t pending_cap;
    uint64_t first_tag, next_tag;
    struct amqp_content returned;
    int redeclare; /* a work queue is gone */
    struct amqp_command *sent;
    int64_t sent_due;
    unsigned char delays[QUEUE_NAMES][AMQP_STEPS]; /* enum amqp_known */
    /* amqp_receive.c */
    struct amqp_slot **slots;
    size_t n_slots, slots_cap;
    uint64_t consumers;
    int64_t slot_due, lease_due;
    int consuming[AMQP_QUEUES];  /* slots */
    struct amqp_command *parked; /* receivers without a connection */
    struct amqp_lease *leases[AMQP_BUCKETS];
    size_t n_leases, leased[AMQP_QUEUES];
    /* amqp_stats.c */
    struct amqp_command *asking; /* the first is being answered */
    int probe_open;
    int64_t look_again_at;
};
enum amqp_known { AMQP_UNKNOWN, AMQP_MISSING, AMQP_THERE, AMQP_DECLARED /* on this connection */ };

/* --- queue_amqp.c: callers' side ------------------------------------------------------------ */

struct amqp_command *amqp_command_new(enum amqp_kind kind);
void amqp_command_drop(struct amqp_driver *d, struct amqp_command *command);
/* Hands it over and waits. The command stays the caller's to drop. */
enum err_code amqp_command_run(struct amqp_driver *d, struct amqp_command *command,
                               int64_t timeout_ms, struct err *err);
/* I/O thread: tells the outcome and drops the I/O thread's hold. -1: nobody was there to hear. */
int amqp_command_end(struct amqp_driver *d, struct amqp_command *command, enum err_code code,
                     const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int amqp_command_gone(struct amqp_driver *d, struct amqp_command *command);

enum err_code amqp_stats_of(void *impl, int name, struct queue_stats *ret, struct err *err);

/* --- amqp_io.c ------------------------------------------------------------------------------ */

void *amqp_io_run(void *driver);

/* --- amqp_publish.c ------------------------------------------------------------------------- */

void amqp_publish(struct amqp_driver *d, struct amqp_command *command);
/* This and its like: 1 while a message is on its way, whose properties have to be kept. */
int amqp_publish_frame(struct amqp_driver *d, const amqp_frame_t *frame);
void amqp_publish_lost(struct amqp_driver *d);
/* The next time that something is due. */
int64_t amqp_publish_sweep(struct amqp_driver *d, int64_t now);
void amqp_publish_blocked(struct amqp_driver *d);

/* --- amqp_receive.c ------------------------------------------------------------------------- */

void amqp_receive(struct amqp_driver *d, struct amqp_command *command);
int amqp_receive_frame(struct amqp_driver *d, const amqp_frame_t *frame);
void amqp_receive_up(struct amqp_driver *d); /* connected: whoever is parked begins */
void amqp_receive_lost(struct amqp_driver *d);
int64_t amqp_receive_sweep(struct amqp_driver *d, int64_t now, int look);
int amqp_receive_idle(const struct amqp_driver *d);
void amqp_receive_done(struct amqp_driver *d);
/* Collects a message. 1: it is complete. */
int amqp_content_frame(struct amqp_content *content, const amqp_frame_t *frame);
void amqp_content_begin(struct amqp_content *content, int what, uint64_t tag, int redelivered);

/* --- amqp_lease.c --------------------------------------------------------------------------- */

/* Takes the letter's texts over. NULL: no memory. */
struct amqp_lease *amqp_lease_add(struct amqp_driver *d, amqp_channel_t channel, uint64_t tag,
                                  int from, int64_t until, struct amqp_letter *letter);
void amqp_settle(struct amqp_driver *d, struct amqp_command *command);
/* A MOVE whose copies were sent has ended. */
void amqp_settle_moved(struct amqp_driver *d, struct amqp_command *command, enum err_code code,
                       const char *why);
#define AMQP_SETTLE_MS 15000
#define AMQP_NEVER     INT64_MAX
/* Moves it without a caller. */
void amqp_lease_move(struct amqp_driver *d, struct amqp_lease *lease, enum amqp_move move,
                     const char *reason);
struct amqp_lease *amqp_lease_find(struct amqp_driver *d, const char *id);
void amqp_lease_return(struct amqp_driver *d, struct amqp_lease *lease); /* counts */
int64_t amqp_lease_sweep(struct amqp_driver *d, int64_t now);
/* Of one channel, or of all of them (0): the broker has them back. */
void amqp_leases_lost(struct amqp_driver *d, amqp_channel_t channel);

/* --- amqp_stats.c --------------------------------------------------------------------------- */

void amqp_stats(struct amqp_driver *d, struct amqp_command *command);
void amqp_stats_frame(struct amqp_driver *d, const amqp_frame_t *frame);
void amqp_stats_lost(struct amqp_driver *d);

/* --- amqp_dead.c: callers' side ------------------------------------------------------------- */

enum err_code amqp_expire(void *impl, queue_expired *expired, void *ctx, struct err *err);
enum err_code amqp_dead_list(void *impl, queue_each_dead *each, void *ctx, struct err *err);
enum err_code amqp_dead_retry(void *impl, const char *id, uint64_t *ret_count, struct err *err);
enum err_code amqp_dead_drop(void *impl, const char *id, uint64_t *ret_count, struct err *err);
/* Takes one message of any queue; ret->lease empty: none there. */
enum err_code amqp_take(struct amqp_driver *d, int queue, struct amqp_command **ret,
                        struct err *err);
enum err_code amqp_finish(struct amqp_driver *d, enum amqp_kind kind, enum amqp_move move,
                          const char *lease, const char *reason, struct err *err);

#endif

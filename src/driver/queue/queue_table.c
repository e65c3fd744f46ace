/* The queue in a table of the database: for one machine.
 *
 * A row is a message. `available_at` says when it may be received: now, after its delay, or, while
 * it is leased, when its lease ends; so a consumer that dies needs nobody to notice. `lease` is the
 * current delivery's own name: whoever settles must still know it. NULL: not leased; '': the lease
 * was taken away.
 *
 * Messages that are too old or have no delivery left are not received; table_expire buries them,
 * because its caller wants to know. Receiving is one step down the index (queue, available_at),
 * however many wait. A consumer looks first through a reader, so that waiting costs no writing
 * transaction, and then sleeps until somebody publishes here, the next message is due, or a second
 * has passed (another process may have published).
 *
 * What a power cut may undo (leases, acknowledgements) only brings a message once more. Threads:
 * any. The lock is never held across a call of the database. */
#include "queue_table.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "queue_history.h"

#define POLL_MS 1000 /* for what other processes publish */

int table_row(struct db_rows *rows, enum err_code *ret_code, struct err *err)
{
    struct err own = {0};
    int there = db_next(rows, &own);
    *ret_code = there < 0 ? own.code : ERR_OK;
    if (there < 0 && err)
        *err = own;
    return there;
}

/* --- waiting -------------------------------------------------------------------------------- */

void table_ring(struct queue_table *t, int name)
{
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < QUEUE_NAMES; i++) {
        if (name >= 0 && i != name)
            continue;
        t->rung[i]++;
        pthread_cond_broadcast(&t->bell[i]);
    }
    pthread_mutex_unlock(&t->lock);
}

static void table_stop(void *impl)
{
    struct queue_table *t = impl;
    pthread_mutex_lock(&t->lock);
    t->stopped = 1;
    pthread_mutex_unlock(&t->lock);
    table_ring(t, -1);
}

/* 0 when the queue is stopped. *ret_rung: what the bell stood at before looking into the table. */
static int enter(struct queue_table *t, int name, unsigned long *ret_rung)
{
    pthread_mutex_lock(&t->lock);
    int running = !t->stopped;
    *ret_rung = t->rung[name];
    t->receiving += running;
    pthread_mutex_unlock(&t->lock);
    return running;
}

static void leave(struct queue_table *t)
{
    pthread_mutex_lock(&t->lock);
    if (!--t->receiving)
        pthread_cond_broadcast(&t->idle);
    pthread_mutex_unlock(&t->lock);
}

/* Sleeps until the bell is rung, or for `ms`. 0 when the queue is stopped. */
static int sleep_until_rung(struct queue_table *t, int name, unsigned long *rung, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&t->lock);
    int timed_out = 0;
    while (!t->stopped && t->rung[name] == *rung && !timed_out)
        timed_out = pthread_cond_timedwait(&t->bell[name], &t->lock, &until) != 0;
    *rung = t->rung[name];
    int running = !t->stopped;
    pthread_mutex_unlock(&t->lock);
    return running;
}

/* --- opening -------------------------------------------------------------------------------- */

static const char *const schema[] = {
    "CREATE TABLE IF NOT EXISTS queue_messages (id TEXT PRIMARY KEY, queue TEXT NOT NULL, "
    "available_at BIGINT NOT NULL, lease TEXT, delivery INTEGER NOT NULL, "
    "published_at BIGINT NOT NULL, body TEXT NOT NULL, history TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS queue_messages_due ON queue_messages (queue, available_at)",
    "CREATE INDEX IF NOT EXISTS queue_messages_age ON queue_messages (queue, published_at)",
    "CREATE INDEX IF NOT EXISTS queue_messages_leased ON queue_messages (queue, available_at) "
    "WHERE lease IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS queue_dead (id TEXT PRIMARY KEY, queue TEXT NOT NULL, "
    "body TEXT NOT NULL, reason TEXT NOT NULL, history TEXT NOT NULL, "
    "deliveries INTEGER NOT NULL, published_at BIGINT NOT NULL, died_at BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS queue_dead_time ON queue_dead (died_at)",
};

static enum err_code make_tables(struct db_tx *tx, void *ctx, struct err *err)
{
    (void)ctx;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(schema) && !code; i++)
        code = db_exec(tx, schema[i], NULL, err);
    return code;
}

static enum err_code table_open(const struct queue_options *options, void **ret, struct err *err)
{
    if (!options->db)
        return err_set(err, ERR_USAGE, "the table queue needs a database");
    enum err_code code = db_transact(options->db, DB_DURABLE, make_tables, NULL, err);
    if (code)
        return code;
    struct queue_table *t = xalloc(sizeof *t);
    pthread_condattr_t monotonic;
    t->db = options->db;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->idle, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    for (int i = 0; i < QUEUE_NAMES; i++)
        pthread_cond_init(&t->bell[i], &monotonic);
    pthread_condattr_destroy(&monotonic);
    *ret = t;
    return ERR_OK;
}

static void table_close(void *impl)
{
    struct queue_table *t = impl;
    pthread_mutex_lock(&t->lock);
    while (t->receiving)
        pthread_cond_wait(&t->idle, &t->lock);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < QUEUE_NAMES; i++)
        pthread_cond_destroy(&t->bell[i]);
    pthread_cond_destroy(&t->idle);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static enum err_code table_ping(void *impl, struct err *err)
{
    struct queue_table *t = impl;
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code = db_read_begin(t->db, &tx, err);
    if (!code)
        code = db_query(tx, "SELECT id FROM queue_messages LIMIT 1", &rows, err);
    if (!code)
        table_row(rows, &code, err);
    return code;
}

/* --- publishing ----------------------------------------------------------------------------- */

struct publishing {
    const struct queue_publication *list;
    size_t n;
};

static enum err_code insert_messages(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct publishing *publishing = ctx;
    int64_t now = time_steady_ms();
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < publishing->n && !code; i++) {
        const struct queue_publication *one = &publishing->list[i];
        double delay = one->delay_s > 0 ? one->delay_s : 0;
        if (delay > QUEUE_DELAY_MAX_SECONDS)
            delay = QUEUE_DELAY_MAX_SECONDS;
        code = db_exec(tx,
                       "INSERT INTO queue_messages (id, queue, available_at, lease, delivery, "
                       "published_at, body, history) VALUES (?1, ?2, ?3, NULL, 0, ?4, ?5, '[]') "
                       "ON CONFLICT (id) DO NOTHING",
                       NULL, err, DB_T(one->id), DB_T(one->queue),
                       DB_I(now + (int64_t)(delay * 1000)), DB_I(now), DB_T(one->body));
    }
    return code;
}

static enum err_code table_publish(void *impl, const struct queue_publication *list, size_t n,
                                   struct err *err)
{
    struct queue_table *t = impl;
    struct publishing publishing = {list, n};
    /* Relaxed: the publisher's own copy (the outbox row) goes in a later commit of this database,
     * and a power cut that undoes this one undoes all later ones. */
    enum err_code code = db_transact(t->db, DB_RELAXED, insert_messages, &publishing, err);
    int ring[QUEUE_NAMES] = {0};
    for (size_t i = 0; i < n && !code; i++)
        ring[queue_name_index(list[i].queue)] = 1;
    for (int i = 0; i < QUEUE_NAMES; i++)
        if (ring[i])
            table_ring(t, i);
    return code;
}

/* --- receiving ------------------------------------------------------------------------------ */

struct taking {
    int name;
    int64_t lease_ms;
    struct queue_message message; /* body NULL: somebody else was faster */
};

static enum err_code take_one(struct db_tx *tx, void *ctx, struct err *err)
{
    struct taking *taking = ctx;
    struct queue_message *message = &taking->message;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int64_t now = time_steady_ms();
    queue_message_done(message); /* of a try before */
    id_new(message->lease);
    /* The plus keeps the age out of the choice of an index. */
    enum err_code code = db_query(
        tx,
        "UPDATE queue_messages SET delivery = delivery + 1, lease = ?1, available_at = ?2 "
        "WHERE id = (SELECT id FROM queue_messages WHERE queue = ?3 AND available_at <= ?4 "
        "AND +delivery < ?5 AND +published_at > ?6 ORDER BY available_at LIMIT 1) "
        "RETURNING id, body, delivery, published_at",
        &rows, err, DB_T(message->lease), DB_I(now + taking->lease_ms),
        DB_T(queue_name(taking->name)), DB_I(now), DB_I(DELIVERIES_MAX), DB_I(now - TTL_MS));
    if (code || table_row(rows, &code, err) != 1)
        return code;
    const char *id = db_text(rows, 0, NULL);
    const char *body = db_text(rows, 1, NULL);
    if (!id || strlen(id) >= ID_TEXT || !body)
        return err_set(err, ERR_DB, "a message in the queue's table is damaged");
    memcpy(message->id, id, strlen(id) + 1);
    message->body = strdup(body);
    if (!message->body)
        return err_set(err, ERR_NO_MEMORY, "no memory for a message");
    message->delivery = (int)db_int(rows, 2);
    message->published_ms = db_int(rows, 3);
    message->queue = queue_name(taking->name);
    return ERR_OK;
}

/* When the next message is due, in *ret_due; INT64_MAX: there is none. */
static enum err_code next_due(struct queue_table *t, int name, int64_t now, int64_t *ret_due,
                              struct err *err)
{
    *ret_due = INT64_MAX;
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code = db_read_begin(t->db, &tx, err);
    if (!code)
        code =
            db_query(tx,
                     "SELECT available_at FROM queue_messages WHERE queue = ?1 "
                     "AND +delivery < ?2 AND +published_at > ?3 ORDER BY available_at LIMIT 1",
                     &rows, err, DB_T(queue_name(name)), DB_I(DELIVERIES_MAX), DB_I(now - TTL_MS));
    if (!code && table_row(rows, &code, err) == 1)
        *ret_due = db_int(rows, 0);
    return code;
}

static enum err_code receive_until(struct queue_table *t, struct taking *taking, int64_t deadline,
                                   unsigned long rung, struct err *err)
{
    for (;;) {
        int64_t due, now = time_steady_ms();
        enum err_code code = next_due(t, taking->name, now, &due, err);
        if (!code && due <= now)
            code = db_transact(t->db, DB_RELAXED, take_one, taking, err);
        if (code || taking->message.body)
            return code;
        if (now >= deadline)
            return ERR_OK;
        int64_t wake = now + POLL_MS < deadline ? now + POLL_MS : deadline;
        if (due < wake)
            wake = due > now ? due : now; /* now: somebody else was faster; look again */
        if (!sleep_until_rung(t, taking->name, &rung, wake - now))
            return ERR_OK;
    }
}

static enum err_code table_receive(void *impl, int name, double lease_s, double wait_s,
                                   struct queue_message *ret, struct err *err)
{
    struct queue_table *t = impl;
    struct taking taking = {.name = name, .lease_ms = (int64_t)(lease_s * 1000)};
    unsigned long rung;
    if (!enter(t, name, &rung))
        return ERR_OK;
    enum err_code code =
        receive_until(t, &taking, time_steady_ms() + (int64_t)(wait_s * 1000), rung, err);
    leave(t);
    if (code)
        queue_message_done(&taking.message);
    else if (taking.message.body)
        *ret = taking.message;
    return code;
}

/* --- settling ------------------------------------------------------------------------------- */

struct settling {
    const struct queue_message *message;
    double seconds;
    const char *reason;
    int dead;
};

static enum err_code lost(const struct settling *settling, struct err *err)
{
    return err_set(err, ERR_CONFLICT, "the lease of message %s was lost", settling->message->id);
}

static enum err_code extend_one(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct settling *settling = ctx;
    int64_t changed;
    enum err_code code =
        db_exec(tx, "UPDATE queue_messages SET available_at = ?1 WHERE id = ?2 AND lease = ?3",
                &changed, err, DB_I(time_steady_ms() + (int64_t)(settling->seconds * 1000)),
                DB_T(settling->message->id), DB_T(settling->message->lease));
    return code || changed ? code : lost(settling, err);
}

static enum err_code ack_one(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct settling *settling = ctx;
    int64_t changed;
    enum err_code code =
        db_exec(tx, "DELETE FROM queue_messages WHERE id = ?1 AND lease = ?2", &changed, err,
                DB_T(settling->message->id), DB_T(settling->message->lease));
    return code || changed ? code : lost(settling, err);
}

static enum err_code release_one(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct settling *settling = ctx;
    int64_t changed;
    enum err_code code = db_exec(tx,
                                 "UPDATE queue_messages SET available_at = ?1, lease = NULL, "
                                 "delivery = delivery - 1 WHERE id = ?2 AND lease = ?3",
                                 &changed, err, DB_I(time_steady_ms()), DB_T(settling->message->id),
                                 DB_T(settling->message->lease));
    return code || changed ? code : lost(settling, err);
}

/* What a failed delivery needs to know: how many there were, and the history so far. */
static enum err_code read_leased(struct db_tx *tx, const struct settling *settling,
                                 int *ret_delivery, char **ret_history, struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code =
        db_query(tx, "SELECT delivery, history FROM queue_messages WHERE id = ?1 AND lease = ?2",
                 &rows, err, DB_T(settling->message->id), DB_T(settling->message->lease));
    if (code)
        return code;
    int there = table_row(rows, &code, err);
    if (there != 1)
        return code ? code : lost(settling, err);
    *ret_delivery = (int)db_int(rows, 0);
    const char *history = db_text(rows, 1, NULL);
    *ret_history = strdup(history ? history : "[]");
    return *ret_history ? ERR_OK : err_set(err, ERR_NO_MEMORY, "no memory for a message");
}

static enum err_code retry_one(struct db_tx *tx, void *ctx, struct err *err)
{
    struct settling *settling = ctx;
    _cleanup_free_ char *history = NULL, *longer = NULL;
    int delivery = 0;
    settling->dead = 0;
    enum err_code code = read_leased(tx, settling, &delivery, &history, err);
    if (code)
        return code;
    if (delivery >= DELIVERIES_MAX) {
        settling->dead = 1;
        return table_bury(tx, settling->message->id, settling->reason, err);
    }
    longer = queue_history_add(history, settling->reason);
    if (!longer)
        return err_set(err, ERR_NO_MEMORY, "no memory for a message");
    return db_exec(tx,
                   "UPDATE queue_messages SET available_at = ?1, lease = NULL, history = ?2 "
                   "WHERE id = ?3",
                   NULL, err, DB_I(time_steady_ms() + (int64_t)(settling->seconds * 1000)),
                   DB_T(longer), DB_T(settling->message->id));
}

static enum err_code dead_one(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct settling *settling = ctx;
    _cleanup_free_ char *history = NULL;
    int delivery;
    enum err_code code = read_leased(tx, settling, &delivery, &history, err);
    return code ? code : table_bury(tx, settling->message->id, settling->reason, err);
}

static enum err_code table_extend(void *impl, const struct queue_message *message, double lease_s,
                                  struct err *err)
{
    struct queue_table *t = impl;
    struct settling settling = {.message = message, .seconds = lease_s};
    return db_transact(t->db, DB_RELAXED, extend_one, &settling, err);
}

static enum err_code table_ack(void *impl, const struct queue_message *message, struct err *err)
{
    struct queue_table *t = impl;
    struct settling settling = {.message = message};
    return db_transact(t->db, DB_RELAXED, ack_one, &settling, err);
}

static enum err_code table_retry(void *impl, const struct queue_message *message, double delay_s,
                                 const char *reason, int *ret_dead, struct err *err)
{
    struct queue_table *t = impl;
    struct settling settling = {.message = message, .seconds = delay_s, .reason = reason};
    enum err_code code = db_transact(t->db, DB_RELAXED, retry_one, &settling, err);
    *ret_dead = !code && settling.dead;
    if (!code && !settling.dead)
        table_ring(t, queue_name_index(message->queue)); /* it may be due before what they know */
    return code;
}

static enum err_code table_dead(void *impl, const struct queue_message *message, const char *reason,
                                struct err *err)
{
    struct queue_table *t = impl;
    struct settling settling = {.message = message, .reason = reason};
    return db_transact(t->db, DB_RELAXED, dead_one, &settling, err);
}

static enum err_code table_release(void *impl, const struct queue_message *message, struct err *err)
{
    struct queue_table *t = impl;
    struct settling settling = {.message = message};
    enum err_code code = db_transact(t->db, DB_RELAXED, release_one, &settling, err);
    if (!code)
        table_ring(t, queue_name_index(message->queue));
    return code;
}

/* --- the whole queue ------------------------------------------------------------------------ */

/* The clock may have been set, or the machine been off for days, since the last run. What was put
 * there in the future would be held up for as long, so a delay is over or as long as one may be;
 * and age counts while somebody is there to take it, so what comes out of the last run too old, or
 * from the future, is as new. */
static enum err_code settle_clock(struct db_tx *tx, struct err *err)
{
    int64_t now = time_steady_ms();
    enum err_code code =
        db_exec(tx,
                "UPDATE queue_messages SET available_at = ?1 "
                "WHERE available_at > ?1 AND (lease IS NULL OR lease = '') AND published_at > ?1",
                NULL, err, DB_I(now));
    if (!code)
        code = db_exec(tx, "UPDATE queue_messages SET available_at = ?1 WHERE available_at > ?2",
                       NULL, err, DB_I(now), DB_I(now + QUEUE_DELAY_MAX_SECONDS * 1000LL));
    if (!code)
        code = db_exec(tx,
                       "UPDATE queue_messages SET published_at = ?1 "
                       "WHERE published_at > ?1 OR published_at < ?2",
                       NULL, err, DB_I(now), DB_I(now - TTL_MS / 2));
    return code;
}

static enum err_code recover_all(struct db_tx *tx, void *ctx, struct err *err)
{
    enum err_code code = settle_clock(tx, err);
    if (code)
        return code;
    return db_exec(tx,
                   "UPDATE queue_messages SET available_at = ?1, lease = '' "
                   "WHERE lease IS NOT NULL AND lease <> ''",
                   ctx, err, DB_I(time_steady_ms()));
}

static enum err_code table_recover(void *impl, uint64_t *ret_returned, struct err *err)
{
    struct queue_table *t = impl;
    int64_t changed = 0;
    *ret_returned = 0;
    enum err_code code = db_transact(t->db, DB_RELAXED, recover_all, &changed, err);
    if (!code)
        *ret_returned = (uint64_t)changed;
    if (changed)
        table_ring(t, -1);
    return code;
}

static enum err_code count_rows(struct db_tx *tx, const char *sql, int name, int64_t now,
                                uint64_t *ret, struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code = db_query(tx, sql, &rows, err, DB_T(queue_name(name)), DB_I(now));
    *ret = 0;
    if (!code && table_row(rows, &code, err) == 1)
        *ret = (uint64_t)db_int(rows, 0);
    return code;
}

/* Each count reads an index and no row. */
static enum err_code table_stats(void *impl, int name, struct queue_stats *ret, struct err *err)
{
    struct queue_table *t = impl;
    if (name == QUEUE_NAMES)
        return table_dead_stats(t, ret, err);
    int64_t now = time_steady_ms();
    uint64_t ahead = 0, oldest = 0;
    _cleanup_(db_end) struct db_tx *tx = NULL;
    enum err_code code = db_read_begin(t->db, &tx, err);
    if (!code)
        code = count_rows(
            tx, "SELECT count(*) FROM queue_messages WHERE queue = ?1 AND available_at <= ?2", name,
            now, &ret->ready, err);
    if (!code)
        code = count_rows(
            tx, "SELECT count(*) FROM queue_messages WHERE queue = ?1 AND available_at > ?2", name,
            now, &ahead, err);
    if (!code)
        code = count_rows(tx,
                          "SELECT count(*) FROM queue_messages WHERE queue = ?1 "
                          "AND available_at > ?2 AND lease IS NOT NULL",
                          name, now, &ret->leased, err);
    if (!code)
        code = count_rows(tx,
                          "SELECT COALESCE(MIN(published_at), ?2) FROM queue_messages "
                          "WHERE queue = ?1",
                          name, now, &oldest, err);
    if (code)
        return code;
    ret->delayed = ahead - ret->leased;
    ret->oldest_s = (int64_t)oldest < now ? (double)(now - (int64_t)oldest) / 1000 : 0;
    return ERR_OK;
}

const struct queue_driver queue_driver_table = {
    .in_database = 1,
    .name = "table",
    .open = table_open,
    .close = table_close,
    .stop = table_stop,
    .ping = table_ping,
    .publish = table_publish,
    .receive = table_receive,
    .extend = table_extend,
    .ack = table_ack,
    .retry = table_retry,
    .dead = table_dead,
    .release = table_release,
    .recover = table_recover,
    .expire = table_expire,
    .stats = table_stats,
    .dead_list = table_dead_list,
    .dead_retry = table_dead_retry,
    .dead_drop = table_dead_drop,
};

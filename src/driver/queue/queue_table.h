/* The parts of the table driver among themselves. */
#ifndef SONDE_DRIVER_QUEUE_TABLE_H
#define SONDE_DRIVER_QUEUE_TABLE_H

#include <pthread.h>

#include "../db/db.h"
#include "queue_driver.h"

#define DELIVERIES_MAX (QUEUE_MAX_RETRIES + 1)
#define TTL_MS         ((int64_t)QUEUE_TTL_SECONDS * 1000)

struct queue_table {
    struct db *db;
    /* Whoever waits: woken by a change of `rung` of its queue. */
    pthread_mutex_t lock;
    pthread_cond_t bell[QUEUE_NAMES];
    unsigned long rung[QUEUE_NAMES];
    pthread_cond_t idle;
    int stopped, receiving;
};

/* queue_table.c */
void table_ring(struct queue_table *t, int name); /* -1: all of them */
/* db_next for a query that gives one row: 1, 0, or -1 with *ret_code. */
int table_row(struct db_rows *rows, enum err_code *ret_code, struct err *err);

/* queue_table_dead.c: dead letters */
/* Moves the message to the dead letters, noting the reason. Part of a transaction. */
enum err_code table_bury(struct db_tx *tx, const char *id, const char *reason, struct err *err);
enum err_code table_expire(void *impl, queue_expired *expired, void *ctx, struct err *err);
enum err_code table_dead_stats(struct queue_table *t, struct queue_stats *ret, struct err *err);
enum err_code table_dead_list(void *impl, queue_each_dead *each, void *ctx, struct err *err);
enum err_code table_dead_retry(void *impl, const char *id, uint64_t *ret_count, struct err *err);
enum err_code table_dead_drop(void *impl, const char *id, uint64_t *ret_count, struct err *err);

#endif

/* Group commit: transactions of several threads, one commit. Shared by the drivers that have one
 * writing connection. */
#ifndef SONDE_DRIVER_DB_GROUP_H
#define SONDE_DRIVER_DB_GROUP_H

#include <pthread.h>

#include "db_driver.h"

#define DB_GROUP_MAX 64 /* transactions in one commit */

/* One caller's transaction; lives on its stack. */
struct db_write {
    db_work *work;
    void *ctx;
    enum db_durability durability;
    enum err_code code; /* the answer */
    struct err err;
    enum { DB_WRITE_WAITS, DB_WRITE_LEADS, DB_WRITE_DONE } state;
    pthread_cond_t wake;
    struct db_write *next;
};

struct db_group {
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct db_write *first, *last;
    int leading;
    void *impl;
    /* Runs them all and gives each its answer. One thread at a time. */
    void (*run)(void *impl, struct db_write **list, size_t n);
    /* After they were woken, before the next group; NULL: nothing. */
    void (*after)(void *impl);
};

void db_group_init(struct db_group *group, void *impl,
                   void (*run)(void *impl, struct db_write **list, size_t n),
                   void (*after)(void *impl));
/* Waits until nobody writes. */
void db_group_drain(struct db_group *group);
void db_group_free(struct db_group *group);
enum err_code db_group_transact(struct db_group *group, enum db_durability durability,
                                db_work *work, void *ctx, struct err *err) MUST_CHECK;
/* The same answer for all. */
void db_group_settle(struct db_write **list, size_t n, enum err_code code, const struct err *err);

#endif

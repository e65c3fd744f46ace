/* The parts of the SQLite driver among themselves. */
#ifndef SONDE_DRIVER_DB_SQLITE_H
#define SONDE_DRIVER_DB_SQLITE_H

#include <pthread.h>

#include "db_group.h"
#include "sqlite_conn.h"

#define SQLITE_READERS       4
#define SQLITE_READERS_MAX   32
#define SQLITE_PASSIVE_PAGES 1000 /* 4 MB: a checkpoint that waits for nobody */

struct sqlite {
    char *path;
    int busy_ms;

    /* writing: the connection belongs to the group's leader */
    struct db_group group;
    struct conn *writer;
    int synced;         /* the connection's synchronous is FULL */
    uint64_t wal_pages; /* set by the WAL hook */
    uint64_t wal_next;  /* pages from which the next checkpoint is tried */

    /* reading */
    pthread_mutex_t read_lock;
    pthread_cond_t read_free;
    int readers, reading, read_waiting;
    struct conn *pool[SQLITE_READERS_MAX];
};

/* sqlite_tools.c */
enum err_code sqlite_check(void *impl, char **ret_problems, struct err *err);
enum err_code sqlite_backup(void *impl, const char *path, struct err *err);
uint64_t sqlite_size_bytes(void *impl);
/* After a commit, by the leader: moves the WAL's pages into the database when there are many. */
void sqlite_checkpoint(void *impl);

#endif

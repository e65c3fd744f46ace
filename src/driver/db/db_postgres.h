/* The parts of the PostgreSQL driver among themselves. */
#ifndef SONDE_DRIVER_DB_POSTGRES_H
#define SONDE_DRIVER_DB_POSTGRES_H

#include "../../base/id.h"
#include "db_group.h"
#include "pg_conn.h"

#define PG_READERS      4
#define PG_READERS_MAX  32
#define PG_REPLICAS_MAX 8
#define PG_TRIES        5   /* of one transaction */
#define PG_GRACE_S      2.0 /* how long a transaction waits for a server that went away */
#define PG_FATE_S       8.0 /* the same while nobody knows what became of a commit */
#define PG_BACKOFF_S    0.1 /* after the first failed connection, doubled to: */
#define PG_BACKOFF_MAX  2.0
#define PG_SIZE_S       10.0 /* how old an answer of db_size_bytes may be */

/* Tries to connect, with growing pauses. Guarded by its owner's lock. */
struct pg_backoff {
    double next, pause; /* clock_seconds; seconds */
    struct err why;
};

/* Connections for reading of one server; made when needed, kept. */
struct pg_pool {
    struct pg_place place;
    enum pg_target target;
    int lock_ms, size;
    pthread_mutex_t lock;
    pthread_cond_t free_one;
    struct pg_conn *idle[PG_READERS_MAX]; /* a stack: the one used last is warm */
    int idle_n, out;                      /* out: handed out */
    struct pg_backoff backoff;
};

struct pg_replica {
    struct pg_pool pool;
    struct pg_conn *asks; /* the watcher's own connection */
    double ask_again;     /* not before: clock_seconds */
    double fresh_at; /* what was committed before this is there; 0: not known. Under watch_lock */
};

struct postgres {
    struct pg_place place;
    int lock_ms;

    /* writing: these belong to the group's leader */
    struct db_group group;
    struct pg_conn *writer;
    struct pg_tx tx;
    struct pg_backoff backoff;
    double down_since; /* 0: it is not */
    unsigned random;
    char mark[ID_TEXT]; /* this writer's row of sonde_commits */
    int64_t number;     /* of the latest group */
    int marks_there;

    struct pg_pool readers;

    struct pg_replica *replicas;
    int replicas_n;
    double lag_s;
    struct pg_conn *asks; /* the watcher's, to the primary */
    pthread_t watcher;
    int watching, stop;
    pthread_mutex_t watch_lock;
    pthread_cond_t watch_wake;
    unsigned next_replica;

    pthread_mutex_t size_lock;
    uint64_t size;
    double size_at;
};

/* pg_pool.c */
int pg_backoff_wait(const struct pg_backoff *backoff); /* 1: not yet */
void pg_backoff_note(struct pg_backoff *backoff, unsigned *seed, const struct err *why);
void pg_pool_init(struct pg_pool *pool, enum pg_target target, int lock_ms, int size);
/* A connection to read with; waits for one unless this thread holds one already. */
enum err_code pg_pool_take(struct pg_pool *pool, struct pg_conn **ret, struct err *err) MUST_CHECK;
void pg_pool_give(struct pg_pool *pool, struct pg_conn *conn);
void pg_pool_drain(struct pg_pool *pool); /* waits until all are back */
void pg_pool_free(struct pg_pool *pool);

/* pg_read.c */
enum err_code postgres_read_begin(void *impl, struct db_tx **ret, struct err *err);
enum err_code postgres_read_begin_stale(void *impl, struct db_tx **ret, struct err *err);
void postgres_read_end(struct db_tx *tx);
/* For a transaction whose connection failed before it had read anything: another one. */
enum err_code postgres_read_elsewhere(struct pg_tx *tx, struct err *err);

/* pg_replicas.c */
enum err_code pg_replicas_open(struct postgres *p, const struct db_options *options,
                               struct err *err) MUST_CHECK;
void pg_replicas_close(struct postgres *p);
/* One that keeps up, or NULL. */
struct pg_pool *pg_replica_pick(struct postgres *p);
void pg_replica_failed(struct postgres *p, const struct pg_pool *pool);

/* pg_tools.c */
uint64_t postgres_size_bytes(void *impl);
enum err_code postgres_check(void *impl, char **ret_problems, struct err *err);
enum err_code postgres_backup(void *impl, const char *path, struct err *err);

#endif

/* One PostgreSQL connection with its prepared statements. Used by one thread at a time. */
#ifndef SONDE_DRIVER_DB_PG_CONN_H
#define SONDE_DRIVER_DB_PG_CONN_H

#include <libpq-fe.h>
#include <stddef.h>

#include "db_driver.h"

#define PG_STATEMENTS  128 /* kept prepared */
#define PG_SLOTS       256 /* a power of two: where a text's address leads to its statement */
#define PG_ARGS        64  /* parameters of a statement */
#define PG_CONNECT_S   3   /* until a host has answered and let us in */
#define PG_STATEMENT_S 30  /* the server ends a statement after it */
#define PG_ANSWER_S    35  /* a server that says nothing for as long is taken for dead */
#define PG_REPLICA_S   3   /* the same for the first answer of a replica */
#define PG_IDLE_S      10  /* a process that stops inside of a transaction loses it after this */
#define PG_VERSION_MIN 140000

/* Where to connect. Constant after db_open. */
struct pg_place {
    char *url;
    char *password; /* NULL: what the url or libpq's files say */
    char *hidden;   /* the url's own password, to keep it out of texts; NULL */
    char *where;    /* "PostgreSQL at host:port/name": for texts */
    char *user;
};

enum pg_target {
    PG_WRITER,  /* takes writes */
    PG_READER,  /* the primary */
    PG_REPLICA, /* whatever is there */
};

struct pg_statement {
    char *sql; /* NULL: free */
    int params;
    unsigned long used; /* when last, for eviction */
};

struct pg_rows {
    struct db_rows base;
    PGresult *res;
    int at;
    void *decoded; /* list of decoded columns of this row */
    struct pg_rows *next;
};

struct pg_conn {
    PGconn *pg;
    const struct pg_place *place;
    struct pg_statement list[PG_STATEMENTS];
    size_t count;
    unsigned long clock;
    unsigned char slots[PG_SLOTS]; /* index + 1; 0: none */
    struct pg_rows *open;          /* queries in use */
    double answer_s;
    int lost;          /* close it: the server is gone, or is no longer the one that is wanted */
    int again;         /* the last failure asks for another try */
    int stale;         /* prepared statements no longer fit the schema */
    int sent;          /* statements of this transaction whose answers nobody has read */
    int draining;      /* a COMMIT was sent whose answer nobody has read */
    const char *where; /* place->where */
};

struct pg_pool;
struct pg_tx {
    struct db_tx base;
    struct pg_conn *conn;
    int reading, begun;
    struct pg_pool *pool;   /* reading: where the connection goes back to */
    struct postgres *owner; /* reading */
};

/* --- pg_connect.c --- */

/* From a url; ERR_USAGE when it is none. */
enum err_code pg_place_make(const char *url, const char *password, struct pg_place *ret,
                            struct err *err) MUST_CHECK;
void pg_place_free(struct pg_place *place);
enum err_code pg_connect(const struct pg_place *place, enum pg_target target, int lock_ms,
                         struct pg_conn **ret, struct err *err) MUST_CHECK;
struct pg_conn *pg_disconnect(struct pg_conn *conn);

/* --- pg_error.c --- */

/* Fills err from a failed answer (NULL: from the connection) and notes lost and again. */
enum err_code pg_fail(struct pg_conn *conn, const PGresult *res, struct err *err);
/* From a connection that could not be made. */
enum err_code pg_connect_fail(const struct pg_place *place, const PGconn *pg, struct err *err);

/* --- pg_conn.c --- */

/* The next answer, waited for at most until `until` (clock_seconds); NULL: no more, or lost. */
PGresult *pg_answer(struct pg_conn *conn, double until);
/* Statements without parameters; the last answer in *ret_res when that is wanted (PQclear). */
enum err_code pg_run(struct pg_conn *conn, const char *sql, PGresult **ret_res,
                     struct err *err) MUST_CHECK;
/* Reads the answer of a COMMIT that was sent off. Non-zero: the connection is no use any more. */
int pg_drain(struct pg_conn *conn);
/* After a change of the schema: prepares anew. Between transactions. */
void pg_refresh(struct pg_conn *conn);
/* One statement with parameters, in the transaction if there is one; begins it for readers. */
enum err_code pg_execute(struct pg_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                         PGresult **ret, struct err *err) MUST_CHECK;
/* Ends what is still open in a transaction. */
void pg_finish_rows(struct pg_conn *conn);

/* Slots of the driver's table. */
enum err_code pg_send_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                           struct err *err);
/* The same for a text without parameters, of the driver's own; nothing but sends it. */
void pg_send_text(struct pg_conn *conn, const char *sql);
/* Reads the answers to all that was sent; the first error. */
enum err_code pg_settle(struct pg_conn *conn, struct err *err);
enum err_code pg_exec_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                           int64_t *ret_changed, struct err *err);
enum err_code pg_script_tx(struct db_tx *tx, const char *sql, struct err *err);
enum err_code pg_query_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                            struct db_rows **ret, struct err *err);
int pg_next(struct db_rows *rows, struct err *err);
int pg_is_null(const struct db_rows *rows, int column);
int64_t pg_int(const struct db_rows *rows, int column);
double pg_real(const struct db_rows *rows, int column);
const char *pg_text(const struct db_rows *rows, int column, size_t *ret_size);
void pg_rows_done(struct db_rows *rows);

#endif

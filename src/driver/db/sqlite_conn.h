/* One SQLite connection with its prepared statements. Used by one thread at a time. */
#ifndef SONDE_DRIVER_DB_SQLITE_CONN_H
#define SONDE_DRIVER_DB_SQLITE_CONN_H

#include <sqlite3.h>
#include <stddef.h>

#include "db_driver.h"

#define CONN_STATEMENTS 96  /* kept prepared */
#define CONN_SLOTS      256 /* a power of two: where a text's address leads to its statement */

struct sqlite;
struct conn_rows { /* a statement, and the rows it gives while it is in use */
    struct db_rows base;
    sqlite3_stmt *stmt;
    unsigned long used; /* when last, for eviction */
    int busy;
    int ended;  /* 1: no more rows, -1: failed; stepping again would start over */
    int single; /* not of the cache: finalized after use */
};

struct conn_tx {
    struct db_tx base;
    struct conn *conn;
    int begun; /* reading: BEGIN was said */
};

struct conn {
    sqlite3 *db;
    const char *path; /* borrowed, for messages */
    struct conn_tx tx;
    struct conn_rows list[CONN_STATEMENTS];
    size_t count;
    unsigned long clock;
    unsigned char slots[CONN_SLOTS]; /* index + 1; 0: none */
    struct conn_rows *singles[16];   /* in use beyond the cache */
    int open;                        /* statements in use */
    struct sqlite *owner;            /* of a reader in use */
    int in_use, extra;               /* of the pool of readers */
};

/* Opens `path` (which exists, or is made when `create`) with the settings that every connection
 * has. `tx` of the connection is ready to use. */
enum err_code conn_open(const char *path, int create, int busy_ms, struct conn **ret,
                        struct err *err) MUST_CHECK;
struct conn *conn_close(struct conn *conn);

/* Fills err from the connection's last failure, naming the file. */
enum err_code conn_fail(struct conn *conn, int rc, struct err *err);
enum err_code conn_code(int rc, int errnum);
/* Runs statements without parameters or results; kept prepared when it is a single one. */
enum err_code conn_run(struct conn *conn, const char *sql, struct err *err) MUST_CHECK;
enum err_code conn_script(struct conn *conn, const char *sql, struct err *err) MUST_CHECK;
/* As conn_script, with a first column of the first row as a number. */
enum err_code conn_number(struct conn *conn, const char *sql, int64_t *ret,
                          struct err *err) MUST_CHECK;
/* Ends what is still open in a transaction. */
void conn_finish_rows(struct conn *conn);

/* Slots of the driver's table. */
enum err_code conn_exec_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                             int64_t *ret_changed, struct err *err);
enum err_code conn_script_tx(struct db_tx *tx, const char *sql, struct err *err);
enum err_code conn_query_args(struct db_tx *tx, const char *sql, const struct db_arg *args,
                              size_t n, struct db_rows **ret, struct err *err);
int conn_next(struct db_rows *rows, struct err *err);
int conn_is_null(const struct db_rows *rows, int column);
int64_t conn_int(const struct db_rows *rows, int column);
double conn_real(const struct db_rows *rows, int column);
const char *conn_text(const struct db_rows *rows, int column, size_t *ret_size);
void conn_rows_done(struct db_rows *rows);

#endif

/* The database facade: transactions, parameters, rows. Drivers: sqlite (embedded), postgres.
 *
 * SQL is the portable subset that both speak, with ?1 ?2 … parameters; all of it stands in
 * src/store, src/driver/queue and db/migrations. Statements are prepared once per connection and
 * text, so SQL texts are literals.
 *
 * Writing happens in db_transact only: `work` runs once per try, in a transaction of its own, and
 * is tried again when the database asks for it (serialization, busy); it must therefore have no
 * effect but on the database and on *ctx, which it sets anew each time. Several callers'
 * transactions may be committed together (group commit); each is still all or nothing on its own.
 * So `work` may run on another caller's thread, while its own waits: it must not depend on the
 * thread (thread-local values, locks that the caller holds), and everything that waits for it waits
 * for others, too: keep it short. db_transact or db_read_begin inside of `work` is a programming
 * error and aborts; a read inside of a read, or a write inside of a read, is fine.
 *
 * Reading happens in db_read_begin … db_end: one snapshot. Threads: a struct db is shared; a
 * transaction belongs to one thread. */
#ifndef SONDE_DRIVER_DB_H
#define SONDE_DRIVER_DB_H

#include <stddef.h>
#include <stdint.h>

#include "../../base/err.h"

struct db;
struct db_tx;
struct db_rows;

enum db_durability {
    DB_DURABLE, /* once db_transact has returned, a power cut loses nothing */
    DB_RELAXED, /* a power cut may undo the latest of these; the end of this process does not */
};

enum db_caps {
    DB_CAP_LOCAL = 1,  /* reads take microseconds and never wait for a network */
    DB_CAP_SHARED = 2, /* other processes write to it, too */
};

struct db_options {
    /* "sqlite:/path/to/file"; the file is made when it is not there. Or libpq's form:
     * "postgres://user@host[:port][,host[:port]…]/name[?sslmode=verify-full&sslrootcert=…]"; of
     * several hosts the one that takes writes is used, whichever it is at the moment. */
    const char *url;
    const char *password; /* NULL: none, or what the url or libpq's own files say */
    /* Urls of the same form, separated by blanks, for db_read_begin_stale; NULL: none. */
    const char *replicas;
    double replica_lag_s; /* a replica further behind is not asked, 0: 1 */
    int readers;          /* connections for reading, 0: a sound default */
    double busy_seconds;  /* how long to wait for a lock of another process, 0: 10 */
};

/* Opens and checks the database. ERR_DB_CORRUPT, ERR_READ_ONLY, ERR_NO_SPACE, ERR_PERMISSION say
 * what is wrong and name the file. */
enum err_code db_open(const struct db_options *options, struct db **ret,
                      struct err *err) MUST_CHECK;
/* Waits for transactions in other threads. NULL is fine. Returns NULL. */
struct db *db_close(struct db *db);
unsigned db_caps(const struct db *db);
const char *db_driver_name(const struct db *db); /* "sqlite", "postgres": what speaks SQL */
/* A write and a read that really reach the database. For /readyz and doctor. */
enum err_code db_ping(struct db *db, struct err *err) MUST_CHECK;
uint64_t db_size_bytes(struct db *db);
/* Every page and index: slow. *ret_problems gets one line per problem (caller frees), NULL if
 * clean. */
enum err_code db_check(struct db *db, char **ret_problems, struct err *err) MUST_CHECK;
/* A consistent copy of the whole database into a new file, while others work. ERR_CONFLICT when
 * there is something at `path`. */
enum err_code db_backup(struct db *db, const char *path, struct err *err) MUST_CHECK;

typedef enum err_code db_work(struct db_tx *tx, void *ctx, struct err *err);
/* `work`'s error rolls back and is returned. ERR_UNCERTAIN: the connection was lost while
 * committing, or the disk did not confirm. ERR_NO_SPACE, ERR_READ_ONLY, ERR_DB_CORRUPT, ERR_DB;
 * ERR_BUSY: another process held the lock for busy_seconds. ERR_CONFLICT: a constraint failed
 * (unique, foreign key); db_exec says so, a deferred one the commit. */
enum err_code db_transact(struct db *db, enum db_durability durability, db_work *work, void *ctx,
                          struct err *err) MUST_CHECK;

enum err_code db_read_begin(struct db *db, struct db_tx **ret, struct err *err) MUST_CHECK;
/* For one query and no more, which is its own snapshot: where the database is far, that is one
 * journey. A second query in it is a programming error. */
enum err_code db_read_begin_single(struct db *db, struct db_tx **ret, struct err *err) MUST_CHECK;
/* A snapshot that may be up to replica_lag_s old: of a replica where there is one that keeps up,
 * else as above. For what nobody waits for: lists, counts. */
enum err_code db_read_begin_stale(struct db *db, struct db_tx **ret, struct err *err) MUST_CHECK;
void db_end(struct db_tx **tx); /* NULL inside is fine: for _cleanup_(db_end) */

struct db_arg {
    enum { DB_NULL, DB_INT, DB_REAL, DB_TEXT, DB_BLOB } type;
    int64_t number;
    double real;
    const void *data; /* borrowed until the call returns, or for db_query until db_rows_free */
    size_t size;
};
#define DB_I(v)    ((struct db_arg){.type = DB_INT, .number = (int64_t)(v)})
#define DB_R(v)    ((struct db_arg){.type = DB_REAL, .real = (v)})
#define DB_N       ((struct db_arg){.type = DB_NULL})
#define DB_T(v)    db_text_arg(v) /* const char *; NULL is SQL's NULL */
#define DB_B(p, n) ((struct db_arg){.type = DB_BLOB, .data = (p), .size = (n)})
struct db_arg db_text_arg(const char *text);

/* db_exec(tx, "UPDATE … WHERE id = ?1", &changed, err, DB_T(id)) ; ret_changed may be NULL. */
#define db_exec(tx, sql, ret_changed, err, ...)                                                    \
    db_exec_args(tx, sql, (const struct db_arg[]){__VA_ARGS__},                                    \
                 sizeof((const struct db_arg[]){__VA_ARGS__}) / sizeof(struct db_arg),             \
                 ret_changed, err)
enum err_code db_exec_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                           int64_t *ret_changed, struct err *err) MUST_CHECK;
/* As db_exec without a count, for a statement that cannot fail but for the database's sake: its
 * error may be told by a later call of this transaction, or by its end. Where the database is far,
 * several of them cost one journey. */
#define db_send(tx, sql, err, ...)                                                                 \
    db_send_args(tx, sql, (const struct db_arg[]){__VA_ARGS__},                                    \
                 sizeof((const struct db_arg[]){__VA_ARGS__}) / sizeof(struct db_arg), err)
enum err_code db_send_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                           struct err *err) MUST_CHECK;
#define db_query(tx, sql, ret, err, ...)                                                           \
    db_query_args(tx, sql, (const struct db_arg[]){__VA_ARGS__},                                   \
                  sizeof((const struct db_arg[]){__VA_ARGS__}) / sizeof(struct db_arg), ret, err)
enum err_code db_query_args(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                            struct db_rows **ret, struct err *err) MUST_CHECK;
/* 1: a row is there, 0: no more, -1: failed (err is filled). Columns count from 0. */
int db_next(struct db_rows *rows, struct err *err) MUST_CHECK;
int db_is_null(const struct db_rows *rows, int column);
int64_t db_int(const struct db_rows *rows, int column);
double db_real(const struct db_rows *rows, int column);
/* Borrowed until the next db_next; NULL for SQL's NULL. ret_size may be NULL. */
const char *db_text(const struct db_rows *rows, int column, size_t *ret_size);
void db_rows_done(struct db_rows **rows); /* for _cleanup_; NULL inside is fine */

/* Schema changes, in order; each is one SQL script that runs in a transaction. */
struct db_migration {
    int number; /* 1, 2, 3 … */
    const char *name, *sql;
    /* The lowest schema that a program must know to work on the result; 0: this one's number. So
     * old programs go on beside a new one, while it is rolled out. */
    int needs;
};
/* Brings the schema up to date and notes what ran, with its SHA-256. Safe when several processes
 * start at once. ERR_DB when a migration that ran before has changed, or the schema is newer than
 * the program and needs a newer one. */
enum err_code db_migrate(struct db *db, const struct db_migration *migrations, size_t n,
                         int *ret_applied, struct err *err) MUST_CHECK;

#endif

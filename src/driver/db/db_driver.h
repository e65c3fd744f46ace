/* What a database driver is: one const table, every slot filled. Only src/driver/db includes this.
 *
 * A transaction and its rows carry their driver's table, so that a wrapper (db_fault.c) can hand
 * out those of the driver below it. */
#ifndef SONDE_DRIVER_DB_DRIVER_H
#define SONDE_DRIVER_DB_DRIVER_H

#include <stdint.h>

#include "db.h"

/* The head of every driver's transaction and rows. */
struct db_tx {
    const struct db_driver *driver;
    struct db *db;       /* set by the facade for reading */
    uint64_t started_ns; /* set by the facade for reading */
    enum err_code worst; /* the last failure of the database itself */
    int single, queries; /* of db_read_begin_single */
};
struct db_rows {
    struct db_tx *tx;
};

struct db_driver {
    const char *name;
    /* `place`: the url behind "name:" */
    enum err_code (*open)(const struct db_options *options, const char *place, void **ret,
                          struct err *err);
    void (*close)(void *impl);
    unsigned (*caps)(const void *impl);
    const char *(*dialect)(const void *impl); /* the name of the driver that speaks SQL */
    uint64_t (*size_bytes)(void *impl);
    enum err_code (*check)(void *impl, char **ret_problems, struct err *err);
    enum err_code (*backup)(void *impl, const char *path, struct err *err);

    enum err_code (*transact)(void *impl, enum db_durability durability, db_work *work, void *ctx,
                              struct err *err);
    enum err_code (*read_begin)(void *impl, struct db_tx **ret, struct err *err);
    enum err_code (*read_begin_stale)(void *impl, struct db_tx **ret, struct err *err);
    void (*read_end)(struct db_tx *tx);

    /* May be NULL: then exec does it. */
    enum err_code (*send)(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                          struct err *err);
    enum err_code (*exec)(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                          int64_t *ret_changed, struct err *err);
    /* Several statements without parameters, of a migration. */
    enum err_code (*script)(struct db_tx *tx, const char *sql, struct err *err);
    enum err_code (*query)(struct db_tx *tx, const char *sql, const struct db_arg *args, size_t n,
                           struct db_rows **ret, struct err *err);
    int (*next)(struct db_rows *rows, struct err *err);
    int (*is_null)(const struct db_rows *rows, int column);
    int64_t (*column_int)(const struct db_rows *rows, int column);
    double (*column_real)(const struct db_rows *rows, int column);
    const char *(*column_text)(const struct db_rows *rows, int column, size_t *ret_size);
    void (*rows_done)(struct db_rows *rows);
};

extern const struct db_driver db_driver_sqlite, db_driver_postgres, db_driver_fault;

/* The table that a url names, and the rest of the url; NULL with ERR_USAGE. */
const struct db_driver *db_driver_find(const char *url, const char **ret_place, struct err *err);

#endif

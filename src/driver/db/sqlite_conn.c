/* One SQLite connection: opening it, its prepared statements, errors in words.
 *
 * Preparing costs ten times a point lookup, so each connection keeps its statements. A text is
 * found by its address first (SQL texts are literals) and then compared, so that a caller who
 * builds a text in a buffer is only slower, not wrong. A statement that is in use already (a query
 * inside of the same query) is prepared once more for that use.
 *
 * A connection owns its statements; the rows handed out live inside of it. One thread at a time:
 * the writer's leader, or whoever took it from the pool of readers. */
#include "sqlite_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../../base/mem.h"

enum err_code conn_code(int rc, int errnum)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ERR_OK;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_DB_CORRUPT;
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_READONLY:
        return ERR_READ_ONLY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_PERMISSION;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_NOMEM:
        return ERR_NO_MEMORY;
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    case SQLITE_CONSTRAINT:
        return ERR_CONFLICT;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        if (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
            return ERR_NO_SPACE;
        if (errnum == EROFS)
            return ERR_READ_ONLY;
        if ((rc & 0xff) == SQLITE_IOERR)
            return ERR_IO;
        if (errnum == ENOENT || errnum == ENOTDIR)
            return ERR_NOT_FOUND;
        return errnum == EISDIR ? ERR_NOT_A_FILE : ERR_PERMISSION;
    default:
        return ERR_DB;
    }
}

enum err_code conn_fail(struct conn *conn, int rc, struct err *err)
{
    int errnum = 0;
    if ((rc & 0xff) == SQLITE_CANTOPEN || (rc & 0xff) == SQLITE_IOERR)
        errnum = sqlite3_system_errno(conn->db);
    int extended = sqlite3_extended_errcode(conn->db);
    /* sqlite3_errmsg is about the last call, which may not be the one that failed. */
    const char *why =
        (extended & 0xff) == (rc & 0xff) ? sqlite3_errmsg(conn->db) : sqlite3_errstr(rc);
    enum err_code code = conn_code(rc, errnum);
    if (!code)
        code = ERR_DB;
    if (errnum)
        return err_set_errno(err, code, errnum, "database %s: %s", conn->path, why);
    return err_set(err, code, "database %s: %s", conn->path, why);
}

/* --- opening -------------------------------------------------------------------------------- */

/* Made with the right mode from the start: it holds what nobody else may read. An existing file is
 * left alone; closing a descriptor of a database that is open would drop its locks. */
static enum err_code make_file(const char *path, struct err *err)
{
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd >= 0) {
        close(fd);
        return ERR_OK;
    }
    if (errno == EEXIST)
        return ERR_OK;
    enum err_code code = errno == EROFS                       ? ERR_READ_ONLY
                         : errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE
                                                              : err_from_errno(errno);
    return err_set_errno(err, code, errno, "database %s", path);
}

static void configure_limits(sqlite3 *db)
{
    sqlite3_extended_result_codes(db, 1);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
    sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
}

enum err_code conn_open(const char *path, int create, int busy_ms, struct conn **ret,
                        struct err *err)
{
    *ret = NULL;
    enum err_code code = create ? make_file(path, err) : ERR_OK;
    if (code)
        return code;
    struct conn *conn = xalloc(sizeof *conn);
    conn->path = path;
    conn->tx.conn = conn;
    conn->tx.base.driver = &db_driver_sqlite;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    int rc = sqlite3_open_v2(path, &conn->db, flags, NULL);
    if (rc == SQLITE_OK && sqlite3_db_readonly(conn->db, "main") == 1) {
        code = err_set(err, ERR_READ_ONLY, "database %s: the file may not be written", path);
    } else if (rc != SQLITE_OK) {
        code = conn->db ? conn_fail(conn, rc, err)
                        : err_set(err, ERR_NO_MEMORY, "database %s: %s", path, sqlite3_errstr(rc));
    } else {
        configure_limits(conn->db);
        sqlite3_busy_timeout(conn->db, busy_ms);
        /* The cache holds at most 2 MB per connection, so that an idle server stays small; the rest
         * is the kernel's, mapped: reading a page by a system call costs a lookup a fifth more. */
        code = conn_script(
            conn,
            "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;"
            "PRAGMA cache_size = -2048; PRAGMA mmap_size = 1073741824;"
            "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON;"
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
            "PRAGMA journal_size_limit = 16777216",
            err);
    }
    if (code) {
        conn_close(conn);
        return code;
    }
    *ret = conn;
    return ERR_OK;
}

struct conn *conn_close(struct conn *conn)
{
    if (!conn)
        return NULL;
    conn_finish_rows(conn);
    for (size_t i = 0; i < conn->count; i++)
        sqlite3_finalize(conn->list[i].stmt);
    sqlite3_close(conn->db);
    free(conn);
    return NULL;
}

/* --- statements ----------------------------------------------------------------------------- */

static unsigned slot_of(const char *sql)
{
    uintptr_t at = (uintptr_t)sql;
    return (unsigned)((at >> 2) ^ (at >> 11)) & (CONN_SLOTS - 1);
}

static enum err_code prepare(struct conn *conn, const char *sql, int keep, sqlite3_stmt **ret,
                             struct err *err)
{
    const char *rest = NULL;
    int rc =
        sqlite3_prepare_v3(conn->db, sql, -1, keep ? SQLITE_PREPARE_PERSISTENT : 0, ret, &rest);
    if (rc != SQLITE_OK)
        return conn_fail(conn, rc, err);
    if (*ret && !*rest)
        return ERR_OK;
    sqlite3_finalize(*ret);
    *ret = NULL;
    return err_set(err, ERR_DB, "a query must be exactly one statement without a semicolon");
}

/* Index of the statement for this text that is free, or -1. */
static int find_kept(struct conn *conn, const char *sql)
{
    unsigned slot = slot_of(sql);
    int i = conn->slots[slot] - 1;
    if (i >= 0 && !strcmp(sqlite3_sql(conn->list[i].stmt), sql))
        return conn->list[i].busy ? -1 : i;
    for (size_t k = 0; k < conn->count; k++) {
        if (strcmp(sqlite3_sql(conn->list[k].stmt), sql))
            continue;
        conn->slots[slot] = (unsigned char)(k + 1);
        return conn->list[k].busy ? -1 : (int)k;
    }
    return -2;
}

/* A place for one more statement: a fresh one, or that of the one unused for longest; -1: none. */
static int find_place(struct conn *conn)
{
    if (conn->count < CONN_STATEMENTS)
        return (int)conn->count;
    int oldest = -1;
    for (size_t k = 0; k < conn->count; k++)
        if (!conn->list[k].busy && (oldest < 0 || conn->list[k].used < conn->list[oldest].used))
            oldest = (int)k;
    return oldest;
}

static enum err_code take_single(struct conn *conn, const char *sql, struct conn_rows **ret,
                                 struct err *err)
{
    size_t at = 0;
    while (at < ARRAY_LEN(conn->singles) && conn->singles[at])
        at++;
    if (at == ARRAY_LEN(conn->singles))
        return err_set(err, ERR_LIMIT, "too many queries at once in one transaction");
    sqlite3_stmt *stmt = NULL;
    enum err_code code = prepare(conn, sql, 0, &stmt, err);
    if (code)
        return code;
    struct conn_rows *rows = xalloc(sizeof *rows);
    rows->stmt = stmt;
    rows->single = (int)at + 1;
    conn->singles[at] = rows;
    *ret = rows;
    return ERR_OK;
}

/* The statement for `sql`, in use until give_back. */
static enum err_code take(struct conn *conn, const char *sql, struct conn_rows **ret,
                          struct err *err)
{
    int i = find_kept(conn, sql);
    int place = i == -2 ? find_place(conn) : -1;
    struct conn_rows *rows = NULL;
    if (i >= 0) {
        rows = &conn->list[i];
    } else if (place >= 0) {
        sqlite3_stmt *stmt = NULL;
        enum err_code code = prepare(conn, sql, 1, &stmt, err);
        if (code)
            return code;
        rows = &conn->list[place];
        if ((size_t)place == conn->count)
            conn->count++;
        else
            sqlite3_finalize(rows->stmt);
        rows->stmt = stmt;
        conn->slots[slot_of(sql)] = (unsigned char)(place + 1);
    } else {
        enum err_code code = take_single(conn, sql, &rows, err);
        if (code)
            return code;
    }
    rows->base.tx = &conn->tx.base;
    rows->used = ++conn->clock;
    rows->busy = 1;
    rows->ended = 0;
    conn->open++;
    *ret = rows;
    return ERR_OK;
}

static void give_back(struct conn *conn, struct conn_rows *rows)
{
    if (!rows->busy)
        return;
    rows->busy = 0;
    conn->open--;
    if (rows->single) {
        conn->singles[rows->single - 1] = NULL;
        sqlite3_finalize(rows->stmt);
        free(rows);
        return;
    }
    sqlite3_reset(rows->stmt);
    sqlite3_clear_bindings(rows->stmt);
}

void conn_finish_rows(struct conn *conn)
{
    if (!conn->open)
        return;
    for (size_t i = 0; i < conn->count; i++)
        give_back(conn, &conn->list[i]);
    for (size_t i = 0; i < ARRAY_LEN(conn->singles); i++)
        if (conn->singles[i])
            give_back(conn, conn->singles[i]);
}

static enum err_code bind(struct conn *conn, struct conn_rows *rows, const struct db_arg *args,
                          size_t n, struct err *err)
{
    int want = sqlite3_bind_parameter_count(rows->stmt);
    if ((size_t)want != n)
        return err_set(err, ERR_DB, "a statement takes %d parameters and got %zu", want, n);
    for (int i = 0; i < want; i++) {
        const struct db_arg *arg = &args[i];
        int rc = SQLITE_OK;
        switch (arg->type) {
        case DB_NULL:
            rc = sqlite3_bind_null(rows->stmt, i + 1);
            break;
        case DB_INT:
            rc = sqlite3_bind_int64(rows->stmt, i + 1, arg->number);
            break;
        case DB_REAL:
            rc = sqlite3_bind_double(rows->stmt, i + 1, arg->real);
            break;
        case DB_TEXT:
            rc = sqlite3_bind_text64(rows->stmt, i + 1, arg->data, arg->size, SQLITE_STATIC,
                                     SQLITE_UTF8);
            break;
        case DB_BLOB:
            rc = arg->size
                     ? sqlite3_bind_blob64(rows->stmt, i + 1, arg->data, arg->size, SQLITE_STATIC)
                     : sqlite3_bind_zeroblob(rows->stmt, i + 1, 0);
            break;
        }
        if (rc != SQLITE_OK)
            return conn_fail(conn, rc, err);
    }
    return ERR_OK;
}

/* --- running -------------------------------------------------------------------------------- */

static enum err_code run_args(struct conn *conn, const char *sql, const struct db_arg *args,
                              size_t n, int64_t *ret_changed, struct err *err)
{
    struct conn_rows *rows = NULL;
    enum err_code code = take(conn, sql, &rows, err);
    if (code)
        return code;
    code = bind(conn, rows, args, n, err);
    int rc = SQLITE_ROW;
    while (!code && rc == SQLITE_ROW)
        rc = sqlite3_step(rows->stmt);
    if (!code && rc != SQLITE_DONE)
        code = conn_fail(conn, rc, err);
    if (!code && ret_changed)
        *ret_changed = sqlite3_stmt_readonly(rows->stmt) ? 0 : sqlite3_changes64(conn->db);
    give_back(conn, rows);
    return code;
}

enum err_code conn_run(struct conn *conn, const char *sql, struct err *err)
{
    return run_args(conn, sql, NULL, 0, NULL, err);
}

enum err_code conn_script(struct conn *conn, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(conn->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? ERR_OK : conn_fail(conn, rc, err);
}

enum err_code conn_number(struct conn *conn, const char *sql, int64_t *ret, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    *ret = 0;
    int rc = sqlite3_prepare_v2(conn->db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(stmt, 0);
    enum err_code code = rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : conn_fail(conn, rc, err);
    sqlite3_finalize(stmt);
    return code;
}

/* A reader's snapshot begins with its first statement; a writer's transaction runs already. */
static enum err_code ensure_begun(struct conn_tx *tx, struct err *err)
{
    if (tx->begun)
        return ERR_OK;
    enum err_code code = conn_run(tx->conn, "BEGIN", err);
    tx->begun = !code;
    return code;
}

enum err_code conn_exec_args(struct db_tx *base, const char *sql, const struct db_arg *args,
                             size_t n, int64_t *ret_changed, struct err *err)
{
    struct conn_tx *tx = (struct conn_tx *)base;
    if (ret_changed)
        *ret_changed = 0;
    enum err_code code = ensure_begun(tx, err);
    return code ? code : run_args(tx->conn, sql, args, n, ret_changed, err);
}

enum err_code conn_script_tx(struct db_tx *base, const char *sql, struct err *err)
{
    struct conn_tx *tx = (struct conn_tx *)base;
    enum err_code code = conn_script(tx->conn, sql, err);
    if (!code && sqlite3_get_autocommit(tx->conn->db))
        code = err_set(err, ERR_DB, "a script must not end its transaction");
    return code;
}

enum err_code conn_query_args(struct db_tx *base, const char *sql, const struct db_arg *args,
                              size_t n, struct db_rows **ret, struct err *err)
{
    struct conn_tx *tx = (struct conn_tx *)base;
    struct conn_rows *rows = NULL;
    enum err_code code = ensure_begun(tx, err);
    if (!code)
        code = take(tx->conn, sql, &rows, err);
    if (code)
        return code;
    code = bind(tx->conn, rows, args, n, err);
    if (code) {
        give_back(tx->conn, rows);
        return code;
    }
    *ret = &rows->base;
    return ERR_OK;
}

static struct conn *conn_of(const struct db_rows *rows)
{
    return ((struct conn_tx *)rows->tx)->conn;
}

static sqlite3_stmt *stmt_of(const struct db_rows *rows)
{
    return ((const struct conn_rows *)rows)->stmt;
}

int conn_next(struct db_rows *rows, struct err *err)
{
    struct conn_rows *it = (struct conn_rows *)rows;
    if (it->ended < 0)
        err_set(err, ERR_DB, "this query has failed before");
    if (it->ended)
        return it->ended < 0 ? -1 : 0;
    int rc = sqlite3_step(it->stmt);
    if (rc == SQLITE_ROW)
        return 1;
    it->ended = rc == SQLITE_DONE ? 1 : -1;
    if (rc == SQLITE_DONE)
        return 0;
    conn_fail(conn_of(rows), rc, err);
    return -1;
}

int conn_is_null(const struct db_rows *rows, int column)
{
    return sqlite3_column_type(stmt_of(rows), column) == SQLITE_NULL;
}

int64_t conn_int(const struct db_rows *rows, int column)
{
    return sqlite3_column_int64(stmt_of(rows), column);
}

double conn_real(const struct db_rows *rows, int column)
{
    return sqlite3_column_double(stmt_of(rows), column);
}

const char *conn_text(const struct db_rows *rows, int column, size_t *ret_size)
{
    sqlite3_stmt *stmt = stmt_of(rows);
    int type = sqlite3_column_type(stmt, column);
    const char *text = type == SQLITE_NULL   ? NULL
                       : type == SQLITE_BLOB ? sqlite3_column_blob(stmt, column)
                                             : (const char *)sqlite3_column_text(stmt, column);
    size_t size = text ? (size_t)sqlite3_column_bytes(stmt, column) : 0;
    if (type == SQLITE_BLOB && !text)
        text = ""; /* of no bytes, but not NULL */
    if (ret_size)
        *ret_size = size;
    return text;
}

void conn_rows_done(struct db_rows *rows)
{
    give_back(conn_of(rows), (struct conn_rows *)rows);
}

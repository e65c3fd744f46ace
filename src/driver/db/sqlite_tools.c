/* The SQLite driver's upkeep: checkpoints, checks, backups.
 *
 * Checkpoints. SQLite's own would run inside of somebody's commit; here the leader runs them after
 * it has woken its group. A passive one (every 4 MB) waits for nobody, but lets the WAL start over
 * only when no reader happens to look at it; under constant reading that may never be, so from
 * 64 MB on a truncating one waits a moment for the readers, which by then read from the database
 * itself. */
#include "db_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../base/mem.h"

#define TRUNCATE_PAGES 16384 /* 64 MB */
#define TRUNCATE_MS    250   /* how long writers may be held up for it */
#define PROBLEMS_MAX   200

void sqlite_checkpoint(void *impl)
{
    struct sqlite *s = impl;
    uint64_t pages = s->wal_pages;
    if (pages < s->wal_next)
        return;
    sqlite3 *db = s->writer->db;
    int in_wal = 0, moved = 0;
    if (pages >= TRUNCATE_PAGES) {
        sqlite3_busy_timeout(db, TRUNCATE_MS);
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &in_wal, &moved);
        sqlite3_busy_timeout(db, s->busy_ms);
    } else {
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_wal, &moved);
    }
    /* All moved: the next commit starts the WAL over, unless a reader holds it; then go on every
     * 4 MB. */
    s->wal_next = (in_wal > 0 ? (uint64_t)in_wal : 0) + SQLITE_PASSIVE_PAGES;
}

uint64_t sqlite_size_bytes(void *impl)
{
    struct sqlite *s = impl;
    _cleanup_free_ char *wal = xasprintf("%s-wal", s->path);
    struct stat st;
    uint64_t size = 0;
    if (!stat(s->path, &st))
        size += (uint64_t)st.st_size;
    if (!stat(wal, &st))
        size += (uint64_t)st.st_size;
    return size;
}

/* --- checking ------------------------------------------------------------------------------- */

/* Adds the rows of a check to the text. The columns of foreign_key_check are table, row, parent. */
static int add_problems(sqlite3 *db, const char *sql, int foreign, FILE *out, int *count)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW)
            break;
        const char *first = (const char *)sqlite3_column_text(stmt, 0);
        if (!first || (!foreign && !strcmp(first, "ok")))
            continue;
        if (++*count > PROBLEMS_MAX)
            continue;
        if (foreign)
            fprintf(out, "row %lld of %s refers to a row of %s that is not there\n",
                    (long long)sqlite3_column_int64(stmt, 1), first,
                    (const char *)sqlite3_column_text(stmt, 2));
        else
            fprintf(out, "%s\n", first);
    }
    sqlite3_finalize(stmt);
    return rc;
}

enum err_code sqlite_check(void *impl, char **ret_problems, struct err *err)
{
    struct sqlite *s = impl;
    struct conn *conn = NULL;
    enum err_code code = conn_open(s->path, 0, s->busy_ms, &conn, err);
    if (code)
        return code;
    char *text = NULL;
    size_t len = 0;
    int count = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out) {
        conn_close(conn);
        return err_set(err, ERR_NO_MEMORY, "no memory for the check");
    }
    int rc = add_problems(conn->db, "PRAGMA integrity_check(100)", 0, out, &count);
    if (rc == SQLITE_DONE)
        rc = add_problems(conn->db, "PRAGMA foreign_key_check", 1, out, &count);
    if (rc != SQLITE_DONE) {
        struct err own;
        code = conn_fail(conn, rc, &own);
        if (code == ERR_DB_CORRUPT) { /* that is an answer too */
            fprintf(out, "%s\n", own.text);
            count++;
            code = ERR_OK;
        } else if (err) {
            *err = own;
        }
    }
    if (fclose(out) && !code)
        code = err_set(err, ERR_NO_MEMORY, "no memory for the check");
    if (count && !code)
        *ret_problems = STEAL(text);
    free(text);
    conn_close(conn);
    return code;
}

/* --- backup --------------------------------------------------------------------------------- */

/* Copies through SQLite, in one snapshot of the source. */
static enum err_code copy_database(struct conn *from, const char *temp, struct err *err)
{
    struct conn to = {.path = temp};
    int rc = sqlite3_open_v2(temp, &to.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(to.db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL,
                          NULL);
    sqlite3_backup *backup = NULL;
    if (rc == SQLITE_OK && (backup = sqlite3_backup_init(to.db, "main", from->db, "main")))
        rc = sqlite3_backup_step(backup, -1);
    if (backup) {
        int finished = sqlite3_backup_finish(backup);
        if (rc == SQLITE_DONE)
            rc = finished;
    } else if (rc == SQLITE_OK) {
        rc = sqlite3_errcode(to.db);
    }
    enum err_code code = rc == SQLITE_OK ? ERR_OK : conn_fail(&to, rc, err);
    sqlite3_close(to.db);
    return code;
}

static enum err_code sync_path(const char *path, int flags, struct err *err)
{
    _cleanup_close_ int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0 || fsync(fd))
        return err_set_errno(err, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, errno, "%s", path);
    return ERR_OK;
}

static enum err_code sync_folder_of(const char *path, struct err *err)
{
    _cleanup_free_ char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = 0;
    return sync_path(slash ? folder : ".", O_RDONLY | O_DIRECTORY, err);
}

enum err_code sqlite_backup(void *impl, const char *path, struct err *err)
{
    struct sqlite *s = impl;
    struct stat st;
    if (!lstat(path, &st))
        return err_set(err, ERR_CONFLICT, "%s exists already", path);
    _cleanup_free_ char *temp = xasprintf("%s.part-%d", path, (int)getpid());
    int fd = open(temp, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set_errno(err, err_from_errno(errno), errno, "%s", temp);
    close(fd);
    struct conn *from = NULL;
    enum err_code code = conn_open(s->path, 0, s->busy_ms, &from, err);
    if (!code)
        code = copy_database(from, temp, err);
    conn_close(from);
    if (!code)
        code = sync_path(temp, O_RDONLY, err);
    if (!code && rename(temp, path))
        code = err_set_errno(err, err_from_errno(errno), errno, "%s", path);
    if (code)
        unlink(temp);
    return code ? code : sync_folder_of(path, err);
}

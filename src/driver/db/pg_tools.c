/* The PostgreSQL driver's upkeep: its size, checks, backups. Any thread. */
#include <stdio.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../os/clock.h"
#include "db_postgres.h"

#define PROBLEMS_MAX 200

static enum err_code one_query(struct postgres *p, const char *sql, PGresult **ret, struct err *err)
{
    struct db_tx *tx = NULL;
    enum err_code code = postgres_read_begin(p, &tx, err);
    if (code)
        return code;
    code = pg_execute((struct pg_tx *)tx, sql, NULL, 0, ret, err);
    postgres_read_end(tx);
    return code;
}

uint64_t postgres_size_bytes(void *impl)
{
    struct postgres *p = impl;
    double now = clock_seconds();
    pthread_mutex_lock(&p->size_lock);
    uint64_t size = p->size;
    int old = !p->size_at || now - p->size_at > PG_SIZE_S;
    if (old)
        p->size_at = now; /* one asks; the others take what was */
    pthread_mutex_unlock(&p->size_lock);
    PGresult *res = NULL;
    if (!old || one_query(p, "SELECT pg_database_size(current_database())", &res, NULL))
        return size;
    size = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
    PQclear(res);
    pthread_mutex_lock(&p->size_lock);
    p->size = size;
    pthread_mutex_unlock(&p->size_lock);
    return size;
}

/* What the server knows of its own state; reading every page is pg_amcheck's job, which needs an
 * extension that is not everywhere. */
enum err_code postgres_check(void *impl, char **ret_problems, struct err *err)
{
    static const char sql[] =
        "SELECT 'index ' || indexrelid::regclass || ' is not valid; REINDEX makes it anew' "
        "FROM pg_index WHERE NOT indisvalid OR NOT indisready "
        "UNION ALL SELECT 'constraint ' || conname || ' of ' || conrelid::regclass || "
        "' was never checked; VALIDATE CONSTRAINT does' FROM pg_constraint "
        "WHERE NOT convalidated "
        "UNION ALL SELECT 'pages with a wrong checksum: ' || checksum_failures || "
        "'; restore a backup' FROM pg_stat_database WHERE datname = current_database() "
        "AND checksum_failures > 0 LIMIT 200";
    PGresult *res = NULL;
    enum err_code code = one_query(impl, sql, &res, err);
    if (code == ERR_DB_CORRUPT && err) {
        *ret_problems = xasprintf("%s\n", err->text);
        return ERR_OK;
    }
    if (code)
        return code;
    int n = PQntuples(res);
    for (int i = 0; i < n && i < PROBLEMS_MAX; i++) {
        char *before = *ret_problems;
        *ret_problems = xasprintf("%s%s\n", before ? before : "", PQgetvalue(res, i, 0));
        free(before);
    }
    PQclear(res);
    return ERR_OK;
}

enum err_code postgres_backup(void *impl, const char *path, struct err *err)
{
    const struct postgres *p = impl;
    (void)path;
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: a server makes its own backups; use pg_dump, or base backups with the log",
                   p->place.where);
}

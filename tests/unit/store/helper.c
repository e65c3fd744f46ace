/* See helper.h. The look behind the store's back is a connection of SQLite's own. */
#include "helper.h"

#ifdef STORE_ON_POSTGRES
#include "helper_postgres.h"
#else

#include <sqlite3.h>
#include <unistd.h>

struct db *box_open(const struct box *box, const char *prefix)
{
    char url[160];
    snprintf(url, sizeof url, "%ssqlite:%s", prefix, box->path);
    struct db *db = NULL;
    OK(db_open(&(struct db_options){.url = url}, &db, err));
    return db;
}

int box_setup(void **state)
{
    struct box *box = xalloc(sizeof *box);
    snprintf(box->folder, sizeof box->folder, "/tmp/sonde-store-XXXXXX");
    assert_non_null(mkdtemp(box->folder));
    snprintf(box->path, sizeof box->path, "%s/sonde.db", box->folder);
    box->db = box_open(box, "");
    int applied = 0;
    OK(store_migrate(box->db, &applied, err));
    assert_true(applied > 0);
    *state = box;
    return 0;
}

int box_teardown(void **state)
{
    struct box *box = *state;
    db_close(box->db);
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", box->path, endings[i]);
        unlink(path);
    }
    rmdir(box->folder);
    free(box);
    return 0;
}

static sqlite3 *raw_open(const struct box *box)
{
    sqlite3 *raw = NULL;
    assert_int_equal(sqlite3_open(box->path, &raw), SQLITE_OK);
    sqlite3_busy_timeout(raw, 10000);
    return raw;
}

void box_run(struct box *box, const char *sql)
{
    sqlite3 *raw = raw_open(box);
    char *why = NULL;
    if (sqlite3_exec(raw, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
    sqlite3_close(raw);
}

char *box_text(struct box *box, const char *sql)
{
    sqlite3 *raw = raw_open(box);
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(raw, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(raw));
    char *text = NULL;
    if (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        text = xstrdup((const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_close(raw);
    return text;
}

int64_t box_number(struct box *box, const char *sql)
{
    _cleanup_free_ char *text = box_text(box, sql);
    return text ? strtoll(text, NULL, 10) : 0;
}

static void dump_table(sqlite3 *raw, const char *table, FILE *out)
{
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT * FROM \"%s\" ORDER BY 1, 2", table);
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_prepare_v2(raw, sql, -1, &stmt, NULL), SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        fprintf(out, "%s:", table);
        for (int i = 0; i < sqlite3_column_count(stmt); i++) {
            const char *text = (const char *)sqlite3_column_text(stmt, i);
            fprintf(out, "|%s", text ? text : "NULL");
        }
        fputc('\n', out);
    }
    sqlite3_finalize(stmt);
}

char *box_dump(struct box *box)
{
    sqlite3 *raw = raw_open(box);
    sqlite3_stmt *stmt = NULL;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    /* Numbers that AUTOINCREMENT gave away may stay away. */
    const char *tables = "SELECT name FROM sqlite_master WHERE type = 'table' "
                         "AND name NOT LIKE 'sqlite_%' ORDER BY name";
    assert_int_equal(sqlite3_prepare_v2(raw, tables, -1, &stmt, NULL), SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW)
        dump_table(raw, (const char *)sqlite3_column_text(stmt, 0), out);
    sqlite3_finalize(stmt);
    sqlite3_close(raw);
    fclose(out);
    return text;
}

void box_trap(struct box *box, const char *verb, const char *table)
{
    _cleanup_free_ char *sql = xasprintf("CREATE TRIGGER trap BEFORE %s ON %s BEGIN "
                                         "SELECT RAISE(ABORT, 'trapped'); END",
                                         verb, table);
    box_run(box, sql);
}

void box_untrap(struct box *box, const char *table)
{
    (void)table;
    box_run(box, "DROP TRIGGER trap");
}

#endif

void box_counted(struct box *box)
{
    uint64_t waiting = 0;
    OK(store_waiting(box->db, &waiting, err));
    assert_int_equal(waiting, box_number(box, "SELECT COUNT(*) FROM analyses "
                                              "WHERE status IN ('queued', 'running')"));
}

struct ids add_full(struct db *db, const char *name, const char *bytes_are, int fresh)
{
    struct ids ids;
    char sha256[SHA256_HEX];
    id_new(ids.upload);
    id_new(ids.analysis);
    OK(sha256_mem(bytes_are, strlen(bytes_are), sha256, err));
    struct store_upload upload = {.upload_id = ids.upload,
                                  .analysis_id = ids.analysis,
                                  .file_name = name,
                                  .sha256 = sha256,
                                  .bytes = 1000,
                                  .fresh = fresh};
    char *replay = NULL;
    OK(store_accept(db, &upload, 1, NULL, 0, &replay, err));
    assert_null(replay);
    return ids;
}

struct ids add(struct db *db, const char *name, const char *bytes_are)
{
    return add_full(db, name, bytes_are, 0);
}

struct store_result result_of(double llr, const char *verdict, const char *model)
{
    return (struct store_result){
        .json = "{\"verdict\":\"human\"}",
        .verdict = verdict,
        .model_name = "sonde-2",
        .model_sha256 = model,
        .scored = 1,
        .llr = llr,
        .p = 0.25,
        .duration_s = 12.5,
        .speech_s = 10.25,
    };
}

void finish(struct db *db, const char *id, double llr, const char *verdict, const char *model)
{
    struct store_result result = result_of(llr, verdict, model);
    int stale = -1;
    OK(store_finish(db, id, &result, &stale, err));
    assert_int_equal(stale, 0);
}

struct ids add_done(struct db *db, const char *name, const char *bytes_are)
{
    struct ids ids = add(db, name, bytes_are);
    finish(db, ids.analysis, -1.5, "human", MODEL_A);
    return ids;
}

struct store_analysis get(struct db *db, const char *id)
{
    struct store_analysis analysis;
    memset(&analysis, 0x55, sizeof analysis);
    OK(store_get(db, id, &analysis, err));
    return analysis;
}

const char *status_of(struct db *db, const char *id)
{
    struct store_analysis analysis;
    OK(store_get_status(db, id, &analysis, err));
    return store_status_name(analysis.status);
}

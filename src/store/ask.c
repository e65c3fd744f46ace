/* Asking for one analysis: each function is one snapshot with one or two indexed lookups. Any
 * thread. */
#include "internal.h"

#include <string.h>

static const char *const status_names[] = {
    [STORE_QUEUED] = "queued",
    [STORE_RUNNING] = "running",
    [STORE_DONE] = "done",
    [STORE_FAILED] = "failed",
};

const char *store_status_name(enum store_status status)
{
    return (size_t)status < ARRAY_LEN(status_names) ? status_names[status] : "";
}

int store_status_parse(const char *name, enum store_status *ret)
{
    for (size_t i = 0; name && i < ARRAY_LEN(status_names); i++)
        if (strcmp(name, status_names[i]) == 0) {
            *ret = (enum store_status)i;
            return 0;
        }
    return -1;
}

static enum store_status status_column(const struct db_rows *rows, int column)
{
    enum store_status status = STORE_FAILED;
    if (store_status_parse(db_text(rows, column, NULL), &status) < 0)
        status = STORE_FAILED; /* the table's CHECK lets nothing else in */
    return status;
}

#define COPY(field, column) store_copy(ret->field, sizeof ret->field, rows, column)

/* In the order of STORE_COLUMNS. */
void store_row(const struct db_rows *rows, struct store_analysis *ret)
{
    memset(ret, 0, sizeof *ret);
    COPY(id, 0);
    COPY(upload_id, 1);
    ret->status = status_column(rows, 2);
    COPY(file_name, 3);
    ret->bytes = (uint64_t)db_int(rows, 4);
    COPY(sha256, 5);
    ret->audio_kept = db_is_null(rows, 6);
    ret->created_ms = db_int(rows, 7);
    ret->started_ms = db_int(rows, 8);
    ret->finished_ms = db_int(rows, 9);
    ret->scored = !db_is_null(rows, 10);
    ret->llr = db_real(rows, 10);
    ret->p = db_real(rows, 11);
    ret->duration_s = db_real(rows, 12);
    ret->speech_s = db_real(rows, 13);
    COPY(verdict, 14);
    COPY(model_name, 15);
    COPY(model_sha256, 16);
    COPY(reused_from, 17);
    COPY(error_code, 18);
    COPY(error_text, 19);
    COPY(stability_status, 20);
    ret->runs = (int)db_int(rows, 21);
}

enum err_code store_tx_get(struct db_tx *tx, const char *id, struct store_analysis *ret,
                           struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code =
        store_first(tx, "SELECT " STORE_COLUMNS " FROM " STORE_TABLES " WHERE a.id = ?1", &rows,
                    &found, err, DB_T(id));
    if (code)
        return code;
    if (!found)
        return store_no_such(err, "analysis", id);
    store_row(rows, ret);
    return ERR_OK;
}

enum err_code store_get(struct db *db, const char *id, struct store_analysis *ret, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    enum err_code code = db_read_begin_single(db, &tx, err);
    return code ? code : store_tx_get(tx, id, ret, err);
}

enum err_code store_get_status(struct db *db, const char *id, struct store_analysis *ret,
                               struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = db_read_begin_single(db, &tx, err);
    if (!code)
        code = store_first(tx,
                           "SELECT id, status, verdict, llr, p, error_code, error_text, "
                           "stability_status FROM analyses WHERE id = ?1",
                           &rows, &found, err, DB_T(id));
    if (code)
        return code;
    if (!found)
        return store_no_such(err, "analysis", id);
    memset(ret, 0, sizeof *ret);
    COPY(id, 0);
    ret->status = status_column(rows, 1);
    COPY(verdict, 2);
    ret->scored = !db_is_null(rows, 3);
    ret->llr = db_real(rows, 3);
    ret->p = db_real(rows, 4);
    COPY(error_code, 5);
    COPY(error_text, 6);
    COPY(stability_status, 7);
    return ERR_OK;
}

/* A query for one text by id. */
static enum err_code get_text(struct db *db, const char *sql, const char *id, char **ret,
                              struct err *err)
{
    *ret = NULL;
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = db_read_begin_single(db, &tx, err);
    if (!code)
        code = store_first(tx, sql, &rows, &found, err, DB_T(id));
    return code || !found ? code : store_take(rows, 0, ret, err);
}

enum err_code store_get_result(struct db *db, const char *id, char **ret_json, struct err *err)
{
    return get_text(db, "SELECT json FROM results WHERE analysis_id = ?1", id, ret_json, err);
}

enum err_code store_get_stability(struct db *db, const char *id, char **ret_json, struct err *err)
{
    return get_text(db, "SELECT json FROM stability WHERE analysis_id = ?1", id, ret_json, err);
}

enum err_code store_waiting(struct db *db, uint64_t *ret, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = db_read_begin_single(db, &tx, err);
    if (!code)
        code = store_first(tx, "SELECT value FROM counters WHERE name = ?1", &rows, &found, err,
                           DB_T("waiting"));
    if (!code)
        *ret = found ? (uint64_t)db_int(rows, 0) : 0;
    return code;
}

/* What every change is made of: the transaction with its notice, reading a row, and the parts that
 * several changes share (events, outbox, the counter of waiting analyses, settling an upload).
 *
 * How many wait is a counter row, changed in the transaction that changes a status: reading it
 * costs the same with ten and with a million analyses, where a COUNT over a partial index would
 * visit each waiting row for each upload. store_migrate counts anew, so a slip heals at the next
 * start.
 *
 * The notice runs on the thread that called the change, after its commit. */
#include "internal.h"

#include <jansson.h>
#include <string.h>

#define TRACEPARENT_MAX 128                 /* the W3C form has 55; what is longer is none */
#define TEXT_MAX        ((size_t)256 << 20) /* of one column; a day of speech makes 10 MB */

/* Set once before other threads start. */
static void (*on_change)(void *ctx, unsigned grown);
static void *on_change_ctx;
static char own_origin[ID_TEXT];

void store_on_change(void (*changed)(void *ctx, unsigned grown), void *ctx)
{
    on_change = changed;
    on_change_ctx = ctx;
}

void store_set_origin(const char *origin)
{
    store_copy_text(own_origin, sizeof own_origin, origin);
}

enum err_code store_write(struct db *db, enum db_durability durability, db_work *work, void *ctx,
                          struct err *err)
{
    static const unsigned both = STORE_GREW_OUTBOX | STORE_GREW_EVENTS;
    return store_write_grown(db, durability, work, ctx, &both, err);
}

enum err_code store_write_grown(struct db *db, enum db_durability durability, db_work *work,
                                void *ctx, const unsigned *grown, struct err *err)
{
    enum err_code code = db_transact(db, durability, work, ctx, err);
    /* An uncertain one may be there: looking once too often costs little. */
    if ((code == ERR_OK || code == ERR_UNCERTAIN) && on_change && *grown)
        on_change(on_change_ctx, *grown);
    return code;
}

enum err_code store_next(struct db_rows *rows, int *ret_found, struct err *err)
{
    struct err own;
    if (!err)
        err = &own;
    int found = db_next(rows, err);
    if (found < 0)
        return err->code;
    *ret_found = found;
    return ERR_OK;
}

enum err_code store_first_args(struct db_tx *tx, const char *sql, const struct db_arg *args,
                               size_t n, struct db_rows **ret, int *ret_found, struct err *err)
{
    db_rows_done(ret);
    *ret = NULL;
    enum err_code code = db_query_args(tx, sql, args, n, ret, err);
    return code ? code : store_next(*ret, ret_found, err);
}

void store_copy_text(char *ret, size_t size, const char *text)
{
    size_t n = text ? strlen(text) : 0;
    if (n >= size) {
        n = size - 1;
        while (n && ((unsigned char)text[n] & 0xC0) == 0x80)
            n--;
    }
    if (n)
        memcpy(ret, text, n);
    ret[n] = '\0';
}

void store_copy(char *ret, size_t size, const struct db_rows *rows, int column)
{
    store_copy_text(ret, size, db_text(rows, column, NULL));
}

enum err_code store_take(const struct db_rows *rows, int column, char **ret, struct err *err)
{
    size_t size = 0;
    const char *text = db_text(rows, column, &size);
    *ret = NULL;
    if (size > TEXT_MAX)
        return err_set(err, ERR_LIMIT, "a text of %zu bytes is longer than any result", size);
    *ret = text ? try_alloc(size + 1, 1) : NULL;
    if (text && !*ret)
        return err_set(err, ERR_NO_MEMORY, "no memory for a text of %zu bytes", size);
    if (text)
        memcpy(*ret, text, size);
    return ERR_OK;
}

enum err_code store_no_such(struct err *err, const char *what, const char *id)
{
    return err_set(err, ERR_NO_SUCH, "no %s %.40s", what, id);
}

enum err_code store_tx_event(struct db_tx *tx, const char *analysis_id, int deleted, int64_t now,
                             struct err *err)
{
    return db_send(tx, "INSERT INTO events (analysis_id, deleted, created_ms) VALUES (?1, ?2, ?3)",
                   err, DB_T(analysis_id), DB_I(deleted), DB_I(now));
}

/* {"v": 1, "<key>": id, "traceparent": …}; jansson, because the trace came in with a request. */
static char *outbox_body(const char *key, const char *id, const char *traceparent)
{
    json_t *body = json_object();
    int bad = json_object_set_new(body, "v", json_integer(STORE_MESSAGE_VERSION));
    bad |= json_object_set_new(body, key, json_string(id));
    if (traceparent && strlen(traceparent) <= TRACEPARENT_MAX)
        json_object_set_new(body, "traceparent", json_string(traceparent)); /* invalid: left out */
    char *text = bad ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

enum err_code store_tx_outbox(struct db_tx *tx, const char *queue, const char *key, const char *id,
                              const char *traceparent, int64_t now, struct err *err)
{
    _cleanup_free_ char *body = outbox_body(key, id, traceparent);
    if (!body)
        return err_set(err, ERR_NO_MEMORY, "no memory for a job");
    char message[ID_TEXT];
    id_new(message);
    return db_send(tx,
                   "INSERT INTO outbox (id, queue, body, created_ms, origin) "
                   "VALUES (?1, ?2, ?3, ?4, ?5)",
                   err, DB_T(message), DB_T(queue), DB_T(body), DB_I(now), DB_T(own_origin));
}

enum err_code store_tx_waiting(struct db_tx *tx, int64_t by, struct err *err)
{
    return db_send(tx, "UPDATE counters SET value = value + ?1 WHERE name = 'waiting'", err,
                   DB_I(by));
}

enum err_code store_tx_blob(struct db_tx *tx, enum blob_bucket bucket, const char *id, int64_t now,
                            struct err *err)
{
    char key[STORE_KEY_MAX];
    store_blob_key(id, key);
    return db_send(tx,
                   "INSERT INTO blob_deletions (bucket, key, created_ms) VALUES (?1, ?2, ?3) "
                   "ON CONFLICT (key, bucket) DO NOTHING",
                   err, DB_I(bucket), DB_T(key), DB_I(now));
}

enum err_code store_tx_drop_audio(struct db_tx *tx, const char *upload_id, int64_t now,
                                  struct err *err)
{
    int64_t changed = 0;
    enum err_code code = db_exec(
        tx, "UPDATE uploads SET audio_deleted_ms = ?2 WHERE id = ?1 AND audio_deleted_ms IS NULL",
        &changed, err, DB_T(upload_id), DB_I(now));
    return code || !changed ? code : store_tx_blob(tx, BLOB_RAW, upload_id, now, err);
}

enum err_code store_tx_settle(struct db_tx *tx, const char *upload_id, int drop_audio, int64_t now,
                              struct err *err)
{
    int64_t changed = 0;
    enum err_code code = db_exec(tx,
                                 "UPDATE uploads SET settled_ms = ?2 WHERE id = ?1 AND NOT EXISTS "
                                 "(SELECT 1 FROM analyses WHERE upload_id = ?1 "
                                 "AND status IN ('queued', 'running'))",
                                 &changed, err, DB_T(upload_id), DB_I(now));
    /* Another analysis of it still waits for the recording: that one will drop it. */
    return code || !changed || !drop_audio ? code : store_tx_drop_audio(tx, upload_id, now, err);
}

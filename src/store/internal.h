/* What the files of src/store share. Names that begin with store_tx_ run inside somebody's
 * transaction; they may run on any thread and again, so they touch the database alone. */
#ifndef SONDE_STORE_INTERNAL_H
#define SONDE_STORE_INTERNAL_H

#include "../base/mem.h"
#include "../base/time.h"
#include "../driver/blob/blob.h"
#include "../driver/queue/queue.h"
#include "store.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)

/* --- transactions and rows (tx.c) --- */

/* db_transact, then tells store_on_change's function. For changes that write events or outbox. */
enum err_code store_write(struct db *db, enum db_durability durability, db_work *work, void *ctx,
                          struct err *err) MUST_CHECK;
/* The same for one that knows better what it writes; `*grown` (enum store_grown) is read after the
 * commit, so that the work can set it. */
enum err_code store_write_grown(struct db *db, enum db_durability durability, db_work *work,
                                void *ctx, const unsigned *grown, struct err *err) MUST_CHECK;
/* As db_next, but *ret_found 1 or 0, and the error's code. */
enum err_code store_next(struct db_rows *rows, int *ret_found, struct err *err) MUST_CHECK;
/* A query's first row. */
#define store_first(tx, sql, ret, ret_found, err, ...)                                             \
    store_first_args(tx, sql, (const struct db_arg[]){__VA_ARGS__},                                \
                     sizeof((const struct db_arg[]){__VA_ARGS__}) / sizeof(struct db_arg), ret,    \
                     ret_found, err)
enum err_code store_first_args(struct db_tx *tx, const char *sql, const struct db_arg *args,
                               size_t n, struct db_rows **ret, int *ret_found,
                               struct err *err) MUST_CHECK;
/* Copies a column into a fixed field, cut at a character; SQL's NULL is "". */
void store_copy(char *ret, size_t size, const struct db_rows *rows, int column);
void store_copy_text(char *ret, size_t size, const char *text);
/* A column as allocated text; NULL for SQL's NULL or when memory is gone (then ERR_NO_MEMORY). */
enum err_code store_take(const struct db_rows *rows, int column, char **ret,
                         struct err *err) MUST_CHECK;
enum err_code store_no_such(struct err *err, const char *what, const char *id);

/* --- parts of several changes --- */

enum err_code store_tx_event(struct db_tx *tx, const char *analysis_id, int deleted, int64_t now,
                             struct err *err) MUST_CHECK;
enum err_code store_tx_outbox(struct db_tx *tx, const char *queue, const char *key, const char *id,
                              const char *traceparent, int64_t now, struct err *err) MUST_CHECK;
/* Adds to the number of queued and running analyses. */
enum err_code store_tx_waiting(struct db_tx *tx, int64_t by, struct err *err) MUST_CHECK;
/* One delivery and its outbox row for each webhook; *ret_rows: how many. */
enum err_code store_tx_notify(struct db_tx *tx, const char *analysis_id, const char *type,
                              int64_t now, size_t *ret_rows, struct err *err) MUST_CHECK;
/* After an analysis of the upload got final or was deleted: stamps settled_ms when none waits any
 * more; then, with drop_audio, its recording goes. */
enum err_code store_tx_settle(struct db_tx *tx, const char *upload_id, int drop_audio, int64_t now,
                              struct err *err) MUST_CHECK;
enum err_code store_tx_drop_audio(struct db_tx *tx, const char *upload_id, int64_t now,
                                  struct err *err) MUST_CHECK;
enum err_code store_tx_blob(struct db_tx *tx, enum blob_bucket bucket, const char *id, int64_t now,
                            struct err *err) MUST_CHECK;

/* --- whole analyses (ask.c) --- */

/* The columns that store_row reads, of "analyses a JOIN uploads u". */
#define STORE_COLUMNS                                                                              \
    "a.id, a.upload_id, a.status, u.file_name, u.bytes, a.sha256, u.audio_deleted_ms, "            \
    "a.created_ms, a.started_ms, a.finished_ms, a.llr, a.p, a.duration_s, a.speech_s, a.verdict, " \
    "a.model_name, a.model_sha256, a.reused_from, a.error_code, a.error_text, "                    \
    "a.stability_status, a.runs"
#define STORE_TABLES "analyses a JOIN uploads u ON u.id = a.upload_id"
void store_row(const struct db_rows *rows, struct store_analysis *ret);
enum err_code store_tx_get(struct db_tx *tx, const char *id, struct store_analysis *ret,
                           struct err *err) MUST_CHECK;

/* --- search in file names (fold.c) --- */

/* Without case and accents, for Latin, Greek and Cyrillic letters; never longer than `text`.
 * `size` bytes at most, cut at a character. */
void store_fold(const char *text, char *ret, size_t size);

#endif

/* All SQL about uploads, analyses, results, events, idempotency keys, webhooks and the outbox.
 *
 * Every function is one transaction (or one snapshot) and leaves no half of it. What has to leave
 * the process goes into the outbox in the same transaction: the relay (src/role) publishes it.
 * Texts that come back are owned by the caller unless said otherwise. Times are time_now_ms.
 * Threads: any.
 *
 * An upload is the recording; an analysis is one judgement of it. The states of an analysis:
 *   queued -> running -> done | failed ;  running -> queued again when its worker dies or gives up
 * a try; done and failed are final (a rerun is a new analysis of the same upload), but for
 * store_reopen, when somebody puts the dead letter of a failed one back. */
#ifndef SONDE_STORE_H
#define SONDE_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"
#include "../base/hash.h"
#include "../base/id.h"
#include "../driver/db/db.h"

/* Brings the schema up to date. */
enum err_code store_migrate(struct db *db, int *ret_applied, struct err *err) MUST_CHECK;

enum store_status { STORE_QUEUED, STORE_RUNNING, STORE_DONE, STORE_FAILED };
const char *store_status_name(enum store_status status);          /* "queued" … */
int store_status_parse(const char *name, enum store_status *ret); /* 0, or -1 */

#define STORE_NAME_MAX 256
struct store_analysis {
    char id[ID_TEXT];
    char upload_id[ID_TEXT];
    enum store_status status;
    char file_name[STORE_NAME_MAX]; /* UTF-8, for people; never a path */
    uint64_t bytes;
    char sha256[SHA256_HEX];
    int audio_kept;
    int64_t created_ms, started_ms, finished_ms; /* 0: not yet */
    int scored;                                  /* 1: llr and p hold */
    double llr, p, duration_s, speech_s;
    char verdict[16];                              /* "" until done */
    char model_name[64], model_sha256[SHA256_HEX]; /* "" until done */
    char reused_from[ID_TEXT];                     /* "" */
    char error_code[32], error_text[ERR_TEXT_MAX]; /* "" unless failed */
    char stability_status[8];                      /* "" queued running done failed */
    int runs;                                      /* times it was started */
};

/* --- taking in ---------------------------------------------------------------------------- */

struct store_upload {
    const char *upload_id,
        *analysis_id; /* ids made by the caller; blob key is store_blob_key(upload_id) */
    const char *file_name, *sha256;
    uint64_t bytes;
    int fresh;               /* 1: no reuse of an earlier result */
    const char *traceparent; /* NULL or the trace that the job continues */
};
#define STORE_KEY_MAX 64
/* "2026/11/21/<upload id>": spread over folders by the id's own time. The recording is in bucket
 * raw under its upload's key, the picture in bucket processed under store_blob_key(analysis_id). */
void store_blob_key(const char *upload_id, char ret[STORE_KEY_MAX]);

struct store_idempotency {
    const char *key;         /* NULL: none */
    const char *fingerprint; /* of the request's content */
};
/* Inserts uploads with their analyses (queued), one outbox row each for medical_data, their events,
 * and the idempotency key, all or nothing. When the key is known (24 h): with the same fingerprint
 * nothing is inserted and *ret_replay gets the first answer's analysis ids, separated by blanks
 * (caller frees); with another one ERR_IDEMPOTENCY. ERR_QUEUE_FULL when queued + running would pass
 * max_waiting (0: no limit). */
enum err_code store_accept(struct db *db, const struct store_upload *uploads, size_t n,
                           const struct store_idempotency *idempotency, uint64_t max_waiting,
                           char **ret_replay, struct err *err) MUST_CHECK;
/* After ERR_UNCERTAIN: 1 in *ret when the analysis is there. It asks as a writer, behind whatever
 * was being committed before, so the answer does not change any more. */
enum err_code store_accepted(struct db *db, const char *analysis_id, int *ret,
                             struct err *err) MUST_CHECK;
/* A new queued analysis of the same upload, with its outbox row. ERR_NO_SUCH; ERR_GONE when the
 * recording is no longer kept. */
enum err_code store_rerun(struct db *db, const char *analysis_id, const char *new_id,
                          const char *traceparent, struct err *err) MUST_CHECK;

/* --- asking ------------------------------------------------------------------------------- */

enum err_code store_get(struct db *db, const char *id, struct store_analysis *ret,
                        struct err *err) MUST_CHECK;
/* What GET /status needs, in one indexed lookup; the other fields are zero. */
enum err_code store_get_status(struct db *db, const char *id, struct store_analysis *ret,
                               struct err *err) MUST_CHECK;
/* *ret NULL when there is none (yet). */
enum err_code store_get_result(struct db *db, const char *id, char **ret_json,
                               struct err *err) MUST_CHECK;
enum err_code store_get_stability(struct db *db, const char *id, char **ret_json,
                                  struct err *err) MUST_CHECK;

struct store_filter {
    const char *status, *verdict; /* NULL: any */
    const char
        *text; /* part of the file name (any case, also Cyrillic), or the start of id or sha256 */
    int64_t since_ms, until_ms; /* of created; 0: open */
    const char *cursor;         /* from the page before, NULL: the newest */
    int limit;                  /* 1..1000 */
};
typedef int store_each(void *ctx, const struct store_analysis *analysis); /* non-zero stops */
/* Rows that one call looks at for `text`. */
#define STORE_SCAN_MAX 20000
/* A text of so many hex digits (and '-') that begins exactly one id or sha256 finds that one alone,
 * at once. */
#define STORE_NAMES_ONE 12
/* Newest first; since_ms <= created < until_ms. *ret_cursor: for the next page, NULL when this is
 * the last; caller frees. With text a page may hold fewer than `limit`, even none, and still have a
 * next one. `each` is called after the snapshot, so it may call the store; when it stops, the
 * cursor goes on behind the row that stopped it. ERR_BAD_REQUEST for a cursor that is none. Cost
 * grows with the page, not with the table. */
enum err_code store_list(struct db *db, const struct store_filter *filter, store_each *each,
                         void *ctx, char **ret_cursor, struct err *err) MUST_CHECK;
/* Queued and running. */
enum err_code store_waiting(struct db *db, uint64_t *ret, struct err *err) MUST_CHECK;

/* --- working ------------------------------------------------------------------------------ */

/* medical_data is done with it: an earlier result for the same bytes and model is copied (then it
 * is done: *ret_reused = 1), else an outbox row for ml_inference is written. An analysis that is
 * already further on or deleted: nothing happens (*ret_stale = 1). */
enum err_code store_checked(struct db *db, const char *id, const char *model_sha256,
                            enum db_durability durability, const char *traceparent, int *ret_reused,
                            int *ret_stale, struct err *err) MUST_CHECK;
/* queued or running -> running; *ret_stale = 1 when it is done, failed or deleted. */
enum err_code store_start(struct db *db, const char *id, struct store_analysis *ret, int *ret_stale,
                          struct err *err) MUST_CHECK;
/* running -> queued: this try failed, another will come. `run`: the `runs` that store_start gave;
 * when it was started again since, by whoever got the message next, nothing happens. 0: whichever.
 */
enum err_code store_requeue(struct db *db, const char *id, int run, struct err *err) MUST_CHECK;
struct store_result {
    const char *json; /* the detection object */
    const char *verdict, *model_name, *model_sha256;
    int scored;
    double llr, p, duration_s, speech_s;
    int drop_audio; /* retention 0: the upload's recording goes, by an outbox row (see blobs) */
    enum db_durability durability; /* queue_needs; DB_DURABLE where the recording goes after it */
};
/* queued or running -> done, with outbox rows for the webhooks; *ret_stale = 1 when it was final or
 * deleted already: then nothing changes, so that each analysis has one result. */
enum err_code store_finish(struct db *db, const char *id, const struct store_result *result,
                           int *ret_stale, struct err *err) MUST_CHECK;
/* As store_finish; `run` as for store_requeue: a worker that was paused, and failed for it, does
 * not fail what another one is analysing. */
enum err_code store_fail(struct db *db, const char *id, int run, const struct err *why,
                         int *ret_stale, struct err *err) MUST_CHECK;
/* failed -> queued, its error forgotten: its message is about to be delivered again. Other states
 * stay. */
enum err_code store_reopen(struct db *db, const char *id, struct err *err) MUST_CHECK;
/* "" -> queued, with an outbox row; asking twice changes nothing. ERR_CONFLICT unless done;
 * ERR_GONE. */
enum err_code store_stability_ask(struct db *db, const char *id, struct err *err) MUST_CHECK;
/* status running, done (json) or failed (json NULL). */
enum err_code store_stability_set(struct db *db, const char *id, const char *status,
                                  const char *json, struct err *err) MUST_CHECK;

/* --- deleting ----------------------------------------------------------------------------- */

/* The analysis, its result, its events but the "deleted" one, and, when it was the upload's last,
 * the upload: then its blobs are noted for deletion in the same transaction. */
enum err_code store_delete(struct db *db, const char *id, struct err *err) MUST_CHECK;
/* Notes at most `limit` recordings (finished before `before_ms`) for deletion / deletes at most
 * `limit` analyses finished before it. *ret_count: how many. */
enum err_code store_expire_audio(struct db *db, int64_t before_ms, int limit, uint64_t *ret_count,
                                 struct err *err) MUST_CHECK;
enum err_code store_expire_results(struct db *db, int64_t before_ms, int limit, uint64_t *ret_count,
                                   struct err *err) MUST_CHECK;
/* Blobs to delete: the row is removed by store_blob_deleted once the blob is gone, so that a crash
 * between only repeats the deletion. bucket: enum blob_bucket's number. */
typedef int store_each_blob(void *ctx, int64_t row, int bucket, const char *key);
enum err_code store_blobs_to_delete(struct db *db, int limit, store_each_blob *each, void *ctx,
                                    struct err *err) MUST_CHECK;
enum err_code store_blob_deleted(struct db *db, int64_t row, struct err *err) MUST_CHECK;
/* Notes one that no row refers to, of an upload's or (pictures) an analysis's id. */
enum err_code store_blob_stray(struct db *db, int bucket, const char *id,
                               struct err *err) MUST_CHECK;
/* 1 in *ret when a row (upload, analysis or pending deletion) refers to the id of this blob key, an
 * upload's or, for pictures, an analysis's: what doctor asks. */
enum err_code store_knows_upload(struct db *db, const char *upload_id, int *ret,
                                 struct err *err) MUST_CHECK;
/* 1 in *ret when there is an upload at all. */
enum err_code store_has_uploads(struct db *db, int *ret, struct err *err) MUST_CHECK;
/* The upload's recording is gone without its row knowing (a backup taken while it was deleted). */
enum err_code store_audio_gone(struct db *db, const char *upload_id, struct err *err) MUST_CHECK;
/* Calls for each upload whose recording should be stored, for doctor. */
typedef int store_each_upload(void *ctx, const char *upload_id, uint64_t bytes, const char *sha256);
enum err_code store_each_kept(struct db *db, store_each_upload *each, void *ctx,
                              struct err *err) MUST_CHECK;

/* --- outbox ------------------------------------------------------------------------------- */

struct store_outbox_row {
    int64_t row;
    char id[ID_TEXT];
    char queue[24];
    char *body;
};
/* What the "v" of a message says. Raise it when an older program would do wrong with a new one; an
 * older one then gives it back for a newer one. Further keys need no other version. */
#define STORE_MESSAGE_VERSION 1
/* The id of this process, which the outbox rows that it writes carry. Set it before other threads
 * start; "" at first. */
void store_set_origin(const char *origin);
struct store_outbox_filter {
    const char *origin;          /* those of this process; NULL: */
    int64_t before_ms, after_ms; /* those of any, created before the one or after the other */
};
/* Up to `cap` oldest rows into list; *ret_n. Free each body. filter NULL: all. */
enum err_code store_outbox_peek(struct db *db, const struct store_outbox_filter *filter,
                                struct store_outbox_row *list, size_t cap, size_t *ret_n,
                                struct err *err) MUST_CHECK;
/* Removes rows that were published. */
enum err_code store_outbox_sent(struct db *db, const struct store_outbox_row *list, size_t n,
                                struct err *err) MUST_CHECK;
enum err_code store_outbox_count(struct db *db, uint64_t *ret, struct err *err) MUST_CHECK;
/* A function that is told, on the committing thread, what may have grown. Set it before other
 * threads start. It must not block. */
enum store_grown { STORE_GREW_OUTBOX = 1, STORE_GREW_EVENTS = 2 };
void store_on_change(void (*changed)(void *ctx, unsigned grown), void *ctx);

/* --- leases: what one process at a time does ------------------------------------------------- */

/* Takes or prolongs the lease for `seconds` from now: *ret_held 1 when it is the owner's now. The
 * clocks of several machines decide when one ends, so for a moment two may believe to hold it: what
 * is done under a lease must bear that. */
enum err_code store_lease(struct db *db, const char *name, const char *owner, double seconds,
                          int *ret_held, struct err *err) MUST_CHECK;
/* Gives it up, if it is the owner's. */
enum err_code store_lease_end(struct db *db, const char *name, const char *owner,
                              struct err *err) MUST_CHECK;

/* --- events ------------------------------------------------------------------------------- */

#define STORE_EVENTS_KEPT 100000
struct store_event {
    int64_t id; /* rises; gaps are possible */
    char analysis_id[ID_TEXT];
    int deleted; /* 1: the analysis is gone; 0: created or changed */
};
typedef int store_each_event(void *ctx, const struct store_event *event);
/* Events with id > after, oldest first, at most `limit`. *ret_complete = 0 when some of them are no
 * longer known. */
enum err_code store_events(struct db *db, int64_t after, int limit, store_each_event *each,
                           void *ctx, int *ret_complete, struct err *err) MUST_CHECK;
enum err_code store_last_event(struct db *db, int64_t *ret, struct err *err) MUST_CHECK;
/* Removes old events and idempotency keys. */
enum err_code store_tidy(struct db *db, struct err *err) MUST_CHECK;

/* --- webhooks ----------------------------------------------------------------------------- */

struct store_webhook {
    char id[ID_TEXT];
    char url[2048];
    char secret[64]; /* "whsec_…": never shown again, never logged */
    int64_t created_ms;
};
#define STORE_WEBHOOKS_MAX 20
enum err_code store_webhook_add(struct db *db, const struct store_webhook *webhook,
                                struct err *err) MUST_CHECK; /* ERR_LIMIT past the maximum */
enum err_code store_webhook_delete(struct db *db, const char *id, struct err *err) MUST_CHECK;
enum err_code store_webhook_get(struct db *db, const char *id, struct store_webhook *ret,
                                struct err *err) MUST_CHECK;
typedef int store_each_webhook(void *ctx, const struct store_webhook *webhook);
enum err_code store_webhook_list(struct db *db, store_each_webhook *each, void *ctx,
                                 struct err *err) MUST_CHECK;
struct store_delivery {
    char id[ID_TEXT], webhook_id[ID_TEXT], analysis_id[ID_TEXT]; /* analysis "" for a test */
    char type[32];                                               /* analysis.done … */
    int tries, status;                                           /* HTTP status, 0: no answer */
    char outcome[16];                                            /* pending delivered gave_up */
    char error[160];
    int64_t created_ms, last_ms;
};
/* Outbox body of queue webhook: {"delivery": id}. A test delivery is made by this, and given as it
 * was stored: it may have been tried since. */
enum err_code store_delivery_test(struct db *db, const char *webhook_id, const char *delivery_id,
                                  struct store_delivery *ret, struct err *err) MUST_CHECK;
enum err_code store_delivery_get(struct db *db, const char *id, struct store_delivery *ret,
                                 struct err *err) MUST_CHECK;
enum err_code store_delivery_set(struct db *db, const struct store_delivery *delivery,
                                 struct err *err) MUST_CHECK;
typedef int store_each_delivery(void *ctx, const struct store_delivery *delivery);
/* The last 50, newest first. */
enum err_code store_delivery_list(struct db *db, const char *webhook_id, store_each_delivery *each,
                                  void *ctx, struct err *err) MUST_CHECK;

#endif

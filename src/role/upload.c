/* Taking recordings in: POST /upload and POST /api/v1/uploads.
 *
 * The server has spooled and hashed each file by the time the handler runs (on a worker). The
 * handler stores the files, then writes uploads, analyses, outbox rows and the idempotency key in
 * one transaction. What was answered with 202 is in storage and in the database; if the transaction
 * fails, the stored files are removed again, and what a crash leaves of them the keeper finds. When
 * the connection was lost in the commit, it is looked whether the rows are there. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../media/zip.h"
#include "../obs/metrics.h"
#include "../os/clock.h"
#include "roles.h"

#define LOOK_SECONDS 10   /* for the database to come back after an uncertain commit */
#define ACCEPT_MAX   1000 /* recordings of one request, those of its zips included */

struct intake_file {
    char *name, *path; /* owned; the path is in the spool folder */
    uint64_t bytes;
    char sha256[SHA256_HEX];
    char upload_id[ID_TEXT], analysis_id[ID_TEXT];
};

struct batch {
    struct app *app;
    struct intake_file *files;
    size_t count, cap, stored;
    json_t *rejected; /* [{name, error}] */
    uint64_t bytes;
};

static void batch_done(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        if (b->files[i].path)
            unlink(b->files[i].path);
        free(b->files[i].path);
        free(b->files[i].name);
    }
    free(b->files);
    json_decref(b->rejected);
}

/* --- before the body comes */

enum err_code upload_admit(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    int64_t announced = http_content_length(request);
    uint64_t waiting = atomic_load(&app->waiting), room = atomic_load(&app->free_bytes);
    enum err_code rc = ERR_OK;
    if (atomic_load(&app->stopping))
        rc = err_set(err, ERR_SHUTTING_DOWN, "the server is shutting down");
    else if (waiting >= app->settings.queue_max)
        rc = err_set(err, ERR_QUEUE_FULL, "%llu recordings are waiting, the limit is %llu",
                     (unsigned long long)waiting, (unsigned long long)app->settings.queue_max);
    else if (room < app->settings.min_free + (announced > 0 ? (uint64_t)announced : 0))
        rc = err_set(
            err, ERR_NO_SPACE, "the data folder has %llu MB free, of which %llu MB are kept",
            (unsigned long long)(room >> 20), (unsigned long long)(app->settings.min_free >> 20));
    if (rc != ERR_OK)
        metric_add(metric_get(METRIC_UPLOADS, "refused", NULL, NULL), 1);
    return rc;
}

/* --- which files */

static void reject(struct batch *b, const char *name, const struct err *why)
{
    json_t *row = json_object(), *error = json_object();
    json_object_set_new(error, "code", json_string(err_slug(why->code)));
    json_object_set_new(error, "text", json_string(why->text));
    json_object_set_new(error, "hint", json_string(err_hint(why->code)));
    json_object_set_new(row, "name", json_string(name));
    json_object_set_new(row, "error", error);
    json_array_append_new(b->rejected, row);
}

static struct intake_file *batch_add(struct batch *b, const char *name, struct err *err)
{
    if (try_grow(&b->files, &b->cap, b->count, sizeof *b->files, ACCEPT_MAX) < 0) {
        err_set(err, ERR_LIMIT, "more than %d recordings in one request", ACCEPT_MAX);
        return NULL;
    }
    struct intake_file *file = &b->files[b->count++];
    *file = (struct intake_file){.name = xstrdup(*name ? name : "recording")};
    id_new(file->upload_id);
    id_new(file->analysis_id);
    return file;
}

static void batch_drop_last(struct batch *b)
{
    struct intake_file *file = &b->files[--b->count];
    unlink(file->path);
    free(file->path);
    free(file->name);
}

/* One entry of a zip while it is unpacked into the spool folder. */
struct unpacking {
    struct batch *batch;
    struct intake_file *file; /* NULL between entries */
    int fd;
    struct sha256 *hash;
};

static enum err_code entry_begin(void *ctx, const char *name, struct err *err)
{
    struct unpacking *u = ctx;
    u->file = batch_add(u->batch, name, err);
    if (!u->file)
        return err->code;
    u->file->path = xasprintf("%s/%s.zip", u->batch->app->spool, u->file->upload_id);
    u->fd = open(u->file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (u->fd < 0)
        return err_set_errno(err, err_from_errno(errno), errno, "cannot unpack a recording");
    return sha256_begin(&u->hash, err);
}

static enum err_code entry_data(void *ctx, const void *data, size_t size, struct err *err)
{
    struct unpacking *u = ctx;
    const char *at = data;
    u->file->bytes += size;
    enum err_code rc = sha256_more(u->hash, data, size, err);
    while (rc == ERR_OK && size > 0) {
        ssize_t n = write(u->fd, at, size);
        if (n < 0 && errno != EINTR)
            rc = err_set_errno(err, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, errno,
                               "cannot unpack a recording");
        at += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return rc;
}

static void entry_close(struct unpacking *u)
{
    sha256_end(STEAL(u->hash), NULL, NULL);
    if (u->fd >= 0)
        close(STEAL_FD(u->fd));
}

static enum err_code entry_end(void *ctx, const char *name, const struct err *why, struct err *err)
{
    struct unpacking *u = ctx;
    struct err empty;
    enum err_code rc = ERR_OK;
    if (!why)
        rc = sha256_end(STEAL(u->hash), u->file->sha256, err);
    if (!why && u->file->bytes == 0) {
        err_set(&empty, ERR_EMPTY, "the file has no bytes");
        why = &empty;
    }
    entry_close(u);
    if (why && u->file)
        batch_drop_last(u->batch);
    if (why)
        reject(u->batch, name, why);
    u->file = NULL;
    return rc;
}

/* Each recording of the zip becomes a file of the batch. What is wrong with one of them leaves the
 * others alone; a full disk, or too many of them, does not. */
static enum err_code unpack(struct batch *b, const struct http_file *archive, struct err *err)
{
    struct unpacking u = {.batch = b, .fd = -1};
    const struct zip_sink sink = {&u, entry_begin, entry_data, entry_end, NULL};
    struct zip_limits limits = {.max_entry_bytes = b->app->settings.upload_max,
                                .max_bytes = b->app->settings.upload_max,
                                .max_entries = ACCEPT_MAX};
    _cleanup_close_ int fd = open(archive->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot read what was uploaded");
    enum err_code rc = zip_each(fd, &limits, &sink, err);
    entry_close(&u);
    if (rc != ERR_DAMAGED && rc != ERR_LIMIT)
        return rc;
    reject(b, archive->name, err); /* the zip itself */
    return ERR_OK;
}

static enum err_code collect(struct http_request *request, struct batch *b, int zips,
                             struct err *err)
{
    size_t n;
    struct http_file *files = http_files(request, &n);
    enum err_code rc = n > 0 ? ERR_OK
                             : err_set(err, ERR_BAD_REQUEST,
                                       "no recording in the request: send it as the "
                                       "form field 'file', or as the body");
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        if (files[i].bytes == 0) {
            struct err empty;
            err_set(&empty, ERR_EMPTY, "the file has no bytes");
            reject(b, files[i].name, &empty);
        } else if (zips && zip_is(files[i].head, sizeof files[i].head)) {
            rc = unpack(b, &files[i], err);
        } else {
            struct intake_file *file = batch_add(b, files[i].name, err);
            if (!file)
                return err->code;
            memcpy(file->sha256, files[i].sha256, SHA256_HEX);
            file->bytes = files[i].bytes;
            file->path = http_file_take(&files[i]);
        }
    }
    return rc;
}

/* --- storing */

static enum err_code store_files(struct batch *b, struct err *err)
{
    for (size_t i = 0; i < b->count; i++) {
        struct intake_file *file = &b->files[i];
        char key[STORE_KEY_MAX];
        store_blob_key(file->upload_id, key);
        enum err_code rc =
            blob_put_file(b->app->blob, BLOB_RAW, key, file->path, file->sha256, err);
        if (rc != ERR_OK)
            return rc;
        free(file->path);
        file->path = NULL;
        b->stored++;
        b->bytes += file->bytes;
    }
    return ERR_OK;
}

/* The one that failed may be there as well, when only the answer was lost. Where storage is away,
 * the client does not wait for it: the keeper deletes what is noted. */
static void remove_stored(struct batch *b)
{
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < b->count && i <= b->stored; i++) {
        char key[STORE_KEY_MAX];
        struct err err = {0};
        store_blob_key(b->files[i].upload_id, key);
        if (rc == ERR_OK)
            rc = blob_delete(b->app->blob, BLOB_RAW, key, &err);
        if (rc != ERR_OK &&
            store_blob_stray(b->app->db, BLOB_RAW, b->files[i].upload_id, &err) != ERR_OK)
            log_error(LOG_LEVEL_WARN, "a refused recording could not be removed yet", &err);
    }
}

/* Over the hashes and sizes, in order: what the request's content was. */
static enum err_code fingerprint(const struct batch *b, char ret[SHA256_HEX], struct err *err)
{
    _cleanup_free_ char *all = try_alloc(b->count + 1, SHA256_HEX);
    if (!all)
        return err_set(err, ERR_NO_MEMORY, "no memory for a fingerprint");
    for (size_t i = 0; i < b->count; i++)
        memcpy(all + i * (SHA256_HEX - 1), b->files[i].sha256, SHA256_HEX - 1);
    return sha256_mem(all, b->count * (SHA256_HEX - 1), ret, err);
}

/* The commit was sent, and no answer came. The ids are ours: whether they are there tells. Without
 * an answer the error stays ERR_UNCERTAIN, and the files stay: perhaps they were accepted. */
static enum err_code look_after(struct batch *b, struct err *err)
{
    int there = 0;
    struct err own = {0};
    double until = clock_seconds() + LOOK_SECONDS;
    while (store_accepted(b->app->db, b->files[0].analysis_id, &there, &own) != ERR_OK) {
        if (clock_seconds() > until || atomic_load(&b->app->stopping))
            return ERR_UNCERTAIN;
        usleep(100000);
    }
    return there ? ERR_OK
                 : err_set(err, ERR_UNAVAILABLE,
                           "the database went away while it stored this; nothing was kept");
}

/* *ret_replay: ids of the first answer, when the idempotency key was known. */
static enum err_code accept(struct http_request *request, struct batch *b, char **ret_replay,
                            struct err *err)
{
    char print[SHA256_HEX], parent[TRACE_PARENT_TEXT];
    const char *fresh = http_query(request, "fresh"),
               *key = http_header(request, "Idempotency-Key");
    if (key && (!*key || strlen(key) > 200))
        return err_set(err, ERR_BAD_REQUEST, "an Idempotency-Key has 1 to 200 characters");
    _cleanup_free_ struct store_upload *uploads = try_alloc(b->count, sizeof *uploads);
    if (!uploads)
        return err_set(err, ERR_NO_MEMORY, "no memory for %zu uploads", b->count);
    trace_format(http_trace(request), parent);
    for (size_t i = 0; i < b->count; i++)
        uploads[i] = (struct store_upload){
            .upload_id = b->files[i].upload_id,
            .analysis_id = b->files[i].analysis_id,
            .file_name = b->files[i].name,
            .sha256 = b->files[i].sha256,
            .bytes = b->files[i].bytes,
            .fresh = fresh && strcmp(fresh, "0") != 0,
            .traceparent = parent,
        };
    enum err_code rc = fingerprint(b, print, err);
    struct store_idempotency idempotency = {.key = key, .fingerprint = print};
    if (rc == ERR_OK)
        rc = store_accept(b->app->db, uploads, b->count, key ? &idempotency : NULL,
                          b->app->settings.queue_max, ret_replay, err);
    return rc == ERR_UNCERTAIN ? look_after(b, err) : rc;
}

/* Everything from the files to the ids; *ret_ids is a list of texts, in order. */
static enum err_code take_in(struct http_request *request, struct batch *b, json_t *ret_ids,
                             struct err *err)
{
    _cleanup_free_ char *replay = NULL;
    enum err_code rc = store_files(b, err);
    if (rc == ERR_OK)
        rc = accept(request, b, &replay, err);
    if ((rc != ERR_OK && rc != ERR_UNCERTAIN) || replay)
        remove_stored(b);
    if (rc != ERR_OK) {
        metric_add(metric_get(METRIC_UPLOADS, "refused", NULL, NULL), (double)b->count);
        return rc;
    }
    if (replay) {
        http_reply_header(request, "Idempotent-Replay", "true");
        for (char *save, *id = strtok_r(replay, " ", &save); id; id = strtok_r(NULL, " ", &save))
            json_array_append_new(ret_ids, json_string(id));
    } else {
        for (size_t i = 0; i < b->count; i++)
            json_array_append_new(ret_ids, json_string(b->files[i].analysis_id));
        metric_add(metric_get(METRIC_UPLOAD_BYTES, NULL, NULL, NULL), (double)b->bytes);
    }
    metric_add(metric_get(METRIC_UPLOADS, replay ? "replayed" : "accepted", NULL, NULL),
               (double)json_array_size(ret_ids));
    return ERR_OK;
}

/* --- answers */

static json_t *accepted_json(struct app *app, const char *id)
{
    struct store_analysis a;
    json_t *json = json_object();
    int known = store_get_status(app->db, id, &a, NULL) == ERR_OK;
    json_object_set_new(json, "id", json_string(id));
    json_object_set_new(json, "status",
                        json_string(store_status_name(known ? a.status : STORE_QUEUED)));
    json_object_set_new(json, "links", present_links(id));
    return json;
}

static enum err_code reply_accepted(struct http_request *request, struct app *app, const char *id)
{
    _cleanup_free_ char *location = xasprintf("/api/v1/analyses/%s", id);
    http_reply_header(request, "Location", location);
    http_reply_json(request, 202, accepted_json(app, id));
    return ERR_OK;
}

/* After Prefer: wait: the whole analysis when it is final, else 202 as without. The id is the
 * context. */
static enum err_code waited(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_analysis a;
    const char *id = http_context(request);
    enum err_code rc = store_get(app->db, id, &a, err);
    if (rc != ERR_OK)
        return rc;
    if (a.status != STORE_DONE && a.status != STORE_FAILED)
        return reply_accepted(request, app, id);
    json_t *json = NULL;
    rc = present_whole(app, &a, &json, err);
    if (rc != ERR_OK)
        return rc;
    http_reply_header(request, "Preference-Applied", "wait");
    http_reply_json(request, 200, json);
    return ERR_OK;
}

enum err_code upload_one(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct batch b = {.app = app, .rejected = json_array()};
    json_t *ids = json_array();
    enum err_code rc = collect(request, &b, 0, err);
    if (rc == ERR_OK && b.count + json_array_size(b.rejected) > 1)
        rc = err_set(err, ERR_BAD_REQUEST,
                     "%zu files: this route takes one; POST /api/v1/uploads takes many",
                     b.count + json_array_size(b.rejected));
    if (rc == ERR_OK && b.count == 0)
        rc = err_set(err, ERR_EMPTY, "the file has no bytes");
    if (rc == ERR_OK)
        rc = take_in(request, &b, ids, err);
    if (rc == ERR_OK) {
        const char *id = json_string_value(json_array_get(ids, 0));
        if (http_prefer_wait(request) > 0) {
            http_set_context(request, xstrdup(id), free);
            rc = wait_for_analysis(app, request, id, waited, err);
            if (rc == ERR_BUSY) /* too many wait: it was accepted all the same */
                rc = reply_accepted(request, app, id);
        } else {
            rc = reply_accepted(request, app, id);
        }
    }
    json_decref(ids);
    batch_done(&b);
    return rc;
}

enum err_code upload_many(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct batch b = {.app = app, .rejected = json_array()};
    json_t *ids = json_array(), *analyses = json_array(), *json;
    enum err_code rc = collect(request, &b, 1, err);
    if (rc == ERR_OK && b.count > 0)
        rc = take_in(request, &b, ids, err);
    if (rc == ERR_OK) {
        for (size_t i = 0; i < json_array_size(ids); i++)
            json_array_append_new(analyses,
                                  accepted_json(app, json_string_value(json_array_get(ids, i))));
        json = json_object();
        json_object_set(json, "analyses", analyses);
        json_object_set(json, "rejected", b.rejected);
        http_reply_json(request, 202, json);
    }
    json_decref(ids);
    json_decref(analyses);
    batch_done(&b);
    return rc;
}

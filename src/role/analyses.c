/* What can be asked about analyses, and done with them. All but status_get run on a worker. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../base/time.h"
#include "roles.h"

#define LIST_DEFAULT 50
#define LIST_MAX     200
#define EXPORT_PAGE  1000

/* The analysis that the path names. */
static enum err_code path_analysis(struct http_request *request, struct app *app,
                                   struct store_analysis *ret, struct err *err)
{
    const char *id = http_path_param(request, "id");
    if (!id_valid(id))
        return err_set(err, ERR_NO_SUCH, "'%.60s' is no id of an analysis", id);
    return store_get(app->db, id, ret, err);
}

/* --- GET /status: the hot path, so its JSON is written by hand. Ids, slugs and verdicts need no
 * escaping; the error text does, and goes through jansson. */

static void append_number(char *buf, size_t size, size_t *at, int known, double value)
{
    int n = known ? snprintf(buf + *at, size - *at, "%.6g", value)
                  : snprintf(buf + *at, size - *at, "null");
    *at += (size_t)n;
}

/* On the loop where the database is near, else on a worker. */
static enum err_code status_look(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_analysis a;
    const char *id = http_query(request, "id"), *known = http_context(request);
    if (known) {
        http_reply_text(request, 200, "application/json", known);
        return ERR_OK;
    }
    enum err_code rc = store_get_status(app->db, id, &a, err);
    if (rc != ERR_OK)
        return rc;
    double progress = a.status == STORE_DONE      ? 1
                      : a.status == STORE_RUNNING ? inference_progress(id)
                                                  : -1;
    char buf[512];
    size_t at =
        (size_t)snprintf(buf, sizeof buf, "{\"id\":\"%s\",\"status\":\"%s\",\"progress\":", id,
                         store_status_name(a.status));
    append_number(buf, sizeof buf, &at, progress >= 0, progress);
    at += (size_t)snprintf(buf + at, sizeof buf - at, ",\"probability\":");
    append_number(buf, sizeof buf, &at, a.status == STORE_DONE && a.scored, a.p);
    at +=
        (size_t)snprintf(buf + at, sizeof buf - at, ",\"verdict\":%s%s%s", a.verdict[0] ? "\"" : "",
                         a.verdict[0] ? a.verdict : "null", a.verdict[0] ? "\"" : "");
    if (!a.error_code[0]) {
        snprintf(buf + at, sizeof buf - at, ",\"error\":null}");
        if (a.status == STORE_DONE)
            cached_put(app, CACHED_STATUS, id, buf);
        http_reply_text(request, 200, "application/json", buf);
        return ERR_OK;
    }
    json_t *json = present_analysis(&a, progress), *few = json_object();
    static const char *const keys[] = {"id",          "status",  "progress",
                                       "probability", "verdict", "error"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        json_object_set(few, keys[i], json_object_get(json, keys[i]));
    json_decref(json);
    http_reply_json(request, 200, few);
    return ERR_OK;
}

enum err_code status_get(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    const char *id = http_query(request, "id");
    if (!id || !id_valid(id))
        return err_set(err, id ? ERR_NO_SUCH : ERR_BAD_REQUEST,
                       id ? "'%.60s' is no id of an analysis" : "the query needs ?id=%s",
                       id ? id : "…");
    if (app->cached)
        polls_add(app->polls, request, id, status_look);
    else if (db_caps(app->db) & DB_CAP_LOCAL)
        return status_look(request, ctx, err);
    else
        http_resume(http_defer(request), status_look); /* on a worker */
    return ERR_OK;
}

/* --- one */

static enum err_code reply_whole(struct http_request *request, struct app *app,
                                 const struct store_analysis *a, struct err *err)
{
    json_t *json = NULL;
    enum err_code rc = present_whole(app, a, &json, err);
    if (rc == ERR_OK)
        http_reply_json(request, 200, json);
    return rc;
}

static enum err_code waited(struct http_request *request, void *ctx, struct err *err)
{
    struct store_analysis a;
    enum err_code rc = path_analysis(request, ctx, &a, err);
    if (rc != ERR_OK)
        return rc;
    if (a.status == STORE_DONE || a.status == STORE_FAILED)
        http_reply_header(request, "Preference-Applied", "wait");
    return reply_whole(request, ctx, &a, err);
}

enum err_code analyses_get(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_analysis a;
    enum err_code rc = path_analysis(request, app, &a, err);
    if (rc != ERR_OK)
        return rc;
    if (http_prefer_wait(request) > 0 && (a.status == STORE_QUEUED || a.status == STORE_RUNNING))
        return wait_for_analysis(app, request, a.id, waited, err);
    return reply_whole(request, app, &a, err);
}

enum err_code analyses_delete(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_analysis a;
    enum err_code rc = path_analysis(request, app, &a, err);
    if (rc == ERR_OK) {
        cached_forget(app, a.id);
        rc = store_delete(app->db, a.id, err);
    }
    if (rc != ERR_OK)
        return rc;
    cached_forget(app, a.id); /* what was read before the commit and kept after the first; when the
                                 cache does not answer, the event thread goes on trying */
    keeper_sweep(app);        /* the files go before the answer does */
    keeper_look(app);
    waiters_report(app->waiters, a.id);
    http_reply_empty(request, 204);
    return ERR_OK;
}

enum err_code analyses_rerun(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_analysis a;
    char id[ID_TEXT], parent[TRACE_PARENT_TEXT];
    enum err_code rc = path_analysis(request, app, &a, err);
    id_new(id);
    trace_format(http_trace(request), parent);
    if (rc == ERR_OK)
        rc = store_rerun(app->db, a.id, id, parent, err);
    if (rc == ERR_OK)
        rc = store_get(app->db, id, &a, err);
    if (rc != ERR_OK)
        return rc;
    _cleanup_free_ char *location = xasprintf("/api/v1/analyses/%s", id);
    http_reply_header(request, "Location", location);
    http_reply_json(request, 202, present_analysis(&a, -1));
    return ERR_OK;
}

enum err_code analyses_stability(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_analysis a;
    enum err_code rc = path_analysis(request, app, &a, err);
    if (rc == ERR_OK)
        rc = store_stability_ask(app->db, a.id, err);
    if (rc == ERR_OK)
        rc = store_get(app->db, a.id, &a, err);
    json_t *json = NULL;
    if (rc == ERR_OK)
        rc = present_whole(app, &a, &json, err);
    if (rc == ERR_OK)
        http_reply_json(request, 202, json);
    return rc;
}

/* --- its parts */

/* RFC 4180, and safe to open in a spreadsheet: a text that begins like a formula gets an
 * apostrophe. */
static void csv_text(FILE *out, const char *text)
{
    fputc('"', out);
    if (strchr("=+-@\t\r", *text) && *text)
        fputc('\'', out);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static enum err_code reply_csv(struct http_request *request, FILE *out, char **text, size_t *size,
                               const char *name, struct err *err)
{
    if (fclose(out) != 0) {
        free(*text);
        return err_set(err, ERR_NO_MEMORY, "no memory for the table");
    }
    _cleanup_free_ char *disposition = xasprintf("attachment; filename=\"%s\"", name);
    http_reply_header(request, "Content-Disposition", disposition);
    http_reply_mem(request, 200, "text/csv; charset=utf-8", *text, *size);
    return ERR_OK;
}

static enum err_code result_csv(struct http_request *request, const char *result, struct err *err)
{
    json_t *json = json_loads(result, 0, NULL), *row;
    char *text = NULL;
    size_t size = 0, i;
    FILE *out = open_memstream(&text, &size);
    if (!out || !json) {
        if (out)
            fclose(out);
        free(text);
        json_decref(json);
        return err_set(err, ERR_NO_MEMORY, "no memory for the table");
    }
    fputs("start_s,end_s,speech_s,llr,p_synthetic\r\n", out);
    json_array_foreach (json_object_get(json, "timeline"), i, row) {
        static const char *const keys[] = {"start_s", "end_s", "speech_s", "llr", "p_synthetic"};
        for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
            const json_t *value = json_object_get(row, keys[k]);
            fputs(k ? "," : "", out);
            if (json_is_number(value)) /* a window without speech has no score */
                fprintf(out, "%.6g", json_number_value(value));
        }
        fputs("\r\n", out);
    }
    json_decref(json);
    return reply_csv(request, out, &text, &size, "timeline.csv", err);
}

static enum err_code get_result(struct http_request *request, struct app *app, char **ret,
                                struct err *err)
{
    struct store_analysis a;
    const char *id = http_path_param(request, "id");
    if (id_valid(id) && (*ret = cached_get(app, CACHED_RESULT, id)))
        return ERR_OK;
    enum err_code rc = path_analysis(request, app, &a, err);
    if (rc == ERR_OK)
        rc = store_get_result(app->db, a.id, ret, err);
    if (rc == ERR_OK && *ret)
        cached_put(app, CACHED_RESULT, a.id, *ret);
    if (rc == ERR_OK && !*ret)
        return err_set(err, ERR_NO_SUCH,
                       a.status == STORE_FAILED ? "the analysis failed, there is no result"
                                                : "there is no result yet: the analysis is %s",
                       store_status_name(a.status));
    return rc;
}

enum err_code analyses_result(struct http_request *request, void *ctx, struct err *err)
{
    char *result = NULL;
    const char *format = http_query(request, "format");
    enum err_code rc = get_result(request, ctx, &result, err);
    if (rc != ERR_OK)
        return rc;
    if (format && strcmp(format, "csv") == 0) {
        rc = result_csv(request, result, err);
        free(result);
        return rc;
    }
    if (format && strcmp(format, "json") != 0) {
        free(result);
        return err_set(err, ERR_BAD_REQUEST, "format is json or csv");
    }
    http_reply_mem(request, 200, "application/json", result, strlen(result));
    return ERR_OK;
}

/* By the first bytes, never by the name; the browser is told not to guess (nosniff). */
static const char *audio_type(int fd)
{
    unsigned char h[16] = {0};
    if (pread(fd, h, sizeof h, 0) < 4)
        return "application/octet-stream";
    if (memcmp(h, "RIFF", 4) == 0 || memcmp(h, "RF64", 4) == 0)
        return "audio/wav";
    if (memcmp(h, "fLaC", 4) == 0)
        return "audio/flac";
    if (memcmp(h, "OggS", 4) == 0)
        return "audio/ogg";
    if (memcmp(h, "ID3", 3) == 0 || (h[0] == 0xff && (h[1] & 0xe6) == 0xe2))
        return "audio/mpeg";
    if (h[0] == 0xff && (h[1] & 0xf6) == 0xf0)
        return "audio/aac";
    if (memcmp(h + 4, "ftyp", 4) == 0)
        return "audio/mp4";
    if (memcmp(h, "\x1a\x45\xdf\xa3", 4) == 0)
        return "audio/webm";
    if (memcmp(h, "FORM", 4) == 0)
        return "audio/aiff";
    if (memcmp(h, "#!AMR", 5) == 0)
        return "audio/amr";
    return "application/octet-stream";
}

enum err_code analyses_audio(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_analysis a;
    char key[STORE_KEY_MAX];
    uint64_t size = 0;
    int fd = -1;
    enum err_code rc = path_analysis(request, app, &a, err);
    if (rc == ERR_OK && !a.audio_kept)
        rc = err_set(err, ERR_GONE, "the recording is no longer kept");
    if (rc != ERR_OK)
        return rc;
    store_blob_key(a.upload_id, key);
    rc = blob_open(app->blob, BLOB_RAW, key, &fd, &size, err);
    if (rc != ERR_OK)
        return rc;
    char etag[SHA256_HEX + 2];
    snprintf(etag, sizeof etag, "\"%s\"", a.sha256);
    http_reply_header(request, "Cache-Control", "private, no-cache");
    http_reply_file(request, audio_type(fd), fd, size, etag, a.file_name,
                    http_query(request, "download") != NULL);
    return ERR_OK;
}

enum err_code analyses_picture(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_analysis a;
    char *data = NULL;
    size_t size = 0;
    enum err_code rc = path_analysis(request, app, &a, err);
    if (rc == ERR_OK)
        rc = blobs_get_picture(app, &a, &data, &size, err);
    if (rc == ERR_OK)
        http_reply_mem(request, 200, "application/json", data, size);
    return rc;
}

/* --- many */

static int list_row(void *ctx, const struct store_analysis *a)
{
    json_array_append_new(ctx, present_analysis(a, inference_progress(a->id)));
    return 0;
}

static int csv_row(void *ctx, const struct store_analysis *a)
{
    FILE *out = ctx;
    char created[TIME_TEXT], finished[TIME_TEXT] = "";
    time_format(a->created_ms, created);
    if (a->finished_ms > 0)
        time_format(a->finished_ms, finished);
    fprintf(out, "%s,", a->id);
    csv_text(out, a->file_name);
    fprintf(out, ",%llu,%s,%s,%s,%s,%s,", (unsigned long long)a->bytes, a->sha256, created,
            finished, store_status_name(a->status), a->verdict);
    if (a->status == STORE_DONE && a->scored)
        fprintf(out, "%.6g,%.6g", a->p, a->llr);
    else
        fputc(',', out);
    if (a->status == STORE_DONE)
        fprintf(out, ",%.3f,%.3f", a->duration_s, a->speech_s);
    else
        fputs(",,", out);
    fprintf(out, ",%s,%s,%s\r\n", a->model_name, a->reused_from, a->error_code);
    return ferror(out);
}

/* The whole selection, page by page, into an unnamed spool file: of any length in little memory. */
static enum err_code export_csv(struct http_request *request, struct app *app,
                                struct store_filter *filter, struct err *err)
{
    int fd = open(app->spool, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!out) {
        if (fd >= 0)
            close(fd);
        return err_set_errno(err, ERR_IO, errno, "cannot make a temporary file");
    }
    fputs("id,file,bytes,sha256,created_at,finished_at,status,verdict,probability,llr,duration_s,"
          "speech_s,"
          "model,reused_from,error\r\n",
          out);
    char *cursor = NULL;
    enum err_code rc;
    filter->limit = EXPORT_PAGE;
    do {
        char *next = NULL;
        rc = store_list(app->db, filter, csv_row, out, &next, err);
        free(cursor);
        filter->cursor = cursor = next;
    } while (rc == ERR_OK && cursor);
    free(cursor);
    off_t size = rc == ERR_OK && fflush(out) == 0 ? lseek(fd, 0, SEEK_END) : -1;
    int reply = size >= 0 ? dup(fd) : -1;
    fclose(out);
    if (rc == ERR_OK && reply < 0)
        rc = err_set_errno(err, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, errno,
                           "cannot write the table");
    if (rc == ERR_OK)
        http_reply_file(request, "text/csv; charset=utf-8", reply, (uint64_t)size, NULL,
                        "analyses.csv", 1);
    return rc;
}

static enum err_code query_time(struct http_request *request, const char *name, int64_t *ret,
                                struct err *err)
{
    const char *text = http_query(request, name);
    if (text && *text && time_parse(text, ret) != 0)
        return err_set(err, ERR_BAD_REQUEST,
                       "%s is a date or time as in RFC 3339, such as "
                       "2026-11-21 or 2026-11-21T10:00:00Z",
                       name);
    return ERR_OK;
}

static const char *query_text(struct http_request *request, const char *name)
{
    const char *text = http_query(request, name);
    return text && *text ? text : NULL;
}

static enum err_code read_filter(struct http_request *request, struct store_filter *f,
                                 struct err *err)
{
    static const char *const verdicts[] = {"human", "synthetic", "inconclusive"};
    *f = (struct store_filter){
        .status = query_text(request, "status"),
        .verdict = query_text(request, "verdict"),
        .text = query_text(request, "q"),
        .cursor = query_text(request, "cursor"),
        .limit = LIST_DEFAULT,
    };
    enum store_status status;
    if (f->status && store_status_parse(f->status, &status) != 0)
        return err_set(err, ERR_BAD_REQUEST, "status is queued, running, done or failed");
    int known = !f->verdict;
    for (size_t i = 0; !known && i < ARRAY_LEN(verdicts); i++)
        known = strcmp(f->verdict, verdicts[i]) == 0;
    if (!known)
        return err_set(err, ERR_BAD_REQUEST, "verdict is human, synthetic or inconclusive");
    const char *limit = query_text(request, "limit");
    if (limit) {
        char *end;
        long n = strtol(limit, &end, 10);
        if (*limit < '0' || *limit > '9' || *end || n < 1 || n > LIST_MAX)
            return err_set(err, ERR_BAD_REQUEST, "limit is a number from 1 to %d", LIST_MAX);
        f->limit = (int)n;
    }
    enum err_code rc = query_time(request, "since", &f->since_ms, err);
    return rc == ERR_OK ? query_time(request, "until", &f->until_ms, err) : rc;
}

enum err_code analyses_list(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_filter filter;
    const char *format = query_text(request, "format");
    enum err_code rc = read_filter(request, &filter, err);
    if (rc == ERR_OK && format && strcmp(format, "csv") == 0)
        return export_csv(request, app, &filter, err);
    if (rc == ERR_OK && format && strcmp(format, "json") != 0)
        rc = err_set(err, ERR_BAD_REQUEST, "format is json or csv");
    if (rc != ERR_OK)
        return rc;
    _cleanup_free_ char *next = NULL;
    json_t *items = json_array();
    rc = store_list(app->db, &filter, list_row, items, &next, err);
    if (rc != ERR_OK) {
        json_decref(items);
        return rc;
    }
    json_t *json = json_object();
    json_object_set_new(json, "items", items);
    json_object_set_new(json, "next", next ? json_string(next) : json_null());
    http_reply_json(request, 200, json);
    return ERR_OK;
}

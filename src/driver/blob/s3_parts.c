/* Large files: uploads in parts (multipart).
 *
 * A part is put again by itself when it fails, so a break costs one part. The object appears when
 * the upload is completed, whole; an upload that fails for good is aborted, so that its parts cost
 * nothing. A process that dies leaves its upload behind, unseen by any listing of keys: each
 * opening of the store ends those that began over a day ago, far longer than one may take. Where a
 * bucket has rules of its own, AbortIncompleteMultipartUpload does the same.
 *
 * Completing may be answered with 200 and an error behind it, because the server sends its head
 * before it is done. And it may succeed unseen: then the second try hears that there is no such
 * upload, which is told as a failure; the whole put is then asked for again by whoever wanted it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "s3.h"
#include "s3_xml.h"

#define MIB             (1024 * 1024)
#define ABANDONED_MS    (24 * 3600 * (int64_t)1000)
#define SWEEP_MAX       100 /* at one opening; the rest at the next */
#define COMPLETE_FACTOR 5   /* putting many parts together takes a server longer than other calls */

struct upload {
    struct s3 *s3;
    enum blob_bucket bucket;
    const char *key;
    char id[S3_UPLOAD_MAX];
    char (*etags)[S3_ETAG_MAX];
    size_t n_parts;
};

static int note_id(void *ctx, const char *path, const char *text)
{
    struct upload *up = ctx;
    if (text && strcmp(path, "InitiateMultipartUploadResult/UploadId") == 0 &&
        strlen(text) < sizeof up->id)
        snprintf(up->id, sizeof up->id, "%s", text);
    return 0;
}

static enum err_code begin(struct upload *up, struct err *err)
{
    struct s3_call call = {.method = "POST",
                           .bucket = up->bucket,
                           .key = up->key,
                           .query = {{"uploads", ""}},
                           .n_query = 1};
    enum err_code rc = s3_call(up->s3, &call, err);
    if (rc == ERR_OK)
        rc = s3_xml_read(call.answer ? call.answer : "", call.answer_len, note_id, up, err);
    if (rc == ERR_OK && !up->id[0])
        rc = err_set(err, ERR_UNAVAILABLE, "%s gives no id for an upload in parts", up->s3->host);
    s3_call_done(&call);
    return rc;
}

static void abort_upload(struct s3 *s3, enum blob_bucket bucket, const char *key, const char *id)
{
    struct s3_call call = {.method = "DELETE",
                           .bucket = bucket,
                           .key = key,
                           .query = {{"uploadId", id}},
                           .n_query = 1,
                           .tries = 2};
    (void)!s3_call(s3, &call, NULL); /* if not now, then by the sweep */
    s3_call_done(&call);
}

static enum err_code put_part(struct upload *up, size_t number, int fd, uint64_t offset,
                              uint64_t size, struct err *err)
{
    char text[24];
    struct s3_source source = {.fd = fd, .offset = offset, .size = size};
    struct s3_call call = {.method = "PUT",
                           .bucket = up->bucket,
                           .key = up->key,
                           .query = {{"partNumber", text}, {"uploadId", up->id}},
                           .n_query = 2,
                           .source = &source};
    snprintf(text, sizeof text, "%zu", number);
    enum err_code rc = s3_call(up->s3, &call, err);
    if (rc == ERR_OK && (!call.etag[0] || strpbrk(call.etag, "<>&")))
        rc = err_set(err, ERR_UNAVAILABLE, "%s gives no ETag for a part", up->s3->host);
    snprintf(up->etags[number - 1], S3_ETAG_MAX, "%s", call.etag);
    s3_call_done(&call);
    return rc;
}

static enum err_code put_all(struct upload *up, int fd, uint64_t size, uint64_t part_size,
                             struct err *err)
{
    for (uint64_t at = 0; at < size; at += part_size) {
        uint64_t n = size - at < part_size ? size - at : part_size;
        enum err_code rc = put_part(up, ++up->n_parts, fd, at, n, err);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

static char *list_of_parts(const struct upload *up)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fputs("<CompleteMultipartUpload>", out);
    for (size_t i = 0; i < up->n_parts; i++)
        fprintf(out, "<Part><PartNumber>%zu</PartNumber><ETag>%s</ETag></Part>", i + 1,
                up->etags[i]);
    fputs("</CompleteMultipartUpload>", out);
    int bad = ferror(out);
    if (fclose(out) != 0 || bad)
        free(STEAL(text));
    return text;
}

static enum err_code complete(struct upload *up, struct err *err)
{
    _cleanup_free_ char *text = list_of_parts(up);
    if (!text)
        return err_set(err, ERR_NO_MEMORY, "no memory for a list of parts");
    struct s3_source source = {.data = text, .size = strlen(text)};
    struct s3_call call = {.method = "POST",
                           .bucket = up->bucket,
                           .key = up->key,
                           .query = {{"uploadId", up->id}},
                           .n_query = 1,
                           .source = &source,
                           .late_error = 1,
                           .seconds = COMPLETE_FACTOR * up->s3->timing.call_seconds};
    enum err_code rc = s3_call(up->s3, &call, err);
    s3_call_done(&call);
    return rc;
}

enum err_code s3_put_parts(struct s3 *s3, enum blob_bucket bucket, const char *key, int fd,
                           uint64_t size, struct err *err)
{
    uint64_t part_size = s3->part_size;
    if (size / part_size >= S3_PARTS_MAX)
        part_size = (size / S3_PARTS_MAX / MIB + 1) * MIB;
    struct upload *up = xalloc(sizeof *up);
    *up = (struct upload){.s3 = s3, .bucket = bucket, .key = key};
    up->etags = xalloc((size_t)(size / part_size + 1) * sizeof *up->etags);
    enum err_code rc = begin(up, err);
    if (rc == ERR_OK) {
        rc = put_all(up, fd, size, part_size, err);
        if (rc == ERR_OK)
            rc = complete(up, err);
        if (rc != ERR_OK)
            abort_upload(s3, bucket, key, up->id);
    }
    free(up->etags);
    free(up);
    return rc;
}

/* --- what others left ----------------------------------------------------------------------- */

struct left {
    char *key, *id;
    int64_t begun_ms;
};

struct lefts {
    struct left list[SWEEP_MAX + 1]; /* the last is the one in the making */
    size_t count;
};

static int note_left(void *ctx, const char *path, const char *text)
{
    struct lefts *lefts = ctx;
    struct left *left = &lefts->list[lefts->count];
    if (strcmp(path, "ListMultipartUploadsResult/Upload") == 0) {
        int ours = left->key && left->id && blob_key_valid(left->key) && left->begun_ms > 0 &&
                   left->begun_ms < time_now_ms() - ABANDONED_MS;
        if (ours && lefts->count < SWEEP_MAX) {
            lefts->count++;
        } else {
            free(left->key);
            free(left->id);
            *left = (struct left){0};
        }
    } else if (text && strcmp(path, "ListMultipartUploadsResult/Upload/Key") == 0) {
        free(left->key);
        left->key = xstrdup(text);
    } else if (text && strcmp(path, "ListMultipartUploadsResult/Upload/UploadId") == 0) {
        free(left->id);
        left->id = xstrdup(text);
    } else if (text && strcmp(path, "ListMultipartUploadsResult/Upload/Initiated") == 0 &&
               time_parse(text, &left->begun_ms) < 0) {
        left->begun_ms = 0;
    }
    return 0;
}

void s3_sweep_parts(struct s3 *s3, enum blob_bucket bucket)
{
    struct lefts *lefts = xalloc(sizeof *lefts);
    struct s3_call call = {.method = "GET",
                           .bucket = bucket,
                           .query = {{"uploads", ""}},
                           .n_query = 1,
                           .answer_max = S3_PAGE_MAX,
                           .tries = 1};
    /* A key that may not list uploads, or a server that cannot, is no reason not to open. */
    if (s3_call(s3, &call, NULL) == ERR_OK && call.answer &&
        s3_xml_read(call.answer, call.answer_len, note_left, lefts, NULL) == ERR_OK)
        for (size_t i = 0; i < lefts->count; i++)
            abort_upload(s3, bucket, lefts->list[i].key, lefts->list[i].id);
    for (size_t i = 0; i <= SWEEP_MAX; i++) {
        free(lefts->list[i].key);
        free(lefts->list[i].id);
    }
    s3_call_done(&call);
    free(lefts);
}

/* What a refusal of an S3 server means: whether it is worth another try, which code it is here, and
 * one line with cause and cure. Servers differ in their texts, so the table goes by their codes,
 * and by the status where an answer has no body (HEAD) or one of a proxy.
 *
 * What stands in an answer is from outside: only printable ASCII of it is told, and never a header
 * or a body that could hold a signature. A mistake in a setting is an error of its own kind while
 * the store is opened; later it is an outage like any other (somebody changed the server), so that
 * work waits for it and is not given up. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "../../base/mem.h"
#include "s3.h"
#include "s3_xml.h"

enum fault {
    FAULT_NONE,
    FAULT_OTHER,
    FAULT_AGAIN,
    FAULT_NO_KEY,
    FAULT_NO_BUCKET,
    FAULT_SECRET,
    FAULT_KEY_ID,
    FAULT_DENIED,
    FAULT_SPACE,
    FAULT_REGION,
    FAULT_CHANGED,
    FAULT_TOO_LARGE,
    FAULT_UNSUPPORTED,
};

static const struct {
    const char *code;
    enum fault fault;
} by_code[] = {
    {"NoSuchKey", FAULT_NO_KEY},
    {"NoSuchBucket", FAULT_NO_BUCKET},
    {"SignatureDoesNotMatch", FAULT_SECRET},
    {"InvalidAccessKeyId", FAULT_KEY_ID},
    {"AccessDenied", FAULT_DENIED},
    {"AllAccessDisabled", FAULT_DENIED},
    {"AccountProblem", FAULT_DENIED},
    {"SlowDown", FAULT_AGAIN},
    {"SlowDownRead", FAULT_AGAIN},
    {"SlowDownWrite", FAULT_AGAIN},
    {"RequestTimeout", FAULT_AGAIN},
    {"InternalError", FAULT_AGAIN},
    {"ServiceUnavailable", FAULT_AGAIN},
    {"OperationAborted", FAULT_AGAIN},
    {"BadDigest", FAULT_AGAIN}, /* the body was damaged on its way */
    {"IncompleteBody", FAULT_AGAIN},
    {"XAmzContentSHA256Mismatch", FAULT_AGAIN},
    {"QuotaExceeded", FAULT_SPACE},
    {"ServiceQuotaExceeded", FAULT_SPACE},
    {"InsufficientCapacity", FAULT_SPACE},
    {"InsufficientStorage", FAULT_SPACE},
    {"XMinioStorageFull", FAULT_SPACE},
    {"XMinioAdminBucketQuotaExceeded", FAULT_SPACE},
    {"AuthorizationHeaderMalformed", FAULT_REGION},
    {"PermanentRedirect", FAULT_REGION},
    {"TemporaryRedirect", FAULT_REGION},
    {"PreconditionFailed", FAULT_CHANGED},
    {"InvalidRange", FAULT_CHANGED},
    {"EntityTooLarge", FAULT_TOO_LARGE},
    {"NotImplemented", FAULT_UNSUPPORTED},
};

static enum fault by_status(const struct s3_call *call)
{
    switch (call->status) {
    case 301:
    case 307:
    case 308:
        return FAULT_REGION;
    case 401:
    case 403:
        return FAULT_DENIED;
    case 404:
        return call->key && call->n_query == 0 ? FAULT_NO_KEY
               : call->key                     ? FAULT_OTHER
                                               : FAULT_NO_BUCKET;
    case 412:
    case 416:
        return FAULT_CHANGED;
    case 413:
        return FAULT_TOO_LARGE;
    case 408:
    case 429:
        return FAULT_AGAIN;
    case 501:
        return FAULT_UNSUPPORTED;
    case 507:
        return FAULT_SPACE;
    default:
        return call->status >= 500 ? FAULT_AGAIN : FAULT_OTHER;
    }
}

/* --- the body of a refusal ------------------------------------------------------------------ */

static void keep(char *to, size_t size, const char *text)
{
    size_t n = 0;
    for (; *text && n + 1 < size; text++)
        if (*text >= ' ' && *text < 0x7f)
            to[n++] = *text;
    to[n] = '\0';
}

static int note_error(void *ctx, const char *path, const char *text)
{
    struct s3_call *call = ctx;
    if (!text)
        return 0;
    if (strcmp(path, "Error/Code") == 0)
        keep(call->code, sizeof call->code, text);
    else if (strcmp(path, "Error/Message") == 0)
        keep(call->message, sizeof call->message, text);
    else if (strcmp(path, "Error/Region") == 0)
        keep(call->region, sizeof call->region, text);
    return 0;
}

static enum fault fault_of(struct s3_call *call)
{
    enum err_code read = ERR_OK;
    if (call->answer)
        read = s3_xml_read(call->answer, call->answer_len, note_error, call, NULL);
    if (call->late_error && call->status <= 299 &&
        !call->code[0]) /* an answer that broke off may have had one */
        return read == ERR_OK && call->answer ? FAULT_NONE : FAULT_AGAIN;
    if (read != ERR_OK)
        call->code[0] = call->message[0] = '\0'; /* not of S3: a proxy's page */
    for (size_t i = 0; call->code[0] && i < ARRAY_LEN(by_code); i++)
        if (strcmp(call->code, by_code[i].code) == 0)
            return by_code[i].fault;
    return by_status(call);
}

/* --- what is said --------------------------------------------------------------------------- */

static int writes(const struct s3_call *call)
{
    return strcmp(call->method, "GET") != 0 && strcmp(call->method, "HEAD") != 0;
}

static enum err_code say_denied(const struct s3 *s3, const struct s3_call *call, const char *bucket,
                                struct err *err)
{
    enum err_code code = s3->opening    ? ERR_PERMISSION
                         : writes(call) ? ERR_READ_ONLY
                                        : ERR_UNAVAILABLE;
    return err_set(
        err, code, "%s denies %s in bucket %s to key %.40s (%ld): give the key that right",
        s3->host, writes(call) ? "writing" : "reading", bucket, s3->keys.id, call->status);
}

static enum err_code say(const struct s3 *s3, const struct s3_call *call, enum fault fault,
                         struct err *err)
{
    char bucket[S3_NAME_MAX];
    enum err_code setting = s3->opening ? ERR_PERMISSION : ERR_UNAVAILABLE;
    s3_bucket_name(s3, call->bucket, bucket);
    switch (fault) {
    case FAULT_NO_KEY:
        return err_set(err, ERR_NO_SUCH, "nothing is stored there");
    case FAULT_NO_BUCKET:
        return err_set(err, s3->opening ? ERR_NO_SUCH : ERR_UNAVAILABLE,
                       "%s has no bucket %s: make it, or let sonde do it "
                       "(SONDE_BLOB_MAKE_BUCKETS=1)",
                       s3->host, bucket);
    case FAULT_SECRET:
        return err_set(
            err, setting,
            "%s refuses the signature: SONDE_BLOB_SECRET is not that of key %.40s, there "
            "is no such key, or region %.40s is wrong",
            s3->host, s3->keys.id, s3->keys.region);
    case FAULT_KEY_ID:
        return err_set(err, setting, "%s does not know key %.60s: check SONDE_BLOB_KEY_ID",
                       s3->host, s3->keys.id);
    case FAULT_DENIED:
        return say_denied(s3, call, bucket, err);
    case FAULT_SPACE:
        return err_set(err, ERR_NO_SPACE,
                       "%s has no room left (%ld %s): free some, or raise quotas", s3->host,
                       call->status, call->code);
    case FAULT_REGION:
        return err_set(err, s3->opening ? ERR_USAGE : ERR_UNAVAILABLE,
                       "%s: bucket %s is not to be had in region %.40s; set SONDE_BLOB_REGION%s%s",
                       s3->host, bucket, s3->keys.region, call->region[0] ? " to " : "",
                       call->region);
    case FAULT_TOO_LARGE:
        return err_set(err, ERR_LIMIT,
                       "%s does not take so large an object: lower "
                       "SONDE_BLOB_PART_SIZE, or raise its limit",
                       s3->host);
    case FAULT_UNSUPPORTED:
        return err_set(err, ERR_UNSUPPORTED, "%s cannot do that (%ld %s)", s3->host, call->status,
                       call->code);
    default:
        return err_set(err, ERR_UNAVAILABLE, "%s answers %ld %s%s%.100s", s3->host, call->status,
                       call->code, call->message[0] ? ": " : "", call->message);
    }
}

enum s3_outcome s3_fault_judge(const struct s3 *s3, struct s3_call *call, struct err *err)
{
    enum fault fault = fault_of(call);
    if (fault == FAULT_NONE)
        return S3_FINE;
    say(s3, call, fault, err);
    if (fault == FAULT_CHANGED && call->to_file) {
        call->received = 0; /* another object stands there now: from its start */
        return S3_AGAIN;
    }
    return fault == FAULT_AGAIN ? S3_AGAIN : S3_FAILED;
}

enum s3_outcome s3_fault_transfer(const struct s3 *s3, const struct s3_call *call, int curl_code,
                                  const char *text, struct err *err)
{
    (void)call;
    switch (curl_code) {
    case CURLE_PEER_FAILED_VERIFICATION:
        err_set(err, ERR_UNAVAILABLE,
                "%s: %.120s; SONDE_BLOB_CA_FILE must hold who signed its certificate", s3->host,
                text);
        return S3_FAILED;
    case CURLE_SSL_CACERT_BADFILE:
        err_set(err, ERR_USAGE, "%.120s holds no certificates (SONDE_BLOB_CA_FILE)",
                s3->ca_file ? s3->ca_file : "the system's file of certificates");
        return S3_FAILED;
    case CURLE_SSL_CONNECT_ERROR:
        err_set(err, ERR_UNAVAILABLE,
                "%s: no TLS (%.100s); is it an S3 server? For clear HTTP use s3+http://", s3->host,
                text);
        return S3_AGAIN;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        err_set(err, ERR_UNAVAILABLE, "%s speaks no HTTP%s", s3->host,
                s3->tls ? "" : "; if it speaks TLS, use s3://");
        return S3_AGAIN;
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
        err_set(err, ERR_UNAVAILABLE, "%s: %.120s%s", s3->host, text,
                !s3->opening ? ""
                : s3->tls    ? "; is it an S3 server?"
                             : "; is it an S3 server? If it speaks TLS, use s3://");
        return S3_AGAIN;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        err_set(err, ERR_UNAVAILABLE,
                "%s cannot be reached (%.100s): is it up, is SONDE_BLOB_URL "
                "right?",
                s3->host, text);
        return S3_AGAIN;
    case CURLE_OPERATION_TIMEDOUT:
        err_set(err, ERR_UNAVAILABLE, "%s is too slow: %.120s", s3->host, text);
        return S3_AGAIN;
    case CURLE_OUT_OF_MEMORY: /* also libcurl's word for a header line that has no end */
        err_set(err, ERR_UNAVAILABLE, "%s sends too much, or there is no memory", s3->host);
        return S3_AGAIN;
    default:
        err_set(err, ERR_UNAVAILABLE, "%s: %.150s", s3->host, text);
        return S3_AGAIN;
    }
}

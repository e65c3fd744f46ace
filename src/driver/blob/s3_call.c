/* One call to an S3 server: tried again while that may help.
 *
 * Every call of this driver may be repeated without harm: a put stores the same bytes again, a part
 * replaces itself, a delete finds nothing. So a broken connection, a 5xx and SlowDown are waited
 * out, at random up to a bound that doubles (full jitter: what failed together does not come back
 * together). A download that broke goes on where it broke; as long as it gets on, its tries do not
 * count. All tries share one deadline.
 *
 * A server refuses requests whose date is too far from its own clock, often with a bare 403. Its
 * answer has its date: then the offset is learnt, for all later calls too. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../base/id.h"
#include "../../base/log.h"
#include "../../base/mem.h"
#include "../../base/time.h"
#include "../../os/clock.h"
#include "s3.h"

#define TRIES     6
#define HASH_STEP (256 * 1024)

void s3_bucket_name(const struct s3 *s3, enum blob_bucket bucket, char ret[S3_NAME_MAX])
{
    snprintf(ret, S3_NAME_MAX, "%s%s", s3->prefix, blob_bucket_name(bucket));
}

static enum err_code hash_part(const struct s3_source *source, struct sha256 *hash, struct err *err)
{
    _cleanup_free_ char *block = try_alloc(HASH_STEP, 1);
    if (!block)
        return err_set(err, ERR_NO_MEMORY, "no memory for SHA-256");
    for (uint64_t done = 0; done < source->size;) {
        uint64_t left = source->size - done;
        ssize_t n = pread(source->fd, block, left < HASH_STEP ? (size_t)left : HASH_STEP,
                          (off_t)(source->offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read what is to be stored");
        if (n == 0)
            return err_set(err, ERR_IO, "the file became shorter while it was stored");
        enum err_code rc = sha256_more(hash, block, (size_t)n, err);
        if (rc != ERR_OK)
            return rc;
        done += (uint64_t)n;
    }
    return ERR_OK;
}

/* Over TLS the connection vouches for the body; else the signature does, by its hash. */
static enum err_code hash_source(const struct s3 *s3, struct s3_source *source, struct err *err)
{
    struct sha256 *hash = NULL;
    if (!source || s3->tls || source->sha256[0])
        return ERR_OK;
    if (source->data)
        return sha256_mem(source->data, (size_t)source->size, source->sha256, err);
    enum err_code rc = sha256_begin(&hash, err);
    if (rc != ERR_OK)
        return rc;
    rc = hash_part(source, hash, err);
    enum err_code ended =
        sha256_end(hash, rc == ERR_OK ? source->sha256 : NULL, rc == ERR_OK ? err : NULL);
    return rc == ERR_OK ? ended : rc;
}

/* --- clocks --------------------------------------------------------------------------------- */

static int64_t apart(const struct s3_call *call)
{
    return call->server_ms ? call->server_ms - call->signed_ms : 0;
}

/* 1 when the last try was refused because of its date, as the code or a bare 403 tell. */
static int refused_for_date(const struct s3_call *call)
{
    int64_t off = apart(call);
    if (strcmp(call->code, "RequestTimeTooSkewed") == 0)
        return 1;
    return call->status == 403 && (off > S3_SKEW_MS || off < -S3_SKEW_MS);
}

static void learn_offset(struct s3 *s3, const struct s3_call *call)
{
    int64_t skew = call->server_ms - time_now_ms();
    atomic_store(&s3->skew_ms, skew);
    log_event(LOG_LEVEL_WARN,
              "the clocks of this machine and of the S3 server disagree; its time is used for "
              "signatures, set the clocks (NTP)",
              LOG_T("server.address", s3->host), LOG_R("labels.minutes", (double)skew / 60000));
}

static enum err_code say_apart(const struct s3 *s3, const struct s3_call *call, struct err *err)
{
    int64_t now = time_now_ms();
    double minutes = call->server_ms ? (double)(call->server_ms - now) / 60000 : 0;
    return err_set(err, s3->opening ? ERR_PERMISSION : ERR_UNAVAILABLE,
                   "%s refuses the date of requests: its clock is %.0f minutes %s this machine's; "
                   "set both (NTP)",
                   s3->host, minutes < 0 ? -minutes : minutes, minutes < 0 ? "behind" : "ahead of");
}

/* --- tries ---------------------------------------------------------------------------------- */

/* Waits before try `n`; 0 when the deadline does not leave the time. */
static int wait_for_next(const struct s3 *s3, const struct s3_call *call, int n)
{
    uint32_t random;
    double longest = s3->timing.backoff_s;
    for (int i = 1; i < n && longest < s3->timing.backoff_max_s; i++)
        longest *= 2;
    if (longest > s3->timing.backoff_max_s)
        longest = s3->timing.backoff_max_s;
    random_bytes(&random, sizeof random);
    double wait = longest * ((double)random / UINT32_MAX);
    if (call->retry_after > wait)
        wait = call->retry_after < s3->timing.backoff_max_s ? call->retry_after
                                                            : s3->timing.backoff_max_s;
    if (clock_seconds() + wait >= s3_call_deadline(s3, call))
        return 0;
    struct timespec left = {.tv_sec = (time_t)wait,
                            .tv_nsec = (long)((wait - (double)(time_t)wait) * 1e9)};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
    return 1;
}

static void forget_answer(struct s3_call *call)
{
    free(STEAL(call->answer));
    call->answer_len = 0;
    call->status = 0;
    call->code[0] = call->message[0] = call->region[0] = '\0';
    call->server_ms = 0;
    call->retry_after = 0;
}

static enum err_code try_on(struct s3 *s3, struct s3_call *call, struct err *err)
{
    int most = call->tries ? call->tries : TRIES, learnt = 0;
    for (int n = 1;; n++) {
        uint64_t before = call->received;
        forget_answer(call);
        enum s3_outcome outcome = s3_http_try(s3, call, err);
        if (outcome == S3_FINE)
            return ERR_OK;
        if (refused_for_date(call)) {
            if (learnt || !call->server_ms)
                return say_apart(s3, call, err);
            learn_offset(s3, call);
            learnt = 1;
            continue;
        }
        if (outcome == S3_FAILED)
            return err->code;
        if (call->received > before)
            n = 1;
        if (n >= most || !wait_for_next(s3, call, n))
            return err->code;
    }
}

double s3_call_deadline(const struct s3 *s3, const struct s3_call *call)
{
    double more = call->to_file ? (double)call->size / s3->timing.bytes_a_second : 0;
    return call->deadline + more;
}

enum err_code s3_call(struct s3 *s3, struct s3_call *call, struct err *err)
{
    struct err local = {0};
    err = err ? err : &local;
    double seconds = call->seconds > 0 ? call->seconds : s3->timing.call_seconds;
    enum err_code rc = hash_source(s3, call->source, err);
    if (rc != ERR_OK)
        return rc;
    if (call->source)
        seconds += (double)call->source->size / s3->timing.bytes_a_second;
    call->deadline = clock_seconds() + seconds;
    return try_on(s3, call, err);
}

void s3_call_done(struct s3_call *call)
{
    free(STEAL(call->answer));
}

/* One try of a call: a signed HTTP/1.1 exchange over libcurl.
 *
 * Handles are kept, because a handle keeps its connection: the last one given back is taken first,
 * so that few connections stay warm. At most S3_HANDLES_MAX are in use; who comes later waits, no
 * longer than its deadline. A handle belongs to one thread from taking to giving back; nothing is
 * asked while `each` of a listing runs, so a call within a call finds a handle of its own.
 *
 * An answer is from anybody: its headers, what is kept of it, and its time are bounded. An object
 * is written to its file as it comes, from the byte on that is missing; what does not fit the place
 * or the length that the headers name ends the try. libcurl raises no signals here (NOSIGNAL), and
 * SIGPIPE, which OpenSSL may, is ignored by the program. */
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "../../os/clock.h"
#include "../../os/disk.h"
#include "s3.h"

#define BUFFER_BYTES (256 * 1024L)
#define EXPECT_BYTES (1 << 20)

/* A try under way. */
struct trial {
    struct s3 *s3;
    struct s3_call *call;
    CURL *curl;
    uint64_t sent, from; /* of the source; where the file is gone on with */
    size_t headers;      /* bytes of them */
    int ranged;          /* 206 came */
    enum err_code wrong; /* what the callbacks found, said in err; ends the exchange */
    struct err *err;
};

/* --- handles -------------------------------------------------------------------------------- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode started = CURLE_FAILED_INIT;

static void start_curl(void)
{
    started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum err_code s3_http_start(struct s3 *s3, struct err *err)
{
    pthread_condattr_t monotonic;
    pthread_once(&once, start_curl);
    if (started != CURLE_OK)
        return err_set(err, ERR_INTERNAL, "libcurl could not start");
    pthread_mutex_init(&s3->pool.lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s3->pool.returned, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return ERR_OK;
}

void s3_http_stop(struct s3 *s3)
{
    while (s3->pool.n_idle > 0)
        curl_easy_cleanup(s3->pool.idle[--s3->pool.n_idle]);
    pthread_cond_destroy(&s3->pool.returned);
    pthread_mutex_destroy(&s3->pool.lock);
}

/* A handle for this thread; NULL when none became free in time. */
static CURL *take_handle(struct s3_pool *pool, double deadline)
{
    CURL *curl = NULL;
    int late = 0;
    double left = deadline - clock_seconds();
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += left > 0 ? (time_t)left + 1 : 0;
    pthread_mutex_lock(&pool->lock);
    while (pool->n_used == S3_HANDLES_MAX && !late)
        late = pthread_cond_timedwait(&pool->returned, &pool->lock, &until) == ETIMEDOUT;
    int free_one = pool->n_used < S3_HANDLES_MAX;
    if (free_one) {
        pool->n_used++;
        curl = pool->n_idle > 0 ? pool->idle[--pool->n_idle] : NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    if (curl || !free_one)
        return curl;
    curl = curl_easy_init();
    if (!curl) {
        pthread_mutex_lock(&pool->lock);
        pool->n_used--;
        pthread_mutex_unlock(&pool->lock);
    }
    return curl;
}

static void give_handle(struct s3_pool *pool, CURL *curl)
{
    curl_easy_reset(curl); /* its connection stays */
    pthread_mutex_lock(&pool->lock);
    pool->idle[pool->n_idle++] = curl;
    pool->n_used--;
    pthread_cond_signal(&pool->returned);
    pthread_mutex_unlock(&pool->lock);
}

/* --- what comes ----------------------------------------------------------------------------- */

static void wrong(struct trial *t, enum err_code code, const char *text)
{
    t->wrong = err_set(t->err, code, "%s %s", t->s3->host, text);
}

/* The value of the header `name`, copied; 0 when the line is another. */
static int header_value(const char *line, size_t n, const char *name, char *ret, size_t size)
{
    size_t len = strlen(name);
    if (n <= len || line[len] != ':' || strncasecmp(line, name, len) != 0)
        return 0;
    line += len + 1;
    n -= len + 1;
    while (n > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        n--;
    }
    while (n > 0 && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' '))
        n--;
    if (n >= size)
        return 0; /* too long to be one of those that are read */
    memcpy(ret, line, n);
    ret[n] = '\0';
    return 1;
}

/* A decimal number with nothing but `behind` after it; UINT64_MAX when it is none. */
static uint64_t number(const char *text, char behind, const char **ret_end)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && at - text < 19; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    if (at == text || *at != behind)
        return UINT64_MAX;
    if (ret_end)
        *ret_end = at + 1;
    return value;
}

/* "bytes 7-99/100": it must begin where the file ends so far. */
static void read_range(struct trial *t, const char *value)
{
    const char *at = value;
    uint64_t from, last, size = UINT64_MAX;
    if (strncmp(at, "bytes ", 6) != 0)
        return;
    from = number(at + 6, '-', &at);
    last = from == UINT64_MAX ? UINT64_MAX : number(at, '/', &at);
    if (last != UINT64_MAX)
        size = number(at, '\0', NULL);
    if (size == UINT64_MAX || from != t->from || last != size - 1)
        return;
    t->ranged = 1;
    t->call->size = size;
    t->call->has_size = 1;
}

static void read_header(struct trial *t, const char *line, size_t n)
{
    struct s3_call *call = t->call;
    char value[S3_ETAG_MAX];
    int good = call->status >= 200 && call->status <= 299;
    if (good && header_value(line, n, "ETag", value, sizeof value)) {
        snprintf(call->etag, sizeof call->etag, "%s", value);
    } else if (good && header_value(line, n, "Content-Length", value, sizeof value)) {
        uint64_t size = number(value, '\0', NULL);
        if (size != UINT64_MAX && !t->ranged) {
            call->size = size;
            call->has_size = 1;
        }
    } else if (good && header_value(line, n, "Content-Range", value, sizeof value)) {
        read_range(t, value);
    } else if (header_value(line, n, "Date", value, sizeof value)) {
        time_t at = curl_getdate(value, NULL);
        call->server_ms = at > 0 ? (int64_t)at * 1000 : 0;
    } else if (header_value(line, n, "Retry-After", value, sizeof value)) {
        uint64_t seconds = number(value, '\0', NULL);
        call->retry_after = seconds < 3600 ? (double)seconds : 0;
    }
}

/* The end of the headers: whether a body of an object is what is to be written. */
static void check_head(struct trial *t)
{
    struct s3_call *call = t->call;
    if (!call->to_file || call->status < 200 || call->status > 299)
        return;
    if (!call->has_size)
        return wrong(t, ERR_UNAVAILABLE, "does not tell the length of what it sends");
    if (call->status == 206 && !t->ranged)
        return wrong(t, ERR_UNAVAILABLE, "sends another part than was asked for");
    if (call->status != 206) { /* all of it, whatever an earlier try has written */
        call->received = t->from = 0;
        if (ftruncate(call->file, 0) < 0)
            t->wrong = err_set_errno(t->err, ERR_IO, errno, "cannot empty a temporary file");
    }
}

static size_t on_header(char *line, size_t one, size_t n, void *ctx)
{
    struct trial *t = ctx;
    n *= one;
    t->headers += n;
    if (t->headers > S3_HEADERS_MAX) {
        wrong(t, ERR_UNAVAILABLE, "sends too many headers");
        return 0;
    }
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) { /* also the one behind a 100 */
        (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->call->status);
        t->ranged = t->call->has_size = 0;
        if (t->call->status == 200)
            t->call->etag[0] = '\0'; /* that of an earlier try is not this one's */
    } else if (n <= 2) {
        check_head(t);
    } else {
        read_header(t, line, n);
    }
    return t->wrong ? 0 : n;
}

static size_t write_file(struct trial *t, const char *data, size_t n)
{
    struct s3_call *call = t->call;
    if (n > call->size - call->received) {
        wrong(t, ERR_UNAVAILABLE, "sends more than it said");
        return 0;
    }
    for (size_t done = 0; done < n;) {
        ssize_t step = pwrite(call->file, data + done, n - done, (off_t)(call->received));
        if (step < 0 && errno == EINTR)
            continue;
        if (step < 0) {
            t->wrong =
                err_set_errno(t->err, disk_err_code(errno), errno, "cannot write a temporary file");
            return 0;
        }
        done += (size_t)step;
        call->received += (uint64_t)step;
    }
    return n;
}

static size_t on_body(char *data, size_t one, size_t n, void *ctx)
{
    struct trial *t = ctx;
    struct s3_call *call = t->call;
    size_t max = call->answer_max ? call->answer_max : S3_ANSWER_MAX;
    n *= one;
    if (call->to_file && call->status >= 200 && call->status <= 299)
        return write_file(t, data, n);
    if (n > max - call->answer_len) {
        wrong(t, ERR_UNAVAILABLE, "answers with too much");
        return 0;
    }
    char *longer = realloc(call->answer, call->answer_len + n + 1); /* up to the limit above */
    if (!longer) {
        t->wrong = err_set(t->err, ERR_NO_MEMORY, "no memory for an answer");
        return 0;
    }
    memcpy(longer + call->answer_len, data, n);
    call->answer = longer;
    call->answer_len += n;
    longer[call->answer_len] = '\0';
    return n;
}

/* --- what goes ------------------------------------------------------------------------------ */

static size_t on_read(char *to, size_t one, size_t n, void *ctx)
{
    struct trial *t = ctx;
    const struct s3_source *source = t->call->source;
    if (!source)
        return 0;
    uint64_t left = source->size - t->sent;
    n *= one;
    n = n < left ? n : (size_t)left;
    if (source->data) {
        memcpy(to, (const char *)source->data + t->sent, n);
    } else if (n > 0) {
        ssize_t got;
        do
            got = pread(source->fd, to, n, (off_t)(source->offset + t->sent));
        while (got < 0 && errno == EINTR);
        if (got <= 0) {
            t->wrong = err_set(t->err, ERR_IO, "what is to be stored cannot be read");
            return CURL_READFUNC_ABORT;
        }
        n = (size_t)got;
    }
    t->sent += n;
    return n;
}

static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct trial *t = ctx;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->call->source->size)
        return CURL_SEEKFUNC_CANTSEEK;
    t->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* Called about once a second, and when something happens: keeps the deadline of the whole call. */
static int on_progress(void *ctx, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
                       curl_off_t up)
{
    struct trial *t = ctx;
    (void)down_all;
    (void)down;
    (void)up_all;
    (void)up;
    if (clock_seconds() < s3_call_deadline(t->s3, t->call))
        return 0;
    if (t->s3->opening && t->call->status == 0)
        wrong(t, ERR_UNAVAILABLE, "gives no answer in time: is it up, and is it an S3 server?");
    else
        wrong(t, ERR_UNAVAILABLE, "did not end a request in its time");
    return 1;
}

/* --- the exchange --------------------------------------------------------------------------- */

static void cleanup_list(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

/* "name: value" behind the list; without a value libcurl leaves that header out. */
static void add_header(struct curl_slist **list, const char *name, const char *value)
{
    _cleanup_free_ char *line = xasprintf("%s:%s%s", name, *value ? " " : "", value);
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (!longer)
        abort(); /* a few bytes: as xalloc */
    *list = longer;
}

static const char *payload_of(const struct trial *t)
{
    const struct s3_source *source = t->call->source;
    if (!source)
        return S3_EMPTY_PAYLOAD;
    return t->s3->tls ? S3_UNSIGNED_PAYLOAD : source->sha256;
}

/* Signs the request; its headers and address. */
static enum err_code compose(struct trial *t, struct curl_slist **ret_headers, char **ret_url,
                             struct err *err)
{
    struct s3_call *call = t->call;
    const struct s3 *s3 = t->s3;
    char date[S3_DATE_TEXT], bucket[S3_NAME_MAX];
    _cleanup_free_ char *authorization = NULL, *query = NULL, *host = NULL, *path = NULL;
    call->signed_ms = time_now_ms() + atomic_load(&t->s3->skew_ms);
    s3_date(call->signed_ms, date);
    s3_bucket_name(s3, call->bucket, bucket);
    host = s3->host_style ? xasprintf("%s.%s", bucket, s3->host) : xstrdup(s3->host);
    path = xasprintf("/%s%s%s", s3->host_style ? "" : bucket,
                     call->key && !s3->host_style ? "/" : "", call->key ? call->key : "");
    const struct s3_pair headers[] = {
        {"host", host}, {"x-amz-content-sha256", payload_of(t)}, {"x-amz-date", date}};
    const struct s3_signing signing = {.method = call->method,
                                       .path = path,
                                       .query = call->query,
                                       .n_query = call->n_query,
                                       .headers = headers,
                                       .n_headers = ARRAY_LEN(headers),
                                       .payload = payload_of(t),
                                       .date = date};
    enum err_code rc = s3_query(call->query, call->n_query, &query, err);
    if (rc == ERR_OK)
        rc = s3_sign(&s3->keys, &signing, &authorization, err);
    if (rc != ERR_OK)
        return rc;
    _cleanup_free_ char *encoded = s3_encode(path, 1);
    *ret_url = xasprintf("%s://%s%s%s%s", s3->tls ? "https" : "http", host, encoded,
                         *query ? "?" : "", query);
    for (size_t i = 1; i < ARRAY_LEN(headers); i++) /* libcurl sends the same Host by itself */
        add_header(ret_headers, headers[i].name, headers[i].value);
    add_header(ret_headers, "Authorization", authorization);
    /* A large body waits for the server's word (100): it may be busy, or refuse it. */
    if (!call->source || call->source->size < EXPECT_BYTES)
        add_header(ret_headers, "Expect", "");
    if (call->source || strcmp(call->method, "POST") == 0) /* libcurl's would be that of a form */
        add_header(ret_headers, "Content-Type", "application/octet-stream");
    return ERR_OK;
}

/* A download that broke goes on; without an ETag nobody knows whether it is still the same. */
static void ask_for_rest(struct trial *t, struct curl_slist **headers)
{
    struct s3_call *call = t->call;
    char range[40];
    if (!call->etag[0])
        call->received = 0;
    t->from = call->received;
    if (t->from == 0)
        return;
    snprintf(range, sizeof range, "bytes=%" PRIu64 "-", t->from);
    add_header(headers, "Range", range);
    add_header(headers, "If-Match", call->etag);
}

static void set_method(struct trial *t)
{
    CURL *curl = t->curl;
    const struct s3_call *call = t->call;
    if (strcmp(call->method, "HEAD") == 0) {
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (call->source || strcmp(call->method, "PUT") == 0) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
                         (curl_off_t)(call->source ? call->source->size : 0));
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(curl, CURLOPT_READDATA, t);
        curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(curl, CURLOPT_SEEKDATA, t);
        curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_BYTES);
    } else if (strcmp(call->method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    } else {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
    }
}

static void set_options(struct trial *t, const char *url, struct curl_slist *headers, char *text)
{
    CURL *curl = t->curl;
    const struct s3 *s3 = t->s3;
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, s3->tls ? "https" : "http");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "sonde/" SONDE_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, s3->timing.connect_ms);
    if (!t->call->late_error) { /* those are slow by nature: a space now and then, while it works */
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)S3_STALL_BYTES);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, s3->timing.stall_seconds);
    }
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (s3->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, s3->ca_file);
    if (s3->loopback) /* whatever proxy the environment names */
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    set_method(t);
}

/* What the exchange came to. */
static enum s3_outcome judge(struct trial *t, CURLcode code, const char *text, struct err *err)
{
    struct s3_call *call = t->call;
    if (t->wrong) /* trouble here fails for good, trouble there may pass */
        return t->wrong == ERR_UNAVAILABLE ? S3_AGAIN : S3_FAILED;
    if (code != CURLE_OK && call->status < 300)
        return s3_fault_transfer(t->s3, call, (int)code, text[0] ? text : curl_easy_strerror(code),
                                 err);
    if (call->status < 200 || call->status > 299 || call->late_error)
        return s3_fault_judge(t->s3, call, err);
    if (call->to_file && call->received != call->size) {
        wrong(t, ERR_UNAVAILABLE, "ended an object too early");
        return S3_AGAIN;
    }
    return S3_FINE;
}

enum s3_outcome s3_http_try(struct s3 *s3, struct s3_call *call, struct err *err)
{
    _cleanup_(cleanup_list) struct curl_slist *headers = NULL;
    _cleanup_free_ char *url = NULL;
    char text[CURL_ERROR_SIZE] = "";
    struct trial t = {.s3 = s3, .call = call, .err = err};
    if (compose(&t, &headers, &url, err) != ERR_OK)
        return S3_FAILED;
    t.curl = take_handle(&s3->pool, call->deadline);
    if (!t.curl) {
        err_set(err, ERR_BUSY, "no connection to %s became free in time", s3->host);
        return S3_FAILED;
    }
    if (call->to_file)
        ask_for_rest(&t, &headers);
    set_options(&t, url, headers, text);
    CURLcode code = curl_easy_perform(t.curl);
    (void)curl_easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &call->status);
    enum s3_outcome outcome = judge(&t, code, text, err);
    give_handle(&s3->pool, t.curl);
    return outcome;
}

/* Inside the S3 driver: one store, one call to it, and what the parts of the driver do for it.
 *
 *   blob_s3.c    the driver's table: opening, put, get, delete, ping
 *   s3_list.c    listing, page by page
 *   s3_parts.c   files in several parts, and sweeping up those never ended
 *   s3_call.c    one call with tries, waiting in between, the clock's offset, a deadline
 *   s3_http.c    one try: an exchange over a pooled libcurl handle
 *   s3_fault.c   what a refusal means, and how it is said
 *   s3_sign.c    signatures        s3_xml.c  answers */
#ifndef SONDE_DRIVER_BLOB_S3_H
#define SONDE_DRIVER_BLOB_S3_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "../../base/hash.h"
#include "blob_driver.h"
#include "s3_sign.h"

#define S3_NAME_MAX    64              /* of a bucket with its prefix, and a zero */
#define S3_ETAG_MAX    136             /* with its quotes */
#define S3_UPLOAD_MAX  1025            /* the id of an upload in parts */
#define S3_ANSWER_MAX  (64 * 1024)     /* of what an answer says, but listings */
#define S3_PAGE_MAX    (4 << 20)       /* of a page of a listing */
#define S3_HEADERS_MAX (64 * 1024)     /* of an answer's headers */
#define S3_PARTS_MAX   1000            /* AWS takes 10000, others 1000 */
#define S3_HANDLES_MAX 32              /* connections at a time; further calls wait */
#define S3_SKEW_MS     (5 * 60 * 1000) /* clocks further apart than this are told of */

/* How long things may take; tests make it shorter before the first call. */
struct s3_timing {
    long connect_ms;       /* until a connection (and TLS) stands */
    long stall_seconds;    /* with less than S3_STALL_BYTES a second */
    double backoff_s;      /* the longest first wait; each next twice as long … */
    double backoff_max_s;  /* … up to this */
    double call_seconds;   /* a whole call with all its tries, plus … */
    double bytes_a_second; /* … its bytes at this rate */
};
#define S3_STALL_BYTES 1000

struct s3_pool {
    pthread_mutex_t lock;
    pthread_cond_t returned;
    void *idle[S3_HANDLES_MAX]; /* CURL handles; the last one given back is taken first */
    int n_idle, n_used;
};

struct s3 {
    struct s3_keys keys; /* own copies */
    char *host;          /* "host[:port]", as signed: without a port that the scheme implies */
    char *prefix, *ca_file, *spool;
    int tls, host_style, loopback;
    uint64_t part_size;
    struct s3_timing timing;
    int page_keys;           /* of a listing; for tests, 0: 1000 */
    _Atomic int64_t skew_ms; /* the server's clock less this one's */
    int opening;             /* nobody else has the store yet: a mistake in a setting shows now */
    struct s3_pool pool;
};

/* A body to be sent: of memory, or of a file from an offset. */
struct s3_source {
    const void *data;
    int fd; /* where data is NULL */
    uint64_t offset, size;
    char sha256[SHA256_HEX]; /* "": s3_call fills it in where it is needed */
};

/* One call. The caller sets the first half, all else zero. */
struct s3_call {
    const char *method;
    enum blob_bucket bucket;
    const char *key; /* NULL: the bucket itself */
    struct s3_pair query[S3_PAIRS_MAX];
    size_t n_query;
    struct s3_source *source; /* NULL: no body */
    int to_file, file;        /* a good answer's body is written there, from its start on */
    size_t answer_max;        /* 0: S3_ANSWER_MAX */
    int late_error;           /* a 200 may have an error in its body */
    int tries;                /* 0: the usual number */
    double seconds;           /* 0: as the timing says */

    long status;                             /* of the last try */
    char code[64], message[128], region[40]; /* of a refusal, printable ASCII only */
    char etag[S3_ETAG_MAX];
    uint64_t size; /* of the object, as the headers say */
    int has_size;
    uint64_t received; /* bytes in `file` */
    char *answer;      /* any other body, with a zero behind it; freed by s3_call_done */
    size_t answer_len;
    int64_t server_ms, signed_ms; /* the answer's Date, or 0, and what was signed */
    double retry_after;
    double deadline; /* of clock_seconds */
};

enum s3_outcome { S3_FINE, S3_AGAIN, S3_FAILED };

/* The bucket's name with its prefix. */
void s3_bucket_name(const struct s3 *s3, enum blob_bucket bucket, char ret[S3_NAME_MAX]);

/* Asks until it succeeds, fails for good, or time is up. On ERR_OK the status is 2xx, and a body
 * that was sent is stored; ERR_NO_SUCH: the key is not there. Any thread. */
enum err_code s3_call(struct s3 *s3, struct s3_call *call, struct err *err) MUST_CHECK;
void s3_call_done(struct s3_call *call);
/* When it has to have ended, by clock_seconds; a download's size counts once it is known. */
double s3_call_deadline(const struct s3 *s3, const struct s3_call *call);

/* One try; err is set unless it is S3_FINE. */
enum s3_outcome s3_http_try(struct s3 *s3, struct s3_call *call, struct err *err);
enum err_code s3_http_start(struct s3 *s3, struct err *err) MUST_CHECK;
void s3_http_stop(struct s3 *s3);

/* What the answer that `call` has means. */
enum s3_outcome s3_fault_judge(const struct s3 *s3, struct s3_call *call, struct err *err);
/* What a failure of libcurl (a CURLcode, and its text) means. */
enum s3_outcome s3_fault_transfer(const struct s3 *s3, const struct s3_call *call, int curl_code,
                                  const char *text, struct err *err);

/* Stores the file under the key in parts of part_size bytes, or larger where those were too many.
 */
enum err_code s3_put_parts(struct s3 *s3, enum blob_bucket bucket, const char *key, int fd,
                           uint64_t size, struct err *err) MUST_CHECK;
/* Ends uploads in parts that began over a day ago: of processes that died in them. */
void s3_sweep_parts(struct s3 *s3, enum blob_bucket bucket);

enum err_code s3_list(struct s3 *s3, enum blob_bucket bucket, blob_each *each, void *ctx,
                      struct err *err) MUST_CHECK;

#endif

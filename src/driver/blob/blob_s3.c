/* Blobs in an S3 server: <prefix><bucket>/<key>, "s3://" over TLS and "s3+http://" in the clear.
 *
 * A put is whole or not there because S3 has it so; a 200 means that it is durable. Files larger
 * than a part go in parts (s3_parts.c). A blob is opened by fetching all of it into a nameless file
 * in the spool folder: readers seek, and it outlives its key. Every call is bounded in time and
 * tried again where that may help (s3_call.c). The store keeps its settings, the connections and
 * the clock's offset; any thread may use it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../base/id.h"
#include "../../base/mem.h"
#include "../../os/disk.h"
#include "../../os/file.h"
#include "s3.h"

#define PART_SIZE     (16 << 20)
#define PART_SIZE_MIN (1 << 20)
#define PART_SIZE_MAX (5ULL << 30)          /* S3's limit */
#define PREFIX_MAX    (S3_NAME_MAX - 1 - 9) /* "processed" is the longest name behind it */
#define PING_SECONDS  10
/* A store that says nothing is told of soon; who opens it may try again. */
#define OPEN_SECONDS 8
#define OPEN_TRIES   3

static const struct s3_timing usual = {
    .connect_ms = 5000,
    .stall_seconds = 20,
    .backoff_s = 0.2,
    .backoff_max_s = 10,
    .call_seconds = 60,
    .bytes_a_second = 256 * 1024,
};

/* --- opening -------------------------------------------------------------------------------- */

/* "//host[:port][/]" into s3->host; the scheme's own port is left out, as in what is signed. */
static enum err_code read_host(struct s3 *s3, const char *rest, struct err *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    const char *port = s3->tls ? ":443" : ":80";
    size_t n;
    if (strncmp(rest, "//", 2) != 0)
        return err_set(err, ERR_USAGE,
                       "an S3 server is s3://host[:port], or s3+http://host[:port]");
    rest += 2;
    n = strspn(rest, allowed);
    if (n == 0 || n > 255 || (rest[n] && strcmp(rest + n, "/") != 0))
        return err_set(err, ERR_USAGE,
                       "an S3 server is s3://host[:port]; the buckets' names come "
                       "from the prefix, key and secret from their own settings");
    if (n > strlen(port) && strncmp(rest + n - strlen(port), port, strlen(port)) == 0)
        n -= strlen(port);
    s3->host = xasprintf("%.*s", (int)n, rest);
    for (char *at = s3->host; *at; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at - 'A' + 'a');
    size_t name = strcspn(s3->host, ":"); /* without its port */
    s3->loopback = strncmp(s3->host, "127.", 4) == 0 || strncmp(s3->host, "[::1]", 5) == 0 ||
                   (name >= 9 && strncmp(s3->host + name - 9, "localhost", 9) == 0);
    return ERR_OK;
}

static int prefix_ok(const char *prefix)
{
    size_t n = strspn(prefix, "abcdefghijklmnopqrstuvwxyz0123456789.-");
    return prefix[n] == '\0' && n <= PREFIX_MAX && prefix[0] != '.' && prefix[0] != '-';
}

static int printable(const char *text)
{
    size_t n = 0;
    while (text[n] > ' ' && text[n] < 0x7f)
        n++;
    return text[n] == '\0' && n > 0 && n < 512;
}

static enum err_code read_options(struct s3 *s3, const struct blob_options *options,
                                  struct err *err)
{
    const char *region = options->region ? options->region : "us-east-1";
    const char *prefix = options->prefix ? options->prefix : "sonde-";
    uint64_t part = options->part_size ? options->part_size : PART_SIZE;
    if (!options->key_id || !options->secret || !printable(options->key_id) ||
        !printable(options->secret))
        return err_set(err, ERR_USAGE,
                       "an S3 server needs a key and its secret: SONDE_BLOB_KEY_ID, "
                       "SONDE_BLOB_SECRET");
    if (!printable(region) || strchr(region, '/'))
        return err_set(err, ERR_USAGE, "this is no region (SONDE_BLOB_REGION)");
    if (!prefix_ok(prefix))
        return err_set(err, ERR_USAGE,
                       "'%.60s' cannot begin the names of buckets: a-z0-9.- and at "
                       "most %d characters",
                       prefix, PREFIX_MAX);
    if (part < PART_SIZE_MIN || part > PART_SIZE_MAX)
        return err_set(err, ERR_USAGE, "parts have 1 MiB to 5 GiB, not %llu bytes",
                       (unsigned long long)part);
    if (options->ca_file && access(options->ca_file, R_OK) < 0)
        return err_set_errno(err, ERR_USAGE, errno, "cannot read %.150s (SONDE_BLOB_CA_FILE)",
                             options->ca_file);
    s3->keys =
        (struct s3_keys){xstrdup(options->key_id), xstrdup(options->secret), xstrdup(region)};
    s3->prefix = xstrdup(prefix);
    s3->ca_file = options->ca_file ? xstrdup(options->ca_file) : NULL;
    s3->spool = options->spool ? xstrdup(options->spool) : NULL;
    s3->part_size = part;
    s3->host_style = options->host_style;
    return ERR_OK;
}

static void free_store(struct s3 *s3)
{
    if (s3->keys.secret)
        explicit_bzero((char *)(uintptr_t)s3->keys.secret, strlen(s3->keys.secret));
    free((void *)(uintptr_t)s3->keys.id);
    free((void *)(uintptr_t)s3->keys.secret);
    free((void *)(uintptr_t)s3->keys.region);
    free(s3->host);
    free(s3->prefix);
    free(s3->ca_file);
    free(s3->spool);
    free(s3);
}

static void s3_close(void *self)
{
    s3_http_stop(self);
    free_store(self);
}

static enum err_code make_bucket(struct s3 *s3, enum blob_bucket bucket, struct err *err)
{
    _cleanup_free_ char *where =
        xasprintf("<CreateBucketConfiguration><LocationConstraint>%s</LocationConstraint>"
                  "</CreateBucketConfiguration>",
                  s3->keys.region);
    struct s3_source source = {.data = where, .size = strlen(where)};
    struct s3_call call = {.method = "PUT", .bucket = bucket};
    if (strcmp(s3->keys.region, "us-east-1") != 0) /* the one that may not be named */
        call.source = &source;
    enum err_code rc = s3_call(s3, &call, err);
    /* Another process was faster. */
    if (rc != ERR_OK && strcmp(call.code, "BucketAlreadyOwnedByYou") == 0)
        rc = ERR_OK;
    if (rc != ERR_OK && strcmp(call.code, "BucketAlreadyExists") == 0) {
        char name[S3_NAME_MAX];
        s3_bucket_name(s3, bucket, name);
        rc = err_set(err, ERR_CONFLICT,
                     "bucket %s belongs to somebody else on %s: set SONDE_BLOB_PREFIX", name,
                     s3->host);
    }
    s3_call_done(&call);
    return rc;
}

/* A refused HEAD has no body that says why: a listing of one key has. */
static enum err_code ask_why(struct s3 *s3, enum blob_bucket bucket, struct err *err)
{
    struct s3_call call = {.method = "GET",
                           .bucket = bucket,
                           .query = {{"list-type", "2"}, {"max-keys", "1"}},
                           .n_query = 2,
                           .seconds = OPEN_SECONDS,
                           .tries = OPEN_TRIES};
    enum err_code rc = s3_call(s3, &call, err);
    s3_call_done(&call);
    return rc;
}

static enum err_code check_bucket(struct s3 *s3, enum blob_bucket bucket, int make, struct err *err)
{
    struct s3_call call = {
        .method = "HEAD", .bucket = bucket, .seconds = OPEN_SECONDS, .tries = OPEN_TRIES};
    enum err_code rc = s3_call(s3, &call, err);
    if (rc != ERR_OK && call.status >= 300 && call.status < 500)
        rc = ask_why(s3, bucket, err);
    s3_call_done(&call);
    if (rc == ERR_NO_SUCH && make)
        rc = make_bucket(s3, bucket, err);
    return rc;
}

static enum err_code open_any(const struct blob_options *options, const char *rest, int tls,
                              void **ret_self, struct err *err)
{
    struct s3 *s3 = xalloc(sizeof *s3);
    s3->tls = tls;
    s3->timing = usual;
    s3->opening = 1;
    enum err_code rc = read_host(s3, rest, err);
    if (rc == ERR_OK)
        rc = read_options(s3, options, err);
    if (rc == ERR_OK)
        rc = s3_http_start(s3, err);
    if (rc != ERR_OK) {
        free_store(s3);
        return rc;
    }
    for (int i = 0; rc == ERR_OK && i < BLOB_BUCKETS; i++)
        rc = check_bucket(s3, i, options->make_buckets, err);
    for (int i = 0; rc == ERR_OK && i < BLOB_BUCKETS; i++)
        s3_sweep_parts(s3, i);
    if (rc != ERR_OK) {
        s3_close(s3);
        return rc;
    }
    s3->opening = 0;
    *ret_self = s3;
    return ERR_OK;
}

static enum err_code open_tls(const struct blob_options *options, const char *rest, void **ret_self,
                              struct err *err)
{
    return open_any(options, rest, 1, ret_self, err);
}

static enum err_code open_clear(const struct blob_options *options, const char *rest,
                                void **ret_self, struct err *err)
{
    return open_any(options, rest, 0, ret_self, err);
}

/* --- putting -------------------------------------------------------------------------------- */

static enum err_code put_whole(struct s3 *s3, enum blob_bucket bucket, const char *key,
                               struct s3_source *source, double seconds, struct err *err)
{
    struct s3_call call = {
        .method = "PUT", .bucket = bucket, .key = key, .source = source, .seconds = seconds};
    enum err_code rc = s3_call(s3, &call, err);
    s3_call_done(&call);
    return rc;
}

static enum err_code s3_put(void *self, enum blob_bucket bucket, const char *key, const void *data,
                            size_t size, struct err *err)
{
    struct s3_source source = {.data = size > 0 ? data : "", .size = size};
    return put_whole(self, bucket, key, &source, 0, err);
}

static enum err_code s3_put_file(void *self, enum blob_bucket bucket, const char *key,
                                 const char *path, const char *sha256, struct err *err)
{
    struct s3 *s3 = self;
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_set_errno(err, err_from_errno(errno), errno, "cannot open %.100s", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_NOT_A_FILE, "%.100s is no regular file", path);
    uint64_t size = (uint64_t)st.st_size;
    struct s3_source source = {.fd = fd, .size = size};
    if (sha256)
        snprintf(source.sha256, sizeof source.sha256, "%s", sha256);
    enum err_code rc = size > s3->part_size ? s3_put_parts(s3, bucket, key, fd, size, err)
                                            : put_whole(s3, bucket, key, &source, 0, err);
    if (rc == ERR_OK && unlink(path) < 0 && errno != ENOENT)
        rc = err_set_errno(err, ERR_IO, errno, "cannot remove the stored file from where it was");
    return rc;
}

/* --- getting -------------------------------------------------------------------------------- */

/* A file without a name in the spool folder. */
static enum err_code spool_file(const struct s3 *s3, int *ret_fd, struct err *err)
{
    const char *folder = s3->spool ? s3->spool : file_temp_folder();
    *ret_fd = file_open_unnamed(folder);
    if (*ret_fd < 0)
        return err_set_errno(err, disk_err_code(errno), errno, "cannot make a file in %.120s",
                             folder);
    return ERR_OK;
}

static enum err_code fetch(struct s3 *s3, enum blob_bucket bucket, const char *key, double seconds,
                           int *ret_fd, uint64_t *ret_size, struct err *err)
{
    _cleanup_close_ int fd = -1;
    enum err_code rc = spool_file(s3, &fd, err);
    if (rc != ERR_OK)
        return rc;
    struct s3_call call = {.method = "GET",
                           .bucket = bucket,
                           .key = key,
                           .to_file = 1,
                           .file = fd,
                           .seconds = seconds};
    rc = s3_call(s3, &call, err);
    if (rc == ERR_OK) {
        *ret_size = call.received;
        *ret_fd = STEAL_FD(fd);
    }
    s3_call_done(&call);
    return rc;
}

static enum err_code s3_open(void *self, enum blob_bucket bucket, const char *key, int *ret_fd,
                             uint64_t *ret_size, struct err *err)
{
    return fetch(self, bucket, key, 0, ret_fd, ret_size, err);
}

static enum err_code s3_size(void *self, enum blob_bucket bucket, const char *key,
                             uint64_t *ret_size, struct err *err)
{
    struct s3_call call = {.method = "HEAD", .bucket = bucket, .key = key};
    enum err_code rc = s3_call(self, &call, err);
    if (rc == ERR_OK && !call.has_size)
        rc = err_set(err, ERR_UNAVAILABLE, "the S3 server does not tell the length");
    if (rc == ERR_OK)
        *ret_size = call.size;
    s3_call_done(&call);
    if (rc != ERR_NO_SUCH)
        return rc;
    /* To HEAD a server cannot say what is missing; Swift answers so, too, while it cannot look into
     * the bucket. To GET it can, and an outage is no missing file. */
    _cleanup_close_ int fd = -1;
    return fetch(self, bucket, key, 0, &fd, ret_size, err);
}

static enum err_code drop(struct s3 *s3, enum blob_bucket bucket, const char *key, double seconds,
                          struct err *err)
{
    struct s3_call call = {.method = "DELETE", .bucket = bucket, .key = key, .seconds = seconds};
    enum err_code rc = s3_call(s3, &call, err);
    s3_call_done(&call);
    return rc == ERR_NO_SUCH ? ERR_OK : rc;
}

static enum err_code s3_delete(void *self, enum blob_bucket bucket, const char *key,
                               struct err *err)
{
    return drop(self, bucket, key, 0, err);
}

/* Named like what the keeper sweeps up when a process dies in between. */
static enum err_code s3_ping(void *self, struct err *err)
{
    static const char text[] = "sonde was here";
    char id[ID_TEXT], back[sizeof text] = "";
    uint64_t size = 0;
    _cleanup_close_ int fd = -1;
    struct s3_source source = {.data = text, .size = sizeof text};
    id_new(id);
    _cleanup_free_ char *key = xasprintf("ping/%s", id);
    enum err_code rc = put_whole(self, BLOB_PROCESSED, key, &source, PING_SECONDS, err);
    if (rc != ERR_OK)
        return rc;
    rc = fetch(self, BLOB_PROCESSED, key, PING_SECONDS, &fd, &size, err);
    if (rc == ERR_OK && (size != sizeof text || pread(fd, back, sizeof back, 0) != sizeof back ||
                         memcmp(text, back, sizeof text) != 0))
        rc = err_set(err, ERR_IO, "what was written does not read back");
    enum err_code dropped =
        drop(self, BLOB_PROCESSED, key, PING_SECONDS, rc == ERR_OK ? err : NULL);
    return rc == ERR_OK ? dropped : rc;
}

static enum err_code list(void *self, enum blob_bucket bucket, blob_each *each, void *ctx,
                          struct err *err)
{
    return s3_list(self, bucket, each, ctx, err);
}

const struct blob_driver blob_s3 = {
    .scheme = "s3",
    .open_store = open_tls,
    .close_store = s3_close,
    .ping = s3_ping,
    .put_file = s3_put_file,
    .put = s3_put,
    .open = s3_open,
    .size = s3_size,
    .del = s3_delete,
    .list = list,
};

const struct blob_driver blob_s3_clear = {
    .scheme = "s3+http",
    .open_store = open_clear,
    .close_store = s3_close,
    .ping = s3_ping,
    .put_file = s3_put_file,
    .put = s3_put,
    .open = s3_open,
    .size = s3_size,
    .del = s3_delete,
    .list = list,
};

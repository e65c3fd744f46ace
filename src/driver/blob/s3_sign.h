/* Signatures of S3 (AWS Signature Version 4, service "s3"), of requests and of addresses. Pure:
 * nothing is sent, no clock is read, no state is kept; any thread. */
#ifndef SONDE_DRIVER_BLOB_S3_SIGN_H
#define SONDE_DRIVER_BLOB_S3_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "../../base/err.h"

#define S3_DATE_TEXT        17 /* "20130524T000000Z" and a zero */
#define S3_PAIRS_MAX        16
#define S3_EMPTY_PAYLOAD    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define S3_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

struct s3_pair {
    const char *name, *value;
};
struct s3_keys {
    const char *id, *secret, *region;
};
/* A request as it is before any encoding; queries and headers in any order. */
struct s3_signing {
    const char *method, *path; /* "/bucket/key", or "/key" where the host names the bucket */
    const struct s3_pair *query;
    size_t n_query;
    /* Those to be signed, names in lower case: host (with the port, unless it is the scheme's own),
     * x-amz-date and x-amz-content-sha256 with the texts below, and any others. */
    const struct s3_pair *headers;
    size_t n_headers;
    const char *payload; /* hex SHA-256 of the body, or S3_UNSIGNED_PAYLOAD */
    const char *date;    /* of s3_date */
};

void s3_date(int64_t ms, char ret[S3_DATE_TEXT]);
/* Each byte but A-Za-z0-9-_.~ as %XX; slashes stay where `slashes` is set. The caller frees. */
char *s3_encode(const char *text, int slashes);
/* "a=1&b=" encoded and sorted as it has to be sent and signed; the caller frees. At most
 * S3_PAIRS_MAX, more is ERR_INTERNAL. */
enum err_code s3_query(const struct s3_pair *pairs, size_t n, char **ret,
                       struct err *err) MUST_CHECK;

/* The value of the Authorization header; the caller frees. */
enum err_code s3_sign(const struct s3_keys *keys, const struct s3_signing *request, char **ret,
                      struct err *err) MUST_CHECK;
/* The query that makes an address good for `seconds` (1 to 604800) for whoever has it: of
 * request only method, path, query, date and the header host count. The caller frees. */
enum err_code s3_presign(const struct s3_keys *keys, const struct s3_signing *request, int seconds,
                         char **ret, struct err *err) MUST_CHECK;

#endif

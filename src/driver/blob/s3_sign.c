/* AWS Signature Version 4 for S3, by hand, because libcurl's (7.88) cannot presign, signs wrong
 * what is not sorted and encoded beforehand, and takes no hash of a body that comes from a file.
 *
 * A canonical text of the request is hashed, the hash goes with time and place into a second text,
 * and that is keyed with a key which hangs on the secret, the day and the region. S3 differs from
 * other services: the path is encoded once, and nothing in it is folded. */
#include "s3_sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../base/hash.h"
#include "../../base/mem.h"

#define ALGORITHM   "AWS4-HMAC-SHA256"
#define DAY_TEXT    8 /* of a date, its first characters */
#define PRESIGN_MAX 604800

void s3_date(int64_t ms, char ret[S3_DATE_TEXT])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || strftime(ret, S3_DATE_TEXT, "%Y%m%dT%H%M%SZ", &tm) == 0)
        memcpy(ret, "19700101T000000Z", S3_DATE_TEXT); /* no year of four digits */
}

char *s3_encode(const char *text, int slashes)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
    static const char digits[] = "0123456789ABCDEF";
    char *ret = xalloc(3 * strlen(text) + 1), *to = ret;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (strchr(plain, c) || (slashes && c == '/')) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        }
    }
    return ret;
}

/* --- texts of pairs ------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct s3_pair *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->value, y->value);
}

static enum err_code sorted(const struct s3_pair *pairs, size_t n, struct s3_pair *ret,
                            struct err *err)
{
    if (n > S3_PAIRS_MAX)
        return err_set(err, ERR_INTERNAL, "a request with %zu pairs", n);
    if (n > 0)
        memcpy(ret, pairs, n * sizeof *pairs);
    qsort(ret, n, sizeof *ret, by_name);
    return ERR_OK;
}

static void append(char **text, char *more)
{
    char *longer = xasprintf("%s%s", *text, more);
    free(more);
    free(*text);
    *text = longer;
}

enum err_code s3_query(const struct s3_pair *pairs, size_t n, char **ret, struct err *err)
{
    struct s3_pair list[S3_PAIRS_MAX];
    enum err_code rc = sorted(pairs, n, list, err);
    if (rc != ERR_OK)
        return rc;
    *ret = xstrdup("");
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *name = s3_encode(list[i].name, 0);
        _cleanup_free_ char *value = s3_encode(list[i].value, 0);
        append(ret, xasprintf("%s%s=%s", i > 0 ? "&" : "", name, value));
    }
    return ERR_OK;
}

/* "host:example\nx-amz-date:…\n", and "host;x-amz-date". */
static enum err_code header_texts(const struct s3_pair *headers, size_t n, char **ret_lines,
                                  char **ret_names, struct err *err)
{
    struct s3_pair list[S3_PAIRS_MAX];
    enum err_code rc = sorted(headers, n, list, err);
    if (rc != ERR_OK)
        return rc;
    *ret_lines = xstrdup("");
    *ret_names = xstrdup("");
    for (size_t i = 0; i < n; i++) {
        const char *value = list[i].value + strspn(list[i].value, " ");
        size_t len = strlen(value);
        while (len > 0 && value[len - 1] == ' ')
            len--;
        append(ret_lines, xasprintf("%s:%.*s\n", list[i].name, (int)len, value));
        append(ret_names, xasprintf("%s%s", i > 0 ? ";" : "", list[i].name));
    }
    return ERR_OK;
}

/* --- keys and signatures -------------------------------------------------------------------- */

static int keyed(const void *key, size_t key_size, const char *text, size_t size,
                 unsigned char ret[SHA256_BYTES])
{
    return HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)text, size, ret, NULL) !=
           NULL;
}

/* "<day>/<region>/s3/aws4_request" */
static char *scope_of(const struct s3_keys *keys, const char *date)
{
    return xasprintf("%.*s/%s/s3/aws4_request", DAY_TEXT, date, keys->region);
}

static enum err_code signature(const struct s3_keys *keys, const char *date, const char *canonical,
                               char ret[SHA256_HEX], struct err *err)
{
    static const char digits[] = "0123456789abcdef";
    char hash[SHA256_HEX];
    unsigned char key[SHA256_BYTES], next[SHA256_BYTES];
    _cleanup_free_ char *scope = scope_of(keys, date);
    _cleanup_free_ char *first = xasprintf("AWS4%s", keys->secret);
    enum err_code rc = sha256_mem(canonical, strlen(canonical), hash, err);
    if (rc != ERR_OK)
        return rc;
    _cleanup_free_ char *text = xasprintf(ALGORITHM "\n%s\n%s\n%s", date, scope, hash);
    int ok = keyed(first, strlen(first), date, DAY_TEXT, next) &&
             keyed(next, sizeof next, keys->region, strlen(keys->region), key) &&
             keyed(key, sizeof key, "s3", 2, next) &&
             keyed(next, sizeof next, "aws4_request", strlen("aws4_request"), key) &&
             keyed(key, sizeof key, text, strlen(text), next);
    explicit_bzero(first, strlen(first));
    explicit_bzero(key, sizeof key);
    if (!ok)
        return err_set(err, ERR_INTERNAL, "HMAC-SHA-256 failed");
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        ret[2 * i] = digits[next[i] >> 4];
        ret[2 * i + 1] = digits[next[i] & 15];
    }
    ret[2 * SHA256_BYTES] = '\0';
    return ERR_OK;
}

enum err_code s3_sign(const struct s3_keys *keys, const struct s3_signing *request, char **ret,
                      struct err *err)
{
    char hex[SHA256_HEX];
    _cleanup_free_ char *path = s3_encode(request->path, 1);
    _cleanup_free_ char *query = NULL, *lines = NULL, *names = NULL;
    enum err_code rc = s3_query(request->query, request->n_query, &query, err);
    if (rc == ERR_OK)
        rc = header_texts(request->headers, request->n_headers, &lines, &names, err);
    if (rc != ERR_OK)
        return rc;
    _cleanup_free_ char *canonical = xasprintf("%s\n%s\n%s\n%s\n%s\n%s", request->method, path,
                                               query, lines, names, request->payload);
    rc = signature(keys, request->date, canonical, hex, err);
    if (rc != ERR_OK)
        return rc;
    _cleanup_free_ char *scope = scope_of(keys, request->date);
    *ret = xasprintf(ALGORITHM " Credential=%s/%s,SignedHeaders=%s,Signature=%s", keys->id, scope,
                     names, hex);
    return ERR_OK;
}

static const char *value_of(const struct s3_pair *pairs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(pairs[i].name, name) == 0)
            return pairs[i].value;
    return NULL;
}

enum err_code s3_presign(const struct s3_keys *keys, const struct s3_signing *request, int seconds,
                         char **ret, struct err *err)
{
    char hex[SHA256_HEX], life[16];
    struct s3_pair all[S3_PAIRS_MAX];
    size_t n = request->n_query;
    const char *host = value_of(request->headers, request->n_headers, "host");
    if (!host || n + 5 > S3_PAIRS_MAX || seconds < 1 || seconds > PRESIGN_MAX)
        return err_set(err, ERR_INTERNAL, "an address of this kind cannot be signed");
    _cleanup_free_ char *scope = scope_of(keys, request->date);
    _cleanup_free_ char *credential = xasprintf("%s/%s", keys->id, scope);
    _cleanup_free_ char *path = s3_encode(request->path, 1);
    _cleanup_free_ char *query = NULL;
    snprintf(life, sizeof life, "%d", seconds);
    if (n > 0)
        memcpy(all, request->query, n * sizeof *all);
    all[n++] = (struct s3_pair){"X-Amz-Algorithm", ALGORITHM};
    all[n++] = (struct s3_pair){"X-Amz-Credential", credential};
    all[n++] = (struct s3_pair){"X-Amz-Date", request->date};
    all[n++] = (struct s3_pair){"X-Amz-Expires", life};
    all[n++] = (struct s3_pair){"X-Amz-SignedHeaders", "host"};
    enum err_code rc = s3_query(all, n, &query, err);
    if (rc != ERR_OK)
        return rc;
    _cleanup_free_ char *canonical = xasprintf("%s\n%s\n%s\nhost:%s\n\nhost\n" S3_UNSIGNED_PAYLOAD,
                                               request->method, path, query, host);
    rc = signature(keys, request->date, canonical, hex, err);
    if (rc == ERR_OK)
        *ret = xasprintf("%s&X-Amz-Signature=%s", query, hex);
    return rc;
}

/* SHA-256 over memory and over descriptors, through OpenSSL's EVP. Any thread. */
#include "hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <unistd.h>

#include "mem.h"

#define READ_STEP (256 * 1024)

static void cleanup_ctx(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}

static void to_hex(const uint8_t *digest, char *hex)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < SHA256_BYTES; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[2 * SHA256_BYTES] = '\0';
}

enum err_code sha256_mem(const void *data, size_t len, char ret_hex[SHA256_HEX], struct err *err)
{
    uint8_t digest[SHA256_BYTES];
    if (!EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL))
        return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    to_hex(digest, ret_hex);
    return ERR_OK;
}

enum err_code sha256_fd(int fd, uint64_t max_bytes, char ret_hex[SHA256_HEX], uint64_t *ret_bytes,
                        struct err *err)
{
    _cleanup_(cleanup_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    _cleanup_free_ uint8_t *block = try_alloc(READ_STEP, 1);
    if (!ctx || !block || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
        return err_set(err, ERR_NO_MEMORY, "no memory for SHA-256");
    uint64_t total = 0;
    for (;;) {
        ssize_t n = pread(fd, block, READ_STEP, (off_t)total);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, err_from_errno(errno), errno, "cannot read");
        if (n == 0)
            break;
        total += (uint64_t)n;
        if (total > max_bytes)
            return err_set(err, ERR_TOO_LARGE, "larger than the limit of %llu bytes",
                           (unsigned long long)max_bytes);
        if (!EVP_DigestUpdate(ctx, block, (size_t)n))
            return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    }
    uint8_t digest[SHA256_BYTES];
    if (!EVP_DigestFinal_ex(ctx, digest, NULL))
        return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    to_hex(digest, ret_hex);
    *ret_bytes = total;
    return ERR_OK;
}

struct sha256 {
    EVP_MD_CTX *ctx;
};

enum err_code sha256_begin(struct sha256 **ret, struct err *err)
{
    struct sha256 *hash = xalloc(sizeof *hash);
    hash->ctx = EVP_MD_CTX_new();
    if (!hash->ctx || !EVP_DigestInit_ex(hash->ctx, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(hash->ctx);
        free(hash);
        return err_set(err, ERR_NO_MEMORY, "no memory for SHA-256");
    }
    *ret = hash;
    return ERR_OK;
}

enum err_code sha256_more(struct sha256 *hash, const void *data, size_t len, struct err *err)
{
    if (!EVP_DigestUpdate(hash->ctx, data, len))
        return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    return ERR_OK;
}

enum err_code sha256_end(struct sha256 *hash, char *ret_hex, struct err *err)
{
    uint8_t digest[SHA256_BYTES];
    if (!hash)
        return ERR_OK;
    int ok = EVP_DigestFinal_ex(hash->ctx, digest, NULL);
    EVP_MD_CTX_free(hash->ctx);
    free(hash);
    if (!ok)
        return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    if (ret_hex)
        to_hex(digest, ret_hex);
    return ERR_OK;
}

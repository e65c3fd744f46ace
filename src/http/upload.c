/* Received files: written to the spool folder as their bytes come, hashed on the way.
 *
 * Memory per request is one buffer of 64 KiB, whatever the size of the body; SHA-256 and write()
 * work on that, so both see large sequential blocks. A file belongs to the upload and is removed
 * with it, unless http_file_take gave it away: however a request ends, nothing stays behind.
 *
 * Runs on the I/O thread of the connection while the body comes (write() into the page cache), on
 * any one thread afterwards. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../base/utf8.h"

#define SPOOL_BUFFER (64 * 1024)

struct upload {
    const char *spool;
    struct http_file *files;
    size_t n_files, cap_files;
    int fd; /* of the file that is being received, or -1 */
    EVP_MD_CTX *md;
    unsigned char *buffer;
    size_t used;
};

struct upload *upload_new(const char *spool)
{
    struct upload *upload = xalloc(sizeof *upload);
    upload->spool = spool;
    upload->fd = -1;
    return upload;
}

struct upload *upload_free(struct upload *upload)
{
    if (!upload)
        return NULL;
    if (upload->fd >= 0)
        close(upload->fd);
    for (size_t i = 0; i < upload->n_files; i++) {
        struct http_file *file = &upload->files[i];
        if (file->path)
            unlink(file->path);
        free(file->path);
        free(file->name);
        free(file->field);
    }
    free(upload->files);
    EVP_MD_CTX_free(upload->md);
    free(upload->buffer);
    free(upload);
    return NULL;
}

static enum err_code spool_error(struct err *err, int errnum, const char *what)
{
    enum err_code code = errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG  ? ERR_NO_SPACE
                         : errnum == EROFS || errnum == EACCES || errnum == EPERM ? ERR_READ_ONLY
                                                                                  : ERR_IO;
    return err_set_errno(err, code, errnum, "%s the spool folder", what);
}

/* The hash context and the buffer, made with the first file. */
static enum err_code prepare(struct upload *upload, struct err *err)
{
    if (!upload->buffer)
        upload->buffer = try_alloc(SPOOL_BUFFER, 1);
    if (!upload->md)
        upload->md = EVP_MD_CTX_new();
    if (!upload->buffer || !upload->md || EVP_DigestInit_ex(upload->md, EVP_sha256(), NULL) != 1)
        return err_set(err, ERR_NO_MEMORY, "no memory to receive a file");
    return ERR_OK;
}

enum err_code upload_begin(struct upload *upload, const char *field, const char *name,
                           struct err *err)
{
    if (upload->n_files == HTTP_FILES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d files in one request", HTTP_FILES_MAX);
    if (try_grow(&upload->files, &upload->cap_files, upload->n_files, sizeof *upload->files,
                 HTTP_FILES_MAX) != 0)
        return err_set(err, ERR_NO_MEMORY, "no memory to receive a file");
    enum err_code code = prepare(upload, err);
    if (code != ERR_OK)
        return code;
    char token[33];
    random_token(token, sizeof token);
    _cleanup_free_ char *path = xasprintf("%s/body-%s", upload->spool, token);
    upload->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (upload->fd < 0)
        return spool_error(err, errno, "cannot make a file in");
    struct http_file *file = &upload->files[upload->n_files++];
    memset(file, 0, sizeof *file);
    file->path = STEAL(path);
    file->name = upload_clean_name(name);
    file->field = xstrdup(field);
    upload->used = 0;
    return ERR_OK;
}

static enum err_code flush(struct upload *upload, struct err *err)
{
    if (EVP_DigestUpdate(upload->md, upload->buffer, upload->used) != 1)
        return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    for (size_t done = 0; done < upload->used;) {
        ssize_t n = write(upload->fd, upload->buffer + done, upload->used - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return spool_error(err, errno, "cannot write to");
        done += (size_t)n;
    }
    upload->used = 0;
    return ERR_OK;
}

enum err_code upload_data(struct upload *upload, const void *data, size_t size, struct err *err)
{
    struct http_file *file = &upload->files[upload->n_files - 1];
    const unsigned char *from = data;
    if (file->bytes < sizeof file->head) {
        size_t room = sizeof file->head - (size_t)file->bytes;
        memcpy(file->head + file->bytes, from, size < room ? size : room);
    }
    file->bytes += size;
    while (size) {
        size_t room = SPOOL_BUFFER - upload->used;
        size_t part = size < room ? size : room;
        memcpy(upload->buffer + upload->used, from, part);
        upload->used += part;
        from += part;
        size -= part;
        if (upload->used == SPOOL_BUFFER) {
            enum err_code code = flush(upload, err);
            if (code != ERR_OK)
                return code;
        }
    }
    return ERR_OK;
}

enum err_code upload_end(struct upload *upload, struct err *err)
{
    struct http_file *file = &upload->files[upload->n_files - 1];
    unsigned char digest[SHA256_BYTES];
    enum err_code code = flush(upload, err);
    if (code != ERR_OK)
        return code;
    if (EVP_DigestFinal_ex(upload->md, digest, NULL) != 1)
        return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    for (int i = 0; i < SHA256_BYTES; i++)
        snprintf(file->sha256 + 2 * i, 3, "%02x", digest[i]);
    int failed = close(STEAL_FD(upload->fd)); /* network file systems report a full disk here */
    return failed && errno != EINTR ? spool_error(err, errno, "cannot write to") : ERR_OK;
}

struct http_file *upload_files(struct upload *upload, size_t *ret_n)
{
    *ret_n = upload->n_files;
    return upload->files;
}

char *http_file_take(struct http_file *file)
{
    return STEAL(file->path);
}

char *upload_clean_name(const char *name)
{
    const char *base = name ? name : "";
    for (const char *p = base; *p; p++)
        if (*p == '/' || *p == '\\')
            base = p + 1;
    char *out = xalloc(FILE_NAME_MAX + 1);
    size_t used = 0;
    for (const char *p = base; *p;) {
        uint32_t c = 0;
        size_t n = utf8_char(p, &c);
        if (n == 0) { /* a bad byte */
            if (used + 1 > FILE_NAME_MAX)
                break;
            out[used++] = '_';
            p++;
            continue;
        }
        if (!utf8_unprintable(c)) {
            if (used + n > FILE_NAME_MAX)
                break;
            memcpy(out + used, p, n);
            used += n;
        }
        p += n;
    }
    out[used] = 0;
    if (strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
        out[0] = 0;
    return out;
}

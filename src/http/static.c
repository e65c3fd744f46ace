/* The page: files compiled into the program (assets.h), or, for development, a folder.
 *
 * The page is one document that knows its own paths, so "/", "/history", "/about" and "/a/…" all
 * give index.html. Somebody who follows a wrong link gets it, too, as 404: it says so in his
 * language. Names that carry their hash may be kept for ever; index.html is asked for anew each
 * time, cheaply, by its ETag. From a folder, files are opened beneath it: no link leads out.
 *
 * Runs on the I/O thread: memory, or one open() and sendfile(). */
#include "internal.h"
#include "assets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/mem.h"

static int is_page_path(const char *path)
{
    return strcmp(path, "/") == 0 || strcmp(path, "/history") == 0 || strcmp(path, "/about") == 0 ||
           (strncmp(path, "/a/", 3) == 0 && path[3]);
}

/* A person's browser opens an address; programs get a problem document. */
static int is_lost(const struct http_request *request)
{
    return request->mode && strcmp(request->mode, "navigate") == 0 &&
           strncmp(request->target.path, "/api/", 5) != 0;
}

static const struct asset *find_asset(const char *path)
{
    for (size_t i = 0; i < n_assets; i++)
        if (strcmp(assets[i].path, path) == 0)
            return &assets[i];
    return NULL;
}

/* --- a folder
 * -------------------------------------------------------------------------------------
 */

static const struct {
    const char *suffix, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".json", "application/json"},
    {".webmanifest", "application/manifest+json"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
    {".txt", "text/plain; charset=utf-8"},
    {".map", "application/json"},
    {".wav", "audio/wav"},
};

static const char *type_of(const char *path)
{
    size_t len = strlen(path);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        size_t n = strlen(types[i].suffix);
        if (len > n && strcmp(path + len - n, types[i].suffix) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}

/* A regular file below the folder, or -1. Links are followed as long as they stay inside. */
static int open_below(const char *folder, const char *path, uint64_t *ret_size, uint64_t *ret_stamp)
{
    _cleanup_close_ int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    while (*path == '/')
        path++;
    if (dir < 0)
        return -1;
    int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
    struct stat st;
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -1;
    }
    *ret_size = (uint64_t)st.st_size;
    *ret_stamp = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    return fd;
}

static int open_page_file(const struct http_request *request, const char **ret_path,
                          uint64_t *ret_size, uint64_t *ret_stamp)
{
    const char *path = request->target.path;
    *ret_path = is_page_path(path) ? "/index.html" : path;
    return open_below(request->server->config.web_dir, *ret_path, ret_size, ret_stamp);
}

int static_has(const struct http_request *request)
{
    const char *path = request->target.path;
    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0)
        return 0;
    if (find_asset(path) || is_page_path(path) || is_lost(request))
        return 1;
    if (!request->server->config.web_dir)
        return 0;
    uint64_t size, stamp;
    _cleanup_close_ int fd = open_page_file(request, &path, &size, &stamp);
    return fd >= 0;
}

/* --- answers
 * --------------------------------------------------------------------------------------
 */

struct body_choice {
    const unsigned char *data;
    size_t size;
    const char *coding; /* NULL: plain */
};

/* The smallest coding that the client likes best. */
static struct body_choice choose(const struct asset *asset, const char *accept)
{
    struct body_choice choice = {asset->plain, asset->plain_size, NULL};
    int best = accept ? 0 : 1;
    if (!accept)
        return choice;
    int brotli = asset->brotli ? coding_quality(accept, "br") : -1;
    int zipped = asset->gzip ? coding_quality(accept, "gzip") : -1;
    if (zipped > best) {
        best = zipped;
        choice = (struct body_choice){asset->gzip, asset->gzip_size, "gzip"};
    }
    if (brotli > 0 && brotli >= best)
        choice = (struct body_choice){asset->brotli, asset->brotli_size, "br"};
    return choice;
}

static void reply_asset(struct http_request *request, int status, const struct asset *asset)
{
    if (status == 200)
        http_reply_header(request, "ETag", asset->etag);
    http_reply_header(request, "Cache-Control",
                      asset->immutable ? "public, max-age=31536000, immutable" : "no-cache");
    if (asset->gzip || asset->brotli)
        http_reply_header(request, "Vary", "Accept-Encoding");
    if (status == 200 && etag_matches(http_header(request, "If-None-Match"), asset->etag)) {
        http_reply_empty(request, 304);
        return;
    }
    struct body_choice choice = choose(asset, http_header(request, "Accept-Encoding"));
    struct MHD_Response *response =
        MHD_create_response_from_buffer(choice.size, (void *)choice.data, MHD_RESPMEM_PERSISTENT);
    if (response) {
        (void)MHD_add_response_header(response, "Content-Type", asset->type);
        if (choice.coding)
            (void)MHD_add_response_header(response, "Content-Encoding", choice.coding);
    }
    reply_set(request, status, response);
}

enum err_code static_reply(struct http_request *request, struct err *err)
{
    const char *path = request->target.path;
    if (request->server->config.web_dir) {
        uint64_t size, stamp;
        int fd = open_page_file(request, &path, &size, &stamp);
        if (fd >= 0) {
            char etag[48];
            snprintf(etag, sizeof etag, "\"%llx-%llx\"", (unsigned long long)stamp,
                     (unsigned long long)size);
            http_reply_header(request, "Cache-Control", "no-cache");
            http_reply_file(request, type_of(path), fd, size, etag, NULL, 0);
            return ERR_OK;
        }
    }
    const struct asset *asset = find_asset(is_page_path(path) ? "/index.html" : path);
    int status = asset ? 200 : 404;
    if (!asset && is_lost(request))
        asset = find_asset("/index.html");
    if (!asset)
        return err_set(err, ERR_NO_ROUTE, "there is nothing at %.120s", path);
    reply_asset(request, status, asset);
    return ERR_OK;
}

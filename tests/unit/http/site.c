/* See site.h. */
#include "site.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/assets.h"

#define FILE_BYTES 1000000

const struct asset assets[] = {
    {"/index.html", "text/html; charset=utf-8", "\"index-1\"", (const unsigned char *)"<p>page",
     (const unsigned char *)"gz", (const unsigned char *)"b", 7, 2, 1, 0},
    {"/assets/app-abc123.js", "text/javascript; charset=utf-8", "\"app-1\"",
     (const unsigned char *)"let a", NULL, NULL, 5, 0, 0, 1},
};
const size_t n_assets = ARRAY_LEN(assets);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int held, releases, later;
static struct http_deferred *deferred[64];
static _Atomic int contexts, admits = 1;

/* --- handlers -----------------------------------------------------------------------------------
 */

static enum err_code health(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    (void)err;
    http_reply_text(r, 200, "text/plain", "ok\n");
    return ERR_OK;
}

static enum err_code item(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    if (strcmp(http_path_param(r, "id"), "missing") == 0)
        return err_set(err, ERR_NO_SUCH, "no item of that id");
    if (strcmp(http_path_param(r, "id"), "silent") == 0)
        return ERR_OK; /* no answer: a mistake */
    json_t *json = json_object();
    json_object_set_new(json, "id", json_string(http_path_param(r, "id")));
    json_object_set_new(json, "path", json_string(http_path(r)));
    const char *q = http_query(r, "q");
    json_object_set_new(json, "q", q ? json_string(q) : json_null());
    json_object_set_new(json, "wait", json_real(http_prefer_wait(r)));
    json_object_set_new(json, "peer", json_string(http_peer(r)));
    json_object_set_new(json, "trace", json_string(http_trace(r)->trace_id));
    http_reply_json(r, 200, json);
    return ERR_OK;
}

static enum err_code echo(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    (void)err;
    http_reply_json(r, 200, json_deep_copy(http_json(r)));
    return ERR_OK;
}

static enum err_code big(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    (void)err;
    json_t *list = json_array();
    for (int i = 0; i < 2000; i++)
        json_array_append_new(list, json_integer(i));
    http_reply_json(r, 200, list);
    return ERR_OK;
}

static enum err_code upload(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    (void)err;
    size_t n;
    struct http_file *files = http_files(r, &n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *file = json_object();
        json_object_set_new(file, "name", json_string(files[i].name));
        json_object_set_new(file, "field", json_string(files[i].field));
        json_object_set_new(file, "bytes", json_integer((json_int_t)files[i].bytes));
        json_object_set_new(file, "sha256", json_string(files[i].sha256));
        json_object_set_new(file, "head", json_integer(files[i].head[0]));
        struct stat st;
        json_object_set_new(file, "stored",
                            json_integer(stat(files[i].path, &st) == 0 ? st.st_size : -1));
        json_array_append_new(list, file);
    }
    if (n && http_query(r, "take")) {
        _cleanup_free_ char *path = http_file_take(&files[0]);
        unlink(path);
    }
    json_t *json = json_object();
    json_object_set_new(json, "files", list);
    const char *note = http_field(r, "note");
    json_object_set_new(json, "note", note ? json_string(note) : json_null());
    http_reply_json(r, 202, json);
    return ERR_OK;
}

static enum err_code file(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    char path[] = "/tmp/sonde-http-file-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    _cleanup_free_ unsigned char *bytes = malloc(FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES; i++)
        bytes[i] = (unsigned char)(i * 31 >> 3);
    if (fd < 0 || write(fd, bytes, FILE_BYTES) != FILE_BYTES)
        return err_set(err, ERR_IO, "no temporary file");
    http_reply_file(r, "audio/wav", fd, FILE_BYTES, "\"e1\"", "caf\xc3\xa9 \"1\".wav", 0);
    return ERR_OK;
}

static enum err_code hold(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    (void)err;
    pthread_mutex_lock(&lock);
    held++;
    pthread_cond_broadcast(&changed);
    while (releases == 0)
        pthread_cond_wait(&changed, &lock);
    releases--;
    held--;
    pthread_mutex_unlock(&lock);
    http_reply_text(r, 200, "text/plain", "released");
    return ERR_OK;
}

static void drop_context(void *context)
{
    free(context);
    atomic_fetch_sub(&contexts, 1);
}

static enum err_code after(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    (void)err;
    http_reply_text(r, 200, "text/plain", http_context(r));
    return ERR_OK;
}

static void resume_here(struct http_deferred *handle)
{
    atomic_fetch_add(&contexts, 1);
    http_resume_here(handle, after, xstrdup("told"), drop_context);
}

static enum err_code defer(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    (void)err;
    atomic_fetch_add(&contexts, 1);
    http_set_context(r, xstrdup("later"), drop_context);
    struct http_deferred *handle = http_defer(r);
    const char *now = http_query(r, "now");
    if (now) { /* before this handler has even returned */
        if (strcmp(now, "here") == 0)
            resume_here(handle);
        else
            http_resume(handle, after);
        return ERR_OK;
    }
    pthread_mutex_lock(&lock);
    deferred[later++] = handle;
    pthread_mutex_unlock(&lock);
    return ERR_OK;
}

static enum err_code gate(struct http_request *r, void *app, struct err *err)
{
    (void)app;
    (void)r;
    return atomic_load(&admits) ? ERR_OK : err_set(err, ERR_QUEUE_FULL, "no more for now");
}

static const struct http_route routes[] = {
    {.method = "GET", .path = "/healthz", .handle = health, .open_to_sites = 1},
    {.method = "GET", .path = "/loop", .handle = health},
    {.method = "GET", .path = "/items/{id}", .handle = item, .where = HTTP_ON_WORKER},
    {.method = "DELETE", .path = "/items/{id}", .handle = item, .where = HTTP_ON_WORKER},
    {.method = "GET", .path = "/items/{id}/part", .handle = item, .where = HTTP_ON_WORKER},
    {.method = "GET", .path = "/items/special", .handle = health},
    {.method = "GET", .path = "/big", .handle = big, .where = HTTP_ON_WORKER},
    {.method = "GET", .path = "/file", .handle = file, .where = HTTP_ON_WORKER},
    {.method = "GET", .path = "/held", .handle = hold, .where = HTTP_ON_WORKER},
    {.method = "GET", .path = "/later", .handle = defer, .where = HTTP_ON_WORKER},
    {.method = "GET", .path = "/later-loop", .handle = defer},
    {.method = "POST",
     .path = "/echo",
     .handle = echo,
     .where = HTTP_ON_WORKER,
     .body = HTTP_BODY_JSON},
    {.method = "POST",
     .path = "/upload",
     .handle = upload,
     .where = HTTP_ON_WORKER,
     .body = HTTP_BODY_FILES},
    {.method = "POST",
     .path = "/admitted",
     .handle = upload,
     .where = HTTP_ON_WORKER,
     .body = HTTP_BODY_FILES,
     .admit = gate},
};

/* --- starting, stopping
 * --------------------------------------------------------------------------- */

void site_start(struct site *site, const struct http_config *given)
{
    struct err err = {0};
    struct http_config config = given ? *given : (struct http_config){0};
    memset(site, 0, sizeof *site);
    snprintf(site->spool, sizeof site->spool, "/tmp/sonde-http-spool-XXXXXX");
    if (!mkdtemp(site->spool) || pool_new("workers", 8, 256, &site->workers, &err) != ERR_OK)
        abort();
    if (!config.listen)
        config.listen = "127.0.0.1:0";
    if (!config.loops)
        config.loops = 2;
    if (!config.upload_max)
        config.upload_max = SITE_UPLOAD_MAX;
    if (!config.spool)
        config.spool = site->spool;
    if (!config.routes) {
        config.routes = routes;
        config.n_routes = ARRAY_LEN(routes);
    }
    config.workers = site->workers;
    if (http_server_start(&config, &site->server, &err) != ERR_OK) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    site->port = http_server_port(site->server);
    pthread_mutex_lock(&lock);
    held = releases = later = 0;
    pthread_mutex_unlock(&lock);
    atomic_store(&admits, 1);
}

int site_spooled(const struct site *site)
{
    DIR *dir = opendir(site->spool);
    int count = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}

void site_stop(struct site *site, double grace_s)
{
    site->server = http_server_stop(site->server, grace_s);
    site->workers = pool_free(site->workers);
    if (rmdir(site->spool) != 0) {
        fprintf(stderr, "the spool folder is not empty\n");
        abort();
    }
}

void site_release(void)
{
    pthread_mutex_lock(&lock);
    releases++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

int site_held(void)
{
    pthread_mutex_lock(&lock);
    int n = held;
    pthread_mutex_unlock(&lock);
    return n;
}

int site_later(void)
{
    pthread_mutex_lock(&lock);
    int n = later;
    pthread_mutex_unlock(&lock);
    return n;
}

void site_resume(void)
{
    pthread_mutex_lock(&lock);
    int n = later;
    struct http_deferred *handles[ARRAY_LEN(deferred)];
    memcpy(handles, deferred, sizeof handles);
    later = 0;
    pthread_mutex_unlock(&lock);
    static unsigned turn; /* both ways */
    for (int i = 0; i < n; i++)
        if (turn++ & 1)
            http_resume(handles[i], after);
        else
            resume_here(handles[i]);
}

int site_contexts(void)
{
    return atomic_load(&contexts);
}

void site_admit(int yes)
{
    atomic_store(&admits, yes);
}

/* The start and the end of a server process: data folder, drivers, roles, address. Whatever fails
 * is closed again by app_stop, which takes a half-built app. The order of the end is the reverse of
 * the order of the start, except that the address stops listening first. */
#include "app.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../base/time.h"
#include "../http/client.h"
#include "../nn/nn.h"
#include "../obs/metrics.h"
#include "../os/clock.h"
#include "../os/disk.h"
#include "roles.h"

#define WORKER_QUEUE_MAX 4096
#define GRACE_SECONDS    10

/* --- the data folder: lock, sonde.db, blobs/, spool/, mail/; of those the ones that are not kept
 * on servers */

/* Allocated: where the database's file is, NULL when it is no file. */
static char *db_file(const struct app_settings *settings)
{
    static const char scheme[] = "sqlite:";
    if (!settings->db.url)
        return xasprintf("%s/sonde.db", settings->data);
    return strncmp(settings->db.url, scheme, strlen(scheme)) == 0
               ? xstrdup(settings->db.url + strlen(scheme))
               : NULL;
}

static enum err_code open_folder(struct app *app, int exclusive, struct err *err)
{
    const char *data = app->settings.data;
    uint64_t left = 0;
    _cleanup_free_ char *file = db_file(&app->settings);
    if (!exclusive && file && access(file, F_OK) != 0)
        return err_set_errno(err, err_from_errno(errno), errno, "there is no sonde data in %s",
                             data);
    enum err_code rc = disk_make_folder(data, err);
    if (rc == ERR_OK && exclusive)
        rc = disk_lock_folder(data, &app->lock_fd, err);
    app->spool = xasprintf("%s/spool", data);
    if (rc == ERR_OK)
        rc = disk_make_folder(app->spool, err);
    if (rc == ERR_OK && exclusive) { /* of a process that was killed: never accepted */
        rc = disk_clear_folder(app->spool, &left, err);
        if (left > 0)
            log_event(LOG_LEVEL_INFO, "removed unfinished uploads", LOG_I("labels.count", left));
    }
    return rc;
}

static int first_blob(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    (void)key, (void)size, (void)modified_ms;
    *(int *)ctx = 1;
    return 1;
}

/* A new database beside stored recordings would call all of them orphans, and the keeper would
 * delete them. So a database that got lost is said, and not made anew. */
static enum err_code check_not_lost(struct app *app, struct err *err)
{
    _cleanup_free_ char *file = db_file(&app->settings);
    _cleanup_free_ char *wal = file ? xasprintf("%s-wal", file) : NULL;
    struct stat st;
    int any = 0;
    if (!file) /* a server's: recordings that it does not know may be those of another one */
        return ERR_OK;
    if (stat(file, &st) == 0 ? st.st_size > 0 || access(wal, F_OK) == 0 : errno != ENOENT)
        return ERR_OK;
    enum err_code rc = blob_list(app->blob, BLOB_RAW, first_blob, &any, err);
    if (rc == ERR_OK && any)
        rc = err_set(err, ERR_DB_CORRUPT,
                     "the database %.120s is gone or empty, but there are recordings beside it",
                     file);
    return rc;
}

enum err_code app_open_data(const struct app_settings *settings, int exclusive, int migrate,
                            struct app *app, struct err *err)
{
    *app = (struct app){.lock_fd = -1, .settings = *settings};
    _cleanup_free_ char *db_url = xasprintf("sqlite:%s/sonde.db", settings->data);
    _cleanup_free_ char *blob_url = xasprintf("fs:%s/blobs", settings->data);
    int applied = 0;
    enum err_code rc = open_folder(app, exclusive, err);
    struct blob_options blob = settings->blob;
    blob.spool = app->spool;
    if (!blob.url)
        blob.url = blob_url;
    if (rc == ERR_OK)
        rc = blob_open_store(&blob, &app->blob, err);
    if (rc == ERR_OK && exclusive)
        rc = check_not_lost(app, err);
    struct db_options db = settings->db;
    if (!db.url)
        db.url = db_url;
    if (rc == ERR_OK)
        rc = db_open(&db, &app->db, err);
    if (rc == ERR_OK)
        app->shared = (db_caps(app->db) & DB_CAP_SHARED) != 0;
    if (rc == ERR_OK && migrate)
        rc = store_migrate(app->db, &applied, err);
    if (applied > 0)
        log_event(LOG_LEVEL_INFO, "database brought up to date",
                  LOG_I("labels.migrations", applied));
    struct queue_options queue = settings->queue;
    queue.db = app->db;
    if (!queue.url)
        queue.url = "table:";
    if (rc == ERR_OK)
        rc = queue_open(&queue, &app->queue, err);
    if (rc != ERR_OK)
        app_close_data(app);
    return rc;
}

void app_close_data(struct app *app)
{
    app->queue = queue_close(app->queue);
    app->blob = blob_close_store(app->blob);
    app->db = db_close(app->db);
    free(app->spool);
    app->spool = NULL;
    if (app->lock_fd >= 0)
        close(app->lock_fd);
    app->lock_fd = -1;
}

enum db_durability app_durability(const struct app *app)
{
    return app->settings.keep_audio_days == 0 ? DB_DURABLE : queue_needs(app->queue);
}

/* --- gauges that a scrape asks for */

static void fill_queue(struct app *app, const char *name)
{
    struct queue_stats stats = {0};
    if (queue_stats(app->queue, name, &stats, NULL) != ERR_OK)
        return;
    metric_set(metric_get(METRIC_QUEUE_DEPTH, name, "ready", NULL), (double)stats.ready);
    metric_set(metric_get(METRIC_QUEUE_DEPTH, name, "delayed", NULL), (double)stats.delayed);
    metric_set(metric_get(METRIC_QUEUE_DEPTH, name, "leased", NULL), (double)stats.leased);
    metric_set(metric_get(METRIC_QUEUE_AGE, name, NULL, NULL), stats.oldest_s);
}

static void fill_gauges(void *ctx)
{
    static const char *const queues[] = {QUEUE_MEDICAL_DATA, QUEUE_ML_INFERENCE, QUEUE_STABILITY,
                                         QUEUE_WEBHOOK, QUEUE_DLQ};
    struct app *app = ctx;
    uint64_t outbox = 0;
    for (size_t i = 0; i < ARRAY_LEN(queues); i++)
        fill_queue(app, queues[i]);
    if (store_outbox_count(app->db, &outbox, NULL) == ERR_OK)
        metric_set(metric_get(METRIC_OUTBOX, NULL, NULL, NULL), (double)outbox);
    struct pool_stats pool = pool_stats(app->workers);
    metric_set(metric_get(METRIC_POOL_THREADS, "workers", "busy", NULL), pool.busy);
    metric_set(metric_get(METRIC_POOL_THREADS, "workers", "idle", NULL), pool.threads - pool.busy);
    metric_set(metric_get(METRIC_POOL_WAITING, "workers", NULL, NULL), (double)pool.waiting);
    metric_set(metric_get(METRIC_DISK_FREE, NULL, NULL, NULL),
               (double)atomic_load(&app->free_bytes));
    metric_set(metric_get(METRIC_DISK_DB, NULL, NULL, NULL), (double)db_size_bytes(app->db));
    if (app->hub)
        metric_set(metric_get(METRIC_WEBSOCKETS, NULL, NULL, NULL), ws_count(app->hub));
}

/* --- start */

static void changed(void *ctx, unsigned grown)
{
    struct app *app = ctx;
    if (grown & STORE_GREW_OUTBOX)
        bell_ring(&app->outbox);
    if (grown & STORE_GREW_EVENTS) {
        bell_ring(&app->changed);
        bell_ring(&app->news);
    }
}

static enum err_code open_rest(struct app *app, struct err *err)
{
    _cleanup_free_ char *mail_url = xasprintf("file:%s/mail", app->settings.data);
    uint64_t returned = 0;
    struct cache_options cache = app->settings.cache;
    if (!cache.url)
        cache.url = "mem:";
    struct mail_options mail = {.url = mail_url, .from = "sonde <sonde@localhost>"};
    /* What another process has leased is being worked on. */
    enum err_code rc = app->shared ? ERR_OK : queue_recover(app->queue, &returned, err);
    if (returned > 0)
        log_event(LOG_LEVEL_INFO, "jobs of the last run start again",
                  LOG_I("labels.count", returned));
    if (rc == ERR_OK)
        rc = cache_open(&cache, &app->cache, err);
    app->cached = rc == ERR_OK && cache_shared(app->cache) && !(db_caps(app->db) & DB_CAP_LOCAL);
    if (rc == ERR_OK)
        rc = mail_open(&mail, &app->mail, err);
    if (rc == ERR_OK)
        rc = pool_new("worker", app->settings.workers, WORKER_QUEUE_MAX, &app->workers, err);
    if (rc == ERR_OK)
        rc = http_client_setup(err);
    if (rc == ERR_OK)
        rc = routes_openapi(&app->openapi, err);
    if (rc == ERR_OK && (app->settings.roles & ROLE_UPLOAD))
        rc = events_open(app, err);
    return rc == ERR_OK ? tell_open(app, err) : rc;
}

static enum err_code start_thread(pthread_t *thread, const char *name, void *(*run)(void *),
                                  struct app *app, struct err *err)
{
    int rc = pthread_create(thread, NULL, run, app);
    if (rc != 0) {
        *thread = 0;
        return err_set_errno(err, ERR_NO_MEMORY, rc, "cannot start a thread");
    }
    pthread_setname_np(*thread, name);
    return ERR_OK;
}

static enum err_code start_roles(struct app *app, struct err *err)
{
    enum err_code rc = start_thread(&app->relay_thread, "relay", relay_run, app, err);
    if (rc == ERR_OK && (app->settings.roles & ROLE_UPLOAD))
        rc = start_thread(&app->events_thread, "events", events_run, app, err);
    if (rc == ERR_OK && cache_shared(app->cache))
        rc = start_thread(&app->tell_thread, "tell", tell_run, app, err);
    if (rc == ERR_OK)
        rc = start_thread(&app->keeper_thread, "keeper", keeper_run, app, err);
    if (rc == ERR_OK)
        rc = consumers_start(app, err);
    return rc;
}

static enum err_code listen_http(struct app *app, struct err *err)
{
    int whole = (app->settings.roles & ROLE_UPLOAD) != 0;
    struct http_config config = {
        .listen = app->settings.listen,
        .upload_max = app->settings.upload_max,
        .spool = app->spool,
        .web_dir = app->settings.web_dir,
        .hosts = app->settings.hosts,
        .local_reads = (db_caps(app->db) & DB_CAP_LOCAL) && !cache_shared(app->cache),
        .routes = whole ? app_routes : app_probe_routes,
        .n_routes = whole ? app_n_routes : app_n_probe_routes,
        .elsewhere = whole ? NULL
                           : "this process only works in the background; the page and the API are "
                             "at a process with the role upload",
        .app = app,
        .workers = app->workers,
    };
    return http_server_start(&config, &app->http, err);
}

static void name_model(struct app *app)
{
    const struct nn_model *model = detector_model(app->detector);
    const char *name = nn_model_meta(model, "name");
    snprintf(app->model_name, sizeof app->model_name, "%s", name ? name : "unnamed");
    snprintf(app->model_sha256, sizeof app->model_sha256, "%s", nn_model_sha256(model));
}

enum err_code app_start(const struct app_settings *settings, struct detector *detector,
                        struct media_service *media, struct app **ret, struct err *err)
{
    struct app *app = xalloc(sizeof *app);
    enum err_code rc = app_open_data(settings, 1, 1, app, err);
    if (rc == ERR_OK && (settings->roles & ROLE_INFERENCE) && (!detector || !media)) {
        app_close_data(app);
        rc = err_set(err, ERR_INTERNAL, "inference needs a detector and a decoder");
    }
    if (rc != ERR_OK) {
        free(app);
        return rc;
    }
    app->detector = detector;
    app->media = media;
    app->started_ms = time_now_ms();
    app->waiters = waiters_new();
    app->polls = polls_new(app);
    if (detector)
        name_model(app);
    id_new(app->instance);
    store_set_origin(app->instance);
    bell_init(&app->outbox);
    bell_init(&app->changed);
    bell_init(&app->news);
    store_on_change(changed, app);
    rc = open_rest(app, err);
    if (rc == ERR_OK) {
        keeper_look(app);
        metrics_build_info(SONDE_VERSION, app->model_name);
        metrics_hook(fill_gauges, app);
        rc = start_roles(app, err);
    }
    if (rc == ERR_OK)
        rc = listen_http(app, err);
    if (rc != ERR_OK) {
        app_stop(app);
        return rc;
    }
    *ret = app;
    return ERR_OK;
}

static void join(pthread_t *thread)
{
    if (*thread)
        pthread_join(*thread, NULL);
    *thread = 0;
}

/* Time for whoever sends requests here to see that it should not. */
static void drain(struct app *app)
{
    atomic_store(&app->draining, 1);
    for (double until = clock_seconds() + (app->http ? app->settings.drain_seconds : 0);
         clock_seconds() < until;)
        usleep(20000);
}

struct app *app_stop(struct app *app)
{
    if (!app)
        return NULL;
    drain(app);
    atomic_store(&app->stopping, 1);
    waiters_report_all(app->waiters); /* nobody is kept waiting for what will not come */
    ws_hub_stop(app->hub); /* before the server: libmicrohttpd may not end under a socket that it
                              gave away */
    app->http = http_server_stop(app->http, GRACE_SECONDS);
    consumers_stop(app);
    bell_ring(&app->changed);
    bell_ring(&app->news);
    join(&app->keeper_thread);
    join(&app->events_thread);
    join(&app->tell_thread);
    atomic_store(&app->relay_stop, 1);
    bell_ring(&app->outbox);
    join(&app->relay_thread);
    app->workers = pool_free(app->workers);
    app->cache = cache_close(app->cache); /* before the hub: what it hears goes there */
    app->hub = ws_hub_free(app->hub);
    metrics_unhook(app);
    store_on_change(NULL, NULL);
    app->waiters = waiters_free(app->waiters);
    app->polls = polls_free(app->polls);
    app->mail = mail_close(app->mail);
    json_decref(app->openapi);
    bell_done(&app->outbox);
    bell_done(&app->changed);
    bell_done(&app->news);
    store_set_origin("");
    app_close_data(app);
    free(app);
    return NULL;
}

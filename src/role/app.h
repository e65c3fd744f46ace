/* What all roles of one process share: settings, drivers, detector, pools, and how they start and
 * end.
 *
 * A role is a set of routes, queue consumers and timers. It knows the facades of the drivers and
 * the store, and not which drivers they are nor which other roles run beside it: they meet in the
 * database and in the queue only, so that each could run in a process of its own.
 *
 *   gateway    pages, health, metrics, info, OpenAPI          health.c routes.c
 *   upload     takes recordings in                            upload.c
 *   analyses   lists, shows, deletes, reruns                  analyses.c present.c cached.c polls.c
 *   events     WebSocket, Prefer: wait                        events.c waiters.c
 *   relay      outbox -> queue                                relay.c
 *   tell       changes and progress -> other processes        tell.c
 *   intake     medical_data -> ml_inference                   intake.c
 *   inference  ml_inference, stability -> results             inference.c
 *   webhooks   tells others                                   webhooks.c
 *   keeper     retention, expiry, sweeping, gauges            keeper.c
 *
 * Of these a process starts what its settings.roles ask for; health, relay, tell and the keeper's
 * gauges are in every one. */
#ifndef SONDE_ROLE_APP_H
#define SONDE_ROLE_APP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "../base/err.h"
#include "../detect/detector.h"
#include "../driver/blob/blob.h"
#include "../driver/cache/cache.h"
#include "../driver/db/db.h"
#include "../driver/mail/mail.h"
#include "../driver/queue/queue.h"
#include "../http/http.h"
#include "../http/websocket.h"
#include "../os/pool.h"
#include "bell.h"

#define KEEP_FOREVER (-1.0)

enum app_roles {
    ROLE_UPLOAD = 1,    /* page and API: takes recordings in, shows answers, tells of changes */
    ROLE_INFERENCE = 2, /* medical_data, ml_inference, stability */
    ROLE_KEEPER = 4,    /* retention, dead letters, sweeping, webhooks */
    ROLE_ALL = 7,
};

struct app_settings {
    unsigned roles; /* of enum app_roles; /healthz, /readyz and /metrics are there in each */
    /* Where the drivers are; a url of NULL is the embedded one, in `data`. */
    struct db_options db;
    struct blob_options blob;
    struct queue_options queue;
    struct cache_options cache;
    double drain_seconds; /* at the end: how long /readyz says no before the address closes */
    const char *listen, *data, *web_dir, *hosts;
    double keep_audio_days;   /* 0: gone right after the analysis; KEEP_FOREVER */
    double keep_results_days; /* KEEP_FOREVER, or more than 0 */
    uint64_t upload_max;      /* bytes of one request's recordings, and of one unpacked zip */
    uint64_t queue_max;       /* analyses waiting or running before uploads are refused */
    uint64_t min_free;        /* bytes of free space below which uploads are refused */
    int workers;              /* threads for requests that wait for storage */
    int analysts;             /* threads that analyse */
};

struct consumers;
struct waiters;

struct app {
    struct app_settings settings;
    struct detector *detector;   /* may be NULL without ROLE_INFERENCE */
    struct media_service *media; /* likewise */
    char model_name[64], model_sha256[SHA256_HEX];
    char instance[ID_TEXT]; /* of this run of this process */
    int shared;             /* other processes use the database, too */
    int cached; /* final answers are kept in the cache: it is shared, the database far */

    int lock_fd;
    char *spool;
    struct db *db;
    struct blob *blob;
    struct queue *queue;
    struct cache *cache;
    struct mail *mail;
    struct pool *workers;
    struct http_server *http;
    struct ws_hub *hub;
    struct waiters *waiters;
    struct polls *polls;
    json_t *openapi;

    atomic_int draining; /* no new work, please: /readyz says so before the address closes */
    atomic_int stopping, relay_stop;
    atomic_int leads;          /* this process is the one keeper at the moment */
    pthread_mutex_t told_lock; /* of told, events.c */
    int64_t told; /* up to this event the sockets here were told, or are being told right now */
    struct bell outbox;  /* rung after every commit here that grew the outbox */
    struct bell changed; /* the same of the events */
    struct bell news;    /* and also after those of other processes */
    pthread_t relay_thread, events_thread, keeper_thread, tell_thread;
    struct consumers *consumers;
    int64_t started_ms;

    /* Kept by the keeper for the I/O threads, which must not ask the database or the disk. */
    atomic_uint_fast64_t waiting, free_bytes;
    atomic_int model_ok;
};

/* Opens the data folder and starts the roles; returns when the address answers. The engine
 * (detector, media) stays the caller's; without ROLE_INFERENCE both may be NULL (then the page is
 * not told about the model: give the detector where there is ROLE_UPLOAD). */
enum err_code app_start(const struct app_settings *settings, struct detector *detector,
                        struct media_service *media, struct app **ret, struct err *err) MUST_CHECK;
/* Says so in /readyz for drain_seconds, stops accepting, lets requests finish, hands jobs back,
 * closes. */
struct app *app_stop(struct app *app);

/* Database, blobs and queue as `settings` says, without the server: for doctor, jobs, backup. With
 * `exclusive` the data folder is locked (ERR_DATA_IN_USE while a server runs on it; on shared
 * servers each process has a folder of its own). Only settings, db, blob, queue, lock_fd, spool and
 * shared are set. */
enum err_code app_open_data(const struct app_settings *settings, int exclusive, int migrate,
                            struct app *ret, struct err *err) MUST_CHECK;
void app_close_data(struct app *app);

/* What a change has to be before the message about it is settled. Durable also where a recording is
 * deleted on the strength of it. */
enum db_durability app_durability(const struct app *app);
/* A second of noise through the decoder program and the network, as any recording goes. */
enum err_code app_try_detector(struct detector *detector, struct media_service *media,
                               struct err *err) MUST_CHECK;

#endif

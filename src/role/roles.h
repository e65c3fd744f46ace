/* What the roles of src/role offer to app.c, to the route table and to each other. */
#ifndef SONDE_ROLE_ROLES_H
#define SONDE_ROLE_ROLES_H

#include <jansson.h>

#include "../store/store.h"
#include "app.h"

/* --- routes.c: the table of all routes */
extern const struct http_route app_routes[];
extern const size_t app_n_routes;
/* Those that every process has: health, readiness, metrics. */
extern const struct http_route app_probe_routes[];
extern const size_t app_n_probe_routes;
enum err_code routes_openapi(json_t **ret, struct err *err) MUST_CHECK;

/* --- handlers, by file */
http_handler health_alive, health_ready, health_metrics, health_info, health_openapi; /* health.c */
http_admit upload_admit;                                                              /* upload.c */
http_handler upload_one, upload_many;
http_handler status_get, analyses_list, analyses_get, analyses_delete,
    analyses_rerun; /* analyses.c */
http_handler analyses_stability, analyses_result, analyses_audio, analyses_picture;
http_handler events_ticket, events_socket; /* events.c */
http_handler webhooks_add, webhooks_list, webhooks_delete, webhooks_deliveries, webhooks_test;

/* --- present.c: store rows as the API's objects */
json_t *present_analysis(const struct store_analysis *analysis, double progress);
/* With "result" and "stability"; NULL with err. */
enum err_code present_whole(struct app *app, const struct store_analysis *analysis, json_t **ret,
                            struct err *err) MUST_CHECK;
json_t *present_links(const char *id);

/* --- waiters.c: requests that are held back until an analysis is final */
struct waiters *waiters_new(void);
struct waiters *waiters_free(struct waiters *waiters);
/* Takes the deferred request: it is resumed with `handle` once, when the analysis is reported or
 * after `seconds`. At most WAITERS_MAX; ERR_BUSY then. */
#define WAITERS_MAX 1000
enum err_code waiters_add(struct waiters *waiters, const char *id, struct http_request *request,
                          double seconds, http_handler *handle, struct err *err) MUST_CHECK;
int waiters_has(struct waiters *waiters, const char *id);
void waiters_report(struct waiters *waiters, const char *id); /* it is final */
void waiters_report_all(struct waiters *waiters);             /* shutting down */
/* Resumes those whose time is up; returns the seconds until the next one, at most `most`. */
double waiters_tick(struct waiters *waiters, double most);
/* Replies to `request` once `id` is final or its time is up: with the whole analysis or as
 * `unfinished` does. */
enum err_code wait_for_analysis(struct app *app, struct http_request *request, const char *id,
                                http_handler *handle, struct err *err) MUST_CHECK;

/* --- cached.c: final answers in the cache, where it is shared and the database is not near. They
 * are copies: the cache may forget them at any time, its errors are misses. */
enum cached_what { CACHED_STATUS, CACHED_RESULT };
/* NULL: not there; the caller frees it. */
char *cached_get(struct app *app, enum cached_what what, const char *id);
/* Of up to CACHE_MANY ids at once; texts[i] as cached_get's. */
void cached_get_many(struct app *app, enum cached_what what, const char *const *ids, size_t n,
                     char **texts);
/* Only of an analysis that is done, which never changes until it is deleted. */
void cached_put(struct app *app, enum cached_what what, const char *id, const char *text);
/* Before and after a deletion. 0: the cache did not answer, so it has to be tried again. */
int cached_forget(struct app *app, const char *id);

/* --- polls.c: GET /status where the cache is asked first */
struct polls;
struct polls *polls_new(struct app *app);
struct polls *polls_free(struct polls *polls); /* NULL; after the pool of workers */
/* On the loop. Looks into the cache, together with others that come meanwhile; then `handle` runs
 * on a worker, and http_context tells it what was found (a text), or NULL. */
void polls_add(struct polls *polls, struct http_request *request, const char *id,
               http_handler *handle);

/* --- tell.c: what other processes should know at once, by way of the cache */
enum err_code tell_open(struct app *app, struct err *err) MUST_CHECK;
void *tell_run(void *app); /* thread */

/* --- events.c */
enum err_code events_open(struct app *app, struct err *err) MUST_CHECK; /* the hub */
void *events_run(void *app);                                            /* thread */
void events_progress(struct app *app, const char *id, double progress); /* to the sockets here */

/* --- consumers.c: threads that take from a queue */
enum outcome {
    OUTCOME_DONE,
    OUTCOME_RETRY,  /* counts as a try, unless a part of the server was away */
    OUTCOME_FAILED, /* counts as a try, whatever err says */
    OUTCOME_GIVE_BACK,
};
struct consumer_kind {
    const char *queue;
    int threads;        /* 0: settings.analysts */
    int threads_shared; /* on shared servers, whose answers take longer than the work; 0: the same
                         */
    double lease_s;
    int nice;
    void *(*open)(struct app *app, int thread, struct err *err); /* a thread's own state, or NULL */
    void (*close)(void *own);
    /* `data` is the message's JSON. RETRY and GIVE_BACK: `err` says why. */
    enum outcome (*work)(struct app *app, void *own, const struct queue_message *message,
                         const json_t *data, struct err *err);
    /* Retries are used up. */
    void (*died)(struct app *app, const json_t *data, const struct err *why);
    /* A second queue that is looked at when the first is empty, or NULL. */
    const struct consumer_kind *idle;
};
/* 1: somebody else has the message now; there is no point in going on. */
int consumers_lost(struct app *app, const struct queue_message *message);
enum err_code consumers_start(struct app *app, struct err *err) MUST_CHECK;
void consumers_stop(struct app *app);
extern const struct consumer_kind intake_kind, inference_kind, stability_kind, webhook_kind;
/* inference.c: how far the analysis that runs here, or as heard elsewhere, is, -1: unknown. */
double inference_progress(const char *id);
void inference_heard(const char *id, double progress);
/* Each that runs here and is known to be somewhere. Up to `cap`. */
struct inference_now {
    char id[ID_TEXT];
    double progress;
};
size_t inference_running(struct inference_now *list, size_t cap);

/* --- relay.c, keeper.c: threads */
void *relay_run(void *app);
void *keeper_run(void *app);
void keeper_look(struct app *app);  /* refreshes waiting and free_bytes now */
void keeper_sweep(struct app *app); /* deletes the blobs that are noted for deletion */
/* An analysis has just become final: where recordings are not kept, they go now. */
void keeper_settled(struct app *app);

/* Such as after a backup during which it was deleted. */
#define NO_RECORDING "the recording is no longer kept"

/* --- the store's idea of where blobs live */
/* Takes over the text (NULL: memory is gone). */
enum err_code blobs_put_picture(struct app *app, const char *analysis_id, char *picture,
                                struct err *err) MUST_CHECK;
/* A shorter recording's picture is drawn when somebody asks for it and the recording is still
 * there: that takes less than a tenth of a second, and most are never asked for. */
#define BLOBS_DRAW_SECONDS 60.0
/* The copy of an answer brings the stored picture along, so that deleting the first does not take
 * it away. An error only where it is worth another try: the storage is away. */
enum err_code blobs_copy_picture(struct app *app, const char *analysis_id,
                                 struct err *err) MUST_CHECK;
/* When the analysis was deleted before its picture was stored: that one goes, too. */
void blobs_drop_picture(struct app *app, const char *analysis_id);
enum err_code blobs_get_picture(struct app *app, const struct store_analysis *analysis, char **ret,
                                size_t *ret_size, struct err *err) MUST_CHECK;

#endif

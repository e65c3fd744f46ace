/* The keeper: one thread for what has to happen now and then.
 *
 *   each second    looks how much is waiting and how much disk is free, for upload_admit
 *   each 2 s       deletes blobs that are noted for deletion
 *   each 10 s      expired messages; dead letters whose analysis does not know of its end
 *   each minute    retention, old events and idempotency keys
 *   at the start   blobs that nothing refers to (a crash between storing and accepting); on a
 * shared database again each few hours, because its processes do not start together
 *
 * The first is for the process itself, and in each. The others are for all, so of several processes
 * with the role only the one that holds the lease does them. For a moment two may believe to hold
 * it (a process that was stopped): everything here may be done twice at once. */
#include <stdlib.h>
#include <string.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../base/time.h"
#include "../obs/metrics.h"
#include "../os/clock.h"
#include "../os/disk.h"
#include "roles.h"

#define SWEEP_BATCH     200
#define RETENTION_BATCH 500
#define DAY_MS          86400000.0
#define LEASE           "keeper"
#define LEASE_SECONDS   15.0
#define LEASE_EACH      5
#define ORPHAN_AGE_S    3600.0     /* no upload takes so long from its file to its row */
#define ORPHANS_EACH    (6 * 3600) /* seconds */

void keeper_look(struct app *app)
{
    uint64_t waiting = 0, room = 0;
    if (store_waiting(app->db, &waiting, NULL) == ERR_OK)
        atomic_store(&app->waiting, waiting);
    if (disk_free_bytes(app->settings.data, &room, NULL) == ERR_OK)
        atomic_store(&app->free_bytes, room);
}

/* --- blobs */

struct sweep {
    struct app *app;
    size_t failed, count;
    struct {
        int64_t row;
        int bucket;
        char key[STORE_KEY_MAX];
    } list[SWEEP_BATCH];
};

static int note_blob(void *ctx, int64_t row, int bucket, const char *key)
{
    struct sweep *s = ctx;
    if (s->count == SWEEP_BATCH)
        return 1;
    s->list[s->count].row = row;
    s->list[s->count].bucket = bucket;
    snprintf(s->list[s->count].key, sizeof s->list[s->count].key, "%s", key);
    s->count++;
    return 0;
}

void keeper_sweep(struct app *app)
{
    struct sweep *s = xalloc(sizeof *s);
    struct err err = {0};
    static struct log_limit limit;
    s->app = app;
    do {
        s->count = 0;
        enum err_code rc = store_blobs_to_delete(app->db, SWEEP_BATCH, note_blob, s, &err);
        for (size_t i = 0; rc == ERR_OK && i < s->count; i++) {
            rc = blob_delete(app->blob, (enum blob_bucket)s->list[i].bucket, s->list[i].key, &err);
            if (rc == ERR_OK)
                rc = store_blob_deleted(app->db, s->list[i].row, &err);
        }
        if (rc != ERR_OK) {
            if (log_allowed(&limit, 60, NULL))
                log_error(LOG_LEVEL_WARN, "deleting will be tried again", &err);
            break;
        }
    } while (s->count == SWEEP_BATCH);
    free(s);
}

void keeper_settled(struct app *app)
{
    struct err err = {0};
    uint64_t count = 0;
    if (app->settings.keep_audio_days != 0)
        return;
    /* Whenever it was settled: the clock may have been set back since. */
    if (store_expire_audio(app->db, INT64_MAX, RETENTION_BATCH, &count, &err) != ERR_OK)
        log_error(LOG_LEVEL_WARN, "a recording will be deleted within a minute", &err);
    else
        keeper_sweep(app);
}

/* A blob whose name no row knows: an upload that was never accepted. Alone on local files it is one
 * that is older than this process. Where others take uploads in, or another machine's clock stamps
 * the files, it is also older than any upload that may be under way. */
struct orphans {
    struct app *app;
    int64_t before_ms;
    enum blob_bucket bucket;
    uint64_t removed;
};

static int remove_orphan(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    struct orphans *o = ctx;
    const char *name = strrchr(key, '/');
    int known = 1;
    struct store_analysis a;
    (void)size;
    name = name ? name + 1 : key;
    if (modified_ms >= o->before_ms || !id_valid(name))
        return atomic_load(&o->app->stopping);
    if (o->bucket == BLOB_RAW) {
        if (store_knows_upload(o->app->db, name, &known, NULL) != ERR_OK)
            known = 1;
    } else {
        known = store_get_status(o->app->db, name, &a, NULL) != ERR_NO_SUCH;
    }
    if (!known && blob_delete(o->app->blob, o->bucket, key, NULL) == ERR_OK)
        o->removed++;
    return atomic_load(&o->app->stopping);
}

/* For tests: SONDE_ORPHAN_AGE, in seconds, where it is known that nobody uploads. */
static int64_t orphan_age_ms(void)
{
    const char *age = secure_getenv("SONDE_ORPHAN_AGE");
    double s = age && *age ? strtod(age, NULL) : ORPHAN_AGE_S;
    return (int64_t)((s >= 0 && s < ORPHAN_AGE_S ? s : ORPHAN_AGE_S) * 1000);
}

static void remove_orphans(struct app *app)
{
    static const enum blob_bucket buckets[] = {BLOB_RAW, BLOB_PROCESSED};
    int64_t before = app->started_ms, aged = time_now_ms() - orphan_age_ms();
    int any = 0;
    if (app->shared || app->settings.blob.url)
        before = app->shared || aged < before ? aged : before;
    /* An empty database beside recordings is more likely the wrong one. */
    if (app->shared && (store_has_uploads(app->db, &any, NULL) != ERR_OK || !any))
        return;
    for (size_t i = 0; i < ARRAY_LEN(buckets); i++) {
        struct orphans o = {.app = app, .bucket = buckets[i], .before_ms = before};
        struct err err = {0};
        if (blob_list(app->blob, buckets[i], remove_orphan, &o, &err) != ERR_OK)
            log_error(LOG_LEVEL_WARN, "storage could not be looked through", &err);
        if (o.removed > 0)
            log_event(LOG_LEVEL_INFO, "removed files that no upload refers to",
                      LOG_T("labels.bucket", blob_bucket_name(buckets[i])),
                      LOG_I("labels.count", o.removed));
    }
}

/* --- dead letters */

struct letters {
    struct app *app;
    int64_t looked_ms, newest_ms;
};

/* An analysis whose message died without its worker knowing (it was killed, or the message grew too
 * old) says so; one that is final already is left as it is. */
static int close_analysis(void *ctx, const struct queue_dead_letter *letter)
{
    struct letters *l = ctx;
    if (letter->died_ms > l->newest_ms)
        l->newest_ms = letter->died_ms;
    if (letter->died_ms <= l->looked_ms || strcmp(letter->queue, QUEUE_WEBHOOK) == 0)
        return 0;
    json_t *data = json_loads(letter->body, 0, NULL);
    const char *id = json_string_value(json_object_get(data, "analysis"));
    struct err why = {0}, err = {0};
    struct store_analysis a;
    int stale = 0;
    if (id && store_get_status(l->app->db, id, &a, NULL) == ERR_OK) {
        if (strcmp(letter->queue, QUEUE_STABILITY) == 0) {
            if (store_stability_set(l->app->db, id, "failed", NULL, &err) != ERR_OK)
                l->newest_ms = l->looked_ms; /* look again */
        } else {
            err_set(&why, letter->deliveries > QUEUE_MAX_RETRIES ? ERR_GAVE_UP : ERR_EXPIRED,
                    "given up after %d tries: %.150s", letter->deliveries, letter->reason);
            if (store_fail(l->app->db, id, 0, &why, &stale, &err) != ERR_OK)
                l->newest_ms = l->looked_ms;
        }
    }
    json_decref(data);
    return 0;
}

static void look_at_letters(struct app *app, int64_t *looked_ms)
{
    struct letters l = {app, *looked_ms, *looked_ms};
    struct err err = {0};
    if (queue_expire(app->queue, NULL, NULL, &err) != ERR_OK ||
        queue_dead_list(app->queue, close_analysis, &l, &err) != ERR_OK)
        log_error(LOG_LEVEL_WARN, "dead letters could not be looked at", &err);
    else
        *looked_ms = l.newest_ms;
}

/* --- retention */

static void expire(struct app *app, double days, const char *what,
                   enum err_code (*step)(struct db *, int64_t, int, uint64_t *, struct err *))
{
    uint64_t count = RETENTION_BATCH, all = 0;
    struct err err = {0};
    if (days == KEEP_FOREVER)
        return;
    int64_t before = time_now_ms() - (int64_t)(days * DAY_MS);
    while (count == RETENTION_BATCH && !atomic_load(&app->stopping)) {
        if (step(app->db, before, RETENTION_BATCH, &count, &err) != ERR_OK) {
            log_error(LOG_LEVEL_WARN, "retention will be tried again", &err);
            return;
        }
        all += count;
    }
    if (all > 0) {
        metric_add(metric_get(METRIC_RETENTION, what, NULL, NULL), (double)all);
        log_event(LOG_LEVEL_INFO, "deleted what retention says", LOG_T("labels.what", what),
                  LOG_I("labels.count", all));
        keeper_sweep(app);
    }
}

struct expired {
    struct app *app;
    int64_t last;
    int count;
};

static int forget_deleted(void *ctx, const struct store_event *event)
{
    struct expired *e = ctx;
    e->last = event->id;
    e->count++;
    if (event->deleted && !cached_forget(e->app, event->analysis_id))
        return 1; /* it does not answer; the event threads try again */
    return 0;
}

/* What retention deleted since the event `after`, the cache forgets, even when there is no process
 * with an event thread at the moment. */
static void forget_expired(struct app *app, int64_t after)
{
    enum { PAGE = 500 };
    struct expired e = {.app = app, .last = after};
    int complete;
    do
        e.count = 0;
    while (store_events(app->db, e.last, PAGE, forget_deleted, &e, &complete, NULL) == ERR_OK &&
           e.count == PAGE && !atomic_load(&app->stopping));
}

static void each_minute(struct app *app)
{
    struct err err = {0};
    int64_t before = 0;
    int forget = app->cached && app->settings.keep_results_days != KEEP_FOREVER &&
                 store_last_event(app->db, &before, NULL) == ERR_OK;
    expire(app, app->settings.keep_audio_days, "audio", store_expire_audio);
    expire(app, app->settings.keep_results_days, "results", store_expire_results);
    if (store_tidy(app->db, &err) != ERR_OK)
        log_error(LOG_LEVEL_WARN, "tidying will be tried again", &err);
    if (forget)
        forget_expired(app, before);
}

/* Whether this process is the one keeper. A lease that could not be prolonged counts until it ends.
 */
static int lead(struct app *app, unsigned second, double *until)
{
    int held = 0;
    if (!(app->settings.roles & ROLE_KEEPER))
        return 0;
    if (!app->shared)
        return 1;
    if (second % LEASE_EACH == 0) {
        double now = clock_seconds();
        struct err err = {0};
        static struct log_limit limit;
        if (store_lease(app->db, LEASE, app->instance, LEASE_SECONDS, &held, &err) == ERR_OK)
            *until = held ? now + LEASE_SECONDS : 0;
        else if (log_allowed(&limit, 60, NULL))
            log_error(LOG_LEVEL_WARN, "whose turn it is to tidy up could not be asked", &err);
    }
    int leads = clock_seconds() < *until;
    if (leads != atomic_load(&app->leads))
        log_event(LOG_LEVEL_INFO,
                  leads ? "this process is the keeper" : "this process is no longer the keeper");
    return leads;
}

static void keep(struct app *app, unsigned second, int64_t *looked_ms)
{
    if (app->shared ? second % ORPHANS_EACH == 0 : second == 0)
        remove_orphans(app);
    if (second % 2 == 0)
        keeper_sweep(app);
    if (second % 10 == 0)
        look_at_letters(app, looked_ms);
    if (second % 60 == 0)
        each_minute(app);
}

void *keeper_run(void *ctx)
{
    struct app *app = ctx;
    int64_t looked_ms = 0;
    uint64_t seen = 0;
    double lease_until = 0;
    unsigned led = 0;  /* seconds for which it has been the keeper */
    struct bell pause; /* bells ring often: the keeper only watches the clock */
    bell_init(&pause);
    for (unsigned second = 0; !atomic_load(&app->stopping); second++) {
        keeper_look(app);
        int leads = lead(app, second, &lease_until);
        atomic_store(&app->leads, leads);
        if (leads)
            keep(app, led++, &looked_ms);
        else
            led = 0;
        for (int i = 0; i < 10 && !atomic_load(&app->stopping); i++)
            bell_wait(&pause, &seen, 0.1);
    }
    bell_done(&pause);
    if (app->shared && atomic_exchange(&app->leads, 0) &&
        store_lease_end(app->db, LEASE, app->instance, NULL) != ERR_OK) {
        /* it ends by itself */
    }
    return NULL;
}

/* Live updates: from the store's events to WebSockets, and to requests that wait.
 *
 * The event thread reads what the store has noted since it last looked, once per commit at most,
 * and broadcasts each analysis as it is then. It hears of commits here and, by way of the cache, of
 * those of other processes; else it looks each second. It also makes the cache forget what was
 * deleted, whoever deleted it. A connection has to show a ticket (from POST
 * /api/v1/events/tickets, so a page of another site cannot listen) within HELLO_SECONDS. The hub's
 * thread only parses; what asks the cache or the database runs on a worker. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../obs/metrics.h"
#include "roles.h"

#define TICKET_SECONDS 30
#define TICKET_TEXT    33
#define HELLO_SECONDS  5
#define SOCKETS_MAX    10000
#define PING_SECONDS   20
#define RESUME_MAX     1000 /* events sent again to one that was away; more: reload */
#define PUMP_BATCH     500
#define NEWS_PAUSE_US  20000 /* between two looks on a shared database: others' commits are many */
#define FORGET_MAX     10000
#define CATCH_UP_MAX   50    /* readings of a hello; see greet */
#define CATCH_UP_US    10000 /* between two of them, after the first few */
#define CLOSE_TICKET   4401
#define CLOSE_NO_HELLO 4408

/* What the hub keeps for one connection; hub thread only, after the upgrade. */
struct listener {
    int greeted; /* a ticket was shown (not yet checked, when it came in a message) */
    int64_t after;
};

/* A hello that a worker checks and answers. */
struct hello {
    struct app *app;
    ws_id id;
    int checked;
    int64_t after; /* -1: from now on */
    char ticket[TICKET_TEXT];
};

/* --- texts */

static void send_json(struct ws_hub *hub, ws_id id, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(json);
    if (text && id)
        ws_send(hub, id, text, strlen(text));
    else if (text)
        ws_broadcast(hub, text, strlen(text));
    free(text);
}

/* *ret is NULL when the analysis is gone meanwhile: its "deleted" follows. */
static enum err_code event_json(struct app *app, const struct store_event *event, json_t **ret)
{
    json_t *json = *ret = NULL;
    struct store_analysis a;
    enum err_code rc = event->deleted ? ERR_OK : store_get(app->db, event->analysis_id, &a, NULL);
    if (rc != ERR_OK)
        return rc == ERR_NO_SUCH ? ERR_OK : rc;
    json = json_object();
    json_object_set_new(json, "type", json_string(event->deleted ? "deleted" : "analysis"));
    if (event->deleted)
        json_object_set_new(json, "analysis_id", json_string(event->analysis_id));
    else
        json_object_set_new(json, "analysis", present_analysis(&a, inference_progress(a.id)));
    json_object_set_new(json, "event_id", json_integer(event->id));
    *ret = json;
    return ERR_OK;
}

void events_progress(struct app *app, const char *id, double progress)
{
    if (!app->hub || ws_count(app->hub) == 0)
        return;
    json_t *json = json_object();
    json_object_set_new(json, "type", json_string("progress"));
    json_object_set_new(json, "analysis_id", json_string(id));
    json_object_set_new(json, "progress", json_real(progress));
    send_json(app->hub, 0, json);
}

/* --- the event thread */

struct seen {
    struct app *app;
    int64_t last;
    size_t count, cap;
    struct store_event *list;
};

static int note(void *ctx, const struct store_event *event)
{
    struct seen *seen = ctx;
    seen->last = event->id;
    if (try_grow(&seen->list, &seen->cap, seen->count, sizeof *seen->list, PUMP_BATCH + 1) == 0)
        seen->list[seen->count++] = *event;
    return 0;
}

/* Later events of the same analysis carry the same state: only the last of a batch is told. */
static int told_later(const struct seen *seen, size_t at)
{
    for (size_t i = at + 1; i < seen->count; i++)
        if (strcmp(seen->list[i].analysis_id, seen->list[at].analysis_id) == 0)
            return 1;
    return 0;
}

/* Ids that the cache could not be told of yet. */
struct forgetting {
    size_t count, cap;
    char (*list)[ID_TEXT];
};

static void forget(struct app *app, struct forgetting *f, const char *id)
{
    if (cached_forget(app, id))
        return;
    if (try_grow(&f->list, &f->cap, f->count, sizeof *f->list, FORGET_MAX) == 0)
        memcpy(f->list[f->count++], id, ID_TEXT);
    else
        log_event(LOG_LEVEL_WARN, "the cache may answer of something deleted for up to an hour",
                  LOG_T("labels.analysis", id));
}

static void forget_again(struct app *app, struct forgetting *f)
{
    while (f->count > 0 && cached_forget(app, f->list[f->count - 1]))
        f->count--;
}

/* How many were told: fewer than all when the database went away meanwhile. */
static size_t tell(struct app *app, const struct seen *seen)
{
    for (size_t i = 0; i < seen->count; i++) {
        const struct store_event *event = &seen->list[i];
        struct store_analysis a;
        if (waiters_has(app->waiters, event->analysis_id) &&
            (event->deleted || store_get_status(app->db, event->analysis_id, &a, NULL) != ERR_OK ||
             a.status == STORE_DONE || a.status == STORE_FAILED))
            waiters_report(app->waiters, event->analysis_id);
        if (ws_count(app->hub) > 0 && !told_later(seen, i)) {
            json_t *json;
            if (event_json(app, event, &json) != ERR_OK)
                return i;
            if (json)
                send_json(app->hub, 0, json);
        }
    }
    return seen->count;
}

/* From now on a socket that joins must have read up to here: it may miss the telling. */
static void set_told(struct app *app, int64_t id)
{
    pthread_mutex_lock(&app->told_lock);
    app->told = id;
    pthread_mutex_unlock(&app->told_lock);
}

/* The database's newest event is older than what was told: it was restored, or lost its last
 * commits with a server. Its next numbers are those that were given before. */
static void start_again(struct app *app, struct seen *seen)
{
    int64_t last;
    if (store_last_event(app->db, &last, NULL) == ERR_OK && last < seen->last) {
        log_event(LOG_LEVEL_WARN, "the database lost events that were told already",
                  LOG_I("labels.told", seen->last), LOG_I("labels.last", last));
        seen->last = last;
        set_told(app, last);
    }
}

/* What the store has noted since the last time: at most PUMP_BATCH events. */
static void pump(struct app *app, struct seen *seen, struct forgetting *forgetting)
{
    static struct log_limit limit;
    struct err err;
    int complete = 1;
    seen->count = 0;
    if (store_events(app->db, seen->last, PUMP_BATCH, note, seen, &complete, &err) != ERR_OK) {
        if (log_allowed(&limit, 10, NULL))
            log_error(LOG_LEVEL_ERROR, "events cannot be read", &err);
        return;
    }
    if (!complete && seen->count == 0)
        start_again(app, seen);
    if (seen->count == 0)
        return;
    for (size_t i = 0; i < seen->count; i++)
        if (seen->list[i].deleted)
            forget(app, forgetting, seen->list[i].analysis_id);
    set_told(app, seen->last);
    size_t told = tell(app, seen);
    if (told < seen->count) { /* the rest again, and what was left out for it */
        seen->last = seen->list[told].id - 1;
        seen->count = 0;
    }
}

void *events_run(void *ctx)
{
    struct app *app = ctx;
    struct forgetting forgetting = {0};
    struct seen seen = {.app = app};
    uint64_t rung = 0;
    while (store_last_event(app->db, &seen.last, NULL) != ERR_OK && !atomic_load(&app->stopping))
        bell_wait(&app->news, &rung, 1);
    set_told(app, seen.last);
    while (!atomic_load(&app->stopping)) {
        pump(app, &seen, &forgetting);
        forget_again(app, &forgetting);
        double next = waiters_tick(app->waiters, 1.0);
        if (seen.count < PUMP_BATCH) {
            bell_wait(&app->news, &rung, next);
            if (app->shared)
                usleep(NEWS_PAUSE_US);
        }
    }
    free(forgetting.list);
    free(seen.list);
    return NULL;
}

/* --- a connection's hello */

struct resume {
    struct app *app;
    ws_id id;
    int64_t last;
    int count; /* of this page */
    enum err_code rc;
};

static int send_event(void *ctx, const struct store_event *event)
{
    struct resume *r = ctx;
    json_t *json;
    r->rc = event_json(r->app, event, &json);
    if (r->rc != ERR_OK)
        return 1;
    r->last = event->id;
    r->count++;
    if (json)
        send_json(r->app->hub, r->id, json);
    return 0;
}

static int skip_event(void *ctx, const struct store_event *event)
{
    (void)ctx, (void)event;
    return 1;
}

/* Everything behind r->last, page by page. */
static enum err_code send_missed(struct resume *r)
{
    enum err_code rc;
    int complete;
    do {
        r->count = 0;
        rc = store_events(r->app->db, r->last, PUMP_BATCH, send_event, r, &complete, NULL);
    } while (rc == ERR_OK && r->count == PUMP_BATCH && !atomic_load(&r->app->stopping));
    return rc == ERR_OK ? r->rc : rc;
}

/* Whether all that happened behind `after` is known and is not too much. */
static enum err_code can_resume(struct app *app, int64_t after, int64_t last, int *ret)
{
    *ret = 0;
    if (after < 0 || after > last || last - after > RESUME_MAX)
        return ERR_OK;
    return store_events(app->db, after, 1, skip_event, NULL, ret, NULL);
}

/* Lets the socket hear what is told from now on, unless it has not read all that was told before.
 */
static int join(struct app *app, ws_id id, int64_t last)
{
    pthread_mutex_lock(&app->told_lock);
    int ready = last >= app->told;
    if (ready)
        ws_subscribe(app->hub, id, 1);
    pthread_mutex_unlock(&app->told_lock);
    return ready;
}

/* Reads until nothing lies between what was sent and what will be told. */
static enum err_code catch_up(struct app *app, ws_id id, struct resume *r)
{
    for (int i = 0; i < CATCH_UP_MAX && !atomic_load(&app->stopping); i++) {
        enum err_code rc = send_missed(r);
        if (rc != ERR_OK)
            return rc;
        if (join(app, id, r->last))
            return ERR_OK;
        if (i > 2) /* the event thread has not begun, or very much is going on */
            usleep(CATCH_UP_US);
    }
    return atomic_load(&app->stopping) ? ERR_OK : ERR_BUSY; /* the hub ends it */
}

/* Welcome, what was missed, then live. Nothing is told before all that happened earlier was sent:
 * a receiver that drops at any moment and comes again with the largest event_id it saw has missed
 * nothing. It may hear something twice. */
static void greet(struct app *app, ws_id id, int64_t after)
{
    int64_t last = 0;
    int resumed = 0;
    enum err_code rc = store_last_event(app->db, &last, NULL);
    if (rc == ERR_OK)
        rc = can_resume(app, after, last, &resumed);
    if (rc == ERR_OK) {
        json_t *json = json_object();
        json_object_set_new(json, "type", json_string("welcome"));
        json_object_set_new(json, "last_event_id", json_integer(last));
        json_object_set_new(json, "resumed", json_boolean(resumed));
        send_json(app->hub, id, json);
        struct resume r = {app, id, resumed ? after : last, 0, ERR_OK};
        rc = catch_up(app, id, &r);
    }
    if (rc == ERR_BUSY)
        ws_close(app->hub, id, 1013, "busy");
    else if (rc != ERR_OK)
        ws_close(app->hub, id, 1011, "the database does not answer");
}

static int ticket_ok(struct app *app, const char *ticket)
{
    char key[16 + TICKET_TEXT];
    _cleanup_free_ char *value = NULL;
    size_t size = 0;
    snprintf(key, sizeof key, "ticket:%s", ticket);
    return strlen(ticket) == TICKET_TEXT - 1 &&
           cache_take(app->cache, key, &value, &size, NULL) == ERR_OK && value;
}

static void hello_work(void *ctx)
{
    struct hello *hello = ctx;
    if (hello->checked || ticket_ok(hello->app, hello->ticket))
        greet(hello->app, hello->id, hello->after);
    else
        ws_close(hello->app->hub, hello->id, CLOSE_TICKET, "unknown or used ticket");
    free(hello);
}

static void say_hello(struct app *app, ws_id id, int checked, const char *ticket, int64_t after)
{
    struct hello *hello = xalloc(sizeof *hello);
    *hello = (struct hello){.app = app, .id = id, .checked = checked, .after = after};
    snprintf(hello->ticket, sizeof hello->ticket, "%s", ticket);
    if (pool_submit(app->workers, hello_work, hello, NULL) != ERR_OK) {
        free(hello);
        ws_close(app->hub, id, 1013, "busy");
    }
}

/* --- the hub's callbacks; `context` is a listener */

static void check_hello(void *ctx, ws_id id, void *context)
{
    struct app *app = ctx;
    struct listener *l = context;
    if (!l->greeted)
        ws_close(app->hub, id, CLOSE_NO_HELLO, "no hello came");
}

static void opened(void *ctx, ws_id id, void *context)
{
    struct app *app = ctx;
    struct listener *l = context;
    if (l->greeted)
        say_hello(app, id, 1, "", l->after);
    else
        ws_after(app->hub, HELLO_SECONDS, check_hello, id);
}

static void message(void *ctx, ws_id id, void *context, const char *text, size_t size)
{
    struct app *app = ctx;
    struct listener *l = context;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    const char *type = json_string_value(json_object_get(json, "type"));
    const char *ticket = json_string_value(json_object_get(json, "ticket"));
    const json_t *after = json_object_get(json, "after");
    if (!l->greeted && type && strcmp(type, "hello") == 0 && ticket) {
        l->greeted = 1;
        say_hello(app, id, 0, ticket, json_is_integer(after) ? json_integer_value(after) : -1);
    } else {
        ws_close(app->hub, id, 1008, "one hello with a ticket is all that is expected");
    }
    json_decref(json);
}

static void closed(void *ctx, ws_id id, void *context)
{
    (void)ctx, (void)id, (void)context;
}

enum err_code events_open(struct app *app, struct err *err)
{
    static const struct ws_callbacks callbacks = {opened, message, closed};
    pthread_mutex_init(&app->told_lock, NULL);
    app->told = INT64_MAX; /* until the event thread knows where it begins */
    return ws_hub_new(&callbacks, app, PING_SECONDS, SOCKETS_MAX, &app->hub, err);
}

/* --- routes */

enum err_code events_ticket(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    char ticket[TICKET_TEXT], key[16 + TICKET_TEXT];
    random_token(ticket, sizeof ticket);
    snprintf(key, sizeof key, "ticket:%s", ticket);
    enum err_code rc = cache_set(app->cache, key, "1", 1, TICKET_SECONDS, err);
    if (rc != ERR_OK)
        return rc;
    json_t *json = json_object();
    json_object_set_new(json, "ticket", json_string(ticket));
    json_object_set_new(json, "expires_in_s", json_integer(TICKET_SECONDS));
    http_reply_json(request, 201, json);
    return ERR_OK;
}

enum err_code events_socket(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    const char *ticket = http_query(request, "ticket"), *after = http_query(request, "after");
    char *end = NULL;
    int64_t from = after && *after ? strtoll(after, &end, 10) : -1;
    if (end && (*end || *after < '0' || *after > '9'))
        return err_set(err, ERR_BAD_REQUEST, "after is the number of an event");
    struct listener *l = xalloc(sizeof *l);
    l->after = from;
    if (ticket) {
        l->greeted = 1;
        if (!ticket_ok(app, ticket)) {
            free(l);
            return err_set(err, ERR_PERMISSION, "the ticket is unknown, used or too old");
        }
    }
    enum err_code rc = http_reply_websocket(request, app->hub, l, free, err);
    if (rc != ERR_OK)
        free(l);
    return rc;
}

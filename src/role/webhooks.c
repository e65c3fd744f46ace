/* Webhooks: the routes that keep them, and the consumer that delivers.
 *
 * A delivery row and its message are made by the store in the transaction that makes an analysis
 * final. The consumer signs and posts; the queue's pauses and limit of tries are the retry policy.
 * A secret leaves this program once, in the answer that creates it; it is never logged. */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../base/time.h"
#include "../http/client.h"
#include "../obs/metrics.h"
#include "roles.h"

#define TIMEOUT_SECONDS 10
#define SECRET_BYTES    24
#define SECRET_PREFIX   "whsec_"

static json_t *webhook_json(const struct store_webhook *w)
{
    char created[TIME_TEXT];
    time_format(w->created_ms, created);
    json_t *json = json_object();
    json_object_set_new(json, "id", json_string(w->id));
    json_object_set_new(json, "url", json_string(w->url));
    json_object_set_new(json, "created_at", json_string(created));
    return json;
}

/* --- routes */

enum err_code webhooks_add(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_webhook w = {0};
    unsigned char secret[SECRET_BYTES], text[SECRET_BYTES * 2];
    const char *url = json_string_value(json_object_get(http_json(request), "url"));
    if (!url || !http_client_url_ok(url) || strlen(url) >= sizeof w.url)
        return err_set(err, ERR_BAD_REQUEST,
                       "url has to be an http or https address without a password");
    id_new(w.id);
    snprintf(w.url, sizeof w.url, "%s", url);
    random_bytes(secret, sizeof secret);
    EVP_EncodeBlock(text, secret, sizeof secret);
    snprintf(w.secret, sizeof w.secret, SECRET_PREFIX "%s", (char *)text);
    w.created_ms = time_now_ms();
    enum err_code rc = store_webhook_add(app->db, &w, err);
    if (rc != ERR_OK)
        return rc;
    json_t *json = webhook_json(&w);
    json_object_set_new(json, "secret", json_string(w.secret));
    http_reply_json(request, 201, json);
    return ERR_OK;
}

static int add_webhook(void *ctx, const struct store_webhook *w)
{
    json_array_append_new(ctx, webhook_json(w));
    return 0;
}

enum err_code webhooks_list(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    json_t *items = json_array(), *json;
    enum err_code rc = store_webhook_list(app->db, add_webhook, items, err);
    if (rc != ERR_OK) {
        json_decref(items);
        return rc;
    }
    json = json_object();
    json_object_set_new(json, "items", items);
    http_reply_json(request, 200, json);
    return ERR_OK;
}

/* The webhook that the path names. */
static enum err_code path_webhook(struct http_request *request, struct app *app,
                                  struct store_webhook *ret, struct err *err)
{
    const char *id = http_path_param(request, "id");
    if (!id_valid(id))
        return err_set(err, ERR_NO_SUCH, "'%.60s' is no id of a webhook", id);
    return store_webhook_get(app->db, id, ret, err);
}

enum err_code webhooks_delete(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_webhook w;
    enum err_code rc = path_webhook(request, app, &w, err);
    if (rc == ERR_OK)
        rc = store_webhook_delete(app->db, w.id, err);
    if (rc == ERR_OK)
        http_reply_empty(request, 204);
    return rc;
}

static json_t *delivery_json(const struct store_delivery *d)
{
    char created[TIME_TEXT], last[TIME_TEXT];
    time_format(d->created_ms, created);
    time_format(d->last_ms, last);
    json_t *json = json_object();
    json_object_set_new(json, "id", json_string(d->id));
    json_object_set_new(json, "type", json_string(d->type));
    json_object_set_new(json, "analysis_id",
                        d->analysis_id[0] ? json_string(d->analysis_id) : json_null());
    json_object_set_new(json, "outcome", json_string(d->outcome));
    json_object_set_new(json, "tries", json_integer(d->tries));
    json_object_set_new(json, "status", d->status ? json_integer(d->status) : json_null());
    json_object_set_new(json, "error", d->error[0] ? json_string(d->error) : json_null());
    json_object_set_new(json, "created_at", json_string(created));
    json_object_set_new(json, "last_at", d->last_ms ? json_string(last) : json_null());
    return json;
}

static int add_delivery(void *ctx, const struct store_delivery *d)
{
    json_array_append_new(ctx, delivery_json(d));
    return 0;
}

enum err_code webhooks_deliveries(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_webhook w;
    json_t *items = json_array(), *json;
    enum err_code rc = path_webhook(request, app, &w, err);
    if (rc == ERR_OK)
        rc = store_delivery_list(app->db, w.id, add_delivery, items, err);
    if (rc != ERR_OK) {
        json_decref(items);
        return rc;
    }
    json = json_object();
    json_object_set_new(json, "items", items);
    http_reply_json(request, 200, json);
    return ERR_OK;
}

enum err_code webhooks_test(struct http_request *request, void *ctx, struct err *err)
{
    struct app *app = ctx;
    struct store_webhook w;
    struct store_delivery d;
    char id[ID_TEXT];
    id_new(id);
    enum err_code rc = path_webhook(request, app, &w, err);
    if (rc == ERR_OK)
        rc = store_delivery_test(app->db, w.id, id, &d, err);
    if (rc == ERR_OK)
        http_reply_json(request, 202, delivery_json(&d));
    return rc;
}

/* --- the consumer */

/* The whole analysis as it is now, or {} for a test. NULL data: the analysis was deleted. */
static enum err_code delivery_body(struct app *app, const struct store_delivery *d, char **ret,
                                   struct err *err)
{
    struct store_analysis a;
    char now[TIME_TEXT];
    json_t *data = json_object();
    *ret = NULL;
    if (d->analysis_id[0]) {
        json_decref(data);
        enum err_code rc = store_get(app->db, d->analysis_id, &a, err);
        if (rc == ERR_NO_SUCH)
            return ERR_OK;
        if (rc == ERR_OK)
            rc = present_whole(app, &a, &data, err);
        if (rc != ERR_OK)
            return rc;
    }
    json_t *json = json_object();
    time_format(time_now_ms(), now);
    json_object_set_new(json, "type", json_string(d->type));
    json_object_set_new(json, "timestamp", json_string(now));
    json_object_set_new(json, "data", data);
    *ret = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(json);
    return *ret ? ERR_OK : err_set(err, ERR_NO_MEMORY, "no memory for a webhook's body");
}

/* "v1,<base64 of HMAC-SHA256 over id.timestamp.body>" */
static enum err_code sign(const struct store_webhook *w, const char *id, int64_t timestamp,
                          const char *body, char ret[64], struct err *err)
{
    unsigned char key[64], mac[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    const char *secret = w->secret + strlen(SECRET_PREFIX);
    _cleanup_free_ char *text = xasprintf("%s.%lld.%s", id, (long long)timestamp, body);
    int key_size = EVP_DecodeBlock(key, (const unsigned char *)secret, (int)strlen(secret));
    if (key_size < SECRET_BYTES || !HMAC(EVP_sha256(), key, SECRET_BYTES,
                                         (const unsigned char *)text, strlen(text), mac, &size))
        return err_set(err, ERR_INTERNAL, "a webhook could not be signed");
    memcpy(ret, "v1,", 3);
    EVP_EncodeBlock((unsigned char *)ret + 3, mac, (int)size);
    return ERR_OK;
}

static enum err_code post(const struct store_webhook *w, const char *id, const char *body,
                          int *ret_status, struct err *err)
{
    char signature[64], headers[3][160];
    int64_t timestamp = time_now_ms() / 1000;
    enum err_code rc = sign(w, id, timestamp, body, signature, err);
    if (rc != ERR_OK)
        return rc;
    snprintf(headers[0], sizeof headers[0], "webhook-id: %s", id);
    snprintf(headers[1], sizeof headers[1], "webhook-timestamp: %lld", (long long)timestamp);
    snprintf(headers[2], sizeof headers[2], "webhook-signature: %s", signature);
    const char *list[] = {"Content-Type: application/json", headers[0], headers[1], headers[2],
                          NULL};
    struct http_client_reply reply = {0};
    rc = http_client_post(w->url, list, body, strlen(body), TIMEOUT_SECONDS, &reply, err);
    *ret_status = reply.status;
    if (rc == ERR_OK && (reply.status < 200 || reply.status > 299))
        rc = err_set(err, ERR_UNAVAILABLE, "the receiver answered %d", reply.status);
    return rc;
}

static void note(struct app *app, struct store_delivery *d, const char *outcome, const char *error)
{
    struct err err = {0};
    snprintf(d->outcome, sizeof d->outcome, "%s", outcome);
    snprintf(d->error, sizeof d->error, "%.*s", (int)sizeof d->error - 1, error);
    d->last_ms = time_now_ms();
    if (store_delivery_set(app->db, d, &err) != ERR_OK)
        log_error(LOG_LEVEL_WARN, "a webhook delivery could not be noted", &err);
}

static enum outcome webhook_work(struct app *app, void *own, const struct queue_message *message,
                                 const json_t *data, struct err *err)
{
    (void)own, (void)message;
    const char *id = json_string_value(json_object_get(data, "delivery"));
    struct store_delivery d;
    struct store_webhook w;
    _cleanup_free_ char *body = NULL;
    if (!id)
        return OUTCOME_DONE;
    enum err_code rc = store_delivery_get(app->db, id, &d, err);
    if (rc == ERR_OK)
        rc = store_webhook_get(app->db, d.webhook_id, &w, err);
    if (rc == ERR_NO_SUCH || (rc == ERR_OK && strcmp(d.outcome, "delivered") == 0))
        return OUTCOME_DONE;
    if (rc == ERR_OK)
        rc = delivery_body(app, &d, &body, err);
    if (rc != ERR_OK)
        return OUTCOME_RETRY;
    if (!body) {
        note(app, &d, "gave_up", "the analysis was deleted");
        return OUTCOME_DONE;
    }
    d.tries++;
    rc = post(&w, d.id, body, &d.status, err);
    note(app, &d, rc == ERR_OK ? "delivered" : "pending", rc == ERR_OK ? "" : err->text);
    metric_add(metric_get(METRIC_WEBHOOKS, rc == ERR_OK ? "delivered" : "retried", NULL, NULL), 1);
    return rc == ERR_OK ? OUTCOME_DONE : OUTCOME_FAILED; /* a receiver that is away counts */
}

static void webhook_died(struct app *app, const json_t *data, const struct err *why)
{
    const char *id = json_string_value(json_object_get(data, "delivery"));
    struct store_delivery d;
    if (id && store_delivery_get(app->db, id, &d, NULL) == ERR_OK)
        note(app, &d, "gave_up", why->text);
    metric_add(metric_get(METRIC_WEBHOOKS, "gave_up", NULL, NULL), 1);
}

const struct consumer_kind webhook_kind = {
    .queue = QUEUE_WEBHOOK,
    .threads = 1,
    .lease_s = 60,
    .work = webhook_work,
    .died = webhook_died,
};

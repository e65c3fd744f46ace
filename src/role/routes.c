/* Every route there is: what the router, the limits, the metrics and the OpenAPI document go by. */
#include "../base/mem.h"
#include "../detect/result.h"
#include "roles.h"
#include "schemas_json.h"

/* clang-format off */
#define TEXT_SCHEMA "{\"type\":\"string\"}"
#define ID_SCHEMA "{\"type\":\"string\",\"format\":\"uuid\"}"

static const struct http_param id_in_path[] = {
    {"id", "path", ID_SCHEMA, 1, "The id that the upload, or the creation, answered with."},
};
static const struct http_param id_and_format[] = {
    {"id", "path", ID_SCHEMA, 1, "The analysis."},
    {"format", "query", "{\"enum\":[\"json\",\"csv\"],\"default\":\"json\"}", 0, "csv: one row per window."},
};
static const struct http_param id_and_download[] = {
    {"id", "path", ID_SCHEMA, 1, "The analysis."},
    {"download", "query", TEXT_SCHEMA, 0, "Anything: as an attachment, not to be played in place."},
    {"Range", "header", TEXT_SCHEMA, 0, "bytes=from-to"},
};
static const struct http_param id_and_wait[] = {
    {"id", "path", ID_SCHEMA, 1, "The analysis."},
    {"Prefer", "header", TEXT_SCHEMA, 0, "wait=N: hold the answer back up to N seconds (60 at most) until it is final."},
};
static const struct http_param status_params[] = {
    {"id", "query", ID_SCHEMA, 1, "The id that the upload answered with."},
};
static const struct http_param upload_params[] = {
    {"name", "query", TEXT_SCHEMA, 0, "The file's name, when the body is the file itself."},
    {"fresh", "query", "{\"enum\":[\"0\",\"1\"],\"default\":\"0\"}", 0, "1: analyse even if the same bytes were judged by this model before."},
    {"Idempotency-Key", "header", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":200}", 0, "The same key and content within 24 hours give the first answer again."},
    {"Prefer", "header", TEXT_SCHEMA, 0, "wait=N: hold the answer back up to N seconds (60 at most) until the analysis is final."},
};
static const struct http_param many_params[] = {
    {"name", "query", TEXT_SCHEMA, 0, "The file's name, when the body is the file itself."},
    {"fresh", "query", "{\"enum\":[\"0\",\"1\"],\"default\":\"0\"}", 0, "1: analyse even if the same bytes were judged by this model before."},
    {"Idempotency-Key", "header", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":200}", 0, "The same key and content within 24 hours give the first answer again."},
};
static const struct http_param list_params[] = {
    {"status", "query", "{\"enum\":[\"queued\",\"running\",\"done\",\"failed\"]}", 0, "Only these."},
    {"verdict", "query", "{\"enum\":[\"human\",\"synthetic\",\"inconclusive\"]}", 0, "Only these."},
    {"q", "query", TEXT_SCHEMA, 0, "Part of the file's name, or the start of an id or a SHA-256."},
    {"since", "query", TEXT_SCHEMA, 0, "Uploaded at or after: RFC 3339 date or time."},
    {"until", "query", TEXT_SCHEMA, 0, "Uploaded before."},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":200,\"default\":50}", 0, "Items per page."},
    {"cursor", "query", TEXT_SCHEMA, 0, "`next` of the page before."},
    {"format", "query", "{\"enum\":[\"json\",\"csv\"],\"default\":\"json\"}", 0, "csv: the whole selection as a table."},
};
static const struct http_param socket_params[] = {
    {"ticket", "query", TEXT_SCHEMA, 0, "Instead of a hello message."},
    {"after", "query", "{\"type\":\"integer\"}", 0, "The last event that was seen."},
};

#define PARAMS(list) .params = list, .n_params = ARRAY_LEN(list)
#define JSON_REPLY(schema) .status = 200, .reply_type = "application/json", .reply_schema = schema

/* In every process. */
#define PROBE_ROUTES \
    {"GET", "/healthz", "alive", "service", "The process is alive", .open_to_sites = 1, \
     .where = HTTP_ON_LOOP, .handle = health_alive, .status = 200, .reply_type = "text/plain"}, \
    {"GET", "/readyz", "ready", "service", "Every part answers", .open_to_sites = 1, \
     .where = HTTP_ON_WORKER, .handle = health_ready, JSON_REPLY("Ready"), .also = "503"}, \
    {"GET", "/metrics", "metrics", "service", "Figures for Prometheus", .open_to_sites = 1, \
     .where = HTTP_ON_WORKER, .handle = health_metrics, .status = 200, .reply_type = "text/plain"}

const struct http_route app_probe_routes[] = {PROBE_ROUTES};
const size_t app_n_probe_routes = ARRAY_LEN(app_probe_routes);

const struct http_route app_routes[] = {
    {"POST", "/upload", "upload", "uploads", "Upload a recording",
     .text = "One recording, as the form field `file` or as the body. Answers as soon as it is stored safely.",
     .where = HTTP_ON_WORKER, .body = HTTP_BODY_FILES, .admit = upload_admit, .handle = upload_one, PARAMS(upload_params),
     .status = 202, .reply_type = "application/json", .reply_schema = "Accepted",
     .errors = "bad_request empty_file too_large limit_exceeded idempotency_mismatch queue_full no_space"},
    {"GET", "/status", "status", "uploads", "How far it is",
     .where = HTTP_ON_LOOP, .handle = status_get, PARAMS(status_params), JSON_REPLY("Status"), .errors = "bad_request no_such"},
    {"POST", "/api/v1/uploads", "uploadMany", "uploads", "Upload recordings",
     .text = "One or many recordings; a zip is unpacked. What cannot be taken is listed in `rejected`, the rest goes on.",
     .where = HTTP_ON_WORKER, .body = HTTP_BODY_FILES, .admit = upload_admit, .handle = upload_many, PARAMS(many_params),
     .status = 202, .reply_type = "application/json", .reply_schema = "Uploads",
     .errors = "bad_request too_large limit_exceeded idempotency_mismatch queue_full no_space"},

    {"GET", "/api/v1/analyses", "listAnalyses", "analyses", "List analyses, newest first",
     .where = HTTP_ON_WORKER, .handle = analyses_list, PARAMS(list_params),
     .status = 200, .reply_type = "application/json text/csv", .reply_schema = "AnalysisList", .errors = "bad_request"},
    {"GET", "/api/v1/analyses/{id}", "getAnalysis", "analyses", "One analysis with its result",
     .where = HTTP_ON_WORKER, .handle = analyses_get, PARAMS(id_and_wait), JSON_REPLY("Analysis"), .errors = "no_such"},
    {"DELETE", "/api/v1/analyses/{id}", "deleteAnalysis", "analyses", "Delete it with its recording",
     .where = HTTP_ON_WORKER, .handle = analyses_delete, PARAMS(id_in_path), .status = 204, .errors = "no_such"},
    {"POST", "/api/v1/analyses/{id}/rerun", "rerunAnalysis", "analyses", "Analyse the kept recording again",
     .where = HTTP_ON_WORKER, .handle = analyses_rerun, PARAMS(id_in_path),
     .status = 202, .reply_type = "application/json", .reply_schema = "AnalysisItem", .errors = "no_such gone"},
    {"POST", "/api/v1/analyses/{id}/stability", "checkStability", "analyses", "Score it again after small changes",
     .where = HTTP_ON_WORKER, .handle = analyses_stability, PARAMS(id_in_path),
     .status = 202, .reply_type = "application/json", .reply_schema = "Analysis", .errors = "no_such conflict gone"},
    {"GET", "/api/v1/analyses/{id}/result", "getResult", "analyses", "The detector's answer alone",
     .where = HTTP_ON_WORKER, .handle = analyses_result, PARAMS(id_and_format),
     .status = 200, .reply_type = "application/json text/csv", .reply_schema = "Result", .errors = "bad_request no_such"},
    {"GET", "/api/v1/analyses/{id}/audio", "getAudio", "analyses", "The recording as it was uploaded",
     .where = HTTP_ON_WORKER, .handle = analyses_audio, PARAMS(id_and_download),
     .status = 200, .also = "206 304", .reply_type = "audio/* application/octet-stream", .errors = "no_such gone range_not_satisfiable"},
    {"GET", "/api/v1/analyses/{id}/picture", "getPicture", "analyses", "Waveform and spectrogram",
     .where = HTTP_ON_WORKER, .handle = analyses_picture, PARAMS(id_in_path), JSON_REPLY("Picture"), .errors = "no_such"},

    {"POST", "/api/v1/events/tickets", "makeTicket", "events", "A ticket for a WebSocket",
     .where = HTTP_ON_LOOP_IF_LOCAL, .handle = events_ticket,
     .status = 201, .reply_type = "application/json", .reply_schema = "Ticket"},
    {"GET", "/api/v1/events", "events", "events", "Live updates (WebSocket)",
     .where = HTTP_ON_LOOP_IF_LOCAL, .handle = events_socket, PARAMS(socket_params), .status = 101,
     .errors = "bad_request permission_denied upgrade_required"},

    {"GET", "/api/v1/webhooks", "listWebhooks", "webhooks", "Who is told",
     .where = HTTP_ON_WORKER, .handle = webhooks_list, JSON_REPLY("WebhookList")},
    {"POST", "/api/v1/webhooks", "addWebhook", "webhooks", "Tell a URL when analyses are final",
     .where = HTTP_ON_WORKER, .body = HTTP_BODY_JSON, .handle = webhooks_add, .request_schema = "WebhookRequest",
     .status = 201, .reply_type = "application/json", .reply_schema = "Webhook",
     .errors = "bad_request too_large limit_exceeded"},
    {"DELETE", "/api/v1/webhooks/{id}", "deleteWebhook", "webhooks", "Tell it no more",
     .where = HTTP_ON_WORKER, .handle = webhooks_delete, PARAMS(id_in_path), .status = 204, .errors = "no_such"},
    {"GET", "/api/v1/webhooks/{id}/deliveries", "listDeliveries", "webhooks", "The last 50 attempts",
     .where = HTTP_ON_WORKER, .handle = webhooks_deliveries, PARAMS(id_in_path), JSON_REPLY("DeliveryList"), .errors = "no_such"},
    {"POST", "/api/v1/webhooks/{id}/test", "testWebhook", "webhooks", "Send a test",
     .where = HTTP_ON_WORKER, .handle = webhooks_test, PARAMS(id_in_path),
     .status = 202, .reply_type = "application/json", .reply_schema = "Delivery", .errors = "no_such"},

    {"GET", "/api/v1/info", "info", "service", "Version, model, limits",
     .where = HTTP_ON_WORKER, .handle = health_info, JSON_REPLY("Info")},
    PROBE_ROUTES,
    {"GET", "/openapi.json", "openapi", "service", "This API for machines",
     .where = HTTP_ON_WORKER, .handle = health_openapi, .status = 200, .reply_type = "application/json"},
};
/* clang-format on */
const size_t app_n_routes = ARRAY_LEN(app_routes);

/* The codes of Reason come from the detector's table. */
static enum err_code name_the_reasons(json_t *document, struct err *err)
{
    json_t *at = document, *list = json_array();
    static const char *const keys[] = {"components", "schemas", "Reason", "properties", "code"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        at = json_object_get(at, keys[i]);
    for (int code = 0; code < REASON_COUNT; code++)
        json_array_append_new(list, json_string(reason_slug((enum reason_code)code)));
    return json_object_set_new(at, "enum", list) == 0
               ? ERR_OK
               : err_set(err, ERR_INTERNAL, "the schemas have no Reason with a code");
}

enum err_code routes_openapi(json_t **ret, struct err *err)
{
    enum err_code rc =
        http_openapi(app_routes, app_n_routes, schemas_json, "sonde", SONDE_VERSION, ret, err);
    return rc == ERR_OK ? name_the_reasons(*ret, err) : rc;
}

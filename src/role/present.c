/* Store rows as the JSON objects of docs/api.md. No state; any thread. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"
#include "../base/time.h"
#include "roles.h"

static json_t *text_or_null(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

static json_t *time_or_null(int64_t ms)
{
    char text[TIME_TEXT];
    if (ms <= 0)
        return json_null();
    time_format(ms, text);
    return json_string(text);
}

static json_t *number_or_null(int known, double value)
{
    return known && isfinite(value) ? json_real(round(value * 1e6) / 1e6) : json_null();
}

json_t *present_links(const char *id)
{
    static const struct {
        const char *name, *before, *after;
    } rows[] = {
        {"self", "/api/v1/analyses/", ""},
        {"status", "/status?id=", ""},
        {"result", "/api/v1/analyses/", "/result"},
        {"audio", "/api/v1/analyses/", "/audio"},
        {"picture", "/api/v1/analyses/", "/picture"},
        {"page", "/a/", ""},
    };
    json_t *links = json_object();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        json_object_set_new(links, rows[i].name,
                            json_sprintf("%s%s%s", rows[i].before, id, rows[i].after));
    return links;
}

static enum err_code code_of_slug(const char *slug)
{
    for (int code = 1; code < ERR_COUNT; code++)
        if (strcmp(err_slug((enum err_code)code), slug) == 0)
            return (enum err_code)code;
    return ERR_INTERNAL;
}

static json_t *present_error(const struct store_analysis *a)
{
    if (!a->error_code[0])
        return json_null();
    json_t *error = json_object();
    json_object_set_new(error, "code", json_string(a->error_code));
    json_object_set_new(error, "text", json_string(a->error_text));
    json_object_set_new(error, "hint", json_string(err_hint(code_of_slug(a->error_code))));
    return error;
}

json_t *present_analysis(const struct store_analysis *a, double progress)
{
    json_t *json = json_object();
    int done = a->status == STORE_DONE;
    json_object_set_new(json, "id", json_string(a->id));
    json_object_set_new(json, "status", json_string(store_status_name(a->status)));
    json_object_set_new(
        json, "progress",
        done ? json_integer(1)
             : number_or_null(a->status == STORE_RUNNING && progress >= 0, progress));
    json_object_set_new(json, "probability", number_or_null(done && a->scored, a->p));
    json_object_set_new(json, "verdict", text_or_null(a->verdict));
    json_object_set_new(json, "llr", number_or_null(done && a->scored, a->llr));
    json_object_set_new(json, "duration_s", number_or_null(done, a->duration_s));
    json_object_set_new(json, "speech_s", number_or_null(done, a->speech_s));
    json_t *file = json_object();
    json_object_set_new(file, "name", json_string(a->file_name));
    json_object_set_new(file, "bytes", json_integer((json_int_t)a->bytes));
    json_object_set_new(file, "sha256", json_string(a->sha256));
    json_object_set_new(file, "kept", json_boolean(a->audio_kept));
    json_object_set_new(json, "file", file);
    json_object_set_new(json, "created_at", time_or_null(a->created_ms));
    json_object_set_new(json, "started_at", time_or_null(a->started_ms));
    json_object_set_new(json, "finished_at", time_or_null(a->finished_ms));
    json_t *model = json_null();
    if (a->model_sha256[0]) {
        model = json_object();
        json_object_set_new(model, "name", json_string(a->model_name));
        json_object_set_new(model, "sha256", json_string(a->model_sha256));
    }
    json_object_set_new(json, "model", model);
    json_object_set_new(json, "reused_from", text_or_null(a->reused_from));
    json_object_set_new(json, "error", present_error(a));
    json_object_set_new(json, "stability_status", text_or_null(a->stability_status));
    json_object_set_new(json, "links", present_links(a->id));
    return json;
}

/* The stored text, parsed; null when there is none. */
static json_t *stored_json(const char *text)
{
    json_t *json = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    return json ? json : json_null();
}

static json_t *present_stability(const struct store_analysis *a, const char *text)
{
    if (!a->stability_status[0])
        return json_null();
    json_t *stability = stored_json(text);
    if (!json_is_object(stability)) {
        json_decref(stability);
        stability = json_object();
        json_object_set_new(stability, "rows", json_array());
    }
    json_object_set_new(stability, "status", json_string(a->stability_status));
    static const char *const sums[] = {"spread", "flips"};
    for (size_t i = 0; i < ARRAY_LEN(sums); i++)
        if (!json_object_get(stability, sums[i]))
            json_object_set_new(stability, sums[i], json_null());
    return stability;
}

enum err_code present_whole(struct app *app, const struct store_analysis *a, json_t **ret,
                            struct err *err)
{
    _cleanup_free_ char *result = NULL, *stability = NULL;
    enum err_code rc = ERR_OK;
    if (a->status == STORE_DONE)
        rc = store_get_result(app->db, a->id, &result, err);
    if (rc == ERR_OK && a->stability_status[0])
        rc = store_get_stability(app->db, a->id, &stability, err);
    if (rc != ERR_OK)
        return rc;
    json_t *json = present_analysis(a, inference_progress(a->id));
    json_object_set_new(json, "result", stored_json(result));
    json_object_set_new(json, "stability", present_stability(a, stability));
    *ret = json;
    return ERR_OK;
}

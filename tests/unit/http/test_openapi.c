/* http: the OpenAPI document of a route table, and the schemas of the real one. */
#include "../../support/cm.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/http.h"

extern const char schemas_json[], schemas_json_end[]; /* src/role/schemas.json */

static char *real_schemas;

static enum err_code nothing(struct http_request *request, void *app, struct err *err)
{
    (void)request;
    (void)app;
    (void)err;
    return ERR_OK;
}

static const struct http_param list_params[] = {
    {"status", "query", "{\"$ref\":\"#/components/schemas/State\"}", 0, "Only these."},
    {"limit", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":200,\"default\":50}", 0,
     "How many."},
};
static const struct http_param prefer[] = {
    {"Prefer", "header", "{\"type\":\"string\"}", 0, "`wait=N`."},
};
static const struct http_route table[] = {
    {.method = "GET",
     .path = "/api/v1/analyses",
     .id = "listAnalyses",
     .tag = "Analyses",
     .summary = "List",
     .handle = nothing,
     .params = list_params,
     .n_params = 2,
     .status = 200,
     .reply_type = "application/json",
     .reply_schema = "AnalysisList"},
    {.method = "POST",
     .path = "/upload",
     .id = "upload",
     .tag = "Uploads",
     .body = HTTP_BODY_FILES,
     .handle = nothing,
     .params = prefer,
     .n_params = 1,
     .status = 202,
     .reply_type = "application/json",
     .reply_schema = "Accepted"},
    {.method = "DELETE",
     .path = "/api/v1/analyses/{id}",
     .id = "deleteAnalysis",
     .tag = "Analyses",
     .handle = nothing,
     .status = 204},
    {.method = "GET",
     .path = "/api/v1/analyses/{id}",
     .id = "getAnalysis",
     .tag = "Analyses",
     .handle = nothing,
     .status = 200,
     .reply_type = "application/json",
     .reply_schema = "Analysis"},
    {.method = "POST",
     .path = "/api/v1/webhooks",
     .id = "addWebhook",
     .tag = "Webhooks",
     .body = HTTP_BODY_JSON,
     .handle = nothing,
     .status = 201,
     .reply_type = "application/json",
     .reply_schema = "Webhook",
     .request_schema = "WebhookRequest"},
    {.method = "GET", .path = "/", .handle = nothing, .hidden = 1},
};

static json_t *make(void)
{
    json_t *doc = NULL;
    struct err err = {0};
    if (http_openapi(table, ARRAY_LEN(table), real_schemas, "sonde", "1.2.3", &doc, &err))
        fail_msg("%s", err.text);
    return doc;
}

/* "paths|/upload|post|responses|202": keys from the top. */
static const json_t *at(const json_t *json, const char *path)
{
    char copy[256], *rest = copy, *key;
    snprintf(copy, sizeof copy, "%s", path);
    while ((key = strsep(&rest, "|")))
        json = json_is_array(json) ? json_array_get(json, strtoul(key, NULL, 10))
                                   : json_object_get(json, key);
    if (!json)
        fail_msg("nothing at %s", path);
    return json;
}

static void text_is(const json_t *json, const char *path, const char *want)
{
    assert_string_equal(json_string_value(at(json, path)), want);
}

static void the_document_says_what_the_table_says(void **state)
{
    (void)state;
    json_t *doc = make();
    text_is(doc, "openapi", "3.1.0");
    text_is(doc, "info|title", "sonde");
    text_is(doc, "info|version", "1.2.3");
    text_is(doc, "tags|0|name", "Analyses");
    text_is(doc, "tags|1|name", "Uploads");
    assert_int_equal(json_array_size(at(doc, "tags")), 3);
    assert_int_equal(json_object_size(at(doc, "paths")), 4); /* "/" is hidden */

    const json_t *list = at(doc, "paths|/api/v1/analyses|get");
    text_is(list, "operationId", "listAnalyses");
    text_is(list, "summary", "List");
    text_is(list, "parameters|1|name", "limit");
    text_is(list, "parameters|1|in", "query");
    assert_int_equal(json_integer_value(at(list, "parameters|1|schema|maximum")), 200);
    assert_null(json_object_get(at(list, "parameters|1"), "required"));
    text_is(list, "responses|200|content|application/json|schema|$ref",
            "#/components/schemas/AnalysisList");
    text_is(list, "responses|default|content|application/problem+json|schema|$ref",
            "#/components/schemas/Problem");
    json_decref(doc);
}

static void methods_share_a_path_and_path_parameters_are_declared(void **state)
{
    (void)state;
    json_t *doc = make();
    const json_t *item = at(doc, "paths|/api/v1/analyses/{id}");
    assert_int_equal(json_object_size(item), 2);
    text_is(item, "get|parameters|0|name", "id");
    text_is(item, "delete|parameters|0|in", "path");
    assert_true(json_is_true(at(item, "delete|parameters|0|required")));
    assert_null(json_object_get(at(item, "delete|responses|204"), "content"));
    json_decref(doc);
}

static void bodies_are_files_or_json(void **state)
{
    (void)state;
    json_t *doc = make();
    const json_t *upload = at(doc, "paths|/upload|post");
    text_is(upload, "requestBody|content|multipart/form-data|schema|properties|file|type", "array");
    text_is(upload, "requestBody|content|application/octet-stream|schema|type", "string");
    text_is(doc, "paths|/api/v1/webhooks|post|requestBody|content|application/json|schema|$ref",
            "#/components/schemas/WebhookRequest");
    assert_null(json_object_get(at(doc, "paths|/api/v1/analyses|get"), "requestBody"));
    /* Prefer: wait turns 202 into 200 with the whole analysis. */
    text_is(upload, "responses|202|content|application/json|schema|$ref",
            "#/components/schemas/Accepted");
    text_is(upload, "responses|200|content|application/json|schema|$ref",
            "#/components/schemas/Analysis");
    json_decref(doc);
}

static void errors_are_those_of_the_table(void **state)
{
    (void)state;
    json_t *doc = make();
    const json_t *codes = at(doc, "components|schemas|Problem|properties|code|enum");
    assert_int_equal(json_array_size(codes), ERR_COUNT - 1);
    text_is(codes, "0", err_slug(1));
    json_decref(doc);
}

static enum err_code with(struct http_route route, const char *schemas, struct err *err)
{
    struct http_route both[2] = {table[3], route};
    json_t *doc = NULL;
    enum err_code rc = http_openapi(both, 2, schemas, "sonde", "1", &doc, err);
    assert_true((rc == ERR_OK) == (doc != NULL));
    json_decref(doc);
    return rc;
}

static void a_contradiction_is_refused(void **state)
{
    (void)state;
    struct err err;
    struct http_route good = table[0], bad = good;
    struct http_param odd = {"x", "query", "{oops", 0, NULL};
    assert_int_equal(with(good, real_schemas, &err), ERR_OK);
    bad.id = "getAnalysis";
    assert_int_equal(with(bad, real_schemas, &err), ERR_INTERNAL);
    bad = good;
    bad.id = NULL;
    assert_int_equal(with(bad, real_schemas, &err), ERR_INTERNAL);
    bad = good;
    bad.path = table[3].path;
    assert_int_equal(with(bad, real_schemas, &err), ERR_INTERNAL);
    bad = good;
    bad.reply_schema = "NoSuch";
    assert_int_equal(with(bad, real_schemas, &err), ERR_INTERNAL);
    assert_non_null(strstr(err.text, "NoSuch"));
    bad = good;
    bad.path = "/broken/{id";
    assert_int_equal(with(bad, real_schemas, &err), ERR_INTERNAL);
    bad = good;
    bad.params = &odd;
    bad.n_params = 1;
    assert_int_equal(with(bad, real_schemas, &err), ERR_INTERNAL);
    odd = (struct http_param){"id", "path", NULL, 1, NULL};
    assert_int_equal(with(bad, real_schemas, &err), ERR_INTERNAL); /* not in the path */
    assert_int_equal(with(good, "[]", &err), ERR_INTERNAL);
    assert_int_equal(with(good, "{\"a\":1,}", &err), ERR_INTERNAL);
    assert_int_equal(
        with(good, "{\"AnalysisList\":{\"$ref\":\"#/elsewhere\"},\"Problem\":{}}", &err),
        ERR_INTERNAL);
}

/* Every $ref of the real schemas resolves (http_openapi checks it); and every property says its
 * type, what a key in `required` names is there, and no schema is left over. */
static void visit(const json_t *schema, const char *name)
{
    const char *key;
    json_t *value, *properties = json_object_get(schema, "properties");
    size_t i;
    if (!schema)
        return;
    json_array_foreach (json_object_get(schema, "required"), i, value) {
        if (!json_object_get(properties, json_string_value(value)))
            fail_msg("%s requires %s, which it lacks", name, json_string_value(value));
    }
    json_object_foreach (properties, key, value) {
        if (!json_object_get(value, "type") && !json_object_get(value, "$ref") &&
            !json_object_get(value, "oneOf") && !json_object_get(value, "const") &&
            !json_object_get(value, "description"))
            fail_msg("%s.%s says nothing", name, key);
        visit(value, key);
    }
    visit(json_object_get(schema, "items"), name);
    json_array_foreach (json_object_get(schema, "oneOf"), i, value) {
        visit(value, name);
    }
    json_array_foreach (json_object_get(schema, "allOf"), i, value) {
        visit(value, name);
    }
}

static void the_real_schemas_hold_together(void **state)
{
    (void)state;
    json_t *schemas = json_loads(real_schemas, JSON_REJECT_DUPLICATES, NULL), *value;
    const char *name;
    static const char *const wanted[] = {
        "Problem",  "Analysis", "AnalysisList", "Result",   "Stability", "Picture", "Uploads",
        "Accepted", "Status",   "Webhook",      "Delivery", "Ticket",    "Info",    "Ready"};
    assert_non_null(schemas);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (!json_object_get(schemas, wanted[i]))
            fail_msg("%s is missing", wanted[i]);
    json_object_foreach (schemas, name, value) {
        visit(value, name);
    }
    json_decref(schemas);
}

static int load(void **state)
{
    (void)state;
    size_t size = (size_t)(schemas_json_end - schemas_json);
    real_schemas = calloc(1, size + 1);
    if (real_schemas)
        memcpy(real_schemas, schemas_json, size);
    return real_schemas ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    free(real_schemas);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_document_says_what_the_table_says),
        cmocka_unit_test(methods_share_a_path_and_path_parameters_are_declared),
        cmocka_unit_test(bodies_are_files_or_json),
        cmocka_unit_test(errors_are_those_of_the_table),
        cmocka_unit_test(a_contradiction_is_refused),
        cmocka_unit_test(the_real_schemas_hold_together),
    };
    return cmocka_run_group_tests(tests, load, unload);
}

/* The OpenAPI 3.1 document of a route table.
 *
 * Written from the very table that answers, so that it cannot tell of a route that is not there.
 * What the table cannot say, the shapes of answers, comes as a text of JSON schemas. A document
 * with a reference to nowhere, or with an id twice, is a bug in one of the two: it is refused with
 * ERR_INTERNAL and its place, so that a test (and the start of the server) sees it.
 *
 * A schema's "x-when-waited": "Name" says that a 202 with this schema turns into 200 with that one,
 * where the route takes `Prefer: wait`.
 *
 * Plain function, any thread; the caller owns the document. When memory is gone, jansson's setters
 * fail one by one: that is counted in `lost` and makes the whole fail at the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../base/mem.h"
#include "http.h"

#define SCHEMA_REF "#/components/schemas/"

struct doc {
    const json_t *schemas; /* borrowed */
    int lost;              /* a setter failed */
    struct err *err;
};

static void put(struct doc *doc, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        doc->lost = 1;
}

static void put_text(struct doc *doc, json_t *object, const char *key, const char *text)
{
    if (text && *text)
        put(doc, object, key, json_string(text));
}

static void add(struct doc *doc, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0)
        doc->lost = 1;
}

static json_t *schema_ref(const char *name)
{
    json_t *ref = json_object();
    json_object_set_new(ref, "$ref", json_sprintf(SCHEMA_REF "%s", name));
    return ref;
}

/* {"<type>": {"schema": …}}; schema NULL: nothing is said about it. */
static json_t *content(struct doc *doc, const char *type, json_t *schema)
{
    json_t *media = json_object(), *types = json_object();
    if (schema)
        put(doc, media, "schema", schema);
    put(doc, types, type, media);
    return types;
}

/* --- parameters ---------------------------------------------------------------------------- */

static enum err_code parameter(struct doc *doc, const struct http_route *route,
                               const struct http_param *param, json_t *list)
{
    json_error_t where;
    json_t *json = json_object();
    json_t *schema = json_loads(param->schema ? param->schema : "{\"type\":\"string\"}",
                                JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(schema)) {
        json_decref(schema);
        json_decref(json);
        return err_set(doc->err, ERR_INTERNAL, "%s: the schema of %s is no JSON object", route->id,
                       param->name);
    }
    put_text(doc, json, "name", param->name);
    put_text(doc, json, "in", param->in);
    if (param->required || strcmp(param->in, "path") == 0)
        put(doc, json, "required", json_true());
    put_text(doc, json, "description", param->text);
    put(doc, json, "schema", schema);
    add(doc, list, json);
    return ERR_OK;
}

static int declares(const struct http_route *route, const char *in, const char *name, size_t n)
{
    for (size_t i = 0; i < route->n_params; i++)
        if (strcmp(route->params[i].in, in) == 0 && strlen(route->params[i].name) == n &&
            strncasecmp(route->params[i].name, name, n) == 0)
            return 1;
    return 0;
}

static int path_has(const char *path, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = path; (at = strchr(at, '{')); at++)
        if (strncmp(at + 1, name, n) == 0 && at[1 + n] == '}')
            return 1;
    return 0;
}

/* Those of the table, and a plain text for each {name} that the table says nothing about. */
static enum err_code parameters(struct doc *doc, const struct http_route *route, json_t *operation)
{
    _cleanup_(json_decrefp) json_t *list = json_array();
    enum err_code rc = ERR_OK;
    for (size_t i = 0; i < route->n_params && rc == ERR_OK; i++) {
        const struct http_param *param = &route->params[i];
        if (strcmp(param->in, "path") == 0 && !path_has(route->path, param->name))
            return err_set(doc->err, ERR_INTERNAL, "%s: {%s} is not in %s", route->id, param->name,
                           route->path);
        rc = parameter(doc, route, param, list);
    }
    for (const char *at = route->path; rc == ERR_OK && (at = strchr(at, '{')); at++) {
        const char *end = strchr(at, '}');
        if (!end)
            return err_set(doc->err, ERR_INTERNAL, "%s: %s lacks a }", route->id, route->path);
        if (declares(route, "path", at + 1, (size_t)(end - at - 1)))
            continue;
        _cleanup_free_ char *name = xasprintf("%.*s", (int)(end - at - 1), at + 1);
        rc = parameter(doc, route, &(struct http_param){.name = name, .in = "path"}, list);
    }
    if (rc == ERR_OK && json_array_size(list) > 0)
        put(doc, operation, "parameters", json_incref(list));
    return rc;
}

/* --- bodies -------------------------------------------------------------------------------- */

static json_t *binary(struct doc *doc, const char *text)
{
    json_t *schema = json_object();
    put_text(doc, schema, "type", "string");
    put_text(doc, schema, "contentMediaType", "application/octet-stream");
    put_text(doc, schema, "description", text);
    return schema;
}

static json_t *files_body(struct doc *doc)
{
    json_t *form = json_object(), *fields = json_object(), *file = json_object();
    put_text(doc, file, "type", "array");
    put(doc, file, "items", binary(doc, NULL));
    put(doc, file, "minItems", json_integer(1));
    put(doc, file, "maxItems", json_integer(HTTP_FILES_MAX));
    put_text(doc, file, "description", "The recordings, each with its file name.");
    put(doc, fields, "file", file);
    put_text(doc, form, "type", "object");
    put(doc, form, "properties", fields);
    json_t *required = json_array();
    add(doc, required, json_string("file"));
    put(doc, form, "required", required);
    json_t *types = content(doc, "multipart/form-data", form), *raw = json_object();
    put(doc, raw, "schema", binary(doc, "The bytes of one recording."));
    put(doc, types, "application/octet-stream", raw);
    return types;
}

static void request_body(struct doc *doc, const struct http_route *route, json_t *operation)
{
    if (route->body == HTTP_BODY_NONE)
        return;
    json_t *body = json_object();
    put(doc, body, "required", json_true());
    if (route->body == HTTP_BODY_FILES)
        put(doc, body, "content", files_body(doc));
    else
        put(doc, body, "content",
            content(doc, "application/json",
                    route->request_schema ? schema_ref(route->request_schema) : NULL));
    put(doc, operation, "requestBody", body);
}

static const char *status_text(int status)
{
    switch (status) {
    case 101:
        return "The connection is a WebSocket from here on.";
    case 201:
        return "Created.";
    case 202:
        return "Accepted: the work goes on after this answer.";
    case 204:
        return "Done; there is nothing to say.";
    case 206:
        return "The range that was asked for.";
    case 304:
        return "It is what the client has already.";
    case 503:
        return "Not now; the body says why.";
    default:
        return "Success.";
    }
}

static json_t *response(struct doc *doc, const char *text, json_t *types)
{
    json_t *json = json_object();
    put_text(doc, json, "description", text);
    if (types)
        put(doc, json, "content", types);
    return json;
}

/* What comes with a good answer: every type of the list, the schema with those that are JSON. */
static json_t *reply_types(struct doc *doc, const struct http_route *route)
{
    json_t *types = route->reply_type ? json_object() : NULL;
    for (const char *at = route->reply_type; at && *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        _cleanup_free_ char *type = xasprintf("%.*s", (int)n, at);
        json_t *media = json_object();
        if (route->reply_schema && strstr(type, "json"))
            put(doc, media, "schema", schema_ref(route->reply_schema));
        put(doc, types, type, media);
        at += n;
    }
    return types;
}

static enum err_code code_of(const char *slug, size_t n)
{
    for (int i = 1; i < ERR_COUNT; i++)
        if (strlen(err_slug((enum err_code)i)) == n &&
            memcmp(err_slug((enum err_code)i), slug, n) == 0)
            return (enum err_code)i;
    return ERR_OK;
}

/* The errors of a route by status; those of one status stand in one description. */
static enum err_code error_responses(struct doc *doc, const struct http_route *route, json_t *all)
{
    for (const char *at = route->errors; at && *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        enum err_code code = code_of(at, n);
        char status[16];
        if (code == ERR_OK)
            return err_set(doc->err, ERR_INTERNAL, "%s: no error is called %.*s", route->id, (int)n,
                           at);
        snprintf(status, sizeof status, "%d", err_http_status(code));
        const char *before =
            json_string_value(json_object_get(json_object_get(all, status), "description"));
        _cleanup_free_ char *text =
            xasprintf("%s%s`%s`", before ? before : "", before ? ", " : "", err_slug(code));
        put(doc, all, status,
            response(doc, text, content(doc, "application/problem+json", schema_ref("Problem"))));
        at += n;
    }
    return ERR_OK;
}

static enum err_code responses(struct doc *doc, const struct http_route *route, json_t *operation)
{
    json_t *all = json_object();
    char status[16];
    int code = route->status ? route->status : 200;
    const char *schema = route->reply_schema;
    const char *waited = schema ? json_string_value(json_object_get(
                                      json_object_get(doc->schemas, schema), "x-when-waited"))
                                : NULL;
    if (code == 202 && waited && declares(route, "header", "Prefer", strlen("Prefer")))
        put(doc, all, "200",
            response(doc, "It was done within the time that `Prefer: wait` gave.",
                     content(doc, "application/json", schema_ref(waited))));
    snprintf(status, sizeof status, "%d", code);
    put(doc, all, status, response(doc, status_text(code), reply_types(doc, route)));
    for (const char *at = route->also; at && *at; at += strspn(at, " ")) {
        code = (int)strtol(at, NULL, 10);
        snprintf(status, sizeof status, "%d", code);
        put(doc, all, status,
            response(doc, status_text(code), code == 304 ? NULL : reply_types(doc, route)));
        at += strcspn(at, " ");
    }
    put(doc, operation, "responses", all);
    enum err_code rc = error_responses(doc, route, all);
    put(doc, all, "default",
        response(doc, "What went wrong.",
                 content(doc, "application/problem+json", schema_ref("Problem"))));
    return rc;
}

/* --- the whole ----------------------------------------------------------------------------- */

static enum err_code operation(struct doc *doc, const struct http_route *route, json_t *paths)
{
    json_t *item = json_object_get(paths, route->path), *json = json_object();
    char method[16];
    size_t n = strlen(route->method);
    if (!item) {
        put(doc, paths, route->path, json_object());
        item = json_object_get(paths, route->path);
    }
    if (n >= sizeof method)
        n = sizeof method - 1;
    for (size_t i = 0; i < n; i++)
        method[i] = (char)(route->method[i] | 0x20);
    method[n] = '\0';
    if (json_object_get(item, method)) {
        json_decref(json);
        return err_set(doc->err, ERR_INTERNAL, "two routes for %s %s", route->method, route->path);
    }
    put(doc, item, method, json); /* item holds it from here on */
    put_text(doc, json, "operationId", route->id);
    if (route->tag) {
        json_t *tags = json_array();
        add(doc, tags, json_string(route->tag));
        put(doc, json, "tags", tags);
    }
    put_text(doc, json, "summary", route->summary);
    put_text(doc, json, "description", route->text);
    enum err_code rc = parameters(doc, route, json);
    if (rc != ERR_OK)
        return rc;
    request_body(doc, route, json);
    return responses(doc, route, json);
}

/* The tags in the order in which the table first has them: a page shows them in this order. */
static json_t *tag_list(struct doc *doc, const struct http_route *routes, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        int known = routes[i].hidden || !routes[i].tag;
        for (size_t k = 0; k < i && !known; k++)
            known = !routes[k].hidden && routes[k].tag && strcmp(routes[k].tag, routes[i].tag) == 0;
        if (known)
            continue;
        json_t *tag = json_object();
        put_text(doc, tag, "name", routes[i].tag);
        add(doc, list, tag);
    }
    return list;
}

/* The codes of Problem come from the table of errors. */
static void name_the_errors(struct doc *doc, json_t *schemas)
{
    json_t *code =
        json_object_get(json_object_get(json_object_get(schemas, "Problem"), "properties"), "code");
    if (!json_is_object(code) || json_object_get(code, "enum"))
        return;
    json_t *list = json_array();
    for (int i = 1; i < ERR_COUNT; i++)
        add(doc, list, json_string(err_slug((enum err_code)i)));
    put(doc, code, "enum", list);
}

static enum err_code check_ids(struct doc *doc, const struct http_route *routes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (routes[i].hidden)
            continue;
        if (!routes[i].id || !*routes[i].id)
            return err_set(doc->err, ERR_INTERNAL, "%s %s has no id", routes[i].method,
                           routes[i].path);
        for (size_t k = 0; k < i; k++)
            if (!routes[k].hidden && strcmp(routes[k].id, routes[i].id) == 0)
                return err_set(doc->err, ERR_INTERNAL, "two routes are called %s", routes[i].id);
    }
    return ERR_OK;
}

/* Every "$ref" below `json` names a schema that there is. `depth` bounds the stack; jansson's own
 * parser stops at 2048. */
static enum err_code check_refs(struct doc *doc, json_t *json, const char *at)
{
    const char *key;
    json_t *value;
    size_t i;
    enum err_code rc = ERR_OK;
    if (json_is_object(json)) {
        json_object_foreach (json, key, value) {
            if (rc == ERR_OK && strcmp(key, "$ref") == 0 && json_is_string(value)) {
                const char *ref = json_string_value(value);
                if (strncmp(ref, SCHEMA_REF, strlen(SCHEMA_REF)) != 0 ||
                    !json_object_get(doc->schemas, ref + strlen(SCHEMA_REF)))
                    rc = err_set(doc->err, ERR_INTERNAL, "%s: nothing is called %s", at, ref);
            } else if (rc == ERR_OK) {
                rc = check_refs(doc, value, key);
            }
        }
    } else if (json_is_array(json)) {
        json_array_foreach (json, i, value) {
            if (rc == ERR_OK)
                rc = check_refs(doc, value, at);
        }
    }
    return rc;
}

static enum err_code build(struct doc *doc, const struct http_route *routes, size_t n,
                           const char *title, const char *version, json_t *schemas, json_t *root)
{
    json_t *info = json_object(), *paths = json_object(), *components = json_object();
    put_text(doc, root, "openapi", "3.1.0");
    put_text(doc, info, "title", title);
    put_text(doc, info, "version", version);
    put(doc, root, "info", info);
    put(doc, root, "tags", tag_list(doc, routes, n));
    put(doc, root, "paths", paths);
    name_the_errors(doc, schemas);
    put(doc, components, "schemas", json_incref(schemas));
    put(doc, root, "components", components);
    enum err_code rc = check_ids(doc, routes, n);
    for (size_t i = 0; i < n && rc == ERR_OK; i++)
        if (!routes[i].hidden)
            rc = operation(doc, &routes[i], paths);
    if (rc == ERR_OK)
        rc = check_refs(doc, root, "document");
    return rc;
}

enum err_code http_openapi(const struct http_route *routes, size_t n, const char *schemas,
                           const char *title, const char *version, json_t **ret, struct err *err)
{
    json_error_t where;
    *ret = NULL;
    _cleanup_(json_decrefp) json_t *shapes = json_loads(schemas, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(shapes))
        return err_set(err, ERR_INTERNAL, "the schemas: line %d: %s", where.line,
                       shapes ? "no object" : where.text);
    _cleanup_(json_decrefp) json_t *root = json_object();
    struct doc doc = {.schemas = shapes, .err = err};
    enum err_code rc = build(&doc, routes, n, title, version, shapes, root);
    if (rc != ERR_OK)
        return rc;
    if (doc.lost || !root)
        return err_set(err, ERR_NO_MEMORY, "no memory for the API's description");
    *ret = STEAL(root);
    return ERR_OK;
}

/* A request's body, by what its route takes: JSON into memory, files and fields out of multipart,
 * or one raw file. Limits are counted here, over the whole body, as it comes.
 *
 * Runs on the I/O thread while the body comes; body_end may run on a worker for JSON. */
#include "internal.h"

#include <string.h>
#include <strings.h>

#include "../base/mem.h"
#include "../base/utf8.h"

#define JSON_DEPTH_MAX 32

struct field {
    char *name, *value;
};

struct body {
    uint64_t bytes, max;
    /* JSON */
    int is_json;
    char *text;
    size_t used, cap;
    json_t *json;
    /* files */
    struct multipart *multipart; /* NULL: raw */
    struct upload *upload;
    struct field *fields;
    size_t n_fields, cap_fields;
    int in_field;
    char *value;
    size_t value_size;
};

/* --- multipart's calls ----------------------------------------------------------------------- */

static enum err_code on_begin(void *ctx, const char *name, const char *filename, struct err *err)
{
    struct body *body = ctx;
    body->in_field = !filename;
    if (filename)
        return upload_begin(body->upload, name, filename, err);
    if (body->n_fields == HTTP_FIELDS_MAX ||
        try_grow(&body->fields, &body->cap_fields, body->n_fields, sizeof *body->fields,
                 HTTP_FIELDS_MAX + 1) != 0)
        return err_set(err, ERR_BAD_REQUEST, "more than %d form fields", HTTP_FIELDS_MAX);
    struct field *field = &body->fields[body->n_fields++];
    field->name = xstrdup(name);
    field->value = NULL;
    body->value = xalloc(HTTP_FIELD_MAX + 1);
    body->value_size = 0;
    return ERR_OK;
}

static enum err_code on_data(void *ctx, const char *data, size_t size, struct err *err)
{
    struct body *body = ctx;
    if (!body->in_field)
        return upload_data(body->upload, data, size, err);
    if (size > HTTP_FIELD_MAX - body->value_size)
        return err_set(err, ERR_BAD_REQUEST, "a form field has more than %d bytes", HTTP_FIELD_MAX);
    memcpy(body->value + body->value_size, data, size);
    body->value_size += size;
    return ERR_OK;
}

static enum err_code on_end(void *ctx, struct err *err)
{
    struct body *body = ctx;
    if (!body->in_field)
        return upload_end(body->upload, err);
    body->value[body->value_size] = 0;
    if (strlen(body->value) != body->value_size || !utf8_valid(body->value))
        return err_set(err, ERR_BAD_REQUEST, "a form field is not UTF-8 without zeros");
    body->fields[body->n_fields - 1].value = STEAL(body->value);
    return ERR_OK;
}

static const struct multipart_calls calls = {on_begin, on_data, on_end};

/* --- the body ----------------------------------------------------------------------------------
 */

/* Whether the media type of a Content-Type is `type`, whatever its parameters. */
static int is_type(const char *content_type, const char *type)
{
    size_t len = strlen(type);
    return content_type && strncasecmp(content_type, type, len) == 0 &&
           (!content_type[len] || strchr("; \t", content_type[len]));
}

static enum err_code new_files(struct http_request *request, struct body *body, struct err *err)
{
    const char *type = request->content_type;
    body->upload = upload_new(request->server->config.spool);
    if (is_type(type, "multipart/form-data"))
        return multipart_new(type, &calls, body, &body->multipart, err);
    if (type && strncasecmp(type, "multipart/", 10) == 0)
        return err_set(err, ERR_BAD_REQUEST, "of multipart types, only form-data is understood");
    return upload_begin(body->upload, "", http_query(request, "name"), err);
}

enum err_code body_new(struct http_request *request, struct body **ret, struct err *err)
{
    const struct http_route *route = request->route;
    enum err_code code = ERR_OK;
    *ret = NULL;
    if (route->body == HTTP_BODY_NONE || (!request->has_body && route->body == HTTP_BODY_FILES))
        return ERR_OK;
    struct body *body = xalloc(sizeof *body);
    body->is_json = route->body == HTTP_BODY_JSON;
    body->max = route->body_max ? route->body_max
                : body->is_json ? HTTP_JSON_MAX
                                : request->server->config.upload_max;
    if (request->content_length > 0 && (uint64_t)request->content_length > body->max)
        code = err_set(err, ERR_TOO_LARGE, "the body has %lld bytes; %llu are permitted",
                       (long long)request->content_length, (unsigned long long)body->max);
    else if (!body->is_json)
        code = new_files(request, body, err);
    else if (request->has_body && !is_type(request->content_type, "application/json"))
        code = err_set(err, ERR_BAD_REQUEST, "the body must be application/json");
    if (code != ERR_OK)
        body = body_free(body);
    *ret = body;
    return code;
}

static enum err_code json_bytes(struct body *body, const char *data, size_t size, struct err *err)
{
    /* try_grow makes one index usable; the limit is body->max, checked before. */
    if (try_grow(&body->text, &body->cap, body->used + size, 1, (size_t)body->max + 2) != 0)
        return err_set(err, ERR_NO_MEMORY, "no memory for a JSON body");
    memcpy(body->text + body->used, data, size);
    body->used += size;
    return ERR_OK;
}

enum err_code body_data(struct body *body, const char *data, size_t size, struct err *err)
{
    body->bytes += size;
    if (body->bytes > body->max)
        return err_set(err, ERR_TOO_LARGE, "the body has more than the %llu bytes permitted",
                       (unsigned long long)body->max);
    if (body->is_json)
        return json_bytes(body, data, size, err);
    return body->multipart ? multipart_feed(body->multipart, data, size, err)
                           : upload_data(body->upload, data, size, err);
}

/* Levels of [ and { outside strings: jansson would go 2048 deep, on this thread's stack. */
static int json_depth(const char *text, size_t size)
{
    int depth = 0, deepest = 0, in_string = 0;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = 0;
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '[' || c == '{') {
            if (++depth > deepest)
                deepest = depth;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return deepest;
}

static enum err_code end_json(struct body *body, struct err *err)
{
    json_error_t error;
    if (body->used == 0)
        return err_set(err, ERR_BAD_REQUEST, "the body is empty; JSON was expected");
    if (json_depth(body->text, body->used) > JSON_DEPTH_MAX)
        return err_set(err, ERR_BAD_REQUEST, "the JSON is nested deeper than %d levels",
                       JSON_DEPTH_MAX);
    body->json = json_loadb(body->text, body->used, JSON_REJECT_DUPLICATES, &error);
    if (!body->json)
        return err_set(err, ERR_BAD_REQUEST, "the body is no JSON: line %d column %d: %s",
                       error.line, error.column, error.text);
    return ERR_OK;
}

enum err_code body_end(struct body *body, struct err *err)
{
    if (!body)
        return ERR_OK;
    if (body->is_json)
        return end_json(body, err);
    return body->multipart ? multipart_finish(body->multipart, err) : upload_end(body->upload, err);
}

const json_t *body_json(const struct body *body)
{
    return body ? body->json : NULL;
}

const char *body_field(const struct body *body, const char *name)
{
    for (size_t i = 0; body && i < body->n_fields; i++)
        if (strcmp(body->fields[i].name, name) == 0)
            return body->fields[i].value;
    return NULL;
}

struct http_file *body_files(struct body *body, size_t *ret_n)
{
    *ret_n = 0;
    return body && body->upload ? upload_files(body->upload, ret_n) : NULL;
}

struct body *body_free(struct body *body)
{
    if (!body)
        return NULL;
    for (size_t i = 0; i < body->n_fields; i++) {
        free(body->fields[i].name);
        free(body->fields[i].value);
    }
    free(body->fields);
    free(body->value);
    multipart_free(body->multipart);
    upload_free(body->upload);
    json_decref(body->json);
    free(body->text);
    free(body);
    return NULL;
}

/* Errors as application/problem+json (RFC 9457). The code's row in err.def gives status, slug and
 * hint, the error's text the detail. Any thread that owns the request. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#include "../base/mem.h"

/* "not_audio" → "Not audio" */
static void title_of(const char *slug, char *ret, size_t size)
{
    size_t i = 0;
    for (; slug[i] && i + 1 < size; i++)
        ret[i] = slug[i] == '_' ? ' ' : slug[i];
    ret[i] = 0;
    if (ret[0] >= 'a' && ret[0] <= 'z')
        ret[0] = (char)(ret[0] - 'a' + 'A');
}

static const char *retry_after(enum err_code code)
{
    switch (code) {
    case ERR_QUEUE_FULL:
        return "10";
    case ERR_NO_SPACE:
        return "60";
    case ERR_SHUTTING_DOWN:
    case ERR_UNAVAILABLE:
        return "5";
    default:
        return "1";
    }
}

/* Texts may quote what a client sent: jansson refuses what is no UTF-8, so that is replaced. */
static void set_text(json_t *json, const char *key, const char *text)
{
    json_t *value = json_string(text);
    if (!value) {
        _cleanup_free_ char *copy = xstrdup(text);
        for (char *p = copy; *p; p++)
            if (*p & 0x80)
                *p = '?';
        value = json_string(copy);
    }
    json_object_set_new(json, key, value);
}

/* What went wrong behind this server: its words name hosts, users and folders, which are for the
 * log and not for whoever may send a request. */
static int is_inner(enum err_code code)
{
    return code == ERR_UNAVAILABLE || code == ERR_UNCERTAIN || code == ERR_READ_ONLY ||
           code == ERR_DB || code == ERR_DB_CORRUPT || code == ERR_IO || code == ERR_INTERNAL;
}

static const char *detail_of(enum err_code code, const struct err *err, const char *title)
{
    if (!err || !err->text[0])
        return title;
    return is_inner(code) ? "something behind this server does not work at the moment; the log "
                            "tells what, with this request's id"
                          : err->text;
}

static char *problem_text(struct http_request *request, enum err_code code, const struct err *err)
{
    char type[64], title[48];
    const char *slug = err_slug(code);
    request_identify(request);
    snprintf(type, sizeof type, "urn:sonde:error:%s", slug);
    title_of(slug, title, sizeof title);
    json_t *json = json_object();
    json_object_set_new(json, "type", json_string(type));
    json_object_set_new(json, "title", json_string(title));
    json_object_set_new(json, "status", json_integer(err_http_status(code)));
    set_text(json, "detail", detail_of(code, err, title));
    json_object_set_new(json, "hint", json_string(err_hint(code)));
    json_object_set_new(json, "code", json_string(slug));
    json_object_set_new(json, "request_id", json_string(request->id));
    json_object_set_new(json, "trace_id", json_string(request->trace.trace_id));
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

void problem_reply(struct http_request *request, enum err_code code, const struct err *err)
{
    int status = err_http_status(code);
    request->err = err ? *err : (struct err){.code = code};
    request->err.code = code;
    char *text = problem_text(request, code, err);
    if ((status == 429 || status == 503) && err_retryable(code) &&
        !reply_has_header(request, "Retry-After"))
        http_reply_header(request, "Retry-After", retry_after(code));
    if (code == ERR_METHOD) {
        char allow[64];
        route_allow_text(request->allow, allow, sizeof allow);
        http_reply_header(request, "Allow", allow);
    }
    http_reply_mem(request, status, "application/problem+json", text, text ? strlen(text) : 0);
}

char *problem_raw(struct http_request *request, enum err_code code, const struct err *err,
                  size_t *ret_size)
{
    int status = err_http_status(code);
    char title[48];
    _cleanup_free_ char *text = problem_text(request, code, err);
    if (!text)
        return NULL;
    title_of(err_slug(code), title, sizeof title);
    char *raw =
        xasprintf("HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: "
                  "application/problem+json\r\nContent-Length: %zu\r\nCache-Control: "
                  "no-store\r\nX-Content-Type-Options: nosniff\r\nX-Request-Id: %s\r\n%s%s%s"
                  "\r\n%s",
                  status, title, strlen(text), request->id, status == 503 ? "Retry-After: " : "",
                  status == 503 ? retry_after(code) : "", status == 503 ? "\r\n" : "", text);
    *ret_size = strlen(raw);
    return raw;
}

/* Arbitrary bytes as "METHOD target": read and matched against a table; what is matched must fit
 * its template. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "http/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err_code nothing(struct http_request *request, void *app, struct err *err)
{
    (void)request;
    (void)app;
    (void)err;
    return ERR_OK;
}

static const struct http_route routes[] = {
    {.method = "GET", .path = "/status", .handle = nothing},
    {.method = "POST", .path = "/upload", .handle = nothing},
    {.method = "GET", .path = "/api/v1/analyses", .handle = nothing},
    {.method = "GET", .path = "/api/v1/analyses/{id}", .handle = nothing},
    {.method = "DELETE", .path = "/api/v1/analyses/{id}", .handle = nothing},
    {.method = "GET", .path = "/api/v1/analyses/special", .handle = nothing},
    {.method = "POST", .path = "/api/v1/{kind}/{id}/test", .handle = nothing},
    {.method = "GET", .path = "/{any}/x", .handle = nothing},
};

static void check(const struct http_route *route, const struct target *target)
{
    size_t n = 0;
    for (const char *at = route->path + 1;; n++) {
        size_t len = strcspn(at, "/");
        const struct route_segment *segment = &target->segments[n];
        if (n >= target->n_segments)
            abort();
        if (*at == '{' ? segment->size == 0
                       : segment->size != len || memcmp(segment->text, at, len) != 0)
            abort();
        if (!at[len])
            break;
        at += len + 1;
    }
    if (n + 1 != target->n_segments)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct route_table *table;
    struct err err = {0};
    if (!table && route_table_new(routes, ARRAY_LEN(routes), &table, &err) != ERR_OK)
        abort();
    _cleanup_free_ char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = 0;
    char *target_text = strchr(text, ' ');
    if (!target_text)
        return 0;
    *target_text++ = 0;
    struct target target = {0};
    if (target_parse(&target, target_text, &err) != ERR_OK) {
        if (!err.text[0])
            abort();
        target_free(&target);
        return 0;
    }
    if (!utf8_valid(target.path) || target.path[0] != '/')
        abort();
    for (size_t i = 0; i < target.n_pairs; i++)
        if (!utf8_valid(target.pairs[i].name) || !utf8_valid(target.pairs[i].value))
            abort();
    struct route_match match = route_find(table, text, target.segments, target.n_segments);
    if (match.route)
        check(match.route, &target);
    char allow[64];
    route_allow_text(match.allow, allow, sizeof allow);
    target_free(&target);
    return 0;
}

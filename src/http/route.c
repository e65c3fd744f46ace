/* The route table, compiled once into a tree of path segments.
 *
 * A path is matched segment by segment: literal children are tried first, then the one child that
 * takes any segment. A match costs a few comparisons, bounded by the depth of the table, and never
 * depends on the order of rows.
 *
 * Owner: the server. Read-only after route_table_new, so any thread may match. */
#include "internal.h"

#include <string.h>

#include "../base/mem.h"

#define ROUTE_NODES_MAX 4096

static const char *const methods[ROUTE_METHODS] = {"GET",   "HEAD",   "POST",   "PUT",
                                                   "PATCH", "DELETE", "OPTIONS"};
enum { METHOD_GET, METHOD_HEAD, METHOD_OPTIONS = 6 };

struct node {
    const char *text; /* literal, not zero-terminated; NULL: takes any segment */
    size_t size;
    struct node *children, *next; /* literals first, the parameter last */
    const struct http_route *routes[ROUTE_METHODS];
    unsigned allow;
};

struct route_table {
    struct node root;
};

int route_method(const char *method)
{
    for (int i = 0; i < ROUTE_METHODS; i++)
        if (strcmp(method, methods[i]) == 0)
            return i;
    return -1;
}

static void free_children(struct node *node)
{
    for (struct node *child = node->children, *next; child; child = next) {
        next = child->next;
        free_children(child);
        free(child);
    }
}

struct route_table *route_table_free(struct route_table *table)
{
    if (table)
        free_children(&table->root);
    free(table);
    return NULL;
}

/* The child for this segment of a template, made when it is missing. */
static struct node *child_for(struct node *parent, const char *text, size_t size)
{
    int any = size >= 2 && text[0] == '{' && text[size - 1] == '}';
    struct node **at = &parent->children;
    for (; *at; at = &(*at)->next) {
        if (any ? !(*at)->text
                : (*at)->text && (*at)->size == size && memcmp((*at)->text, text, size) == 0)
            return *at;
        if (!any && !(*at)->text)
            break; /* literals stand before the parameter */
    }
    struct node *node = xalloc(sizeof *node);
    node->text = any ? NULL : text;
    node->size = size;
    node->next = *at;
    *at = node;
    return node;
}

static enum err_code add_route(struct route_table *table, const struct http_route *route,
                               struct err *err)
{
    int method = route_method(route->method);
    if (method < 0 || method == METHOD_HEAD || route->path[0] != '/' || !route->handle)
        return err_set(err, ERR_INTERNAL, "route %s %s is malformed", route->method, route->path);
    struct node *node = &table->root;
    size_t depth = 0;
    for (const char *at = route->path + 1;;) {
        size_t size = strcspn(at, "/");
        if (++depth > ROUTE_SEGMENTS_MAX)
            return err_set(err, ERR_INTERNAL, "route %s is too deep", route->path);
        node = child_for(node, at, size);
        if (!at[size])
            break;
        at += size + 1;
    }
    if (node->routes[method])
        return err_set(err, ERR_INTERNAL, "route %s %s stands twice", route->method, route->path);
    node->routes[method] = route;
    node->allow |= 1u << method | 1u << METHOD_OPTIONS;
    if (method == METHOD_GET) {
        node->routes[METHOD_HEAD] = route;
        node->allow |= 1u << METHOD_HEAD;
    }
    return ERR_OK;
}

enum err_code route_table_new(const struct http_route *routes, size_t n, struct route_table **ret,
                              struct err *err)
{
    struct route_table *table = xalloc(sizeof *table);
    for (size_t i = 0; i < n; i++) {
        if (add_route(table, &routes[i], err) != ERR_OK) {
            route_table_free(table);
            return ERR_INTERNAL;
        }
    }
    *ret = table;
    return ERR_OK;
}

/* Literal before parameter; a literal that leads nowhere gives way to the parameter. The depth is
 * bounded by ROUTE_SEGMENTS_MAX, and each level has at most two ways. */
static const struct node *find(const struct node *node, const struct route_segment *segments,
                               size_t n)
{
    if (n == 0)
        return node->allow ? node : NULL;
    for (const struct node *child = node->children; child; child = child->next) {
        if (child->text && (child->size != segments->size ||
                            memcmp(child->text, segments->text, segments->size) != 0))
            continue;
        if (!child->text && segments->size == 0)
            continue; /* a parameter is never empty */
        const struct node *found = find(child, segments + 1, n - 1);
        if (found)
            return found;
    }
    return NULL;
}

struct route_match route_find(const struct route_table *table, const char *method,
                              const struct route_segment *segments, size_t n)
{
    struct route_match match = {NULL, 0};
    if (n > ROUTE_SEGMENTS_MAX)
        return match;
    const struct node *node = find(&table->root, segments, n);
    if (!node)
        return match;
    int index = route_method(method);
    match.route = index < 0 ? NULL : node->routes[index];
    match.allow = node->allow;
    return match;
}

void route_allow_text(unsigned allow, char *ret, size_t size)
{
    size_t at = 0;
    ret[0] = 0;
    for (int i = 0; i < ROUTE_METHODS; i++) {
        if (!(allow & 1u << i))
            continue;
        size_t len = strlen(methods[i]);
        if (at + len + 3 > size)
            return;
        if (at) {
            memcpy(ret + at, ", ", 2);
            at += 2;
        }
        memcpy(ret + at, methods[i], len + 1);
        at += len;
    }
}

int route_param_index(const struct http_route *route, const char *name)
{
    size_t len = strlen(name);
    int index = 0;
    for (const char *at = route->path + 1;; index++) {
        size_t size = strcspn(at, "/");
        if (size == len + 2 && at[0] == '{' && at[size - 1] == '}' &&
            memcmp(at + 1, name, len) == 0)
            return index;
        if (!at[size])
            return -1;
        at += size + 1;
    }
}

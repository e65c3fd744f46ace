/* Who may ask, as long as there are no accounts: not the pages of other sites.
 *
 * A browser tells where a request comes from: Sec-Fetch-Site and Origin. A page whose name was
 * rebound to this address tells by its Host. Programs send neither Origin nor Sec-Fetch-Site, and
 * are let in. Read-only after guard_new; any thread. */
#include "internal.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "../base/mem.h"

struct guard {
    char *listen_host; /* "127.0.0.1", "[::1]"; NULL: every address */
    char *hosts;       /* zero-separated, ended by an empty one */
    int any;
};

struct guard *guard_new(const char *listen_host, const char *hosts)
{
    struct guard *guard = xalloc(sizeof *guard);
    guard->listen_host = listen_host ? xstrdup(listen_host) : NULL;
    size_t len = hosts ? strlen(hosts) : 0;
    guard->hosts = xalloc(len + 2);
    char *to = guard->hosts;
    for (const char *p = hosts; p && *p;) {
        p += strspn(p, " \t,");
        size_t n = strcspn(p, " \t,");
        if (n == 1 && *p == '*')
            guard->any = 1;
        memcpy(to, p, n);
        to += n;
        if (n)
            *to++ = 0;
        p += n;
    }
    return guard;
}

struct guard *guard_free(struct guard *guard)
{
    if (guard) {
        free(guard->listen_host);
        free(guard->hosts);
    }
    free(guard);
    return NULL;
}

/* The name in "name:port", with brackets kept; 0 when it is malformed. */
static size_t name_size(const char *host)
{
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (*host == '[' && host[n - 1] != ']')
        return 0;
    const char *port = host + n;
    if (*port == ':')
        port += 1 + strspn(port + 1, "0123456789");
    return *port ? 0 : n;
}

static int is_address(const char *name, size_t n)
{
    char text[INET6_ADDRSTRLEN + 2];
    unsigned char address[16];
    if (n >= sizeof text)
        return 0;
    memcpy(text, name, n);
    text[n] = 0;
    if (*text != '[')
        return inet_pton(AF_INET, text, address) == 1;
    text[n - 1] = 0;
    return inet_pton(AF_INET6, text + 1, address) == 1;
}

static int equals(const char *name, size_t n, const char *text)
{
    return strlen(text) == n && strncasecmp(name, text, n) == 0;
}

static int host_allowed(const struct guard *guard, const char *host)
{
    size_t n = name_size(host);
    if (n == 0)
        return 0;
    if (equals(host, n, "localhost") || equals(host, n, "[::1]") || guard->any)
        return 1;
    if (is_address(host, n)) /* an address cannot be rebound; every address is ours if we say so */
        return !guard->listen_host || strncmp(host, "127.", 4) == 0 ||
               equals(host, n, guard->listen_host);
    if (n > 10 && strncasecmp(host + n - 10, ".localhost", 10) == 0)
        return 1;
    for (const char *p = guard->hosts; *p; p += strlen(p) + 1)
        if (equals(host, n, p))
            return 1;
    return 0;
}

/* "http://HOST" of this very host, as the page itself sends it. */
static int same_origin(const char *origin, const char *host)
{
    const char *rest = strncasecmp(origin, "http://", 7) == 0    ? origin + 7
                       : strncasecmp(origin, "https://", 8) == 0 ? origin + 8
                                                                 : NULL;
    return rest && strcasecmp(rest, host) == 0;
}

enum err_code guard_check(const struct guard *guard, const struct guard_request *request,
                          struct err *err)
{
    if (!request->host || !host_allowed(guard, request->host))
        return err_set(err, ERR_CROSS_SITE,
                       "Host \"%.80s\" is not a name of this server; --hosts permits further names",
                       request->host ? request->host : "");
    if (request->origin && !same_origin(request->origin, request->host))
        return err_set(err, ERR_CROSS_SITE, "the request comes from a page of %.80s",
                       request->origin);
    if (request->site && strcasecmp(request->site, "same-origin") != 0 &&
        strcasecmp(request->site, "none") != 0) {
        int link = request->safe && request->page && request->mode &&
                   strcasecmp(request->mode, "navigate") == 0;
        if (!link)
            return err_set(err, ERR_CROSS_SITE, "the request comes from a page of another site");
    }
    return ERR_OK;
}

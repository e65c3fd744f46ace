/* Taking a Redis URL apart. Nothing of it goes into an error but what cannot be a password: a
 * mistyped URL ends in logs. No threads, no I/O. */
#include "redis_url.h"

#include <ctype.h>
#include <string.h>

#include "../../base/mem.h"

#define URL_MAX       4096
#define NUMBER_MAX    65535
#define PREFIX_BYTES  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:._-"
#define HOST_BYTES    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_"
#define ADDRESS_BYTES "0123456789abcdefABCDEF:."
#define SHAPES                                                                                     \
    "redis://[user@]host[:port][/number], rediss://… or "                                        \
    "sentinel://host[:port][,host…]/master[/number]"

static enum err_code bad(struct err *err, const char *what)
{
    return err_set(err, ERR_USAGE, "the URL of the cache: %s; it is %s", what, SHAPES);
}

/* All of `text` a number of 0..max, or -1. */
static int whole_number(const char *text, int max)
{
    int number = 0;
    if (!*text)
        return -1;
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text))
            return -1;
        number = number * 10 + (*text - '0');
        if (number > max)
            return -1;
    }
    return number;
}

/* Cuts `text` at the first `mark`; what stands behind it, or NULL. */
static char *cut(char *text, char mark)
{
    char *at = strchr(text, mark);
    if (!at)
        return NULL;
    *at = '\0';
    return at + 1;
}

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* A copy without %XX; NULL when one is no such, or a zero. */
static char *decoded(const char *text)
{
    char *ret = xstrdup(text), *to = ret;
    for (const char *from = text; *from; from++) {
        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        if (!isxdigit((unsigned char)from[1]) || !isxdigit((unsigned char)from[2]) ||
            (from[1] == '0' && from[2] == '0')) {
            free(ret);
            return NULL;
        }
        *to++ = (char)(hex(from[1]) * 16 + hex(from[2]));
        from += 2;
    }
    *to = '\0';
    return ret;
}

static enum err_code parse_user(struct redis_target *t, char *text, struct err *err)
{
    char *password = cut(text, ':');
    if (*text && !(t->user = decoded(text)))
        return bad(err, "its user has a % that is no %XX");
    if (password && *password && !(t->password = decoded(password)))
        return bad(err, "its password has a % that is no %XX");
    return ERR_OK;
}

static enum err_code parse_host(struct redis_target *t, char *text, struct err *err)
{
    struct redis_host *host = &t->hosts[t->host_count];
    char *port = NULL, *name = text;
    const char *allowed = HOST_BYTES;
    if (t->host_count == REDIS_SENTINELS_MAX)
        return bad(err, "it has more than 16 hosts");
    if (*text == '[') {
        name = text + 1;
        char *behind = cut(name, ']');
        if (!behind || (*behind && *behind != ':'))
            return bad(err, "an address in [] has no end");
        port = *behind ? behind + 1 : NULL;
        allowed = ADDRESS_BYTES;
    } else {
        port = cut(text, ':');
    }
    size_t len = strlen(name);
    if (len < 1 || len >= sizeof host->name || strspn(name, allowed) != len)
        return bad(err, "a host's name is empty or has odd characters");
    memcpy(host->name, name, len + 1);
    host->port = port ? whole_number(port, 65535) : t->master ? 26379 : 6379;
    if (host->port < 1)
        return bad(err, "a port is a number of 1 to 65535");
    t->host_count++;
    return ERR_OK;
}

static enum err_code parse_hosts(struct redis_target *t, char *text, struct err *err)
{
    enum err_code rc = ERR_OK;
    while (text && rc == ERR_OK) {
        char *next = t->master ? cut(text, ',') : NULL;
        rc = parse_host(t, text, err);
        text = next;
    }
    return rc;
}

static enum err_code parse_query(struct redis_target *t, char *text, struct err *err)
{
    while (text) {
        char *next = cut(text, '&'), *value = cut(text, '=');
        size_t len = value ? strlen(value) : 0;
        if (strcmp(text, "prefix") == 0) {
            if (len < 1 || len > REDIS_PREFIX_MAX || strspn(value, PREFIX_BYTES) != len)
                return bad(err, "prefix is 1 to 64 characters of A-Za-z0-9:._-");
            memcpy(t->prefix, value, len + 1);
        } else if (strcmp(text, "tls") == 0 && t->master && len == 1) {
            t->tls = *value == '1';
        } else {
            return bad(err, "behind ? it takes prefix=, and tls=1 of a Sentinel");
        }
        text = next;
    }
    return ERR_OK;
}

/* `rest` is what stands behind "//"; it is cut up. */
static enum err_code parse_rest(struct redis_target *t, char *rest, int sentinel, struct err *err)
{
    char *query = cut(rest, '?');
    char *at = strrchr(rest, '@'); /* a password that is not encoded may hold one, or a slash */
    char *hosts = at ? at + 1 : rest;
    if (at)
        *at = '\0';
    char *number = cut(hosts, '/');
    enum err_code rc = at ? parse_user(t, rest, err) : ERR_OK;
    if (rc == ERR_OK && sentinel) {
        char *master = number;
        number = master ? cut(master, '/') : NULL;
        if (!master || !*master || strlen(master) >= REDIS_HOST_MAX ||
            strspn(master, HOST_BYTES) != strlen(master))
            return bad(err, "it names no master");
        t->master = xstrdup(master);
    }
    if (rc == ERR_OK && number && *number && (t->number = whole_number(number, NUMBER_MAX)) < 0)
        rc = bad(err, "the database's number is none");
    if (rc == ERR_OK)
        rc = parse_hosts(t, hosts, err);
    return rc == ERR_OK ? parse_query(t, query, err) : rc;
}

static char *copy_or_null(const char *text)
{
    return text && *text ? xstrdup(text) : NULL;
}

enum err_code redis_target_parse(const struct cache_options *options, struct redis_target **ret,
                                 struct err *err)
{
    *ret = NULL;
    if (strnlen(options->url, URL_MAX) == URL_MAX)
        return bad(err, "it is too long");
    _cleanup_free_ char *copy = xstrdup(options->url);
    char *rest = cut(copy, ':');
    if (!rest || strncmp(rest, "//", 2) != 0)
        return bad(err, "it has no //");
    int sentinel = strcmp(copy, "sentinel") == 0;
    struct redis_target *t = xalloc(sizeof *t);
    memcpy(t->prefix, "sonde:", sizeof "sonde:");
    t->tls = strcmp(copy, "rediss") == 0;
    t->ca_file = copy_or_null(options->ca_file);
    enum err_code rc = parse_rest(t, rest + 2, sentinel, err);
    if (rc == ERR_OK && options->password && *options->password) {
        free(t->password);
        t->password = xstrdup(options->password);
    }
    if (rc == ERR_OK && t->user && !t->password)
        rc = bad(err, "it names a user, and there is no password");
    if (rc != ERR_OK)
        t = redis_target_free(t);
    *ret = t;
    return rc;
}

struct redis_target *redis_target_free(struct redis_target *t)
{
    if (!t)
        return NULL;
    free(t->master);
    free(t->user);
    free(t->password);
    free(t->ca_file);
    free(t);
    return NULL;
}

/* Where the broker is: amqp://user[:password]@host[:port][/vhost][?prefix=x], several separated by
 * blanks. Any thread. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "queue_amqp.h"

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

/* The `n` characters with %xx decoded. 0, or -1: too long, or no text. */
static int decode(const char *from, size_t n, char *ret, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        char c = from[i];
        if (c == '%') {
            if (i + 2 >= n || hex(from[i + 1]) < 0 || hex(from[i + 2]) < 0)
                return -1;
            c = (char)(hex(from[i + 1]) << 4 | hex(from[i + 2]));
            i += 2;
        }
        if (!c || used + 1 >= size)
            return -1;
        ret[used++] = c;
    }
    ret[used] = 0;
    return 0;
}

/* "user:password@" */
static int parse_user(const char *from, const char *at, struct amqp_url *ret)
{
    const char *colon = memchr(from, ':', (size_t)(at - from));
    if (colon && decode(colon + 1, (size_t)(at - colon - 1), ret->password, sizeof ret->password))
        return -1;
    return decode(from, (size_t)((colon ? colon : at) - from), ret->user, sizeof ret->user);
}

static int parse_host(const char *from, const char *end, struct amqp_url *ret)
{
    const char *close = *from == '[' ? memchr(from, ']', (size_t)(end - from)) : NULL;
    const char *host = close ? from + 1 : from;
    const char *after = close ? close + 1 : from;
    const char *colon = memchr(after, ':', (size_t)(end - after));
    const char *host_end = close ? close : colon ? colon : end;
    if (close && after != end && *after != ':')
        return -1;
    if (host == host_end || decode(host, (size_t)(host_end - host), ret->host, sizeof ret->host))
        return -1;
    if (!colon)
        return 0;
    char *stop = NULL;
    long port = strtol(colon + 1, &stop, 10);
    if (!isdigit((unsigned char)colon[1]) || stop != end || port < 1 || port > 65535)
        return -1;
    ret->port = (int)port;
    return 0;
}

/* Letters, digits, '-', '_' and '.', so that names stay readable in the broker's tools. */
static int parse_query(const char *query, struct amqp_url *ret)
{
    if (strncmp(query, "prefix=", 7))
        return -1;
    if (decode(query + 7, strlen(query + 7), ret->prefix, sizeof ret->prefix))
        return -1;
    for (const char *c = ret->prefix; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
            return -1;
    return 0;
}

static int parse_one(const char *text, struct amqp_url *ret)
{
    *ret = (struct amqp_url){0};
    ret->tls = !strncmp(text, "amqps://", 8);
    if (!ret->tls && strncmp(text, "amqp://", 7))
        return -1;
    const char *from = text + (ret->tls ? 8 : 7);
    ret->port = ret->tls ? 5671 : 5672;
    const char *query = strchr(from, '?');
    const char *end = query ? query : from + strlen(from);
    const char *slash = memchr(from, '/', (size_t)(end - from));
    const char *host_end = slash ? slash : end;
    const char *at = memrchr(from, '@', (size_t)(host_end - from));
    if (at && parse_user(from, at, ret))
        return -1;
    if (parse_host(at ? at + 1 : from, host_end, ret))
        return -1;
    if (!ret->user[0])
        memcpy(ret->user, "guest", 6);
    memcpy(ret->vhost, "/", 2);
    if (slash && slash + 1 < end &&
        decode(slash + 1, (size_t)(end - slash - 1), ret->vhost, sizeof ret->vhost))
        return -1;
    return query ? parse_query(query + 1, ret) : 0;
}

enum err_code amqp_urls_parse(const char *text, const char *password,
                              struct amqp_url ret[AMQP_URLS_MAX], size_t *ret_n, struct err *err)
{
    _cleanup_free_ char *copy = xstrdup(text);
    char *rest = copy, *one;
    *ret_n = 0;
    while ((one = strsep(&rest, " \t"))) {
        if (!*one)
            continue;
        if (*ret_n == AMQP_URLS_MAX)
            return err_set(err, ERR_USAGE, "at most %d brokers can be named", AMQP_URLS_MAX);
        struct amqp_url *url = &ret[*ret_n];
        if (parse_one(one, url)) /* not shown: it may hold a password */
            return err_set(err, ERR_USAGE,
                           "address %zu of the queue is not amqp://user@host[:port][/vhost]"
                           "[?prefix=name], or amqps://…",
                           *ret_n + 1);
        if (password && snprintf(url->password, sizeof url->password, "%s", password) >=
                            (int)sizeof url->password)
            return err_set(err, ERR_USAGE, "the queue's password is too long");
        if (strcmp(url->prefix, ret[0].prefix))
            return err_set(err, ERR_USAGE, "the queue's addresses have different prefixes");
        ++*ret_n;
    }
    return *ret_n ? ERR_OK : err_set(err, ERR_USAGE, "the queue has no address");
}

/* See raw.h. */
#include "raw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/clock.h"

#define PATIENCE_MS 60000

int raw_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void raw_send(int fd, const void *data, size_t size)
{
    for (const char *p = data; size;) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        p += n;
        size -= (size_t)n;
    }
}

void raw_text(int fd, const char *text)
{
    raw_send(fd, text, strlen(text));
}

void raw_format(int fd, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    raw_text(fd, text);
    free(text);
}

static ssize_t receive(int fd, void *to, size_t size, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, timeout_ms) <= 0)
        return -1;
    return recv(fd, to, size, 0);
}

const char *raw_header(const struct reply *reply, const char *name)
{
    static _Thread_local char value[4096];
    size_t len = strlen(name);
    for (const char *p = strstr(reply->head, "\r\n"); p && p[2]; p = strstr(p + 2, "\r\n")) {
        if (strncasecmp(p + 2, name, len) != 0 || p[2 + len] != ':')
            continue;
        const char *from = p + 3 + len + strspn(p + 3 + len, " ");
        snprintf(value, sizeof value, "%.*s", (int)strcspn(from, "\r"), from);
        return value;
    }
    return NULL;
}

void raw_free(struct reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

void raw_read(int fd, struct reply *reply, int head_only)
{
    size_t used = reply->rest_size;
    char *end = NULL;
    char *buffer = reply->rest;
    raw_free(reply);
    reply->status = 0;
    reply->size = 0;
    reply->head[0] = 0;
    while (buffer[used] = 0, !(end = memmem(buffer, used, "\r\n\r\n", 4))) {
        ssize_t n = used < 8000 ? receive(fd, buffer + used, 8000 - used, PATIENCE_MS) : -1;
        if (n <= 0)
            return;
        used += (size_t)n;
    }
    size_t head = (size_t)(end - buffer) + 4;
    memcpy(reply->head, buffer, head);
    reply->head[head] = 0;
    used -= head;
    memmove(buffer, buffer + head, used);
    const char *length = raw_header(reply, "Content-Length");
    size_t want = length && !head_only ? strtoul(length, NULL, 10) : 0;
    int status = (int)strtol(reply->head + 9, NULL, 10);
    if (status == 304 || status == 204 || status < 200)
        want = 0;
    reply->body = malloc(want + 1);
    size_t have = used < want ? used : want;
    memcpy(reply->body, buffer, have);
    used -= have;
    memmove(buffer, buffer + have, used);
    reply->rest_size = used;
    while (have < want) {
        ssize_t n = receive(fd, reply->body + have, want - have, PATIENCE_MS);
        if (n <= 0)
            return;
        have += (size_t)n;
    }
    reply->body[want] = 0;
    reply->size = want;
    reply->status = status;
}

void raw_ask(int port, const char *text, struct reply *reply)
{
    int fd = raw_connect(port);
    reply->rest_size = 0;
    raw_text(fd, text);
    raw_read(fd, reply, strncmp(text, "HEAD", 4) == 0);
    close(fd);
}

int raw_closed(int fd, double seconds)
{
    char waste[4096];
    double until = clock_seconds() + seconds;
    for (;;) {
        double left = until - clock_seconds();
        if (left <= 0)
            return 0;
        ssize_t n = receive(fd, waste, sizeof waste, (int)(left * 1000) + 1);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return 1;
    }
}

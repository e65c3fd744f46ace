/* A client that sends exactly the bytes it is told to, for tests of the server. */
#ifndef SONDE_TESTS_RAW_H
#define SONDE_TESTS_RAW_H

#include <stddef.h>

struct reply {
    int status;      /* 0: the connection ended (or a minute passed) before a whole answer */
    char head[8192]; /* status line and headers */
    char *body;      /* zero-terminated */
    size_t size;
    char rest[65536]; /* bytes read past this answer, for the next one */
    size_t rest_size;
};

int raw_connect(int port);
void raw_send(int fd, const void *data, size_t size); /* ignores that the other end is gone */
void raw_text(int fd, const char *text);
void raw_format(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Reads one answer; interim ones (100) count as answers. `head_only`: it was a HEAD. */
void raw_read(int fd, struct reply *reply, int head_only);
/* A header's value in reply->head, or NULL; valid until the next call. */
const char *raw_header(const struct reply *reply, const char *name);
void raw_free(struct reply *reply);
/* Connects, sends, reads one answer, closes. */
void raw_ask(int port, const char *text, struct reply *reply);
/* 1 when the other end closes within `seconds`; what comes until then is thrown away. */
int raw_closed(int fd, double seconds);

#endif

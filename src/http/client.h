/* One HTTP POST to somebody else's server (webhooks), by libcurl. Any thread; blocks. */
#ifndef SONDE_HTTP_CLIENT_H
#define SONDE_HTTP_CLIENT_H

#include <stddef.h>

#include "../base/err.h"

struct http_client_reply {
    int status; /* 0: no answer */
};

enum err_code http_client_setup(struct err *err) MUST_CHECK; /* once, before threads */
/* Only http and https, no redirects, TLS verified, at most timeout_s in all, at most 64 KiB of
 * answer read and thrown away. `headers`: lines "name: value", NULL-terminated. An answer of any
 * status is ERR_OK; ERR_UNAVAILABLE: none. */
enum err_code http_client_post(const char *url, const char *const *headers, const void *body,
                               size_t size, double timeout_s, struct http_client_reply *ret,
                               struct err *err) MUST_CHECK;
/* Whether it is an absolute http(s) URL with a host and without user or password, <= 2000 bytes. */
int http_client_url_ok(const char *url);

#endif

/* Bytes to and from one server, each step with a deadline: TCP, and TLS over it. */
#ifndef SONDE_DRIVER_CACHE_REDIS_NET_H
#define SONDE_DRIVER_CACHE_REDIS_NET_H

#include <stddef.h>
#include <stdint.h>

#include "../../base/err.h"

/* Until when, on clock_ns; and a descriptor (-1: none) that becomes readable when the caller shall
 * give up: ERR_CANCELLED. */
struct net_until {
    uint64_t ns;
    int stop_fd;
};
struct net_until net_until_ms(int ms, int stop_fd);

/* What TLS needs, shared by the connections; NULL of net_connect: no TLS. ca_file NULL: the
 * system's. */
struct net_tls;
enum err_code net_tls_new(const char *ca_file, struct net_tls **ret, struct err *err) MUST_CHECK;
struct net_tls *net_tls_free(struct net_tls *tls);

/* One connection: belongs to one thread at a time. Every failure but a usage error is
 * ERR_UNAVAILABLE, after which the connection is only good for net_close. */
struct net;
enum err_code net_connect(const char *host, int port, const struct net_tls *tls,
                          struct net_until until, struct net **ret, struct err *err) MUST_CHECK;
struct net *net_close(struct net *net);
enum err_code net_send(struct net *net, const void *data, size_t size, struct net_until until,
                       struct err *err) MUST_CHECK;
/* At least one byte; *ret_size 0 never comes with ERR_OK. */
enum err_code net_receive(struct net *net, void *data, size_t size, struct net_until until,
                          size_t *ret_size, struct err *err) MUST_CHECK;
/* 1: something can be received; 0: not until then (or stopped). */
int net_readable(struct net *net, struct net_until until);
/* 1 when an idle connection is not as it was left: the other end closed it, or speaks unasked. */
int net_stale(const struct net *net);

#endif

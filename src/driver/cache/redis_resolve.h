/* Names to addresses, with a deadline. */
#ifndef SONDE_DRIVER_CACHE_REDIS_RESOLVE_H
#define SONDE_DRIVER_CACHE_REDIS_RESOLVE_H

#include <sys/socket.h>

#include "redis_net.h"

#define REDIS_ADDRESSES_MAX 8

struct redis_addresses {
    struct sockaddr_storage list[REDIS_ADDRESSES_MAX];
    socklen_t size[REDIS_ADDRESSES_MAX];
    int count; /* at least 1 with ERR_OK */
};

enum err_code redis_resolve(const char *host, int port, struct net_until until,
                            struct redis_addresses *ret, struct err *err) MUST_CHECK;

#endif

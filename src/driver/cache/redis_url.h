/* Which Redis: what the three kinds of URL say, taken apart. Immutable once made, so shared. */
#ifndef SONDE_DRIVER_CACHE_REDIS_URL_H
#define SONDE_DRIVER_CACHE_REDIS_URL_H

#include "cache.h"

#define REDIS_HOST_MAX      256
#define REDIS_SENTINELS_MAX 16
#define REDIS_PREFIX_MAX    64

struct redis_host {
    char name[REDIS_HOST_MAX]; /* a name or an address, an IPv6 one without brackets */
    int port;
};

/* redis://[user[:password]@]host[:port][/number][?prefix=text]
 * rediss://…                                                             the same over TLS
 * sentinel://[user[:password]@]host[:port][,host[:port]…]/master[/number][?prefix=text][&tls=1]
 * Ports: 6379, of sentinels 26379. prefix: [A-Za-z0-9:._-], before every key and channel;
 * "sonde:" by default. Users and passwords may hold %XX. */
struct redis_target {
    struct redis_host hosts[REDIS_SENTINELS_MAX];
    int host_count; /* 1 without Sentinel */
    char *master;   /* NULL: hosts[0] is the server itself */
    int number;     /* SELECT */
    int tls;
    char *user, *password, *ca_file; /* NULL: none */
    char prefix[REDIS_PREFIX_MAX + 1];
};

/* options->password goes before one in the URL. ERR_USAGE; its text repeats nothing of a URL that
 * could be a password. */
enum err_code redis_target_parse(const struct cache_options *options, struct redis_target **ret,
                                 struct err *err) MUST_CHECK;
struct redis_target *redis_target_free(struct redis_target *target);

#endif

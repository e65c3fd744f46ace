/* How a connection gets into the hub. Nobody outside src/http (and its tests) includes it. */
#ifndef SONDE_HTTP_WS_HUB_H
#define SONDE_HTTP_WS_HUB_H

#include "websocket.h"

/* One place among max_connections: ERR_BUSY, ERR_SHUTTING_DOWN. It also keeps the hub's memory. */
enum err_code ws_hub_reserve(struct ws_hub *hub, struct err *err) MUST_CHECK;
void ws_hub_unreserve(struct ws_hub *hub);

struct ws_socket {
    int fd;
    void (*close)(void *handle, int fd); /* any thread; closes fd */
    void *handle;
    const void *extra; /* bytes that came before; copied */
    size_t n_extra;
};
/* Takes the place that was reserved, the socket and the context, also when it fails (memory,
 * stopping): then all of them are given back before it returns. Any thread. */
void ws_hub_adopt(struct ws_hub *hub, const struct ws_socket *socket, void *context,
                  void (*release)(void *context));

#endif

/* WebSockets: one thread, one epoll, wslay for the frames; thousands of idle ones cost little.
 *
 * Only text messages of at most WS_MESSAGE_MAX bytes come in, anything goes out. A connection that
 * does not take what is sent (WS_BACKLOG_MAX bytes waiting) is closed with 1013. Pings go out every
 * ping_s; a connection that is silent for two of them is closed. Ids, not pointers: an id that is
 * gone is no error. */
#ifndef SONDE_HTTP_WEBSOCKET_H
#define SONDE_HTTP_WEBSOCKET_H

#include "http.h"

#define WS_MESSAGE_MAX 4096
#define WS_BACKLOG_MAX (256 * 1024)

struct ws_hub;
typedef uint64_t ws_id;

/* All run on the hub's thread and must not block. */
struct ws_callbacks {
    /* `context` is what the handler gave to http_reply_websocket; the hub calls release at the end.
     */
    void (*opened)(void *ctx, ws_id id, void *context);
    void (*message)(void *ctx, ws_id id, void *context, const char *text, size_t size);
    void (*closed)(void *ctx, ws_id id, void *context);
};

enum err_code ws_hub_new(const struct ws_callbacks *callbacks, void *ctx, double ping_s,
                         int max_connections, struct ws_hub **ret, struct err *err) MUST_CHECK;
/* Closes every connection with 1001, waits for that at most a second, and takes no more
 * (shutting_down). Stop the hub, then the HTTP server, which may still hold a handshake, then free
 * the hub. NULL is fine. */
void ws_hub_stop(struct ws_hub *hub);
/* ws_hub_stop and free. NULL is fine. Returns NULL. */
struct ws_hub *ws_hub_free(struct ws_hub *hub);

/* Answers 101 and hands the connection to the hub, or an error: no upgrade asked (426), wrong
 * version, Origin of another site (cross_site), too many (busy); then the context stays the
 * caller's. */
enum err_code http_reply_websocket(struct http_request *request, struct ws_hub *hub, void *context,
                                   void (*release)(void *context), struct err *err) MUST_CHECK;

/* From any thread. The text is copied (ws_broadcast: once, shared). */
void ws_send(struct ws_hub *hub, ws_id id, const char *text, size_t size);
/* Only connections for which ws_subscribe(…, 1) was called. */
void ws_subscribe(struct ws_hub *hub, ws_id id, int on);
void ws_broadcast(struct ws_hub *hub, const char *text, size_t size);
void ws_close(struct ws_hub *hub, ws_id id, int code, const char *reason);
int ws_count(const struct ws_hub *hub);
/* Runs `call` on the hub's thread after `seconds`, if the connection is still open then (a hello
 * that does not come). */
typedef void ws_call(void *ctx, ws_id id, void *context);
void ws_after(struct ws_hub *hub, double seconds, ws_call *call, ws_id id);

#endif

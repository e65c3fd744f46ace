/* The frames of one WebSocket, without its socket: bytes in, messages out, and a queue of bytes to
 * send. Nobody outside src/http includes it.
 *
 * Frames of a server carry no mask, so a message for thousands is framed once and shared (ws_text).
 */
#ifndef SONDE_HTTP_WS_FRAMES_H
#define SONDE_HTTP_WS_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#include "websocket.h"

struct wslay_event_context;

/* A frame as it goes out, counted. The counter belongs to one thread at a time: made anywhere, then
 * the hub's. */
struct ws_text {
    int refs;
    size_t size;
    unsigned char bytes[];
};
/* With one reference; NULL when memory is gone. opcode: 1 text, 9 ping. */
struct ws_text *ws_text_new(int opcode, const void *data, size_t size);
struct ws_text *ws_text_unref(struct ws_text *text);

struct ws_out {
    struct ws_out *next;
    struct ws_text *text;
};

struct ws_frames {
    struct wslay_event_context *wslay; /* NULL between messages: it has 8 KiB of buffers */
    const unsigned char *in;           /* what wslay reads from, while ws_frames_feed runs */
    size_t n_in;
    uint64_t fed,
        framed;     /* bytes that this wslay was given, and those of whole frames among them */
    uint64_t frame; /* bytes of the frame that is being read */
    struct ws_out *head, **tail;
    size_t sent;             /* of the head */
    size_t backlog;          /* bytes waiting, with what keeping them costs */
    unsigned in_message : 1; /* a fragmented message has begun */
    unsigned closing : 1;    /* a close frame is in the queue or sent: nothing else follows it */
    unsigned heard_close : 1;
    unsigned deaf : 1;   /* the rules were broken: nothing more is understood */
    unsigned broken : 1; /* no memory: end it without a word */
    void (*message)(void *ctx, const char *text, size_t size);
    void *ctx;
};

void ws_frames_init(struct ws_frames *f, void (*message)(void *ctx, const char *text, size_t size),
                    void *ctx);
void ws_frames_done(struct ws_frames *f);
/* Calls `message` for each whole one; answers pings and a close; closes with 1002, 1003, 1007 or
 * 1009 what breaks the rules. After a close was queued, what comes is looked at for the peer's
 * close only. */
void ws_frames_feed(struct ws_frames *f, const void *data, size_t size);
/* Queues a reference to it. 0, or -1 past WS_BACKLOG_MAX: then it was not queued. */
int ws_frames_send(struct ws_frames *f, struct ws_text *text);
/* Queues a close frame; with `drop`, in place of what waits. Nothing on a second call. */
void ws_frames_close(struct ws_frames *f, int code, const char *reason, int drop);
/* Writes what the socket takes. 0: all is sent; 1: more waits; -1: the connection is gone. */
int ws_frames_flush(struct ws_frames *f, int fd);

#endif

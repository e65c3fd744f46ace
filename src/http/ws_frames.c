/* One WebSocket's frames. wslay reads: headers, masks, fragments, UTF-8, the rules of RFC 6455.
 * What goes out is our own queue of ready frames, because wslay would copy each message for each
 * connection; its own control frames (pong, close) are taken over into that queue at once.
 *
 * wslay's context holds 8 KiB of buffers, too much for thousands of connections that are silent. So
 * it lives from the first byte of a frame to the end of the message, and an idle connection keeps
 * nothing: whether a part of a frame is inside it shows in the number of bytes that it was given
 * against the size of the frames that it has finished.
 *
 * No threads here: the hub's thread runs all of it. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

#include "../base/mem.h"
#include "ws_frames.h"

#define ENTRY_COST                                                                                 \
    64 /* what a waiting frame costs beside its bytes: memory is bounded also for tiny ones */
#define CONTROL_MAX  125
#define BATCH_FRAMES 16

/* --- what goes out -------------------------------------------------------------------------- */

struct ws_text *ws_text_new(int opcode, const void *data, size_t size)
{
    unsigned char head[10] = {(unsigned char)(0x80 | opcode)};
    size_t n = 2;
    if (size < 126) {
        head[1] = (unsigned char)size;
    } else if (size < 65536) {
        head[1] = 126;
        n = 4;
    } else {
        head[1] = 127;
        n = 10;
    }
    for (size_t i = 2; i < n; i++)
        head[i] = (unsigned char)((uint64_t)size >> (8 * (n - 1 - i)));
    if (size > SIZE_MAX / 2)
        return NULL;
    struct ws_text *text = try_alloc(1, sizeof *text + n + size);
    if (!text)
        return NULL;
    text->refs = 1;
    text->size = n + size;
    memcpy(text->bytes, head, n);
    if (size > 0)
        memcpy(text->bytes + n, data, size);
    return text;
}

struct ws_text *ws_text_unref(struct ws_text *text)
{
    if (text && --text->refs == 0)
        free(text);
    return NULL;
}

static void append(struct ws_frames *f, struct ws_text *text)
{
    struct ws_out *out = xalloc(sizeof *out);
    text->refs++;
    out->text = text;
    *f->tail = out;
    f->tail = &out->next;
    f->backlog += text->size + ENTRY_COST;
}

/* Removes the entry after *link. */
static void unlink_out(struct ws_frames *f, struct ws_out **link)
{
    struct ws_out *out = *link;
    *link = out->next;
    if (!out->next)
        f->tail = link;
    f->backlog -= out->text->size + ENTRY_COST;
    ws_text_unref(out->text);
    free(out);
}

int ws_frames_send(struct ws_frames *f, struct ws_text *text)
{
    if (f->closing || f->broken)
        return 0;
    if (f->backlog + text->size + ENTRY_COST > WS_BACKLOG_MAX)
        return -1;
    append(f, text);
    return 0;
}

int ws_frames_flush(struct ws_frames *f, int fd)
{
    while (f->head) {
        struct iovec iov[BATCH_FRAMES];
        size_t n = 0;
        for (struct ws_out *out = f->head; out && n < BATCH_FRAMES; out = out->next, n++)
            iov[n] = (struct iovec){out->text->bytes, out->text->size};
        iov[0].iov_base = (unsigned char *)iov[0].iov_base + f->sent;
        iov[0].iov_len -= f->sent;
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = n};
        ssize_t done = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 1 : -1;
        f->sent += (size_t)done;
        while (f->head && f->sent >= f->head->text->size) {
            f->sent -= f->head->text->size;
            unlink_out(f, &f->head);
        }
    }
    return 0;
}

/* --- wslay's callbacks ---------------------------------------------------------------------- */

static ssize_t take(wslay_event_context_ptr wslay, uint8_t *to, size_t size, int flags, void *user)
{
    struct ws_frames *f = user;
    (void)flags;
    if (f->n_in == 0) {
        wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (size > f->n_in)
        size = f->n_in;
    memcpy(to, f->in, size);
    f->in += size;
    f->n_in -= size;
    f->fed += size;
    return (ssize_t)size;
}

/* Bytes of a pong or close frame, in one or two portions. */
static ssize_t give(wslay_event_context_ptr wslay, const uint8_t *data, size_t size, int flags,
                    void *user)
{
    struct ws_frames *f = user;
    (void)wslay;
    (void)flags;
    struct ws_text *text = try_alloc(1, sizeof *text + size);
    if (!text) {
        f->broken = 1;
        return (ssize_t)size;
    }
    *text = (struct ws_text){.refs = 1, .size = size};
    memcpy(text->bytes, data, size);
    append(f, text);
    ws_text_unref(text);
    return (ssize_t)size;
}

static void frame_begins(wslay_event_context_ptr wslay,
                         const struct wslay_event_on_frame_recv_start_arg *frame, void *user)
{
    struct ws_frames *f = user;
    uint64_t size = frame->payload_length;
    f->frame = size + 2 + 4 + (size < 126 ? 0 : size < 65536 ? 2 : 8);
    if (frame->opcode == WSLAY_CONNECTION_CLOSE && size == 1) /* half a code: wslay lets it pass */
        wslay_event_queue_close(wslay, WSLAY_CODE_PROTOCOL_ERROR, NULL, 0);
    if (!(frame->opcode & 8)) /* control frames may stand between fragments */
        f->in_message = !frame->fin;
}

static void frame_ends(wslay_event_context_ptr wslay, void *user)
{
    struct ws_frames *f = user;
    (void)wslay;
    f->framed += f->frame;
}

static void message_came(wslay_event_context_ptr wslay,
                         const struct wslay_event_on_msg_recv_arg *message, void *user)
{
    struct ws_frames *f = user;
    if (message->opcode == WSLAY_CONNECTION_CLOSE) {
        f->heard_close = 1;
    } else if (f->closing) {
        return;
    } else if (message->opcode == WSLAY_TEXT_FRAME) {
        f->message(f->ctx, (const char *)message->msg, message->msg_length);
    } else if (message->opcode == WSLAY_BINARY_FRAME) {
        /* Only queued here, in the middle of wslay_event_recv; collect sends it. */
        f->closing = 1;
        wslay_event_queue_close(wslay, WSLAY_CODE_UNSUPPORTED_DATA, NULL, 0);
    }
}

/* --- what comes in -------------------------------------------------------------------------- */

static int open_wslay(struct ws_frames *f)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = take,
        .send_callback = give,
        .on_frame_recv_start_callback = frame_begins,
        .on_frame_recv_end_callback = frame_ends,
        .on_msg_recv_callback = message_came,
    };
    if (f->wslay)
        return 0;
    if (wslay_event_context_server_init(&f->wslay, &callbacks, f) != 0) {
        f->wslay = NULL;
        f->broken = 1;
        return -1;
    }
    wslay_event_config_set_max_recv_msg_length(f->wslay, WS_MESSAGE_MAX);
    f->fed = f->framed = 0;
    f->in_message = 0;
    return 0;
}

static void drop_wslay(struct ws_frames *f)
{
    if (f->wslay)
        wslay_event_context_free(f->wslay);
    f->wslay = NULL;
}

/* Takes over what wslay wants to send: never a message, those do not go through it. */
static void collect(struct ws_frames *f)
{
    if (wslay_event_want_write(f->wslay) && wslay_event_send(f->wslay) != 0)
        f->broken = 1;
    if (wslay_event_get_close_sent(f->wslay))
        f->closing = 1;
    if (f->backlog > WS_BACKLOG_MAX) /* a peer that pings without reading the pongs */
        ws_frames_close(f, 1013, "too slow", 1);
}

/* The bytes are no frame at all. wslay would close without a reason, and cannot go on. */
static void cut_short(struct ws_frames *f)
{
    static const unsigned char code[] = {WSLAY_CODE_PROTOCOL_ERROR >> 8,
                                         WSLAY_CODE_PROTOCOL_ERROR & 255};
    f->deaf = 1;
    if (f->closing) { /* with a reason of our own, which may still be in wslay's queue */
        collect(f);
        return;
    }
    struct ws_text *text = ws_text_new(WSLAY_CONNECTION_CLOSE, code, sizeof code);
    f->closing = 1;
    if (text)
        append(f, text);
    else
        f->broken = 1;
    ws_text_unref(text);
}

void ws_frames_feed(struct ws_frames *f, const void *data, size_t size)
{
    if (f->broken || f->deaf || size == 0 || open_wslay(f) < 0)
        return;
    f->in = data;
    f->n_in = size;
    while (f->n_in > 0 && !f->broken && !f->deaf && wslay_event_get_read_enabled(f->wslay)) {
        int rc = wslay_event_recv(f->wslay);
        if (rc == WSLAY_ERR_NOMEM)
            f->broken = 1;
        else if (rc != 0)
            cut_short(f);
        else
            collect(f);
    }
    f->in = NULL;
    f->n_in = 0;
    if (!f->heard_close && !wslay_event_get_read_enabled(f->wslay))
        f->deaf = 1;
    if (!f->closing && !f->in_message && f->fed == f->framed)
        drop_wslay(f);
}

void ws_frames_close(struct ws_frames *f, int code, const char *reason, int drop)
{
    size_t n = reason ? strlen(reason) : 0;
    if (f->closing || f->broken || open_wslay(f) < 0)
        return;
    if (drop && f->head) { /* one that is half sent has to be finished */
        struct ws_out **link = f->sent > 0 ? &f->head->next : &f->head;
        while (*link)
            unlink_out(f, link);
    }
    if (n > CONTROL_MAX - 2)
        n = CONTROL_MAX - 2;
    if (wslay_event_queue_close(f->wslay, (uint16_t)code, (const uint8_t *)reason, n) != 0)
        f->broken = 1;
    f->closing = 1;
    collect(f);
}

void ws_frames_init(struct ws_frames *f, void (*message)(void *ctx, const char *text, size_t size),
                    void *ctx)
{
    *f = (struct ws_frames){.message = message, .ctx = ctx};
    f->tail = &f->head;
}

void ws_frames_done(struct ws_frames *f)
{
    drop_wslay(f);
    while (f->head)
        unlink_out(f, &f->head);
}

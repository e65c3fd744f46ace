/* Arbitrary bytes from a WebSocket's peer: cut into portions, fed, and what goes out looked at. The
 * first byte says how long the portions are; bit 7 has the server close in the middle. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/ws_frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t messages;

/* What the hub relies on: text is UTF-8 and short. */
static void message(void *ctx, const char *text, size_t size)
{
    const unsigned char *at = (const unsigned char *)text;
    (void)ctx;
    messages++;
    if (size > WS_MESSAGE_MAX)
        abort();
    for (size_t i = 0; i < size; i++)
        if (at[i] == 0xc0 || at[i] == 0xc1 || at[i] >= 0xf5)
            abort();
}

/* Whole, unmasked frames; nothing behind a close. */
static void check_out(const struct ws_frames *f)
{
    unsigned char out[1 << 16];
    size_t n = 0;
    for (const struct ws_out *o = f->head; o; o = o->next) {
        if (n + o->text->size > sizeof out)
            return;
        memcpy(out + n, o->text->bytes, o->text->size);
        n += o->text->size;
    }
    int closed = 0;
    for (size_t at = 0; at < n;) {
        if (closed || n - at < 2 || (out[at + 1] & 0x80) || out[at + 1] > 125)
            abort();
        if ((out[at] & 0x0f) == 8)
            closed = 1;
        else if (out[at] != 0x8a && out[at] != 0x81)
            abort();
        at += 2 + (size_t)out[at + 1];
        if (at > n)
            abort();
    }
    if (closed != (int)f->closing)
        abort();
}

static void play(const uint8_t *data, size_t size, size_t step, int close_at, int check)
{
    struct ws_frames f;
    size_t turn = 0;
    ws_frames_init(&f, message, NULL);
    for (size_t at = 0; at < size; at += step, turn++) {
        ws_frames_feed(&f, data + at, size - at < step ? size - at : step);
        if (close_at && turn == 3)
            ws_frames_close(&f, 1001, "the server goes away", 0);
        if (f.backlog > WS_BACKLOG_MAX + 65536)
            abort();
    }
    if (check && !f.broken)
        check_out(&f);
    ws_frames_done(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 20000)
        return 0;
    size_t step = (data[0] & 0x7f) + 1;
    messages = 0;
    play(data + 1, size - 1, step, data[0] >> 7, 1);
    if (data[0] >> 7)
        return 0;
    /* How the bytes were cut must not matter. */
    size_t first = messages;
    messages = 0;
    play(data + 1, size - 1, size, 0, 1);
    if (messages != first)
        abort();
    return 0;
}

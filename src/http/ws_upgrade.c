/* The handshake of a WebSocket (RFC 6455, section 4.2) and the way of the socket from libmicrohttpd
 * to the hub.
 *
 * Owner: an `upgrade` belongs to the request. libmicrohttpd keeps the request until the hub gives
 * the socket back (MHD_UPGRADE_ACTION_CLOSE), and ends it earlier when the client is gone before
 * the answer was sent: then the context is released here, because no connection came of it.
 *
 * Threads: http_reply_websocket runs where the handler runs, `upgraded` on an I/O thread,
 * `close_upgraded` on the hub's. */
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "../base/mem.h"
#include "internal.h"
#include "websocket.h"
#include "ws_hub.h"

#define GUID       "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_LENGTH 24 /* 16 bytes in base64 */

struct upgrade {
    struct ws_hub *hub; /* a place is reserved while this is not NULL */
    void *context;
    void (*release)(void *context);
    void *before; /* what the request carried until now */
    void (*before_done)(void *context);
};

/* Whether a list such as "keep-alive, Upgrade" has the token, in any case. */
static int has_token(const char *list, const char *token)
{
    size_t n = strlen(token);
    for (const char *at = list; at && *at;) {
        at += strspn(at, " \t,");
        size_t length = strcspn(at, ",");
        size_t trimmed = length;
        while (trimmed > 0 && (at[trimmed - 1] == ' ' || at[trimmed - 1] == '\t'))
            trimmed--;
        if (trimmed == n && strncasecmp(at, token, n) == 0)
            return 1;
        at += length;
    }
    return 0;
}

/* 16 bytes in base64: 22 characters and "==". */
static int key_ok(const char *key)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    return key && strlen(key) == KEY_LENGTH && strspn(key, alphabet) == KEY_LENGTH - 2 &&
           strcmp(key + KEY_LENGTH - 2, "==") == 0;
}

/* A browser always says where a page comes from; other programs need not. */
static int origin_ok(const char *origin, const char *host)
{
    if (!origin)
        return 1;
    if (!host)
        return 0;
    if (strncasecmp(origin, "http://", 7) == 0)
        origin += 7;
    else if (strncasecmp(origin, "https://", 8) == 0)
        origin += 8;
    else
        return 0;
    return strcasecmp(origin, host) == 0;
}

static enum err_code check(struct http_request *request, struct err *err)
{
    const char *version = http_header(request, "Sec-WebSocket-Version");
    if (strcmp(http_method(request), "GET") != 0 ||
        !has_token(http_header(request, "Upgrade"), "websocket") ||
        !has_token(http_header(request, "Connection"), "upgrade")) {
        http_reply_header(request, "Upgrade", "websocket");
        return err_set(err, ERR_UPGRADE, "this address speaks WebSocket only");
    }
    if (!version || strcmp(version, "13") != 0) {
        http_reply_header(request, "Upgrade", "websocket");
        http_reply_header(request, "Sec-WebSocket-Version", "13");
        return err_set(err, ERR_UPGRADE, "of WebSocket only version 13 is spoken here");
    }
    if (!key_ok(http_header(request, "Sec-WebSocket-Key")))
        return err_set(err, ERR_BAD_REQUEST, "Sec-WebSocket-Key is not 16 bytes in base64");
    if (!origin_ok(http_header(request, "Origin"), http_header(request, "Host")))
        return err_set(err, ERR_CROSS_SITE, "a page of another site asks for a WebSocket");
    return ERR_OK;
}

static enum err_code accept_text(const char *key, char ret[32], struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    char text[KEY_LENGTH + sizeof GUID];
    memcpy(text, key, KEY_LENGTH);
    memcpy(text + KEY_LENGTH, GUID, sizeof GUID);
    if (!EVP_Digest(text, strlen(text), digest, &size, EVP_sha1(), NULL))
        return err_set(err, ERR_INTERNAL, "SHA-1 failed");
    EVP_EncodeBlock((unsigned char *)ret, digest, (int)size);
    return ERR_OK;
}

static void close_upgraded(void *handle, int fd)
{
    (void)fd; /* libmicrohttpd closes it */
    (void)MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
}

static void upgraded(void *cls, struct MHD_Connection *mhd, void *request, const char *extra,
                     size_t n_extra, MHD_socket fd, struct MHD_UpgradeResponseHandle *handle)
{
    struct upgrade *upgrade = cls;
    struct ws_hub *hub = STEAL(upgrade->hub);
    const struct ws_socket sock = {
        .fd = fd, .close = close_upgraded, .handle = handle, .extra = extra, .n_extra = n_extra};
    (void)mhd;
    (void)request;
    ws_hub_adopt(hub, &sock, upgrade->context,
                 upgrade->release); /* `upgrade` may be gone after this */
}

static void upgrade_done(void *ctx)
{
    struct upgrade *upgrade = ctx;
    if (upgrade->hub) {
        if (upgrade->release)
            upgrade->release(upgrade->context);
        ws_hub_unreserve(upgrade->hub);
    }
    if (upgrade->before_done)
        upgrade->before_done(upgrade->before);
    free(upgrade);
}

enum err_code http_reply_websocket(struct http_request *request, struct ws_hub *hub, void *context,
                                   void (*release)(void *context), struct err *err)
{
    char accept[32];
    enum err_code rc = check(request, err);
    if (rc == ERR_OK)
        rc = accept_text(http_header(request, "Sec-WebSocket-Key"), accept, err);
    if (rc == ERR_OK)
        rc = ws_hub_reserve(hub, err);
    if (rc != ERR_OK)
        return rc;
    struct upgrade *upgrade = xalloc(sizeof *upgrade);
    struct MHD_Response *response = MHD_create_response_for_upgrade(upgraded, upgrade);
    if (!response) {
        free(upgrade);
        ws_hub_unreserve(hub);
        return err_set(err, ERR_NO_MEMORY, "no memory for a WebSocket");
    }
    *upgrade = (struct upgrade){.hub = hub,
                                .context = context,
                                .release = release,
                                .before = request->context,
                                .before_done = request->context_done};
    request->context = upgrade;
    request->context_done = upgrade_done;
    (void)MHD_add_response_header(response, "Upgrade", "websocket");
    (void)MHD_add_response_header(response, "Sec-WebSocket-Accept", accept);
    reply_set(request, MHD_HTTP_SWITCHING_PROTOCOLS, response);
    return ERR_OK;
}

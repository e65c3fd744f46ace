/* One POST to somebody else's server, by libcurl.
 *
 * The address comes from a user and the answer from anybody, so: http and https only, no redirect
 * is followed (it could lead to any place, and the signature is for this one), certificates are
 * checked, time and bytes are bounded, and of the answer only its status is kept. A proxy is used
 * when the environment names one (libcurl's rule: http_proxy, https_proxy, no_proxy), because
 * behind some firewalls there is no other way out.
 *
 * Each call has a handle of its own, so any thread may call; nothing is kept between calls. */
#include "client.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"

#define URL_MAX    2000
#define ANSWER_MAX (64 * 1024)

enum err_code http_client_setup(struct err *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, ERR_INTERNAL, "libcurl could not start");
    return ERR_OK;
}

static void cleanup_url(CURLU **url)
{
    curl_url_cleanup(*url);
}

static void cleanup_text(char **text)
{
    curl_free(*text);
}

/* A part of the address, to be freed with curl_free; NULL when it has none. */
static char *part(CURLU *url, CURLUPart which)
{
    char *text = NULL;
    return curl_url_get(url, which, &text, 0) == CURLUE_OK ? text : NULL;
}

int http_client_url_ok(const char *text)
{
    _cleanup_(cleanup_url) CURLU *url = NULL;
    if (!text || strlen(text) > URL_MAX)
        return 0;
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at <= ' ' || *at == 0x7f) /* libcurl lets some of them pass */
            return 0;
    /* "https:host" and "https:///host" are repaired by libcurl; an address is to be written right.
     */
    const char *host = strstr(text, "://");
    if (!host || !host[3] || strchr("/?#", host[3]))
        return 0;
    url = curl_url();
    if (!url || curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
        return 0;
    _cleanup_(cleanup_text) char *scheme = part(url, CURLUPART_SCHEME);
    _cleanup_(cleanup_text) char *name = part(url, CURLUPART_HOST);
    _cleanup_(cleanup_text) char *user = part(url, CURLUPART_USER);
    _cleanup_(cleanup_text) char *password = part(url, CURLUPART_PASSWORD);
    if (!scheme || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        return 0;
    return name && *name && !user && !password;
}

/* --- a request ------------------------------------------------------------------------------ */

static size_t throw_away(char *data, size_t one, size_t n, void *ctx)
{
    size_t *received = ctx;
    (void)data;
    *received += one * n;
    return *received > ANSWER_MAX ? 0 : one * n; /* 0 ends the transfer */
}

static void cleanup_curl(CURL **curl)
{
    curl_easy_cleanup(*curl);
}

static void cleanup_list(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

static enum err_code header_list(const char *const *headers, struct curl_slist **ret,
                                 struct err *err)
{
    /* libcurl would wait for a 100 before a long body. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"), *longer = list;
    for (; longer && headers && *headers; headers++) {
        if (strpbrk(*headers, "\r\n")) {
            curl_slist_free_all(list);
            return err_set(err, ERR_INTERNAL, "a header with a line break");
        }
        longer = curl_slist_append(list, *headers);
        list = longer ? longer : list;
    }
    *ret = list;
    return longer ? ERR_OK : err_set(err, ERR_NO_MEMORY, "no memory for the headers");
}

/* The first option that libcurl refuses: one that it was built without, or no memory. */
static CURLcode set_options(CURL *curl, const char *url, struct curl_slist *list, const void *body,
                            size_t size, double timeout_s, size_t *received, char *text)
{
    long ms = timeout_s < 0.001 ? 1 : timeout_s > 3600 ? 3600000 : (long)(timeout_s * 1000);
    CURLcode rc[] = {
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text),
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L),
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https"),
        curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L),
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L),
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L),
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ms),
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, ms),
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "sonde/" SONDE_VERSION),
        curl_easy_setopt(curl, CURLOPT_URL, url),
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list),
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size),
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, size > 0 ? body : ""),
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, throw_away),
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, received),
    };
    for (size_t i = 0; i < ARRAY_LEN(rc); i++)
        if (rc[i] != CURLE_OK)
            return rc[i];
    return CURLE_OK;
}

enum err_code http_client_post(const char *url, const char *const *headers, const void *body,
                               size_t size, double timeout_s, struct http_client_reply *ret,
                               struct err *err)
{
    _cleanup_(cleanup_list) struct curl_slist *list = NULL;
    _cleanup_(cleanup_curl) CURL *curl = NULL;
    char text[CURL_ERROR_SIZE] = "";
    size_t received = 0;
    long status = 0;
    *ret = (struct http_client_reply){0};
    if (!http_client_url_ok(url))
        return err_set(err, ERR_BAD_REQUEST, "this is no http or https address that can be asked");
    enum err_code rc = header_list(headers, &list, err);
    if (rc != ERR_OK)
        return rc;
    curl = curl_easy_init();
    if (!curl)
        return err_set(err, ERR_NO_MEMORY, "no memory for a request");
    CURLcode code = set_options(curl, url, list, body, size, timeout_s, &received, text);
    if (code != CURLE_OK)
        return err_set(err, ERR_INTERNAL, "libcurl: %s", curl_easy_strerror(code));
    code = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    /* More of an answer than is read is an answer. */
    if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && received > ANSWER_MAX)) {
        ret->status = (int)status;
        return ERR_OK;
    }
    return err_set(err, ERR_UNAVAILABLE, "%s", text[0] ? text : curl_easy_strerror(code));
}

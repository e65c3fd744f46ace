/* Hiding passwords in urls. Deliberately no parser: a url that a driver would refuse may hold a
 * password, too, so everything between the first colon behind "://" and the last @ of a word goes,
 * even where that takes a port with it. No state, any thread. */
#include "url.h"

#include <string.h>
#include <strings.h>

#include "mem.h"

#define MASK  "********"
#define BLANK " \t\r\n"

struct masking {
    char *out;
    size_t at;
    int hidden;
};

static void copy(struct masking *m, const char *from, size_t n)
{
    memcpy(m->out + m->at, from, n);
    m->at += n;
}

/* Length of "name=" at `p` when its value is secret, else 0. */
static size_t secret_name(const char *p)
{
    static const char *const names[] = {
        "password=", "passwd=", "sslpassword=", "secret=", "token="};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strncasecmp(p, names[i], strlen(names[i])) == 0)
            return strlen(names[i]);
    return 0;
}

/* What stands behind the host: its secret parameters go. */
static void mask_parameters(struct masking *m, const char *p, const char *end, int start)
{
    while (p < end) {
        size_t name = start ? secret_name(p) : 0;
        start = *p == '?' || *p == '&' || *p == ';';
        if (name == 0 || p + name >= end) {
            copy(m, p++, 1);
            continue;
        }
        copy(m, p, name);
        copy(m, MASK, strlen(MASK));
        m->hidden = 1;
        for (p += name; p < end && *p != '&'; p++)
            ;
        start = 0;
    }
}

static void mask_word(struct masking *m, const char *word, size_t len)
{
    const char *end = word + len, *rest = word;
    const char *host = secret_name(word) ? NULL : memmem(word, len, "://", 3);
    if (host) {
        host += 3;
        const char *at = memrchr(host, '@', (size_t)(end - host));
        const char *colon = at ? memchr(host, ':', (size_t)(at - host)) : NULL;
        if (colon && colon + 1 < at) {
            copy(m, word, (size_t)(colon + 1 - word));
            copy(m, MASK, strlen(MASK));
            m->hidden = 1;
            rest = at;
        }
    }
    mask_parameters(m, rest, end, !host);
}

static char *mask(const char *urls, int *ret_hidden)
{
    /* A password of one character grows to eight. */
    struct masking m = {.out = xalloc(strlen(urls) * strlen(MASK) + 1)};
    for (const char *p = urls; *p;) {
        size_t blanks = strspn(p, BLANK);
        copy(&m, p, blanks);
        p += blanks;
        size_t len = strcspn(p, BLANK);
        mask_word(&m, p, len);
        p += len;
    }
    *ret_hidden = m.hidden;
    return m.out;
}

char *url_masked(const char *urls)
{
    int hidden;
    return mask(urls, &hidden);
}

int url_has_password(const char *urls)
{
    int hidden;
    free(mask(urls, &hidden));
    return hidden;
}

/* Composing a mail: headers in ASCII (encoded words where a text is more), bodies in base64, so
 * that no line is too long and no relay changes anything. No state; any thread. */
#include "mime.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../base/id.h"
#include "../../base/mem.h"
#include "../../base/utf8.h"

#define WORD_BYTES 39 /* of text in one encoded word: "Subject: " and it fit into 76 characters */
#define LINE_BYTES 57 /* of content in one line of base64, which has 76 */
#define PLAIN_MAX  60 /* of ASCII in a header without folding */

static const char local_chars[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.!#$%&'*+/=?^_`{|}~-";
static const char domain_chars[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-";

/* Dots only between other characters. */
static int dots_fit(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] == '.' && (i == 0 || i + 1 == len || s[i + 1] == '.'))
            return 0;
    return len > 0;
}

static int address_valid(const char *s)
{
    const char *at = strchr(s, '@');
    size_t local = at ? (size_t)(at - s) : 0;
    if (!at || local > 64 || strlen(s) > MAIL_ADDRESS_MAX || strspn(s, local_chars) != local)
        return 0;
    const char *domain = at + 1;
    size_t len = strlen(domain);
    return strspn(domain, domain_chars) == len && dots_fit(s, local) && dots_fit(domain, len) &&
           domain[0] != '-' && domain[len - 1] != '-';
}

/* One line of text that may stand in a header. */
static int line_valid(const char *s, size_t max)
{
    uint32_t c;
    if (strnlen(s, max + 1) > max)
        return 0;
    while (*s) {
        size_t n = utf8_char(s, &c);
        if (n == 0 || utf8_unprintable(c))
            return 0;
        s += n;
    }
    return 1;
}

enum err_code mail_address_parse(const char *text, struct mail_address *ret, struct err *err)
{
    *ret = (struct mail_address){0};
    size_t len = text ? strnlen(text, 1024) : 0;
    if (len == 0 || len == 1024 || !line_valid(text, 1024))
        return err_set(err, ERR_BAD_REQUEST, "no mail address, or one with line breaks");
    const char *address = text, *open = strrchr(text, '<');
    size_t name_len = 0, address_len = len;
    if (open && text[len - 1] == '>') {
        address = open + 1;
        address_len = (size_t)(text + len - 1 - address);
        name_len = (size_t)(open - text);
        while (name_len > 0 && text[name_len - 1] == ' ')
            name_len--;
        if (name_len >= 2 && text[0] == '"' && text[name_len - 1] == '"') {
            text++;
            name_len -= 2;
        }
    }
    if (name_len > MAIL_NAME_MAX || address_len > MAIL_ADDRESS_MAX)
        return err_set(err, ERR_BAD_REQUEST, "the mail address is too long");
    memcpy(ret->name, text, name_len);
    memcpy(ret->address, address, address_len);
    if (!address_valid(ret->address))
        return err_set(err, ERR_BAD_REQUEST, "'%.100s' is no mail address", ret->address);
    return ERR_OK;
}

enum err_code mail_check_texts(const struct mail_message *m, struct err *err)
{
    if (!m->subject || !line_valid(m->subject, MAIL_SUBJECT_MAX))
        return err_set(
            err, ERR_BAD_REQUEST,
            "a subject is one line of UTF-8, at most %d bytes, without control characters",
            MAIL_SUBJECT_MAX);
    if (!m->text)
        return err_set(err, ERR_BAD_REQUEST, "the mail has no text");
    if (strnlen(m->text, MAIL_BODY_MAX + 1) > MAIL_BODY_MAX ||
        (m->html && strnlen(m->html, MAIL_BODY_MAX + 1) > MAIL_BODY_MAX))
        return err_set(err, ERR_LIMIT, "a mail's text has at most %d bytes", MAIL_BODY_MAX);
    if (!utf8_valid(m->text) || (m->html && !utf8_valid(m->html)))
        return err_set(err, ERR_BAD_REQUEST, "the mail's text is no UTF-8");
    return ERR_OK;
}

/* Bytes of whole characters of `s` that fit into `max`. */
static size_t whole_chars(const char *s, size_t max)
{
    size_t len = 0;
    uint32_t c;
    for (size_t n; (n = utf8_char(s + len, &c)) > 0 && len + n <= max;)
        len += n;
    return len;
}

static void put_encoded_words(FILE *f, const char *s)
{
    for (const char *before = ""; *s; before = "\r\n ") {
        unsigned char out[WORD_BYTES / 3 * 4 + 1];
        size_t n = whole_chars(s, WORD_BYTES);
        EVP_EncodeBlock(out, (const unsigned char *)s, (int)n);
        fprintf(f, "%s=?UTF-8?B?%s?=", before, (const char *)out);
        s += n;
    }
}

/* Whether `s` may stand in a header as it is. */
static int is_plain(const char *s)
{
    size_t len = strlen(s);
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p >= 0x7f)
            return 0;
    return len <= PLAIN_MAX && !strstr(s, "=?") && (len == 0 || (s[0] != ' ' && s[len - 1] != ' '));
}

static void put_address(FILE *f, const char *header, const struct mail_address *a)
{
    fprintf(f, "%s: ", header);
    if (a->name[0] == '\0') {
        fprintf(f, "%s\r\n", a->address);
        return;
    }
    if (is_plain(a->name)) {
        fputc('"', f);
        for (const char *p = a->name; *p; p++)
            fprintf(f, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
        fputc('"', f);
    } else {
        put_encoded_words(f, a->name);
    }
    fprintf(f, "\r\n <%s>\r\n", a->address); /* on a line of its own: it may be long */
}

/* strftime would ask the locale for the names. */
static void put_date(FILE *f, int64_t now_ms)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm = {0};
    gmtime_r(&seconds, &tm);
    fprintf(f, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d +0000\r\n", days + 3 * tm.tm_wday,
            tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
            tm.tm_sec);
}

/* Lines end with CRLF inside of base64 too (RFC 2045, 6.8). NULL: no memory. */
static char *with_crlf(const char *s, size_t *ret_len)
{
    size_t breaks = 0, len = 0;
    for (const char *p = s; *p; p++)
        breaks += *p == '\n' || *p == '\r';
    char *out = try_alloc(strlen(s) + breaks + 1, 1);
    for (; out && *s; s++) {
        if (*s != '\n' && *s != '\r') {
            out[len++] = *s;
            continue;
        }
        if (*s == '\r' && s[1] == '\n')
            s++;
        out[len++] = '\r';
        out[len++] = '\n';
    }
    *ret_len = len;
    return out;
}

static int put_part(FILE *f, const char *type, const char *text)
{
    size_t len;
    _cleanup_free_ char *body = with_crlf(text, &len);
    if (!body)
        return -1;
    fprintf(f,
            "Content-Type: %s; charset=utf-8\r\n"
            "Content-Transfer-Encoding: base64\r\n\r\n",
            type);
    for (size_t at = 0; at < len; at += LINE_BYTES) {
        unsigned char line[LINE_BYTES / 3 * 4 + 1];
        size_t n = len - at < LINE_BYTES ? len - at : LINE_BYTES;
        EVP_EncodeBlock(line, (const unsigned char *)body + at, (int)n);
        fprintf(f, "%s\r\n", (const char *)line);
    }
    return 0;
}

static int put_message(FILE *f, const struct mail_address *from, const struct mail_address *to,
                       const struct mail_message *m, int64_t now_ms)
{
    char id[ID_TEXT], token[25];
    id_new(id);
    random_token(token, sizeof token);
    put_date(f, now_ms);
    put_address(f, "From", from);
    put_address(f, "To", to);
    fputs("Subject: ", f);
    if (is_plain(m->subject))
        fputs(m->subject, f);
    else
        put_encoded_words(f, m->subject);
    fprintf(f, "\r\nMessage-ID: <%s%s>\r\n", id, strchr(from->address, '@'));
    /* So that nobody's holiday answers it. */
    fputs("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n", f);
    if (!m->html)
        return put_part(f, "text/plain", m->text);
    fprintf(f, "Content-Type: multipart/alternative; boundary=\"=_%s\"\r\n\r\n", token);
    fprintf(f, "--=_%s\r\n", token);
    if (put_part(f, "text/plain", m->text) < 0)
        return -1;
    fprintf(f, "--=_%s\r\n", token);
    if (put_part(f, "text/html", m->html) < 0)
        return -1;
    fprintf(f, "--=_%s--\r\n", token);
    return 0;
}

enum err_code mail_compose(const struct mail_address *from, const struct mail_address *to,
                           const struct mail_message *message, int64_t now_ms, char **ret,
                           size_t *ret_size, struct err *err)
{
    char *data = NULL;
    size_t size = 0;
    *ret = NULL;
    FILE *f = open_memstream(&data, &size);
    if (!f)
        return err_set(err, ERR_NO_MEMORY, "no memory for a mail");
    int bad = put_message(f, from, to, message, now_ms) < 0 || ferror(f);
    if (fclose(f) != 0 || bad) {
        free(data);
        return err_set(err, ERR_NO_MEMORY, "no memory for a mail");
    }
    *ret = data;
    *ret_size = size;
    return ERR_OK;
}

/* driver/mail/mime: addresses taken apart, messages that a mail program reads back. */
#include "../../support/cm.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "driver/mail/mime.h"

#define AT_MS 1795255200123 /* Saturday, 2026-11-21 10:00:00 UTC */

static struct err err;
static const struct mail_address from = {.name = "sonde", .address = "sonde@example.org"};

static char *compose(const char *to, const char *subject, const char *text, const char *html)
{
    struct mail_address address;
    char *data = NULL;
    size_t size = 0;
    const struct mail_message m = {.to = to, .subject = subject, .text = text, .html = html};
    assert_int_equal(mail_address_parse(to, &address, &err), ERR_OK);
    assert_int_equal(mail_check_texts(&m, &err), ERR_OK);
    assert_int_equal(mail_compose(&from, &address, &m, AT_MS, &data, &size, &err), ERR_OK);
    assert_int_equal(strlen(data), size);
    return data;
}

/* What RFC 5322 and 2047 ask of every line: ASCII, CRLF, not too long. */
static void assert_lines(const char *data)
{
    for (const char *line = data; *line;) {
        const char *end = strstr(line, "\r\n");
        assert_non_null(end);
        assert_in_range(end - line, 0, 78);
        for (const char *p = line; p < end; p++)
            assert_true((unsigned char)*p >= 0x20 && (unsigned char)*p < 0x7f);
        line = end + 2;
    }
}

/* Base64 up to the first character that is none, line ends left out. The caller frees it. */
static char *decode(const char *text)
{
    char *packed = xalloc(strlen(text) + 4), *out = xalloc(strlen(text) + 4);
    size_t n = 0;
    int padding = 0;
    for (; *text && (strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "+/=\r\n"));
         text++)
        if (*text != '\r' && *text != '\n') {
            packed[n++] = *text;
            padding += *text == '=';
        }
    int len = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)packed, (int)n);
    assert_true(len >= padding);
    out[len - padding] = '\0';
    free(packed);
    return out;
}

/* All encoded words of a header, decoded and joined. */
static char *decode_words(const char *data, const char *header)
{
    const char *at = strstr(data, header);
    assert_non_null(at);
    char *all = xalloc(2000);
    at += strlen(header);
    while (strncmp(at, "=?UTF-8?B?", 10) == 0) {
        const char *end = strstr(at, "?=");
        char word[80];
        assert_non_null(end);
        assert_in_range(end + 2 - at, 12, 75);
        snprintf(word, sizeof word, "%.*s", (int)(end - at - 10), at + 10);
        char *text = decode(word);
        strncat(all, text, 1999 - strlen(all));
        free(text);
        at = end + 2;
        if (strncmp(at, "\r\n ", 3) == 0)
            at += 3;
    }
    return all;
}

static void a_plain_message_reads_plainly(void **state)
{
    (void)state;
    _cleanup_free_ char *data = compose("Anna \"B\" <anna@example.org>", "Result of call.m4a",
                                        "one\ntwo\r\nthree\rfour", NULL);
    assert_lines(data);
    assert_non_null(strstr(data, "Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n"));
    assert_non_null(strstr(data, "From: \"sonde\"\r\n <sonde@example.org>\r\n"));
    assert_non_null(strstr(data, "To: \"Anna \\\"B\\\"\"\r\n <anna@example.org>\r\n"));
    assert_non_null(strstr(data, "\r\nSubject: Result of call.m4a\r\n"));
    assert_non_null(strstr(data, "\r\nMIME-Version: 1.0\r\n"));
    assert_non_null(strstr(data, "@example.org>\r\nAuto-Submitted: auto-generated\r\n"));
    assert_non_null(strstr(data, "Content-Type: text/plain; charset=utf-8\r\n"));
    _cleanup_free_ char *body = decode(strstr(data, "\r\n\r\n"));
    assert_string_equal(body, "one\r\ntwo\r\nthree\r\nfour");
}

static void other_letters_are_encoded(void **state)
{
    (void)state;
    static const char subject[] =
        "Запись «звонок.m4a»: синтетическая речь, вероятность 87 %, подробности внутри 😀";
    _cleanup_free_ char *data = compose("Анна Иванова <anna@example.org>", subject, "Ответ", NULL);
    assert_lines(data);
    _cleanup_free_ char *got = decode_words(data, "\r\nSubject: ");
    assert_string_equal(got, subject);
    _cleanup_free_ char *name = decode_words(data, "\r\nTo: ");
    assert_string_equal(name, "Анна Иванова");
    _cleanup_free_ char *body = decode(strstr(data, "\r\n\r\n"));
    assert_string_equal(body, "Ответ");
}

static void long_and_odd_subjects_are_encoded_too(void **state)
{
    (void)state;
    char text[MAIL_SUBJECT_MAX + 1];
    memset(text, 'x', MAIL_SUBJECT_MAX);
    text[MAIL_SUBJECT_MAX] = '\0';
    static const char *const odd[] = {"=?UTF-8?B?eA==?=", " blank in front", "behind "};
    for (size_t i = 0; i <= ARRAY_LEN(odd); i++) {
        const char *subject = i < ARRAY_LEN(odd) ? odd[i] : text;
        _cleanup_free_ char *data = compose("a@b.org", subject, "", NULL);
        assert_lines(data);
        _cleanup_free_ char *got = decode_words(data, "\r\nSubject: ");
        assert_string_equal(got, subject);
    }
}

static void text_and_html_are_alternatives(void **state)
{
    (void)state;
    char boundary[64];
    _cleanup_free_ char *data = compose("a@b.org", "s", "plain", "<p>ярко</p>");
    assert_lines(data);
    const char *type = strstr(data, "Content-Type: multipart/alternative; boundary=\"");
    assert_non_null(type);
    assert_int_equal(
        sscanf(type, "Content-Type: multipart/alternative; boundary=\"%60[^\"]", boundary), 1);
    _cleanup_free_ char *first = xasprintf("\r\n--%s\r\nContent-Type: text/plain", boundary);
    _cleanup_free_ char *second = xasprintf("\r\n--%s\r\nContent-Type: text/html", boundary);
    _cleanup_free_ char *last = xasprintf("\r\n--%s--\r\n", boundary);
    const char *plain = strstr(data, first), *html = strstr(data, second);
    assert_non_null(plain);
    assert_non_null(html);
    assert_true(plain < html);
    assert_non_null(strstr(html, last));
    _cleanup_free_ char *body = decode(strstr(html, "base64\r\n\r\n") + 10);
    assert_string_equal(body, "<p>ярко</p>");
}

static void addresses_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name, *address;
    } rows[] = {
        {"a@b.org", "", "a@b.org"},
        {"<a@b.org>", "", "a@b.org"},
        {"Anna  <a@b.org>", "Anna", "a@b.org"},
        {"\"Anna, B.\" <a@b.org>", "Anna, B.", "a@b.org"},
        {"x <y> <a@b.org>", "x <y>", "a@b.org"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct mail_address got;
        assert_int_equal(mail_address_parse(rows[i].text, &got, &err), ERR_OK);
        assert_string_equal(got.name, rows[i].name);
        assert_string_equal(got.address, rows[i].address);
    }
    char text[800];
    struct mail_address got;
    for (int len = 190; len < 260; len++) { /* around both limits */
        snprintf(text, sizeof text, "%0*d <a@%0*d>", len, 7, len - 2, 7);
        enum err_code want = len <= MAIL_NAME_MAX ? ERR_OK : ERR_BAD_REQUEST;
        assert_int_equal(mail_address_parse(text, &got, &err), want);
        snprintf(text, sizeof text, "a@%0*d", len - 2, 7);
        want = len <= MAIL_ADDRESS_MAX ? ERR_OK : ERR_BAD_REQUEST;
        assert_int_equal(mail_address_parse(text, &got, &err), want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_message_reads_plainly),
        cmocka_unit_test(other_letters_are_encoded),
        cmocka_unit_test(long_and_odd_subjects_are_encoded_too),
        cmocka_unit_test(text_and_html_are_alternatives),
        cmocka_unit_test(addresses_are_taken_apart),
    };
    return cmocka_run_group_tests_name("driver_mail_mime", tests, NULL, NULL);
}

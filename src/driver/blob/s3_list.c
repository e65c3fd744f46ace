/* Listing a bucket: ListObjectsV2, page after page. A page is read whole before `each` sees any of
 * it, so that no connection is held while `each` works, and `each` may delete what it is told of:
 * the next page is asked for by the server's token, or behind the last key. Any thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/mem.h"
#include "../../base/time.h"
#include "s3.h"
#include "s3_xml.h"

#define PAGE_KEYS 1000
#define KEY_MAX   1024 /* S3's own limit; keys of this program have 200 bytes at most */
#define TOKEN_MAX 2048
#define CONTENTS  "ListBucketResult/Contents"

struct entry {
    char *key;
    uint64_t size;
    int64_t modified_ms;
};

struct page {
    struct entry *entries;
    size_t count, cap;
    struct entry next; /* in the making */
    int truncated, no_memory;
    char token[TOKEN_MAX];
    char last[KEY_MAX + 1];
};

static void page_done(struct page *page)
{
    for (size_t i = 0; i < page->count; i++)
        free(page->entries[i].key);
    free(page->entries);
    free(page->next.key);
    *page = (struct page){0};
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Undoes encoding-type=url. A key with a zero in it ends there, and is no key of ours then. */
static char *decode_key(const char *text)
{
    char *ret = xstrdup(text), *to = ret;
    for (const char *at = ret; *at; at++) {
        if (*at == '%' && hex(at[1]) >= 0 && hex(at[2]) >= 0) {
            *to++ = (char)(hex(at[1]) << 4 | hex(at[2]));
            at += 2;
        } else {
            *to++ = *at == '+' ? ' ' : *at;
        }
    }
    *to = '\0';
    return ret;
}

/* Only keys of this program are told; others may share the bucket. */
static int end_entry(struct page *page)
{
    struct entry entry = page->next;
    page->next = (struct entry){0};
    if (!entry.key)
        return 0;
    snprintf(page->last, sizeof page->last, "%s", entry.key);
    if (!blob_key_valid(entry.key)) {
        free(entry.key);
        return 0;
    }
    if (try_grow(&page->entries, &page->cap, page->count, sizeof *page->entries, PAGE_KEYS) < 0) {
        free(entry.key);
        page->no_memory = page->count < PAGE_KEYS;
        return -1; /* more than was asked for */
    }
    page->entries[page->count++] = entry;
    return 0;
}

static int note(void *ctx, const char *path, const char *text)
{
    struct page *page = ctx;
    if (strcmp(path, CONTENTS) == 0)
        return end_entry(page);
    if (!text)
        return 0;
    if (strcmp(path, CONTENTS "/Key") == 0) {
        free(page->next.key);
        page->next.key = strlen(text) <= 3 * KEY_MAX ? decode_key(text) : NULL;
    } else if (strcmp(path, CONTENTS "/Size") == 0) {
        page->next.size = strtoull(text, NULL, 10);
    } else if (strcmp(path, CONTENTS "/LastModified") == 0) {
        if (time_parse(text, &page->next.modified_ms) < 0)
            page->next.modified_ms = 0;
    } else if (strcmp(path, "ListBucketResult/IsTruncated") == 0) {
        page->truncated = strcmp(text, "true") == 0;
    } else if (strcmp(path, "ListBucketResult/NextContinuationToken") == 0) {
        if (strlen(text) < sizeof page->token)
            snprintf(page->token, sizeof page->token, "%s", text);
    }
    return 0;
}

static enum err_code fetch(struct s3 *s3, enum blob_bucket bucket, const struct s3_pair *from,
                           struct page *page, struct err *err)
{
    struct s3_call call = {.method = "GET",
                           .bucket = bucket,
                           .query = {{"list-type", "2"}, {"encoding-type", "url"}},
                           .n_query = 2,
                           .answer_max = S3_PAGE_MAX};
    char most[16];
    snprintf(most, sizeof most, "%d", s3->page_keys > 0 ? s3->page_keys : PAGE_KEYS);
    call.query[call.n_query++] = (struct s3_pair){"max-keys", most};
    if (from->value[0])
        call.query[call.n_query++] = *from;
    enum err_code rc = s3_call(s3, &call, err);
    if (rc == ERR_OK)
        rc = s3_xml_read(call.answer ? call.answer : "", call.answer_len, note, page, err);
    if (rc == ERR_LIMIT && page->no_memory)
        rc = err_set(err, ERR_NO_MEMORY, "no memory for a page of the listing");
    s3_call_done(&call);
    return rc;
}

/* Tells `each` of the page; non-zero when it wants no more. */
static int tell(const struct page *page, blob_each *each, void *ctx)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct entry *e = &page->entries[i];
        int stop = each(ctx, e->key, e->size, e->modified_ms);
        if (stop)
            return 1;
    }
    return 0;
}

enum err_code s3_list(struct s3 *s3, enum blob_bucket bucket, blob_each *each, void *ctx,
                      struct err *err)
{
    char token[TOKEN_MAX] = "", last[KEY_MAX + 1] = "";
    for (int more = 1; more;) {
        struct page page = {0};
        struct s3_pair from = {"continuation-token", token};
        if (!token[0])
            from = (struct s3_pair){"start-after", last};
        enum err_code rc = fetch(s3, bucket, &from, &page, err);
        if (rc == ERR_OK)
            more = !tell(&page, each, ctx) && page.truncated;
        /* A server that never gets further would keep us here for ever. */
        if (rc == ERR_OK && more &&
            (page.token[0] ? strcmp(page.token, token) == 0 : strcmp(page.last, last) <= 0))
            rc = err_set(err, ERR_UNAVAILABLE, "%s lists the same keys again and again", s3->host);
        snprintf(token, sizeof token, "%s", page.token);
        snprintf(last, sizeof last, "%s", page.last);
        page_done(&page);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

/* http: the files of the page inside the program. */
#include "../../support/cm.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/hash.h"
#include "http/assets.h"

static const struct asset *find(const char *path)
{
    for (size_t i = 0; i < n_assets; i++)
        if (strcmp(assets[i].path, path) == 0)
            return &assets[i];
    return NULL;
}

static void the_page_and_the_docs_are_there(void **state)
{
    (void)state;
    static const char *const paths[] = {"/index.html", "/docs", "/docs/docs.js", "/docs/docs.css"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        assert_non_null(find(paths[i]));
    assert_string_equal(find("/docs")->type, "text/html; charset=utf-8");
    assert_string_equal(find("/docs/docs.js")->type, "text/javascript; charset=utf-8");
    assert_string_equal(find("/docs/docs.css")->type, "text/css; charset=utf-8");
    assert_memory_equal(find("/index.html")->plain, "<!", 2);
    assert_false(find("/index.html")->immutable);
    assert_false(find("/docs/docs.js")->immutable);
}

static void the_table_is_sorted_and_whole(void **state)
{
    (void)state;
    assert_true(n_assets >= 4);
    for (size_t i = 0; i < n_assets; i++) {
        const struct asset *a = &assets[i];
        assert_true(a->path[0] == '/' && a->type[0] && a->plain && a->plain_size > 0);
        assert_true(i == 0 || strcmp(assets[i - 1].path, a->path) < 0);
        assert_true(!a->gzip == !a->gzip_size && !a->brotli == !a->brotli_size);
        assert_true(a->gzip_size < a->plain_size && a->brotli_size < a->plain_size);
        /* Only what Vite hashed may be kept for ever. */
        if (a->immutable)
            assert_memory_equal(a->path, "/assets/", 8);
    }
}

static void the_tag_is_the_hash_of_the_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_assets; i++) {
        char hex[SHA256_HEX], want[40];
        struct err err;
        assert_int_equal(sha256_mem(assets[i].plain, assets[i].plain_size, hex, &err), ERR_OK);
        snprintf(want, sizeof want, "\"%.32s\"", hex);
        assert_string_equal(assets[i].etag, want);
    }
}

static void gzip_bodies_are_the_plain_ones(void **state)
{
    (void)state;
    int packed = 0;
    for (size_t i = 0; i < n_assets; i++) {
        const struct asset *a = &assets[i];
        if (!a->gzip)
            continue;
        packed++;
        unsigned char *out = malloc(a->plain_size + 1);
        z_stream z = {.next_in = (unsigned char *)(uintptr_t)a->gzip,
                      .avail_in = (unsigned)a->gzip_size,
                      .next_out = out,
                      .avail_out = (unsigned)a->plain_size + 1};
        assert_non_null(out);
        assert_int_equal(inflateInit2(&z, 16 + MAX_WBITS), Z_OK);
        assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
        assert_int_equal(z.total_out, a->plain_size);
        assert_memory_equal(out, a->plain, a->plain_size);
        inflateEnd(&z);
        free(out);
    }
    assert_true(packed > 0);
}

/* The content security policy allows files of our own only: a page with something inline would be
 * broken in the browser, and nobody would see it here. */
static void no_page_has_anything_inline(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_assets; i++) {
        if (strncmp(assets[i].type, "text/html", 9) != 0)
            continue;
        char *html = calloc(1, assets[i].plain_size + 1);
        assert_non_null(html);
        memcpy(html, assets[i].plain, assets[i].plain_size);
        for (char *c = html; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        assert_null(strstr(html, "<style"));
        assert_null(strstr(html, " style="));
        assert_null(strstr(html, " onclick="));
        assert_null(strstr(html, "src=\"http"));
        for (char *at = html; (at = strstr(at, "<script")); at++) {
            const char *end = strchr(at, '>'), *src = strstr(at, " src=");
            assert_true(end && src && src < end);
        }
        free(html);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_and_the_docs_are_there),
        cmocka_unit_test(the_table_is_sorted_and_whole),
        cmocka_unit_test(the_tag_is_the_hash_of_the_bytes),
        cmocka_unit_test(gzip_bodies_are_the_plain_ones),
        cmocka_unit_test(no_page_has_anything_inline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* driver/blob/s3_xml: what S3 sends is read, everything else is refused. */
#include "../../support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "driver/blob/s3_xml.h"

static struct err err;
static char seen[2000];

static int note(void *ctx, const char *path, const char *text)
{
    size_t n = strlen(seen);
    snprintf(seen + n, sizeof seen - n, "%s=%s;", path, text ? text : "*");
    return ctx && strcmp(path, ctx) == 0;
}

static enum err_code read_text(const char *xml, const char *stop)
{
    size_t n = strlen(xml);
    char *exact = malloc(n ? n : 1); /* so that a sanitizer sees a byte read past the end */
    memcpy(exact, xml, n);
    seen[0] = '\0';
    enum err_code rc = s3_xml_read(exact, n, note, (void *)(uintptr_t)stop, &err);
    free(exact);
    return rc;
}

static void what_s3_sends_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *xml, *want;
    } rows[] = {
        {"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>"
         "<Message>a &amp; b &lt;&#x416;&#1078;&gt;&quot;&apos;</Message><Empty/></Error>\n",
         "Error/Code=NoSuchKey;Error/Message=a & b <\xd0\x96\xd0\xb6>\"';Error/Empty=;Error=*;"},
        {"<L xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\" a='b'>\n <C >\n  <K>x</K>\n"
         " </C ><!-- no --><C><K>y<!-- z --></K></C></L>",
         "L/C/K=x;L/C=*;L/C/K=y;L/C=*;L=*;"},
        {"\n\n  <s3:R xmlns:s3='x'><s3:A>1</s3:A></s3:R>", "R/A=1;R=*;"},
        {"\xef\xbb\xbf<R>&#x1F600;</R>", "R=\xf0\x9f\x98\x80;"},
        {"<R/>", "R=;"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (read_text(rows[i].xml, NULL) != ERR_OK)
            fail_msg("%s: %s", rows[i].xml, err.text);
        assert_string_equal(seen, rows[i].want);
    }
    assert_int_equal(read_text("<R><A>1</A><B>2</B></R>", "R/A"), ERR_LIMIT);
    assert_string_equal(seen, "R/A=1;");
}

static void what_it_does_not_send_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        " ",
        "text",
        "<",
        "<R",
        "<R>",
        "<R><A></R></A>",
        "<R></R",
        "</R>",
        "<R></RR>",
        "<R></R>x",
        "<R></R><R></R>",
        "<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><R>&x;</R>",
        "<R>&x;</R>",
        "<R>&amp</R>",
        "<R>&#0;</R>",
        "<R>&#xd800;</R>",
        "<R>&#x110000;</R>",
        "<R>&#99999999999;</R>",
        "<R>&#;</R>",
        "<R>&#x;</R>",
        "<R>&#12",
        "<R><![CDATA[x]]></R>",
        "<R a></R>",
        "<R a=b></R>",
        "<R a=\"b></R>",
        "<R a=\"<\"></R>",
        "<Ra=\"b\"></R>",
        "<R><?php ?></R>",
        "<R><!-- </R>",
        "<?xml <R></R>",
        "<R/",
        "<R / >",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (read_text(rows[i], NULL) != ERR_UNAVAILABLE)
            fail_msg("taken: %s", rows[i]);
    assert_int_equal(s3_xml_read("<R>\0</R>", 8, note, NULL, &err), ERR_UNAVAILABLE);
    char deep[1000] = "";
    for (size_t n = 0; n + 4 < sizeof deep; n += 3)
        memcpy(deep + n, "<R>", 4);
    assert_int_equal(read_text(deep, NULL), ERR_UNAVAILABLE);
    memset(deep, 'N', sizeof deep - 1);
    deep[0] = '<';
    assert_int_equal(read_text(deep, NULL), ERR_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_s3_sends_is_read),
        cmocka_unit_test(what_it_does_not_send_is_refused),
    };
    return cmocka_run_group_tests_name("driver_blob_s3_xml", tests, NULL, NULL);
}

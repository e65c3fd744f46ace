/* eval/manifest: the format, its limits, hostile input, filters, folders. */
#include "../../support/cm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "eval/manifest.h"
#include "os/walk.h"

static enum err_code parse(const char *text, struct manifest **ret, struct err *err)
{
    *err = (struct err){0};
    return manifest_parse(text, strlen(text), ret, err);
}

static void expect_refused(const char *text, size_t len, const char *part)
{
    struct manifest *m = NULL;
    struct err err = {0};
    assert_int_equal(manifest_parse(text, len, &m, &err), ERR_MANIFEST);
    assert_null(m);
    if (!strstr(err.text, part))
        fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

#define REFUSED(text, part) expect_refused(text, sizeof(text) - 1, part)

static void reads_columns_in_any_order(void **state)
{
    (void)state;
    struct manifest *m = NULL;
    struct err err;
    assert_int_equal(parse("\xEF\xBB\xBFLabel\tnote\tduration_s\tPATH\tsystem\r\n"
                           "SPOOF\tx\t4.25\ta \"b\".wav\tdac\r\n"
                           "\r\n"
                           "Human\ty\tunknown\t/abs/c.wav\t",
                           &m, &err),
                     ERR_OK);
    assert_int_equal(m->count, 2);
    assert_int_equal(m->rows[0].label, EVAL_SPOOF);
    assert_string_equal(m->rows[0].path, "a \"b\".wav");
    assert_string_equal(m->rows[0].text[MANIFEST_SYSTEM], "dac");
    assert_string_equal(m->rows[0].text[MANIFEST_SPLIT], "");
    assert_true(m->rows[0].duration_s == 4.25);
    assert_int_equal(m->rows[1].label, EVAL_BONAFIDE);
    assert_true(isnan(m->rows[1].duration_s));
    assert_int_equal(m->rows[1].line, 4);
    assert_string_equal(m->rows[1].text[MANIFEST_SYSTEM], "");
    assert_int_equal(m->has[MANIFEST_SYSTEM], 1);
    assert_int_equal(m->has[MANIFEST_SPLIT], 0);
    char *path = manifest_row_path(m, &m->rows[0]);
    assert_string_equal(path, "a \"b\".wav");
    free(path);
    manifest_free(m);
}

static void every_label_word_is_known(void **state)
{
    (void)state;
    static const char *const bona[] = {"bonafide", "bona-fide", "HUMAN", "Real", "genuine", "0"};
    static const char *const spoof[] = {"spoof", "Fake", "SYNTHETIC", "1"};
    enum eval_label label;
    for (size_t i = 0; i < ARRAY_LEN(bona); i++) {
        assert_int_equal(eval_label_parse(bona[i], &label), 0);
        assert_int_equal(label, EVAL_BONAFIDE);
    }
    for (size_t i = 0; i < ARRAY_LEN(spoof); i++) {
        assert_int_equal(eval_label_parse(spoof[i], &label), 0);
        assert_int_equal(label, EVAL_SPOOF);
    }
    assert_int_equal(eval_label_parse("", &label), -1);
    assert_int_equal(eval_label_parse("spoof ", &label), -1);
}

static void refuses_bad_input_with_its_line(void **state)
{
    (void)state;
    REFUSED("", "line 1: there is no header");
    REFUSED("\n\n", "there is no header");
    REFUSED("path\tlabel\n", "no rows");
    REFUSED("path\tkind\na\tb\n", "no column \"label\"");
    REFUSED("label\n0\n", "no column \"path\"");
    REFUSED("path\tlabel\tkind\tKind\n", "two columns named");
    REFUSED("path\tlabel\tx\tx\n", "two columns named");
    REFUSED("path\tlabel\na\t0\nb\n", "line 3: 1 cells where the header has 2");
    REFUSED("path\tlabel\na\t0\t\n", "line 2: 3 cells");
    REFUSED("path\tlabel\na\tmaybe\n", "line 2: label \"maybe\"");
    REFUSED("path\tlabel\na\t\n", "line 2: label \"\"");
    REFUSED("path\tlabel\n\t0\n", "line 2: the path is empty");
    REFUSED("path\tlabel\n\na\t0\nb\0\t0\n", "line 4: a NUL byte");
    REFUSED("path\tlabel\tduration_s\na\t0\t-1\n", "duration_s");
    REFUSED("path\tlabel\tduration_s\na\t0\tinf\n", "duration_s");
    REFUSED("path\tlabel\tduration_s\na\t0\t3 s\n", "duration_s");
}

static void refuses_what_is_past_a_limit(void **state)
{
    (void)state;
    size_t len = MANIFEST_MAX_LINE + 64;
    char *text = try_alloc(len, 1);
    memset(text, 'x', len);
    memcpy(text, "path\tlabel\n", 11);
    expect_refused(text, len, "line 2: longer than");
    expect_refused(text, 11 + MANIFEST_MAX_CELL + 1, "line 2: cell 1 is longer");
    memset(text + 11, '\t', MANIFEST_MAX_COLUMNS);
    expect_refused(text, 11 + MANIFEST_MAX_COLUMNS, "line 2: more than 64 columns");
    expect_refused(text + 11, MANIFEST_MAX_COLUMNS, "line 1: more than 64 columns");
    expect_refused(text, MANIFEST_MAX_BYTES + 1, "larger than");
    free(text);
}

static void filters_rows(void **state)
{
    (void)state;
    struct manifest *m = NULL;
    struct err err;
    assert_int_equal(parse("path\tlabel\tsplit\na\t0\ttrain\nb\t1\tvalid\nc\t0\tvalid\n", &m, &err),
                     ERR_OK);
    assert_int_equal(manifest_filter(m, "nonsense", &err), ERR_USAGE);
    assert_int_equal(manifest_filter(m, "=valid", &err), ERR_USAGE);
    assert_int_equal(manifest_filter(m, "color=red", &err), ERR_USAGE);
    assert_int_equal(manifest_filter(m, "system=x", &err), ERR_USAGE);
    assert_int_equal(manifest_filter(m, "label=x", &err), ERR_USAGE);
    assert_int_equal(m->count, 3);
    assert_int_equal(manifest_filter(m, "split=valid", &err), ERR_OK);
    assert_int_equal(m->count, 2);
    assert_int_equal(manifest_filter(m, "label=fake", &err), ERR_OK);
    assert_int_equal(m->count, 1);
    assert_string_equal(m->rows[0].path, "b");
    assert_int_equal(manifest_filter(m, "split=train", &err), ERR_MANIFEST);
    manifest_free(m);
}

static void put_file(const char *dir, const char *name, const char *content)
{
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
    free(path);
}

static void put_folder(const char *dir, const char *name)
{
    char *path = xasprintf("%s/%s", dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
    free(path);
}

static void put_link(const char *target, const char *dir, const char *name)
{
    char *path = xasprintf("%s/%s", dir, name);
    assert_int_equal(symlink(target, path), 0);
    free(path);
}

static void remove_tree(const char *dir)
{
    char *command = xasprintf("rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
    free(command);
}

static void opens_a_file_and_finds_its_neighbours(void **state)
{
    (void)state;
    char dir[] = "/tmp/sonde-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    put_file(dir, "m.tsv", "path\tlabel\nsub/a.wav\t0\n/x.wav\t1\n");
    put_file(dir, "bad.tsv", "path\tlabel\nsub/a.wav\n");
    char *path = xasprintf("%s/m.tsv", dir), *bad = xasprintf("%s/bad.tsv", dir);
    struct manifest *m = NULL;
    struct err err = {0};
    assert_int_equal(manifest_open(path, &m, &err), ERR_OK);
    char *joined = manifest_row_path(m, &m->rows[0]), *want = xasprintf("%s/sub/a.wav", dir);
    assert_string_equal(joined, want);
    free(joined);
    joined = manifest_row_path(m, &m->rows[1]);
    assert_string_equal(joined, "/x.wav");
    manifest_free(m);
    m = NULL;
    assert_int_equal(manifest_open(bad, &m, &err), ERR_MANIFEST);
    assert_non_null(strstr(err.text, "bad.tsv: line 2"));
    assert_int_equal(manifest_open("/nonexistent/m.tsv", &m, &err), ERR_NOT_FOUND);
    free(joined), free(want), free(path), free(bad);
    remove_tree(dir);
}

static void walks_a_labelled_folder(void **state)
{
    (void)state;
    char dir[] = "/tmp/sonde-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct manifest *m = NULL;
    struct err err = {0};
    assert_int_equal(manifest_open(dir, &m, &err), ERR_MANIFEST);
    put_folder(dir, "Human");
    assert_int_equal(manifest_open(dir, &m, &err), ERR_MANIFEST);
    put_folder(dir, "real"), put_folder(dir, "spoof"), put_folder(dir, "spoof/sys\tA");
    put_folder(dir, "spoof/.git"), put_folder(dir, "other"), put_folder(dir, "1");
    put_file(dir, "Human/b.WAV", ""), put_file(dir, "real/a", ""),
        put_file(dir, "other/no.wav", "");
    put_file(dir, "spoof/sys\tA/z.mp3", ""), put_file(dir, "spoof/.git/no.wav", "");
    put_file(dir, "spoof/.no.wav", ""), put_file(dir, "1/no.wav", "");
    put_link("..", dir, "spoof/loop"), put_link("nowhere", dir, "spoof/dangling.wav");
    put_link("../real/a", dir, "spoof/link.flac");
    assert_int_equal(mkfifo(strcat(strcpy((char[64]){0}, dir), "/spoof/fifo"), 0600), 0);
    assert_int_equal(manifest_open(dir, &m, &err), ERR_OK);
    assert_int_equal(m->count, 4);
    assert_string_equal(m->rows[0].path, "Human/b.WAV");
    assert_string_equal(m->rows[0].text[MANIFEST_ORIG_FORMAT], "wav");
    assert_string_equal(m->rows[0].text[MANIFEST_SOURCE], "");
    assert_string_equal(m->rows[1].path, "real/a");
    assert_int_equal(m->rows[1].label, EVAL_BONAFIDE);
    assert_string_equal(m->rows[2].path, "spoof/link.flac");
    assert_string_equal(m->rows[3].path, "spoof/sys\tA/z.mp3");
    assert_string_equal(m->rows[3].text[MANIFEST_SOURCE], "sys\tA");
    assert_int_equal(m->rows[3].label, EVAL_SPOOF);
    assert_int_equal(m->has[MANIFEST_SOURCE], 1);
    manifest_free(m);
    remove_tree(dir);
}

static void folders_may_not_go_too_deep(void **state)
{
    (void)state;
    char dir[] = "/tmp/sonde-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = xasprintf("%s/fake", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = 0; i < WALK_MAX_DEPTH + 2; i++) {
        char *deeper = xasprintf("%s/d", path);
        free(path);
        path = deeper;
        assert_int_equal(mkdir(path, 0700), 0);
    }
    free(path);
    struct manifest *m = NULL;
    struct err err = {0};
    assert_int_equal(manifest_open(dir, &m, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "folders deep"));
    remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_columns_in_any_order),
        cmocka_unit_test(every_label_word_is_known),
        cmocka_unit_test(refuses_bad_input_with_its_line),
        cmocka_unit_test(refuses_what_is_past_a_limit),
        cmocka_unit_test(filters_rows),
        cmocka_unit_test(opens_a_file_and_finds_its_neighbours),
        cmocka_unit_test(walks_a_labelled_folder),
        cmocka_unit_test(folders_may_not_go_too_deep),
    };
    return cmocka_run_group_tests_name("eval_manifest", tests, NULL, NULL);
}

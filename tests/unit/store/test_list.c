/* store: the list in pages, its filters, the search in file names, folding. */
#include "helper.h"

#include <locale.h>
#include <wctype.h>

#include "base/utf8.h"

#define SEEN_MAX 2000

struct seen {
    int n, stop_after;
    struct store_analysis rows[SEEN_MAX];
};
static struct seen seen;

static int on_row(void *ctx, const struct store_analysis *analysis)
{
    struct seen *s = ctx;
    assert_true(s->n < SEEN_MAX);
    s->rows[s->n++] = *analysis;
    return s->n == s->stop_after;
}

/* All pages into `seen`; how many calls it took. */
static int list_all(struct db *db, struct store_filter filter)
{
    int calls = 0;
    seen = (struct seen){0};
    _cleanup_free_ char *cursor = NULL;
    do {
        char *next = NULL;
        filter.cursor = cursor;
        int before = seen.n;
        OK(store_list(db, &filter, on_row, &seen, &next, err));
        assert_true(seen.n - before <= filter.limit);
        free(cursor);
        cursor = next;
        calls++;
    } while (cursor);
    for (int i = 1; i < seen.n; i++) { /* newest first, none twice */
        const struct store_analysis *a = &seen.rows[i - 1], *b = &seen.rows[i];
        assert_true(a->created_ms > b->created_ms ||
                    (a->created_ms == b->created_ms && strcmp(a->id, b->id) > 0));
    }
    return calls;
}

static int found(const char *id)
{
    int times = 0;
    for (int i = 0; i < seen.n; i++)
        times += strcmp(seen.rows[i].id, id) == 0;
    return times;
}

static void pages_have_no_gaps_and_no_repeats(void **state)
{
    struct box *box = *state;
    assert_int_equal(list_all(box->db, (struct store_filter){.limit = 3}), 1);
    assert_int_equal(seen.n, 0);
    struct ids ids[21];
    for (int i = 0; i < 21; i++)
        ids[i] = add(box->db, "a", "a");
    box_run(box, "UPDATE analyses SET created_ms = 5000 + created_ms % 3"); /* many at a time */
    assert_int_equal(list_all(box->db, (struct store_filter){.limit = 7}), 3);
    assert_int_equal(seen.n, 21);
    assert_int_equal(list_all(box->db, (struct store_filter){.limit = 21}), 1);
    assert_int_equal(list_all(box->db, (struct store_filter){.limit = 1}), 21);
    for (int i = 0; i < 21; i++)
        assert_int_equal(found(ids[i].analysis), 1);
    struct store_analysis a = get(box->db, ids[4].analysis);
    for (int i = 0; i < seen.n; i++)
        if (!strcmp(seen.rows[i].id, a.id))
            assert_memory_equal(&seen.rows[i], &a, sizeof a);
}

static void pages_stay_right_while_rows_come_and_go(void **state)
{
    struct box *box = *state;
    struct ids ids[60];
    for (int i = 0; i < 60; i++)
        ids[i] = add(box->db, "a", "a");
    seen = (struct seen){0};
    struct store_filter filter = {.limit = 7};
    char *cursor = NULL;
    for (int page = 0; page == 0 || cursor; page++) {
        char *next = NULL;
        filter.cursor = cursor;
        OK(store_list(box->db, &filter, on_row, &seen, &next, err));
        free(cursor);
        cursor = next;
        if (page < 6) { /* one in front, one behind, and the very row that the cursor names */
            add(box->db, "new", "new");
            OK(store_delete(box->db, ids[page].analysis, err));
            OK(store_delete(box->db, seen.rows[seen.n - 1].id, err));
        }
    }
    assert_int_equal(seen.n, 60 - 6);
    for (int i = 0; i < 60; i++)
        assert_int_equal(found(ids[i].analysis), i >= 6);
}

static void a_callback_that_stops_goes_on_behind_its_row(void **state)
{
    struct box *box = *state;
    for (int i = 0; i < 9; i++)
        add(box->db, "a", "a");
    seen = (struct seen){.stop_after = 2};
    char *cursor = NULL;
    OK(store_list(box->db, &(struct store_filter){.limit = 9}, on_row, &seen, &cursor, err));
    assert_int_equal(seen.n, 2);
    assert_non_null(cursor);
    seen.stop_after = 0;
    _cleanup_free_ char *first = cursor;
    OK(store_list(box->db, &(struct store_filter){.limit = 9, .cursor = first}, on_row, &seen,
                  &cursor, err));
    assert_null(cursor);
    assert_int_equal(seen.n, 9);
    seen = (struct seen){.stop_after = 9};
    OK(store_list(box->db, &(struct store_filter){.limit = 9}, on_row, &seen, &cursor, err));
    assert_null(cursor);
}

static void filters_choose(void **state)
{
    struct box *box = *state;
    struct ids queued = add(box->db, "q", "1"), human = add_done(box->db, "h", "2"),
               synthetic = add(box->db, "s", "3"), failed = add(box->db, "f", "4");
    finish(box->db, synthetic.analysis, 3, "synthetic", MODEL_A);
    int stale = 0;
    OK(store_fail(box->db, failed.analysis, 0, &(struct err){ERR_DAMAGED, "x"}, &stale, err));
    const char *order[] = {queued.analysis, human.analysis, synthetic.analysis, failed.analysis};
    for (int i = 0; i < 4; i++) {
        _cleanup_free_ char *sql = xasprintf("UPDATE analyses SET created_ms = %d WHERE id = '%s'",
                                             1000 * (i + 1), order[i]);
        box_run(box, sql);
    }
    static const struct {
        struct store_filter filter;
        const char *want; /* digits: which of `order` */
    } cases[] = {
        {{.limit = 10}, "3210"},
        {{.limit = 10, .status = "queued"}, "0"},
        {{.limit = 10, .status = "running"}, ""},
        {{.limit = 10, .status = "done"}, "21"},
        {{.limit = 1, .status = "done"}, "21"},
        {{.limit = 10, .status = "failed"}, "3"},
        {{.limit = 10, .status = "none"}, ""},
        {{.limit = 10, .verdict = "human"}, "1"},
        {{.limit = 10, .verdict = "synthetic", .status = "done"}, "2"},
        {{.limit = 10, .verdict = "synthetic", .status = "failed"}, ""},
        {{.limit = 10, .verdict = "inconclusive"}, ""},
        {{.limit = 10, .since_ms = 2000}, "321"},
        {{.limit = 1, .until_ms = 3000}, "10"},
        {{.limit = 10, .since_ms = 2000, .until_ms = 3000}, "1"},
        {{.limit = 10, .status = "done", .since_ms = 3000}, "2"},
        {{.limit = 10, .text = "h"}, "1"},
        {{.limit = 10, .text = "h", .status = "done"}, "1"},
        {{.limit = 10, .text = "h", .verdict = "synthetic"}, ""},
        {{.limit = 10, .text = "s", .verdict = "synthetic", .until_ms = 3001}, "2"},
        {{.limit = 10, .text = "", .status = "failed"}, "3"},
        {{.limit = 0, .status = "done"}, "21"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct store_filter filter = cases[i].filter;
        if (!filter.limit)
            filter.limit = 1;
        list_all(box->db, filter);
        if (seen.n != (int)strlen(cases[i].want))
            fail_msg("case %zu: %d rows, not %s", i, seen.n, cases[i].want);
        for (int k = 0; k < seen.n; k++)
            assert_string_equal(seen.rows[k].id, order[cases[i].want[k] - '0']);
    }
}

static void a_cursor_does_not_lift_the_end(void **state)
{
    struct box *box = *state;
    for (int i = 0; i < 4; i++)
        add(box->db, "a", "a");
    box_run(box, "UPDATE analyses SET created_ms = 1000 * (SELECT COUNT(*) FROM analyses o "
                 "WHERE o.id <= analyses.id)");
    char *cursor = NULL, *none = NULL;
    seen = (struct seen){0};
    OK(store_list(box->db, &(struct store_filter){.limit = 1}, on_row, &seen, &cursor, err));
    seen.n = 0;
    OK(store_list(box->db, &(struct store_filter){.limit = 5, .until_ms = 3000, .cursor = cursor},
                  on_row, &seen, &none, err));
    assert_int_equal(seen.n, 2);
    free(cursor);
}

static void only_cursors_are_cursors(void **state)
{
    struct box *box = *state;
    for (int i = 0; i < 3; i++)
        add(box->db, "a", "a");
    char *cursor = NULL, *next = NULL;
    seen = (struct seen){0};
    OK(store_list(box->db, &(struct store_filter){.limit = 1}, on_row, &seen, &cursor, err));
    assert_non_null(cursor);
    assert_int_equal(strspn(cursor, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                    "0123456789-_"),
                     strlen(cursor));
    char longest[400];
    memset(longest, 'A', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    _cleanup_free_ char *padded = xasprintf("%s=", cursor), *more = xasprintf("%sA", cursor),
                        *cut = xasprintf("%.*s", (int)strlen(cursor) - 2, cursor);
    const char *bad[] = {"",     "x",  "AAAA", "%",    "MTIzNDU", longest,
                         padded, more, cut,    "MTp4", "\xff\xfe"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        FAILS(ERR_BAD_REQUEST,
              store_list(box->db, &(struct store_filter){.limit = 1, .cursor = bad[i]}, on_row,
                         &seen, &next, err));
    assert_null(next);
    assert_int_equal(seen.n, 1);
    free(cursor);
}

/* --- search ------------------------------------------------------------------------------- */

static void check_search(struct box *box, const char *text, const char *want)
{
    list_all(box->db, (struct store_filter){.limit = 5, .text = text});
    char got[64] = "";
    for (int i = 0; i < seen.n; i++)
        got[i] = seen.rows[i].file_name[0];
    if (strcmp(got, want))
        fail_msg("search '%s' found '%s', not '%s'", text, got, want);
}

static void names_are_found_in_any_case(void **state)
{
    struct box *box = *state;
    static const char *const names[] = {
        "1 Звонок ОТЧЁТ.m4a", "2 100%_sure.wav", "3 back\\slash.ogg",     "4 Ünïcode ÉCOLE.mp3",
        "5 и\xcc\x86од.wav", /* й as a Mac writes it */
        "6 ΑΣ Ίδε.wav",       "7 ҐЇЄ.wav",       "8 \xff\xfe broken.wav", "9 100x sure.wav",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct ids ids = add(box->db, names[i], names[i]);
        _cleanup_free_ char *sql =
            xasprintf("UPDATE analyses SET created_ms = %zu WHERE id = '%s'", i, ids.analysis);
        box_run(box, sql);
    }
    check_search(box, "ЗВОНОК", "1");
    check_search(box, "звонок отчет", "1");
    check_search(box, "ОТЧЁТ", "1");
    check_search(box, "100%", "2");
    check_search(box, "0%_s", "2");
    check_search(box, "_", "2");
    check_search(box, "%", "2");
    check_search(box, "\\", "3");
    check_search(box, "k\\S", "3");
    check_search(box, "unicode école", "4");
    check_search(box, "йод", "5");
    check_search(box, "ЙОД", "5");
    check_search(box, "ας ιδε", "6");
    check_search(box, "ґїє", "7");
    check_search(box, "\xff\xfe", "8");
    check_search(box, "BROKEN", "8");
    check_search(box, ".WAV", "987652");
    check_search(box, "SURE", "92");
    check_search(box, "'", "");
    char longest[600];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    check_search(box, longest, "");
    longest[255] = '\0';
    check_search(box, longest, "");
}

static void ids_and_hashes_are_found_by_their_start(void **state)
{
    struct box *box = *state;
    struct ids ids = add(box->db, "1", "first"), other = add(box->db, "2", "second");
    struct store_analysis a = get(box->db, ids.analysis), b = get(box->db, other.analysis);
    check_search(box, ids.analysis, "1");
    check_search(box, b.sha256, "2");
    a.sha256[16] = b.sha256[6] = '\0';
    check_search(box, a.sha256, "1");
    check_search(box, b.sha256, "2");
    check_search(box, b.sha256 + 1, ""); /* its start, not its middle */
    a.id[36] = '\0';
    for (int i = 0; a.id[i]; i++)
        a.id[i] = a.id[i] >= 'a' ? (char)(a.id[i] - 32) : a.id[i];
    check_search(box, a.id, "1");
    /* Twice the same bytes, filtered. */
    struct ids third = add(box->db, "3", "first");
    finish(box->db, third.analysis, 0, "human", MODEL_A);
    list_all(box->db, (struct store_filter){.limit = 1, .text = a.sha256});
    assert_int_equal(seen.n, 2);
    list_all(box->db, (struct store_filter){.limit = 5, .text = a.sha256, .status = "done"});
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.rows[0].id, third.analysis);
    list_all(box->db, (struct store_filter){.limit = 5, .text = a.sha256, .verdict = "synthetic"});
    assert_int_equal(seen.n, 0);
    /* A name that looks like the start of a hash that is not there. */
    add(box->db, "4 0123456789abcdef.wav", "x");
    check_search(box, "0123456789abcdef", "4");
}

static void a_search_looks_at_a_bounded_number_of_rows(void **state)
{
    struct box *box = *state;
    box_run(box, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50001) "
                 "INSERT INTO analyses (id, upload_id, status, sha256, name_folded, fresh, "
                 "created_ms) SELECT printf('%08x-0000-7000-8000-000000000000', i), 'u', 'queued', "
                 "printf('%064d', i), CASE i WHEN 1 THEN 'oldest' ELSE 'row' END, 0, i / 2 FROM n");
    box_run(box, "INSERT INTO uploads (id, sha256, bytes, file_name, created_ms) "
                 "VALUES ('u', 'x', 1, 'u', 1)");
    assert_int_equal(list_all(box->db, (struct store_filter){.limit = 5, .text = "oldest"}),
                     1 + 50001 / STORE_SCAN_MAX);
    assert_int_equal(seen.n, 1);
    /* Also when it is the very last row that a call looks at, or the first of the next. */
    for (int i = 50001 - STORE_SCAN_MAX; i <= 50002 - STORE_SCAN_MAX; i++) {
        _cleanup_free_ char *sql = xasprintf(
            "UPDATE analyses SET name_folded = 'border' WHERE sha256 = printf('%%064d', %d)", i);
        box_run(box, sql);
    }
    list_all(box->db, (struct store_filter){.limit = 5, .text = "border"});
    assert_int_equal(seen.n, 2);
    /* A start that several hashes have names none of them, and is looked for as text. */
    list_all(box->db, (struct store_filter){.limit = 1000,
                                            .text = "00000000000000000000000000000"
                                                    "00000000000000000000000000000"
                                                    "0123"});
    assert_int_equal(seen.n, 100);
    char *cursor = NULL;
    seen = (struct seen){0};
    OK(store_list(box->db, &(struct store_filter){.limit = 5, .text = "row"}, on_row, &seen,
                  &cursor, err));
    assert_int_equal(seen.n, 5);
    free(cursor);
    /* By its whole hash it is there at once. */
    _cleanup_free_ char *sha256 = xasprintf("%064d", 1);
    assert_int_equal(list_all(box->db, (struct store_filter){.limit = 5, .text = sha256}), 1);
    assert_int_equal(seen.n, 1);
}

/* --- folding ------------------------------------------------------------------------------ */

static void encode(uint32_t c, char ret[5])
{
    memset(ret, 0, 5);
    if (c < 0x80) {
        ret[0] = (char)c;
    } else if (c < 0x800) {
        ret[0] = (char)(0xC0 | c >> 6);
        ret[1] = (char)(0x80 | (c & 63));
    } else {
        ret[0] = (char)(0xE0 | c >> 12);
        ret[1] = (char)(0x80 | (c >> 6 & 63));
        ret[2] = (char)(0x80 | (c & 63));
    }
}

/* The C library knows which capital belongs to which small letter: both must fold alike. */
static void folding_knows_the_letters_that_libc_knows(void **state)
{
    (void)state;
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
    assert_non_null(utf8);
    static const uint32_t ranges[][2] = {
        {0x20, 0x17F}, {0x386, 0x3CE}, {0x400, 0x52F}, {0x1E00, 0x1E95}, {0x1EA0, 0x1EFF}};
    int pairs = 0;
    for (size_t r = 0; r < ARRAY_LEN(ranges); r++)
        for (uint32_t c = ranges[r][0]; c <= ranges[r][1]; c++) {
            uint32_t lower = (uint32_t)towlower_l((wint_t)c, utf8);
            char from[5], to[5], folded[8], folded_lower[8], twice[8];
            encode(c, from);
            encode(lower, to);
            store_fold(from, folded, sizeof folded);
            store_fold(to, folded_lower, sizeof folded_lower);
            store_fold(folded, twice, sizeof twice);
            if (strcmp(folded, folded_lower) || strcmp(folded, twice) ||
                strlen(folded) > strlen(from))
                fail_msg("U+%04X folds to %s, its small letter to %s", c, folded, folded_lower);
            pairs += lower != c;
        }
    assert_true(pairs > 400);
    freelocale(utf8);
}

static void folding_is_bounded(void **state)
{
    (void)state;
    char out[8];
    store_fold("ABCDEFGHIJ", out, sizeof out);
    assert_string_equal(out, "abcdefg");
    store_fold("ЖЖЖЖЖЖ", out, sizeof out);
    assert_string_equal(out, "жжж");
    store_fold("\xf0\x9f\x8e\x99\xf0\x9f\x8e\x99", out, sizeof out);
    assert_string_equal(out, "\xf0\x9f\x8e\x99");
    store_fold("\xd0", out, sizeof out); /* cut in a character */
    assert_string_equal(out, "\xd0");
    store_fold("", out, sizeof out);
    assert_string_equal(out, "");
    store_fold("Œuvre Þór Łódź Ñandú", out, sizeof out);
    char full[64];
    store_fold("Œuvre Þór Łódź Ñandú ẞ Ѓ Ў", full, sizeof full);
    assert_string_equal(full, "œuvre þor lodz nandu ß г у");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, box_setup, box_teardown)
    const struct CMUnitTest tests[] = {
        TEST(pages_have_no_gaps_and_no_repeats),
        TEST(pages_stay_right_while_rows_come_and_go),
        TEST(a_callback_that_stops_goes_on_behind_its_row),
        TEST(filters_choose),
        TEST(a_cursor_does_not_lift_the_end),
        TEST(only_cursors_are_cursors),
        TEST(names_are_found_in_any_case),
        TEST(ids_and_hashes_are_found_by_their_start),
        TEST(a_search_looks_at_a_bounded_number_of_rows),
        cmocka_unit_test(folding_knows_the_letters_that_libc_knows),
        cmocka_unit_test(folding_is_bounded),
    };
    return cmocka_run_group_tests_name("store list", tests, NULL, NULL);
}

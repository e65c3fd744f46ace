/* eval: counting, groups, and the four reports, also on hostile names and extreme inputs. */
#include "../../support/cm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "eval/report.h"
#include "eval/utf8.h"

static struct manifest *parse(const char *text)
{
    struct manifest *m = NULL;
    struct err err = {0};
    if (manifest_parse(text, strlen(text), &m, &err))
        fail_msg("%s", err.text);
    return m;
}

static struct eval_item item(const struct manifest_row *row, enum eval_verdict verdict, double llr)
{
    return (struct eval_item){.row = row,
                              .verdict = verdict,
                              .has_score = verdict != EVAL_FAILED,
                              .llr = llr,
                              .p = 1 / (1 + exp(-llr)),
                              .duration_s = NAN,
                              .speech_s = NAN};
}

static const char seven[] = "path\tlabel\tkind\tsystem\tlanguage\tsource\tduration_s\n"
                            "a\t0\thuman\thuman\ten\tx\t1.2\n"
                            "b\t0\thuman\thuman\ten\tx\t2\n"
                            "c\t0\thuman\thuman\tde\ty\t\n"
                            "d\t0\thuman\thuman\tde\ty\t15\n"
                            "e\t1\ttts\tT\ten\tx\t3\n"
                            "f\t1\tvc\tV\tde\ty\t5.9\n"
                            "g\t1\ttts\tT\t\ty\t600\n";

/* Two of each class decided, one of each abstained; one bona fide failed. */
static struct eval_result *compute_seven(struct manifest *m, struct eval_item items[7])
{
    items[0] = item(&m->rows[0], EVAL_HUMAN, -3);
    items[1] = item(&m->rows[1], EVAL_SYNTHETIC, 2);
    items[2] = item(&m->rows[2], EVAL_INCONCLUSIVE, -0.5);
    items[3] = item(&m->rows[3], EVAL_FAILED, NAN);
    items[3].error = "damaged\taudio\n";
    items[4] = item(&m->rows[4], EVAL_SYNTHETIC, 4);
    items[5] = item(&m->rows[5], EVAL_INCONCLUSIVE, 0.5);
    items[6] = item(&m->rows[6], EVAL_HUMAN, -1);
    items[6].reasons = "too_short\\x";
    struct eval_params params = EVAL_PARAMS_DEFAULT;
    params.title = "a <b> & \"c\"\x1b[31m \xff";
    struct eval_result *r = NULL;
    struct err err = {0};
    if (eval_compute(items, 7, params, &r, &err))
        fail_msg("%s", err.text);
    return r;
}

static const struct eval_group *group(const struct eval_result *r, enum eval_by by,
                                      const char *name)
{
    for (size_t i = 0; i < r->by[by].count; i++)
        if (strcmp(r->by[by].groups[i].name, name) == 0)
            return &r->by[by].groups[i];
    fail_msg("no group %s", name);
    return NULL;
}

static void counts_decided_scored_and_failed_apart(void **state)
{
    (void)state;
    struct manifest *m = parse(seven);
    struct eval_item items[7];
    struct eval_result *r = compute_seven(m, items);
    assert_int_equal(r->counts.n_bonafide, 4);
    assert_int_equal(r->counts.n_spoof, 3);
    assert_int_equal(r->counts.n_inconclusive, 2);
    assert_int_equal(r->counts.n_failed, 1);
    assert_int_equal(r->counts.fpr.n, 2);
    assert_int_equal(r->counts.fpr.k, 1);
    assert_int_equal(r->counts.fnr.n, 2);
    assert_int_equal(r->counts.fnr.k, 1);
    assert_true(r->hter == 0.5);
    assert_int_equal(r->forced_fpr.n, 3); /* the inconclusive one as well */
    assert_int_equal(r->forced_fpr.k, 1);
    assert_int_equal(r->forced_fnr.n, 3);
    assert_int_equal(r->forced_fnr.k, 1);
    assert_int_equal(r->scores.n_bona + r->scores.n_spoof, 6);
    eval_result_free(r);
    manifest_free(m);
}

static void verdicts_make_the_rates(void **state)
{
    (void)state;
    struct manifest *m = parse(seven);
    struct eval_item items[7];
    for (size_t i = 0; i < 7; i++) /* one of four bona fide wrong, two of three spoof right */
        items[i] = item(&m->rows[i], i == 0 || i >= 5 ? EVAL_SYNTHETIC : EVAL_HUMAN, 0);
    struct eval_result *r = NULL;
    struct err err = {0};
    assert_int_equal(eval_compute(items, 7, EVAL_PARAMS_DEFAULT, &r, &err), ERR_OK);
    assert_int_equal(r->counts.fpr.k, 1);
    assert_int_equal(r->counts.fpr.n, 4);
    assert_int_equal(r->counts.fnr.k, 1);
    assert_int_equal(r->counts.fnr.n, 3);
    eval_result_free(r);
    manifest_free(m);
}

static void groups_of_one_label_are_held_against_all_bonafide(void **state)
{
    (void)state;
    struct manifest *m = parse(seven);
    struct eval_item items[7];
    struct eval_result *r = compute_seven(m, items);
    const struct eval_group *tts = group(r, EVAL_BY_KIND, "tts");
    assert_int_equal(tts->counts.n, 2);
    assert_true(isnan(tts->own.eer));
    /* Spoof -1 and 4 against bona fide -3, -0.5 and 2: four of six pairs the right way round. */
    assert_true(fabs(tts->vs_all_bonafide.auc - 4.0 / 6) < 1e-12);
    assert_true(isnan(tts->counts.fpr.value));
    assert_true(tts->counts.fnr.value == 0.5);
    const struct eval_group *human = group(r, EVAL_BY_KIND, "human");
    assert_true(isnan(human->vs_all_bonafide.eer));
    assert_int_equal(human->counts.fpr.n, 2);
    const struct eval_group *en = group(r, EVAL_BY_LANGUAGE, "en");
    assert_true(en->own.auc == 1);
    assert_int_equal(group(r, EVAL_BY_LANGUAGE, "unknown")->counts.n, 1);
    assert_int_equal(r->by[EVAL_BY_RATE].count, 0);
    assert_int_equal(r->by[EVAL_BY_FORMAT].count, 0);
    assert_string_equal(r->by[EVAL_BY_SYSTEM].groups[0].name, "human"); /* the most files */
    eval_result_free(r);
    manifest_free(m);
}

static void durations_fall_into_their_classes(void **state)
{
    (void)state;
    struct manifest *m = parse(seven);
    struct eval_item items[7];
    struct eval_result *r = compute_seven(m, items);
    static const char *const names[] = {"< 1.5 s", "1.5-3 s", "3-6 s", ">= 15 s", "unknown"};
    static const size_t n[] = {1, 1, 2, 2, 1};
    assert_int_equal(r->by[EVAL_BY_DURATION].count, ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_string_equal(r->by[EVAL_BY_DURATION].groups[i].name, names[i]);
        assert_int_equal(r->by[EVAL_BY_DURATION].groups[i].counts.n, n[i]);
    }
    eval_result_free(r);
    items[0].duration_s = 7; /* what was decoded wins */
    items[0].format = "mp3", items[1].format = "flac";
    items[0].channel = "narrow band", items[2].channel = items[3].channel = "wide band";
    struct err err = {0};
    assert_int_equal(eval_compute(items, 7, EVAL_PARAMS_DEFAULT, &r, &err), ERR_OK);
    assert_int_equal(group(r, EVAL_BY_DURATION, "6-15 s")->counts.n, 1);
    assert_int_equal(group(r, EVAL_BY_FORMAT, "mp3")->counts.n, 1);
    assert_int_equal(group(r, EVAL_BY_CHANNEL, "narrow band")->counts.n, 1);
    assert_int_equal(group(r, EVAL_BY_CHANNEL, "wide band")->counts.n, 2);
    assert_int_equal(group(r, EVAL_BY_CHANNEL, "unknown")->counts.n, 4);
    assert_true(group(r, EVAL_BY_DURATION, "6-15 s")->below_s == 15);
    assert_true(isnan(group(r, EVAL_BY_CHANNEL, "wide band")->below_s));
    eval_result_free(r);
    manifest_free(m);
}

static void bad_scores_and_parameters_are_refused(void **state)
{
    (void)state;
    struct manifest *m = parse(seven);
    struct eval_item one = item(&m->rows[0], EVAL_HUMAN, NAN);
    struct eval_result *r = NULL;
    struct err err = {0};
    assert_int_equal(eval_compute(&one, 1, EVAL_PARAMS_DEFAULT, &r, &err), ERR_INTERNAL);
    assert_non_null(strstr(err.text, "a: its score"));
    one = item(&m->rows[0], EVAL_HUMAN, 1);
    one.p = 1.5;
    assert_int_equal(eval_compute(&one, 1, EVAL_PARAMS_DEFAULT, &r, &err), ERR_INTERNAL);
    one.verdict = EVAL_FAILED; /* then nobody looks at its score */
    assert_int_equal(eval_compute(&one, 1, EVAL_PARAMS_DEFAULT, &r, &err), ERR_OK);
    eval_result_free(r);
    struct eval_params params = EVAL_PARAMS_DEFAULT;
    params.prior = 1;
    assert_int_equal(eval_compute(&one, 0, params, &r, &err), ERR_USAGE);
    params = EVAL_PARAMS_DEFAULT;
    params.dcf.cost_fn = 0;
    assert_int_equal(eval_compute(&one, 0, params, &r, &err), ERR_USAGE);
    manifest_free(m);
}

static double real_at(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_real(v))
        fail_msg("%s is no number", key);
    return json_real_value(v);
}

static void json_has_its_keys(void **state)
{
    (void)state;
    struct manifest *m = parse(seven);
    struct eval_item items[7];
    struct eval_result *r = compute_seven(m, items);
    json_t *o = eval_report_json(r);
    static const char *const reals[] = {"eer",       "auc", "cllr",  "min_cllr",
                                        "threshold", "fpr", "fnr",   "act_dcf",
                                        "min_dcf",   "ece", "prior", "hter"};
    for (size_t i = 0; i < ARRAY_LEN(reals); i++)
        real_at(o, reals[i]);
    assert_int_equal(json_integer_value(json_object_get(o, "n_bonafide")), 4);
    assert_int_equal(json_integer_value(json_object_get(o, "n_spoof")), 3);
    assert_int_equal(json_integer_value(json_object_get(o, "n_inconclusive")), 2);
    assert_int_equal(json_integer_value(json_object_get(o, "n_failed")), 1);
    assert_int_equal(json_array_size(json_object_get(o, "fpr_ci")), 2);
    assert_int_equal(json_array_size(json_object_get(o, "reliability")), RELIABILITY_BINS);
    assert_true(real_at(json_object_get(o, "dcf"), "prior_spoof") == 0.05);
    json_t *by = json_object_get(o, "by");
    assert_int_equal(json_object_size(by), EVAL_BY_COUNT);
    json_t *human = json_array_get(json_object_get(by, "system"), 0);
    assert_string_equal(json_string_value(json_object_get(human, "name")), "human");
    assert_true(json_is_null(json_object_get(human, "eer_vs_all_bonafide")));
    assert_true(json_is_null(json_object_get(human, "fnr_ci")));
    char *text = json_dumps(o, JSON_COMPACT);
    assert_non_null(text);
    free(text);
    json_decref(o);
    eval_result_free(r);
    manifest_free(m);
}

/* Runs a writer into memory. */
static char *written_by(enum err_code (*write)(const struct eval_result *, FILE *, struct err *),
                        const struct eval_result *r)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    struct err err = {0};
    assert_int_equal(write(r, f, &err), ERR_OK);
    fclose(f);
    assert_int_equal(strlen(text), len);
    return text;
}

static void tsv_is_a_manifest_with_escapes(void **state)
{
    (void)state;
    struct manifest *m = parse(seven);
    struct eval_item items[7];
    struct eval_result *r = compute_seven(m, items);
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    struct err err = {0};
    assert_int_equal(eval_scores_tsv(m, items, 7, f, &err), ERR_OK);
    fclose(f);
    assert_non_null(strstr(text, "path\tlabel\tllr\tp_synthetic\tverdict\tduration_s\tspeech_s\t"
                                 "reasons\terror\tkind\tsystem\tlanguage\tsource\n"));
    assert_non_null(strstr(text, "\nd\tbonafide\t\t\tfailed\t15.000\t\t\tdamaged\\taudio\\n\t"));
    assert_non_null(strstr(text, "\ttoo_short\\\\x\t"));
    struct manifest *again = parse(text);
    assert_int_equal(again->count, 7);
    manifest_free(again);
    free(text);
    eval_result_free(r);
    manifest_free(m);
}

static void check_text(const char *text)
{
    int width = 0;
    for (const char *at = text; *at;) {
        uint32_t c = utf8_next(&at);
        assert_true(c == '\n' || c >= 0x20);
        width = c == '\n' ? 0 : width + 1;
        if (width > 100)
            fail_msg("a line is wider than 100 columns:\n%s", text);
    }
}

static void check_svg(const char *svg)
{
    assert_true(strncmp(svg, "<svg ", 5) == 0);
    assert_string_equal(svg + strlen(svg) - 7, "</svg>\n");
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf\""));
    assert_null(strstr(svg, "<script"));
    for (const char *at = svg; (at = strchr(at, '&')); at++)
        assert_true(!strncmp(at, "&amp;", 5) || !strncmp(at, "&lt;", 4) ||
                    !strncmp(at, "&gt;", 4) || !strncmp(at, "&quot;", 6) ||
                    !strncmp(at, "&#39;", 5));
}

static void check_reports(const struct eval_result *r)
{
    char *text = written_by(eval_report_text, r), *svg = written_by(eval_svg, r);
    check_text(text);
    check_svg(svg);
    json_t *o = eval_report_json(r);
    char *json = json_dumps(o, 0);
    assert_non_null(json);
    free(json), free(text), free(svg);
    json_decref(o);
}

static void title_is_made_safe(void **state)
{
    (void)state;
    struct manifest *m = parse(seven);
    struct eval_item items[7];
    struct eval_result *r = compute_seven(m, items);
    check_reports(r);
    char *svg = written_by(eval_svg, r);
    assert_non_null(strstr(svg, "a &lt;b&gt; &amp; &quot;c&quot;\xEF\xBF\xBD[31m \xEF\xBF\xBD<"));
    free(svg);
    eval_result_free(r);
    manifest_free(m);
}

static void extremes_still_report(void **state)
{
    (void)state;
    struct manifest *m = parse("path\tlabel\tlanguage\tsource\n"
                               "a\t0\t\xe4\xb8\xad\xe6\x96\x87\t\x1b[2J\xc3\x28\n"
                               "b\t1\tzh\t0123456789012345678901234567890123456789\n");
    struct {
        enum eval_verdict verdict;
        double bona, spoof;
        size_t n;
    } cases[] = {
        {EVAL_HUMAN, 0, 0, 0},          /* nothing at all */
        {EVAL_HUMAN, -1, 0, 1},         /* one class */
        {EVAL_FAILED, 0, 0, 2},         /* nothing scored */
        {EVAL_INCONCLUSIVE, -1, 1, 2},  /* nothing decided */
        {EVAL_SYNTHETIC, -4, 4, 2},     /* perfect */
        {EVAL_SYNTHETIC, 4, -4, 2},     /* all wrong */
        {EVAL_HUMAN, 3, 3, 2},          /* tied */
        {EVAL_HUMAN, -1e308, 1e308, 2}, /* at the end of the numbers */
        {EVAL_HUMAN, 1e308, -1e308, 2}, /* and the wrong way round: Cllr is 1e308 */
        {EVAL_HUMAN, 1e9, 1e9, 2},      {EVAL_HUMAN, 1e-320, 1e-310, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct eval_item items[2] = {item(&m->rows[0], cases[i].verdict, cases[i].bona),
                                     item(&m->rows[1], cases[i].verdict, cases[i].spoof)};
        struct eval_result *r = NULL;
        struct err err = {0};
        assert_int_equal(eval_compute(items, cases[i].n, EVAL_PARAMS_DEFAULT, &r, &err), ERR_OK);
        check_reports(r);
        eval_result_free(r);
    }
    manifest_free(m);
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    struct manifest *m = parse(seven);
    struct eval_item items[7];
    struct eval_result *r = compute_seven(m, items);
    FILE *f = fopen("/dev/full", "w");
    if (!f)
        skip();
    struct err err = {0};
    assert_int_equal(eval_report_text(r, f, &err), ERR_IO);
    assert_int_equal(eval_svg(r, f, &err), ERR_IO);
    assert_int_equal(eval_scores_tsv(m, items, 7, f, &err), ERR_IO);
    fclose(f);
    eval_result_free(r);
    manifest_free(m);
}

static void utf8_survives_anything(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\xff",         "\xc3",         "\xe4\xb8",         "\xf0\x9f\x98",     "\xc0\x80",
        "\xed\xa0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf5\x80\x80\x80", "\x80\x80",
        "a\xc3\x28z"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *clean = utf8_clean(bad[i]);
        json_t *s = json_string(clean);
        assert_non_null(s);
        json_decref(s);
        free(clean);
    }
    char *overlong = utf8_clean("\xe0\x80\xbc"); /* "<" in three bytes is three bad bytes */
    assert_string_equal(overlong, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    free(overlong);
    const char *fine = "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80";
    char *same = utf8_clean(fine);
    assert_string_equal(same, fine);
    free(same);
    char *cell = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&cell, &len);
    utf8_put_cell(f, "\xe4\xb8\xad\xe6\x96\x87\xe5\xad\x97", 4); /* six columns into four */
    utf8_put_cell(f, "ab", 4);
    fclose(f);
    assert_string_equal(cell, "\xe4\xb8\xad… ab  ");
    free(cell);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_decided_scored_and_failed_apart),
        cmocka_unit_test(verdicts_make_the_rates),
        cmocka_unit_test(groups_of_one_label_are_held_against_all_bonafide),
        cmocka_unit_test(durations_fall_into_their_classes),
        cmocka_unit_test(bad_scores_and_parameters_are_refused),
        cmocka_unit_test(json_has_its_keys),
        cmocka_unit_test(tsv_is_a_manifest_with_escapes),
        cmocka_unit_test(title_is_made_safe),
        cmocka_unit_test(extremes_still_report),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(utf8_survives_anything),
    };
    return cmocka_run_group_tests_name("eval_report", tests, NULL, NULL);
}

/* eval/metrics: hand-computed cases, an independent computation, and properties.
 *
 * The figures of `small` and `large` come from a numpy program written apart from the C code: rates
 * by comparing every score with every threshold, AUC from all pairs, isotonic posteriors by the
 * max-min formula over all intervals rather than by pooling, Wilson's limits as the roots of the
 * quadratic that defines them. Probits are those of Python's statistics.NormalDist. */
#include "../../support/cm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "eval/metrics.h"

#define NEAR(a, b, tolerance)                                                                      \
    do {                                                                                           \
        double near_a = (a), near_b = (b);                                                         \
        if (!(fabs(near_a - near_b) <= (tolerance)))                                               \
            fail_msg("%s is %.15g, not %.15g", #a, near_a, near_b);                                \
    } while (0)

#define MAX 2000

struct data {
    double bona[MAX], spoof[MAX];
    size_t n_bona, n_spoof;
};

static struct score_set sorted(struct data *d)
{
    struct err err = {0};
    assert_int_equal(metrics_sort(d->bona, d->n_bona, &err), ERR_OK);
    assert_int_equal(metrics_sort(d->spoof, d->n_spoof, &err), ERR_OK);
    return (struct score_set){d->bona, d->spoof, d->n_bona, d->n_spoof};
}

/* Sums of four uniforms from an LCG, rounded down to 0.05 so that many scores tie. */
static void fill(double *v, size_t n, uint32_t seed, double shift)
{
    uint64_t x = seed;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (int j = 0; j < 4; j++) {
            x = (x * 1103515245u + 12345u) % 2147483648u;
            sum += (double)x / 2147483648.0;
        }
        v[i] = floor(((sum - 2.0) * 3.0 + shift) * 20.0) / 20.0;
    }
}

static struct data random_data(size_t n_bona, size_t n_spoof, uint32_t seed, double gap)
{
    struct data d = {.n_bona = n_bona, .n_spoof = n_spoof};
    fill(d.bona, n_bona, seed, -gap / 2);
    fill(d.spoof, n_spoof, seed * 7 + 1, gap / 2);
    return d;
}

static struct data from(const double *bona, size_t n_bona, const double *spoof, size_t n_spoof)
{
    struct data d = {.n_bona = n_bona, .n_spoof = n_spoof};
    memcpy(d.bona, bona, n_bona * sizeof *bona);
    memcpy(d.spoof, spoof, n_spoof * sizeof *spoof);
    return d;
}
#define DATA(b, s) from(b, ARRAY_LEN(b), s, ARRAY_LEN(s))

static void small_case_matches_hand_and_numpy(void **state)
{
    (void)state;
    static const double b[] = {2, -3, -2, -1, 0, -1, 0.5, 1};
    static const double s[] = {-1.5, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 4};
    struct data d = DATA(b, s);
    struct score_set set = sorted(&d);
    /* By hand: after 0 the vertex is (3/8, 3/10), after 0.5 it is (2/8, 4/10); fnr - fpr goes from
     * -0.075 to 0.15, so a third of the way: 0.3 + 0.1/3. The crossing lies in the step of 0.5. */
    NEAR(metrics_discrimination(set).eer, 1.0 / 3, 1e-15);
    NEAR(metrics_discrimination(set).eer_threshold, 0.5, 0);
    NEAR(metrics_discrimination(set).auc, 0.7625, 1e-15); /* 61 of 80 pairs, ties as halves */
    NEAR(metrics_cllr(set), 0.866826015127, 1e-12);
    NEAR(metrics_min_cllr(set), 0.694456131365, 1e-12);
    NEAR(metrics_bayes_threshold(DCF_ASVSPOOF5), 0.641853886172, 1e-12); /* ln 1.9 */
    /* At ln 1.9: fpr 2/8, fnr 4/10; (0.95 * 0.25 + 0.5 * 0.4) / 0.5. */
    NEAR(metrics_act_dcf(set, DCF_ASVSPOOF5), 0.875, 1e-15);
    NEAR(metrics_min_dcf(set, DCF_ASVSPOOF5), 0.7, 1e-15);
}

static void large_case_matches_numpy(void **state)
{
    (void)state;
    struct data d = {.n_bona = 1000, .n_spoof = 700};
    fill(d.bona, 1000, 12345, -1.5);
    fill(d.spoof, 700, 98765, 1.0);
    struct score_set set = sorted(&d);
    NEAR(metrics_discrimination(set).eer, 0.243658536585, 1e-12);
    /* The nearest vertex, as ASVspoof 5's package computes it, gives 0.244142857143. */
    NEAR(metrics_discrimination(set).eer, 0.244142857143, 0.5 / 700);
    NEAR(metrics_discrimination(set).auc, 0.834310714286, 1e-12);
    NEAR(metrics_cllr(set), 0.741767142278, 1e-12);
    NEAR(metrics_min_cllr(set), 0.706649549355, 1e-12);
    NEAR(metrics_act_dcf(set, DCF_ASVSPOOF5), 0.671371428571, 1e-12);
    NEAR(metrics_min_dcf(set, DCF_ASVSPOOF5), 0.640214285714, 1e-12); /* and by their package */
    double p_bona[1000], p_spoof[700];
    for (size_t i = 0; i < 1000; i++)
        p_bona[i] = 1 / (1 + exp(-d.bona[i]));
    for (size_t i = 0; i < 700; i++)
        p_spoof[i] = 1 / (1 + exp(-d.spoof[i]));
    struct reliability r = metrics_reliability(p_bona, 1000, p_spoof, 700, 0.5);
    NEAR(r.ece, 0.056290026281, 1e-12);
    double weight = 0;
    size_t n = 0;
    for (int i = 0; i < RELIABILITY_BINS; i++)
        weight += r.bin[i].weight, n += r.bin[i].n;
    NEAR(weight, 1, 1e-12);
    assert_int_equal(n, 1700);
}

static void perfect_separation_is_zero_error(void **state)
{
    (void)state;
    static const double b[] = {-3, -2}, s[] = {1, 2, 3};
    struct data d = DATA(b, s);
    struct score_set set = sorted(&d);
    NEAR(metrics_discrimination(set).eer, 0, 0);
    NEAR(metrics_discrimination(set).eer_threshold, -0.5, 0); /* halfway between -2 and 1 */
    NEAR(metrics_discrimination(set).auc, 1, 0);
    NEAR(metrics_min_cllr(set), 0, 0);
    NEAR(metrics_min_dcf(set, DCF_ASVSPOOF5), 0, 0);
    struct data wrong = DATA(s, b);
    set = sorted(&wrong);
    NEAR(metrics_discrimination(set).eer, 1, 0);
    NEAR(metrics_discrimination(set).auc, 0, 0);
    NEAR(metrics_min_cllr(set), 1, 1e-15);
    NEAR(metrics_min_dcf(set, DCF_ASVSPOOF5), 1, 1e-15);
}

static void all_ties_are_chance(void **state)
{
    (void)state;
    static const double b[] = {0, 0, 0}, s[] = {0, 0, 0, 0, 0};
    struct data d = DATA(b, s);
    struct score_set set = sorted(&d);
    NEAR(metrics_discrimination(set).eer, 0.5, 1e-15);
    NEAR(metrics_discrimination(set).eer_threshold, 0, 0);
    NEAR(metrics_discrimination(set).auc, 0.5, 0);
    NEAR(metrics_cllr(set), 1, 1e-15); /* a ratio of 1 says nothing: exactly one bit */
    NEAR(metrics_min_cllr(set), 1, 1e-15);
}

static void an_empty_class_gives_nan(void **state)
{
    (void)state;
    static const double v[] = {1, 2};
    struct score_set sets[] = {{v, v, 2, 0}, {v, v, 0, 2}, {v, v, 0, 0}, {NULL, NULL, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        assert_true(isnan(metrics_discrimination(sets[i]).eer));
        assert_true(isnan(metrics_discrimination(sets[i]).auc));
        assert_true(isnan(metrics_cllr(sets[i])));
        assert_true(isnan(metrics_min_cllr(sets[i])));
        assert_true(isnan(metrics_act_dcf(sets[i], DCF_ASVSPOOF5)));
        assert_true(isnan(metrics_min_dcf(sets[i], DCF_ASVSPOOF5)));
        struct roc_point *points = NULL;
        size_t n = 7;
        struct err err;
        assert_int_equal(metrics_roc(sets[i], &points, &n, &err), ERR_OK);
        assert_int_equal(n, 0);
        free(points);
    }
    assert_true(isnan(metrics_reliability(v, 0, v, 0, 0.5).ece));
    assert_true(isnan(metrics_fpr(sets[1], 0).value));
    NEAR(metrics_fnr(sets[1], 1.5).value, 0.5, 0);
}

static void scores_that_are_no_numbers_are_refused(void **state)
{
    (void)state;
    struct err err = {0};
    double bad[][2] = {{1, NAN}, {INFINITY, 0}, {0, -INFINITY}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(metrics_sort(bad[i], 2, &err), ERR_INTERNAL);
}

static void huge_scores_do_not_overflow(void **state)
{
    (void)state;
    static const double b[] = {-1e300, -800}, s[] = {800, 1e300};
    struct data d = DATA(b, s);
    struct score_set set = sorted(&d);
    NEAR(metrics_cllr(set), 0, 1e-300);
    struct data wrong = DATA(s, b);
    assert_true(metrics_cllr(sorted(&wrong)) > 1e298);
    assert_true(isfinite(metrics_discrimination(set).eer_threshold));
}

static void swapping_labels_mirrors_auc_and_eer(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 40; seed++) {
        struct data d = random_data(20 + seed * 7, 300 - seed * 5, seed, seed % 5);
        struct score_set set = sorted(&d), swapped = {set.spoof, set.bona, set.n_spoof, set.n_bona};
        struct discrimination a = metrics_discrimination(set);
        struct discrimination z = metrics_discrimination(swapped);
        NEAR(a.auc, 1 - z.auc, 1e-12);
        NEAR(a.eer, 1 - z.eer, 1e-12);
        /* Turning the scores round as well brings everything back. */
        struct data turned = {.n_bona = d.n_spoof, .n_spoof = d.n_bona};
        for (size_t i = 0; i < d.n_spoof; i++)
            turned.bona[i] = -d.spoof[i];
        for (size_t i = 0; i < d.n_bona; i++)
            turned.spoof[i] = -d.bona[i];
        struct score_set back = sorted(&turned);
        NEAR(metrics_discrimination(back).eer, a.eer, 1e-12);
        NEAR(metrics_discrimination(back).auc, a.auc, 1e-12);
        NEAR(metrics_cllr(back), metrics_cllr(set), 1e-12);
        NEAR(metrics_min_cllr(back), metrics_min_cllr(set), 1e-12);
    }
}

static void monotone_maps_change_no_discrimination(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 40; seed++) {
        struct data d = random_data(200, 150, seed, seed % 4), m = d;
        for (size_t i = 0; i < d.n_bona; i++)
            m.bona[i] = exp(d.bona[i] / 3) * 5 - 40;
        for (size_t i = 0; i < d.n_spoof; i++)
            m.spoof[i] = exp(d.spoof[i] / 3) * 5 - 40;
        struct score_set a = sorted(&d), z = sorted(&m);
        NEAR(metrics_discrimination(a).eer, metrics_discrimination(z).eer, 0);
        NEAR(metrics_discrimination(a).auc, metrics_discrimination(z).auc, 0);
        NEAR(metrics_min_cllr(a), metrics_min_cllr(z), 0);
        NEAR(metrics_min_dcf(a, DCF_ASVSPOOF5), metrics_min_dcf(z, DCF_ASVSPOOF5), 0);
    }
}

static void minima_are_minima(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 60; seed++) {
        struct data d = random_data(1 + seed * 3, 1 + (seed * 37) % 90, seed, (seed % 7) - 1.0);
        struct score_set set = sorted(&d);
        double min = metrics_min_cllr(set);
        assert_true(min <= metrics_cllr(set) + 1e-12);
        assert_true(min >= 0 && min <= 1 + 1e-12);
        /* No shift and scale of the scores beats PAV. */
        for (double scale = 0.25; scale < 3; scale *= 2) {
            struct data m = d;
            for (size_t i = 0; i < d.n_bona; i++)
                m.bona[i] = scale * d.bona[i] + scale - 1;
            for (size_t i = 0; i < d.n_spoof; i++)
                m.spoof[i] = scale * d.spoof[i] + scale - 1;
            assert_true(min <= metrics_cllr(sorted(&m)) + 1e-12);
        }
        for (double prior = 0.01; prior < 1; prior += 0.07) {
            struct dcf_params p = {prior, 1, 10};
            double cost = metrics_min_dcf(set, p);
            assert_true(cost <= metrics_act_dcf(set, p) + 1e-12);
            assert_true(cost >= 0 && cost <= 1 + 1e-12);
        }
    }
}

static void roc_is_monotone_and_holds_the_rates(void **state)
{
    (void)state;
    struct data d = random_data(300, 200, 5, 2);
    struct score_set set = sorted(&d);
    struct roc_point *p = NULL;
    size_t n = 0, drawn = 0;
    struct err err;
    assert_int_equal(metrics_roc(set, &p, &n, &err), ERR_OK);
    NEAR(p[0].fpr, 1, 0);
    NEAR(p[0].fnr, 0, 0);
    NEAR(p[n - 1].fpr, 0, 0);
    NEAR(p[n - 1].fnr, 1, 0);
    assert_true(isinf(p[n - 1].threshold));
    double area = 0;
    for (size_t i = 0; i < n; i++) {
        NEAR(metrics_fpr(set, p[i].threshold).value, p[i].fpr, 0);
        NEAR(metrics_fnr(set, p[i].threshold).value, p[i].fnr, 0);
        if (i == 0)
            continue;
        assert_true(p[i].fpr <= p[i - 1].fpr && p[i].fnr >= p[i - 1].fnr);
        assert_true(p[i].threshold > p[i - 1].threshold);
        area += (p[i - 1].fpr - p[i].fpr) * (1 - (p[i].fnr + p[i - 1].fnr) / 2);
    }
    NEAR(area, metrics_discrimination(set).auc, 1e-12); /* trapezia */
    size_t last = 0;
    for (size_t i = 0; i < n; i = metrics_det_next(p, n, i, 0.1, 1e-4))
        drawn++, last = i;
    assert_int_equal(last, n - 1);
    assert_true(drawn < n && drawn > 20);
    free(p);
}

static void wilson_matches_its_quadratic(void **state)
{
    (void)state;
    NEAR(metrics_rate(3, 20).lo, 0.05236874589621661, 1e-12);
    NEAR(metrics_rate(3, 20).hi, 0.3604188647407569, 1e-12);
    NEAR(metrics_rate(60, 2840).lo, 0.016448819268005982, 1e-12);
    NEAR(metrics_rate(60, 2840).hi, 0.02709842505413343, 1e-12);
    NEAR(metrics_rate(0, 10).lo, 0, 0);
    NEAR(metrics_rate(0, 10).hi, 0.2775327998628892, 1e-12);
    NEAR(metrics_rate(10, 10).lo, 0.7224672001371111, 1e-12);
    NEAR(metrics_rate(10, 10).hi, 1, 0);
    assert_true(isnan(metrics_rate(0, 0).value) && isnan(metrics_rate(0, 0).hi));
}

static void probit_matches_the_normal_quantile(void **state)
{
    (void)state;
    NEAR(metrics_probit(1e-6), -4.753424308822899, 1e-9);
    NEAR(metrics_probit(0.001), -3.090232306167813, 1e-9);
    NEAR(metrics_probit(0.02), -2.0537489106318225, 1e-9);
    NEAR(metrics_probit(0.3), -0.5244005127080407, 1e-9);
    NEAR(metrics_probit(0.5), 0, 1e-12);
    NEAR(metrics_probit(0.9), 1.2815515655446008, 1e-9);
    NEAR(metrics_probit(0.99999), 4.26489079392384, 1e-9);
    assert_true(isinf(metrics_probit(0)) && isinf(metrics_probit(1)));
    assert_true(isnan(metrics_probit(NAN)));
}

static void histogram_holds_every_value(void **state)
{
    (void)state;
    static const double v[] = {-100, 0, 0.49, 0.5, 1, 100};
    size_t counts[2];
    metrics_histogram(v, ARRAY_LEN(v), 0, 1, counts, 2);
    assert_int_equal(counts[0], 3);
    assert_int_equal(counts[1], 3);
    metrics_histogram(v, ARRAY_LEN(v), 1, 1, counts, 2); /* no range: nothing lost, no division */
    assert_int_equal(counts[0] + counts[1], 6);
}

static void reliability_answers_at_its_prior(void **state)
{
    (void)state;
    /* Ten bona fide and one spoof, all at 0.5: at an even prior half of them are spoof. */
    double bona[10], spoof[1] = {0.5};
    for (int i = 0; i < 10; i++)
        bona[i] = 0.5;
    struct reliability r = metrics_reliability(bona, 10, spoof, 1, 0.5);
    assert_int_equal(r.bin[5].n, 11);
    NEAR(r.bin[5].observed, 0.5, 1e-12);
    NEAR(r.ece, 0, 1e-12);
    r = metrics_reliability(bona, 10, spoof, 1, 0.1);
    NEAR(r.bin[5].observed, 0.1, 1e-12);
    NEAR(r.ece, 0.4, 1e-12);
    spoof[0] = 1.0; /* the last bin is closed */
    r = metrics_reliability(bona, 10, spoof, 1, 0.5);
    assert_int_equal(r.bin[9].n, 1);
    assert_true(isnan(r.bin[0].observed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_case_matches_hand_and_numpy),
        cmocka_unit_test(large_case_matches_numpy),
        cmocka_unit_test(perfect_separation_is_zero_error),
        cmocka_unit_test(all_ties_are_chance),
        cmocka_unit_test(an_empty_class_gives_nan),
        cmocka_unit_test(scores_that_are_no_numbers_are_refused),
        cmocka_unit_test(huge_scores_do_not_overflow),
        cmocka_unit_test(swapping_labels_mirrors_auc_and_eer),
        cmocka_unit_test(monotone_maps_change_no_discrimination),
        cmocka_unit_test(minima_are_minima),
        cmocka_unit_test(roc_is_monotone_and_holds_the_rates),
        cmocka_unit_test(wilson_matches_its_quadratic),
        cmocka_unit_test(probit_matches_the_normal_quantile),
        cmocka_unit_test(histogram_holds_every_value),
        cmocka_unit_test(reliability_answers_at_its_prior),
    };
    return cmocka_run_group_tests_name("eval_metrics", tests, NULL, NULL);
}

/* detect/rates: which groups a recording belongs to, and metadata that is none. */
#include "../../support/cm.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "detect/rates.h"

#define RATE "\"human\":40,\"synthetic\":30,\"false_alarm\":[0.1,0.05,0.2],\"miss\":[0.3,0.2,0.4]"
static const char good[] =
    "{\"duration\":[{\"name\":\"1-3 s\",\"from_s\":1,\"below_s\":3," RATE
    "},{\"name\":\">= 3 s\",\"from_s\":3,\"below_s\":null," RATE
    "}],\"channel\":[{\"name\":\"narrow band\"," RATE "}],\"codec\":[{\"name\":\"mp3\"," RATE
    "}],\"language\":[{\"name\":\"en\"," RATE "}]}";

static json_t *rates_of(double duration_s, double edge, const char *codec)
{
    struct rates *rates;
    struct err err;
    assert_int_equal(rates_new(good, &rates, &err), ERR_OK);
    struct detection d = {.duration_s = duration_s, .band_edge_hz = edge};
    struct media_info media = {0};
    snprintf(media.codec, sizeof media.codec, "%s", codec);
    json_t *list = rates_json(rates, &d, &media);
    rates_free(rates);
    return list;
}

static const char *name_at(const json_t *list, size_t i)
{
    return json_string_value(json_object_get(json_array_get(list, i), "name"));
}

static void the_groups_that_apply(void **state)
{
    (void)state;
    json_t *list = rates_of(2.99, 3400, "mp3");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(name_at(list, 0), "1-3 s");
    assert_string_equal(name_at(list, 1), "narrow band");
    assert_string_equal(name_at(list, 2), "mp3");
    const json_t *first = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(first, "by")), "duration");
    assert_int_equal(json_integer_value(json_object_get(first, "human")), 40);
    assert_int_equal(json_integer_value(json_object_get(first, "synthetic")), 30);
    assert_true(json_real_value(json_object_get(first, "false_alarm")) == 0.1);
    assert_true(json_real_value(json_object_get(first, "false_alarm_high")) == 0.2);
    assert_true(json_real_value(json_object_get(first, "miss_low")) == 0.2);
    json_decref(list);

    list = rates_of(3, 7000, "flac"); /* wide band and flac were not measured */
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(name_at(list, 0), ">= 3 s");
    json_decref(list);

    list = rates_of(0.99, 0, ""); /* too short for any class */
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);

    list = rates_of(3600, 0, ""); /* the band is unknown */
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
}

static void a_model_without_rates(void **state)
{
    (void)state;
    struct rates *rates;
    struct err err;
    struct detection d = {.duration_s = 3};
    assert_int_equal(rates_new(NULL, &rates, &err), ERR_OK);
    assert_null(rates);
    json_t *list = rates_json(rates, &d, &(struct media_info){0});
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
}

static void what_is_no_rate_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{\"duration\":{}}",
        "{\"duration\":[1]}",
        "{\"duration\":[{" RATE "}]}",
        "{\"duration\":[{\"name\":\"x\",\"below_s\":\"3\"," RATE "}]}",
        "{\"codec\":[{\"name\":\"mp3\",\"human\":1,\"synthetic\":1,\"miss\":[0,0,1]}]}",
        "{\"codec\":[{\"name\":\"mp3\",\"human\":1,\"synthetic\":1,\"false_alarm\":[0,0,1.5],"
        "\"miss\":[0,0,1]}]}",
        "{\"codec\":[{\"name\":\"mp3\",\"human\":1,\"synthetic\":1,\"false_alarm\":[0,1],"
        "\"miss\":[0,0,1]}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct rates *rates = NULL;
        struct err err;
        assert_int_equal(rates_new(bad[i], &rates, &err), ERR_MODEL);
        assert_null(rates);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_groups_that_apply),
        cmocka_unit_test(a_model_without_rates),
        cmocka_unit_test(what_is_no_rate_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

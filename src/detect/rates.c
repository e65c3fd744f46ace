/* See rates.h. The parsed text is kept and only read: nothing that is shared between threads is
 * referenced by a result, because jansson counts references without a lock. */
#include "rates.h"

#include <math.h>
#include <string.h>

#include "../base/mem.h"
#include "detector.h"

struct rates {
    json_t *by;
};

static int is_share(const json_t *value)
{
    return json_is_number(value) && json_number_value(value) >= 0 && json_number_value(value) <= 1;
}

static int is_rate(const json_t *rate)
{
    return json_is_array(rate) && json_array_size(rate) == 3 && is_share(json_array_get(rate, 0)) &&
           is_share(json_array_get(rate, 1)) && is_share(json_array_get(rate, 2));
}

static int is_group(const json_t *group)
{
    const json_t *from = json_object_get(group, "from_s"),
                 *below = json_object_get(group, "below_s");
    return (!from || json_is_number(from)) && json_is_string(json_object_get(group, "name")) &&
           json_is_integer(json_object_get(group, "human")) &&
           json_is_integer(json_object_get(group, "synthetic")) &&
           (!below || json_is_null(below) || json_is_number(below)) &&
           is_rate(json_object_get(group, "false_alarm")) &&
           is_rate(json_object_get(group, "miss"));
}

static int are_groups(json_t *by)
{
    const char *name;
    json_t *list, *group;
    size_t i;
    if (!json_is_object(by))
        return 0;
    json_object_foreach (by, name, list) {
        if (!json_is_array(list))
            return 0;
        json_array_foreach (list, i, group)
            if (!is_group(group))
                return 0;
    }
    return 1;
}

enum err_code rates_new(const char *text, struct rates **ret, struct err *err)
{
    *ret = NULL;
    if (!text)
        return ERR_OK;
    json_t *by = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!are_groups(by)) {
        json_decref(by);
        return err_set(err, ERR_MODEL, "the model's 'eval_groups' are not rates of groups");
    }
    *ret = xalloc(sizeof **ret);
    (*ret)->by = by;
    return ERR_OK;
}

struct rates *rates_free(struct rates *rates)
{
    if (rates)
        json_decref(rates->by);
    free(rates);
    return NULL;
}

const char *rates_channel(const struct detection *d)
{
    if (!(d->band_edge_hz > 0))
        return NULL;
    return detection_is_narrow(d) ? "narrow band" : "wide band";
}

static const json_t *named(const json_t *list, const char *name)
{
    size_t i;
    json_t *group;
    json_array_foreach (list, i, group)
        if (name && strcmp(json_string_value(json_object_get(group, "name")), name) == 0)
            return group;
    return NULL;
}

/* A class that was too small to measure is left out: between the others there may be gaps. */
static const json_t *of_duration(const json_t *list, double seconds)
{
    size_t i;
    json_t *group;
    json_array_foreach (list, i, group) {
        const json_t *below = json_object_get(group, "below_s");
        if (seconds >= json_number_value(json_object_get(group, "from_s")) &&
            (!json_is_number(below) || seconds < json_number_value(below)))
            return group;
    }
    return NULL;
}

static void put_rate(json_t *to, const json_t *group, const char *key)
{
    static const char *const ends[] = {"", "_low", "_high"};
    const json_t *rate = json_object_get(group, key);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%s", key, ends[i]);
        json_object_set_new(to, name, json_real(json_number_value(json_array_get(rate, i))));
    }
}

static void add(json_t *list, const char *by, const json_t *group)
{
    if (!group)
        return;
    json_t *to = json_object();
    json_object_set_new(to, "by", json_string(by));
    json_object_set_new(to, "name", json_string(json_string_value(json_object_get(group, "name"))));
    json_object_set_new(to, "human",
                        json_integer(json_integer_value(json_object_get(group, "human"))));
    json_object_set_new(to, "synthetic",
                        json_integer(json_integer_value(json_object_get(group, "synthetic"))));
    put_rate(to, group, "false_alarm");
    put_rate(to, group, "miss");
    json_array_append_new(list, to);
}

json_t *rates_json(const struct rates *rates, const struct detection *d,
                   const struct media_info *media)
{
    json_t *list = json_array();
    if (!rates)
        return list;
    add(list, "duration", of_duration(json_object_get(rates->by, "duration"), d->duration_s));
    add(list, "channel", named(json_object_get(rates->by, "channel"), rates_channel(d)));
    add(list, "codec", named(json_object_get(rates->by, "codec"), media->codec));
    return list;
}

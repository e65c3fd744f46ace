/* Arbitrary bytes as sonde.conf; what it sets is looked at as `sonde config print` does. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/url.h"
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_value(const struct conf *conf, enum conf_id id)
{
    const struct conf_setting *setting = &conf_settings[id];
    _cleanup_free_ char *shown = conf_shown(conf, id), *source = conf_source(conf, id);
    double number = conf_number(conf, id);
    if (!conf_text(conf, id))
        return;
    if (!shown || !*shown || !*source || strlen(conf_text(conf, id)) > CONF_VALUE_MAX)
        abort();
    if (setting->kind == CONF_SECRET && strcmp(shown, "********") != 0)
        abort();
    if (setting->kind >= CONF_COUNT && setting->kind <= CONF_DAYS &&
        !(number >= setting->min && number <= setting->max) && number != CONF_FOREVER)
        abort();
    _cleanup_free_ char *again = url_masked(shown);
    if ((setting->kind == CONF_URL || setting->kind == CONF_URLS) && strcmp(again, shown) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf *conf = conf_new();
    const struct conf_problem *problem;
    conf_read_text(conf, "sonde.conf", (const char *)data, size);
    for (size_t i = 0; (problem = conf_problem_at(conf, i)); i++)
        if (strncmp(problem->text, "sonde.conf:", 11) != 0 || strchr(problem->text, '\n'))
            abort();
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
        check_value(conf, id);
    conf_free(conf);
    return 0;
}

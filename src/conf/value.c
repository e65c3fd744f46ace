/* From the text of a setting to its value. What is wrong is said with what was expected; a secret,
 * or a url, which may hold one, is never repeated. No state, any thread. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"
#include "../base/utf8.h"
#include "internal.h"

/* A number and perhaps one of the letters `units`, each worth its factor. */
static enum err_code with_unit(const char *text, const char *what, const char *units,
                               const double *factors, double *ret, struct err *err)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || !isfinite(value) || value < 0)
        return err_set(err, ERR_USAGE, "'%.60s' is not a number; %s", text, what);
    if (*end) {
        const char *unit = strchr(units, *end);
        if (!unit || end[1])
            return err_set(err, ERR_USAGE, "'%.60s' has an unknown unit; %s", text, what);
        value *= factors[unit - units];
    }
    *ret = value;
    return ERR_OK;
}

static enum err_code whole(const char *text, double *ret, struct err *err)
{
    char *end;
    errno = 0;
    *ret = (double)strtol(text, &end, 10);
    if (errno || end == text || *end)
        return err_set(err, ERR_USAGE, "'%.60s' is not a whole number", text);
    return ERR_OK;
}

static enum err_code any_number(const char *text, const char *what, double *ret, struct err *err)
{
    char *end;
    errno = 0;
    *ret = strtod(text, &end);
    if (errno || end == text || *end || !isfinite(*ret))
        return err_set(err, ERR_USAGE, "'%.60s' is not %s", text, what);
    return ERR_OK;
}

static void bound(enum conf_kind kind, double value, char *buf, size_t size)
{
    static const char units[] = " KMGT";
    size_t i = 0;
    if (kind == CONF_SIZE)
        for (; i + 1 < strlen(units) && value >= 1024 && fmod(value, 1024) == 0; i++)
            value /= 1024;
    snprintf(buf, size, "%.10g%.*s", value, i > 0, units + i);
}

enum err_code conf_number_parse(enum conf_kind kind, const char *text, double min, double max,
                                double *ret, struct err *err)
{
    static const double sizes[] = {1024.0, 1048576.0, 1073741824.0, 1099511627776.0};
    static const double times[] = {1.0, 60.0, 3600.0};
    char low[32], high[32];
    enum err_code rc = ERR_OK;
    if (kind == CONF_DAYS && strcmp(text, "forever") == 0) {
        *ret = CONF_FOREVER;
        return ERR_OK;
    }
    if (kind == CONF_COUNT)
        rc = whole(text, ret, err);
    else if (kind == CONF_SIZE)
        rc = with_unit(text, "a size is bytes, or such as 500M or 4G (K M G T)", "KMGT", sizes, ret,
                       err);
    else if (kind == CONF_SECONDS)
        rc = with_unit(text, "a time is seconds, or such as 90s, 15m or 2h (s m h)", "smh", times,
                       ret, err);
    else if (kind == CONF_DAYS)
        rc = any_number(text, "a number of days, or forever", ret, err);
    else
        rc = any_number(text, "a number", ret, err);
    if (rc != ERR_OK || (*ret >= min && *ret <= max))
        return rc;
    bound(kind, min, low, sizeof low);
    bound(kind, max, high, sizeof high);
    return err_set(err, ERR_USAGE, "%.60s is outside %s to %s%s", text, low, high,
                   kind == CONF_DAYS ? " days, and not forever" : "");
}

static int is_printable(const char *text)
{
    uint32_t c;
    for (size_t n; *text; text += n) {
        n = utf8_char(text, &c);
        if (n == 0 || utf8_unprintable(c))
            return 0;
    }
    return 1;
}

/* Whether the first `len` characters at `word` are one of the words in `list`. */
static int is_one_of(const char *list, const char *word, size_t len)
{
    for (const char *p = list; *p;) {
        p += strspn(p, " ");
        size_t n = strcspn(p, " ");
        if (n == len && n > 0 && memcmp(p, word, n) == 0)
            return 1;
        p += n;
    }
    return 0;
}

static enum err_code words(const struct conf_setting *setting, const char *value, struct err *err)
{
    size_t count = 0;
    for (const char *p = value + strspn(value, " \t"); *p; p += strspn(p, " \t")) {
        size_t n = strcspn(p, " \t");
        if (!is_one_of(setting->choices, p, n))
            return err_set(err, ERR_USAGE, "'%.*s' is none of: %s (several: separated by blanks)",
                           n > 60 ? 60 : (int)n, p, setting->choices);
        p += n;
        count++;
    }
    return count > 0 ? ERR_OK : err_set(err, ERR_USAGE, "it is some of: %s", setting->choices);
}

static enum err_code urls(const struct conf_setting *setting, const char *value, struct err *err)
{
    if (setting->kind == CONF_URL && strchr(value, ' '))
        return err_set(err, ERR_USAGE, "one url, without blanks in it (a blank is %%20)");
    for (const char *p = value + strspn(value, " "); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " "), scheme = strcspn(p, ":");
        /* fault: is a driver for tests that wraps another. */
        if (scheme >= n ||
            (!is_one_of(setting->choices, p, scheme) && !is_one_of("fault", p, scheme)))
            return err_set(
                err, ERR_USAGE,
                "a url of a kind that is not known here; known are those that begin with "
                "one of: %s, and a colon",
                setting->choices);
        p += n;
    }
    return value[strspn(value, " ")] ? ERR_OK : err_set(err, ERR_USAGE, "it is a url");
}

enum err_code conf_value_parse(const struct conf_setting *setting, const char *value, double *ret,
                               struct err *err)
{
    *ret = 0;
    if (strnlen(value, CONF_VALUE_MAX + 1) > CONF_VALUE_MAX)
        return err_set(err, ERR_USAGE, "the value is longer than %d bytes", CONF_VALUE_MAX);
    if (!*value)
        return err_set(err, ERR_USAGE, "there is no value; leave the setting out for its default");
    if (!is_printable(value))
        return err_set(err, ERR_USAGE, "the value holds control characters, or is not UTF-8");
    switch (setting->kind) {
    case CONF_TEXT:
    case CONF_FILE:
    case CONF_FOLDER:
    case CONF_SECRET:
    case CONF_SECRET_FILE:
        return ERR_OK;
    case CONF_CHOICE:
        if (is_one_of(setting->choices, value, strlen(value)))
            return ERR_OK;
        return err_set(err, ERR_USAGE, "'%.60s' is none of: %s", value, setting->choices);
    case CONF_WORDS:
        return words(setting, value, err);
    case CONF_URL:
    case CONF_URLS:
        return urls(setting, value, err);
    case CONF_YES_NO:
        *ret = strcmp(value, "yes") == 0;
        if (*ret || strcmp(value, "no") == 0)
            return ERR_OK;
        return err_set(err, ERR_USAGE, "'%.60s' is neither yes nor no", value);
    case CONF_COUNT:
    case CONF_NUMBER:
    case CONF_SIZE:
    case CONF_SECONDS:
    case CONF_DAYS:
        break;
    }
    return conf_number_parse(setting->kind, value, setting->min, setting->max, ret, err);
}

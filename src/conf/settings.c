/* The table of settings, and finding names in it. Constant: any thread. */
#include <string.h>

#include "../base/mem.h"
#include "internal.h"

const struct conf_setting conf_settings[CONF_SETTINGS] = {
#define SETTING(id, ...) [CONF_##id] = {__VA_ARGS__},
#include "settings.def"
#undef SETTING
};

#define NAME_MAX_LEN 40

enum conf_id conf_find(const char *section, const char *key)
{
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
        if (strcmp(conf_settings[id].section, section) == 0 &&
            strcmp(conf_settings[id].key, key) == 0)
            return id;
    return CONF_SETTINGS;
}

int conf_is_secret(enum conf_kind kind)
{
    return kind == CONF_SECRET;
}

int conf_has_section(const char *section)
{
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
        if (strcmp(conf_settings[id].section, section) == 0)
            return 1;
    return 0;
}

static unsigned char plain(char c)
{
    return (unsigned char)(c == '-' ? '_' : c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Letters to insert, delete or change (Levenshtein); case and - for _ cost nothing. */
static unsigned distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned row[NAME_MAX_LEN + 1];
    if (n > NAME_MAX_LEN || m > NAME_MAX_LEN)
        return NAME_MAX_LEN;
    for (size_t j = 0; j <= m; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = diagonal + (plain(a[i - 1]) != plain(b[j - 1]));
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

/* Keeps in *best the nearer of it and `candidate`, when that is near at all. */
static void consider(const char *name, const char *candidate, unsigned *least, const char **best)
{
    size_t len = strlen(candidate);
    unsigned d = distance(name, candidate);
    if (d < *least && d <= (len < 4 ? 1 : len < 8 ? 2 : 3)) {
        *least = d;
        *best = candidate;
    }
}

const char *conf_nearest_section(const char *name)
{
    const char *best = NULL;
    unsigned least = NAME_MAX_LEN;
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
        consider(name, conf_settings[id].section, &least, &best);
    return best;
}

const char *conf_nearest_key(const char *section, const char *key)
{
    const char *best = NULL;
    unsigned least = NAME_MAX_LEN;
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        if (strcmp(conf_settings[id].section, section) != 0)
            continue;
        consider(key, conf_settings[id].key, &least, &best);
        /* Whoever knows the flag writes its name. */
        if (conf_settings[id].flag && distance(key, conf_settings[id].flag) == 0)
            return conf_settings[id].key;
    }
    return best;
}

const char *conf_nearest_variable(const char *name)
{
    const char *best = NULL;
    unsigned least = NAME_MAX_LEN;
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
        consider(name, conf_settings[id].env, &least, &best);
    return best;
}

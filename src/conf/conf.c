/* Values and where they come from; see conf.h. A value remembers its origin, and one of a lower
 * origin does not replace it: so file, environment and flags may be read in any order. The struct
 * owns all texts. One thread. */
#include "conf.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../base/url.h"
#include "ini.h"
#include "internal.h"

struct conf *conf_new(void)
{
    struct conf *conf = xalloc(sizeof *conf);
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        struct conf_value *value = &conf->values[id];
        const struct conf_setting *setting = &conf_settings[id];
        struct err err;
        if (!setting->initial)
            continue;
        if (conf_value_parse(setting, setting->initial, &value->number, &err) != ERR_OK)
            abort(); /* the table contradicts itself; a test would have shown it */
        value->text = xstrdup(setting->initial);
    }
    return conf;
}

struct conf *conf_free(struct conf *conf)
{
    if (!conf)
        return NULL;
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        conf_forget(conf->values[id].text);
        conf_forget(conf->secrets[id]);
    }
    for (size_t i = 0; i < conf->n_problems; i++)
        free(conf->problems[i].text);
    free(conf->path);
    free(conf);
    return NULL;
}

void conf_add(struct conf *conf, int warning, const char *fmt, ...)
{
    va_list args;
    conf->n_errors += !warning;
    if (conf->n_problems >= CONF_PROBLEMS_MAX)
        return; /* whoever sees a hundred knows what to do */
    char *text = NULL;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        abort(); /* as xalloc: a line of text */
    conf->problems[conf->n_problems++] = (struct conf_problem){warning, text};
}

const struct conf_problem *conf_problem_at(const struct conf *conf, size_t i)
{
    return i < conf->n_problems ? &conf->problems[i] : NULL;
}

size_t conf_errors(const struct conf *conf)
{
    return conf->n_errors;
}

/* --- setting */

static enum err_code set(struct conf *conf, enum conf_id id, enum conf_origin origin, unsigned line,
                         const char *text, struct err *err)
{
    struct conf_value *value = &conf->values[id];
    double number = 0;
    enum err_code rc = conf_value_parse(&conf_settings[id], text, &number, err);
    if (rc != ERR_OK || origin < value->origin)
        return rc;
    conf_forget(value->text);
    *value = (struct conf_value){
        .text = xstrdup(text), .number = number, .origin = origin, .line = line};
    return ERR_OK;
}

enum err_code conf_set(struct conf *conf, enum conf_id id, enum conf_origin origin,
                       const char *value, struct err *err)
{
    return set(conf, id, origin, 0, value, err);
}

enum err_code conf_read_variable(struct conf *conf, enum conf_id id, struct err *err)
{
    const char *value = getenv(conf_settings[id].env);
    if (!value || !*value || conf->values[id].origin > CONF_FROM_ENV)
        return ERR_OK;
    enum err_code rc = set(conf, id, CONF_FROM_ENV, 0, value, err);
    if (rc != ERR_OK)
        err_prefix(err, "%s", conf_settings[id].env);
    return rc;
}

/* SONDE_DB_PASSWROD would be overlooked silently. Only names that begin as a section's do: others
 * may be somebody else's. Kubernetes makes SONDE_DB_SERVICE_HOST and SONDE_DB_PORT_… of a service
 * called sonde-db. */
static void look_for_typos(struct conf *conf)
{
    static const char *const starts[] = {"SONDE_DB_", "SONDE_BLOB_", "SONDE_QUEUE_", "SONDE_CACHE_",
                                         "SONDE_SERVER_"};
    for (char **entry = environ; *entry; entry++) {
        char name[64];
        size_t len = strcspn(*entry, "=");
        int ours = 0, known = len >= sizeof name;
        for (size_t i = 0; i < ARRAY_LEN(starts); i++)
            ours |= strncmp(*entry, starts[i], strlen(starts[i])) == 0;
        if (!ours || known)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)len, *entry);
        known = strcmp(name, "SONDE_QUEUE_BACKOFF") == 0 || strstr(name, "_SERVICE_") ||
                strstr(name, "_PORT");
        for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
            known |= strcmp(conf_settings[id].env, name) == 0;
        const char *near = conf_nearest_variable(name);
        if (!known && near)
            conf_add(conf, 1, "%s: no such setting; did you mean %s?", name, near);
    }
}

void conf_read_environment(struct conf *conf)
{
    struct err err;
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
        if (conf_read_variable(conf, id, &err) != ERR_OK)
            conf_add(conf, 0, "%s", err.text);
    look_for_typos(conf);
}

/* --- the file */

struct file_reading {
    struct conf *conf;
    const char *path;
    int in_known; /* the section */
};

static void wrong_line(void *ctx, unsigned line, const char *text)
{
    struct file_reading *r = ctx;
    conf_add(r->conf, 0, "%s:%u: %s", r->path, line, text);
}

/* What is before a = may be the end of a secret that was broken into two lines: only what looks
 * like a name is repeated. */
static int may_be_shown(const char *key)
{
    size_t len = strspn(key, "abcdefghijklmnopqrstuvwxyz_-");
    return len <= 32 && !key[len];
}

static void unknown_key(struct file_reading *r, unsigned line, const char *section, const char *key)
{
    const char *near = conf_nearest_key(section, key);
    const char *shown = near || may_be_shown(key) ? key : "(the word before the =)";
    const char *elsewhere = NULL;
    for (enum conf_id id = 0; id < CONF_SETTINGS && !elsewhere; id++)
        if (strcmp(conf_settings[id].key, key) == 0)
            elsewhere = conf_settings[id].section;
    if (near)
        conf_add(r->conf, 0, "%s:%u: [%s] has no setting %s; did you mean %s?", r->path, line,
                 section, shown, near);
    else if (elsewhere)
        conf_add(r->conf, 0, "%s:%u: [%s] has no setting %s; [%s] has one", r->path, line, section,
                 shown, elsewhere);
    else
        conf_add(r->conf, 0, "%s:%u: [%s] has no setting %s; `sonde config docs` lists them all",
                 r->path, line, section, shown);
}

static int is_quoted(const char *value)
{
    size_t len = strlen(value);
    return len >= 2 && (*value == '"' || *value == '\'') && value[len - 1] == *value;
}

/* What is allowed by the form, and still not meant so. */
static enum err_code check_habits(struct file_reading *r, unsigned line,
                                  const struct conf_setting *setting, const char *value,
                                  struct err *err)
{
    int quoted = is_quoted(value);
    if (setting->kind == CONF_SECRET && quoted)
        conf_add(r->conf, 1, "%s:%u: %s: the quotes are taken as a part of it", r->path, line,
                 setting->key);
    if (setting->kind == CONF_SECRET)
        return ERR_OK;
    if (quoted)
        return err_set(err, ERR_USAGE, "the value is written without quotes");
    if (strstr(value, " #") || strstr(value, " ;"))
        return err_set(err, ERR_USAGE, "a comment stands on a line of its own");
    return ERR_OK;
}

static void read_row(void *ctx, unsigned line, const char *section, const char *key,
                     const char *value)
{
    struct file_reading *r = ctx;
    struct err err = {0};
    if (!key) {
        const char *near = conf_nearest_section(section);
        r->in_known = conf_has_section(section);
        if (!r->in_known)
            conf_add(r->conf, 0, "%s:%u: there is no section [%.40s]%s%s%s", r->path, line, section,
                     near ? "; did you mean [" : "", near ? near : "", near ? "]?" : "");
        return;
    }
    if (!r->in_known)
        return; /* told at its [section] */
    enum conf_id id = conf_find(section, key);
    if (id == CONF_SETTINGS) {
        unknown_key(r, line, section, key);
        return;
    }
    const struct conf_setting *setting = &conf_settings[id];
    if (r->conf->lines[id]) {
        conf_add(r->conf, 0, "%s:%u: %s is set in line %u already", r->path, line, key,
                 r->conf->lines[id]);
        return;
    }
    r->conf->lines[id] = line;
    if (check_habits(r, line, setting, value, &err) != ERR_OK ||
        set(r->conf, id, CONF_FROM_FILE, line, value, &err) != ERR_OK)
        conf_add(r->conf, 0, "%s:%u: %s: %s", r->path, line, key, err.text);
}

void conf_read_text(struct conf *conf, const char *path, const char *data, size_t size)
{
    struct file_reading r = {.conf = conf, .path = path};
    free(conf->path);
    conf->path = xstrdup(path);
    ini_read(data, size, read_row, wrong_line, &r);
}

static int file_has_secrets(const struct conf *conf)
{
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        const struct conf_value *value = &conf->values[id];
        enum conf_kind kind = conf_settings[id].kind;
        /* lines, not origin: the environment may have replaced it, and it stands there still */
        if (conf->lines[id] &&
            (kind == CONF_SECRET || ((kind == CONF_URL || kind == CONF_URLS) && value->text &&
                                     url_has_password(value->text))))
            return 1;
    }
    return 0;
}

void conf_read_file(struct conf *conf, const char *path, int named)
{
    char *data = NULL;
    size_t size = 0;
    unsigned mode = 0;
    struct err err;
    enum err_code rc = conf_read_whole(path, CONF_FILE_MAX, &data, &size, &mode, &err);
    if (rc == ERR_NOT_FOUND && !named)
        return;
    if (rc != ERR_OK) {
        /* Not named, and not for this user: it is the one of the system's server. */
        int others = rc == ERR_PERMISSION && !named;
        conf_add(conf, others, "%s: %s%s", path, err.text, others ? "; going on without it" : "");
        return;
    }
    conf_read_text(conf, path, data, size);
    explicit_bzero(data, size);
    free(data);
    if ((mode & S_IROTH) && S_ISREG(mode) && file_has_secrets(conf))
        conf_add(conf, 1, "%s: every user of this machine may read the secrets in it: chmod 600 %s",
                 path, path);
}

/* --- the end */

/* The secret at `id` and the file at the next: the one of the later origin holds. */
static void finish_secret(struct conf *conf, enum conf_id id)
{
    struct conf_value *direct = &conf->values[id], *file = &conf->values[id + 1];
    struct err err;
    if (direct->text && file->text && direct->origin == file->origin) {
        int env = direct->origin == CONF_FROM_ENV;
        conf_add(conf, 0, "%s%s%s and %s are both set: which one holds?", env ? "" : conf->path,
                 env ? "" : ": ", env ? conf_settings[id].env : conf_settings[id].key,
                 env ? conf_settings[id + 1].env : conf_settings[id + 1].key);
    }
    if (!file->text || (direct->text && direct->origin > file->origin))
        return;
    conf->secrets[id] = conf_forget(conf->secrets[id]);
    if (conf_read_secret(file->text, &conf->secrets[id], &err) != ERR_OK) {
        _cleanup_free_ char *source = conf_source(conf, id + 1);
        conf_add(conf, 0, "%s: %s: %s: %s", source, conf_settings[id + 1].key, file->text,
                 err.text);
    }
}

void conf_finish(struct conf *conf)
{
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++)
        if (conf_settings[id].kind == CONF_SECRET)
            finish_secret(conf, id);
}

/* --- asking */

const char *conf_text(const struct conf *conf, enum conf_id id)
{
    return conf->values[id].text;
}

double conf_number(const struct conf *conf, enum conf_id id)
{
    return conf->values[id].number;
}

uint64_t conf_bytes(const struct conf *conf, enum conf_id id)
{
    return (uint64_t)conf->values[id].number;
}

const char *conf_secret(const struct conf *conf, enum conf_id id)
{
    return conf->secrets[id] ? conf->secrets[id] : conf->values[id].text;
}

enum conf_origin conf_origin(const struct conf *conf, enum conf_id id)
{
    return conf->values[id].origin;
}

const char *conf_file(const struct conf *conf)
{
    return conf->path;
}

char *conf_shown(const struct conf *conf, enum conf_id id)
{
    const char *text = conf->values[id].text;
    enum conf_kind kind = conf_settings[id].kind;
    if (!text)
        return NULL;
    if (kind == CONF_SECRET)
        return xstrdup("********");
    return kind == CONF_URL || kind == CONF_URLS ? url_masked(text) : xstrdup(text);
}

char *conf_source(const struct conf *conf, enum conf_id id)
{
    const struct conf_value *value = &conf->values[id];
    switch (value->origin) {
    case CONF_FROM_FILE:
        return xasprintf("%s:%u", conf->path, value->line);
    case CONF_FROM_ENV:
        return xstrdup(conf_settings[id].env);
    case CONF_FROM_FLAG:
        return xasprintf("--%s", conf_settings[id].flag);
    default:
        return xstrdup("default");
    }
}

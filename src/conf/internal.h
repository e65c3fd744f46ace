/* The parts of src/conf among themselves. */
#ifndef SONDE_CONF_INTERNAL_H
#define SONDE_CONF_INTERNAL_H

#include "conf.h"

struct conf_value {
    char *text; /* as written, or NULL */
    double number;
    enum conf_origin origin;
    unsigned line; /* of the file */
};

struct conf {
    struct conf_value values[CONF_SETTINGS];
    unsigned lines[CONF_SETTINGS]; /* where the file sets it, 0: nowhere */
    char *secrets[CONF_SETTINGS];  /* read from a CONF_SECRET_FILE, at the place of its secret */
    char *path;                    /* of the file, once one was read */
    struct conf_problem problems[CONF_PROBLEMS_MAX];
    size_t n_problems, n_errors;
};

/* conf.c */
void conf_add(struct conf *conf, int warning, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* settings.c: the known name that is nearest to `name`, or NULL when none is near. */
const char *conf_nearest_section(const char *name);
const char *conf_nearest_key(const char *section, const char *key);
const char *conf_nearest_variable(const char *name);
int conf_has_section(const char *section);

/* value.c: whether `value` is one for this setting, and its number. */
enum err_code conf_value_parse(const struct conf_setting *setting, const char *value, double *ret,
                               struct err *err) MUST_CHECK;

/* file.c: all of a file of at most `max` bytes, with a zero behind it; devices without content are
 * empty files. Caller frees. The error's text does not name the path. */
enum err_code conf_read_whole(const char *path, size_t max, char **ret, size_t *ret_size,
                              unsigned *ret_mode, struct err *err) MUST_CHECK;
/* The one line of a file that holds a secret. */
enum err_code conf_read_secret(const char *path, char **ret, struct err *err) MUST_CHECK;
/* Overwrites and frees. */
char *conf_forget(char *secret);

#endif

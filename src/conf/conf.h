/* Configuration: one table of settings (settings.def), and where their values come from.
 *
 *   default < file (sonde.conf) < environment < flag
 *
 *   conf_new, then in any order conf_read_file, conf_read_environment and conf_set for flags; then
 *   conf_finish, which reads the files that hold secrets. What is wrong is not an error of the
 *   functions: it is collected, so that all of it can be told at once (conf_problem_at).
 *
 * A secret (CONF_SECRET, and a password inside a url) is never part of a problem's text nor of
 * conf_shown. One thread, at the start of a command. This folder opens nothing over the network and
 * knows nothing of roles and drivers; src/cli/settings.c translates. */
#ifndef SONDE_CONF_H
#define SONDE_CONF_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../base/err.h"

#define CONF_FILE_MAX     (1 << 20)
#define CONF_VALUE_MAX    4096 /* bytes of a line of the file, and of any value */
#define CONF_PROBLEMS_MAX 100
#define CONF_DEFAULT_FILE "/etc/sonde/sonde.conf"
#define CONF_FOREVER      (-1.0) /* the number of a CONF_DAYS that says so */

enum conf_kind {
    CONF_TEXT,
    CONF_FILE,        /* a path, of a file that is read */
    CONF_FOLDER,      /* a path */
    CONF_CHOICE,      /* one of `choices` */
    CONF_WORDS,       /* some of `choices`, separated by blanks */
    CONF_URL,         /* `choices` are its schemes; may hold a password */
    CONF_URLS,        /* several, separated by blanks */
    CONF_COUNT,       /* a whole number */
    CONF_NUMBER,      /* any number */
    CONF_SIZE,        /* bytes: 500M, 4G (powers of 1024) */
    CONF_SECONDS,     /* 90, 15m, 2h */
    CONF_DAYS,        /* a number, or forever */
    CONF_YES_NO,      /* yes or no */
    CONF_SECRET,      /* never shown */
    CONF_SECRET_FILE, /* path of a file that holds the secret before it in the table */
};

enum conf_id {
#define SETTING(id, ...) CONF_##id,
#include "settings.def"
#undef SETTING
    CONF_SETTINGS
};

/* The columns of settings.def. */
struct conf_setting {
    const char *section, *key;
    enum conf_kind kind;
    const char *initial, *otherwise, *example;
    double min, max;
    const char *env, *flag;
    char letter;
    const char *placeholder, *choices, *help;
};
extern const struct conf_setting conf_settings[CONF_SETTINGS];

/* CONF_SETTINGS when there is none of that name. */
enum conf_id conf_find(const char *section, const char *key);
/* 1 when `kind` holds a secret itself. */
int conf_is_secret(enum conf_kind kind);

/* What a number of this kind (CONF_COUNT … CONF_DAYS) says; ERR_USAGE tells what was expected. */
enum err_code conf_number_parse(enum conf_kind kind, const char *text, double min, double max,
                                double *ret, struct err *err) MUST_CHECK;

enum conf_origin { CONF_FROM_DEFAULT, CONF_FROM_FILE, CONF_FROM_ENV, CONF_FROM_FLAG };

struct conf;
struct conf *conf_new(void);
struct conf *conf_free(struct conf *conf); /* NULL is fine. Returns NULL. */

/* One value. What a later origin has set already stays, but the value is checked. ERR_USAGE says
 * what was expected, without the setting's name. */
enum err_code conf_set(struct conf *conf, enum conf_id id, enum conf_origin origin,
                       const char *value, struct err *err) MUST_CHECK;
/* Reads the file. One that is not `named` (by a flag or in the environment) need not be there. */
void conf_read_file(struct conf *conf, const char *path, int named);
/* The same from memory; `path` is for the problems' texts. Never reads past data[size - 1]. */
void conf_read_text(struct conf *conf, const char *path, const char *data, size_t size);
void conf_read_environment(struct conf *conf);
/* Only these settings' variables; the first wrong one is the error. For `sonde detect`. */
enum err_code conf_read_variable(struct conf *conf, enum conf_id id, struct err *err) MUST_CHECK;
/* Secrets from their files, settings that exclude each other. */
void conf_finish(struct conf *conf);

/* The effective value as it was written; NULL: not set, and no default. Borrowed until conf_free.
 */
const char *conf_text(const struct conf *conf, enum conf_id id);
/* As a number: bytes, seconds, days (or CONF_FOREVER), 1 for yes; 0 when not set. */
double conf_number(const struct conf *conf, enum conf_id id);
uint64_t conf_bytes(const struct conf *conf, enum conf_id id);
/* The secret of a CONF_SECRET, whichever way it came (after conf_finish); NULL: none. */
const char *conf_secret(const struct conf *conf, enum conf_id id);
enum conf_origin conf_origin(const struct conf *conf, enum conf_id id);
/* The file that was read, or NULL. */
const char *conf_file(const struct conf *conf);

/* For people: secrets and passwords in urls are ********; NULL when not set. Caller frees. */
char *conf_shown(const struct conf *conf, enum conf_id id);
/* "default", "/etc/sonde/sonde.conf:12", "SONDE_LISTEN", "--listen". Caller frees. */
char *conf_source(const struct conf *conf, enum conf_id id);

/* Looks at the files and folders that are named, and at what does not go together; adds problems
 * and warnings. For `sonde config check`: slower, and never needed to start. */
void conf_check(struct conf *conf);

/* What is wrong, in the order it was found. Warnings do not keep a server from starting. */
struct conf_problem {
    int warning;
    char *text; /* one line; names file and line, or the variable */
};
const struct conf_problem *conf_problem_at(const struct conf *conf, size_t i); /* NULL: no more */
size_t conf_errors(const struct conf *conf);

/* Markdown tables of all settings, and a commented file of all of them. */
void conf_print_docs(FILE *out);
void conf_print_sample(FILE *out);

#endif

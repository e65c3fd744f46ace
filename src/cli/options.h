/* Command-line options from one table per command: parsing, environment, --help, the man page and
 * shell completion all read the same rows. A row may stand for a setting of src/conf/settings.def;
 * then its name, help and limits come from there. */
#ifndef SONDE_CLI_OPTIONS_H
#define SONDE_CLI_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

#include "../base/err.h"
#include "../conf/conf.h"

enum option_kind {
    OPTION_FLAG,    /* int, set to 1 */
    OPTION_TEXT,    /* const char * */
    OPTION_COUNT,   /* int, min .. max */
    OPTION_NUMBER,  /* double, min .. max */
    OPTION_SIZE,    /* uint64_t bytes: 500M, 4G (powers of 1024) */
    OPTION_SECONDS, /* double: 90, 15m, 2h */
    OPTION_SETTING, /* struct conf *, which gets the value of `setting` */
};

struct option_row {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    size_t offset;        /* of the field in the command's options struct */
    const char *value;    /* placeholder in help: "FILE"; NULL for flags */
    const char *env;      /* environment variable with the same meaning, or NULL */
    double min, max;      /* for numbers */
    const char *help;     /* one line; the default stands in it */
    const char *choices;  /* "scalar avx2 avx512" for completion, or NULL; "FILE" completes files */
    enum conf_id setting; /* of OPTION_SETTING */
    const char *otherwise; /* its default in words; other rows say theirs in `help` */
};

/* A row that is a setting's flag: only these two are given. */
#define SETTING_ROW(type, field, id)                                                               \
    {                                                                                              \
        .kind = OPTION_SETTING, .offset = offsetof(type, field), .setting = CONF_##id              \
    }
/* The row with the columns that a setting's row has from the table. */
struct option_row option_row(const struct option_row *row);

struct command {
    const char *name;      /* "detect", "model info" */
    const char *arguments; /* "FILE|FOLDER|-…" */
    const char *summary;   /* one line */
    const char *text;      /* paragraphs for --help and the man page */
    const struct option_row *options;
    size_t n_options;
    const char *verbs; /* for completion: "list retry drop", or NULL */
    int configured;    /* settings come from a file, too: their variables are not read here */
    /* argv[0] is the last word of the name; returns the exit code. */
    int (*run)(int argc, char **argv);
};

/* Reads argv[1..] into *options (defaults stand in it already), then the environment for what was
 * not given. *ret_first: index of the first argument that is no option. On failure err tells which
 * option and why. *ret_help is set when --help was asked for. */
enum err_code options_parse(const struct command *command, int argc, char **argv, void *options,
                            int *ret_first, int *ret_help, struct err *err) MUST_CHECK;
void options_print_help(const struct command *command, FILE *out);

#endif

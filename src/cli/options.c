/* Options by table over getopt_long. One thread: getopt keeps global state. What a number means is
 * said in src/conf/value.c alone. */
#include "options.h"

#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"

#define MAX_ROWS 64

struct option_row option_row(const struct option_row *row)
{
    struct option_row full = *row;
    if (row->kind != OPTION_SETTING)
        return full;
    const struct conf_setting *setting = &conf_settings[row->setting];
    full.name = setting->flag;
    full.letter = setting->letter;
    full.value = setting->placeholder;
    full.env = setting->env;
    full.help = setting->help;
    full.choices = setting->choices;
    full.otherwise = setting->initial ? setting->initial : setting->otherwise;
    return full;
}

static enum err_code store(const struct option_row *row, const char *value, void *options,
                           struct err *err)
{
    static const enum conf_kind kinds[] = {
        [OPTION_COUNT] = CONF_COUNT,
        [OPTION_NUMBER] = CONF_NUMBER,
        [OPTION_SIZE] = CONF_SIZE,
        [OPTION_SECONDS] = CONF_SECONDS,
    };
    void *field = (char *)options + row->offset;
    double number = 0;
    switch (row->kind) {
    case OPTION_FLAG:
        *(int *)field = 1;
        return ERR_OK;
    case OPTION_TEXT:
        *(const char **)field = value;
        return ERR_OK;
    case OPTION_SETTING:
        return conf_set(*(struct conf **)field, row->setting, CONF_FROM_FLAG, value, err);
    case OPTION_COUNT:
    case OPTION_NUMBER:
    case OPTION_SIZE:
    case OPTION_SECONDS:
        break;
    }
    enum err_code rc = conf_number_parse(kinds[row->kind], value, row->min, row->max, &number, err);
    if (rc != ERR_OK)
        return rc;
    if (row->kind == OPTION_COUNT)
        *(int *)field = (int)number;
    else if (row->kind == OPTION_SIZE)
        *(uint64_t *)field = (uint64_t)number;
    else
        *(double *)field = number;
    return ERR_OK;
}

static enum err_code read_environment(const struct command *command, const unsigned char *given,
                                      void *options, struct err *err)
{
    for (size_t i = 0; i < command->n_options; i++) {
        const struct option_row *row = &command->options[i];
        if (row->kind == OPTION_SETTING) {
            struct conf *conf = *(struct conf **)((char *)options + row->offset);
            if (!command->configured && conf_read_variable(conf, row->setting, err) != ERR_OK)
                return ERR_USAGE;
            continue;
        }
        const char *value = row->env && !given[i] ? getenv(row->env) : NULL;
        if (!value || !*value)
            continue;
        enum err_code rc = store(row, value, options, err);
        if (rc != ERR_OK) {
            err_prefix(err, "%s", row->env);
            return rc;
        }
    }
    return ERR_OK;
}

enum err_code options_parse(const struct command *command, int argc, char **argv, void *options,
                            int *ret_first, int *ret_help, struct err *err)
{
    struct option longs[MAX_ROWS + 2] = {0};
    char shorts[2 * MAX_ROWS + 4] = ":h";
    unsigned char given[MAX_ROWS] = {0};
    size_t at = strlen(shorts);
    size_t n = command->n_options < MAX_ROWS ? command->n_options : MAX_ROWS;
    struct option_row rows[MAX_ROWS];
    for (size_t i = 0; i < n; i++) {
        const struct option_row *row = &rows[i];
        rows[i] = option_row(&command->options[i]);
        longs[i] =
            (struct option){.name = row->name,
                            .has_arg = row->kind == OPTION_FLAG ? no_argument : required_argument,
                            .val = 256 + (int)i};
        if (row->letter) {
            shorts[at++] = row->letter;
            if (row->kind != OPTION_FLAG)
                shorts[at++] = ':';
        }
    }
    longs[n] = (struct option){.name = "help", .val = 'h'};
    opterr = 0;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        if (c == 'h') {
            *ret_help = 1;
            return ERR_OK;
        }
        if (c == '?' || c == ':')
            return err_set(err, ERR_USAGE, "%s '%s'",
                           c == '?' ? "unknown option" : "a value is missing after",
                           argv[optind - 1]);
        size_t i = 0;
        while (i < n && c != 256 + (int)i && c != rows[i].letter)
            i++;
        enum err_code rc = store(&rows[i], optarg, options, err);
        if (rc != ERR_OK) {
            err_prefix(err, "--%s", rows[i].name);
            return rc;
        }
        given[i] = 1;
    }
    *ret_first = optind;
    return read_environment(command, given, options, err);
}

void options_print_help(const struct command *command, FILE *out)
{
    fprintf(out, "Usage: sonde %s [OPTIONS] %s\n\n%s\n\n%s\nOptions:\n", command->name,
            command->arguments, command->summary, command->text);
    for (size_t i = 0; i < command->n_options; i++) {
        const struct option_row row = option_row(&command->options[i]);
        char left[64];
        snprintf(left, sizeof left, "%s%c%s --%s%s%s", row.letter ? "-" : " ",
                 row.letter ? row.letter : ' ', row.letter ? "," : " ", row.name,
                 row.value ? " " : "", row.value ? row.value : "");
        fprintf(out, "  %-26s %s", left, row.help);
        if (row.otherwise)
            fprintf(out, " (default: %s)", row.otherwise);
        fputc('\n', out);
        if (row.env)
            fprintf(out, "  %-26s (environment: %s)\n", "", row.env);
    }
    fprintf(out, "  %-26s %s\n", "-h, --help", "show this text");
}

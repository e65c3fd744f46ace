/* Options by table over getopt_long. One thread: getopt keeps global state. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"

#define MAX_ROWS 64

static enum err_code number_with_unit(const char *text, const char *units, const double *factors,
                                      double *ret, struct err *err)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || !isfinite(value) || value < 0)
        return err_set(err, ERR_USAGE, "'%s' is not a number", text);
    if (*end) {
        const char *unit = strchr(units, *end);
        if (!unit || end[1])
            return err_set(err, ERR_USAGE, "'%s' has an unknown unit; known are %s", text, units);
        value *= factors[unit - units];
    }
    *ret = value;
    return ERR_OK;
}

enum err_code options_size(const char *text, double *ret, struct err *err)
{
    static const double factors[] = {1024.0, 1048576.0, 1073741824.0, 1099511627776.0};
    return number_with_unit(text, "KMGT", factors, ret, err);
}

enum err_code options_seconds(const char *text, double *ret, struct err *err)
{
    static const double factors[] = {1.0, 60.0, 3600.0};
    return number_with_unit(text, "smh", factors, ret, err);
}

static enum err_code store(const struct option_row *row, const char *value, void *options,
                           struct err *err)
{
    void *field = (char *)options + row->offset;
    double number = 0;
    enum err_code rc = ERR_OK;
    switch (row->kind) {
    case OPTION_FLAG:
        *(int *)field = 1;
        return ERR_OK;
    case OPTION_TEXT:
        *(const char **)field = value;
        return ERR_OK;
    case OPTION_COUNT: {
        char *end;
        number = (double)strtol(value, &end, 10);
        if (end == value || *end)
            rc = err_set(err, ERR_USAGE, "'%s' is not a whole number", value);
        break;
    }
    case OPTION_NUMBER: {
        char *end;
        number = strtod(value, &end);
        if (end == value || *end || !isfinite(number))
            rc = err_set(err, ERR_USAGE, "'%s' is not a number", value);
        break;
    }
    case OPTION_SIZE:
        rc = options_size(value, &number, err);
        break;
    case OPTION_SECONDS:
        rc = options_seconds(value, &number, err);
        break;
    }
    if (rc != ERR_OK)
        return rc;
    if (number < row->min || number > row->max)
        return err_set(err, ERR_USAGE, "%s is outside %.10g to %.10g", value, row->min, row->max);
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
    for (size_t i = 0; i < n; i++) {
        const struct option_row *row = &command->options[i];
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
        while (i < n && c != 256 + (int)i && c != command->options[i].letter)
            i++;
        enum err_code rc = store(&command->options[i], optarg, options, err);
        if (rc != ERR_OK) {
            err_prefix(err, "--%s", command->options[i].name);
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
        const struct option_row *row = &command->options[i];
        char left[64];
        snprintf(left, sizeof left, "%s%c%s --%s%s%s", row->letter ? "-" : " ",
                 row->letter ? row->letter : ' ', row->letter ? "," : " ", row->name,
                 row->value ? " " : "", row->value ? row->value : "");
        fprintf(out, "  %-26s %s\n", left, row->help);
        if (row->env)
            fprintf(out, "  %-26s (environment: %s)\n", "", row->env);
    }
    fprintf(out, "  %-26s %s\n", "-h, --help", "show this text");
}

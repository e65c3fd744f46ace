/* `sonde config`: what can be set, what is set and by whom, and what is wrong with it. Reads files
 * and environment, opens nothing else. */
#include <stdio.h>
#include <string.h>

#include "../base/mem.h"
#include "commands.h"
#include "print.h"
#include "settings.h"

struct config_options {
    struct settings_options settings;
    int sample, json;
};

static const struct option_row rows[] = {
    SETTINGS_OPTION_ROWS(struct config_options),
    {"json", 0, OPTION_FLAG, offsetof(struct config_options, json), NULL, NULL, 0, 0,
     "print: one JSON object per setting and line", NULL},
    {"sample", 0, OPTION_FLAG, offsetof(struct config_options, sample), NULL, NULL, 0, 0,
     "docs: a sonde.conf with every setting commented out", NULL},
    SERVE_SETTING_ROWS(struct config_options),
};

static void print_row(const struct conf *conf, enum conf_id id)
{
    const struct conf_setting *setting = &conf_settings[id];
    _cleanup_free_ char *shown = conf_shown(conf, id), *source = conf_source(conf, id);
    _cleanup_free_ char *otherwise = shown ? NULL : xasprintf("(%s)", setting->otherwise);
    printf("%-16s", setting->key);
    print_clean(stdout, shown ? shown : otherwise);
    size_t len = strlen(shown ? shown : otherwise);
    printf("%*s", len < 48 ? (int)(50 - len) : 2, "");
    print_clean(stdout, source);
    putchar('\n');
}

static void print_json(const struct conf *conf, enum conf_id id)
{
    const struct conf_setting *setting = &conf_settings[id];
    _cleanup_free_ char *shown = conf_shown(conf, id), *source = conf_source(conf, id);
    json_t *row = json_object();
    json_object_set_new(row, "section", json_string(setting->section));
    json_object_set_new(row, "key", json_string(setting->key));
    json_object_set_new(row, "value", shown ? json_string(shown) : json_null());
    json_object_set_new(row, "from", json_string(source));
    json_dumpf(row, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(row);
}

static int print(const struct config_options *options)
{
    const struct conf *conf = options->settings.conf;
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        const char *section = conf_settings[id].section;
        if (options->json) {
            print_json(conf, id);
            continue;
        }
        if (id == 0 || strcmp(section, conf_settings[id - 1].section) != 0)
            printf("%s[%s]\n", id > 0 ? "\n" : "", section);
        print_row(conf, id);
    }
    fflush(stdout);
    return settings_tell(conf);
}

static int check(struct conf *conf)
{
    size_t problems = 0;
    if (conf_errors(conf) == 0) /* else half of it is not what was meant */
        conf_check(conf);
    for (const struct conf_problem *p; (p = conf_problem_at(conf, problems)); problems++) {
        fputs(p->warning ? "warning  " : "PROBLEM  ", stdout);
        print_clean(stdout, p->text);
        putchar('\n');
    }
    size_t errors = conf_errors(conf);
    if (errors > 0) {
        printf("\n%zu problem%s\n", errors, errors == 1 ? "" : "s");
        return EXIT_USAGE;
    }
    printf("%sThe configuration is sound", problems > 0 ? "\n" : "");
    if (conf_file(conf)) {
        printf(": ");
        print_clean(stdout, conf_file(conf));
    }
    printf(". `sonde doctor` tries what it names.\n");
    return 0;
}

static int run(int argc, char **argv)
{
    _cleanup_(cli_conf_free) struct conf *conf = conf_new();
    struct config_options options = {.settings.conf = conf};
    struct err err;
    int first = 0, help = 0;
    if (options_parse(&command_config, argc, argv, &options, &first, &help, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    if (help) {
        options_print_help(&command_config, stdout);
        return 0;
    }
    const char *verb = first + 1 == argc ? argv[first] : "";
    if (strcmp(verb, "docs") == 0) {
        if (options.sample)
            conf_print_sample(stdout);
        else
            conf_print_docs(stdout);
        return 0;
    }
    int checking = strcmp(verb, "check") == 0;
    if (!checking && strcmp(verb, "print") != 0) {
        err_set(&err, ERR_USAGE, "config does one of print, check and docs");
        return cli_fail(EXIT_USAGE, &err);
    }
    settings_load(&options.settings);
    return checking ? check(conf) : print(&options);
}

const struct command command_config = {
    .name = "config",
    .arguments = "print | check | docs",
    .summary = "Show what is set and by whom; check it; list what can be set",
    .text =
        "Settings come from a file, the environment and flags; the later wins. `print` shows each "
        "with its\n"
        "value and where that came from, secrets as ********. `check` reads everything that "
        "`serve` reads,\n"
        "and the files that are named, and tells each problem with its line; exit code 2 when "
        "there is\n"
        "one. It connects to nothing: that is `sonde doctor`. `docs` writes a table of all "
        "settings in\n"
        "Markdown, or with --sample a sonde.conf to start from.\n"
        "\n"
        "The file has sections and lines such as\n"
        "\n"
        "    [server]\n"
        "    listen = 0.0.0.0:8080\n"
        "\n"
        "and comments on lines of their own, after # or ;. Values are written without quotes.\n",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .verbs = "print check docs",
    .configured = 1,
    .run = run,
};

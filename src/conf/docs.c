/* The table of settings for people: Markdown for docs/operations.md, and a sample sonde.conf in
 * which everything is commented out. Main thread. */
#include <string.h>

#include "../base/mem.h"
#include "conf.h"

static int opens_section(enum conf_id id)
{
    return id == 0 || strcmp(conf_settings[id].section, conf_settings[id - 1].section) != 0;
}

static const char *section_help(const char *section)
{
    static const struct {
        const char *section, *help;
    } all[] = {
        {"server", "the process, its address and its limits"},
        {"log", "lines on standard error"},
        {"retention", "how long is kept what was uploaded"},
        {"detector", "weights, and limits for each recording"},
        {"db", "uploads, analyses, results"},
        {"blob", "the recordings"},
        {"queue", "work to do"},
        {"cache", "final results, tickets, news between processes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(all[i].section, section) == 0)
            return all[i].help;
    return "";
}

static void print_docs_row(FILE *out, const struct conf_setting *s)
{
    fprintf(out, "| `%s` | %s | ", s->key, s->help);
    if (s->initial)
        fprintf(out, "`%s`", s->initial);
    else
        fputs(s->otherwise, out);
    fprintf(out, " | `%s`", s->env);
    if (s->flag)
        fprintf(out, " `--%s`", s->flag);
    fputs(" |\n", out);
}

void conf_print_docs(FILE *out)
{
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        const struct conf_setting *s = &conf_settings[id];
        if (opens_section(id))
            fprintf(
                out,
                "%s`[%s]`: %s\n\n| key | what | default | environment, flag |\n|---|---|---|---|\n",
                id > 0 ? "\n" : "", s->section, section_help(s->section));
        print_docs_row(out, s);
    }
}

/* As comment lines of at most 96 characters. */
static void print_wrapped(FILE *out, const char *text)
{
    size_t column = 0;
    for (const char *p = text; *p;) {
        size_t word = strcspn(p, " ");
        if (column == 0 || column + 1 + word > 96) {
            fprintf(out, "%s#", column ? "\n" : "");
            column = 1;
        }
        fprintf(out, " %.*s", (int)word, p);
        column += 1 + word;
        p += word;
        p += strspn(p, " ");
    }
    fputc('\n', out);
}

void conf_print_sample(FILE *out)
{
    fputs(
        "# Settings of `sonde serve`. Each line that begins with #key shows the default, or an\n"
        "# example where there is none: take the # away and change it. The order is default, this\n"
        "# file, environment, flag. A value is what stands behind the =, without quotes; comments\n"
        "# stand on lines of their own. `sonde config check` tells what is wrong.\n",
        out);
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        const struct conf_setting *s = &conf_settings[id];
        if (opens_section(id))
            fprintf(out, "\n# --- %s\n[%s]\n", section_help(s->section), s->section);
        _cleanup_free_ char *text = s->initial
                                        ? xasprintf("%s.", s->help)
                                        : xasprintf("%s. Otherwise: %s.", s->help, s->otherwise);
        print_wrapped(out, text);
        fprintf(out, "#%s = %s\n", s->key, s->initial ? s->initial : s->example);
    }
}

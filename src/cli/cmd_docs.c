/* `sonde man` and `sonde completion`: the man page and shell completion, written from the same
 * tables that parse the options, so that they cannot disagree. */
#include <stdio.h>
#include <string.h>

#include "commands.h"

/* troff takes a leading dot or quote for a request, and - for a hyphen. */
static void troff(const char *text)
{
    int start = 1;
    for (const char *p = text; *p; p++) {
        if (start && (*p == '.' || *p == '\''))
            fputs("\\&", stdout);
        if (*p == '-')
            fputs("\\-", stdout);
        else if (*p == '\\')
            fputs("\\e", stdout);
        else
            putchar(*p);
        start = *p == '\n';
    }
}

static void man_command(const struct command *command)
{
    printf(".SS sonde %s\n.B sonde %s\n[OPTIONS] ", command->name, command->name);
    troff(command->arguments);
    printf("\n.PP\n");
    troff(command->summary);
    printf("\n");
    if (*command->text) {
        printf(".PP\n");
        for (const char *p = command->text; *p;) {
            const char *end = strstr(p, "\n\n");
            int n = (int)(end ? end - p : (long)strlen(p));
            char paragraph[1024];
            snprintf(paragraph, sizeof paragraph, "%.*s", n, p);
            troff(paragraph);
            printf(end ? "\n.PP\n" : "\n");
            p += n + (end ? 2 : 0);
        }
    }
    for (size_t i = 0; i < command->n_options; i++) {
        const struct option_row full = option_row(&command->options[i]), *row = &full;
        printf(".TP\n");
        if (row->letter)
            printf("\\fB\\-%c\\fR, ", row->letter);
        printf("\\fB\\-\\-");
        troff(row->name);
        printf("\\fR");
        if (row->value)
            printf(" \\fI%s\\fR", row->value);
        printf("\n");
        troff(row->help);
        if (row->otherwise) {
            printf(" (default: ");
            troff(row->otherwise);
            printf(")");
        }
        if (row->env)
            printf("; environment: %s", row->env);
        printf("\n");
    }
}

static int run_man(int argc, char **argv)
{
    (void)argc, (void)argv;
    printf(
        ".TH SONDE 1 \"\" \"sonde %s\" \"User Commands\"\n"
        ".SH NAME\nsonde \\- tell human speech from machine\\-made speech\n"
        ".SH SYNOPSIS\n.B sonde\nCOMMAND [OPTIONS] [ARGUMENTS]\n"
        ".SH DESCRIPTION\nsonde judges recordings on this machine, without a network: it gives a\n"
        "calibrated probability that the speech was synthesised, a timeline, and the reasons when\n"
        "it cannot say.\n.SH COMMANDS\n",
        SONDE_VERSION);
    for (size_t i = 0; commands[i]; i++)
        man_command(commands[i]);
    printf(".SH EXIT STATUS\n"
           ".TP\n0\nall recordings human; or the command did what it was asked\n"
           ".TP\n1\nat least one synthetic\n.TP\n2\nwrong usage\n"
           ".TP\n3\nnone synthetic, but some failed or inconclusive\n"
           ".SH ENVIRONMENT\n.TP\nSONDE_DECODER\npath of the program sonde\\-decoder\n"
           ".TP\nNO_COLOR\nno colours\n"
           ".SH EXAMPLES\n.nf\nsonde detect call.m4a\nsonde detect \\-\\-json recordings/ > "
           "answers.jsonl\n"
           "sonde eval manifest.tsv \\-\\-svg plot.svg\n.fi\n");
    return 0;
}

/* The first word of each command's name. */
static void print_first_words(void)
{
    for (size_t i = 0; commands[i]; i++)
        printf("%.*s ", (int)strcspn(commands[i]->name, " "), commands[i]->name);
}

static int run_completion(int argc, char **argv)
{
    const char *shell = argc > 1 ? argv[1] : "";
    if (strcmp(shell, "bash") != 0) {
        struct err err;
        err_set(&err, ERR_USAGE, "completion is written for bash: sonde completion bash");
        return cli_fail(EXIT_USAGE, &err);
    }
    printf("# sonde completion for bash, written by `sonde completion bash`\n"
           "_sonde() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
           "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
           "        COMPREPLY=($(compgen -W '");
    print_first_words();
    printf("--help --version' -- \"$cur\"))\n"
           "        return\n    fi\n"
           "    case \"${COMP_WORDS[1]}\" in\n");
    for (size_t i = 0; commands[i]; i++) {
        const struct command *command = commands[i];
        char first[32];
        snprintf(first, sizeof first, "%.*s", (int)strcspn(command->name, " "), command->name);
        printf("    %s)\n        case \"$prev\" in\n", first);
        for (size_t o = 0; o < command->n_options; o++) {
            const struct option_row full = option_row(&command->options[o]), *row = &full;
            if (row->choices && strcmp(row->choices, "FILE") != 0)
                printf("        --%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n",
                       row->name, row->choices);
        }
        printf("        esac\n        words='--help");
        if (strchr(command->name, ' '))
            printf("%s", strchr(command->name, ' '));
        if (command->verbs)
            printf(" %s", command->verbs);
        for (size_t o = 0; o < command->n_options; o++)
            printf(" --%s", option_row(&command->options[o]).name);
        printf("' ;;\n");
    }
    printf("    esac\n"
           "    case \"$cur\" in\n"
           "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
           "    *) COMPREPLY=($(compgen -W \"${words//--[a-z-]*/}\" -- \"$cur\") $(compgen -f -- "
           "\"$cur\")) ;;\n"
           "    esac\n}\ncomplete -o filenames -F _sonde sonde\n");
    return 0;
}

const struct command command_man = {
    .name = "man",
    .arguments = "",
    .summary = "Write the man page (troff) to standard output.",
    .text = "",
    .run = run_man,
};

const struct command command_completion = {
    .name = "completion",
    .arguments = "bash",
    .summary = "Write shell completion to standard output: source it, or install it.",
    .text = "",
    .run = run_completion,
};

/* The program: finds the command and runs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"

const struct command *const commands[] = {
    &command_serve,  &command_detect,     &command_eval,   &command_model_info,
    &command_jobs,   &command_doctor,     &command_backup, &command_restore,
    &command_config, &command_completion, &command_man,    NULL,
};

static int print_overview(FILE *out)
{
    fprintf(out,
            "sonde %s - was this speech recorded from a human, or made by a machine?\n\n"
            "Usage: sonde COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n",
            SONDE_VERSION);
    for (size_t i = 0; commands[i]; i++)
        fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\nsonde COMMAND --help tells more. Example: sonde detect call.m4a\n");
    return 0;
}

/* Number of words of the command's name that argv[1..] begins with, 0 = another command. */
static int matches(const struct command *command, int argc, char **argv)
{
    char name[32];
    snprintf(name, sizeof name, "%s", command->name);
    int words = 0;
    for (char *save, *word = strtok_r(name, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (words + 1 >= argc || strcmp(argv[words + 1], word) != 0)
            return 0;
        words++;
    }
    return words;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, told like any other */
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return print_overview(stdout);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        printf("sonde %s\n", SONDE_VERSION);
        return 0;
    }
    for (size_t i = 0; commands[i]; i++) {
        int words = matches(commands[i], argc, argv);
        if (words > 0)
            return commands[i]->run(argc - words, argv + words);
    }
    struct err err;
    err_set(&err, ERR_USAGE, "unknown command '%s'", argv[1]);
    return cli_fail(EXIT_USAGE, &err);
}

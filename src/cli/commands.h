/* The commands of the program, one file each, and what they share. */
#ifndef SONDE_CLI_COMMANDS_H
#define SONDE_CLI_COMMANDS_H

#include "../detect/detector.h"
#include "options.h"

/* Exit codes of detect and eval, documented in --help and sonde(1). */
enum { EXIT_ALL_HUMAN = 0, EXIT_ANY_SYNTHETIC = 1, EXIT_USAGE = 2, EXIT_INCOMPLETE = 3 };

extern const struct command command_serve, command_detect, command_eval, command_model_info,
    command_jobs, command_doctor, command_backup, command_restore, command_config,
    command_completion, command_man;
/* NULL-terminated. */
extern const struct command *const commands[];

/* "sonde: text (hint)" on standard error; returns `code` for `return cli_fail(…)`. */
int cli_fail(int code, const struct err *err);

/* What every command that judges recordings can be told: settings of [detector], and jobs. */
struct engine_options {
    struct conf *conf; /* of the caller; made before options_parse */
    int quiet;
};
/* The rows for an options struct that has `struct engine_options engine` at `base`. */
/* clang-format off */
#define ENGINE_SETTING_ROWS(type, field) \
    SETTING_ROW(type, field, SERVER_JOBS), \
    SETTING_ROW(type, field, DETECTOR_MODEL), \
    SETTING_ROW(type, field, DETECTOR_PRIOR), \
    SETTING_ROW(type, field, DETECTOR_ISA), \
    SETTING_ROW(type, field, DETECTOR_MAX_BYTES), \
    SETTING_ROW(type, field, DETECTOR_MAX_SECONDS), \
    SETTING_ROW(type, field, DETECTOR_MAX_WALL), \
    SETTING_ROW(type, field, DETECTOR_MAX_MEMORY)
#define ENGINE_OPTION_ROWS(type) \
    ENGINE_SETTING_ROWS(type, engine.conf), \
    {"quiet", 'q', OPTION_FLAG, offsetof(type, engine.quiet), NULL, NULL, 0, 0, \
     "no progress bar", NULL}
/* clang-format on */

/* Detector and decoder as the options say. */
struct engine {
    struct detector *detector;
    struct media_service *media;
    int jobs;
    int stability; /* 1: batch_run adds the stability panel to each report */
};
enum err_code engine_open(const struct conf *conf, struct engine *ret, struct err *err) MUST_CHECK;
void engine_done(struct engine *engine);

/* For _cleanup_. */
void cli_conf_free(struct conf **conf);

#endif

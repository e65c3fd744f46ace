/* The commands of the program, one file each, and what they share. */
#ifndef SONDE_CLI_COMMANDS_H
#define SONDE_CLI_COMMANDS_H

#include "../detect/detector.h"
#include "options.h"

/* Exit codes of detect and eval, documented in --help and sonde(1). */
enum { EXIT_ALL_HUMAN = 0, EXIT_ANY_SYNTHETIC = 1, EXIT_USAGE = 2, EXIT_INCOMPLETE = 3 };

extern const struct command command_serve, command_detect, command_eval, command_model_info,
    command_jobs, command_doctor, command_backup, command_restore, command_completion, command_man;
/* NULL-terminated. */
extern const struct command *const commands[];

/* "sonde: text (hint)" on standard error; returns `code` for `return cli_fail(…)`. */
int cli_fail(int code, const struct err *err);

/* What every command that judges recordings can be told. */
struct engine_options {
    const char *model;
    const char *isa;
    int jobs;
    double prior; /* 0: the model's */
    struct media_limits limits;
    int quiet;
};
/* The rows for an options struct that has `struct engine_options engine` at `base`. */
/* clang-format off */
#define ENGINE_OPTION_ROWS(type) \
    {"jobs", 'j', OPTION_COUNT, offsetof(type, engine.jobs), "N", "SONDE_JOBS", 0, 256, \
     "recordings at once (default: one per processor; serve: one more)", NULL}, \
    {"model", 'm', OPTION_TEXT, offsetof(type, engine.model), "FILE", "SONDE_MODEL", 0, 0, \
     "weights to use instead of the built-in ones", "FILE"}, \
    {"prior", 0, OPTION_NUMBER, offsetof(type, engine.prior), "P", "SONDE_PRIOR", 0.001, 0.999, \
     "share of synthetic recordings where you work (default: 0.5)", NULL}, \
    {"isa", 0, OPTION_TEXT, offsetof(type, engine.isa), "NAME", "SONDE_ISA", 0, 0, \
     "instruction set: scalar, avx2 or avx512 (default: the best here)", "scalar avx2 avx512"}, \
    {"max-bytes", 0, OPTION_SIZE, offsetof(type, engine.limits.max_bytes), "SIZE", "SONDE_MAX_BYTES", 1, 1e15, \
     "largest file, e.g. 500M (default: 4G)", NULL}, \
    {"max-seconds", 0, OPTION_SECONDS, offsetof(type, engine.limits.max_seconds), "TIME", "SONDE_MAX_SECONDS", 1, 86400, \
     "longest recording, e.g. 2h (default: 6h)", NULL}, \
    {"max-wall", 0, OPTION_SECONDS, offsetof(type, engine.limits.max_wall), "TIME", "SONDE_MAX_WALL", 1, 86400, \
     "longest time to spend on one recording (default: 10m)", NULL}, \
    {"max-memory", 0, OPTION_SIZE, offsetof(type, engine.limits.max_memory), "SIZE", "SONDE_MAX_MEMORY", 64.0 * (1 << 20), 1e12, \
     "most memory for decoding one recording (default: 1G)", NULL}, \
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
enum err_code engine_open(const struct engine_options *options, struct engine *ret,
                          struct err *err) MUST_CHECK;
void engine_done(struct engine *engine);

#endif

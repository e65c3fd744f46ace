/* `sonde model info`: what the weights say about themselves. */
#include <stdio.h>
#include <string.h>

#include "../base/mem.h"
#include "commands.h"
#include "print.h"

struct model_options {
    const char *model;
    int json;
};

static const struct option_row rows[] = {
    {"model", 'm', OPTION_TEXT, offsetof(struct model_options, model), "FILE", "SONDE_MODEL", 0, 0,
     "weights to describe instead of the built-in ones", "FILE"},
    {"json", 0, OPTION_FLAG, offsetof(struct model_options, json), NULL, NULL, 0, 0,
     "one JSON object", NULL},
};

static void print_json(const struct detector *detector)
{
    const struct nn_model *model = detector_model(detector);
    const char *key, *value;
    json_t *meta = json_object();
    for (size_t i = 0; nn_model_meta_at(model, i, &key, &value); i++)
        json_object_set_new(meta, key, json_string(value));
    json_t *json = detector_model_json(detector);
    json_object_set_new(json, "parameters", json_integer((json_int_t)nn_model_parameters(model)));
    json_object_set_new(json, "macs_per_window", json_integer((json_int_t)nn_model_macs(model)));
    json_object_set_new(json, "window_s",
                        json_real((double)nn_window_samples(nn_model_shape(model)) /
                                  nn_model_shape(model)->sample_rate));
    json_object_set_new(json, "metadata", meta);
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(json);
}

static void print_text(const struct detector *detector)
{
    const struct nn_model *model = detector_model(detector);
    const struct nn_shape *shape = nn_model_shape(model);
    const char *key, *value;
    printf("sha256           %s\n", nn_model_sha256(model));
    printf("parameters       %zu\n", nn_model_parameters(model));
    printf("cost             %.1f million multiply-adds per window of %.2f s\n",
           (double)nn_model_macs(model) / 1e6,
           (double)nn_window_samples(shape) / shape->sample_rate);
    printf("instruction set  %s\n", nn_isa_name(nn_model_isa(model)));
    for (size_t i = 0; nn_model_meta_at(model, i, &key, &value); i++) {
        print_clean(stdout, key);
        printf("%*s", (int)(strlen(key) < 16 ? 17 - strlen(key) : 1), "");
        print_clean(stdout, value);
        putchar('\n');
    }
}

static int run(int argc, char **argv)
{
    struct model_options options = {0};
    struct err err;
    int first = 0, help = 0;
    if (options_parse(&command_model_info, argc, argv, &options, &first, &help, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    if (help) {
        options_print_help(&command_model_info, stdout);
        return 0;
    }
    if (first < argc) {
        err_set(&err, ERR_USAGE, "'%s' is not understood; name weights with --model", argv[first]);
        return cli_fail(EXIT_USAGE, &err);
    }
    struct detector *detector;
    if (detector_new(options.model, NN_ISA_AUTO, &detector, &err) != ERR_OK)
        return cli_fail(EXIT_INCOMPLETE, &err);
    if (options.json)
        print_json(detector);
    else
        print_text(detector);
    detector_free(detector);
    return 0;
}

const struct command command_model_info = {
    .name = "model info",
    .arguments = "",
    .summary = "Describe the weights: name, hash, size, threshold, calibration, measured rates.",
    .text = "",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .run = run,
};

/* `sonde detect`: judge files, folders and standard input; print a table, CSV or JSON lines. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../os/walk.h"
#include "batch.h"
#include "commands.h"
#include "print.h"
#include "progress.h"

struct detect_options {
    struct engine_options engine;
    int json, csv, all_files, stability;
};

static const struct option_row rows[] = {
    {"json", 0, OPTION_FLAG, offsetof(struct detect_options, json), NULL, NULL, 0, 0,
     "one JSON object per recording and line", NULL},
    {"csv", 0, OPTION_FLAG, offsetof(struct detect_options, csv), NULL, NULL, 0, 0,
     "comma-separated values (RFC 4180)", NULL},
    {"all-files", 'a', OPTION_FLAG, offsetof(struct detect_options, all_files), NULL, NULL, 0, 0,
     "in folders, try files of any name, not only recordings", NULL},
    {"stability", 0, OPTION_FLAG, offsetof(struct detect_options, stability), NULL, NULL, 0, 0,
     "also score each recording after small changes", NULL},
    ENGINE_OPTION_ROWS(struct detect_options),
};

struct totals {
    size_t human, synthetic, inconclusive, failed;
};

struct output {
    const struct detect_options *options;
    const struct detector *detector;
    struct totals totals;
    int color;
    json_t *rates; /* of the last recording */
};

/* Names that a folder search takes for recordings. Files named on the command line are always
 * tried. */
static int has_recording_name(const char *name, void *ctx)
{
    static const char *const endings[] = {
        "wav", "wave", "w64", "rf64", "flac", "mp3", "mp2", "ogg", "oga",  "opus", "m4a", "m4b",
        "mp4", "m4v",  "mov", "aac",  "webm", "mka", "mkv", "aif", "aiff", "aifc", "wma", "asf",
        "wmv", "amr",  "awb", "3gp",  "3g2",  "au",  "snd", "caf", "avi",  "ts",   "ac3", "wv"};
    size_t *left_out = ctx;
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(endings); i++)
        if (strcasecmp(dot + 1, endings[i]) == 0)
            return 1;
    ++*left_out;
    return 0;
}

static enum err_code collect(int argc, char **argv, int all_files, struct walk_list *list,
                             size_t *left_out, struct err *err)
{
    for (int i = 0; i < argc; i++) {
        struct stat st;
        enum err_code rc;
        if (strcmp(argv[i], "-") != 0 && stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            rc = walk_folder(argv[i], all_files ? NULL : has_recording_name, left_out, list, err);
        else
            rc = walk_list_add(list, argv[i], err);
        if (rc != ERR_OK)
            return rc;
    }
    return ERR_OK;
}

static void count(struct totals *t, const struct file_report *r)
{
    if (r->error.code != ERR_OK)
        t->failed++;
    else if (r->detection.verdict == VERDICT_SYNTHETIC)
        t->synthetic++;
    else if (r->detection.verdict == VERDICT_HUMAN)
        t->human++;
    else
        t->inconclusive++;
}

static void emit(void *ctx, size_t item, const struct file_report *report)
{
    struct output *out = ctx;
    (void)item;
    progress_hide();
    count(&out->totals, report);
    if (report->error.code == ERR_OK) {
        json_decref(out->rates);
        out->rates = detector_rates_json(out->detector, &report->detection, &report->media);
    }
    if (out->options->json)
        print_json_line(stdout, report, out->detector);
    else if (out->options->csv)
        print_csv_row(stdout, report);
    else
        print_table_row(stdout, report, out->color);
    fflush(stdout);
}

static double percent_of(const json_t *rate, const char *key)
{
    return 100 * json_number_value(json_object_get(rate, key));
}

/* And of recordings like the one that was asked about. */
static void print_rates(const json_t *rates)
{
    printf("Of those like this one (human called synthetic; synthetic missed):\n");
    for (size_t i = 0; i < json_array_size(rates); i++) {
        const json_t *rate = json_array_get(rates, i);
        printf("  %-8s %-12s %2.0f %% (%.0f to %.0f);  %2.0f %% (%.0f to %.0f)\n",
               json_string_value(json_object_get(rate, "by")),
               json_string_value(json_object_get(rate, "name")), percent_of(rate, "false_alarm"),
               percent_of(rate, "false_alarm_low"), percent_of(rate, "false_alarm_high"),
               percent_of(rate, "miss"), percent_of(rate, "miss_low"),
               percent_of(rate, "miss_high"));
    }
}

/* What the threshold is worth, next to every answer: measured rates of this model, or the plain
 * statement that there are none. */
static void print_footer(const struct output *out)
{
    const struct totals *t = &out->totals;
    const struct nn_model *model = detector_model(out->detector);
    const char *name = nn_model_meta(model, "name");
    const char *fpr = nn_model_meta(model, "eval_fpr"), *fnr = nn_model_meta(model, "eval_fnr");
    size_t files = t->human + t->synthetic + t->inconclusive + t->failed;
    printf("\n%zu recording%s: %zu human, %zu synthetic, %zu inconclusive, %zu failed\n", files,
           files == 1 ? "" : "s", t->human, t->synthetic, t->inconclusive, t->failed);
    double below, from, long_below, long_from;
    detector_limits(out->detector, 0, &below, &from);
    detector_limits(out->detector, HUGE_VAL, &long_below, &long_from);
    printf("Synthetic from LLR %+.2f on", from);
    if (below < from)
        printf(", human below %+.2f", below);
    if (long_from < from)
        printf(", with much speech from and below %+.2f", long_from);
    printf("; the percentage assumes that %.0f %% of recordings are synthetic.\n",
           100 * detector_prior(out->detector));
    if (!fpr || !fnr) {
        printf("This model states no error rates: measure them with `sonde eval`.\n");
        return;
    }
    printf("On its validation set, %s calls %.0f %% of human speech synthetic and misses "
           "%.0f %% of synthetic speech.\n",
           name ? name : "this model", 100 * atof(fpr), 100 * atof(fnr));
    const char *human = nn_model_meta(model, "eval_undecided_bonafide"),
               *spoof = nn_model_meta(model, "eval_undecided_spoof");
    if (human && spoof)
        printf("Too close to call are %.0f %% of human and %.0f %% of synthetic speech.\n",
               100 * atof(human), 100 * atof(spoof));
    if (files == 1 && json_array_size(out->rates) > 0)
        print_rates(out->rates);
}

static int exit_code(const struct totals *t)
{
    if (t->synthetic > 0)
        return EXIT_ANY_SYNTHETIC;
    return t->inconclusive + t->failed > 0 ? EXIT_INCOMPLETE : EXIT_ALL_HUMAN;
}

static int wants_color(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static int detect_list(const struct detect_options *options, struct walk_list *list)
{
    struct err err;
    struct engine engine;
    if (engine_open(options->engine.conf, &engine, &err) != ERR_OK)
        return cli_fail(err.code == ERR_USAGE ? EXIT_USAGE : EXIT_INCOMPLETE, &err);
    engine.stability = options->stability;
    struct output out = {.options = options, .detector = engine.detector, .color = wants_color()};
    int table = !options->json && !options->csv;
    if (table)
        print_table_head(stdout, out.color);
    else if (options->csv)
        print_csv_head(stdout);
    progress_start(list->count, options->engine.quiet);
    enum err_code rc = batch_run(&engine, list->paths, list->count, emit, &out, &err);
    progress_stop();
    if (rc == ERR_OK && table)
        print_footer(&out);
    json_decref(out.rates);
    engine_done(&engine);
    if (rc != ERR_OK)
        return cli_fail(EXIT_INCOMPLETE, &err);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        err_set_errno(&err, ERR_IO, errno, "cannot write the output");
        return cli_fail(EXIT_INCOMPLETE, &err);
    }
    return exit_code(&out.totals);
}

static int run(int argc, char **argv)
{
    _cleanup_(cli_conf_free) struct conf *conf = conf_new();
    struct detect_options options = {.engine.conf = conf};
    struct err err;
    int first = 0, help = 0;
    if (options_parse(&command_detect, argc, argv, &options, &first, &help, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    if (help) {
        options_print_help(&command_detect, stdout);
        return 0;
    }
    if (options.json && options.csv) {
        err_set(&err, ERR_USAGE, "--json and --csv exclude each other");
        return cli_fail(EXIT_USAGE, &err);
    }
    if (options.csv && options.stability) {
        err_set(&err, ERR_USAGE, "--stability has no columns in --csv; use --json");
        return cli_fail(EXIT_USAGE, &err);
    }
    if (first >= argc) {
        err_set(&err, ERR_USAGE, "which recording? name files or folders, or - for standard input");
        return cli_fail(EXIT_USAGE, &err);
    }
    struct walk_list list = {0};
    size_t left_out = 0;
    enum err_code rc =
        collect(argc - first, argv + first, options.all_files, &list, &left_out, &err);
    if (rc == ERR_OK && list.count == 0)
        rc = err_set(&err, ERR_NOT_FOUND, "no recordings there");
    if (left_out > 0 && !options.engine.quiet)
        fprintf(stderr, "sonde: %zu file%s in folders left out by name (--all-files takes them)\n",
                left_out, left_out == 1 ? "" : "s");
    int code = rc == ERR_OK ? detect_list(&options, &list) : cli_fail(EXIT_INCOMPLETE, &err);
    walk_list_done(&list);
    return code;
}

const struct command command_detect = {
    .name = "detect",
    .arguments = "FILE|FOLDER|-…",
    .summary = "Judge recordings: was the speech recorded from a human, or made by a machine?",
    .text =
        "Reads wav, flac, mp3, ogg, opus, m4a, webm, aiff, wma, amr, the audio of mp4 and more.\n"
        "Folders are searched for recordings; - is standard input. Nothing leaves this machine.\n"
        "\n"
        "SYNTHETIC is the probability that the speech is synthetic, between 1 % and 99 %, LLR the\n"
        "natural-log likelihood ratio behind it: above 0 speaks for synthetic, below for human.\n"
        "The verdict follows from two fixed limits on the LLR; it is inconclusive between them, "
        "and\n"
        "where the recording does not allow to say. It is evidence, not proof: weigh it with what "
        "else\n"
        "you know.\n"
        "\n"
        "With --stability a recording is scored again after changes that leave the speech as it "
        "was:\n"
        "trimmed, through MP3, AAC, Opus and a telephone line, with noise. If the verdict flips, "
        "or\n"
        "the LLRs spread far, trust it less. Takes about 35 times as long; of a long recording "
        "only "
        "the\n"
        "first 5 minutes are looked at.\n"
        "\n"
        "Exit code: 0 all human; 1 at least one synthetic; 2 wrong usage; 3 none synthetic, but "
        "some\n"
        "failed or inconclusive.\n",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .run = run,
};

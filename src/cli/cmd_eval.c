/* `sonde eval`: judge labelled recordings and say how well that went. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"
#include "../detect/rates.h"
#include "../eval/eval.h"
#include "../eval/report.h"
#include "batch.h"
#include "commands.h"
#include "print.h"
#include "progress.h"

struct eval_options {
    struct engine_options engine;
    const char *where, *scores, *svg, *title;
    int json;
};

static const struct option_row rows[] = {
    {"json", 0, OPTION_FLAG, offsetof(struct eval_options, json), NULL, NULL, 0, 0,
     "one JSON object with every figure", NULL},
    {"where", 'w', OPTION_TEXT, offsetof(struct eval_options, where), "COLUMN=VALUE", NULL, 0, 0,
     "only these rows of the manifest; commas join several: split=valid,language=en", NULL},
    {"scores", 0, OPTION_TEXT, offsetof(struct eval_options, scores), "FILE", NULL, 0, 0,
     "write a tsv with the score of every file", "FILE"},
    {"svg", 0, OPTION_TEXT, offsetof(struct eval_options, svg), "FILE", NULL, 0, 0,
     "draw the DET curve and the score histogram", "FILE"},
    {"title", 0, OPTION_TEXT, offsetof(struct eval_options, title), "TEXT", NULL, 0, 0,
     "heading of the reports (default: the manifest's path)", NULL},
    ENGINE_OPTION_ROWS(struct eval_options),
};

/* Items and the strings they borrow. */
struct evaluation {
    const struct manifest *manifest;
    struct eval_item *items;
};

static char *reason_list(const struct detection *d)
{
    char *list = xstrdup("");
    for (size_t i = 0; i < d->n_reasons; i++) {
        char *longer = xasprintf("%s%s%s", list, i ? " " : "", reason_slug(d->reasons[i].code));
        free(list);
        list = longer;
    }
    return list;
}

static void take(void *ctx, size_t i, const struct file_report *report)
{
    struct evaluation *e = ctx;
    struct eval_item *item = &e->items[i];
    const struct detection *d = &report->detection;
    item->row = &e->manifest->rows[i];
    if (report->error.code != ERR_OK) {
        item->verdict = EVAL_FAILED;
        item->error = xstrdup(err_slug(report->error.code));
        progress_hide();
        fputs("sonde: ", stderr);
        print_clean(stderr, report->path);
        fputs(": ", stderr);
        print_clean(stderr, report->error.text);
        fputc('\n', stderr);
        return;
    }
    item->verdict = d->verdict == VERDICT_SYNTHETIC ? EVAL_SYNTHETIC
                    : d->verdict == VERDICT_HUMAN   ? EVAL_HUMAN
                                                    : EVAL_INCONCLUSIVE;
    item->has_score = d->scored;
    item->llr = d->llr;
    item->p = d->p;
    item->duration_s = d->duration_s;
    item->speech_s = d->speech_s;
    item->channel = rates_channel(d);
    item->reasons = reason_list(d);
    item->format = xasprintf("%s/%s", report->media.container, report->media.codec);
}

typedef enum err_code write_fn(FILE *f, void *ctx, struct err *err);

/* Writes to a temporary file beside `path`, then renames: a reader never sees half of it. */
static enum err_code write_file(const char *path, write_fn *write, void *ctx, struct err *err)
{
    _cleanup_free_ char *partial = xasprintf("%s.part", path);
    FILE *f = fopen(partial, "we");
    if (!f)
        return err_set_errno(err, err_from_errno(errno), errno, "cannot write %s", path);
    enum err_code rc = write(f, ctx, err);
    if (fclose(f) != 0 && rc == ERR_OK)
        rc = err_set_errno(err, ERR_IO, errno, "cannot write %s", path);
    if (rc == ERR_OK && rename(partial, path) != 0)
        rc = err_set_errno(err, ERR_IO, errno, "cannot rename to %s", path);
    if (rc != ERR_OK)
        remove(partial);
    return rc;
}

static enum err_code write_scores(FILE *f, void *ctx, struct err *err)
{
    const struct evaluation *e = ctx;
    return eval_scores_tsv(e->manifest, e->items, e->manifest->count, f, err);
}

static enum err_code write_svg(FILE *f, void *ctx, struct err *err)
{
    return eval_svg(ctx, f, err);
}

static enum err_code print_json(const struct eval_result *result, const struct engine *engine,
                                struct err *err)
{
    json_t *json = eval_report_json(result);
    if (!json)
        return err_set(err, ERR_NO_MEMORY, "no memory for the report");
    json_object_set_new(json, "model", detector_model_json(engine->detector));
    int failed = json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
    json_decref(json);
    putchar('\n');
    return failed || fflush(stdout) ? err_set(err, ERR_IO, "cannot write the report") : ERR_OK;
}

static enum err_code report(const struct eval_options *options, const struct engine *engine,
                            const char *name, struct evaluation *e, struct err *err)
{
    struct eval_params params = EVAL_PARAMS_DEFAULT;
    params.title = options->title ? options->title : name;
    params.threshold = detector_threshold(engine->detector);
    params.prior = detector_prior(engine->detector);
    _cleanup_(eval_result_cleanup) struct eval_result *result = NULL;
    enum err_code rc = eval_compute(e->items, e->manifest->count, params, &result, err);
    if (rc == ERR_OK && options->scores)
        rc = write_file(options->scores, write_scores, e, err);
    if (rc == ERR_OK && options->svg)
        rc = write_file(options->svg, write_svg, result, err);
    if (rc == ERR_OK)
        rc =
            options->json ? print_json(result, engine, err) : eval_report_text(result, stdout, err);
    return rc;
}

static enum err_code filter(struct manifest *manifest, const char *where, struct err *err)
{
    _cleanup_free_ char *list = xstrdup(where ? where : "");
    enum err_code rc = ERR_OK;
    for (char *save, *part = strtok_r(list, ",", &save); part && rc == ERR_OK;
         part = strtok_r(NULL, ",", &save))
        rc = manifest_filter(manifest, part, err);
    return rc;
}

static int evaluate(const struct eval_options *options, const char *name,
                    const struct manifest *manifest)
{
    struct err err;
    struct engine engine = {0};
    struct evaluation e = {.manifest = manifest};
    char **paths = xalloc(manifest->count * sizeof *paths);
    e.items = xalloc(manifest->count * sizeof *e.items);
    for (size_t i = 0; i < manifest->count; i++)
        paths[i] = manifest_row_path(manifest, &manifest->rows[i]);
    enum err_code rc = engine_open(options->engine.conf, &engine, &err);
    if (rc == ERR_OK) {
        progress_start(manifest->count, options->engine.quiet);
        rc = batch_run(&engine, paths, manifest->count, take, &e, &err);
        progress_stop();
    }
    if (rc == ERR_OK)
        rc = report(options, &engine, name, &e, &err);
    int incomplete = 0;
    for (size_t i = 0; i < manifest->count; i++) {
        incomplete |= e.items[i].verdict == EVAL_FAILED;
        free((char *)e.items[i].reasons);
        free((char *)e.items[i].error);
        free((char *)e.items[i].format);
        free(paths[i]);
    }
    free(e.items);
    free(paths);
    engine_done(&engine);
    if (rc != ERR_OK)
        return cli_fail(rc == ERR_USAGE ? EXIT_USAGE : EXIT_INCOMPLETE, &err);
    return incomplete ? EXIT_INCOMPLETE : 0;
}

static int run(int argc, char **argv)
{
    _cleanup_(cli_conf_free) struct conf *conf = conf_new();
    struct eval_options options = {.engine.conf = conf};
    struct err err;
    int first = 0, help = 0;
    if (options_parse(&command_eval, argc, argv, &options, &first, &help, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    if (help) {
        options_print_help(&command_eval, stdout);
        return 0;
    }
    if (argc - first != 1) {
        err_set(&err, ERR_USAGE, "name one manifest, or one folder with bonafide/ and spoof/");
        return cli_fail(EXIT_USAGE, &err);
    }
    _cleanup_(manifest_cleanup) struct manifest *manifest = NULL;
    enum err_code rc = manifest_open(argv[first], &manifest, &err);
    if (rc == ERR_OK)
        rc = filter(manifest, options.where, &err);
    if (rc != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    return evaluate(&options, argv[first], manifest);
}

const struct command command_eval = {
    .name = "eval",
    .arguments = "MANIFEST.tsv|FOLDER",
    .summary = "Measure the detector on labelled recordings: EER, AUC, Cllr, rates, plots.",
    .text =
        "A manifest is a tsv with the columns path and label (bonafide or spoof), and any of "
        "split,\n"
        "kind, system, speaker, language, source, orig_format, orig_rate, duration_s; paths are\n"
        "relative to it. A folder holds bonafide/ and spoof/ with recordings below them.\n"
        "\n"
        "EER, AUC and Cllr use every file that has a score. The false-alarm rate (human called\n"
        "synthetic) and the miss rate (synthetic called human) are those of the files that got a\n"
        "verdict, with 95 % Wilson intervals; where some got none, also those of the fixed "
        "threshold.\n"
        "\n"
        "Exit code: 0 measured; 2 wrong usage or manifest; 3 some files failed.\n",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .run = run,
};

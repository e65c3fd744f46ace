/* `sonde jobs`: the queues, and the dead letters in them, of a data folder or of the servers that
 * the configuration names; sonde may be running. It opens the database and the queue only, so that
 * a storage that is away, often the reason for the letters, keeps nobody from looking at them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../base/time.h"
#include "../role/app.h"
#include "../store/store.h"
#include "commands.h"
#include "print.h"
#include "settings.h"

struct jobs_options {
    struct settings_options settings;
    int all, json;
};

static const struct option_row rows[] = {
    SETTINGS_OPTION_ROWS(struct jobs_options),
    {"all", 'a', OPTION_FLAG, offsetof(struct jobs_options, all), NULL, NULL, 0, 0,
     "retry, drop: every dead letter", NULL},
    {"json", 0, OPTION_FLAG, offsetof(struct jobs_options, json), NULL, NULL, 0, 0,
     "list: one JSON object per dead letter and line", NULL},
};

struct jobs {
    struct db *db;
    struct queue *queue;
};

static void jobs_close(struct jobs *jobs)
{
    jobs->queue = queue_close(jobs->queue);
    jobs->db = db_close(jobs->db);
}

/* A database that is a file is not made here. */
static enum err_code check_there(const char *db_url, const char *data, struct err *err)
{
    static const char scheme[] = "sqlite:";
    const char *file = db_url + sizeof scheme - 1;
    if (strncmp(db_url, scheme, sizeof scheme - 1) != 0 || access(file, F_OK) == 0)
        return ERR_OK;
    return err_set_errno(err, err_from_errno(errno), errno, "there is no sonde data in %s", data);
}

static enum err_code jobs_open(const struct app_settings *settings, struct jobs *ret,
                               struct err *err)
{
    _cleanup_free_ char *file_url = xasprintf("sqlite:%s/sonde.db", settings->data);
    struct db_options db = settings->db;
    struct queue_options queue = settings->queue;
    *ret = (struct jobs){0};
    if (!db.url)
        db.url = file_url;
    if (!queue.url)
        queue.url = "table:";
    enum err_code rc = check_there(db.url, settings->data, err);
    if (rc == ERR_OK)
        rc = db_open(&db, &ret->db, err);
    queue.db = ret->db;
    if (rc == ERR_OK)
        rc = queue_open(&queue, &ret->queue, err);
    if (rc != ERR_OK)
        jobs_close(ret);
    return rc;
}

static const char *analysis_of(json_t *body)
{
    const char *id = json_string_value(json_object_get(body, "analysis"));
    return id ? id : "-";
}

static int print_letter(void *ctx, const struct queue_dead_letter *letter)
{
    const struct jobs_options *options = ctx;
    char died[TIME_TEXT];
    json_t *body = json_loads(letter->body, 0, NULL);
    time_format(letter->died_ms, died);
    if (options->json) {
        json_t *row = json_object();
        json_t *history = json_loads(letter->history, 0, NULL);
        json_object_set_new(row, "id", json_string(letter->id));
        json_object_set_new(row, "queue", json_string(letter->queue));
        json_object_set_new(row, "died_at", json_string(died));
        json_object_set_new(row, "deliveries", json_integer(letter->deliveries));
        json_object_set_new(row, "reason", json_string(letter->reason));
        json_object_set_new(row, "history", history ? history : json_array());
        json_object_set(row, "body", body);
        json_dumpf(row, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(row);
    } else {
        printf("%s  %-12s  %s  analysis %s\n    ", letter->id, letter->queue, died,
               analysis_of(body));
        print_clean(stdout, letter->reason);
        putchar('\n');
    }
    json_decref(body);
    return 0;
}

static enum err_code list(struct jobs *jobs, const struct jobs_options *options, struct err *err)
{
    static const char *const names[] = {QUEUE_MEDICAL_DATA, QUEUE_ML_INFERENCE, QUEUE_STABILITY,
                                        QUEUE_WEBHOOK, QUEUE_DLQ};
    if (!options->json)
        printf("%-14s %8s %8s %8s %10s\n", "QUEUE", "READY", "DELAYED", "LEASED", "OLDEST");
    for (size_t i = 0; !options->json && i < ARRAY_LEN(names); i++) {
        struct queue_stats s;
        enum err_code rc = queue_stats(jobs->queue, names[i], &s, err);
        if (rc != ERR_OK)
            return rc;
        printf("%-14s %8llu %8llu %8llu %8.0f s\n", names[i], (unsigned long long)s.ready,
               (unsigned long long)s.delayed, (unsigned long long)s.leased, s.oldest_s);
    }
    if (!options->json)
        printf("\nDead letters:\n");
    return queue_dead_list(jobs->queue, print_letter, (void *)(uintptr_t)options, err);
}

/* The analyses of the letters that are about to be tried again are open again first: a message
 * that finds its analysis failed is over. */
struct reopening {
    struct jobs *jobs;
    const char *id;
};

static int reopen(void *ctx, const struct queue_dead_letter *letter)
{
    struct reopening *r = ctx;
    if (r->id && strcmp(r->id, letter->id) != 0)
        return 0;
    json_t *body = json_loads(letter->body, 0, NULL);
    const char *analysis = json_string_value(json_object_get(body, "analysis"));
    if (analysis && strcmp(letter->queue, QUEUE_STABILITY) != 0) {
        struct err err;
        if (store_reopen(r->jobs->db, analysis, &err) != ERR_OK && err.code != ERR_NO_SUCH)
            cli_fail(EXIT_INCOMPLETE, &err);
    }
    json_decref(body);
    return 0;
}

static enum err_code settle(struct jobs *jobs, int retry, const char *id, struct err *err)
{
    uint64_t count = 0;
    struct reopening r = {jobs, id};
    enum err_code rc = ERR_OK;
    if (retry)
        rc = queue_dead_list(jobs->queue, reopen, &r, err);
    if (rc == ERR_OK)
        rc = retry ? queue_dead_retry(jobs->queue, id, &count, err)
                   : queue_dead_drop(jobs->queue, id, &count, err);
    if (rc == ERR_OK && id && count == 0)
        rc = err_set(err, ERR_NO_SUCH, "there is no dead letter '%.60s'", id);
    if (rc == ERR_OK)
        printf("%llu dead letter%s %s\n", (unsigned long long)count, count == 1 ? "" : "s",
               retry ? "put back into the queue" : "dropped");
    return rc;
}

static int run(int argc, char **argv)
{
    _cleanup_(cli_conf_free) struct conf *conf = conf_new();
    struct jobs_options options = {.settings.conf = conf};
    struct err err;
    int first = 0, help = 0;
    if (options_parse(&command_jobs, argc, argv, &options, &first, &help, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    if (help) {
        options_print_help(&command_jobs, stdout);
        return 0;
    }
    const char *verb = first < argc ? argv[first] : "list";
    const char *id = first + 1 < argc ? argv[first + 1] : NULL;
    int listing = strcmp(verb, "list") == 0, retry = strcmp(verb, "retry") == 0;
    if (!listing && !retry && strcmp(verb, "drop") != 0) {
        err_set(&err, ERR_USAGE, "'%.40s' is not list, retry or drop", verb);
        return cli_fail(EXIT_USAGE, &err);
    }
    if (!listing && !id == !options.all) {
        err_set(&err, ERR_USAGE, "%s which? the id of a dead letter, or --all", verb);
        return cli_fail(EXIT_USAGE, &err);
    }
    struct jobs jobs;
    struct app_settings settings;
    settings_load(&options.settings);
    if (settings_tell(conf) != 0)
        return EXIT_USAGE;
    settings_app(conf, &settings);
    if (jobs_open(&settings, &jobs, &err) != ERR_OK)
        return cli_fail(EXIT_INCOMPLETE, &err);
    enum err_code rc = listing ? list(&jobs, &options, &err) : settle(&jobs, retry, id, &err);
    jobs_close(&jobs);
    return rc == ERR_OK ? 0 : cli_fail(EXIT_INCOMPLETE, &err);
}

const struct command command_jobs = {
    .name = "jobs",
    .arguments = "[list | retry ID | drop ID]",
    .summary = "Show the queues; try dead letters again, or drop them",
    .text = "A job that failed on each of its tries, or waited for a day, becomes a dead letter. "
            "`list` (the\n"
            "default) shows why; `retry` puts it back with a fresh count; `drop` forgets it. Works "
            "while the\n"
            "server runs, and while it does not.\n",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .verbs = "list retry drop",
    .configured = 1,
    .run = run,
};

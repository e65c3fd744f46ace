/* `sonde serve`: the whole product on one machine. Main thread: starts, waits for a signal, stops.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../os/parallel.h"
#include "../role/app.h"
#include "commands.h"
#include "data_options.h"

#define WORKERS_DEFAULT    8
#define UPLOAD_MAX_DEFAULT (UINT64_C(512) << 20)
#define MIN_FREE_DEFAULT   (UINT64_C(512) << 20)
#define QUEUE_MAX_DEFAULT  100000
#define DAY_SECONDS        86400.0

struct serve_options {
    struct engine_options engine;
    const char *listen, *data, *web, *hosts, *log_format, *log_level, *keep_audio, *keep_results;
    uint64_t upload_max, min_free;
    int queue_max, workers;
};

#define AT(field) offsetof(struct serve_options, field)
static const struct option_row rows[] = {
    {"listen", 'l', OPTION_TEXT, AT(listen), "ADDRESS", "SONDE_LISTEN", 0, 0,
     "address and port (default: 127.0.0.1:8080; port 0: any free one)", NULL},
    DATA_OPTION_ROW(struct serve_options),
    {"keep-audio", 0, OPTION_TEXT, AT(keep_audio), "DAYS", "SONDE_KEEP_AUDIO", 0, 0,
     "how long recordings are kept: days, 0 (until analysed) or forever (default: 30)", NULL},
    {"keep-results", 0, OPTION_TEXT, AT(keep_results), "DAYS", "SONDE_KEEP_RESULTS", 0, 0,
     "how long results are kept: days or forever (default: forever)", NULL},
    {"upload-max", 0, OPTION_SIZE, AT(upload_max), "SIZE", "SONDE_UPLOAD_MAX", 1, 1e13,
     "largest upload (default: 512M)", NULL},
    {"queue-max", 0, OPTION_COUNT, AT(queue_max), "N", "SONDE_QUEUE_MAX", 1, 1e9,
     "recordings that may wait before uploads are refused (default: 100000)", NULL},
    {"min-free", 0, OPTION_SIZE, AT(min_free), "SIZE", "SONDE_MIN_FREE", 0, 1e15,
     "free disk space below which uploads are refused (default: 512M)", NULL},
    {"hosts", 0, OPTION_TEXT, AT(hosts), "NAMES", "SONDE_HOSTS", 0, 0,
     "further host names under which it may be called, separated by blanks", NULL},
    {"workers", 0, OPTION_COUNT, AT(workers), "N", "SONDE_WORKERS", 1, 256,
     "threads for requests that wait for storage (default: 8)", NULL},
    {"log-format", 0, OPTION_TEXT, AT(log_format), "FORMAT", "SONDE_LOG_FORMAT", 0, 0,
     "json or text (default: text on a terminal, else json)", "json text"},
    {"log-level", 0, OPTION_TEXT, AT(log_level), "LEVEL", "SONDE_LOG_LEVEL", 0, 0,
     "debug, info, warn or error (default: info)", "debug info warn error"},
    {"web", 0, OPTION_TEXT, AT(web), "DIR", "SONDE_WEB", 0, 0,
     "serve the page from this folder instead of the built-in one (for its development)", "FILE"},
    ENGINE_OPTION_ROWS(struct serve_options),
};

static enum err_code read_days(const char *name, const char *text, double low, double *ret,
                               struct err *err)
{
    char *end;
    if (!text)
        return ERR_OK;
    if (strcmp(text, "forever") == 0) {
        *ret = KEEP_FOREVER;
        return ERR_OK;
    }
    errno = 0;
    double days = strtod(text, &end);
    if (errno || end == text || *end || !(days >= low && days <= 36500))
        return err_set(err, ERR_USAGE, "--%s is a number of days from %g, or forever; not '%.40s'",
                       name, low, text);
    *ret = days;
    return ERR_OK;
}

static enum err_code setup_log(const struct serve_options *options, struct err *err)
{
    enum log_format format = LOG_FORMAT_AUTO;
    enum log_level level = LOG_LEVEL_INFO;
    if (options->log_format && log_format_parse(options->log_format, &format) != 0)
        return err_set(err, ERR_USAGE, "--log-format is json or text, not '%.40s'",
                       options->log_format);
    if (options->log_level && log_level_parse(options->log_level, &level) != 0)
        return err_set(err, ERR_USAGE, "--log-level is debug, info, warn or error, not '%.40s'",
                       options->log_level);
    log_setup(format, level);
    return ERR_OK;
}

static enum err_code read_settings(const struct serve_options *options, int jobs,
                                   struct app_settings *ret, struct err *err)
{
    struct app_settings settings = {
        .roles = ROLE_ALL,
        .listen = options->listen ? options->listen : "127.0.0.1:8080",
        .data = data_folder(options->data),
        .web_dir = options->web,
        .hosts = options->hosts,
        .keep_audio_days = 30,
        .keep_results_days = KEEP_FOREVER,
        .upload_max = options->upload_max ? options->upload_max : UPLOAD_MAX_DEFAULT,
        .queue_max = options->queue_max ? (uint64_t)options->queue_max : QUEUE_MAX_DEFAULT,
        .min_free = options->min_free,
        .workers = options->workers ? options->workers : WORKERS_DEFAULT,
        .analysts = jobs,
    };
    enum err_code rc =
        read_days("keep-audio", options->keep_audio, 0, &settings.keep_audio_days, err);
    if (rc == ERR_OK)
        rc = read_days("keep-results", options->keep_results, 0.0001, &settings.keep_results_days,
                       err);
    *ret = settings;
    return rc;
}

/* As many descriptors as the system lets us have: each connection is one. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int is_local(const char *listen)
{
    return strncmp(listen, "127.", 4) == 0 || strncmp(listen, "[::1]", 5) == 0 ||
           strncmp(listen, "localhost:", 10) == 0;
}

/* A second signal ends the process at once: nothing that was accepted is lost by it. */
static void end_now(int signal_number)
{
    (void)signal_number;
    _exit(130);
}

static int serve(const struct app_settings *settings, const struct engine *engine)
{
    struct app *app = NULL;
    struct err err;
    sigset_t ends;
    int got = 0;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* inherited by every thread: sigwait gets them */
    if (app_start(settings, engine->detector, engine->media, &app, &err) != ERR_OK)
        return cli_fail(EXIT_INCOMPLETE, &err);
    if (!is_local(settings->listen))
        log_event(LOG_LEVEL_WARN,
                  "there are no accounts yet: whoever reaches this address may use it",
                  LOG_T("labels.listen", settings->listen));
    printf("sonde %s is ready: open %s\n", SONDE_VERSION, http_server_url(app->http));
    fflush(stdout);
    log_event(LOG_LEVEL_INFO, "ready", LOG_T("url.full", http_server_url(app->http)),
              LOG_T("labels.data", settings->data), LOG_T("labels.model", app->model_name));
    sigwait(&ends, &got);
    log_event(LOG_LEVEL_INFO, "stopping: requests finish, jobs go back to the queue",
              LOG_T("labels.signal", got == SIGINT ? "SIGINT" : "SIGTERM"));
    signal(SIGINT, end_now);
    signal(SIGTERM, end_now);
    pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
    app_stop(app);
    log_event(LOG_LEVEL_INFO, "stopped");
    return 0;
}

static int run(int argc, char **argv)
{
    struct serve_options options = {.min_free = MIN_FREE_DEFAULT};
    struct app_settings settings;
    struct engine engine;
    struct err err;
    int first = 0, help = 0;
    if (options_parse(&command_serve, argc, argv, &options, &first, &help, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    if (help) {
        options_print_help(&command_serve, stdout);
        return 0;
    }
    if (first < argc) {
        err_set(&err, ERR_USAGE, "'%.60s': serve takes options only", argv[first]);
        return cli_fail(EXIT_USAGE, &err);
    }
    if (setup_log(&options, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    /* One more than processors: while one waits for the disk with its result, the others compute.
     */
    int jobs = options.engine.jobs > 0 ? options.engine.jobs : parallel_processors() + 1;
    if (read_settings(&options, jobs, &settings, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    raise_file_limit();
    if (engine_open(&options.engine, &engine, &err) != ERR_OK)
        return cli_fail(err.code == ERR_USAGE ? EXIT_USAGE : EXIT_INCOMPLETE, &err);
    int code = serve(&settings, &engine);
    engine_done(&engine);
    return code;
}

const struct command command_serve = {
    .name = "serve",
    .arguments = "",
    .summary = "Start the product: web page, API, queue and detector on this machine",
    .text = "Prints one line with the address when it is ready. Everything it keeps stands in the "
            "data\n"
            "folder; nothing leaves this machine, but what webhooks that you set up are told.\n"
            "\n"
            "    curl -F file=@call.m4a -H 'Prefer: wait=30' http://127.0.0.1:8080/upload\n"
            "\n"
            "/docs describes the API, /metrics is for Prometheus, /readyz tells whether all parts "
            "work.\n"
            "\n"
            "It may be ended at any moment, in any way: recordings that were accepted are analysed "
            "after\n"
            "the next start. There are no accounts yet, so it listens on 127.0.0.1 unless told "
            "otherwise.\n",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .run = run,
};

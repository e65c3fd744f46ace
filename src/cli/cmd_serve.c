/* `sonde serve`: the whole product on one machine, or some roles of it. Main thread: starts, waits
 * for a signal, stops. */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../role/app.h"
#include "commands.h"
#include "servers.h"
#include "settings.h"

struct serve_options {
    struct settings_options settings;
};

static const struct option_row rows[] = {
    SETTINGS_OPTION_ROWS(struct serve_options),
    SERVE_SETTING_ROWS(struct serve_options),
};

static void setup_log(const struct conf *conf)
{
    enum log_format format = LOG_FORMAT_AUTO;
    enum log_level level = LOG_LEVEL_INFO;
    if (log_format_parse(conf_text(conf, CONF_LOG_FORMAT), &format) != 0)
        format = LOG_FORMAT_AUTO;
    if (log_level_parse(conf_text(conf, CONF_LOG_LEVEL), &level) != 0)
        level = LOG_LEVEL_INFO;
    log_setup(format, level);
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

/* One process has the data folder for itself. */
static void warn_of_missing_roles(const struct conf *conf, const struct app_settings *settings)
{
    const char *url = settings->db.url;
    if (settings->roles != ROLE_ALL && (!url || strncmp(url, "sqlite:", 7) == 0))
        log_event(LOG_LEVEL_WARN,
                  "the roles that do not run here cannot run elsewhere: no other process reaches "
                  "this database",
                  LOG_T("labels.role", conf_text(conf, CONF_SERVER_ROLE)));
}

/* The detector and the decoder where results are made, and where pictures of them are drawn. */
static int run_roles(const struct conf *conf)
{
    struct app_settings settings;
    struct engine engine = {0};
    struct err err;
    settings_app(conf, &settings);
    warn_of_missing_roles(conf, &settings);
    raise_file_limit();
    if ((settings.roles & (ROLE_UPLOAD | ROLE_INFERENCE)) &&
        engine_open(conf, &engine, &err) != ERR_OK)
        return cli_fail(err.code == ERR_USAGE ? EXIT_USAGE : EXIT_INCOMPLETE, &err);
    int code = servers_await(&settings);
    if (code == 0)
        code = serve(&settings, &engine);
    engine_done(&engine);
    return code;
}

static void log_warnings(const struct conf *conf)
{
    const struct conf_problem *problem;
    for (size_t i = 0; (problem = conf_problem_at(conf, i)); i++)
        log_event(LOG_LEVEL_WARN, problem->text);
    if (conf_file(conf))
        log_event(LOG_LEVEL_INFO, "settings read", LOG_T("file.path", conf_file(conf)));
}

static int run(int argc, char **argv)
{
    _cleanup_(cli_conf_free) struct conf *conf = conf_new();
    struct serve_options options = {.settings.conf = conf};
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
    settings_load(&options.settings);
    if (conf_errors(conf) > 0)
        return settings_tell(conf);
    setup_log(conf);
    log_warnings(conf);
    return run_roles(conf);
}

const struct command command_serve = {
    .name = "serve",
    .arguments = "",
    .summary = "Start the product: web page, API, queue and detector on this machine",
    .text =
        "Prints one line with the address when it is ready. Everything it keeps stands in the "
        "data\n"
        "folder; nothing leaves this machine, but what webhooks that you set up are told.\n"
        "\n"
        "    curl -F file=@call.m4a -H 'Prefer: wait=30' http://127.0.0.1:8080/upload\n"
        "\n"
        "With a configuration file it runs as several processes on PostgreSQL, S3, RabbitMQ and "
        "Redis:\n"
        "`sonde config docs` lists what can be set, `sonde config check` tells what is wrong. A "
        "setting\n"
        "is taken from its flag, else its environment variable, else the file, else its "
        "default.\n"
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
    .configured = 1,
    .run = run,
};

/* `sonde doctor`: looks at everything a server needs, and says in one line each what is wrong and
 * what to do. It changes nothing, but for what opening the database does anyway, and what trying a
 * server takes (a row, a small file, both gone again or overwritten). Each part is opened by
 * itself, so that one that fails hides no other. Main thread. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../base/url.h"
#include "../os/clock.h"
#include "../os/disk.h"
#include "doctor.h"
#include "servers.h"

#define TRIES 3 /* of a server, for its latency */

static const struct option_row rows[] = {
    SETTINGS_OPTION_ROWS(struct doctor_options),
    {"deep", 0, OPTION_FLAG, offsetof(struct doctor_options, deep), NULL, NULL, 0, 0,
     "read every stored recording and compare its SHA-256", NULL},
    SETTING_ROW(struct doctor_options, settings.conf, SERVER_ROLE),
    ENGINE_SETTING_ROWS(struct doctor_options, settings.conf),
};

void doctor_say(struct examination *e, int ok, const char *what, const char *text, const char *cure)
{
    printf("%-8s %-13s ", ok ? "ok" : "PROBLEM", what);
    print_clean(stdout, text);
    if (!ok && cure) {
        fputs("\n                       -> ", stdout);
        print_clean(stdout, cure);
    }
    putchar('\n');
    fflush(stdout); /* the next part may take its time to fail */
    e->problems += !ok;
}

void doctor_say_error(struct examination *e, const char *what, const struct err *err)
{
    doctor_say(e, 0, what, err->text, err_hint(err->code));
}

/* Of a part that has a url: the cure names the settings. */
static void say_part_error(struct examination *e, const char *what, const char *section,
                           const char *url, const struct err *err)
{
    _cleanup_free_ char *text = servers_text(url, err), *cure = servers_cure(section, err->code);
    doctor_say(e, 0, what, text, cure);
}

/* --- trying a server */

static enum err_code try_db(void *part, struct err *err)
{
    return db_ping(part, err);
}

static enum err_code try_blob(void *part, struct err *err)
{
    return blob_ping(part, err);
}

static enum err_code try_queue(void *part, struct err *err)
{
    return queue_ping(part, err);
}

static enum err_code try_cache(void *part, struct err *err)
{
    return servers_try_cache(part, err);
}

/* The fastest of some tries, in ms. */
static enum err_code latency(enum err_code (*try)(void *, struct err *), void *part, double *ret,
                             struct err *err)
{
    *ret = 1e9;
    for (int i = 0; i < TRIES; i++) {
        double start = clock_seconds();
        enum err_code rc = try(part, err);
        if (rc != ERR_OK)
            return rc;
        double ms = 1000 * (clock_seconds() - start);
        if (ms < *ret)
            *ret = ms;
    }
    return ERR_OK;
}

/* One line for a part on a server; 1 when it works. */
static int look_at_server(struct examination *e, const char *what, const char *section,
                          const char *url, enum err_code (*try)(void *, struct err *), void *part)
{
    struct err err;
    double ms = 0;
    if (latency(try, part, &ms, &err) != ERR_OK) {
        say_part_error(e, what, section, url, &err);
        return 0;
    }
    _cleanup_free_ char *shown = url_masked(url);
    _cleanup_free_ char *text = xasprintf("%s, answers in %.1f ms", shown, ms);
    doctor_say(e, 1, what, text, NULL);
    return 1;
}

/* --- the parts */

static void look_at_configuration(struct examination *e)
{
    const char *file = conf_file(e->conf);
    _cleanup_free_ char *text =
        file ? xasprintf("%s", file) : xstrdup("no file: defaults, environment and flags");
    doctor_say(e, 1, "configuration", text, NULL);
}

static void look_at_detector(struct examination *e)
{
    struct engine engine = {0};
    struct err err;
    char text[128];
    if (!(e->settings.roles & ROLE_INFERENCE))
        return;
    if (engine_open(e->conf, &engine, &err) != ERR_OK) {
        doctor_say_error(e, "detector", &err);
        return;
    }
    enum err_code rc = app_try_detector(engine.detector, engine.media, &err);
    snprintf(text, sizeof text, "%s, recordings are decoded in a locked-down process",
             nn_isa_name(nn_model_isa(detector_model(engine.detector))));
    if (rc == ERR_OK)
        doctor_say(e, 1, "detector", text, NULL);
    else
        doctor_say_error(e, "detector", &err);
    engine_done(&engine);
}

/* On servers it holds uploads under way only, and the first start makes it. */
static int folder_is_missing(struct examination *e)
{
    if (e->db_embedded || access(e->settings.data, F_OK) == 0 || errno != ENOENT)
        return 0;
    _cleanup_free_ char *text =
        xasprintf("%s is not there yet: the start of the server makes it", e->settings.data);
    doctor_say(e, 1, "folder", text, NULL);
    return 1;
}

static int look_at_folder(struct examination *e)
{
    const char *data = e->settings.data;
    struct err err;
    uint64_t room = 0;
    int lock = -1;
    char text[128];
    if (folder_is_missing(e))
        return 0;
    if (access(data, R_OK | W_OK | X_OK) != 0) {
        err_set_errno(&err, err_from_errno(errno), errno, "%s", data);
        doctor_say_error(e, "folder", &err);
        return 0;
    }
    enum err_code rc = disk_lock_folder(data, &lock, &err);
    e->running = rc == ERR_DATA_IN_USE;
    if (rc != ERR_OK && !e->running) {
        doctor_say_error(e, "folder", &err);
        return 0;
    }
    if (lock >= 0)
        close(lock);
    if (disk_free_bytes(data, &room, &err) != ERR_OK) {
        doctor_say_error(e, "folder", &err);
        return 0;
    }
    snprintf(text, sizeof text, "%.1f GB free%s", (double)room / 1e9,
             e->running ? "; a server is running on it" : "");
    doctor_say(e, room > (UINT64_C(512) << 20), "folder", text, err_hint(ERR_NO_SPACE));
    return 1;
}

static void look_at_spool(struct examination *e)
{
    DIR *dir = opendir(e->spool);
    int files = 0;
    char text[96];
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        files += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    if (e->running)
        return;
    snprintf(text, sizeof text, files ? "%d unfinished uploads" : "empty", files);
    doctor_say(e, files == 0, "spool", text, "the next start of the server removes them");
}

static void open_database(struct examination *e, int folder_ok)
{
    _cleanup_free_ char *file = xasprintf("%s/sonde.db", e->settings.data);
    _cleanup_free_ char *own = xasprintf("sqlite:%s", file);
    struct db_options options = e->settings.db;
    struct err err;
    if (!options.url && !folder_ok)
        return; /* told */
    if (!options.url && access(file, F_OK) != 0) {
        err_set_errno(&err, err_from_errno(errno), errno, "there is no sonde data in %s",
                      e->settings.data);
        doctor_say_error(e, "database", &err);
        return;
    }
    if (!options.url)
        options.url = own;
    if (db_open(&options, &e->db, &err) != ERR_OK) {
        if (e->db_embedded)
            doctor_say_error(e, "database", &err);
        else
            say_part_error(e, "database", "db", options.url, &err);
        return;
    }
    if (!e->db_embedded && !look_at_server(e, "database", "db", e->settings.db.url, try_db, e->db))
        e->db = db_close(e->db);
    if (e->db)
        doctor_look_at_database(e);
}

static void open_store(struct examination *e, int folder_ok)
{
    _cleanup_free_ char *own = xasprintf("fs:%s/blobs", e->settings.data);
    struct blob_options options = e->settings.blob;
    struct err err;
    options.spool = access(e->spool, W_OK) == 0 ? e->spool : NULL; /* the first start makes it */
    if (!options.url && (!folder_ok || (e->db_embedded && !e->db)))
        return; /* no data there */
    if (!options.url)
        options.url = own;
    options.make_buckets = 0; /* only looking */
    enum err_code rc = blob_open_store(&options, &e->blob, &err);
    if (rc == ERR_NO_SUCH && e->settings.blob.make_buckets) {
        doctor_say(e, 1, "recordings", "buckets are missing: the start of the server makes them",
                   NULL);
        return;
    }
    if (rc != ERR_OK) {
        say_part_error(e, "recordings", "blob", options.url, &err);
        return;
    }
    if (!e->blob_embedded &&
        !look_at_server(e, "recordings", "blob", options.url, try_blob, e->blob))
        e->blob = blob_close_store(e->blob);
    if (e->blob && e->db && !e->no_tables)
        doctor_look_at_recordings(e);
}

static void open_queue(struct examination *e)
{
    struct queue_options options = e->settings.queue;
    int embedded = !options.url || strncmp(options.url, "table:", 6) == 0;
    struct err err;
    if (embedded && (!e->db || e->no_tables))
        return; /* it is in the database */
    options.db = e->db;
    if (!options.url)
        options.url = "table:";
    if (queue_open(&options, &e->queue, &err) != ERR_OK) {
        say_part_error(e, "queue", "queue", options.url, &err);
        return;
    }
    if (!embedded && !look_at_server(e, "queue", "queue", options.url, try_queue, e->queue))
        return;
    doctor_look_at_queue(e);
}

static void open_cache(struct examination *e)
{
    const struct cache_options *options = &e->settings.cache;
    struct err err;
    if (!options->url || strncmp(options->url, "mem:", 4) == 0)
        return;
    if (cache_open(options, &e->cache, &err) != ERR_OK)
        say_part_error(e, "cache", "cache", options->url, &err);
    else
        look_at_server(e, "cache", "cache", options->url, try_cache, e->cache);
}

static void examine(struct examination *e)
{
    const char *db = e->settings.db.url, *blob = e->settings.blob.url;
    e->db_embedded = !db || strncmp(db, "sqlite:", 7) == 0;
    e->blob_embedded = !blob || strncmp(blob, "fs:", 3) == 0;
    e->spool = xasprintf("%s/spool", e->settings.data);
    look_at_configuration(e);
    look_at_detector(e);
    int folder_ok = look_at_folder(e);
    open_database(e, folder_ok);
    open_store(e, folder_ok);
    if (folder_ok && (e->db || !e->db_embedded))
        look_at_spool(e);
    open_queue(e);
    open_cache(e);
    e->cache = cache_close(e->cache);
    e->queue = queue_close(e->queue);
    e->blob = blob_close_store(e->blob);
    e->db = db_close(e->db);
    free(e->spool);
}

static int run(int argc, char **argv)
{
    _cleanup_(cli_conf_free) struct conf *conf = conf_new();
    struct doctor_options options = {.settings.conf = conf};
    struct examination e = {.deep = 0, .conf = conf};
    struct err err;
    int first = 0, help = 0;
    if (options_parse(&command_doctor, argc, argv, &options, &first, &help, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    if (help) {
        options_print_help(&command_doctor, stdout);
        return 0;
    }
    settings_load(&options.settings);
    if (settings_tell(conf) != 0)
        return EXIT_USAGE;
    settings_app(conf, &e.settings);
    e.deep = options.deep;
    examine(&e);
    printf(e.problems ? "\n%d problem%s\n" : "\nAll is well.\n", e.problems,
           e.problems == 1 ? "" : "s");
    return e.problems ? EXIT_INCOMPLETE : 0;
}

const struct command command_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "Check detector, data folder, database, recordings, queue and cache",
    .text = "Looks, and changes nothing. Works beside a running server, too. Servers that the "
            "configuration\n"
            "names are logged into and tried; one that fails does not hide the others. Exit code 0 "
            "when all\n"
            "is well, else 3, with what to do about each problem.\n",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .configured = 1,
    .run = run,
};

/* `sonde doctor`: looks at everything a server needs, and says in one line each what is wrong and
 * what to do. It changes nothing, but for what opening the database does anyway. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/hash.h"
#include "../base/mem.h"
#include "../os/disk.h"
#include "../role/app.h"
#include "../store/store.h"
#include "commands.h"
#include "data_options.h"
#include "print.h"

struct doctor_options {
    struct engine_options engine;
    const char *data;
    int deep;
};

static const struct option_row rows[] = {
    DATA_OPTION_ROW(struct doctor_options),
    {"deep", 0, OPTION_FLAG, offsetof(struct doctor_options, deep), NULL, NULL, 0, 0,
     "read every stored recording and compare its SHA-256", NULL},
    ENGINE_OPTION_ROWS(struct doctor_options),
};

struct examination {
    const struct doctor_options *options;
    struct app app;
    int problems, running; /* running: a server uses the folder now */
    uint64_t recordings, missing, different, orphans;
    char example[STORE_KEY_MAX]; /* one of the missing or different */
};

static void say(struct examination *e, int ok, const char *what, const char *text, const char *cure)
{
    printf("%-8s %-11s ", ok ? "ok" : "PROBLEM", what);
    print_clean(stdout, text);
    if (!ok && cure)
        printf("\n                     -> %s", cure);
    putchar('\n');
    e->problems += !ok;
}

static void say_error(struct examination *e, const char *what, const struct err *err)
{
    say(e, 0, what, err->text, err_hint(err->code));
}

static int look_at_folder(struct examination *e)
{
    const char *data = e->app.settings.data;
    struct err err;
    uint64_t room = 0;
    int lock = -1;
    char text[128];
    if (access(data, R_OK | W_OK | X_OK) != 0) {
        err_set_errno(&err, err_from_errno(errno), errno, "%s", data);
        say_error(e, "folder", &err);
        return 0;
    }
    enum err_code rc = disk_lock_folder(data, &lock, &err);
    e->running = rc == ERR_DATA_IN_USE;
    if (rc != ERR_OK && !e->running) {
        say_error(e, "folder", &err);
        return 0;
    }
    if (lock >= 0)
        close(lock);
    if (disk_free_bytes(data, &room, &err) != ERR_OK) {
        say_error(e, "folder", &err);
        return 0;
    }
    snprintf(text, sizeof text, "%.1f GB free%s", (double)room / 1e9,
             e->running ? "; a server is running on it" : "");
    say(e, room > (UINT64_C(512) << 20), "folder", text, err_hint(ERR_NO_SPACE));
    return 1;
}

static void look_at_database(struct examination *e)
{
    struct err err;
    _cleanup_free_ char *problems = NULL;
    char text[128];
    if (db_check(e->app.db, &problems, &err) != ERR_OK)
        say_error(e, "database", &err);
    else if (problems)
        say(e, 0, "database", problems, err_hint(ERR_DB_CORRUPT));
    else {
        snprintf(text, sizeof text, "every page and index is sound, %.1f MB",
                 (double)db_size_bytes(e->app.db) / 1e6);
        say(e, 1, "database", text, NULL);
    }
}

static int look_at_recording(void *ctx, const char *upload_id, uint64_t bytes, const char *sha256)
{
    struct examination *e = ctx;
    char key[STORE_KEY_MAX], hash[SHA256_HEX];
    uint64_t size = 0;
    _cleanup_close_ int fd = -1;
    store_blob_key(upload_id, key);
    e->recordings++;
    if (blob_open(e->app.blob, BLOB_RAW, key, &fd, &size, NULL) != ERR_OK) {
        e->missing++;
    } else if (size != bytes ||
               (e->options->deep &&
                (sha256_fd(fd, bytes, hash, &size, NULL) != ERR_OK || strcmp(hash, sha256) != 0))) {
        e->different++;
    } else {
        return 0;
    }
    memcpy(e->example, key, sizeof key);
    return 0;
}

static int look_for_orphan(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    struct examination *e = ctx;
    const char *name = strrchr(key, '/');
    int known = 0;
    (void)size, (void)modified_ms;
    if (store_knows_upload(e->app.db, name ? name + 1 : key, &known, NULL) == ERR_OK && !known)
        e->orphans++;
    return 0;
}

static void look_at_recordings(struct examination *e)
{
    struct err err;
    char text[192];
    if (store_each_kept(e->app.db, look_at_recording, e, &err) != ERR_OK ||
        blob_list(e->app.blob, BLOB_RAW, look_for_orphan, e, &err) != ERR_OK ||
        blob_list(e->app.blob, BLOB_PROCESSED, look_for_orphan, e, &err) != ERR_OK) {
        say_error(e, "recordings", &err);
        return;
    }
    snprintf(text, sizeof text, "%llu stored%s", (unsigned long long)e->recordings,
             e->options->deep ? ", every SHA-256 compared" : "");
    if (e->missing + e->different > 0)
        snprintf(text, sizeof text,
                 "of %llu recordings %llu are missing and %llu are not as uploaded, such as %s",
                 (unsigned long long)e->recordings, (unsigned long long)e->missing,
                 (unsigned long long)e->different, e->example);
    say(e, e->missing + e->different == 0, "recordings", text,
        "restore a backup with `sonde restore`");
    if (!e->running && e->orphans > 0) { /* beside a server they may be uploads under way */
        snprintf(text, sizeof text, "%llu files belong to no upload or analysis",
                 (unsigned long long)e->orphans);
        say(e, 0, "storage", text, "the next start of the server removes them");
    }
}

static void look_at_spool(struct examination *e)
{
    DIR *dir = opendir(e->app.spool);
    int files = 0;
    char text[96];
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        files += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    if (e->running)
        return;
    snprintf(text, sizeof text, files ? "%d unfinished uploads" : "empty", files);
    say(e, files == 0, "spool", text, "the next start of the server removes them");
}

static int count_letter(void *ctx, const struct queue_dead_letter *letter)
{
    (void)letter;
    ++*(int *)ctx;
    return 0;
}

static void look_at_queue(struct examination *e)
{
    struct err err;
    int dead = 0;
    uint64_t waiting = 0, outbox = 0;
    char text[128];
    if (queue_dead_list(e->app.queue, count_letter, &dead, &err) != ERR_OK ||
        store_waiting(e->app.db, &waiting, &err) != ERR_OK ||
        store_outbox_count(e->app.db, &outbox, &err) != ERR_OK) {
        say_error(e, "queue", &err);
        return;
    }
    snprintf(text, sizeof text, "%llu analyses to do, %llu in the outbox, %d dead letters",
             (unsigned long long)waiting, (unsigned long long)outbox, dead);
    say(e, dead == 0, "queue", text,
        "`sonde jobs list` tells why, `sonde jobs retry --all` tries them again");
}

static void look_at_detector(struct examination *e)
{
    struct engine engine;
    struct err err;
    char text[128];
    if (engine_open(&e->options->engine, &engine, &err) != ERR_OK) {
        say_error(e, "detector", &err);
        return;
    }
    enum err_code rc = app_try_detector(engine.detector, engine.media, &err);
    snprintf(text, sizeof text, "%s, recordings are decoded in a locked-down process",
             nn_isa_name(nn_model_isa(detector_model(engine.detector))));
    if (rc == ERR_OK)
        say(e, 1, "detector", text, NULL);
    else
        say_error(e, "detector", &err);
    engine_done(&engine);
}

static int run(int argc, char **argv)
{
    struct doctor_options options = {0};
    struct examination e = {.options = &options};
    struct err err;
    int first = 0, help = 0;
    if (options_parse(&command_doctor, argc, argv, &options, &first, &help, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    if (help) {
        options_print_help(&command_doctor, stdout);
        return 0;
    }
    struct app_settings settings = {.data = data_folder(options.data)};
    e.app.settings = settings;
    look_at_detector(&e);
    if (look_at_folder(&e)) {
        if (app_open_data(&settings, 0, 0, &e.app, &err) != ERR_OK) {
            say_error(&e, "database", &err);
        } else {
            look_at_database(&e);
            look_at_recordings(&e);
            look_at_spool(&e);
            look_at_queue(&e);
            app_close_data(&e.app);
        }
    }
    printf(e.problems ? "\n%d problem%s\n" : "\nAll is well.\n", e.problems,
           e.problems == 1 ? "" : "s");
    return e.problems ? EXIT_INCOMPLETE : 0;
}

const struct command command_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "Check detector, data folder, database, recordings and queue",
    .text = "Looks, and changes nothing. Works beside a running server, too. Exit code 0 when all "
            "is well,\n"
            "else 3, with what to do about each problem.\n",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .run = run,
};

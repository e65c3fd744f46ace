/* `sonde backup` and `sonde restore`.
 *
 * A backup is a folder: sonde.db (a consistent copy, made while a server may be writing), blobs/
 * (the recordings that this copy refers to, and the pictures), and manifest.json, written last: a
 * folder without it is no backup. A recording that is deleted while the backup runs is noted as
 * gone in the copy. Restoring checks the copy first, and writes into an empty data folder only. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/hash.h"
#include "../base/mem.h"
#include "../base/time.h"
#include "../os/disk.h"
#include "../role/app.h"
#include "../store/store.h"
#include "commands.h"
#include "settings.h"

struct backup_options {
    struct settings_options settings;
};

static const struct option_row rows[] = {
    SETTINGS_OPTION_ROWS(struct backup_options),
};

struct copying {
    struct app *from, *to;
    const char *folder; /* of `to`, for temporary files */
    uint64_t recordings, pictures, bytes, gone;
    int check; /* compare each recording's SHA-256 */
    struct err err;
};

static enum err_code copy_file(int from, const char *path, struct err *err)
{
    char block[65536];
    _cleanup_close_ int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0)
        return err_set_errno(err, err_from_errno(errno), errno, "cannot write %s", path);
    for (;;) {
        ssize_t n = read(from, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read a stored file");
        if (n == 0)
            return ERR_OK;
        for (ssize_t done = 0, w; done < n; done += w)
            if ((w = write(to, block + done, (size_t)(n - done))) < 0)
                return err_set_errno(err, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, errno,
                                     "cannot write %s", path);
    }
}

/* ERR_NO_SUCH when the source has no such key. */
static enum err_code copy_blob(struct copying *c, enum blob_bucket bucket, const char *key,
                               const char *sha256)
{
    uint64_t size = 0;
    char hash[SHA256_HEX];
    _cleanup_close_ int fd = -1;
    _cleanup_free_ char *path = xasprintf("%s/copying", c->folder);
    enum err_code rc = blob_open(c->from->blob, bucket, key, &fd, &size, &c->err);
    if (rc == ERR_OK && sha256 && c->check) {
        rc = sha256_fd(fd, size, hash, &size, &c->err);
        if (rc == ERR_OK && strcmp(hash, sha256) != 0)
            rc = err_set(&c->err, ERR_DAMAGED, "the recording %s is not what was uploaded", key);
    }
    if (rc == ERR_OK)
        rc = copy_file(fd, path, &c->err);
    if (rc == ERR_OK)
        rc = blob_put_file(c->to->blob, bucket, key, path, NULL, &c->err);
    c->bytes += size;
    return rc;
}

static int copy_recording(void *ctx, const char *upload_id, uint64_t bytes, const char *sha256)
{
    struct copying *c = ctx;
    char key[STORE_KEY_MAX];
    (void)bytes;
    store_blob_key(upload_id, key);
    enum err_code rc = copy_blob(c, BLOB_RAW, key, sha256);
    if (rc == ERR_NO_SUCH && !c->check) {
        c->gone++;
        rc = store_audio_gone(c->to->db, upload_id, &c->err);
    } else if (rc == ERR_OK) {
        c->recordings++;
    }
    c->err.code = rc;
    return rc != ERR_OK;
}

static int copy_picture(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    struct copying *c = ctx;
    (void)size, (void)modified_ms;
    enum err_code rc = copy_blob(c, BLOB_PROCESSED, key, NULL);
    if (rc == ERR_NO_SUCH)
        rc = ERR_OK;
    else if (rc == ERR_OK)
        c->pictures++;
    c->err.code = rc;
    return rc != ERR_OK;
}

/* The recordings that `to`'s database refers to, and all pictures, from one data folder into the
 * other. */
static enum err_code copy_blobs(struct copying *c, struct err *err)
{
    enum err_code rc = store_each_kept(c->to->db, copy_recording, c, err);
    if (rc == ERR_OK && c->err.code == ERR_OK)
        rc = blob_list(c->from->blob, BLOB_PROCESSED, copy_picture, c, err);
    if (rc == ERR_OK && c->err.code != ERR_OK) {
        *err = c->err;
        rc = err->code;
    }
    return rc;
}

static enum err_code write_manifest(const char *folder, const struct copying *c, struct err *err)
{
    char now[TIME_TEXT];
    _cleanup_free_ char *path = xasprintf("%s/manifest.json", folder);
    json_t *json = json_object();
    time_format(time_now_ms(), now);
    json_object_set_new(json, "sonde", json_string(SONDE_VERSION));
    json_object_set_new(json, "created_at", json_string(now));
    json_object_set_new(json, "recordings", json_integer((json_int_t)c->recordings));
    json_object_set_new(json, "pictures", json_integer((json_int_t)c->pictures));
    json_object_set_new(json, "bytes", json_integer((json_int_t)c->bytes));
    int failed = json_dump_file(json, path, JSON_INDENT(2));
    json_decref(json);
    if (failed)
        return err_set(err, ERR_IO, "cannot write %s", path);
    sync();
    return ERR_OK;
}

static enum err_code backup(const struct app_settings *settings, const char *folder,
                            struct err *err)
{
    struct app from, to;
    struct copying c = {.from = &from, .to = &to, .folder = folder};
    _cleanup_free_ char *path = xasprintf("%s/sonde.db", folder);
    if (mkdir(folder, 0700) != 0)
        return err_set_errno(err, errno == EEXIST ? ERR_CONFLICT : err_from_errno(errno), errno,
                             "cannot make the folder %s", folder);
    enum err_code rc = app_open_data(settings, 0, 0, &from, err);
    if (rc == ERR_OK) {
        rc = db_backup(from.db, path, err);
        if (rc != ERR_OK)
            app_close_data(&from);
    }
    if (rc != ERR_OK) {
        rmdir(folder); /* where nothing was written: a database that copies itself in its own way */
        return rc;
    }
    rc = app_open_data(&(struct app_settings){.data = folder}, 0, 0, &to, err);
    if (rc == ERR_OK) {
        rc = copy_blobs(&c, err);
        app_close_data(&to);
    }
    app_close_data(&from);
    if (rc == ERR_OK)
        rc = write_manifest(folder, &c, err);
    if (rc == ERR_OK)
        printf("%s: %llu recordings, %llu pictures, %.1f MB\n", folder,
               (unsigned long long)c.recordings, (unsigned long long)c.pictures,
               (double)c.bytes / 1e6);
    return rc;
}

static enum err_code check_backup(const char *folder, struct app *from, struct err *err)
{
    _cleanup_free_ char *manifest = xasprintf("%s/manifest.json", folder), *problems = NULL;
    if (access(manifest, R_OK) != 0)
        return err_set(err, ERR_NOT_FOUND, "%s is no finished backup: it has no manifest.json",
                       folder);
    enum err_code rc = app_open_data(&(struct app_settings){.data = folder}, 0, 0, from, err);
    if (rc != ERR_OK)
        return rc;
    rc = db_check(from->db, &problems, err);
    if (rc == ERR_OK && problems)
        rc = err_set(err, ERR_DB_CORRUPT, "the backup's database is damaged: %.150s", problems);
    if (rc != ERR_OK)
        app_close_data(from);
    return rc;
}

static enum err_code restore(const struct app_settings *settings, const char *folder,
                             struct err *err)
{
    const char *data = settings->data;
    struct app from, to;
    struct copying c = {.from = &from, .to = &to, .folder = data, .check = 1};
    _cleanup_free_ char *path = xasprintf("%s/sonde.db", data);
    if (settings->db.url || settings->blob.url)
        return err_set(err, ERR_UNSUPPORTED,
                       "restore fills a data folder; what is on servers is restored by their own "
                       "tools, such as pg_restore");
    if (access(path, F_OK) == 0)
        return err_set(err, ERR_CONFLICT,
                       "%s has data already; move it away, or name another --data", data);
    enum err_code rc = check_backup(folder, &from, err);
    if (rc != ERR_OK)
        return rc;
    rc = disk_make_folder(data, err);
    if (rc == ERR_OK)
        rc = db_backup(from.db, path, err);
    if (rc == ERR_OK)
        rc = app_open_data(&(struct app_settings){.data = data}, 1, 1, &to, err);
    if (rc == ERR_OK) {
        rc = copy_blobs(&c, err);
        app_close_data(&to);
    }
    if (rc != ERR_OK)
        unlink(path); /* what was copied is incomplete, and must not be taken for data */
    app_close_data(&from);
    if (rc == ERR_OK)
        printf("%s: %llu recordings and %llu pictures restored, each checked\n", data,
               (unsigned long long)c.recordings, (unsigned long long)c.pictures);
    return rc;
}

static int run(const struct command *command,
               enum err_code (*work)(const struct app_settings *, const char *, struct err *),
               int argc, char **argv)
{
    _cleanup_(cli_conf_free) struct conf *conf = conf_new();
    struct backup_options options = {.settings.conf = conf};
    struct app_settings settings;
    struct err err;
    int first = 0, help = 0;
    if (options_parse(command, argc, argv, &options, &first, &help, &err) != ERR_OK)
        return cli_fail(EXIT_USAGE, &err);
    if (help) {
        options_print_help(command, stdout);
        return 0;
    }
    if (first + 1 != argc) {
        err_set(&err, ERR_USAGE, "%s needs one folder", command->name);
        return cli_fail(EXIT_USAGE, &err);
    }
    settings_load(&options.settings);
    if (settings_tell(conf) != 0)
        return EXIT_USAGE;
    settings_app(conf, &settings);
    return work(&settings, argv[first], &err) == ERR_OK ? 0 : cli_fail(EXIT_INCOMPLETE, &err);
}

static int run_backup(int argc, char **argv)
{
    return run(&command_backup, backup, argc, argv);
}

static int run_restore(int argc, char **argv)
{
    return run(&command_restore, restore, argc, argv);
}

const struct command command_backup = {
    .name = "backup",
    .arguments = "FOLDER",
    .summary = "Copy database, recordings and pictures into a new folder",
    .text =
        "Works while the server runs: the copy is of one moment. The folder must not exist yet. A "
        "database\n"
        "or store on a server of its own is copied by that server's tools (pg_dump, a base "
        "backup).\n",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .configured = 1,
    .run = run_backup,
};

const struct command command_restore = {
    .name = "restore",
    .arguments = "FOLDER",
    .summary = "Fill an empty data folder from a backup",
    .text = "Checks the backup's database and the SHA-256 of every recording on the way. Jobs that "
            "were\n"
            "waiting then go on when the server starts. Never writes over data.\n",
    .options = rows,
    .n_options = ARRAY_LEN(rows),
    .configured = 1,
    .run = run_restore,
};

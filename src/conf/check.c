/* What `sonde config check` looks at beyond the form: files and folders that are named, and
 * settings that do not go together. Opens no connection; that is `sonde doctor`. Main thread. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../base/url.h"
#include "internal.h"

#define FILE_MAX (16 << 20) /* of certificates */

static void tell(struct conf *conf, int warning, enum conf_id id, const char *text)
{
    _cleanup_free_ char *source = conf_source(conf, id);
    conf_add(conf, warning, "%s: [%s] %s: %s", source, conf_settings[id].section,
             conf_settings[id].key, text);
}

/* Whether the (first) url begins with this scheme. */
static int has_scheme(const struct conf *conf, enum conf_id id, const char *scheme)
{
    const char *url = conf_text(conf, id);
    size_t n = strlen(scheme);
    return url && strncmp(url, scheme, n) == 0 && url[n] == ':';
}

static int is_s3(const struct conf *conf)
{
    return has_scheme(conf, CONF_BLOB_URL, "s3") || has_scheme(conf, CONF_BLOB_URL, "s3+http");
}

static int is_postgres(const struct conf *conf)
{
    return has_scheme(conf, CONF_DB_URL, "postgres") || has_scheme(conf, CONF_DB_URL, "postgresql");
}

static void check_file(struct conf *conf, enum conf_id id)
{
    const char *path = conf_text(conf, id);
    _cleanup_free_ char *text = NULL;
    struct stat st;
    if (stat(path, &st) != 0 || access(path, R_OK) != 0)
        text = xasprintf("%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        text = xasprintf("%s is not a file", path);
    if (text)
        tell(conf, 0, id, text);
}

static void check_certificate(struct conf *conf, enum conf_id id)
{
    char *data = NULL;
    size_t size = 0;
    unsigned mode;
    struct err err;
    if (!conf_text(conf, id) ||
        conf_read_whole(conf_text(conf, id), FILE_MAX, &data, &size, &mode, &err) != ERR_OK)
        return; /* check_file told it */
    if (!memmem(data, size, "-----BEGIN CERTIFICATE-----", 27) &&
        !memmem(data, size, "-----BEGIN TRUSTED CERTIFICATE-----", 35))
        tell(conf, 0, id, "there is no certificate in it (PEM: -----BEGIN CERTIFICATE-----)");
    free(data);
}

/* One that is there has to be a folder that we may use; the data folder may also be made. */
static void check_folder(struct conf *conf, enum conf_id id, int is_made)
{
    _cleanup_free_ char *path = xstrdup(conf_text(conf, id)), *text = NULL;
    struct stat st;
    int there = stat(path, &st) == 0, rights = is_made ? R_OK | W_OK | X_OK : R_OK | X_OK;
    while (!there && is_made) { /* the nearest folder above */
        char *slash = strrchr(path, '/');
        if (!slash || slash == path)
            return;
        *slash = 0;
        there = stat(path, &st) == 0;
    }
    if (there && !S_ISDIR(st.st_mode))
        text = xasprintf("%s is not a folder", path);
    else if (!there || access(path, rights) != 0)
        text = xasprintf("%s: %s", path, strerror(errno));
    if (text)
        tell(conf, 0, id, text);
}

static void check_paths(struct conf *conf)
{
    for (enum conf_id id = 0; id < CONF_SETTINGS; id++) {
        if (!conf_text(conf, id))
            continue;
        if (conf_settings[id].kind == CONF_FILE)
            check_file(conf, id);
        if (conf_settings[id].kind == CONF_FOLDER)
            check_folder(conf, id, id == CONF_SERVER_DATA);
    }
    check_certificate(conf, CONF_BLOB_CA_FILE);
    check_certificate(conf, CONF_QUEUE_CA_FILE);
    check_certificate(conf, CONF_CACHE_CA_FILE);
}

static void check_passwords(struct conf *conf)
{
    static const struct {
        enum conf_id url, secret;
    } pairs[] = {{CONF_DB_URL, CONF_DB_PASSWORD},
                 {CONF_QUEUE_URL, CONF_QUEUE_PASSWORD},
                 {CONF_CACHE_URL, CONF_CACHE_PASSWORD}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        const char *url = conf_text(conf, pairs[i].url);
        if (!conf_secret(conf, pairs[i].secret))
            continue;
        if (!url)
            tell(conf, 1, pairs[i].secret, "there is a password, and no url that it is for");
        else if (url_has_password(url))
            tell(conf, 1, pairs[i].url,
                 "there is a password in it, and another in its own setting, which holds");
    }
}

static void check_store(struct conf *conf)
{
    if (is_s3(conf)) {
        if (!conf_text(conf, CONF_BLOB_KEY_ID))
            tell(conf, 0, CONF_BLOB_URL, "an s3 store needs key_id, too");
        if (!conf_secret(conf, CONF_BLOB_SECRET))
            tell(conf, 0, CONF_BLOB_URL, "an s3 store needs secret or secret_file, too");
    } else if (conf_text(conf, CONF_BLOB_KEY_ID) || conf_secret(conf, CONF_BLOB_SECRET)) {
        tell(conf, 1, conf_text(conf, CONF_BLOB_KEY_ID) ? CONF_BLOB_KEY_ID : CONF_BLOB_SECRET,
             "there is a key, and no url of an s3 store that it is for");
    }
    if (conf_text(conf, CONF_BLOB_CA_FILE) && !has_scheme(conf, CONF_BLOB_URL, "s3"))
        tell(conf, 1, CONF_BLOB_CA_FILE, "has no effect: only s3:// uses TLS");
    if (conf_text(conf, CONF_QUEUE_CA_FILE) && !has_scheme(conf, CONF_QUEUE_URL, "amqps"))
        tell(conf, 1, CONF_QUEUE_CA_FILE, "has no effect: only amqps:// uses TLS");
    if (conf_text(conf, CONF_CACHE_CA_FILE) && !has_scheme(conf, CONF_CACHE_URL, "rediss"))
        tell(conf, 1, CONF_CACHE_CA_FILE, "has no effect: only rediss:// uses TLS");
    if (conf_text(conf, CONF_DB_REPLICAS) && !is_postgres(conf))
        tell(conf, 0, CONF_DB_REPLICAS, "replicas are of a postgres:// url");
}

static int has_all_roles(const char *words)
{
    return strstr(words, "all") ||
           (strstr(words, "upload") && strstr(words, "inference") && strstr(words, "keeper"));
}

/* A process with some of the roles needs others, which have to find the same data. */
static void check_roles(struct conf *conf)
{
    if (has_all_roles(conf_text(conf, CONF_SERVER_ROLE)))
        return;
    if (!is_postgres(conf))
        tell(conf, 0, CONF_SERVER_ROLE,
             "the other roles run in other processes, which cannot reach a database in this one's "
             "data folder: set [db] url");
    else if (!conf_text(conf, CONF_BLOB_URL))
        tell(
            conf, 0, CONF_SERVER_ROLE,
            "the other roles run in other processes, which do not see the recordings in this one's "
            "data folder: set [blob] url");
}

void conf_check(struct conf *conf)
{
    check_paths(conf);
    check_passwords(conf);
    check_store(conf);
    check_roles(conf);
}

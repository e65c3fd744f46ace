/* See settings.h. Main thread, at the start of a command. */
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../os/parallel.h"
#include "print.h"

/* Where data is kept when nobody says: /var/lib/sonde for root, else $XDG_DATA_HOME/sonde or
 * ~/.local/share/sonde. Caller frees. */
static char *default_folder(void)
{
    const char *home = getenv("XDG_DATA_HOME");
    if (geteuid() == 0)
        return xstrdup("/var/lib/sonde");
    if (home && *home == '/')
        return xasprintf("%s/sonde", home);
    home = getenv("HOME");
    return xasprintf("%s/.local/share/sonde", home && *home ? home : ".");
}

void settings_load(const struct settings_options *options)
{
    struct conf *conf = options->conf;
    _cleanup_free_ char *folder = default_folder();
    struct err err;
    if (conf_set(conf, CONF_SERVER_DATA, CONF_FROM_DEFAULT, folder, &err) != ERR_OK)
        cli_fail(0, &err); /* a home folder of a strange name: then it has to be given */
    if (options->config)
        conf_read_file(conf, options->config, 1);
    else
        conf_read_file(conf, CONF_DEFAULT_FILE, 0);
    conf_read_environment(conf);
    conf_finish(conf);
}

int settings_tell(const struct conf *conf)
{
    const struct conf_problem *problem;
    for (size_t i = 0; (problem = conf_problem_at(conf, i)); i++) {
        fputs(problem->warning ? "sonde: warning: " : "sonde: ", stderr);
        print_clean(stderr, problem->text);
        fputc('\n', stderr);
    }
    return conf_errors(conf) > 0 ? EXIT_USAGE : 0;
}

static unsigned roles_of(const char *words)
{
    static const struct {
        const char *word;
        unsigned role;
    } roles[] = {{"upload", ROLE_UPLOAD},
                 {"inference", ROLE_INFERENCE},
                 {"keeper", ROLE_KEEPER},
                 {"all", ROLE_ALL}};
    unsigned found = 0;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (strstr(words, roles[i].word)) /* none is a part of another; conf has checked them */
            found |= roles[i].role;
    return found;
}

static void fill_drivers(const struct conf *conf, struct app_settings *s)
{
    s->db = (struct db_options){
        .url = conf_text(conf, CONF_DB_URL),
        .password = conf_secret(conf, CONF_DB_PASSWORD),
        .replicas = conf_text(conf, CONF_DB_REPLICAS),
        .replica_lag_s = conf_number(conf, CONF_DB_REPLICA_LAG),
        .readers = (int)conf_number(conf, CONF_DB_READERS),
    };
    s->blob = (struct blob_options){
        .url = conf_text(conf, CONF_BLOB_URL),
        .key_id = conf_text(conf, CONF_BLOB_KEY_ID),
        .secret = conf_secret(conf, CONF_BLOB_SECRET),
        .region = conf_text(conf, CONF_BLOB_REGION),
        .prefix = conf_text(conf, CONF_BLOB_PREFIX),
        .ca_file = conf_text(conf, CONF_BLOB_CA_FILE),
        .part_size = conf_bytes(conf, CONF_BLOB_PART_SIZE),
        .host_style = (int)conf_number(conf, CONF_BLOB_HOST_STYLE),
        .make_buckets = (int)conf_number(conf, CONF_BLOB_MAKE_BUCKETS),
    };
    s->queue = (struct queue_options){
        .url = conf_text(conf, CONF_QUEUE_URL),
        .password = conf_secret(conf, CONF_QUEUE_PASSWORD),
        .ca_file = conf_text(conf, CONF_QUEUE_CA_FILE),
    };
    s->cache = (struct cache_options){
        .url = conf_text(conf, CONF_CACHE_URL),
        .password = conf_secret(conf, CONF_CACHE_PASSWORD),
        .ca_file = conf_text(conf, CONF_CACHE_CA_FILE),
        .max_bytes = conf_bytes(conf, CONF_CACHE_MAX_BYTES),
    };
}

void settings_app(const struct conf *conf, struct app_settings *ret)
{
    int jobs = (int)conf_number(conf, CONF_SERVER_JOBS);
    *ret = (struct app_settings){
        .roles = roles_of(conf_text(conf, CONF_SERVER_ROLE)),
        .drain_seconds = conf_number(conf, CONF_SERVER_DRAIN),
        .listen = conf_text(conf, CONF_SERVER_LISTEN),
        .data = conf_text(conf, CONF_SERVER_DATA),
        .web_dir = conf_text(conf, CONF_SERVER_WEB),
        .hosts = conf_text(conf, CONF_SERVER_HOSTS),
        .keep_audio_days = conf_number(conf, CONF_RETENTION_AUDIO),
        .keep_results_days = conf_number(conf, CONF_RETENTION_RESULTS),
        .upload_max = conf_bytes(conf, CONF_SERVER_UPLOAD_MAX),
        .queue_max = (uint64_t)conf_number(conf, CONF_SERVER_QUEUE_MAX),
        .min_free = conf_bytes(conf, CONF_SERVER_MIN_FREE),
        .workers = (int)conf_number(conf, CONF_SERVER_WORKERS),
        /* One more than processors: while one waits for the disk with its result, the others
         * compute. */
        .analysts = jobs > 0 ? jobs : parallel_processors() + 1,
    };
    fill_drivers(conf, ret);
}

_Static_assert(CONF_FOREVER == KEEP_FOREVER, "a retention that never ends");

/* See servers.h. Main thread, before any other is started.
 *
 * Machines and containers start in any order, so a server that does not answer yet is waited for
 * here, with its reason in the log, and not found out by a supervisor that starts us again and
 * again. What no waiting mends (a password, a missing database) ends at once. Nor is it waited for
 * ever: a process that ends after a minute is seen by whoever watches processes.
 *
 * All are tried each time, so that one start tells all that is missing. Each try opens the part as
 * the server will, and closes it again; nothing is kept. */
#include "servers.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../base/url.h"
#include "../os/clock.h"
#include "commands.h"

#define WAIT_SECONDS  60
#define PAUSE_SECONDS 2
#define TELL_SECONDS  20 /* the same again */

char *servers_cure(const char *section, enum err_code code)
{
    switch (code) {
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_BUSY:
        return xasprintf("see that it runs, that it can be reached from here, and what [%s] in the "
                         "configuration says",
                         section);
    case ERR_PERMISSION:
        return xasprintf("check user, password, TLS and rights: [%s] in the configuration",
                         section);
    case ERR_USAGE:
        return xasprintf("see [%s] in the configuration; `sonde config docs` tells what goes there",
                         section);
    case ERR_READ_ONLY:
        return xasprintf("[%s] url has to name a server that takes writes", section);
    case ERR_NO_SUCH:
    case ERR_NOT_FOUND:
        return xasprintf("make it, or see [%s] in the configuration", section);
    case ERR_UNSUPPORTED:
        return xasprintf("[%s] url has to name one that sonde can use", section);
    case ERR_NO_SPACE:
        return xstrdup("give that server room; nothing that was accepted is lost");
    default:
        return xstrdup(err_hint(code));
    }
}

/* Whether the text says where: the first host of the url. */
static int names_host(const char *text, const char *url)
{
    const char *host = strstr(url, "://");
    if (!host)
        return 0;
    host += 3;
    size_t n = strcspn(host, "/? ");
    const char *at = memrchr(host, '@', n);
    if (at) {
        n -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    _cleanup_free_ char *name = xasprintf("%.*s", (int)n, host);
    name[strcspn(name, *name == '[' ? "," : ":,")] = '\0';
    return *name && strstr(text, name) != NULL;
}

char *servers_text(const char *url, const struct err *err)
{
    _cleanup_free_ char *shown = url_masked(url);
    return names_host(err->text, shown) ? xstrdup(err->text)
                                        : xasprintf("%s: %s", shown, err->text);
}

enum err_code servers_try_cache(struct cache *cache, struct err *err)
{
    enum err_code rc = cache_ping(cache, err);
    if (rc == ERR_OK)
        rc = cache_set(cache, "doctor", "1", 1, 10, err);
    return rc == ERR_OK ? cache_delete(cache, "doctor", err) : rc;
}

/* --- the tries ------------------------------------------------------------------------------ */

static enum err_code try_db(const struct app_settings *settings, struct err *err)
{
    struct db *db = NULL;
    enum err_code rc = db_open(&settings->db, &db, err);
    if (rc == ERR_OK)
        rc = db_ping(db, err);
    db_close(db);
    return rc;
}

static enum err_code try_blob(const struct app_settings *settings, struct err *err)
{
    struct blob *blob = NULL;
    enum err_code rc = blob_open_store(&settings->blob, &blob, err);
    if (rc == ERR_OK)
        rc = blob_ping(blob, err);
    blob_close_store(blob);
    return rc;
}

static enum err_code try_queue(const struct app_settings *settings, struct err *err)
{
    struct queue *queue = NULL;
    enum err_code rc = queue_open(&settings->queue, &queue, err);
    if (rc == ERR_OK)
        rc = queue_ping(queue, err);
    queue_close(queue);
    return rc;
}

static enum err_code try_cache(const struct app_settings *settings, struct err *err)
{
    struct cache *cache = NULL;
    enum err_code rc = cache_open(&settings->cache, &cache, err);
    if (rc == ERR_OK)
        rc = servers_try_cache(cache, err);
    cache_close(cache);
    return rc;
}

struct part {
    const char *name, *section, *url, *embedded; /* embedded: the scheme without a server */
    enum err_code (*try)(const struct app_settings *, struct err *);
    int vital;
    double told_at;
    struct err err;
};

static void tell(struct part *part, enum log_level level, const char *before, const char *after)
{
    _cleanup_free_ char *cure = servers_cure(part->section, part->err.code);
    _cleanup_free_ char *message = xasprintf("%s%s%s", before, part->name, after);
    struct err err = {.code = part->err.code};
    _cleanup_free_ char *text = servers_text(part->url, &part->err);
    err_set(&err, err.code, "%s", text);
    log_error(level, message, &err, LOG_T("labels.cure", cure));
    part->told_at = clock_seconds();
}

/* 1: works, or is not needed; 0: may come; -1: waiting does not help. */
static int look(struct part *part, const struct app_settings *settings, int last)
{
    struct err before = part->err;
    part->err = (struct err){0};
    if (part->try(settings, &part->err) == ERR_OK) {
        if (before.code && part->vital)
            log_event(LOG_LEVEL_INFO, "it answers now", LOG_T("labels.part", part->name));
        return 1;
    }
    int new = strcmp(before.text, part->err.text) != 0;
    if (!part->vital && part->err.code != ERR_USAGE) {
        if (new)
            tell(part, LOG_LEVEL_WARN, "", " does not work: sonde goes on without it, slower");
        return 1;
    }
    int passes = err_retryable(part->err.code) || part->err.code == ERR_READ_ONLY;
    if (!passes || last)
        tell(part, LOG_LEVEL_ERROR, "cannot start without ", "");
    else if (new || clock_seconds() - part->told_at > TELL_SECONDS)
        tell(part, LOG_LEVEL_WARN, "waiting for ", "");
    return passes ? 0 : -1;
}

/* Nothing has begun that would have to end in order. */
static void end_at_once(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

static int is_server(const struct part *part)
{
    return part->url && strncmp(part->url, part->embedded, strlen(part->embedded)) != 0;
}

int servers_await(const struct app_settings *settings)
{
    struct part parts[] = {
        {"the database", "db", settings->db.url, "sqlite:", try_db, 1, 0, {0}},
        {"the recordings' store", "blob", settings->blob.url, "fs:", try_blob, 1, 0, {0}},
        {"the queue", "queue", settings->queue.url, "table:", try_queue, 1, 0, {0}},
        {"the cache", "cache", settings->cache.url, "mem:", try_cache, 0, 0, {0}},
    };
    void (*on_int)(int) = signal(SIGINT, end_at_once),
         (*on_term)(int) = signal(SIGTERM, end_at_once);
    int worst = 1;
    for (double until = clock_seconds() + WAIT_SECONDS;; sleep(PAUSE_SECONDS)) {
        int last = clock_seconds() >= until;
        worst = 1;
        for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
            int seen = is_server(&parts[i]) ? look(&parts[i], settings, last) : 1;
            worst = seen < worst ? seen : worst;
        }
        if (worst != 0 || last)
            break;
    }
    signal(SIGINT, on_int);
    signal(SIGTERM, on_term);
    return worst == 1 ? 0 : EXIT_INCOMPLETE;
}

/* Final answers in the cache (see roles.h): GET /status and the detector's answer, for an hour.
 *
 * What is deleted must not be answered from here. A reader may hold a row that it read before the
 * deletion was committed, so whoever puts looks once more afterwards, and takes back what is gone
 * by then; whoever deletes makes the cache forget after the commit. Of the two, whichever comes
 * last clears it: the second look either comes before the commit, then the forgetting comes after
 * the put, or it comes behind it, and sees it. What a process that dies in between leaves, the
 * event threads of all processes clear (events.c), and the hour.
 *
 * A cache that fails is left alone for a second, so that its time-outs do not become every
 * request's. Any thread that may wait. */
#include <stdlib.h>
#include <string.h>

#include "../base/log.h"
#include "../base/mem.h"
#include "../os/clock.h"
#include "roles.h"

#define KEPT_SECONDS 3600
#define AWAY_NS      UINT64_C(1000000000)

static const char *const names[] = {[CACHED_STATUS] = "status", [CACHED_RESULT] = "result"};
static atomic_uint_fast64_t away_until; /* clock_ns */

static int is_usable(const struct app *app)
{
    return app->cached && clock_ns() >= atomic_load(&away_until);
}

static void note_failure(const struct err *err)
{
    static struct log_limit limit;
    atomic_store(&away_until, clock_ns() + AWAY_NS);
    if (log_allowed(&limit, 60, NULL))
        log_error(LOG_LEVEL_WARN, "the cache does not answer; the database is asked instead", err);
}

static void key_of(enum cached_what what, const char *id, char ret[CACHE_KEY_MAX])
{
    snprintf(ret, CACHE_KEY_MAX, "%s:%s", names[what], id);
}

char *cached_get(struct app *app, enum cached_what what, const char *id)
{
    char key[CACHE_KEY_MAX], *text = NULL;
    size_t size = 0;
    struct err err = {0};
    if (!is_usable(app))
        return NULL;
    key_of(what, id, key);
    if (cache_get(app->cache, key, &text, &size, &err) != ERR_OK) {
        note_failure(&err);
        return NULL;
    }
    return text;
}

void cached_get_many(struct app *app, enum cached_what what, const char *const *ids, size_t n,
                     char **texts)
{
    char key[CACHE_MANY][CACHE_KEY_MAX];
    const char *keys[CACHE_MANY];
    struct err err = {0};
    memset(texts, 0, n * sizeof *texts);
    if (!is_usable(app))
        return;
    for (size_t i = 0; i < n; i++) {
        key_of(what, ids[i], key[i]);
        keys[i] = key[i];
    }
    if (cache_get_many(app->cache, keys, n, texts, &err) != ERR_OK)
        note_failure(&err);
}

static int forget(struct app *app, enum cached_what what, const char *id)
{
    char key[CACHE_KEY_MAX];
    struct err err = {0};
    key_of(what, id, key);
    if (cache_delete(app->cache, key, &err) == ERR_OK)
        return 1;
    note_failure(&err);
    return 0;
}

void cached_put(struct app *app, enum cached_what what, const char *id, const char *text)
{
    char key[CACHE_KEY_MAX];
    struct err err = {0};
    struct store_analysis a;
    size_t size = strlen(text);
    if (!is_usable(app) || size > CACHE_VALUE_MAX)
        return;
    key_of(what, id, key);
    if (cache_set(app->cache, key, text, size, KEPT_SECONDS, &err) != ERR_OK)
        note_failure(&err); /* it may have been set all the same */
    if (store_get_status(app->db, id, &a, NULL) != ERR_OK)
        forget(app, what, id);
}

int cached_forget(struct app *app, const char *id)
{
    if (!app->cached)
        return 1;
    return is_usable(app) && forget(app, CACHED_STATUS, id) && forget(app, CACHED_RESULT, id);
}

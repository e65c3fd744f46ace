/* The cache in memory: a hash table, and a list by last use that tells what goes first.
 *
 * Keys may hold what a client chose, so their hash is keyed (SipHash-1-3, a new key per cache):
 * nobody can fill one chain on purpose. Expired entries go when somebody asks for them, or at the
 * end of the list like all that nobody uses. One mutex: each operation holds it for a look-up, and
 * for copying a value of at most 1 MiB. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "../../base/id.h"
#include "../../base/mem.h"
#include "../../os/clock.h"
#include "cache_driver.h"

#define DEFAULT_BYTES (16u << 20)
#define NUMBER_TEXT   24
#define FOREVER       ((double)(100 * 365) * 86400)

struct entry {
    struct entry *chain;         /* next with the same slot */
    struct entry *newer, *older; /* by use; NULL at the ends */
    uint64_t hash, expires_ns;
    size_t key_size, size; /* the key's with its zero */
    char bytes[];          /* key, zero, value, zero */
};

struct cache_mem {
    pthread_mutex_t lock;
    uint64_t key[2];
    struct entry **slots;
    size_t slot_count; /* a power of two */
    struct entry *newest, *oldest;
    uint64_t bytes, max_bytes;
    cache_heard *heard; /* set once, before others use the cache */
    void *heard_ctx;
};

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static uint64_t hash_of(const struct cache_mem *c, const char *key)
{
    size_t len = strlen(key);
    uint64_t v[4] = {c->key[0] ^ 0x736f6d6570736575u, c->key[1] ^ 0x646f72616e646f6du,
                     c->key[0] ^ 0x6c7967656e657261u, c->key[1] ^ 0x7465646279746573u};
    for (size_t at = 0; at <= len; at += 8) {
        uint64_t word = 0;
        size_t left = len - at;
        memcpy(&word, key + at, left < 8 ? left : 8);
        if (left < 8)
            word |= (uint64_t)len << 56;
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t cost(const struct entry *e)
{
    return sizeof *e + e->key_size + e->size + 1;
}

static const char *value_of(const struct entry *e)
{
    return e->bytes + e->key_size;
}

/* Both lists, with the lock. */
static void detach(struct cache_mem *c, struct entry *e)
{
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void attach_newest(struct cache_mem *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static void drop(struct cache_mem *c, struct entry *e)
{
    struct entry **p = &c->slots[e->hash & (c->slot_count - 1)];
    while (*p != e)
        p = &(*p)->chain;
    *p = e->chain;
    detach(c, e);
    c->bytes -= cost(e);
    free(e);
}

/* The live entry of a key, or NULL; an expired one goes. */
static struct entry *find(struct cache_mem *c, const char *key, uint64_t hash)
{
    struct entry *e = c->slots[hash & (c->slot_count - 1)];
    while (e && (e->hash != hash || strcmp(e->bytes, key) != 0))
        e = e->chain;
    if (e && e->expires_ns <= clock_ns()) {
        drop(c, e);
        e = NULL;
    }
    return e;
}

/* Puts `e` in, in place of one with the same key, and makes room. The cache owns it now. */
static void insert(struct cache_mem *c, struct entry *e)
{
    struct entry *old = find(c, e->bytes, e->hash);
    if (old)
        drop(c, old);
    struct entry **slot = &c->slots[e->hash & (c->slot_count - 1)];
    e->chain = *slot;
    *slot = e;
    attach_newest(c, e);
    c->bytes += cost(e);
    while (c->bytes > c->max_bytes && c->oldest)
        drop(c, c->oldest); /* at last `e` itself, when it alone is too large */
}

static uint64_t expiry(double ttl_s)
{
    return clock_ns() + (uint64_t)((ttl_s < FOREVER ? ttl_s : FOREVER) * 1e9);
}

static struct entry *make_entry(const struct cache_mem *c, const char *key, const void *value,
                                size_t size, uint64_t expires_ns)
{
    size_t key_size = strlen(key) + 1;
    struct entry *e = try_alloc(1, sizeof *e + key_size + size + 1);
    if (!e)
        return NULL;
    e->hash = hash_of(c, key);
    e->expires_ns = expires_ns;
    e->key_size = key_size;
    e->size = size;
    memcpy(e->bytes, key, key_size);
    if (size)
        memcpy(e->bytes + key_size, value, size);
    return e;
}

static enum err_code mem_open(const struct cache_options *options, void **ret_self, struct err *err)
{
    if (strcmp(options->url, "mem:") != 0)
        return err_set(err, ERR_USAGE, "'%.100s': mem: takes nothing more", options->url);
    struct cache_mem *c = xalloc(sizeof *c);
    c->max_bytes = options->max_bytes ? options->max_bytes : DEFAULT_BYTES;
    c->slot_count = 256;
    while (c->slot_count < 65536 && c->slot_count * 256 < c->max_bytes)
        c->slot_count *= 2;
    c->slots = try_alloc(c->slot_count, sizeof(struct entry *));
    if (!c->slots) {
        free(c);
        return err_set(err, ERR_NO_MEMORY, "no memory for a cache");
    }
    random_bytes(c->key, sizeof c->key);
    pthread_mutex_init(&c->lock, NULL);
    *ret_self = c;
    return ERR_OK;
}

static void mem_close(void *self)
{
    struct cache_mem *c = self;
    while (c->oldest)
        drop(c, c->oldest);
    pthread_mutex_destroy(&c->lock);
    free(c->slots);
    free(c);
}

static enum err_code mem_ping(void *self, struct err *err)
{
    (void)self;
    (void)err;
    return ERR_OK;
}

static enum err_code mem_get(void *self, const char *key, int take, char **ret, size_t *ret_size,
                             struct err *err)
{
    struct cache_mem *c = self;
    uint64_t hash = hash_of(c, key);
    enum err_code rc = ERR_OK;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, key, hash);
    if (e) {
        char *copy = try_alloc(e->size + 1, 1);
        if (copy) {
            memcpy(copy, value_of(e), e->size);
            *ret = copy;
            *ret_size = e->size;
            detach(c, e);
            attach_newest(c, e);
            if (take)
                drop(c, e);
        } else {
            rc = err_set(err, ERR_NO_MEMORY, "no memory for a value of %zu bytes", e->size);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static enum err_code mem_get_many(void *self, const char *const *keys, size_t n, char **ret,
                                  struct err *err)
{
    enum err_code rc = ERR_OK;
    size_t size;
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = mem_get(self, keys[i], 0, &ret[i], &size, err);
    return rc;
}

static enum err_code mem_set(void *self, const char *key, const void *value, size_t size,
                             double ttl_s, struct err *err)
{
    struct cache_mem *c = self;
    struct entry *e = make_entry(c, key, value, size, expiry(ttl_s));
    if (!e)
        return err_set(err, ERR_NO_MEMORY, "no memory for a value of %zu bytes", size);
    pthread_mutex_lock(&c->lock);
    insert(c, e);
    pthread_mutex_unlock(&c->lock);
    return ERR_OK;
}

static enum err_code mem_delete(void *self, const char *key, struct err *err)
{
    struct cache_mem *c = self;
    uint64_t hash = hash_of(c, key);
    (void)err;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, key, hash);
    if (e)
        drop(c, e);
    pthread_mutex_unlock(&c->lock);
    return ERR_OK;
}

/* The number that a value is, all of it. */
static int as_number(const struct entry *e, int64_t *ret)
{
    char *end;
    const char *text = value_of(e);
    if (e->size == 0 || e->size >= NUMBER_TEXT)
        return -1;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    *ret = number;
    return errno || end != text + e->size ? -1 : 0;
}

/* With the lock. */
static enum err_code add_locked(struct cache_mem *c, const char *key, int64_t by, double ttl_s,
                                int64_t *ret, struct err *err)
{
    struct entry *old = find(c, key, hash_of(c, key));
    int64_t sum = 0;
    if (!old && !(ttl_s > 0)) { /* it would be gone at once */
        *ret = by;
        return ERR_OK;
    }
    if (old && as_number(old, &sum) < 0)
        return err_set(err, ERR_CONFLICT, "the value is no number");
    if (__builtin_add_overflow(sum, by, &sum))
        return err_set(err, ERR_CONFLICT, "the counter would overflow");
    char text[NUMBER_TEXT];
    int len = snprintf(text, sizeof text, "%" PRId64, sum);
    struct entry *e = make_entry(c, key, text, (size_t)len, old ? old->expires_ns : expiry(ttl_s));
    if (!e)
        return err_set(err, ERR_NO_MEMORY, "no memory for a counter");
    insert(c, e);
    *ret = sum;
    return ERR_OK;
}

static enum err_code mem_add(void *self, const char *key, int64_t by, double ttl_s, int64_t *ret,
                             struct err *err)
{
    struct cache_mem *c = self;
    pthread_mutex_lock(&c->lock);
    enum err_code rc = add_locked(c, key, by, ttl_s, ret, err);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static enum err_code mem_publish(void *self, const char *channel, const char *text, struct err *err)
{
    struct cache_mem *c = self;
    (void)err;
    if (c->heard)
        c->heard(c->heard_ctx, channel, text);
    return ERR_OK;
}

static enum err_code mem_listen(void *self, cache_heard *heard, void *ctx, struct err *err)
{
    struct cache_mem *c = self;
    (void)err;
    c->heard = heard;
    c->heard_ctx = ctx;
    return ERR_OK;
}

const struct cache_driver cache_mem = {
    .scheme = "mem",
    .open = mem_open,
    .close = mem_close,
    .ping = mem_ping,
    .get = mem_get,
    .get_many = mem_get_many,
    .set = mem_set,
    .del = mem_delete,
    .add = mem_add,
    .publish = mem_publish,
    .listen = mem_listen,
};

/* What Redis's errors mean to whoever runs sonde: one line each, with the cure.
 *
 * The text of an unknown error is shown in part, except where Redis repeats arguments: those of a
 * refused AUTH are the password. Pure; any thread. */
#include "redis_conn.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "../../base/mem.h"

struct meaning {
    const char *start; /* of the error reply */
    enum err_code code;
    enum redis_fate fate;
    const char *text;
};

#define IS_CLUSTER                                                                                 \
    "this is a Redis Cluster, which sonde does not support; give it one Redis, or a Sentinel"
#define AS_IT_IS REDIS_GOOD

/* The first that fits. */
static const struct meaning meanings[] = {
    {"ERR value is not an integer", ERR_CONFLICT, AS_IT_IS, "the value is no number"},
    {"ERR increment or decrement", ERR_CONFLICT, AS_IT_IS, "the counter would overflow"},
    {"WRONGTYPE", ERR_CONFLICT, AS_IT_IS,
     "the key holds something else: another program writes there; give sonde its own ?prefix="},
    {"NOAUTH", ERR_UNAVAILABLE, REDIS_GONE, "it wants a password; set SONDE_CACHE_PASSWORD"},
    {"WRONGPASS", ERR_UNAVAILABLE, REDIS_GONE,
     "it refuses the user or the password; check SONDE_CACHE_PASSWORD, and the user in the URL"},
    {"ERR invalid password", ERR_UNAVAILABLE, REDIS_GONE,
     "it refuses the password; check SONDE_CACHE_PASSWORD"},
    {"ERR Client sent AUTH, but no", ERR_UNAVAILABLE, REDIS_GONE,
     "it has no password, but sonde is given one; set requirepass there, or no password here"},
    {"ERR AUTH", ERR_UNAVAILABLE, REDIS_GONE,
     "it has no password, but sonde is given one; set requirepass there, or no password here"},
    {"ERR wrong number of arguments for 'auth'", ERR_UNAVAILABLE, REDIS_GONE,
     "it is older than 6.0 and knows no users; leave the user out of the URL"},
    {"NOPERM", ERR_UNAVAILABLE, AS_IT_IS,
     "its user may not do what sonde does; see ACL LOG, and allow it its prefix: ~sonde:* "
     "&sonde:*"},
    {"LOADING", ERR_UNAVAILABLE, REDIS_GONE,
     "it is reading its data from the disk, and answers once that is done"},
    {"READONLY", ERR_UNAVAILABLE, REDIS_GONE,
     "it is a replica and takes no writes: a fail-over is going on, or the URL names a replica"},
    {"MASTERDOWN", ERR_UNAVAILABLE, REDIS_GONE,
     "it is a replica that lost its master: a fail-over is going on, or the URL names a replica"},
    {"OOM", ERR_UNAVAILABLE, AS_IT_IS,
     "its memory is full; raise its maxmemory, or set maxmemory-policy allkeys-lru"},
    {"MISCONF", ERR_UNAVAILABLE, AS_IT_IS,
     "it takes no writes because saving fails: see its log, or set stop-writes-on-bgsave-error no"},
    {"NOREPLICAS", ERR_UNAVAILABLE, AS_IT_IS,
     "it takes no writes with so few replicas; start them, or lower min-replicas-to-write"},
    {"MOVED", ERR_UNAVAILABLE, AS_IT_IS, IS_CLUSTER},
    {"ASK", ERR_UNAVAILABLE, AS_IT_IS, IS_CLUSTER},
    {"CROSSSLOT", ERR_UNAVAILABLE, AS_IT_IS, IS_CLUSTER},
    {"CLUSTERDOWN", ERR_UNAVAILABLE, AS_IT_IS, IS_CLUSTER},
    {"ERR SELECT is not allowed in cluster", ERR_UNAVAILABLE, REDIS_GONE, IS_CLUSTER},
    {"ERR DB index", ERR_UNAVAILABLE, REDIS_GONE,
     "it has fewer databases than the number in the URL says; see its setting databases"},
    {"ERR max number of clients", ERR_UNAVAILABLE, REDIS_GONE,
     "it has too many clients; raise its maxclients"},
    {"BUSY", ERR_UNAVAILABLE, AS_IT_IS,
     "a script of another program holds it up; end it by SCRIPT KILL"},
    {"DENIED", ERR_UNAVAILABLE, REDIS_GONE,
     "it is in protected mode; give it a password (requirepass) and sonde the same"},
    {"ERR unknown command", ERR_UNSUPPORTED, AS_IT_IS,
     "it does not know a command of sonde's: it is older than 6.0, or the command was renamed"},
};

/* Printable, and no longer than fits into a line. */
static void plain(const char *text, char ret[100])
{
    size_t n = 0;
    for (; text[n] && text[n] != '\n' && n < 99; n++)
        ret[n] = isprint((unsigned char)text[n]) ? text[n] : '?';
    ret[n] = '\0';
}

enum err_code redis_explain(const redisReply *reply, enum redis_fate *ret_fate, struct err *err)
{
    *ret_fate = REDIS_CLOSE; /* what follows an answer of a wrong type is anyone's guess */
    if (reply->type != REDIS_REPLY_ERROR)
        return err_set(err, ERR_UNAVAILABLE,
                       "an answer that does not fit the question (type %d); is this Redis?",
                       reply->type);
    for (size_t i = 0; i < ARRAY_LEN(meanings); i++) {
        const struct meaning *m = &meanings[i];
        if (strncmp(reply->str, m->start, strlen(m->start)) == 0) {
            *ret_fate = m->fate;
            return err_set(err, m->code, "%s", m->text);
        }
    }
    char text[100];
    plain(reply->str, text);
    *ret_fate = REDIS_GOOD;
    return err_set(err, ERR_UNAVAILABLE, "it answers: %s", text);
}

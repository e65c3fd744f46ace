/* driver/cache on Redis: what a real server does not do on demand. A server of this file answers by
 * a script: it is silent, trickles, lies, is loading, is old. tests/contract and tests/fault have
 * the real ones. */
#include "../../support/cm.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"
#include "driver/cache/cache.h"
#include "driver/cache/redis_pool.h"

static struct err err;
#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

/* --- a server by script ----------------------------------------------------------------------- */

struct rule {
    const char *command; /* what a command line starts with: "GET", "AUTH me " */
    const char *reply;   /* NULL: none, ever; "": ends the connection */
    int trickle;         /* a byte every 100 ms */
};

struct script {
    const struct rule *rules; /* up to one without a command */
    int fd, port;
    atomic_int stop, connections;
    pthread_mutex_t lock;
    char seen[4096]; /* commands, each with a line's end */
    pthread_t thread;
};

struct talk {
    struct script *script;
    int fd;
};

static const struct rule usual[] = {{"PING", "+PONG\r\n", 0},
                                    {"SELECT", "+OK\r\n", 0},
                                    {"AUTH", "+OK\r\n", 0},
                                    {"MULTI", "+OK\r\n", 0},
                                    {NULL, "-ERR what?\r\n", 0}};

static const struct rule *find_rule(const struct rule *rules, const char *line)
{
    while (rules->command && strncmp(line, rules->command, strlen(rules->command)) != 0)
        rules++;
    return rules;
}

/* 1 when the connection ends. */
static int answer(struct script *s, int fd, const char *line)
{
    const struct rule *rule = find_rule(s->rules, line);
    if (!rule->command)
        rule = find_rule(usual, line);
    pthread_mutex_lock(&s->lock);
    size_t n = strlen(s->seen);
    snprintf(s->seen + n, sizeof s->seen - n, "%s\n", line);
    pthread_mutex_unlock(&s->lock);
    if (!rule->reply)
        return 0;
    size_t size = strlen(rule->reply), step = rule->trickle ? 1 : size;
    for (size_t at = 0; at < size && !atomic_load(&s->stop); at += step) {
        if (send(fd, rule->reply + at, step, MSG_NOSIGNAL) < 0)
            return 1;
        if (rule->trickle)
            usleep(100000);
    }
    return size == 0;
}

/* One line of the parts of each command that is whole. */
static int take_commands(struct script *s, int fd, redisReader *reader)
{
    void *got = NULL;
    while (redisReaderGetReply(reader, &got) == REDIS_OK && got) {
        _cleanup_(redis_reply_free) redisReply *command = got;
        char line[512] = "";
        for (size_t i = 0; i < command->elements; i++) {
            size_t n = strlen(line);
            snprintf(line + n, sizeof line - n, "%s%.100s", i ? " " : "", command->element[i]->str);
        }
        if (answer(s, fd, line))
            return 1;
        got = NULL;
    }
    return 0;
}

static void *serve_one(void *arg)
{
    struct talk *talk = arg;
    struct script *s = talk->script;
    redisReader *reader = redisReaderCreate();
    while (!atomic_load(&s->stop)) {
        char data[4096];
        struct pollfd p = {.fd = talk->fd, .events = POLLIN};
        if (poll(&p, 1, 20) <= 0)
            continue;
        ssize_t n = recv(talk->fd, data, sizeof data, 0);
        if (n <= 0 || redisReaderFeed(reader, data, (size_t)n) != REDIS_OK ||
            take_commands(s, talk->fd, reader))
            break;
    }
    redisReaderFree(reader);
    close(talk->fd);
    free(talk);
    return NULL;
}

static void *serve(void *arg)
{
    struct script *s = arg;
    pthread_t threads[64];
    int count = 0;
    while (!atomic_load(&s->stop)) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        if (poll(&p, 1, 20) <= 0 || count == 64)
            continue;
        struct talk *talk = xalloc(sizeof *talk);
        *talk = (struct talk){s, accept(s->fd, NULL, NULL)};
        atomic_fetch_add(&s->connections, 1);
        pthread_create(&threads[count++], NULL, serve_one, talk);
    }
    while (count)
        pthread_join(threads[--count], NULL);
    return NULL;
}

static struct script *begin(const struct rule *rules, int port)
{
    struct script *s = xalloc(sizeof *s);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    static const int on = 1;
    s->rules = rules;
    pthread_mutex_init(&s->lock, NULL);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(s->fd, 64), 0);
    s->port = ntohs(address.sin_port);
    pthread_create(&s->thread, NULL, serve, s);
    return s;
}

static void finish(struct script *s)
{
    atomic_store(&s->stop, 1);
    pthread_join(s->thread, NULL);
    close(s->fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static int count_seen(struct script *s, const char *what)
{
    int count = 0;
    pthread_mutex_lock(&s->lock);
    for (const char *at = s->seen; (at = strstr(at, what)); at++)
        count++;
    pthread_mutex_unlock(&s->lock);
    return count;
}

static struct cache *open_url(const char *format, int port)
{
    struct cache *cache = NULL;
    char url[200];
    const struct cache_options options = {.url = url};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(url, sizeof url, format, port);
#pragma GCC diagnostic pop
    OK(cache_open(&options, &cache, &err));
    return cache;
}

static enum err_code get(struct cache *cache, const char *key)
{
    char *got = NULL;
    size_t size;
    enum err_code rc = cache_get(cache, key, &got, &size, &err);
    free(got);
    return rc;
}

/* --- silence ---------------------------------------------------------------------------------- */

static void assert_bounded_then_at_once(struct cache *cache, int64_t most_ms)
{
    int64_t from = time_steady_ms();
    assert_int_equal(get(cache, "k"), ERR_UNAVAILABLE);
    int64_t took = time_steady_ms() - from;
    assert_true(took >= 900 && took <= most_ms);
    from = time_steady_ms();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(get(cache, "k"), ERR_UNAVAILABLE);
    assert_true(time_steady_ms() - from < 500);
    assert_non_null(strstr(err.text, "no answer in time"));
    from = time_steady_ms();
    cache_close(cache); /* while it tries to connect */
    assert_true(time_steady_ms() - from < 500);
}

static void a_silent_server_costs_one_time_out(void **state)
{
    (void)state;
    static const struct rule mute[] = {{"PING", NULL, 0}, {0}}, deaf[] = {{"GET", NULL, 0}, {0}};
    struct script *s = begin(mute, 0);
    assert_bounded_then_at_once(open_url("redis://127.0.0.1:%d", s->port), 2500);
    finish(s);
    s = begin(deaf, 0);
    struct cache *cache = open_url("redis://127.0.0.1:%d", s->port);
    OK(cache_ping(cache, &err));
    int64_t from = time_steady_ms();
    assert_int_equal(get(cache, "k"), ERR_UNAVAILABLE);
    assert_in_range(time_steady_ms() - from, 900, 2500);
    cache_close(cache);
    finish(s);
}

static void trickling_does_not_prolong(void **state)
{
    (void)state;
    static const struct rule slow[] = {{"PING", "+PONG, and then a lot more of it\r\n", 1}, {0}};
    struct script *s = begin(slow, 0);
    assert_bounded_then_at_once(open_url("redis://127.0.0.1:%d", s->port), 2500);
    finish(s);
}

static void it_is_back_when_the_server_is(void **state)
{
    (void)state;
    static const struct rule works[] = {{"GET", "$1\r\nv\r\n", 0}, {0}};
    struct script *s = begin(works, 0);
    int port = s->port;
    struct cache *cache = open_url("redis://127.0.0.1:%d", port);
    assert_int_equal(get(cache, "k"), ERR_OK);
    finish(s);
    assert_int_equal(get(cache, "k"), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "Connection refused"));
    usleep(700000); /* tries are rarer now */
    assert_int_equal(get(cache, "k"), ERR_UNAVAILABLE);
    s = begin(works, port);
    int64_t from = time_steady_ms();
    while (get(cache, "k") != ERR_OK && time_steady_ms() - from < 5000)
        usleep(5000);
    assert_true(time_steady_ms() - from < 2500);
    assert_in_range(atomic_load(&s->connections), 1, 2);
    cache_close(cache);
    finish(s);
}

static void waits_grow_and_vary(void **state)
{
    (void)state;
    int wait = REDIS_WAIT_MIN, different = 0, before = -1;
    for (int i = 0; i < 200; i++) {
        int most = wait, ms = redis_wait(&wait);
        assert_in_range(ms, most / 2, most);
        if (i > 10)
            different += ms != before;
        before = ms;
    }
    assert_int_equal(wait, REDIS_WAIT_MAX);
    assert_true(different > 100);
}

/* --- odd answers ------------------------------------------------------------------------------ */

static void assert_error(const struct rule *rules, const char *says, enum err_code code, int stays)
{
    struct script *s = begin(rules, 0);
    struct cache *cache = open_url("redis://me:SECRET@127.0.0.1:%d/2", s->port);
    assert_int_equal(get(cache, "k"), code);
    if (!strstr(err.text, says))
        fail_msg("'%s' does not say '%s'", err.text, says);
    assert_null(strstr(err.text, "SECRET"));
    /* The connection is used again, or the server left alone for a moment. */
    int before = count_seen(s, "GET sonde:k");
    (void)!get(cache, "k");
    assert_int_equal(count_seen(s, "GET sonde:k"), before + stays);
    cache_close(cache);
    finish(s);
}

static void errors_are_told_with_their_cure(void **state)
{
    (void)state;
#define RULE(command, reply)                                                                       \
    (const struct rule[])                                                                          \
    {                                                                                              \
        {command, reply, 0},                                                                       \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
    assert_error(RULE("AUTH me SECRET", "-WRONGPASS invalid SECRET\r\n"), "password",
                 ERR_UNAVAILABLE, 0);
    assert_error(RULE("AUTH", "-ODD you said SECRET\r\n"), "refuses AUTH", ERR_UNAVAILABLE, 0);
    assert_error(
        RULE("AUTH", "-ERR unknown command 'AUTH', with args beginning with: 'SECRET'\r\n"),
        "older", ERR_UNAVAILABLE, 0);
    assert_error(RULE("SELECT 2", "-ERR DB index is out of range\r\n"), "databases",
                 ERR_UNAVAILABLE, 0);
    assert_error(RULE("PING", "-LOADING Redis is loading\r\n"), "reading its data", ERR_UNAVAILABLE,
                 0);
    assert_error(RULE("GET", "-READONLY replica\r\n"), "fail-over", ERR_UNAVAILABLE, 0);
    assert_error(RULE("GET", "-MOVED 1 10.0.0.1:6379\r\n"), "Cluster", ERR_UNAVAILABLE, 1);
    assert_error(RULE("GET", "-WRONGTYPE Operation\r\n"), "?prefix=", ERR_CONFLICT, 1);
    assert_error(RULE("GET", ":5\r\n"), "is this Redis?", ERR_UNAVAILABLE, 1);
    assert_error(RULE("GET", "*1\r\n$1\r\nx\r\n"), "is this Redis?", ERR_UNAVAILABLE, 1);
    assert_error(RULE("GET", "HTTP/1.1 400 Bad Request\r\n\r\n"), "protocol", ERR_UNAVAILABLE, 0);
    assert_error(RULE("GET", "*2000000000\r\n"), "too long", ERR_LIMIT, 1);
    assert_error(RULE("GET", ""), "Connection reset", ERR_UNAVAILABLE, 0);
}

static void a_long_answer_is_refused(void **state)
{
    (void)state;
    enum { LONG = 3 << 20 };
    _cleanup_free_ char *reply = xalloc(LONG + 32);
    int n = snprintf(reply, 32, "$%d\r\n", LONG);
    memset(reply + n, 'x', LONG);
    const struct rule rules[] = {{"GET sonde:long", reply, 0}, {"GET", "$2\r\nok\r\n", 0}, {0}};
    struct script *s = begin(rules, 0);
    struct cache *cache = open_url("redis://127.0.0.1:%d", s->port);
    assert_int_equal(get(cache, "long"), ERR_LIMIT);
    assert_int_equal(get(cache, "short"), ERR_OK); /* one key's trouble is not the server's */
    cache_close(cache);
    finish(s);
}

static void an_old_server_takes_in_two_steps(void **state)
{
    (void)state;
    static const struct rule old[] = {
        {"GETDEL", "-ERR unknown command `GETDEL`, with args beginning with: `sonde:t`, \r\n", 0},
        {"GET sonde:t", "+QUEUED\r\n", 0},
        {"DEL sonde:t", "+QUEUED\r\n", 0},
        {"EXEC", "*2\r\n$3\r\nabc\r\n:1\r\n", 0},
        {0}};
    struct script *s = begin(old, 0);
    struct cache *cache = open_url("redis://127.0.0.1:%d", s->port);
    for (int i = 0; i < 3; i++) {
        char *got;
        size_t size;
        OK(cache_take(cache, "t", &got, &size, &err));
        assert_string_equal(got, "abc");
        free(got);
    }
    assert_int_equal(count_seen(s, "GETDEL"), 1);
    assert_int_equal(count_seen(s, "MULTI\nGET sonde:t\nDEL sonde:t\nEXEC\n"), 3);
    cache_close(cache);
    finish(s);
}

static void a_refused_transaction_says_why(void **state)
{
    (void)state;
    static const struct rule full[] = {{"SET sonde:n 0 PX", "-OOM command not allowed\r\n", 0},
                                       {"INCRBY sonde:n", "+QUEUED\r\n", 0},
                                       {"EXEC", "-EXECABORT Transaction discarded\r\n", 0},
                                       {"GET", "$-1\r\n", 0},
                                       {0}};
    struct script *s = begin(full, 0);
    struct cache *cache = open_url("redis://127.0.0.1:%d", s->port);
    int64_t sum;
    assert_int_equal(cache_add(cache, "n", 1, 60, &sum, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "maxmemory"));
    assert_int_equal(get(cache, "k"), ERR_OK); /* reading goes on */
    assert_int_equal(atomic_load(&s->connections), 1);
    cache_close(cache);
    finish(s);
}

/* --- Sentinel --------------------------------------------------------------------------------- */

static void a_sentinel_is_followed_and_not_believed(void **state)
{
    (void)state;
    char name[64];
    struct rule names[] = {{"SENTINEL get-master-addr-by-name main", name, 0}, {0}};
    static const struct rule replica[] = {
        {"ROLE", "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:7\r\n", 0}, {0}};
    static const struct rule master[] = {
        {"ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", 0}, {"GET", "$1\r\nv\r\n", 0}, {0}};
    static const struct rule none[] = {{"SENTINEL", "*-1\r\n", 0}, {0}};
    struct script *server = begin(replica, 0), *sentinel = begin(names, 0);
    int port = server->port;
    snprintf(name, sizeof name, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%d\r\n",
             (size_t)snprintf(NULL, 0, "%d", port), port);
    struct cache *cache = open_url("sentinel://127.0.0.1:1,127.0.0.1:%d/main", sentinel->port);
    assert_int_equal(get(cache, "k"), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "fail-over"));
    finish(server);
    server = begin(master, port);
    int64_t from = time_steady_ms();
    while (get(cache, "k") != ERR_OK && time_steady_ms() - from < 5000)
        usleep(5000);
    OK(get(cache, "k"));
    cache_close(cache);
    finish(sentinel);
    finish(server);
    sentinel = begin(none, 0);
    cache = open_url("sentinel://127.0.0.1:%d/other", sentinel->port);
    assert_int_equal(cache_ping(cache, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "knows no master 'other'"));
    cache_close(cache);
    finish(sentinel);
}

/* --- listening -------------------------------------------------------------------------------- */

static void count_calls(void *ctx, const char *channel, const char *text)
{
    (void)text;
    atomic_fetch_add((atomic_int *)ctx, channel ? 1000 : 1);
}

static void a_listener_notices_a_silent_end(void **state)
{
    (void)state;
    static const struct rule mute[] = {
        {"PSUBSCRIBE sonde:0/*",
         "*3\r\n$10\r\npsubscribe\r\n$9\r\nsonde:0/*\r\n:1\r\n"
         "*4\r\n$8\r\npmessage\r\n$9\r\nsonde:0/*\r\n$12\r\nsonde:0/bell\r\n$2\r\nhi\r\n"
         "*4\r\n$8\r\npmessage\r\n$9\r\nsonde:0/*\r\n$5\r\nother\r\n$2\r\nhi\r\n",
         0},
        {0}};
    struct rule rules[2] = {mute[0], {0}};
    struct script *s = begin(rules, 0);
    struct cache *cache = open_url("redis://127.0.0.1:%d", s->port);
    atomic_int calls = 0;
    OK(cache_listen(cache, count_calls, &calls, &err));
    int64_t from = time_steady_ms();
    while (atomic_load(&calls) < 1001 && time_steady_ms() - from < 3000)
        usleep(1000);
    assert_int_equal(atomic_load(&calls), 1001); /* may have missed something; one message */
    assert_true(time_steady_ms() - from < 1000);
    usleep(2500000); /* it has asked PING, which is answered */
    assert_int_equal(atomic_load(&calls), 1001);
    assert_in_range(count_seen(s, "PING\n"), 2, 3);
    cache_close(cache);
    finish(s);
    static const struct rule deaf[] = {{"PSUBSCRIBE", "", 0}, {0}};
    s = begin(deaf, 0);
    cache = open_url("redis://127.0.0.1:%d", s->port);
    OK(cache_listen(cache, count_calls, &calls, &err));
    usleep(300000);
    OK(cache_ping(cache, &err)); /* a moment is no trouble */
    usleep(5200000);
    assert_int_equal(cache_ping(cache, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "listening"));
    assert_in_range(atomic_load(&s->connections), 4, 20); /* not in a loop without a pause */
    cache_close(cache);
    finish(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_server_costs_one_time_out),
        cmocka_unit_test(trickling_does_not_prolong),
        cmocka_unit_test(it_is_back_when_the_server_is),
        cmocka_unit_test(waits_grow_and_vary),
        cmocka_unit_test(errors_are_told_with_their_cure),
        cmocka_unit_test(a_long_answer_is_refused),
        cmocka_unit_test(an_old_server_takes_in_two_steps),
        cmocka_unit_test(a_refused_transaction_says_why),
        cmocka_unit_test(a_sentinel_is_followed_and_not_believed),
        cmocka_unit_test(a_listener_notices_a_silent_end),
    };
    return cmocka_run_group_tests_name("driver_cache_redis", tests, NULL, NULL);
}

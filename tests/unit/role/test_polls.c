/* GET /status by way of the cache: each gets its own answer, however many come at once, whether the
 * workers are busy, full or ending (B10). */
#include "../store/helper.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "../http/raw.h"
#include "role/roles.h"

#define CLIENTS 6
#define ROUNDS  100
#define KNOWN   20 /* of the ids are in the cache */
#define ASKED   40

static struct app app;
static struct reply reply;
static char spool[64];
static char ids[ASKED][ID_TEXT];

/* --- a server with the one route */

static enum err_code answer(struct http_request *request, void *ctx, struct err *err)
{
    (void)ctx;
    (void)err;
    const char *known = http_context(request);
    char text[2 * ID_TEXT + 2];
    snprintf(text, sizeof text, "%s %s", http_query(request, "id"), known ? known : "-");
    http_reply_text(request, 200, "text/plain", text);
    return ERR_OK;
}

static enum err_code ask(struct http_request *request, void *ctx, struct err *err)
{
    (void)err;
    polls_add(((struct app *)ctx)->polls, request, http_query(request, "id"), answer);
    return ERR_OK;
}

static const struct http_route routes[] = {{.method = "GET", .path = "/status", .handle = ask}};

static int begin(void **state, int workers, size_t queue_max)
{
    box_setup(state);
    struct box *box = *state;
    app = (struct app){.db = box->db, .cached = 1};
    OK(cache_open(&(struct cache_options){.url = "mem:"}, &app.cache, err));
    OK(pool_new("worker", workers, queue_max, &app.workers, err));
    app.polls = polls_new(&app);
    snprintf(spool, sizeof spool, "/tmp/sonde-polls-XXXXXX");
    assert_non_null(mkdtemp(spool));
    const struct http_config config = {.listen = "127.0.0.1:0",
                                       .loops = 2,
                                       .spool = spool,
                                       .routes = routes,
                                       .n_routes = ARRAY_LEN(routes),
                                       .app = &app,
                                       .workers = app.workers};
    OK(http_server_start(&config, &app.http, err));
    for (int i = 0; i < ASKED; i++) {
        struct ids made = add_done(box->db, "a", "a");
        memcpy(ids[i], made.analysis, ID_TEXT);
        if (i < KNOWN)
            cached_put(&app, CACHED_STATUS, ids[i], ids[i]);
    }
    return 0;
}

static int setup(void **state)
{
    return begin(state, 4, 256);
}

/* One worker, and room for one that waits. */
static int setup_small(void **state)
{
    return begin(state, 1, 1);
}

static void end(double grace_s)
{
    app.http = http_server_stop(app.http, grace_s);
    app.workers = pool_free(app.workers);
    app.polls = polls_free(app.polls);
}

static int teardown(void **state)
{
    if (app.http)
        end(5);
    app.cache = cache_close(app.cache);
    raw_free(&reply);
    rmdir(spool);
    return box_teardown(state);
}

static int ask_open(int which)
{
    int fd = raw_connect(http_server_port(app.http));
    raw_format(fd, "GET /status?id=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", ids[which]);
    return fd;
}

/* Its own id, and of those in the cache what the cache says. */
static int right(const struct reply *r, int which)
{
    const char *known = which < KNOWN ? ids[which] : "-";
    return r->status == 200 && strncmp(r->body, ids[which], ID_TEXT - 1) == 0 &&
           r->body[ID_TEXT - 1] == ' ' && strcmp(r->body + ID_TEXT, known) == 0;
}

/* --- tests */

static void alone_it_is_answered(void **state)
{
    (void)state;
    for (int i = 0; i < ASKED; i++) {
        int fd = ask_open(i);
        reply.rest_size = 0;
        raw_read(fd, &reply, 0);
        assert_true(right(&reply, i));
        close(fd);
    }
}

static atomic_int wrong;

static void *ask_on(void *arg)
{
    struct reply *r = calloc(1, sizeof *r);
    for (int i = 0, at = (int)(uintptr_t)arg; i < ROUNDS; i++) {
        at = (at * 7 + 3) % ASKED;
        int fd = ask_open(at);
        r->rest_size = 0;
        raw_read(fd, r, 0);
        if (!right(r, at))
            atomic_fetch_add(&wrong, 1);
        close(fd);
    }
    raw_free(r);
    free(r);
    return NULL;
}

static void together_each_gets_its_own(void **state)
{
    (void)state;
    pthread_t threads[CLIENTS];
    atomic_store(&wrong, 0);
    for (uintptr_t i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_on, (void *)i), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
}

static atomic_int held, go;

static void hold(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&held, 1);
    while (!atomic_load(&go))
        usleep(1000);
}

static void hold_the_worker(void)
{
    atomic_store(&go, 0);
    atomic_store(&held, 0);
    OK(pool_submit(app.workers, hold, NULL, err));
    for (int i = 0; i < 1000 && !atomic_load(&held); i++)
        usleep(5000);
}

static void read_all(const int *fds, int n)
{
    for (int i = 0; i < n; i++) {
        reply.rest_size = 0;
        raw_read(fds[i], &reply, 0);
        assert_true(right(&reply, i));
        close(fds[i]);
    }
}

/* All that come while the only worker is away wait for one look, which takes one place. */
static void who_comes_meanwhile_waits_together(void **state)
{
    (void)state;
    int fds[ASKED];
    hold_the_worker();
    for (int i = 0; i < ASKED; i++)
        fds[i] = ask_open(i);
    usleep(200000);
    assert_int_equal(pool_stats(app.workers).waiting, 1);
    atomic_store(&go, 1);
    read_all(fds, ASKED);
}

/* No place for the look: each is answered in its turn, without the cache. */
static void full_workers_are_waited_for(void **state)
{
    (void)state;
    int fds[3];
    hold_the_worker();
    OK(pool_submit(app.workers, hold, NULL, err));
    for (int i = 0; i < 3; i++)
        fds[i] = ask_open(KNOWN + i);
    usleep(200000);
    atomic_store(&go, 1);
    for (int i = 0; i < 3; i++) {
        reply.rest_size = 0;
        raw_read(fds[i], &reply, 0);
        assert_true(right(&reply, KNOWN + i));
        close(fds[i]);
    }
}

static void *let_go(void *arg)
{
    usleep(300000);
    atomic_store(&go, 1);
    return arg;
}

/* The server's end answers who waits, and what the look finds afterwards disturbs nobody. */
static void an_ending_server_answers(void **state)
{
    (void)state;
    pthread_t thread;
    int fds[5];
    hold_the_worker();
    for (int i = 0; i < 5; i++)
        fds[i] = ask_open(i);
    usleep(200000);
    assert_int_equal(pthread_create(&thread, NULL, let_go, NULL), 0);
    end(0.05);
    pthread_join(thread, NULL);
    for (int i = 0; i < 5; i++) {
        reply.rest_size = 0;
        raw_read(fds[i], &reply, 0);
        assert_true(reply.status == 503 || reply.status == 0); /* 0: cut, after the grace */
        close(fds[i]);
    }
}

int main(void)
{
#define TEST(fn, begin_with) cmocka_unit_test_setup_teardown(fn, begin_with, teardown)
    const struct CMUnitTest tests[] = {
        TEST(alone_it_is_answered, setup),
        TEST(together_each_gets_its_own, setup),
        TEST(who_comes_meanwhile_waits_together, setup_small),
        TEST(full_workers_are_waited_for, setup_small),
        TEST(an_ending_server_answers, setup_small),
    };
    return cmocka_run_group_tests_name("role polls", tests, NULL, NULL);
}

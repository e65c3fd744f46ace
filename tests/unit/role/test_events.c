/* Live updates: a socket that joins while things happen hears them in order, so that whoever drops
 * at any moment and comes again with the largest event it saw misses nothing (B4, A4).
 *
 * What happens "meanwhile" happens right before and right after the readings of a hello: events.c
 * is compiled in here with its readings replaced. */
#include "../store/helper.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/ws_hub.h"
#include "role/roles.h"

static enum err_code reading(struct db *db, int64_t after, int limit, store_each_event *each,
                             void *ctx, int *ret_complete, struct err *err);
#define store_events reading
#include "role/events.c"
#undef store_events

#define WAIT_MS 5000

static struct app app;
static struct box *box;
static struct seen seen;
static struct forgetting forgetting;
static atomic_int meanwhile; /* how many times something still happens */

/* Something is committed, and the event thread tells of it. */
static void happens(void)
{
    add(box->db, "a", "a");
    pump(&app, &seen, &forgetting);
}

static enum err_code reading(struct db *db, int64_t after, int limit, store_each_event *each,
                             void *ctx, int *ret_complete, struct err *err)
{
    int hello = each == send_event;
    if (hello && meanwhile-- > 0)
        happens();
    enum err_code rc = store_events(db, after, limit, each, ctx, ret_complete, err);
    if (hello && meanwhile-- > 0)
        happens();
    return rc;
}

static int setup(void **state)
{
    box_setup(state);
    box = *state;
    app = (struct app){.db = box->db};
    seen = (struct seen){.app = &app};
    meanwhile = 0;
    app.waiters = waiters_new();
    OK(pool_new("worker", 1, 16, &app.workers, err));
    OK(events_open(&app, err));
    for (int i = 0; i < 3; i++)
        add(box->db, "a", "a");
    return 0;
}

static int teardown(void **state)
{
    atomic_store(&app.stopping, 1);
    ws_hub_stop(app.hub);
    app.workers = pool_free(app.workers);
    app.hub = ws_hub_free(app.hub);
    app.waiters = waiters_free(app.waiters);
    free(seen.list);
    free(forgetting.list);
    return box_teardown(state);
}

/* --- a peer */

static void close_socket(void *handle, int fd)
{
    (void)handle;
    close(fd);
}

/* Joins as a client does that brings its ticket along. */
static int join_socket(int64_t after)
{
    int fds[2];
    struct listener *l = xalloc(sizeof *l);
    *l = (struct listener){.greeted = 1, .after = after};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    OK(ws_hub_reserve(app.hub, err));
    ws_hub_adopt(app.hub, &(struct ws_socket){.fd = fds[0], .close = close_socket}, l, free);
    return fds[1];
}

static int read_bytes(int fd, void *to, size_t size)
{
    for (size_t n = 0; n < size;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t got = poll(&p, 1, WAIT_MS) == 1 ? read(fd, (char *)to + n, size - n) : -1;
        if (got <= 0)
            return 0;
        n += (size_t)got;
    }
    return 1;
}

/* The next text message; a close: its code in *ret_code, and NULL. */
static json_t *next(int fd, int *ret_code)
{
    unsigned char head[2], more[2], text[8192];
    assert_true(read_bytes(fd, head, 2));
    size_t size = head[1];
    if (size == 126) {
        assert_true(read_bytes(fd, more, 2));
        size = (size_t)more[0] << 8 | more[1];
    }
    assert_true(size < sizeof text && read_bytes(fd, text, size));
    *ret_code = head[0] == 0x88 ? text[0] << 8 | text[1] : 0;
    return *ret_code ? NULL : json_loadb((char *)text, size, 0, NULL);
}

/* Reads up to event `last`; none may come before one with a smaller number has been seen. */
static void hears_all(int fd, int64_t from, int64_t last)
{
    for (int64_t newest = from; newest < last;) {
        int code;
        json_t *json = next(fd, &code);
        assert_non_null(json);
        int64_t id = json_integer_value(json_object_get(json, "event_id"));
        json_decref(json);
        assert_true(id <= newest + 1);
        newest = id > newest ? id : newest;
    }
}

/* After its welcome. */
static void hello_is_over(void)
{
    for (struct pool_stats s = pool_stats(app.workers); s.busy || s.waiting;
         s = pool_stats(app.workers))
        usleep(1000);
}

static void is_welcome(int fd, int resumed)
{
    int code;
    json_t *json = next(fd, &code);
    assert_string_equal(json_string_value(json_object_get(json, "type")), "welcome");
    assert_int_equal(json_is_true(json_object_get(json, "resumed")), resumed);
    json_decref(json);
}

/* --- tests */

static void what_happens_while_it_joins_comes_in_order(void **state)
{
    (void)state;
    pump(&app, &seen, &forgetting);
    for (int times = 0; times < 12; times++) {
        int64_t from = seen.last;
        meanwhile = times;
        int fd = join_socket(from);
        is_welcome(fd, 1);
        hears_all(fd, from, from + times);
        hello_is_over();
        happens(); /* and now live */
        hears_all(fd, from + times, from + times + 1);
        close(fd);
    }
}

static void a_newcomer_hears_what_follows(void **state)
{
    (void)state;
    pump(&app, &seen, &forgetting);
    int64_t from = seen.last;
    int fd = join_socket(-1);
    is_welcome(fd, 0);
    hello_is_over();
    happens();
    hears_all(fd, from, from + 1);
    close(fd);
}

/* Until the event thread knows where it begins nobody can be promised anything. */
static void nobody_joins_before_the_event_thread_has_begun(void **state)
{
    (void)state;
    int code, fd = join_socket(0);
    is_welcome(fd, 1);
    for (int i = 0; i < 3; i++)
        json_decref(next(fd, &code));
    assert_null(next(fd, &code));
    assert_int_equal(code, 1013);
    close(fd);
}

static void a_database_that_lost_events_is_followed(void **state)
{
    (void)state;
    seen.last = 1000;
    set_told(&app, 1000);
    pump(&app, &seen, &forgetting);
    assert_int_equal(seen.last, 3);
    int fd = join_socket(3);
    is_welcome(fd, 1);
    hello_is_over();
    happens();
    hears_all(fd, 3, 4);
    close(fd);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_happens_while_it_joins_comes_in_order),
        TEST(a_newcomer_hears_what_follows),
        TEST(nobody_joins_before_the_event_thread_has_begun),
        TEST(a_database_that_lost_events_is_followed),
    };
    return cmocka_run_group_tests_name("role events", tests, NULL, NULL);
}

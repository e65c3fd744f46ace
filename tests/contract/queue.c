/* The contract of src/driver/queue/queue.h, over every driver: another one joins by a row in
 * `drivers`. Each test has a queue of its own in a temporary folder. */
#include "../support/cm.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"
#include "../support/amqp.h"
#include "../support/postgres.h"
#include "driver/db/db.h"
#include "driver/queue/queue.h"
#include "folder.h"

static char folder[FOLDER_MAX];
static struct db *db;
static struct queue *queue;
static struct err err;

static enum err_code open_on(const char *url, struct err *e)
{
    enum err_code code = db_open(&(struct db_options){.url = url}, &db, e);
    return code ? code : queue_open(&(struct queue_options){.url = "table:", .db = db}, &queue, e);
}

static enum err_code open_table(struct err *e)
{
    _cleanup_free_ char *url = xasprintf("sqlite:%s/test.db", folder);
    return open_on(url, e);
}

static enum err_code open_table_postgres(struct err *e)
{
    char url[POSTGRES_URL_MAX];
    if (postgres_database(folder, url))
        return err_set(e, ERR_UNAVAILABLE, "no database for the test");
    return open_on(url, e);
}

static enum err_code open_amqp(struct err *e)
{
    char url[AMQP_TEST_URL_MAX];
    amqp_test_url(folder, url);
    return queue_open(&(struct queue_options){.url = url}, &queue, e);
}

struct driver {
    const char *name;
    enum err_code (*open)(struct err *e);
    int (*there)(void);              /* its server is; NULL: it needs none */
    int (*drop)(const char *folder); /* what the server holds of a test; NULL: nothing */
    int returns_by_itself;           /* what a dead process held, without queue_recover */
};
static const struct driver drivers[] = {
    {"table", open_table},
    {"table on postgres", open_table_postgres, postgres_there, postgres_drop},
    {"amqp", open_amqp, amqp_there, amqp_drop, .returns_by_itself = 1},
};
static const struct driver *driver;

#define OK(call)                                                                                   \
    do {                                                                                           \
        err.text[0] = 0;                                                                           \
        if ((call) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

static int begin(void **state)
{
    driver = *state;
    return folder_make(folder) || driver->open(&err);
}

static void close_all(void)
{
    queue = queue_close(queue);
    db = db_close(db);
}

static int end(void **state)
{
    (void)state;
    close_all();
    int dropped = driver->drop ? driver->drop(folder) : 0;
    return folder_drop(folder) | dropped;
}

static void its_server_is_not_there(void **state)
{
    (void)state;
    skip();
}

static void publish(const char *id, const char *name, double delay_s)
{
    struct queue_publication one = {id, name, "{\"n\":1}", delay_s};
    OK(queue_publish(queue, &one, 1, &err));
}

static struct queue_message receive(double lease_s, double wait_s)
{
    struct queue_message message;
    OK(queue_receive(queue, QUEUE_WEBHOOK, lease_s, wait_s, &message, &err));
    return message;
}

static void nothing_comes(double wait_s)
{
    struct queue_message message = receive(1, wait_s);
    assert_null(message.body);
}

static struct queue_stats stats(const char *name)
{
    struct queue_stats s;
    OK(queue_stats(queue, name, &s, &err));
    return s;
}

/* --- one message ---------------------------------------------------------------------------- */

static void a_message_is_leased_and_settled(void **state)
{
    (void)state;
    nothing_comes(0);
    publish("m1", QUEUE_WEBHOOK, 0);
    struct queue_message other;
    OK(queue_receive(queue, QUEUE_ML_INFERENCE, 5, 0, &other, &err));
    assert_null(other.body);
    struct queue_message message = receive(30, 0);
    assert_string_equal(message.id, "m1");
    assert_string_equal(message.queue, QUEUE_WEBHOOK);
    assert_string_equal(message.body, "{\"n\":1}");
    assert_int_equal(message.delivery, 1);
    assert_true(llabs(message.published_ms - time_steady_ms()) < 5000);
    nothing_comes(0.05);
    assert_int_equal(stats(QUEUE_WEBHOOK).leased, 1);
    OK(queue_extend(queue, &message, 60, &err));
    OK(queue_ack(queue, &message, &err));
    assert_int_equal(queue_ack(queue, &message, &err), ERR_CONFLICT);
    assert_int_equal(queue_extend(queue, &message, 1, &err), ERR_CONFLICT);
    queue_message_done(&message);
    queue_message_done(&message);
    nothing_comes(0);
    assert_int_equal(stats(QUEUE_WEBHOOK).leased, 0);
}

static void a_lease_that_ends_brings_it_back(void **state)
{
    (void)state;
    publish("m1", QUEUE_WEBHOOK, 0);
    struct queue_message first = receive(0.15, 0);
    int64_t before = time_steady_ms();
    struct queue_message second = receive(30, 5);
    assert_non_null(second.body);
    assert_int_equal(second.delivery, 2);
    assert_true(time_steady_ms() - before < 1500);
    int dead;
    assert_int_equal(queue_ack(queue, &first, &err), ERR_CONFLICT);
    assert_int_equal(queue_extend(queue, &first, 9, &err), ERR_CONFLICT);
    assert_int_equal(queue_release(queue, &first, &err), ERR_CONFLICT);
    assert_int_equal(queue_dead(queue, &first, "x", &err), ERR_CONFLICT);
    assert_int_equal(queue_retry(queue, &first, 0, "x", &dead, &err), ERR_CONFLICT);
    OK(queue_ack(queue, &second, &err));
    queue_message_done(&first);
    queue_message_done(&second);
}

static void extending_keeps_it(void **state)
{
    (void)state;
    publish("m1", QUEUE_WEBHOOK, 0);
    struct queue_message message = receive(0.2, 0);
    for (int i = 0; i < 4; i++) {
        OK(queue_extend(queue, &message, 0.4, &err));
        nothing_comes(0.15);
    }
    OK(queue_ack(queue, &message, &err));
    queue_message_done(&message);
}

static void releasing_does_not_count(void **state)
{
    (void)state;
    publish("m1", QUEUE_WEBHOOK, 0);
    for (int i = 0; i < 10; i++) {
        struct queue_message message = receive(30, 0);
        assert_non_null(message.body);
        assert_int_equal(message.delivery, 1);
        OK(queue_release(queue, &message, &err));
        queue_message_done(&message);
    }
}

/* --- failing -------------------------------------------------------------------------------- */

struct letters {
    int count, deliveries;
    char id[ID_TEXT], reason[300], history[4096], name[32];
};

static int note_letter(void *ctx, const struct queue_dead_letter *letter)
{
    struct letters *letters = ctx;
    letters->count++;
    letters->deliveries = letter->deliveries;
    snprintf(letters->id, sizeof letters->id, "%s", letter->id);
    snprintf(letters->reason, sizeof letters->reason, "%s", letter->reason);
    snprintf(letters->history, sizeof letters->history, "%s", letter->history);
    snprintf(letters->name, sizeof letters->name, "%s", letter->queue);
    return 0;
}

static struct letters dead_letters(void)
{
    struct letters letters = {0};
    OK(queue_dead_list(queue, note_letter, &letters, &err));
    return letters;
}

static void retries_end_in_the_dead_letters(void **state)
{
    (void)state;
    publish("m1", QUEUE_WEBHOOK, 0);
    for (int i = 1; i <= QUEUE_MAX_RETRIES + 1; i++) {
        struct queue_message message = receive(30, 1);
        int dead = -1;
        char reason[400];
        assert_int_equal(message.delivery, i);
        snprintf(reason, sizeof reason, "try %d \xff\x01 %0300d", i, 7); /* long, and no UTF-8 */
        OK(queue_retry(queue, &message, 0, reason, &dead, &err));
        assert_int_equal(dead, i > QUEUE_MAX_RETRIES);
        queue_message_done(&message);
    }
    nothing_comes(0);
    struct letters letters = dead_letters();
    assert_int_equal(letters.count, 1);
    assert_string_equal(letters.id, "m1");
    assert_string_equal(letters.name, QUEUE_WEBHOOK);
    assert_int_equal(letters.deliveries, QUEUE_MAX_RETRIES + 1);
    assert_int_equal(strncmp(letters.reason, "try 4 ", 6), 0);
    assert_non_null(strstr(letters.history, "\"try 1 "));
    assert_non_null(strstr(letters.history, "\"try 4 "));
    assert_true(strlen(letters.history) < 4 * 400);
    assert_int_equal(stats(QUEUE_DLQ).ready, 1);
}

static void dead_letters_are_retried_or_dropped(void **state)
{
    (void)state;
    uint64_t count = 9;
    for (int i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "m%d", i);
        publish(id, QUEUE_WEBHOOK, 0);
        struct queue_message message = receive(30, 0);
        OK(queue_dead(queue, &message, "never", &err));
        queue_message_done(&message);
    }
    assert_int_equal(dead_letters().count, 3);
    OK(queue_dead_retry(queue, "nobody", &count, &err));
    assert_int_equal(count, 0);
    OK(queue_dead_retry(queue, "m1", &count, &err));
    assert_int_equal(count, 1);
    struct queue_message message = receive(30, 0);
    assert_string_equal(message.id, "m1");
    assert_int_equal(message.delivery, 1); /* a fresh count */
    OK(queue_ack(queue, &message, &err));
    queue_message_done(&message);
    OK(queue_dead_drop(queue, "m0", &count, &err));
    assert_int_equal(count, 1);
    OK(queue_dead_retry(queue, NULL, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(stats(QUEUE_WEBHOOK).ready, 1);
    OK(queue_dead_drop(queue, NULL, &count, &err));
    assert_int_equal(count, 0);
    assert_int_equal(dead_letters().count, 0);
}

static void note_expired(void *ctx, const char *name, const char *body)
{
    assert_string_equal(name, QUEUE_WEBHOOK);
    assert_string_equal(body, "{\"n\":1}");
    ++*(int *)ctx;
}

static void what_kills_its_consumers_dies_too(void **state)
{
    (void)state;
    int expired = 0;
    publish("m1", QUEUE_WEBHOOK, 0);
    for (int i = 1; i <= QUEUE_MAX_RETRIES + 1; i++) {
        struct queue_message message = receive(0.05, 2);
        assert_int_equal(message.delivery, i);
        queue_message_done(&message); /* and never settled */
        OK(queue_expire(queue, note_expired, &expired, &err));
        assert_int_equal(expired, 0);
    }
    nothing_comes(0.2);
    OK(queue_expire(queue, note_expired, &expired, &err));
    OK(queue_expire(queue, note_expired, &expired, &err));
    assert_int_equal(expired, 1);
    struct letters letters = dead_letters();
    assert_int_equal(letters.count, 1);
    assert_int_equal(letters.deliveries, QUEUE_MAX_RETRIES + 1);
}

/* --- time ----------------------------------------------------------------------------------- */

static void a_delay_is_kept_and_no_longer(void **state)
{
    (void)state;
    int dead;
    int64_t start = time_steady_ms();
    publish("m1", QUEUE_WEBHOOK, 0.3);
    struct queue_stats s = stats(QUEUE_WEBHOOK);
    assert_int_equal(s.delayed, 1);
    assert_int_equal(s.ready, 0);
    nothing_comes(0.05);
    struct queue_message message = receive(30, 5);
    assert_non_null(message.body);
    assert_true(time_steady_ms() - start >= 300);
    assert_true(time_steady_ms() - start < 900); /* it does not wait for the next look */
    start = time_steady_ms();
    OK(queue_retry(queue, &message, 0.2, "again", &dead, &err));
    queue_message_done(&message);
    message = receive(30, 5);
    assert_int_equal(message.delivery, 2);
    assert_true(time_steady_ms() - start >= 200);
    OK(queue_ack(queue, &message, &err));
    queue_message_done(&message);
}

static void backoff_grows_and_varies(void **state)
{
    (void)state;
    static const double want[] = {5, 5, 30, 300, 300};
    double last = 0;
    int varied = 0;
    for (int delivery = 0; delivery < 5; delivery++) {
        for (int i = 0; i < 50; i++) {
            double got = queue_backoff(delivery);
            assert_true(got >= want[delivery] * 0.799 && got <= want[delivery] * 1.201);
            varied += got != last;
            last = got;
        }
    }
    assert_true(varied > 200);
}

static void bad_messages_are_refused_whole(void **state)
{
    (void)state;
    _cleanup_free_ char *large = xalloc(QUEUE_BODY_MAX + 2);
    memset(large, 'x', QUEUE_BODY_MAX + 1);
    struct queue_publication list[2] = {{"a", QUEUE_WEBHOOK, "{}", 0},
                                        {"b", QUEUE_WEBHOOK, large, 0}};
    struct queue_message message;
    assert_int_equal(queue_publish(queue, list, 2, &err), ERR_LIMIT);
    list[1] = (struct queue_publication){"b", "nowhere", "{}", 0};
    assert_int_equal(queue_publish(queue, list, 2, &err), ERR_USAGE);
    list[1] = (struct queue_publication){NULL, QUEUE_WEBHOOK, "{}", 0};
    assert_int_equal(queue_publish(queue, list, 2, &err), ERR_USAGE);
    assert_int_equal(queue_receive(queue, "nowhere", 1, 0, &message, &err), ERR_USAGE);
    nothing_comes(0);
    large[QUEUE_BODY_MAX] = 0;
    list[1] = (struct queue_publication){"b", QUEUE_WEBHOOK, large, 0};
    OK(queue_publish(queue, list, 2, &err));
    assert_int_equal(stats(QUEUE_WEBHOOK).ready, 2);
    OK(queue_ping(queue, &err));
}

/* --- many at once --------------------------------------------------------------------------- */

#define PUBLISHERS 4
#define CONSUMERS  6
#define MESSAGES   400 /* of each publisher */

static int settled[PUBLISHERS * MESSAGES], released[PUBLISHERS * MESSAGES];
static int total_settled, trouble;

static void *publish_many(void *ctx)
{
    int from = *(int *)ctx * MESSAGES;
    for (int i = 0; i < MESSAGES; i += 4) {
        struct queue_publication list[4];
        char ids[4][16];
        for (int k = 0; k < 4; k++) {
            snprintf(ids[k], sizeof ids[k], "%d", from + i + k);
            list[k] = (struct queue_publication){ids[k], QUEUE_WEBHOOK, ids[k], 0};
        }
        if (queue_publish(queue, list, 4, NULL))
            __atomic_add_fetch(&trouble, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Settles most, lets some fail once or go unsettled. */
static void consume_one(const struct queue_message *message)
{
    int n = (int)strtol(message->body, NULL, 10);
    if (strcmp(message->body, message->id))
        __atomic_add_fetch(&trouble, 1, __ATOMIC_RELAXED);
    if (message->delivery == 1 && n % 7 == 0) {
        if (queue_retry(queue, message, 0, "once", NULL, NULL))
            __atomic_add_fetch(&trouble, 1, __ATOMIC_RELAXED);
        return;
    }
    if (message->delivery == 1 && n % 11 == 0)
        return; /* its lease ends */
    if (n % 13 == 0 && !__atomic_exchange_n(&released[n], 1, __ATOMIC_RELAXED) &&
        queue_release(queue, message, NULL) == ERR_OK)
        return;
    if (queue_ack(queue, message, NULL) == ERR_OK) {
        __atomic_add_fetch(&settled[n], 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&total_settled, 1, __ATOMIC_RELAXED);
    }
}

static void *consume_many(void *ctx)
{
    (void)ctx;
    int64_t deadline = time_steady_ms() + 60000;
    while (__atomic_load_n(&total_settled, __ATOMIC_RELAXED) < PUBLISHERS * MESSAGES &&
           time_steady_ms() < deadline) {
        struct queue_message message;
        if (queue_receive(queue, QUEUE_WEBHOOK, 1.5, 0.2, &message, NULL))
            __atomic_add_fetch(&trouble, 1, __ATOMIC_RELAXED);
        if (!message.body)
            continue;
        consume_one(&message);
        queue_message_done(&message);
    }
    return NULL;
}

static void every_message_is_settled_exactly_once(void **state)
{
    (void)state;
    pthread_t threads[PUBLISHERS + CONSUMERS];
    int numbers[PUBLISHERS];
    memset(settled, 0, sizeof settled);
    memset(released, 0, sizeof released);
    total_settled = trouble = 0;
    for (int i = 0; i < PUBLISHERS; i++) {
        numbers[i] = i;
        pthread_create(&threads[i], NULL, publish_many, &numbers[i]);
    }
    for (int i = 0; i < CONSUMERS; i++)
        pthread_create(&threads[PUBLISHERS + i], NULL, consume_many, NULL);
    for (int i = 0; i < PUBLISHERS + CONSUMERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < PUBLISHERS * MESSAGES; i++)
        assert_int_equal(settled[i], 1);
    assert_int_equal(trouble, 0);
    assert_int_equal(dead_letters().count, 0);
    assert_true(stats(QUEUE_WEBHOOK).oldest_s == 0);
}

/* --- waiting -------------------------------------------------------------------------------- */

struct waiter {
    pthread_t thread;
    struct queue_message message;
    int64_t waited_ms;
};

static void *wait_for_one(void *ctx)
{
    struct waiter *waiter = ctx;
    int64_t start = time_steady_ms();
    if (queue_receive(queue, QUEUE_WEBHOOK, 30, 20, &waiter->message, NULL))
        __atomic_add_fetch(&trouble, 1, __ATOMIC_RELAXED);
    waiter->waited_ms = time_steady_ms() - start;
    return NULL;
}

static void publishing_wakes_and_stopping_ends_waiting(void **state)
{
    (void)state;
    struct waiter waiters[3] = {0};
    int got = 0;
    trouble = 0;
    for (int i = 0; i < 3; i++)
        pthread_create(&waiters[i].thread, NULL, wait_for_one, &waiters[i]);
    usleep(100000);
    int64_t start = time_steady_ms();
    publish("m1", QUEUE_WEBHOOK, 0);
    while (!stats(QUEUE_WEBHOOK).leased && time_steady_ms() - start < 5000)
        usleep(1000);
    assert_true(time_steady_ms() - start < 500); /* not the second of the next look */
    start = time_steady_ms();
    queue_stop(queue);
    for (int i = 0; i < 3; i++) {
        pthread_join(waiters[i].thread, NULL);
        got += waiters[i].message.body != NULL;
        queue_message_done(&waiters[i].message);
    }
    assert_true(time_steady_ms() - start < 500);
    assert_int_equal(got, 1);
    assert_int_equal(trouble, 0);
    publish("m2", QUEUE_WEBHOOK, 0);
    nothing_comes(5); /* at once: it is stopped */
}

/* --- a sudden end --------------------------------------------------------------------------- */

static void receive_until_killed(int out)
{
    struct queue_message message;
    alarm(20);
    if (driver->open(NULL))
        _exit(3);
    for (;;) {
        if (queue_receive(queue, QUEUE_WEBHOOK, 600, 1, &message, NULL))
            _exit(1);
        if (!message.body)
            continue;
        int n = (int)strtol(message.body, NULL, 10);
        if (n % 3 == 0)
            continue; /* still at work on it when the end comes */
        if (queue_ack(queue, &message, NULL) || write(out, &n, sizeof n) != sizeof n)
            _exit(2);
        queue_message_done(&message);
    }
}

static void killed_consumers_lose_nothing(void **state)
{
    (void)state;
    enum { N = 3000 };
    static int acked[N];
    int ends[2];
    uint64_t returned = 0;
    memset(acked, 0, sizeof acked);
    for (int i = 0; i < N; i += 100) {
        char ids[100][16];
        struct queue_publication list[100];
        for (int k = 0; k < 100; k++) {
            snprintf(ids[k], sizeof ids[k], "%d", i + k);
            list[k] = (struct queue_publication){ids[k], QUEUE_WEBHOOK, ids[k], 0};
        }
        OK(queue_publish(queue, list, 100, &err));
    }
    close_all();
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (!child)
        receive_until_killed(ends[1]);
    close(ends[1]);
    int n;
    for (int i = 0; i < 40 && read(ends[0], &n, sizeof n) == sizeof n; i++)
        acked[n]++;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    while (read(ends[0], &n, sizeof n) == sizeof n)
        acked[n]++;
    close(ends[0]);
    OK(driver->open(&err));
    if (!driver->returns_by_itself)
        assert_true(stats(QUEUE_WEBHOOK).leased > 0);
    OK(queue_recover(queue, &returned, &err));
    if (!driver->returns_by_itself)
        assert_true(returned > 0);
    assert_int_equal(stats(QUEUE_WEBHOOK).leased, 0);
    int again = 0, second = 0;
    for (;; again++) {
        struct queue_message message = receive(30, driver->returns_by_itself ? 1 : 0);
        if (!message.body)
            break;
        second += message.delivery == 2;
        acked[strtol(message.body, NULL, 10)]++;
        OK(queue_ack(queue, &message, &err));
        queue_message_done(&message);
    }
    if (driver->returns_by_itself)
        assert_true(second > 0);
    else
        assert_int_equal(second, returned);
    int missing = 0;
    for (int i = 0; i < N; i++) {
        missing += !acked[i];
        assert_true(acked[i] <= 1); /* what was acknowledged does not come back */
    }
    assert_true(missing <= 1); /* acknowledged, and killed before it could say so */
}

#define TEST(f)                                                                                    \
    {                                                                                              \
#f, f, begin, end, NULL                                                                    \
    }

int main(void)
{
    static const struct CMUnitTest list[] = {
        TEST(a_message_is_leased_and_settled),
        TEST(a_lease_that_ends_brings_it_back),
        TEST(extending_keeps_it),
        TEST(releasing_does_not_count),
        TEST(retries_end_in_the_dead_letters),
        TEST(dead_letters_are_retried_or_dropped),
        TEST(what_kills_its_consumers_dies_too),
        TEST(a_delay_is_kept_and_no_longer),
        TEST(backoff_grows_and_varies),
        TEST(bad_messages_are_refused_whole),
        TEST(every_message_is_settled_exactly_once),
        TEST(publishing_wakes_and_stopping_ends_waiting),
        TEST(killed_consumers_lose_nothing),
    };
    struct CMUnitTest tests[ARRAY_LEN(drivers) * ARRAY_LEN(list)];
    for (size_t d = 0; d < ARRAY_LEN(drivers); d++) {
        for (size_t i = 0; i < ARRAY_LEN(list); i++) {
            struct CMUnitTest *test = &tests[d * ARRAY_LEN(list) + i];
            *test = list[i];
            test->name = xasprintf("%s: %s", drivers[d].name, list[i].name);
            test->initial_state = (void *)(uintptr_t)&drivers[d];
            if (drivers[d].there && !drivers[d].there()) {
                test->test_func = its_server_is_not_there;
                test->setup_func = test->teardown_func = NULL;
            }
        }
    }
    int failed = cmocka_run_group_tests_name("queue", tests, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        free((void *)(uintptr_t)tests[i].name);
    return failed;
}

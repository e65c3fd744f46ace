/* The amqp driver at a real broker, beyond what the contract says: foreign and hostile messages,
 * what the broker itself lets expire, wrong settings, many receivers. SONDE_TEST_AMQP names one. */
#include "../../support/cm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../contract/folder.h"
#include "../../support/amqp.h"
#include "base/mem.h"
#include "base/time.h"
#include "driver/queue/queue.h"

static char folder[FOLDER_MAX], url[AMQP_TEST_URL_MAX], prefix[48];
static struct queue *queue;
static amqp_connection_state_t other;
static struct err err;

#define OK(call)                                                                                   \
    do {                                                                                           \
        err.text[0] = 0;                                                                           \
        if ((call) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

static enum err_code open_url(const char *address, const char *password, const char *ca)
{
    struct queue_options options = {.url = address, .password = password, .ca_file = ca};
    err.text[0] = 0;
    return queue_open(&options, &queue, &err);
}

static int begin(void **state)
{
    (void)state;
    if (folder_make(folder))
        return -1;
    amqp_test_url(folder, url);
    amqp_test_prefix(folder, prefix);
    other = amqp_test_connect();
    return !other || open_url(url, NULL, NULL) ? -1 : 0;
}

static int end(void **state)
{
    (void)state;
    queue = queue_close(queue);
    if (other)
        amqp_destroy_connection(other);
    return amqp_drop(folder) | folder_drop(folder);
}

static void full_name(const char *name, char ret[128])
{
    snprintf(ret, 128, "%s%s", prefix, name);
}

static void put(const char *name, amqp_bytes_t body, const amqp_basic_properties_t *p)
{
    char full[128];
    full_name(name, full);
    assert_int_equal(
        amqp_basic_publish(other, 1, amqp_empty_bytes, amqp_cstring_bytes(full), 0, 0, p, body),
        AMQP_STATUS_OK);
}

struct seen {
    int n, deliveries;
    char reason[300], queue[32], body[8];
    size_t body_len;
};

static int see(void *ctx, const struct queue_dead_letter *letter)
{
    struct seen *seen = ctx;
    seen->n++;
    seen->deliveries = letter->deliveries;
    snprintf(seen->reason, sizeof seen->reason, "%s", letter->reason);
    snprintf(seen->queue, sizeof seen->queue, "%s", letter->queue);
    snprintf(seen->body, sizeof seen->body, "%s", letter->body);
    seen->body_len = strlen(letter->body);
    return 0;
}

static struct seen dead_letters(int at_least)
{
    struct seen seen;
    int64_t until = time_steady_ms() + 5000;
    do {
        memset(&seen, 0, sizeof seen);
        OK(queue_dead_list(queue, see, &seen, &err));
    } while (seen.n < at_least && time_steady_ms() < until);
    return seen;
}

static struct queue_message receive(double wait_s)
{
    struct queue_message message;
    OK(queue_receive(queue, QUEUE_WEBHOOK, 30, wait_s, &message, &err));
    return message;
}

/* --- foreign messages ----------------------------------------------------------------------- */

static void a_bare_message_works(void **state)
{
    (void)state;
    put("webhook", amqp_cstring_bytes("{\"by\":\"hand\"}"), NULL);
    struct queue_message message = receive(5);
    assert_non_null(message.body);
    assert_string_equal(message.body, "{\"by\":\"hand\"}");
    assert_int_equal(message.delivery, 1);
    assert_true(id_valid(message.id));
    OK(queue_retry(queue, &message, 0, "once", NULL, &err));
    queue_message_done(&message);
    message = receive(5);
    assert_int_equal(message.delivery, 2);
    OK(queue_ack(queue, &message, &err));
    queue_message_done(&message);
}

static void too_large_and_no_text_become_dead_letters(void **state)
{
    (void)state;
    size_t size = 300000; /* several frames */
    _cleanup_free_ char *large = xalloc(size);
    memset(large, 'x', size);
    put("webhook", (amqp_bytes_t){size, large}, NULL);
    put("webhook", amqp_cstring_bytes("{}"), NULL);
    struct queue_message message = receive(5); /* what stands behind is not held up */
    assert_non_null(message.body);
    assert_string_equal(message.body, "{}");
    queue_message_done(&message);
    struct seen seen = dead_letters(1);
    assert_int_equal(seen.n, 1);
    assert_non_null(strstr(seen.reason, "larger"));
    assert_int_equal(seen.body_len, QUEUE_BODY_MAX);
    assert_string_equal(seen.queue, QUEUE_WEBHOOK);
    put("webhook", (amqp_bytes_t){4, (char[]){"a\0b"}}, NULL);
    message = receive(0.5);
    assert_null(message.body);
    seen = dead_letters(2);
    assert_int_equal(seen.n, 2);
    assert_non_null(strstr(seen.reason, "no text"));
}

/* Tables within tables. (A frame has room for 18000; the broker itself takes seconds for those.) */
static void deep_headers_do_no_harm(void **state)
{
    (void)state;
    enum { DEPTH = 6000 };
    static amqp_table_entry_t levels[DEPTH];
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_HEADERS_FLAG};
    for (int i = 0; i < DEPTH; i++) {
        levels[i].key = amqp_cstring_bytes("d");
        levels[i].value.kind = i ? AMQP_FIELD_KIND_TABLE : AMQP_FIELD_KIND_VOID;
        if (i)
            levels[i].value.value.table = (amqp_table_t){1, &levels[i - 1]};
    }
    p.headers = (amqp_table_t){1, &levels[DEPTH - 1]};
    put("webhook", amqp_cstring_bytes("{\"deep\":1}"), &p);
    struct queue_message message = receive(20);
    assert_non_null(message.body);
    assert_string_equal(message.body, "{\"deep\":1}");
    OK(queue_dead(queue, &message, "deep", &err));
    queue_message_done(&message);
    assert_int_equal(dead_letters(1).n, 1);
}

static void forged_counts_end_in_the_dead_letters(void **state)
{
    (void)state;
    amqp_table_entry_t forged[] = {
        {amqp_cstring_bytes("x-sonde-delivery"), {.kind = AMQP_FIELD_KIND_I64, {.i64 = 1L << 60}}},
        {amqp_cstring_bytes("x-death"), {.kind = AMQP_FIELD_KIND_UTF8}},
        {amqp_cstring_bytes("x-sonde-history"), {.kind = AMQP_FIELD_KIND_UTF8}},
    };
    forged[1].value.value.bytes = amqp_cstring_bytes("no table");
    forged[2].value.value.bytes = amqp_cstring_bytes("{no array");
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = {3, forged}};
    put("webhook", amqp_cstring_bytes("{}"), &p);
    struct queue_message message = receive(1);
    assert_null(message.body);
    OK(queue_expire(queue, NULL, NULL, &err));
    struct seen seen = dead_letters(1);
    assert_int_equal(seen.n, 1);
    assert_non_null(strstr(seen.reason, "unsettled"));
}

static void note(void *ctx, const char *name, const char *body)
{
    assert_string_equal(name, QUEUE_ML_INFERENCE);
    assert_string_equal(body, "{\"old\":1}");
    ++*(int *)ctx;
}

static void what_the_broker_lets_expire_is_told(void **state)
{
    (void)state;
    int told = 0;
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_EXPIRATION_FLAG};
    p.expiration = amqp_cstring_bytes("50");
    put("ml_inference", amqp_cstring_bytes("{\"old\":1}"), &p);
    for (int i = 0; i < 50 && !told; i++) {
        usleep(100000);
        OK(queue_expire(queue, note, &told, &err));
    }
    assert_int_equal(told, 1);
    struct seen seen = dead_letters(1);
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.queue, QUEUE_ML_INFERENCE);
    assert_non_null(strstr(seen.reason, "longer than a day"));
    uint64_t count = 0;
    OK(queue_dead_retry(queue, NULL, &count, &err));
    assert_int_equal(count, 1);
    struct queue_stats stats;
    OK(queue_stats(queue, QUEUE_ML_INFERENCE, &stats, &err));
    assert_int_equal(stats.ready, 1);
}

/* --- settings ------------------------------------------------------------------------------- */

static void refused(const char *address, const char *password, const char *ca, enum err_code code,
                    const char *words)
{
    struct queue *own = STEAL(queue);
    enum err_code got = open_url(address, password, ca);
    struct queue *opened = STEAL(queue);
    queue = own;
    queue_close(opened);
    assert_int_equal(got, code);
    if (!strstr(err.text, words))
        fail_msg("\"%s\" lacks \"%s\"", err.text, words);
    assert_null(strchr(err.text, '\n'));
    assert_null(strstr(err.text, "s3cret"));
}

static void wrong_settings_are_told(void **state)
{
    (void)state;
    _cleanup_free_ char *plain = xstrdup(getenv("SONDE_TEST_AMQP"));
    char *at = strrchr(plain, '@');
    _cleanup_free_ char *vhost = xasprintf("%snowhere", plain);
    _cleanup_free_ char *user = xasprintf("amqp://nobody:s3cret@%s", at + 1);
    refused(url, "s3cret", NULL, ERR_PERMISSION, "wrong name or password");
    refused(user, NULL, NULL, ERR_PERMISSION, "nobody");
    refused(vhost, NULL, NULL, ERR_USAGE, "virtual host \"nowhere\"");
    refused("amqp://u:s3cret@127.0.0.1:1", NULL, NULL, ERR_UNAVAILABLE, "nobody listens there");
    refused("amqp://u:s3cret@no-such-host.invalid", NULL, NULL, ERR_UNAVAILABLE, "no-such-host");
    refused("kafka://x", NULL, NULL, ERR_USAGE, "amqp://");
    /* The second address answers. */
    _cleanup_free_ char *two = xasprintf("amqp://u@127.0.0.1:1/?prefix=%s %s", prefix, url);
    struct queue *own = STEAL(queue);
    assert_int_equal(open_url(two, NULL, NULL), ERR_OK);
    queue = queue_close(queue);
    queue = own;
}

static void a_queue_declared_otherwise_is_named(void **state)
{
    (void)state;
    char full[128];
    full_name("webhook", full);
    queue = queue_close(queue);
    amqp_queue_delete(other, 1, amqp_cstring_bytes(full), 0, 0);
    amqp_queue_declare(other, 1, amqp_cstring_bytes(full), 0, 1, 0, 0, amqp_empty_table);
    assert_int_equal(amqp_get_rpc_reply(other).reply_type, AMQP_RESPONSE_NORMAL);
    refused(url, NULL, NULL, ERR_USAGE, full);
    assert_non_null(strstr(err.text, "delete it there"));
}

static void a_deleted_queue_is_declared_again(void **state)
{
    (void)state;
    char full[128];
    struct queue_publication one = {"m1", QUEUE_WEBHOOK, "{}", 0},
                             late = {"m2", QUEUE_WEBHOOK, "{}", 0.1};
    OK(queue_publish(queue, &late, 1, &err));
    full_name("webhook", full);
    amqp_queue_delete(other, 1, amqp_cstring_bytes(full), 0, 0);
    assert_int_equal(queue_publish(queue, &one, 1, &err), ERR_UNAVAILABLE);
    enum err_code code = ERR_INTERNAL;
    for (int i = 0; i < 50 && code; i++) {
        usleep(100000);
        code = queue_publish(queue, &one, 1, &err);
    }
    assert_int_equal(code, ERR_OK);
    OK(queue_publish(queue, &late, 1, &err));
    full_name("webhook.delay.0.1", full);
    amqp_queue_delete(other, 1, amqp_cstring_bytes(full), 0, 0);
    assert_int_equal(queue_publish(queue, &late, 1, &err), ERR_UNAVAILABLE);
    OK(queue_publish(queue, &late, 1, &err));
}

static void tls_is_verified(void **state)
{
    (void)state;
    const char *server = getenv("SONDE_TEST_AMQPS"), *ca = getenv("SONDE_TEST_AMQP_CA");
    if (!server || !ca) {
        printf("# SKIP: SONDE_TEST_AMQPS and SONDE_TEST_AMQP_CA name no TLS\n");
        skip();
    }
    _cleanup_free_ char *tls = xasprintf("%s?prefix=%s", server, prefix);
    refused(tls, NULL, NULL, ERR_UNAVAILABLE, "authority");
    refused(tls, NULL, "/dev/null", ERR_USAGE, "no certificates");
    struct queue *own = STEAL(queue);
    assert_int_equal(open_url(tls, NULL, ca), ERR_OK);
    struct queue_publication one = {"m1", QUEUE_WEBHOOK, "{}", 0};
    OK(queue_publish(queue, &one, 1, &err));
    struct queue_message message = receive(5);
    assert_non_null(message.body);
    OK(queue_ack(queue, &message, &err));
    queue_message_done(&message);
    queue_close(queue);
    queue = own;
}

/* --- many ----------------------------------------------------------------------------------- */

#define RECEIVERS 300
static int received, failed;

static void *receive_one(void *ctx)
{
    struct queue_message message;
    (void)ctx;
    if (queue_receive(queue, QUEUE_WEBHOOK, 30, 20, &message, NULL) ||
        (message.body && queue_ack(queue, &message, NULL)))
        __atomic_add_fetch(&failed, 1, __ATOMIC_RELAXED);
    if (message.body)
        __atomic_add_fetch(&received, 1, __ATOMIC_RELAXED);
    queue_message_done(&message);
    return NULL;
}

static void three_hundred_threads_wait_at_once(void **state)
{
    (void)state;
    static pthread_t threads[RECEIVERS];
    struct queue_publication list[RECEIVERS];
    char ids[RECEIVERS][8];
    received = failed = 0;
    for (int i = 0; i < RECEIVERS; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        list[i] = (struct queue_publication){ids[i], QUEUE_WEBHOOK, "{}", 0};
        assert_int_equal(pthread_create(&threads[i], NULL, receive_one, NULL), 0);
    }
    usleep(300000);
    OK(queue_publish(queue, list, RECEIVERS, &err));
    for (int i = 0; i < RECEIVERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failed, 0);
    assert_int_equal(received, RECEIVERS);
    struct queue_message message = receive(0.3);
    assert_null(message.body);
}

static void an_idle_process_holds_nothing(void **state)
{
    (void)state;
    struct queue_message message = receive(0.3); /* consumed, and went */
    assert_null(message.body);
    struct queue_publication one = {"m1", QUEUE_WEBHOOK, "{}", 0};
    OK(queue_publish(queue, &one, 1, &err));
    usleep(100000);
    struct queue_stats stats;
    OK(queue_stats(queue, QUEUE_WEBHOOK, &stats, &err));
    assert_int_equal(stats.ready, 1);
    assert_int_equal(stats.leased, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_bare_message_works),
        TEST(too_large_and_no_text_become_dead_letters),
        TEST(deep_headers_do_no_harm),
        TEST(forged_counts_end_in_the_dead_letters),
        TEST(what_the_broker_lets_expire_is_told),
        TEST(wrong_settings_are_told),
        TEST(a_queue_declared_otherwise_is_named),
        TEST(a_deleted_queue_is_declared_again),
        TEST(tls_is_verified),
        TEST(three_hundred_threads_wait_at_once),
        TEST(an_idle_process_holds_nothing),
    };
    if (!amqp_there())
        return 77; /* meson's word for skipped */
    return cmocka_run_group_tests_name("queue_broker", tests, NULL, NULL);
}

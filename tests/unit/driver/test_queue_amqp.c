/* The amqp driver without a broker: addresses, and what a message looks like on the wire. */
#include "../../support/cm.h"

#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "driver/queue/queue_amqp.h"

static struct amqp_url urls[AMQP_URLS_MAX];
static struct err err;

static size_t parse(const char *text, const char *password)
{
    size_t n = 0;
    err.text[0] = 0;
    if (amqp_urls_parse(text, password, urls, &n, &err))
        return 0;
    return n;
}

static void addresses_are_read(void **state)
{
    (void)state;
    assert_int_equal(parse("amqp://sonde@mq", "pa55"), 1);
    assert_string_equal(urls[0].host, "mq");
    assert_string_equal(urls[0].user, "sonde");
    assert_string_equal(urls[0].password, "pa55");
    assert_string_equal(urls[0].vhost, "/");
    assert_int_equal(urls[0].port, 5672);
    assert_int_equal(
        parse("amqps://a%40b:p%3Aw@[::1]:99/my%2Fhost?prefix=x.  amqp://u@h/?prefix=x.", NULL), 2);
    assert_string_equal(urls[0].host, "::1");
    assert_string_equal(urls[0].user, "a@b");
    assert_string_equal(urls[0].password, "p:w");
    assert_string_equal(urls[0].vhost, "my/host");
    assert_string_equal(urls[0].prefix, "x.");
    assert_int_equal(urls[0].port, 99);
    assert_true(urls[0].tls && !urls[1].tls);
    assert_string_equal(urls[1].vhost, "/");
}

static void bad_addresses_are_refused_without_their_password(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "http://x",
        "amqp://",
        "amqp://u:secret@",
        "amqp://u:secret@h:0",
        "amqp://u:secret@h:70000",
        "amqp://u:secret@h:5x",
        "amqp://u:secret@h/%zz",
        "amqp://u:secret@h/%00",
        "amqp://u:secret@h?heartbeat=1",
        "amqp://u:secret@h?prefix=a b",
        "amqp://u:secret@h?prefix=a%0ab",
        "amqp://u:secret@[::1/",
        "amqp://u:secret@h?prefix=a amqp://u:secret@h?prefix=b",
        "amqp://a amqp://a amqp://a amqp://a amqp://a amqp://a amqp://a amqp://a amqp://a",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(parse(bad[i], NULL), 0);
        assert_true(err.text[0] != 0);
        assert_null(strstr(err.text, "secret"));
    }
}

static void a_delay_takes_the_next_step(void **state)
{
    (void)state;
    assert_int_equal(amqp_step(0.01), 0);
    assert_int_equal(amqp_step(0.1), 0);
    assert_int_equal(amqp_step(0.11), 1);
    assert_int_equal(amqp_step(3600), AMQP_STEPS - 1);
    for (double s = 0.01; s < 3600; s *= 1.1)
        assert_true(amqp_step_seconds(amqp_step(s)) >= s);
}

/* --- messages ------------------------------------------------------------------------------- */

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct amqp_room room;
    amqp_basic_properties_t p;
    struct amqp_letter back,
        letter = {.id = "m1", .queue = 1, .made = 2, .published_ms = time_steady_ms() - 5000};
    letter.died_ms = letter.published_ms + 1000;
    letter.body = (char[]){"{\"n\":1}"};
    letter.reason = (char[]){"why"};
    letter.history = (char[]){"[{\"at\":\"x\",\"reason\":\"y\"}]"};
    amqp_letter_write(&letter, 500, 77, &room, &p);
    assert_true(p.expiration.len == 3 && !memcmp(p.expiration.bytes, "500", 3));
    assert_int_equal(p.delivery_mode, AMQP_DELIVERY_PERSISTENT);
    assert_int_equal(
        amqp_letter_read(&back, &p, amqp_cstring_bytes(letter.body), 0, AMQP_DLQ, 1, ""), 0);
    assert_string_equal(back.id, "m1");
    assert_int_equal(back.queue, 1);
    assert_int_equal(back.made, 2);
    assert_int_equal(back.published_ms, letter.published_ms);
    assert_int_equal(back.died_ms, letter.died_ms);
    assert_string_equal(back.body, letter.body);
    assert_string_equal(back.reason, "why");
    assert_string_equal(back.history, letter.history);
    assert_null(back.defect);
    assert_false(back.uncounted); /* looking at a dead letter is no delivery */
    amqp_letter_done(&back);
}

static amqp_table_entry_t entry(const char *key, int kind)
{
    amqp_table_entry_t e = {.key = amqp_cstring_bytes(key)};
    e.value.kind = (uint8_t)kind;
    return e;
}

static struct amqp_letter read_with(amqp_table_entry_t *list, int n, amqp_bytes_t body, int from,
                                    int redelivered)
{
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = {n, list}};
    struct amqp_letter letter;
    assert_int_equal(amqp_letter_read(&letter, &p, body, 0, from, redelivered, "t."), 0);
    return letter;
}

static void deliveries_are_added_up(void **state)
{
    (void)state;
    amqp_table_entry_t list[] = {entry("x-sonde-delivery", AMQP_FIELD_KIND_I64),
                                 entry("x-delivery-count", AMQP_FIELD_KIND_I64)};
    list[0].value.value.i64 = 2;
    list[1].value.value.i64 = 1;
    struct amqp_letter letter = read_with(list, 2, amqp_cstring_bytes("{}"), 0, 1);
    assert_int_equal(letter.delivery, 4);
    assert_int_equal(letter.made, 2); /* tries */
    assert_int_equal(letter.returned, 1);
    assert_false(letter.uncounted);
    amqp_letter_done(&letter);
    /* A classic queue tells only that it came before. */
    letter = read_with(list, 1, amqp_cstring_bytes("{}"), 0, 1);
    assert_int_equal(letter.delivery, 4);
    assert_true(letter.uncounted);
    amqp_letter_done(&letter);
}

static void hostile_headers_are_bounded(void **state)
{
    (void)state;
    static char large[QUEUE_HISTORY_BYTES + 2];
    memset(large, '[', sizeof large - 1);
    amqp_table_entry_t inner[] = {entry("queue", AMQP_FIELD_KIND_UTF8),
                                  entry("reason", AMQP_FIELD_KIND_I32)};
    inner[0].value.value.bytes = amqp_cstring_bytes("t.webhook.delay.0.3");
    amqp_field_value_t death = {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {2, inner}};
    amqp_table_entry_t list[] = {
        entry("x-sonde-delivery", AMQP_FIELD_KIND_I64),
        entry("x-sonde-published", AMQP_FIELD_KIND_I64),
        entry("x-sonde-history", AMQP_FIELD_KIND_UTF8),
        entry("x-sonde-reason", AMQP_FIELD_KIND_BYTES),
        entry("x-sonde-queue", AMQP_FIELD_KIND_I32),
        entry("x-death", AMQP_FIELD_KIND_ARRAY),
        entry("x-sonde-died", AMQP_FIELD_KIND_TABLE),
        entry("x-delivery-count", AMQP_FIELD_KIND_I64),
    };
    list[0].value.value.i64 = INT64_MIN;
    list[1].value.value.i64 = INT64_MAX;
    list[2].value.value.bytes = amqp_cstring_bytes(large);
    list[3].value.value.bytes = (amqp_bytes_t){6, (char[]){"a\0\x1b\xff"
                                                           "b"}};
    list[5].value.value.array = (amqp_array_t){1, &death};
    list[7].value.value.i64 = INT64_MAX;
    struct amqp_letter letter =
        read_with(list, ARRAY_LEN(list), (amqp_bytes_t){4, (char[]){"a\0bc"}}, AMQP_DLQ, 0);
    assert_int_equal(letter.made, 0);
    assert_true(letter.published_ms <= time_steady_ms());
    assert_null(letter.history);
    assert_string_equal(letter.reason, "a");
    assert_int_equal(letter.queue, -1);
    assert_int_equal(letter.delay_step[0], queue_name_index(QUEUE_WEBHOOK));
    assert_int_equal(letter.delay_step[1], 1);
    assert_string_equal(letter.body, "a");
    assert_non_null(letter.defect);
    assert_int_equal(strlen(letter.id), ID_TEXT - 1); /* it had none */
    amqp_letter_done(&letter);
    letter = read_with(list, ARRAY_LEN(list), amqp_empty_bytes, 0, 0);
    assert_true(letter.delivery > AMQP_DELIVERIES_MAX); /* and no overflow */
    assert_string_equal(letter.body, "");
    amqp_letter_done(&letter);
    list[5].value.value.array.num_entries = 0;
    letter = read_with(list, ARRAY_LEN(list), amqp_empty_bytes, AMQP_EXPIRED, 0);
    assert_int_equal(letter.delay_step[0], -1);
    amqp_letter_done(&letter);
}

static void foreign_ids_get_one_of_ours(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "with blank", "line\nbreak", "\x80",
                                      "0123456789012345678901234567890123456"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        amqp_basic_properties_t p = {._flags = AMQP_BASIC_MESSAGE_ID_FLAG};
        struct amqp_letter letter;
        p.message_id = amqp_cstring_bytes(bad[i]);
        assert_int_equal(amqp_letter_read(&letter, &p, amqp_empty_bytes, 0, 0, 0, ""), 0);
        assert_true(id_valid(letter.id));
        amqp_letter_done(&letter);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read),
        cmocka_unit_test(bad_addresses_are_refused_without_their_password),
        cmocka_unit_test(a_delay_takes_the_next_step),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(deliveries_are_added_up),
        cmocka_unit_test(hostile_headers_are_bounded),
        cmocka_unit_test(foreign_ids_get_one_of_ours),
    };
    return cmocka_run_group_tests_name("queue_amqp", tests, NULL, NULL);
}

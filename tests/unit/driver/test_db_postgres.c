/* driver/db over PostgreSQL: what the contract (tests/contract/db.c) cannot ask of every driver.
 * Errors in words, retries, connections that die at the worst moments. */
#include "../../support/cm.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../contract/folder.h"
#include "../../support/postgres.h"
#include "base/mem.h"
#include "driver/db/db.h"
#include "os/clock.h"

#define WIDE_MAX (POSTGRES_URL_MAX + 128)

static char folder[FOLDER_MAX], url[POSTGRES_URL_MAX];
static struct db *db;
static struct err err;

#define OK(call)                                                                                   \
    do {                                                                                           \
        err.text[0] = 0;                                                                           \
        if ((call) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

static void ask(const char *sql)
{
    free(postgres_ask(folder, sql));
}

static int64_t count(const char *sql)
{
    _cleanup_free_ char *text = postgres_ask(folder, sql);
    assert_non_null(text);
    return strtoll(text, NULL, 10);
}

static enum err_code open_at(const char *where)
{
    return db_open(&(struct db_options){.url = where, .readers = 2, .busy_seconds = 0.5}, &db,
                   &err);
}

static int begin(void **state)
{
    (void)state;
    if (!postgres_there())
        return 0;
    if (folder_make(folder) || postgres_database(folder, url) || open_at(url)) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    ask("CREATE TABLE n (x BIGINT); CREATE SEQUENCE runs");
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (!folder[0])
        return 0;
    db = db_close(db);
    int dropped = postgres_drop(folder);
    dropped |= folder_drop(folder);
    folder[0] = 0;
    return dropped;
}

#define NEEDS_SERVER()                                                                             \
    do {                                                                                           \
        (void)state;                                                                               \
        if (!db)                                                                                   \
            skip();                                                                                \
    } while (0)

static enum err_code run_text(struct db_tx *tx, void *ctx, struct err *e)
{
    return db_exec(tx, (const char *)ctx, NULL, e);
}

static enum err_code run(const char *sql)
{
    return db_transact(db, DB_DURABLE, run_text, (void *)(uintptr_t)sql, &err);
}

static enum err_code first_text(struct db_tx *tx, const char *sql, char ret[64], struct err *e)
{
    struct db_rows *rows = NULL;
    enum err_code code = db_query(tx, sql, &rows, e);
    if (!code && db_next(rows, e) == 1)
        snprintf(ret, 64, "%s", db_text(rows, 0, NULL));
    db_rows_done(&rows);
    return code;
}

/* --- errors in words ------------------------------------------------------------------------ */

/* Not `want`, or the password in the text. */
static void refuses(const char *where, const char *password, enum err_code want, const char *says)
{
    struct db *other = NULL;
    enum err_code code =
        db_open(&(struct db_options){.url = where, .password = password}, &other, &err);
    db_close(other);
    if (code != want || !strstr(err.text, says) || strstr(err.text, "s3cret") ||
        strchr(err.text, '\n'))
        fail_msg("%s: %s, %s", where, err_slug(code), err.text);
}

static const char *with(char out[WIDE_MAX], const char *more)
{
    snprintf(out, WIDE_MAX, "%s%c%s", url, strchr(url, '?') ? '&' : '?', more);
    return out;
}

static void mistakes_are_told_with_their_cure(void **state)
{
    NEEDS_SERVER();
    char own[WIDE_MAX];
    _cleanup_free_ char *method = postgres_ask(
        folder, "SELECT max(auth_method) FROM pg_hba_file_rules WHERE type LIKE 'host%'");
    if (method && !strcmp(method, "scram-sha-256"))
        refuses(url, "s3cret", ERR_PERMISSION, "the password of the user is wrong");
    refuses(with(own, "dbname=nowhere"), NULL, ERR_NOT_FOUND, "there is no such database");
    _cleanup_free_ char *tls = postgres_ask(folder, "SHOW ssl");
    if (!strcmp(tls, "on"))
        refuses(with(own, "sslmode=verify-full&sslrootcert=/nowhere/ca.pem"), NULL, ERR_USAGE,
                "sslrootcert");
    else
        refuses(with(own, "sslmode=require"), NULL, ERR_PERMISSION, "it speaks no TLS");
    refuses("postgres://me:s3cret@127.0.0.1:1/x", NULL, ERR_UNAVAILABLE, "nobody listens there");
    refuses("postgres://me@127.0.0.1:1/x", "s3cret", ERR_UNAVAILABLE, "127.0.0.1:1/x");
    refuses("postgres://me:s3cret@nowhere.invalid/x", NULL, ERR_UNAVAILABLE, "unknown");
    refuses("postgres://me:a@s3cret@127.0.0.1/x", NULL, ERR_USAGE, "%40");
    refuses("postgres://me:a/s3cret@127.0.0.1/x", NULL, ERR_USAGE, "%40");
    refuses("postgres://127.0.0.1/x?nosuch=s3cret", NULL, ERR_USAGE, "no postgres://");
    refuses("postgresql://me@127.0.0.1:1/x", NULL, ERR_UNAVAILABLE, "nobody listens there");
}

static void a_server_that_takes_no_writes_is_named(void **state)
{
    NEEDS_SERVER();
    ask("DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || "
        "' SET default_transaction_read_only = on'; END $$");
    refuses(url, NULL, ERR_READ_ONLY, "takes no writes");
}

static void an_encoding_that_loses_letters_is_refused(void **state)
{
    NEEDS_SERVER();
    char own[WIDE_MAX], name[80];
    _cleanup_free_ char *here = postgres_ask(folder, "SELECT current_database()");
    snprintf(name, sizeof name, "%s_ascii", here);
    _cleanup_free_ char *make = xasprintf("CREATE DATABASE %s ENCODING 'SQL_ASCII' LC_COLLATE 'C' "
                                          "LC_CTYPE 'C' TEMPLATE template0",
                                          name);
    _cleanup_free_ char *drop = xasprintf("DROP DATABASE %s", name);
    _cleanup_free_ char *more = xasprintf("dbname=%s", name);
    ask(make);
    refuses(with(own, more), NULL, ERR_UNSUPPORTED, "UTF8");
    ask(drop);
}

/* A trigger that fails with this SQLSTATE for the first `times` inserts. */
static void trap(const char *sqlstate, int times)
{
    _cleanup_free_ char *sql = xasprintf(
        "CREATE OR REPLACE FUNCTION trap() RETURNS trigger AS $$ BEGIN "
        "IF nextval('runs') <= %d THEN RAISE EXCEPTION 'trapped' USING ERRCODE = '%s'; END IF; "
        "RETURN NEW; END $$ LANGUAGE plpgsql; ALTER SEQUENCE runs RESTART; "
        "CREATE OR REPLACE TRIGGER trap BEFORE INSERT ON n FOR EACH ROW EXECUTE FUNCTION trap()",
        times, sqlstate);
    ask(sql);
}

static void failures_of_the_server_have_their_codes(void **state)
{
    NEEDS_SERVER();
    static const struct {
        const char *state, *says;
        enum err_code code;
    } list[] = {
        {"53100", "disk is full", ERR_NO_SPACE},
        {"25006", "takes no writes", ERR_READ_ONLY},
        {"57014", "took too long", ERR_UNAVAILABLE},
        {"42501", "owner", ERR_PERMISSION},
        {"XX001", "trapped", ERR_DB_CORRUPT},
        {"54000", "trapped", ERR_LIMIT},
        {"P0001", "trapped", ERR_DB},
        {"40001", "trapped", ERR_BUSY},
    };
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        trap(list[i].state, 1000);
        enum err_code code = run("INSERT INTO n (x) VALUES (1)");
        if (code != list[i].code || !strstr(err.text, list[i].says))
            fail_msg("%s: %s, %s", list[i].state, err_slug(code), err.text);
    }
    assert_int_equal(count("SELECT count(*) FROM n"), 0);
}

/* --- tries ---------------------------------------------------------------------------------- */

static void what_the_server_asks_to_repeat_is_repeated(void **state)
{
    NEEDS_SERVER();
    trap("40001", 1);
    OK(run("INSERT INTO n (x) VALUES (1)"));
    trap("40P01", 3);
    OK(run("INSERT INTO n (x) VALUES (2)"));
    assert_int_equal(count("SELECT sum(x) FROM n"), 3);
    assert_int_equal(count("SELECT last_value FROM runs"), 4);
}

/* Prepared statements that a change of the schema made useless. */
static void statements_follow_the_schema(void **state)
{
    NEEDS_SERVER();
    char text[64];
    for (int i = 0; i < 3; i++) {
        struct db_tx *tx = NULL;
        OK(db_read_begin(db, &tx, &err));
        OK(first_text(tx, "SELECT * FROM n", text, &err));
        db_end(&tx);
        OK(run("INSERT INTO n VALUES (7) RETURNING *"));
        ask("ALTER TABLE n ADD COLUMN y BIGINT");
        OK(db_read_begin(db, &tx, &err));
        OK(first_text(tx, "SELECT * FROM n", text, &err));
        db_end(&tx);
        OK(run("INSERT INTO n VALUES (7) RETURNING *"));
        ask("ALTER TABLE n DROP COLUMN y");
    }
    assert_int_equal(count("SELECT count(*) FROM n"), 6);
}

static void another_process_with_the_lock_is_waited_for(void **state)
{
    NEEDS_SERVER();
    PGconn *other = PQconnectdb(url);
    PQclear(PQexec(other, "BEGIN; SELECT pg_advisory_xact_lock(499967849573)"));
    assert_int_equal(run("INSERT INTO n (x) VALUES (1)"), ERR_BUSY);
    assert_non_null(strstr(err.text, "another process"));
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    OK(run("INSERT INTO n (x) VALUES (1)"));
}

/* --- durability, time-outs, texts ----------------------------------------------------------- */

static enum err_code look_at_settings(struct db_tx *tx, void *ctx, struct err *e)
{
    char(*texts)[64] = ctx;
    enum err_code code = first_text(tx, "SHOW synchronous_commit", texts[0], e);
    if (!code)
        code = first_text(tx, "SHOW idle_in_transaction_session_timeout", texts[1], e);
    if (!code)
        code = first_text(tx, "SHOW statement_timeout", texts[2], e);
    return code ? code : first_text(tx, "SHOW lock_timeout", texts[3], e);
}

static void settings_are_what_they_should_be(void **state)
{
    NEEDS_SERVER();
    char relaxed[4][64], durable[4][64];
    OK(db_transact(db, DB_RELAXED, look_at_settings, relaxed, &err));
    OK(db_transact(db, DB_DURABLE, look_at_settings, durable, &err));
    assert_string_equal(relaxed[0], "off");
    assert_string_equal(durable[0], "on");
    assert_string_equal(durable[1], "10s");
    assert_string_equal(durable[2], "30s");
    assert_string_equal(durable[3], "500ms");
    assert_int_equal(db_caps(db), DB_CAP_SHARED);
}

static enum err_code insert_texts(struct db_tx *tx, void *ctx, struct err *e)
{
    (void)ctx;
    struct db_arg zero = {.type = DB_TEXT, .data = "a\0b", .size = 3};
    return db_exec(tx, "INSERT INTO t (a, b, c) VALUES (?1, ?2, '?3 \"')", NULL, e,
                   DB_T("fl\xc3\xb6te \xff\xc3"), zero);
}

static void texts_that_are_none_are_mended(void **state)
{
    NEEDS_SERVER();
    ask("CREATE TABLE t (a TEXT, b TEXT, c TEXT)");
    OK(db_transact(db, DB_DURABLE, insert_texts, NULL, &err));
    _cleanup_free_ char *text = postgres_ask(folder, "SELECT a || ',' || b || ',' || c FROM t");
    assert_string_equal(text, "fl\xc3\xb6te ??,a?b,?3 \"");
}

static void checking_finds_an_index_that_is_not_valid(void **state)
{
    NEEDS_SERVER();
    _cleanup_free_ char *problems = NULL;
    ask("CREATE INDEX broken ON n (x); "
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass");
    OK(db_check(db, &problems, &err));
    assert_non_null(problems);
    assert_non_null(strstr(problems, "index broken is not valid"));
}

/* --- connections that die ------------------------------------------------------------------- */

#define KILL_ALL                                                                                   \
    "SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity "                         \
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"

struct dying {
    int runs, kills, after; /* after: the work's own statement, before its end */
};

static enum err_code die_while_working(struct db_tx *tx, void *ctx, struct err *e)
{
    struct dying *d = ctx;
    d->runs++;
    if (!d->after && d->runs <= d->kills)
        ask(KILL_ALL);
    enum err_code code = db_exec(tx, "INSERT INTO n (x) VALUES (1)", NULL, e);
    if (!code && d->after && d->runs <= d->kills)
        ask(KILL_ALL);
    return code;
}

static void a_work_whose_connection_dies_runs_again(void **state)
{
    NEEDS_SERVER();
    ask(KILL_ALL); /* between transactions */
    OK(run("INSERT INTO n (x) VALUES (1)"));
    struct dying before = {.kills = 1}, after = {.kills = 2, .after = 1}, ever = {.kills = 100};
    OK(db_transact(db, DB_DURABLE, die_while_working, &before, &err));
    OK(db_transact(db, DB_DURABLE, die_while_working, &after, &err));
    assert_int_equal(before.runs, 2);
    assert_int_equal(after.runs, 3);
    assert_int_equal(count("SELECT count(*) FROM n"), 3);
    assert_int_equal(db_transact(db, DB_DURABLE, die_while_working, &ever, &err), ERR_UNAVAILABLE);
    assert_true(ever.runs <= 6);
    OK(run("INSERT INTO n (x) VALUES (1)"));
    assert_int_equal(count("SELECT count(*) FROM n"), 4);
}

static void the_server_ends_it_before_the_commit(void **state)
{
    NEEDS_SERVER();
    ask("CREATE FUNCTION die() RETURNS trigger AS $$ BEGIN IF nextval('runs') <= 1 THEN "
        "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); END IF; "
        "RETURN NEW; END $$ LANGUAGE plpgsql; CREATE CONSTRAINT TRIGGER die AFTER INSERT ON n "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()");
    OK(run("INSERT INTO n (x) VALUES (1)"));
    assert_int_equal(count("SELECT count(*) FROM n"), 1);
    assert_int_equal(count("SELECT last_value FROM runs"), 2);
}

static void reading_goes_on_with_another_connection(void **state)
{
    NEEDS_SERVER();
    struct db_tx *tx = NULL;
    char text[64];
    OK(run("INSERT INTO n (x) VALUES (5)"));
    for (int i = 0; i < 3; i++) {
        OK(db_read_begin(db, &tx, &err));
        OK(first_text(tx, "SELECT x FROM n", text, &err));
        db_end(&tx);
        ask(KILL_ALL);
    }
    OK(db_read_begin(db, &tx, &err));
    OK(first_text(tx, "SELECT x FROM n", text, &err));
    ask(KILL_ALL); /* its snapshot is gone */
    assert_int_equal(first_text(tx, "SELECT x FROM n", text, &err), ERR_UNAVAILABLE);
    db_end(&tx);
    OK(db_read_begin(db, &tx, &err));
    OK(first_text(tx, "SELECT x FROM n", text, &err));
    assert_string_equal(text, "5");
    db_end(&tx);
}

/* --- a network that breaks ------------------------------------------------------------------ */

/* A relay in front of the server that cuts the next connection which says COMMIT. */
static struct relay {
    pthread_t thread;
    int socket, port, server_port, stop;
    enum { PASS, CUT_BEFORE, CUT_AFTER } how;
    int cuts;
} relay;

struct pair {
    int client, server, deaf; /* deaf: what the server says is dropped, then it is cut */
};

static ssize_t pump(int from, int to, struct pair *pair, int is_client)
{
    char buffer[65536];
    ssize_t n = recv(from, buffer, sizeof buffer, 0);
    if (n <= 0)
        return -1;
    int how = __atomic_load_n(&relay.how, __ATOMIC_SEQ_CST);
    if (is_client && how != PASS && memmem(buffer, (size_t)n, "COMMIT", 7)) {
        __atomic_store_n(&relay.how, PASS, __ATOMIC_SEQ_CST);
        relay.cuts++;
        if (how == CUT_BEFORE)
            return -1;
        pair->deaf = 1;
    }
    if (!is_client && pair->deaf)
        return -1;
    return send(to, buffer, (size_t)n, MSG_NOSIGNAL);
}

static int to_server(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)relay.server_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&at, sizeof at) ? -1 : fd;
}

static void *relay_all(void *ctx)
{
    (void)ctx;
    enum { MAX = 32 };
    struct pair pairs[MAX];
    int n = 0;
    while (!__atomic_load_n(&relay.stop, __ATOMIC_SEQ_CST)) {
        struct pollfd fds[1 + 2 * MAX] = {{.fd = relay.socket, .events = POLLIN}};
        for (int i = 0; i < n; i++) {
            fds[1 + 2 * i] = (struct pollfd){.fd = pairs[i].client, .events = POLLIN};
            fds[2 + 2 * i] = (struct pollfd){.fd = pairs[i].server, .events = POLLIN};
        }
        int had = n;
        if (poll(fds, (nfds_t)(1 + 2 * n), 50) <= 0)
            continue;
        for (int i = had - 1; i >= 0; i--) {
            struct pair *p = &pairs[i];
            int dead = (fds[1 + 2 * i].revents && pump(p->client, p->server, p, 1) < 0) ||
                       (fds[2 + 2 * i].revents && pump(p->server, p->client, p, 0) < 0);
            if (!dead)
                continue;
            close(p->client);
            close(p->server);
            *p = pairs[--n];
        }
        if (fds[0].revents && n < MAX)
            pairs[n++] = (struct pair){accept(relay.socket, NULL, NULL), to_server(), 0};
    }
    while (n--) {
        close(pairs[n].client);
        close(pairs[n].server);
    }
    return NULL;
}

static void relay_start(char ret[WIDE_MAX])
{
    PGconn *pg = PQconnectdb(url);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    memset(&relay, 0, sizeof relay);
    relay.server_port = (int)strtol(PQport(pg), NULL, 10);
    PQfinish(pg);
    relay.socket = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(relay.socket, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(relay.socket, 16), 0);
    getsockname(relay.socket, (struct sockaddr *)&at, &size);
    snprintf(ret, WIDE_MAX, "%s%chost=127.0.0.1&port=%d&sslmode=disable", url,
             strchr(url, '?') ? '&' : '?', ntohs(at.sin_port));
    pthread_create(&relay.thread, NULL, relay_all, NULL);
}

static void relay_end(void)
{
    __atomic_store_n(&relay.stop, 1, __ATOMIC_SEQ_CST);
    pthread_join(relay.thread, NULL);
    close(relay.socket);
}

/* Whichever way the connection dies while committing: the answer is exact, the row is there once.
 */
static void a_commit_without_an_answer_is_looked_up(void **state)
{
    NEEDS_SERVER();
    char through[WIDE_MAX];
    relay_start(through);
    db = db_close(db);
    OK(open_at(through));
    OK(run("DELETE FROM n WHERE x < 0")); /* the first one makes what later ones need */
    for (int i = 0; i < 6; i++) {
        struct dying d = {0};
        relay.cuts = 0;
        __atomic_store_n(&relay.how, i % 2 ? CUT_BEFORE : CUT_AFTER, __ATOMIC_SEQ_CST);
        OK(db_transact(db, DB_DURABLE, die_while_working, &d, &err));
        assert_int_equal(relay.cuts, 1);
        assert_int_equal(d.runs, i % 2 ? 2 : 1);
        assert_int_equal(count("SELECT count(*) FROM n"), i + 1);
    }
    db = db_close(db);
    relay_end();
}

/* Nobody can be asked: nobody knows. */
static void a_commit_that_nobody_can_tell_of_is_uncertain(void **state)
{
    NEEDS_SERVER();
    char through[WIDE_MAX];
    relay_start(through);
    db = db_close(db);
    OK(open_at(through));
    OK(run("DELETE FROM n WHERE x < 0")); /* the first one makes what later ones need */
    shutdown(relay.socket, SHUT_RDWR);
    __atomic_store_n(&relay.how, CUT_AFTER, __ATOMIC_SEQ_CST);
    double start = clock_seconds();
    assert_int_equal(run("INSERT INTO n (x) VALUES (1)"), ERR_UNCERTAIN);
    assert_true(clock_seconds() - start < 15);
    start = clock_seconds(); /* known to be away: no waiting */
    assert_int_equal(run("INSERT INTO n (x) VALUES (1)"), ERR_UNAVAILABLE);
    assert_int_equal(run("INSERT INTO n (x) VALUES (1)"), ERR_UNAVAILABLE);
    assert_true(clock_seconds() - start < 8);
    assert_int_equal(count("SELECT count(*) FROM n"), 1);
    db = db_close(db);
    relay_end();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mistakes_are_told_with_their_cure),
        TEST(a_server_that_takes_no_writes_is_named),
        TEST(an_encoding_that_loses_letters_is_refused),
        TEST(failures_of_the_server_have_their_codes),
        TEST(what_the_server_asks_to_repeat_is_repeated),
        TEST(statements_follow_the_schema),
        TEST(another_process_with_the_lock_is_waited_for),
        TEST(settings_are_what_they_should_be),
        TEST(texts_that_are_none_are_mended),
        TEST(checking_finds_an_index_that_is_not_valid),
        TEST(a_work_whose_connection_dies_runs_again),
        TEST(the_server_ends_it_before_the_commit),
        TEST(reading_goes_on_with_another_connection),
        TEST(a_commit_without_an_answer_is_looked_up),
        TEST(a_commit_that_nobody_can_tell_of_is_uncertain),
    };
    return cmocka_run_group_tests_name("db postgres", tests, NULL, NULL);
}

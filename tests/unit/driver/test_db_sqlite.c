/* driver/db over SQLite: what the contract (tests/contract/db.c) cannot ask of every driver. Files,
 * bad files, full and read-only disks, other processes, the WAL's size; and the fault wrapper. */
#include "../../support/cm.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"
#include "driver/db/db.h"
#include "driver/queue/queue.h"
#include "../../contract/folder.h"

static char folder[FOLDER_MAX], path[FOLDER_MAX + 16], wal[FOLDER_MAX + 20];
static struct db *db;
static struct err err;

#define OK(call)                                                                                   \
    do {                                                                                           \
        err.text[0] = 0;                                                                           \
        if ((call) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

static enum err_code open_db(double busy_seconds)
{
    _cleanup_free_ char *url = xasprintf("sqlite:%s", path);
    return db_open(&(struct db_options){.url = url, .busy_seconds = busy_seconds}, &db, &err);
}

static enum err_code run_text(struct db_tx *tx, void *ctx, struct err *e)
{
    return db_exec(tx, (const char *)ctx, NULL, e);
}

static enum err_code run(const char *sql)
{
    return db_transact(db, DB_RELAXED, run_text, (void *)(uintptr_t)sql, &err);
}

static int64_t number(const char *sql)
{
    struct db_tx *tx = NULL;
    struct db_rows *rows = NULL;
    OK(db_read_begin(db, &tx, &err));
    OK(db_query(tx, sql, &rows, &err));
    assert_int_equal(db_next(rows, &err), 1);
    int64_t value = db_int(rows, 0);
    db_rows_done(&rows);
    db_end(&tx);
    return value;
}

static int begin(void **state)
{
    (void)state;
    if (folder_make(folder))
        return -1;
    snprintf(path, sizeof path, "%s/test.db", folder);
    snprintf(wal, sizeof wal, "%s-wal", path);
    return 0;
}

static int end(void **state)
{
    (void)state;
    db = db_close(db);
    return folder_drop(folder);
}

static off_t size_of(const char *file)
{
    struct stat st;
    return stat(file, &st) ? -1 : st.st_size;
}

/* --- files ---------------------------------------------------------------------------------- */

static void files_are_private_and_closing_tidies_up(void **state)
{
    (void)state;
    struct stat st;
    umask(0);
    OK(open_db(0));
    OK(run("CREATE TABLE n (x BIGINT)"));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    db = db_close(db);
    assert_int_equal(size_of(wal), -1);
    assert_true(size_of(path) > 0);
}

static void a_damaged_file_is_told(void **state)
{
    (void)state;
    FILE *out = fopen(path, "w");
    for (int i = 0; i < 2000; i++)
        fprintf(out, "this is no database %d\n", i);
    fclose(out);
    assert_int_equal(open_db(0), ERR_DB_CORRUPT);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(unlink(path), 0);
    OK(open_db(0));
    OK(run("CREATE TABLE n (x TEXT)"));
    for (int i = 0; i < 60; i++)
        OK(run("INSERT INTO n (x) VALUES (hex(randomblob(2000)))"));
    db = db_close(db);
    /* The root of the table. */
    int fd = open(path, O_WRONLY);
    static const char junk[4096] = {1, 2, 3};
    assert_int_equal(pwrite(fd, junk, sizeof junk, 4096), sizeof junk);
    close(fd);
    OK(open_db(0));
    assert_int_equal(run("INSERT INTO n (x) VALUES ('y')"), ERR_DB_CORRUPT);
    assert_non_null(strstr(err.text, path));
    char *problems = NULL;
    OK(db_check(db, &problems, &err));
    assert_non_null(problems);
    free(problems);
}

static void a_broken_reference_is_found(void **state)
{
    (void)state;
    char *problems = NULL;
    OK(open_db(0));
    OK(run("CREATE TABLE a (id INTEGER PRIMARY KEY)"));
    OK(run("CREATE TABLE b (a BIGINT REFERENCES a (id))"));
    sqlite3 *other;
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK); /* without foreign_keys */
    sqlite3_exec(other, "INSERT INTO b (a) VALUES (7)", NULL, NULL, NULL);
    sqlite3_close(other);
    OK(db_check(db, &problems, &err));
    assert_non_null(problems);
    assert_non_null(strstr(problems, "row 1 of b"));
    free(problems);
}

/* In a process of nobody's, because root may write everywhere. */
static int as_nobody(void (*what)(void))
{
    pid_t child = fork();
    if (!child) {
        alarm(20);
        if (!getuid() && (setgid(65534) || setuid(65534)))
            _exit(99);
        what();
        _exit(98);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void open_and_tell(void)
{
    enum err_code code = open_db(1);
    _exit(code == ERR_PERMISSION || code == ERR_READ_ONLY ? (strstr(err.text, path) ? 0 : 2) : 1);
}

static void a_place_without_rights_is_told(void **state)
{
    (void)state;
    assert_int_equal(chmod(folder, 0755), 0);
    if (getuid()) /* our own folder */
        assert_int_equal(chmod(folder, 0555), 0);
    assert_int_equal(as_nobody(open_and_tell), 0); /* no file yet */
    chmod(folder, 0755);
    OK(open_db(0));
    db = db_close(db);
    chmod(path, 0444);
    assert_int_equal(as_nobody(open_and_tell), 0); /* a file that it may only read */
    chmod(path, 0666);
    if (getuid())
        chmod(folder, 0555);
    assert_int_equal(as_nobody(open_and_tell), 0); /* a folder without room for the WAL */
    chmod(folder, 0755);
    snprintf(path, sizeof path, "%s/no/x.db", folder);
    assert_int_equal(open_db(0), ERR_NOT_FOUND);
}

/* --- a full disk ---------------------------------------------------------------------------- */

static enum err_code insert_much(struct db_tx *tx, void *ctx, struct err *e)
{
    (void)ctx;
    enum err_code code = ERR_OK;
    for (int i = 0; i < 3000 && !code; i++)
        code = db_exec(tx, "INSERT INTO n (x) VALUES (hex(randomblob(2000)))", NULL, e);
    return code;
}

static void a_full_disk_is_told_and_survived(void **state)
{
    (void)state;
    OK(open_db(0));
    OK(run("CREATE TABLE n (x TEXT)"));
    OK(run("INSERT INTO n (x) VALUES ('before')"));
    struct rlimit before, small = {1 << 20, 1 << 20};
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    enum err_code code = db_transact(db, DB_DURABLE, insert_much, NULL, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(code, ERR_NO_SPACE);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(number("SELECT count(*) FROM n"), 1);
    OK(run("INSERT INTO n (x) VALUES ('after')"));
    char *problems = NULL;
    OK(db_check(db, &problems, &err));
    assert_null(problems);
}

/* --- other processes ------------------------------------------------------------------------ */

static void *unlock_later(void *ctx)
{
    usleep(300000);
    sqlite3_exec(ctx, "COMMIT", NULL, NULL, NULL);
    return NULL;
}

static void a_lock_of_another_process_is_waited_for(void **state)
{
    (void)state;
    sqlite3 *other;
    pthread_t thread;
    OK(open_db(10));
    OK(run("CREATE TABLE n (x BIGINT)"));
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    pthread_create(&thread, NULL, unlock_later, other);
    OK(run("INSERT INTO n (x) VALUES (1)"));
    pthread_join(thread, NULL);
    assert_int_equal(number("SELECT count(*) FROM n"), 1);
    db = db_close(db);
    OK(open_db(0.2));
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    int64_t start = time_steady_ms();
    assert_int_equal(run("INSERT INTO n (x) VALUES (1)"), ERR_BUSY);
    assert_true(time_steady_ms() - start >= 150);
    sqlite3_close(other);
    OK(run("INSERT INTO n (x) VALUES (1)"));
}

/* --- the WAL -------------------------------------------------------------------------------- */

static int reading_goes_on;

/* Two of these overlap, so that there is never a moment without a reader. */
static void *read_always(void *ctx)
{
    (void)ctx;
    while (__atomic_load_n(&reading_goes_on, __ATOMIC_RELAXED)) {
        struct db_tx *tx = NULL;
        struct db_rows *rows = NULL;
        if (db_read_begin(db, &tx, NULL) || db_query(tx, "SELECT count(*) FROM n", &rows, NULL) ||
            db_next(rows, NULL) != 1)
            abort();
        usleep(20000);
        db_rows_done(&rows);
        db_end(&tx);
    }
    return NULL;
}

static void the_wal_stays_bounded_under_constant_reading(void **state)
{
    (void)state;
    pthread_t threads[3];
    off_t largest = 0;
    int64_t written = 0;
    OK(open_db(0));
    OK(run("CREATE TABLE n (id INTEGER PRIMARY KEY, x BLOB)"));
    reading_goes_on = 1;
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, read_always, NULL);
        usleep(7000);
    }
    for (int i = 0; i < 250; i++) { /* 1 MB each, over the same row */
        OK(run("INSERT INTO n (id, x) VALUES (1, randomblob(1000000)) "
               "ON CONFLICT (id) DO UPDATE SET x = excluded.x"));
        written += 1000000;
        if (size_of(wal) > largest)
            largest = size_of(wal);
    }
    __atomic_store_n(&reading_goes_on, 0, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_true(written > 240000000);
    assert_true(largest < 125000000); /* on a loaded machine too: half of what was written */
}

/* --- faults on purpose ---------------------------------------------------------------------- */

static void the_wrapper_fails_before_and_after_commits(void **state)
{
    (void)state;
    _cleanup_free_ char *url = xasprintf("fault:2:sqlite:%s", path);
    OK(db_open(&(struct db_options){.url = url}, &db, &err));
    OK(run("CREATE TABLE n (x BIGINT)"));
    assert_int_equal(run("INSERT INTO n (x) VALUES (1)"), ERR_UNAVAILABLE);
    assert_int_equal(number("SELECT count(*) FROM n"), 0);
    OK(run("INSERT INTO n (x) VALUES (2)"));
    assert_int_equal(run("INSERT INTO n (x) VALUES (3)"), ERR_UNCERTAIN);
    assert_int_equal(number("SELECT count(*) FROM n"), 2);
    struct db *other = NULL;
    assert_int_equal(db_open(&(struct db_options){.url = "fault:0:sqlite:/x"}, &other, &err),
                     ERR_USAGE);
    assert_int_equal(db_open(&(struct db_options){.url = "fault:3"}, &other, &err), ERR_USAGE);
}

/* --- the queue in it ------------------------------------------------------------------------ */

static void a_clock_set_back_holds_no_message(void **state)
{
    (void)state;
    struct queue *queue = NULL;
    struct queue_message message;
    OK(open_db(0));
    OK(queue_open(&(struct queue_options){"table:", db}, &queue, &err));
    struct queue_publication list[2] = {{"a", QUEUE_WEBHOOK, "{}", 60},
                                        {"b", QUEUE_WEBHOOK, "{}", 0}};
    OK(queue_publish(queue, list, 2, &err));
    OK(queue_receive(queue, QUEUE_WEBHOOK, 60, 0, &message, &err));
    assert_string_equal(message.id, "b");
    queue = queue_close(queue);
    /* As if all this had been written with a clock three days ahead. */
    OK(run("UPDATE queue_messages SET available_at = available_at + 259200000, "
           "published_at = published_at + 259200000"));
    uint64_t returned = 0;
    OK(queue_open(&(struct queue_options){"table:", db}, &queue, &err));
    OK(queue_recover(queue, &returned, &err));
    assert_int_equal(returned, 1); /* the lease on b */
    queue_message_done(&message);
    for (int i = 0; i < 2; i++) {
        OK(queue_receive(queue, QUEUE_WEBHOOK, 60, 0, &message, &err));
        assert_non_null(message.body);
        assert_true(message.published_ms <= time_steady_ms());
        queue_message_done(&message);
    }
    queue_close(queue);
}

static int expired;

static void note_expired(void *ctx, const char *name, const char *body)
{
    assert_ptr_equal(ctx, &expired);
    assert_string_equal(name, QUEUE_STABILITY);
    assert_string_equal(body, "{}");
    expired++;
}

static void what_waits_for_a_day_expires(void **state)
{
    (void)state;
    struct queue *queue = NULL;
    struct queue_message message;
    OK(open_db(0));
    OK(queue_open(&(struct queue_options){"table:", db}, &queue, &err));
    for (int i = 0; i < 130; i++) { /* more than are taken at a time */
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        struct queue_publication one = {id, QUEUE_STABILITY, "{}", 0};
        OK(queue_publish(queue, &one, 1, &err));
    }
    OK(queue_receive(queue, QUEUE_STABILITY, 60, 0, &message, &err));
    OK(run("UPDATE queue_messages SET published_at = published_at - 86400001"));
    struct queue_publication fresh = {"fresh", QUEUE_STABILITY, "{}", 0};
    OK(queue_publish(queue, &fresh, 1, &err));
    expired = 0;
    OK(queue_expire(queue, note_expired, &expired, &err));
    assert_int_equal(expired, 129); /* not the one that is being worked on */
    struct queue_stats s;
    OK(queue_stats(queue, QUEUE_DLQ, &s, &err));
    assert_int_equal(s.ready, 129);
    OK(queue_ack(queue, &message, &err));
    queue_message_done(&message);
    OK(queue_receive(queue, QUEUE_STABILITY, 60, 0, &message, &err));
    assert_string_equal(message.id, "fresh");
    queue_message_done(&message);
    queue_close(queue);
}

/* The table of schema changes as it was before they said what they need. */
static void an_old_file_learns_what_changes_need(void **state)
{
    (void)state;
    static const struct db_migration changes[] = {
        {1, "first", "CREATE TABLE a (x BIGINT)"},
        {2, "second", "CREATE TABLE b (x BIGINT)", .needs = 1},
    };
    int applied = 0;
    OK(open_db(0));
    OK(db_migrate(db, changes, 1, &applied, &err));
    OK(run("ALTER TABLE schema_migrations DROP COLUMN needs"));
    OK(db_migrate(db, changes, 1, &applied, &err));
    assert_int_equal(number("SELECT needs FROM schema_migrations WHERE number = 1"), 0);
    OK(db_migrate(db, changes, 2, &applied, &err));
    assert_int_equal(applied, 1);
    OK(db_migrate(db, changes, 1, &applied, &err));
    OK(run("UPDATE schema_migrations SET needs = 0")); /* of a program that knew of none */
    assert_int_equal(db_migrate(db, changes, 1, &applied, &err), ERR_DB);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_are_private_and_closing_tidies_up),
        TEST(a_damaged_file_is_told),
        TEST(a_broken_reference_is_found),
        TEST(a_place_without_rights_is_told),
        TEST(a_full_disk_is_told_and_survived),
        TEST(a_lock_of_another_process_is_waited_for),
        TEST(the_wal_stays_bounded_under_constant_reading),
        TEST(the_wrapper_fails_before_and_after_commits),
        TEST(a_clock_set_back_holds_no_message),
        TEST(what_waits_for_a_day_expires),
        TEST(an_old_file_learns_what_changes_need),
    };
    return cmocka_run_group_tests_name("db_sqlite", tests, NULL, NULL);
}

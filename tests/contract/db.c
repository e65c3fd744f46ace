/* The contract of src/driver/db/db.h, over every driver: another one joins by a row in `drivers`.
 * Each test has a database of its own in a temporary folder. */
#include "../support/cm.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "../support/postgres.h"
#include "driver/db/db.h"
#include "folder.h"

static enum err_code open_sqlite(const char *folder, struct db **ret, struct err *err)
{
    _cleanup_free_ char *url = xasprintf("sqlite:%s/test.db", folder);
    return db_open(&(struct db_options){.url = url, .readers = 3}, ret, err);
}

static enum err_code open_wrapped(const char *folder, struct db **ret, struct err *err)
{
    _cleanup_free_ char *url = xasprintf("fault:1000000000:sqlite:%s/test.db", folder);
    return db_open(&(struct db_options){.url = url, .readers = 3}, ret, err);
}

static enum err_code open_postgres(const char *folder, struct db **ret, struct err *err)
{
    char url[POSTGRES_URL_MAX];
    if (postgres_database(folder, url))
        return err_set(err, ERR_UNAVAILABLE, "no database for the test");
    return db_open(&(struct db_options){.url = url, .readers = 3}, ret, err);
}

struct driver {
    const char *name;
    enum err_code (*open)(const char *folder, struct db **ret, struct err *err);
    int shared;         /* on a server: a database of its own per folder, perhaps not there */
    const char *blob;   /* the type of a column of bytes */
    const char *unique; /* how it names a UNIQUE column t of table u */
};
static const struct driver drivers[] = {
    {"sqlite", open_sqlite, .blob = "BLOB", .unique = "u.t"},
    {"fault", open_wrapped, .blob = "BLOB", .unique = "u.t"},
    {"postgres", open_postgres, .shared = 1, .blob = "BYTEA", .unique = "u_t_key"},
};

static const struct driver *driver;
static char folder[FOLDER_MAX];
static struct db *db;
static struct err err;

#define OK(call)                                                                                   \
    do {                                                                                           \
        err.text[0] = 0;                                                                           \
        if ((call) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

static enum err_code run_text(struct db_tx *tx, void *ctx, struct err *e)
{
    return db_exec(tx, (const char *)ctx, NULL, e);
}

static enum err_code run(const char *sql)
{
    return db_transact(db, DB_RELAXED, run_text, (void *)(uintptr_t)sql, &err);
}

static int64_t number_in(struct db_tx *tx, const char *sql)
{
    struct db_rows *rows = NULL;
    OK(db_query(tx, sql, &rows, &err));
    assert_int_equal(db_next(rows, &err), 1);
    int64_t value = db_int(rows, 0);
    assert_int_equal(db_next(rows, &err), 0);
    assert_int_equal(db_next(rows, &err), 0); /* and does not start over */
    db_rows_done(&rows);
    return value;
}

static int64_t number(const char *sql)
{
    struct db_tx *tx = NULL;
    OK(db_read_begin(db, &tx, &err));
    int64_t value = number_in(tx, sql);
    db_end(&tx);
    return value;
}

static int begin(void **state)
{
    driver = *state;
    if (driver->shared && !postgres_there())
        return 0;
    if (folder_make(folder))
        return -1;
    if (!driver->open(folder, &db, &err))
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

static int end(void **state)
{
    (void)state;
    if (!folder[0])
        return 0;
    db = db_close(db);
    int dropped = driver->shared ? postgres_drop(folder) : 0;
    dropped |= folder_drop(folder);
    folder[0] = 0;
    return dropped;
}

/* Of a driver whose server is not there. */
static void needs_a_database(void)
{
    if (!db)
        skip();
}

/* --- values --------------------------------------------------------------------------------- */

static enum err_code insert_values(struct db_tx *tx, void *ctx, struct err *e)
{
    int64_t *changed = ctx;
    static const char text[] = "запись \xf0\x9f\x8e\xa7";
    char *big = xalloc(1 << 20);
    memset(big, 7, 1 << 20);
    enum err_code code =
        db_exec(tx, "INSERT INTO v (id, i, r, t, b) VALUES (?1, ?2, ?3, ?4, ?5)", changed, e,
                DB_I(1), DB_I(INT64_MIN), DB_R(0.1), DB_T(text), DB_B(big, 1 << 20));
    free(big);
    if (!code)
        code = db_exec(tx, "INSERT INTO v (id, i, r, t, b) VALUES (?1, ?2, ?3, ?4, ?5)", NULL, e,
                       DB_I(2), DB_N, DB_N, DB_T(NULL), DB_N);
    if (!code)
        code = db_exec(tx, "INSERT INTO v (id, i, r, t, b) VALUES (?1, ?2, ?3, ?4, ?5)", NULL, e,
                       DB_I(3), DB_I(INT64_MAX), DB_R(-1e300), DB_T(""), DB_B("", 0));
    return code;
}

static void values_come_back_as_they_were(void **state)
{
    (void)state;
    needs_a_database();
    int64_t changed = 0;
    size_t size = 0;
    _cleanup_free_ char *table = xasprintf("CREATE TABLE v (id INTEGER PRIMARY KEY, i BIGINT, "
                                           "r DOUBLE PRECISION, t TEXT, b %s)",
                                           driver->blob);
    OK(run(table));
    OK(db_transact(db, DB_DURABLE, insert_values, &changed, &err));
    assert_int_equal(changed, 1);
    struct db_tx *tx = NULL;
    struct db_rows *rows = NULL;
    OK(db_read_begin(db, &tx, &err));
    OK(db_query(tx, "SELECT i, r, t, b FROM v ORDER BY id", &rows, &err));
    assert_int_equal(db_next(rows, &err), 1);
    assert_true(db_int(rows, 0) == INT64_MIN);
    assert_true(db_real(rows, 1) == 0.1);
    assert_string_equal(db_text(rows, 2, &size), "запись \xf0\x9f\x8e\xa7");
    assert_int_equal(size, 17);
    const char *blob = db_text(rows, 3, &size);
    assert_int_equal(size, 1 << 20);
    assert_int_equal(blob[size - 1], 7);
    assert_int_equal(db_next(rows, &err), 1);
    for (int i = 0; i < 4; i++)
        assert_true(db_is_null(rows, i));
    assert_null(db_text(rows, 2, &size));
    assert_int_equal(db_next(rows, &err), 1);
    assert_true(db_int(rows, 0) == INT64_MAX);
    assert_true(db_real(rows, 1) == -1e300);
    assert_string_equal(db_text(rows, 2, &size), "");
    assert_false(db_is_null(rows, 3));
    assert_non_null(db_text(rows, 3, &size));
    assert_int_equal(size, 0);
    assert_int_equal(db_next(rows, &err), 0);
    db_rows_done(&rows);
    db_end(&tx);
    db_end(&tx);
    db_rows_done(&rows);
}

static void mistakes_are_told(void **state)
{
    (void)state;
    needs_a_database();
    OK(run("CREATE TABLE u (id INTEGER PRIMARY KEY, t TEXT UNIQUE)"));
    OK(run("INSERT INTO u (id, t) VALUES (1, 'a')"));
    assert_int_equal(run("INSERT INTO u (id, t) VALUES (2, 'a')"), ERR_CONFLICT);
    assert_non_null(strstr(err.text, driver->unique));
    assert_int_equal(run("INSERT INTO nowhere (id) VALUES (2)"), ERR_DB);
    assert_int_equal(run("INSERT INTO u (id, t) VALUES (2, 'b'); SELECT 1"), ERR_DB);
    assert_int_equal(run("INSERT INTO u (id, t) VALUES (?1, 'b')"), ERR_DB); /* no parameter */
    assert_int_equal(number("SELECT count(*) FROM u"), 1);
    struct db *other = NULL;
    assert_int_equal(db_open(&(struct db_options){.url = "nosuch:x"}, &other, &err), ERR_USAGE);
    assert_int_equal(db_open(&(struct db_options){.url = "sqlite:"}, &other, &err), ERR_USAGE);
    assert_null(other);
}

/* --- transactions --------------------------------------------------------------------------- */

static enum err_code insert_then_refuse(struct db_tx *tx, void *ctx, struct err *e)
{
    (void)ctx;
    if (db_exec(tx, "INSERT INTO n (x) VALUES (1)", NULL, e))
        return ERR_DB;
    struct db_rows *left_open = NULL;
    if (db_query(tx, "SELECT x FROM n", &left_open, e) || db_next(left_open, e) != 1)
        return ERR_DB;
    return err_set(e, ERR_NO_SUCH, "not today");
}

static void an_error_rolls_back_and_is_returned(void **state)
{
    (void)state;
    needs_a_database();
    OK(run("CREATE TABLE n (x BIGINT)"));
    assert_int_equal(db_transact(db, DB_DURABLE, insert_then_refuse, NULL, &err), ERR_NO_SUCH);
    assert_string_equal(err.text, "not today");
    assert_int_equal(db_transact(db, DB_DURABLE, insert_then_refuse, NULL, NULL), ERR_NO_SUCH);
    assert_int_equal(number("SELECT count(*) FROM n"), 0);
    OK(run("INSERT INTO n (x) VALUES (2)"));
    assert_int_equal(number("SELECT count(*) FROM n"), 1);
}

#define WRITERS 12
#define EACH    60

struct writer {
    pthread_t thread;
    int number, bad_answers;
};

/* Every third is refused by its work, every fourth by a constraint that is looked at when the
 * transaction ends. */
struct one_write {
    int id, runs;
};

static enum err_code write_one(struct db_tx *tx, void *ctx, struct err *e)
{
    struct one_write *one = ctx;
    one->runs++;
    int64_t parent = one->id % 4 ? 1 : 77;
    enum err_code code = db_exec(tx, "INSERT INTO child (id, parent) VALUES (?1, ?2)", NULL, e,
                                 DB_I(one->id), DB_I(parent));
    if (!code && one->id % 3 == 0)
        code = err_set(e, ERR_RANGE, "refused %d", one->id);
    return code;
}

static void *write_many(void *ctx)
{
    struct writer *writer = ctx;
    for (int i = 0; i < EACH; i++) {
        struct one_write one = {.id = writer->number * EACH + i};
        struct err e = {0};
        char want[40];
        enum err_code code = db_transact(db, i % 2 ? DB_DURABLE : DB_RELAXED, write_one, &one, &e);
        snprintf(want, sizeof want, "refused %d", one.id);
        if (one.id % 3 == 0)
            writer->bad_answers += code != ERR_RANGE || strcmp(e.text, want);
        else
            writer->bad_answers += code != (one.id % 4 ? ERR_OK : ERR_CONFLICT);
        writer->bad_answers += one.runs < 1;
    }
    return NULL;
}

static void of_many_at_once_only_the_bad_fail(void **state)
{
    (void)state;
    needs_a_database();
    struct writer writers[WRITERS];
    int good = 0;
    OK(run("CREATE TABLE parent (id INTEGER PRIMARY KEY)"));
    OK(run("INSERT INTO parent (id) VALUES (1)"));
    OK(run("CREATE TABLE child (id INTEGER PRIMARY KEY, parent BIGINT NOT NULL REFERENCES "
           "parent (id) DEFERRABLE INITIALLY DEFERRED)"));
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        assert_int_equal(writers[i].bad_answers, 0);
    }
    for (int id = 0; id < WRITERS * EACH; id++)
        good += id % 3 && id % 4;
    assert_int_equal(number("SELECT count(*) FROM child"), good);
    assert_int_equal(number("SELECT count(*) FROM child WHERE id % 3 = 0 OR id % 4 = 0"), 0);
}

static enum err_code nested(struct db_tx *tx, void *ctx, struct err *e)
{
    (void)tx;
    (void)ctx;
    return db_transact(db, DB_RELAXED, run_text, (void *)(uintptr_t) "SELECT 1", e);
}

static void a_transaction_inside_of_another_is_a_bug(void **state)
{
    (void)state;
    needs_a_database();
    pid_t child = fork();
    if (!child) {
        alarm(10);
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        _exit(db_transact(db, DB_RELAXED, nested, NULL, NULL) != ERR_OK);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* --- reading -------------------------------------------------------------------------------- */

static void a_reader_sees_one_snapshot(void **state)
{
    (void)state;
    needs_a_database();
    OK(run("CREATE TABLE n (x BIGINT)"));
    OK(run("INSERT INTO n (x) VALUES (1)"));
    struct db_tx *before = NULL, *after = NULL;
    OK(db_read_begin(db, &before, &err));
    assert_int_equal(number_in(before, "SELECT count(*) FROM n"), 1);
    OK(run("INSERT INTO n (x) VALUES (2)"));
    OK(run("UPDATE n SET x = 5"));
    assert_int_equal(number_in(before, "SELECT count(*) FROM n"), 1);
    assert_int_equal(number_in(before, "SELECT sum(x) FROM n"), 1);
    OK(db_read_begin(db, &after, &err)); /* a second one in the same thread */
    assert_int_equal(number_in(after, "SELECT sum(x) FROM n"), 10);
    db_end(&after);
    assert_int_equal(number_in(before, "SELECT sum(x) FROM n"), 1);
    db_end(&before);
    assert_int_equal(number("SELECT sum(x) FROM n"), 10);
}

static void reading_once(void **state)
{
    (void)state;
    needs_a_database();
    OK(run("CREATE TABLE n (x BIGINT)"));
    for (int i = 0; i < 3; i++) {
        struct db_tx *tx = NULL;
        OK(run("INSERT INTO n (x) VALUES (7)"));
        OK(db_read_begin_single(db, &tx, &err));
        assert_int_equal(number_in(tx, "SELECT count(*) FROM n"), i + 1);
        db_end(&tx);
        OK(db_read_begin_single(db, &tx, &err)); /* a mistake ends with its reading */
        struct db_rows *rows = NULL;
        assert_int_not_equal(db_query(tx, "SELECT x FROM nowhere", &rows, &err), ERR_OK);
        db_end(&tx);
    }
    pid_t child = fork();
    if (!child) {
        struct db_tx *tx = NULL;
        alarm(10);
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        if (db_read_begin_single(db, &tx, &err) == ERR_OK &&
            number_in(tx, "SELECT count(*) FROM n") == 3)
            number_in(tx, "SELECT count(*) FROM n");
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static enum err_code take_all(struct db_tx *tx, void *ctx, struct err *e)
{
    struct db_rows *rows = NULL;
    int64_t *sum = ctx;
    int there = 0;
    *sum = 0;
    enum err_code code =
        db_query(tx, "UPDATE n SET x = x + 1 WHERE x < ?1 RETURNING x", &rows, e, DB_I(100));
    while (!code && (there = db_next(rows, e)) == 1)
        *sum += db_int(rows, 0);
    db_rows_done(&rows);
    return code ? code : there < 0 ? e->code : ERR_OK;
}

static void a_change_may_return_rows(void **state)
{
    (void)state;
    needs_a_database();
    int64_t sum = 0;
    OK(run("CREATE TABLE n (x BIGINT)"));
    OK(run("INSERT INTO n (x) VALUES (1), (2), (100)"));
    OK(db_transact(db, DB_DURABLE, take_all, &sum, &err));
    assert_int_equal(sum, 5);
    assert_int_equal(number("SELECT sum(x) FROM n"), 105);
}

static void a_query_may_run_inside_of_itself(void **state)
{
    (void)state;
    needs_a_database();
    OK(run("CREATE TABLE n (x BIGINT)"));
    OK(run("INSERT INTO n (x) VALUES (1), (2), (3)"));
    struct db_tx *tx = NULL;
    struct db_rows *outer = NULL, *inner = NULL;
    int pairs = 0;
    OK(db_read_begin(db, &tx, &err));
    OK(db_query(tx, "SELECT x FROM n WHERE x >= ?1 ORDER BY x", &outer, &err, DB_I(1)));
    while (db_next(outer, &err) == 1) {
        OK(db_query(tx, "SELECT x FROM n WHERE x >= ?1 ORDER BY x", &inner, &err,
                    DB_I(db_int(outer, 0))));
        while (db_next(inner, &err) == 1)
            pairs += db_int(inner, 0) >= db_int(outer, 0);
        db_rows_done(&inner);
    }
    db_rows_done(&outer);
    db_end(&tx);
    assert_int_equal(pairs, 6);
    char text[64]; /* more texts than are kept prepared, all at one address */
    for (int i = 0; i < 300; i++) {
        snprintf(text, sizeof text, "SELECT %d", i);
        assert_int_equal(number(text), i);
    }
}

static int reading_goes_on;

/* Many threads hold two readers each: more than there are. */
static void *read_twice(void *ctx)
{
    int *wrong = ctx;
    while (__atomic_load_n(&reading_goes_on, __ATOMIC_RELAXED)) {
        struct err e;
        struct db_tx *a = NULL, *b = NULL;
        struct db_rows *rows = NULL;
        *wrong += db_read_begin(db, &a, &e) || db_read_begin(db, &b, &e) ||
                  db_query(b, "SELECT sum(x) FROM n", &rows, &e) || db_next(rows, &e) != 1 ||
                  db_int(rows, 0) != 100;
        db_rows_done(&rows);
        db_end(&b);
        db_end(&a);
    }
    return NULL;
}

static void sums_hold_while_money_moves(void **state)
{
    (void)state;
    needs_a_database();
    pthread_t threads[8];
    int wrong[8] = {0};
    OK(run("CREATE TABLE n (id INTEGER PRIMARY KEY, x BIGINT)"));
    OK(run("INSERT INTO n (id, x) VALUES (1, 50), (2, 50)"));
    reading_goes_on = 1;
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, read_twice, &wrong[i]);
    for (int i = 0; i < 300; i++)
        OK(run(i % 2 ? "UPDATE n SET x = x + CASE id WHEN 1 THEN 7 ELSE -7 END"
                     : "UPDATE n SET x = x + CASE id WHEN 1 THEN -7 ELSE 7 END"));
    __atomic_store_n(&reading_goes_on, 0, __ATOMIC_RELAXED);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

/* --- schema --------------------------------------------------------------------------------- */

static const struct db_migration changes[] = {
    {1, "first", "CREATE TABLE a (x BIGINT); CREATE INDEX a_x ON a (x); -- the end\n"},
    {2, "second", "INSERT INTO a (x) VALUES (1); ALTER TABLE a ADD COLUMN y TEXT"},
    {5, "broken", "INSERT INTO a (x) VALUES (2); INSERT INTO nowhere (x) VALUES (1)"},
};

static void schema_changes_run_once(void **state)
{
    (void)state;
    needs_a_database();
    int applied = -1;
    OK(db_migrate(db, changes, 1, &applied, &err));
    assert_int_equal(applied, 1);
    OK(db_migrate(db, changes, 2, &applied, &err));
    assert_int_equal(applied, 1);
    OK(db_migrate(db, changes, 2, &applied, &err));
    assert_int_equal(applied, 0);
    assert_int_equal(number("SELECT count(*) FROM a WHERE y IS NULL"), 1);
    assert_int_equal(db_migrate(db, changes, 3, &applied, &err), ERR_DB);
    assert_non_null(strstr(err.text, "schema change 5 (broken)"));
    assert_int_equal(number("SELECT count(*) FROM a"), 1); /* none of it stayed */
    assert_int_equal(db_migrate(db, changes, 1, &applied, &err), ERR_DB);
    assert_non_null(strstr(err.text, "newer"));
    struct db_migration altered[] = {changes[0], changes[1]};
    altered[0].sql = "CREATE TABLE other (x BIGINT)";
    assert_int_equal(db_migrate(db, altered, 2, &applied, &err), ERR_DB);
    assert_non_null(strstr(err.text, "another content"));
}

/* What a newer program did, which says what it needs. */
static void an_older_program_goes_on_where_it_may(void **state)
{
    (void)state;
    needs_a_database();
    struct db_migration newer[] = {
        changes[0], changes[1], {3, "third", "CREATE TABLE c (x BIGINT)"}};
    int applied = -1;
    newer[1].needs = 1;
    newer[2].needs = 2;
    OK(db_migrate(db, newer, 2, &applied, &err));
    OK(db_migrate(db, newer, 1, &applied, &err));
    assert_int_equal(applied, 0);
    OK(db_migrate(db, newer, 3, &applied, &err));
    OK(db_migrate(db, newer, 2, &applied, &err));
    assert_int_equal(db_migrate(db, newer, 1, &applied, &err), ERR_DB);
    assert_non_null(strstr(err.text, "needs schema 2"));
}

static void *migrate_too(void *ctx)
{
    int *applied = ctx;
    struct db *own = NULL;
    struct err e;
    if (driver->open(folder, &own, &e) || db_migrate(own, changes, 2, applied, &e))
        *applied = -100;
    db_close(own);
    return NULL;
}

static void schema_changes_may_start_together(void **state)
{
    (void)state;
    needs_a_database();
    pthread_t threads[4];
    int applied[4] = {0}, sum = 0;
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, migrate_too, &applied[i]);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        sum += applied[i];
    }
    assert_int_equal(sum, 2);
    assert_int_equal(number("SELECT count(*) FROM a"), 1);
}

/* --- upkeep --------------------------------------------------------------------------------- */

static void it_answers_pings_checks_and_is_copied(void **state)
{
    (void)state;
    needs_a_database();
    char *problems = NULL;
    OK(run("CREATE TABLE n (x BIGINT)"));
    OK(run("INSERT INTO n (x) VALUES (42)"));
    OK(db_ping(db, &err));
    OK(db_ping(db, &err));
    assert_true(db_size_bytes(db) > 0);
    assert_non_null(db_driver_name(db));
    OK(db_check(db, &problems, &err));
    assert_null(problems);
    _cleanup_free_ char *copies = xasprintf("%s/copy", folder);
    _cleanup_free_ char *copy = xasprintf("%s/copy/test.db", folder);
    assert_int_equal(folder_add(copies), 0);
    if (driver->shared) { /* a server makes its own */
        assert_int_equal(db_backup(db, copy, &err), ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, "pg_dump"));
        return;
    }
    OK(db_backup(db, copy, &err));
    OK(run("INSERT INTO n (x) VALUES (43)"));
    assert_int_equal(db_backup(db, copy, &err), ERR_CONFLICT); /* never over another */
    db = db_close(db);
    OK(driver->open(copies, &db, &err));
    assert_int_equal(number("SELECT sum(x) FROM n"), 42);
    db = db_close(db);
    OK(driver->open(folder, &db, &err));
    assert_int_equal(number("SELECT sum(x) FROM n"), 85);
}

/* --- a sudden end --------------------------------------------------------------------------- */

static enum err_code insert_pair(struct db_tx *tx, void *ctx, struct err *e)
{
    const int64_t *id = ctx;
    enum err_code code = db_exec(tx, "INSERT INTO k (id) VALUES (?1)", NULL, e, DB_I(*id * 2));
    return code ? code : db_exec(tx, "INSERT INTO k (id) VALUES (?1)", NULL, e, DB_I(*id * 2 + 1));
}

struct doomed {
    int64_t first;
    int out;
};

static void *insert_until_killed(void *ctx)
{
    const struct doomed *doomed = ctx;
    for (int64_t id = doomed->first;; id += 4) {
        if (db_transact(db, id % 8 < 4 ? DB_RELAXED : DB_DURABLE, insert_pair, &id, NULL))
            _exit(1);
        if (write(doomed->out, &id, sizeof id) != sizeof id)
            _exit(2);
    }
    return NULL;
}

static enum err_code send_some(struct db_tx *tx, void *ctx, struct err *why)
{
    int last = *(int *)ctx;
    enum err_code code = db_send(tx, "INSERT INTO s (id) VALUES (?1)", why, DB_I(1));
    for (int i = 2; !code && i <= last; i++)
        code = db_send(tx, "INSERT INTO s (id) VALUES (?1)", why, DB_I(i));
    if (!code && number_in(tx, "SELECT count(*) FROM s") != last)
        return err_set(why, ERR_DB, "what was sent before is not seen");
    return code ? code : db_send(tx, "INSERT INTO s (id) VALUES (?1)", why, DB_I(9));
}

static enum err_code send_last(struct db_tx *tx, void *ctx, struct err *why)
{
    (void)ctx;
    enum err_code code = db_send(tx, "INSERT INTO s (id) VALUES (?1)", why, DB_I(4));
    return code ? code : db_send(tx, "INSERT INTO s (id) VALUES (?1)", why, DB_I(9));
}

static void what_is_sent_is_there_or_nothing_is(void **state)
{
    (void)state;
    needs_a_database();
    OK(run("CREATE TABLE s (id BIGINT PRIMARY KEY)"));
    int last = 2;
    OK(db_transact(db, DB_DURABLE, send_some, &last, &err));
    assert_int_equal(db_transact(db, DB_DURABLE, send_last, NULL, &err), ERR_CONFLICT);
    struct db_tx *tx = NULL;
    OK(db_read_begin(db, &tx, &err));
    assert_int_equal(number_in(tx, "SELECT sum(id) FROM s"), 12); /* no 4 */
    db_end(&tx);
}

static void killed_it_loses_nothing_that_was_answered(void **state)
{
    (void)state;
    needs_a_database();
#ifdef __SANITIZE_THREAD__
    skip(); /* ThreadSanitizer cannot start threads in a forked child */
#endif
    srand(7);
    OK(run("CREATE TABLE k (id BIGINT PRIMARY KEY)"));
    for (int round = 0; round < 6; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        db = db_close(db);
        pid_t child = fork();
        if (!child) {
            alarm(20);
            struct doomed doomed[4];
            pthread_t thread;
            if (driver->open(folder, &db, NULL))
                _exit(3);
            for (int i = 0; i < 4; i++) {
                doomed[i] = (struct doomed){round * 1000000LL + i, ends[1]};
                pthread_create(&thread, NULL, insert_until_killed, &doomed[i]);
            }
            pause();
        }
        close(ends[1]);
        struct pollfd first = {.fd = ends[0], .events = POLLIN};
        int begun = poll(&first, 1, 20000); /* until something was answered */
        usleep((unsigned)(rand() % 100000));
        kill(child, SIGKILL);
        int status = 0, answered = 0;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(begun, 1);
        OK(driver->open(folder, &db, &err));
        struct db_tx *tx = NULL;
        OK(db_read_begin(db, &tx, &err));
        for (int64_t id; read(ends[0], &id, sizeof id) == sizeof id; answered++) {
            struct db_rows *rows = NULL;
            OK(db_query(tx, "SELECT count(*) FROM k WHERE id BETWEEN ?1 AND ?2", &rows, &err,
                        DB_I(id * 2), DB_I(id * 2 + 1)));
            assert_int_equal(db_next(rows, &err), 1);
            assert_int_equal(db_int(rows, 0), 2);
            db_rows_done(&rows);
        }
        assert_true(answered > 0);
        assert_int_equal(number_in(tx, "SELECT sum(CASE id % 2 WHEN 0 THEN 1 ELSE -1 END) FROM k"),
                         0); /* no half of a transaction */
        db_end(&tx);
        close(ends[0]);
        char *problems = NULL;
        OK(db_check(db, &problems, &err));
        assert_null(problems);
    }
}

#define TEST(f)                                                                                    \
    {                                                                                              \
#f, f, begin, end, NULL                                                                    \
    }

int main(void)
{
    static const struct CMUnitTest list[] = {
        TEST(values_come_back_as_they_were),
        TEST(mistakes_are_told),
        TEST(an_error_rolls_back_and_is_returned),
        TEST(of_many_at_once_only_the_bad_fail),
        TEST(a_transaction_inside_of_another_is_a_bug),
        TEST(a_reader_sees_one_snapshot),
        TEST(reading_once),
        TEST(a_change_may_return_rows),
        TEST(a_query_may_run_inside_of_itself),
        TEST(sums_hold_while_money_moves),
        TEST(schema_changes_run_once),
        TEST(an_older_program_goes_on_where_it_may),
        TEST(schema_changes_may_start_together),
        TEST(it_answers_pings_checks_and_is_copied),
        TEST(what_is_sent_is_there_or_nothing_is),
        TEST(killed_it_loses_nothing_that_was_answered),
    };
    struct CMUnitTest tests[ARRAY_LEN(drivers) * ARRAY_LEN(list)];
    for (size_t d = 0; d < ARRAY_LEN(drivers); d++) {
        for (size_t i = 0; i < ARRAY_LEN(list); i++) {
            struct CMUnitTest *test = &tests[d * ARRAY_LEN(list) + i];
            *test = list[i];
            test->name = xasprintf("%s: %s", drivers[d].name, list[i].name);
            test->initial_state = (void *)(uintptr_t)&drivers[d];
        }
    }
    int failed = cmocka_run_group_tests_name("db", tests, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        free((void *)(uintptr_t)tests[i].name);
    return failed;
}

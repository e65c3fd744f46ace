/* helper.h over PostgreSQL: a database of its own per test, on the server of SONDE_TEST_POSTGRES.
 * Part of helper.c. */
#ifndef SONDE_TESTS_STORE_HELPER_POSTGRES_H
#define SONDE_TESTS_STORE_HELPER_POSTGRES_H

#include <libpq-fe.h>
#include <unistd.h>

#include "../../support/postgres.h"

/* Without a server the program ends before its first test. */
__attribute__((constructor)) static void need_server(void)
{
    if (postgres_there())
        return;
    puts("1..0 # SKIP SONDE_TEST_POSTGRES names no PostgreSQL server");
    exit(0);
}

static PGconn *raw; /* of the test that runs */

struct db *box_open(const struct box *box, const char *prefix)
{
    char place[POSTGRES_URL_MAX];
    assert_int_equal(postgres_database(box->folder, place), 0);
    _cleanup_free_ char *url = xasprintf("%s%s", prefix, place);
    struct db *db = NULL;
    OK(db_open(&(struct db_options){.url = url}, &db, err));
    if (!raw)
        raw = PQconnectdb(place);
    return db;
}

int box_setup(void **state)
{
    struct box *box = xalloc(sizeof *box);
    snprintf(box->folder, sizeof box->folder, "/tmp/sonde-store-XXXXXX");
    assert_non_null(mkdtemp(box->folder));
    box->db = box_open(box, "");
    int applied = 0;
    OK(store_migrate(box->db, &applied, err));
    assert_true(applied > 0);
    /* What the tests' own SQL has of SQLite's. */
    box_run(box, "SET client_min_messages = error; CREATE FUNCTION printf(form TEXT, i BIGINT) "
                 "RETURNS TEXT AS $$ SELECT CASE WHEN form LIKE '\\%08x%' "
                 "THEN lpad(to_hex(i), 8, '0') || substr(form, 5) "
                 "WHEN form = '%064d' THEN lpad(i::text, 64, '0') "
                 "WHEN form = '%036d' THEN lpad(i::text, 36, '0') END $$ LANGUAGE sql; "
                 "CREATE FUNCTION trapped() RETURNS trigger AS $$ BEGIN "
                 "RAISE EXCEPTION 'trapped'; END $$ LANGUAGE plpgsql");
    *state = box;
    return 0;
}

int box_teardown(void **state)
{
    struct box *box = *state;
    db_close(box->db);
    PQfinish(raw);
    raw = NULL;
    int dropped = postgres_drop(box->folder);
    rmdir(box->folder);
    free(box);
    return dropped;
}

static PGresult *say(const char *sql)
{
    PGresult *res = PQexec(raw, sql);
    if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQresultErrorMessage(res));
    return res;
}

void box_run(struct box *box, const char *sql)
{
    (void)box;
    PQclear(say(sql));
}

char *box_text(struct box *box, const char *sql)
{
    (void)box;
    PGresult *res = say(sql);
    char *text = NULL;
    if (PQntuples(res) && !PQgetisnull(res, 0, 0))
        text = xstrdup(PQgetvalue(res, 0, 0));
    PQclear(res);
    return text;
}

int64_t box_number(struct box *box, const char *sql)
{
    _cleanup_free_ char *text = box_text(box, sql);
    return text ? strtoll(text, NULL, 10) : 0;
}

static void dump_table(const char *table, FILE *out)
{
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT * FROM \"%s\" ORDER BY 1, 2", table);
    PGresult *res = say(sql);
    for (int row = 0; row < PQntuples(res); row++) {
        fprintf(out, "%s:", table);
        for (int i = 0; i < PQnfields(res); i++)
            fprintf(out, "|%s", PQgetisnull(res, row, i) ? "NULL" : PQgetvalue(res, row, i));
        fputc('\n', out);
    }
    PQclear(res);
}

char *box_dump(struct box *box)
{
    (void)box;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    /* sonde_commits is the driver's own: it changes with each transaction. */
    PGresult *res = say("SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
                        "AND tablename <> 'sonde_commits' ORDER BY 1");
    for (int row = 0; row < PQntuples(res); row++)
        dump_table(PQgetvalue(res, row, 0), out);
    PQclear(res);
    fclose(out);
    return text;
}

void box_trap(struct box *box, const char *verb, const char *table)
{
    _cleanup_free_ char *sql = xasprintf("CREATE TRIGGER trap BEFORE %s ON %s FOR EACH ROW "
                                         "EXECUTE FUNCTION trapped()",
                                         verb, table);
    box_run(box, sql);
}

void box_untrap(struct box *box, const char *table)
{
    _cleanup_free_ char *sql = xasprintf("DROP TRIGGER trap ON %s", table);
    box_run(box, sql);
}

#endif

/* Not a test: writes rows and reads lists without a pause, and says what was confirmed;
 * tests/fault/postgres.test.mjs breaks the servers meanwhile. Ends with its standard input.
 *
 * One line of JSON each: {"t": ms, "write": id, "code": ""} (code: of the error, "" confirmed), and
 * {"t": ms, "read": "stale" | "fresh", "port": of the server, "code": "", "ms": it took}. A row is
 * written under its id once; whatever comes of it, the next one has another id. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/time.h"
#include "driver/db/db.h"
#include "os/clock.h"

#define WRITERS 4

static struct db *db;
static int stop;

static enum err_code make(struct db_tx *tx, void *ctx, struct err *err)
{
    (void)ctx;
    return db_exec(tx, "CREATE TABLE IF NOT EXISTS probe (id BIGINT NOT NULL)", NULL, err);
}

static enum err_code insert(struct db_tx *tx, void *ctx, struct err *err)
{
    return db_exec(tx, "INSERT INTO probe (id) VALUES (?1)", NULL, err, DB_I(*(int64_t *)ctx));
}

static void *write_rows(void *ctx)
{
    int64_t id = *(int *)ctx;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct err err = {0};
        enum err_code code = db_transact(db, DB_DURABLE, insert, &id, &err);
        printf("{\"t\":%lld,\"write\":%lld,\"code\":\"%s\"}\n", (long long)time_now_ms(),
               (long long)id, code ? err_slug(code) : "");
        if (code)
            fprintf(stderr, "%s\n", err.text);
        id += WRITERS;
        usleep(code ? 20000 : 1000);
    }
    return NULL;
}

static void *read_rows(void *ctx)
{
    int stale = ctx != NULL;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct err err = {0};
        struct db_tx *tx = NULL;
        struct db_rows *rows = NULL;
        double start = clock_seconds();
        enum err_code code =
            stale ? db_read_begin_stale(db, &tx, &err) : db_read_begin(db, &tx, &err);
        if (!code)
            code = db_query(tx, "SELECT inet_server_port(), count(*) FROM probe", &rows, &err);
        int64_t port = !code && db_next(rows, &err) == 1 ? db_int(rows, 0) : 0;
        db_rows_done(&rows);
        db_end(&tx);
        printf("{\"t\":%lld,\"read\":\"%s\",\"port\":%lld,\"code\":\"%s\",\"ms\":%.0f}\n",
               (long long)time_now_ms(), stale ? "stale" : "fresh", (long long)port,
               code ? err_slug(code) : "", (clock_seconds() - start) * 1e3);
        usleep(5000);
    }
    return NULL;
}

int main(void)
{
    struct err err = {0};
    struct db_options options = {.url = getenv("SONDE_DB_URL"),
                                 .password = getenv("SONDE_DB_PASSWORD"),
                                 .replicas = getenv("SONDE_DB_REPLICAS"),
                                 .replica_lag_s = 1};
    if (db_open(&options, &db, &err) || db_transact(db, DB_DURABLE, make, NULL, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_t threads[WRITERS + 2];
    int first[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        first[i] = i;
        pthread_create(&threads[i], NULL, write_rows, &first[i]);
    }
    pthread_create(&threads[WRITERS], NULL, read_rows, &err);
    pthread_create(&threads[WRITERS + 1], NULL, read_rows, NULL);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    db_close(db);
    return 0;
}

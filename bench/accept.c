/* How many uploads a second the store can note, for bench/cluster.mjs:
 *     bench_accept URL PASSWORD THREADS SECONDS
 * Each thread calls store_accept as the server does for one recording, durably, and at once again.
 * Prints the calls, the seconds, the CPU of this process, and the calls' median and 99th percentile
 * in milliseconds. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/id.h"
#include "base/mem.h"
#include "os/clock.h"
#include "store/store.h"

#define THREADS_MAX 64
#define CALLS_MAX   200000

static struct db *db;
static atomic_int stop, failed;
static atomic_size_t calls;
static float took_ms[CALLS_MAX];

static void *accept_on(void *ctx)
{
    (void)ctx;
    while (!atomic_load(&stop)) {
        char upload[ID_TEXT], analysis[ID_TEXT], sha256[SHA256_HEX], *replay = NULL;
        struct err err = {0};
        id_new(upload);
        id_new(analysis);
        snprintf(sha256, sizeof sha256, "%064llx", (unsigned long long)clock_ns());
        const struct store_upload one = {.upload_id = upload,
                                         .analysis_id = analysis,
                                         .file_name = "call.wav",
                                         .sha256 = sha256,
                                         .bytes = 320044};
        double began = clock_seconds();
        if (store_accept(db, &one, 1, NULL, 0, &replay, &err) != ERR_OK) {
            fprintf(stderr, "%s\n", err.text);
            atomic_store(&failed, 1);
            return NULL;
        }
        size_t at = atomic_fetch_add(&calls, 1);
        if (at < CALLS_MAX)
            took_ms[at] = (float)((clock_seconds() - began) * 1e3);
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    pthread_t ids[THREADS_MAX];
    int applied, threads = argc == 5 ? (int)strtol(argv[3], NULL, 10) : 0;
    if (threads < 1 || threads > THREADS_MAX)
        return 2;
    const struct db_options options = {.url = argv[1], .password = argv[2]};
    if (db_open(&options, &db, &err) != ERR_OK || store_migrate(db, &applied, &err) != ERR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    double began = clock_seconds(), cpu = cpu_seconds();
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, accept_on, NULL) != 0)
            return 1;
    for (double until = began + strtod(argv[4], NULL); clock_seconds() < until;)
        usleep(10000);
    atomic_store(&stop, 1);
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    double seconds = clock_seconds() - began;
    size_t n = atomic_load(&calls), kept = n < CALLS_MAX ? n : CALLS_MAX;
    cpu = cpu_seconds() - cpu;
    db_close(db);
    if (atomic_load(&failed) || !kept)
        return 1;
    qsort(took_ms, kept, sizeof took_ms[0], by_size);
    printf("{\"calls\": %zu, \"seconds\": %.3f, \"cpu\": %.3f, \"p50\": %.3f, \"p99\": %.3f}\n", n,
           seconds, cpu, (double)took_ms[kept / 2], (double)took_ms[kept * 99 / 100]);
    return 0;
}

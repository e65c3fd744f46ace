/* Drives the queue at SONDE_QUEUE_URL for the fault tests, and measures it. What happens is told on
 * standard output, a line each, as it happens.
 *   queue_load publish          without end: "P id" when confirmed, "E code" when not
 *   queue_load consume THREADS  without end: "R id delivery" when received, "A id" when settled,
 *                               "C id" when the lease was lost, "E code"
 *   queue_load hold             receives one for an hour: "R id delivery"
 *   queue_load dead             "D id" of each dead letter
 *   queue_load bench N THREADS  seconds and processor time of N messages */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "driver/queue/queue.h"

#define BATCH 20

static struct queue *queue;
static int left; /* bench: messages to take */

static void tell(const char *what, const char *id, int n)
{
    char line[128];
    int len = snprintf(line, sizeof line, "%s %s %d\n", what, id, n);
    if (write(1, line, (size_t)len) != len) /* one write: lines of threads do not mix */
        _exit(0);
}

static void publish_batch(char ids[][ID_TEXT], int n, int quiet)
{
    struct queue_publication list[BATCH];
    struct err err = {0};
    for (int i = 0; i < n; i++) {
        id_new(ids[i]);
        list[i] =
            (struct queue_publication){ids[i], QUEUE_WEBHOOK, "{\"v\":1,\"analysis\":\"x\"}", 0};
    }
    enum err_code code = queue_publish(queue, list, (size_t)n, &err);
    if (code) {
        fprintf(stderr, "%s\n", err.text);
        tell("E", err_slug(code), 0);
        usleep(100000);
    }
    for (int i = 0; i < n && !code && !quiet; i++)
        tell("P", ids[i], 0);
}

static void *consume(void *ctx)
{
    (void)ctx;
    for (;;) {
        struct queue_message message;
        struct err err = {0};
        if (queue_receive(queue, QUEUE_WEBHOOK, 20, 1, &message, &err)) {
            tell("E", err_slug(err.code), 0);
            usleep(200000);
            continue;
        }
        if (!message.body)
            continue;
        tell("R", message.id, message.delivery);
        usleep(2000);
        tell(queue_ack(queue, &message, &err) ? "C" : "A", message.id, message.delivery);
        queue_message_done(&message);
    }
    return NULL;
}

static int show(void *ctx, const struct queue_dead_letter *letter)
{
    (void)ctx;
    tell("D", letter->id, letter->deliveries);
    return 0;
}

/* --- measuring ------------------------------------------------------------------------------ */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double processor(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void *publish_some(void *ctx)
{
    char ids[BATCH][ID_TEXT];
    for (int i = *(int *)ctx; i > 0; i -= BATCH)
        publish_batch(ids, BATCH, 1);
    return NULL;
}

static void *take_some(void *ctx)
{
    (void)ctx;
    while (__atomic_load_n(&left, __ATOMIC_RELAXED) > 0) {
        struct queue_message message;
        if (queue_receive(queue, QUEUE_WEBHOOK, 60, 1, &message, NULL) || !message.body)
            continue;
        if (!queue_ack(queue, &message, NULL))
            __atomic_sub_fetch(&left, 1, __ATOMIC_RELAXED);
        queue_message_done(&message);
    }
    return NULL;
}

static void measure(const char *what, void *(*work)(void *), void *ctx, int n, int threads)
{
    pthread_t list[300];
    double from = seconds(), used = processor();
    for (int i = 0; i < threads; i++)
        pthread_create(&list[i], NULL, work, ctx);
    for (int i = 0; i < threads; i++)
        pthread_join(list[i], NULL);
    from = seconds() - from;
    used = processor() - used;
    printf("%s: %d messages, %d threads, %.0f per second, %.1f us of processor each\n", what, n,
           threads, n / from, used / n * 1e6);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct queue_options options = {.url = getenv("SONDE_QUEUE_URL"),
                                    .password = getenv("SONDE_QUEUE_PASSWORD"),
                                    .ca_file = getenv("SONDE_QUEUE_CA_FILE")};
    struct err err = {0};
    const char *what = argc > 1 ? argv[1] : "";
    if (queue_open(&options, &queue, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    int n = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 0;
    if (!strcmp(what, "publish")) {
        char ids[BATCH][ID_TEXT];
        for (;; usleep(5000))
            publish_batch(ids, BATCH, 0);
    } else if (!strcmp(what, "consume")) {
        pthread_t thread;
        for (int i = 1; i < n; i++)
            pthread_create(&thread, NULL, consume, NULL);
        consume(NULL);
    } else if (!strcmp(what, "hold")) {
        struct queue_message message = {0};
        while (!message.body)
            if (queue_receive(queue, QUEUE_WEBHOOK, 3600, 10, &message, NULL))
                usleep(100000);
        tell("R", message.id, message.delivery);
        pause();
    } else if (!strcmp(what, "dead")) {
        if (queue_dead_list(queue, show, NULL, &err))
            fprintf(stderr, "%s\n", err.text);
    } else if (!strcmp(what, "bench") && argc > 3) {
        int threads = (int)strtol(argv[3], NULL, 10), each = n / threads;
        left = n;
        measure("publish", publish_some, &each, n, threads);
        measure("receive and settle", take_some, NULL, n, threads);
    }
    queue = queue_close(queue);
    return 0;
}

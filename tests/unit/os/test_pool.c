/* os/pool: bounded, in order, nothing lost at the end. */
#include "../../support/cm.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/pool.h"

struct gate {
    sem_t entered, open;
};

static void wait_at_gate(void *ctx)
{
    struct gate *gate = ctx;
    sem_post(&gate->entered);
    sem_wait(&gate->open);
}

static void gate_init(struct gate *gate)
{
    sem_init(&gate->entered, 0, 0);
    sem_init(&gate->open, 0, 0);
}

struct order {
    pthread_mutex_t lock;
    int seen[64], count;
};
struct numbered {
    struct order *order;
    int number;
};

static void note_order(void *ctx)
{
    struct numbered *item = ctx;
    pthread_mutex_lock(&item->order->lock);
    item->order->seen[item->order->count++] = item->number;
    pthread_mutex_unlock(&item->order->lock);
}

static void runs_in_the_order_they_came(void **state)
{
    (void)state;
    struct order order = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct numbered items[64];
    struct pool *pool = NULL;
    struct err err;
    assert_int_equal(pool_new("order", 1, 64, &pool, &err), ERR_OK);
    for (int i = 0; i < 64; i++) {
        items[i] = (struct numbered){&order, i};
        while (pool_submit(pool, note_order, &items[i], &err) == ERR_BUSY)
            usleep(100);
    }
    pool = pool_free(pool);
    assert_null(pool);
    assert_int_equal(order.count, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(order.seen[i], i);
}

static void a_full_queue_says_so(void **state)
{
    (void)state;
    struct gate gate;
    struct pool *pool = NULL;
    struct err err;
    gate_init(&gate);
    assert_int_equal(pool_new("full", 2, 3, &pool, &err), ERR_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pool_submit(pool, wait_at_gate, &gate, &err), ERR_OK);
        sem_wait(&gate.entered);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pool_submit(pool, wait_at_gate, &gate, &err), ERR_OK);
    assert_int_equal(pool_submit(pool, wait_at_gate, &gate, &err), ERR_BUSY);
    struct pool_stats stats = pool_stats(pool);
    assert_int_equal(stats.threads, 2);
    assert_int_equal(stats.busy, 2);
    assert_int_equal(stats.waiting, 3);
    assert_int_equal(stats.queue_max, 3);
    for (int i = 0; i < 5; i++)
        sem_post(&gate.open);
    pool_stop(pool); /* what waits still runs */
    stats = pool_stats(pool);
    assert_int_equal(stats.busy, 0);
    assert_int_equal(stats.waiting, 0);
    int runs = 0;
    sem_getvalue(&gate.entered, &runs);
    assert_int_equal(runs, 3);
    assert_int_equal(pool_submit(pool, wait_at_gate, &gate, &err), ERR_SHUTTING_DOWN);
    pool_stop(pool); /* twice is fine */
    pool_free(pool);
    assert_null(pool_free(NULL));
}

static atomic_int done;
static struct pool *shared;

static void count_and_resubmit(void *ctx)
{
    int depth = *(int *)ctx;
    static int depths[] = {0, 1, 2, 3};
    if (depth > 0)
        for (int i = 0; i < 2; i++)
            if (pool_submit(shared, count_and_resubmit, &depths[depth - 1], NULL) != ERR_OK)
                return;
    atomic_fetch_add(&done, 1);
}

static void *submit_many(void *arg)
{
    static int leaf;
    (void)arg;
    for (int i = 0; i < 1000; i++)
        while (pool_submit(shared, count_and_resubmit, &leaf, NULL) == ERR_BUSY)
            sched_yield();
    return NULL;
}

static void several_threads_submit_and_work_submits_more(void **state)
{
    (void)state;
    struct err err;
    pthread_t threads[4];
    int depth = 3;
    assert_int_equal(pool_new("busy", 4, 32, &shared, &err), ERR_OK);
    assert_int_equal(pool_submit(shared, count_and_resubmit, &depth, &err), ERR_OK);
    while (atomic_load(&done) < 15) /* 1 + 2 + 4 + 8 */
        sched_yield();
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, submit_many, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    shared = pool_free(shared);
    assert_int_equal(atomic_load(&done), 15 + 4000);
}

static void *stop_it(void *arg)
{
    pool_stop(arg);
    return NULL;
}

static void short_sleep(void *ctx)
{
    usleep(20000);
    atomic_fetch_add((atomic_int *)ctx, 1);
}

static void each_of_two_stops_waits_for_the_end(void **state)
{
    (void)state;
    struct pool *pool = NULL;
    struct err err;
    atomic_int ran = 0;
    pthread_t other;
    assert_int_equal(pool_new("stop", 1, 8, &pool, &err), ERR_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pool_submit(pool, short_sleep, &ran, &err), ERR_OK);
    pthread_create(&other, NULL, stop_it, pool);
    pool_stop(pool);
    assert_int_equal(atomic_load(&ran), 4);
    pthread_join(other, NULL);
    pool_free(pool);
}

static void take_name(void *ctx)
{
    pthread_getname_np(pthread_self(), ctx, 16);
}

static void sizes_are_checked_and_threads_are_named(void **state)
{
    (void)state;
    struct pool *pool = NULL;
    struct err err;
    assert_int_equal(pool_new("none", 0, 1, &pool, &err), ERR_USAGE);
    assert_int_equal(pool_new("none", 1, 0, &pool, &err), ERR_USAGE);
    assert_int_equal(pool_new("none", 1, SIZE_MAX, &pool, &err), ERR_USAGE);
    assert_null(pool);
    char name[16] = "";
    assert_int_equal(pool_new("a-name-much-too-long", 1, 1, &pool, &err), ERR_OK);
    assert_int_equal(pool_submit(pool, take_name, name, &err), ERR_OK);
    pool_free(pool);
    assert_string_equal(name, "a-name-much-too");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_in_the_order_they_came),
        cmocka_unit_test(a_full_queue_says_so),
        cmocka_unit_test(several_threads_submit_and_work_submits_more),
        cmocka_unit_test(each_of_two_stops_waits_for_the_end),
        cmocka_unit_test(sizes_are_checked_and_threads_are_named),
    };
    return cmocka_run_group_tests_name("os_pool", tests, NULL, NULL);
}

/* See bell.h. Monotonic clock, so that a jump of the system's clock wakes nobody early or late. */
#include "bell.h"

#include <time.h>

#include "../os/clock.h"

void bell_init(struct bell *bell)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&bell->lock, NULL);
    pthread_cond_init(&bell->rung, &attributes);
    pthread_condattr_destroy(&attributes);
    bell->count = 0;
}

void bell_done(struct bell *bell)
{
    pthread_cond_destroy(&bell->rung);
    pthread_mutex_destroy(&bell->lock);
}

void bell_ring(struct bell *bell)
{
    pthread_mutex_lock(&bell->lock);
    bell->count++;
    pthread_cond_broadcast(&bell->rung);
    pthread_mutex_unlock(&bell->lock);
}

void bell_wait(struct bell *bell, uint64_t *seen, double seconds)
{
    uint64_t until = clock_ns() + (uint64_t)(seconds * 1e9);
    struct timespec at = {.tv_sec = (time_t)(until / 1000000000u),
                          .tv_nsec = (long)(until % 1000000000u)};
    pthread_mutex_lock(&bell->lock);
    while (bell->count == *seen && pthread_cond_timedwait(&bell->rung, &bell->lock, &at) == 0)
        ;
    *seen = bell->count;
    pthread_mutex_unlock(&bell->lock);
}

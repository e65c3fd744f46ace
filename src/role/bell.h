/* A bell: somebody rings, somebody waits for it. A ring while nobody waits is not lost. */
#ifndef SONDE_ROLE_BELL_H
#define SONDE_ROLE_BELL_H

#include <pthread.h>
#include <stdint.h>

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    uint64_t count;
};

void bell_init(struct bell *bell);
void bell_done(struct bell *bell);
void bell_ring(struct bell *bell); /* wakes all who wait; any thread */
/* Waits until it has rung more often than *seen, at most `seconds`; updates *seen. */
void bell_wait(struct bell *bell, uint64_t *seen, double seconds);

#endif

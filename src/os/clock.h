/* Time: one monotonic clock in seconds and nanoseconds, and a thread's processor time. */
#ifndef SONDE_OS_CLOCK_H
#define SONDE_OS_CLOCK_H

#include <stdint.h>

uint64_t clock_ns(void);    /* monotonic, nanoseconds */
double clock_seconds(void); /* monotonic, seconds */
double clock_thread(void);  /* processor time of the calling thread, seconds */

#endif

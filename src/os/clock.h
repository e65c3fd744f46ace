/* Time: one monotonic clock in seconds and nanoseconds. */
#ifndef SONDE_OS_CLOCK_H
#define SONDE_OS_CLOCK_H

#include <stdint.h>

uint64_t clock_ns(void);    /* monotonic, nanoseconds */
double clock_seconds(void); /* monotonic, seconds */

#endif

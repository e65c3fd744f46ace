/* Wall-clock times: milliseconds since 1970 UTC as int64_t, RFC 3339 as text; and how far into a
 * recording. */
#ifndef SONDE_BASE_TIME_H
#define SONDE_BASE_TIME_H

#include <stddef.h>
#include <stdint.h>

#define TIME_TEXT 25 /* "2026-11-21T10:00:00.000Z" and a zero */

/* The system's clock: for stamps that people read. It may jump. */
int64_t time_now_ms(void);
/* A clock that never jumps while this process runs: the system's clock at its start plus what the
 * monotonic clock counted since. For leases, delays and expiry that are stored. */
int64_t time_steady_ms(void);
/* Years 1970..9999; outside them the nearest. */
void time_format(int64_t ms, char ret[TIME_TEXT]);
/* RFC 3339 with Z or an offset, fraction optional, or a date alone (midnight UTC). 0, or -1. */
int time_parse(const char *text, int64_t *ret_ms) __attribute__((warn_unused_result));
/* Seconds into a recording, 0 or more, rounded: "0:07", "1:02:03". */
void time_clock(char *buf, size_t size, double seconds);

#endif

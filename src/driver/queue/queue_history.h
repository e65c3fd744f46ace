/* The history of a message: a JSON array of {at, reason}, bounded. Shared by the drivers. */
#ifndef SONDE_DRIVER_QUEUE_HISTORY_H
#define SONDE_DRIVER_QUEUE_HISTORY_H

#define QUEUE_REASON_MAX    240  /* bytes */
#define QUEUE_HISTORY_MAX   8    /* entries: more than retries, but retried letters keep theirs */
#define QUEUE_HISTORY_BYTES 8192 /* a text longer than this was not written here */

/* At most QUEUE_REASON_MAX bytes of whole, printable characters. */
void queue_reason_tidy(const char *reason, char ret[QUEUE_REASON_MAX + 1]);
/* The history with one more entry; one that is no array begins anew. Caller frees. NULL: no memory.
 */
char *queue_history_add(const char *history, const char *reason);
/* 1: an array, as it is meant to be. */
int queue_history_valid(const char *history);

#endif

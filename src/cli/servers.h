/* The servers that the configuration names: what is said of one that does not work, and waiting for
 * them before `sonde serve` starts. */
#ifndef SONDE_CLI_SERVERS_H
#define SONDE_CLI_SERVERS_H

#include "../role/app.h"

/* What to do about an error of the part on `url`, which [section] configures. Caller frees. */
char *servers_cure(const char *section, enum err_code code)
    __attribute__((malloc, returns_nonnull));
/* The error's text, with the masked url before it where it does not name the server itself. Caller
 * frees. */
char *servers_text(const char *url, const struct err *err) __attribute__((malloc, returns_nonnull));

/* A Redis without room, or with rights of its own, answers and takes nothing: so it is written to.
 */
enum err_code servers_try_cache(struct cache *cache, struct err *err) MUST_CHECK;

/* Tries each server that the settings name, and logs one line for each that does not work: part,
 * cause, cure. What may pass is waited for, for a minute; 0 when all are there, else the exit code.
 * Without the cache sonde works, so it is never waited for. Before other threads start; a signal
 * that ends the process does so at once. */
int servers_await(const struct app_settings *settings);

#endif

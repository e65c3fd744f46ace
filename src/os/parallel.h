/* Runs one function over many items on a few threads, and hands the results over in order. */
#ifndef SONDE_OS_PARALLEL_H
#define SONDE_OS_PARALLEL_H

#include <stddef.h>

#include "../base/err.h"

#define PARALLEL_MAX_THREADS 256

/* What to run. All three run without any lock of parallel_run held, except that emit is called by
 * the calling thread only, for item 0, 1, 2 … in turn, each as soon as it and all before it are
 * done. thread_init  once per thread before its first item; its result is handed to `work` work may
 * run on any thread, at most one item per thread at a time thread_done  once per thread at the end
 */
struct parallel_job {
    void *ctx;
    void *(*thread_init)(void *ctx, int thread);
    void (*work)(void *ctx, void *thread_state, size_t item);
    void (*thread_done)(void *ctx, void *thread_state);
    void (*emit)(void *ctx, size_t item);
};

/* Workers stay at most `window` items ahead of emit, so that results do not pile up. Returns when
 * all `count` items are emitted. threads < 1 means one per processor. */
enum err_code parallel_run(const struct parallel_job *job, size_t count, int threads, size_t window,
                           struct err *err) MUST_CHECK;

/* Processors that this process may use. */
int parallel_processors(void);

#endif

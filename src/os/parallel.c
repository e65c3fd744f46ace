/* An ordered parallel loop: workers take the next item, the caller emits in order.
 *
 * One mutex guards the counters and the done flags; items run unlocked. Ordering on the caller's
 * side keeps output the same for any number of threads. */
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

#include "../base/mem.h"

struct state {
    const struct parallel_job *job;
    size_t count, window;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next;    /* first item that nobody has taken */
    size_t emitted; /* items handed over so far */
    uint8_t *done;  /* ring of `window` flags, by item % window */
};

struct worker {
    struct state *state;
    int index;
    pthread_t thread;
};

static void *run_worker(void *arg)
{
    struct worker *worker = arg;
    struct state *s = worker->state;
    const struct parallel_job *job = s->job;
    void *own = job->thread_init ? job->thread_init(job->ctx, worker->index) : NULL;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->next < s->count && s->next >= s->emitted + s->window)
            pthread_cond_wait(&s->changed, &s->lock);
        if (s->next >= s->count)
            break;
        size_t item = s->next++;
        pthread_mutex_unlock(&s->lock);
        job->work(job->ctx, own, item);
        pthread_mutex_lock(&s->lock);
        s->done[item % s->window] = 1;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    if (job->thread_done)
        job->thread_done(job->ctx, own);
    return NULL;
}

static void emit_in_order(struct state *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->emitted < s->count) {
        while (!s->done[s->emitted % s->window])
            pthread_cond_wait(&s->changed, &s->lock);
        size_t item = s->emitted;
        pthread_mutex_unlock(&s->lock);
        s->job->emit(s->job->ctx, item);
        pthread_mutex_lock(&s->lock);
        s->done[item % s->window] = 0;
        s->emitted++;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
}

enum err_code parallel_run(const struct parallel_job *job, size_t count, int threads, size_t window,
                           struct err *err)
{
    if (count == 0)
        return ERR_OK;
    if (threads < 1)
        threads = parallel_processors();
    if (threads > PARALLEL_MAX_THREADS)
        threads = PARALLEL_MAX_THREADS;
    if ((size_t)threads > count)
        threads = (int)count;
    if (window < (size_t)threads)
        window = (size_t)threads;
    _cleanup_free_ uint8_t *done = try_alloc(window, 1);
    _cleanup_free_ struct worker *workers = try_alloc((size_t)threads, sizeof *workers);
    if (!done || !workers)
        return err_set(err, ERR_NO_MEMORY, "no memory for %d threads", threads);
    struct state s = {.job = job,
                      .count = count,
                      .window = window,
                      .done = done,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .changed = PTHREAD_COND_INITIALIZER};
    int started = 0;
    for (; started < threads; started++) {
        workers[started] = (struct worker){.state = &s, .index = started};
        if (pthread_create(&workers[started].thread, NULL, run_worker, &workers[started]) != 0)
            break;
    }
    if (started > 0)
        emit_in_order(&s);
    for (int i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_cond_destroy(&s.changed);
    pthread_mutex_destroy(&s.lock);
    return started > 0 ? ERR_OK : err_set(err, ERR_NO_MEMORY, "cannot start a thread");
}

int parallel_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    return 1;
}

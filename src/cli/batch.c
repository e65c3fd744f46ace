/* The loop over recordings: an analysis per thread, reports in a ring until their turn comes. */
#include "batch.h"

#include "../base/mem.h"
#include "../os/parallel.h"
#include "progress.h"

#define REPORTS_AHEAD 256 /* finished reports that may wait for a slow one before them */

struct batch {
    const struct engine *engine;
    char *const *paths;
    struct file_report *ring;
    batch_emit *emit;
    void *ctx;
};

static void *open_analysis(void *ctx, int thread)
{
    struct batch *batch = ctx;
    struct analysis *analysis = NULL;
    (void)thread;
    if (analysis_new(batch->engine->detector, &analysis, NULL) != ERR_OK)
        return NULL; /* every item of this thread then says so */
    return analysis;
}

static void close_analysis(void *ctx, void *own)
{
    (void)ctx;
    analysis_free(own);
}

/* detect_file tells the seconds so far; the bar wants what came since. */
static int hear(void *ctx, const struct detect_state *state)
{
    double *before = ctx;
    progress_heard(state->seconds - *before);
    *before = state->seconds;
    return 0;
}

static void judge(void *ctx, void *own, size_t item)
{
    struct batch *batch = ctx;
    struct file_report *report = &batch->ring[item % REPORTS_AHEAD];
    enum err_code (*make)(struct analysis *, struct media_service *, const char *,
                          detect_progress *, void *, struct file_report *, struct err *) =
        batch->engine->stability ? file_report_make_stability : file_report_make;
    double heard = 0;
    if (!own) {
        *report = (struct file_report){.path = xstrdup(batch->paths[item])};
        err_set(&report->error, ERR_NO_MEMORY, "no memory for an analysis");
    } else if (make(own, batch->engine->media, batch->paths[item], hear, &heard, report, NULL) !=
               ERR_OK) {
        /* kept in the report */
    }
    progress_file_done();
}

static void hand_over(void *ctx, size_t item)
{
    struct batch *batch = ctx;
    struct file_report *report = &batch->ring[item % REPORTS_AHEAD];
    batch->emit(batch->ctx, item, report);
    file_report_done(report);
}

enum err_code batch_run(const struct engine *engine, char *const *paths, size_t count,
                        batch_emit *emit, void *ctx, struct err *err)
{
    _cleanup_free_ struct file_report *ring = try_alloc(REPORTS_AHEAD, sizeof *ring);
    if (!ring)
        return err_set(err, ERR_NO_MEMORY, "no memory for %d reports", REPORTS_AHEAD);
    struct batch batch = {engine, paths, ring, emit, ctx};
    struct parallel_job job = {&batch, open_analysis, judge, close_analysis, hand_over};
    return parallel_run(&job, count, engine->jobs, REPORTS_AHEAD, err);
}

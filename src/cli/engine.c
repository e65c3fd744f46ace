/* Opens what the judging commands need: the detector and the decoder program. */
#include "commands.h"

#include <stdio.h>

#include "../os/parallel.h"
#include "print.h"

int cli_fail(int code, const struct err *err)
{
    fputs("sonde: ", stderr);
    print_clean(stderr, err->text); /* it may quote what came from outside */
    fprintf(stderr, " (%s)\n", err_hint(err->code));
    return code;
}

enum err_code engine_open(const struct engine_options *options, struct engine *ret, struct err *err)
{
    struct engine engine = {.jobs = options->jobs > 0 ? options->jobs : parallel_processors()};
    enum nn_isa isa = NN_ISA_AUTO;
    enum err_code rc = nn_isa_choose(options->isa, &isa, err);
    /* The decoder program first: it starts while the weights are prepared. */
    if (rc == ERR_OK)
        rc = media_service_new(NULL, &options->limits, &engine.media, err);
    if (rc == ERR_OK)
        rc = detector_new(options->model, isa, &engine.detector, err);
    if (rc == ERR_OK && options->prior > 0)
        rc = detector_set_prior(engine.detector, options->prior, err);
    if (rc != ERR_OK) {
        engine_done(&engine);
        return rc;
    }
    *ret = engine;
    return ERR_OK;
}

void engine_done(struct engine *engine)
{
    engine->media = media_service_free(engine->media);
    engine->detector = detector_free(engine->detector);
}

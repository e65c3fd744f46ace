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

void cli_conf_free(struct conf **conf)
{
    *conf = conf_free(*conf);
}

enum err_code engine_open(const struct conf *conf, struct engine *ret, struct err *err)
{
    const struct media_limits limits = {
        .max_bytes = conf_bytes(conf, CONF_DETECTOR_MAX_BYTES),
        .max_seconds = conf_number(conf, CONF_DETECTOR_MAX_SECONDS),
        .max_wall = conf_number(conf, CONF_DETECTOR_MAX_WALL),
        .max_memory = conf_bytes(conf, CONF_DETECTOR_MAX_MEMORY),
    };
    int jobs = (int)conf_number(conf, CONF_SERVER_JOBS);
    double prior = conf_number(conf, CONF_DETECTOR_PRIOR);
    struct engine engine = {.jobs = jobs > 0 ? jobs : parallel_processors()};
    enum nn_isa isa = NN_ISA_AUTO;
    enum err_code rc = nn_isa_choose(conf_text(conf, CONF_DETECTOR_ISA), &isa, err);
    /* The decoder program first: it starts while the weights are prepared. */
    if (rc == ERR_OK)
        rc = media_service_new(NULL, &limits, &engine.media, err);
    if (rc == ERR_OK)
        rc = detector_new(conf_text(conf, CONF_DETECTOR_MODEL), isa, &engine.detector, err);
    if (rc == ERR_OK && prior > 0)
        rc = detector_set_prior(engine.detector, prior, err);
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

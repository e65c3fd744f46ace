/* libsonde: was this speech recorded from a human, or made by a machine?
 *
 * Open a detector once, then give it files or samples. Example: examples/detect.c.
 *
 * Score direction: llr and p_synthetic grow with "synthetic". llr is a natural-log likelihood
 * ratio; p_synthetic follows from it by Bayes' rule at the stated prior and stays within 0.01 ..
 * 0.99.
 *
 * Threads: a sonde_detector may be used by any number of threads at once; a sonde_stream and a
 * sonde_result by one at a time. No function changes signal handling, the environment, or the
 * working folder. Decoding files happens in the program sonde-decoder, which is started by the
 * first sonde_detect_file and ended by sonde_close.
 *
 * Errors: every function that can fail returns SONDE_OK or a negative code, and describes it in the
 * caller's `struct sonde_error` when one is given. Outputs are untouched on failure.
 *
 * Stability: symbols are versioned (SONDE_1); structs that callers fill begin with their size.
 */
#ifndef SONDE_H
#define SONDE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SONDE_API __attribute__((visibility("default")))
#else
#define SONDE_API
#endif

typedef struct sonde_detector sonde_detector;
typedef struct sonde_stream sonde_stream;
typedef struct sonde_result sonde_result;

#define SONDE_OK              0
#define SONDE_ERROR_ARGUMENT  (-1) /* a NULL or a number out of range */
#define SONDE_ERROR_FILE      (-2) /* cannot be opened or read */
#define SONDE_ERROR_AUDIO     (-3) /* no audio in it, or damaged beyond use */
#define SONDE_ERROR_LIMIT     (-4) /* larger or longer than a limit */
#define SONDE_ERROR_MODEL     (-5) /* the weights cannot be used */
#define SONDE_ERROR_RESOURCES (-6) /* memory or processes ran out; try again later */
#define SONDE_ERROR_INTERNAL  (-7)

struct sonde_error {
    int code;
    const char *slug; /* stable name, as in the JSON output: "not_audio" …; static */
    const char *hint; /* what to do; static */
    char text[256];   /* one line in English */
};

/* Zero means the default for every field; set `size` to sizeof(struct sonde_options). */
struct sonde_options {
    size_t size;
    const char *model;   /* safetensors file; NULL: the weights inside the library */
    const char *decoder; /* the program sonde-decoder; NULL: the installed one */
    double prior;        /* P(synthetic) before hearing; 0: the model's (0.5) */
    const char *isa;     /* "scalar" "avx2" "avx512" "avx512vnni"; NULL: the best this
                          * processor has */
    uint64_t max_bytes;  /* limits of one recording, see sonde(1) */
    double max_seconds;
    double max_wall;
    uint64_t max_memory;
};

/* Opens a detector. options may be NULL. Takes some milliseconds; the weights are checked. */
SONDE_API int sonde_open(const struct sonde_options *options, sonde_detector **ret,
                         struct sonde_error *error);
/* NULL is fine. Every stream of it must be freed before; results stay valid. */
SONDE_API void sonde_close(sonde_detector *detector);

/* Judges a recording in any format that sonde reads. Blocks; safe on many threads at once. */
SONDE_API int sonde_detect_file(sonde_detector *detector, const char *path, sonde_result **ret,
                                struct sonde_error *error);

/* For samples that the caller has: 16 kHz mono float, nominally -1..1, in pieces of any size.
 * NaN and infinities are refused. sonde_stream_finish gives the result and makes the stream ready
 * for the next recording. */
SONDE_API int sonde_stream_new(sonde_detector *detector, sonde_stream **ret,
                               struct sonde_error *error);
SONDE_API int sonde_stream_feed(sonde_stream *stream, const float *samples, size_t count,
                                struct sonde_error *error);
SONDE_API int sonde_stream_finish(sonde_stream *stream, sonde_result **ret,
                                  struct sonde_error *error);
SONDE_API void sonde_stream_free(sonde_stream *stream);

enum sonde_verdict { SONDE_HUMAN, SONDE_SYNTHETIC, SONDE_INCONCLUSIVE };

SONDE_API enum sonde_verdict sonde_result_verdict(const sonde_result *result);
SONDE_API const char *sonde_verdict_name(enum sonde_verdict verdict); /* "human" …; static */
/* NAN when there was nothing to score (no speech). */
SONDE_API double sonde_result_p_synthetic(const sonde_result *result);
SONDE_API double sonde_result_llr(const sonde_result *result);
SONDE_API double sonde_result_threshold(const sonde_result *result); /* on the llr */
SONDE_API double sonde_result_prior(const sonde_result *result);
SONDE_API double sonde_result_duration(const sonde_result *result); /* seconds */
SONDE_API double sonde_result_speech(const sonde_result *result);   /* seconds */

/* Reasons for "inconclusive" and remarks, i from 0: a stable slug, or NULL past the last. The text
 * (a sentence with the measurement) may be NULL; it belongs to the result. */
SONDE_API const char *sonde_result_reason(const sonde_result *result, size_t i,
                                          const char **ret_text);

struct sonde_window {
    double start, end; /* seconds */
    double speech;     /* seconds of it */
    double llr;        /* NAN, as the next: no speech in it, so no score */
    double p_synthetic;
};
/* Window i of the timeline; 1 when there is one, else 0. */
SONDE_API int sonde_result_window(const sonde_result *result, size_t i, struct sonde_window *ret);
/* The whole result as JSON, as `sonde detect --json` prints it, without file and sha256 for
 * streams. Belongs to the result. */
SONDE_API const char *sonde_result_json(const sonde_result *result);
SONDE_API void sonde_result_free(sonde_result *result);

SONDE_API const char *sonde_version(void); /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#endif

/* Records of the decoding child into its pipe. */
#ifndef SONDE_MEDIA_DECODER_OUTPUT_H
#define SONDE_MEDIA_DECODER_OUTPUT_H

#include "../protocol.h"

/* Where samples go next: into a codec, or into the pipe. */
struct sink {
    void *ctx;
    enum err_code (*take)(void *ctx, const float *samples, size_t n, struct err *err);
};

struct output {
    int fd;
    uint64_t max_samples;
    uint64_t samples; /* taken so far, in the block or sent */
    uint64_t damaged; /* whoever finds damage adds to it */
    uint64_t damaged_sent;
    size_t n; /* samples in the block */
    float block[PROTOCOL_BLOCK_MAX];
};

void output_init(struct output *output, int fd, const struct media_limits *limits);
enum err_code output_info(struct output *output, const struct media_info *info,
                          struct err *err) MUST_CHECK;
/* 16 kHz mono; ERR_TOO_LONG past the limit. What is not finite becomes 0 and counts as damage. */
enum err_code output_samples(struct output *output, const float *samples, size_t n,
                             struct err *err) MUST_CHECK;
/* output_samples as a sink. */
struct sink output_sink(struct output *output);
enum err_code output_end(struct output *output, int truncated, struct err *err) MUST_CHECK;
/* The last record instead of an end. */
void output_error(struct output *output, const struct err *failed);

#endif

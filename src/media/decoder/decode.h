/* One recording, from the locked-down child's two descriptors. */
#ifndef SONDE_MEDIA_DECODER_DECODE_H
#define SONDE_MEDIA_DECODER_DECODE_H

#include "input.h"
#include "output.h"

/* Decodes all of it, through a lossy change if one is wanted, into the output, which gets
 * everything but the error record. */
enum err_code decode_run(struct input *input, struct output *output,
                         const struct media_limits *limits, enum media_through through,
                         struct err *err) MUST_CHECK;

#endif

/* The untrusted file behind one descriptor: reading for FFmpeg, and finding out what it is. */
#ifndef SONDE_MEDIA_DECODER_INPUT_H
#define SONDE_MEDIA_DECODER_INPUT_H

#include <libavformat/avformat.h>

#include "../media.h"

struct input {
    int fd;
    int64_t size;
    int64_t at;
    int errnum;  /* of a failed read */
    int hit_end; /* something wanted bytes past the end */
};

/* Takes the size; ERR_TOO_LARGE past the limit. Before the lock-down (it needs fstat). */
enum err_code input_init(struct input *input, int fd, const struct media_limits *limits,
                         struct err *err) MUST_CHECK;
/* Which container the content is, whatever the name was. ERR_NOT_AUDIO when none that is allowed.
 */
enum err_code input_probe(struct input *input, const AVInputFormat **ret,
                          struct err *err) MUST_CHECK;
enum input_extent {
    INPUT_EXTENT_UNSTATED, /* or stated and there */
    INPUT_EXTENT_OPEN,     /* the writer could not go back to state it */
    INPUT_EXTENT_CUT,      /* the file is shorter than it says itself */
};
/* What the file's own framing says about its length, for containers where FFmpeg does not tell. */
enum input_extent input_find_extent(struct input *input, const char *container);
/* NULL when memory is gone. */
AVIOContext *input_new_io(struct input *input);

#endif

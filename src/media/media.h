/* Decoding of untrusted recordings: any audio that FFmpeg reads, as 16 kHz mono float.
 *
 * The work happens in `sonde-decoder`, another program: it is started once per media_service, and
 * forks one locked-down child per recording (no file opening, no sockets, no exec, no memory past a
 * limit). This side passes one open descriptor and reads samples from a pipe, so a hostile
 * file can at worst fail itself. A two-hour recording is never in memory whole.
 *
 * Threads: a media_service may be used by any number of threads; a media_stream by one at a time.
 */
#ifndef SONDE_MEDIA_MEDIA_H
#define SONDE_MEDIA_MEDIA_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../base/err.h"

#define MEDIA_SAMPLE_RATE 16000

/* Named limits; 0 in a field means the default below. */
struct media_limits {
    uint64_t max_bytes;  /* size of the file */
    double max_seconds;  /* decoded length: stops a FLAC that unpacks to hours */
    double max_wall;     /* seconds from media_open to the last sample, the caller's own included */
    uint64_t max_memory; /* bytes that decoding may add to the child's address space */
};
#define MEDIA_MAX_BYTES_DEFAULT   (UINT64_C(4) << 30)
#define MEDIA_MAX_SECONDS_DEFAULT (6.0 * 3600)
#define MEDIA_MAX_WALL_DEFAULT    600.0
#define MEDIA_MAX_MEMORY_DEFAULT  (UINT64_C(1) << 30)

/* What the decoder learnt about the file. Strings are printable ASCII, never NULL. Complete once
 * media_read has returned the end; before that duration_s and damaged grow. */
struct media_info {
    char container[32]; /* FFmpeg's short name: "wav", "mp3", "mov" … */
    char codec[32];     /* "pcm_s16le", "aac" … */
    int sample_rate;    /* of the file, Hz */
    int channels;       /* of the file; mixed down to one by the mean */
    int64_t bit_rate;   /* bits per second as the container states it, 0 = unknown */
    double duration_s;  /* decoded so far */
    uint64_t damaged;   /* packets or samples that could not be used (bad data, NaN, Inf) */
    int truncated;      /* the file ends before its own header says */
};

/* A lossy change on the way: the decoded samples are encoded and decoded again, inside the same
 * locked-down child. */
enum media_through {
    MEDIA_THROUGH_NONE,
    MEDIA_THROUGH_MP3,    /* 64 kbit/s */
    MEDIA_THROUGH_AAC,    /* 48 kbit/s */
    MEDIA_THROUGH_OPUS,   /* 24 kbit/s */
    MEDIA_THROUGH_NARROW, /* a telephone line: 8 kHz, G.711 u-law */
    MEDIA_THROUGH_COUNT,
};

/* All zero: the recording as it is. */
struct media_open_options {
    enum media_through through;
};

struct media_service;
struct media_stream;

/* Starts the decoder program. program NULL: SONDE_DECODER from the environment, else beside the
 * running program, else the installed one. The limits are copied (NULL: all defaults). Does not
 * wait until the program is ready (tens of milliseconds): start it before other preparations.
 * Changes no signal handling of this process; the program is a child process of it, in its own
 * session. Where the kernel or a container forbids seccomp every recording fails with ERR_SANDBOX,
 * unless the environment has SONDE_ALLOW_UNSANDBOXED=1. */
enum err_code media_service_new(const char *program, const struct media_limits *limits,
                                struct media_service **ret, struct err *err) MUST_CHECK;
/* Ends the decoder program and waits for it. NULL is fine. No stream may be open. */
struct media_service *media_service_free(struct media_service *service);
const struct media_limits *media_service_limits(const struct media_service *service);

/* Begins to decode the regular file behind `fd`, from its start; fd stays the caller's and may be
 * closed at once (its file position is neither used nor moved). options NULL: the recording as it
 * is; they are copied. A lossy change keeps the length to within 1 ms and shifts nothing (the
 * codec's delay is cut); media_info still describes the file. Where FFmpeg lacks the encoder,
 * media_read fails with ERR_CODEC. Restarts the decoder program when it has died. */
enum err_code media_open(struct media_service *service, int fd,
                         const struct media_open_options *options, struct media_stream **ret,
                         struct err *err) MUST_CHECK;
/* Up to `cap` samples (16 kHz mono, finite; nominally -1..1, float sources may exceed it).
 * *ret_n = 0 at the end of the recording; a recording may have no samples at all. After an error
 * the stream only remains to be closed. A track of which nothing can be decoded is ERR_DAMAGED;
 * damage that leaves something is counted in media_info. */
enum err_code media_read(struct media_stream *stream, float *samples, size_t cap, size_t *ret_n,
                         struct err *err) MUST_CHECK;
/* Borrowed until media_close. */
const struct media_info *media_stream_info(const struct media_stream *stream);
/* The decoding child, for tests and logs. */
pid_t media_stream_pid(const struct media_stream *stream);
/* Ends the child if it still runs. NULL is fine. Returns NULL. */
struct media_stream *media_close(struct media_stream *stream);

#endif

/* What the decoder program and this side say to each other.
 *
 * Control messages (struct protocol_*) travel over SOCK_SEQPACKET sockets between two programs of
 * one build on one machine, so they are plain structs with a version. Records come through a pipe
 * from the child that has read a hostile file, and may therefore hold anything: they have a defined
 * little-endian form, and protocol_reader believes none of it.
 *
 *   record   u32 type, u32 length of what follows
 *   INFO     container[32] codec[32] i32 sample_rate i32 channels i64 bit_rate      first, once
 *   SAMPLES  f32[n], 1 <= n <= PROTOCOL_BLOCK_MAX, finite
 *   PROGRESS u64 damaged, never falling
 *   END      u64 samples u64 damaged u32 truncated u32 zero                          last
 *   ERROR    u32 number in a table of its own, printable text                        last
 */
#ifndef SONDE_MEDIA_PROTOCOL_H
#define SONDE_MEDIA_PROTOCOL_H

#include "media.h"

#define PROTOCOL_MAGIC     0x646e6f73u /* "sond" */
#define PROTOCOL_VERSION   2u
#define PROTOCOL_SOCKET_FD 3 /* where the decoder program finds its control socket */

#define PROTOCOL_CHANNELS_MAX 64
#define PROTOCOL_RATE_MIN     1000
#define PROTOCOL_RATE_MAX     1536000
#define PROTOCOL_BLOCK_MAX    16384 /* samples in one record */
#define PROTOCOL_TEXT_MAX     200
/* Room of the reader, and so the most that one read() of the pipe takes: a default pipe's worth. */
#define PROTOCOL_BUFFER 65536

/* parent -> decoder program, with three descriptors: the file, the write end of the pipe for
 * records, and a socket on which this recording's started and ended messages are wanted. */
struct protocol_request {
    uint32_t magic;
    uint32_t version;
    struct media_limits limits;
    struct media_open_options options;
};
#define PROTOCOL_REQUEST_FDS 3

/* decoder program -> parent, with a pidfd of the child when errnum is 0. */
struct protocol_started {
    uint32_t magic;
    uint32_t version;
    int32_t pid;
    int32_t errnum; /* why no child could be made; EPROTO: other version */
};

/* decoder program -> parent, once the child has been reaped. */
struct protocol_ended {
    uint32_t magic;
    int32_t status; /* as from waitpid */
};

enum protocol_type {
    PROTOCOL_INFO = 0x4f464e49,
    PROTOCOL_SAMPLES = 0x504d4153,
    PROTOCOL_PROGRESS = 0x474f5250,
    PROTOCOL_END = 0x20444e45,
    PROTOCOL_ERROR = 0x20525245,
};

#define PROTOCOL_HEADER_BYTES   8
#define PROTOCOL_INFO_BYTES     80
#define PROTOCOL_PROGRESS_BYTES 8
#define PROTOCOL_END_BYTES      24
#define PROTOCOL_SMALL_MAX      (PROTOCOL_HEADER_BYTES + 4 + PROTOCOL_TEXT_MAX) /* all but SAMPLES */

/* Writers: fill `out` (room for PROTOCOL_SMALL_MAX) and return the record's bytes. */
size_t protocol_put_header(unsigned char *out, enum protocol_type type, size_t length);
size_t protocol_put_info(unsigned char *out, const struct media_info *info);
size_t protocol_put_progress(unsigned char *out, uint64_t damaged);
size_t protocol_put_end(unsigned char *out, uint64_t samples, uint64_t damaged, int truncated);
size_t protocol_put_error(unsigned char *out, enum err_code code, const char *text);
/* Copies at most cap - 1 characters, '?' for what is not printable ASCII. "" becomes "unknown". */
void protocol_clean_text(char *out, size_t cap, const char *text);

/* How many samples a recording may have; both sides count. */
uint64_t protocol_max_samples(const struct media_limits *limits);

enum protocol_event {
    PROTOCOL_EVENT_MORE,    /* read more bytes into protocol_reader_space */
    PROTOCOL_EVENT_SAMPLES, /* some were taken */
    PROTOCOL_EVENT_END,     /* the recording is complete */
    PROTOCOL_EVENT_FAILED,  /* the decoder reported an error, or sent nonsense (ERR_PROTOCOL) */
};

struct protocol_reader {
    struct media_info info;
    uint64_t max_samples;
    uint64_t samples;   /* taken so far */
    uint64_t announced; /* in records so far, >= samples */
    size_t block_left;  /* samples of the current record not taken yet */
    int has_info;
    int ended;
    size_t begin, end; /* unread part of the buffer */
    unsigned char buffer[PROTOCOL_BUFFER];
};

void protocol_reader_init(struct protocol_reader *reader, uint64_t max_samples);
/* After MORE: where the next bytes go (never no room), and how many arrived there. */
unsigned char *protocol_reader_space(struct protocol_reader *reader, size_t *ret_room);
void protocol_reader_filled(struct protocol_reader *reader, size_t n);
/* Takes up to `cap` (> 0) samples. After END or FAILED call no more. */
enum protocol_event protocol_reader_take(struct protocol_reader *reader, float *samples, size_t cap,
                                         size_t *ret_n, struct err *err);

#endif

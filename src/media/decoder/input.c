/* Reading the untrusted file, and recognising its container by content.
 *
 * Reads are pread at an own position: the descriptor shares its file position with the caller's
 * process, which may read the same file elsewhere. Only containers on the list below are opened:
 * FFmpeg has demuxers that open other files by name (playlists, image sequences), and dozens for
 * video games that no recording ever came in. Owned by the decoding child; single thread.
 */
#include "input.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../base/mem.h"

#define IO_BYTES    65536
#define PROBE_FIRST 2048
#define PROBE_MAX   (1024 * 1024)
/* FFmpeg's scores: 100 sure … 25 "read more before you believe it"; five is a lone run of a few
 * MPEG frames, as in an MP3 of a quarter second. One means that two bytes somewhere looked like
 * one. */
#define SCORE_SURE AVPROBE_SCORE_RETRY
#define SCORE_MIN  5

/* First name of each demuxer that may be used. */
static const char *const containers[] = {
    "3gp", "aac", "ac3", "act",  "aiff", "amr",    "ape",        "asf",  "au",
    "avi", "caf", "dss", "dts",  "eac3", "flac",   "flv",        "loas", "matroska",
    "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "nistsphere", "nut",  "ogg",
    "qcp", "rm",  "tak", "tta",  "voc",  "w64",    "wav",        "wv",
};

enum err_code input_init(struct input *input, int fd, const struct media_limits *limits,
                         struct err *err)
{
    struct stat st;
    memset(input, 0, sizeof *input);
    if (fstat(fd, &st) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot stat");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_IO, "it is not a regular file");
    if ((uint64_t)st.st_size > limits->max_bytes)
        return err_set(err, ERR_TOO_LARGE, "larger than the limit of %llu bytes",
                       (unsigned long long)limits->max_bytes);
    input->fd = fd;
    input->size = st.st_size;
    return ERR_OK;
}

static ssize_t read_at(struct input *input, void *to, size_t len, int64_t at)
{
    ssize_t n;
    do
        n = pread(input->fd, to, len, at);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        input->errnum = errno;
    return n;
}

static int io_read(void *opaque, uint8_t *to, int len)
{
    struct input *input = opaque;
    int64_t left = input->size - input->at;
    ssize_t n = 0;
    if (left > 0)
        n = read_at(input, to, (size_t)(len < left ? len : left), input->at);
    if (n < 0)
        return AVERROR(EIO);
    if (n == 0) {
        input->hit_end = 1;
        return AVERROR_EOF;
    }
    input->at += n;
    return (int)n;
}

static int64_t io_seek(void *opaque, int64_t offset, int whence)
{
    struct input *input = opaque;
    int64_t to = offset;
    whence &= ~AVSEEK_FORCE;
    if (whence == AVSEEK_SIZE)
        return input->size;
    if (whence == SEEK_CUR && __builtin_add_overflow(input->at, offset, &to))
        return AVERROR(EINVAL);
    if (whence == SEEK_END && __builtin_add_overflow(input->size, offset, &to))
        return AVERROR(EINVAL);
    if (to < 0)
        return AVERROR(EINVAL);
    input->at = to;
    return to;
}

AVIOContext *input_new_io(struct input *input)
{
    unsigned char *buffer = av_malloc(IO_BYTES);
    if (!buffer)
        return NULL;
    AVIOContext *io = avio_alloc_context(buffer, IO_BYTES, 0, input, io_read, NULL, io_seek);
    if (!io)
        av_free(buffer);
    return io;
}

/* Bytes of an ID3v2 tag at the start (any format may carry one, and a picture in it may be larger
 * than what is probed), 0 for none. */
static int64_t tag_bytes(const unsigned char *p, ssize_t n)
{
    if (n < 10 || memcmp(p, "ID3", 3) != 0 || p[3] == 0xff || p[4] == 0xff ||
        ((p[6] | p[7] | p[8] | p[9]) & 0x80))
        return 0;
    return 10 + (p[5] & 0x10 ? 10 : 0) +
           ((int64_t)p[6] << 21 | (int64_t)p[7] << 14 | (int64_t)p[8] << 7 | p[9]);
}

static int is_allowed(const AVInputFormat *format)
{
    size_t n = strcspn(format->name, ",");
    for (size_t i = 0; i < ARRAY_LEN(containers); i++)
        if (strlen(containers[i]) == n && memcmp(containers[i], format->name, n) == 0)
            return 1;
    return 0;
}

enum err_code input_probe(struct input *input, const AVInputFormat **ret, struct err *err)
{
    unsigned char *buffer = av_malloc(PROBE_MAX + AVPROBE_PADDING_SIZE);
    if (!buffer)
        return err_set(err, ERR_MEMORY_LIMIT, "no memory to read the file");
    const AVInputFormat *found = NULL;
    ssize_t n = read_at(input, buffer, 10, 0);
    int64_t start = tag_bytes(buffer, n), size = PROBE_FIRST;
    for (;; size *= 4) {
        int score = 0;
        size = size < PROBE_MAX ? size : PROBE_MAX;
        n = read_at(input, buffer, (size_t)size, start);
        if (n < 0)
            break;
        memset(buffer + n, 0, AVPROBE_PADDING_SIZE);
        AVProbeData data = {.filename = "", .buf = buffer, .buf_size = (int)n};
        found = n > 0 ? av_probe_input_format3(&data, 1, &score) : NULL;
        if (found && score > SCORE_SURE)
            break;
        if (n < size || size == PROBE_MAX) {
            if (score < SCORE_MIN)
                found = start > 0 ? av_find_input_format("mp3") : NULL;
            break;
        }
    }
    av_free(buffer);
    if (n < 0)
        return err_set_errno(err, ERR_IO, input->errnum, "cannot read");
    if (!found)
        return err_set(err, ERR_NOT_AUDIO, "the content is no audio format");
    if (!is_allowed(found))
        return err_set(err, ERR_NOT_AUDIO, "the content looks like %s, no audio format",
                       found->long_name ? found->long_name : found->name);
    *ret = found;
    return ERR_OK;
}

static uint64_t little(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* Lengths that programs leave in a header that they cannot go back to. */
static int is_placeholder(uint64_t stated)
{
    return stated == 0 || stated >= 0x7ffff000u;
}

/* Where the data chunk of a WAV says that it ends; 0 when no such chunk is in sight. */
static uint64_t wav_data_end(const unsigned char *head, size_t n, uint64_t *ret_stated)
{
    for (uint64_t at = 12; at + 8 <= n;) {
        uint64_t length = little(head + at + 4, 4);
        *ret_stated = length;
        if (memcmp(head + at, "data", 4) == 0)
            return at + 8 + length;
        at += 8 + length + (length & 1);
    }
    return 0;
}

static enum input_extent riff_extent(const struct input *input, const unsigned char *head, size_t n,
                                     const char *container)
{
    uint64_t size = (uint64_t)input->size, stated = little(head + 4, 4), data = 0;
    int wav = strcmp(container, "wav") == 0;
    uint64_t end = wav ? wav_data_end(head, n, &data) : 0;
    if (is_placeholder(stated) || (end && is_placeholder(data) && end != size))
        return INPUT_EXTENT_OPEN;
    /* In WAV the data chunk is the better witness; some programs miscount the whole. */
    if (wav)
        return end > size ? INPUT_EXTENT_CUT : INPUT_EXTENT_UNSTATED;
    return stated > size ? INPUT_EXTENT_CUT : INPUT_EXTENT_UNSTATED;
}

/* The file properties object states the size of the file. */
static enum input_extent asf_extent(const struct input *input, const unsigned char *head, size_t n)
{
    static const unsigned char guid[16] = {0xa1, 0xdc, 0xab, 0x8c, 0x47, 0xa9, 0xcf, 0x11,
                                           0x8e, 0xe4, 0x00, 0xc0, 0x0c, 0x20, 0x53, 0x65};
    const unsigned char *p = memmem(head, n, guid, sizeof guid);
    if (!p || (size_t)(head + n - p) < 92)
        return INPUT_EXTENT_UNSTATED;
    if (little(p + 88, 4) & 1) /* broadcast: the fields before mean nothing */
        return INPUT_EXTENT_OPEN;
    return little(p + 40, 8) > (uint64_t)input->size ? INPUT_EXTENT_CUT : INPUT_EXTENT_UNSTATED;
}

/* Ogg states no length, but a file that ends within a page was cut. */
static enum input_extent ogg_extent(const unsigned char *tail, size_t n)
{
    for (size_t at = n < 27 ? 0 : n - 27; at > 0; at--) {
        const unsigned char *p = tail + at;
        if (memcmp(p, "OggS", 5) != 0) /* with the version, 0 */
            continue;
        size_t segments = p[26], length = 27 + segments;
        for (size_t i = 0; i < segments && at + 27 + i < n; i++)
            length += p[27 + i];
        return at + length == n ? INPUT_EXTENT_UNSTATED : INPUT_EXTENT_CUT;
    }
    return INPUT_EXTENT_UNSTATED;
}

enum input_extent input_find_extent(struct input *input, const char *container)
{
    static unsigned char block[128 * 1024]; /* two of the longest Ogg pages */
    int ogg = strcmp(container, "ogg") == 0;
    int64_t at =
        ogg && input->size > (int64_t)sizeof block ? input->size - (int64_t)sizeof block : 0;
    ssize_t n = read_at(input, block, sizeof block, at);
    if (n < 44)
        return INPUT_EXTENT_UNSTATED;
    if (ogg)
        return ogg_extent(block, (size_t)n);
    if (strcmp(container, "asf") == 0)
        return asf_extent(input, block, (size_t)n);
    return memcmp(block, "RIFF", 4) == 0 ? riff_extent(input, block, (size_t)n, container)
                                         : INPUT_EXTENT_UNSTATED;
}

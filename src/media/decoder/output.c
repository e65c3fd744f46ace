/* Records of the decoding child into its pipe: samples are gathered to blocks of a second, so that
 * a recording costs one write per second of audio. A reader that has gone ends the child by
 * SIGPIPE. Single thread. */
#include "output.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

void output_init(struct output *output, int fd, const struct media_limits *limits)
{
    memset(output, 0, offsetof(struct output, block));
    output->fd = fd;
    output->max_samples = protocol_max_samples(limits);
}

static enum err_code write_all(int fd, const void *data, size_t len, struct err *err)
{
    const unsigned char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set_errno(err, ERR_IO, errno, "cannot hand the samples over");
        p += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static enum err_code send_block(struct output *output, struct err *err)
{
    unsigned char record[PROTOCOL_SMALL_MAX];
    if (output->n == 0)
        return ERR_OK;
    size_t len = 0;
    if (output->damaged > output->damaged_sent)
        len = protocol_put_progress(record, output->damaged);
    output->damaged_sent = output->damaged;
    len += protocol_put_header(record + len, PROTOCOL_SAMPLES, output->n * sizeof(float));
    enum err_code code = write_all(output->fd, record, len, err);
#if __BYTE_ORDER == __BIG_ENDIAN
    for (size_t i = 0; i < output->n; i++) {
        uint32_t v;
        memcpy(&v, &output->block[i], sizeof v);
        v = htole32(v);
        memcpy(&output->block[i], &v, sizeof v);
    }
#endif
    if (!code)
        code = write_all(output->fd, output->block, output->n * sizeof(float), err);
    output->n = 0;
    return code;
}

enum err_code output_info(struct output *output, const struct media_info *info, struct err *err)
{
    unsigned char record[PROTOCOL_SMALL_MAX];
    return write_all(output->fd, record, protocol_put_info(record, info), err);
}

enum err_code output_samples(struct output *output, const float *samples, size_t n, struct err *err)
{
    if (n > output->max_samples - output->samples)
        return err_set(err, ERR_TOO_LONG, "longer than the limit of %.0f seconds",
                       (double)output->max_samples / MEDIA_SAMPLE_RATE);
    output->samples += n;
    while (n > 0) {
        size_t room = PROTOCOL_BLOCK_MAX - output->n;
        size_t part = n < room ? n : room;
        float *to = output->block + output->n;
        for (size_t i = 0; i < part; i++) {
            int ok = isfinite(samples[i]);
            to[i] = ok ? samples[i] : 0.0f;
            output->damaged += !ok;
        }
        samples += part;
        n -= part;
        output->n += part;
        if (output->n == PROTOCOL_BLOCK_MAX) {
            enum err_code code = send_block(output, err);
            if (code)
                return code;
        }
    }
    return ERR_OK;
}

static enum err_code take(void *ctx, const float *samples, size_t n, struct err *err)
{
    return output_samples(ctx, samples, n, err);
}

struct sink output_sink(struct output *output)
{
    return (struct sink){output, take};
}

enum err_code output_end(struct output *output, int truncated, struct err *err)
{
    unsigned char record[PROTOCOL_SMALL_MAX];
    enum err_code code = send_block(output, err);
    if (code)
        return code;
    size_t len = protocol_put_end(record, output->samples, output->damaged, truncated);
    return write_all(output->fd, record, len, err);
}

void output_error(struct output *output, const struct err *failed)
{
    unsigned char record[PROTOCOL_SMALL_MAX];
    struct err ignored;
    size_t len = protocol_put_error(record, failed->code, failed->text);
    enum err_code code = write_all(output->fd, record, len, &ignored);
    (void)code;
}

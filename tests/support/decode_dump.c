/* decode_dump OUTDIR FILE...: writes OUTDIR/0.f32, 1.f32 … (raw little-endian float, 16 kHz mono),
 * one per FILE in order, exactly as sonde hears them. For golden values in training and for
 * measuring; SONDE_DECODER names the decoder program if it is elsewhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "media/media.h"
#include "os/clock.h"
#include "os/file.h"

static enum err_code dump(struct media_service *service, const char *path, FILE *to,
                          struct err *err)
{
    static float samples[16384];
    _cleanup_close_ int fd = -1;
    uint64_t size;
    size_t n = 0;
    double t0 = clock_seconds();
    enum err_code code = file_open_regular(path, &fd, &size, err);
    if (code)
        return code;
    struct media_stream *stream = NULL;
    code = media_open(service, fd, NULL, &stream, err);
    if (code)
        return code;
    while (!(code = media_read(stream, samples, ARRAY_LEN(samples), &n, err)) && n > 0)
        if (fwrite(samples, sizeof *samples, n, to) != n)
            code = err_set(err, ERR_IO, "cannot write");
    const struct media_info *info = media_stream_info(stream);
    fprintf(stderr, "%s: %s/%s %d Hz %d ch, %.3f s, damaged %llu, truncated %d, took %.1f ms\n",
            path, info->container, info->codec, info->sample_rate, info->channels, info->duration_s,
            (unsigned long long)info->damaged, info->truncated, (clock_seconds() - t0) * 1e3);
    media_close(stream);
    return code;
}

int main(int argc, char **argv)
{
    struct media_service *service = NULL;
    struct err err = {0};
    int failures = 0;
    if (argc < 3) {
        fprintf(stderr, "usage: decode_dump OUTDIR FILE...\n");
        return 2;
    }
    if (media_service_new(NULL, NULL, &service, &err)) {
        fprintf(stderr, "decode_dump: %s\n", err.text);
        return 1;
    }
    for (int i = 2; i < argc; i++) {
        _cleanup_free_ char *path = xasprintf("%s/%d.f32", argv[1], i - 2);
        FILE *to = fopen(path, "wb");
        if (!to) {
            perror(path);
            return 1;
        }
        if (dump(service, argv[i], to, &err)) {
            fprintf(stderr, "%s: %s: %s\n", argv[i], err_slug(err.code), err.text);
            failures++;
        }
        if (fclose(to) != 0)
            failures++;
    }
    media_service_free(service);
    return failures > 0;
}

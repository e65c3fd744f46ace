/* Helpers for the tests of decoding. They abort on trouble of their own: a test cannot go on. */
#include "cm.h"

#include "audio.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/file.h"

static char dir[] = "/tmp/sonde-media-XXXXXX";

int audio_setup(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

int audio_teardown(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *audio_dir(void)
{
    return dir;
}

const char *audio_path(const char *name)
{
    static __thread char ring[16][256];
    static __thread int at;
    char *path = ring[at++ % 16];
    snprintf(path, sizeof ring[0], "%s/%s", dir, name);
    return path;
}

int audio_have_ffmpeg(void)
{
    static int known;
    if (!known)
        known = system("ffmpeg -version >/dev/null 2>&1") == 0 ? 1 : -1;
    return known > 0;
}

int audio_ffmpeg(const char *args, ...)
{
    char rest[1024], command[1400];
    va_list ap;
    va_start(ap, args);
    vsnprintf(rest, sizeof rest, args, ap);
    va_end(ap);
    snprintf(command, sizeof command,
             "cd %s && ffmpeg -nostdin -hide_banner -v error -y %s 2>ffmpeg.log", dir, rest);
    return system(command);
}

float *audio_voice(double seconds, size_t *ret_n)
{
    size_t n = (size_t)(seconds * MEDIA_SAMPLE_RATE);
    float *out = malloc(n * sizeof *out);
    uint32_t noise = 12345;
    double phase = 0;
    assert_non_null(out);
    for (size_t i = 0; i < n; i++) {
        double t = (double)i / MEDIA_SAMPLE_RATE, sum = 0;
        double f0 = 120 + 30 * sin(2.1 * t) + 12 * sin(7.3 * t);
        phase += 2 * M_PI * f0 / MEDIA_SAMPLE_RATE;
        for (int h = 1; h <= 24; h++) /* to 3.9 kHz: every rate from 8 kHz up can carry it */
            sum += sin(h * phase + h) / h * (1.2 + sin(0.9 * h + 3.7 * t));
        noise = noise * 1664525u + 1013904223u;
        double envelope = 0.55 + 0.45 * sin(2 * M_PI * 1.3 * t);
        out[i] = (float)(0.1 * envelope * sum + 0.002 * ((noise >> 8) / 8388608.0 - 1));
    }
    *ret_n = n;
    return out;
}

void audio_write(const char *name, const void *data, size_t len)
{
    FILE *f = fopen(audio_path(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static unsigned char *put(unsigned char *p, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *p++ = (unsigned char)(v >> (8 * i));
    return p;
}

void audio_write_wav16(const char *name, const int16_t *samples, size_t n, int rate, int channels,
                       uint32_t data_bytes)
{
    unsigned char *file = malloc(44 + 2 * n), *p = file;
    assert_non_null(file);
    memcpy(p, "RIFF", 4);
    p = put(p + 4, data_bytes > 0xffffffffu - 36 ? 0xffffffffu : 36 + data_bytes, 4);
    memcpy(p, "WAVEfmt ", 8);
    p = put(p + 8, 16, 4);
    p = put(p, 1, 2);
    p = put(p, (uint32_t)channels, 2);
    p = put(p, (uint32_t)rate, 4);
    p = put(p, (uint32_t)(rate * channels * 2), 4);
    p = put(p, (uint32_t)(channels * 2), 2);
    p = put(p, 16, 2);
    memcpy(p, "data", 4);
    p = put(p + 4, data_bytes, 4);
    for (size_t i = 0; i < n; i++)
        p = put(p, (uint16_t)samples[i], 2);
    audio_write(name, file, 44 + 2 * n);
    free(file);
}

void *audio_read(const char *name, size_t *ret_len)
{
    FILE *f = fopen(audio_path(name), "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long len = ftell(f);
    rewind(f);
    void *data = malloc((size_t)len + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)len, f), len);
    fclose(f);
    *ret_len = (size_t)len;
    return data;
}

struct audio_decoded audio_decode(struct media_service *service, const char *name, int keep)
{
    struct audio_decoded d = {0};
    static __thread float block[16384];
    _cleanup_close_ int fd = -1;
    uint64_t size;
    size_t n = 0, cap = 0;
    struct media_stream *stream = NULL;
    d.code = file_open_regular(audio_path(name), &fd, &size, &d.err);
    if (!d.code)
        d.code = media_open(service, fd, NULL, &stream, &d.err);
    if (d.code)
        return d;
    while (!(d.code = media_read(stream, block, ARRAY_LEN(block), &n, &d.err)) && n > 0) {
        if (keep && d.n + n > cap) {
            cap = 2 * (d.n + n);
            d.samples = realloc(d.samples, cap * sizeof *d.samples);
            assert_non_null(d.samples);
        }
        if (keep)
            memcpy(d.samples + d.n, block, n * sizeof *block);
        d.n += n;
    }
    d.info = *media_stream_info(stream);
    media_close(stream);
    return d;
}

void audio_decoded_done(struct audio_decoded *decoded)
{
    free(decoded->samples);
    decoded->samples = NULL;
}

double audio_correlate(const float *a, size_t na, const float *b, size_t nb, int max_lag,
                       int *ret_lag)
{
    const long from = MEDIA_SAMPLE_RATE, n = MEDIA_SAMPLE_RATE;
    double best = -2;
    *ret_lag = 0;
    for (int lag = -max_lag; lag <= max_lag; lag++) {
        float ab = 0, aa = 1e-12f, bb = 1e-12f;
        if (from + lag < 0 || from + n > (long)na || from + n + lag > (long)nb)
            continue;
        for (long i = 0; i < n; i++) {
            float x = a[from + i], y = b[from + lag + i];
            ab += x * y;
            aa += x * x;
            bb += y * y;
        }
        double r = ab / sqrt((double)aa * bb);
        if (r > best) {
            best = r;
            *ret_lag = lag;
        }
    }
    return best;
}

int audio_count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

long audio_proc_kib(int pid, const char *field)
{
    char path[64], line[256];
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return -1;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = strtol(line + strlen(field) + 1, NULL, 10);
    fclose(f);
    return value;
}

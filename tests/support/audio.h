/* Recordings for tests of decoding: made by the ffmpeg program at test time, never committed. */
#ifndef SONDE_TESTS_AUDIO_H
#define SONDE_TESTS_AUDIO_H

#include <stddef.h>
#include <stdint.h>

#include "media/media.h"

/* A build with a sanitizer takes other amounts of memory. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define AUDIO_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define AUDIO_SANITIZED 1
#endif
#endif
#ifndef AUDIO_SANITIZED
#define AUDIO_SANITIZED 0
#endif

/* A folder for this test program (cmocka group set-up and tear-down). */
int audio_setup(void **state);
int audio_teardown(void **state);
const char *audio_dir(void);
/* Path of `name` in that folder; a ring of 16 buffers per thread. */
const char *audio_path(const char *name);

/* Is there an ffmpeg program? When not, say so and skip() the test. */
int audio_have_ffmpeg(void);
#define AUDIO_NEED_FFMPEG()                                                                        \
    do {                                                                                           \
        if (!audio_have_ffmpeg()) {                                                                \
            print_message("# SKIPPED: no ffmpeg program to make recordings with\n");               \
            skip();                                                                                \
        }                                                                                          \
    } while (0)
/* Runs `ffmpeg -y <args>` (printf style) in the folder; its exit status. */
int audio_ffmpeg(const char *args, ...) __attribute__((format(printf, 1, 2)));

/* The test signal: `seconds` of something like a voice, 16 kHz, |x| < 0.6; caller frees. */
float *audio_voice(double seconds, size_t *ret_n);
void audio_write(const char *name, const void *data, size_t len);
/* Mono or interleaved 16-bit WAV with a header whose data length may lie. */
void audio_write_wav16(const char *name, const int16_t *samples, size_t n, int rate, int channels,
                       uint32_t data_bytes);
void *audio_read(const char *name, size_t *ret_len);

struct audio_decoded {
    enum err_code code;
    struct err err;
    float *samples; /* NULL unless kept */
    size_t n;
    struct media_info info;
};
/* Decodes a whole file of the folder; keep = 0 counts only. */
struct audio_decoded audio_decode(struct media_service *service, const char *name, int keep);
void audio_decoded_done(struct audio_decoded *decoded);

/* Highest normalised correlation of b with a over lags within +-max_lag, over the second second. */
double audio_correlate(const float *a, size_t na, const float *b, size_t nb, int max_lag,
                       int *ret_lag);
/* Open descriptors of this process. */
int audio_count_fds(void);
/* Value of a field such as "VmHWM" in /proc/PID/status, in KiB; -1 when there is none. */
long audio_proc_kib(int pid, const char *field);

#endif

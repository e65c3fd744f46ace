/* UUIDs of version 7, tokens and random bytes from getrandom(2). Every request needs a few bytes
 * for its ids, and a system call for each would cost more than routing it: small wishes are served
 * from a block per thread, and what was given out is wiped. A forked child begins with a block of
 * its own (pthread_atfork). */
#include "id.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static void from_kernel(uint8_t *p, size_t size)
{
    while (size > 0) {
        ssize_t n = getrandom(p, size < 256 ? size : 256, 0); /* up to 256 come whole */
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            static const char text[] = "sonde: the system gives no randomness\n";
            ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
            (void)ignored;
            abort();
        }
        p += n;
        size -= (size_t)n;
    }
}

#define BLOCK 512
#define SMALL 64

static atomic_uint forks; /* children of this process' ancestors: counts up in each */

static void count_fork(void)
{
    atomic_fetch_add(&forks, 1);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

void random_bytes(void *out, size_t size)
{
    static __thread uint8_t block[BLOCK];
    static __thread size_t left;
    static __thread unsigned seen;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (size > SMALL) {
        from_kernel(out, size);
        return;
    }
    pthread_once(&once, watch_forks);
    if (left < size || seen != atomic_load(&forks)) {
        from_kernel(block, sizeof block);
        left = sizeof block;
        seen = atomic_load(&forks);
    }
    left -= size;
    memcpy(out, block + left, size);
    explicit_bzero(block + left, size);
}

void random_token(char *out, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if (size == 0)
        return;
    random_bytes(out, size - 1);
    for (size_t i = 0; i + 1 < size; i++)
        out[i] = digits[(unsigned char)out[i] & 63]; /* 64 digits: each as likely */
    out[size - 1] = '\0';
}

/* Milliseconds and 4096ths of one; above the one before, if that is possible within its
 * millisecond. */
static uint64_t next_stamp(void)
{
    static atomic_uint_fast64_t last;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t stamp = ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000) << 12 |
                     ((uint64_t)now.tv_nsec % 1000000 * 4096 / 1000000);
    uint_fast64_t before = atomic_load(&last);
    for (;;) {
        uint64_t mine = stamp > before || (before + 1) >> 12 != stamp >> 12 ? stamp : before + 1;
        if (atomic_compare_exchange_weak(&last, &before, mine))
            return mine;
    }
}

void id_new(char ret[ID_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t bytes[16];
    random_bytes(bytes, sizeof bytes);
    uint64_t stamp = next_stamp();
    for (int i = 0; i < 6; i++)
        bytes[i] = (uint8_t)(stamp >> (52 - 8 * i));
    bytes[6] = 0x70 | (uint8_t)(stamp >> 8 & 0x0f); /* version 7 */
    bytes[7] = (uint8_t)stamp;
    bytes[8] = 0x80 | (bytes[8] & 0x3f); /* the variant of RFC 9562 */
    char *p = ret;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex[bytes[i] >> 4];
        *p++ = hex[bytes[i] & 15];
    }
    *p = '\0';
}

int id_valid(const char *text)
{
    for (int i = 0; i < ID_TEXT - 1; i++) {
        char c = text[i];
        int dash = i == 8 || i == 13 || i == 18 || i == 23;
        int digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !digit) /* the zero of a short text is neither */
            return 0;
    }
    char variant = text[19];
    return text[ID_TEXT - 1] == '\0' && text[14] == '7' &&
           (variant == '8' || variant == '9' || variant == 'a' || variant == 'b');
}

/* UUIDs of version 7, tokens and random bytes, straight from getrandom(2): no pool of our own that
 * a fork could duplicate. No state, any thread. */
#include "id.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "time.h"

void random_bytes(void *out, size_t size)
{
    uint8_t *p = out;
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

void id_new(char ret[ID_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t bytes[16];
    random_bytes(bytes, sizeof bytes);
    uint64_t ms = (uint64_t)time_now_ms();
    for (int i = 0; i < 6; i++)
        bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    bytes[6] = 0x70 | (bytes[6] & 0x0f); /* version 7 */
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

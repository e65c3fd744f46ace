/* Allocation with one rule per kind of size (see mem.h). Any thread. */
#include "mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void out_of_memory(void)
{
    static const char text[] = "sonde: out of memory\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    abort();
}

void *xalloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

char *xstrdup(const char *s)
{
    char *p = strdup(s);
    if (!p)
        out_of_memory();
    return p;
}

char *xasprintf(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    if (n < 0)
        out_of_memory();
    return p;
}

void *try_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 64)
        return NULL;
    bytes = (bytes + 63) & ~(size_t)63;
    void *p = aligned_alloc(64, bytes ? bytes : 64);
    if (p)
        memset(p, 0, bytes ? bytes : 64);
    return p;
}

int try_grow(void *items_ptr, size_t *cap, size_t count, size_t size, size_t limit)
{
    void **items = items_ptr;
    if (count < *cap)
        return 0;
    if (count >= limit)
        return -1;
    size_t want = *cap ? *cap * 2 : 16;
    if (want <= count)
        want = count + 1;
    if (want > limit)
        want = limit;
    void *grown = reallocarray(*items, want, size);
    if (!grown)
        return -1;
    memset((char *)grown + *cap * size, 0, (want - *cap) * size);
    *items = grown;
    *cap = want;
    return 0;
}

void mem_cleanup_free(void *pp)
{
    free(*(void **)pp);
}

void mem_cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

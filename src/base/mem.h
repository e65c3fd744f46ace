/* Memory: how this project allocates.
 *
 *   xalloc    small sizes fixed by the program; aborts when memory is gone, so callers stay simple
 *   try_alloc anything sized by a client, a file or a model; the caller has checked a named limit
 *             before, and gets NULL when memory is gone
 * Both return zeroed memory for free(). `_cleanup_(fn)` frees a local at the end of its scope.
 */
#ifndef SONDE_BASE_MEM_H
#define SONDE_BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

#define ARRAY_LEN(a)    (sizeof(a) / sizeof((a)[0]))
#define _cleanup_(fn)   __attribute__((cleanup(fn)))
#define _cleanup_free_  _cleanup_(mem_cleanup_free)
#define _cleanup_close_ _cleanup_(mem_cleanup_close)
#define STEAL(p)                                                                                   \
    ({                                                                                             \
        __typeof__(p) steal_tmp_ = (p);                                                            \
        (p) = NULL;                                                                                \
        steal_tmp_;                                                                                \
    })
#define STEAL_FD(fd)                                                                               \
    ({                                                                                             \
        int steal_fd_ = (fd);                                                                      \
        (fd) = -1;                                                                                 \
        steal_fd_;                                                                                 \
    })

void *xalloc(size_t size) __attribute__((malloc, returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...)
    __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));
/* count * size bytes, zeroed, 64-byte aligned; NULL on overflow or when memory is gone. */
void *try_alloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));
/* Makes index `count` of the array *items_ptr (elements of `size` bytes) usable and updates *cap.
 * 0, or -1 when `count` reaches `limit` elements or memory is gone; the array stays as it was. */
int try_grow(void *items_ptr, size_t *cap, size_t count, size_t size, size_t limit)
    __attribute__((warn_unused_result));

void mem_cleanup_free(void *pp);
void mem_cleanup_close(int *fd);

#endif

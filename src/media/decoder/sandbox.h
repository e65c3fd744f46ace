/* The lock-down of a decoding child. */
#ifndef SONDE_MEDIA_DECODER_SANDBOX_H
#define SONDE_MEDIA_DECODER_SANDBOX_H

#include "../media.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif

/* The only two descriptors that a locked-down child has (with a sanitizer stderr too). */
#define SANDBOX_FD_INPUT  0
#define SANDBOX_FD_OUTPUT 1

/* Once in the decoder program, before it has read a message: gives up root. */
enum err_code sandbox_drop_root(struct err *err) MUST_CHECK;

/* In the child: moves the two descriptors to their places and closes everything else. */
enum err_code sandbox_keep(int input, int output, struct err *err) MUST_CHECK;
/* Next, before it has read a byte of the file: takes away all but reading the one and writing the
 * other. `parent`: the process with which it is to die. */
enum err_code sandbox_enter(const struct media_limits *limits, pid_t parent,
                            struct err *err) MUST_CHECK;

/* For tests: tries `what` (open socket exec fork …) and returns 0 when that worked, an errno when
 * it was refused; it may also be killed. -1: unknown name. */
int sandbox_try(const char *what);

#endif

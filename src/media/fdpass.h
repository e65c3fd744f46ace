/* Messages with descriptors over SOCK_SEQPACKET sockets. */
#ifndef SONDE_MEDIA_FDPASS_H
#define SONDE_MEDIA_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

#define FDPASS_MAX 4

/* Sends one whole message; 0, or -1 with errno. Never raises SIGPIPE. */
int fdpass_send(int sock, const void *data, size_t len, const int *fds, size_t n_fds);
/* Receives one message of exactly `len` bytes with up to n_fds descriptors (close-on-exec; the
 * caller's). 1, 0 when the other side has gone, -1 with errno (EBADMSG: another size or more
 * descriptors). *ret_fds: those that came, the rest -1; on 0 and -1 all are -1. */
int fdpass_recv(int sock, void *data, size_t len, int *ret_fds, size_t n_fds, int flags);

#endif

/* One recording being decoded: the parent's end of the pipe from its child.
 *
 * Nothing that comes out of the pipe is believed (protocol.c). When it ends without an end record
 * the child has died, and the decoder program, which reaps it, says on the stream's own socket of
 * what. Every wait is a poll() with the recording's deadline. The child is only ever signalled
 * through its pidfd, so a recycled pid can not be hit.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../os/clock.h"
#include "fdpass.h"
#include "service.h"

#define ATTEMPTS     3    /* at a decoder program that dies before it answers */
#define ANSWER_S     30.0 /* for its answer; loading FFmpeg on a busy machine takes a second */
#define LAST_WORDS_S 2.0  /* for the report of how a child ended */

struct media_stream {
    struct protocol_reader *reader;
    int pipe;
    int control;
    int pidfd; /* -1: unknown, closing the pipe has to do */
    pid_t pid;
    double max_wall;
    double deadline;
    int done;
    struct err failed; /* code != 0: what every further read answers */
};

/* Waits until `fd` has something or the clock says `until`. 1, or 0 when time is up. */
static int wait_readable(int fd, double until)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        double left = until - clock_seconds();
        if (left <= 0)
            return 0;
        int n = poll(&p, 1, left > 1e6 ? 1000000000 : (int)ceil(left * 1e3));
        if (n > 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            return 1;
    }
}

static enum err_code fail_timeout(const struct media_stream *stream, struct err *err)
{
    return err_set(err, ERR_TIMEOUT, "not decoded within the limit of %g seconds",
                   stream->max_wall);
}

static void kill_child(struct media_stream *stream)
{
    if (stream->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, stream->pidfd, SIGKILL, NULL, 0);
}

/* Receives the answer to a request: 1, 0 when the program died first, -1 with err set. */
static int receive_started(struct media_stream *stream, struct err *err)
{
    struct protocol_started started;
    double patience = clock_seconds() + ANSWER_S;
    if (!wait_readable(stream->control, fmin(patience, stream->deadline))) {
        if (stream->deadline < patience)
            fail_timeout(stream, err);
        else
            err_set(err, ERR_DECODER_DIED, "the decoder program does not answer");
        return -1;
    }
    int got = fdpass_recv(stream->control, &started, sizeof started, &stream->pidfd, 1, 0);
    if (got == 0)
        return 0;
    if (got < 0 || started.magic != PROTOCOL_MAGIC || started.version != PROTOCOL_VERSION ||
        started.errnum == EPROTO) {
        err_set(err, ERR_PROTOCOL, "the decoder program is of another version");
        return -1;
    }
    if (started.errnum) {
        err_set_errno(err, ERR_DECODER_DIED, started.errnum, "cannot start a decoder");
        return -1;
    }
    stream->pid = started.pid;
    return 1;
}

/* One attempt at a child for `fd`: as receive_started. */
static int attempt(struct media_service *service, int fd, const struct media_open_options *options,
                   struct media_stream *stream, unsigned *ret_generation, struct err *err)
{
    int ends[2], sockets[2];
    struct protocol_request request = {.magic = PROTOCOL_MAGIC,
                                       .version = PROTOCOL_VERSION,
                                       .limits = *media_service_limits(service)};
    if (options)
        request.options = *options;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        err_set_errno(err, ERR_IO, errno, "cannot make a pipe");
        return -1;
    }
    stream->pipe = ends[0];
    _cleanup_close_ int writer = ends[1];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
        err_set_errno(err, ERR_IO, errno, "cannot make a socket");
        return -1;
    }
    stream->control = sockets[0];
    _cleanup_close_ int theirs = sockets[1];
    int fds[PROTOCOL_REQUEST_FDS] = {fd, writer, theirs};
    if (service_send(service, &request, fds, ret_generation, err))
        return -1;
    /* Ours must go before the wait: an end of file is how a death shows. */
    close(STEAL_FD(theirs));
    return receive_started(stream, err);
}

static void close_all(struct media_stream *stream)
{
    mem_cleanup_close(&stream->pipe);
    mem_cleanup_close(&stream->control);
    mem_cleanup_close(&stream->pidfd);
    stream->pipe = stream->control = stream->pidfd = -1;
}

static enum err_code check_file(const struct media_limits *limits, int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot stat");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_NOT_A_FILE, "it is not a regular file");
    if (st.st_size == 0)
        return err_set(err, ERR_EMPTY, "the file is empty");
    if ((uint64_t)st.st_size > limits->max_bytes)
        return err_set(err, ERR_TOO_LARGE, "%lld bytes, the limit is %llu", (long long)st.st_size,
                       (unsigned long long)limits->max_bytes);
    return ERR_OK;
}

enum err_code media_open(struct media_service *service, int fd,
                         const struct media_open_options *options, struct media_stream **ret,
                         struct err *err)
{
    const struct media_limits *limits = media_service_limits(service);
    enum err_code code = check_file(limits, fd, err);
    if (code)
        return code;
    struct err local = {0};
    struct media_stream *stream = xalloc(sizeof *stream);
    stream->pipe = stream->control = stream->pidfd = -1;
    stream->max_wall = limits->max_wall;
    stream->deadline = clock_seconds() + limits->max_wall;
    stream->reader = xalloc(sizeof *stream->reader);
    protocol_reader_init(stream->reader, protocol_max_samples(limits));
    int got = 0;
    for (int i = 0; i < ATTEMPTS && got == 0; i++) {
        unsigned generation = 0;
        close_all(stream);
        got = attempt(service, fd, options, stream, &generation, &local);
        if (got == 0 || (got < 0 && local.code == ERR_DECODER_DIED))
            service_retire(service, generation);
    }
    if (got > 0) {
        *ret = stream;
        return ERR_OK;
    }
    if (got == 0)
        err_set(&local, ERR_DECODER_DIED, "the decoder program ends as soon as it is started");
    media_close(stream);
    if (err)
        *err = local;
    return local.code;
}

/* The pipe ended too early: says why, as far as can be known. */
static enum err_code fail_death(struct media_stream *stream, struct err *err)
{
    struct protocol_ended ended;
    int status = 0;
    int got = wait_readable(stream->control, clock_seconds() + LAST_WORDS_S)
                  ? fdpass_recv(stream->control, &ended, sizeof ended, NULL, 0, 0)
                  : 0;
    if (got <= 0 || ended.magic != PROTOCOL_MAGIC)
        return err_set(err, ERR_DECODER_DIED, "the decoder program died");
    status = ended.status;
    if (!WIFSIGNALED(status))
        return err_set(err, ERR_DECODER_DIED, "the decoder stopped with status %d",
                       WEXITSTATUS(status));
    int sig = WTERMSIG(status);
    if (sig == SIGALRM || sig == SIGXCPU)
        return fail_timeout(stream, err);
    if (sig == SIGSYS)
        return err_set(err, ERR_DECODER_DIED,
                       "the decoder tried what its sandbox forbids and was killed (SIGSYS)");
    const char *name = sigabbrev_np(sig), *text = sigdescr_np(sig);
    return err_set(err, ERR_DECODER_DIED, "the decoder was killed by SIG%s (%s)", name ? name : "?",
                   text ? text : "unknown signal");
}

/* Reads more of the pipe into the reader, within the deadline. */
static enum err_code fill(struct media_stream *stream, struct err *err)
{
    size_t room;
    unsigned char *space = protocol_reader_space(stream->reader, &room);
    for (;;) {
        if (!wait_readable(stream->pipe, stream->deadline)) {
            kill_child(stream);
            return fail_timeout(stream, err);
        }
        ssize_t n = read(stream->pipe, space, room);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read from the decoder");
        if (n == 0)
            return fail_death(stream, err);
        protocol_reader_filled(stream->reader, (size_t)n);
        return ERR_OK;
    }
}

enum err_code media_read(struct media_stream *stream, float *samples, size_t cap, size_t *ret_n,
                         struct err *err)
{
    *ret_n = 0;
    if (cap == 0)
        return err_set(err, ERR_INTERNAL, "media_read without room for a sample");
    while (!stream->done && !stream->failed.code) {
        enum protocol_event event =
            protocol_reader_take(stream->reader, samples, cap, ret_n, &stream->failed);
        if (event == PROTOCOL_EVENT_SAMPLES)
            return ERR_OK;
        if (event == PROTOCOL_EVENT_END) {
            stream->done = 1;
        } else if (event == PROTOCOL_EVENT_FAILED) {
            kill_child(stream);
        } else {
            enum err_code code = fill(stream, &stream->failed);
            (void)code; /* stays in stream->failed, which ends the loop */
        }
    }
    if (stream->failed.code && err)
        *err = stream->failed;
    return stream->failed.code;
}

const struct media_info *media_stream_info(const struct media_stream *stream)
{
    return &stream->reader->info;
}

pid_t media_stream_pid(const struct media_stream *stream)
{
    return stream->pid;
}

struct media_stream *media_close(struct media_stream *stream)
{
    if (!stream)
        return NULL;
    if (!stream->done)
        kill_child(stream);
    close_all(stream);
    free(stream->reader);
    free(stream);
    return NULL;
}

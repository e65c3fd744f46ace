/* sonde-decoder: the program that parses untrusted recordings.
 *
 * It links FFmpeg (a hundred libraries, thirty milliseconds of start-up), so it starts once and
 * forks a child per recording. This process itself never reads a file: it takes requests from the
 * socket, forks, passes the child's pid and pidfd back, reaps, and reports how the child ended. It
 * ends when the socket does, and its children with it.
 *
 * One thread. SIGCHLD is blocked and read from a signalfd, so that one poll() waits for both.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libavutil/log.h>

#include "../../base/mem.h"
#include "../fdpass.h"
#include "codecs.h"
#include "decode.h"
#include "sandbox.h"

/* Recordings decoded at once; each is a process. */
#define CHILDREN_MAX 1024

struct child {
    pid_t pid;
    int control; /* where its end is to be reported */
};

struct zygote {
    pid_t pid;
    int signals;
    struct child *children;
    size_t n, cap;
    struct err no_sandbox; /* why root could not be given up */
};

#if SANDBOX_SANITIZED
/* The children may not start a symbolizer, and end without freeing. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "symbolize=0:detect_leaks=0";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "symbolize=0";
}
#endif

/* The child: everything that touches the file. Never returns. */
static void run_child(const struct zygote *zygote, const struct protocol_request *request,
                      const int *fds)
{
    static struct output output; /* 64 KiB */
    struct input input;
    struct err err = {0};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    output_init(&output, fds[1], &request->limits);
    enum err_code code = sandbox_keep(fds[0], fds[1], &err);
    if (!code) {
        output.fd = SANDBOX_FD_OUTPUT;
        code = input_init(&input, SANDBOX_FD_INPUT, &request->limits, &err);
    }
    if (!code && zygote->no_sandbox.code) {
        err = zygote->no_sandbox;
        code = err.code;
    }
    if (!code)
        code = sandbox_enter(&request->limits, zygote->pid, &err);
    if (!code)
        code = decode_run(&input, &output, &request->limits, request->options.through, &err);
    if (code)
        output_error(&output, &err);
    _exit(0);
}

static void reply(int control, pid_t pid, int pidfd, int errnum)
{
    struct protocol_started started = {
        .magic = PROTOCOL_MAGIC, .version = PROTOCOL_VERSION, .pid = pid, .errnum = errnum};
    /* A parent that has gone needs no answer. */
    int ignored = fdpass_send(control, &started, sizeof started, &pidfd, pidfd >= 0);
    (void)ignored;
}

/* Forks for one request and takes over fds[2], the control socket. */
static void start_child(struct zygote *zygote, const struct protocol_request *request, int *fds)
{
    int control = fds[2];
    int errnum = request->magic != PROTOCOL_MAGIC || request->version != PROTOCOL_VERSION ? EPROTO
                 : fds[0] < 0 || fds[1] < 0                                               ? EBADF
                                                                                          : 0;
    if (!errnum && try_grow(&zygote->children, &zygote->cap, zygote->n, sizeof *zygote->children,
                            CHILDREN_MAX) < 0)
        errnum = EAGAIN;
    pid_t pid = errnum ? -1 : fork();
    if (pid == 0)
        run_child(zygote, request, fds);
    if (pid < 0) {
        reply(control, 0, -1, errnum ? errnum : errno);
        return;
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    reply(control, pid, pidfd, 0);
    if (pidfd >= 0)
        close(pidfd);
    zygote->children[zygote->n++] = (struct child){.pid = pid, .control = control};
    fds[2] = -1;
}

static void reap(struct zygote *zygote)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct protocol_ended ended = {.magic = PROTOCOL_MAGIC, .status = status};
        for (size_t i = 0; i < zygote->n; i++) {
            if (zygote->children[i].pid != pid)
                continue;
            int ignored = fdpass_send(zygote->children[i].control, &ended, sizeof ended, NULL, 0);
            (void)ignored;
            close(zygote->children[i].control);
            zygote->children[i] = zygote->children[--zygote->n];
            break;
        }
    }
}

/* One message from the parent; 0 at the end. */
static int serve_one(struct zygote *zygote)
{
    struct protocol_request request;
    int fds[PROTOCOL_REQUEST_FDS];
    int got =
        fdpass_recv(PROTOCOL_SOCKET_FD, &request, sizeof request, fds, PROTOCOL_REQUEST_FDS, 0);
    if (got == 0)
        return 0;
    if (got > 0 && fds[2] >= 0)
        start_child(zygote, &request, fds);
    for (size_t i = 0; i < PROTOCOL_REQUEST_FDS; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return got > 0 || errno == EBADMSG;
}

static int serve(struct zygote *zygote)
{
    struct pollfd polls[2] = {{.fd = PROTOCOL_SOCKET_FD, .events = POLLIN},
                              {.fd = zygote->signals, .events = POLLIN}};
    int warm = 0;
    for (;;) {
        /* Tables are made while nobody waits, and before the first fork if there is time. */
        int n = poll(polls, 2, warm ? -1 : 0);
        if (n < 0 && errno != EINTR)
            return 1;
        if (n == 0) {
            codecs_warm_up();
            warm = 1;
            continue;
        }
        if (n > 0 && polls[1].revents) {
            struct signalfd_siginfo info;
            ssize_t ignored = read(zygote->signals, &info, sizeof info);
            (void)ignored;
            reap(zygote);
        }
        if (n > 0 && polls[0].revents && !serve_one(zygote))
            return 0;
    }
}

/* --probe-sandbox NAME: locks itself down like a child, tries NAME, says what came of it. Exit
 * status 0 = refused, 1 = it worked, 2 = could not be tried; or the kernel ends it. */
static int probe_sandbox(const char *what)
{
    struct media_limits limits = {.max_bytes = 1 << 20,
                                  .max_seconds = 60,
                                  .max_wall = 10,
                                  .max_memory = MEDIA_MAX_MEMORY_DEFAULT};
    struct err err = {0};
    char text[512];
    pid_t parent = getppid();
    enum err_code code = sandbox_drop_root(&err);
    if (!code)
        code = sandbox_keep(STDIN_FILENO, STDOUT_FILENO, &err);
    if (!code)
        code = sandbox_enter(&limits, parent, &err);
    int result = code ? -2 : sandbox_try(what);
    int n = code          ? snprintf(text, sizeof text, "%s\n", err.text)
            : result < 0  ? snprintf(text, sizeof text, "unknown probe\n")
            : result == 0 ? snprintf(text, sizeof text, "%s worked\n", what)
                          : snprintf(text, sizeof text, "%s refused: errno %d\n", what, result);
    ssize_t ignored = write(SANDBOX_FD_OUTPUT, text, (size_t)n);
    (void)ignored;
    _exit(result > 0 ? 0 : result == 0 ? 1 : 2);
}

int main(int argc, char **argv)
{
    av_log_set_level(AV_LOG_QUIET); /* its terminal checks call ioctl, and nobody reads it */
    if (argc == 3 && strcmp(argv[1], "--probe-sandbox") == 0)
        return probe_sandbox(argv[2]);
    if (argc != 2 || strcmp(argv[1], "--serve") != 0) {
        fprintf(stderr, "sonde-decoder %s: started by sonde and libsonde to decode recordings\n",
                SONDE_VERSION);
        return 2;
    }
    struct zygote zygote = {.pid = getpid()};
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    zygote.signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    if (zygote.signals < 0)
        return 1;
    const char *allow = getenv("SONDE_ALLOW_UNSANDBOXED");
    if (sandbox_drop_root(&zygote.no_sandbox) && allow && strcmp(allow, "1") == 0)
        zygote.no_sandbox.code = ERR_OK;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (!codecs_list())
        return 1;
    int status = serve(&zygote);
    _exit(status); /* the children end by PR_SET_PDEATHSIG */
}

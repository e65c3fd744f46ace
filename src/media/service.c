/* The decoder program as seen from here: started once, restarted when it has died.
 *
 * This code lives in other people's processes, so it changes no signal disposition, never waits for
 * children but its own, and every descriptor is close-on-exec. The program gets its own session (a
 * Ctrl-C on the terminal is the caller's to handle) and ends by itself when the socket closes, also
 * when this process is killed. Starting does not wait for it to be ready: the first request queues
 * in the socket while FFmpeg's libraries load.
 *
 * The lock is held while the program is started and while a message is handed to the kernel, never
 * while waiting for an answer: each stream has a socket of its own for that.
 */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../base/mem.h"
#include "../os/file.h"
#include "fdpass.h"

#define PROGRAM_NAME "sonde-decoder"
#ifndef SONDE_LIBEXECDIR
#define SONDE_LIBEXECDIR "/usr/libexec/sonde"
#endif
#define END_MS       2000 /* how long the program may take to end before it is killed */
#define SEND_SECONDS 10   /* how long its queue may be full */

extern char **environ;

struct media_service {
    char *program;
    struct media_limits limits;
    pthread_mutex_t lock;
    int sock; /* -1: not running */
    int pidfd;
    pid_t pid;
    unsigned generation;
};

static char *find_program(const char *program)
{
    if (!program || !program[0])
        program = secure_getenv("SONDE_DECODER");
    if (program && program[0])
        return xstrdup(program);
    _cleanup_free_ char *dir = file_program_dir();
    char *beside = dir ? xasprintf("%s/" PROGRAM_NAME, dir) : NULL;
    if (beside && access(beside, X_OK) == 0)
        return beside;
    free(beside);
    return xstrdup(SONDE_LIBEXECDIR "/" PROGRAM_NAME);
}

static int spawn_program(const char *program, int sock, pid_t *ret_pid)
{
    char *const argv[] = {(char *)PROGRAM_NAME, (char *)"--serve", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, sock, PROTOCOL_SOCKET_FD);
    posix_spawn_file_actions_addclosefrom_np(&files, PROTOCOL_SOCKET_FD + 1);
    /* The host may ignore SIGPIPE or block signals; the program must not inherit that. */
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    int errnum = posix_spawn(ret_pid, program, &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return errnum;
}

/* With the lock held. */
static enum err_code start(struct media_service *service, struct err *err)
{
    int ends[2];
    struct timeval patience = {.tv_sec = SEND_SECONDS};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot make a socket for the decoder");
    _cleanup_close_ int ours = ends[0];
    _cleanup_close_ int theirs = ends[1];
    if (theirs <= PROTOCOL_SOCKET_FD) {
        /* A host without standard descriptors: the new ones must not overwrite it, and dup2 onto
         * itself would leave it close-on-exec. */
        int other = fcntl(theirs, F_DUPFD_CLOEXEC, PROTOCOL_SOCKET_FD + 1);
        if (other < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot make a socket for the decoder");
        close(theirs);
        theirs = other;
    }
    setsockopt(ours, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int errnum = spawn_program(service->program, theirs, &service->pid);
    if (errnum)
        return err_set_errno(err, errnum == ENOENT ? ERR_NOT_FOUND : err_from_errno(errnum), errnum,
                             "cannot start the decoder program %s", service->program);
    service->pidfd = (int)syscall(SYS_pidfd_open, service->pid, 0); /* is close-on-exec */
    service->sock = STEAL_FD(ours);
    service->generation++;
    return ERR_OK;
}

/* With the lock held: closes the socket, which ends the program; kills it when that takes long. */
static void stop(struct media_service *service, int patience_ms)
{
    if (service->sock < 0)
        return;
    close(service->sock);
    service->sock = -1;
    struct pollfd p = {.fd = service->pidfd, .events = POLLIN};
    if (service->pidfd >= 0) {
        if (poll(&p, 1, patience_ms) <= 0)
            syscall(SYS_pidfd_send_signal, service->pidfd, SIGKILL, NULL, 0);
        close(service->pidfd);
        service->pidfd = -1;
    }
    /* ECHILD: the host ignores SIGCHLD or waits for everything; then there is nothing to reap. */
    while (waitpid(service->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    service->pid = 0;
}

static double or_default(double value, double otherwise)
{
    return value > 0 ? value : otherwise;
}

enum err_code media_service_new(const char *program, const struct media_limits *limits,
                                struct media_service **ret, struct err *err)
{
    static const struct media_limits none = {0};
    const struct media_limits *l = limits ? limits : &none;
    struct media_service *service = xalloc(sizeof *service);
    service->program = find_program(program);
    service->sock = service->pidfd = -1;
    service->limits.max_bytes = l->max_bytes ? l->max_bytes : MEDIA_MAX_BYTES_DEFAULT;
    service->limits.max_memory = l->max_memory ? l->max_memory : MEDIA_MAX_MEMORY_DEFAULT;
    service->limits.max_seconds = or_default(l->max_seconds, MEDIA_MAX_SECONDS_DEFAULT);
    service->limits.max_wall = or_default(l->max_wall, MEDIA_MAX_WALL_DEFAULT);
    /* Within what timers and counters hold: 30 years. */
    if (service->limits.max_wall > 1e9)
        service->limits.max_wall = 1e9;
    if (service->limits.max_memory > UINT64_C(1) << 46)
        service->limits.max_memory = UINT64_C(1) << 46;
    pthread_mutex_init(&service->lock, NULL);
    enum err_code code = start(service, err);
    if (code) {
        media_service_free(service);
        return code;
    }
    *ret = service;
    return ERR_OK;
}

struct media_service *media_service_free(struct media_service *service)
{
    if (!service)
        return NULL;
    stop(service, END_MS);
    pthread_mutex_destroy(&service->lock);
    free(service->program);
    free(service);
    return NULL;
}

const struct media_limits *media_service_limits(const struct media_service *service)
{
    return &service->limits;
}

enum err_code service_send(struct media_service *service, const struct protocol_request *request,
                           const int *fds, unsigned *ret_generation, struct err *err)
{
    enum err_code code = ERR_OK;
    pthread_mutex_lock(&service->lock);
    for (int attempt = 0;; attempt++) {
        if (service->sock < 0)
            code = start(service, err);
        if (code)
            break;
        if (fdpass_send(service->sock, request, sizeof *request, fds, PROTOCOL_REQUEST_FDS) == 0)
            break;
        int errnum = errno;
        stop(service, 0);
        if (attempt == 1) {
            code = err_set_errno(err, ERR_DECODER_DIED, errnum,
                                 "the decoder program takes no requests");
            break;
        }
    }
    *ret_generation = service->generation;
    pthread_mutex_unlock(&service->lock);
    return code;
}

void service_retire(struct media_service *service, unsigned generation)
{
    pthread_mutex_lock(&service->lock);
    if (service->generation == generation)
        stop(service, 0);
    pthread_mutex_unlock(&service->lock);
}

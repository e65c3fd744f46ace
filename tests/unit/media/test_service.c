/* media: the decoder program and its children: what happens when they die, what they may not do,
 * that nothing leaks, and that many threads can use them. */
#include "../../support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../support/audio.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/file.h"

#define LONG_SECONDS 1200

static struct media_service *service;
static float *voice;
static size_t voice_n;

static int setup(void **state)
{
    struct err err;
    if (audio_setup(state) || media_service_new(NULL, NULL, &service, &err))
        return -1;
    voice = audio_voice(2, &voice_n);
    int16_t *pcm = malloc(voice_n * sizeof *pcm);
    if (!pcm)
        return -1;
    for (size_t i = 0; i < voice_n; i++)
        pcm[i] = (int16_t)lrintf(voice[i] * 32767);
    audio_write_wav16("short.wav", pcm, voice_n, 16000, 1, (uint32_t)(voice_n * 2));
    /* Twenty minutes at 48 kHz: much more than a pipe holds. */
    size_t long_n = (size_t)LONG_SECONDS * 48000;
    int16_t *more = calloc(long_n, sizeof *more);
    if (!more)
        return -1;
    for (size_t i = 0; i < long_n; i++)
        more[i] = pcm[i % voice_n];
    audio_write_wav16("long.wav", more, long_n, 48000, 1, (uint32_t)(long_n * 2));
    free(more);
    free(pcm);
    return 0;
}

static int teardown(void **state)
{
    free(voice);
    service = media_service_free(service);
    return audio_teardown(state);
}

static struct media_stream *open_stream(const char *name)
{
    struct err err = {0};
    struct media_stream *stream = NULL;
    uint64_t size;
    int fd = -1;
    assert_int_equal(file_open_regular(audio_path(name), &fd, &size, &err), ERR_OK);
    if (media_open(service, fd, NULL, &stream, &err))
        print_error("media_open: %s\n", err.text);
    close(fd);
    assert_non_null(stream);
    return stream;
}

/* Reads to the end; the samples. */
static size_t drain(struct media_stream *stream, enum err_code *ret_code, struct err *err)
{
    static __thread float block[4096];
    size_t n, total = 0;
    while (!(*ret_code = media_read(stream, block, ARRAY_LEN(block), &n, err)) && n > 0)
        total += n;
    return total;
}

static void assert_short_works(void)
{
    struct audio_decoded d = audio_decode(service, "short.wav", 0);
    assert_int_equal(d.code, ERR_OK);
    assert_int_equal(d.n, voice_n);
}

/* The parent of a child is the decoder program. */
static pid_t decoder_pid(void)
{
    struct media_stream *stream = open_stream("long.wav");
    long parent = audio_proc_kib(media_stream_pid(stream), "PPid");
    media_close(stream);
    assert_true(parent > 1);
    return (pid_t)parent;
}

static int exists(pid_t pid)
{
    return kill(pid, 0) == 0 || errno != ESRCH;
}

static int wait_gone(pid_t pid)
{
    for (int i = 0; i < 200 && exists(pid); i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return !exists(pid);
}

static void a_killed_child_fails_its_own_recording_only(void **state)
{
    (void)state;
    float block[1000];
    size_t n;
    enum err_code code;
    struct err err;
    struct media_stream *a = open_stream("long.wav"), *b = open_stream("long.wav");
    assert_int_equal(media_read(a, block, ARRAY_LEN(block), &n, &err), ERR_OK);
    assert_int_not_equal(media_stream_pid(a), media_stream_pid(b));
    assert_int_equal(kill(media_stream_pid(a), SIGKILL), 0);
    drain(a, &code, &err);
    assert_int_equal(code, ERR_DECODER_DIED);
    assert_non_null(strstr(err.text, "SIGKILL"));
    /* And it stays so. */
    assert_int_equal(media_read(a, block, ARRAY_LEN(block), &n, &err), ERR_DECODER_DIED);
    assert_int_equal(n, 0);
    assert_true(drain(b, &code, &err) > (LONG_SECONDS - 1) * MEDIA_SAMPLE_RATE);
    assert_int_equal(code, ERR_OK);
    media_close(a);
    media_close(b);
    assert_short_works();
}

static void a_killed_decoder_program_is_restarted(void **state)
{
    (void)state;
    enum err_code code;
    struct err err;
    struct media_stream *stream = open_stream("long.wav");
    pid_t child = media_stream_pid(stream);
    pid_t program = (pid_t)audio_proc_kib(child, "PPid");
    assert_int_equal(kill(program, SIGKILL), 0);
    drain(stream, &code, &err);
    assert_int_equal(code, ERR_DECODER_DIED); /* the child dies with its parent */
    media_close(stream);
    assert_short_works();
    assert_int_not_equal(decoder_pid(), program);
    assert_true(wait_gone(child));
    assert_true(wait_gone(program)); /* reaped */
}

static void a_stopped_decoder_program_does_not_block_the_end(void **state)
{
    (void)state;
    struct media_service *other;
    struct err err;
    assert_int_equal(media_service_new(NULL, NULL, &other, &err), ERR_OK);
    struct media_service *keep = service;
    service = other;
    pid_t program = decoder_pid();
    service = keep;
    assert_int_equal(kill(program, SIGSTOP), 0);
    double t0 = clock_seconds();
    media_service_free(other);
    assert_true(clock_seconds() - t0 < 5);
    assert_true(wait_gone(program));
}

static void closing_early_ends_the_child_and_leaves_no_zombie(void **state)
{
    (void)state;
    float block[16];
    size_t n;
    struct err err;
    struct media_stream *stream = open_stream("long.wav");
    pid_t child = media_stream_pid(stream);
    assert_int_equal(media_read(stream, block, ARRAY_LEN(block), &n, &err), ERR_OK);
    assert_int_equal(n, ARRAY_LEN(block));
    media_close(stream);
    assert_true(wait_gone(child));

    stream = open_stream("short.wav");
    child = media_stream_pid(stream);
    enum err_code code;
    assert_int_equal(drain(stream, &code, &err), voice_n);
    media_close(stream);
    assert_true(wait_gone(child));
}

static void no_descriptor_is_leaked(void **state)
{
    (void)state;
    struct media_stream *stream;
    float block[16];
    size_t n;
    struct err err;
    assert_short_works();
    int before = audio_count_fds();
    for (int i = 0; i < 50; i++) {
        assert_short_works();
        stream = open_stream("long.wav");
        if (i % 2)
            assert_int_equal(media_read(stream, block, ARRAY_LEN(block), &n, &err), ERR_OK);
        media_close(stream);
        audio_write("letter.wav", "Dear Sir", 8);
        audio_decode(service, "letter.wav", 0);
    }
    pid_t program = decoder_pid();
    kill(program, SIGKILL);
    wait_gone(program);
    assert_short_works();
    assert_int_equal(audio_count_fds(), before);
    /* Nor in the decoder program: sockets of finished children are closed. */
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)decoder_pid());
    if (geteuid() == 0) {
        char command[128];
        snprintf(command, sizeof command, "test $(ls %s | wc -l) -le 8", path);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        assert_int_equal(system(command), 0);
    }
}

static void *decode_often(void *arg)
{
    size_t *wrong = arg;
    for (int i = 0; i < 25; i++) {
        struct audio_decoded d = audio_decode(service, "short.wav", 0);
        *wrong += d.code != ERR_OK || d.n != voice_n;
    }
    return NULL;
}

static void many_threads_share_one_service(void **state)
{
    (void)state;
    pthread_t threads[6];
    size_t wrong[6] = {0};
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, decode_often, &wrong[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

static void one_descriptor_can_be_decoded_twice_at_once(void **state)
{
    (void)state;
    struct err err;
    struct media_stream *a = NULL, *b = NULL;
    enum err_code code;
    uint64_t size;
    int fd;
    assert_int_equal(file_open_regular(audio_path("short.wav"), &fd, &size, &err), ERR_OK);
    lseek(fd, 1000, SEEK_SET); /* from its start, all the same */
    assert_int_equal(media_open(service, fd, NULL, &a, &err), ERR_OK);
    assert_int_equal(media_open(service, fd, NULL, &b, &err), ERR_OK);
    assert_int_equal(drain(a, &code, &err), voice_n);
    assert_int_equal(drain(b, &code, &err), voice_n);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 1000);
    media_close(a);
    media_close(b);
    close(fd);
}

static void a_long_recording_takes_little_memory(void **state)
{
    (void)state;
    static float block[16384];
    size_t n, total = 0;
    struct err err;
    long child_kib = 0, before = audio_proc_kib(getpid(), "VmRSS");
    struct media_stream *stream = open_stream("long.wav");
    while (media_read(stream, block, ARRAY_LEN(block), &n, &err) == ERR_OK && n > 0) {
        long now = audio_proc_kib(media_stream_pid(stream), "VmHWM");
        child_kib = now > child_kib ? now : child_kib;
        total += n;
    }
    media_close(stream);
    long grown = audio_proc_kib(getpid(), "VmRSS") - before;
    print_message("# %d s: child at most %ld KiB, this process grew by %ld KiB\n", LONG_SECONDS,
                  child_kib, grown);
    assert_in_range(total, LONG_SECONDS * MEDIA_SAMPLE_RATE - 2,
                    LONG_SECONDS * MEDIA_SAMPLE_RATE + 2);
#if !AUDIO_SANITIZED
    assert_true(child_kib > 0 && child_kib < 64 * 1024);
    assert_true(grown < 4 * 1024);
#endif
}

static void a_slow_reader_meets_the_wall_limit(void **state)
{
    (void)state;
    const struct media_limits limits = {.max_wall = 0.3};
    struct media_service *hasty, *keep = service;
    enum err_code code;
    struct err err;
    assert_int_equal(media_service_new(NULL, &limits, &hasty, &err), ERR_OK);
    service = hasty;
    struct media_stream *stream = open_stream("long.wav");
    nanosleep(&(struct timespec){.tv_nsec = 600000000}, NULL);
    drain(stream, &code, &err);
    assert_int_equal(code, ERR_TIMEOUT);
    media_close(stream);
    media_service_free(hasty);
    service = keep;
}

static void an_impossible_wall_limit_is_a_timeout(void **state)
{
    (void)state;
    const struct media_limits limits = {.max_wall = 1e-4};
    struct media_service *hasty;
    struct err err;
    assert_int_equal(media_service_new(NULL, &limits, &hasty, &err), ERR_OK);
    struct audio_decoded d = audio_decode(hasty, "long.wav", 0);
    assert_int_equal(d.code, ERR_TIMEOUT);
    media_service_free(hasty);
}

/* A daemon may have closed them; then the first sockets get their numbers. */
static void a_host_without_standard_descriptors_works(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct media_service *other;
        struct err err;
        close(0);
        close(1);
        close(2);
        if (media_service_new(NULL, NULL, &other, &err))
            _exit(1);
        struct audio_decoded d = audio_decode(other, "short.wav", 0);
        media_service_free(other);
        _exit(d.code == ERR_OK && d.n == voice_n ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void a_wrong_program_is_an_error_not_a_wait(void **state)
{
    (void)state;
    struct media_service *wrong = NULL;
    struct media_stream *stream = NULL;
    struct err err;
    uint64_t size;
    int fd;
    assert_int_equal(media_service_new("/nowhere/sonde-decoder", NULL, &wrong, &err),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere/sonde-decoder"));
    assert_int_equal(media_service_new("/bin/true", NULL, &wrong, &err), ERR_OK);
    assert_int_equal(file_open_regular(audio_path("short.wav"), &fd, &size, &err), ERR_OK);
    assert_int_equal(media_open(wrong, fd, NULL, &stream, &err), ERR_DECODER_DIED);
    assert_null(stream);
    close(fd);
    media_service_free(wrong);
}

static void what_is_no_file_is_refused_here(void **state)
{
    (void)state;
    struct media_stream *stream = NULL;
    struct err err;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(media_open(service, ends[0], NULL, &stream, &err), ERR_NOT_A_FILE);
    close(ends[0]);
    close(ends[1]);
    audio_write("empty", "", 0);
    int fd = open(audio_path("empty"), O_RDONLY);
    assert_int_equal(media_open(service, fd, NULL, &stream, &err), ERR_EMPTY);
    close(fd);
}

static void hosts_signals_stay_as_they_were(void **state)
{
    (void)state;
    /* A host that ignores both: the decoder program must work all the same. */
    struct sigaction ignore = {.sa_handler = SIG_IGN}, pipe_before, chld_before, now;
    struct media_service *other, *keep = service;
    struct err err;
    sigaction(SIGPIPE, &ignore, &pipe_before);
    sigaction(SIGCHLD, &ignore, &chld_before);
    assert_int_equal(media_service_new(NULL, NULL, &other, &err), ERR_OK);
    service = other;
    assert_short_works();
    struct media_stream *stream = open_stream("long.wav");
    pid_t child = media_stream_pid(stream);
    media_close(stream);
    assert_true(wait_gone(child));
    media_service_free(other);
    service = keep;
    sigaction(SIGPIPE, NULL, &now);
    assert_ptr_equal(now.sa_handler, SIG_IGN);
    sigaction(SIGCHLD, &chld_before, &now);
    assert_ptr_equal(now.sa_handler, SIG_IGN);
    sigaction(SIGPIPE, &pipe_before, NULL);
}

/* --- the sandbox -------------------------------------------------------------------------------
 */

/* What a container without seccomp looks like: the filter may not be installed. */
static void forbid_seccomp(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_SECCOMP, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = ARRAY_LEN(code), .filter = code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        _exit(126);
}

/* Runs `sonde-decoder --probe-sandbox what`; its wait status. */
static int probe(const char *what, int without_seccomp, char *text, size_t cap)
{
    int ends[2], status = 0;
    const char *program = getenv("SONDE_DECODER");
    assert_non_null(program);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int input = open(audio_path("short.wav"), O_RDWR);
        if (without_seccomp)
            forbid_seccomp();
        dup2(input, 0);
        dup2(ends[1], 1);
        execl(program, program, "--probe-sandbox", what, NULL);
        _exit(127);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], text, cap - 1);
    text[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void the_sandbox_refuses(void **state)
{
    (void)state;
    /* killed: the kernel must end the process for it; else an error is enough. */
    static const struct {
        const char *what;
        int killed;
    } probes[] = {
        {"open", 0},
        {"create", 0},
        {"socket", 1},
        {"exec", 1},
        {"fork", 1},
        {"write", 0},
        {"kill", 1},
        {"exec-memory", 0},
        {"ptrace", 1},
        {"make-executable", 0},
#if !AUDIO_SANITIZED
        {"memory", 0},
#endif
    };
    char text[512];
    int bad = 0;
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        int status = probe(probes[i].what, 0, text, sizeof text);
        int killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
        int refused = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (!killed && (probes[i].killed || !refused)) {
            print_error("%s: wait status %x: %s", probes[i].what, (unsigned)status, text);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
    assert_int_not_equal(access("/tmp/sonde-sandbox-probe", F_OK), 0);
    /* And the probe itself can tell: an unknown name is neither. */
    int status = probe("nothing-known", 0, text, sizeof text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
}

static void without_seccomp_nothing_is_decoded(void **state)
{
    (void)state;
    char text[512];
    int status = probe("socket", 1, text, sizeof text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    assert_non_null(strstr(text, "seccomp is not available"));
    /* Unless the user insists. */
    setenv("SONDE_ALLOW_UNSANDBOXED", "1", 1);
    status = probe("kill", 1, text, sizeof text);
    unsetenv("SONDE_ALLOW_UNSANDBOXED");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
}

static void a_child_is_nobody_and_has_two_descriptors(void **state)
{
    (void)state;
    char command[256];
    struct media_stream *stream = open_stream("long.wav");
    float block[16];
    size_t n;
    struct err err;
    assert_int_equal(media_read(stream, block, ARRAY_LEN(block), &n, &err), ERR_OK);
    int pid = (int)media_stream_pid(stream);
    assert_int_equal(audio_proc_kib(pid, "NoNewPrivs"), 1);
    assert_int_equal(audio_proc_kib(pid, "Seccomp"), 2);
    assert_int_not_equal(audio_proc_kib(pid, "Uid"), 0);
    if (geteuid() == 0) {
        snprintf(command, sizeof command, "test $(ls /proc/%d/fd | wc -l) -le %d", pid,
#if AUDIO_SANITIZED
                 3
#else
                 2
#endif
        );
        assert_int_equal(system(command), 0);
    }
    media_close(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_child_fails_its_own_recording_only),
        cmocka_unit_test(a_killed_decoder_program_is_restarted),
        cmocka_unit_test(a_stopped_decoder_program_does_not_block_the_end),
        cmocka_unit_test(closing_early_ends_the_child_and_leaves_no_zombie),
        cmocka_unit_test(no_descriptor_is_leaked),
        cmocka_unit_test(many_threads_share_one_service),
        cmocka_unit_test(one_descriptor_can_be_decoded_twice_at_once),
        cmocka_unit_test(a_long_recording_takes_little_memory),
        cmocka_unit_test(a_slow_reader_meets_the_wall_limit),
        cmocka_unit_test(an_impossible_wall_limit_is_a_timeout),
        cmocka_unit_test(a_host_without_standard_descriptors_works),
        cmocka_unit_test(a_wrong_program_is_an_error_not_a_wait),
        cmocka_unit_test(what_is_no_file_is_refused_here),
        cmocka_unit_test(hosts_signals_stay_as_they_were),
        cmocka_unit_test(the_sandbox_refuses),
        cmocka_unit_test(without_seccomp_nothing_is_decoded),
        cmocka_unit_test(a_child_is_nobody_and_has_two_descriptors),
    };
    return cmocka_run_group_tests_name("media_service", tests, setup, teardown);
}

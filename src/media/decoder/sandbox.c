/* The lock-down of a decoding child, applied after fork and before the first byte of the file.
 *
 * Layers, each enough by itself against most of what a broken codec could be made to do:
 *   identity    never root; no new privileges; not dumpable, so no other process may trace it
 *   descriptors the file (by pread) and the pipe; nothing else is open, nothing can be opened
 *   rlimits     memory, CPU, no files, no processes, no core; a timer for the wall clock
 *   Landlock    no file-system access at all, where the kernel has it
 *   seccomp     about twenty system calls; harmless probes are refused with an errno, everything
 *               else ends the process
 * Seccomp is the one that must work: where it is forbidden the child refuses to decode, unless
 * SONDE_ALLOW_UNSANDBOXED=1. The filter is written by hand (one table) rather than with libseccomp,
 * because the decoder program's start-up time is the number of libraries that it loads.
 *
 * A build with a sanitizer reserves terabytes of address space and reports on stderr: it keeps that
 * descriptor, has no RLIMIT_AS and allows the few calls that its run-time library needs.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "../../base/mem.h"

#define UNPRIVILEGED_ID 65534

enum err_code sandbox_drop_root(struct err *err)
{
    if (geteuid() != 0 && getuid() != 0)
        return ERR_OK;
    if (setgroups(0, NULL) < 0 ||
        setresgid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID) < 0 ||
        setresuid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID) < 0)
        return err_set_errno(err, ERR_SANDBOX, errno, "the decoder cannot give up root");
    return ERR_OK;
}

/* --- seccomp -----------------------------------------------------------------------------------
 */

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#else
#define THIS_ARCH 0 /* no filter has been written: sandbox_enter refuses */
#endif

/* Allowed whatever the arguments are. */
static const int allowed[] = {
    __NR_munmap,
    __NR_mremap,
    __NR_brk,
    __NR_madvise,
    __NR_futex,
    __NR_exit,
    __NR_exit_group,
    __NR_rt_sigreturn,
    __NR_rt_sigprocmask,
    __NR_restart_syscall,
    __NR_clock_gettime,
    __NR_gettimeofday,
    __NR_getrandom,
    __NR_getpid,
    __NR_gettid,
#ifdef __NR_time
    __NR_time,
#endif
#if SANDBOX_SANITIZED
    __NR_sched_yield,
    __NR_sigaltstack,
    __NR_rt_sigaction,
    __NR_getuid,
    __NR_prlimit64,
    __NR_nanosleep,
    __NR_clock_nanosleep,
#endif
};

/* What libraries try in passing, and do without when it fails. */
static const struct {
    int number;
    int errnum;
} refused[] = {
    {__NR_openat, EACCES},    {__NR_newfstatat, EACCES},
    {__NR_faccessat, EACCES}, {__NR_readlinkat, EACCES},
#ifdef __NR_open
    {__NR_open, EACCES},      {__NR_access, EACCES},
    {__NR_stat, EACCES},      {__NR_readlink, EACCES},
#endif
    {__NR_statx, EACCES},     {__NR_fstat, EACCES},
    {__NR_ioctl, ENOTTY},     {__NR_sched_getaffinity, EPERM},
    {__NR_sysinfo, EPERM},    {__NR_uname, EPERM},
    {__NR_getrusage, EPERM},  {__NR_close, EBADF},
    {__NR_read, EBADF},       {__NR_lseek, EBADF},
    {__NR_fcntl, EBADF},
};

struct program {
    struct sock_filter code[256];
    unsigned short n;
};

static void emit(struct program *p, struct sock_filter op)
{
    if (p->n < ARRAY_LEN(p->code))
        p->code[p->n++] = op;
}

static void load(struct program *p, size_t offset)
{
    emit(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

static void answer(struct program *p, uint32_t what)
{
    emit(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, what));
}

/* If the loaded word equals `value`, the next instruction answers `what`. */
static void answer_if(struct program *p, uint32_t value, uint32_t what)
{
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
    answer(p, what);
}

static size_t arg(int i)
{
    /* The low half; both supported processors are little-endian. */
    return offsetof(struct seccomp_data, args) + (size_t)i * 8;
}

/* System call `number`: allowed when its descriptor argument 0 is `fd`, EBADF otherwise. */
static void allow_on_fd(struct program *p, int number, int fd)
{
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0,
                                         SANDBOX_SANITIZED ? 6 : 4));
    load(p, arg(0));
    answer_if(p, (uint32_t)fd, SECCOMP_RET_ALLOW);
    if (SANDBOX_SANITIZED)
        answer_if(p, STDERR_FILENO, SECCOMP_RET_ALLOW);
    answer(p, SECCOMP_RET_ERRNO | EBADF);
}

/* System call `number`: refused when any of `bits` is set in argument `i`. */
static void allow_without_bits(struct program *p, int number, int i, uint32_t bits)
{
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4));
    load(p, arg(i));
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1));
    answer(p, SECCOMP_RET_ERRNO | EPERM);
    answer(p, SECCOMP_RET_ALLOW);
}

/* mmap: memory only (no file), and never executable. */
static void allow_mmap(struct program *p)
{
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mmap, 0, 6));
    load(p, arg(2));
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 3, 0));
    load(p, arg(3));
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 0, 1));
    answer(p, SECCOMP_RET_ALLOW);
    answer(p, SECCOMP_RET_ERRNO | EPERM);
}

/* abort() signals its own process: allowed, so that a failed check is reported as SIGABRT. */
static void allow_own_signal(struct program *p)
{
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_tgkill, 0, 4));
    load(p, arg(0));
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 0, 1));
    answer(p, SECCOMP_RET_ALLOW);
    answer(p, SECCOMP_RET_KILL_PROCESS);
}

static void build_filter(struct program *p)
{
    p->n = 0;
    load(p, offsetof(struct seccomp_data, arch));
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0));
    answer(p, SECCOMP_RET_KILL_PROCESS);
    load(p, offsetof(struct seccomp_data, nr));
    allow_on_fd(p, __NR_pread64, SANDBOX_FD_INPUT);
    allow_on_fd(p, __NR_write, SANDBOX_FD_OUTPUT);
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        answer_if(p, (uint32_t)allowed[i], SECCOMP_RET_ALLOW);
    allow_mmap(p);
    allow_without_bits(p, __NR_mprotect, 2, PROT_EXEC);
    allow_own_signal(p);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        answer_if(p, (uint32_t)refused[i].number,
                  SECCOMP_RET_ERRNO | ((uint32_t)refused[i].errnum & SECCOMP_RET_DATA));
    answer(p, SECCOMP_RET_KILL_PROCESS);
}

static enum err_code enter_seccomp(struct err *err)
{
    struct program p;
    build_filter(&p);
    if (THIS_ARCH == 0 || p.n == ARRAY_LEN(p.code))
        return err_set(err, ERR_SANDBOX, "no seccomp filter for this processor");
    struct sock_fprog prog = {.len = p.n, .filter = p.code};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
        return err_set_errno(err, ERR_SANDBOX, errno,
                             "the decoder cannot be locked down: seccomp is not available here");
    return ERR_OK;
}

/* --- Landlock ----------------------------------------------------------------------------------
 */

/* linux/landlock.h of the build machine may be older than the kernel: these are ABI 1. */
struct landlock_attr {
    uint64_t handled_access_fs;
};
#define LANDLOCK_FS_ABI1 0x1fffu

static void enter_landlock(void)
{
    /* 444 and 446: landlock_create_ruleset and landlock_restrict_self on every architecture. A
     * kernel without Landlock answers ENOSYS or EOPNOTSUPP, and seccomp alone has to do. */
    struct landlock_attr attr = {.handled_access_fs = LANDLOCK_FS_ABI1};
    int ruleset = (int)syscall(444, &attr, sizeof attr, 0);
    if (ruleset < 0)
        return;
    long ignored = syscall(446, ruleset, 0);
    (void)ignored;
    close(ruleset);
}

/* --- the rest ----------------------------------------------------------------------------------
 */

enum err_code sandbox_keep(int input, int output, struct err *err)
{
    /* Through high numbers first, so that the two moves cannot overwrite each other. */
    int in = fcntl(input, F_DUPFD, 10), out = fcntl(output, F_DUPFD, 10);
    if (in < 0 || out < 0 || dup2(in, SANDBOX_FD_INPUT) < 0 || dup2(out, SANDBOX_FD_OUTPUT) < 0)
        return err_set_errno(err, ERR_SANDBOX, errno, "cannot place the descriptors");
    if (syscall(SYS_close_range, SANDBOX_SANITIZED ? 3u : 2u, ~0u, 0) == 0)
        return ERR_OK;
    for (int fd = SANDBOX_SANITIZED ? 3 : 2; fd < 65536; fd++) /* kernels before 5.9 */
        close(fd);
    return ERR_OK;
}

/* Bytes of address space in use: the program, its libraries and their tables. */
static uint64_t address_space_now(void)
{
    char text[64] = {0};
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return UINT64_C(256) << 20;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n <= 0 ? UINT64_C(256) << 20
                  : strtoull(text, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int set_limit(int what, uint64_t value)
{
    struct rlimit now, want = {.rlim_cur = (rlim_t)value, .rlim_max = (rlim_t)value};
    if (getrlimit(what, &now) == 0 && now.rlim_max != RLIM_INFINITY && now.rlim_max < want.rlim_max)
        want.rlim_cur = want.rlim_max = now.rlim_max;
    return setrlimit(what, &want);
}

static enum err_code set_limits(const struct media_limits *limits, uint64_t base, struct err *err)
{
    uint64_t seconds = (uint64_t)ceil(limits->max_wall) + 1;
    uint64_t us = (uint64_t)(limits->max_wall * 1e6) + 1000; /* 0 would disarm the timer */
    struct itimerval timer = {0};
    timer.it_value.tv_sec = (time_t)(us / 1000000);
    timer.it_value.tv_usec = (suseconds_t)(us % 1000000);
    if ((!SANDBOX_SANITIZED && set_limit(RLIMIT_AS, base + limits->max_memory) < 0) ||
        set_limit(RLIMIT_CPU, seconds) < 0 || set_limit(RLIMIT_FSIZE, 0) < 0 ||
        set_limit(RLIMIT_CORE, 0) < 0 || set_limit(RLIMIT_NPROC, 0) < 0 ||
        set_limit(RLIMIT_NOFILE, 0) < 0 || setitimer(ITIMER_REAL, &timer, NULL) < 0)
        return err_set_errno(err, ERR_SANDBOX, errno, "cannot limit the decoder");
    return ERR_OK;
}

enum err_code sandbox_enter(const struct media_limits *limits, pid_t parent, struct err *err)
{
    const char *allow = getenv("SONDE_ALLOW_UNSANDBOXED");
    int may_skip = allow && strcmp(allow, "1") == 0;
    uint64_t base = address_space_now();
    if (chdir("/") < 0)
        return err_set_errno(err, ERR_SANDBOX, errno, "cannot leave the folder");
    enum err_code code = set_limits(limits, base, err);
    if (code)
        return code;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_set_errno(err, ERR_SANDBOX, errno, "cannot give up privileges");
    /* After every change of identity, which would clear it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return err_set_errno(err, ERR_SANDBOX, errno, "cannot tie the decoder to its program");
    if (getppid() != parent) /* it died before it could take the child with it */
        raise(SIGKILL);
    enter_landlock();
    code = enter_seccomp(err);
    return code && may_skip ? ERR_OK : code;
}

/* --- tests -------------------------------------------------------------------------------------
 */

static long try_open(void)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long try_create(void)
{
    return open("/tmp/sonde-sandbox-probe", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

static long try_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static long try_exec(void)
{
    char *const argv[] = {"true", NULL};
    return execv("/bin/true", argv);
}

static long try_fork(void)
{
    return fork();
}

static long try_write_input(void)
{
    return write(SANDBOX_FD_INPUT, "x", 1);
}

static long try_kill(void)
{
    return kill(getppid(), 0);
}

static long try_exec_memory(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -1 : 0;
}

static long try_make_executable(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? 0 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static long try_ptrace(void)
{
    return syscall(SYS_ptrace, 0 /* PTRACE_TRACEME */, 0, 0, 0);
}

static long try_memory(void)
{
    /* More than any limit a test sets. */
    return mmap(NULL, (size_t)1 << 40, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED
               ? -1
               : 0;
}

int sandbox_try(const char *what)
{
    static const struct {
        const char *name;
        long (*run)(void);
    } probes[] = {
        {"open", try_open},     {"create", try_create},
        {"socket", try_socket}, {"exec", try_exec},
        {"fork", try_fork},     {"write", try_write_input},
        {"kill", try_kill},     {"exec-memory", try_exec_memory},
        {"ptrace", try_ptrace}, {"make-executable", try_make_executable},
        {"memory", try_memory},
    };
    for (size_t i = 0; i < ARRAY_LEN(probes); i++)
        if (strcmp(probes[i].name, what) == 0)
            return probes[i].run() < 0 ? errno : 0;
    return -1;
}

/* Figures of this process, from /proc and getrusage, under the names that every Prometheus client
 * uses. What cannot be read (no /proc) is left out. Runs in the thread that scrapes. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../base/mem.h"
#include "internal.h"

static void set(enum metric metric, double value)
{
    metric_set(metric_get(metric, NULL, NULL, NULL), value);
}

/* The start of a /proc file, at most size - 1 bytes. 0, or -1. */
static int read_start(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    size_t n = fread(out, 1, size - 1, f);
    out[n] = '\0';
    fclose(f);
    return n > 0 ? 0 : -1;
}

static void cpu_time(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) == 0)
        set(METRIC_CPU, (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                            (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6);
}

static void memory(void)
{
    char text[128];
    unsigned long long size, resident;
    double page = (double)sysconf(_SC_PAGESIZE);
    if (read_start("/proc/self/statm", text, sizeof text) == 0 &&
        sscanf(text, "%llu %llu", &size, &resident) == 2) {
        set(METRIC_VIRTUAL, (double)size * page);
        set(METRIC_RSS, (double)resident * page);
    }
}

static void descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        set(METRIC_MAX_FDS, (double)limit.rlim_cur);
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return;
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    set(METRIC_OPEN_FDS, n - 1); /* without the one that was open for looking */
}

/* Seconds since 1970 at boot plus ticks since boot; never changes, so it is read once. */
static double start_time(void)
{
    char stat[1024];
    unsigned long long ticks = 0;
    if (read_start("/proc/self/stat", stat, sizeof stat) < 0)
        return 0;
    const char *p = strrchr(stat, ')'); /* the name in front may hold anything */
    if (!p || sscanf(p + 1,
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                     "%*d %*d %llu",
                     &ticks) != 1)
        return 0;
    double boot = 0;
    char line[256];
    FILE *f = fopen("/proc/stat", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "btime %lf", &boot) == 1)
            break;
    if (f)
        fclose(f);
    return boot > 0 ? boot + (double)ticks / (double)sysconf(_SC_CLK_TCK) : 0;
}

void process_metrics(void)
{
    static _Atomic double started;
    cpu_time();
    memory();
    descriptors();
    if (started == 0)
        started = start_time();
    if (started > 0)
        set(METRIC_START, started);
}

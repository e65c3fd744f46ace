/* The bar: " 312/1000 files  31 %  [######          ]  1:04:12 heard  0:12 to go". */
#include "progress.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../base/time.h"
#include "../os/clock.h"
#include "print.h"

#define SHOW_AFTER 1.0
#define REDRAW     0.1
#define BAR        24

static struct {
    pthread_mutex_t lock;
    int on, shown;
    size_t files, done;
    double heard, started, drawn;
} bar = {.lock = PTHREAD_MUTEX_INITIALIZER};

void progress_start(size_t files, int quiet)
{
    pthread_mutex_lock(&bar.lock);
    bar.on = !quiet && isatty(STDERR_FILENO);
    bar.files = files;
    bar.done = 0;
    bar.heard = 0;
    bar.started = clock_seconds();
    pthread_mutex_unlock(&bar.lock);
}

static void draw(void)
{
    double now = clock_seconds(), spent = now - bar.started;
    if (!bar.on || spent < SHOW_AFTER || now - bar.drawn < REDRAW)
        return;
    char heard[24], left[48] = "", filled[BAR + 1];
    double share = bar.files ? (double)bar.done / (double)bar.files : 0;
    time_clock(heard, sizeof heard, bar.heard);
    if (bar.done > 0 && bar.done < bar.files) {
        char togo[24];
        time_clock(togo, sizeof togo, spent / share - spent);
        snprintf(left, sizeof left, "  %s to go", togo);
    }
    memset(filled, '.', BAR);
    memset(filled, '#', (size_t)(share * BAR));
    filled[BAR] = '\0';
    fprintf(stderr, "\r\033[K%zu/%zu files  [%s]  %s heard%s", bar.done, bar.files, filled, heard,
            left);
    fflush(stderr);
    bar.drawn = now;
    bar.shown = 1;
}

void progress_file_done(void)
{
    pthread_mutex_lock(&bar.lock);
    bar.done++;
    draw();
    pthread_mutex_unlock(&bar.lock);
}

void progress_heard(double seconds)
{
    pthread_mutex_lock(&bar.lock);
    bar.heard += seconds;
    draw();
    pthread_mutex_unlock(&bar.lock);
}

void progress_hide(void)
{
    pthread_mutex_lock(&bar.lock);
    if (bar.shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        bar.shown = 0;
    }
    pthread_mutex_unlock(&bar.lock);
}

void progress_stop(void)
{
    progress_hide();
    pthread_mutex_lock(&bar.lock);
    bar.on = 0;
    pthread_mutex_unlock(&bar.lock);
}

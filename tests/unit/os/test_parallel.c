/* os/parallel and os/walk: order, back-pressure, per-thread state; listing a folder. */
#include "../../support/cm.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/parallel.h"
#include "os/walk.h"

#define ITEMS  500
#define WINDOW 7

struct fixture {
    int square[ITEMS];
    atomic_size_t emitted;
    atomic_size_t furthest;
    atomic_int threads_open, wrong;
};

static void *open_thread(void *ctx, int thread)
{
    struct fixture *f = ctx;
    (void)thread;
    atomic_fetch_add(&f->threads_open, 1);
    return f;
}

static void square(void *ctx, void *own, size_t item)
{
    struct fixture *f = ctx;
    if (own != f || item >= f->emitted + 2 * WINDOW)
        atomic_fetch_add(&f->wrong, 1);
    if (item % 3 == 0)
        usleep(300); /* so that threads overtake each other */
    f->square[item] = (int)(item * item);
}

static void close_thread(void *ctx, void *own)
{
    struct fixture *f = own;
    (void)ctx;
    atomic_fetch_sub(&f->threads_open, 1);
}

static void take(void *ctx, size_t item)
{
    struct fixture *f = ctx;
    if (item != f->emitted || f->square[item] != (int)(item * item))
        atomic_fetch_add(&f->wrong, 1);
    f->emitted++;
}

static void emits_in_order_on_any_number_of_threads(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 8; threads += 7) {
        struct fixture f = {0};
        struct parallel_job job = {&f, open_thread, square, close_thread, take};
        struct err err;
        assert_int_equal(parallel_run(&job, ITEMS, threads, WINDOW, &err), ERR_OK);
        assert_int_equal(f.emitted, ITEMS);
        assert_int_equal(f.wrong, 0);
        assert_int_equal(f.threads_open, 0);
    }
    struct parallel_job none = {0};
    assert_int_equal(parallel_run(&none, 0, 4, 4, NULL), ERR_OK);
}

static void touch(const char *dir, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static int no_text(const char *name, void *ctx)
{
    (void)ctx;
    return strstr(name, ".txt") == NULL;
}

static void lists_a_folder_sorted_without_loops(void **state)
{
    (void)state;
    char dir[] = "/tmp/sonde-walk-XXXXXX";
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *sub = xasprintf("%s/b", dir);
    _cleanup_free_ char *loop = xasprintf("%s/b/up", dir);
    mkdir(sub, 0700);
    assert_int_equal(symlink("..", loop), 0);
    touch(dir, "c.wav");
    touch(dir, "a.wav");
    touch(dir, "note.txt");
    touch(dir, ".hidden.wav");
    touch(sub, "x.wav");
    struct walk_list list = {0};
    struct err err;
    assert_int_equal(walk_folder(dir, no_text, NULL, &list, &err), ERR_OK);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.paths[0] + strlen(dir), "/a.wav");
    assert_string_equal(list.paths[1] + strlen(dir), "/b/x.wav");
    assert_string_equal(list.paths[2] + strlen(dir), "/c.wav");
    walk_list_done(&list);
    assert_int_equal(walk_folder("/nowhere/at/all", NULL, NULL, &list, &err), ERR_NOT_FOUND);
    walk_list_done(&list);
    _cleanup_free_ char *command = xasprintf("rm -r '%s'", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emits_in_order_on_any_number_of_threads),
        cmocka_unit_test(lists_a_folder_sorted_without_loops),
    };
    return cmocka_run_group_tests_name("os_parallel", tests, NULL, NULL);
}

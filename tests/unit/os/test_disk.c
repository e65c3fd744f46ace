/* os/disk: folders, whole files, one owner. */
#include "../../support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../support/folder.h"
#include "base/mem.h"
#include "os/disk.h"

static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = folder_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dir = folder_drop(dir);
    return 0;
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    struct err err;
    struct stat st;
    _cleanup_free_ char *deep = xasprintf("%s//a/b/c/", dir);
    _cleanup_free_ char *plain = xasprintf("%s/a/b/c", dir);
    assert_int_equal(disk_make_folder(deep, &err), ERR_OK);
    assert_int_equal(stat(plain, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(disk_make_folder(plain, &err), ERR_OK);
    assert_int_equal(disk_make_folder("/", &err), ERR_OK);
    assert_int_equal(disk_make_folder("", &err), ERR_NOT_FOUND);
    assert_int_equal(disk_sync_folder(plain, &err), ERR_OK);

    _cleanup_free_ char *file = xasprintf("%s/file", dir);
    _cleanup_free_ char *below = xasprintf("%s/file/x", dir);
    folder_write(file, "x", 1);
    assert_int_equal(disk_make_folder(file, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "Not a directory"));
    assert_int_equal(disk_make_folder(below, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, dir));
    assert_int_equal(disk_sync_folder(below, &err), ERR_NOT_FOUND);
}

static void a_relative_folder_is_fine(void **state)
{
    (void)state;
    struct err err;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(dir), 0);
    enum err_code rc = disk_make_folder("here/and/there", &err);
    int found = access("here/and/there", F_OK);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rc, ERR_OK);
    assert_int_equal(found, 0);
}

static void codes_tell_full_from_forbidden(void **state)
{
    (void)state;
    assert_int_equal(disk_err_code(ENOSPC), ERR_NO_SPACE);
    assert_int_equal(disk_err_code(EDQUOT), ERR_NO_SPACE);
    assert_int_equal(disk_err_code(EROFS), ERR_READ_ONLY);
    assert_int_equal(disk_err_code(EACCES), ERR_PERMISSION);
    assert_int_equal(disk_err_code(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(disk_err_code(EIO), ERR_IO);
}

static void free_space_is_told(void **state)
{
    (void)state;
    struct err err;
    uint64_t bytes = 0;
    assert_int_equal(disk_free_bytes(dir, &bytes, &err), ERR_OK);
    assert_in_range(bytes, 1, (uint64_t)1 << 60);
    assert_int_equal(disk_free_bytes("/nowhere/at/all", &bytes, &err), ERR_NOT_FOUND);
}

static void files_are_whole_or_not_there(void **state)
{
    (void)state;
    struct err err;
    _cleanup_free_ char *path = xasprintf("%s/note", dir);
    size_t size;
    assert_int_equal(disk_write_file(dir, "note", "first", 5, &err), ERR_OK);
    assert_int_equal(disk_write_file(dir, "note", "second\0!", 8, &err), ERR_OK);
    _cleanup_free_ char *text = folder_read(path, &size);
    assert_int_equal(size, 8);
    assert_memory_equal(text, "second\0!", 8);
    assert_int_equal(folder_count(dir), 1);
    /* Its name is taken by a folder: the temporary file goes too. */
    _cleanup_free_ char *folder = xasprintf("%s/taken", dir);
    assert_int_equal(disk_make_folder(folder, &err), ERR_OK);
    assert_int_not_equal(disk_write_file(dir, "taken", "x", 1, &err), ERR_OK);
    assert_int_equal(folder_count(dir), 2);
    assert_int_equal(disk_write_file("/nowhere/at/all", "x", "x", 1, &err), ERR_NOT_FOUND);
}

static void only_files_are_cleared(void **state)
{
    (void)state;
    struct err err;
    uint64_t removed = 99;
    for (int i = 0; i < 5; i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s%d", dir, i % 2 ? "." : "", i);
        folder_write(path, "x", 1);
    }
    _cleanup_free_ char *link = xasprintf("%s/link", dir);
    _cleanup_free_ char *kept = xasprintf("%s/kept", dir);
    _cleanup_free_ char *inside = xasprintf("%s/kept/file", dir);
    assert_int_equal(disk_make_folder(kept, &err), ERR_OK);
    folder_write(inside, "x", 1);
    assert_int_equal(symlink(inside, link), 0);
    assert_int_equal(disk_clear_folder(dir, &removed, &err), ERR_OK);
    assert_int_equal(removed, 6);
    assert_int_equal(folder_count(dir), 2);
    assert_int_equal(disk_clear_folder("/nowhere/at/all", NULL, &err), ERR_NOT_FOUND);
}

/* Locks `dir` in a child, says so through the pipe, and stays until it is killed. */
static pid_t locking_child(int *ret_fd)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = -1;
        char ok = disk_lock_folder(dir, &fd, NULL) == ERR_OK;
        if (write(ends[1], &ok, 1) == 1)
            sleep(20);
        _exit(0);
    }
    close(ends[1]);
    *ret_fd = ends[0];
    return pid;
}

static void a_folder_has_one_owner_until_that_dies(void **state)
{
    (void)state;
    struct err err;
    int fd = -1, pipe_fd = -1;
    char ok = 0, pid_text[32];
    pid_t child = locking_child(&pipe_fd);
    assert_int_equal(read(pipe_fd, &ok, 1), 1);
    assert_true(ok);
    snprintf(pid_text, sizeof pid_text, "process %d", (int)child);
    assert_int_equal(disk_lock_folder(dir, &fd, &err), ERR_DATA_IN_USE);
    assert_non_null(strstr(err.text, pid_text));
    assert_int_equal(fd, -1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(pipe_fd);
    assert_int_equal(disk_lock_folder(dir, &fd, &err), ERR_OK);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    int second = -1; /* the same process is no exception */
    assert_int_equal(disk_lock_folder(dir, &second, &err), ERR_DATA_IN_USE);
    close(fd);
    assert_int_equal(disk_lock_folder(dir, &second, &err), ERR_OK);
    close(second);
    assert_int_equal(disk_lock_folder("/nowhere/at/all", &fd, &err), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(folders_are_made_with_their_parents, setup, teardown),
        cmocka_unit_test_setup_teardown(a_relative_folder_is_fine, setup, teardown),
        cmocka_unit_test(codes_tell_full_from_forbidden),
        cmocka_unit_test_setup_teardown(free_space_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_whole_or_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(only_files_are_cleared, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_has_one_owner_until_that_dies, setup, teardown),
    };
    return cmocka_run_group_tests_name("os_disk", tests, NULL, NULL);
}

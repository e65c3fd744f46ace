/* driver/blob, the file system's own side: nothing half-written remains, tmp is cleared, folders
 * come and go, full and read-only disks are told apart, and the fault driver fails as it says. */
#include "../../support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../support/folder.h"
#include "base/mem.h"
#include "driver/blob/blob.h"
#include "obs/metrics.h"

static char *dir, *root;
static struct blob *blob;
static struct err err;

static struct blob *open_url(const char *format, const char *path)
{
    struct blob *opened = NULL;
    _cleanup_free_ char *url = xasprintf("%s%s", format, path);
    if (blob_open_store(&(struct blob_options){.url = url}, &opened, &err) != ERR_OK)
        fail_msg("%s: %s", url, err.text);
    return opened;
}

static int setup(void **state)
{
    (void)state;
    dir = folder_new();
    root = xasprintf("%s/store", dir);
    blob = open_url("fs:", root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    blob = blob_close_store(blob);
    free(root);
    dir = folder_drop(dir);
    return 0;
}

/* Entries of root/name. */
static int entries(const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", root, name);
    return folder_count(path);
}

static enum err_code put(const char *key, const char *text)
{
    return blob_put(blob, BLOB_RAW, key, text, strlen(text), &err);
}

static void folders_come_and_go_with_their_keys(void **state)
{
    (void)state;
    struct stat st;
    _cleanup_free_ char *path = xasprintf("%s/raw/2026/11/a", root);
    assert_int_equal(put("2026/11/a", "x"), ERR_OK);
    assert_int_equal(put("2026/12/b", "x"), ERR_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(entries("raw"), 5);
    assert_int_equal(entries("tmp"), 0);
    assert_int_equal(blob_delete(blob, BLOB_RAW, "2026/11/a", &err), ERR_OK);
    assert_int_equal(entries("raw"), 3);
    assert_int_equal(blob_delete(blob, BLOB_RAW, "2026/12/b", &err), ERR_OK);
    assert_int_equal(entries("raw"), 0); /* but the bucket stays */
}

static void a_key_is_no_folder_of_another(void **state)
{
    (void)state;
    assert_int_equal(put("a", "file"), ERR_OK);
    assert_int_equal(put("a/b", "x"), ERR_CONFLICT);
    assert_int_equal(put("a/b/c", "x"), ERR_CONFLICT);
    assert_int_equal(put("d/e", "x"), ERR_OK);
    assert_int_equal(put("d", "x"), ERR_CONFLICT);
    assert_int_equal(entries("tmp"), 0);
    assert_int_equal(entries("raw"), 3);
}

static int count_key(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    (void)size;
    (void)modified_ms;
    assert_string_equal(key, "good/key");
    ++*(int *)ctx;
    return 0;
}

static void foreign_files_are_not_listed(void **state)
{
    (void)state;
    static const char *const names[] = {".DS_Store", "Upper", "good/.hidden", "with blank"};
    int n = 0;
    assert_int_equal(put("good/key", "x"), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        _cleanup_free_ char *path = xasprintf("%s/raw/%s", root, names[i]);
        folder_write(path, "x", 1);
    }
    _cleanup_free_ char *link = xasprintf("%s/raw/link", root);
    _cleanup_free_ char *loop = xasprintf("%s/raw/loop", root);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    assert_int_equal(symlink("..", loop), 0);
    assert_int_equal(blob_list(blob, BLOB_RAW, count_key, &n, &err), ERR_OK);
    assert_int_equal(n, 1);
    int fd = -1;
    uint64_t size;
    assert_int_not_equal(blob_open(blob, BLOB_RAW, "link", &fd, &size, &err), ERR_OK);
    assert_int_equal(fd, -1);
}

static void leftovers_go_at_the_start_of_the_only_user(void **state)
{
    (void)state;
    _cleanup_free_ char *left = xasprintf("%s/tmp/left", root);
    folder_write(left, "half", 4);
    struct blob *second = open_url("fs:", root); /* somebody works here: hands off */
    assert_int_equal(entries("tmp"), 1);
    blob_close_store(second);
    blob = blob_close_store(blob);
    blob = open_url("fs:", root);
    assert_int_equal(entries("tmp"), 0);
}

static void a_file_of_another_file_system_is_copied(void **state)
{
    (void)state;
    struct stat here, there;
    char path[] = "/dev/shm/sonde-test-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || fstat(fd, &there) < 0 || stat(dir, &here) < 0 || here.st_dev == there.st_dev) {
        if (fd >= 0)
            unlink(path);
        print_message("SKIP: /dev/shm is no other file system\n");
        skip();
    }
    static char big[700000];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 31 >> 3);
    assert_int_equal(write(fd, big, sizeof big), sizeof big);
    close(fd);
    assert_int_equal(blob_put_file(blob, BLOB_RAW, "Bad", path, NULL, &err), ERR_INTERNAL);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(blob_put_file(blob, BLOB_RAW, "copied", path, NULL, &err), ERR_OK);
    assert_int_not_equal(access(path, F_OK), 0);
    _cleanup_free_ char *got = NULL;
    size_t size;
    assert_int_equal(blob_get(blob, BLOB_RAW, "copied", sizeof big, &got, &size, &err), ERR_OK);
    assert_int_equal(size, sizeof big);
    assert_memory_equal(got, big, size);
    assert_int_equal(entries("tmp"), 0);
}

static void putting_the_same_file_twice_leaves_nothing(void **state)
{
    (void)state;
    _cleanup_free_ char *one = xasprintf("%s/one", dir);
    _cleanup_free_ char *two = xasprintf("%s/two", dir);
    folder_write(one, "same", 4);
    assert_int_equal(link(one, two), 0);
    assert_int_equal(blob_put_file(blob, BLOB_RAW, "k", one, NULL, &err), ERR_OK);
    /* As after an unlink that failed: one link is the key, and rename of links does nothing. */
    assert_int_equal(blob_put_file(blob, BLOB_RAW, "k", two, NULL, &err), ERR_OK);
    assert_int_equal(entries("tmp"), 0);
    assert_int_equal(entries("raw"), 1);
    assert_int_not_equal(access(two, F_OK), 0);
}

static void a_bucket_that_vanished_is_not_made_anew(void **state)
{
    (void)state;
    _cleanup_free_ char *bucket = xasprintf("%s/raw", root);
    assert_int_equal(rmdir(bucket), 0);
    assert_int_equal(put("a/b", "x"), ERR_IO);
    assert_int_equal(put("a", "x"), ERR_IO);
    assert_int_not_equal(access(bucket, F_OK), 0);
    assert_int_equal(entries("tmp"), 0);
}

/* Runs `work` in a child (limits and mounts stay in it); its result, or -1 when it died. */
static int in_child(int (*work)(void))
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(work());
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

/* Each `return` tells which step was wrong. */
static int write_past_a_limit(void)
{
    static char big[100000];
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {50000, 50000};
    if (put("k", "old") != ERR_OK)
        return 1;
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
        return 2;
    if (blob_put(blob, BLOB_RAW, "k", big, sizeof big, &err) != ERR_IO)
        return 3;
    if (entries("tmp") != 0)
        return 4;
    char *got = NULL;
    size_t size;
    if (blob_get(blob, BLOB_RAW, "k", 10, &got, &size, &err) != ERR_OK || strcmp(got, "old") != 0)
        return 5;
    free(got);
    return 0;
}

static void a_failed_write_leaves_the_old_value_alone(void **state)
{
    (void)state;
    assert_int_equal(in_child(write_past_a_limit), 0);
}

enum { NO_MOUNT = 77 };

/* A small disk of its own at dir/disk, seen by this process only. */
static int mount_small(void)
{
    _cleanup_free_ char *disk = xasprintf("%s/disk", dir);
    if (mkdir(disk, 0700) < 0)
        return -1;
    if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return -1;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -1;
    return mount("none", disk, "tmpfs", 0, "size=256k");
}

static int fill_a_disk(void)
{
    static char big[300000];
    if (mount_small() < 0)
        return NO_MOUNT;
    _cleanup_free_ char *store = xasprintf("%s/disk/store", dir);
    _cleanup_free_ char *file = xasprintf("%s/big", dir);
    _cleanup_free_ char *tmp = xasprintf("%s/tmp", store);
    _cleanup_free_ char *raw = xasprintf("%s/raw", store);
    _cleanup_free_ char *disk = xasprintf("%s/disk", dir);
    struct blob *small = open_url("fs:", store);
    folder_write(file, big, sizeof big);
    if (blob_put(small, BLOB_RAW, "a/b", big, sizeof big, &err) != ERR_NO_SPACE)
        return 1;
    if (blob_put_file(small, BLOB_RAW, "a/b", file, NULL, &err) != ERR_NO_SPACE)
        return 2;
    if (access(file, F_OK) != 0 || folder_count(tmp) != 0 || folder_count(raw) != 0)
        return 3;
    if (blob_put(small, BLOB_RAW, "a/b", "x", 1, &err) != ERR_OK)
        return 4;
    if (mount(NULL, disk, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
        return 5;
    if (blob_put(small, BLOB_RAW, "a/b", "y", 1, &err) != ERR_READ_ONLY)
        return 6;
    if (blob_put_file(small, BLOB_RAW, "a/b", file, NULL, &err) != ERR_READ_ONLY)
        return 7;
    if (blob_delete(small, BLOB_RAW, "a/b", &err) != ERR_READ_ONLY)
        return 8;
    if (blob_ping(small, &err) != ERR_READ_ONLY)
        return 9;
    char *got = NULL;
    size_t size;
    if (blob_get(small, BLOB_RAW, "a/b", 10, &got, &size, &err) != ERR_OK || got[0] != 'x')
        return 10;
    free(got);
    blob_close_store(small);
    return 0;
}

static void full_and_read_only_disks_say_so(void **state)
{
    (void)state;
    int rc = in_child(fill_a_disk);
    if (rc == NO_MOUNT) {
        print_message("SKIP: no right to mount a small disk here\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

static int write_without_rights(void)
{
    _cleanup_free_ char *raw = xasprintf("%s/raw", root);
    if (put("k", "x") != ERR_OK || chmod(raw, 0500) < 0)
        return 1;
    if (geteuid() == 0) { /* root may write anywhere: become somebody who owns the store */
        _cleanup_free_ char *all = xasprintf("chown -R 65534 '%s'", dir);
        if (system(all) != 0 || setgid(65534) < 0 || setuid(65534) < 0)
            return NO_MOUNT;
    }
    if (put("k", "y") != ERR_READ_ONLY)
        return 2;
    if (put("a/b", "y") != ERR_READ_ONLY)
        return 3;
    if (blob_delete(blob, BLOB_RAW, "k", &err) != ERR_READ_ONLY)
        return 4;
    return entries("tmp") == 0 ? 0 : 5;
}

static void a_folder_without_rights_is_read_only(void **state)
{
    (void)state;
    int rc = in_child(write_without_rights);
    _cleanup_free_ char *raw = xasprintf("%s/raw", root);
    chmod(raw, 0700);
    assert_int_equal(rc, 0);
}

static void urls_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "s4:x", "fs", "fs:", "fault:", "fault:x:", "fault:0:fs:/x", "fault:3", "fault:3:none:"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct blob *none = NULL;
        assert_int_equal(blob_open_store(&(struct blob_options){.url = bad[i]}, &none, &err),
                         ERR_USAGE);
        assert_null(none);
    }
    _cleanup_free_ char *file = xasprintf("%s/file", dir);
    _cleanup_free_ char *url = xasprintf("fs:%s/below", file);
    struct blob *none = NULL;
    folder_write(file, "x", 1);
    assert_int_equal(blob_open_store(&(struct blob_options){.url = url}, &none, &err),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "file"));
}

static void operations_are_measured(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len;
    assert_int_equal(put("k", "x"), ERR_OK);
    assert_int_equal(metrics_text(&text, &len, &err), ERR_OK);
    assert_non_null(
        strstr(text, "sonde_blob_operation_duration_seconds_count{operation=\"put\"} "));
    free(text);
}

static void each_third_fails_and_puts_in_two_ways(void **state)
{
    (void)state;
    _cleanup_free_ char *other = xasprintf("%s/other", dir);
    _cleanup_free_ char *path = xasprintf("%s/file", dir);
    struct blob *faulty = open_url("fault:3:fs:", other);
    struct blob *sound = open_url("fs:", other);
    char *got = NULL;
    size_t size;
    int fd;
    uint64_t bytes;
    for (int i = 0; i < 2; i++)
        assert_int_equal(blob_ping(faulty, &err), ERR_OK);
    /* The third: before it has an effect. */
    assert_int_equal(blob_put(faulty, BLOB_RAW, "a", "1", 1, &err), ERR_UNAVAILABLE);
    assert_int_equal(blob_open(sound, BLOB_RAW, "a", &fd, &bytes, &err), ERR_NO_SUCH);
    for (int i = 0; i < 2; i++)
        assert_int_equal(blob_put(faulty, BLOB_RAW, "a", "2", 1, &err), ERR_OK);
    /* The sixth: after it. The caller's file stays, as if nothing had happened. */
    folder_write(path, "3", 1);
    assert_int_equal(blob_put_file(faulty, BLOB_RAW, "a", path, NULL, &err), ERR_UNAVAILABLE);
    assert_int_equal(blob_get(sound, BLOB_RAW, "a", 1, &got, &size, &err), ERR_OK);
    assert_string_equal(got, "3");
    free(got);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(blob_put_file(faulty, BLOB_RAW, "a", path, NULL, &err), ERR_OK);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(blob_ping(faulty, &err), ERR_OK);
    assert_int_equal(blob_delete(faulty, BLOB_RAW, "a", &err), ERR_UNAVAILABLE);
    assert_int_equal(blob_get(sound, BLOB_RAW, "a", 1, &got, &size, &err), ERR_OK);
    free(got);
    blob_close_store(faulty);
    blob_close_store(sound);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(folders_come_and_go_with_their_keys),
        ROW(a_key_is_no_folder_of_another),
        ROW(foreign_files_are_not_listed),
        ROW(leftovers_go_at_the_start_of_the_only_user),
        ROW(a_file_of_another_file_system_is_copied),
        ROW(putting_the_same_file_twice_leaves_nothing),
        ROW(a_bucket_that_vanished_is_not_made_anew),
        ROW(a_failed_write_leaves_the_old_value_alone),
        ROW(full_and_read_only_disks_say_so),
        ROW(a_folder_without_rights_is_read_only),
        ROW(urls_are_checked),
        ROW(operations_are_measured),
        ROW(each_third_fails_and_puts_in_two_ways),
    };
    return cmocka_run_group_tests_name("driver_blob_fs", tests, NULL, NULL);
}

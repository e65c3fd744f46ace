/* os/file: only regular files get in, nothing blocks, streams are spooled within a limit. */
#include "../../support/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/file.h"

static char dir[] = "/tmp/sonde-test-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void refuses_what_is_no_regular_file(void **state)
{
    (void)state;
    struct err err;
    int fd = -1;
    uint64_t size;
    assert_int_equal(file_open_regular("/nowhere/at/all", &fd, &size, &err), ERR_NOT_FOUND);
    assert_int_equal(file_open_regular(dir, &fd, &size, &err), ERR_NOT_A_FILE);
    assert_non_null(strstr(err.text, "a folder"));
    assert_int_equal(file_open_regular("/dev/null", &fd, &size, &err), ERR_NOT_A_FILE);

    _cleanup_free_ char *fifo = xasprintf("%s/fifo", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(file_open_regular(fifo, &fd, &size, &err), ERR_NOT_A_FILE);
    assert_non_null(strstr(err.text, "FIFO"));
    unlink(fifo);

    _cleanup_free_ char *empty = xasprintf("%s/empty.wav", dir);
    close(open(empty, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(file_open_regular(empty, &fd, &size, &err), ERR_EMPTY);
    unlink(empty);
    assert_int_equal(fd, -1);
}

static void spools_a_pipe_within_its_limit(void **state)
{
    (void)state;
    int ends[2], fd = -1;
    uint64_t size = 0;
    struct err err;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "hello", 5), 5);
    close(ends[1]);
    assert_int_equal(file_spool(ends[0], 5, &fd, &size, &err), ERR_OK);
    close(ends[0]);
    char text[8] = {0};
    assert_int_equal(size, 5);
    assert_int_equal(read(fd, text, sizeof text), 5);
    assert_string_equal(text, "hello");
    close(fd);

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "hello!", 6), 6);
    close(ends[1]);
    assert_int_equal(file_spool(ends[0], 5, &fd, &size, &err), ERR_TOO_LARGE);
    assert_int_equal(file_spool(ends[0], 5, &fd, &size, &err), ERR_EMPTY);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_no_regular_file),
        cmocka_unit_test(spools_a_pipe_within_its_limit),
    };
    return cmocka_run_group_tests_name("os_file", tests, make_dir, drop_dir);
}

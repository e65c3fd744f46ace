/* media/zip: real zips come out whole, hostile ones are stopped, and names are only names. */
#include "../../support/cm.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "../../support/audio.h"
#include "base/mem.h"
#include "media/zip.h"

/* --- what comes out ----------------------------------------------------------------------------
 */

#define MOST 32

struct got {
    char name[ZIP_NAME_MAX + 1];
    unsigned char *data;
    size_t size;
    int begun, ended;
    struct err why;
    char skipped[32];
};

struct taken {
    struct got entries[MOST];
    size_t n;
    struct got *open;
    size_t largest_piece;
    enum err_code refuse_begin, refuse_data, refuse_end;
};

static struct got *add(struct taken *t, const char *name)
{
    assert_true(t->n < MOST);
    struct got *g = &t->entries[t->n++];
    *g = (struct got){0};
    assert_true(strlen(name) <= ZIP_NAME_MAX);
    strcpy(g->name, name);
    return g;
}

static enum err_code on_begin(void *ctx, const char *name, struct err *err)
{
    struct taken *t = ctx;
    assert_null(t->open);
    if (t->refuse_begin)
        return err_set(err, t->refuse_begin, "begin says no");
    t->open = add(t, name);
    t->open->begun = 1;
    return ERR_OK;
}

static enum err_code on_data(void *ctx, const void *data, size_t size, struct err *err)
{
    struct taken *t = ctx;
    struct got *g = t->open;
    assert_non_null(g);
    assert_true(size > 0 && size <= 65536);
    if (t->refuse_data)
        return err_set(err, t->refuse_data, "data says no");
    if (g->size < 1 << 20) { /* bombs are only counted */
        g->data = realloc(g->data, g->size + size);
        memcpy(g->data + g->size, data, size);
    }
    g->size += size;
    return ERR_OK;
}

static enum err_code on_end(void *ctx, const char *name, const struct err *why, struct err *err)
{
    struct taken *t = ctx;
    struct got *g = t->open ? t->open : add(t, name);
    assert_string_equal(g->name, name);
    assert_true(t->open || why); /* without a begin only what cannot be read */
    t->open = NULL;
    g->ended = 1;
    if (why) {
        assert_true(why->code != ERR_OK && why->text[0]);
        g->why = *why;
    }
    return t->refuse_end ? err_set(err, t->refuse_end, "end says no") : ERR_OK;
}

static void on_skipped(void *ctx, const char *name, const char *reason)
{
    struct got *g = add(ctx, name);
    strncpy(g->skipped, reason, sizeof g->skipped - 1);
}

static enum err_code take(const char *file, const struct zip_limits *limits, struct taken *t,
                          struct err *err)
{
    const struct zip_sink sink = {t, on_begin, on_data, on_end, on_skipped};
    int fd = open(audio_path(file), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    *err = (struct err){0};
    assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
    enum err_code rc = zip_each(fd, limits, &sink, err);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 3);
    close(fd);
    assert_int_equal(rc, err->code);
    return rc;
}

static void done(struct taken *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->entries[i].data);
    *t = (struct taken){0};
}

/* --- zips to be unpacked -----------------------------------------------------------------------
 */

static zip_t *create(const char *name)
{
    int code = 0;
    zip_t *z = zip_open(audio_path(name), ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(z);
    return z;
}

static zip_int64_t put(zip_t *z, const char *name, const void *data, size_t size, int method)
{
    zip_source_t *s = zip_source_buffer(z, data, size, 0);
    zip_int64_t i = zip_file_add(z, name, s, ZIP_FL_ENC_GUESS);
    assert_true(i >= 0);
    assert_int_equal(zip_set_file_compression(z, (zip_uint64_t)i, method, 9), 0);
    return i;
}

static void make(const char *file, const char *name, const void *data, size_t size, int method)
{
    zip_t *z = create(file);
    put(z, name, data, size, method);
    assert_int_equal(zip_close(z), 0);
}

/* The nth place of 4 bytes in a file. */
static size_t find(const unsigned char *data, size_t n, const char *what, size_t nth)
{
    for (size_t i = 0; i + 4 <= n; i++)
        if (memcmp(data + i, what, 4) == 0 && nth-- == 0)
            return i;
    fail_msg("not found");
    return 0;
}

/* Overwrites `bytes` little-endian bytes at `offset` behind the nth signature. */
static void patch(const char *file, const char *signature, size_t nth, size_t offset,
                  uint64_t value, size_t bytes)
{
    size_t n;
    unsigned char *data = audio_read(file, &n);
    size_t at = find(data, n, signature, nth) + offset;
    for (size_t i = 0; i < bytes; i++)
        data[at + i] = (unsigned char)(value >> 8 * i);
    audio_write(file, data, n);
    free(data);
}

#define LOCAL   "PK\3\4"
#define CENTRAL "PK\1\2"
#define END     "PK\5\6"

static unsigned char noise[200000];

static int setup(void **state)
{
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        x = x * 1664525u + 1013904223u;
        noise[i] = (unsigned char)(x >> 24);
    }
    return audio_setup(state);
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void entries_come_out_whole(void **state)
{
    (void)state;
    static const char text[] = "hello, hello, hello, hello, hello, hello";
    struct taken t = {0};
    struct err err;
    zip_t *z = create("good.zip");
    put(z, "stored.wav", noise, sizeof noise, ZIP_CM_STORE);
    put(z, "folder/deflated.wav", noise, sizeof noise, ZIP_CM_DEFLATE);
    put(z, "text.wav", text, sizeof text, ZIP_CM_DEFLATE);
    put(z, "empty.wav", "", 0, ZIP_CM_STORE);
    put(z, "text.wav/", "", 0, ZIP_CM_STORE);
    assert_int_equal(zip_close(z), 0);
    assert_int_equal(take("good.zip", NULL, &t, &err), ERR_OK);
    assert_int_equal(t.n, 5);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(t.entries[i].why.code, ERR_OK);
        assert_true(t.entries[i].begun && t.entries[i].ended);
    }
    assert_string_equal(t.entries[0].name, "stored.wav");
    assert_string_equal(t.entries[1].name, "deflated.wav");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(t.entries[i].size, sizeof noise);
        assert_memory_equal(t.entries[i].data, noise, sizeof noise);
    }
    assert_int_equal(t.entries[2].size, sizeof text);
    assert_string_equal((char *)t.entries[2].data, text);
    assert_int_equal(t.entries[3].size, 0);
    assert_string_equal(t.entries[4].skipped, "folder");
    done(&t);
}

static void other_programs_zips_are_read(void **state)
{
    (void)state;
    char command[512];
    struct taken t = {0};
    struct err err;
    if (system("command -v zip > /dev/null") != 0) {
        print_message("# SKIPPED: no zip program\n");
        skip();
    }
    audio_write("a.wav", noise, 5000);
    snprintf(command, sizeof command,
             "cd %s && ln -sf a.wav link.wav && zip -q -y info.zip a.wav link.wav && "
             "cat a.wav | zip -q - - > stream.zip",
             audio_dir());
    assert_int_equal(system(command), 0);
    assert_int_equal(take("info.zip", NULL, &t, &err), ERR_OK);
    assert_int_equal(t.n, 2);
    assert_string_equal(t.entries[0].why.text, "");
    assert_int_equal(t.entries[0].size, 5000);
    assert_memory_equal(t.entries[0].data, noise, 5000);
    assert_string_equal(t.entries[1].skipped, "symbolic link");
    done(&t);
    assert_int_equal(take("stream.zip", NULL, &t, &err),
                     ERR_OK); /* from a pipe, sizes behind the data */
    assert_int_equal(t.n, 1);
    assert_string_equal(t.entries[0].why.text, "");
    assert_int_equal(t.entries[0].size, 5000);
    assert_memory_equal(t.entries[0].data, noise, 5000);
    done(&t);
}

static void names_are_only_names(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *shown, *skipped;
    } names[] = {
        {"../../etc/passwd", "passwd", ""},
        {"/absolute.wav", "absolute.wav", ""},
        {"C:\\Users\\me\\call.wav", "call.wav", ""},
        {"..\\..\\up.wav", "up.wav", ""},
        {"\xd0\xb7\xd0\xb2\xd0\xbe\xd0\xbd\xd0\xbe\xd0\xba.wav",
         "\xd0\xb7\xd0\xb2\xd0\xbe\xd0\xbd\xd0\xbe\xd0\xba.wav", ""},
        {"bad\xff\xc3.wav", "bad\xef\xbf\xbd\xef\xbf\xbd.wav", ""},
        {"red\x1b[31m\n.wav", "red\xef\xbf\xbd[31m\xef\xbf\xbd.wav", ""},
        {"\xe2\x80\xaegpj.wav", "\xef\xbf\xbdgpj.wav", ""}, /* right-to-left override */
        {"..", "..", "hidden file"},
        {"a/.", ".", "hidden file"},
        {"x/.hidden.wav", ".hidden.wav", "hidden file"},
        {"__MACOSX/._call.wav", "._call.wav", "made by macOS"},
        {"deep/__MACOSX/call.wav", "call.wav", "made by macOS"},
        {"a folder/", "", "folder"},
        {"a folder\\", "", "folder"},
    };
    struct taken t = {0};
    struct err err;
    zip_t *z = create("names.zip");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char placeholder[64]; /* libzip refuses to write most of these: patched in below */
        snprintf(placeholder, sizeof placeholder, "%0*zu", (int)strlen(names[i].raw), i);
        put(z, placeholder, "x", 1, ZIP_CM_STORE);
    }
    assert_int_equal(zip_close(z), 0);
    size_t n;
    unsigned char *data = audio_read("names.zip", &n);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        memcpy(data + find(data, n, LOCAL, i) + 30, names[i].raw, strlen(names[i].raw));
        memcpy(data + find(data, n, CENTRAL, i) + 46, names[i].raw, strlen(names[i].raw));
    }
    audio_write("names.zip", data, n);
    free(data);
    assert_int_equal(take("names.zip", NULL, &t, &err), ERR_OK);
    assert_int_equal(t.n, ARRAY_LEN(names));
    for (size_t i = 0; i < t.n; i++) {
        assert_string_equal(t.entries[i].name, names[i].shown);
        assert_string_equal(t.entries[i].skipped, names[i].skipped);
    }
    done(&t);

    /* 400 bytes of two-byte characters, cut between two. */
    char name[1024] = "a";
    for (int i = 0; i < 400; i++)
        strcat(name, "\xc3\xa9");
    make("long.zip", name, "x", 1, ZIP_CM_STORE);
    assert_int_equal(take("long.zip", NULL, &t, &err), ERR_OK);
    assert_int_equal(strlen(t.entries[0].name), 255);
    assert_memory_equal(t.entries[0].name, name, 255);
    done(&t);
}

static void what_is_no_regular_file_is_passed_over(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    zip_t *z = create("kinds.zip");
    zip_int64_t link = put(z, "link.wav", "/etc/passwd", 11, ZIP_CM_STORE);
    zip_int64_t device = put(z, "device.wav", "", 0, ZIP_CM_STORE);
    zip_int64_t file = put(z, "file.wav", "x", 1, ZIP_CM_STORE);
    zip_file_set_external_attributes(z, (zip_uint64_t)link, 0, ZIP_OPSYS_UNIX, 0120777u << 16);
    zip_file_set_external_attributes(z, (zip_uint64_t)device, 0, ZIP_OPSYS_UNIX, 0020644u << 16);
    zip_file_set_external_attributes(z, (zip_uint64_t)file, 0, ZIP_OPSYS_UNIX, 0100644u << 16);
    assert_int_equal(zip_close(z), 0);
    assert_int_equal(take("kinds.zip", NULL, &t, &err), ERR_OK);
    assert_string_equal(t.entries[0].skipped, "symbolic link");
    assert_string_equal(t.entries[1].skipped, "special file");
    assert_int_equal(t.entries[2].size, 1);
    done(&t);
    /* Nobody needs to listen to that. */
    const struct zip_sink sink = {&t, on_begin, on_data, on_end, NULL};
    int fd = open(audio_path("kinds.zip"), O_RDONLY);
    assert_int_equal(zip_each(fd, NULL, &sink, &err), ERR_OK);
    assert_int_equal(t.n, 1);
    close(fd);
    done(&t);
}

static void encrypted_and_unknown_methods_are_said(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    zip_t *z = create("locked.zip");
    zip_int64_t locked = put(z, "locked.wav", noise, 1000, ZIP_CM_STORE);
    assert_int_equal(zip_file_set_encryption(z, (zip_uint64_t)locked, ZIP_EM_AES_256, "secret"), 0);
    put(z, "strange.wav", noise, 1000, ZIP_CM_STORE);
    put(z, "open.wav", noise, 1000, ZIP_CM_STORE);
    assert_int_equal(zip_close(z), 0);
    patch("locked.zip", LOCAL, 1, 8, 12, 2); /* bzip2 */
    patch("locked.zip", CENTRAL, 1, 10, 12, 2);
    assert_int_equal(take("locked.zip", NULL, &t, &err), ERR_OK);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.entries[0].why.code, ERR_ARCHIVE);
    assert_non_null(strstr(t.entries[0].why.text, "encrypted"));
    assert_int_equal(t.entries[1].why.code, ERR_ARCHIVE);
    assert_non_null(strstr(t.entries[1].why.text, "method 12"));
    assert_true(!t.entries[0].begun && !t.entries[1].begun);
    assert_int_equal(t.entries[2].size, 1000);
    done(&t);
}

/* 64 MB of zeros in 64 KB. */
static void make_bomb(const char *file, size_t copies)
{
    size_t n = 64 << 20;
    unsigned char *zeros = calloc(n, 1);
    zip_t *z = create(file);
    for (size_t i = 0; i < copies; i++) {
        char name[32];
        snprintf(name, sizeof name, "zeros%zu.wav", i);
        put(z, name, zeros, n, ZIP_CM_DEFLATE);
    }
    assert_int_equal(zip_close(z), 0);
    free(zeros);
}

static void a_bomb_is_stopped_by_its_ratio(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    make_bomb("bomb.zip", 1);
    assert_int_equal(take("bomb.zip", NULL, &t, &err), ERR_OK);
    assert_int_equal(t.entries[0].why.code, ERR_LIMIT);
    assert_true(t.entries[0].begun && t.entries[0].size < 20 << 20);
    done(&t);
    /* The header may lie: 100 bytes, it says. */
    patch("bomb.zip", LOCAL, 0, 22, 100, 4);
    patch("bomb.zip", CENTRAL, 0, 24, 100, 4);
    assert_int_equal(take("bomb.zip", NULL, &t, &err), ERR_OK);
    assert_true(t.entries[0].why.code == ERR_LIMIT || t.entries[0].why.code == ERR_DAMAGED);
    assert_true(t.entries[0].size < 20 << 20);
    done(&t);
    const struct zip_limits trusting = {.max_ratio = 1e6};
    make_bomb("bomb.zip", 1);
    assert_int_equal(take("bomb.zip", &trusting, &t, &err), ERR_OK);
    assert_int_equal(t.entries[0].why.code, ERR_OK);
    assert_int_equal(t.entries[0].size, 64 << 20);
    done(&t);
}

static void limits_on_bytes_hold(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    zip_t *z = create("limits.zip");
    put(z, "large.wav", noise, sizeof noise, ZIP_CM_STORE);
    put(z, "small1.wav", noise, 90000, ZIP_CM_STORE);
    put(z, "small2.wav", noise, 90000, ZIP_CM_STORE);
    put(z, "small3.wav", noise, 90000, ZIP_CM_STORE);
    assert_int_equal(zip_close(z), 0);
    const struct zip_limits limits = {.max_entry_bytes = 100000, .max_bytes = 150000};
    assert_int_equal(take("limits.zip", &limits, &t, &err), ERR_OK);
    assert_int_equal(t.n, 4);
    assert_int_equal(t.entries[0].why.code, ERR_TOO_LARGE);
    assert_int_equal(t.entries[0].begun, 0); /* it says so itself */
    assert_int_equal(t.entries[1].why.code, ERR_OK);
    assert_int_equal(t.entries[2].why.code, ERR_TOO_LARGE); /* on the way */
    assert_true(t.entries[2].size <= 60000 + 65536);
    assert_int_equal(t.entries[3].why.code, ERR_TOO_LARGE);
    assert_int_equal(t.entries[3].begun, 0);
    done(&t);
    /* One that claims less than it has: stopped by what comes. */
    make("liar.zip", "liar.wav", noise, sizeof noise, ZIP_CM_DEFLATE);
    patch("liar.zip", LOCAL, 0, 22, 1000, 4);
    patch("liar.zip", CENTRAL, 0, 24, 1000, 4);
    assert_int_equal(take("liar.zip", &limits, &t, &err), ERR_OK);
    assert_true(t.entries[0].why.code == ERR_TOO_LARGE || t.entries[0].why.code == ERR_DAMAGED);
    assert_true(t.entries[0].size <= 100000 + 65536);
    done(&t);
}

static void a_zip_inside_is_a_file_like_any(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    size_t n;
    make_bomb("inner.zip", 4);
    unsigned char *inner = audio_read("inner.zip", &n);
    make("outer.zip", "inner.zip", inner, n, ZIP_CM_STORE);
    assert_int_equal(take("outer.zip", NULL, &t, &err), ERR_OK);
    assert_int_equal(t.n, 1);
    assert_int_equal(t.entries[0].why.code, ERR_OK);
    assert_int_equal(t.entries[0].size, n);
    assert_memory_equal(t.entries[0].data, inner, n);
    assert_true(zip_is(inner, 4));
    free(inner);
    done(&t);
}

static void a_wrong_checksum_spoils_its_entry_only(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    zip_t *z = create("crc.zip");
    put(z, "bad.wav", noise, 1000, ZIP_CM_STORE);
    put(z, "good.wav", noise, 1000, ZIP_CM_STORE);
    assert_int_equal(zip_close(z), 0);
    patch("crc.zip", LOCAL, 0, 200, ~(uint64_t)noise[0], 1); /* in the data */
    assert_int_equal(take("crc.zip", NULL, &t, &err), ERR_OK);
    assert_int_equal(t.entries[0].why.code, ERR_DAMAGED);
    assert_int_equal(t.entries[1].why.code, ERR_OK);
    done(&t);
}

static void entries_that_overlap_are_refused(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    zip_t *z = create("overlap.zip");
    put(z, "a.wav", noise, 50000, ZIP_CM_STORE);
    put(z, "b.wav", noise, 10, ZIP_CM_STORE);
    assert_int_equal(zip_close(z), 0);
    /* The second entry is the first one once more. */
    size_t n;
    unsigned char *data = audio_read("overlap.zip", &n);
    size_t first = find(data, n, CENTRAL, 0), second = find(data, n, CENTRAL, 1);
    memcpy(data + second + 10, data + first + 10, 20);
    memcpy(data + second + 42, data + first + 42, 4);
    memcpy(data + second + 46, "a.wav", 5);
    audio_write("overlap.zip", data, n);
    free(data);
    assert_int_equal(take("overlap.zip", NULL, &t, &err), ERR_DAMAGED);
    assert_int_equal(t.n, 0);
    done(&t);
}

static void every_cut_is_an_error_and_no_crash(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    size_t n;
    zip_t *z = create("whole.zip");
    put(z, "a.wav", noise, 300, ZIP_CM_STORE);
    put(z, "b.wav", "hello hello hello hello", 23, ZIP_CM_DEFLATE);
    assert_int_equal(zip_close(z), 0);
    unsigned char *data = audio_read("whole.zip", &n);
    for (size_t cut = 0; cut < n; cut++) {
        audio_write("cut.zip", data, cut);
        assert_int_equal(take("cut.zip", NULL, &t, &err), ERR_DAMAGED);
        assert_int_equal(t.n, 0);
        done(&t);
    }
    /* And each byte wrong, once: whatever comes of it. */
    for (size_t i = 0; i < n; i++) {
        data[i] ^= 0xff;
        audio_write("cut.zip", data, n);
        enum err_code rc = take("cut.zip", NULL, &t, &err);
        assert_true(rc == ERR_OK || rc == ERR_DAMAGED || rc == ERR_LIMIT);
        data[i] ^= 0xff;
        done(&t);
    }
    free(data);
}

static void counts_are_limited_before_they_are_believed(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    const struct zip_limits three = {.max_entries = 3};
    zip_t *z = create("many.zip");
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.wav", i);
        put(z, name, "x", 1, ZIP_CM_STORE);
    }
    assert_int_equal(zip_close(z), 0);
    assert_int_equal(take("many.zip", &three, &t, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "4 entries"));
    done(&t);
    /* The end record says 3: libzip goes by the size of the directory, and so do we. */
    patch("many.zip", END, 0, 8, 0x00030003, 4);
    enum err_code rc = take("many.zip", &three, &t, &err);
    assert_true(rc == ERR_LIMIT || rc == ERR_DAMAGED);
    done(&t);
    patch("many.zip", END, 0, 12, 0x10000000, 4); /* a directory of 256 MB */
    assert_int_equal(take("many.zip", NULL, &t, &err), ERR_LIMIT);
    done(&t);

    /* The 64-bit record claims four thousand million entries: nothing may be allocated for them. */
    static unsigned char big[56 + 20 + 22];
    memcpy(big, "PK\6\6", 4);
    big[4] = 44;
    big[28] = big[36] = 1; /* 1 << 32 */
    memcpy(big + 56, "PK\6\7", 4);
    big[56 + 16] = 1;
    memcpy(big + 76, END, 4);
    memset(big + 76 + 8, 0xff, 12);
    audio_write("big.zip", big, sizeof big);
    long before = audio_proc_kib(getpid(), "VmHWM");
    assert_int_equal(take("big.zip", NULL, &t, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "4294967296 entries"));
    assert_true(audio_proc_kib(getpid(), "VmHWM") - before < 4096);
    done(&t);
}

static void what_the_sink_says_stops_everything(void **state)
{
    (void)state;
    struct taken t = {.refuse_begin = ERR_NO_SPACE};
    struct err err;
    make("one.zip", "a.wav", noise, 1000, ZIP_CM_STORE);
    assert_int_equal(take("one.zip", NULL, &t, &err), ERR_NO_SPACE);
    assert_string_equal(err.text, "begin says no");
    done(&t);
    t.refuse_data = ERR_IO;
    assert_int_equal(take("one.zip", NULL, &t, &err), ERR_IO);
    done(&t);
    t.refuse_end = ERR_CANCELLED;
    assert_int_equal(take("one.zip", NULL, &t, &err), ERR_CANCELLED);
    done(&t);
}

static void only_a_zip_is_one(void **state)
{
    (void)state;
    struct taken t = {0};
    struct err err;
    assert_true(zip_is((const unsigned char *)"PK\3\4....", 8));
    assert_true(zip_is((const unsigned char *)"PK\5\6", 4)); /* an empty one */
    assert_false(zip_is((const unsigned char *)"PK\3", 3));
    assert_false(zip_is((const unsigned char *)"RIFF", 4));
    audio_write("letter.zip", "Dear Sir", 8);
    assert_int_equal(take("letter.zip", NULL, &t, &err), ERR_DAMAGED);
    audio_write("nothing.zip", "", 0);
    assert_int_equal(take("nothing.zip", NULL, &t, &err), ERR_DAMAGED);
    static const unsigned char empty[22] = "PK\5\6";
    audio_write("empty.zip", empty, sizeof empty);
    assert_int_equal(take("empty.zip", NULL, &t, &err), ERR_OK);
    assert_int_equal(t.n, 0);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const struct zip_sink sink = {&t, on_begin, on_data, on_end, on_skipped};
    assert_int_equal(zip_each(ends[0], NULL, &sink, &err), ERR_NOT_A_FILE);
    close(ends[0]);
    close(ends[1]);
    done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_out_whole),
        cmocka_unit_test(other_programs_zips_are_read),
        cmocka_unit_test(names_are_only_names),
        cmocka_unit_test(what_is_no_regular_file_is_passed_over),
        cmocka_unit_test(encrypted_and_unknown_methods_are_said),
        cmocka_unit_test(a_bomb_is_stopped_by_its_ratio),
        cmocka_unit_test(limits_on_bytes_hold),
        cmocka_unit_test(a_zip_inside_is_a_file_like_any),
        cmocka_unit_test(a_wrong_checksum_spoils_its_entry_only),
        cmocka_unit_test(entries_that_overlap_are_refused),
        cmocka_unit_test(every_cut_is_an_error_and_no_crash),
        cmocka_unit_test(counts_are_limited_before_they_are_believed),
        cmocka_unit_test(what_the_sink_says_stops_everything),
        cmocka_unit_test(only_a_zip_is_one),
    };
    return cmocka_run_group_tests_name("media_zip", tests, setup, audio_teardown);
}

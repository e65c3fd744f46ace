/* libzip, with what it believes checked before and after.
 *
 * Before: libzip allocates as many entries, and reads as much directory, as the end record says. So
 * every place that it could take for an end record is looked at first, and the file is refused if
 * any of them claims more than the limits. Entries whose packed sizes add up to more than the file
 * share bytes, which only bombs do.
 * While unpacking: the bytes that really come are counted. libzip checks length and CRC at the end.
 */
#include "zip.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include "../base/mem.h"
#include "../base/utf8.h"

#define PIECE 65536

/* The end record: 22 bytes and a comment of up to 64 KB, before it a locator of its 64-bit form. */
#define END_BYTES     22
#define LOCATOR_BYTES 20
#define END64_BYTES   56
#define TAIL_BYTES    (END_BYTES + 65535 + LOCATOR_BYTES)

struct file {
    int fd;
    uint64_t size, at;
    zip_error_t error;
};

struct unpack {
    struct file file;
    struct zip_limits limits;
    const struct zip_sink *sink;
    zip_t *zip;
    uint64_t total; /* unpacked so far */
    unsigned char *piece;
};

int zip_is(const unsigned char *head, size_t n)
{
    return n >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0);
}

/* --- the file ----------------------------------------------------------------------------------
 */

/* All of n bytes at `at`: 0, or -1 with errno (0: the file is shorter). */
static int read_at(int fd, uint64_t at, void *buf, size_t n)
{
    char *p = buf;
    while (n > 0) {
        ssize_t got = pread(fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got < 0 ? errno : 0;
            return -1;
        }
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

static zip_int64_t file_seek(struct file *f, void *data, zip_uint64_t length)
{
    zip_int64_t at = zip_source_seek_compute_offset(f->at, f->size, data, length, &f->error);
    if (at < 0)
        return -1;
    f->at = (uint64_t)at;
    return 0;
}

static zip_int64_t file_read(struct file *f, void *data, zip_uint64_t length)
{
    uint64_t left = f->size - f->at;
    size_t n = length < left ? (size_t)length : (size_t)left;
    if (read_at(f->fd, f->at, data, n) < 0) {
        zip_error_set(&f->error, ZIP_ER_READ, errno);
        return -1;
    }
    f->at += n;
    return (zip_int64_t)n;
}

static zip_int64_t file_stat(const struct file *f, zip_stat_t *st)
{
    zip_stat_init(st);
    st->size = f->size;
    st->valid = ZIP_STAT_SIZE;
    return sizeof *st;
}

/* libzip's view of the file: by pread, so that the caller's position stays. */
static zip_int64_t file_source(void *user, void *data, zip_uint64_t length, zip_source_cmd_t cmd)
{
    struct file *f = user;
    switch (cmd) {
    case ZIP_SOURCE_OPEN:
        f->at = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return file_read(f, data, length);
    case ZIP_SOURCE_SEEK:
        return file_seek(f, data, length);
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)f->at;
    case ZIP_SOURCE_STAT:
        return file_stat(f, data);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&f->error, data, length);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(
            ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
            ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, -1);
    default:
        zip_error_set(&f->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

/* --- before libzip -----------------------------------------------------------------------------
 */

static uint64_t le(const unsigned char *p, size_t bytes)
{
    uint64_t v = 0;
    while (bytes-- > 0)
        v = v << 8 | p[bytes];
    return v;
}

static enum err_code check_directory(const struct unpack *u, uint64_t entries, uint64_t bytes,
                                     struct err *err)
{
    if (entries > u->limits.max_entries)
        return err_set(err, ERR_LIMIT, "the zip claims %llu entries; the limit is %zu",
                       (unsigned long long)entries, u->limits.max_entries);
    if (bytes > ZIP_MAX_DIRECTORY)
        return err_set(err, ERR_LIMIT,
                       "the zip claims a directory of %llu bytes; the limit is %llu",
                       (unsigned long long)bytes, (unsigned long long)ZIP_MAX_DIRECTORY);
    return ERR_OK;
}

/* The 64-bit record that the locator points to, if it does. */
static enum err_code check_end64(const struct unpack *u, const unsigned char *locator,
                                 struct err *err)
{
    unsigned char end[END64_BYTES];
    uint64_t at = le(locator + 8, 8);
    if (at > u->file.size || u->file.size - at < sizeof end)
        return ERR_OK; /* libzip will refuse it */
    if (read_at(u->file.fd, at, end, sizeof end) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot read the zip");
    if (memcmp(end, "PK\6\6", 4) != 0)
        return ERR_OK;
    uint64_t on_disk = le(end + 24, 8), entries = le(end + 32, 8);
    return check_directory(u, on_disk > entries ? on_disk : entries, le(end + 40, 8), err);
}

/* Every place that could be taken for the end record. */
static enum err_code check_ends(const struct unpack *u, struct err *err)
{
    size_t n = u->file.size < TAIL_BYTES ? (size_t)u->file.size : TAIL_BYTES, found = 0;
    _cleanup_free_ unsigned char *tail = try_alloc(TAIL_BYTES, 1);
    if (!tail)
        return err_set(err, ERR_NO_MEMORY, "no memory for the end of the zip");
    if (read_at(u->file.fd, u->file.size - n, tail, n) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot read the zip");
    for (size_t i = 0; i + END_BYTES <= n; i++) {
        const unsigned char *end = tail + i, *locator = end - LOCATOR_BYTES;
        if (memcmp(end, "PK\5\6", 4) != 0)
            continue;
        found++;
        int is64 = i >= LOCATOR_BYTES && memcmp(locator, "PK\6\7", 4) == 0;
        uint64_t entries = le(end + 10, 2), bytes = le(end + 12, 4);
        enum err_code rc = is64 ? check_end64(u, locator, err) : ERR_OK;
        if (is64) { /* all ones: see the other record */
            entries = entries == 0xffff ? 0 : entries;
            bytes = bytes == 0xffffffff ? 0 : bytes;
        }
        if (rc == ERR_OK)
            rc = check_directory(u, entries, bytes, err);
        if (rc != ERR_OK)
            return rc;
    }
    return found ? ERR_OK : err_set(err, ERR_DAMAGED, "it is no zip, or its end is missing");
}

static enum err_code from_zip(zip_error_t *e, const char *what, struct err *err)
{
    int code = zip_error_code_zip(e);
    return err_set(err,
                   code == ZIP_ER_MEMORY ? ERR_NO_MEMORY
                   : (code == ZIP_ER_READ || code == ZIP_ER_SEEK) && zip_error_code_system(e)
                       ? ERR_IO
                       : ERR_DAMAGED,
                   "%s: %s", what, zip_error_strerror(e));
}

static enum err_code open_zip(struct unpack *u, struct err *err)
{
    zip_error_t e;
    zip_error_init(&e);
    zip_source_t *source = zip_source_function_create(file_source, &u->file, &e);
    if (source)
        u->zip = zip_open_from_source(source, ZIP_RDONLY, &e);
    if (source && !u->zip)
        zip_source_free(source);
    enum err_code rc = u->zip ? ERR_OK : from_zip(&e, "the zip cannot be opened", err);
    zip_error_fini(&e);
    return rc;
}

/* Entries that share bytes: then the packed sizes add up to more than there is. */
static enum err_code check_overlap(const struct unpack *u, struct err *err)
{
    uint64_t sum = 0, left = u->file.size;
    zip_int64_t n = zip_get_num_entries(u->zip, 0);
    if ((uint64_t)n > u->limits.max_entries)
        return err_set(err, ERR_LIMIT, "the zip has %lld entries; the limit is %zu", (long long)n,
                       u->limits.max_entries);
    for (zip_int64_t i = 0; i < n; i++) {
        zip_stat_t st;
        if (zip_stat_index(u->zip, (zip_uint64_t)i, 0, &st) < 0)
            return from_zip(zip_get_error(u->zip), "the zip's directory", err);
        sum = st.valid & ZIP_STAT_COMP_SIZE ? st.comp_size : 0;
        if (sum > left)
            return err_set(err, ERR_DAMAGED, "the zip's entries overlap");
        left -= sum;
    }
    return ERR_OK;
}

/* --- entries -----------------------------------------------------------------------------------
 */

/* The part of a path behind the last separator, of either kind. */
static const char *base_name(const char *path)
{
    const char *base = path;
    for (const char *p = path; *p; p++)
        if (*p == '/' || *p == '\\')
            base = p + 1;
    return base;
}

static void clean_name(const char *raw, char *out)
{
    size_t used = 0;
    for (const char *p = raw; *p;) {
        uint32_t c = 0;
        size_t n = utf8_char(p, &c), width = n;
        const char *shown = p;
        if (n == 0 || utf8_unprintable(c)) {
            shown = "\xef\xbf\xbd";
            width = 3;
        }
        if (used + width > ZIP_NAME_MAX)
            break;
        memcpy(out + used, shown, width);
        used += width;
        p += n ? n : 1;
    }
    out[used] = '\0';
}

/* Why an entry is no recording; NULL when it may be one. */
static const char *skip_reason(const struct unpack *u, zip_uint64_t i, const char *path)
{
    zip_uint8_t system = 0;
    zip_uint32_t attributes = 0;
    const char *base = base_name(path);
    if (!*base)
        return "folder";
    if (strncmp(path, "__MACOSX/", 9) == 0 || strstr(path, "/__MACOSX/"))
        return "made by macOS";
    if (zip_file_get_external_attributes(u->zip, i, 0, &system, &attributes) == 0 &&
        (system == ZIP_OPSYS_UNIX || system == ZIP_OPSYS_OS_X)) {
        mode_t kind = (mode_t)(attributes >> 16) & S_IFMT;
        if (kind == S_IFLNK)
            return "symbolic link";
        if (kind == S_IFDIR)
            return "folder";
        /* What zip itself packed from a pipe it marks as one, data and all. */
        if (kind != 0 && kind != S_IFREG && kind != S_IFIFO)
            return "special file";
    }
    return *base == '.' ? "hidden file" : NULL;
}

/* What can be said without unpacking. */
static enum err_code check_entry(const struct unpack *u, const zip_stat_t *st, struct err *why)
{
    if ((st->valid & ZIP_STAT_ENCRYPTION_METHOD) && st->encryption_method != ZIP_EM_NONE)
        return err_set(why, ERR_ARCHIVE, "it is encrypted");
    if ((st->valid & ZIP_STAT_COMP_METHOD) && st->comp_method != ZIP_CM_STORE &&
        st->comp_method != ZIP_CM_DEFLATE)
        return err_set(why, ERR_ARCHIVE, "it is packed by method %u; only deflate can be read",
                       st->comp_method);
    if ((st->valid & ZIP_STAT_SIZE) && st->size > u->limits.max_entry_bytes)
        return err_set(why, ERR_TOO_LARGE, "%llu bytes unpacked; the limit is %llu",
                       (unsigned long long)st->size, (unsigned long long)u->limits.max_entry_bytes);
    if (u->total >= u->limits.max_bytes)
        return err_set(why, ERR_TOO_LARGE, "what came before it reached the limit of %llu bytes",
                       (unsigned long long)u->limits.max_bytes);
    return ERR_OK;
}

/* After each piece: the bytes that really came. */
static enum err_code check_bytes(const struct unpack *u, const zip_stat_t *st, uint64_t bytes,
                                 struct err *why)
{
    double packed = st->valid & ZIP_STAT_COMP_SIZE ? (double)st->comp_size : 0;
    if (bytes > u->limits.max_entry_bytes)
        return err_set(why, ERR_TOO_LARGE, "more than %llu bytes unpacked",
                       (unsigned long long)u->limits.max_entry_bytes);
    if (u->total > u->limits.max_bytes)
        return err_set(why, ERR_TOO_LARGE, "more than %llu bytes unpacked of the whole zip",
                       (unsigned long long)u->limits.max_bytes);
    if (bytes > ZIP_RATIO_FROM && (double)bytes > u->limits.max_ratio * packed)
        return err_set(why, ERR_LIMIT, "it unpacks to more than %.0f times its size",
                       u->limits.max_ratio);
    return ERR_OK;
}

/* Hands over the bytes of an open entry. What is wrong with it goes to *why; the answer is the
 * sink's. */
static enum err_code pass_on(struct unpack *u, zip_file_t *file, const zip_stat_t *st,
                             struct err *why, struct err *err)
{
    uint64_t bytes = 0;
    for (;;) {
        zip_int64_t n = zip_fread(file, u->piece, PIECE);
        if (n < 0)
            why->code = from_zip(zip_file_get_error(file), "it cannot be unpacked", why);
        if (n <= 0)
            return ERR_OK;
        bytes += (uint64_t)n;
        u->total += (uint64_t)n;
        if (check_bytes(u, st, bytes, why) != ERR_OK)
            return ERR_OK;
        enum err_code rc = u->sink->data(u->sink->ctx, u->piece, (size_t)n, err);
        if (rc != ERR_OK)
            return rc;
    }
}

static enum err_code unpack_entry(struct unpack *u, zip_uint64_t i, const zip_stat_t *st,
                                  const char *name, struct err *why, struct err *err)
{
    enum err_code rc = u->sink->begin(u->sink->ctx, name, err);
    if (rc != ERR_OK)
        return rc;
    zip_file_t *file = zip_fopen_index(u->zip, i, 0);
    if (!file) {
        why->code = from_zip(zip_get_error(u->zip), "it cannot be unpacked", why);
        return ERR_OK;
    }
    rc = pass_on(u, file, st, why, err);
    zip_fclose(file);
    return rc;
}

static enum err_code take_entry(struct unpack *u, zip_uint64_t i, struct err *err)
{
    char name[ZIP_NAME_MAX + 1] = "";
    struct err why = {0};
    zip_stat_t st;
    const char *path = zip_get_name(u->zip, i, ZIP_FL_ENC_RAW);
    const char *skip = path ? skip_reason(u, i, path) : "folder";
    clean_name(path ? base_name(path) : "", name);
    if (skip) {
        if (u->sink->skipped)
            u->sink->skipped(u->sink->ctx, name, skip);
        return ERR_OK;
    }
    enum err_code rc = ERR_OK;
    if (zip_stat_index(u->zip, i, 0, &st) < 0)
        why.code = from_zip(zip_get_error(u->zip), "its entry in the directory", &why);
    else if (check_entry(u, &st, &why) == ERR_OK)
        rc = unpack_entry(u, i, &st, name, &why, err);
    return rc != ERR_OK ? rc : u->sink->end(u->sink->ctx, name, why.code ? &why : NULL, err);
}

static struct zip_limits with_defaults(const struct zip_limits *limits)
{
    struct zip_limits l = limits ? *limits : (struct zip_limits){0};
    l.max_bytes = l.max_bytes ? l.max_bytes : ZIP_MAX_BYTES_DEFAULT;
    l.max_entry_bytes = l.max_entry_bytes ? l.max_entry_bytes : ZIP_MAX_ENTRY_BYTES_DEFAULT;
    l.max_entries = l.max_entries ? l.max_entries : ZIP_MAX_ENTRIES_DEFAULT;
    l.max_ratio = l.max_ratio > 0 ? l.max_ratio : ZIP_MAX_RATIO_DEFAULT;
    return l;
}

enum err_code zip_each(int fd, const struct zip_limits *limits, const struct zip_sink *sink,
                       struct err *err)
{
    struct unpack u = {.file.fd = fd, .limits = with_defaults(limits), .sink = sink};
    struct stat status;
    if (fstat(fd, &status) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot read the zip");
    if (!S_ISREG(status.st_mode))
        return err_set(err, ERR_NOT_A_FILE, "the zip is not a regular file");
    _cleanup_free_ unsigned char *piece = u.piece = try_alloc(PIECE, 1);
    if (!piece)
        return err_set(err, ERR_NO_MEMORY, "no memory to unpack");
    u.file.size = (uint64_t)status.st_size;
    zip_error_init(&u.file.error);
    enum err_code rc = check_ends(&u, err);
    if (rc == ERR_OK)
        rc = open_zip(&u, err);
    if (rc == ERR_OK)
        rc = check_overlap(&u, err);
    zip_int64_t n = rc == ERR_OK ? zip_get_num_entries(u.zip, 0) : 0;
    for (zip_int64_t i = 0; rc == ERR_OK && i < n; i++)
        rc = take_entry(&u, (zip_uint64_t)i, err);
    if (u.zip)
        zip_discard(u.zip);
    zip_error_fini(&u.file.error);
    return rc;
}

/* Recordings out of a zip file from outside, one after the other, in pieces.
 *
 * Nothing in the file is believed. Bytes are counted as they are unpacked, so a bomb is stopped on
 * its way whatever its headers claim; names are only names, never paths; archives inside are plain
 * entries and are not opened. In memory are 64 KB of an entry and the directory, which is limited
 * too. Only stored and deflated entries without encryption are read: what programs write.
 *
 * No state: any thread, any number of zips at once.
 */
#ifndef SONDE_MEDIA_ZIP_H
#define SONDE_MEDIA_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "../base/err.h"

/* Named limits; 0 in a field means the default below. */
struct zip_limits {
    uint64_t max_bytes;       /* unpacked, all entries together */
    uint64_t max_entry_bytes; /* unpacked, of one entry */
    size_t max_entries;       /* folders and what is skipped included */
    double max_ratio; /* unpacked to packed bytes of an entry, past its first ZIP_RATIO_FROM */
};
#define ZIP_MAX_BYTES_DEFAULT       (UINT64_C(8) << 30)
#define ZIP_MAX_ENTRY_BYTES_DEFAULT (UINT64_C(4) << 30)
#define ZIP_MAX_ENTRIES_DEFAULT     1000
#define ZIP_MAX_RATIO_DEFAULT       200.0 /* digital silence reaches 1000, speech hardly 10 */
#define ZIP_RATIO_FROM              (UINT64_C(1) << 20)
#define ZIP_MAX_DIRECTORY           (UINT64_C(4) << 20) /* bytes of the directory in the file */
#define ZIP_NAME_MAX                255                 /* bytes of a name as it is given out */

/* Who takes the entries; all calls come on the caller's thread, in the order of the directory.
 * `name` is the base name of the entry: valid UTF-8 of at most ZIP_NAME_MAX bytes, never empty but
 * for `skipped`, without / and \ and what must not reach a terminal (invalid and unprintable
 * characters are U+FFFD). It need not be unique. Valid during the call.
 * An error from begin, data or end stops everything and is the answer of zip_each. */
struct zip_sink {
    void *ctx;
    /* An entry that is going to be unpacked. */
    enum err_code (*begin)(void *ctx, const char *name, struct err *err);
    /* Its next bytes, at most 64 KB. */
    enum err_code (*data)(void *ctx, const void *data, size_t size, struct err *err);
    /* Its end. why NULL: the entry is whole, its length and checksum right. Else what came of it
     * is of no use, and *why says so: ERR_TOO_LARGE (a limit on bytes), ERR_LIMIT (the ratio),
     * ERR_DAMAGED; ERR_ARCHIVE (encrypted, or a method other than deflate). What is known
     * before a byte is unpacked comes without a begin. */
    enum err_code (*end)(void *ctx, const char *name, const struct err *why, struct err *err);
    /* What is no recording by its kind: "folder", "symbolic link", "special file", "hidden file",
     * "made by macOS". NULL: nobody wants to know. */
    void (*skipped)(void *ctx, const char *name, const char *reason);
};

/* 1 when a file that begins with these n bytes is a zip; 4 of them are enough. */
int zip_is(const unsigned char *head, size_t n);

/* Unpacks the zip in the regular file behind `fd` into the sink. fd stays the caller's; its
 * position is neither used nor moved, and the bytes must not change meanwhile. limits NULL: all
 * defaults. What is wrong with one entry is told to `end` and fails nothing else. ERR_DAMAGED: no
 * zip, cut, or inconsistent (entries that overlap); ERR_LIMIT: too many entries, or too large a
 * directory (both before anything is unpacked); ERR_IO; ERR_NO_MEMORY; or what the sink answered.
 */
enum err_code zip_each(int fd, const struct zip_limits *limits, const struct zip_sink *sink,
                       struct err *err) MUST_CHECK;

#endif

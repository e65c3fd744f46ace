/* Puts or gets files in storage, for bench/s3.mjs:  bench_blob put|get URL KEY SECRET FOLDER FILE
 * COUNT FILE is put COUNT times as k0, k1 … (from a copy, which the put takes away), or those are
 * got. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "driver/blob/blob.h"

static enum err_code put(struct blob *blob, const char *folder, const char *file, const char *key,
                         struct err *err)
{
    _cleanup_free_ char *twin = xasprintf("%s/%s", folder, key);
    if (link(file, twin) < 0)
        return err_set(err, ERR_IO, "cannot link %s", file);
    return blob_put_file(blob, BLOB_RAW, key, twin, NULL, err);
}

static enum err_code get(struct blob *blob, const char *key, struct err *err)
{
    _cleanup_close_ int fd = -1;
    uint64_t size;
    return blob_open(blob, BLOB_RAW, key, &fd, &size, err);
}

int main(int argc, char **argv)
{
    struct blob *blob = NULL;
    struct err err = {0};
    if (argc != 8)
        return 2;
    struct blob_options options = {
        .url = argv[2], .key_id = argv[3], .secret = argv[4], .spool = argv[5], .make_buckets = 1};
    enum err_code rc = blob_open_store(&options, &blob, &err);
    long count = strtol(argv[7], NULL, 10);
    for (long i = 0; rc == ERR_OK && i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "k%ld", i);
        rc = strcmp(argv[1], "put") == 0 ? put(blob, argv[5], argv[6], key, &err)
                                         : get(blob, key, &err);
    }
    blob_close_store(blob);
    if (rc != ERR_OK)
        fprintf(stderr, "%s\n", err.text);
    return rc != ERR_OK;
}

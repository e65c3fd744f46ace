/* Arbitrary bytes as a manifest; what parses is filtered and its paths are joined. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "eval/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever the parser promises of its rows. */
static void check(const struct manifest *m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct manifest_row *row = &m->rows[i];
        if (!row->path[0] || row->duration_s < 0 || row->line == 0)
            abort();
        bytes += strlen(row->path);
        for (int c = 0; c < MANIFEST_TEXT_COLUMNS; c++)
            bytes += strlen(row->text[c]);
        char *path = manifest_row_path(m, row);
        free(path);
    }
    if (bytes > MANIFEST_MAX_BYTES)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest *m = NULL;
    struct err err = {0};
    if (manifest_parse((const char *)data, size, &m, &err) != ERR_OK) {
        if (m || !err.text[0])
            abort();
        return 0;
    }
    check(m);
    if (manifest_filter(m, "split=valid", &err) == ERR_OK)
        check(m);
    manifest_free(m);
    return 0;
}

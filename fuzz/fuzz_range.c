/* Arbitrary bytes as the values of Range, If-None-Match and Accept-Encoding. The first eight bytes
 * are the size of the file. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t bytes, from, len;
    if (size < sizeof bytes)
        return 0;
    memcpy(&bytes, data, sizeof bytes);
    size -= sizeof bytes;
    _cleanup_free_ char *text = malloc(size + 1);
    memcpy(text, data + sizeof bytes, size);
    text[size] = 0;
    enum range_kind kind = range_parse(text, bytes, &from, &len);
    if (kind == RANGE_WHOLE && (from != 0 || len != bytes))
        abort();
    if (kind == RANGE_PART && (len == 0 || from >= bytes || len > bytes - from))
        abort();
    int quality = coding_quality(text, "gzip");
    if (quality < -1 || quality > 1000)
        abort();
    (void)etag_matches(text, "\"e1\"");
    return 0;
}

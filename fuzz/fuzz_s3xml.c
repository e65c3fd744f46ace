/* Arbitrary bytes as the XML of an S3 server. No text is longer than the input, no path longer than
 * its bound. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "driver/blob/s3_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int look(void *ctx, const char *path, const char *text)
{
    size_t n = strlen(path);
    if (n == 0 || n >= S3_XML_PATH_MAX || path[0] == '/' || path[n - 1] == '/')
        abort();
    if (text && strlen(text) > *(size_t *)ctx)
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum err_code rc = s3_xml_read((const char *)data, size, look, &size, NULL);
    if (rc != ERR_OK && rc != ERR_UNAVAILABLE && rc != ERR_NO_MEMORY)
        abort();
    return 0;
}

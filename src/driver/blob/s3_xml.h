/* The XML of S3's answers: a strict reader for small texts made of elements and text. */
#ifndef SONDE_DRIVER_BLOB_S3_XML_H
#define SONDE_DRIVER_BLOB_S3_XML_H

#include <stddef.h>

#include "../../base/err.h"

#define S3_XML_PATH_MAX 200 /* bytes of "ListBucketResult/Contents/Key" */

/* Called at the end of each element. `path` names it from the root on, without prefixes of
 * namespaces; `text` is what stands in it, decoded, or NULL where it has elements in it. Both are
 * good until the call returns. Non-zero ends the reading, which is then ERR_LIMIT. */
typedef int s3_xml_each(void *ctx, const char *path, const char *text);

/* ERR_UNAVAILABLE for what is not well-formed, has a document type, or is nested too deep: the
 * other side is no S3 server, or something between tampers with what it says. */
enum err_code s3_xml_read(const char *data, size_t size, s3_xml_each *each, void *ctx,
                          struct err *err) MUST_CHECK;

#endif

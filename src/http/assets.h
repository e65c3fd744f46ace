/* The page's files inside the program: made by tools/embed-web.mjs from web/dist, brotli and gzip
 * at build time. */
#ifndef SONDE_HTTP_ASSETS_H
#define SONDE_HTTP_ASSETS_H

#include <stddef.h>

struct asset {
    const char *path;                           /* "/index.html", "/assets/index-abc.js" */
    const char *type;                           /* "text/javascript; charset=utf-8" */
    const char *etag;                           /* "\"…\"" */
    const unsigned char *plain, *gzip, *brotli; /* gzip, brotli NULL when not smaller */
    size_t plain_size, gzip_size, brotli_size;
    int immutable; /* its name carries its hash */
};
extern const struct asset assets[];
extern const size_t n_assets;

#endif

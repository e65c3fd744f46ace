/* A small server in this process, for tests: a few routes, a spool folder, a pool of workers. */
#ifndef SONDE_TESTS_SITE_H
#define SONDE_TESTS_SITE_H

#include "http/http.h"

struct site {
    struct http_server *server;
    struct pool *workers;
    int port;
    char spool[64];
};

/* Fills what `config` leaves open; NULL: all of it. Aborts when it cannot start. */
void site_start(struct site *site, const struct http_config *config);
void site_stop(struct site *site, double grace_s); /* checks that the spool is empty */
int site_spooled(const struct site *site);         /* files in the spool folder */

/* Of the routes: */
#define SITE_UPLOAD_MAX (8 * 1024 * 1024)
void site_release(void);  /* lets one /held handler go on */
int site_held(void);      /* handlers inside /held */
void site_resume(void);   /* resumes what /later deferred */
int site_later(void);     /* requests that /later deferred */
int site_contexts(void);  /* contexts of requests that are not freed yet */
void site_admit(int yes); /* whether /admitted admits */

#endif

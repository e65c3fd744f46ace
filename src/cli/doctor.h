/* The parts of `sonde doctor` among themselves. */
#ifndef SONDE_CLI_DOCTOR_H
#define SONDE_CLI_DOCTOR_H

#include "../store/store.h"
#include "print.h"
#include "settings.h"

struct doctor_options {
    struct settings_options settings;
    int deep;
};

struct examination {
    const struct conf *conf;
    struct app_settings settings;
    int deep;
    int db_embedded, blob_embedded; /* on this machine, of one server process */
    char *spool;
    struct db *db; /* these are NULL while they do not work */
    struct blob *blob;
    struct queue *queue;
    struct cache *cache;
    int problems, running; /* running: a server uses the folder now */
    int no_tables;         /* the database is empty: no server has started on it yet */
    uint64_t recordings, missing, different, orphans;
    char example[STORE_KEY_MAX]; /* one of the missing or different */
};

/* "ok …", or "PROBLEM …" with the cure below. */
void doctor_say(struct examination *e, int ok, const char *what, const char *text,
                const char *cure);
void doctor_say_error(struct examination *e, const char *what, const struct err *err);

/* What is in them, once they are open. */
void doctor_look_at_database(struct examination *e);
void doctor_look_at_recordings(struct examination *e);
void doctor_look_at_queue(struct examination *e);

#endif

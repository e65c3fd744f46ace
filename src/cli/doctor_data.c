/* `sonde doctor`: what is in the database, the store and the queue. Main thread. */
#include <string.h>
#include <unistd.h>

#include "../base/hash.h"
#include "../base/mem.h"
#include "../os/clock.h"
#include "doctor.h"

/* PostgreSQL's word for it. */
static int has_no_tables(struct db *db)
{
    struct err err = {0};
    uint64_t waiting;
    return store_waiting(db, &waiting, &err) == ERR_DB && strstr(err.text, "(42P01)");
}

void doctor_look_at_database(struct examination *e)
{
    struct err err;
    _cleanup_free_ char *problems = NULL;
    char text[128];
    e->no_tables = !e->db_embedded && has_no_tables(e->db);
    if (e->no_tables) {
        doctor_say(e, 1, "tables", "none yet: the first start of the server makes them", NULL);
        return;
    }
    if (db_check(e->db, &problems, &err) != ERR_OK) {
        doctor_say_error(e, "database", &err);
    } else if (problems) {
        doctor_say(e, 0, "database", problems,
                   e->db_embedded ? err_hint(ERR_DB_CORRUPT) : "see the database's own log");
    } else {
        snprintf(text, sizeof text, "%s, %.1f MB",
                 e->db_embedded ? "every page and index is sound"
                                : "tables and constraints are sound",
                 (double)db_size_bytes(e->db) / 1e6);
        doctor_say(e, 1, e->db_embedded ? "database" : "tables", text, NULL);
    }
}

static int look_at_recording(void *ctx, const char *upload_id, uint64_t bytes, const char *sha256)
{
    struct examination *e = ctx;
    char key[STORE_KEY_MAX], hash[SHA256_HEX];
    uint64_t size = 0;
    _cleanup_close_ int fd = -1;
    store_blob_key(upload_id, key);
    e->recordings++;
    if (!e->blob_embedded && !e->deep)
        return 0; /* looking would fetch it */
    if (blob_open(e->blob, BLOB_RAW, key, &fd, &size, NULL) != ERR_OK) {
        e->missing++;
    } else if (size != bytes || (e->deep && (sha256_fd(fd, bytes, hash, &size, NULL) != ERR_OK ||
                                             strcmp(hash, sha256) != 0))) {
        e->different++;
    } else {
        return 0;
    }
    memcpy(e->example, key, sizeof key);
    return 0;
}

static int look_for_orphan(void *ctx, const char *key, uint64_t size, int64_t modified_ms)
{
    struct examination *e = ctx;
    const char *name = strrchr(key, '/');
    int known = 0;
    (void)size, (void)modified_ms;
    if (store_knows_upload(e->db, name ? name + 1 : key, &known, NULL) == ERR_OK && !known)
        e->orphans++;
    return 0;
}

/* A file that nobody knows may be an upload under way: only where no server runs is it left over.
 */
static enum err_code look_for_orphans(struct examination *e, struct err *err)
{
    if (e->running || !e->db_embedded || !e->blob_embedded)
        return ERR_OK;
    enum err_code rc = blob_list(e->blob, BLOB_RAW, look_for_orphan, e, err);
    return rc == ERR_OK ? blob_list(e->blob, BLOB_PROCESSED, look_for_orphan, e, err) : rc;
}

void doctor_look_at_recordings(struct examination *e)
{
    struct err err;
    char text[192];
    if (store_each_kept(e->db, look_at_recording, e, &err) != ERR_OK ||
        look_for_orphans(e, &err) != ERR_OK) {
        doctor_say_error(e, "recordings", &err);
        return;
    }
    snprintf(text, sizeof text, "%llu stored%s", (unsigned long long)e->recordings,
             e->deep            ? ", every SHA-256 compared"
             : e->blob_embedded ? ""
                                : "; --deep fetches and compares each");
    if (e->missing + e->different > 0)
        snprintf(text, sizeof text,
                 "of %llu recordings %llu are missing and %llu are not as uploaded, such as %s",
                 (unsigned long long)e->recordings, (unsigned long long)e->missing,
                 (unsigned long long)e->different, e->example);
    doctor_say(e, e->missing + e->different == 0, "recordings", text,
               e->blob_embedded ? "restore a backup with `sonde restore`"
                                : "restore them from the store's own versions or copies");
    if (e->orphans > 0) {
        snprintf(text, sizeof text, "%llu files belong to no upload or analysis",
                 (unsigned long long)e->orphans);
        doctor_say(e, 0, "storage", text, "the next start of the server removes them");
    }
}

static int count_letter(void *ctx, const struct queue_dead_letter *letter)
{
    (void)letter;
    ++*(int *)ctx;
    return 0;
}

#define MOVES_SECONDS 3

/* Whether what waits in the outbox gets less within a moment, as it does where a process of sonde
 * runs and the broker takes messages. One that is out of memory or disk answers everything else. */
static int outbox_moves(struct examination *e, uint64_t before)
{
    for (double until = clock_seconds() + MOVES_SECONDS; clock_seconds() < until; usleep(100000)) {
        uint64_t now = before;
        if (store_outbox_count(e->db, &now, NULL) != ERR_OK || now < before)
            return 1;
    }
    return 0;
}

static void look_at_outbox(struct examination *e, uint64_t outbox)
{
    char text[128];
    if (outbox == 0 || outbox_moves(e, outbox))
        return;
    snprintf(text, sizeof text, "%llu messages stay in the outbox: nobody hands them to the broker",
             (unsigned long long)outbox);
    doctor_say(e, 0, "queue", text,
               "see that a server runs, and that the broker is not out of memory or disk "
               "(rabbitmqctl status: alarms)");
}

void doctor_look_at_queue(struct examination *e)
{
    struct err err;
    int dead = 0, tables = e->db && !e->no_tables;
    uint64_t waiting = 0, outbox = 0;
    char text[128];
    if (queue_dead_list(e->queue, count_letter, &dead, &err) != ERR_OK ||
        (tables && (store_waiting(e->db, &waiting, &err) != ERR_OK ||
                    store_outbox_count(e->db, &outbox, &err) != ERR_OK))) {
        doctor_say_error(e, "queue", &err);
        return;
    }
    if (tables)
        snprintf(text, sizeof text, "%llu analyses to do, %llu in the outbox, %d dead letters",
                 (unsigned long long)waiting, (unsigned long long)outbox, dead);
    else
        snprintf(text, sizeof text, "%d dead letters", dead);
    doctor_say(e, dead == 0, "queue", text,
               "`sonde jobs list` tells why, `sonde jobs retry --all` tries them again");
    if (tables && !e->db_embedded)
        look_at_outbox(e, outbox);
}

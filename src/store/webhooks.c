/* Webhooks and their deliveries. A delivery row and its job are written in the transaction that
 * makes an analysis final (store_tx_notify), so a notice is neither lost nor sent for something
 * that did not happen. The secret leaves this file only to the one who signs. Any thread. */
#include "internal.h"

#include <string.h>

#define DELIVERIES_SHOWN 50

/* --- deliveries of a change --------------------------------------------------------------- */

static enum err_code add_delivery(struct db_tx *tx, const char *id, const char *webhook_id,
                                  const char *analysis_id, const char *type, int64_t now,
                                  struct err *err)
{
    enum err_code code =
        db_exec(tx,
                "INSERT INTO deliveries (id, webhook_id, analysis_id, type, created_ms) "
                "VALUES (?1, ?2, ?3, ?4, ?5)",
                NULL, err, DB_T(id), DB_T(webhook_id), DB_T(analysis_id), DB_T(type), DB_I(now));
    return code ? code : store_tx_outbox(tx, QUEUE_WEBHOOK, "delivery", id, NULL, now, err);
}

enum err_code store_tx_notify(struct db_tx *tx, const char *analysis_id, const char *type,
                              int64_t now, size_t *ret_rows, struct err *err)
{
    char webhooks[STORE_WEBHOOKS_MAX][ID_TEXT];
    size_t n = 0;
    int found = 0;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code =
        store_first_args(tx, "SELECT id FROM webhooks ORDER BY id", NULL, 0, &rows, &found, err);
    while (!code && found && n < STORE_WEBHOOKS_MAX) {
        store_copy(webhooks[n++], ID_TEXT, rows, 0);
        code = store_next(rows, &found, err);
    }
    for (size_t i = 0; !code && i < n; i++) {
        char id[ID_TEXT];
        id_new(id);
        code = add_delivery(tx, id, webhooks[i], analysis_id, type, now, err);
    }
    *ret_rows = n;
    return code;
}

/* --- webhooks ----------------------------------------------------------------------------- */

static enum err_code add_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct store_webhook *w = ctx;
    int64_t changed = 0;
    enum err_code code =
        db_exec(tx,
                "INSERT INTO webhooks (id, url, secret, created_ms) SELECT ?1, ?2, ?3, ?4 "
                "FROM (SELECT COUNT(*) AS n FROM webhooks) AS there WHERE there.n < ?5",
                &changed, err, DB_T(w->id), DB_T(w->url), DB_T(w->secret),
                DB_I(w->created_ms ? w->created_ms : time_now_ms()), DB_I(STORE_WEBHOOKS_MAX));
    if (!code && !changed)
        return err_set(err, ERR_LIMIT, "there are %d webhooks already", STORE_WEBHOOKS_MAX);
    return code;
}

/* Changes of webhooks are durable: somebody was told, and nothing would repeat them. */
enum err_code store_webhook_add(struct db *db, const struct store_webhook *webhook, struct err *err)
{
    return db_transact(db, DB_DURABLE, add_work, (void *)(uintptr_t)webhook, err);
}

static enum err_code delete_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const char *id = ctx;
    int64_t changed = 0;
    enum err_code code = db_exec(tx, "DELETE FROM webhooks WHERE id = ?1", &changed, err, DB_T(id));
    if (!code && !changed)
        return store_no_such(err, "webhook", id);
    return code ? code
                : db_exec(tx, "DELETE FROM deliveries WHERE webhook_id = ?1", NULL, err, DB_T(id));
}

enum err_code store_webhook_delete(struct db *db, const char *id, struct err *err)
{
    return db_transact(db, DB_DURABLE, delete_work, (void *)(uintptr_t)id, err);
}

static void webhook_row(const struct db_rows *rows, struct store_webhook *ret)
{
    store_copy(ret->id, sizeof ret->id, rows, 0);
    store_copy(ret->url, sizeof ret->url, rows, 1);
    store_copy(ret->secret, sizeof ret->secret, rows, 2);
    ret->created_ms = db_int(rows, 3);
}

enum err_code store_webhook_get(struct db *db, const char *id, struct store_webhook *ret,
                                struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = db_read_begin(db, &tx, err);
    if (!code)
        code = store_first(tx, "SELECT id, url, secret, created_ms FROM webhooks WHERE id = ?1",
                           &rows, &found, err, DB_T(id));
    if (code)
        return code;
    if (!found)
        return store_no_such(err, "webhook", id);
    webhook_row(rows, ret);
    return ERR_OK;
}

static enum err_code read_webhooks(struct db *db, struct store_webhook *list, size_t *ret_n,
                                   struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = db_read_begin(db, &tx, err);
    if (!code)
        code = store_first_args(tx,
                                "SELECT id, url, secret, created_ms FROM webhooks "
                                "ORDER BY created_ms, id",
                                NULL, 0, &rows, &found, err);
    while (!code && found && *ret_n < STORE_WEBHOOKS_MAX) {
        webhook_row(rows, &list[(*ret_n)++]);
        code = store_next(rows, &found, err);
    }
    return code;
}

enum err_code store_webhook_list(struct db *db, store_each_webhook *each, void *ctx,
                                 struct err *err)
{
    _cleanup_free_ struct store_webhook *list = xalloc(STORE_WEBHOOKS_MAX * sizeof *list);
    size_t n = 0;
    enum err_code code = read_webhooks(db, list, &n, err);
    for (size_t i = 0; !code && i < n; i++)
        if (each(ctx, &list[i]))
            break;
    return code;
}

/* --- deliveries --------------------------------------------------------------------------- */

#define DELIVERY_COLUMNS                                                                           \
    "id, webhook_id, analysis_id, type, tries, status, outcome, error, created_ms, last_ms"

static void delivery_row(const struct db_rows *rows, struct store_delivery *ret)
{
    store_copy(ret->id, sizeof ret->id, rows, 0);
    store_copy(ret->webhook_id, sizeof ret->webhook_id, rows, 1);
    store_copy(ret->analysis_id, sizeof ret->analysis_id, rows, 2);
    store_copy(ret->type, sizeof ret->type, rows, 3);
    ret->tries = (int)db_int(rows, 4);
    ret->status = (int)db_int(rows, 5);
    store_copy(ret->outcome, sizeof ret->outcome, rows, 6);
    store_copy(ret->error, sizeof ret->error, rows, 7);
    ret->created_ms = db_int(rows, 8);
    ret->last_ms = db_int(rows, 9);
}

static enum err_code read_delivery(struct db_tx *tx, const char *id, struct store_delivery *ret,
                                   struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code =
        store_first(tx, "SELECT " DELIVERY_COLUMNS " FROM deliveries WHERE id = ?1", &rows, &found,
                    err, DB_T(id));
    if (code)
        return code;
    if (!found)
        return store_no_such(err, "delivery", id);
    delivery_row(rows, ret);
    return ERR_OK;
}

enum err_code store_delivery_get(struct db *db, const char *id, struct store_delivery *ret,
                                 struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    enum err_code code = db_read_begin(db, &tx, err);
    return code ? code : read_delivery(tx, id, ret, err);
}

struct test_delivery {
    const char *webhook_id, *delivery_id;
    struct store_delivery *stored;
};

static enum err_code test_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct test_delivery *t = ctx;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = store_first(tx, "SELECT 1 FROM webhooks WHERE id = ?1", &rows, &found, err,
                                     DB_T(t->webhook_id));
    if (!code && !found)
        return store_no_such(err, "webhook", t->webhook_id);
    if (!code)
        code = add_delivery(tx, t->delivery_id, t->webhook_id, NULL, "test", time_now_ms(), err);
    return code ? code : read_delivery(tx, t->delivery_id, t->stored, err);
}

enum err_code store_delivery_test(struct db *db, const char *webhook_id, const char *delivery_id,
                                  struct store_delivery *ret, struct err *err)
{
    return store_write(db, DB_DURABLE, test_work,
                       &(struct test_delivery){webhook_id, delivery_id, ret}, err);
}

static enum err_code set_work(struct db_tx *tx, void *ctx, struct err *err)
{
    const struct store_delivery *d = ctx;
    int64_t changed = 0;
    enum err_code code =
        db_exec(tx,
                "UPDATE deliveries SET tries = ?2, status = ?3, outcome = ?4, error = ?5, "
                "last_ms = ?6 WHERE id = ?1",
                &changed, err, DB_T(d->id), DB_I(d->tries), DB_I(d->status), DB_T(d->outcome),
                DB_T(d->error), DB_I(d->last_ms));
    return code || changed ? code : store_no_such(err, "delivery", d->id);
}

enum err_code store_delivery_set(struct db *db, const struct store_delivery *delivery,
                                 struct err *err)
{
    /* Relaxed: it is a note for people; the message in the queue decides whether to try again. */
    return db_transact(db, DB_RELAXED, set_work, (void *)(uintptr_t)delivery, err);
}

static enum err_code read_deliveries(struct db *db, const char *webhook_id,
                                     struct store_delivery *list, size_t *ret_n, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    enum err_code code = db_read_begin(db, &tx, err);
    if (!code)
        code = store_first(tx, "SELECT 1 FROM webhooks WHERE id = ?1", &rows, &found, err,
                           DB_T(webhook_id));
    if (!code && !found)
        code = store_no_such(err, "webhook", webhook_id);
    if (!code)
        code = store_first(tx,
                           "SELECT " DELIVERY_COLUMNS " FROM deliveries WHERE webhook_id = ?1 "
                           "ORDER BY created_ms DESC, id DESC LIMIT ?2",
                           &rows, &found, err, DB_T(webhook_id), DB_I(DELIVERIES_SHOWN));
    while (!code && found && *ret_n < DELIVERIES_SHOWN) {
        delivery_row(rows, &list[(*ret_n)++]);
        code = store_next(rows, &found, err);
    }
    return code;
}

enum err_code store_delivery_list(struct db *db, const char *webhook_id, store_each_delivery *each,
                                  void *ctx, struct err *err)
{
    _cleanup_free_ struct store_delivery *list = xalloc(DELIVERIES_SHOWN * sizeof *list);
    size_t n = 0;
    enum err_code code = read_deliveries(db, webhook_id, list, &n, err);
    for (size_t i = 0; !code && i < n; i++)
        if (each(ctx, &list[i]))
            break;
    return code;
}

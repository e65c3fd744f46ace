/* Reading from PostgreSQL: one REPEATABLE READ snapshot per transaction, on the primary, or, for
 * who said that it may be a little old, on a replica that keeps up.
 *
 * A connection may have died since its last use, and a replica at any moment. As long as a
 * transaction has read nothing, it moves: from a replica to the primary, from a dead connection to
 * a new one. Later its snapshot is gone, and the reader is told.
 *
 * A transaction belongs to one thread; the functions are for any. */
#include "../../base/mem.h"
#include "db_postgres.h"

static enum err_code begin(struct postgres *p, struct pg_pool *pool, struct db_tx **ret,
                           struct err *err)
{
    struct pg_conn *conn = NULL;
    enum err_code code = pg_pool_take(pool, &conn, err);
    if (code)
        return code;
    /* A replica that says nothing is given up early: the primary is there. */
    conn->answer_s = pool == &p->readers ? PG_ANSWER_S : PG_REPLICA_S;
    struct pg_tx *tx = xalloc(sizeof *tx);
    tx->base.driver = &db_driver_postgres;
    tx->conn = conn;
    tx->reading = 1;
    tx->pool = pool;
    tx->owner = p;
    *ret = &tx->base;
    return ERR_OK;
}

enum err_code postgres_read_begin(void *impl, struct db_tx **ret, struct err *err)
{
    struct postgres *p = impl;
    return begin(p, &p->readers, ret, err);
}

enum err_code postgres_read_begin_stale(void *impl, struct db_tx **ret, struct err *err)
{
    struct postgres *p = impl;
    struct pg_pool *pool = pg_replica_pick(p);
    if (pool) {
        if (!begin(p, pool, ret, NULL))
            return ERR_OK;
        pg_replica_failed(p, pool);
    }
    return begin(p, &p->readers, ret, err);
}

/* Sends the COMMIT off; its answer is read before the connection's next use. */
static void leave(struct pg_tx *tx)
{
    struct pg_conn *conn = tx->conn;
    pg_finish_rows(conn);
    if (!conn->lost && tx->begun && PQtransactionStatus(conn->pg) != PQTRANS_IDLE) {
        if (PQsendQuery(conn->pg, "COMMIT"))
            conn->draining = 1;
        else
            conn->lost = 1;
    }
    tx->begun = 0;
    tx->conn = NULL;
    pg_pool_give(tx->pool, conn);
}

void postgres_read_end(struct db_tx *base)
{
    struct pg_tx *tx = (struct pg_tx *)base;
    if (tx->conn)
        leave(tx);
    free(tx);
}

enum err_code postgres_read_elsewhere(struct pg_tx *tx, struct err *err)
{
    struct postgres *p = tx->owner;
    struct pg_pool *before = tx->pool;
    struct pg_conn *conn = NULL;
    if (before != &p->readers && tx->conn->lost)
        pg_replica_failed(p, before);
    /* The new one first: a transaction always has a connection to give back. */
    enum err_code code = pg_pool_take(&p->readers, &conn, err);
    if (code)
        return code;
    conn->answer_s = PG_ANSWER_S;
    leave(tx);
    tx->conn = conn;
    tx->pool = &p->readers;
    return ERR_OK;
}

/* See postgres.h. A database's name is made of its folder's. */
#include "postgres.h"

#include <ctype.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int postgres_there(void)
{
    static int told;
    const char *url = getenv("SONDE_TEST_POSTGRES");
    if (url && *url)
        return 1;
    if (!told++)
        fprintf(stderr, "SKIP: SONDE_TEST_POSTGRES names no PostgreSQL server\n");
    return 0;
}

/* Lower case letters and digits, and a hash: mkdtemp tells upper from lower case. */
static void name_of(const char *folder, char ret[64])
{
    unsigned hash = 2166136261u;
    size_t n = (size_t)snprintf(ret, 64, "sonde_");
    const char *base = strrchr(folder, '/');
    for (const char *c = base ? base + 1 : folder; *c && n < 40; c++) {
        hash = (hash ^ (unsigned char)*c) * 16777619u;
        ret[n++] = isalnum((unsigned char)*c) ? (char)tolower((unsigned char)*c) : '_';
    }
    snprintf(ret + n, 64 - n, "_%08x", hash);
}

static PGconn *enter(const char *url)
{
    PGconn *pg = PQconnectdb(url);
    if (PQstatus(pg) == CONNECTION_OK)
        return pg;
    fprintf(stderr, "%s", PQerrorMessage(pg));
    PQfinish(pg);
    return NULL;
}

static int say(PGconn *pg, const char *sql)
{
    PGresult *res = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(res);
    int bad = status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK;
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    if (bad && state && !strcmp(state, "42P04")) /* it is there already */
        bad = 0;
    if (bad)
        fprintf(stderr, "%s: %s", sql, PQresultErrorMessage(res));
    PQclear(res);
    return bad ? -1 : 0;
}

/* The server's url with another database. */
static int url_of(const char *name, char ret[POSTGRES_URL_MAX])
{
    const char *url = getenv("SONDE_TEST_POSTGRES");
    if (!url || strncmp(url, "postgres", 8) || !strstr(url, "://"))
        return -1;
    const char *host = strstr(url, "://") + 3, *path = host + strcspn(host, "/?");
    const char *options = path + strcspn(path, "?");
    int n = snprintf(ret, POSTGRES_URL_MAX, "%.*s/%s%s", (int)(path - url), url, name, options);
    return n < POSTGRES_URL_MAX ? 0 : -1;
}

static int admin(const char *sql)
{
    PGconn *pg = enter(getenv("SONDE_TEST_POSTGRES"));
    if (!pg)
        return -1;
    int bad = say(pg, "SET client_min_messages = error") || say(pg, sql);
    PQfinish(pg);
    return bad ? -1 : 0;
}

int postgres_database(const char *folder, char ret[POSTGRES_URL_MAX])
{
    char name[64], sql[160];
    name_of(folder, name);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s ENCODING 'UTF8' TEMPLATE template0", name);
    return url_of(name, ret) || admin(sql) ? -1 : 0;
}

int postgres_drop(const char *folder)
{
    char name[64], sql[160];
    name_of(folder, name);
    snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS %s WITH (FORCE)", name);
    return admin(sql);
}

char *postgres_ask(const char *folder, const char *sql)
{
    char name[64], url[POSTGRES_URL_MAX];
    name_of(folder, name);
    PGconn *pg = url_of(name, url) ? NULL : enter(url);
    if (!pg)
        return NULL;
    PGresult *res = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(res);
    char *text = NULL;
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fprintf(stderr, "%s: %s", sql, PQresultErrorMessage(res));
    else if (PQntuples(res) && !PQgetisnull(res, 0, 0))
        text = strdup(PQgetvalue(res, 0, 0));
    PQclear(res);
    PQfinish(pg);
    return text;
}

/* PostgreSQL for tests: databases of their own on the server that SONDE_TEST_POSTGRES names (a url
 * of a superuser on a scratch server, such as tests/servers/postgres.mjs starts). */
#ifndef SONDE_TESTS_SUPPORT_POSTGRES_H
#define SONDE_TESTS_SUPPORT_POSTGRES_H

#define POSTGRES_URL_MAX 512

/* 1 when there is one. Else a loud line says, once, that its tests are skipped. */
int postgres_there(void);
/* The url of the database that belongs to the temporary folder, made when it is not there. 0. */
int postgres_database(const char *folder, char ret[POSTGRES_URL_MAX]);
/* Ends its connections and removes it; 0 also when it is not there. */
int postgres_drop(const char *folder);
/* Behind the driver's back, in the folder's database: the first column of the first row as text
 * (free it), NULL for none or an error, which is printed. Several statements are fine. */
char *postgres_ask(const char *folder, const char *sql);

#endif

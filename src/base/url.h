/* Urls that people configure, as they may be shown. */
#ifndef SONDE_BASE_URL_H
#define SONDE_BASE_URL_H

/* A copy of `urls` (one, or several separated by blanks) in which every password is ********: the
 * one before the @, and the values of password=, passwd=, sslpassword=, secret= and token=. In
 * doubt it hides more than the password. For logs, errors and `sonde doctor`; the caller frees it.
 */
char *url_masked(const char *urls) __attribute__((malloc, returns_nonnull));
/* 1 when url_masked would hide something. */
int url_has_password(const char *urls);

#endif

/* A temporary folder of a test, dropped with everything in it (no links are followed). */
#ifndef SONDE_TESTS_CONTRACT_FOLDER_H
#define SONDE_TESTS_CONTRACT_FOLDER_H

#define FOLDER_MAX 64

int folder_make(char ret[FOLDER_MAX]); /* 0, or -1 */
int folder_add(const char *path);      /* one inside of it */
int folder_drop(const char *path);

#endif

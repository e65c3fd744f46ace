/* RabbitMQ for tests: SONDE_TEST_AMQP is an address with name and password; each test has a prefix
 * of its own. */
#ifndef SONDE_TESTS_SUPPORT_AMQP_H
#define SONDE_TESTS_SUPPORT_AMQP_H

#include <amqp.h>

#define AMQP_TEST_URL_MAX 512

int amqp_there(void); /* 1: there is one; else it says so once */
/* The address with a prefix made of the folder's name. */
void amqp_test_url(const char *folder, char ret[AMQP_TEST_URL_MAX]);
/* Deletes what a test with that folder declared. 0, or -1. */
int amqp_drop(const char *folder);
/* A connection of the test's own with channel 1 open, to be what sonde is not. NULL: failed. */
amqp_connection_state_t amqp_test_connect(void);
void amqp_test_prefix(const char *folder, char ret[48]);

#endif

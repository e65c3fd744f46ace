/* See amqp.h. */
#include "amqp.h"

#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int amqp_there(void)
{
    static int told;
    if (getenv("SONDE_TEST_AMQP"))
        return 1;
    if (!told++)
        printf("# SKIP: SONDE_TEST_AMQP names no RabbitMQ to test with\n");
    return 0;
}

void amqp_test_prefix(const char *folder, char ret[48])
{
    const char *slash = strrchr(folder, '/');
    snprintf(ret, 48, "%.40s.", slash ? slash + 1 : folder);
}

void amqp_test_url(const char *folder, char ret[AMQP_TEST_URL_MAX])
{
    char prefix[48];
    amqp_test_prefix(folder, prefix);
    snprintf(ret, AMQP_TEST_URL_MAX, "%s?prefix=%s", getenv("SONDE_TEST_AMQP"), prefix);
}

amqp_connection_state_t amqp_test_connect(void)
{
    struct amqp_connection_info info;
    char url[AMQP_TEST_URL_MAX];
    snprintf(url, sizeof url, "%s", getenv("SONDE_TEST_AMQP"));
    amqp_default_connection_info(&info);
    /* "…/" means the virtual host "/" to sonde, and an empty name to librabbitmq. */
    if (url[0] && url[strlen(url) - 1] == '/')
        url[strlen(url) - 1] = 0;
    if (amqp_parse_url(url, &info))
        return NULL;
    amqp_connection_state_t conn = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(conn);
    if (!amqp_socket_open(socket, info.host, info.port) &&
        amqp_login(conn, info.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, info.user, info.password)
                .reply_type == AMQP_RESPONSE_NORMAL &&
        amqp_channel_open(conn, 1))
        return conn;
    amqp_destroy_connection(conn);
    return NULL;
}

static void delete_queue(amqp_connection_state_t conn, const char *prefix, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    amqp_queue_delete(conn, 1, amqp_cstring_bytes(full), 0, 0);
}

int amqp_drop(const char *folder)
{
    static const char *const names[] = {"medical_data",     "ml_inference", "stability",
                                        "webhook",          "dlq",          "expired",
                                        "report_generation"};
    static const char *const steps[] = {"0.1", "0.3", "1",   "3",   "5",    "10",  "30",
                                        "60",  "120", "300", "600", "1800", "3600"};
    char prefix[48], name[64];
    amqp_test_prefix(folder, prefix);
    amqp_connection_state_t conn = amqp_test_connect();
    if (!conn)
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        delete_queue(conn, prefix, names[i]);
        for (size_t k = 0; i < 4 && k < sizeof steps / sizeof *steps; k++) {
            snprintf(name, sizeof name, "%s.delay.%s", names[i], steps[k]);
            delete_queue(conn, prefix, name);
        }
    }
    snprintf(name, sizeof name, "%ssonde", prefix);
    amqp_exchange_delete(conn, 1, amqp_cstring_bytes(name), 0);
    amqp_connection_close(conn, AMQP_REPLY_SUCCESS);
    return amqp_destroy_connection(conn) ? -1 : 0;
}

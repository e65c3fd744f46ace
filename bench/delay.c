/* A network in between, for bench/cluster.mjs:  delay PORT TARGET_PORT MICROSECONDS
 * Listens on 127.0.0.1:PORT (0: a free one, which it prints) and passes what comes to TARGET_PORT
 * and back, each piece MICROSECONDS later. Two threads for each connection; ends by a signal. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct timespec delay;

struct way {
    int from, to;
};

static void *carry(void *ctx)
{
    struct way way = *(struct way *)ctx;
    char data[65536];
    free(ctx);
    prctl(PR_SET_TIMERSLACK, 1000UL);
    for (ssize_t n; (n = read(way.from, data, sizeof data)) > 0;) {
        clock_nanosleep(CLOCK_MONOTONIC, 0, &delay, NULL);
        for (ssize_t done = 0, step; done < n; done += step)
            if ((step = write(way.to, data + done, (size_t)(n - done))) <= 0)
                return NULL;
    }
    shutdown(way.to, SHUT_WR);
    return NULL;
}

static void start(int from, int to)
{
    pthread_t id;
    struct way *way = malloc(sizeof *way);
    if (!way)
        exit(1);
    *way = (struct way){from, to};
    if (pthread_create(&id, NULL, carry, way) != 0)
        exit(1);
    pthread_detach(id);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    static const int on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in target = at;
    socklen_t size = sizeof at;
    at.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    target.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    delay.tv_nsec = strtol(argv[3], NULL, 10) * 1000;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) < 0 ||
        listen(listener, 64) < 0 || getsockname(listener, (struct sockaddr *)&at, &size) < 0)
        return 1;
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL), server = socket(AF_INET, SOCK_STREAM, 0);
        if (client < 0 || server < 0 ||
            connect(server, (struct sockaddr *)&target, sizeof target) < 0)
            return 1;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        start(client, server);
        start(server, client);
    }
}

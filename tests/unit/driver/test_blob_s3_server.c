/* See test_blob_s3_server.h. */
#include "test_blob_s3_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define REQUEST_MAX (4 << 20)
#define TALKS_MAX   256
#define TEXTS_MAX   1000

struct script {
    int listen_fd, port;
    pthread_t thread;
    atomic_int stopping;
    pthread_mutex_t lock;
    struct step steps[SCRIPT_STEPS];
    size_t n_steps, at;
    int set;
    char *requests[SCRIPT_STEPS * 2];
    size_t n_requests, n_connections;
    int new_fd; /* for the thread that begins */
    pthread_t talks[TALKS_MAX];
    size_t n_talks;
    char *texts[TEXTS_MAX];
    size_t n_texts;
};

static void die(const char *what)
{
    perror(what);
    abort();
}

/* Waits for `events`; 0 when the script is to end. */
static int wait_for(struct script *s, int fd, short events)
{
    while (!atomic_load(&s->stopping)) {
        struct pollfd p = {.fd = fd, .events = events};
        if (poll(&p, 1, 20) > 0)
            return 1;
    }
    return 0;
}

static size_t body_size(const char *head)
{
    const char *at = strcasestr(head, "\r\ncontent-length:");
    return at ? strtoul(at + 17, NULL, 10) : 0;
}

/* A whole request, allocated; NULL when the client has gone. Answers "Expect: 100-continue". */
static char *read_request(struct script *s, int fd)
{
    char *text = xalloc(REQUEST_MAX + 1);
    size_t len = 0, want = 0;
    while (want == 0 || len < want) {
        ssize_t n = 0;
        if (wait_for(s, fd, POLLIN))
            n = recv(fd, text + len, REQUEST_MAX - len, 0);
        if (n <= 0) {
            free(text);
            return NULL;
        }
        len += (size_t)n;
        text[len] = '\0';
        const char *end = want == 0 ? strstr(text, "\r\n\r\n") : NULL;
        if (end) {
            want = (size_t)(end - text) + 4 + body_size(text);
            if (strcasestr(text, "\r\nexpect: 100-continue"))
                (void)!send(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
        }
    }
    return text;
}

static int send_all(struct script *s, int fd, const char *data, size_t size)
{
    while (size > 0) {
        if (!wait_for(s, fd, POLLOUT))
            return -1;
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n <= 0)
            return -1;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int play(struct script *s, int fd, const struct step *step)
{
    char block[4096];
    memset(block, 'x', sizeof block);
    if (step->answer && send_all(s, fd, step->answer, strlen(step->answer)) < 0)
        return -1;
    for (size_t left = step->more; left > 0;) {
        size_t n = step->pause_ms ? 1 : left < sizeof block ? left : sizeof block;
        struct timespec pause = {.tv_nsec = step->pause_ms * 1000000L};
        if (step->pause_ms)
            nanosleep(&pause, NULL);
        if (send_all(s, fd, block, n) < 0)
            return -1;
        left -= step->more == FOR_EVER ? 0 : n;
    }
    return step->end ? -1 : 0;
}

/* The step for a request, which is noted. */
static struct step next_step(struct script *s, char *request)
{
    struct step step = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 0, 0};
    pthread_mutex_lock(&s->lock);
    if (s->n_requests < ARRAY_LEN(s->requests))
        s->requests[s->n_requests++] = request;
    else
        free(request);
    if (s->set && s->at < s->n_steps)
        step = s->steps[s->at++];
    else if (s->set)
        step.answer = "HTTP/1.1 500 The script is over\r\nContent-Length: 0\r\n\r\n";
    pthread_mutex_unlock(&s->lock);
    return step;
}

static void *talk(void *arg)
{
    struct script *s = arg;
    pthread_mutex_lock(&s->lock);
    _cleanup_close_ int fd = s->new_fd;
    s->new_fd = -1;
    pthread_mutex_unlock(&s->lock);
    char *request;
    while ((request = read_request(s, fd))) {
        struct step step = next_step(s, request);
        if (play(s, fd, &step) < 0)
            break;
    }
    return NULL;
}

/* Hands the connection to a thread of its own. */
static void begin_talk(struct script *s, int fd)
{
    int taken = 0;
    pthread_mutex_lock(&s->lock);
    s->n_connections++;
    s->new_fd = fd;
    pthread_mutex_unlock(&s->lock);
    if (s->n_talks == TALKS_MAX || pthread_create(&s->talks[s->n_talks++], NULL, talk, s) != 0)
        abort();
    while (!taken) {
        pthread_mutex_lock(&s->lock);
        taken = s->new_fd < 0;
        pthread_mutex_unlock(&s->lock);
        sched_yield();
    }
}

static void *serve(void *arg)
{
    struct script *s = arg;
    while (wait_for(s, s->listen_fd, POLLIN)) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            begin_talk(s, fd);
    }
    return NULL;
}

struct script *script_new(void)
{
    struct script *s = xalloc(sizeof *s);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    pthread_mutex_init(&s->lock, NULL);
    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listen_fd < 0 || bind(s->listen_fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(s->listen_fd, 8) < 0 ||
        getsockname(s->listen_fd, (struct sockaddr *)&address, &size) < 0)
        die("script");
    s->port = ntohs(address.sin_port);
    if (pthread_create(&s->thread, NULL, serve, s) != 0)
        die("script");
    return s;
}

int script_port(const struct script *s)
{
    return s->port;
}

static void forget(struct script *s)
{
    while (s->n_requests > 0)
        free(s->requests[--s->n_requests]);
}

void script_set(struct script *s, const struct step *steps, size_t n)
{
    pthread_mutex_lock(&s->lock);
    if (n > SCRIPT_STEPS)
        abort();
    for (size_t i = 0; i < n; i++) { /* own copies: a thread may still be sending the last ones */
        s->steps[i] = steps[i];
        if (steps[i].answer && s->n_texts < TEXTS_MAX)
            s->steps[i].answer = s->texts[s->n_texts++] = xstrdup(steps[i].answer);
        else if (steps[i].answer)
            abort();
    }
    s->n_steps = n;
    s->at = 0;
    s->set = 1;
    s->n_connections = 0;
    forget(s);
    pthread_mutex_unlock(&s->lock);
}

size_t script_requests(struct script *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->n_requests;
    pthread_mutex_unlock(&s->lock);
    return n;
}

const char *script_request(struct script *s, size_t i)
{
    pthread_mutex_lock(&s->lock);
    const char *text = i < s->n_requests ? s->requests[i] : "";
    pthread_mutex_unlock(&s->lock);
    return text;
}

size_t script_connections(struct script *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->n_connections;
    pthread_mutex_unlock(&s->lock);
    return n;
}

struct script *script_free(struct script *s)
{
    atomic_store(&s->stopping, 1);
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < s->n_talks; i++)
        pthread_join(s->talks[i], NULL);
    forget(s);
    while (s->n_texts > 0)
        free(s->texts[--s->n_texts]);
    close(s->listen_fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

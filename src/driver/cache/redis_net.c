/* Sockets with deadlines.
 *
 * hiredis has no TLS before 1.0 (Debian 12 has 0.14), and its time-outs count from byte to byte, so
 * a server that trickles holds a caller for as long as it likes. So the bytes move here, and
 * hiredis only packs and unpacks them. Sockets are non-blocking; each wait is a poll for what is
 * left until the deadline. TLS runs over memory, which keeps all system calls in two functions, and
 * SIGPIPE away. Any thread, a connection by one at a time. */
#include "redis_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../base/mem.h"
#include "../../os/clock.h"
#include "redis_resolve.h"

#define TLS_STEP 16384

struct net_tls {
    SSL_CTX *ctx;
};

struct net {
    int fd;
    SSL *ssl;      /* NULL: plain */
    BIO *in, *out; /* of ssl, which owns them: what came, what is to go */
};

struct net_until net_until_ms(int ms, int stop_fd)
{
    return (struct net_until){clock_ns() + (uint64_t)ms * 1000000u, stop_fd};
}

/* Waits for `events` on `fd`; 0 once there are any, else an errno. */
static int wait_for(int fd, short events, struct net_until until)
{
    for (;;) {
        uint64_t now = clock_ns();
        int ms = now >= until.ns ? 0 : (int)((until.ns - now + 999999) / 1000000);
        struct pollfd list[2] = {{.fd = fd, .events = events},
                                 {.fd = until.stop_fd, .events = POLLIN}};
        int n = poll(list, until.stop_fd >= 0 ? 2 : 1, ms);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0 && list[1].revents)
            return ECANCELED;
        if (n > 0)
            return 0;
        if (n == 0 && now >= until.ns)
            return ETIMEDOUT;
    }
}

static enum err_code failed(struct err *err, int errnum, const char *what)
{
    if (errnum == ECANCELED)
        return err_set(err, ERR_CANCELLED, "%s: stopped", what);
    if (errnum == ETIMEDOUT)
        return err_set(err, ERR_UNAVAILABLE, "%s: no answer in time", what);
    return err_set_errno(err, ERR_UNAVAILABLE, errnum, "%s", what);
}

/* --- plain bytes ------------------------------------------------------------------------------ */

static int send_all(int fd, const char *data, size_t size, struct net_until until)
{
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n >= 0) {
            data += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            int why = wait_for(fd, POLLOUT, until);
            if (why)
                return why;
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* An end of the stream is ECONNRESET. */
static int receive_some(int fd, void *data, size_t size, struct net_until until, size_t *ret_size)
{
    for (;;) {
        int why = wait_for(fd, POLLIN, until);
        if (why)
            return why;
        ssize_t n = recv(fd, data, size, 0);
        *ret_size = n > 0 ? (size_t)n : 0;
        if (n > 0)
            return 0;
        if (n == 0)
            return ECONNRESET;
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return errno;
    }
}

/* --- TLS -------------------------------------------------------------------------------------- */

enum err_code net_tls_new(const char *ca_file, struct net_tls **ret, struct err *err)
{
    *ret = NULL;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx)
        return err_set(err, ERR_NO_MEMORY, "no memory for TLS");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    int ok = ca_file ? SSL_CTX_load_verify_locations(ctx, ca_file, NULL)
                     : SSL_CTX_set_default_verify_paths(ctx);
    ERR_clear_error();
    if (ok != 1) {
        SSL_CTX_free(ctx);
        return err_set(err, ERR_USAGE, "'%.150s' holds no certificates that TLS can use",
                       ca_file ? ca_file : "the system's store");
    }
    *ret = xalloc(sizeof **ret);
    (*ret)->ctx = ctx;
    return ERR_OK;
}

struct net_tls *net_tls_free(struct net_tls *tls)
{
    if (tls)
        SSL_CTX_free(tls->ctx);
    free(tls);
    return NULL;
}

static int tls_flush(struct net *net, struct net_until until)
{
    char *data;
    long size = BIO_get_mem_data(net->out, &data);
    int why = size > 0 ? send_all(net->fd, data, (size_t)size, until) : 0;
    (void)BIO_reset(net->out);
    return why;
}

/* After an SSL_… call gave `result`: 0 to call it again, else an errno; EPROTO: ask OpenSSL why. */
static int tls_again(struct net *net, int result, struct net_until until)
{
    char data[TLS_STEP];
    size_t n;
    int want = SSL_get_error(net->ssl, result);
    int why = tls_flush(net, until); /* an alert, too */
    if (want == SSL_ERROR_ZERO_RETURN)
        return ECONNRESET;
    if (want != SSL_ERROR_WANT_READ && want != SSL_ERROR_WANT_WRITE)
        return EPROTO;
    if (why || want == SSL_ERROR_WANT_WRITE)
        return why;
    why = receive_some(net->fd, data, sizeof data, until, &n);
    if (why == 0 && BIO_write(net->in, data, (int)n) != (int)n)
        why = ENOMEM;
    return why;
}

static enum err_code tls_failed(const struct net *net, struct err *err, int why, const char *what)
{
    if (why != EPROTO)
        return failed(err, why, what);
    long verify = SSL_get_verify_result(net->ssl);
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    if (verify != X509_V_OK)
        reason = X509_verify_cert_error_string(verify);
    enum err_code rc =
        err_set(err, ERR_UNAVAILABLE, "%s: TLS: %.100s%s", what, reason ? reason : "it failed",
                verify != X509_V_OK ? "; check the CA file and the host's name" : "");
    ERR_clear_error();
    return rc;
}

static enum err_code tls_begin(struct net *net, const struct net_tls *tls, const char *host,
                               struct net_until until, struct err *err)
{
    struct in6_addr address;
    int numeric =
        inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
    ERR_clear_error();
    net->ssl = SSL_new(tls->ctx);
    net->in = BIO_new(BIO_s_mem());
    net->out = BIO_new(BIO_s_mem());
    if (!net->ssl || !net->in || !net->out) {
        BIO_free(net->in);
        BIO_free(net->out);
        return err_set(err, ERR_NO_MEMORY, "no memory for TLS");
    }
    BIO_set_mem_eof_return(net->in, -1);
    SSL_set_bio(net->ssl, net->in, net->out);
    SSL_set_connect_state(net->ssl);
    X509_VERIFY_PARAM *param = SSL_get0_param(net->ssl);
    int ok = numeric ? X509_VERIFY_PARAM_set1_ip_asc(param, host)
                     : X509_VERIFY_PARAM_set1_host(param, host, 0);
    if (ok != 1 || (!numeric && SSL_set_tlsext_host_name(net->ssl, host) != 1))
        return err_set(err, ERR_UNAVAILABLE, "TLS cannot check the name of the host");
    for (;;) {
        int n = SSL_do_handshake(net->ssl);
        int why = n == 1 ? tls_flush(net, until) : tls_again(net, n, until);
        if (why)
            return tls_failed(net, err, why, "connecting");
        if (n == 1)
            return ERR_OK;
    }
}

/* --- connecting ------------------------------------------------------------------------------- */

/* One address; 0 or an errno. */
static int connect_to(const struct sockaddr *address, socklen_t size, struct net_until until,
                      int *ret_fd)
{
    static const int on = 1, idle_s = 30, between_s = 10, tries = 3;
    _cleanup_close_ int fd =
        socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on); /* idle ones behind a NAT */
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof between_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
    if (connect(fd, address, size) < 0) {
        int why = errno == EINPROGRESS ? wait_for(fd, POLLOUT, until) : errno;
        socklen_t len = sizeof why;
        if (!why && getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
            why = errno;
        if (why)
            return why;
    }
    *ret_fd = STEAL_FD(fd);
    return 0;
}

/* Each address gets its share of the time, so that a dead first one does not take it all. */
static enum err_code connect_any(const char *host, int port, struct net_until until, int *ret_fd,
                                 struct err *err)
{
    struct redis_addresses list;
    enum err_code rc = redis_resolve(host, port, until, &list, err);
    int why = EADDRNOTAVAIL;
    for (int i = 0; rc == ERR_OK && i < list.count; i++) {
        uint64_t now = clock_ns();
        struct net_until share = until;
        if (until.ns > now)
            share.ns = now + (until.ns - now) / (uint64_t)(list.count - i);
        why = connect_to((const struct sockaddr *)&list.list[i], list.size[i], share, ret_fd);
        if (why == 0)
            return ERR_OK;
    }
    return rc == ERR_OK ? failed(err, why, "connecting") : rc;
}

enum err_code net_connect(const char *host, int port, const struct net_tls *tls,
                          struct net_until until, struct net **ret, struct err *err)
{
    int fd = -1;
    *ret = NULL;
    enum err_code rc = connect_any(host, port, until, &fd, err);
    if (rc != ERR_OK)
        return rc;
    struct net *net = xalloc(sizeof *net);
    net->fd = fd;
    rc = tls ? tls_begin(net, tls, host, until, err) : ERR_OK;
    if (rc != ERR_OK)
        net = net_close(net);
    *ret = net;
    return rc;
}

struct net *net_close(struct net *net)
{
    if (!net)
        return NULL;
    SSL_free(net->ssl);
    close(net->fd);
    free(net);
    return NULL;
}

/* --- using it --------------------------------------------------------------------------------- */

enum err_code net_send(struct net *net, const void *data, size_t size, struct net_until until,
                       struct err *err)
{
    const char *from = data;
    if (!net->ssl) {
        int why = send_all(net->fd, from, size, until);
        return why ? failed(err, why, "sending") : ERR_OK;
    }
    while (size) {
        int step = size < TLS_STEP ? (int)size : TLS_STEP;
        ERR_clear_error();
        int n = SSL_write(net->ssl, from, step);
        int why = n > 0 ? tls_flush(net, until) : tls_again(net, n, until);
        if (why)
            return tls_failed(net, err, why, "sending");
        if (n > 0) {
            from += n;
            size -= (size_t)n;
        }
    }
    return ERR_OK;
}

enum err_code net_receive(struct net *net, void *data, size_t size, struct net_until until,
                          size_t *ret_size, struct err *err)
{
    *ret_size = 0;
    if (!net->ssl) {
        int why = receive_some(net->fd, data, size, until, ret_size);
        return why ? failed(err, why, "waiting for an answer") : ERR_OK;
    }
    for (;;) {
        ERR_clear_error();
        int n = SSL_read(net->ssl, data, (int)size);
        int why = n > 0 ? 0 : tls_again(net, n, until);
        if (why)
            return tls_failed(net, err, why, "waiting for an answer");
        if (n > 0) {
            *ret_size = (size_t)n;
            return ERR_OK;
        }
    }
}

int net_readable(struct net *net, struct net_until until)
{
    if (net->ssl && (SSL_pending(net->ssl) > 0 || BIO_pending(net->in) > 0))
        return 1;
    return wait_for(net->fd, POLLIN, until) == 0;
}

int net_stale(const struct net *net)
{
    char c;
    return recv(net->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
           (errno != EAGAIN && errno != EWOULDBLOCK);
}

/* The listening socket, from text such as "127.0.0.1:8080", "[::1]:8080" or ":8080". Our own,
 * because libmicrohttpd neither says why it failed nor takes one of both families. */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../base/mem.h"

#define BACKLOG 1024

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t size;
    int dual; /* ":PORT": both families on one socket */
};

static int parse_port(const char *text)
{
    int port = 0;
    size_t n = strlen(text);
    if (n == 0 || n > 5)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        port = 10 * port + text[i] - '0';
    }
    return port <= 65535 ? port : -1;
}

static enum err_code parse(const char *text, struct address *ret, struct err *err)
{
    const char *colon = strrchr(text, ':');
    int port = colon ? parse_port(colon + 1) : -1;
    size_t n = colon ? (size_t)(colon - text) : 0;
    char host[INET6_ADDRSTRLEN + 2];
    memset(ret, 0, sizeof *ret);
    if (port < 0 || n >= sizeof host)
        return err_set(err, ERR_USAGE, "%.80s is no address to listen on: say ADDRESS:PORT", text);
    memcpy(host, text, n);
    host[n] = 0;
    if (strcmp(host, "localhost") == 0)
        memcpy(host, "127.0.0.1", sizeof "127.0.0.1");
    if (n == 0 || host[0] == '[') {
        ret->dual = n == 0;
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons((uint16_t)port);
        ret->size = sizeof ret->v6;
        if (n == 0)
            return ERR_OK;
        if (host[n - 1] == ']') {
            host[n - 1] = 0;
            if (inet_pton(AF_INET6, host + 1, &ret->v6.sin6_addr) == 1)
                return ERR_OK;
        }
    } else {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons((uint16_t)port);
        ret->size = sizeof ret->v4;
        if (inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1)
            return ERR_OK;
    }
    return err_set(err, ERR_USAGE, "%.80s is no address to listen on: say 127.0.0.1:8080", text);
}

static enum err_code open_failed(int errnum, const char *text, struct err *err)
{
    enum err_code code = errnum == EADDRINUSE                  ? ERR_CONFLICT
                         : errnum == EACCES || errnum == EPERM ? ERR_PERMISSION
                         : errnum == EADDRNOTAVAIL             ? ERR_USAGE
                                                               : ERR_IO;
    return err_set_errno(err, code, errnum, "cannot listen on %.80s", text);
}

static int open_socket(const struct address *address)
{
    int one = 1, zero = 0;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, address->dual ? &zero : &one, sizeof one);
    if (bind(fd, &address->any, address->size) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    errno = errnum;
    return -1;
}

enum err_code listen_open(const char *text, int *ret_fd, int *ret_port, char **ret_host,
                          int *ret_any, struct err *err)
{
    struct address address;
    enum err_code code = parse(text, &address, err);
    if (code != ERR_OK)
        return code;
    int fd = open_socket(&address);
    if (fd < 0 && errno == EAFNOSUPPORT && address.dual) { /* a machine without IPv6 */
        in_port_t port = address.v6.sin6_port;
        memset(&address, 0, sizeof address);
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = port;
        address.size = sizeof address.v4;
        fd = open_socket(&address);
        address.dual = 1;
    }
    if (fd < 0)
        return open_failed(errno, text, err);
    int dual = address.dual;
    char host[INET6_ADDRSTRLEN] = "127.0.0.1";
    socklen_t size = sizeof address.v6;
    if (getsockname(fd, &address.any, &size) != 0) {
        close(fd);
        return open_failed(errno, text, err);
    }
    int v6 = address.any.sa_family == AF_INET6;
    *ret_port = ntohs(v6 ? address.v6.sin6_port : address.v4.sin_port);
    *ret_any = dual || (v6 ? IN6_IS_ADDR_UNSPECIFIED(&address.v6.sin6_addr)
                           : address.v4.sin_addr.s_addr == htonl(INADDR_ANY));
    if (!*ret_any)
        inet_ntop(address.any.sa_family,
                  v6 ? (void *)&address.v6.sin6_addr : (void *)&address.v4.sin_addr, host,
                  sizeof host);
    else if (v6 && !dual)
        memcpy(host, "::1", 4);
    *ret_host = strchr(host, ':') ? xasprintf("[%s]", host) : xstrdup(host);
    *ret_fd = fd;
    return ERR_OK;
}

/* A server that answers as a script says, for what no real one can be made to do. The steps go
 * to the requests of all connections in the order in which they come. */
#ifndef SONDE_TESTS_BLOB_S3_SERVER_H
#define SONDE_TESTS_BLOB_S3_SERVER_H

#include <stddef.h>

#define SCRIPT_STEPS 32

struct step {
    const char *answer; /* sent as it is; NULL: none */
    size_t more;        /* then so many bytes 'x', or for ever */
    int pause_ms;       /* before each 'x' */
    int end;            /* then the connection ends */
};
#define FOR_EVER ((size_t)-1)

struct script;
struct script *script_new(void);
int script_port(const struct script *s);
/* From now on requests are answered by these steps in turn; past them with 500. Before the first
 * call each request is answered with 200 and no body. Forgets the requests so far. */
void script_set(struct script *s, const struct step *steps, size_t n);
/* Requests since then, and the text of one (head and body). Call when none is under way. */
size_t script_requests(struct script *s);
const char *script_request(struct script *s, size_t i);
size_t script_connections(struct script *s);
struct script *script_free(struct script *s);

#endif

/* Inside src/media: how a stream asks the decoder program for a child. */
#ifndef SONDE_MEDIA_SERVICE_H
#define SONDE_MEDIA_SERVICE_H

#include "protocol.h"

/* Sends a request with its descriptors, starting the decoder program if it is not running.
 * *ret_generation names the program that got it. */
enum err_code service_send(struct media_service *service, const struct protocol_request *request,
                           const int *fds, unsigned *ret_generation, struct err *err) MUST_CHECK;
/* The program of that generation is dead or does not answer: ends and reaps it. The next send
 * starts another. */
void service_retire(struct media_service *service, unsigned generation);

#endif

/* TCP sockets that listen. */
#ifndef VENEER_HOST_TCP_LISTEN_H
#define VENEER_HOST_TCP_LISTEN_H

#include <netdb.h>

/* Listen at an address that getaddrinfo() found: a non-blocking descriptor, the caller's, or -errno
 * without a message. */
int tcp_listen(const struct addrinfo *address);

#endif

/* Where a network that is a socket has its ends: "unix:PATH", or "HOST:PORT" with a name, an IPv4
 * address, or an IPv6 address in brackets. */
#ifndef VENEER_HOST_NET_SOCKET_ADDRESS_H
#define VENEER_HOST_NET_SOCKET_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

struct socket_address {
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
	};
	socklen_t size;
};

/* The descriptor that "fd:N" names; -1: it is another address. */
int socket_address_descriptor(const char *text);
/* The path of "unix:PATH"; NULL: it is another address. */
const char *socket_address_path(const char *text);
/* An empty host is any address of the host's where `passive`, else the host itself. Asks the
 * resolver. 0, or -errno with a message. */
int socket_address_parse(struct socket_address *address, const char *option, const char *text,
	int type, bool passive);
/* A socket of its family, non-blocking; or -errno, which errno is, too. */
int socket_address_open(const struct socket_address *address, int type);
bool socket_address_is_multicast(const struct socket_address *address);

#endif

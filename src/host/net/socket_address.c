#include "host/net/socket_address.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

int socket_address_descriptor(const char *text)
{
	size_t digits = strncmp(text, "fd:", 3) == 0 ? strspn(text + 3, "0123456789") : 0;

	return digits && digits < 8 && !text[3 + digits] ? atoi(text + 3) : -1;
}

const char *socket_address_path(const char *text)
{
	return strncmp(text, "unix:", 5) == 0 ? text + 5 : NULL;
}

static int wrong(const char *option, const char *text, const char *why)
{
	log_error("%s%s: %s; expected HOST:PORT or unix:PATH", option, text, why);
	return -EINVAL;
}

static int parse_path(struct socket_address *address, const char *option, const char *text)
{
	struct sockaddr_un *name = (struct sockaddr_un *)&address->storage;
	const char *path = socket_address_path(text);

	if (!*path || strlen(path) >= sizeof(name->sun_path))
		return wrong(option, text, "a path that no socket can have");
	name->sun_family = AF_UNIX;
	strcpy(name->sun_path, path);
	address->size = sizeof(*name);
	return 0;
}

static int resolve(struct socket_address *address, const char *option, const char *text,
	const char *host, const char *port, const struct addrinfo *hints)
{
	struct addrinfo *found;
	int error = getaddrinfo(*host ? host : NULL, port, hints, &found);

	if (error)
		return wrong(option, text, gai_strerror(error));
	memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
	address->size = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

int socket_address_parse(struct socket_address *address, const char *option, const char *text,
	int type, bool passive)
{
	const char *colon = strrchr(text, ':');
	struct addrinfo hints = {
		.ai_socktype = type, .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
	char host[256];
	size_t length;

	*address = (struct socket_address){0};
	if (socket_address_path(text))
		return parse_path(address, option, text);
	length = colon ? (size_t)(colon - text) : sizeof(host);
	if (length >= sizeof(host) || !colon[1])
		return wrong(option, text, "not an address");
	if (length > 1 && text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
		hints.ai_family = AF_INET6;
	}
	/* An empty host is of IPv4, as most of what it meets. */
	if (!length)
		hints.ai_family = AF_INET;
	memcpy(host, text, length);
	host[length] = '\0';
	return resolve(address, option, text, host, colon + 1, &hints);
}

int socket_address_open(const struct socket_address *address, int type)
{
	int fd = socket(address->any.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

bool socket_address_is_multicast(const struct socket_address *address)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;

	return address->any.sa_family == AF_INET && IN_MULTICAST(ntohl(in->sin_addr.s_addr));
}

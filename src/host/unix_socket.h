/* A socket with a name: its file made, found stale and replaced, removed; and connecting to one. */
#ifndef VENEER_HOST_UNIX_SOCKET_H
#define VENEER_HOST_UNIX_SOCKET_H

#include <sys/types.h>

struct unix_socket {
	int fd;           /* listens; non-blocking */
	const char *path; /* not owned */
	dev_t device;     /* of the file that we made */
	ino_t inode;
};

/* Listen at `path`, with the permissions that the process' umask leaves: to connect takes that of
 * writing. A socket that refuses connections is left over from a
 * process that has died, and is replaced; any other file is left alone. `path` must outlive the
 * socket. 0, or -errno with a message that begins with `option`. */
int unix_socket_listen(struct unix_socket *socket, const char *option, const char *path);
/* Close it, and remove its file, unless another process has replaced it. */
void unix_socket_close(struct unix_socket *socket);

/* Connect to a socket at `path`, waiting at most `timeout_s` seconds in each later send and
 * receive. A descriptor, or -errno with a message. */
int unix_socket_connect(const char *path, int timeout_s);

#endif

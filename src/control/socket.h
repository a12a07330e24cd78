/* The file of a control socket: made, found stale and replaced, removed; and connecting to one. */
#ifndef VENEER_CONTROL_SOCKET_H
#define VENEER_CONTROL_SOCKET_H

#include <sys/types.h>

struct control_socket {
	int fd;           /* listens; non-blocking */
	const char *path; /* not owned */
	dev_t device;     /* of the file that we made */
	ino_t inode;
};

/* Listen at `path` with permissions 0600. A socket that refuses connections is left over from a
 * process that has died, and is replaced; any other file is left alone. 0, or -errno with a message
 * that names --control. */
int control_socket_open(struct control_socket *socket, const char *path);
/* Close it, and remove its file, unless another process has replaced it. */
void control_socket_close(struct control_socket *socket);

/* Connect to a socket at `path`, waiting at most `timeout_s` seconds in each later send and
 * receive. A descriptor, or -errno with a message. */
int control_socket_connect(const char *path, int timeout_s);

#endif

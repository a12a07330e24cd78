/* Where the machines of a switch meet: a directory with a listening socket of each. One that comes
 * connects to all that are there, and later ones connect to it; so there is one connection between
 * any two, and none of them is more than another. What a machine that was killed has left behind is
 * removed by the next one that comes. */
#ifndef VENEER_HOST_NET_SWITCH_DIRECTORY_H
#define VENEER_HOST_NET_SWITCH_DIRECTORY_H

struct switch_directory {
	int directory, listener;
	char name[24]; /* of our socket in it; empty: there is none */
};

/* Make the directory where it is missing, call met() with a connection to each machine that is
 * there (met() owns it), and listen. 0, or -errno with a message. */
int switch_directory_join(struct switch_directory *directory, const char *path,
	void (*met)(void *opaque, int socket), void *opaque);
/* A connection of a machine that has come, or -EAGAIN. */
int switch_directory_accept(struct switch_directory *directory);
/* Also after a join that has failed. */
void switch_directory_leave(struct switch_directory *directory);

/* The first words on a connection: who connects sends the memory of the link between the two. 0 or
 * -errno. */
int switch_send_hello(int socket, int memory);
/* The memory, which the caller closes; -EAGAIN: not yet; -EPROTO: that is no such machine. */
int switch_take_hello(int socket);

#endif

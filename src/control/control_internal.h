/* What control.c (clients) and control_listen.c (where they come from) share. */
#ifndef VENEER_CONTROL_CONTROL_INTERNAL_H
#define VENEER_CONTROL_CONTROL_INTERNAL_H

#include "control/control.h"
#include "control/framer.h"
#include "control/qmp.h"
#include "host/unix_socket.h"

#define CONTROL_PIECE 4096 /* bytes of input that are read at once */

struct client {
	struct control *control; /* NULL: this place is free */
	struct monitor *monitor; /* where it came */
	int input, output;       /* the same for a socket */
	bool is_socket;
	bool cut_off;     /* to be closed, at the next turn of the loop */
	bool deaf;        /* it reads no more, or has gone: what it has sent is done all the same */
	bool input_ended; /* nothing more will come */
	uint32_t events,
		output_events;     /* that are watched; of the output where it is another one */
	struct event_work more;    /* to go on with what has been read, or to close it */
	char bytes[CONTROL_PIECE]; /* of which bytes[next..count) are not looked at yet */
	size_t next, count;
	struct framer framer;
	struct qmp_session session;
	char *queue; /* of which queue[0..queued) wait to be sent; NULL: none */
	size_t queued;
};

struct bridge;

struct monitor {
	struct control *control; /* NULL: this place is free */
	struct control_config config;
	struct unix_socket socket; /* kind CONTROL_UNIX */
	int fd;                    /* that listens; -1: none does */
	int retry_fd;          /* a timer: when to listen again after accept() failed; -1: none */
	bool told;             /* that it failed */
	struct bridge *bridge; /* kind CONTROL_CHARDEV; else NULL */
};

struct control {
	struct machine *machine;
	struct machine_listener listener;
	struct qmp_shared shared;
	struct monitor monitors[CONTROL_MONITORS];
	struct client clients[CONTROL_MONITORS * CONTROL_CLIENTS];
};

/* --- control.c --- */

/* Take a client that has come to the monitor; with an error it has been sent away. */
int control_take_client(struct monitor *monitor, int input, int output, bool is_socket);

/* --- control_listen.c --- */

/* Begin to listen as monitor->config says. 0, or -errno with a message. */
int control_listen(struct monitor *monitor);
void control_listen_end(struct monitor *monitor);

/* --- control_bridge.c --- */

/* Serve the character device that monitor->config names. 0, or -errno with a message. */
int control_bridge_open(struct monitor *monitor);
void control_bridge_close(struct monitor *monitor);

#endif

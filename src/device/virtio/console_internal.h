/* What the files of the console device share.
 *
 *	console.c		queues, the driver's coming and going, what is saved
 *	console_control.c	the messages of driver and device about ports (5.3.6.2)
 *	console_port.c		a port's bytes, both ways
 *	console_socket.c	far ends: a listening socket with at most one client,
 *	console_backend.c	a file, and the user's terminal
 *
 * Everything is the worker's but where it says otherwise. */
#ifndef VENEER_DEVICE_VIRTIO_CONSOLE_INTERNAL_H
#define VENEER_DEVICE_VIRTIO_CONSOLE_INTERNAL_H

#include "device/virtio/console.h"
#include "device/virtio/virtio.h"
#include "host/unix_socket.h"

#include <pthread.h>
#include <sys/types.h>

#include <linux/virtio_console.h>

#define CONSOLE_PORTS           (CONSOLE_MAX_PORTS + 1) /* with the terminal's */
#define CONSOLE_CONTROL_RECEIVE 2                       /* that queue; the next one is its pair */
#define CONSOLE_SLICE           (64 * KIB)              /* so many bytes are moved at once, */
#define CONSOLE_BATCH           16 /* and so many times, before what else the worker has to do */

struct console_port;

/* What is at a port's other end. */
struct console_end_ops {
	/* Once, on the worker, when the device has been made. NULL: nothing to do. */
	void (*begin)(struct console_port *port);
	/* Bytes of the guest: how many it took; -EAGAIN: it has no room, and
	 * console_port_writable() comes later. */
	ssize_t (*send)(struct console_port *port, const void *bytes, size_t size);
	/* Bytes for the guest: how many; -EAGAIN: there are none now, and more_input is posted
	 * later. NULL: there never are. */
	ssize_t (*receive)(struct console_port *port, void *bytes, size_t size);
	/* Can it be that receive() has something? */
	bool (*may_receive)(const struct console_port *port);
	/* Is there somebody? */
	bool (*is_connected)(const struct console_port *port);
	/* The port has been opened or closed, has room for input or has none any more. NULL: that
	 * is all the same. */
	void (*update)(struct console_port *port);
	/* The device is destroyed; no worker runs. */
	void (*close)(struct console_port *port);
};

extern const struct console_end_ops console_socket_end, console_file_end, console_terminal_end;

struct console_socket {
	struct unix_socket listener; /* fd -1: there is none, but the client from the start */
	struct worker_timer retry;   /* to accept, after the host had no descriptor left */
	int client;                  /* -1: there is none */
	uint32_t events;             /* that are watched */
	bool input_ended;            /* the client will send no more */
	bool hung_up;                /* nor receive: what it has sent is still to be read */
};

#define TERMINAL_INPUT 1024

struct console_terminal {
	struct event_work input_ready;
	struct worker_task writable, resized;
	_Atomic uint32_t size; /* columns << 16 | rows; 0: not known */
	pthread_mutex_t lock;  /* of what follows: the I/O thread stores it, the worker takes it;
				* and the worker writes to the backend with it */
	uint8_t input[TERMINAL_INPUT];
	size_t input_count;
	bool refused; /* there was more input than room */
};

enum console_owed { OWED_ADD = 1, OWED_NAME = 2, OWED_CONSOLE = 4, OWED_SIZE = 8, OWED_ALL = 15 };

/* What the driver and a port know of each other. */
struct console_port_state {
	uint8_t owed;   /* messages that the driver is to get: enum console_owed */
	bool ready;     /* the driver knows the port, and is told whether it has a far end */
	bool told_open; /* and what it was told last */
	bool open;      /* a program of the guest has opened the port */
	uint64_t sent;  /* bytes of the first chain that wait for no room any more */
};

struct console_port {
	struct console_device *console;
	const char *name; /* NULL: it is the console's */
	unsigned index;
	const struct console_end_ops *end;
	struct console_port_state state;
	bool blocked;   /* the far end has no room */
	bool starved;   /* the driver has made no buffers available, and will notify */
	bool drop_rest; /* of the chain, whose beginning another client has got */
	struct worker_task more_input, more_output;

	/* The end's own. */
	struct console_socket socket;
	struct char_backend *backend; /* the file; or the terminal, changed with the machine lock
				       * and terminal.lock: NULL: it is not connected */
	struct console_terminal terminal;
};

/* What outlives a stop of the machine, and is saved. It is only here while the device is stopped:
 * a start copies it to the ports, and a stop back. */
struct console_settings {
	struct device device;
	struct console_state {
		struct console_port_state port[CONSOLE_PORTS];
	} state;
};

struct console_device {
	struct virtio_device virtio;
	struct console_settings settings;
	struct console_port port[CONSOLE_PORTS];
	unsigned port_count;
	struct worker_task tell, more_control;
	struct iovec pieces[VIRTIO_CHAIN_PIECES];
	uint8_t buffer[CONSOLE_SLICE];
};

/* --- console.c --- */

/* Does the driver know of more than one port? */
bool console_is_multiport(const struct console_device *console);
bool console_queue_usable(const struct console_device *console, const struct virtqueue *queue);
/* The next chain, in console->pieces, as virtqueue_take() has it. */
int console_take(
	struct console_device *console, struct virtqueue *queue, struct virtio_chain *chain);
/* A turn has ended: with `got` of the last console_take(), and `budget` of the turn left. */
void console_end_turn(struct console_device *console, struct virtqueue *queue, int got,
	unsigned budget, struct worker_task *more);

/* --- console_control.c --- */

void console_control_init(struct console_device *console);
/* Tell the driver all that is owed to it, as far as there are buffers. */
void console_tell(struct console_device *console);
/* The same, soon. */
void console_post_tell(struct console_device *console);
/* The driver has sent messages. */
void console_control(struct console_device *console);

/* --- console_port.c --- */

void console_port_init(struct console_port *port);
/* Move what there is, from the guest and for it. */
void console_port_output(struct console_port *port);
void console_port_input(struct console_port *port);
/* The far end has room again. */
void console_port_writable(struct console_port *port);
void console_port_update(struct console_port *port);

/* --- console_socket.c, console_backend.c: 0, or -errno with a message --- */

int console_socket_open(struct console_port *port, const char *path);
/* The same with a socket at which somebody listens: its far end is there from the start, and none
 * follows it. */
int console_socket_connect(struct console_port *port, const char *path);
int console_file_open(struct console_port *port, const char *path);
void console_terminal_open(struct console_port *port);

#endif

/* What the files of the console device share.
 *
 *	console.c		queues, the driver's coming and going, what is saved
 *	console_control.c	the messages of driver and device about ports (5.3.6.2)
 *	console_port.c		a port's bytes, both ways
 *	console_backend.c	a port's far end, and its terminal's window
 *
 * Everything is the worker's but where it says otherwise. */
#ifndef VENEER_DEVICE_VIRTIO_CONSOLE_INTERNAL_H
#define VENEER_DEVICE_VIRTIO_CONSOLE_INTERNAL_H

#include "device/virtio/console.h"
#include "device/virtio/virtio.h"

#include <pthread.h>
#include <sys/types.h>

#include <linux/virtio_console.h>

#define CONSOLE_CONTROL_RECEIVE 2          /* that queue; the next one is its pair */
#define CONSOLE_SLICE           (64 * KIB) /* so many bytes are moved at once, */
#define CONSOLE_BATCH           16 /* and so many times, before what else the worker has to do */

struct console_port;

#define CONSOLE_INPUT    4096
#define CONSOLE_PATIENCE (250 * 1000000ull) /* ns that a lossy port waits for room */

/* What is at a port's other end. */
struct console_end {
	struct event_work input_ready;
	struct worker_task writable, resized;
	_Atomic uint32_t size;   /* columns << 16 | rows; 0: not known */
	atomic_bool connected;   /* somebody is there */
	atomic_uint connections; /* that have ended */
	unsigned served;         /* the worker's: it knows of so many */
	atomic_bool reads;       /* the port is open, for the guest */
	pthread_mutex_t lock;    /* of what follows: the I/O thread stores it, the worker takes it;
				   * and the worker writes to the backend with it */
	struct char_backend *backend; /* changed with the machine lock, too; NULL: not connected */
	uint8_t input[CONSOLE_INPUT];
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
	struct console_device *console;  /* NULL: there is no port of this number */
	char name[CONSOLE_MAX_NAME + 1]; /* "": none */
	bool is_console;                 /* of the guest's kernel */
	bool lossy;                      /* struct console_port_config */
	unsigned index;
	struct console_port_state state;
	bool blocked;   /* the far end has no room */
	bool discards;  /* it has had none for too long: what comes is lost until it has */
	bool starved;   /* the driver has made no buffers available, and will notify */
	bool drop_rest; /* of the chain, whose beginning another client has got */
	struct worker_task more_input, more_output;
	struct worker_timer patience;
	struct console_end end;
};

/* What outlives a stop of the machine, and is saved. It is only here while the device is stopped:
 * a start copies it to the ports, and a stop back. */
struct console_settings {
	struct device device;
	struct console_state {
		struct console_port_state port[CONSOLE_MAX_PORTS];
	} state;
};

struct console_device {
	struct virtio_device virtio;
	struct console_settings settings;
	struct console_port port[CONSOLE_MAX_PORTS];
	unsigned port_limit; /* all numbers are below it */
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
/* The device has its worker now. */
void console_port_init_timer(struct console_port *port);
/* The driver goes: nothing is waited for any more. */
void console_port_stop_waiting(struct console_port *port);
/* Move what there is, from the guest and for it. */
void console_port_output(struct console_port *port);
void console_port_input(struct console_port *port);
/* The far end has room again. */
void console_port_writable(struct console_port *port);

/* --- console_backend.c --- */

void console_end_init(struct console_port *port);
/* No worker runs. */
void console_end_destroy(struct console_port *port);
/* Bytes of the guest: how many the far end took; -EAGAIN: it has no room, and
 * console_port_writable() comes later. */
ssize_t console_end_send(struct console_port *port, const void *bytes, size_t size);
/* Bytes for the guest: how many; -EAGAIN: there are none now, and more_input is posted later. */
ssize_t console_end_receive(struct console_port *port, void *bytes, size_t size);
/* Is somebody there? And for the driver? */
bool console_end_is_connected(const struct console_port *port);
bool console_end_is_open(struct console_port *port);
/* Has somebody gone since the last call? */
bool console_end_has_changed(struct console_port *port);
/* The port has been opened or closed. */
void console_end_update(struct console_port *port);

#endif

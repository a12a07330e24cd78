/* The console device: each port is a pair of queues and, on the host's side, a listening socket
 * with at most one client, or a file. Control messages (5.3.6.2) travel in two queues more.
 *
 * What the driver has not yet been told is kept as flags of each port, not as a list of messages: a
 * driver that asks again and again, or takes no messages, costs no memory.
 *
 * No chain is in flight between two callbacks. One that the client has no room for is put back, and
 * how much of it was sent is noted: so a stop has nothing to wait for, and a port whose far end
 * does not read holds up nothing but itself. */
#include "device/virtio/console.h"

#include "base/log.h"
#include "device/virtio/virtio.h"
#include "host/char_file.h"
#include "host/unix_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/virtio_console.h>

#define QUEUE_SIZE      64
#define CONTROL_RECEIVE 2
#define SLICE           (64 * KIB) /* so many bytes are moved at once, */
#define BATCH           16         /* and so many times, before what else the worker has to do */
#define RETRY_NS        NS_PER_SECOND

_Static_assert(2 * CONSOLE_MAX_PORTS + 2 <= VIRTIO_MAX_QUEUES, "each queue has its place");

enum owed { OWED_ADD = 1, OWED_NAME = 2 };

/* What the driver and a port know of each other. */
struct port_state {
	uint8_t owed;   /* messages that the driver is to get */
	bool ready;     /* the driver knows the port, and is told whether it has a far end */
	bool told_open; /* and what it was told last */
	bool open;      /* a program of the guest has opened the port */
	uint64_t sent;  /* bytes of the first chain that wait for no room any more */
};

struct port {
	struct console *console;
	const struct console_port_config *config;
	unsigned index;
	struct char_backend *file; /* NULL: there is a socket */
	struct unix_socket listener;
	struct worker_timer retry; /* to accept, after the host had no descriptor left */

	/* The worker's. */
	struct port_state state;
	int client;       /* -1: there is none */
	uint32_t events;  /* that are watched */
	bool blocked;     /* the client has no room */
	bool starved;     /* the driver has made no buffers available, and will notify */
	bool input_ended; /* the client will send no more */
	bool hung_up;     /* nor receive: what it has sent is still to be read */
	bool drop_rest;   /* of the chain, whose beginning another client has got */
	struct worker_task more_input, more_output;
};

/* What outlives a stop of the machine, and is saved. It is only here while the device is stopped:
 * start() copies it to the ports, and stop() back. */
struct console_settings {
	struct device device;
	struct console_state {
		struct port_state port[CONSOLE_MAX_PORTS];
	} state;
};

struct console {
	struct virtio_device virtio;
	struct console_settings settings;
	struct port port[CONSOLE_MAX_PORTS];
	unsigned port_count;
	struct worker_task tell, more_control;
	struct iovec pieces[VIRTIO_CHAIN_PIECES];
	uint8_t buffer[SLICE];
};

/* --- queues (5.3.2) --- */

static bool usable(const struct console *console, const struct virtqueue *queue)
{
	return console->virtio.running && queue->setup.enabled && !queue->broken;
}

static bool multiport(const struct console *console)
{
	return console->virtio.features & BIT(VIRTIO_CONSOLE_F_MULTIPORT);
}

/* Where the driver makes buffers available; the next queue is the one that it sends with. */
static struct virtqueue *receive_queue(struct port *port)
{
	return &port->console->virtio.queue[port->index ? 2 * port->index + 2 : 0];
}

static struct virtqueue *transmit_queue(struct port *port)
{
	return receive_queue(port) + 1;
}

/* The next chain, in console->pieces, as virtqueue_take() has it. */
static int take(struct console *console, struct virtqueue *queue, struct virtio_chain *chain)
{
	*chain = (struct virtio_chain){.pieces = console->pieces, .limit = VIRTIO_CHAIN_PIECES};
	return virtqueue_take(queue, chain);
}

/* A turn has ended: with `got` of the last take(), and `budget` of the turn left. */
static void end_turn(struct console *console, struct virtqueue *queue, int got, unsigned budget,
	struct worker_task *more)
{
	virtqueue_tell_driver(queue);
	if (got < 0)
		virtio_needs_reset(&console->virtio);
	else if (!budget)
		worker_post(console->virtio.worker, more);
}

/* --- messages for the driver --- */

static bool is_connected(const struct port *port)
{
	return port->file || port->client >= 0;
}

/* The next message that the port owes, if any. */
static bool next_message(const struct port *port, struct virtio_console_control *message)
{
	const struct port_state *state = &port->state;

	*message = (struct virtio_console_control){.id = port->index, .value = 1};
	if (state->owed & OWED_ADD) {
		message->event = VIRTIO_CONSOLE_PORT_ADD;
	} else if (state->owed & OWED_NAME) {
		message->event = VIRTIO_CONSOLE_PORT_NAME;
	} else if (state->ready && state->told_open != is_connected(port)) {
		message->event = VIRTIO_CONSOLE_PORT_OPEN;
		message->value = is_connected(port);
	} else {
		return false;
	}
	return true;
}

/* The message has gone: it is owed no more. */
static void settle(struct port *port, const struct virtio_console_control *message)
{
	if (message->event == VIRTIO_CONSOLE_PORT_ADD)
		port->state.owed &= (uint8_t)~OWED_ADD;
	else if (message->event == VIRTIO_CONSOLE_PORT_NAME)
		port->state.owed &= (uint8_t)~OWED_NAME;
	else
		port->state.told_open = message->value;
}

/* Of a buffer that is too small the driver gets what it has room for. */
static uint32_t write_message(const struct port *port, const struct virtio_chain *chain,
	const struct virtio_console_control *message)
{
	uint64_t size = virtio_chain_write(chain, 0, message, sizeof(*message));

	if (message->event == VIRTIO_CONSOLE_PORT_NAME)
		size += virtio_chain_write(
			chain, sizeof(*message), port->config->name, strlen(port->config->name));
	return (uint32_t)size;
}

/* All that is owed, as far as there are buffers. */
static void tell(void *opaque)
{
	struct console *console = opaque;
	struct virtqueue *queue = &console->virtio.queue[CONTROL_RECEIVE];
	struct virtio_console_control message;
	struct virtio_chain chain;
	int got = 1;

	if (!multiport(console) || !usable(console, queue))
		return;
	for (unsigned i = 0; i < console->port_count; i++) {
		struct port *port = &console->port[i];

		while (next_message(port, &message) && (got = take(console, queue, &chain)) > 0) {
			virtqueue_give_back(queue, &chain, write_message(port, &chain, &message));
			settle(port, &message);
		}
	}
	end_turn(console, queue, got, 1, NULL);
}

static void post_tell(struct console *console)
{
	worker_post(console->virtio.worker, &console->tell);
}

/* --- the client --- */

static void watch_listener(struct port *port);

/* The file descriptor's events that there is a use for. The end of the connection always counts. */
static uint32_t wanted_events(const struct port *port)
{
	bool reads = port->state.open && !port->starved && !port->input_ended;

	return (reads ? EPOLLIN : 0) | (port->blocked ? EPOLLOUT : 0);
}

static void disconnect(struct port *port)
{
	worker_unwatch(port->console->virtio.worker, port->client);
	close(port->client);
	port->client = -1;
	port->blocked = port->input_ended = port->hung_up = false;
	port->drop_rest = port->state.sent > 0;
	watch_listener(port);
	worker_post(port->console->virtio.worker, &port->more_output);
	post_tell(port->console);
}

static void on_client(void *opaque, uint32_t events);

/* The port or the driver has changed its mind. What a client that has gone had sent is kept for a
 * program of the guest that has the port open. */
static void update_client(struct port *port)
{
	struct worker *worker = port->console->virtio.worker;

	if (port->client < 0)
		return;
	if (port->hung_up && (port->input_ended || !port->state.open)) {
		disconnect(port);
	} else if (!port->hung_up && port->events != wanted_events(port)) {
		port->events = wanted_events(port);
		if (worker_watch(worker, port->client, port->events, on_client, port) < 0)
			disconnect(port);
	}
}

/* --- from the guest --- */

/* Send some of the chain. True: the port is done with it. */
static bool send_some(struct port *port, const struct virtio_chain *chain)
{
	uint8_t *buffer = port->console->buffer;
	size_t size = virtio_chain_read(chain, port->state.sent, buffer, SLICE);
	ssize_t sent = (ssize_t)size;

	if (!is_connected(port) || port->drop_rest)
		return true;
	if (port->file)
		port->file->ops->write(port->file, buffer, size);
	else
		sent = send(port->client, buffer, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno == EAGAIN) {
		port->blocked = true;
		return false;
	}
	/* A client that is gone is noticed elsewhere. */
	port->state.sent += sent < 0 ? size : (uint64_t)sent;
	return port->state.sent >= chain->readable_bytes;
}

static void output(void *opaque)
{
	struct port *port = opaque;
	struct console *console = port->console;
	struct virtqueue *queue = transmit_queue(port);
	struct virtio_chain chain;
	unsigned budget = BATCH;
	int got = 0;

	if (!usable(console, queue))
		return;
	while (budget && !port->blocked && (got = take(console, queue, &chain)) > 0) {
		budget--;
		if (send_some(port, &chain)) {
			virtqueue_give_back(queue, &chain, 0);
			port->state.sent = 0;
			port->drop_rest = false;
		} else {
			virtqueue_untake(queue, &chain);
		}
	}
	end_turn(console, queue, got, budget, &port->more_output);
	update_client(port);
}

/* --- for the guest --- */

enum outcome { WENT_ON, NOTHING_THERE };

/* Fill the chain, or put it back. */
static enum outcome receive_some(
	struct port *port, struct virtqueue *queue, const struct virtio_chain *chain)
{
	uint8_t *buffer = port->console->buffer;
	size_t size = MIN(chain->writable_bytes, SLICE);
	ssize_t got = size ? recv(port->client, buffer, size, MSG_DONTWAIT) : 0;

	if (got > 0 || !size) {
		virtio_chain_write(chain, 0, buffer, (uint64_t)got);
		virtqueue_give_back(queue, chain, (uint32_t)got);
		return WENT_ON;
	}
	if (got == 0 || errno != EAGAIN)
		port->input_ended = true;
	virtqueue_untake(queue, chain);
	return NOTHING_THERE;
}

static bool may_receive(struct port *port)
{
	return port->client >= 0 && port->state.open && !port->input_ended &&
	       usable(port->console, receive_queue(port));
}

static void input(void *opaque)
{
	struct port *port = opaque;
	struct console *console = port->console;
	struct virtqueue *queue = receive_queue(port);
	struct virtio_chain chain;
	enum outcome outcome = WENT_ON;
	unsigned budget = BATCH;
	int got = 0;

	while (budget && outcome == WENT_ON && may_receive(port)) {
		got = take(console, queue, &chain);
		port->starved = got <= 0;
		if (got <= 0)
			break;
		budget--;
		outcome = receive_some(port, queue, &chain);
	}
	if (usable(console, queue) || got < 0)
		end_turn(console, queue, got, budget, &port->more_input);
	update_client(port);
}

/* --- the host's side --- */

static void note_hangup(struct port *port)
{
	char byte;

	worker_unwatch(port->console->virtio.worker, port->client);
	port->hung_up = true;
	if (recv(port->client, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
		port->input_ended = true;
}

static void on_client(void *opaque, uint32_t events)
{
	struct port *port = opaque;

	if (events & (EPOLLHUP | EPOLLERR))
		note_hangup(port);
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
		port->blocked = false;
		output(port);
	}
	input(port);
}

static void on_listener(void *opaque, uint32_t events)
{
	struct port *port = opaque;
	struct worker *worker = port->console->virtio.worker;
	int fd = accept4(port->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED) {
			worker_unwatch(worker, port->listener.fd);
			worker_timer_arm(&port->retry, RETRY_NS);
		}
		return;
	}
	port->events = wanted_events(port);
	if (worker_watch(worker, fd, port->events, on_client, port) < 0) {
		close(fd);
		return;
	}
	worker_unwatch(worker, port->listener.fd);
	port->client = fd;
	post_tell(port->console);
}

static void watch_listener(struct port *port)
{
	if (worker_watch(port->console->virtio.worker, port->listener.fd, EPOLLIN, on_listener,
		    port) < 0)
		worker_timer_arm(&port->retry, RETRY_NS);
}

static void listen_again(void *opaque)
{
	watch_listener(opaque);
}

/* --- messages of the driver --- */

static void obey(struct console *console, const struct virtio_console_control *message)
{
	struct port *port;

	if (message->event == VIRTIO_CONSOLE_DEVICE_READY && message->value) {
		for (unsigned i = 0; i < console->port_count; i++)
			console->port[i].state.owed |= OWED_ADD;
		return;
	}
	if (message->id >= console->port_count)
		return;
	port = &console->port[message->id];
	if (message->event == VIRTIO_CONSOLE_PORT_READY && message->value) {
		port->state.owed |= OWED_NAME;
		port->state.ready = true;
		port->state.told_open = false;
	} else if (message->event == VIRTIO_CONSOLE_PORT_OPEN) {
		port->state.open = message->value;
		worker_post(console->virtio.worker, &port->more_input);
	}
}

static void control(void *opaque)
{
	struct console *console = opaque;
	struct virtqueue *queue = &console->virtio.queue[CONTROL_RECEIVE + 1];
	struct virtio_console_control message;
	struct virtio_chain chain;
	unsigned budget = BATCH;
	int got = 0;

	if (!multiport(console) || !usable(console, queue))
		return;
	while (budget && (got = take(console, queue, &chain)) > 0) {
		budget--;
		if (virtio_chain_read(&chain, 0, &message, sizeof(message)) == sizeof(message))
			obey(console, &message);
		virtqueue_give_back(queue, &chain, 0);
	}
	end_turn(console, queue, got, budget, &console->more_control);
	post_tell(console);
}

/* --- the driver comes and goes --- */

static void start(struct virtio_device *device)
{
	struct console *console = (struct console *)device;

	for (unsigned i = 0; i < console->port_count; i++) {
		struct port *port = &console->port[i];

		port->state = console->settings.state.port[i];
		port->drop_rest &= port->state.sent > 0;
	}
	post_tell(console);
}

/* Clients stay connected; a port is closed by a reset, but not where the machine stops. */
static void stop(struct virtio_device *device)
{
	struct console *console = (struct console *)device;

	for (unsigned i = 0; i < console->port_count; i++) {
		struct port *port = &console->port[i];

		if (device->state.resetting) {
			port->state = (struct port_state){0};
			port->drop_rest = false;
		}
		console->settings.state.port[i] = port->state;
		port->blocked = false;
		port->starved = true;
		update_client(port);
	}
	virtio_stopped(device);
}

static void notified(struct virtio_device *device, struct virtqueue *queue)
{
	struct console *console = (struct console *)device;
	struct port *port = &console->port[queue->index < 2 ? 0 : queue->index / 2 - 1];

	if (queue->index == CONTROL_RECEIVE) {
		tell(console);
	} else if (queue->index == CONTROL_RECEIVE + 1) {
		control(console);
	} else if (queue->index & 1) {
		output(port);
	} else {
		port->starved = false;
		input(port);
	}
}

/* --- the settings, as one of the machine's devices --- */

static void reset_settings(void *settings)
{
	((struct console_settings *)settings)->state = (struct console_state){0};
}

static const struct state_field port_fields[] = {
	STATE_FIELD(struct port_state, owed, 0, OWED_ADD | OWED_NAME),
	STATE_BOOL(struct port_state, ready),
	STATE_BOOL(struct port_state, told_open),
	STATE_BOOL(struct port_state, open),
	STATE_ANY(struct port_state, sent),
	STATE_END,
};

static const struct state_field settings_fields[] = {
	STATE_STRUCTS(struct console_state, port, port_fields),
	STATE_END,
};

static const struct device_ops settings_ops = {
	.name = "virtio-con-set",
	.version = 1,
	.fields = settings_fields,
	.state_offset = offsetof(struct console_settings, state),
	.state_size = sizeof(struct console_state),
	.reset = reset_settings,
};

/* --- making and destroying --- */

static void close_port(struct port *port)
{
	if (port->file)
		char_file_destroy(port->file);
	else if (port->listener.path)
		unix_socket_close(&port->listener);
	if (port->client >= 0)
		close(port->client);
}

static void destroy(struct virtio_device *device)
{
	struct console *console = (struct console *)device;

	for (unsigned i = 0; i < console->port_count; i++)
		close_port(&console->port[i]);
	free(console);
}

static const struct virtio_ops ops = {
	.name = "virtio-console",
	.type = VIRTIO_CONSOLE,
	.pci_class = 0x078000, /* simple communication controller, other */
	.start = start,
	.notified = notified,
	.stop = stop,
	.destroy = destroy,
};

static int open_port(struct console *console, const struct console_port_config *config)
{
	struct port *port = &console->port[console->port_count];
	int error = 0;

	*port = (struct port){.console = console,
		.config = config,
		.index = console->port_count,
		.client = -1,
		.starved = true};
	worker_task_init(&port->more_input, input, port);
	worker_task_init(&port->more_output, output, port);
	if (!config->to_file) {
		error = unix_socket_listen(&port->listener, "--console-port path", config->path);
	} else {
		port->file = char_file_create("--console-port file", config->path);
		error = port->file ? 0 : -EIO;
	}
	if (!error)
		console->port_count++;
	return error;
}

static int open_ports(
	struct console *console, const struct console_port_config *ports, unsigned count)
{
	int error = 0;

	for (unsigned i = 0; !error && i < count; i++)
		error = open_port(console, &ports[i]);
	return error;
}

static void begin(void *opaque)
{
	struct console *console = opaque;

	for (unsigned i = 0; i < console->port_count; i++) {
		struct port *port = &console->port[i];

		worker_timer_init(&port->retry, console->virtio.worker, listen_again, port);
		if (!port->file)
			watch_listener(port);
	}
}

static void describe(struct console *console)
{
	const struct virtio_console_config config = {.max_nr_ports = console->port_count};

	console->virtio.ops = &ops;
	console->virtio.offered = BIT(VIRTIO_CONSOLE_F_MULTIPORT) | VIRTIO_F_IN_ORDER;
	console->virtio.queue_count = 2 * console->port_count + 2;
	console->virtio.queue_size = QUEUE_SIZE;
	console->virtio.config_size = sizeof(config);
	memcpy(console->virtio.config, &config, sizeof(config));
}

int virtio_console_create(
	struct pci_bus *bus, const struct console_port_config *ports, unsigned count)
{
	struct console *console = calloc(1, sizeof(*console));
	int error;

	if (!console) {
		log_error("virtio-console: out of memory");
		return -ENOMEM;
	}
	worker_task_init(&console->tell, tell, console);
	worker_task_init(&console->more_control, control, console);
	error = open_ports(console, ports, count);
	describe(console);
	if (!error)
		error = virtio_add(&console->virtio, bus, PCI_ANY_SLOT, 0);
	if (error) {
		destroy(&console->virtio);
		return error;
	}
	device_list_add(pci_bus_config(bus)->devices, &console->settings.device, &settings_ops, 0);
	worker_call(console->virtio.worker, begin, console);
	return 0;
}

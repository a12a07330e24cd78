/* A port's bytes: from the guest to the far end, and back.
 *
 * No chain is in flight between two callbacks. One that the far end has no room for is put back,
 * and how much of it was sent is noted: so a stop has nothing to wait for, and a port whose far end
 * does not read holds up nothing but itself.
 *
 * Or the guest's kernel, if it is a console: Linux's driver sends with a lock held, and spins until
 * the device has taken all. So a lossy port, for clients that do not read what they did not ask
 * for, waits for a moment only, and then loses what comes until there is room. */
#include "device/virtio/console_internal.h"

#include <errno.h>

/* Where the driver makes buffers available; the next queue is the one that it sends with. */
static struct virtqueue *receive_queue(struct console_port *port)
{
	return &port->console->virtio.queue[port->index ? 2 * port->index + 2 : 0];
}

static struct virtqueue *transmit_queue(struct console_port *port)
{
	return receive_queue(port) + 1;
}

/* --- from the guest --- */

/* Send some of the chain. True: the port is done with it. */
static bool send_some(struct console_port *port, const struct virtio_chain *chain)
{
	uint8_t *buffer = port->console->buffer;
	size_t size = virtio_chain_read(chain, port->state.sent, buffer, CONSOLE_SLICE);
	ssize_t sent;

	if (console_end_has_changed(port))
		port->drop_rest |= port->state.sent > 0;
	if (!console_end_is_connected(port) || port->drop_rest || port->discards)
		return true;
	sent = console_end_send(port, buffer, size);
	if (sent == -EAGAIN) {
		port->blocked = true;
		if (port->lossy)
			worker_timer_arm(&port->patience, CONSOLE_PATIENCE);
		return false;
	}
	port->state.sent += (uint64_t)sent;
	return port->state.sent >= chain->readable_bytes;
}

/* A driver that knows of one port only says nothing about opening it. Linux's throws away what
 * comes before its console is set up; the first thing that this does is to print. */
static void note_output(struct console_port *port)
{
	if (port->name[0] || port->state.open || console_is_multiport(port->console))
		return;
	port->state.open = true;
	worker_post(port->console->virtio.worker, &port->more_input);
}

void console_port_output(struct console_port *port)
{
	struct console_device *console = port->console;
	struct virtqueue *queue = transmit_queue(port);
	struct virtio_chain chain;
	unsigned budget = CONSOLE_BATCH;
	int got = 0;

	if (!console_queue_usable(console, queue))
		return;
	while (budget && !port->blocked && (got = console_take(console, queue, &chain)) > 0) {
		budget--;
		note_output(port);
		if (send_some(port, &chain)) {
			virtqueue_give_back(queue, &chain, 0);
			port->state.sent = 0;
			port->drop_rest = false;
		} else {
			virtqueue_untake(queue, &chain);
		}
	}
	console_end_turn(console, queue, got, budget, &port->more_output);
	console_end_update(port);
}

void console_port_stop_waiting(struct console_port *port)
{
	worker_timer_cancel(&port->patience);
	port->blocked = port->discards = false;
}

void console_port_writable(struct console_port *port)
{
	console_port_stop_waiting(port);
	console_port_output(port);
}

static void waited_enough(void *opaque)
{
	struct console_port *port = opaque;

	port->blocked = false;
	port->discards = true;
	console_port_output(port);
}

/* --- for the guest --- */

/* Fill the chain, or put it back: false. */
static bool receive_some(
	struct console_port *port, struct virtqueue *queue, const struct virtio_chain *chain)
{
	uint8_t *buffer = port->console->buffer;
	size_t size = MIN(chain->writable_bytes, CONSOLE_SLICE);
	ssize_t got = size ? console_end_receive(port, buffer, size) : 0;

	if (got < 0) {
		virtqueue_untake(queue, chain);
		return false;
	}
	virtio_chain_write(chain, 0, buffer, (uint64_t)got);
	virtqueue_give_back(queue, chain, (uint32_t)got);
	return true;
}

static bool may_receive(struct console_port *port)
{
	return port->state.open && console_queue_usable(port->console, receive_queue(port));
}

void console_port_input(struct console_port *port)
{
	struct console_device *console = port->console;
	struct virtqueue *queue = receive_queue(port);
	struct virtio_chain chain;
	bool went_on = true;
	unsigned budget = CONSOLE_BATCH;
	int got = 0;

	while (budget && went_on && may_receive(port)) {
		got = console_take(console, queue, &chain);
		port->starved = got <= 0;
		if (got <= 0)
			break;
		budget--;
		went_on = receive_some(port, queue, &chain);
	}
	if (console_queue_usable(console, queue) || got < 0)
		console_end_turn(console, queue, got, budget, &port->more_input);
	console_end_update(port);
}

static void run_input(void *opaque)
{
	console_port_input(opaque);
}

static void run_output(void *opaque)
{
	console_port_output(opaque);
}

void console_port_init(struct console_port *port)
{
	worker_task_init(&port->more_input, run_input, port);
	worker_task_init(&port->more_output, run_output, port);
}

void console_port_init_timer(struct console_port *port)
{
	worker_timer_init(&port->patience, port->console->virtio.worker, waited_enough, port);
}

/* Messages about ports, in two queues of their own (virtio 1.2, 5.3.6.2).
 *
 * What the driver has not yet been told is kept as flags of each port, not as a list of messages: a
 * driver that asks again and again, or takes no messages, costs no memory. */
#include "device/virtio/console_internal.h"

#include <string.h>

/* As the specification has it, and Linux's drivers of today; older ones exchange the two. */
struct resize {
	uint16_t columns, rows;
};

/* The next message that the port owes, if any. */
static bool next_message(struct console_port *port, struct virtio_console_control *message)
{
	static const struct {
		enum console_owed owed;
		uint16_t event;
	} events[] = {
		{OWED_ADD, VIRTIO_CONSOLE_PORT_ADD},
		{OWED_NAME, VIRTIO_CONSOLE_PORT_NAME},
		{OWED_CONSOLE, VIRTIO_CONSOLE_CONSOLE_PORT},
		{OWED_SIZE, VIRTIO_CONSOLE_RESIZE},
	};
	const struct console_port_state *state = &port->state;
	bool open;

	*message = (struct virtio_console_control){.id = port->index, .value = 1};
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		if (state->owed & events[i].owed) {
			message->event = events[i].event;
			return true;
		}
	message->event = VIRTIO_CONSOLE_PORT_OPEN;
	open = console_end_is_open(port);
	message->value = open;
	return state->ready && state->told_open != open;
}

/* The message has gone: it, the first of those that are owed, is owed no more. */
static void settle(struct console_port *port, const struct virtio_console_control *message)
{
	if (message->event == VIRTIO_CONSOLE_PORT_OPEN)
		port->state.told_open = message->value;
	else
		port->state.owed &= port->state.owed - 1;
}

/* Of a buffer that is too small the driver gets what it has room for. */
static uint32_t write_message(const struct console_port *port, const struct virtio_chain *chain,
	const struct virtio_console_control *message)
{
	uint64_t size = virtio_chain_write(chain, 0, message, sizeof(*message));
	uint32_t window = atomic_load(&port->end.size);
	struct resize resize = {(uint16_t)(window >> 16), (uint16_t)window};

	if (message->event == VIRTIO_CONSOLE_PORT_NAME)
		size += virtio_chain_write(chain, sizeof(*message), port->name, strlen(port->name));
	if (message->event == VIRTIO_CONSOLE_RESIZE)
		size += virtio_chain_write(chain, sizeof(*message), &resize, sizeof(resize));
	return (uint32_t)size;
}

void console_tell(struct console_device *console)
{
	struct virtqueue *queue = &console->virtio.queue[CONSOLE_CONTROL_RECEIVE];
	struct virtio_console_control message;
	struct virtio_chain chain;
	int got = 1;

	if (!console_is_multiport(console) || !console_queue_usable(console, queue))
		return;
	for (unsigned i = 0; i < console->port_limit; i++) {
		struct console_port *port = &console->port[i];

		while (port->console && next_message(port, &message) &&
			(got = console_take(console, queue, &chain)) > 0) {
			virtqueue_give_back(queue, &chain, write_message(port, &chain, &message));
			settle(port, &message);
		}
	}
	console_end_turn(console, queue, got, 1, NULL);
}

void console_post_tell(struct console_device *console)
{
	worker_post(console->virtio.worker, &console->tell);
}

static void obey(struct console_device *console, const struct virtio_console_control *message)
{
	struct console_port *port;

	if (message->event == VIRTIO_CONSOLE_DEVICE_READY && message->value) {
		for (unsigned i = 0; i < console->port_limit; i++)
			if (console->port[i].console)
				console->port[i].state.owed |= OWED_ADD;
		return;
	}
	if (message->id >= console->port_limit || !console->port[message->id].console)
		return;
	port = &console->port[message->id];
	if (message->event == VIRTIO_CONSOLE_PORT_READY && message->value) {
		port->state.owed |= (port->name[0] ? OWED_NAME : 0) |
				    (port->is_console ? OWED_CONSOLE | OWED_SIZE : 0);
		port->state.ready = true;
		port->state.told_open = false;
	} else if (message->event == VIRTIO_CONSOLE_PORT_OPEN) {
		port->state.open = message->value;
		worker_post(console->virtio.worker, &port->more_input);
	}
}

void console_control(struct console_device *console)
{
	struct virtqueue *queue = &console->virtio.queue[CONSOLE_CONTROL_RECEIVE + 1];
	struct virtio_console_control message;
	struct virtio_chain chain;
	unsigned budget = CONSOLE_BATCH;
	int got = 0;

	if (!console_is_multiport(console) || !console_queue_usable(console, queue))
		return;
	while (budget && (got = console_take(console, queue, &chain)) > 0) {
		budget--;
		if (virtio_chain_read(&chain, 0, &message, sizeof(message)) == sizeof(message))
			obey(console, &message);
		virtqueue_give_back(queue, &chain, 0);
	}
	console_end_turn(console, queue, got, budget, &console->more_control);
	console_post_tell(console);
}

static void run_tell(void *opaque)
{
	console_tell(opaque);
}

static void run_control(void *opaque)
{
	console_control(opaque);
}

void console_control_init(struct console_device *console)
{
	worker_task_init(&console->tell, run_tell, console);
	worker_task_init(&console->more_control, run_control, console);
}

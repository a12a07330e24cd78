/* The console device: each port is a pair of queues and something on the host's side; two queues
 * more carry messages about ports. See console_internal.h. */
#include "device/virtio/console_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE 64

_Static_assert(2 * CONSOLE_MAX_PORTS + 2 <= VIRTIO_MAX_QUEUES, "each queue has its place");

/* --- queues (5.3.2) --- */

bool console_queue_usable(const struct console_device *console, const struct virtqueue *queue)
{
	return console->virtio.running && queue->setup.enabled && !queue->broken;
}

bool console_is_multiport(const struct console_device *console)
{
	return console->virtio.features & BIT(VIRTIO_CONSOLE_F_MULTIPORT);
}

int console_take(
	struct console_device *console, struct virtqueue *queue, struct virtio_chain *chain)
{
	*chain = (struct virtio_chain){.pieces = console->pieces, .limit = VIRTIO_CHAIN_PIECES};
	return virtqueue_take(queue, chain);
}

void console_end_turn(struct console_device *console, struct virtqueue *queue, int got,
	unsigned budget, struct worker_task *more)
{
	virtqueue_tell_driver(queue);
	if (got < 0)
		virtio_needs_reset(&console->virtio);
	else if (!budget)
		worker_post(console->virtio.worker, more);
}

/* --- the driver comes and goes --- */

static void start(struct virtio_device *device)
{
	struct console_device *console = (struct console_device *)device;

	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++) {
		struct console_port *port = &console->port[i];

		port->state = console->settings.state.port[i];
		port->drop_rest &= port->state.sent > 0;
	}
	console_post_tell(console);
}

/* Clients stay connected; a port is closed by a reset, but not where the machine stops. */
static void stop(struct virtio_device *device)
{
	struct console_device *console = (struct console_device *)device;

	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++) {
		struct console_port *port = &console->port[i];

		if (!port->console)
			continue;
		if (device->state.resetting) {
			port->state = (struct console_port_state){0};
			port->drop_rest = false;
		}
		console->settings.state.port[i] = port->state;
		console_port_stop_waiting(port);
		port->starved = true;
		console_end_update(port);
	}
	virtio_stopped(device);
}

static struct console_port *port_of(struct console_device *console, const struct virtqueue *queue)
{
	return &console->port[queue->index < 2 ? 0 : queue->index / 2 - 1];
}

/* Of a chain that was sent in part the rest is gone. */
static void queue_reset(struct virtio_device *device, struct virtqueue *queue)
{
	struct console_port *port = port_of((struct console_device *)device, queue);

	if (queue->index / 2 == CONSOLE_CONTROL_RECEIVE / 2 || !port->console)
		return;
	if (queue->index & 1) {
		port->state.sent = 0;
		port->drop_rest = false;
	} else {
		port->starved = true;
		console_end_update(port);
	}
}

static void notified(struct virtio_device *device, struct virtqueue *queue)
{
	struct console_device *console = (struct console_device *)device;
	struct console_port *port = port_of(console, queue);

	if (!port->console && queue->index / 2 != CONSOLE_CONTROL_RECEIVE / 2)
		return;
	if (queue->index == CONSOLE_CONTROL_RECEIVE) {
		console_tell(console);
	} else if (queue->index == CONSOLE_CONTROL_RECEIVE + 1) {
		console_control(console);
	} else if (queue->index & 1) {
		console_port_output(port);
	} else {
		port->starved = false;
		console_port_input(port);
	}
}

/* --- the settings, as one of the machine's devices --- */

static void reset_settings(void *settings)
{
	((struct console_settings *)settings)->state = (struct console_state){0};
}

static const struct state_field port_fields[] = {
	STATE_FIELD(struct console_port_state, owed, 0, OWED_ALL),
	STATE_BOOL(struct console_port_state, ready),
	STATE_BOOL(struct console_port_state, told_open),
	STATE_BOOL(struct console_port_state, open),
	STATE_ANY(struct console_port_state, sent),
	STATE_END,
};

static const struct state_field settings_fields[] = {
	STATE_STRUCTS(struct console_state, port, port_fields),
	STATE_END,
};

/* A name is owed by a port that has one; and nothing by one that is not there. */
static bool settings_valid(const void *settings, const void *loaded)
{
	const struct console_device *console =
		container_of(settings, const struct console_device, settings);
	const struct console_state *state = loaded;

	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++)
		if ((state->port[i].owed & OWED_NAME) && !console->port[i].name[0])
			return false;
	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++)
		if (!console->port[i].console && (state->port[i].owed || state->port[i].ready))
			return false;
	return true;
}

static const struct device_ops settings_ops = {
	.name = "virtio-con-set",
	.version = 3,
	DEVICE_STATE(struct console_settings, settings_fields),
	.reset = reset_settings,
	.valid = settings_valid,
};

/* --- making and destroying --- */

static void destroy(struct virtio_device *device)
{
	struct console_device *console = (struct console_device *)device;

	for (unsigned i = 0; i < CONSOLE_MAX_PORTS; i++)
		if (console->port[i].console)
			console_end_destroy(&console->port[i]);
	free(console);
}

static const struct virtio_ops ops = {
	.name = "virtio-console",
	.type = VIRTIO_CONSOLE,
	.pci_class = 0x078000, /* simple communication controller, other */
	.start = start,
	.notified = notified,
	.queue_reset = queue_reset,
	.stop = stop,
	.destroy = destroy,
};

static void make_port(struct console_device *console, const struct console_port_config *config)
{
	struct console_port *port = &console->port[config->number];

	*port = (struct console_port){.console = console,
		.is_console = config->console,
		.lossy = config->lossy,
		.index = (unsigned)config->number,
		.starved = true};
	strcpy(port->name, config->name);
	console_port_init(port);
	console_end_init(port);
	console->port_limit = MAX(console->port_limit, port->index + 1);
}

static bool has_terminal(const struct console_device *console)
{
	return console->port[0].console && console->port[0].is_console;
}

/* A console alone is offered as such: as one port. */
static void describe(struct console_device *console, unsigned count)
{
	const struct virtio_console_config config = {.max_nr_ports = console->port_limit};
	bool alone = count == 1 && has_terminal(console);

	console->virtio.ops = &ops;
	console->virtio.offered = VIRTIO_F_IN_ORDER |
				  (alone ? 0 : BIT(VIRTIO_CONSOLE_F_MULTIPORT)) |
				  (has_terminal(console) ? BIT(VIRTIO_CONSOLE_F_SIZE) : 0);
	console->virtio.queue_count = alone ? 2 : 2 * console->port_limit + 2;
	console->virtio.queue_size = QUEUE_SIZE;
	console->virtio.config_size = sizeof(config);
	memcpy(console->virtio.config, &config, sizeof(config));
}

int virtio_console_create(struct pci_bus *bus, uint32_t instance,
	const struct console_port_config *ports, unsigned count, struct console_device **created)
{
	struct console_device *console = calloc(1, sizeof(*console));
	int error;

	if (!console) {
		log_error("virtio-console: out of memory");
		return -ENOMEM;
	}
	console_control_init(console);
	for (unsigned i = 0; i < count; i++)
		make_port(console, &ports[i]);
	describe(console, count);
	error = virtio_add(&console->virtio, bus, PCI_ANY_SLOT, instance);
	if (error) {
		destroy(&console->virtio);
		return error;
	}
	for (unsigned i = 0; i < count; i++)
		console_port_init_timer(&console->port[ports[i].number]);
	device_list_add(
		pci_bus_config(bus)->devices, &console->settings.device, &settings_ops, instance);
	for (unsigned i = 0; i < count; i++)
		virtio_console_connect(console, (unsigned)ports[i].number, ports[i].backend);
	*created = console;
	return 0;
}

/* A port's far end: a struct char_backend, which is the I/O thread's, under the machine lock; the
 * port is the worker's. Output goes to the back end directly, which is made for that. Input, and
 * news of who is there, wait here until the worker takes them.
 *
 * The window of a terminal has a size, which the driver finds in the device's configuration
 * (VIRTIO_CONSOLE_F_SIZE) or, where there are several ports, is told by a message. */
#include "device/virtio/console_internal.h"

#include <errno.h>
#include <string.h>

static struct worker *worker_of(const struct console_port *port)
{
	return port->console->virtio.worker;
}

/* --- on the worker --- */

/* With nothing connected the bytes are lost, as with a serial line. */
ssize_t console_end_send(struct console_port *port, const void *bytes, size_t size)
{
	struct console_end *end = &port->end;
	size_t taken = size;

	pthread_mutex_lock(&end->lock);
	if (end->backend)
		taken = end->backend->ops->write(end->backend, bytes, size);
	pthread_mutex_unlock(&end->lock);
	return taken || !size ? (ssize_t)taken : -EAGAIN;
}

ssize_t console_end_receive(struct console_port *port, void *bytes, size_t size)
{
	struct console_end *end = &port->end;
	bool room_again, last;

	pthread_mutex_lock(&end->lock);
	size = MIN(size, end->input_count);
	memcpy(bytes, end->input, size);
	end->input_count -= size;
	memmove(end->input, end->input + size, end->input_count);
	room_again = size && end->refused;
	end->refused &= !room_again;
	last = size && !end->input_count && !end->connected;
	pthread_mutex_unlock(&end->lock);
	if (room_again)
		event_loop_post(port->console->virtio.loop, &end->input_ready);
	if (last)
		console_post_tell(port->console);
	return size ? (ssize_t)size : -EAGAIN;
}

bool console_end_is_connected(const struct console_port *port)
{
	return atomic_load(&port->end.connected);
}

/* Who has gone is there, for the driver, until all is read that was sent. */
bool console_end_is_open(struct console_port *port)
{
	struct console_end *end = &port->end;
	bool open;

	pthread_mutex_lock(&end->lock);
	open = end->connected || end->input_count;
	pthread_mutex_unlock(&end->lock);
	return open;
}

bool console_end_has_changed(struct console_port *port)
{
	unsigned connections = atomic_load(&port->end.connections);
	bool changed = connections != port->end.served;

	port->end.served = connections;
	return changed;
}

/* What a guest has closed it does not read: so the back end may forget what is for it. */
void console_end_update(struct console_port *port)
{
	if (atomic_exchange(&port->end.reads, port->state.open) != port->state.open)
		event_loop_post(port->console->virtio.loop, &port->end.input_ready);
}

static void run_writable(void *opaque)
{
	console_port_writable(opaque);
}

static void run_resized(void *opaque)
{
	struct console_port *port = opaque;

	if (port->state.ready && port->is_console)
		port->state.owed |= OWED_SIZE;
	console_tell(port->console);
}

/* --- on the I/O thread, machine lock held --- */

static void run_input_ready(void *opaque)
{
	struct console_port *port = opaque;
	struct char_backend *backend = port->end.backend;

	if (backend && backend->ops->input_ready)
		backend->ops->input_ready(backend);
}

static size_t take_input(void *opaque, const void *bytes, size_t size)
{
	struct console_port *port = opaque;
	struct console_end *end = &port->end;
	size_t taken;

	pthread_mutex_lock(&end->lock);
	taken = MIN(size, CONSOLE_INPUT - end->input_count);
	memcpy(end->input + end->input_count, bytes, taken);
	end->input_count += taken;
	end->refused |= taken < size;
	pthread_mutex_unlock(&end->lock);
	if (taken)
		worker_post(worker_of(port), &port->more_input);
	return taken;
}

static void output_ready(void *opaque)
{
	struct console_port *port = opaque;

	worker_post(worker_of(port), &port->end.writable);
}

static void opened(void *opaque, bool open)
{
	struct console_port *port = opaque;
	struct console_end *end = &port->end;

	if (!open)
		atomic_fetch_add(&end->connections, 1);
	atomic_store(&end->connected, open);
	if (!open && !atomic_load(&end->reads)) {
		pthread_mutex_lock(&end->lock);
		end->input_count = 0;
		pthread_mutex_unlock(&end->lock);
	}
	output_ready(port);
	console_post_tell(port->console);
}

static bool reads(void *opaque)
{
	return atomic_load(&((struct console_port *)opaque)->end.reads);
}

static void resized(void *opaque)
{
	struct console_port *port = opaque;
	struct virtio_device *device = &port->console->virtio;
	struct virtio_console_config config;
	uint32_t size = 0;

	if (port->end.backend->ops->window)
		size = port->end.backend->ops->window(port->end.backend);
	if (size == atomic_exchange(&port->end.size, size))
		return;
	worker_post(worker_of(port), &port->end.resized);
	if (port->index)
		return;
	memcpy(&config, device->config, sizeof(config));
	config.cols = (uint16_t)(size >> 16);
	config.rows = (uint16_t)size;
	memcpy(device->config, &config, sizeof(config));
	virtio_config_changed(device);
}

/* Once this returns nothing is written to the former one. It does not wait for the worker, which
 * may be in a system call for another port that does not return, at the machine's end, too. */
static void connect_port(struct console_port *port, struct char_backend *backend)
{
	struct console_end *end = &port->end;

	if (end->backend)
		end->backend->port = (struct char_port){0};
	pthread_mutex_lock(&end->lock);
	end->backend = backend;
	pthread_mutex_unlock(&end->lock);
	if (!backend)
		return;
	atomic_store(&end->connected, backend->open);
	backend->port = (struct char_port){.receive = take_input,
		.output_ready = output_ready,
		.resized = resized,
		.opened = opened,
		.reads = reads,
		.opaque = port};
	output_ready(port);
	resized(port);
	if (backend->ops->input_ready)
		backend->ops->input_ready(backend);
}

void virtio_console_connect(
	struct console_device *console, unsigned number, struct char_backend *backend)
{
	connect_port(&console->port[number], backend);
}

/* --- life --- */

void console_end_init(struct console_port *port)
{
	struct console_end *end = &port->end;

	end->connected = true;
	event_work_init(&end->input_ready, run_input_ready, port);
	worker_task_init(&end->writable, run_writable, port);
	worker_task_init(&end->resized, run_resized, port);
	pthread_mutex_init(&end->lock, NULL);
}

void console_end_destroy(struct console_port *port)
{
	if (port->end.backend)
		port->end.backend->port = (struct char_port){0};
	event_loop_unpost(port->console->virtio.loop, &port->end.input_ready);
	pthread_mutex_destroy(&port->end.lock);
}

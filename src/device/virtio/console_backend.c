/* A port's far end behind a struct char_backend: a file; or the user's terminal, which makes the
 * port the console of the guest's kernel (hvc0).
 *
 * The terminal's input comes from the I/O thread, and its window has a size, which the driver finds
 * in the device's configuration (VIRTIO_CONSOLE_F_SIZE) or, where there are several ports, is told
 * by a message. */
#include "device/virtio/console_internal.h"

#include "host/char_file.h"

#include <errno.h>
#include <string.h>

/* --- a file: nothing ever comes from it --- */

static ssize_t file_send(struct console_port *port, const void *bytes, size_t size)
{
	return (ssize_t)port->backend->ops->write(port->backend, bytes, size);
}

static bool always(const struct console_port *port)
{
	return true;
}

static void file_close(struct console_port *port)
{
	char_file_destroy(port->backend);
}

const struct console_end_ops console_file_end = {
	.send = file_send,
	.is_connected = always,
	.close = file_close,
};

int console_file_open(struct console_port *port, const char *path)
{
	port->end = &console_file_end;
	port->backend = char_file_create("--console-port file", path);
	return port->backend ? 0 : -EIO;
}

/* --- the terminal --- */

/* With nothing connected the bytes are lost, as with a serial line. */
static ssize_t terminal_send(struct console_port *port, const void *bytes, size_t size)
{
	struct char_backend *backend;
	size_t taken = size;

	pthread_mutex_lock(&port->terminal.lock);
	backend = port->backend;
	if (backend)
		taken = backend->ops->write(backend, bytes, size);
	pthread_mutex_unlock(&port->terminal.lock);
	return taken || !size ? (ssize_t)taken : -EAGAIN;
}

static ssize_t terminal_receive(struct console_port *port, void *bytes, size_t size)
{
	struct console_terminal *terminal = &port->terminal;
	bool room_again;

	pthread_mutex_lock(&terminal->lock);
	size = MIN(size, terminal->input_count);
	memcpy(bytes, terminal->input, size);
	terminal->input_count -= size;
	memmove(terminal->input, terminal->input + size, terminal->input_count);
	room_again = size && terminal->refused;
	terminal->refused &= !room_again;
	pthread_mutex_unlock(&terminal->lock);
	if (room_again)
		event_loop_post(port->console->virtio.loop, &terminal->input_ready);
	return size ? (ssize_t)size : -EAGAIN;
}

static void terminal_close(struct console_port *port)
{
	event_loop_unpost(port->console->virtio.loop, &port->terminal.input_ready);
	pthread_mutex_destroy(&port->terminal.lock);
}

const struct console_end_ops console_terminal_end = {
	.send = terminal_send,
	.receive = terminal_receive,
	.may_receive = always,
	.is_connected = always,
	.close = terminal_close,
};

static void run_writable(void *opaque)
{
	console_port_writable(opaque);
}

static void run_resized(void *opaque)
{
	struct console_port *port = opaque;

	if (port->state.ready)
		port->state.owed |= OWED_SIZE;
	console_tell(port->console);
}

/* On the I/O thread, machine lock held. */
static void run_input_ready(void *opaque)
{
	struct console_port *port = opaque;

	if (port->backend && port->backend->ops->input_ready)
		port->backend->ops->input_ready(port->backend);
}

void console_terminal_open(struct console_port *port)
{
	struct console_terminal *terminal = &port->terminal;

	port->end = &console_terminal_end;
	event_work_init(&terminal->input_ready, run_input_ready, port);
	worker_task_init(&terminal->writable, run_writable, port);
	worker_task_init(&terminal->resized, run_resized, port);
	pthread_mutex_init(&terminal->lock, NULL);
}

/* --- what the terminal calls, with the machine lock --- */

static size_t take_input(void *opaque, const void *bytes, size_t size)
{
	struct console_port *port = opaque;
	struct console_terminal *terminal = &port->terminal;
	size_t taken;

	pthread_mutex_lock(&terminal->lock);
	taken = MIN(size, TERMINAL_INPUT - terminal->input_count);
	memcpy(terminal->input + terminal->input_count, bytes, taken);
	terminal->input_count += taken;
	terminal->refused |= taken < size;
	pthread_mutex_unlock(&terminal->lock);
	if (taken)
		worker_post(port->console->virtio.worker, &port->more_input);
	return taken;
}

static void output_ready(void *opaque)
{
	struct console_port *port = opaque;

	worker_post(port->console->virtio.worker, &port->terminal.writable);
}

static void resized(void *opaque)
{
	struct console_port *port = opaque;
	struct virtio_device *device = &port->console->virtio;
	struct virtio_console_config config;
	uint32_t size = 0;

	if (port->backend->ops->window)
		size = port->backend->ops->window(port->backend);
	if (size == atomic_exchange(&port->terminal.size, size))
		return;
	memcpy(&config, device->config, sizeof(config));
	config.cols = (uint16_t)(size >> 16);
	config.rows = (uint16_t)size;
	memcpy(device->config, &config, sizeof(config));
	virtio_config_changed(device);
	worker_post(device->worker, &port->terminal.resized);
}

/* Once this returns nothing is written to the former one. It does not wait for the worker, which
 * may be in a system call for another port that does not return, at the machine's end, too. */
void virtio_console_connect(struct console_device *console, struct char_backend *backend)
{
	struct console_port *port = &console->port[0];

	if (port->backend)
		port->backend->port = (struct char_port){0};
	pthread_mutex_lock(&port->terminal.lock);
	port->backend = backend;
	pthread_mutex_unlock(&port->terminal.lock);
	if (!backend)
		return;
	backend->port = (struct char_port){.receive = take_input,
		.output_ready = output_ready,
		.resized = resized,
		.opaque = port};
	output_ready(port);
	resized(port);
}

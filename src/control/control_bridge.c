/* A monitor at a character device. The client is at one end of a pair of sockets, like any other;
 * here is the other end, joined to a front of the device. Each connection of the device is a client
 * of its own.
 *
 * On a terminal in raw mode, which a monitor shares with the guest, lines are put together here:
 * what is typed is echoed, and may be rubbed out. */
#include "control/control_internal.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/char_device.h"
#include "host/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE     4096
#define LINE_SIZE 1024

struct bridge {
	struct monitor *monitor;
	struct char_backend *front;
	bool typed; /* lines are put together here */
	int fd;     /* -1: there is no client */
	uint32_t events;
	char output[2 * PIECE]; /* for the device: output[0..count) */
	size_t count;
	char line[LINE_SIZE];
	size_t length;
};

static void on_event(void *opaque, uint32_t events);

static struct event_loop *loop_of(const struct bridge *bridge)
{
	return bridge->monitor->control->machine->loop;
}

static void watch(struct bridge *bridge, uint32_t events)
{
	if (events == bridge->events)
		return;
	if (bridge->events)
		event_loop_unwatch(loop_of(bridge), bridge->fd);
	bridge->events = events;
	if (events && event_loop_watch(loop_of(bridge), bridge->fd, events, on_event, bridge) < 0)
		bridge->events = 0;
}

static void close_session(struct bridge *bridge)
{
	if (bridge->fd < 0)
		return;
	watch(bridge, 0);
	close(bridge->fd);
	bridge->fd = -1;
	bridge->count = bridge->length = 0;
}

static void open_session(struct bridge *bridge)
{
	int pair[2];

	close_session(bridge);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		log_error("%s: no client can be served: %s", bridge->monitor->config.option,
			strerror(errno));
		return;
	}
	bridge->fd = pair[0];
	bridge->typed = terminal_is_raw() && bridge->monitor->config.human &&
			char_device_is_stdio(bridge->front);
	watch(bridge, EPOLLIN);
	/* Where it is refused, the reason is there to be read, and then the end. */
	control_take_client(bridge->monitor, pair[1], pair[1], true);
}

/* --- to the device --- */

static void write_out(struct bridge *bridge)
{
	size_t taken = bridge->front->ops->write(bridge->front, bridge->output, bridge->count);

	bridge->count -= taken;
	memmove(bridge->output, bridge->output + taken, bridge->count);
}

/* What a terminal in raw mode shows as a new line. */
static void add_output(struct bridge *bridge, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size && bridge->count < sizeof(bridge->output) - 1; i++) {
		if (bridge->typed && bytes[i] == '\n' && (!i || bytes[i - 1] != '\r'))
			bridge->output[bridge->count++] = '\r';
		bridge->output[bridge->count++] = bytes[i];
	}
}

static void on_event(void *opaque, uint32_t events)
{
	struct bridge *bridge = opaque;
	char bytes[PIECE];
	ssize_t got = 1;

	if ((events & (EPOLLIN | EPOLLHUP)) && !bridge->count) {
		got = recv(bridge->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (got > 0)
			add_output(bridge, bytes, (size_t)got);
	}
	if (bridge->count)
		write_out(bridge);
	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
		close_session(bridge);
		return;
	}
	/* Unwatched rather than watched for nothing: an end would be reported again and again. */
	watch(bridge, bridge->count ? 0 : EPOLLIN);
	if ((events & EPOLLOUT) && bridge->front->ops->input_ready)
		bridge->front->ops->input_ready(bridge->front);
}

static void output_ready(void *opaque)
{
	struct bridge *bridge = opaque;

	if (bridge->fd < 0 || !bridge->count)
		return;
	write_out(bridge);
	if (!bridge->count)
		watch(bridge, EPOLLIN);
}

/* --- from the device --- */

static size_t send_some(struct bridge *bridge, const void *bytes, size_t size)
{
	ssize_t sent = send(bridge->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0 && errno == EAGAIN)
		sent = 0;
	else if (sent < 0)
		return size; /* its end is noticed */
	if ((size_t)sent < size)
		watch(bridge, bridge->events | EPOLLOUT);
	return (size_t)sent;
}

static void echo(struct bridge *bridge, const char *text, size_t size)
{
	bridge->front->ops->write(bridge->front, text, size);
}

/* False: the client has no room for the line that is complete. */
static bool type_one(struct bridge *bridge, char byte)
{
	if (byte == '\r' || byte == '\n') {
		bridge->line[bridge->length] = '\n';
		if (send_some(bridge, bridge->line, bridge->length + 1) <= bridge->length)
			return false;
		bridge->length = 0;
		echo(bridge, "\r\n", 2);
	} else if (byte == '\b' || byte == 0x7f) {
		if (bridge->length)
			echo(bridge, "\b \b", 3);
		bridge->length -= bridge->length > 0;
	} else if (byte >= ' ' && bridge->length < LINE_SIZE - 1) {
		bridge->line[bridge->length++] = byte;
		echo(bridge, &byte, 1);
	}
	return true;
}

static size_t receive(void *opaque, const void *bytes, size_t size)
{
	struct bridge *bridge = opaque;
	const char *next = bytes;
	size_t done = 0;

	if (bridge->fd < 0 && bridge->front->open)
		open_session(bridge);
	if (bridge->fd < 0)
		return size;
	if (!bridge->typed)
		return send_some(bridge, bytes, size);
	while (done < size && type_one(bridge, next[done]))
		done++;
	return done;
}

static void opened(void *opaque, bool open)
{
	if (open)
		open_session(opaque);
	else
		close_session(opaque);
}

/* --- life --- */

int control_bridge_open(struct monitor *monitor)
{
	const struct control_config *config = &monitor->config;
	struct char_device *device =
		char_devices_find(monitor->control->machine->chardevs, config->label);
	struct bridge *bridge = calloc(1, sizeof(*bridge));
	int error = bridge ? -ENOENT : -ENOMEM;

	if (bridge && device)
		error = char_device_use(device, false, config->option, &bridge->front);
	if (error) {
		if (!bridge || !device)
			log_error("%s: there is no character device '%s'", config->option,
				config->label);
		free(bridge);
		return error;
	}
	bridge->monitor = monitor;
	bridge->fd = -1;
	monitor->bridge = bridge;
	bridge->front->port = (struct char_port){.receive = receive,
		.output_ready = output_ready,
		.opened = opened,
		.opaque = bridge};
	if (bridge->front->open)
		open_session(bridge);
	if (bridge->front->ops->input_ready)
		bridge->front->ops->input_ready(bridge->front);
	return 0;
}

void control_bridge_close(struct monitor *monitor)
{
	struct bridge *bridge = monitor->bridge;

	close_session(bridge);
	char_device_release(bridge->front);
	free(bridge);
	monitor->bridge = NULL;
}

/* A port's far end: a listening socket, and at most one client of it at a time. A client that has
 * gone while the guest had the port open is read to its end before the next one's turn comes. */
#include "device/virtio/console_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_NS NS_PER_SECOND

static struct worker *worker_of(const struct console_port *port)
{
	return port->console->virtio.worker;
}

static void watch_listener(struct console_port *port);

/* The file descriptor's events that there is a use for. The end of the connection always counts. */
static uint32_t wanted_events(const struct console_port *port)
{
	bool reads = port->state.open && !port->starved && !port->socket.input_ended;

	return (reads ? EPOLLIN : 0) | (port->blocked ? EPOLLOUT : 0);
}

static void disconnect(struct console_port *port)
{
	struct console_socket *socket = &port->socket;

	worker_unwatch(worker_of(port), socket->client);
	close(socket->client);
	socket->client = -1;
	port->blocked = socket->input_ended = socket->hung_up = false;
	port->drop_rest = port->state.sent > 0;
	watch_listener(port);
	worker_post(worker_of(port), &port->more_output);
	console_post_tell(port->console);
}

static void on_client(void *opaque, uint32_t events);

/* The port or the driver has changed its mind. What a client that has gone had sent is kept for a
 * program of the guest that has the port open. */
static void update(struct console_port *port)
{
	struct console_socket *socket = &port->socket;

	if (socket->client < 0)
		return;
	if (socket->hung_up && (socket->input_ended || !port->state.open)) {
		disconnect(port);
	} else if (!socket->hung_up && socket->events != wanted_events(port)) {
		socket->events = wanted_events(port);
		if (worker_watch(worker_of(port), socket->client, socket->events, on_client, port) <
			0)
			disconnect(port);
	}
}

static ssize_t socket_send(struct console_port *port, const void *bytes, size_t size)
{
	ssize_t sent = send(port->socket.client, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	return sent < 0 ? -errno : sent;
}

static ssize_t socket_receive(struct console_port *port, void *bytes, size_t size)
{
	ssize_t got = recv(port->socket.client, bytes, size, MSG_DONTWAIT);

	if (got > 0)
		return got;
	if (got == 0 || errno != EAGAIN)
		port->socket.input_ended = true;
	return -EAGAIN;
}

static bool socket_may_receive(const struct console_port *port)
{
	return port->socket.client >= 0 && !port->socket.input_ended;
}

static bool socket_is_connected(const struct console_port *port)
{
	return port->socket.client >= 0;
}

static void note_hangup(struct console_port *port)
{
	char byte;

	worker_unwatch(worker_of(port), port->socket.client);
	port->socket.hung_up = true;
	if (recv(port->socket.client, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
		port->socket.input_ended = true;
}

static void on_client(void *opaque, uint32_t events)
{
	struct console_port *port = opaque;

	if (events & (EPOLLHUP | EPOLLERR))
		note_hangup(port);
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		console_port_writable(port);
	console_port_input(port);
}

static void on_listener(void *opaque, uint32_t events)
{
	struct console_port *port = opaque;
	struct console_socket *socket = &port->socket;
	int fd = accept4(socket->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED) {
			worker_unwatch(worker_of(port), socket->listener.fd);
			worker_timer_arm(&socket->retry, RETRY_NS);
		}
		return;
	}
	socket->events = wanted_events(port);
	if (worker_watch(worker_of(port), fd, socket->events, on_client, port) < 0) {
		close(fd);
		return;
	}
	worker_unwatch(worker_of(port), socket->listener.fd);
	socket->client = fd;
	console_post_tell(port->console);
}

static void watch_listener(struct console_port *port)
{
	struct console_socket *socket = &port->socket;

	if (socket->listener.fd < 0)
		return;
	if (worker_watch(worker_of(port), socket->listener.fd, EPOLLIN, on_listener, port) < 0)
		worker_timer_arm(&socket->retry, RETRY_NS);
}

static void listen_again(void *opaque)
{
	watch_listener(opaque);
}

static void begin(struct console_port *port)
{
	struct console_socket *socket = &port->socket;

	worker_timer_init(&socket->retry, worker_of(port), listen_again, port);
	if (socket->client < 0) {
		watch_listener(port);
		return;
	}
	socket->events = wanted_events(port);
	if (worker_watch(worker_of(port), socket->client, socket->events, on_client, port) < 0)
		disconnect(port);
}

static void socket_close(struct console_port *port)
{
	if (port->socket.listener.fd >= 0)
		unix_socket_close(&port->socket.listener);
	if (port->socket.client >= 0)
		close(port->socket.client);
}

const struct console_end_ops console_socket_end = {
	.begin = begin,
	.send = socket_send,
	.receive = socket_receive,
	.may_receive = socket_may_receive,
	.is_connected = socket_is_connected,
	.update = update,
	.close = socket_close,
};

int console_socket_open(struct console_port *port, const char *path)
{
	port->end = &console_socket_end;
	port->socket.client = -1;
	return unix_socket_listen(&port->socket.listener, "--console-port path", path);
}

int console_socket_connect(struct console_port *port, const char *path)
{
	int fd = unix_socket_connect(path, 0);

	port->end = &console_socket_end;
	port->socket.listener.fd = -1;
	port->socket.client = fd;
	if (fd < 0)
		return fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return 0;
}

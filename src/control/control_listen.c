/* Where clients come from: sockets that listen. */
#include "control/control_internal.h"

#include "base/log.h"
#include "host/tcp_listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define RETRY_NS 200000000

static void on_connection(void *opaque, uint32_t events);

static const char *name_of(const struct monitor *monitor)
{
	return monitor->config.path ? monitor->config.path : "a socket";
}

static int listen_again(struct monitor *monitor)
{
	return event_loop_watch(
		monitor->control->machine->loop, monitor->fd, EPOLLIN, on_connection, monitor);
}

static void retry_later(struct monitor *monitor)
{
	static const struct itimerspec delay = {.it_value = {.tv_nsec = RETRY_NS}};

	timerfd_settime(monitor->retry_fd, 0, &delay, NULL);
}

static void on_retry(void *opaque, uint32_t events)
{
	struct monitor *monitor = opaque;
	uint64_t expirations;

	if (read(monitor->retry_fd, &expirations, sizeof(expirations)) > 0 && listen_again(monitor))
		retry_later(monitor);
}

/* The process or the host has no room for another connection now. It is left in the backlog, where
 * it would keep the socket ready and this thread busy. */
static void wait_for_room(struct monitor *monitor)
{
	if (!monitor->told)
		log_warning("%s %s: cannot take a connection now: %s", monitor->config.option,
			name_of(monitor), strerror(errno));
	monitor->told = true;
	event_loop_unwatch(monitor->control->machine->loop, monitor->fd);
	retry_later(monitor);
}

static void on_connection(void *opaque, uint32_t events)
{
	struct monitor *monitor = opaque;
	int fd = accept4(monitor->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			wait_for_room(monitor);
		return;
	}
	monitor->told = false;
	control_take_client(monitor, fd, fd, true);
}

/* HOST:PORT or [HOST]:PORT. */
static int split_address(const char *path, char *host, size_t size, const char **port)
{
	const char *colon = strrchr(path, ':');
	bool brackets = path[0] == '[';
	size_t length;

	if (!colon || !colon[1])
		return -EINVAL;
	length = (size_t)(colon - path);
	if (brackets && (length < 2 || path[length - 1] != ']'))
		return -EINVAL;
	length -= brackets ? 2 : 0;
	if (length >= size)
		return -EINVAL;
	snprintf(host, size, "%.*s", (int)length, path + brackets);
	*port = colon + 1;
	return 0;
}

/* No host is the loopback: who wants to be reached by others says so. */
static int listen_tcp(struct monitor *monitor)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	const char *path = monitor->config.path, *port;
	struct addrinfo *found;
	char host[256];

	if (split_address(path, host, sizeof(host), &port) < 0) {
		log_error("%s %s: expected HOST:PORT", monitor->config.option, path);
		return -EINVAL;
	}
	if (getaddrinfo(host[0] ? host : NULL, port, &hints, &found) != 0) {
		log_error("%s %s: there is no such address", monitor->config.option, path);
		return -EINVAL;
	}
	monitor->fd = tcp_listen(found);
	freeaddrinfo(found);
	if (monitor->fd >= 0)
		return 0;
	log_error("%s %s: cannot listen: %s", monitor->config.option, path, strerror(-monitor->fd));
	return monitor->fd;
}

static int open_listener(struct monitor *monitor)
{
	const struct control_config *config = &monitor->config;
	int error;

	switch (config->kind) {
	case CONTROL_UNIX:
		error = unix_socket_listen(&monitor->socket, config->option, config->path);
		if (!error)
			monitor->fd = monitor->socket.fd;
		return error;
	case CONTROL_TCP:
		return listen_tcp(monitor);
	case CONTROL_CHARDEV:
	case CONTROL_LISTENER:
	case CONTROL_STREAM:
		break;
	}
	monitor->fd = config->input;
	return 0;
}

int control_listen(struct monitor *monitor)
{
	struct event_loop *loop = monitor->control->machine->loop;
	int error = open_listener(monitor);

	if (error) {
		monitor->fd = -1;
		return error;
	}
	monitor->retry_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	error = monitor->retry_fd < 0
			? -errno
			: event_loop_watch(loop, monitor->retry_fd, EPOLLIN, on_retry, monitor);
	if (!error)
		error = listen_again(monitor);
	if (error)
		log_error("%s %s: cannot watch the socket: %s", monitor->config.option,
			name_of(monitor), strerror(-error));
	return error;
}

void control_listen_end(struct monitor *monitor)
{
	struct event_loop *loop = monitor->control->machine->loop;

	if (monitor->retry_fd >= 0) {
		event_loop_unwatch(loop, monitor->retry_fd);
		close(monitor->retry_fd);
	}
	if (monitor->fd < 0)
		return;
	event_loop_unwatch(loop, monitor->fd);
	if (monitor->config.kind == CONTROL_UNIX)
		unix_socket_close(&monitor->socket);
	else
		close(monitor->fd);
}

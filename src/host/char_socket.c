/* A socket: one that listens, for one client at a time; or one that is connected to a server, and
 * tries again after a while where `reconnect` says so. What others bring to a socket that listens
 * while it has a client waits in the kernel. */
#include "host/char_kinds.h"

#include "base/bits.h"
#include "base/log.h"
#include "host/char_stream.h"
#include "host/host_timer.h"
#include "host/tcp_listen.h"
#include "host/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_MS         200 /* after accept() had no room */
#define CONNECT_PATIENCE 20000

struct char_socket {
	struct char_stream stream; /* first */
	struct char_config config;
	const char *option;
	struct unix_socket file; /* of a server that made one; path NULL: it did not */
	int listener;            /* -1: none, or it is the client */
	int connecting;          /* a connection that is being made; -1: none */
	struct host_timer retry;
	struct sockaddr_storage server; /* of a client */
	socklen_t server_size;
};

static struct char_socket *socket_of(const struct char_backend *backend)
{
	return (struct char_socket *)backend;
}

static const char *name_of(const struct char_config *config)
{
	return *config->path ? config->path : *config->host ? config->host : "a socket";
}

static bool is_tcp(int fd)
{
	int domain = AF_UNIX;
	socklen_t size = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain != AF_UNIX;
}

/* Of a TCP connection that was closed nothing more is heard than that no more is sent. */
static void open_connection(struct char_socket *socket, int fd)
{
	const int on = 1;

	socket->stream.end_is_all = is_tcp(fd);
	if (socket->stream.end_is_all)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	char_stream_open(&socket->stream, fd, fd);
}

/* --- a server --- */

static void on_client(void *opaque, uint32_t events);

static void watch_listener(struct char_socket *socket)
{
	if (event_loop_watch(socket->stream.loop, socket->listener, EPOLLIN, on_client, socket) < 0)
		host_timer_arm(&socket->retry, RETRY_MS);
}

static void on_client(void *opaque, uint32_t events)
{
	struct char_socket *socket = opaque;
	int fd = accept4(socket->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
		return;
	event_loop_unwatch(socket->stream.loop, socket->listener);
	if (fd < 0)
		host_timer_arm(&socket->retry, RETRY_MS);
	else
		open_connection(socket, fd);
}

/* QEMU does, and so do those who wait for these words. */
static int wait_for_client(struct char_socket *socket)
{
	struct pollfd listener = {.fd = socket->listener, .events = POLLIN};
	char text[CHAR_MAX_PATH + 64];
	int fd;

	socket->stream.backend.ops->describe(&socket->stream.backend, text, sizeof(text));
	log_warning("%s: info: QEMU waiting for connection on: %s", socket->option, text);
	do {
		if (poll(&listener, 1, -1) < 0 && errno != EINTR)
			return -errno;
		fd = accept4(socket->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} while (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR));
	if (fd < 0)
		return -errno;
	open_connection(socket, fd);
	return 0;
}

/* --- a client --- */

static void on_connected(void *opaque, uint32_t events);

static void try_again_later(struct char_socket *socket)
{
	if (socket->config.reconnect)
		host_timer_arm(&socket->retry, socket->config.reconnect * 1000);
}

static void finish_connecting(struct char_socket *socket)
{
	int error = 0, fd = socket->connecting;
	socklen_t size = sizeof(error);

	event_loop_unwatch(socket->stream.loop, fd);
	socket->connecting = -1;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && !error) {
		open_connection(socket, fd);
		return;
	}
	close(fd);
	try_again_later(socket);
}

static void on_connected(void *opaque, uint32_t events)
{
	finish_connecting(opaque);
}

/* A descriptor of a connection, or of one that is being made: *now says which; or -errno. */
static int begin_connecting(const struct char_socket *to, bool *now)
{
	int fd = socket(to->server.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;

	if (fd < 0)
		return -errno;
	*now = connect(fd, (const struct sockaddr *)&to->server, to->server_size) == 0;
	if (*now || errno == EINPROGRESS)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

/* A connection that is being made, and not waited for. */
static int watch_connecting(struct char_socket *socket, int fd)
{
	int error = event_loop_watch(socket->stream.loop, fd, EPOLLOUT, on_connected, socket);

	if (error)
		close(fd);
	else
		socket->connecting = fd;
	return error;
}

static void connect_again(struct char_socket *socket)
{
	bool now;
	int fd = begin_connecting(socket, &now);

	if (fd >= 0 && now) {
		open_connection(socket, fd);
		return;
	}
	if (fd < 0 || watch_connecting(socket, fd) < 0)
		try_again_later(socket);
}

/* The first time a server that is not there is an error, where no other time comes. */
static int connect_first(struct char_socket *socket)
{
	struct pollfd poll_fd = {.events = POLLOUT};
	socklen_t size = sizeof(int);
	bool now = false;
	int error = 0;

	poll_fd.fd = begin_connecting(socket, &now);
	if (poll_fd.fd < 0)
		return poll_fd.fd;
	if (!now && socket->config.at_once)
		return watch_connecting(socket, poll_fd.fd);
	if (!now && poll(&poll_fd, 1, CONNECT_PATIENCE) <= 0)
		error = ETIMEDOUT;
	if (!error && getsockopt(poll_fd.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error)
		close(poll_fd.fd);
	else
		open_connection(socket, poll_fd.fd);
	return -error;
}

/* --- both --- */

static void on_retry(void *opaque)
{
	struct char_socket *socket = opaque;

	if (socket->listener >= 0)
		watch_listener(socket);
	else
		connect_again(socket);
}

static void on_gone(struct char_stream *stream)
{
	struct char_socket *socket = (struct char_socket *)stream;

	if (socket->listener >= 0)
		watch_listener(socket);
	else if (socket->server_size)
		try_again_later(socket);
}

static void socket_describe(const struct char_backend *backend, char *text, size_t size)
{
	const struct char_config *config = &socket_of(backend)->config;
	const char *gone = backend->open ? "" : "disconnected:",
		   *server = config->server ? ",server=on" : "";

	if (*config->port)
		snprintf(text, size, "%stcp:%s:%s%s", gone, config->host, config->port, server);
	else
		snprintf(text, size, "%sunix:%s%s", gone, config->path, server);
}

static void socket_destroy(struct char_backend *backend, int timeout_ms)
{
	struct char_socket *socket = socket_of(backend);
	struct event_loop *loop = socket->stream.loop;

	host_timer_end(&socket->retry);
	char_stream_end(&socket->stream);
	if (socket->connecting >= 0) {
		event_loop_unwatch(loop, socket->connecting);
		close(socket->connecting);
	}
	if (socket->listener >= 0)
		event_loop_unwatch(loop, socket->listener); /* or it was not watched */
	if (socket->file.path)
		unix_socket_close(&socket->file);
	else if (socket->listener >= 0)
		close(socket->listener);
	free(socket);
}

static const struct char_backend_ops socket_ops = {
	.write = char_stream_write,
	.input_ready = char_stream_input_ready,
	.wait_for_room = char_stream_wait_for_room,
	.describe = socket_describe,
	.destroy = socket_destroy,
};

/* --- opening: 0, or -errno; *said: with a message --- */

static int resolve(struct char_socket *socket, struct addrinfo **found, bool *said)
{
	const struct char_config *config = &socket->config;
	/* A name may have to be asked of a server, which may take its time. */
	const struct addrinfo hints = {.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = config->at_once ? AI_NUMERICHOST : 0};
	bool here = !*config->host || strcmp(config->host, "localhost") == 0;
	int error = getaddrinfo(here ? NULL : config->host, config->port, &hints, found);

	if (!error)
		return 0;
	log_error("%s %s:%s: there is no such address: %s", socket->option, config->host,
		config->port, gai_strerror(error));
	*said = true;
	return -EINVAL;
}

static int open_tcp(struct char_socket *socket, bool *said)
{
	struct addrinfo *found;
	int error = resolve(socket, &found, said);

	if (error)
		return error;
	if (socket->config.server) {
		socket->listener = tcp_listen(found);
		error = MIN(socket->listener, 0);
	} else {
		memcpy(&socket->server, found->ai_addr, found->ai_addrlen);
		socket->server_size = found->ai_addrlen;
	}
	freeaddrinfo(found);
	return error;
}

static int open_unix(struct char_socket *socket, bool *said)
{
	struct sockaddr_un *address = (struct sockaddr_un *)&socket->server;
	int error;

	if (socket->config.server) {
		*said = true;
		error = unix_socket_listen(&socket->file, socket->option, socket->config.path);
		if (error)
			socket->file.path = NULL;
		else
			socket->listener = socket->file.fd;
		return error;
	}
	if (strlen(socket->config.path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, socket->config.path);
	socket->server_size = sizeof(*address);
	return 0;
}

/* A socket that the caller has opened: it listens, or is connected. */
static int open_given(struct char_socket *socket, bool *said)
{
	int listens = 0, fd = socket->config.fd;
	socklen_t size = sizeof(listens);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0)
		return -errno;
	if (socket->config.server != (bool)listens) {
		log_error("%s: fd=%d: expected a socket that %s", socket->option, fd,
			socket->config.server ? "listens" : "is connected");
		*said = true;
		return -EINVAL;
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (listens)
		socket->listener = fd;
	else
		open_connection(socket, fd);
	return 0;
}

static int open_it(struct char_socket *socket, bool *said)
{
	const struct char_config *config = &socket->config;
	int error = config->fd >= 0 ? open_given(socket, said)
		    : *config->path ? open_unix(socket, said)
				    : open_tcp(socket, said);

	if (error)
		return error;
	if (config->server && config->wait)
		return wait_for_client(socket);
	if (config->server)
		watch_listener(socket);
	if (config->server || config->fd >= 0)
		return 0;
	error = connect_first(socket);
	if (!error || !config->reconnect)
		return error;
	try_again_later(socket);
	return 0;
}

struct char_backend *char_socket_open(
	const struct char_config *config, const char *option, struct event_loop *loop)
{
	struct char_socket *socket = calloc(1, sizeof(*socket));
	bool said = false;
	int error = -ENOMEM;

	if (socket) {
		socket->config = *config;
		socket->option = option;
		socket->listener = socket->connecting = -1;
		error = host_timer_init(&socket->retry, loop, on_retry, socket);
	}
	if (error) {
		log_error("%s %s: %s", option, name_of(config), strerror(-error));
		free(socket);
		return NULL;
	}
	char_stream_init(&socket->stream, &socket_ops, loop, on_gone);
	error = open_it(socket, &said);
	if (!error)
		return &socket->stream.backend;
	if (!said)
		log_error("%s %s: cannot %s: %s", option, name_of(config),
			config->server ? "listen" : "connect", strerror(-error));
	socket_destroy(&socket->stream.backend, 0);
	return NULL;
}

/* The socket, and the client that is connected. Bytes that have been read from it and cannot be
 * looked at yet, because the machine is still stopping or an answer is not read, wait in `input`;
 * while there are any no more are read. */
#include "debug/server.h"

#include "debug/session.h"

#include "base/log.h"
#include "host/unix_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define INPUT_SIZE 4096
/* An answer and its acknowledgement; besides one that is sent again, and a stop reply. */
#define OUTPUT_SIZE (3 * sizeof(((struct packet *)0)->data))

struct gdb_server {
	struct machine *machine;
	struct machine_listener listener;
	struct event_work paused; /* the machine is: tell the session, when all others know */
	struct unix_socket unix_socket;
	bool is_unix;
	int listen_fd, fd; /* fd -1: no client */
	uint32_t events;   /* that fd is watched for */
	bool broken;       /* nothing can be sent to it any more */
	char *(*monitor)(void *opaque, const char *line, unsigned cpu);
	void *monitor_opaque;
	uint8_t input[INPUT_SIZE];
	size_t input_size, input_taken;
	uint8_t *output; /* of OUTPUT_SIZE: what waits to be sent */
	size_t output_size;
	struct session session;
};

static void on_client(void *opaque, uint32_t events);
static void on_connection(void *opaque, uint32_t events);

static bool connected(const struct gdb_server *server)
{
	return server->fd >= 0;
}

static int listen_again(struct gdb_server *server)
{
	return event_loop_watch(
		server->machine->loop, server->listen_fd, EPOLLIN, on_connection, server);
}

/* --- output --- */

static size_t send_now(struct gdb_server *server, const void *bytes, size_t size)
{
	ssize_t sent = send(server->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent >= 0)
		return (size_t)sent;
	server->broken |= errno != EAGAIN && errno != EINTR;
	return 0;
}

static void on_send(void *opaque, const void *bytes, size_t size)
{
	struct gdb_server *server = opaque;
	size_t sent = 0;

	if (!connected(server) || server->broken)
		return;
	if (!server->output_size)
		sent = send_now(server, bytes, size);
	if (size - sent > OUTPUT_SIZE - server->output_size) {
		server->broken = true;
		return;
	}
	memcpy(server->output + server->output_size, (const uint8_t *)bytes + sent, size - sent);
	server->output_size += size - sent;
}

static void send_output(struct gdb_server *server)
{
	size_t sent = send_now(server, server->output, server->output_size);

	server->output_size -= sent;
	memmove(server->output, server->output + sent, server->output_size);
}

/* --- input --- */

/* Let the session look at what has come, as long as it can. */
static void take_input(struct gdb_server *server)
{
	while (server->input_taken < server->input_size && !server->output_size &&
		!server->broken) {
		uint8_t byte = server->input[server->input_taken];

		if (session_ready(&server->session)) {
			server->input_taken++;
			session_take(&server->session, byte);
		} else if (byte == '+') {
			server->input_taken++; /* of an answer: it wants nothing */
		} else {
			session_wake(&server->session);
			return;
		}
	}
}

/* False: there are no more bytes, nor will there be. */
static bool receive(struct gdb_server *server)
{
	ssize_t got = recv(server->fd, server->input, sizeof(server->input), MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got <= 0)
		return false;
	server->input_size = (size_t)got;
	server->input_taken = 0;
	return true;
}

static bool has_input(const struct gdb_server *server)
{
	return server->input_taken < server->input_size;
}

/* A client that hangs up is noticed also while its bytes wait. */
static void watch(struct gdb_server *server)
{
	uint32_t events = server->output_size ? EPOLLOUT : has_input(server) ? EPOLLRDHUP : EPOLLIN;

	if (events == server->events)
		return;
	event_loop_unwatch(server->machine->loop, server->fd);
	server->events = events;
	if (event_loop_watch(server->machine->loop, server->fd, events, on_client, server) < 0)
		server->broken = true;
}

/* --- coming and going --- */

/* Another may come now. */
static void finish_closing(struct gdb_server *server)
{
	session_free(&server->session);
	if (listen_again(server) < 0)
		log_warning("--gdb: cannot wait for another client");
}

static void close_client(struct gdb_server *server)
{
	event_loop_unwatch(server->machine->loop, server->fd);
	close(server->fd);
	server->fd = -1;
	if (session_close(&server->session))
		finish_closing(server);
}

/* After anything has happened. */
static void go_on(struct gdb_server *server)
{
	take_input(server);
	if (!server->broken)
		watch(server);
	if (server->broken)
		close_client(server);
}

static void on_client(void *opaque, uint32_t events)
{
	struct gdb_server *server = opaque;

	if (events & (EPOLLHUP | EPOLLERR))
		server->broken = true;
	else if ((events & EPOLLRDHUP) && has_input(server))
		server->broken = true;
	if (!server->broken && server->output_size)
		send_output(server);
	if (!server->broken && !server->output_size && !has_input(server) && !receive(server))
		server->broken = true;
	go_on(server);
}

static void on_connection(void *opaque, uint32_t events)
{
	struct gdb_server *server = opaque;
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), one = 1;

	if (fd < 0)
		return;
	if (!server->is_unix)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	event_loop_unwatch(server->machine->loop, server->listen_fd);
	server->fd = fd;
	server->events = 0;
	server->broken = false;
	server->input_size = server->input_taken = server->output_size = 0;
	server->session = (struct session){.machine = server->machine,
		.send = on_send,
		.monitor = server->monitor,
		.opaque = server,
		.monitor_opaque = server->monitor_opaque};
	session_open(&server->session);
	go_on(server);
}

/* --- the machine --- */

static void on_paused(void *opaque)
{
	struct gdb_server *server = opaque;
	bool closing = server->session.closing;

	/* It may run again already. */
	if (server->machine->phase != MACHINE_PHASE_PAUSED || (!connected(server) && !closing))
		return;
	session_paused(&server->session);
	if (connected(server))
		go_on(server);
	else
		finish_closing(server);
}

/* What a session does in answer may resume the machine, which other listeners should not hear of
 * before they have heard of the pause. */
static void on_event(void *opaque, const struct machine_event *event)
{
	struct gdb_server *server = opaque;

	if (event->kind == MACHINE_PAUSED)
		event_loop_post(server->machine->loop, &server->paused);
	else if (event->kind == MACHINE_ENDED && connected(server))
		session_ended(&server->session, event->cause);
}

/* --- creating --- */

static int listen_tcp(struct gdb_server *server, const struct gdb_config *config)
{
	int one = 1;

	server->listen_fd =
		socket(config->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->listen_fd < 0)
		return -errno;
	setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(server->listen_fd, (const struct sockaddr *)&config->address,
		    config->address_size) < 0 ||
		listen(server->listen_fd, 1) < 0)
		return -errno;
	return 0;
}

static int start_listening(
	struct gdb_server *server, const struct gdb_config *config, const char *option)
{
	int error;

	server->is_unix = *config->path;
	if (server->is_unix) {
		error = unix_socket_listen(&server->unix_socket, option, config->path);
		server->listen_fd = error ? -1 : server->unix_socket.fd;
		return error;
	}
	error = listen_tcp(server, config);
	if (error)
		log_error("%s %s: cannot listen there: %s", option, config->text, strerror(-error));
	return error;
}

struct gdb_server *gdb_server_create(
	struct machine *machine, const struct gdb_config *config, const char *option)
{
	struct gdb_server *server = calloc(1, sizeof(*server));

	if (!server || !(server->output = malloc(OUTPUT_SIZE))) {
		log_error("%s %s: out of memory", option, config->text);
		free(server);
		return NULL;
	}
	server->machine = machine;
	server->fd = server->listen_fd = -1;
	server->listener = (struct machine_listener){.notify = on_event, .opaque = server};
	event_work_init(&server->paused, on_paused, server);
	machine_listen(machine, &server->listener);
	if (start_listening(server, config, option) < 0 || listen_again(server) < 0) {
		gdb_server_destroy(server);
		return NULL;
	}
	if (config->wait)
		machine_start_paused(machine);
	return server;
}

void gdb_server_set_monitor(struct gdb_server *server,
	char *(*monitor)(void *opaque, const char *line, unsigned cpu), void *opaque)
{
	server->monitor = monitor;
	server->monitor_opaque = opaque;
}

void gdb_server_destroy(struct gdb_server *server)
{
	struct event_loop *loop = server->machine->loop;

	machine_unlisten(server->machine, &server->listener);
	event_loop_unpost(loop, &server->paused);
	if (connected(server)) {
		event_loop_unwatch(loop, server->fd);
		close(server->fd);
	}
	if (server->listen_fd >= 0)
		event_loop_unwatch(loop, server->listen_fd);
	if (server->is_unix && server->listen_fd >= 0)
		unix_socket_close(&server->unix_socket);
	else if (server->listen_fd >= 0)
		close(server->listen_fd);
	session_free(&server->session);
	free(server->output);
	free(server);
}

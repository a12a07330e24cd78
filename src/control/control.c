/* The socket and its clients. A client's bytes are looked at (MSG_PEEK) and taken from the socket
 * only up to the end of one text: what follows stays in the kernel's buffer, and there is no other
 * input queue. So a client is kept waiting just by not watching its socket. */
#include "control/control.h"

#include "base/log.h"
#include "control/framer.h"
#include "control/key_sender.h"
#include "control/qmp.h"
#include "host/unix_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_SIZE ((size_t)256 * KIB)
#define PIECE_SIZE 4096
#define RETRY_NS   200000000

struct client {
	struct control *control; /* NULL: this place is free */
	int fd;
	bool cut_off; /* its connection is shut down; on_client() will hear of it */
	bool deaf;    /* it reads no more, or has gone: what it has sent is done all the same */
	uint32_t events;
	struct framer framer;
	struct qmp_session session;
	char *queue; /* QUEUE_SIZE bytes, of which queue[0..queued) wait to be sent; NULL: none */
	size_t queued;
};

struct control {
	struct machine *machine;
	struct machine_listener listener;
	struct unix_socket socket;
	int retry_fd; /* a timer: when to listen again after accept() failed */
	bool told;    /* that it failed */
	struct client clients[CONTROL_CLIENTS];
	struct key_sender keys;
	unsigned buttons; /* of the mouse, that clients hold down */
};

static void on_client(void *opaque, uint32_t events);

/* Watch for input of a client whose queue is empty; else for room to send what is queued. */
static void watch(struct client *client)
{
	struct event_loop *loop = client->control->machine->loop;
	uint32_t events = client->queued ? EPOLLOUT : client->session.waiting ? 0 : EPOLLIN;

	if (events == client->events)
		return;
	event_loop_unwatch(loop, client->fd);
	client->events = events;
	if (event_loop_watch(loop, client->fd, events, on_client, client) < 0)
		client->cut_off = true;
}

/* End the connection. What has been sent still arrives; this side closes in on_client(), since the
 * caller may be amid the list of clients. */
static void cut_off(struct client *client)
{
	client->cut_off = true;
	client->queued = 0;
	shutdown(client->fd, SHUT_RDWR);
}

/* The client cannot be told anything any more. */
static void deafen(struct client *client)
{
	client->deaf = true;
	free(client->queue);
	client->queue = NULL;
	client->queued = 0;
	qmp_wait_no_more(&client->session);
}

static void close_client(struct client *client)
{
	event_loop_unwatch(client->control->machine->loop, client->fd);
	close(client->fd);
	qmp_wait_no_more(&client->session);
	free(client->queue);
	client->queue = NULL;
	client->control = NULL;
}

/* --- output --- */

static size_t send_now(struct client *client, const char *text, size_t size)
{
	ssize_t sent = send(client->fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent >= 0)
		return (size_t)sent;
	if (errno != EAGAIN && errno != EINTR)
		deafen(client);
	return 0;
}

static void client_send(void *opaque, const char *text, size_t size)
{
	struct client *client = opaque;

	if (!client->cut_off && !client->deaf && !client->queued) {
		size_t sent = send_now(client, text, size);

		text += sent;
		size -= sent;
	}
	if (client->cut_off || client->deaf || !size)
		return;
	if (!client->queue)
		client->queue = malloc(QUEUE_SIZE);
	if (!client->queue || size > QUEUE_SIZE - client->queued) {
		cut_off(client);
		return;
	}
	memcpy(client->queue + client->queued, text, size);
	client->queued += size;
}

static void send_queue(struct client *client)
{
	size_t sent = send_now(client, client->queue, client->queued);

	if (client->deaf)
		return;
	client->queued -= sent;
	memmove(client->queue, client->queue + sent, client->queued);
	if (client->queued)
		return;
	free(client->queue);
	client->queue = NULL;
}

/* --- input --- */

/* Take bytes up to the end of a text from the socket. False: there are none, and none will come. */
static bool receive(struct client *client)
{
	char piece[PIECE_SIZE];
	ssize_t got = recv(client->fd, piece, sizeof(piece), MSG_PEEK | MSG_DONTWAIT);
	enum framing framing;
	size_t taken;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got <= 0)
		return false;
	framing = framer_take(&client->framer, piece, (size_t)got, &taken);
	if (recv(client->fd, piece, taken, MSG_DONTWAIT) != (ssize_t)taken)
		return false;
	switch (framing) {
	case FRAMING_MORE:
		break;
	case FRAMING_COMPLETE:
		qmp_take(&client->session, client->framer.text, client->framer.size);
		framer_reset(&client->framer);
		break;
	case FRAMING_TOO_LONG:
		qmp_refuse(&client->session, "JSON parse error, the text is too long");
		cut_off(client);
		break;
	case FRAMING_TOO_DEEP:
		qmp_refuse(&client->session, "JSON parse error, the text is nested too deep");
		cut_off(client);
		break;
	}
	return true;
}

static void on_client(void *opaque, uint32_t events)
{
	struct client *client = opaque;

	if (client->deaf || (events & (EPOLLHUP | EPOLLERR)))
		deafen(client);
	if (!client->cut_off && (events & EPOLLOUT) && client->queued)
		send_queue(client);
	if (!client->cut_off && (events & ~(uint32_t)EPOLLOUT) && !client->queued &&
		!client->session.waiting && !receive(client))
		cut_off(client);
	if (client->cut_off)
		close_client(client);
	else
		watch(client);
}

static void on_event(void *opaque, const struct machine_event *event)
{
	struct control *control = opaque;

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *client = &control->clients[i];

		if (!client->control || client->cut_off)
			continue;
		qmp_tell(&client->session, event);
		if (!client->cut_off)
			watch(client);
	}
}

/* --- connections --- */

static struct client *free_place(struct control *control)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (!control->clients[i].control)
			return &control->clients[i];
	return NULL;
}

static void refuse_now(void *opaque, const char *text, size_t size)
{
	if (send(*(int *)opaque, text, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* it will see that the connection is closed */
}

static void refuse(int fd)
{
	struct qmp_session session = {.send = refuse_now, .opaque = &fd};

	qmp_refuse(&session, "Too many clients are connected");
	close(fd);
}

static void on_connection(void *opaque, uint32_t events);

static int listen_again(struct control *control)
{
	return event_loop_watch(
		control->machine->loop, control->socket.fd, EPOLLIN, on_connection, control);
}

static void retry_later(struct control *control)
{
	static const struct itimerspec delay = {.it_value = {.tv_nsec = RETRY_NS}};

	timerfd_settime(control->retry_fd, 0, &delay, NULL);
}

static void on_retry(void *opaque, uint32_t events)
{
	struct control *control = opaque;
	uint64_t expirations;

	if (read(control->retry_fd, &expirations, sizeof(expirations)) > 0 && listen_again(control))
		retry_later(control);
}

/* The process or the host has no room for another connection now. It is left in the backlog, where
 * it would keep the socket ready and this thread busy. */
static void wait_for_room(struct control *control)
{
	if (!control->told)
		log_warning("--control %s: cannot take a connection now: %s", control->socket.path,
			strerror(errno));
	control->told = true;
	event_loop_unwatch(control->machine->loop, control->socket.fd);
	retry_later(control);
}

static void on_connection(void *opaque, uint32_t events)
{
	struct control *control = opaque;
	struct client *client = free_place(control);
	int fd = accept4(control->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			wait_for_room(control);
		return;
	}
	control->told = false;
	if (!client) {
		refuse(fd);
		return;
	}
	*client = (struct client){.control = control, .fd = fd, .events = EPOLLIN};
	client->session = (struct qmp_session){.machine = control->machine,
		.keys = &control->keys,
		.buttons = &control->buttons,
		.send = client_send,
		.opaque = client};
	if (event_loop_watch(control->machine->loop, fd, EPOLLIN, on_client, client) < 0) {
		close_client(client);
		return;
	}
	qmp_open(&client->session);
}

struct control *control_create(struct machine *machine, const char *path)
{
	struct control *control = calloc(1, sizeof(*control));
	int error;

	if (!control) {
		log_error("--control %s: out of memory", path);
		return NULL;
	}
	control->machine = machine;
	key_sender_init(&control->keys, &machine->input, machine->loop, &machine->clock);
	if (unix_socket_listen(&control->socket, "--control", path) < 0) {
		free(control);
		return NULL;
	}
	control->retry_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	error = control->retry_fd < 0 ? -errno
				      : event_loop_watch(machine->loop, control->retry_fd, EPOLLIN,
						on_retry, control);
	if (!error)
		error = listen_again(control);
	if (error) {
		log_error("--control %s: cannot watch the socket: %s", path, strerror(-error));
		control_destroy(control);
		return NULL;
	}
	control->listener = (struct machine_listener){.notify = on_event, .opaque = control};
	machine_listen(machine, &control->listener);
	return control;
}

void control_destroy(struct control *control)
{
	machine_unlisten(control->machine, &control->listener);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (control->clients[i].control)
			close_client(&control->clients[i]);
	event_loop_unwatch(control->machine->loop, control->socket.fd);
	event_loop_unwatch(control->machine->loop, control->retry_fd);
	close(control->retry_fd);
	key_sender_stop(&control->keys);
	unix_socket_close(&control->socket);
	free(control);
}

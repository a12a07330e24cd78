#include "control/client.h"

#include "base/log.h"
#include "control/framer.h"
#include "host/unix_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_S 20

struct control_connection {
	const char *path;
	int fd;
	struct framer framer;
	char bytes[4096]; /* received: bytes[next..count) are not looked at yet */
	size_t next, count;
};

static int complain(const struct control_connection *connection, const char *what)
{
	log_error("%s: %s", connection->path, what);
	return -EPROTO;
}

/* More bytes. 0, -ENOTCONN where the other side has closed, or another -errno, without a message.
 * */
static int receive(struct control_connection *connection)
{
	ssize_t got;

	do
		got = recv(connection->fd, connection->bytes, sizeof(connection->bytes), 0);
	while (got < 0 && errno == EINTR);
	if (got < 0 && errno != ECONNRESET)
		return -errno;
	if (got <= 0)
		return -ENOTCONN;
	connection->next = 0;
	connection->count = (size_t)got;
	return 0;
}

/* The next object that the machine says; NULL with a message. */
static json_t *next_object(struct control_connection *connection)
{
	enum framing framing = FRAMING_MORE;
	json_t *object;
	size_t taken;

	while (framing == FRAMING_MORE) {
		if (connection->next == connection->count) {
			int error = receive(connection);

			if (error) {
				complain(connection,
					error == -ENOTCONN ? "the machine has closed the connection"
					: error == -EAGAIN ? "the machine does not answer"
							   : strerror(-error));
				return NULL;
			}
		}
		framing = framer_take(&connection->framer, connection->bytes + connection->next,
			connection->count - connection->next, &taken);
		connection->next += taken;
	}
	object = framing == FRAMING_COMPLETE
			 ? json_loadb(connection->framer.text, connection->framer.size, 0, NULL)
			 : NULL;
	framer_reset(&connection->framer);
	if (!json_is_object(object)) {
		json_decref(object);
		complain(connection, "this is no control socket: its answer is no JSON object");
		return NULL;
	}
	return object;
}

static int send_request(
	struct control_connection *connection, const char *command, json_t *arguments)
{
	json_t *request = json_pack("{s:s, s:o*}", "execute", command, "arguments", arguments);
	char *text = request ? json_dumps(request, JSON_ENSURE_ASCII) : NULL;
	int error = -ENOMEM;

	json_decref(request);
	if (text) {
		struct iovec parts[] = {{text, strlen(text)}, {(char[]){"\r\n"}, 2}};
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
		ssize_t size = (ssize_t)(parts[0].iov_len + parts[1].iov_len);

		error = sendmsg(connection->fd, &message, MSG_NOSIGNAL) == size ? 0 : -EPROTO;
	}
	free(text);
	return error ? complain(connection, "the machine does not listen") : 0;
}

int control_execute(struct control_connection *connection, const char *command, json_t *arguments,
	json_t **result)
{
	*result = NULL;
	if (send_request(connection, command, arguments) < 0)
		return -EPROTO;
	for (;;) {
		json_t *object = next_object(connection), *error;

		if (!object)
			return -EPROTO;
		*result = json_incref(json_object_get(object, "return"));
		error = json_object_get(json_object_get(object, "error"), "desc");
		if (error)
			complain(connection, json_is_string(error) ? json_string_value(error)
								   : "error without a text");
		if (error || *result) {
			json_decref(object);
			return *result ? 0 : -EPROTO;
		}
		json_decref(object); /* an event */
	}
}

static int greet(struct control_connection *connection)
{
	json_t *greeting = next_object(connection), *nothing = NULL, *error;
	int status = -EPROTO;

	if (!greeting)
		return status;
	error = json_object_get(json_object_get(greeting, "error"), "desc");
	if (json_is_object(json_object_get(greeting, "QMP")))
		status = control_execute(connection, "qmp_capabilities", NULL, &nothing);
	else
		complain(connection, json_is_string(error)
					     ? json_string_value(error)
					     : "this is no control socket: it does not greet");
	json_decref(greeting);
	json_decref(nothing);
	return status;
}

int control_wait_until_closed(struct control_connection *connection)
{
	int error;

	do
		error = receive(connection);
	while (!error);
	return error == -ENOTCONN ? 0 : complain(connection, "the machine has not ended yet");
}

struct control_connection *control_connect(const char *path)
{
	struct control_connection *connection = calloc(1, sizeof(*connection));

	if (!connection) {
		log_error("%s: out of memory", path);
		return NULL;
	}
	connection->path = path;
	connection->fd = unix_socket_connect(path, TIMEOUT_S);
	if (connection->fd >= 0 && greet(connection) == 0)
		return connection;
	control_disconnect(connection);
	return NULL;
}

void control_disconnect(struct control_connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	free(connection);
}

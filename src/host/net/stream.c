/* A network with one other machine at the end of a stream socket, as QEMU's "-netdev socket" and
 * "-netdev stream" have it: each frame follows its length (4 bytes, big-endian).
 *
 *	listening	connect, or accept, one peer at a time
 *	connected	until it hangs up or sends what is no frame; then the same again
 *
 * The other end is a stranger. A length is checked before anything is kept; frames are read as the
 * card takes them, so a flood waits in the socket. One that reads nothing costs a second of
 * patience, after which frames for it are dropped until it reads again. */
#include "base/bits.h"
#include "base/log.h"
#include "host/net/link.h"
#include "host/net/offload.h"
#include "host/net/open.h"
#include "host/net/socket_address.h"
#include "host/unix_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LENGTH       4
#define ROOM         (NET_HEADER - LENGTH) /* before the first length, see frame_of() */
#define BUFFER       (256 * KIB)
#define PATIENCE     NS_PER_SECOND
#define DROPS_A_TURN 64

struct buffer {
	size_t from, end; /* what is in it */
	uint8_t bytes[BUFFER];
};

struct net_stream {
	struct net_backend net;
	struct worker *worker;
	struct net_port port;
	struct socket_address address;
	struct unix_socket name; /* of a listener at a path; fd -1: there is none */
	int listener;            /* -1: none */
	int socket;              /* the peer's; -1: none */
	bool connecting;         /* the peer has not taken the connection yet */
	uint64_t reconnect_ns;   /* 0: a lost connection is not made again */
	struct worker_timer again, patience;
	struct worker_task announce;
	uint32_t watched; /* events of the peer's socket */
	bool wanted;      /* receive_ready() */
	bool refused;     /* send() has; send_ready() is owed */
	bool dropping;    /* the peer reads nothing, and patience is at its end */
	bool told;        /* that a peer was lost */
	struct buffer in, out;
};

static struct net_stream *stream_of(struct net_backend *net)
{
	return container_of(net, struct net_stream, net);
}

static void socket_ready(void *opaque, uint32_t events);
static void listener_ready(void *opaque, uint32_t events);

static int watch(struct net_stream *stream)
{
	bool out = stream->connecting || stream->out.from < stream->out.end;
	uint32_t events = (stream->wanted ? EPOLLIN : 0) | (out ? EPOLLOUT : 0);

	if (events == stream->watched)
		return 0;
	stream->watched = events;
	return worker_watch(stream->worker, stream->socket, events, socket_ready, stream);
}

/* The card is told from the worker's loop, since it may be in the midst of sending. */
static void owe_room(struct net_stream *stream)
{
	worker_timer_cancel(&stream->patience);
	if (stream->refused)
		worker_post(stream->worker, &stream->announce);
}

static void announce(void *opaque)
{
	struct net_stream *stream = opaque;

	if (stream->refused) {
		stream->refused = false;
		stream->port.send_ready(stream->port.opaque, 0);
	}
	if (stream->wanted)
		stream->port.receive_ready(stream->port.opaque, 0);
}

/* --- peers --- */

static void lose_peer(struct net_stream *stream, const char *why)
{
	log_message(stream->told ? LOG_INFO : LOG_WARNING, "--net stream: the other end %s", why);
	stream->told = true;
	worker_unwatch(stream->worker, stream->socket);
	close(stream->socket);
	stream->socket = -1;
	stream->connecting = stream->dropping = false;
	stream->in.from = stream->in.end = ROOM;
	stream->out.from = stream->out.end = 0;
	owe_room(stream);
	if (stream->listener >= 0)
		worker_watch(stream->worker, stream->listener, EPOLLIN, listener_ready, stream);
	else if (stream->reconnect_ns)
		worker_timer_arm(&stream->again, stream->reconnect_ns);
}

static int take_peer(struct net_stream *stream, int socket, bool connecting)
{
	const int on = 1;

	/* Harmless where it is no TCP. */
	setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	stream->socket = socket;
	stream->connecting = connecting;
	stream->watched = UINT32_MAX;
	return watch(stream);
}

static void listener_ready(void *opaque, uint32_t events)
{
	struct net_stream *stream = opaque;
	int socket = accept4(stream->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (socket < 0)
		return;
	/* The next one waits in the listener's queue. */
	worker_unwatch(stream->worker, stream->listener);
	if (take_peer(stream, socket, false) < 0)
		lose_peer(stream, "cannot be watched");
}

static int connect_to_peer(struct net_stream *stream)
{
	int socket = socket_address_open(&stream->address, SOCK_STREAM), error;

	if (socket < 0)
		return socket;
	if (connect(socket, &stream->address.any, stream->address.size) < 0 &&
		errno != EINPROGRESS) {
		error = -errno;
		close(socket);
		return error;
	}
	return take_peer(stream, socket, true);
}

static void connect_again(void *opaque)
{
	struct net_stream *stream = opaque;

	if (stream->socket < 0 && connect_to_peer(stream) < 0)
		worker_timer_arm(&stream->again, stream->reconnect_ns);
}

static void finish_connecting(struct net_stream *stream)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt(stream->socket, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error) {
		lose_peer(stream, error ? strerror(error) : "is gone");
		return;
	}
	stream->connecting = false;
	watch(stream);
}

/* --- sending --- */

/* Send what waits. The peer may be lost after it. */
static void send_waiting(struct net_stream *stream)
{
	struct buffer *out = &stream->out;

	while (out->from < out->end) {
		ssize_t sent = send(stream->socket, out->bytes + out->from, out->end - out->from,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN && errno != EINTR) {
			lose_peer(stream, strerror(errno));
			return;
		}
		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent > 0) {
			out->from += (size_t)sent;
			stream->dropping = false;
		}
	}
	if (out->from == out->end)
		out->from = out->end = 0;
	watch(stream);
}

static void patience_ended(void *opaque)
{
	struct net_stream *stream = opaque;

	stream->dropping = true;
	owe_room(stream);
}

static int refuse(struct net_stream *stream)
{
	if (stream->dropping)
		return 0;
	if (!stream->refused) {
		stream->refused = true;
		worker_timer_arm(&stream->patience, PATIENCE);
	}
	return -EAGAIN;
}

static int stream_send(struct net_backend *net, unsigned queue, const struct iovec *pieces,
	unsigned count, size_t bytes)
{
	struct net_stream *stream = stream_of(net);
	struct buffer *out = &stream->out;
	size_t size = bytes - NET_HEADER, skip = NET_HEADER;
	uint32_t length = htonl((uint32_t)size);

	if (stream->socket < 0 || stream->connecting || bytes < NET_HEADER + NET_ETHERNET ||
		bytes > NET_MAX_FRAME)
		return 0;
	if (BUFFER - out->end < LENGTH + size) {
		memmove(out->bytes, out->bytes + out->from, out->end - out->from);
		out->end -= out->from;
		out->from = 0;
	}
	if (BUFFER - out->end < LENGTH + size)
		return refuse(stream);
	memcpy(out->bytes + out->end, &length, LENGTH);
	out->end += LENGTH;
	for (unsigned i = 0; i < count; i++) {
		size_t less = MIN(skip, pieces[i].iov_len), part = pieces[i].iov_len - less;

		memcpy(out->bytes + out->end, (const uint8_t *)pieces[i].iov_base + less, part);
		out->end += part;
		skip -= less;
	}
	return 0;
}

static void stream_flush(struct net_backend *net)
{
	struct net_stream *stream = stream_of(net);

	if (stream->socket >= 0 && !stream->connecting && stream->out.end)
		send_waiting(stream);
}

/* --- receiving --- */

/* Read more of what the peer has sent: 0; -EAGAIN: there is nothing, or there is no peer now. */
static int fill(struct net_stream *stream)
{
	struct buffer *in = &stream->in;
	ssize_t got;

	if (stream->socket < 0 || stream->connecting)
		return -EAGAIN;
	memmove(in->bytes + ROOM, in->bytes + in->from, in->end - in->from);
	in->end -= in->from - ROOM;
	in->from = ROOM;
	got = recv(stream->socket, in->bytes + in->end, BUFFER - in->end, MSG_DONTWAIT);
	if (got > 0) {
		in->end += (size_t)got;
		return 0;
	}
	if (!got)
		lose_peer(stream, "has hung up");
	else if (errno != EAGAIN && errno != EINTR)
		lose_peer(stream, strerror(errno));
	return -EAGAIN;
}

/* The next frame in the buffer: its size; -EAGAIN: it is not all there; -EPROTO. */
static ssize_t next_frame(const struct buffer *in)
{
	uint32_t length;

	if (in->end - in->from < LENGTH)
		return -EAGAIN;
	memcpy(&length, in->bytes + in->from, LENGTH);
	length = ntohl(length);
	if (!length || length > NET_MAX_FRAME - NET_HEADER)
		return -EPROTO;
	return in->end - in->from - LENGTH < length ? -EAGAIN : (ssize_t)length;
}

/* A frame of `size` bytes, with a header in front of it: over its length and what came before that,
 * which the card has already. */
static const uint8_t *frame_of(struct buffer *in, size_t size)
{
	static const struct virtio_net_hdr_v1 plain = {.num_buffers = 1};
	uint8_t *start = in->bytes + in->from - ROOM;

	memcpy(start, &plain, NET_HEADER);
	in->from += LENGTH + size;
	return start;
}

/* After some that are dropped the worker's others get their turn. */
static ssize_t stream_receive(
	struct net_backend *net, unsigned queue, const struct iovec *pieces, unsigned count)
{
	struct net_stream *stream = stream_of(net);

	for (unsigned dropped = 0; dropped < DROPS_A_TURN;) {
		ssize_t size = next_frame(&stream->in);

		if (size == -EPROTO)
			lose_peer(stream, "has sent what is no frame, and is cut off");
		if (size == -EAGAIN && fill(stream) == 0)
			continue;
		if (size < 0)
			return -EAGAIN;
		if (size >= NET_ETHERNET)
			return net_scatter(pieces, count, frame_of(&stream->in, (size_t)size),
				NET_HEADER + (size_t)size);
		stream->in.from += LENGTH + (size_t)size;
		dropped++;
	}
	worker_post(stream->worker, &stream->announce);
	return -EAGAIN;
}

static void stream_want_receive(struct net_backend *net, unsigned queue, bool wanted)
{
	struct net_stream *stream = stream_of(net);

	if (wanted == stream->wanted)
		return;
	stream->wanted = wanted;
	if (wanted)
		worker_post(stream->worker, &stream->announce);
	if (stream->socket >= 0)
		watch(stream);
}

static void socket_ready(void *opaque, uint32_t events)
{
	struct net_stream *stream = opaque;

	if (stream->connecting) {
		finish_connecting(stream);
		return;
	}
	if (events & EPOLLOUT) {
		send_waiting(stream);
		if (stream->out.end - stream->out.from < BUFFER - NET_MAX_FRAME)
			owe_room(stream);
	}
	if (stream->wanted)
		stream->port.receive_ready(stream->port.opaque, 0);
	/* What it has sent last is lost where the card does not take it; a watch would say so
	 * without end. */
	else if (stream->socket >= 0 && events & (EPOLLHUP | EPOLLERR))
		lose_peer(stream, "has hung up");
}

/* --- the back end --- */

static int stream_start(struct net_backend *net, struct worker *worker, const struct net_port *port)
{
	struct net_stream *stream = stream_of(net);
	int error;

	stream->worker = worker;
	stream->port = *port;
	stream->wanted = true;
	worker_task_init(&stream->announce, announce, stream);
	worker_timer_init(&stream->again, worker, connect_again, stream);
	worker_timer_init(&stream->patience, worker, patience_ended, stream);
	if (stream->listener >= 0)
		error = worker_watch(worker, stream->listener, EPOLLIN, listener_ready, stream);
	else if (stream->socket >= 0)
		error = take_peer(stream, stream->socket, false);
	else
		error = connect_to_peer(stream);
	if (error && stream->reconnect_ns) {
		worker_timer_arm(&stream->again, stream->reconnect_ns);
		return 0;
	}
	if (error)
		log_error("--net stream: cannot connect: %s", strerror(-error));
	return error;
}

static void stream_destroy(struct net_backend *net)
{
	struct net_stream *stream = stream_of(net);

	if (stream->socket >= 0)
		close(stream->socket);
	if (stream->name.fd >= 0)
		unix_socket_close(&stream->name);
	else if (stream->listener >= 0)
		close(stream->listener);
	free((char *)stream->name.path);
	free(stream);
}

static const struct net_backend_ops stream_ops = {
	.start = stream_start,
	.send = stream_send,
	.receive = stream_receive,
	.want_receive = stream_want_receive,
	.flush = stream_flush,
	.destroy = stream_destroy,
};

static int listen_at(struct net_stream *stream, const char *text)
{
	const char *path = socket_address_path(text);
	const int on = 1;
	int error;

	if (path) {
		char *copy = strdup(path);

		error = copy ? unix_socket_listen(&stream->name, "--net stream=unix:", copy)
			     : -ENOMEM;
		if (error) {
			stream->name.fd = -1;
			free(copy);
			return error;
		}
		stream->listener = stream->name.fd;
		return 0;
	}
	stream->listener = socket_address_open(&stream->address, SOCK_STREAM);
	if (stream->listener >= 0 &&
		setsockopt(stream->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
		bind(stream->listener, &stream->address.any, stream->address.size) == 0 &&
		listen(stream->listener, 1) == 0)
		return 0;
	error = -errno;
	log_error("--net stream=%s: cannot listen: %s", text, strerror(-error));
	return error;
}

static int open_stream(struct net_stream *stream, const struct net_config *config)
{
	int error;

	stream->socket = socket_address_descriptor(config->name);
	if (stream->socket >= 0) {
		if (fcntl(stream->socket, F_SETFL, O_NONBLOCK) == 0 &&
			fcntl(stream->socket, F_SETFD, FD_CLOEXEC) == 0)
			return 0;
		error = -errno;
		log_error("--net stream=%s: %s", config->name, strerror(-error));
		stream->socket = -1; /* it is not ours */
		return error;
	}
	error = socket_address_parse(
		&stream->address, "--net stream=", config->name, SOCK_STREAM, config->listens);
	if (error || !config->listens)
		return error;
	return listen_at(stream, config->name);
}

/* A descriptor of a datagram socket, which QEMU's fd= may be. */
static bool has_datagrams(const struct net_config *config)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return getsockopt(socket_address_descriptor(config->name), SOL_SOCKET, SO_TYPE, &type,
		       &size) == 0 &&
	       type == SOCK_DGRAM;
}

int net_stream_open(const struct net_config *config, struct net_backend **net)
{
	struct net_stream *stream;
	int error;

	if (has_datagrams(config))
		return net_dgram_open(config, net);
	stream = calloc(1, sizeof(*stream));

	if (!stream) {
		log_error("--net stream=%s: out of memory", config->name);
		return -ENOMEM;
	}
	stream->net = (struct net_backend){.ops = &stream_ops, .queues = 1};
	stream->socket = stream->listener = stream->name.fd = -1;
	stream->reconnect_ns = config->reconnect * NS_PER_SECOND;
	stream->in.from = stream->in.end = ROOM;
	error = open_stream(stream, config);
	if (error)
		stream_destroy(&stream->net);
	else
		*net = &stream->net;
	return error;
}

/* What the far end of a stream socket can send to a network card, in pieces of any size: the input
 * is a row of them, each after its length. The card's buffers are of any size, too, and it is deaf
 * for a while. */
#include "fuzz_worker.h"
#include "host/net/net_backend.h"
#include "host/net/offload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct net_backend *net;
static unsigned room;

/* What the card gets lies within its buffers, and is a frame. */
static void on_receive(void *opaque, unsigned queue)
{
	static uint8_t bytes[NET_MAX_FRAME + 1];
	struct iovec piece = {bytes, room};

	for (unsigned i = 0; i < 100; i++) {
		ssize_t size;

		bytes[room] = 0xa5;
		size = net->ops->receive(net, queue, &piece, 1);
		require(bytes[room] == 0xa5);
		if (size == -EAGAIN)
			return;
		require(size == -EMSGSIZE || (size >= NET_HEADER + NET_ETHERNET && size <= room));
	}
}

static void on_room(void *opaque, unsigned queue)
{
}

static void send_ours(unsigned size)
{
	static uint8_t frame[NET_MAX_FRAME];
	const struct iovec pieces[] = {{frame, 20}, {frame + 20, size}};

	net->ops->send(net, 0, pieces, 2, 20 + size);
	net->ops->flush(net);
	if (timer)
		timer->expired(timer->opaque);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct net_port port = {on_receive, on_room, NULL};
	char name[16];
	struct net_config config = {.kind = NET_STREAM, .queues = 1, .name = name};
	int sockets[2];

	if (size < 2)
		return 0;
	room = MIN(1 + data[0] * 300u, NET_MAX_FRAME);
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
	snprintf(name, sizeof(name), "fd:%d", sockets[0]);
	require(net_open(&config, &net) == 0);
	require(net->ops->start(net, (struct worker *)&port, &port) == 0);
	for (size_t at = 1, part; at < size; at += 1 + part) {
		part = MIN(data[at], size - at - 1);
		if (send(sockets[1], data + at + 1, part, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
		net->ops->want_receive(net, 0, data[at] % 8 != 7);
		send_ours(data[at] * 250u);
		call_all();
	}
	close(sockets[1]);
	net->ops->want_receive(net, 0, true);
	call_all();
	call_all();
	net->ops->destroy(net);
	return 0;
}

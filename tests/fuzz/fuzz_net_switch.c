/* What another machine on a switch can write: the memory of its link, at any time. The worker is
 * played by this program, so that all happens in order; the guest's card takes frames into buffers
 * that are too small, too, and does not always take offloads. The user network's helper has the
 * same link, and its monitor looks at less of a frame.
 *
 * The input is a row of steps: a byte that says which, and its bytes. */
#include "base/bits.h"
#include "fuzz_worker.h"
#include "host/net/link.h"
#include "host/net/offload.h"
#include "host/net/switch_directory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- our machine --- */

static struct net_backend *net;
static char path[] = "/tmp/veneer-fuzz-XXXXXX";
static unsigned room = 2000;

/* What the card gets is what it takes, and lies within its buffers. */
static void on_receive(void *opaque, unsigned queue)
{
	static uint8_t bytes[NET_MAX_FRAME + 1];
	struct virtio_net_hdr_v1 header;

	for (unsigned i = 0; i < 100; i++) {
		struct iovec pieces[] = {{bytes, MIN(room, 12)}, {bytes + MIN(room, 12), 0}};
		ssize_t size;

		pieces[1].iov_len = room - pieces[0].iov_len;
		bytes[room] = 0xa5;
		size = net->ops->receive(net, queue, pieces, 2);
		require(bytes[room] == 0xa5);
		if (size == -EAGAIN)
			return;
		require(size == -EMSGSIZE || (size >= NET_HEADER + NET_ETHERNET && size <= room));
		if (size < 0)
			continue;
		memcpy(&header, bytes, NET_HEADER);
		require(net_header_valid(&header, (size_t)size - NET_HEADER));
		require(header.num_buffers == 1);
	}
}

static void on_room(void *opaque, unsigned queue)
{
}

static void remove_directory(void)
{
	char lock[64];

	net->ops->destroy(net);
	snprintf(lock, sizeof(lock), "%s/lock", path);
	unlink(lock);
	rmdir(path);
}

static void open_switch(void)
{
	const struct net_port port = {on_receive, on_room, NULL};
	struct net_config config = {.kind = NET_SWITCH, .queues = 1};

	require(mkdtemp(path));
	config.name = path;
	require(net_open(&config, &net) == 0);
	require(net->ops->start(net, (struct worker *)&port, &port) == 0);
	atexit(remove_directory);
}

/* --- the other machine --- */

static struct net_link link_to_it;

static void met(void *opaque, int socket)
{
	*(int *)opaque = socket;
}

static void join(void)
{
	struct switch_directory directory;
	int socket = -1, memory;

	require(switch_directory_join(&directory, path, met, &socket) == 0);
	switch_directory_leave(&directory);
	require(net_link_create(&link_to_it, socket, &memory) == 0);
	require(switch_send_hello(socket, memory) == 0);
	close(memory);
	call_all(); /* it is accepted */
	call_all(); /* its hello is read */
}

struct input {
	const uint8_t *bytes;
	size_t left;
};

static uint64_t take(struct input *input, unsigned size)
{
	uint64_t value = 0;

	size = (unsigned)MIN(size, input->left);
	memcpy(&value, input->bytes, size);
	input->bytes += size;
	input->left -= size;
	return value;
}

static void write_control(struct input *input)
{
	unsigned at = take(input, 1) % 96 * 4;
	uint32_t value = (uint32_t)take(input, 4);

	memcpy(link_to_it.map + at, &value, sizeof(value));
}

static void write_ring(struct input *input)
{
	unsigned at = (unsigned)take(input, 3) % NET_LINK_RING, count = (unsigned)take(input, 1);

	while (count--)
		link_to_it.out.data[at++ % NET_LINK_RING] = (uint8_t)take(input, 1);
}

/* A sound record: a header, what the frame begins with, and its size. */
static void send_it(struct input *input)
{
	static uint8_t frame[NET_MAX_FRAME];
	size_t size = take(input, 2) + NET_HEADER + NET_ETHERNET, given = take(input, 1);
	const struct iovec piece = {frame, MIN(size, NET_MAX_FRAME)};

	for (size_t i = 0; i < NET_HEADER + given; i++)
		frame[i] = (uint8_t)take(input, 1);
	net_link_send(&link_to_it, &piece, 1, piece.iov_len);
}

static void send_ours(struct input *input)
{
	static uint8_t frame[60000];
	const struct iovec piece = {frame, 100 + take(input, 2) % 59000};

	for (unsigned i = 0; i < 6; i++)
		frame[NET_HEADER + i] = (uint8_t)take(input, 1);
	for (unsigned i = 0; i < 20; i++)
		net->ops->send(net, 0, &piece, 1, piece.iov_len);
	net->ops->flush(net);
	if (timer)
		timer->expired(timer->opaque);
}

static void set_card(struct input *input)
{
	net->ops->guest_takes(net, take(input, 1) << VIRTIO_NET_F_GUEST_TSO4 >> 1 | take(input, 1));
	room = (unsigned)MIN(take(input, 2) + 1, NET_MAX_FRAME);
	net->ops->want_receive(net, 0, room & 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(struct input * input) = {
		write_control, write_ring, send_it, send_it, send_ours, set_card};
	struct input input = {data, size};

	if (!net)
		open_switch();
	room = NET_MAX_FRAME;
	net->ops->guest_takes(net, 0);
	net->ops->want_receive(net, 0, true);
	join();
	while (input.left) {
		uint8_t step = (uint8_t)take(&input, 1);

		steps[step % ARRAY_SIZE(steps)](&input);
		if (step & 0x80) {
			net_link_flush(&link_to_it);
			call_all();
		}
	}
	call_all();
	net_link_close(&link_to_it);
	call_all(); /* its end is noticed */
	call_all();
	return 0;
}

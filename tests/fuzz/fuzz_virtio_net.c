/* A network card whose driver writes anything: the queues' setup is sound, RAM around it is the
 * input. It begins with a struct plan; the rest is RAM from ROOM on, where the rings are. The back
 * end takes and makes frames; what it is given must be what it was promised. */
#include "fuzz_virtio.h"

#include "device/virtio/net_internal.h"

#include <stdlib.h>

#define QUEUES 5 /* two pairs and the control queue */
#define STEPS  16

struct plan {
	uint8_t features;    /* bit 0 offloads, 1 mergeable, 2 several pairs */
	uint8_t room;        /* frames that the back end takes before it is full */
	uint16_t frame_size; /* of those that arrive */
	uint8_t step[STEPS]; /* a queue to notify, or an event */
};

static struct net_port port;
static struct plan plan;
static unsigned frames;
static bool wanted[2];

static int backend_start(struct net_backend *net, struct worker *worker, const struct net_port *to)
{
	port = *to;
	return 0;
}

static int backend_send(struct net_backend *net, unsigned queue, const struct iovec *pieces,
	unsigned count, size_t bytes)
{
	const struct virtio_net_hdr_v1 *header = pieces[0].iov_base;
	size_t sum = 0;
	uint8_t touched = 0;

	require(queue < 2 && count >= 2 && count <= NET_PIECES && bytes <= NET_MAX_FRAME);
	for (unsigned i = 0; i < count; i++) {
		require(pieces[i].iov_len > 0);
		sum += pieces[i].iov_len;
		touched ^= ((uint8_t *)pieces[i].iov_base)[pieces[i].iov_len - 1];
	}
	require(sum == bytes && pieces[0].iov_len == NET_HEADER);
	if (header->flags)
		require(header->flags == VIRTIO_NET_HDR_F_NEEDS_CSUM &&
			(size_t)header->csum_start + header->csum_offset + 2 <= bytes - NET_HEADER);
	else
		require(header->gso_type == VIRTIO_NET_HDR_GSO_NONE);
	require(header->num_buffers == 1 && header->hdr_len <= bytes - NET_HEADER);
	if (!plan.room)
		return -EAGAIN;
	plan.room--;
	return touched & 1; /* any value but -EAGAIN is the same */
}

static ssize_t backend_receive(
	struct net_backend *net, unsigned queue, const struct iovec *pieces, unsigned count)
{
	size_t size = NET_HEADER + 14 + plan.frame_size, done = 0;

	require(queue < 2 && count > 0 && count <= NET_PIECES);
	if (!frames)
		return -EAGAIN;
	frames--;
	for (unsigned i = 0; i < count && done < size; i++) {
		size_t part = MIN(size - done, pieces[i].iov_len);

		memset(pieces[i].iov_base, (int)done, part);
		done += part;
	}
	return done == size ? (ssize_t)size : -EMSGSIZE;
}

static void backend_want(struct net_backend *net, unsigned queue, bool on)
{
	require(queue < 2);
	wanted[queue] = on;
}

static void backend_destroy(struct net_backend *net)
{
}

static const struct net_backend_ops backend_ops = {
	.start = backend_start,
	.send = backend_send,
	.receive = backend_receive,
	.want_receive = backend_want,
	.destroy = backend_destroy,
};

static void start(void)
{
	uint64_t features = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC;

	for (unsigned bit = 0; bit < 64; bit++)
		if (device->offered & BIT(bit) &&
			(bit == VIRTIO_NET_F_MRG_RXBUF   ? plan.features & 2
				: bit == VIRTIO_NET_F_MQ ? plan.features & 4
							 : plan.features & 1))
			features |= BIT(bit);
	device->features = features | BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX);
	start_device(QUEUES);
}

static void step(uint8_t what)
{
	unsigned queue = what & 7;

	if (queue < QUEUES) {
		device->ops->notified(device, &device->queue[queue]);
	} else if (queue == 5) {
		frames += 3;
		for (unsigned i = 0; i < 2; i++)
			if (wanted[i])
				port.receive_ready(port.opaque, i);
	} else if (queue == 6) {
		plan.room += 3;
		port.send_ready(port.opaque, what >> 3 & 1);
	} else {
		device->state.resetting = what >> 3 & 1;
		device->running = false;
		device->ops->stop(device);
		require(device->queue[0].in_flight == 0 || device->queue[0].broken);
		start();
	}
	/* The driver makes what is in its ring available again. */
	for (unsigned i = 0; i < QUEUES; i++)
		if (what >> 3 & BIT(i))
			make_available(i);
	for (unsigned i = 0; i < 4 && posted_count; i++)
		run_one();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct net_backend backend = {
		.ops = &backend_ops, .queues = 2, .offloads = UINT64_MAX, .mtu = 1500};
	static const uint8_t mac[6] = {2};

	if (size < sizeof(plan))
		return 0;
	memcpy(&plan, data, sizeof(plan));
	size -= sizeof(plan);
	fill_ram(data + sizeof(plan), size);
	fixture_reset();
	frames = 0;
	require(virtio_net_create(NULL, PCI_ANY_SLOT, 0, &backend, mac) == 0);
	start();
	for (unsigned i = 0; i < STEPS; i++)
		step(plan.step[i]);
	device->ops->destroy(device);
	return 0;
}

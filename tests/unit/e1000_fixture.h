/* A card on a bus of its own, with a back end that keeps what the guest sends and has what the test
 * puts there; and the guest's rings. Used by its unit test and its fuzzer. */
#ifndef VENEER_TESTS_UNIT_E1000_FIXTURE_H
#define VENEER_TESTS_UNIT_E1000_FIXTURE_H

#include "device/net/e1000_internal.h"
#include "host/net/offload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fake_net {
	struct net_backend backend;
	struct net_port port;
	struct virtio_net_hdr_v1 header; /* of the last frame sent */
	uint8_t sent[NET_MAX_FRAME];
	size_t sent_size;
	unsigned sent_count;
	uint8_t waiting[NET_MAX_FRAME]; /* for the guest */
	size_t waiting_size;            /* 0: none */
	bool full, wanted;
};

static struct fake_net fake;

static inline int fake_start(
	struct net_backend *net, struct worker *worker, const struct net_port *port)
{
	fake.port = *port;
	fake.wanted = true;
	return 0;
}

static inline int fake_send(struct net_backend *net, unsigned queue, const struct iovec *pieces,
	unsigned count, size_t bytes)
{
	if (fake.full)
		return -EAGAIN;
	memcpy(&fake.header, pieces[0].iov_base, NET_HEADER);
	if (count != 2 || pieces[0].iov_len != NET_HEADER ||
		pieces[1].iov_len != bytes - NET_HEADER || bytes > NET_MAX_FRAME ||
		bytes < NET_HEADER + NET_ETHERNET ||
		!net_header_valid(&fake.header, bytes - NET_HEADER))
		abort();
	fake.sent_size = bytes - NET_HEADER;
	memcpy(fake.sent, pieces[1].iov_base, fake.sent_size);
	fake.sent_count++;
	return 0;
}

static inline ssize_t fake_receive(
	struct net_backend *net, unsigned queue, const struct iovec *pieces, unsigned count)
{
	struct virtio_net_hdr_v1 header = {.num_buffers = 1};
	ssize_t size = (ssize_t)(NET_HEADER + fake.waiting_size);

	if (!fake.waiting_size)
		return -EAGAIN;
	memcpy(pieces[0].iov_base, &header, NET_HEADER);
	memcpy((uint8_t *)pieces[0].iov_base + NET_HEADER, fake.waiting, fake.waiting_size);
	fake.waiting_size = 0;
	return size;
}

static inline void fake_want(struct net_backend *net, unsigned queue, bool wanted)
{
	fake.wanted = wanted;
}

static inline void fake_destroy(struct net_backend *net)
{
}

static const struct net_backend_ops fake_ops = {.start = fake_start,
	.send = fake_send,
	.receive = fake_receive,
	.want_receive = fake_want,
	.destroy = fake_destroy};

static inline void nothing(void *opaque)
{
}

/* Have the worker do all that was asked of it. */
static inline void settle(struct e1000 *card)
{
	for (unsigned i = 0; i < 8; i++)
		worker_call(card->worker, nothing, NULL);
}

static inline void announce(void *opaque)
{
	fake.port.receive_ready(fake.port.opaque, 0);
}

static inline void make_room(void *opaque)
{
	fake.full = false;
	fake.port.send_ready(fake.port.opaque, 0);
}

/* A frame comes. */
static inline void arrive(struct e1000 *card, const void *frame, size_t size)
{
	memcpy(fake.waiting, frame, size);
	fake.waiting_size = size;
	if (fake.wanted)
		worker_call(card->worker, announce, NULL);
	settle(card);
}

static inline struct e1000 *card_on_list(struct device_list *devices)
{
	for (struct device *device = devices->first; device; device = device->next)
		if (!strcmp(device->ops->name, "e1000"))
			return (struct e1000 *)device;
	return NULL;
}

#endif

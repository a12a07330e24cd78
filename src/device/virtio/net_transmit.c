/* Frames go to the back end from where the driver has them. Only the header, which says what is to
 * be done with the frame, is copied first: so it cannot change after it was checked. */
#include "device/virtio/net_internal.h"

#include <string.h>

static bool check_checksum(struct virtio_net_hdr_v1 *header, size_t size, uint64_t features)
{
	if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) {
		header->csum_start = header->csum_offset = 0;
		return true;
	}
	return features & BIT(VIRTIO_NET_F_CSUM) && header->csum_start >= ETHERNET_HEADER &&
	       (size_t)header->csum_start + header->csum_offset + sizeof(uint16_t) <= size;
}

static bool check_segmentation(struct virtio_net_hdr_v1 *header, size_t size, uint64_t features)
{
	uint64_t needed;

	switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		header->hdr_len = header->gso_size = 0;
		return header->gso_type == VIRTIO_NET_HDR_GSO_NONE;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		needed = BIT(VIRTIO_NET_F_HOST_TSO4);
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		needed = BIT(VIRTIO_NET_F_HOST_TSO6);
		break;
	default:
		return false;
	}
	if (header->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		needed |= BIT(VIRTIO_NET_F_HOST_ECN);
	return (features & needed) == needed && header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM &&
	       header->gso_size > 0 && header->hdr_len <= size;
}

bool net_header_check(struct virtio_net_hdr_v1 *header, size_t size, uint64_t features)
{
	if (size < ETHERNET_HEADER || size > NET_MAX_FRAME - NET_HEADER)
		return false;
	header->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->num_buffers = 1;
	return check_checksum(header, size, features) && check_segmentation(header, size, features);
}

/* The chain's frame behind `header`, as pieces in net->frame: returns how many. */
static unsigned gather(
	struct net_device *net, const struct virtio_chain *chain, struct virtio_net_hdr_v1 *header)
{
	size_t skip = NET_HEADER, size;
	unsigned count = 1;

	net->frame[0] = (struct iovec){header, NET_HEADER};
	for (unsigned i = 0; i < chain->readable; i++) {
		struct iovec piece = chain->pieces[i];

		size = MIN(skip, piece.iov_len);
		skip -= size;
		piece.iov_base = (char *)piece.iov_base + size;
		piece.iov_len -= size;
		if (piece.iov_len)
			net->frame[count++] = piece;
	}
	if (count <= NET_PIECES)
		return count;
	virtio_chain_read(chain, NET_HEADER, net->copy, chain->readable_bytes - NET_HEADER);
	net->frame[1] = (struct iovec){net->copy, chain->readable_bytes - NET_HEADER};
	return 2;
}

/* 0; -EAGAIN: not now. A frame that no driver would send is dropped. */
static int send_chain(struct net_device *net, unsigned pair, const struct virtio_chain *chain)
{
	struct virtio_net_hdr_v1 header;

	if (virtio_chain_read(chain, 0, &header, NET_HEADER) != NET_HEADER ||
		!net_header_check(
			&header, chain->readable_bytes - NET_HEADER, net->transmit_features))
		return 0;
	return net->backend->ops->send(
		net->backend, pair, net->frame, gather(net, chain, &header), chain->readable_bytes);
}

void net_transmit(void *opaque)
{
	struct net_transmitter *transmitter = opaque;
	struct net_device *net = transmitter->net;
	struct virtqueue *queue = net_transmit_queue(net, transmitter->index);
	struct virtio_chain chain;
	unsigned frames;
	int got = 0;

	if (transmitter->blocked || !net_queue_usable(net, queue))
		return;
	for (frames = 0; frames < NET_BATCH; frames++) {
		chain = (struct virtio_chain){.pieces = net->pieces, .limit = VIRTIO_CHAIN_PIECES};
		if ((got = virtqueue_take(queue, &chain)) <= 0)
			break;
		if (send_chain(net, transmitter->index, &chain) == -EAGAIN) {
			virtqueue_untake(queue, &chain);
			transmitter->blocked = true;
			break;
		}
		virtqueue_give_back(queue, &chain, 0);
	}
	if (frames && net->backend->ops->flush)
		net->backend->ops->flush(net->backend);
	virtqueue_tell_driver(queue);
	if (got < 0)
		virtio_needs_reset(&net->virtio);
	else if (frames == NET_BATCH)
		worker_post(net->virtio.worker, &transmitter->more);
}

void net_transmit_init(struct net_device *net, unsigned pair)
{
	struct net_transmitter *transmitter = &net->transmitter[pair];

	transmitter->net = net;
	transmitter->index = pair;
	worker_task_init(&transmitter->more, net_transmit, transmitter);
}

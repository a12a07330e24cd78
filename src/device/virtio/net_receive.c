/* Frames arrive in the driver's buffers: the back end is given the pieces of so many chains that
 * any frame fits (of one, where buffers are not mergeable). Only where the driver has made fewer
 * available the frame is received here first, and is copied when there is room for it: what is too
 * large for the chains at hand would be lost otherwise. */
#include "device/virtio/net_internal.h"

#include <string.h>

/* --- the hand --- */

static bool mergeable(const struct net_device *net)
{
	return net->virtio.features & BIT(VIRTIO_NET_F_MRG_RXBUF);
}

/* No more chains may be taken, or there cannot be any. */
static bool hand_full(
	const struct net_device *net, const struct net_hand *hand, const struct virtqueue *queue)
{
	unsigned limit = mergeable(net) ? MIN(NET_HAND_CHAINS, queue->setup.size) : 1;

	return hand->count >= limit || hand->piece_count > NET_PIECES;
}

/* A buffer has nothing to read, and room for the header (5.1.6.3.1). */
static bool is_buffer(const struct virtio_chain *chain)
{
	return chain->readable == 0 && chain->writable_bytes >= NET_HEADER;
}

/* Take chains until any frame fits, or there are no more. 0; -EINVAL: the driver is broken. */
static int hand_fill(struct net_device *net, struct net_hand *hand, struct virtqueue *queue)
{
	struct virtio_chain *chain;
	int got;

	while (hand->bytes < net->largest_frame && !hand_full(net, hand, queue)) {
		chain = &hand->chain[hand->count];
		*chain = (struct virtio_chain){.pieces = hand->pieces + hand->piece_count,
			.limit = ARRAY_SIZE(hand->pieces) - hand->piece_count};
		if ((got = virtqueue_take(queue, chain)) <= 0)
			return got;
		if (!is_buffer(chain)) {
			queue->broken = true;
			return -EINVAL;
		}
		hand->count++;
		hand->piece_count += chain->writable;
		hand->bytes += chain->writable_bytes;
	}
	return 0;
}

/* The first `count` chains are no longer at hand. */
static void hand_drop(struct net_hand *hand, unsigned count)
{
	unsigned pieces = 0;

	for (unsigned i = 0; i < count; i++) {
		pieces += hand->chain[i].writable;
		hand->bytes -= hand->chain[i].writable_bytes;
	}
	hand->count -= count;
	hand->piece_count -= pieces;
	memmove(hand->chain, hand->chain + count, hand->count * sizeof(hand->chain[0]));
	memmove(hand->pieces, hand->pieces + pieces, hand->piece_count * sizeof(hand->pieces[0]));
	for (unsigned i = 0; i < hand->count; i++)
		hand->chain[i].pieces -= pieces;
}

/* Read from, or store to the pieces, from byte `offset` on. */
static void copy_pieces(
	const struct net_hand *hand, size_t offset, void *buffer, size_t size, bool store)
{
	uint8_t *bytes = buffer;

	for (unsigned i = 0; i < hand->piece_count && size; i++) {
		const struct iovec *piece = &hand->pieces[i];
		size_t skip = MIN(offset, piece->iov_len), part = MIN(size, piece->iov_len - skip);
		uint8_t *at = (uint8_t *)piece->iov_base + skip;

		memcpy(store ? at : bytes, store ? bytes : at, part);
		offset -= skip;
		bytes += part;
		size -= part;
	}
}

/* A frame of `size` bytes is in the pieces: the driver gets the chains that it takes. */
static void hand_over(struct net_hand *hand, struct virtqueue *queue, size_t size)
{
	uint32_t written[NET_HAND_CHAINS];
	uint16_t chains = 0;

	do {
		written[chains] = (uint32_t)MIN(size, hand->chain[chains].writable_bytes);
		size -= written[chains++];
	} while (size);
	copy_pieces(hand, offsetof(struct virtio_net_hdr_v1, num_buffers), &chains, sizeof(chains),
		true);
	virtqueue_give_back_together(queue, hand->chain, written, chains);
	hand_drop(hand, chains);
}

/* --- the back end --- */

/* Of the back end's queues, those whose frames this receiver takes are as many apart as there are
 * pairs in use. */
static bool in_use(const struct net_receiver *receiver)
{
	return receiver->index < receiver->net->settings.state.pairs;
}

static void want(struct net_receiver *receiver, bool wanted)
{
	struct net_backend *backend = receiver->net->backend;

	receiver->starved = !wanted;
	for (unsigned i = receiver->index; in_use(receiver) && i < backend->queues;
		i += receiver->net->settings.state.pairs)
		backend->ops->want_receive(backend, i, wanted);
}

/* A frame from any of the back end's queues; its size, -EAGAIN, or -EMSGSIZE. */
static ssize_t receive_from(
	struct net_receiver *receiver, const struct iovec *pieces, unsigned count)
{
	struct net_backend *backend = receiver->net->backend;
	ssize_t size = -EAGAIN;

	for (unsigned i = receiver->index; i < backend->queues && size == -EAGAIN;
		i += receiver->net->settings.state.pairs)
		size = backend->ops->receive(backend, i, pieces, count);
	return size;
}

static bool is_wanted(const struct net_device *net, const uint8_t *start, size_t size)
{
	return size >= NET_HEADER + ETHERNET_HEADER &&
	       net_control_accepts(&net->settings.state, start);
}

enum outcome { WENT_ON, NOTHING_THERE, NO_ROOM };

/* The frame that waits here is copied to the hand. */
static enum outcome hand_copy(struct net_receiver *receiver, struct virtqueue *queue)
{
	struct net_device *net = receiver->net;
	struct net_hand *hand = &receiver->hand;

	if (receiver->frame_bytes > hand->bytes) {
		if (receiver->frame_bytes <= net->largest_frame && !hand_full(net, hand, queue))
			return NO_ROOM;
	} else if (is_wanted(net, receiver->frame + NET_HEADER, receiver->frame_bytes)) {
		copy_pieces(hand, 0, receiver->frame, receiver->frame_bytes, true);
		hand_over(hand, queue, receiver->frame_bytes);
	}
	receiver->frame_bytes = 0;
	return WENT_ON;
}

static enum outcome receive_here(struct net_receiver *receiver, struct virtqueue *queue)
{
	const struct iovec piece = {receiver->frame, receiver->net->largest_frame};
	ssize_t size = receive_from(receiver, &piece, 1);

	if (size < 0)
		return size == -EAGAIN ? NOTHING_THERE : WENT_ON;
	receiver->frame_bytes = (size_t)size;
	return hand_copy(receiver, queue);
}

static enum outcome receive_in_place(struct net_receiver *receiver, struct virtqueue *queue)
{
	struct net_hand *hand = &receiver->hand;
	ssize_t size = receive_from(receiver, hand->pieces, hand->piece_count);
	uint8_t start[NET_FILTER_SIZE] = {0};

	if (size < 0)
		return size == -EAGAIN ? NOTHING_THERE : WENT_ON;
	size = MIN((uint64_t)size, hand->bytes);
	copy_pieces(hand, NET_HEADER, start, sizeof(start), false);
	if (is_wanted(receiver->net, start, (size_t)size))
		hand_over(hand, queue, (size_t)size);
	else /* the chains are used again for the next one */
		dma_range_written(queue->dma, hand->pieces, hand->piece_count, (uint64_t)size);
	return WENT_ON;
}

static enum outcome receive_one(struct net_receiver *receiver, struct virtqueue *queue)
{
	struct net_device *net = receiver->net;
	struct net_hand *hand = &receiver->hand;

	if (hand_fill(net, hand, queue) < 0) {
		virtio_needs_reset(&net->virtio);
		return NO_ROOM;
	}
	if (receiver->frame_bytes)
		return hand_copy(receiver, queue);
	if (!hand->count)
		return NO_ROOM;
	if (hand->piece_count <= NET_PIECES &&
		(hand->bytes >= net->largest_frame || !mergeable(net)))
		return receive_in_place(receiver, queue);
	return receive_here(receiver, queue);
}

void net_receive(void *opaque)
{
	struct net_receiver *receiver = opaque;
	struct net_device *net = receiver->net;
	struct virtqueue *queue = net_receive_queue(net, receiver->index);
	enum outcome outcome = WENT_ON;

	if (!net_queue_usable(net, queue) || !in_use(receiver)) {
		want(receiver, false);
		return;
	}
	if (receiver->starved)
		return;
	for (unsigned frames = 0; frames < NET_BATCH && outcome == WENT_ON; frames++)
		outcome = receive_one(receiver, queue);
	virtqueue_tell_driver(queue);
	if (outcome == NO_ROOM)
		want(receiver, false);
	else if (outcome == WENT_ON)
		worker_post(net->virtio.worker, &receiver->more);
}

void net_receive_notified(struct net_receiver *receiver)
{
	if (!receiver->starved)
		return;
	want(receiver, true);
	net_receive(receiver);
}

void net_receive_stop(struct net_receiver *receiver)
{
	struct net_hand *hand = &receiver->hand;
	struct virtqueue *queue = net_receive_queue(receiver->net, receiver->index);

	while (hand->count && !queue->broken)
		virtqueue_untake(queue, &hand->chain[--hand->count]);
	hand->count = hand->piece_count = 0;
	hand->bytes = 0;
	receiver->frame_bytes = 0;
}

void net_receive_init(struct net_device *net, unsigned pair)
{
	struct net_receiver *receiver = &net->receiver[pair];

	receiver->net = net;
	receiver->index = pair;
	receiver->starved = true;
	worker_task_init(&receiver->more, net_receive, receiver);
}

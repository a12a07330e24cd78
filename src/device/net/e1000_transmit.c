/* Frames of the guest (82540EM manual, 3.3 to 3.5). A frame is worked on when all its descriptors
 * are there, and its descriptors are given back when the back end has taken it: so nothing is half
 * done between two turns. Checksums are made here; segments by the back end, where it can. */
#include "device/net/e1000_internal.h"
#include "host/net/offload.h"

#include <string.h>

#define MOST_DESCRIPTORS 256 /* of a frame */

#define COMMAND_END      BIT(0) /* of the frame */
#define COMMAND_CHECKSUM BIT(2) /* legacy: insert one */
#define COMMAND_SEGMENT  BIT(2) /* extended: TSE */
#define COMMAND_REPORT   BIT(3)
#define COMMAND_EXTENDED BIT(5)
#define COMMAND_VLAN     BIT(6)

#define OPTION_IP_SUM  BIT(0)
#define OPTION_TCP_SUM BIT(1)

#define CONTEXT_TCP  BIT(0)
#define CONTEXT_IPV4 BIT(1)

#define STATUS_DONE BIT(0)

struct descriptor {
	uint64_t address;
	uint32_t low, high;
};

static unsigned command_of(const struct descriptor *descriptor)
{
	return descriptor->low >> 24;
}

static bool is_extended(const struct descriptor *descriptor)
{
	return command_of(descriptor) & COMMAND_EXTENDED;
}

static bool is_context(const struct descriptor *descriptor)
{
	return is_extended(descriptor) && (descriptor->low >> 20 & 15) == 0;
}

static unsigned size_of(const struct descriptor *descriptor)
{
	return descriptor->low & (is_extended(descriptor) ? 0xfffff : 0xffff);
}

static void take_context(struct e1000_context *context, const struct descriptor *descriptor)
{
	*context = (struct e1000_context){
		.ip_start = (uint8_t)descriptor->address,
		.ip_offset = (uint8_t)(descriptor->address >> 8),
		.ip_end = (uint16_t)(descriptor->address >> 16),
		.tcp_start = (uint8_t)(descriptor->address >> 32),
		.tcp_offset = (uint8_t)(descriptor->address >> 40),
		.tcp_end = (uint16_t)(descriptor->address >> 48),
		.flags = (uint8_t)command_of(descriptor),
		.header_size = (uint8_t)(descriptor->high >> 8),
		.mss = (uint16_t)(descriptor->high >> 16),
	};
}

/* A frame as its descriptors describe it. */
struct outgoing {
	uint8_t *bytes; /* behind room for the header */
	size_t size;
	bool good; /* all could be read, and it is not too large */
	struct descriptor first, last;
};

/* The sum of the bytes from start to end (the last one; 0: the frame's), at `offset`. */
static void insert_sum(struct outgoing *frame, size_t start, size_t offset, size_t end)
{
	uint16_t sum;

	if (!end || end >= frame->size)
		end = frame->size - 1;
	if (start > end || offset + sizeof(sum) > frame->size)
		return;
	sum = (uint16_t)~net_sum(0, frame->bytes + start, end + 1 - start);
	memcpy(frame->bytes + offset, &sum, sizeof(sum));
}

static void put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* The driver has left out what differs between the segments: the length, and with it the sum of the
 * pseudo-header. Ask for segments in the header. False: there cannot be any. */
static bool prepare_segments(struct outgoing *frame, const struct e1000_context *context,
	struct virtio_net_hdr_v1 *header)
{
	bool ipv4 = context->flags & CONTEXT_IPV4;
	struct net_packet packet;
	uint16_t sum;

	if (context->ip_start + 40u > frame->size || !(context->flags & CONTEXT_TCP) ||
		context->tcp_offset < context->tcp_start ||
		context->tcp_offset + sizeof(sum) > frame->size)
		return false;
	if (ipv4)
		put16(frame->bytes + context->ip_start + 2, frame->size - context->ip_start);
	else
		put16(frame->bytes + context->ip_start + 4, frame->size - context->ip_start - 40);
	if (!net_packet_parse(&packet, frame->bytes, frame->size) || !packet.tcp ||
		packet.transport != context->tcp_start || packet.ipv6 == ipv4)
		return false;
	if (ipv4) {
		memset(frame->bytes + packet.ip + 10, 0, sizeof(sum));
		insert_sum(frame, packet.ip, packet.ip + 10, packet.transport - 1);
	}
	sum = net_pseudo_sum(&packet, frame->bytes);
	memcpy(frame->bytes + context->tcp_offset, &sum, sizeof(sum));
	if (packet.payload + (size_t)context->mss >= frame->size) {
		insert_sum(frame, context->tcp_start, context->tcp_offset, 0);
		return true;
	}
	*header = (struct virtio_net_hdr_v1){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = ipv4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
		.hdr_len = (uint16_t)packet.payload,
		.gso_size = context->mss,
		.csum_start = context->tcp_start,
		.csum_offset = (uint16_t)(context->tcp_offset - context->tcp_start),
	};
	return true;
}

static void insert_tag(struct outgoing *frame, uint32_t type, uint16_t tag)
{
	memmove(frame->bytes + 16, frame->bytes + 12, frame->size - 12);
	put16(frame->bytes + 12, type);
	put16(frame->bytes + 14, tag);
	frame->size += 4;
}

static int send(struct e1000 *card, const void *header, const void *bytes, size_t size)
{
	const struct iovec pieces[] = {
		{(void *)(uintptr_t)header, NET_HEADER}, {(void *)(uintptr_t)bytes, size}};

	return card->backend->ops->send(card->backend, 0, pieces, 2, NET_HEADER + size);
}

/* Cut the frame here. Where there is no room for a segment it is dropped, as a network may. */
static void send_cut(
	struct e1000 *card, struct outgoing *frame, const struct virtio_net_hdr_v1 *header)
{
	static const struct virtio_net_hdr_v1 plain = {.num_buffers = 1};
	struct net_cut cut;

	if (net_cut_begin(&cut, header, frame->bytes, frame->size) < 0)
		return;
	while (net_cut_more(&cut))
		send(card, &plain, card->segment, net_cut_next(&cut, card->segment));
}

static bool backend_segments(const struct e1000 *card, const struct virtio_net_hdr_v1 *header)
{
	uint64_t needed = BIT(VIRTIO_NET_F_CSUM) | (header->gso_type == VIRTIO_NET_HDR_GSO_TCPV4
								   ? BIT(VIRTIO_NET_F_HOST_TSO4)
								   : BIT(VIRTIO_NET_F_HOST_TSO6));

	return (card->backend->offloads & needed) == needed;
}

/* 0: the back end has it, or it was dropped; -EAGAIN: not now. */
static int send_frame(struct e1000 *card, struct outgoing *frame)
{
	const struct e1000_context *context = &card->state.context;
	struct virtio_net_hdr_v1 header = {0};
	unsigned options = frame->first.high >> 8 & 0xff, command = command_of(&frame->first);

	if (!frame->good || frame->size < NET_ETHERNET)
		return 0;
	if (!is_extended(&frame->first)) {
		if (command & COMMAND_CHECKSUM)
			insert_sum(frame, frame->first.high >> 8 & 0xff,
				frame->first.low >> 16 & 0xff, 0);
	} else if (command & COMMAND_SEGMENT) {
		if (!prepare_segments(frame, context, &header))
			return 0;
	} else {
		if (options & OPTION_IP_SUM)
			insert_sum(frame, context->ip_start, context->ip_offset, context->ip_end);
		if (options & OPTION_TCP_SUM)
			insert_sum(
				frame, context->tcp_start, context->tcp_offset, context->tcp_end);
	}
	header.num_buffers = 1;
	if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		if (!net_header_valid(&header, frame->size))
			return 0;
		if (!backend_segments(card, &header)) {
			send_cut(card, frame, &header);
			return 0;
		}
	} else if ((command_of(&frame->last) & COMMAND_VLAN) &&
		   (*e1000_register(card, E1000_CTRL) & E1000_CTRL_VME)) {
		insert_tag(frame, *e1000_register(card, E1000_VET) & 0xffff,
			(uint16_t)(frame->last.high >> 16));
	}
	return send(card, &header, frame->bytes, frame->size);
}

static void append(struct e1000 *card, struct outgoing *frame, const struct descriptor *descriptor)
{
	/* A tag may be inserted. */
	size_t size = size_of(descriptor), room = sizeof(card->frame) - 4 - frame->size;

	if (size > room || dma_read(&card->function.dma, descriptor->address,
				   frame->bytes + frame->size, size))
		frame->good = false;
	else
		frame->size += size;
}

/* Give back the descriptors from the ring's head up to `end`. */
static void give_back(struct e1000 *card, struct e1000_ring *ring, uint32_t end)
{
	struct descriptor descriptor;
	bool report = false;

	while (ring->head != end) {
		uint64_t at = ring->base + ring->head * sizeof(descriptor);

		if (!dma_read(&card->function.dma, at, &descriptor, sizeof(descriptor)) &&
			(command_of(&descriptor) & COMMAND_REPORT)) {
			descriptor.high |= STATUS_DONE;
			dma_write(&card->function.dma, at + 12, &descriptor.high, 1);
			report = true;
		}
		ring->head = (ring->head + 1) % ring->count;
	}
	*e1000_register(card, E1000_TDH) = ring->head;
	if (report)
		e1000_interrupt(card, E1000_INTERRUPT_TXDW);
}

/* Gather the frame at the ring's head. 1: it ends before *end; 0: its end is not there yet; with
 * so many descriptors as none may have it is bad. */
static int gather(
	struct e1000 *card, const struct e1000_ring *ring, struct outgoing *frame, uint32_t *end)
{
	struct descriptor descriptor;
	unsigned count = 0;
	bool begun = false;

	*end = ring->head;
	while (*end != ring->tail && count++ < MOST_DESCRIPTORS) {
		if (dma_read(&card->function.dma, ring->base + *end * sizeof(descriptor),
			    &descriptor, sizeof(descriptor)))
			descriptor = (struct descriptor){.low = (uint32_t)COMMAND_END << 24};
		*end = (*end + 1) % ring->count;
		if (is_context(&descriptor)) {
			take_context(&card->state.context, &descriptor);
			continue;
		}
		if (!begun)
			frame->first = descriptor;
		begun = true;
		frame->last = descriptor;
		append(card, frame, &descriptor);
		if (command_of(&descriptor) & COMMAND_END)
			return 1;
	}
	/* Contexts alone are done with. */
	frame->good = frame->good && !begun;
	return count > MOST_DESCRIPTORS || (!begun && count);
}

/* False: there is no more to do now. */
static bool transmit_one(struct e1000 *card)
{
	struct outgoing frame = {.bytes = card->frame, .good = true};
	struct e1000_ring ring;
	uint32_t end;

	if (!(*e1000_register(card, E1000_TCTL) & E1000_TCTL_EN) || card->blocked ||
		!e1000_ring(card, E1000_TDBAL, &ring) || ring.head == ring.tail ||
		!gather(card, &ring, &frame, &end))
		return false;
	if (send_frame(card, &frame) == -EAGAIN) {
		card->blocked = true;
		return false;
	}
	*e1000_register(card, E1000_GPTC) += frame.size > 0;
	give_back(card, &ring, end);
	if (ring.head == ring.tail)
		e1000_interrupt(card, E1000_INTERRUPT_TXQE);
	return true;
}

void e1000_transmit(void *opaque)
{
	struct e1000 *card = opaque;
	unsigned frames = 0;

	priority_lock_take(card->lock);
	while (card->running && frames < E1000_BATCH && transmit_one(card))
		frames++;
	priority_lock_release(card->lock);
	if (frames && card->backend->ops->flush)
		card->backend->ops->flush(card->backend);
	if (frames == E1000_BATCH)
		worker_post(card->worker, &card->transmit);
}

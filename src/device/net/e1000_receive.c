/* Frames for the guest (82540EM manual, 3.2). A frame for which the guest has made too few buffers
 * available waits here, and the back end is told not to call until there are more. */
#include "device/net/e1000_internal.h"
#include "host/net/offload.h"

#include <string.h>

#define STATUS_DONE    BIT(0)
#define STATUS_END     BIT(1) /* of the frame */
#define STATUS_NO_SUM  BIT(2) /* no checksum was looked at */
#define STATUS_VLAN    BIT(3) /* there was a tag, which is in `special` */
#define STATUS_TCP_SUM BIT(5)

#define LEAST_FRAME   60
#define CRC_SIZE      4
#define RXCSUM_TCP    BIT(9)
#define ADDRESS_VALID BIT(31)
#define ADDRESSES     16

struct descriptor {
	uint64_t address;
	uint16_t length, checksum;
	uint8_t status, errors;
	uint16_t special;
};

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static size_t buffer_size(uint32_t rctl)
{
	unsigned shift = rctl >> E1000_RCTL_SIZE_SHIFT & 3;

	return rctl & E1000_RCTL_BSEX ? 32768 >> shift : 2048 >> shift;
}

/* --- the filter --- */

static bool has_tag(struct e1000 *card, const uint8_t *frame)
{
	return get16(frame + 12) == (*e1000_register(card, E1000_VET) & 0xffff);
}

static bool is_own(struct e1000 *card, const uint8_t *frame)
{
	for (unsigned i = 0; i < ADDRESSES; i++) {
		const uint32_t *address = e1000_register(card, E1000_RA + 8 * i);

		if ((address[1] & ADDRESS_VALID) && !memcmp(frame, address, 6))
			return true;
	}
	return false;
}

/* 12 bits of the address, from a bit on that the driver has chosen, are an index to a bitmap. */
static bool is_in_multicast_table(struct e1000 *card, uint32_t rctl, const uint8_t *frame)
{
	static const uint8_t shifts[] = {4, 3, 2, 0};
	unsigned shift = shifts[rctl >> E1000_RCTL_MO_SHIFT & 3];
	unsigned hash = ((unsigned)frame[5] << 8 | frame[4]) >> shift & 0xfff;

	return *e1000_register(card, E1000_MTA + (hash >> 5) * 4) >> (hash & 31) & 1;
}

static bool is_wanted(struct e1000 *card, uint32_t rctl, const uint8_t *frame)
{
	unsigned vlan;

	if ((rctl & E1000_RCTL_VFE) && has_tag(card, frame)) {
		vlan = get16(frame + 14) & 0xfff;
		if (!(*e1000_register(card, E1000_VFTA + (vlan >> 5) * 4) >> (vlan & 31) & 1))
			return false;
	}
	if (!memcmp(frame, broadcast, sizeof(broadcast)))
		return rctl & E1000_RCTL_BAM;
	if (is_own(card, frame))
		return true;
	if (frame[0] & 1)
		return (rctl & E1000_RCTL_MPE) || is_in_multicast_table(card, rctl, frame);
	return rctl & E1000_RCTL_UPE;
}

/* --- buffers --- */

struct incoming {
	uint8_t *bytes;
	size_t size;
	struct descriptor last; /* status, errors and special of the last descriptor */
};

/* Bring the frame into the form in which it is stored. */
static struct incoming prepare(struct e1000 *card, uint32_t rctl)
{
	const struct virtio_net_hdr_v1 *header = (const void *)card->arrived;
	struct incoming frame = {
		.bytes = card->arrived + NET_HEADER,
		.size = card->waiting - NET_HEADER,
		.last.status = STATUS_DONE | STATUS_END,
	};
	bool checked = header->flags & VIRTIO_NET_HDR_F_DATA_VALID;

	frame.last.status |= checked && (*e1000_register(card, E1000_RXCSUM) & RXCSUM_TCP)
				     ? STATUS_TCP_SUM
				     : STATUS_NO_SUM;
	if ((*e1000_register(card, E1000_CTRL) & E1000_CTRL_VME) && has_tag(card, frame.bytes) &&
		frame.size >= 18) {
		frame.last.status |= STATUS_VLAN;
		frame.last.special = (uint16_t)get16(frame.bytes + 14);
		memmove(frame.bytes + 12, frame.bytes + 16, frame.size - 16);
		frame.size -= 4;
	}
	if (frame.size < LEAST_FRAME) {
		memset(frame.bytes + frame.size, 0, LEAST_FRAME - frame.size);
		frame.size = LEAST_FRAME;
	}
	/* Drivers cut off the CRC unread; a correct one would cost time. */
	if (!(rctl & E1000_RCTL_SECRC)) {
		memset(frame.bytes + frame.size, 0, CRC_SIZE);
		frame.size += CRC_SIZE;
	}
	return frame;
}

/* Store the frame in as many buffers as it takes, which are there. */
static void store(
	struct e1000 *card, struct e1000_ring *ring, const struct incoming *frame, size_t buffer)
{
	struct dma *dma = &card->function.dma;
	struct descriptor descriptor;

	for (size_t done = 0, part; done < frame->size; done += part) {
		uint64_t at = ring->base + ring->head * sizeof(descriptor);

		part = MIN(buffer, frame->size - done);
		/* What the guest has made unreadable it loses. */
		if (!dma_read(dma, at, &descriptor.address, sizeof(descriptor.address)) &&
			descriptor.address)
			dma_write(dma, descriptor.address, frame->bytes + done, part);
		descriptor.length = (uint16_t)part;
		descriptor.checksum = 0;
		descriptor.errors = 0;
		descriptor.special = frame->last.special;
		descriptor.status = frame->last.status;
		if (done + part < frame->size)
			descriptor.status &= (uint8_t)~STATUS_END;
		/* The status is last, for the driver looks at it. */
		dma_write(dma, at + 8, &descriptor.length, 4);
		dma_write(dma, at + 13, &descriptor.errors, 3);
		dma_write(dma, at + 12, &descriptor.status, 1);
		ring->head = (ring->head + 1) % ring->count;
	}
	*e1000_register(card, E1000_RDH) = ring->head;
	*e1000_register(card, E1000_GPRC) += 1;
	e1000_interrupt(card, E1000_INTERRUPT_RXT0);
}

/* The frame that waits is stored or dropped. False: there are too few buffers. */
static bool deliver(struct e1000 *card)
{
	uint32_t rctl = *e1000_register(card, E1000_RCTL);
	size_t size = card->waiting - NET_HEADER, buffer = buffer_size(rctl), needed;
	struct incoming frame;
	struct e1000_ring ring;

	if (!(rctl & E1000_RCTL_EN) || size < NET_ETHERNET ||
		(size > NET_SMALL_FRAME && !(rctl & E1000_RCTL_LPE)) ||
		!is_wanted(card, rctl, card->arrived + NET_HEADER) ||
		!e1000_ring(card, E1000_RDBAL, &ring))
		return true;
	needed = (MAX(size, LEAST_FRAME) + CRC_SIZE + buffer - 1) / buffer;
	if (needed >= ring.count)
		return true;
	if ((ring.tail + ring.count - ring.head) % ring.count < needed) {
		e1000_interrupt(card, E1000_INTERRUPT_RXO);
		return false;
	}
	frame = prepare(card, rctl);
	store(card, &ring, &frame, buffer);
	return true;
}

/* False: there is nothing to do until the back end or the guest has more. */
static bool receive_one(struct e1000 *card)
{
	const struct iovec piece = {card->arrived, NET_MAX_FRAME};
	ssize_t size;

	if (!card->waiting) {
		size = card->backend->ops->receive(card->backend, 0, &piece, 1);
		if (size < 0)
			return size != -EAGAIN;
		card->waiting = (size_t)size;
	}
	if (card->waiting > NET_HEADER && !deliver(card))
		return false;
	card->waiting = 0;
	return true;
}

void e1000_receive(void *opaque)
{
	struct e1000 *card = opaque;
	unsigned frames = 0;
	bool starved;

	priority_lock_take(card->lock);
	while (card->running && frames < E1000_BATCH && receive_one(card))
		frames++;
	starved = !card->running || card->waiting;
	priority_lock_release(card->lock);
	if (starved != card->starved)
		card->backend->ops->want_receive(card->backend, 0, !starved);
	card->starved = starved;
	if (frames == E1000_BATCH)
		worker_post(card->worker, &card->receive);
}

/* Virtqueues: the ring that a driver and a device share in guest RAM (virtio 1.2, 2.7 and 2.8).
 *
 * The two kinds of ring differ in where a chain is announced and where it is given back:
 *
 *	split	the driver area has the heads of new chains and an index that counts them; the
 *		device area has the heads of those given back and another index
 *	packed	both happen in the descriptors themselves: two bits of their flags, compared with a
 *		wrap counter, say whose they are
 *
 * What a chain consists of is gathered by the same code for both (add_buffer()).
 *
 * The guest's processors write while we read, and a driver may be malicious:
 *
 *  1. An index or a descriptor is copied out of guest RAM once and then checked; only the copy is
 *     used. What the copy says about other memory goes through dma_range().
 *  2. Whatever says that there is more (available index, flags of a packed descriptor) is loaded
 *     with acquire before what it announces, and what announces our work is stored with release
 *     after it.
 *  3. Both ends tell the other not to call, sleep, and must not miss each other's last word. Each
 *     stores first (an index, or a wish to be called) and loads then (the other's wish, or index),
 *     with a full fence in between: one of the two always sees the other's store.
 *  4. A chain takes as many steps as its table has descriptors at most, so a loop ends.
 *
 * The device's stores to the ring itself are reported like those to any other memory
 * (dma_range_written()). */
#include "device/virtio/queue.h"

#include "device/virtio/virtio.h"

#include <string.h>

#define DESCRIPTOR_SIZE 16
#define FLAGS_OFFSET    14 /* in a packed descriptor */

/* The driver's area of a split ring, and the device's (2.7.6, 2.7.8). Both end in the index at
 * which the other end is to call (VIRTIO_F_EVENT_IDX). */
#define SPLIT_FLAGS          0
#define SPLIT_INDEX          2
#define SPLIT_RING           4
#define SPLIT_DRIVER_SIZE(n) (SPLIT_RING + 2 * (n) + 2)
#define SPLIT_DEVICE_SIZE(n) (SPLIT_RING + 8 * (n) + 2)
#define SPLIT_DO_NOT_CALL    1 /* VIRTQ_AVAIL_F_NO_INTERRUPT, VIRTQ_USED_F_NO_NOTIFY */

/* The areas of a packed ring beside the descriptors: when to call (2.8.14). */
#define PACKED_EVENT_AT   0
#define PACKED_EVENT_HOW  2
#define PACKED_EVENT_SIZE 4

enum packed_event { CALL_ALWAYS, CALL_NEVER, CALL_AT };

enum descriptor_flags {
	DESCRIPTOR_NEXT = 1,
	DESCRIPTOR_WRITE = 2, /* by the device */
	DESCRIPTOR_INDIRECT = 4,
	DESCRIPTOR_AVAILABLE = 1 << 7, /* packed */
	DESCRIPTOR_USED = 1 << 15,
};

#define WRAPPED 0x8000 /* in virtqueue_setup's positions and a packed ring's event */

struct split_descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct packed_descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t id, flags;
};

/* Both areas' fields are aligned, as virtqueue_start() has checked. */
static uint16_t load(const uint8_t *at)
{
	return atomic_load_explicit((const _Atomic uint16_t *)at, memory_order_relaxed);
}

static uint16_t load_acquire(const uint8_t *at)
{
	return atomic_load_explicit((const _Atomic uint16_t *)at, memory_order_acquire);
}

static void store(uint8_t *at, uint16_t value)
{
	atomic_store_explicit((_Atomic uint16_t *)at, value, memory_order_relaxed);
}

static void store_release(uint8_t *at, uint16_t value)
{
	atomic_store_explicit((_Atomic uint16_t *)at, value, memory_order_release);
}

/* Copy a descriptor out of guest RAM. The empty statement makes the compiler believe that the copy
 * was changed, so it cannot read the guest's a second time in its place. */
static void copy_descriptor(void *copy, const uint8_t *at)
{
	memcpy(copy, at, DESCRIPTOR_SIZE);
	__asm__ volatile("" : "+m"(*(uint8_t(*)[DESCRIPTOR_SIZE])copy));
}

static void report_stores(struct virtqueue *queue, uint8_t *at, uint64_t size)
{
	struct iovec piece = {at, size};

	dma_range_written(queue->dma, &piece, 1, size);
}

/* --- starting --- */

/* An area of the ring in host memory; NULL where it is not one piece of RAM, or misaligned. */
static uint8_t *area(struct dma *dma, uint64_t address, uint64_t size, unsigned alignment)
{
	struct iovec piece;

	if (address % alignment || dma_range(dma, address, size, true, &piece, 1) != 1)
		return NULL;
	return piece.iov_base;
}

static bool size_possible(const struct virtqueue *queue)
{
	unsigned size = queue->setup.size;

	return size && size <= VIRTQUEUE_MAX_SIZE && (queue->packed || !(size & (size - 1)));
}

static bool positions_possible(const struct virtqueue *queue)
{
	return !queue->packed || ((queue->setup.next_available & ~WRAPPED) < queue->setup.size &&
					 (queue->setup.next_used & ~WRAPPED) < queue->setup.size);
}

int virtqueue_start(struct virtqueue *queue, struct dma *dma, const struct virtqueue_setup *setup,
	unsigned index, uint64_t features)
{
	unsigned size = setup->size;

	*queue = (struct virtqueue){
		.dma = dma,
		.setup = *setup,
		.packed = features & VIRTIO_F_RING_PACKED,
		.event_index = features & VIRTIO_F_EVENT_IDX,
		.indirect = features & VIRTIO_F_INDIRECT_DESC,
		.in_order = features & VIRTIO_F_IN_ORDER,
		.interrupt = queue->interrupt,
		.drained = queue->drained,
		.opaque = queue->opaque,
		.index = index,
	};
	queue->broken = true;
	if (!size_possible(queue) || !positions_possible(queue))
		return -EINVAL;
	queue->descriptors = area(dma, setup->descriptors, size * DESCRIPTOR_SIZE, DESCRIPTOR_SIZE);
	queue->driver = queue->packed ? area(dma, setup->driver, PACKED_EVENT_SIZE, 4)
				      : area(dma, setup->driver, SPLIT_DRIVER_SIZE(size), 2);
	queue->device = queue->packed ? area(dma, setup->device, PACKED_EVENT_SIZE, 4)
				      : area(dma, setup->device, SPLIT_DEVICE_SIZE(size), 4);
	if (!queue->descriptors || !queue->driver || !queue->device)
		return -EINVAL;
	queue->next_available = setup->next_available;
	queue->next_used = setup->next_used;
	if (queue->packed) {
		queue->available_wrap = !(queue->next_available & WRAPPED);
		queue->used_wrap = !(queue->next_used & WRAPPED);
		queue->next_available &= ~WRAPPED;
		queue->next_used &= ~WRAPPED;
	}
	queue->told_used = queue->next_used;
	queue->told_wrap = queue->used_wrap;
	/* What the ring says about them is not known; the first look at an empty ring says it. */
	queue->notifications_off = true;
	queue->broken = false;
	return 0;
}

void virtqueue_stop(struct virtqueue *queue)
{
	queue->stopped = true;
	if (!queue->in_flight && queue->drained)
		queue->drained(queue->opaque, queue);
}

void virtqueue_position(const struct virtqueue *queue, struct virtqueue_setup *setup)
{
	setup->next_available = queue->next_available;
	setup->next_used = queue->next_used;
	if (queue->packed && !queue->available_wrap)
		setup->next_available |= WRAPPED;
	if (queue->packed && !queue->used_wrap)
		setup->next_used |= WRAPPED;
}

/* Go forward in a packed ring: at most the whole ring. */
static void advance(const struct virtqueue *queue, uint16_t *position, bool *wrap, unsigned count)
{
	unsigned next = *position + count;

	if (next >= queue->setup.size) {
		next -= queue->setup.size;
		*wrap = !*wrap;
	}
	*position = (uint16_t)next;
}

/* --- what the driver has made available --- */

/* How many chains there are; -EINVAL: the driver says that there are more than fit. */
static int available_split(const struct virtqueue *queue)
{
	uint16_t count = load_acquire(queue->driver + SPLIT_INDEX) - queue->next_available;

	return count > queue->setup.size ? -EINVAL : count;
}

/* 1 or 0: descriptors are the driver's as long as their bits differ (2.8.1). */
static int available_packed(const struct virtqueue *queue)
{
	uint16_t flags = load_acquire(
		queue->descriptors + queue->next_available * DESCRIPTOR_SIZE + FLAGS_OFFSET);
	bool available = flags & DESCRIPTOR_AVAILABLE, used = flags & DESCRIPTOR_USED;

	return available == queue->available_wrap && used != queue->available_wrap;
}

static int available(const struct virtqueue *queue)
{
	return queue->packed ? available_packed(queue) : available_split(queue);
}

bool virtqueue_has_more(struct virtqueue *queue)
{
	return !queue->broken && !queue->stopped && dma_enabled(queue->dma) && available(queue) > 0;
}

/* A split ring with event index has nothing to store: the driver calls when its index passes the
 * one that we have asked for, and that lies behind us. */
static void stop_notifications(struct virtqueue *queue)
{
	if (queue->packed)
		store(queue->device + PACKED_EVENT_HOW, CALL_NEVER);
	else if (!queue->event_index)
		store(queue->device + SPLIT_FLAGS, SPLIT_DO_NOT_CALL);
	queue->notifications_off = true;
}

static void allow_notifications(struct virtqueue *queue)
{
	unsigned size = queue->setup.size;
	uint8_t *event = queue->device + (queue->packed ? PACKED_EVENT_AT : SPLIT_RING + 8 * size);

	if (queue->packed) {
		store(event, queue->next_available | (queue->available_wrap ? WRAPPED : 0));
		store_release(queue->device + PACKED_EVENT_HOW,
			queue->event_index ? CALL_AT : CALL_ALWAYS);
		report_stores(queue, queue->device, PACKED_EVENT_SIZE);
	} else if (queue->event_index) {
		store(event, queue->next_available);
		report_stores(queue, event, 2);
	} else {
		store(queue->device + SPLIT_FLAGS, 0);
		report_stores(queue, queue->device, 2);
	}
	queue->notifications_off = false;
	atomic_thread_fence(memory_order_seq_cst);
}

/* --- gathering a chain --- */

/* Add a descriptor's buffer to the chain. */
static int add_buffer(struct virtqueue *queue, struct virtio_chain *chain, uint64_t address,
	uint32_t length, bool write)
{
	unsigned used = chain->readable + chain->writable;
	int count;

	if (!length || (!write && chain->writable))
		return -EINVAL;
	if (chain->readable_bytes + chain->writable_bytes + length > BIT(32))
		return -EINVAL;
	count = dma_range(
		queue->dma, address, length, write, chain->pieces + used, chain->limit - used);
	if (count < 0)
		return -EINVAL;
	if (write) {
		chain->writable += (unsigned)count;
		chain->writable_bytes += length;
	} else {
		chain->readable += (unsigned)count;
		chain->readable_bytes += length;
	}
	return 0;
}

/* The table that an indirect descriptor refers to; NULL: impossible. */
static const uint8_t *indirect_table(
	const struct virtqueue *queue, uint64_t address, uint32_t length, uint16_t flags)
{
	struct iovec piece;

	if (!queue->indirect || flags & DESCRIPTOR_NEXT)
		return NULL;
	if (!length || length % DESCRIPTOR_SIZE || length > VIRTQUEUE_MAX_SIZE * DESCRIPTOR_SIZE)
		return NULL;
	return dma_range(queue->dma, address, length, false, &piece, 1) == 1 ? piece.iov_base
									     : NULL;
}

/* The chain that begins at `index`: through the queue's own table, and then perhaps through one
 * indirect table to its end (2.7.5.3). */
static int gather_split(struct virtqueue *queue, struct virtio_chain *chain, uint16_t index)
{
	const uint8_t *table = queue->descriptors;
	unsigned size = queue->setup.size, steps = 0;
	bool indirect = false;
	struct split_descriptor descriptor;

	do {
		if (index >= size || steps++ == size)
			return -EINVAL;
		copy_descriptor(&descriptor, table + index * DESCRIPTOR_SIZE);
		index = descriptor.next;
		if (!(descriptor.flags & DESCRIPTOR_INDIRECT)) {
			if (add_buffer(queue, chain, descriptor.address, descriptor.length,
				    descriptor.flags & DESCRIPTOR_WRITE) < 0)
				return -EINVAL;
			continue;
		}
		table = indirect_table(
			queue, descriptor.address, descriptor.length, descriptor.flags);
		if (indirect || !table)
			return -EINVAL;
		indirect = true;
		size = descriptor.length / DESCRIPTOR_SIZE;
		steps = index = 0;
		descriptor.flags |= DESCRIPTOR_NEXT; /* its first one */
	} while (descriptor.flags & DESCRIPTOR_NEXT);
	return 0;
}

static int take_split(struct virtqueue *queue, struct virtio_chain *chain)
{
	unsigned slot = queue->next_available & (queue->setup.size - 1u);

	chain->id = load(queue->driver + SPLIT_RING + 2 * slot);
	chain->descriptors = 1;
	if (gather_split(queue, chain, chain->id) < 0)
		return -EINVAL;
	queue->next_available++;
	return 0;
}

/* In a packed ring's indirect table all descriptors belong to the chain, one after another, and
 * only DESCRIPTOR_WRITE means anything (2.8.7). */
static int gather_packed_table(
	struct virtqueue *queue, struct virtio_chain *chain, const uint8_t *table, uint32_t length)
{
	struct packed_descriptor descriptor;

	for (uint32_t at = 0; at < length; at += DESCRIPTOR_SIZE) {
		copy_descriptor(&descriptor, table + at);
		if (descriptor.flags & DESCRIPTOR_INDIRECT)
			return -EINVAL;
		if (add_buffer(queue, chain, descriptor.address, descriptor.length,
			    descriptor.flags & DESCRIPTOR_WRITE) < 0)
			return -EINVAL;
	}
	return 0;
}

static int take_packed(struct virtqueue *queue, struct virtio_chain *chain)
{
	uint16_t position = queue->next_available;
	bool wrap = queue->available_wrap;
	struct packed_descriptor descriptor;

	do {
		const uint8_t *table;
		int error;

		if (chain->descriptors++ == queue->setup.size)
			return -EINVAL;
		copy_descriptor(&descriptor, queue->descriptors + position * DESCRIPTOR_SIZE);
		advance(queue, &position, &wrap, 1);
		if (descriptor.flags & DESCRIPTOR_INDIRECT) {
			table = indirect_table(
				queue, descriptor.address, descriptor.length, descriptor.flags);
			error = !table ? -EINVAL
				       : gather_packed_table(
						 queue, chain, table, descriptor.length);
		} else {
			error = add_buffer(queue, chain, descriptor.address, descriptor.length,
				descriptor.flags & DESCRIPTOR_WRITE);
		}
		if (error)
			return error;
	} while (descriptor.flags & DESCRIPTOR_NEXT);
	chain->id = descriptor.id; /* the last one's counts (2.8.6) */
	queue->next_available = position;
	queue->available_wrap = wrap;
	return 0;
}

int virtqueue_take(struct virtqueue *queue, struct virtio_chain *chain)
{
	int count;

	if (queue->stopped)
		return 0;
	if (queue->broken)
		return -EINVAL;
	/* Without bus mastering the device does not see the ring. */
	if (!dma_enabled(queue->dma))
		return 0;
	count = available(queue);
	if (!count && queue->notifications_off) {
		allow_notifications(queue);
		count = available(queue);
	}
	if (!count)
		return 0;
	if (!queue->notifications_off)
		stop_notifications(queue);
	*chain = (struct virtio_chain){.pieces = chain->pieces, .limit = chain->limit};
	/* Each chain in flight has at least one descriptor of its own. */
	if (count < 0 || queue->in_flight >= queue->setup.size ||
		(queue->packed ? take_packed : take_split)(queue, chain) < 0) {
		queue->broken = true;
		return -EINVAL;
	}
	queue->in_flight++;
	return 1;
}

void virtqueue_untake(struct virtqueue *queue, const struct virtio_chain *chain)
{
	queue->in_flight--;
	if (!queue->packed) {
		queue->next_available--;
	} else if (queue->next_available >= chain->descriptors) {
		queue->next_available -= chain->descriptors;
	} else {
		queue->next_available += queue->setup.size - chain->descriptors;
		queue->available_wrap = !queue->available_wrap;
	}
}

/* --- giving back --- */

static uint32_t written_bytes(const struct virtio_chain *chain, uint32_t written)
{
	return (uint32_t)MIN(written, chain->writable_bytes);
}

static void give_back_split(struct virtqueue *queue, const struct virtio_chain *chains,
	const uint32_t *written, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned slot = queue->next_used++ & (queue->setup.size - 1u);
		_Atomic uint32_t *element =
			(_Atomic uint32_t *)(queue->device + SPLIT_RING + 8 * slot);

		atomic_store_explicit(&element[0], chains[i].id, memory_order_relaxed);
		atomic_store_explicit(
			&element[1], written_bytes(&chains[i], written[i]), memory_order_relaxed);
	}
	store_release(queue->device + SPLIT_INDEX, queue->next_used);
}

/* A chain's first descriptor is overwritten, at the place where those that were given back end; the
 * driver knows how many to skip (2.8.6). It does not look at the second chain before it has found
 * the first one, so the flags of that are stored last. */
static void give_back_packed(struct virtqueue *queue, const struct virtio_chain *chains,
	const uint32_t *written, unsigned count)
{
	uint8_t *first_at = NULL;
	uint16_t first_flags = 0;

	for (unsigned i = 0; i < count; i++) {
		uint8_t *at = queue->descriptors + queue->next_used * DESCRIPTOR_SIZE;
		uint32_t bytes = written_bytes(&chains[i], written[i]);
		uint16_t flags = queue->used_wrap ? DESCRIPTOR_AVAILABLE | DESCRIPTOR_USED : 0;

		if (bytes)
			flags |= DESCRIPTOR_WRITE;
		atomic_store_explicit((_Atomic uint32_t *)(at + 8), bytes, memory_order_relaxed);
		store(at + 12, chains[i].id);
		if (i) {
			store(at + FLAGS_OFFSET, flags);
		} else {
			first_at = at;
			first_flags = flags;
		}
		advance(queue, &queue->next_used, &queue->used_wrap, chains[i].descriptors);
	}
	store_release(first_at + FLAGS_OFFSET, first_flags);
}

void virtqueue_give_back_together(struct virtqueue *queue, const struct virtio_chain *chains,
	const uint32_t *written, unsigned count)
{
	if (!count)
		return;
	queue->in_flight -= count;
	for (unsigned i = 0; i < count; i++)
		dma_range_written(queue->dma, chains[i].pieces + chains[i].readable,
			chains[i].writable, written_bytes(&chains[i], written[i]));
	if (dma_enabled(queue->dma))
		(queue->packed ? give_back_packed : give_back_split)(queue, chains, written, count);
	if (queue->stopped && !queue->in_flight && queue->drained)
		queue->drained(queue->opaque, queue);
}

void virtqueue_give_back(
	struct virtqueue *queue, const struct virtio_chain *chain, uint32_t written)
{
	virtqueue_give_back_together(queue, chain, &written, 1);
}

/* Has the index that goes from `old` to `new` passed `event` (2.7.10)? */
static bool passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static bool driver_wants_split(const struct virtqueue *queue)
{
	if (!queue->event_index)
		return !(load(queue->driver + SPLIT_FLAGS) & SPLIT_DO_NOT_CALL);
	return passed(load(queue->driver + SPLIT_RING + 2 * queue->setup.size), queue->next_used,
		queue->told_used);
}

/* A place in a ring of another wrap counter than ours lies one ring behind (2.8.10). */
static bool driver_wants_packed(const struct virtqueue *queue)
{
	uint16_t how = load_acquire(queue->driver + PACKED_EVENT_HOW);
	uint16_t at = load(queue->driver + PACKED_EVENT_AT), size = queue->setup.size;
	uint16_t event = at & ~WRAPPED, old = queue->told_used;

	if (how != CALL_AT || !queue->event_index)
		return how != CALL_NEVER;
	if (!(at & WRAPPED) == queue->used_wrap)
		event -= size;
	if (queue->told_wrap != queue->used_wrap)
		old -= size;
	return passed(event, queue->next_used, old);
}

void virtqueue_tell_driver(struct virtqueue *queue)
{
	bool wanted;

	if (queue->next_used == queue->told_used && queue->used_wrap == queue->told_wrap)
		return;
	if (queue->packed)
		report_stores(queue, queue->descriptors, queue->setup.size * DESCRIPTOR_SIZE);
	else
		report_stores(queue, queue->device, SPLIT_DEVICE_SIZE(queue->setup.size));
	atomic_thread_fence(memory_order_seq_cst);
	wanted = queue->packed ? driver_wants_packed(queue) : driver_wants_split(queue);
	queue->told_used = queue->next_used;
	queue->told_wrap = queue->used_wrap;
	if (wanted && dma_enabled(queue->dma))
		queue->interrupt(queue->opaque, queue);
}

/* --- the bytes of a chain --- */

/* Copy between `buffer` and pieces, from byte `offset` of those on. */
static uint64_t copy(const struct iovec *pieces, unsigned count, uint64_t offset, uint8_t *to,
	const uint8_t *from, uint64_t size)
{
	uint64_t done = 0;

	for (unsigned i = 0; i < count && done < size; i++) {
		uint64_t some = pieces[i].iov_len;
		uint8_t *at = pieces[i].iov_base;

		if (offset >= some) {
			offset -= some;
			continue;
		}
		some = MIN(some - offset, size - done);
		if (to)
			memcpy(to + done, at + offset, some);
		else
			memcpy(at + offset, from + done, some);
		done += some;
		offset = 0;
	}
	return done;
}

uint64_t virtio_chain_read(
	const struct virtio_chain *chain, uint64_t offset, void *buffer, uint64_t size)
{
	return copy(chain->pieces, chain->readable, offset, buffer, NULL, size);
}

uint64_t virtio_chain_write(
	const struct virtio_chain *chain, uint64_t offset, const void *buffer, uint64_t size)
{
	return copy(chain->pieces + chain->readable, chain->writable, offset, NULL, buffer, size);
}

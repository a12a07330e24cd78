/* The driver's end of a virtqueue, split or packed, for tests of the device's end. It keeps its
 * rings where it is told and gives out descriptors as a driver does: those of a chain that has come
 * back are free again. */
#ifndef VENEER_TESTS_VIRTIO_DRIVER_H
#define VENEER_TESTS_VIRTIO_DRIVER_H

#include "device/virtio/virtio.h"

#include <linux/virtio_ring.h>
#include <string.h>

#define DRIVER_MAX_SIZE 256

struct driver {
	uint8_t *ram; /* host address of guest address 0 */
	bool packed, event_index;
	uint16_t size;
	uint64_t descriptors, driver, device; /* guest addresses */

	uint16_t free[DRIVER_MAX_SIZE], free_count; /* descriptors (split) or IDs (packed) */
	uint16_t chain_length[DRIVER_MAX_SIZE];     /* by the chain's ID */
	uint16_t next_available, next_used;
	uint16_t added; /* by how much next_available has moved since driver_must_notify() */
	bool available_wrap, used_wrap;
	unsigned room; /* descriptors that are free */
};

/* One buffer of a chain. */
struct buffer {
	uint64_t address;
	uint32_t length;
	uint16_t flags; /* VRING_DESC_F_WRITE, VRING_DESC_F_INDIRECT */
};

static inline void *driver_at(const struct driver *driver, uint64_t address)
{
	return driver->ram + address;
}

static inline struct vring_desc *split_descriptors(const struct driver *driver)
{
	return driver_at(driver, driver->descriptors);
}

static inline struct vring_packed_desc *packed_descriptors(const struct driver *driver)
{
	return driver_at(driver, driver->descriptors);
}

static inline _Atomic uint16_t *driver_word(const struct driver *driver, uint64_t address)
{
	return driver_at(driver, address);
}

/* Lay the areas out one after another from `base`, which is aligned to a page. */
static inline void driver_init(struct driver *driver, uint8_t *ram, uint64_t base, uint16_t size,
	bool packed, bool event_index)
{
	*driver = (struct driver){
		.ram = ram,
		.packed = packed,
		.event_index = event_index,
		.size = size,
		.descriptors = base,
		.driver = base + 16u * size,
		.device = ALIGN_UP(base + 16u * size + 6 + 2u * size, 4),
		.free_count = size,
		.room = size,
		.available_wrap = true,
		.used_wrap = true,
	};
	memset(ram + base, 0, 16u * size + 6 + 2u * size + 4 + 6 + 8u * size);
	for (uint16_t i = 0; i < size; i++)
		driver->free[i] = (uint16_t)(size - 1 - i);
}

static inline struct virtqueue_setup driver_setup(const struct driver *driver)
{
	return (struct virtqueue_setup){.size = driver->size,
		.descriptors = driver->descriptors,
		.driver = driver->driver,
		.device = driver->device,
		.enabled = true};
}

static inline int driver_add_split(
	struct driver *driver, const struct buffer *buffers, unsigned count)
{
	uint16_t head = driver->free[driver->free_count - 1], slot;

	for (unsigned i = 0; i < count; i++) {
		uint16_t index = driver->free[--driver->free_count];
		uint16_t next = i + 1 < count ? driver->free[driver->free_count - 1] : 0;

		split_descriptors(driver)[index] = (struct vring_desc){buffers[i].address,
			buffers[i].length,
			(uint16_t)(buffers[i].flags | (i + 1 < count ? VRING_DESC_F_NEXT : 0)),
			next};
	}
	driver->chain_length[head] = (uint16_t)count;
	driver->added++;
	slot = driver->next_available++ % driver->size;
	*driver_word(driver, driver->driver + 4 + 2u * slot) = head;
	atomic_store(driver_word(driver, driver->driver + 2), driver->next_available);
	return head;
}

static inline int driver_add_packed(
	struct driver *driver, const struct buffer *buffers, unsigned count)
{
	uint16_t id = driver->free[--driver->free_count], first_flags = 0;
	struct vring_packed_desc *first = &packed_descriptors(driver)[driver->next_available];

	for (unsigned i = 0; i < count; i++) {
		struct vring_packed_desc *at = &packed_descriptors(driver)[driver->next_available];
		uint16_t flags = buffers[i].flags | (i + 1 < count ? VRING_DESC_F_NEXT : 0);

		flags |= driver->available_wrap ? 1 << VRING_PACKED_DESC_F_AVAIL
						: 1 << VRING_PACKED_DESC_F_USED;
		at->addr = buffers[i].address;
		at->len = buffers[i].length;
		at->id = id;
		if (i)
			at->flags = flags;
		else
			first_flags = flags;
		if (++driver->next_available == driver->size) {
			driver->next_available = 0;
			driver->available_wrap = !driver->available_wrap;
		}
	}
	driver->chain_length[id] = (uint16_t)count;
	driver->added += (uint16_t)count;
	atomic_store((_Atomic uint16_t *)&first->flags, first_flags);
	return id;
}

/* Make a chain available: its ID, or -1 where the ring has no room. */
static inline int driver_add(struct driver *driver, const struct buffer *buffers, unsigned count)
{
	if (driver->room < count)
		return -1;
	driver->room -= count;
	return driver->packed ? driver_add_packed(driver, buffers, count)
			      : driver_add_split(driver, buffers, count);
}

/* Is the device to be notified of what was added since this was last asked? */
static inline bool driver_must_notify(struct driver *driver)
{
	uint16_t new = driver->next_available, old = new - driver->added, event, how;

	atomic_thread_fence(memory_order_seq_cst);
	driver->added = 0;
	if (driver->packed) {
		how = *driver_word(driver, driver->device + 2);
		event = *driver_word(driver, driver->device);
		if (how != VRING_PACKED_EVENT_FLAG_DESC)
			return how == VRING_PACKED_EVENT_FLAG_ENABLE;
		return vring_need_event(
			(uint16_t)((event & 0x7fff) -
				   (event >> 15 != driver->available_wrap) * driver->size),
			new, old);
	}
	if (driver->event_index)
		return vring_need_event(
			*driver_word(driver, driver->device + 4 + 8u * driver->size), new, old);
	return !(*driver_word(driver, driver->device) & VRING_USED_F_NO_NOTIFY);
}

/* The next chain that has come back: its ID, and how many bytes were written; -1: none. */
static inline int driver_get(struct driver *driver, uint32_t *written)
{
	int id;

	if (driver->packed) {
		struct vring_packed_desc *at = &packed_descriptors(driver)[driver->next_used];
		uint16_t flags = atomic_load((_Atomic uint16_t *)&at->flags);
		bool available = flags >> VRING_PACKED_DESC_F_AVAIL & 1;
		bool used = flags >> VRING_PACKED_DESC_F_USED & 1;

		if (available != used || used != driver->used_wrap)
			return -1;
		id = at->id;
		*written = at->len;
		driver->next_used += driver->chain_length[id];
		if (driver->next_used >= driver->size) {
			driver->next_used -= driver->size;
			driver->used_wrap = !driver->used_wrap;
		}
		driver->free[driver->free_count++] = (uint16_t)id;
	} else {
		uint64_t element = driver->device + 4 + 8u * (driver->next_used % driver->size);
		struct vring_used_elem *used = driver_at(driver, element);
		uint16_t index;

		if (atomic_load(driver_word(driver, driver->device + 2)) == driver->next_used)
			return -1;
		driver->next_used++;
		id = (int)used->id;
		*written = used->len;
		index = (uint16_t)id;
		for (unsigned i = 0; i < driver->chain_length[id]; i++) {
			driver->free[driver->free_count++] = index;
			index = split_descriptors(driver)[index].next;
		}
	}
	driver->room += driver->chain_length[id];
	return id;
}

/* Ask for an interrupt when the next chain comes back, or never. */
static inline void driver_want_interrupt(struct driver *driver, bool wanted)
{
	if (driver->packed) {
		*driver_word(driver, driver->driver) =
			(uint16_t)(driver->next_used | driver->used_wrap << 15);
		*driver_word(driver, driver->driver + 2) = !wanted ? VRING_PACKED_EVENT_FLAG_DISABLE
							   : driver->event_index
								   ? VRING_PACKED_EVENT_FLAG_DESC
								   : VRING_PACKED_EVENT_FLAG_ENABLE;
	} else if (driver->event_index) {
		*driver_word(driver, driver->driver + 4 + 2u * driver->size) =
			(uint16_t)(driver->next_used - !wanted);
	} else {
		*driver_word(driver, driver->driver) = wanted ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
	}
	atomic_thread_fence(memory_order_seq_cst);
}

#endif

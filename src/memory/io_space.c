#include "memory/io_space.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void io_space_init(struct io_space *space, struct priority_lock *machine_lock)
{
	memset(space, 0, sizeof(*space));
	space->lock = machine_lock;
}

void io_space_destroy(struct io_space *space)
{
	free(space->regions);
	space->regions = NULL;
	space->count = space->capacity = 0;
}

/* --- doorbells --- */

static bool holds(const struct io_doorbell *bell, uint64_t address, unsigned size)
{
	uint64_t offset = address - atomic_load_explicit(&bell->start, memory_order_acquire);
	uint64_t room = atomic_load_explicit(&bell->size, memory_order_acquire);

	return offset < room && size <= room - offset;
}

/* A doorbell that was found. */
struct ring {
	void (*ring)(void *opaque, uint64_t offset, uint64_t value);
	void *opaque;
	uint64_t offset;
	unsigned sequence;
};

/* The doorbell that the store lies in. False: there is none, or the table is changing, which it
 * does not do under the machine lock. */
static bool find_doorbell(
	struct io_space *space, uint64_t address, unsigned size, struct ring *found)
{
	unsigned sequence = atomic_load_explicit(&space->sequence, memory_order_acquire);
	unsigned count = atomic_load_explicit(&space->doorbell_count, memory_order_acquire);
	const struct io_doorbell *bell = space->doorbells, *end = bell + count;

	while (bell < end && !holds(bell, address, size))
		bell++;
	if (bell == end)
		return false;
	found->offset = address - atomic_load_explicit(&bell->base, memory_order_acquire);
	found->ring = atomic_load_explicit(&bell->ring, memory_order_acquire);
	found->opaque = atomic_load_explicit(&bell->opaque, memory_order_acquire);
	found->sequence = sequence;
	return !(sequence & 1) &&
	       sequence == atomic_load_explicit(&space->sequence, memory_order_relaxed);
}

/* Ring it, unless the table has changed since it was found: who removes a doorbell and sees that
 * nobody is ringing may free what it leads to. Each side stores first and looks then. */
static bool ring_found(struct io_space *space, const struct ring *found, uint64_t value)
{
	bool same;

	atomic_fetch_add(&space->ringing, 1);
	same = atomic_load(&space->sequence) == found->sequence;
	if (same)
		found->ring(found->opaque, found->offset, value);
	atomic_fetch_sub(&space->ringing, 1);
	return same;
}

bool io_space_doorbells_quiet(const struct io_space *space)
{
	return !atomic_load(&space->ringing);
}

/* Readers see an odd number, or another one than before, where they see any of what is stored in
 * between. */
static void begin_change(struct io_space *space)
{
	atomic_fetch_add(&space->sequence, 1);
}

static void end_change(struct io_space *space)
{
	atomic_fetch_add(&space->sequence, 1);
}

static void copy_doorbell(struct io_doorbell *to, const struct io_doorbell *from)
{
	atomic_store(&to->start, atomic_load(&from->start));
	atomic_store(&to->size, atomic_load(&from->size));
	atomic_store(&to->base, atomic_load(&from->base));
	atomic_store(&to->ring, atomic_load(&from->ring));
	atomic_store(&to->opaque, atomic_load(&from->opaque));
}

int io_space_add_doorbell(struct io_space *space, uint64_t start, uint64_t size, uint64_t base,
	void (*ring)(void *opaque, uint64_t offset, uint64_t value), void *opaque)
{
	unsigned count = atomic_load(&space->doorbell_count);
	const struct io_doorbell bell = {start, size, base, ring, opaque};

	if (count == IO_DOORBELLS)
		return -ENOSPC;
	begin_change(space);
	copy_doorbell(&space->doorbells[count], &bell);
	atomic_store(&space->doorbell_count, count + 1);
	end_change(space);
	return 0;
}

int io_space_remove_doorbell(struct io_space *space, uint64_t start)
{
	unsigned count = atomic_load(&space->doorbell_count), index = 0;

	while (index < count && atomic_load(&space->doorbells[index].start) != start)
		index++;
	if (index == count)
		return -ENOENT;
	begin_change(space);
	copy_doorbell(&space->doorbells[index], &space->doorbells[count - 1]);
	atomic_store(&space->doorbell_count, count - 1);
	end_change(space);
	return 0;
}

/* --- regions --- */

/* The index of the first region that ends above `address`: the one that holds it, if any does. */
static unsigned first_above(const struct io_space *space, uint64_t address)
{
	unsigned low = 0, high = space->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct io_region *region = &space->regions[middle];

		if (address > region->start + (region->size - 1))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool io_space_is_free(const struct io_space *space, uint64_t start, uint64_t size)
{
	unsigned index = first_above(space, start);

	return index == space->count || space->regions[index].start > start + (size - 1);
}

int io_space_add(struct io_space *space, uint64_t start, uint64_t size, const char *name,
	const struct io_ops *ops, void *opaque)
{
	unsigned index = first_above(space, start);

	if (!size || start + (size - 1) < start)
		return -EINVAL;
	if (index < space->count && space->regions[index].start <= start + (size - 1)) {
		log_error("%s at 0x%" PRIx64 " overlaps %s at 0x%" PRIx64, name, start,
			space->regions[index].name, space->regions[index].start);
		return -EEXIST;
	}
	if (space->count == space->capacity) {
		unsigned capacity = space->capacity ? 2 * space->capacity : 16;
		struct io_region *regions =
			realloc(space->regions, capacity * sizeof(*space->regions));

		if (!regions)
			return -ENOMEM;
		space->regions = regions;
		space->capacity = capacity;
	}
	memmove(&space->regions[index + 1], &space->regions[index],
		(space->count - index) * sizeof(*space->regions));
	space->regions[index] = (struct io_region){
		.start = start, .size = size, .name = name, .ops = ops, .opaque = opaque};
	space->count++;
	return 0;
}

int io_space_remove(struct io_space *space, uint64_t start)
{
	unsigned index = first_above(space, start);

	if (index == space->count || space->regions[index].start != start)
		return -ENOENT;
	space->count--;
	memmove(&space->regions[index], &space->regions[index + 1],
		(space->count - index) * sizeof(*space->regions));
	return 0;
}

/* The region that takes the whole access in one piece; NULL where it must be split, or where
 * (with *idle set) there is no device at any of its addresses. */
static const struct io_region *find_region(
	const struct io_space *space, uint64_t address, unsigned size, bool *idle)
{
	unsigned index = first_above(space, address);
	const struct io_region *region;

	*idle = index == space->count || space->regions[index].start > address + (size - 1);
	if (*idle)
		return NULL;
	region = &space->regions[index];
	if (address == region->start && region->ops->whole == size)
		return region;
	if (address < region->start || address + (size - 1) > region->start + (region->size - 1))
		return NULL;
	if (region->ops->width && size > region->ops->width)
		return NULL;
	return region;
}

/* An access was split in parts and one of them lies here, where a register wants to
 * be accessed alone. */
static bool refuses_part(const struct io_space *space, uint64_t address)
{
	unsigned index = first_above(space, address);

	return index < space->count && space->regions[index].start <= address &&
	       space->regions[index].ops->undivided;
}

/* How far an access that find_region() wants split goes in one step. */
static unsigned step_size(const struct io_space *space, uint64_t address, unsigned size)
{
	const struct io_region *region = &space->regions[first_above(space, address)];

	if (address >= region->start && address + (size - 1) <= region->start + (region->size - 1))
		return region->ops->width; /* or else it would not have been split */
	return 1;
}

static uint64_t locked_read(struct io_space *space, uint64_t address, unsigned size)
{
	bool idle;
	const struct io_region *region = find_region(space, address, size, &idle);
	uint64_t value = 0;
	unsigned step;

	if (idle)
		return bits_zero_extend(~UINT64_C(0), size);
	if (region) {
		if (!region->ops->read)
			return bits_zero_extend(~UINT64_C(0), size);
		return bits_zero_extend(
			region->ops->read(region->opaque, address - region->start, size), size);
	}
	step = step_size(space, address, size);
	for (unsigned i = 0; i < size; i += step) {
		uint64_t part = bits_zero_extend(~UINT64_C(0), step);

		if (!refuses_part(space, address + i))
			part = locked_read(space, address + i, step);
		value |= part << (8 * i);
	}
	return value;
}

static void locked_write(struct io_space *space, uint64_t address, uint64_t value, unsigned size)
{
	bool idle;
	const struct io_region *region = find_region(space, address, size, &idle);
	unsigned step;

	if (idle)
		return;
	if (region) {
		if (region->ops->write)
			region->ops->write(region->opaque, address - region->start,
				bits_zero_extend(value, size), size);
		return;
	}
	step = step_size(space, address, size);
	for (unsigned i = 0; i < size; i += step)
		if (!refuses_part(space, address + i))
			locked_write(space, address + i, value >> (8 * i), step);
}

/* What the write that this thread is making asked for. */
static _Thread_local struct {
	void (*wait)(void *opaque);
	void *opaque;
} after;

void io_space_wait_after(void (*wait)(void *opaque), void *opaque)
{
	after.wait = wait;
	after.opaque = opaque;
}

/* The access is over. */
static void wait_if_asked(void)
{
	void (*wait)(void *opaque) = after.wait;

	if (likely(!wait))
		return;
	after.wait = NULL;
	wait(after.opaque);
}

uint64_t io_space_read(struct io_space *space, uint64_t address, unsigned size)
{
	uint64_t value;

	priority_lock_take(space->lock);
	value = locked_read(space, address, size);
	priority_lock_release(space->lock);
	return value;
}

void io_space_write(struct io_space *space, uint64_t address, uint64_t value, unsigned size)
{
	struct ring found;
	uint64_t extended = bits_zero_extend(value, size);
	bool rung =
		find_doorbell(space, address, size, &found) && ring_found(space, &found, extended);

	if (!rung) {
		priority_lock_take(space->lock);
		if (!find_doorbell(space, address, size, &found) ||
			!ring_found(space, &found, extended))
			locked_write(space, address, value, size);
		priority_lock_release(space->lock);
	}
	wait_if_asked();
}

unsigned io_space_read_block(
	struct io_space *space, uint64_t address, void *bytes, unsigned size, unsigned count)
{
	const struct io_region *region;
	unsigned done = 0;
	bool idle;

	priority_lock_take(space->lock);
	region = find_region(space, address, size, &idle);
	if (region && region->ops->read_block)
		done = region->ops->read_block(
			region->opaque, address - region->start, bytes, size, count);
	priority_lock_release(space->lock);
	return done;
}

unsigned io_space_write_block(
	struct io_space *space, uint64_t address, const void *bytes, unsigned size, unsigned count)
{
	const struct io_region *region;
	unsigned done = 0;
	bool idle;

	priority_lock_take(space->lock);
	region = find_region(space, address, size, &idle);
	if (region && region->ops->write_block)
		done = region->ops->write_block(
			region->opaque, address - region->start, bytes, size, count);
	priority_lock_release(space->lock);
	wait_if_asked();
	return done;
}

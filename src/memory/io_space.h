/* An address space of device registers: the 16-bit I/O port space and the MMIO part of
 * guest-physical space are both one of these. A region is a range of addresses with a device's
 * read and write behind it. Regions are added while the machine is built (and by PCI when a guest
 * moves a BAR); look-up is a binary search.
 *
 * Every access is made under the machine lock, so a device never sees two accesses at once. */
#ifndef VENEER_MEMORY_IO_SPACE_H
#define VENEER_MEMORY_IO_SPACE_H

#include "base/priority_lock.h"

#include <stdbool.h>
#include <stdint.h>

struct io_ops {
	/* Read `size` (1, 2, 4 or 8) bytes at `offset` from the region's start; the result's upper
	 * bits are ignored. NULL reads all ones. */
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
	/* Write; NULL ignores. */
	void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
	/* The widest access the device understands: wider ones reach it as several, lowest address
	 * first, as the ISA bus does it to 8-bit cards. 0: any. */
	unsigned width;
	/* Parts of an access that had to be split do not reach the device: for them the bus is idle
	 * here. For a register that shares its address with a wider one of another device. */
	bool undivided;
};

struct io_region {
	uint64_t start;
	uint64_t size;
	const char *name; /* for messages; not owned */
	const struct io_ops *ops;
	void *opaque;
};

struct io_space {
	struct priority_lock *lock; /* the machine lock */
	struct io_region *regions;  /* sorted by start, never overlapping */
	unsigned count, capacity;
};

void io_space_init(struct io_space *space, struct priority_lock *machine_lock);
void io_space_destroy(struct io_space *space);

/* Regions may be added and removed from inside a callback of any region, that of the access
 * included (a PCI function's BAR moves so): the access that is under way ends with the callback
 * that it is in, or, where it was split, goes on with the regions there are then. */

/* Add a region, with the machine lock held or before the machine runs. 0, -EEXIST where it overlaps
 * another (named in the log), -ENOMEM. */
int io_space_add(struct io_space *space, uint64_t start, uint64_t size, const char *name,
	const struct io_ops *ops, void *opaque);

/* Remove the region that starts there. 0 or -ENOENT. */
int io_space_remove(struct io_space *space, uint64_t start);

/* Access `size` bytes (1, 2, 4, 8). Takes the machine lock. An address in no region reads all ones
 * and drops writes, as an idle bus does. An access that runs past a region's end is split into
 * bytes. */
uint64_t io_space_read(struct io_space *space, uint64_t address, unsigned size);
void io_space_write(struct io_space *space, uint64_t address, uint64_t value, unsigned size);

/* From inside a write callback: have wait(opaque) called when this access is over, on the accessing
 * thread, without the machine lock. For a device whose far end has no room: it keeps what the guest
 * wrote, and holds up the guest until there is room for more. Where several waits are asked for
 * during one access, only the last is called. */
void io_space_wait_after(void (*wait)(void *opaque), void *opaque);

#endif

/* An address space of device registers: the 16-bit I/O port space and the MMIO part of
 * guest-physical space are both one of these. A region is a range of addresses with a device's
 * read and write behind it. Regions are added while the machine is built (and by PCI when a guest
 * moves a BAR); look-up is a binary search.
 *
 * Every access is made under the machine lock, so a device never sees two accesses at once; but for
 * stores to doorbells. */
#ifndef VENEER_MEMORY_IO_SPACE_H
#define VENEER_MEMORY_IO_SPACE_H

#include "base/priority_lock.h"

#include <stdatomic.h>
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
	/* An access of exactly this size at the region's start is the device's even where it runs
	 * past the region's end: a register that others lie in. 0: there is none. */
	unsigned whole;
	/* Parts of an access that had to be split do not reach the device: for them the bus is idle
	 * here. For a register that shares its address with a wider one of another device. */
	bool undivided;
	/* What `count` reads of `size` bytes each at `offset` would give, one after the other, or
	 * what so many writes would do: for a register that bytes are streamed through, and string
	 * instructions. How many of them were done, 0 included: after a part of them the register
	 * may have changed, and the rest comes as accesses of their own. NULL: all do. */
	unsigned (*read_block)(
		void *opaque, uint64_t offset, void *bytes, unsigned size, unsigned count);
	unsigned (*write_block)(
		void *opaque, uint64_t offset, const void *bytes, unsigned size, unsigned count);
};

struct io_region {
	uint64_t start;
	uint64_t size;
	const char *name; /* for messages; not owned */
	const struct io_ops *ops;
	void *opaque;
};

/* A doorbell: a range of addresses at which a device does nothing but note that it was written to.
 * Stores that lie wholly in it are passed to ring() on the vCPU's thread, without the machine lock;
 * everything else in it is the region's around it.
 *
 * Readers of the table take no lock: `sequence` is odd while it changes, and where it has changed
 * meanwhile, or is odd, the access takes the machine lock and looks again. */
#define IO_DOORBELLS 64

struct io_doorbell {
	_Atomic uint64_t start, size;
	_Atomic uint64_t base; /* offsets are from here */
	void (*_Atomic ring)(void *opaque, uint64_t offset, uint64_t value);
	void *_Atomic opaque;
};

struct io_space {
	struct priority_lock *lock; /* the machine lock */
	struct io_region *regions;  /* sorted by start, never overlapping */
	unsigned count, capacity;
	struct io_doorbell doorbells[IO_DOORBELLS];
	_Atomic unsigned doorbell_count;
	_Atomic unsigned sequence; /* of the doorbells */
	_Atomic unsigned ringing;  /* threads that are in a doorbell's ring(), or about to be */
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

/* Is there no region in [start, start + size)? Machine lock held. */
bool io_space_is_free(const struct io_space *space, uint64_t start, uint64_t size);

/* Make [start, start + size) a doorbell: stores call ring(opaque, address - base, value). It may be
 * called once more after the doorbell was removed. Machine lock held, or before the machine runs.
 * 0, or -ENOSPC: there are IO_DOORBELLS. */
int io_space_add_doorbell(struct io_space *space, uint64_t start, uint64_t size, uint64_t base,
	void (*ring)(void *opaque, uint64_t offset, uint64_t value), void *opaque);
/* Remove the doorbell that starts there. 0 or -ENOENT. */
int io_space_remove_doorbell(struct io_space *space, uint64_t start);
/* Is no doorbell being rung at this moment? Then none that was removed is rung any more. */
bool io_space_doorbells_quiet(const struct io_space *space);

/* Access `size` bytes (1, 2, 4, 8). Takes the machine lock. An address in no region reads all ones
 * and drops writes, as an idle bus does. An access that runs past a region's end is split into
 * bytes. */
uint64_t io_space_read(struct io_space *space, uint64_t address, unsigned size);
void io_space_write(struct io_space *space, uint64_t address, uint64_t value, unsigned size);

/* `count` accesses of `size` bytes each at one address, where its device takes them at once: so
 * many were made. 0: it does not, at least not now. */
unsigned io_space_read_block(
	struct io_space *space, uint64_t address, void *bytes, unsigned size, unsigned count);
unsigned io_space_write_block(
	struct io_space *space, uint64_t address, const void *bytes, unsigned size, unsigned count);

/* From inside a write callback: have wait(opaque) called when this access is over, on the accessing
 * thread, without the machine lock. For a device whose far end has no room: it keeps what the guest
 * wrote, and holds up the guest until there is room for more. Where several waits are asked for
 * during one access, only the last is called. */
void io_space_wait_after(void (*wait)(void *opaque), void *opaque);

#endif

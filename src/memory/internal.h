/* What memory/'s own files share. */
#ifndef VENEER_MEMORY_INTERNAL_H
#define VENEER_MEMORY_INTERNAL_H

#include "memory/memory.h"

/* Add a row to the table; a row of size 0 is not added. With memory->lock held, or before there are
 * listeners. */
void memory_region_add(struct memory *memory, const struct memory_region *region);
/* All RAM is logged, or none. With memory->lock held. */
void memory_regions_set_logged(struct memory *memory, bool logged);
/* memory_revoke() with memory->lock held. */
void memory_revoke_locked(struct memory *memory, uint64_t page, uint64_t count);
/* memory_outside_ram() and memory_around() for what is in an aperture. */
uint8_t *memory_aperture_pointer(const struct memory *memory, uint64_t gpa);
bool memory_aperture_around(
	const struct memory *memory, uint64_t gpa, uint64_t *start, uint64_t *end);
/* Both of them from one look at the aperture, which another thread may be moving: the host address
 * of `gpa`, or NULL, and how many bytes of the aperture there are from there. */
uint8_t *memory_aperture_run(const struct memory *memory, uint64_t gpa, uint64_t *size);

#endif

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

#endif

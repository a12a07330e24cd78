/* Memory that generated code can name with an absolute 32-bit address. */
#ifndef VENEER_HOST_LOW_MEMORY_H
#define VENEER_HOST_LOW_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOW_MEMORY_END (UINT64_C(1) << 31)
#define HUGE_PAGE      (UINT64_C(1) << 21)

/* `size` bytes of private zeroed memory, page-aligned, costing nothing until touched; in the low 2
 * GiB of the address space if there is room, else anywhere. NULL: no memory. Free with munmap(). */
void *low_memory_map(size_t size);

/* The first `size` bytes of a file, mapped shared with `protection` (of mmap()), in the low 2 GiB;
 * where huge pages can be used for it, if there is room there. NULL: there is no room. Free with
 * munmap(). */
void *low_memory_map_file(size_t size, int protection, int fd);

/* mmap() of the first `size` bytes of a file, or of none, at this place, which need not be low.
 * NULL: something is there already. Free with munmap(). */
void *low_memory_map_at(uint64_t place, size_t size, int protection, int flags, int fd);

/* Does [start, start + size) lie in the low 2 GiB? */
static inline bool low_memory_holds(const void *start, size_t size)
{
	return size <= LOW_MEMORY_END && (uintptr_t)start <= LOW_MEMORY_END - size;
}

#endif

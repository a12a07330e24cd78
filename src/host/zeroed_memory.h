/* Large tables that are mostly empty. */
#ifndef VENEER_HOST_ZEROED_MEMORY_H
#define VENEER_HOST_ZEROED_MEMORY_H

#include <stddef.h>
#include <sys/mman.h>

/* `size` bytes of private zeroed memory, page-aligned. A page costs nothing until it is touched.
 * NULL: no memory. */
static inline void *zeroed_memory_map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* NULL may be given. */
static inline void zeroed_memory_unmap(void *memory, size_t size)
{
	if (memory)
		munmap(memory, size);
}

#endif

#include "host/low_memory.h"

#include <sys/mman.h>

void *low_memory_map(size_t size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_32BIT, -1, 0);

	if (start == MAP_FAILED)
		start = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	return start == MAP_FAILED ? NULL : start;
}

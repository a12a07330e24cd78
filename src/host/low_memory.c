#include "host/low_memory.h"

#include <sys/mman.h>
#include <unistd.h>

/* MAP_32BIT gives addresses of the second GiB only. When that is full the first one is searched
 * from above in steps of at least FIRST_GIB_STEP, down to where a program that is not
 * position-independent and its heap may lie. */
#define FIRST_GIB_END  (UINT64_C(1) << 30)
#define FIRST_GIB_LOW  (UINT64_C(1) << 26)
#define FIRST_GIB_STEP (UINT64_C(1) << 20)

void *low_memory_map_at(uint64_t place, size_t size, int protection, int flags, int fd)
{
	void *at = (void *)place;
	void *start = mmap(at, size, protection, flags | MAP_FIXED_NOREPLACE, fd, 0);

	if (start == at)
		return start;
	/* Linux before 4.17 ignores MAP_FIXED_NOREPLACE, and takes the address as a hint only. */
	if (start != MAP_FAILED)
		munmap(start, size);
	return NULL;
}

static void *map_in_first_gib(size_t size, int protection, int flags, int fd)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (size + page - 1) & ~(page - 1);
	size_t step = (whole + FIRST_GIB_STEP - 1) & ~(FIRST_GIB_STEP - 1);

	if (whole > FIRST_GIB_END - FIRST_GIB_LOW)
		return NULL;
	for (uint64_t at = FIRST_GIB_END; at >= FIRST_GIB_LOW + step;) {
		void *start;

		at -= step;
		start = low_memory_map_at(at, size, protection, flags, fd);
		if (start)
			return start;
	}
	return NULL;
}

static void *map_low(size_t size, int protection, int flags, int fd)
{
	void *start = mmap(NULL, size, protection, flags | MAP_32BIT, fd, 0);

	return start == MAP_FAILED ? map_in_first_gib(size, protection, flags, fd) : start;
}

void *low_memory_map(size_t size)
{
	int protection = PROT_READ | PROT_WRITE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *start = map_low(size, protection, flags, -1);

	if (!start)
		start = mmap(NULL, size, protection, flags, -1, 0);
	return start == MAP_FAILED ? NULL : start;
}

/* Rather at a multiple of a huge page's size, a little higher up. */
void *low_memory_map_file(size_t size, int protection, int fd)
{
	void *start = map_low(size, protection, MAP_SHARED, fd), *aligned;
	uint64_t place = ((uintptr_t)start + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);

	if (!start || place == (uintptr_t)start || place + size > LOW_MEMORY_END)
		return start;
	munmap(start, size);
	aligned = low_memory_map_at(place, size, protection, MAP_SHARED, fd);
	return aligned ? aligned : map_low(size, protection, MAP_SHARED, fd);
}

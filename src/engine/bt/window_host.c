/* What the windows ask of the host's kernel: reserve the addresses of a window, map RAM there,
 * forbid stores, unmap.
 *
 * map_fixed() is one of the monitor's two callers of mmap(MAP_FIXED). Such a mapping replaces
 * whatever lies at its address, so a wrong one would overwrite the monitor. Therefore each call
 * here checks first that its range lies within one window, and window_host_map() that the pages lie
 * within the RAM's file. The other caller, memory_pair_show(), maps in the two pages that the pair
 * has reserved. */
#include "engine/bt/window_internal.h"

#include "host/low_memory.h"

#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

uintptr_t window_host_reserve(void)
{
	size_t whole = WINDOW_SIZE + 2 * WINDOW_GUARD, size = whole + 2 * MIB;
	char *start =
		mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t skip;

	if (start == MAP_FAILED)
		return 0;
	skip = -(uintptr_t)start & (2 * MIB - 1);
	if (skip)
		munmap(start, skip);
	munmap(start + skip + whole, size - skip - whole);
	return (uintptr_t)start + skip + WINDOW_GUARD;
}

bool window_host_reserve_at(uintptr_t start, uint64_t size)
{
	return low_memory_map_at(start, size, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1) != NULL;
}

void window_host_free_range(uintptr_t start, uint64_t size)
{
	munmap((void *)start, size);
}

void window_host_free(uintptr_t base)
{
	munmap((void *)(base - WINDOW_GUARD), WINDOW_SIZE + 2 * WINDOW_GUARD);
}

static void *host_address(const struct window *window, uint64_t linear)
{
	return (void *)(window->base + (linear & (WINDOW_SIZE - 1)));
}

/* Does [linear, linear + size) consist of whole pages of this one window? */
static bool range_inside(const struct window *window, uint64_t linear, uint64_t size)
{
	uint64_t offset = linear & (WINDOW_SIZE - 1);

	return window->base && SLOT_OF(linear) == window->slot && size && size <= WINDOW_SIZE &&
	       offset <= WINDOW_SIZE - size && !((linear | size) & (PAGE_SIZE - 1));
}

static bool map_fixed(const struct window *window, uint64_t linear, uint64_t size, int protection,
	int flags, int fd, off_t offset)
{
	return range_inside(window, linear, size) &&
	       mmap(host_address(window, linear), size, protection,
		       flags | MAP_NORESERVE | MAP_FIXED, fd, offset) != MAP_FAILED;
}

bool window_host_map(struct windows *w, struct window *window, uint64_t linear, uint64_t size,
	uint64_t page, bool writable)
{
	const struct memory *memory = w->cpu->memory;

	if (page + (size >> PAGE_SHIFT) > memory->file_size >> PAGE_SHIFT)
		return false;
	w->bt->stats.maps++;
	if (!map_fixed(window, linear, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED,
		    memory->fd, (off_t)(page << PAGE_SHIFT)))
		return false;
	budget_count_blocks(w, window, linear, size);
	return true;
}

bool window_host_unmap(
	struct windows *w, const struct window *window, uint64_t linear, uint64_t size)
{
	w->bt->stats.unmaps++;
	return map_fixed(window, linear, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

bool window_host_protect(struct windows *w, const struct window *window, uint64_t linear,
	uint64_t size, bool writable)
{
	if (!range_inside(window, linear, size))
		return false;
	w->bt->stats.protects++;
	return mprotect(host_address(window, linear), size,
		       PROT_READ | (writable ? PROT_WRITE : 0)) == 0;
}

void window_host_populate(const struct window *window, uint64_t linear)
{
	/* It saves time and may fail: kernels before 5.14 do not know it. */
	if (range_inside(window, linear, PAGE_SIZE))
		madvise(host_address(window, linear), PAGE_SIZE, MADV_POPULATE_READ);
}

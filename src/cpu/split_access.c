/* Locked accesses that cross a page.
 *
 * On hardware they are atomic like others. Here the two pages seldom are neighbours in the
 * monitor's address space, and copying the operand out and back would lose what another vCPU
 * writes in between, whose translated code knows of no mutex. So the two pages of RAM are mapped
 * once more, side by side, and the host's own locked instruction does it: atomic against every
 * access to the same bytes, whichever engine makes it. The pair mapped last stays mapped. */
#include "cpu/access.h"

#include <sys/mman.h>

/* Raises #PF. NULL: a device's register, or a data breakpoint in the page. */
static uint8_t *page_pointer(struct cpu *cpu, uint64_t linear)
{
	return access_pointer(cpu, linear, 1, true);
}

static uint8_t *map_pair(struct cpu *cpu, uint8_t *first, uint8_t *second)
{
	struct split_access *split = &cpu->split;

	if (split->mapping && split->page[0] == first && split->page[1] == second)
		return split->mapping;
	if (!split->mapping) {
		void *mapping = mmap(NULL, 2 * PAGE_SIZE, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (mapping == MAP_FAILED)
			return NULL;
		split->mapping = mapping;
	}
	split->page[0] = split->page[1] = NULL;
	if (memory_map_page(cpu->memory, split->mapping, first) < 0 ||
		memory_map_page(cpu->memory, split->mapping + PAGE_SIZE, second) < 0)
		return NULL;
	split->page[0] = first;
	split->page[1] = second;
	return split->mapping;
}

void *access_split_pointer(struct cpu *cpu, uint64_t linear)
{
	uint64_t next = (linear | ~PAGE_MASK) + 1, offset = linear & ~PAGE_MASK;
	uint8_t *first, *second, *pair;

	if (!cpu_long_mode(cpu))
		next = (uint32_t)next;
	first = page_pointer(cpu, linear);
	second = page_pointer(cpu, next);
	if (!first || !second)
		return NULL;
	first -= offset;
	cpu->split.written[0] = first;
	cpu->split.written[1] = second;
	pair = second == first + PAGE_SIZE ? first : map_pair(cpu, first, second);
	return pair ? pair + offset : NULL;
}

bool access_split_written(struct cpu *cpu, uint64_t linear, unsigned size)
{
	uint64_t offset = linear & ~PAGE_MASK;
	unsigned in_first = (unsigned)(PAGE_SIZE - offset);
	bool stale = access_written(cpu, cpu->split.written[0] + offset, in_first);

	return access_written(cpu, cpu->split.written[1], size - in_first) | stale;
}

void access_split_forget(struct cpu *cpu)
{
	if (cpu->split.mapping)
		munmap(cpu->split.mapping, 2 * PAGE_SIZE);
	cpu->split.mapping = NULL;
}

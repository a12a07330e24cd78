#include "debug/memory.h"

#include "cpu/mappable.h"
#include "cpu/paging.h"

#include <string.h>

/* The host address; NULL: no memory is there. */
static uint8_t *find(struct cpu *cpu, bool physical, uint64_t address)
{
	uint64_t gpa = address;

	if (physical)
		return memory_ram_pointer(cpu->memory, gpa);
	return paging_look(cpu, address, &gpa) ? cpu_memory_pointer(cpu, gpa) : NULL;
}

static size_t in_page(uint64_t address, size_t size)
{
	return MIN(size, (size_t)(PAGE_SIZE - (address & ~PAGE_MASK)));
}

size_t debug_memory_read(
	struct cpu *cpu, bool physical, uint64_t address, void *buffer, size_t size)
{
	size_t done = 0, piece;

	for (; done < size; done += piece) {
		const uint8_t *host = find(cpu, physical, address + done);

		if (!host)
			break;
		piece = in_page(address + done, size - done);
		memcpy((uint8_t *)buffer + done, host, piece);
	}
	return done;
}

static bool is_there(struct cpu *cpu, bool physical, uint64_t address, size_t size)
{
	for (size_t done = 0; done < size; done += in_page(address + done, size - done))
		if (!find(cpu, physical, address + done))
			return false;
	return true;
}

bool debug_memory_write(
	struct cpu *cpu, bool physical, uint64_t address, const void *buffer, size_t size)
{
	if (!is_there(cpu, physical, address, size))
		return false;
	for (size_t done = 0, piece; done < size; done += piece) {
		uint8_t *host = find(cpu, physical, address + done);

		/* A page table may just have been written over. */
		if (!host)
			return false;
		piece = in_page(address + done, size - done);
		memcpy(host, (const uint8_t *)buffer + done, piece);
		if (memory_page_flags(cpu->memory, host))
			memory_written(cpu->memory, host, (unsigned)piece);
	}
	return true;
}

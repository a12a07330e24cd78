/* Locked accesses that an inlined one does not serve: across a page, to a page with a data
 * breakpoint, to a device.
 *
 * On hardware they are atomic like others. Copying the operand out and back would lose what another
 * vCPU writes in between, whose translated code knows of no mutex. So the host's own locked
 * instruction does it on the bytes of RAM. The two pages of an operand that crosses from one into
 * the next seldom are neighbours in the monitor's address space: they are mapped once more, side by
 * side, and the pair mapped last stays mapped. A device has no bytes, and a mutex is enough where
 * all that is locked takes it. */
#include "cpu/access.h"

#include "base/log.h"

#include <string.h>

/* NULL: the host has refused, and the access will not be atomic. The user is told once. */
static uint8_t *show_pair(struct cpu *cpu, uint8_t *first, uint8_t *second)
{
	static atomic_flag told = ATOMIC_FLAG_INIT;
	uint8_t *pair = memory_pair_show(cpu->memory, &cpu->split.pair, first, second);

	if (!pair && !atomic_flag_test_and_set(&told))
		log_warning("the host refuses to map two pages of guest memory: locked "
			    "instructions that cross a page are not atomic");
	return pair;
}

void *access_locked_pointer(struct cpu *cpu, uint64_t linear, unsigned size)
{
	uint64_t next = (linear | ~PAGE_MASK) + 1, offset = linear & ~PAGE_MASK;
	uint8_t *first, *second, *pair;

	first = access_watched_pointer(cpu, linear);
	if (first)
		first -= offset;
	cpu->split.written[0] = first;
	if (offset + size <= PAGE_SIZE)
		return first ? first + offset : NULL;
	if (!cpu_long_mode(cpu))
		next = (uint32_t)next;
	second = access_watched_pointer(cpu, next);
	if (!first || !second)
		return NULL;
	cpu->split.written[1] = second;
	pair = second == first + PAGE_SIZE ? first : show_pair(cpu, first, second);
	return pair ? pair + offset : NULL;
}

bool access_locked_written(struct cpu *cpu, uint64_t linear, unsigned size)
{
	uint64_t offset = linear & ~PAGE_MASK;
	unsigned in_first = MIN(size, (unsigned)(PAGE_SIZE - offset));
	bool stale = access_written(cpu, cpu->split.written[0] + offset, in_first);

	if (in_first < size)
		stale |= access_written(cpu, cpu->split.written[1], size - in_first);
	debug_check_access(cpu, linear, size, true);
	return stale;
}

void access_locked_work(
	struct cpu *cpu, void (*work)(struct cpu *cpu, const void *opaque), const void *opaque)
{
	jmp_buf outer;
	int thrown;

	memcpy(outer, cpu->unwind, sizeof(outer));
	pthread_mutex_lock(&cpu->memory->locked_work);
	thrown = setjmp(cpu->unwind);
	if (!thrown)
		work(cpu, opaque);
	pthread_mutex_unlock(&cpu->memory->locked_work);
	memcpy(cpu->unwind, outer, sizeof(outer));
	if (thrown)
		longjmp(cpu->unwind, thrown);
}

/* pvclock: what the guest reads the time from without leaving its own code.
 *
 * The guest computes
 *
 *	ns = system_time + ((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul / 2^32
 *
 * between two reads of `version`, which is odd while we write. Our clock (host/clock.h) runs at the
 * host's TSC frequency, all guest TSCs are that clock plus an offset, and pausing stops both alike.
 * So one pair (tsc_timestamp = the vCPU's TSC at clock zero, system_time = 0) stays right for ever,
 * and it is the same line in all vCPUs: the "TSC stable" flag can be promised, and there is
 * nothing to refresh while the guest runs. */
#include "cpu/pvclock.h"
#include "base/log.h"

#define PVCLOCK_TSC_STABLE 1
#define MSR_ENABLE         1

struct time_page {
	uint32_t version;
	uint32_t pad;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad2[2];
};
_Static_assert(sizeof(struct time_page) == 32, "the guest's layout");

struct wall_clock {
	uint32_t version;
	uint32_t seconds;
	uint32_t nanoseconds;
};

/* ns per cycle as mul * 2^(shift - 32), mul with its top bit set: as many digits as there is room
 * for. */
static void time_scale(uint64_t tsc_khz, uint32_t *mul, int8_t *shift)
{
	unsigned __int128 hz = (unsigned __int128)tsc_khz * 1000;
	unsigned __int128 scaled = ((unsigned __int128)NS_PER_SECOND << 64) / hz;
	int s = 0;

	/* scaled is ns per cycle with 64 fraction bits; mul wants 32 of them. */
	while (scaled >> 64) {
		scaled >>= 1;
		s++;
	}
	while (!(scaled >> 63)) {
		scaled <<= 1;
		s--;
	}
	*mul = (uint32_t)(scaled >> 32);
	*shift = (int8_t)s;
}

/* The version goes odd before anything else changes and even after everything has; x86 keeps stores
 * in order, the fences keep the compiler from merging them. */
static void publish(struct cpu *cpu, uint64_t gpa, void *image, uint64_t size, uint32_t version)
{
	uint32_t *head = image;

	*head = version | 1;
	memory_write(cpu->memory, gpa, head, sizeof(*head));
	atomic_thread_fence(memory_order_release);
	memory_write(cpu->memory, gpa, image, size);
	atomic_thread_fence(memory_order_release);
	*head = (version | 1) + 1;
	memory_write(cpu->memory, gpa, head, sizeof(*head));
}

static uint32_t next_version(const struct cpu *cpu, uint64_t gpa)
{
	uint32_t version = 0;

	memory_read(cpu->memory, gpa, &version, sizeof(version));
	return version & ~1u;
}

void pvclock_update(struct cpu *cpu)
{
	struct time_page page = {.flags = PVCLOCK_TSC_STABLE};
	uint64_t gpa = cpu->pvclock_msr & ~(uint64_t)MSR_ENABLE;

	if (!(cpu->pvclock_msr & MSR_ENABLE))
		return;
	page.tsc_timestamp = cpu->tsc_offset;
	time_scale(cpu->platform->clock->tsc_khz, &page.tsc_to_system_mul, &page.tsc_shift);
	publish(cpu, gpa, &page, sizeof(page), cpu->pvclock_version);
	cpu->pvclock_version = (cpu->pvclock_version | 1) + 1;
}

static bool in_ram(struct cpu *cpu, uint64_t gpa, uint64_t size)
{
	uint8_t probe[64];

	return memory_read(cpu->memory, gpa, probe, size) == 0;
}

bool pvclock_write_system_time(struct cpu *cpu, uint64_t value)
{
	if ((value & MSR_ENABLE) &&
		!in_ram(cpu, value & ~(uint64_t)MSR_ENABLE, sizeof(struct time_page)))
		return false;
	cpu->pvclock_msr = value;
	pvclock_update(cpu);
	return true;
}

bool pvclock_write_wall_clock(struct cpu *cpu, uint64_t value)
{
	uint64_t base = clock_wall_base_ns(cpu->platform->clock);
	struct wall_clock wall = {
		.seconds = (uint32_t)(base / NS_PER_SECOND),
		.nanoseconds = (uint32_t)(base % NS_PER_SECOND),
	};

	if (!in_ram(cpu, value, sizeof(wall)))
		return false;
	cpu->pvclock_wall_msr = value;
	publish(cpu, value, &wall, sizeof(wall), next_version(cpu, value));
	return true;
}

/* What a process can know of it: Linux tells how long a thread has waited for a processor, but not
 * when it takes the processor away. So `steal` is complete, and `preempted` is set only where
 * the thread gives the processor up by itself: in HLT, and in a loop of PAUSE. */
#include "cpu/steal_time.h"

#include "cpu/access.h"
#include "host/run_delay.h"

#include <sched.h>
#include <unistd.h>

#define MSR_ENABLE BIT(0)

#define PREEMPTED BIT(0)
#define FLUSH_TLB BIT(1)

struct record {
	_Atomic uint64_t steal;   /* ns */
	_Atomic uint32_t version; /* odd while `steal` changes */
	uint32_t flags;
	_Atomic uint8_t preempted;
	uint8_t unused[47];
};
_Static_assert(sizeof(struct record) == 64, "the guest's layout, and its alignment");

/* The record, in one piece because it is aligned; NULL where there is none now. What is stored
 * there is followed by access_written(). */
static struct record *find_record(struct cpu *cpu)
{
	uint64_t gpa = cpu->steal_msr & ~(sizeof(struct record) - 1);
	struct iovec piece;

	if (!(cpu->steal_msr & MSR_ENABLE) ||
		memory_range(cpu->memory, gpa, sizeof(struct record), true, &piece, 1) != 1)
		return NULL;
	return piece.iov_base;
}

static void publish(struct cpu *cpu)
{
	struct record *record = find_record(cpu);
	uint64_t delay = run_delay_ns(cpu->run_delay.file);
	uint32_t version;

	cpu->steal_ns += delay - cpu->run_delay.seen_ns;
	cpu->run_delay.seen_ns = delay;
	cpu->run_delay.seen_at = clock_cycles(cpu->platform->clock);
	if (!record)
		return;
	version = record->version & ~UINT32_C(1);
	record->version = version + 1;
	record->steal = cpu->steal_ns;
	record->version = version + 2;
	access_written(cpu, record, sizeof(*record));
}

void steal_time_update(struct cpu *cpu)
{
	const struct clock *clock = cpu->platform->clock;

	if (likely(!(cpu->steal_msr & MSR_ENABLE)) ||
		clock_cycles(clock) - cpu->run_delay.seen_at < clock->tsc_khz)
		return;
	publish(cpu);
}

void steal_time_suspend(struct cpu *cpu)
{
	struct record *record = find_record(cpu);

	if (!record)
		return;
	record->preempted = PREEMPTED;
	access_written(cpu, record, sizeof(*record));
}

/* The guest's compare-and-exchange finds PREEMPTED, and FLUSH_TLB is seen here; or it comes later,
 * fails, and the guest sends its interrupt. */
void steal_time_resume(struct cpu *cpu)
{
	struct record *record = find_record(cpu);
	uint8_t before;

	if (!record)
		return;
	before = atomic_exchange(&record->preempted, 0);
	access_written(cpu, record, sizeof(*record));
	if (before & FLUSH_TLB)
		tlb_flush_all(cpu);
}

bool steal_time_write(struct cpu *cpu, uint64_t value)
{
	uint64_t before = cpu->steal_msr;

	if (value & STEAL_TIME_RESERVED)
		return false;
	cpu->steal_msr = value;
	if (!(value & MSR_ENABLE))
		return true;
	if (!find_record(cpu)) {
		cpu->steal_msr = before;
		return false;
	}
	publish(cpu);
	steal_time_resume(cpu);
	return true;
}

/* A new thread has its own count. */
void steal_time_thread_begins(struct cpu *cpu)
{
	cpu->run_delay.file = run_delay_open();
	cpu->run_delay.seen_ns = run_delay_ns(cpu->run_delay.file);
}

void steal_time_thread_ends(struct cpu *cpu)
{
	if (cpu->run_delay.file >= 0)
		close(cpu->run_delay.file);
	cpu->run_delay.file = -1;
	cpu->run_delay.seen_ns = 0;
}

void cpu_yield(struct cpu *cpu)
{
	steal_time_suspend(cpu);
	sched_yield();
	steal_time_resume(cpu);
}

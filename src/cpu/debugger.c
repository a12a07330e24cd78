#include "cpu/debugger.h"

#include "cpu/access.h"
#include "cpu/fpu.h"

/* --- for the debugger --- */

static void update_active(struct cpu *cpu)
{
	cpu->debugger.active = cpu->debugger.points || cpu->debugger.step;
}

void debugger_set_points(struct cpu *cpu, const struct debugger_points *points)
{
	bool any = points && (points->breakpoint_count || points->watchpoint_count);

	cpu->debugger.points = any ? points : NULL;
	cpu->debugger.replay = false;
	update_active(cpu);
	tlb_flush_all(cpu);
}

void debugger_set_step(struct cpu *cpu, bool step)
{
	cpu->debugger.step = step;
	update_active(cpu);
	/* An interrupt that a step has held back can be taken now. */
	atomic_store(&cpu->attention, 1);
}

/* --- code --- */

bool debugger_page_has_breakpoint(const struct debugger_points *points, uint64_t page)
{
	for (unsigned i = 0; i < points->breakpoint_count; i++)
		if ((points->breakpoint[i] & PAGE_MASK) == page)
			return true;
	return false;
}

uint64_t debugger_code_address(const struct cpu *cpu)
{
	return cpu_code64(cpu) ? cpu->rip
			       : (uint32_t)(cpu->segment_base[SEG_CS] + (uint32_t)cpu->rip);
}

static bool breakpoint_at(const struct debugger_points *points, uint64_t linear)
{
	for (unsigned i = 0; i < points->breakpoint_count; i++)
		if (points->breakpoint[i] == linear)
			return true;
	return false;
}

bool debugger_stops(struct cpu *cpu)
{
	if (cpu->debugger.stop != DEBUGGER_RUNS_ON)
		return true;
	/* A step leads past a breakpoint. */
	if (cpu->debugger.step || !cpu->debugger.points ||
		!breakpoint_at(cpu->debugger.points, debugger_code_address(cpu)))
		return false;
	cpu->debugger.stop = DEBUGGER_BREAKPOINT;
	return true;
}

bool debugger_must_step(const struct cpu *cpu)
{
	return cpu->debugger.step || cpu->debugger.replay ||
	       debugger_page_stops(cpu, debugger_code_address(cpu));
}

void debugger_stepped(struct cpu *cpu)
{
	if (cpu->debugger.step && cpu->debugger.stop == DEBUGGER_RUNS_ON)
		cpu->debugger.stop = DEBUGGER_STEPPED;
}

void debugger_broken_off(struct cpu *cpu)
{
	if (cpu->debugger.stop == DEBUGGER_WATCHPOINT)
		cpu->debugger.stop = DEBUGGER_RUNS_ON;
}

/* --- data --- */

static bool overlaps(const struct debugger_watchpoint *watch, uint64_t address, uint64_t size)
{
	return address - watch->address < watch->size || watch->address - address < size;
}

bool debugger_page_watched(const struct cpu *cpu, uint64_t page)
{
	const struct debugger_points *points = cpu->debugger.points;

	for (unsigned i = 0; points && i < points->watchpoint_count; i++)
		if (overlaps(&points->watchpoint[i], page, PAGE_SIZE))
			return true;
	return false;
}

void debugger_before_access(struct cpu *cpu)
{
	if (cpu->debugger.alone)
		return;
	cpu->debugger.replay = true;
	_longjmp(cpu->unwind, CPU_UNWIND_RESTART);
}

void debugger_check_access(struct cpu *cpu, uint64_t linear, unsigned size, bool write)
{
	const struct debugger_points *points = cpu->debugger.points;
	unsigned access = write ? DEBUGGER_WRITE : DEBUGGER_READ;

	for (unsigned i = 0; points && i < points->watchpoint_count; i++) {
		const struct debugger_watchpoint *watch = &points->watchpoint[i];

		if (!(watch->access & access) || !overlaps(watch, linear, size))
			continue;
		cpu->debugger.stop = DEBUGGER_WATCHPOINT;
		cpu->debugger.watch_address = watch->address;
		cpu->debugger.watch_access = watch->access;
		return;
	}
}

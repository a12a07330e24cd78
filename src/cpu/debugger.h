/* A debugger outside of the guest: breakpoints, watchpoints and single steps of which the guest
 * sees nothing. Neither its memory nor its debug registers nor RFLAGS.TF have a part in them.
 *
 * What is to stop a vCPU is in a struct debugger_points, which all vCPUs of a machine share. It is
 * changed while all of them are stopped, and each is told by debugger_set_points(). Then
 *
 *	code	in a page with a breakpoint is run one instruction at a time, by the interpreter's
 *		run loop, which compares addresses. No engine may enter code in such a page by
 *		itself: it asks debugger_page_stops() where it looks for code by linear address.
 *		A flush of the whole TLB, as debugger_set_points() makes it, forgets what was found
 *		before. Pages without a breakpoint pay nothing.
 *	data	in a page with a watchpoint stays out of the TLB and all that is like it (as with
 *		the guest's own data breakpoints). The first access to it breaks off its
 *		instruction, as a page fault would, which then is run once more by itself; so a
 *		vCPU stops at the end of the very instruction that made the access.
 *
 * The engine leaves with VCPU_EXIT_DEBUG and cpu->debugger.stop says why. */
#ifndef VENEER_CPU_DEBUGGER_H
#define VENEER_CPU_DEBUGGER_H

#include "cpu/cpu.h"

#define DEBUGGER_BREAKPOINTS 256
#define DEBUGGER_WATCHPOINTS 64

enum debugger_access { DEBUGGER_WRITE = 1, DEBUGGER_READ = 2 };

struct debugger_watchpoint {
	uint64_t address, size; /* linear; address + size does not wrap */
	unsigned access;        /* enum debugger_access */
};

struct debugger_points {
	unsigned breakpoint_count, watchpoint_count;
	uint64_t breakpoint[DEBUGGER_BREAKPOINTS]; /* linear addresses */
	struct debugger_watchpoint watchpoint[DEBUGGER_WATCHPOINTS];
};

/* --- for the debugger, while the vCPU is stopped --- */

/* `points`, which may be NULL for none, must live until it is replaced. Call it again after each
 * change. */
void debugger_set_points(struct cpu *cpu, const struct debugger_points *points);
/* With `step` it stops when an instruction is complete, or the exception is delivered that takes
 * its place; no interrupt comes before that, but to a vCPU that is halted. */
void debugger_set_step(struct cpu *cpu, bool step);
/* The linear address of cpu->rip: what breakpoints are compared with. */
uint64_t debugger_code_address(const struct cpu *cpu);
/* It is to run on: forget why it has stopped. */
static inline void debugger_run_on(struct cpu *cpu)
{
	cpu->debugger.stop = DEBUGGER_RUNS_ON;
}

/* --- for engines and cpu/ --- */

bool debugger_page_has_breakpoint(const struct debugger_points *points, uint64_t page);

/* May code in the page of `linear` not be entered unseen? */
static inline bool debugger_page_stops(const struct cpu *cpu, uint64_t linear)
{
	return unlikely(cpu->debugger.active) && cpu->debugger.points &&
	       debugger_page_has_breakpoint(cpu->debugger.points, linear & PAGE_MASK);
}

/* Between two instructions, at cpu->rip: has the vCPU to leave the engine? cpu->debugger.stop is
 * set then. And has the next instruction to be run by itself? */
bool debugger_stops(struct cpu *cpu);
bool debugger_must_step(const struct cpu *cpu);
/* An instruction was run by itself, or an event was delivered. */
void debugger_stepped(struct cpu *cpu);
/* An instruction was broken off by an exception: what it has accessed will be accessed again. */
void debugger_broken_off(struct cpu *cpu);

/* A watchpoint in this page? */
bool debugger_page_watched(const struct cpu *cpu, uint64_t page);
/* An access to data in that page is about to be made. Returns only where its instruction is run by
 * itself, or the access is that of an event's delivery. */
void debugger_before_access(struct cpu *cpu);
/* It was made. */
void debugger_check_access(struct cpu *cpu, uint64_t linear, unsigned size, bool write);

#endif

/* Debug registers, breakpoints, and the bookkeeping of single-step traps (SDM vol. 3B chapter 18).
 *
 * Debug traps are not raised where they are found: the instruction completes, its DR6 bits collect
 * in cpu->pending_debug, and cpu_service_pending() delivers one #DB for all of them at the
 * instruction boundary. Instruction breakpoints are faults and raised at once. */
#include "cpu/debug.h"
#include "cpu/access.h"
#include "cpu/debugger.h"
#include "cpu/instruction.h"

#define DR6_FIXED         UINT64_C(0xffff0ff0)
#define DR7_FIXED         BIT(10)
#define DR6_WRITABLE      (DR6_TRAPS | DR6_BD | DR6_BS | DR6_BT)
#define DR7_WRITABLE      UINT64_C(0xffff2bff)
#define DR7_LOCAL_ENABLES UINT64_C(0x155) /* L0..L3, LE */
#define DR7_ENABLES       UINT64_C(0xff)
#define DEBUGCTL_LBR      BIT(0)

enum breakpoint_kind { BREAK_EXECUTE, BREAK_WRITE, BREAK_IO, BREAK_READ_WRITE };

static bool enabled(const struct cpu *cpu, unsigned n)
{
	return cpu->dr7 >> (2 * n) & 3;
}

static enum breakpoint_kind kind_of(const struct cpu *cpu, unsigned n)
{
	return (enum breakpoint_kind)(cpu->dr7 >> (16 + 4 * n) & 3);
}

/* LENn is 1, 2, 8, 4 bytes in this order. */
static unsigned length_of(const struct cpu *cpu, unsigned n)
{
	static const unsigned length[] = {1, 2, 8, 4};

	return length[cpu->dr7 >> (18 + 4 * n) & 3];
}

/* [address, address + size) meets breakpoint n, whose address is aligned to its length. */
static bool overlaps(const struct cpu *cpu, unsigned n, uint64_t address, unsigned size)
{
	uint64_t length = length_of(cpu, n);
	uint64_t start = cpu->dr[n] & ~(length - 1);

	return address - start < length || start - address < size;
}

static bool data_breakpoint(const struct cpu *cpu, unsigned n)
{
	return enabled(cpu, n) &&
	       (kind_of(cpu, n) == BREAK_WRITE || kind_of(cpu, n) == BREAK_READ_WRITE);
}

/* --- events --- */

void debug_trap(struct cpu *cpu, uint64_t dr6_bits)
{
	cpu->pending_debug |= dr6_bits;
	cpu_set_pending(cpu, PENDING_DEBUG);
}

void debug_record(struct cpu *cpu, uint64_t dr6_bits)
{
	/* B0..B3 tell of this event only; the others stay until software clears them. */
	cpu->dr6 = (cpu->dr6 & ~DR6_TRAPS) | dr6_bits;
}

void debug_delivered(struct cpu *cpu)
{
	cpu->dr7 &= ~DR7_GD;
	cpu->debug_control &= ~DEBUGCTL_LBR;
}

void debug_single_step_done(struct cpu *cpu)
{
	if (!cpu->no_step_trap)
		debug_trap(cpu, DR6_BS);
	cpu->no_step_trap = false;
}

bool debug_page_watched(const struct cpu *cpu, uint64_t page)
{
	if (unlikely(cpu->debugger.active) && debugger_page_watched(cpu, page))
		return true;
	if (likely(!(cpu->dr7 & DR7_ENABLES)))
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (data_breakpoint(cpu, n) && overlaps(cpu, n, page, (unsigned)PAGE_SIZE))
			return true;
	return false;
}

void debug_check_access(struct cpu *cpu, uint64_t linear, unsigned size, bool write)
{
	uint64_t hit = 0;

	if (unlikely(cpu->debugger.active))
		debugger_check_access(cpu, linear, size, write);
	if (likely(!(cpu->dr7 & DR7_ENABLES)))
		return;
	for (unsigned n = 0; n < 4; n++)
		if (data_breakpoint(cpu, n) && (write || kind_of(cpu, n) == BREAK_READ_WRITE) &&
			overlaps(cpu, n, linear, size))
			hit |= BIT(n);
	if (hit)
		debug_trap(cpu, hit);
}

bool debug_io_armed(const struct cpu *cpu)
{
	return unlikely(cpu->dr7 & DR7_ENABLES) && (cpu->cr4 & CR4_DE);
}

void debug_check_io(struct cpu *cpu, uint16_t port, unsigned size)
{
	uint64_t hit = 0;

	if (!debug_io_armed(cpu))
		return;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(cpu, n) && kind_of(cpu, n) == BREAK_IO && overlaps(cpu, n, port, size))
			hit |= BIT(n);
	if (hit)
		debug_trap(cpu, hit);
}

bool debug_execute_armed(const struct cpu *cpu)
{
	for (unsigned n = 0; n < 4; n++)
		if (enabled(cpu, n) && kind_of(cpu, n) == BREAK_EXECUTE)
			return true;
	return false;
}

bool debug_match_execute(struct cpu *cpu, uint64_t linear)
{
	uint64_t hit = 0;

	if (cpu->system_flags & RFLAGS_RF) {
		cpu->system_flags &= ~RFLAGS_RF;
		return false;
	}
	for (unsigned n = 0; n < 4; n++)
		if (enabled(cpu, n) && kind_of(cpu, n) == BREAK_EXECUTE && cpu->dr[n] == linear)
			hit |= BIT(n);
	if (hit)
		debug_record(cpu, hit);
	return hit != 0;
}

/* --- MOV to and from debug registers --- */

static uint64_t dr6_of(uint64_t value)
{
	return (value & DR6_WRITABLE) | DR6_FIXED;
}

static uint64_t dr7_of(uint64_t value)
{
	return (value & DR7_WRITABLE) | DR7_FIXED;
}

bool debug_registers_fit(const struct cpu_state *state)
{
	return state->dr6 == dr6_of(state->dr6) && state->dr7 == dr7_of(state->dr7) &&
	       !(state->pending_debug & ~DR6_WRITABLE);
}

static void dr7_changed(struct cpu *cpu)
{
	/* Watched pages must not be in the TLB; the engine may have to check each instruction. */
	tlb_flush_all(cpu);
	cpu->engine_ops->code_context_changed(cpu);
}

void debug_task_switched(struct cpu *cpu)
{
	if (!(cpu->dr7 & DR7_LOCAL_ENABLES))
		return;
	cpu->dr7 &= ~DR7_LOCAL_ENABLES;
	dr7_changed(cpu);
}

/* DR4 and DR5 are other names of DR6 and DR7, or with CR4.DE no registers at all. */
static unsigned check_register(struct cpu *cpu, unsigned number)
{
	if (number > 7 || ((number == 4 || number == 5) && (cpu->cr4 & CR4_DE)))
		cpu_raise(cpu, VECTOR_UD);
	if (cpu->cpl != 0)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	if (cpu->dr7 & DR7_GD) {
		debug_record(cpu, DR6_BD);
		cpu_raise(cpu, VECTOR_DB);
	}
	return number == 4 || number == 5 ? number + 2 : number;
}

uint64_t debug_read(struct cpu *cpu, unsigned number)
{
	number = check_register(cpu, number);
	return number == 6 ? cpu->dr6 : number == 7 ? cpu->dr7 : cpu->dr[number];
}

void debug_write(struct cpu *cpu, unsigned number, uint64_t value)
{
	number = check_register(cpu, number);
	if (!cpu_code64(cpu))
		value = (uint32_t)value;
	if (number >= 6 && value >> 32)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	if (number == 6) {
		cpu->dr6 = dr6_of(value);
		return;
	}
	if (number == 7)
		cpu->dr7 = dr7_of(value);
	else
		cpu->dr[number] = value;
	if (number == 7 || (cpu->dr7 & DR7_ENABLES))
		dr7_changed(cpu);
}

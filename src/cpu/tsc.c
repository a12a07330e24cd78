/* The time-stamp counter, and RDPMC, which always faults. */
#include "cpu/instruction.h"

uint64_t cpu_tsc(struct cpu *cpu)
{
	return clock_cycles(cpu->platform->clock) + cpu->tsc_offset;
}

static void check_time_stamp_disable(struct cpu *cpu)
{
	if ((cpu->cr4 & CR4_TSD) && cpu->cpl != 0)
		cpu_raise_error(cpu, VECTOR_GP, 0);
}

static void read_tsc(struct cpu *cpu)
{
	uint64_t value = cpu_tsc(cpu);

	cpu->gpr[RAX] = (uint32_t)value;
	cpu->gpr[RDX] = value >> 32;
}

void insn_rdtsc(struct cpu *cpu)
{
	check_time_stamp_disable(cpu);
	read_tsc(cpu);
}

void insn_rdtscp(struct cpu *cpu)
{
	check_time_stamp_disable(cpu);
	read_tsc(cpu);
	cpu->gpr[RCX] = (uint32_t)cpu->tsc_aux;
}

/* CPUID shows no performance counters, so every index is out of range. */
void insn_rdpmc(struct cpu *cpu)
{
	cpu_raise_error(cpu, VECTOR_GP, 0);
}

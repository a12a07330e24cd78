/* What the files of cpu/ that implement system instructions share. Engines use instruction.h. */
#ifndef VENEER_CPU_INSTRUCTION_INTERNAL_H
#define VENEER_CPU_INSTRUCTION_INTERNAL_H

#include "cpu/cpu.h"

/* Raise #GP(0). */
static inline _Noreturn void general_protection(struct cpu *cpu)
{
	cpu_raise_error(cpu, VECTOR_GP, 0);
}

/* #GP(0) unless CPL is 0. */
void insn_require_cpl0(struct cpu *cpu);
/* #GP(0) where CR4.UMIP keeps SGDT, SIDT, SLDT, SMSW, STR from user programs. */
void insn_require_no_umip(struct cpu *cpu);
/* May these bits be set in XCR0 together (SDM vol. 1 13.3), and these be a CR0? */
bool xcr0_consistent(uint64_t value);
bool cr0_consistent(uint64_t value);
/* What WRMSR to IA32_EFER does; false: #GP. */
bool efer_write(struct cpu *cpu, uint64_t value);

#endif

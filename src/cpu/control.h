/* What the files of cpu/ that implement system instructions share. Engines use instruction.h. */
#ifndef VENEER_CPU_CONTROL_H
#define VENEER_CPU_CONTROL_H

#include "cpu/cpu.h"

/* #GP(0) unless CPL is 0. */
void control_require_cpl0(struct cpu *cpu);
/* #GP(0) where CR4.UMIP keeps SGDT, SIDT, SLDT, SMSW, STR from user programs. */
void control_umip(struct cpu *cpu);
/* WRMSR to IA32_EFER; false: #GP. */
bool control_set_efer(struct cpu *cpu, uint64_t value);

#endif

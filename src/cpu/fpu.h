/* x87, SSE, AVX, AVX-512 state: where it lives and how it is saved.
 *
 * The vector registers live in cpu->fpu between instructions; generated stubs (engine/interp/) load and store
 * the ones an instruction names. The x87 stack, its control words, and MXCSR live in the host's own
 * unit while the vCPU thread is inside its engine ("live"): compiled C for x86-64 does not touch x87, and
 * vCPU threads do no floating-point C. fpu_enter() puts them there, fpu_leave() takes them back.
 * Unmasked exceptions therefore arrive as the host's SIGFPE, at the instruction where the guest's own
 * would: the handler turns it into #MF or #XM. */
#ifndef VENEER_CPU_FPU_H
#define VENEER_CPU_FPU_H

#include "cpu/cpu.h"

/* Once per process: install the SIGFPE handler. */
void fpu_init(void);
void fpu_reset(struct cpu *cpu); /* power-up state; INIT leaves it alone */

void fpu_enter(struct cpu *cpu); /* cpu->fpu to the host; called by run loops of software engines */
void fpu_leave(struct cpu *cpu); /* back, and the host's defaults restored */
void fpu_sync(struct cpu *cpu); /* make cpu->fpu current, stay live */
void fpu_reload(struct cpu *cpu); /* cpu->fpu was changed: make the live unit agree */

/* The state-management instructions, after #UD/#NM checks of their own. `linear` is checked for
 * alignment here. operand_size 8 is the REX.W form (FXSAVE64...). */
void fpu_fxsave(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_fxrstor(struct cpu *cpu, uint64_t linear, unsigned operand_size);
enum xsave_form { XSAVE_STANDARD, XSAVE_OPT, XSAVE_COMPACT, XSAVE_SUPERVISOR };
void fpu_xsave(struct cpu *cpu, uint64_t linear, uint64_t mask, enum xsave_form form,
	unsigned operand_size);
void fpu_xrstor(struct cpu *cpu, uint64_t linear, uint64_t mask, bool supervisor,
	unsigned operand_size);
/* FNSAVE, FRSTOR, FNSTENV, FLDENV in the layout of mode and operand size (2 or 4). */
void fpu_fnsave(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_frstor(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_fnstenv(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_fldenv(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_ldmxcsr(struct cpu *cpu, uint32_t value);
uint32_t fpu_stmxcsr(struct cpu *cpu);

/* Checks before a vector or x87 instruction: #UD and #NM by CR0, CR4, XCR0. FPU_CLASS_MMX also clears nothing; it
 * only checks. */
enum fpu_class { FPU_CLASS_X87, FPU_CLASS_WAIT, FPU_CLASS_MMX, FPU_CLASS_SSE, FPU_CLASS_AVX, FPU_CLASS_AVX512 };
void fpu_check(struct cpu *cpu, enum fpu_class kind);

#endif

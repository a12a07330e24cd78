/* x87, SSE, AVX, AVX-512 state: where it lives and how it is saved.
 *
 * The vector registers live in cpu->fpu between instructions; generated stubs (engine/interp/) load
 * and store the ones an instruction names. The x87 stack, its control words, and MXCSR live in the
 * host's own unit while the vCPU thread is inside its engine ("live"): compiled C for x86-64 does
 * not touch x87, and vCPU threads do no floating-point C. fpu_enter() puts them there, fpu_leave()
 * takes them back.
 *
 * Unmasked exceptions therefore arrive as the host's SIGFPE, at the instruction where the guest's
 * own would: the handler turns it into #MF or #XM. */
#ifndef VENEER_CPU_FPU_H
#define VENEER_CPU_FPU_H

#include "cpu/cpu.h"

#define FCW_DEFAULT   0x037f /* as FNINIT leaves it */
#define MXCSR_DEFAULT 0x1f80u
#define MXCSR_MASKS   0x1f80u
#define MXCSR_MM      BIT(17) /* AMD: misaligned SSE operands are allowed */

/* Once per process: register for faults in generated stubs (host/fault.h). A second call has no
 * effect. */
void fpu_init(void);
/* The power-up state; INIT leaves it alone. The caller pushes it to where the engine has it. */
void fpu_reset(struct cpu *cpu);

void fpu_enter(struct cpu *cpu); /* cpu->fpu to the host; called by run loops of software engines */
void fpu_leave(struct cpu *cpu); /* back, and the host's defaults restored */
void fpu_sync(struct cpu *cpu);  /* make cpu->fpu current, stay live */
void fpu_reload(struct cpu *cpu); /* cpu->fpu was changed: make the live unit agree */

/* Raise #MF (or FERR#) now if an unmasked x87 exception is pending: what FRSTOR, FLDENV, and
 * others that C code does, must do first. */
void fpu_raise_pending(struct cpu *cpu);

/* The bits that MXCSR has on this processor; others raise #GP. */
uint32_t fpu_mxcsr_mask(const struct cpu_model *model);
/* Those that it has on the host. */
uint32_t fpu_mxcsr_host_mask(void);

/* A fault in generated code with CR0.NE clear asserts FERR# and restarts the instruction, as the
 * hardware does, until the interrupt that follows clears the error. It unwinds with this value
 * instead of cpu_raise()'s 1: the run loop looks at `pending` and goes on at cpu->rip. */
#define CPU_UNWIND_RESTART 2

/* The state-management instructions. #UD, #NM, privilege and alignment are checked here; where the
 * address may raise, the caller has checked for #UD and #NM before (fpu_check()). operand_size 8 is
 * the REX.W form (FXSAVE64...). */
void fpu_fxsave(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_fxrstor(struct cpu *cpu, uint64_t linear, unsigned operand_size);
enum xsave_form { XSAVE_STANDARD, XSAVE_OPT, XSAVE_COMPACT, XSAVE_SUPERVISOR };
void fpu_xsave(struct cpu *cpu, uint64_t linear, uint64_t mask, enum xsave_form form,
	unsigned operand_size);
void fpu_xrstor(
	struct cpu *cpu, uint64_t linear, uint64_t mask, bool supervisor, unsigned operand_size);
/* XGETBV with ECX = 1: XCR0 & XINUSE (SDM vol. 1 13.6). */
uint64_t fpu_xinuse(struct cpu *cpu);

/* Write PKRU, and flush what depends on it. */
void fpu_set_pkru(struct cpu *cpu, uint32_t value);

/* The size of an XSAVE area for a set of components, as CPUID leaf 0xd gives it. */
unsigned fpu_xsave_size(const struct cpu_model *model, uint64_t components, bool compact);

/* FNSAVE, FRSTOR, FNSTENV, FLDENV in the layout of mode and operand size (2 or 4). */
void fpu_fnsave(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_frstor(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_fnstenv(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_fldenv(struct cpu *cpu, uint64_t linear, unsigned operand_size);
void fpu_ldmxcsr(struct cpu *cpu, uint32_t value);
uint32_t fpu_stmxcsr(struct cpu *cpu);

/* What must be enabled for an instruction to run. VEX is for general-register instructions with
 * that encoding (BMI): protected mode only. */
enum fpu_class {
	FPU_CLASS_NONE,
	FPU_CLASS_X87,
	FPU_CLASS_WAIT,
	FPU_CLASS_MMX,
	FPU_CLASS_SSE,
	FPU_CLASS_AVX,
	FPU_CLASS_AVX512,
	FPU_CLASS_VEX,
	FPU_CLASS_FXSAVE, /* and FXRSTOR */
	FPU_CLASS_XSAVE,  /* and its kin, XRSTOR and its */
	FPU_CLASS_COUNT
};

struct fpu_requirement {
	uint64_t cr0_mask, cr0_value, cr4, xcr0, flags_clear;
};
extern const struct fpu_requirement fpu_requirements[FPU_CLASS_COUNT];

/* Raise what is due: #UD or #NM (SDM vol. 3A 2.5). */
void fpu_check_failed(struct cpu *cpu, enum fpu_class kind);

/* May an instruction of this class run, as CR0, CR4, XCR0 and the mode are? */
static inline bool fpu_enabled(const struct cpu *cpu, enum fpu_class kind)
{
	const struct fpu_requirement *need = &fpu_requirements[kind];

	return !(((cpu->cr0 & need->cr0_mask) ^ need->cr0_value) | (~cpu->cr4 & need->cr4) |
		 (~cpu->xcr0 & need->xcr0) | (cpu->system_flags & need->flags_clear));
}

/* Checks before a vector or x87 instruction: #UD and #NM. They come before what the address of the
 * operand may raise (SDM vol. 3A table 6-2). */
static inline void fpu_check(struct cpu *cpu, enum fpu_class kind)
{
	if (unlikely(!fpu_enabled(cpu, kind)))
		fpu_check_failed(cpu, kind);
}

#endif

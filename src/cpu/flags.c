/* CLI, STI, PUSHF, POPF: which code may change the interrupt flag, and which of the two flags, IF
 * or VIF, it changes (SDM vol. 3B 21.3.3 for the virtual one; vol. 2 for the tables). */
#include "cpu/instruction.h"

#define FLAGS_POPF (RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)

static unsigned iopl(const struct cpu *cpu)
{
	return bits_get(cpu->system_flags, 13, 12);
}

/* The flag that CLI and STI change: IF or VIF. */
enum interrupt_flag { REAL_FLAG, VIRTUAL_FLAG };

static enum interrupt_flag which_flag(struct cpu *cpu)
{
	if (!cpu_protected(cpu) || cpu->cpl <= iopl(cpu))
		return REAL_FLAG;
	if (cpu_v86(cpu) ? cpu->cr4 & CR4_VME : cpu->cpl == 3 && (cpu->cr4 & CR4_PVI))
		return VIRTUAL_FLAG;
	cpu_raise_error(cpu, VECTOR_GP, 0);
}

void insn_cli(struct cpu *cpu)
{
	if (which_flag(cpu) == REAL_FLAG)
		cpu->system_flags &= ~RFLAGS_IF;
	else
		cpu->system_flags &= ~RFLAGS_VIF;
}

void insn_sti(struct cpu *cpu)
{
	if (which_flag(cpu) == VIRTUAL_FLAG) {
		if (cpu->system_flags & RFLAGS_VIP)
			cpu_raise_error(cpu, VECTOR_GP, 0);
		cpu->system_flags |= RFLAGS_VIF;
		return;
	}
	if (cpu->system_flags & RFLAGS_IF)
		return;
	cpu->interrupt_shadow = SHADOW_STI;
	cpu_set_rflags(cpu, cpu_rflags(cpu) | RFLAGS_IF);
}

uint64_t insn_pushf(struct cpu *cpu, unsigned size)
{
	uint64_t image = cpu_rflags(cpu) & ~(RFLAGS_VM | RFLAGS_RF);

	if (cpu_v86(cpu) && iopl(cpu) < 3) {
		if (!(cpu->cr4 & CR4_VME) || size != 2)
			cpu_raise_error(cpu, VECTOR_GP, 0);
		image &= ~RFLAGS_IF;
		image |= RFLAGS_IOPL | (cpu->system_flags & RFLAGS_VIF ? RFLAGS_IF : 0);
	}
	return bits_zero_extend(image, size);
}

/* POPF in virtual-8086 mode with VME and IOPL below 3: IF in the image means VIF. */
static void popf_virtual(struct cpu *cpu, uint64_t image, unsigned size)
{
	uint64_t mask = FLAGS_POPF & 0xffff;
	uint64_t virtual = image & RFLAGS_IF ? RFLAGS_VIF : 0;

	if (!(cpu->cr4 & CR4_VME) || size != 2 || (image & RFLAGS_TF) ||
		(virtual && (cpu->system_flags & RFLAGS_VIP)))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	cpu_set_rflags(cpu, (image & mask) | virtual | (cpu_rflags(cpu) & ~(mask | RFLAGS_VIF)));
}

void insn_popf(struct cpu *cpu, uint64_t value, unsigned size)
{
	uint64_t mask = FLAGS_POPF;

	if (cpu_v86(cpu)) {
		if (iopl(cpu) < 3) {
			popf_virtual(cpu, value, size);
			return;
		}
		mask |= RFLAGS_IF;
	} else {
		if (cpu->cpl <= iopl(cpu))
			mask |= RFLAGS_IF;
		if (cpu->cpl == 0)
			mask |= RFLAGS_IOPL;
	}
	if (size == 2)
		mask &= 0xffff;
	cpu_set_rflags(cpu, (value & mask) | (cpu_rflags(cpu) & ~(mask | RFLAGS_RF)));
}

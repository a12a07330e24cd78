/* SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 2; APM vol. 3).
 *
 * They load CS and SS with fixed contents instead of reading descriptors. Here the vendors differ
 * most: AMD has SYSCALL outside 64-bit mode and no SYSENTER in long mode, checks no SYSRET target,
 * and leaves SS's hidden part alone on SYSRET. */
#include "cpu/cpu.h"
#include "cpu/debug.h"
#include "cpu/syscall_level.h"
#include "cpu/transfer.h"

/* Flat segments. */
#define FLAT_CODE (AR_P | AR_S | AR_CODE | AR_READABLE | AR_ACCESSED | AR_G)
#define FLAT_DATA (AR_P | AR_S | AR_WRITABLE | AR_ACCESSED | AR_G | AR_DB)

static void enter_flat(struct cpu *cpu, uint16_t selector, unsigned cpl, bool code64)
{
	struct segment cs = {
		.limit = 0xffffffff,
		.access = FLAT_CODE | (code64 ? AR_L : AR_DB) | cpl << AR_DPL_SHIFT,
		.selector = (uint16_t)((selector & ~3) | cpl),
	};

	cpu_set_segment(cpu, SEG_CS, &cs);
	cpu_set_cpl(cpu, cpl);
}

static void flat_stack(struct cpu *cpu, uint16_t selector, unsigned cpl)
{
	struct segment ss = {
		.limit = 0xffffffff,
		.access = FLAT_DATA | cpl << AR_DPL_SHIFT,
		.selector = (uint16_t)((selector & ~3) | cpl),
	};

	cpu_set_segment(cpu, SEG_SS, &ss);
}

/* SYSCALL and SYSRET take their single-step trap by the TF they leave with, not by the one they
 * began with. */
static void step_by_new_tf(struct cpu *cpu, uint64_t old_flags)
{
	if (cpu->system_flags & RFLAGS_TF)
		debug_trap(cpu, DR6_BS);
	cpu->no_step_trap = (old_flags & ~cpu->system_flags & RFLAGS_TF) != 0;
}

/* AMD has SYSCALL and SYSRET in legacy and compatibility mode too. */
static void check_available(struct cpu *cpu)
{
	if (!(cpu->efer & EFER_SCE) || cpu_real_segments(cpu) || (!cpu_code64(cpu) && !cpu->amd))
		cpu_raise(cpu, VECTOR_UD);
}

void transfer_syscall(struct cpu *cpu)
{
	uint16_t selector = (uint16_t)bits_get(cpu->star, 47, 32);
	uint64_t flags = cpu_rflags(cpu);
	bool from64 = cpu_code64(cpu);

	check_available(cpu);
	if (syscall_level_serve(cpu))
		return;
	cpu->gpr[RCX] = cpu->next_rip;
	if (cpu_long_mode(cpu)) {
		cpu->gpr[R11] = flags & ~RFLAGS_RF;
		cpu->next_rip = from64 ? cpu->lstar : cpu->cstar;
		cpu_set_rflags(cpu, flags & ~(cpu->sfmask | RFLAGS_RF));
	} else {
		cpu->next_rip = (uint32_t)cpu->star;
		cpu_set_rflags(cpu, flags & ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF));
	}
	enter_flat(cpu, selector, 0, cpu_long_mode(cpu));
	flat_stack(cpu, (uint16_t)(selector + 8), 0);
	step_by_new_tf(cpu, flags);
}

/* The flags SYSRET takes from R11. */
#define SYSRET_FLAGS UINT64_C(0x3c7fd7)

void transfer_sysret(struct cpu *cpu, unsigned operand_size)
{
	uint16_t selector = (uint16_t)bits_get(cpu->star, 63, 48);
	uint16_t ss = (uint16_t)((selector + 8) | 3);
	bool long_mode = cpu_long_mode(cpu), to64 = long_mode && operand_size == 8;
	uint64_t old_flags = cpu->system_flags;

	check_available(cpu);
	if (cpu->cpl != 0)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	if (to64 && !cpu->amd && !cpu_canonical(cpu, cpu->gpr[RCX]))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	cpu->next_rip = to64 ? cpu->gpr[RCX] : (uint32_t)cpu->gpr[RCX];
	if (long_mode)
		cpu_set_rflags(cpu, cpu->gpr[R11] & SYSRET_FLAGS);
	else
		cpu_set_rflags(cpu, cpu_rflags(cpu) | RFLAGS_IF);
	enter_flat(cpu, (uint16_t)(to64 ? selector + 16 : selector), 3, to64);
	if (cpu->amd)
		cpu->segment[SEG_SS].selector = ss;
	else
		flat_stack(cpu, ss, 3);
	step_by_new_tf(cpu, old_flags);
}

void transfer_sysenter(struct cpu *cpu)
{
	bool long_mode = cpu_long_mode(cpu);
	uint16_t selector = (uint16_t)cpu->sysenter_cs;

	if (cpu->amd && long_mode)
		cpu_raise(cpu, VECTOR_UD);
	if (!cpu_protected(cpu) || (selector & ~3) == 0)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	cpu_set_rflags(cpu, cpu_rflags(cpu) & ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF));
	enter_flat(cpu, selector, 0, long_mode);
	flat_stack(cpu, (uint16_t)(selector + 8), 0);
	cpu->gpr[RSP] = long_mode ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
	cpu->next_rip = long_mode ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
}

void transfer_sysexit(struct cpu *cpu, unsigned operand_size)
{
	uint16_t selector = (uint16_t)cpu->sysenter_cs;
	uint64_t rip = cpu->gpr[RDX], rsp = cpu->gpr[RCX];
	bool to64 = operand_size == 8;

	if (cpu->amd && cpu_long_mode(cpu))
		cpu_raise(cpu, VECTOR_UD);
	if (!cpu_protected(cpu) || (selector & ~3) == 0 || cpu->cpl != 0)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	if (to64 && (!cpu_canonical(cpu, rip) || !cpu_canonical(cpu, rsp)))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	enter_flat(cpu, (uint16_t)(to64 ? selector + 32 : selector + 16), 3, to64);
	flat_stack(cpu, (uint16_t)(to64 ? selector + 40 : selector + 24), 3);
	cpu->gpr[RSP] = to64 ? rsp : (uint32_t)rsp;
	cpu->next_rip = to64 ? rip : (uint32_t)rip;
}

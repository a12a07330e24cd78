/* System instructions: operands fetched here, the work done by cpu/, which all engines share. The
 * table at the end says which handler a mnemonic has, and what the instruction may have changed:
 * nothing that matters to the block, the next RIP, or the mode. */
#include "engine/interp/legacy.h"
#include "cpu/instruction_internal.h"
#include "cpu/instruction.h"
#include "cpu/segmentation.h"
#include "cpu/steal_time.h"
#include "cpu/transfer.h"

#include <string.h>

/* decode.c's convention for slow handlers: first register operand `dst`, second `src` (one alone:
 * both), the memory operand by ea_checked(), a control, debug or segment register's number or an
 * immediate in `imm`. */

/* Slow handlers that are only a call. */
#define CALL(name, work)                                                                           \
	static void name(struct cpu *cpu, const struct insn *in)                                   \
	{                                                                                          \
		work;                                                                              \
	}

CALL(do_cpuid, insn_cpuid(cpu))
CALL(do_rdtsc, insn_rdtsc(cpu))
CALL(do_rdtscp, insn_rdtscp(cpu))
CALL(do_rdpmc, insn_rdpmc(cpu))
CALL(do_hypercall, insn_hypercall(cpu))
CALL(do_rdmsr, insn_rdmsr(cpu))
CALL(do_wrmsr, insn_wrmsr(cpu))
CALL(do_hlt, insn_hlt(cpu); cpu->stats.halts++; atomic_store(&cpu->attention, 1))
CALL(do_cli, insn_cli(cpu))
CALL(do_sti, insn_sti(cpu))
CALL(do_clac, insn_clac_stac(cpu, false))
CALL(do_stac, insn_clac_stac(cpu, true))
CALL(do_clts, insn_clts(cpu))
CALL(do_cache, insn_invd_wbinvd(cpu))
CALL(do_swapgs, insn_swapgs(cpu))
CALL(do_xsetbv,
	insn_xsetbv(cpu, (uint32_t)cpu->gpr[RCX], cpu->gpr[RDX] << 32 | (uint32_t)cpu->gpr[RAX]))
CALL(do_syscall, transfer_syscall(cpu))
CALL(do_sysret, transfer_sysret(cpu, in->size))
CALL(do_sysenter, transfer_sysenter(cpu))
CALL(do_sysexit, transfer_sysexit(cpu, in->size))
CALL(do_iret, transfer_iret(cpu, in->size))
CALL(do_far_return, transfer_far_return(cpu, in->size, (unsigned)in->imm))
CALL(do_int, transfer_software_interrupt(cpu, (uint8_t)in->imm, SOFTWARE_INT_N))
CALL(do_int1, transfer_software_interrupt(cpu, VECTOR_DB, SOFTWARE_INT1))
CALL(do_int3, transfer_software_interrupt(cpu, VECTOR_BP, SOFTWARE_INT3))
CALL(do_pushf, program_push(cpu, insn_pushf(cpu, in->size), in->size))
CALL(do_invlpg, insn_invlpg(cpu, ea_offset(cpu, in) + cpu->segment_base[in->segment]))

/* The address of a state image. What turns the unit off is found before what is wrong with the
 * address. */
static uint64_t image_linear(
	struct cpu *cpu, const struct insn *in, enum fpu_class class, unsigned size, bool write)
{
	fpu_check(cpu, class);
	return ea_checked(cpu, in, size, write);
}

static uint64_t fxsave_linear(struct cpu *cpu, const struct insn *in, bool write)
{
	return image_linear(cpu, in, FPU_CLASS_FXSAVE, 512, write);
}

/* With the registers (FNSAVE), or only the environment (FNSTENV). */
static uint64_t x87_linear(struct cpu *cpu, const struct insn *in, bool registers, bool write)
{
	return image_linear(
		cpu, in, FPU_CLASS_X87, (in->size == 2 ? 14 : 28) + (registers ? 80 : 0), write);
}

CALL(do_fxsave, fpu_fxsave(cpu, fxsave_linear(cpu, in, true), in->size))
CALL(do_fxrstor, fpu_fxrstor(cpu, fxsave_linear(cpu, in, false), in->size))
CALL(do_fnsave, fpu_fnsave(cpu, x87_linear(cpu, in, true, true), in->size))
CALL(do_frstor, fpu_frstor(cpu, x87_linear(cpu, in, true, false), in->size))
CALL(do_fnstenv, fpu_fnstenv(cpu, x87_linear(cpu, in, false, true), in->size))
CALL(do_fldenv, fpu_fldenv(cpu, x87_linear(cpu, in, false, false), in->size))

static void do_popf(struct cpu *cpu, const struct insn *in)
{
	insn_popf(cpu, program_peek(cpu, 0, in->size), in->size);
	program_drop(cpu, in->size);
}

static void do_into(struct cpu *cpu, const struct insn *in)
{
	if (cpu->arithmetic_flags & 1)
		transfer_software_interrupt(cpu, VECTOR_OF, SOFTWARE_INTO);
}

static void do_pause(struct cpu *cpu, const struct insn *in)
{
	/* PAUSE: the lock that this vCPU spins on may be held by a vCPU whose thread is not
	 * running. */
	if (cpu->platform->cpu_count > 1)
		cpu_yield(cpu);
}

static void do_rdpid(struct cpu *cpu, const struct insn *in)
{
	REG(guest_8, in->dst) = cpu->tsc_aux;
}

/* --- MOV to and from control and debug registers --- */

static void do_mov_from_cr(struct cpu *cpu, const struct insn *in)
{
	operand_write(
		cpu, in, control_register_read(cpu, (unsigned)in->imm), cpu_code64(cpu) ? 8 : 4);
}

static void do_mov_to_cr(struct cpu *cpu, const struct insn *in)
{
	control_register_write(cpu, (unsigned)in->imm,
		bits_zero_extend(REG(guest_8, in->src), cpu_code64(cpu) ? 8 : 4));
}

static void do_mov_from_dr(struct cpu *cpu, const struct insn *in)
{
	operand_write(cpu, in, debug_read(cpu, (unsigned)in->imm), cpu_code64(cpu) ? 8 : 4);
}

static void do_mov_to_dr(struct cpu *cpu, const struct insn *in)
{
	debug_write(cpu, (unsigned)in->imm,
		bits_zero_extend(REG(guest_8, in->src), cpu_code64(cpu) ? 8 : 4));
}

slow_fn *const slow_mov_cr[2] = {do_mov_from_cr, do_mov_to_cr};
slow_fn *const slow_mov_dr[2] = {do_mov_from_dr, do_mov_to_dr};

/* Stored as a selector: registers take the operand size, memory always two bytes. */
static void write_selector(struct cpu *cpu, const struct insn *in, uint16_t selector)
{
	operand_write(cpu, in, selector, in->attributes & INSN_MEMORY ? 2 : in->size);
}

void slow_mov_from_segment(struct cpu *cpu, const struct insn *in)
{
	write_selector(cpu, in, cpu->segment[in->imm].selector);
}

void slow_mov_to_segment(struct cpu *cpu, const struct insn *in)
{
	segment_load(cpu, (enum seg)in->imm, (uint16_t)operand_read(cpu, in, 2));
	if (in->imm == SEG_SS)
		cpu->interrupt_shadow = SHADOW_MOV_SS;
}

/* MOV AL/AX/EAX/RAX to and from an absolute address that does not fit a displacement. */
void slow_mov_absolute(struct cpu *cpu, const struct insn *in)
{
	uint64_t linear = legacy_linear(cpu, in, in->imm, in->size, in->disp);

	if (in->disp) {
		slow_store(cpu, linear, cpu->gpr[RAX], in->size);
		return;
	}
	uint64_t value = access_load(cpu, linear, in->size, ACCESS_PROGRAM);
	if (in->size >= 4)
		cpu->gpr[RAX] = value;
	else
		memcpy(&cpu->gpr[RAX], &value, in->size);
}

/* --- descriptor tables and selectors --- */

static unsigned table_size(const struct cpu *cpu, const struct insn *in)
{
	return cpu_code64(cpu) ? 8 : in->size;
}

static uint64_t table_linear(struct cpu *cpu, const struct insn *in, bool write)
{
	return ea_checked(cpu, in, cpu_code64(cpu) ? 10 : 6, write);
}

CALL(do_sgdt, insn_store_table(cpu, &cpu->gdtr, table_linear(cpu, in, true), table_size(cpu, in)))
CALL(do_sidt, insn_store_table(cpu, &cpu->idtr, table_linear(cpu, in, true), table_size(cpu, in)))
/* Privilege before the address. */
CALL(do_lgdt, insn_require_cpl0(cpu);
	insn_load_table(cpu, &cpu->gdtr, table_linear(cpu, in, false), table_size(cpu, in)))
CALL(do_lidt, insn_require_cpl0(cpu);
	insn_load_table(cpu, &cpu->idtr, table_linear(cpu, in, false), table_size(cpu, in)))
CALL(do_sldt, write_selector(cpu, in, insn_sldt(cpu)))
CALL(do_str, write_selector(cpu, in, insn_str(cpu)))

/* The privilege check comes before the operand is read. */
static void do_lldt(struct cpu *cpu, const struct insn *in)
{
	if (cpu_real_segments(cpu))
		cpu_raise(cpu, VECTOR_UD);
	if (cpu->cpl != 0)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	insn_lldt(cpu, (uint16_t)operand_read(cpu, in, 2));
}

static void do_ltr(struct cpu *cpu, const struct insn *in)
{
	if (cpu_real_segments(cpu))
		cpu_raise(cpu, VECTOR_UD);
	if (cpu->cpl != 0)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	insn_ltr(cpu, (uint16_t)operand_read(cpu, in, 2));
}

static void do_smsw(struct cpu *cpu, const struct insn *in)
{
	uint16_t low = insn_smsw(cpu);

	if (in->attributes & INSN_MEMORY)
		operand_write(cpu, in, low, 2);
	else
		operand_write(cpu, in, in->size == 2 ? low : cpu->cr0, in->size);
}

static void do_lmsw(struct cpu *cpu, const struct insn *in)
{
	if (cpu->cpl != 0)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	insn_lmsw(cpu, (uint16_t)operand_read(cpu, in, 2));
}

static void set_zero_flag(struct cpu *cpu, bool value)
{
	cpu->arithmetic_flags =
		(uint16_t)((cpu->arithmetic_flags & ~0x4000) | (value ? 0x4000 : 0));
}

/* LAR, LSL, VERR, VERW, ARPL are not recognized where selectors are paragraphs. */
static uint16_t protected_selector(struct cpu *cpu, const struct insn *in)
{
	if (cpu_real_segments(cpu))
		cpu_raise(cpu, VECTOR_UD);
	return (uint16_t)operand_read(cpu, in, 2);
}

static void set_register(struct cpu *cpu, const struct insn *in, uint64_t value)
{
	if (in->size == 2)
		REG(guest_2, in->dst) = (uint16_t)value;
	else
		REG(guest_8, in->dst) = in->size == 4 ? (uint32_t)value : value;
}

static void do_lar(struct cpu *cpu, const struct insn *in)
{
	uint32_t rights;
	bool ok = segment_lar(cpu, protected_selector(cpu, in), &rights);

	if (ok)
		set_register(cpu, in, rights);
	set_zero_flag(cpu, ok);
}

static void do_lsl(struct cpu *cpu, const struct insn *in)
{
	uint32_t limit;
	bool ok = segment_lsl(cpu, protected_selector(cpu, in), &limit);

	if (ok)
		set_register(cpu, in, limit);
	set_zero_flag(cpu, ok);
}

CALL(do_verr, set_zero_flag(cpu, segment_verify(cpu, protected_selector(cpu, in), false)))
CALL(do_verw, set_zero_flag(cpu, segment_verify(cpu, protected_selector(cpu, in), true)))

/* The operand's RPL is raised to the register's. */
static void do_arpl(struct cpu *cpu, const struct insn *in)
{
	uint16_t other = REG(guest_2, in->src);
	uint16_t selector;
	bool lower;

	if (cpu_real_segments(cpu))
		cpu_raise(cpu, VECTOR_UD);
	selector = in->attributes & INSN_MEMORY
			   ? (uint16_t)access_load(
				     cpu, ea_checked(cpu, in, 2, false), 2, ACCESS_PROGRAM)
			   : REG(guest_2, in->dst);
	lower = (selector & 3) < (other & 3);
	if (lower)
		operand_write(cpu, in, (selector & ~3u) | (other & 3), 2);
	set_zero_flag(cpu, lower);
}

/* --- extended state --- */

static uint64_t requested_state(const struct cpu *cpu)
{
	return cpu->gpr[RDX] << 32 | (uint32_t)cpu->gpr[RAX];
}

/* The area's size is checked piece by piece by fpu.h; here only its start. */
static uint64_t xsave_linear(struct cpu *cpu, const struct insn *in, bool write)
{
	return image_linear(cpu, in, FPU_CLASS_XSAVE, 1, write);
}

#define XSAVE_CALL(name, form)                                                                     \
	CALL(name,                                                                                 \
		fpu_xsave(cpu, xsave_linear(cpu, in, true), requested_state(cpu), form, in->size))
XSAVE_CALL(do_xsave, XSAVE_STANDARD)
XSAVE_CALL(do_xsaveopt, XSAVE_OPT)
XSAVE_CALL(do_xsavec, XSAVE_COMPACT)
XSAVE_CALL(do_xsaves, XSAVE_SUPERVISOR)
CALL(do_xrstor,
	fpu_xrstor(cpu, xsave_linear(cpu, in, false), requested_state(cpu), false, in->size))
CALL(do_xrstors,
	fpu_xrstor(cpu, xsave_linear(cpu, in, false), requested_state(cpu), true, in->size))

static void set_edx_eax(struct cpu *cpu, uint64_t value)
{
	cpu->gpr[RAX] = (uint32_t)value;
	cpu->gpr[RDX] = value >> 32;
}

CALL(do_xgetbv, set_edx_eax(cpu, insn_xgetbv(cpu, (uint32_t)cpu->gpr[RCX])))
CALL(do_wrpkru, insn_wrpkru(cpu, (uint32_t)cpu->gpr[RAX]))
CALL(do_rdpkru, set_edx_eax(cpu, insn_rdpkru(cpu)))

static void do_ldmxcsr(struct cpu *cpu, const struct insn *in)
{
	fpu_check(cpu, in->imm ? FPU_CLASS_AVX : FPU_CLASS_SSE);
	fpu_ldmxcsr(cpu, (uint32_t)operand_read(cpu, in, 4));
}

static void do_stmxcsr(struct cpu *cpu, const struct insn *in)
{
	fpu_check(cpu, in->imm ? FPU_CLASS_AVX : FPU_CLASS_SSE);
	operand_write(cpu, in, fpu_stmxcsr(cpu), 4);
}

/* --- segment bases, TLB, ports --- */

#define BASE_CALLS(name, seg)                                                                      \
	static void do_rd##name(struct cpu *cpu, const struct insn *in)                            \
	{                                                                                          \
		operand_write(cpu, in, insn_read_fs_gs_base(cpu, seg), in->size);                  \
	}                                                                                          \
	static void do_wr##name(struct cpu *cpu, const struct insn *in)                            \
	{                                                                                          \
		insn_write_fs_gs_base(                                                             \
			cpu, seg, bits_zero_extend(REG(guest_8, in->src), in->size));              \
	}
BASE_CALLS(fsbase, SEG_FS)
BASE_CALLS(gsbase, SEG_GS)

static void do_invpcid(struct cpu *cpu, const struct insn *in)
{
	unsigned size = cpu_code64(cpu) ? 8 : 4;

	if (cpu_protected(cpu) && cpu->cpl != 0)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	insn_invpcid(
		cpu, bits_zero_extend(REG(guest_8, in->dst), size), ea_checked(cpu, in, 16, false));
}

static uint16_t port_of(const struct cpu *cpu, const struct insn *in)
{
	return in->attributes & INSN_IMMEDIATE ? (uint16_t)in->imm : (uint16_t)cpu->gpr[RDX];
}

static void do_in(struct cpu *cpu, const struct insn *in)
{
	uint32_t value = insn_in(cpu, port_of(cpu, in), in->size);

	if (in->size == 4)
		cpu->gpr[RAX] = value;
	else
		memcpy(&cpu->gpr[RAX], &value, in->size);
}

CALL(do_out, insn_out(cpu, port_of(cpu, in), (uint32_t)bits_zero_extend(cpu->gpr[RAX], in->size),
		     in->size))

/* Far JMP and CALL: the pointer is immediate (selector in disp) or in memory. */
static void far_target(struct cpu *cpu, const struct insn *in, uint16_t *selector, uint64_t *offset)
{
	uint64_t linear;

	if (!(in->attributes & INSN_MEMORY)) {
		*selector = (uint16_t)in->disp;
		*offset = in->imm;
		return;
	}
	linear = ea_checked(cpu, in, in->size + 2, false);
	*offset = access_load(cpu, linear, in->size, ACCESS_PROGRAM);
	*selector = (uint16_t)access_load(cpu, linear + in->size, 2, ACCESS_PROGRAM);
}

void slow_far_jump(struct cpu *cpu, const struct insn *in)
{
	uint16_t selector;
	uint64_t offset;

	far_target(cpu, in, &selector, &offset);
	transfer_far_jump(cpu, selector, offset, in->size);
}

void slow_far_call(struct cpu *cpu, const struct insn *in)
{
	uint16_t selector;
	uint64_t offset;

	far_target(cpu, in, &selector, &offset);
	transfer_far_call(cpu, selector, offset, in->size);
}

static void do_xlat(struct cpu *cpu, const struct insn *in)
{
	uint64_t offset = cpu->gpr[RBX] + (uint8_t)cpu->gpr[RAX];

	if (in->attributes & INSN_ADDRESS_16)
		offset = (uint16_t)offset;
	else if (in->attributes & INSN_ADDRESS_32)
		offset = (uint32_t)offset;
	REG(guest_1, REG_OFFSET(RAX)) = (uint8_t)access_load(
		cpu, legacy_linear(cpu, in, offset, 1, false), 1, ACCESS_PROGRAM);
}

/* Cache-line instructions translate their address and do nothing more. */
CALL(do_touch, access_load(cpu, ea_checked(cpu, in, 1, false), 1, ACCESS_PROGRAM))

#define ROW(name, call, how)                                                                       \
	{                                                                                          \
		ZYDIS_MNEMONIC_##name, call, how                                                   \
	}

static const struct slow_entry entries[] = {
	ROW(CPUID, do_cpuid, op_call_continue),
	ROW(RDTSC, do_rdtsc, op_call_continue),
	ROW(RDTSCP, do_rdtscp, op_call_continue),
	ROW(RDPMC, do_rdpmc, op_call_continue),
	ROW(RDMSR, do_rdmsr, op_call_continue),
	ROW(WRMSR, do_wrmsr, op_call_jump),
	ROW(VMCALL, do_hypercall, op_call_jump),
	ROW(VMMCALL, do_hypercall, op_call_jump),
	ROW(HLT, do_hlt, op_call_leave),
	ROW(CLI, do_cli, op_call_continue),
	ROW(STI, do_sti, op_call_leave),
	ROW(CLAC, do_clac, op_call_continue),
	ROW(STAC, do_stac, op_call_continue),
	ROW(CLTS, do_clts, op_call_continue),
	ROW(INVD, do_cache, op_call_continue),
	ROW(WBINVD, do_cache, op_call_continue),
	ROW(SWAPGS, do_swapgs, op_call_continue),
	ROW(XSETBV, do_xsetbv, op_call_continue),
	ROW(SYSCALL, do_syscall, op_call_flags),
	ROW(SYSRET, do_sysret, op_call_flags),
	ROW(SYSENTER, do_sysenter, op_call_flags),
	ROW(SYSEXIT, do_sysexit, op_call_flags),
	ROW(IRET, do_iret, op_call_flags),
	ROW(IRETD, do_iret, op_call_flags),
	ROW(IRETQ, do_iret, op_call_flags),
	ROW(INT, do_int, op_call_flags),
	ROW(INT1, do_int1, op_call_flags),
	ROW(INT3, do_int3, op_call_flags),
	ROW(INTO, do_into, op_call_flags),
	ROW(PUSHF, do_pushf, op_call_continue),
	ROW(PUSHFD, do_pushf, op_call_continue),
	ROW(PUSHFQ, do_pushf, op_call_continue),
	ROW(POPF, do_popf, op_call_flags),
	ROW(POPFD, do_popf, op_call_flags),
	ROW(POPFQ, do_popf, op_call_flags),
	ROW(INVLPG, do_invlpg, op_call_jump),
	ROW(INVPCID, do_invpcid, op_call_jump),
	ROW(FXSAVE, do_fxsave, op_call_continue),
	ROW(FXSAVE64, do_fxsave, op_call_continue),
	ROW(FXRSTOR, do_fxrstor, op_call_continue),
	ROW(FXRSTOR64, do_fxrstor, op_call_continue),
	ROW(FNSAVE, do_fnsave, op_call_continue),
	ROW(FRSTOR, do_frstor, op_call_continue),
	ROW(FNSTENV, do_fnstenv, op_call_continue),
	ROW(FLDENV, do_fldenv, op_call_continue),
	ROW(XSAVE, do_xsave, op_call_continue),
	ROW(XSAVE64, do_xsave, op_call_continue),
	ROW(XSAVEOPT, do_xsaveopt, op_call_continue),
	ROW(XSAVEOPT64, do_xsaveopt, op_call_continue),
	ROW(XSAVEC, do_xsavec, op_call_continue),
	ROW(XSAVEC64, do_xsavec, op_call_continue),
	ROW(XSAVES, do_xsaves, op_call_continue),
	ROW(XSAVES64, do_xsaves, op_call_continue),
	ROW(XRSTOR, do_xrstor, op_call_continue),
	ROW(XRSTOR64, do_xrstor, op_call_continue),
	ROW(XRSTORS, do_xrstors, op_call_continue),
	ROW(XRSTORS64, do_xrstors, op_call_continue),
	ROW(XGETBV, do_xgetbv, op_call_continue),
	ROW(RDPKRU, do_rdpkru, op_call_continue),
	ROW(WRPKRU, do_wrpkru, op_call_continue),
	ROW(LDMXCSR, do_ldmxcsr, op_call_continue),
	ROW(VLDMXCSR, do_ldmxcsr, op_call_continue),
	ROW(STMXCSR, do_stmxcsr, op_call_continue),
	ROW(VSTMXCSR, do_stmxcsr, op_call_continue),
	ROW(SGDT, do_sgdt, op_call_continue),
	ROW(SIDT, do_sidt, op_call_continue),
	ROW(LGDT, do_lgdt, op_call_continue),
	ROW(LIDT, do_lidt, op_call_continue),
	ROW(SLDT, do_sldt, op_call_continue),
	ROW(STR, do_str, op_call_continue),
	ROW(LLDT, do_lldt, op_call_continue),
	ROW(LTR, do_ltr, op_call_continue),
	ROW(SMSW, do_smsw, op_call_continue),
	ROW(LMSW, do_lmsw, op_call_leave),
	ROW(LAR, do_lar, op_call_continue),
	ROW(LSL, do_lsl, op_call_continue),
	ROW(VERR, do_verr, op_call_continue),
	ROW(VERW, do_verw, op_call_continue),
	ROW(ARPL, do_arpl, op_call_continue),
	ROW(RDFSBASE, do_rdfsbase, op_call_continue),
	ROW(RDGSBASE, do_rdgsbase, op_call_continue),
	ROW(WRFSBASE, do_wrfsbase, op_call_continue),
	ROW(WRGSBASE, do_wrgsbase, op_call_continue),
	ROW(RDPID, do_rdpid, op_call_continue),
	ROW(PAUSE, do_pause, op_call_jump),
	ROW(IN, do_in, op_call_continue),
	ROW(OUT, do_out, op_call_jump),
	ROW(XLAT, do_xlat, op_call_continue),
	ROW(BOUND, slow_bound, op_call_continue),
	ROW(PUSHA, slow_pusha, op_call_continue),
	ROW(PUSHAD, slow_pusha, op_call_continue),
	ROW(POPA, slow_popa, op_call_continue),
	ROW(POPAD, slow_popa, op_call_continue),
	ROW(ENTER, slow_enter, op_call_continue),
	ROW(LEAVE, slow_leave, op_call_continue),
	ROW(AAM, slow_aam, op_call_continue),
	ROW(AAD, slow_aad, op_call_continue),
	ROW(SALC, slow_salc, op_call_continue),
	ROW(CLFLUSH, do_touch, op_call_continue),
	ROW(CLFLUSHOPT, do_touch, op_call_continue),
	ROW(CLWB, do_touch, op_call_continue),
};

slow_fn *const slow_far_ret = do_far_return;

/* Found once per decoded instruction, so by an index made at the first look-up. */
const struct slow_entry *slow_find(ZydisMnemonic mnemonic)
{
	static _Atomic(const struct slow_entry *) index[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	static _Atomic bool ready;

	if (unlikely(!atomic_load_explicit(&ready, memory_order_acquire))) {
		for (unsigned i = 0; i < ARRAY_SIZE(entries); i++)
			atomic_store_explicit(
				&index[entries[i].mnemonic], &entries[i], memory_order_relaxed);
		atomic_store_explicit(&ready, true, memory_order_release);
	}
	return atomic_load_explicit(&index[mnemonic], memory_order_relaxed);
}

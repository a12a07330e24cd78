/* System instructions that need no more than a few host instructions on the virtual processor's
 * state.
 *
 * What they depend on besides the mode (CR4's bits for them) was looked at when the unit was made;
 * when those bits change, all units go (CR4_ASSUMED). Where an instruction would raise an
 * exception, or has more to do than is done here, the interpreter runs it: guarded by a JRCXZ to an
 * exit.
 *
 * STI. Where an interrupt waits already, the interpreter runs the STI. One that comes later kicks
 * this vCPU, and if the unit is then left at the instruction after the STI (by the kick, a fault,
 * or a soft-TLB miss), that is still in the shadow: bt_insn.shadowed says so to the code that
 * serves exits, and the run loop steps the instruction. A unit that runs through pays nothing. */
#include "engine/bt/special.h"
#include "engine/bt/identical.h"
#include "engine/bt/push_pop.h"
#include "engine/bt/translate.h"

#include "cpu/cpuid.h"
#include "cpu/transfer.h"

/* --- recognising: it is allowed in this mode, and its operands are simple enough --- */

bool special_for_kernel(const struct translator *t, struct guest_insn *g)
{
	return !t->mode.user;
}

bool special_smap(const struct translator *t, struct guest_insn *g)
{
	return !t->mode.user && (t->cpu->cr4 & CR4_SMAP);
}

/* DF is clear in every mode that is translated. */
bool special_cld(const struct translator *t, struct guest_insn *g)
{
	return true;
}

bool special_pause(const struct translator *t, struct guest_insn *g)
{
	return t->cpu->platform->cpu_count > 1;
}

bool special_pushfq(const struct translator *t, struct guest_insn *g)
{
	return g->in.operand_width == 8 * word_size(t);
}

bool special_rdtsc(const struct translator *t, struct guest_insn *g)
{
	return !t->mode.user || !(t->cpu->cr4 & CR4_TSD);
}

bool special_rdpkru(const struct translator *t, struct guest_insn *g)
{
	return t->cpu->cr4 & CR4_PKE;
}

bool special_base(const struct translator *t, struct guest_insn *g)
{
	return (t->cpu->cr4 & CR4_FSGSBASE) && isa_gpr_number(g->operands[0].reg.value) != RSP;
}

/* With a LOCK prefix AMD's processors take another register. */
bool special_mov_cr2(const struct translator *t, struct guest_insn *g)
{
	if (t->mode.user || (g->in.attributes & ZYDIS_ATTRIB_HAS_LOCK) ||
		!is_word_register(t, &g->operands[0]) ||
		isa_gpr_number(g->operands[0].reg.value) == RSP ||
		g->operands[1].type != ZYDIS_OPERAND_TYPE_REGISTER ||
		g->operands[1].reg.value != ZYDIS_REGISTER_CR2)
		return false;
	g->kind = GUEST_MOV_CR2;
	g->reason = guest_kinds[GUEST_MOV_CR2].reason;
	return true;
}

/* --- emitting --- */

static void emit_load_32(struct code *c, unsigned reg, const void *from)
{
	emit_memory_op(c, false, 0x8b, reg, at_address(from));
}

static void emit_store_32(struct code *c, const void *to, unsigned reg)
{
	emit_memory_op(c, false, 0x89, reg, at_address(to));
}

/* Go on if RCX is zero; else the interpreter runs the instruction. */
static void interpret_unless_rcx_zero(struct translator *t, unsigned i)
{
	uintptr_t patch = emit_unless_rcx_zero(&t->code);
	uint32_t id = add_exit(t, BT_EXIT_INTERPRET, i);

	exit_of(t, id)->resume = 0;
	add_cold(t, COLD_EXIT, i, patch, id, NULL);
}

void translate_sti(struct translator *t, unsigned i)
{
	struct code *c = &t->code;

	/* The shadow must fall on an instruction of the same unit. */
	if (i + 1 == t->count) {
		translate_interpret(t, i);
		return;
	}
	emit_load_32(c, SCRATCH, &t->cpu->pending);
	interpret_unless_rcx_zero(t, i);
	/* As with CLI, IF is all there is in this byte. */
	emit_memory_op(c, false, 0xc6, 0, at_address((uint8_t *)&t->cpu->system_flags + 1));
	emit_byte(c, RFLAGS_IF >> 8);
}

static void store_base(struct translator *t, unsigned i, enum seg seg, unsigned from)
{
	struct code *c = &t->code;

	emit_store(c, at_address(&t->cpu->segment_base[seg]), from);
	mark(t, i, MARK_AFTER);
	emit_store(c, at_address(&t->cpu->segment[seg].base), from);
}

void translate_swapgs(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	struct cpu *cpu = t->cpu;

	emit_load(c, SCRATCH, at_address(&cpu->segment_base[SEG_GS]));
	emit_load(c, SCRATCH_ADDR, at_address(&cpu->kernel_gs_base));
	store_base(t, i, SEG_GS, SCRATCH_ADDR);
	emit_store(c, at_address(&cpu->kernel_gs_base), SCRATCH);
}

void translate_read_base(struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insn[i];
	enum seg seg = g->in.mnemonic == ZYDIS_MNEMONIC_RDFSBASE ? SEG_FS : SEG_GS;
	const uint64_t *base = &t->cpu->segment_base[seg];

	if (g->operands[0].size == 64)
		emit_load(&t->code, SCRATCH, at_address(base));
	else
		emit_load_32(&t->code, SCRATCH, base);
	set_register(t, isa_gpr_number(g->operands[0].reg.value), SCRATCH);
}

/* The new base must be canonical: bits 63..47 all the same, so adding bit 47 leaves bits 63..48
 * zero. */
void translate_write_base(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];
	enum seg seg = g->in.mnemonic == ZYDIS_MNEMONIC_WRFSBASE ? SEG_FS : SEG_GS;
	unsigned guest = isa_gpr_number(g->operands[0].reg.value);
	unsigned from = value_of(t, guest, SCRATCH_ADDR);
	uint8_t *sum = (uint8_t *)&t->bt->run.scratch[0];

	if (g->operands[0].size == 32) {
		emit_register_op(c, false, 0x89, from, SCRATCH_ADDR);
	} else {
		emit_constant(c, SCRATCH, BIT(47));
		emit_lea(c, SCRATCH, at_sum((int)from, SCRATCH, 0));
		emit_store(c, at_address(sum), SCRATCH);
		emit_memory_op(c, false, 0x0fb7, SCRATCH, at_address(sum + 6));
		interpret_unless_rcx_zero(t, i);
		if (from != SCRATCH_ADDR)
			emit_move(c, SCRATCH_ADDR, from);
	}
	store_base(t, i, seg, SCRATCH_ADDR);
}

/* RDTSC itself is the commit: it writes only RAX and RDX, and these are outputs of the guest's
 * RDTSC, too. The code after it adds the guest's offset. */
void translate_rdtsc(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	bool with_aux = t->insn[i].in.mnemonic == ZYDIS_MNEMONIC_RDTSCP;
	uint32_t *halves = (uint32_t *)&t->bt->run.scratch[0];

	emit_bytes(c, (uint8_t[]){0x0f, with_aux ? 0x01 : 0x31, 0xf9}, with_aux ? 3 : 2);
	mark(t, i, MARK_AFTER);
	emit_store_32(c, &halves[0], RAX);
	emit_store_32(c, &halves[1], RDX);
	emit_load(c, SCRATCH, at_address(halves));
	emit_load(c, SCRATCH_ADDR, at_address(&t->bt->run.tsc_offset));
	emit_lea(c, SCRATCH, at_sum(SCRATCH, SCRATCH_ADDR, 0));
	emit_register_op(c, false, 0x89, SCRATCH, RAX);
	emit_store(c, at_address(halves), SCRATCH);
	emit_load_32(c, RDX, &halves[1]);
	if (with_aux)
		emit_load_32(c, HOST_RCX, &t->cpu->tsc_aux);
}

void translate_rdpkru(struct translator *t, unsigned i)
{
	struct code *c = &t->code;

	emit_register_op(c, false, 0x89, HOST_RCX, SCRATCH); /* mov ecx, r11d */
	interpret_unless_rcx_zero(t, i);
	emit_load_32(c, RAX, &t->cpu->fpu.pkru);
	mark(t, i, MARK_AFTER);
	emit_constant(c, RDX, 0);
}

/* RFLAGS from LAHF and SETO, with shifts made of LEA. The image shows no RF, and VM cannot be. RF
 * is never set here: IRET's lasts for one instruction, and without breakpoints the guest cannot
 * tell. */
void translate_pushfq(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	struct bt *bt = t->bt;
	struct host_memory times_8 = {.base = NO_REGISTER, .index = RAX, .scale = 3};

	emit_store(c, at_address(&bt->run.saved_rax), RAX);
	emit_byte(c, 0x9f); /* lahf */
	mark(t, i, MARK_AFTER);
	emit_bytes(c, (uint8_t[]){0x0f, 0x90, 0xc0, 0x0f, 0xb6, 0xcc, 0x0f, 0xb6, 0xc0}, 9);
	/* seto al; movzx ecx, ah; movzx eax, al */
	for (int k = 0; k < 3; k++)
		emit_lea(c, RAX, times_8);
	/* OF to bit 11; bit 1 is in system_flags, too */
	emit_lea(c, SCRATCH,
		(struct host_memory){.base = SCRATCH, .index = RAX, .scale = 2, .disp = -2});
	emit_load(c, RAX, at_address(&t->cpu->system_flags));
	emit_lea(c, SCRATCH, at_sum(SCRATCH, RAX, 0));
	emit_store(c, at_address(&bt->run.scratch[0]), SCRATCH);
	emit_load(c, RAX, at_address(&bt->run.saved_rax));
	mark(t, i, MARK_BEFORE);
	push_scratch(t, i);
}

/* Code that waits long waits for a vCPU that the host does not run, perhaps for want of this
 * processor. The interpreter's PAUSE gives the processor up. */
void translate_pause(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	uintptr_t patch;
	uint32_t id = add_exit(t, BT_EXIT_INTERPRET, i);

	emit_load(c, SCRATCH, at_address(&t->bt->run.pauses_left));
	emit_lea(c, SCRATCH, at_register(SCRATCH, -1));
	emit_store(c, at_address(&t->bt->run.pauses_left), SCRATCH);
	emit_skip_unless_rcx_zero(c, JUMP_BYTES);
	patch = emit_jump(c);
	emit_bytes(c, (uint8_t[]){0xf3, 0x90}, 2);
	add_cold(t, COLD_EXIT, i, patch, id, NULL);
}

void translate_mov_cr2(struct translator *t, unsigned i)
{
	emit_load(&t->code, SCRATCH, at_address(&t->cpu->cr2));
	set_register(t, isa_gpr_number(t->insn[i].operands[0].reg.value), SCRATCH);
}

/* --- user to kernel and back --- */

static void sysret_64(struct cpu *cpu)
{
	transfer_sysret(cpu, 8);
}

static void iret_64(struct cpu *cpu)
{
	transfer_iret(cpu, 8);
}

static void iret_32(struct cpu *cpu)
{
	transfer_iret(cpu, 4);
}

void (*special_routine(const struct guest_insn *g))(struct cpu *cpu)
{
	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_SYSCALL:
		return transfer_syscall;
	case ZYDIS_MNEMONIC_SYSRET:
		return g->in.operand_width == 64 ? sysret_64 : NULL;
	case ZYDIS_MNEMONIC_IRETQ:
		return iret_64;
	case ZYDIS_MNEMONIC_IRETD:
		return iret_32;
	default:
		return NULL;
	}
}

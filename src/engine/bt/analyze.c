/* Decoding a run of guest instructions, and sorting them: which can be copied, which need code of
 * their own, and which are the interpreter's.
 *
 * What can be copied is what may run natively (isa/native.h: the guest's CPUID shows it, nothing
 * about it is privileged, and its effects are on registers, flags and one ordinary memory
 * operand). */
#include "engine/bt/analyze.h"
#include "engine/bt/special.h"
#include "engine/bt/stack.h"
#include "engine/bt/string.h"

#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "isa/decode.h"

static void set_kind(struct guest_insn *g, enum guest_kind kind, const char *reason)
{
	g->kind = kind;
	g->reason = reason;
}

static bool is_rsp(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER && op->reg.value == ZYDIS_REGISTER_RSP;
}

static bool needed_mode(enum fpu_class class, struct bt_mode mode)
{
	switch (class) {
	case FPU_CLASS_NONE:
	case FPU_CLASS_VEX:
		return true;
	case FPU_CLASS_X87:
	case FPU_CLASS_WAIT:
	case FPU_CLASS_MMX:
		return mode.fpu & BT_X87;
	case FPU_CLASS_SSE:
		return mode.fpu & BT_SSE;
	case FPU_CLASS_AVX:
		return mode.fpu & BT_AVX;
	case FPU_CLASS_AVX512:
		return mode.fpu & BT_AVX512;
	default:
		return false;
	}
}

/* Which vector registers must be the host's for this operand? VEX and EVEX change all of a
 * register. */
static enum bt_vectors needed_vectors(const struct guest_insn *g, const ZydisDecodedOperand *op)
{
	if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return VECTORS_AWAY;
	switch (ZydisRegisterGetClass(op->reg.value)) {
	case ZYDIS_REGCLASS_XMM:
		return g->in.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ? VECTORS_NARROW
									   : VECTORS_WIDE;
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
	case ZYDIS_REGCLASS_MASK:
		return VECTORS_WIDE;
	default:
		return VECTORS_AWAY;
	}
}

static bool writes(const ZydisDecodedOperand *op)
{
	return op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

/* Must the register's old value be there before the instruction? Where it is only partly or perhaps
 * written, too. */
static bool loads(const struct guest_insn *g, const ZydisDecodedOperand *op)
{
	/* With nothing to find they write nothing. */
	if (g->in.mnemonic == ZYDIS_MNEMONIC_BSF || g->in.mnemonic == ZYDIS_MNEMONIC_BSR)
		return true;
	return op->actions != ZYDIS_OPERAND_ACTION_WRITE || op->size < 32;
}

static void add_spill(struct guest_insn *g, unsigned reg, const ZydisDecodedOperand *op)
{
	if (!((g->spill_load | g->spill_store) & BIT(reg)))
		g->spilled[g->spill_count++] = (uint8_t)reg;
	if (loads(g, op))
		g->spill_load |= (uint16_t)BIT(reg);
	if (writes(op))
		g->spill_store |= (uint16_t)BIT(reg);
}

/* General registers among the operands. False where it cannot be an identical instruction here. */
static bool collect_registers(struct guest_insn *g, bool raw_rsp)
{
	bool big = false;

	for (unsigned i = 0; i < g->in.operand_count; i++) {
		const ZydisDecodedOperand *op = &g->operands[i];
		unsigned reg;

		g->vectors = MAX(g->vectors, (uint8_t)needed_vectors(g, op));
		if (!isa_operand_is_gpr(op))
			continue;
		reg = isa_gpr_number(op->reg.value);
		g->high_byte |= isa_is_high_byte(op->reg.value);
		if (op->encoding == ZYDIS_OPERAND_ENCODING_NONE) {
			if (reg == RCX) {
				g->implicit_rcx = true;
				g->implicit_rcx_written |= writes(op);
			} else if (reg == RSP || reg == R10 || reg == R11) {
				return false;
			}
			continue;
		}
		big |= reg >= R8;
		g->explicit_rcx |= reg == RCX;
		g->explicit_rcx_written |= reg == RCX && writes(op);
		if (reg == R10 || reg == R11) {
			if (g->spill_count == 3)
				return false;
			add_spill(g, reg, op);
		} else if (reg == RSP && !raw_rsp) {
			if (writes(op) || op->size != 64 || g->spill_count == 3)
				return false;
			add_spill(g, reg, op);
		}
	}
	if (g->high_byte && (big || g->spill_count))
		return false;
	/* RCX and R10 are what there is for them. */
	if (g->spill_count + g->implicit_rcx + (g->memory ? 1 : 0) > 2)
		return false;
	return true;
}

static bool try_identical(struct translator *t, struct guest_insn *g)
{
	const struct native_rules *rules;
	struct native native;

	if (!native_select(t->cpu->model, &g->in, g->operands, g->bytes, &native))
		return false;
	rules = &native.rules;
	if (!needed_mode(rules->check, t->mode))
		return false;
	if (native.emulated) {
		switch (g->in.mnemonic) {
		case ZYDIS_MNEMONIC_VZEROUPPER:
		case ZYDIS_MNEMONIC_VZEROALL:
			g->vectors = VECTORS_WIDE;
			return collect_registers(g, false);
		case ZYDIS_MNEMONIC_STMXCSR:
			break;
		default:
			return false;
		}
	} else {
		g->masked = rules->memory > NATIVE_GATHER;
		/* The soft TLB looks at all of an operand. */
		if (native.implicit_memory || (g->masked && (!windowed(t) || t->mode.ac)))
			return false;
	}
	if (rules->memory != NATIVE_NO_MEMORY) {
		for (unsigned i = 0; i < g->in.operand_count_visible; i++)
			if (g->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
				g->memory = &g->operands[i];
		if (!g->memory || g->memory->mem.type != ZYDIS_MEMOP_TYPE_MEM)
			return false;
		g->memory_size = rules->memory_size;
		g->writes_memory = native_writes(rules);
		g->other_faults = rules->check != FPU_CLASS_NONE || rules->alignment > 1;
		if (!g->memory_size || g->memory_size > 64)
			return false;
	}
	g->x87 = rules->x87;
	g->fop = rules->fop;
	g->touches = g->memory && !g->masked && !(g->x87 && g->writes_memory);
	return collect_registers(g, !windowed(t));
}

/* LEA and NOPs with an operand compute or name an address and touch nothing. */
static void classify_lea(struct guest_insn *g)
{
	g->memory = &g->operands[1];
	if (g->operands[0].size < 32 || isa_gpr_number(g->operands[0].reg.value) == RSP)
		set_kind(g, GUEST_INTERPRET, "rare form of LEA");
	else
		set_kind(g, GUEST_LEA, NULL);
}

static bool memory_operand(struct guest_insn *g, unsigned index)
{
	if (g->operands[index].type != ZYDIS_OPERAND_TYPE_MEMORY)
		return false;
	g->memory = &g->operands[index];
	g->memory_size = 8;
	return true;
}

static void classify_push_pop(struct guest_insn *g)
{
	const ZydisDecodedOperand *op = &g->operands[0];
	bool push = g->in.mnemonic == ZYDIS_MNEMONIC_PUSH;

	if (g->in.operand_width != 64)
		set_kind(g, GUEST_END, "push or pop of 16 bits");
	else if (push && (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE || isa_operand_is_gpr64(op)))
		set_kind(g, GUEST_PUSH, NULL);
	else if (push && memory_operand(g, 0))
		set_kind(g, GUEST_PUSH, NULL);
	else if (!push && isa_operand_is_gpr64(op) && !is_rsp(op))
		set_kind(g, GUEST_POP, NULL);
	else
		set_kind(g, GUEST_END, "rare form of PUSH or POP");
}

static void classify_branch(struct translator *t, struct guest_insn *g)
{
	const ZydisDecodedOperand *op = &g->operands[0];
	bool call = g->in.mnemonic == ZYDIS_MNEMONIC_CALL;

	if (g->in.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || g->in.operand_width == 16) {
		set_kind(g, GUEST_END, "far transfer");
	} else if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		   !cpu_canonical(t->cpu, branch_target(g))) {
		set_kind(g, GUEST_END, "branch to an address that is not canonical");
	} else if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		set_kind(g, call ? GUEST_CALL : GUEST_JMP,
			"control transfer: RIP is not the guest's");
	} else if (is_rsp(op)) {
		set_kind(g, GUEST_END, "rare branch");
	} else {
		memory_operand(g, 0);
		set_kind(g, call ? GUEST_CALL_INDIRECT : GUEST_JMP_INDIRECT,
			"control transfer: RIP is not the guest's");
	}
}

/* RSP as a destination, where the host's RSP is not the guest's. */
static bool classify_stack_write(struct translator *t, struct guest_insn *g)
{
	if (!windowed(t) || !g->in.operand_count || !is_rsp(&g->operands[0]) ||
		!writes(&g->operands[0]))
		return false;
	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		if (!isa_operand_is_gpr64(&g->operands[1]) && !memory_operand(g, 1))
			return false;
		set_kind(g, GUEST_STACK_SET, "RSP changes: which window is the stack in?");
		return true;
	case ZYDIS_MNEMONIC_LEA:
		g->memory = &g->operands[1];
		set_kind(g, GUEST_STACK_SET, "RSP changes: which window is the stack in?");
		return true;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_AND:
		if (g->operands[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return stack_classify(g);
		set_kind(g, GUEST_STACK_ALU, "RSP changes: which window is the stack in?");
		return true;
	default:
		return false;
	}
}

/* Near, with a displacement, and to an address that can be one: others are for the interpreter to
 * raise #GP for, at the branch. (Zydis knows the VEX branches of Knights Corner, too.) */
static void classify_jcc(struct translator *t, struct guest_insn *g, enum guest_kind kind)
{
	bool plain = g->in.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		     g->in.operand_width != 16 &&
		     g->in.address_width == (kind == GUEST_LOOP ? 64 : g->in.address_width);

	set_kind(g, plain && cpu_canonical(t->cpu, branch_target(g)) ? kind : GUEST_END,
		"control transfer: RIP is not the guest's");
}

/* Instructions after which nothing decoded so far can be relied on: the mode, the mapping, the
 * interrupt state. Everything unknown is one of them. */
static bool may_go_on_after(const struct guest_insn *g)
{
	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDMSR:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_SWAPGS:
	case ZYDIS_MNEMONIC_PUSHFQ:
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
	case ZYDIS_MNEMONIC_IN:
	case ZYDIS_MNEMONIC_OUT:
	case ZYDIS_MNEMONIC_LEAVE:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
		return true;
	default:
		break;
	}
	switch (g->in.meta.category) {
	case ZYDIS_CATEGORY_STRINGOP:
		return true;
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_POP:
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_SEGOP:
	case ZYDIS_CATEGORY_IO:
	case ZYDIS_CATEGORY_IOSTRINGOP:
	case ZYDIS_CATEGORY_FLAGOP:
		return false;
	default:
		break;
	}
	for (unsigned i = 0; i < g->in.operand_count; i++) {
		unsigned class;

		if (g->operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		class = ZydisRegisterGetClass(g->operands[i].reg.value);
		if (class == ZYDIS_REGCLASS_SEGMENT || class == ZYDIS_REGCLASS_CONTROL ||
			class == ZYDIS_REGCLASS_DEBUG)
			return false;
	}
	return !(g->in.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED);
}

static bool is_jcc(const ZydisDecodedInstruction *in)
{
	unsigned row = in->opcode & 0xf0;

	return in->meta.category == ZYDIS_CATEGORY_COND_BR &&
	       ((in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && row == 0x70) ||
		       (in->opcode_map == ZYDIS_OPCODE_MAP_0F && row == 0x80));
}

static void classify(struct translator *t, struct guest_insn *g)
{
	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_LEA:
		if (!classify_stack_write(t, g))
			classify_lea(g);
		return;
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_POP:
		if (!windowed(t) || !stack_classify(g))
			classify_push_pop(g);
		return;
	case ZYDIS_MNEMONIC_LEAVE:
		/* Where it pops from is a matter of the stack's address size, whatever the prefix
		 * (SDM vol. 1 6.2.3). */
		g->in.address_width = 64;
		if (g->in.operand_width == 64)
			set_kind(g, GUEST_LEAVE, NULL);
		else
			set_kind(g, GUEST_END, "rare form of LEAVE");
		return;
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
		classify_branch(t, g);
		return;
	case ZYDIS_MNEMONIC_RET:
		if (g->in.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || g->in.operand_width == 16)
			set_kind(g, GUEST_END, "far or 16-bit return");
		else
			set_kind(g, GUEST_RET, "control transfer: RIP is not the guest's");
		return;
	case ZYDIS_MNEMONIC_JRCXZ:
		classify_jcc(t, g, GUEST_JRCXZ);
		return;
	case ZYDIS_MNEMONIC_LOOP:
		classify_jcc(t, g, GUEST_LOOP);
		return;
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2:
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHW:
		/* With a register it is undefined on AMD's processors. */
		if (g->in.opcode == 0x0d && g->in.raw.modrm.mod == 3)
			break;
		set_kind(g, GUEST_NOP, "a hint");
		return;
	case ZYDIS_MNEMONIC_CLI:
		if (t->mode.user)
			break;
		set_kind(g, GUEST_CLI, "privileged: IF is the virtual processor's");
		return;
	case ZYDIS_MNEMONIC_STAC:
	case ZYDIS_MNEMONIC_CLAC:
		if (t->mode.user || !(t->cpu->cr4 & CR4_SMAP))
			break;
		set_kind(g, g->in.mnemonic == ZYDIS_MNEMONIC_STAC ? GUEST_STAC : GUEST_CLAC,
			"privileged: AC is the virtual processor's");
		return;
	default:
		break;
	}
	if (special_classify(t, g) || string_classify(t, g))
		return;
	if (is_jcc(&g->in)) {
		classify_jcc(t, g, GUEST_JCC);
		return;
	}
	if (classify_stack_write(t, g))
		return;
	if (try_identical(t, g)) {
		set_kind(g, GUEST_IDENTICAL, NULL);
		return;
	}
	g->memory = NULL;
	g->spill_count = 0;
	g->vectors = VECTORS_AWAY;
	if (may_go_on_after(g))
		set_kind(g, GUEST_INTERPRET, "left to the interpreter");
	else
		set_kind(g, GUEST_END, "may change what comes after it");
}

static void mark_targets(struct translator *t)
{
	for (unsigned i = 0; i < t->count; i++) {
		struct guest_insn *g = &t->insn[i];

		if (g->kind != GUEST_JCC && g->kind != GUEST_JMP && g->kind != GUEST_JRCXZ &&
			g->kind != GUEST_LOOP)
			continue;
		for (unsigned k = 0; k < t->count; k++)
			t->insn[k].target |= t->insn[k].rip == branch_target(g);
	}
}

unsigned analyze(struct translator *t, const uint8_t *bytes, unsigned available, uint64_t rip)
{
	unsigned done = 0;

	t->count = 0;
	while (t->count < UNIT_MAX_INSNS && done < available) {
		struct guest_insn *g = &t->insn[t->count];

		memset(g, 0, offsetof(struct guest_insn, operands));
		memset(&g->bytes, 0, sizeof(*g) - offsetof(struct guest_insn, bytes));
		if (isa_decode(ISA_64, t->cpu->model, bytes + done, available - done, &g->in,
			    g->operands) != ISA_DECODED)
			break; /* straddles the page's end, or is not an instruction */
		g->bytes = bytes + done;
		g->rip = rip + done;
		classify(t, g);
		/* The last page below the hole: there is no way on. */
		if (!guest_kinds[g->kind].ends && !cpu_canonical(t->cpu, guest_next(g)))
			set_kind(g, GUEST_END, "what follows is not canonical");
		done += g->in.length;
		t->count++;
		if (guest_kinds[g->kind].ends)
			break;
	}
	/* A unit must do something itself, or be quicker in leaving than the interpreter. */
	if (t->count == 1 && t->insn[0].kind == GUEST_END && !special_routine(&t->insn[0]))
		return 0;
	mark_targets(t);
	return t->count;
}

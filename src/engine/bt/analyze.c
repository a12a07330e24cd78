/* Decoding a run of guest instructions, and sorting them: which can be copied, which need code of
 * their own, and which are the interpreter's.
 *
 * What can be copied is what may run natively (isa/native.h: the guest's CPUID shows it, nothing
 * about it is privileged, and its effects are on registers, flags and one ordinary memory
 * operand). */
#include "engine/bt/analyze.h"
#include "engine/bt/branch.h"
#include "engine/bt/special.h"
#include "engine/bt/stack.h"
#include "engine/bt/string.h"

#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "isa/decode_cache.h"

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
	switch (isa_register_class(op->reg.value)) {
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

/* Does the instruction need the register's old value? It does also where it writes only a part of
 * the register, or perhaps nothing. */
static bool loads(const struct guest_insn *g, const ZydisDecodedOperand *op)
{
	/* Where the source is zero they leave the destination as it is. */
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

/* Note which general registers the operands name. False: the instruction cannot be copied here. */
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
	/* Only RCX and R10 are free to take their place. */
	if (g->spill_count + g->implicit_rcx + (g->memory ? 1 : 0) > 2)
		return false;
	return true;
}

static bool try_identical(const struct translator *t, struct guest_insn *g)
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
			/* In 32-bit code the eight registers that it does not have keep what they
			 * have; this code runs in 64-bit mode. */
			if (t->mode.code32)
				return false;
			g->vectors = VECTORS_WIDE;
			return collect_registers(g, false);
		case ZYDIS_MNEMONIC_STMXCSR:
			break;
		case ZYDIS_MNEMONIC_LDMXCSR:
			/* The host refuses what the guest's processor would. */
			if (fpu_mxcsr_mask(t->cpu->model) != fpu_mxcsr_host_mask())
				return false;
			break;
		default:
			return false;
		}
	} else {
		g->masked = rules->memory > NATIVE_GATHER;
		if (native.implicit_memory || (g->masked && windowed(t) && t->mode.ac))
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

/* --- recognising each kind --- */

static bool memory_operand(const struct translator *t, struct guest_insn *g, unsigned index)
{
	if (g->operands[index].type != ZYDIS_OPERAND_TYPE_MEMORY)
		return false;
	g->memory = &g->operands[index];
	g->memory_size = word_size(t);
	return true;
}

bool recognise_push_pop(const struct translator *t, struct guest_insn *g)
{
	const ZydisDecodedOperand *op = &g->operands[0];
	bool push = g->kind == GUEST_PUSH;

	if (windowed(t) && stack_recognise(g))
		return true;
	if (g->in.operand_width != 8 * word_size(t))
		set_kind(g, GUEST_END, "push or pop of 16 bits");
	else if (push && (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE || is_word_register(t, op)))
		return true;
	else if (push && memory_operand(t, g, 0))
		return true;
	else if (push || !is_word_register(t, op) || isa_gpr_number(op->reg.value) == RSP)
		set_kind(g, GUEST_END, "rare form of PUSH or POP");
	return true;
}

/* Where it pops from is a matter of the stack's address size, whatever the prefix (SDM vol. 1
 * 6.2.3). */
bool recognise_leave(const struct translator *t, struct guest_insn *g)
{
	g->in.address_width = (uint8_t)(8 * word_size(t));
	if (g->in.operand_width != 8 * word_size(t))
		set_kind(g, GUEST_END, "rare form of LEAVE");
	return true;
}

/* JMP and CALL. */
bool recognise_branch(const struct translator *t, struct guest_insn *g)
{
	const ZydisDecodedOperand *op = &g->operands[0];

	if (g->in.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || g->in.operand_width == 16) {
		set_kind(g, GUEST_END, "far transfer");
	} else if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		   !cpu_canonical(t->cpu, branch_target(g))) {
		set_kind(g, GUEST_END, "branch to an address that is not canonical");
	} else if (is_rsp(op)) {
		set_kind(g, GUEST_END, "rare branch");
	} else if (op->type != ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		memory_operand(t, g, 0);
		g->kind = g->kind == GUEST_CALL ? GUEST_CALL_INDIRECT : GUEST_JMP_INDIRECT;
	}
	return true;
}

bool recognise_ret(const struct translator *t, struct guest_insn *g)
{
	if (g->in.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || g->in.operand_width == 16)
		set_kind(g, GUEST_END, "far or 16-bit return");
	return true;
}

/* RSP as a destination, where the host's RSP is not the guest's. */
bool recognise_stack_write(const struct translator *t, struct guest_insn *g)
{
	if (!windowed(t) || !g->in.operand_count || !is_rsp(&g->operands[0]) ||
		!writes(&g->operands[0]))
		return false;
	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		if (!isa_operand_is_gpr64(&g->operands[1]) && !memory_operand(t, g, 1))
			return false;
		return true;
	case ZYDIS_MNEMONIC_LEA:
		g->memory = &g->operands[1];
		set_kind(g, GUEST_STACK_SET, guest_kinds[GUEST_STACK_SET].reason);
		return true;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_AND:
		if (g->operands[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return stack_recognise(g);
		return true;
	default:
		return false;
	}
}

/* LEA computes an address and touches nothing. */
bool recognise_lea(const struct translator *t, struct guest_insn *g)
{
	if (recognise_stack_write(t, g))
		return true;
	g->memory = &g->operands[1];
	if (g->operands[0].size < 32 ||
		(windowed(t) && isa_gpr_number(g->operands[0].reg.value) == RSP))
		set_kind(g, GUEST_INTERPRET, "rare form of LEA");
	return true;
}

bool recognise_mov(const struct translator *t, struct guest_insn *g)
{
	return recognise_stack_write(t, g) || special_mov_cr2(t, g);
}

/* NOPs with an operand, ENDBR64, prefetches. Opcode 0F 0D with a register is undefined on AMD's
 * processors. */
bool recognise_hint(const struct translator *t, struct guest_insn *g)
{
	return !(g->in.opcode == 0x0d && g->in.raw.modrm.mod == 3);
}

/* Jcc, JRCXZ, LOOP: near, with a displacement, and to an address that can be one: others are for
 * the interpreter to raise #GP for, at the branch. (Zydis knows the VEX branches of Knights Corner,
 * too.) */
bool recognise_jcc(const struct translator *t, struct guest_insn *g)
{
	bool plain = g->in.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		     g->in.operand_width != 16 &&
		     (g->kind != GUEST_LOOP || g->in.address_width == 8 * word_size(t));

	if (!plain || !cpu_canonical(t->cpu, branch_target(g)))
		g->kind = GUEST_END;
	return true;
}

/* What an instruction may be, by its mnemonic: the row of guest_kinds[] that is asked first. All
 * others are GUEST_IDENTICAL, whose row recognises nothing, or the interpreter's. */
static const uint8_t candidates[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	[ZYDIS_MNEMONIC_LEA] = GUEST_LEA,
	[ZYDIS_MNEMONIC_NOP] = GUEST_NOP,
	[ZYDIS_MNEMONIC_ENDBR64] = GUEST_NOP,
	[ZYDIS_MNEMONIC_PREFETCHT0] = GUEST_NOP,
	[ZYDIS_MNEMONIC_PREFETCHT1] = GUEST_NOP,
	[ZYDIS_MNEMONIC_PREFETCHT2] = GUEST_NOP,
	[ZYDIS_MNEMONIC_PREFETCHNTA] = GUEST_NOP,
	[ZYDIS_MNEMONIC_PREFETCHW] = GUEST_NOP,
	[ZYDIS_MNEMONIC_PUSH] = GUEST_PUSH,
	[ZYDIS_MNEMONIC_POP] = GUEST_POP,
	[ZYDIS_MNEMONIC_LEAVE] = GUEST_LEAVE,
	[ZYDIS_MNEMONIC_ADD] = GUEST_STACK_ALU,
	[ZYDIS_MNEMONIC_SUB] = GUEST_STACK_ALU,
	[ZYDIS_MNEMONIC_AND] = GUEST_STACK_ALU,
	[ZYDIS_MNEMONIC_MOV] = GUEST_STACK_SET,
	[ZYDIS_MNEMONIC_JB] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JBE] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JKNZD] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JKZD] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JL] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JLE] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JNB] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JNBE] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JNL] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JNLE] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JNO] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JNP] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JNS] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JNZ] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JO] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JP] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JS] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JZ] = GUEST_JCC,
	[ZYDIS_MNEMONIC_JECXZ] = GUEST_JRCXZ,
	[ZYDIS_MNEMONIC_JRCXZ] = GUEST_JRCXZ,
	[ZYDIS_MNEMONIC_LOOP] = GUEST_LOOP,
	[ZYDIS_MNEMONIC_JMP] = GUEST_JMP,
	[ZYDIS_MNEMONIC_CALL] = GUEST_CALL,
	[ZYDIS_MNEMONIC_RET] = GUEST_RET,
	[ZYDIS_MNEMONIC_CLI] = GUEST_CLI,
	[ZYDIS_MNEMONIC_STAC] = GUEST_STAC,
	[ZYDIS_MNEMONIC_CLAC] = GUEST_CLAC,
	[ZYDIS_MNEMONIC_STI] = GUEST_STI,
	[ZYDIS_MNEMONIC_SWAPGS] = GUEST_SWAPGS,
	[ZYDIS_MNEMONIC_CLD] = GUEST_CLD,
	[ZYDIS_MNEMONIC_PAUSE] = GUEST_PAUSE,
	[ZYDIS_MNEMONIC_PUSHFD] = GUEST_PUSHFQ,
	[ZYDIS_MNEMONIC_PUSHFQ] = GUEST_PUSHFQ,
	[ZYDIS_MNEMONIC_RDTSC] = GUEST_RDTSC,
	[ZYDIS_MNEMONIC_RDTSCP] = GUEST_RDTSC,
	[ZYDIS_MNEMONIC_RDPKRU] = GUEST_RDPKRU,
	[ZYDIS_MNEMONIC_RDFSBASE] = GUEST_READ_BASE,
	[ZYDIS_MNEMONIC_RDGSBASE] = GUEST_READ_BASE,
	[ZYDIS_MNEMONIC_WRFSBASE] = GUEST_WRITE_BASE,
	[ZYDIS_MNEMONIC_WRGSBASE] = GUEST_WRITE_BASE,
	[ZYDIS_MNEMONIC_BT] = GUEST_BIT_STRING,
	[ZYDIS_MNEMONIC_BTC] = GUEST_BIT_STRING,
	[ZYDIS_MNEMONIC_BTR] = GUEST_BIT_STRING,
	[ZYDIS_MNEMONIC_BTS] = GUEST_BIT_STRING,
	[ZYDIS_MNEMONIC_MOVSB] = GUEST_STRING,
	[ZYDIS_MNEMONIC_MOVSW] = GUEST_STRING,
	[ZYDIS_MNEMONIC_MOVSD] = GUEST_STRING,
	[ZYDIS_MNEMONIC_MOVSQ] = GUEST_STRING,
	[ZYDIS_MNEMONIC_LODSB] = GUEST_STRING,
	[ZYDIS_MNEMONIC_LODSW] = GUEST_STRING,
	[ZYDIS_MNEMONIC_LODSD] = GUEST_STRING,
	[ZYDIS_MNEMONIC_LODSQ] = GUEST_STRING,
	[ZYDIS_MNEMONIC_SCASB] = GUEST_STRING,
	[ZYDIS_MNEMONIC_SCASW] = GUEST_STRING,
	[ZYDIS_MNEMONIC_SCASD] = GUEST_STRING,
	[ZYDIS_MNEMONIC_SCASQ] = GUEST_STRING,
	[ZYDIS_MNEMONIC_STOSB] = GUEST_STRING,
	[ZYDIS_MNEMONIC_STOSW] = GUEST_STRING,
	[ZYDIS_MNEMONIC_STOSD] = GUEST_STRING,
	[ZYDIS_MNEMONIC_STOSQ] = GUEST_STRING,
	[ZYDIS_MNEMONIC_CPUID] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_RDMSR] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_XGETBV] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_IN] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_OUT] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_FXSAVE] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_FXSAVE64] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_XSAVE] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_XSAVE64] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_XSAVEC] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_XSAVEC64] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_XSAVEOPT] = GUEST_INTERPRET,
	[ZYDIS_MNEMONIC_XSAVEOPT64] = GUEST_INTERPRET,
};
_Static_assert(!GUEST_IDENTICAL, "what candidates[] does not name");

/* Instructions after which nothing decoded so far can be relied on: the mode, the mapping, the
 * interrupt state. */
static const bool ends_by_category[ZYDIS_CATEGORY_MAX_VALUE + 1] = {
	[ZYDIS_CATEGORY_SYSTEM] = true,
	[ZYDIS_CATEGORY_INTERRUPT] = true,
	[ZYDIS_CATEGORY_SYSCALL] = true,
	[ZYDIS_CATEGORY_SYSRET] = true,
	[ZYDIS_CATEGORY_RET] = true,
	[ZYDIS_CATEGORY_CALL] = true,
	[ZYDIS_CATEGORY_UNCOND_BR] = true,
	[ZYDIS_CATEGORY_COND_BR] = true,
	[ZYDIS_CATEGORY_POP] = true,
	[ZYDIS_CATEGORY_PUSH] = true,
	[ZYDIS_CATEGORY_SEGOP] = true,
	[ZYDIS_CATEGORY_IO] = true,
	[ZYDIS_CATEGORY_IOSTRINGOP] = true,
	[ZYDIS_CATEGORY_FLAGOP] = true,
};

/* By candidates[], else by category; and nothing that is privileged, or has a segment, control or
 * debug register. */
static bool may_go_on_after(const struct guest_insn *g)
{
	if (guest_kinds[candidates[g->in.mnemonic]].goes_on)
		return true;
	if (ends_by_category[g->in.meta.category])
		return false;
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

/* In 32-bit code addresses of 16 bits are rare, and CS may not be written or not even be read. */
static bool has_rare_address(const struct translator *t, const struct guest_insn *g)
{
	if (!t->mode.code32)
		return false;
	for (unsigned i = 0; i < g->in.operand_count; i++)
		if (g->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
			(g->in.address_width != 32 ||
				g->operands[i].mem.segment == ZYDIS_REGISTER_CS))
			return true;
	return false;
}

static void classify(const struct translator *t, struct guest_insn *g)
{
	const struct guest_kind_row *row = &guest_kinds[candidates[g->in.mnemonic]];
	bool rare = has_rare_address(t, g);

	set_kind(g, candidates[g->in.mnemonic], row->reason);
	if (!rare && row->recognise && row->recognise(t, g))
		return;
	if (!rare && try_identical(t, g)) {
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

		int target;

		if (!guest_kinds[g->kind].direct)
			continue;
		target = unit_index(t, branch_target(g));
		if (target >= 0)
			t->insn[target].target = true;
	}
}

static enum isa_status decode(
	const struct translator *t, const uint8_t *bytes, unsigned available, struct guest_insn *g)
{
	if (t->shapes && !t->mode.code32)
		return decode_cached(t->shapes, bytes, available, &g->in, g->operands);
	return isa_decode(
		bt_mode_isa(t->mode), t->cpu->model, bytes, available, &g->in, g->operands);
}

static unsigned analyze_run(struct translator *t, const uint8_t *bytes, unsigned available,
	unsigned limit, uint64_t rip)
{
	unsigned done = 0;

	t->count = 0;
	t->more = false;
	while (t->count < limit && done < available) {
		struct guest_insn *g = &t->insn[t->count];
		enum isa_status status;

		memset(&g->bytes, 0, sizeof(*g) - offsetof(struct guest_insn, bytes));
		status = decode(t, bytes + done, available - done, g);
		t->more = status == ISA_MORE;
		if (status != ISA_DECODED)
			break; /* straddles the page's end, or is not an instruction */
		g->bytes = bytes + done;
		g->rip = rip + done;
		classify(t, g);
		/* The next instruction would be in the hole of addresses that are not canonical, or
		 * above those of 32-bit code. */
		if (!guest_kinds[g->kind].ends &&
			(!cpu_canonical(t->cpu, guest_next(g)) ||
				(t->mode.code32 && guest_next(g) > UINT32_MAX)))
			set_kind(g, GUEST_END, "what follows is not canonical");
		done += g->in.length;
		t->count++;
		if (guest_kinds[g->kind].ends)
			break;
	}
	/* A unit that only leaves to the interpreter gains nothing, unless it calls a routine of
	 * cpu/ without the interpreter. */
	if (t->count == 1 && t->insn[0].kind == GUEST_END && !special_routine(&t->insn[0]))
		return 0;
	mark_targets(t);
	return t->count;
}

unsigned analyze(struct translator *t, const uint8_t *bytes, unsigned available, uint64_t rip)
{
	return analyze_run(t, bytes, available, UNIT_MAX_INSNS, rip);
}

unsigned analyze_one(struct translator *t, const uint8_t *bytes, unsigned available, uint64_t rip)
{
	return analyze_run(t, bytes, available, 1, rip);
}

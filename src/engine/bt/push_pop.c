/* The stack. In window mode the host's RSP is the guest's plus a delta, so PUSH and POP are
 * themselves. What changes RSP otherwise must see to it that it stays in its window, or within the
 * guards around that. */
#include "engine/bt/push_pop.h"
#include "engine/bt/identical.h"
#include "engine/bt/operand.h"

static void load_word(struct translator *t, unsigned reg, struct host_memory memory)
{
	emit_load_sized(&t->code, word_size(t), reg, memory);
}

static void store_word(struct translator *t, struct host_memory memory, unsigned reg)
{
	emit_store_sized(&t->code, word_size(t), memory, reg);
}

void move_stack(struct translator *t, int32_t by)
{
	emit_lea_sized(&t->code, word_size(t), RSP, at_register(RSP, by));
}

/* The access of a push. */
static void emit_soft_push(struct translator *t, unsigned i, access_op *op)
{
	emit_soft_stack(t, &(struct access){.insn = i,
				   .size = word_size(t),
				   .write = true,
				   .disp = -(int32_t)word_size(t),
				   .op = op});
}

/* The store has been made. */
static void finish_push(struct translator *t, unsigned i)
{
	mark(t, i, MARK_AFTER);
	move_stack(t, -(int32_t)word_size(t));
}

static void op_load_scratch(struct translator *t, unsigned i, struct host_memory memory)
{
	load_word(t, SCRATCH_ADDR, memory);
	emit_store(&t->code, at_address(&t->bt->run.scratch[0]), SCRATCH_ADDR);
}

/* The memory operand of instruction i, one word, to bt->run.scratch[0]. */
static void load_to_scratch(struct translator *t, unsigned i)
{
	emit_access(t, &(struct access){.insn = i,
			       .size = word_size(t),
			       .memory = t->insn[i].memory,
			       .op = op_load_scratch});
}

/* Soft TLB: bt->run.scratch[0] to the new top of the stack. */
static void op_push_scratch(struct translator *t, unsigned i, struct host_memory memory)
{
	emit_load(&t->code, SCRATCH, at_address(&t->bt->run.scratch[0]));
	store_word(t, memory, SCRATCH);
	finish_push(t, i);
}

void push_scratch(struct translator *t, unsigned i)
{
	struct code *c = &t->code;

	if (!stack_is_soft(t, i))
		emit_memory_op(c, false, 0xff, 6, at_address(&t->bt->run.scratch[0]));
	else
		emit_soft_push(t, i, op_push_scratch);
}

/* What a call is about to overwrite, to bt->run.scratch[1]: see remember_branch(). */
static void save_overwritten(struct translator *t, unsigned i, struct host_memory memory)
{
	if (t->insn[i].kind != GUEST_CALL_INDIRECT || t->mode.code32)
		return;
	emit_load(&t->code, SCRATCH, memory);
	emit_store(&t->code, at_address(&t->bt->run.scratch[1]), SCRATCH);
}

static void emit_pushed_value(struct translator *t)
{
	if (t->push.is_rip)
		emit_rip(t, SCRATCH, t->push.value);
	else
		emit_constant(&t->code, SCRATCH, t->push.value);
}

static void op_push_constant(struct translator *t, unsigned i, struct host_memory memory)
{
	save_overwritten(t, i, memory);
	emit_pushed_value(t);
	store_word(t, memory, SCRATCH);
	finish_push(t, i);
}

static void push_value(struct translator *t, unsigned i, uint64_t value, bool is_rip)
{
	struct code *c = &t->code;

	t->push.value = value;
	t->push.is_rip = is_rip && !t->mode.bound;
	if (stack_is_soft(t, i)) {
		emit_soft_push(t, i, op_push_constant);
		return;
	}
	save_overwritten(t, i, at_register(RSP, -8));
	if (!t->push.is_rip && (int64_t)value == (int32_t)value) {
		emit_byte(c, 0x68);
		emit_word(c, (uint32_t)value);
	} else {
		emit_pushed_value(t);
		emit_push(c, SCRATCH);
	}
}

void push_constant(struct translator *t, unsigned i, uint64_t value)
{
	push_value(t, i, value, false);
}

void push_return_address(struct translator *t, unsigned i)
{
	push_value(t, i, guest_next(&t->insn[i]), true);
}

static void op_push_register(struct translator *t, unsigned i, struct host_memory memory)
{
	unsigned guest = isa_gpr_number(t->insn[i].operands[0].reg.value);

	store_word(t, memory, value_of(t, guest, SCRATCH));
	finish_push(t, i);
}

void translate_push(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	struct guest_insn *g = &t->insn[i];

	if (g->memory) {
		load_to_scratch(t, i);
		push_scratch(t, i);
	} else if (g->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		push_constant(t, i, (uint64_t)g->operands[0].imm.value.s);
	} else if (!stack_is_soft(t, i)) {
		unsigned reg = value_of(t, isa_gpr_number(g->operands[0].reg.value), SCRATCH);

		emit_push(c, reg);
	} else {
		emit_soft_push(t, i, op_push_register);
	}
}

static void op_pop(struct translator *t, unsigned i, struct host_memory memory)
{
	unsigned guest = isa_gpr_number(t->insn[i].operands[0].reg.value);

	if (guest == R10 || guest == R11) {
		emit_load(&t->code, SCRATCH, memory);
		emit_store(&t->code, at_address(&t->cpu->gpr[guest]), SCRATCH);
	} else {
		load_word(t, host_register(guest), memory);
	}
	mark(t, i, MARK_AFTER);
	move_stack(t, (int32_t)word_size(t));
}

void translate_pop(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	unsigned guest = isa_gpr_number(t->insn[i].operands[0].reg.value);
	bool spilled = guest == R10 || guest == R11;
	unsigned reg = spilled ? SCRATCH : host_register(guest);

	if (stack_is_soft(t, i)) {
		emit_soft_stack(t, &(struct access){.insn = i, .size = word_size(t), .op = op_pop});
		return;
	}
	emit_pop(c, reg);
	if (spilled) {
		mark(t, i, MARK_AFTER);
		emit_store(c, at_address(&t->cpu->gpr[guest]), SCRATCH);
	}
}

static void op_load_frame(struct translator *t, unsigned i, struct host_memory memory)
{
	load_word(t, SCRATCH, memory);
	emit_store(&t->code, at_address(&t->bt->run.scratch[0]), SCRATCH);
}

/* MOV RSP, RBP and POP RBP: the load first, since it may fault. */
void translate_leave(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	static const ZydisDecodedOperand at_rbp = {.type = ZYDIS_OPERAND_TYPE_MEMORY,
		.mem = {.type = ZYDIS_MEMOP_TYPE_MEM,
			.base = ZYDIS_REGISTER_RBP,
			.segment = ZYDIS_REGISTER_SS}};

	t->insn[i].memory = &at_rbp;
	emit_access(t,
		&(struct access){
			.insn = i, .size = word_size(t), .memory = &at_rbp, .op = op_load_frame});
	emit_lea_sized(c, word_size(t), SCRATCH_ADDR, at_register(RBP, (int32_t)word_size(t)));
	emit_load(c, RBP, at_address(&t->bt->run.scratch[0]));
	mark(t, i, MARK_AFTER);
	emit_set_stack(t);
}

/* Does an instruction that touches the stack near RSP follow, before control can go anywhere else?
 * Then an RSP outside its window faults there. */
static bool stack_is_touched(const struct translator *t, unsigned i)
{
	for (i++; i < t->count; i++) {
		const struct guest_insn *g = &t->insn[i];

		if (facts_touches_stack(t, i))
			return true;
		if (g->kind == GUEST_LEA || g->kind == GUEST_NOP)
			continue;
		if (g->kind != GUEST_IDENTICAL || g->target)
			return false;
	}
	return false;
}

#define ARITHMETIC_FLAGS                                                                           \
	(ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_ZF |               \
		ZYDIS_CPUFLAG_SF | ZYDIS_CPUFLAG_OF)

/* Will the flags that instruction i makes be overwritten before the guest can see them? */
static bool flags_are_dead(const struct translator *t, unsigned i)
{
	for (i++; i < t->count; i++) {
		const struct guest_insn *g = &t->insn[i];
		const ZydisAccessedFlags *flags = g->in.cpu_flags;

		if (g->kind == GUEST_LEA || g->kind == GUEST_NOP)
			continue;
		/* An instruction that may fault shows the flags to the guest's handler. */
		if (g->kind != GUEST_IDENTICAL || g->memory || g->vectors ||
			g->in.mnemonic == ZYDIS_MNEMONIC_DIV ||
			g->in.mnemonic == ZYDIS_MNEMONIC_IDIV)
			return false;
		/* A shift by zero leaves the flags as they are. */
		if (g->in.meta.category == ZYDIS_CATEGORY_SHIFT)
			return false;
		if (!flags)
			continue;
		if (flags->tested & ARITHMETIC_FLAGS)
			return false;
		/* Of what is undefined, some processors leave some as it is (LZCNT, BT, MUL...);
		 * but AND and the like clear AF. */
		if (((flags->modified | flags->set_0 | flags->set_1 |
			     (g->in.meta.category == ZYDIS_CATEGORY_LOGICAL ? flags->undefined
									    : 0)) &
			    ARITHMETIC_FLAGS) == ARITHMETIC_FLAGS)
			return true;
	}
	return false;
}

void op_to_address(struct translator *t, unsigned i, struct host_memory memory)
{
	load_word(t, SCRATCH_ADDR, memory);
}

/* RSP is computed as the guest's, for its flags, then made the host's. */
void translate_stack_alu(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	struct guest_insn *g = &t->insn[i];
	struct rewrite r = {.in = &g->in, .operands = g->operands, .bytes = g->bytes};
	int64_t imm = g->operands[1].imm.value.s;
	bool near = imm > -0x10000 && imm < 0x10000 && g->in.mnemonic != ZYDIS_MNEMONIC_AND &&
		    (t->facts.stack || stack_is_touched(t, i));

	if (!near || !flags_are_dead(t, i)) {
		emit_stack_value(t, SCRATCH_ADDR, 0);
		r.host[RSP] = SCRATCH_ADDR;
		rewrite_emit(c, &r);
		mark(t, i, MARK_AFTER);
	}
	if (near && g->in.mnemonic == ZYDIS_MNEMONIC_ADD)
		emit_lea(c, RSP, at_register(RSP, (int32_t)imm));
	else if (near && g->in.mnemonic == ZYDIS_MNEMONIC_SUB)
		emit_lea(c, RSP, at_register(RSP, (int32_t)-imm));
	else
		emit_set_stack(t);
}

void translate_stack_set(struct translator *t, unsigned i)
{
	struct guest_insn *g = &t->insn[i];

	if (g->in.mnemonic == ZYDIS_MNEMONIC_LEA) {
		int64_t disp = g->memory->mem.disp.value;

		if (g->memory->mem.base == ZYDIS_REGISTER_RSP &&
			g->memory->mem.index == ZYDIS_REGISTER_NONE && disp > -0x10000 &&
			disp < 0x10000 && g->in.address_width == 64 &&
			(t->facts.stack || stack_is_touched(t, i))) {
			emit_lea(&t->code, RSP, at_register(RSP, (int32_t)disp));
			return;
		}
		emit_linear(t, g, g->memory, SCRATCH_ADDR, false);
	} else if (g->memory) {
		emit_access(
			t, &(struct access){
				   .insn = i, .size = 8, .memory = g->memory, .op = op_to_address});
	} else {
		unsigned from = value_of(t, isa_gpr_number(g->operands[1].reg.value), SCRATCH_ADDR);

		if (from != SCRATCH_ADDR)
			emit_move(&t->code, SCRATCH_ADDR, from);
	}
	/* The deltas are stored before RSP is right. */
	mark(t, i, MARK_AFTER);
	emit_set_stack(t);
}

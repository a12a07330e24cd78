/* Identical translation: the guest's instruction, with what renamed and spilled registers need
 * around it. */
#include "engine/bt/identical.h"
#include "engine/bt/operand.h"

unsigned value_of(struct translator *t, unsigned guest, unsigned temporary)
{
	if (guest == R10 || guest == R11) {
		emit_load(&t->code, temporary, at_address(&t->cpu->gpr[guest]));
		return temporary;
	}
	if (guest == RSP && windowed(t)) {
		emit_stack_value(t, temporary, 0);
		return temporary;
	}
	return host_register(guest);
}

void set_register(struct translator *t, unsigned guest, unsigned from)
{
	if (guest == R10 || guest == R11)
		emit_store(&t->code, at_address(&t->cpu->gpr[guest]), from);
	else
		emit_move(&t->code, host_register(guest), from);
}

static bool uses(struct host_memory memory, int reg)
{
	return memory.base == reg || memory.index == reg;
}

static bool needs_rex(struct host_memory memory)
{
	return (memory.base != NO_REGISTER && memory.base >= 8) ||
	       (memory.index != NO_REGISTER && memory.index >= 8);
}

/* Emit code that leaves the address in `reg`, and return an operand of that register alone. */
static struct host_memory fold(struct code *c, struct host_memory memory, unsigned reg)
{
	struct host_memory folded = at_register((int)reg, 0);

	folded.gs = memory.gs;
	memory.gs = false;
	emit_lea(c, reg, memory);
	return folded;
}

/* Need instruction i not record itself as the last x87 instruction? Not if the next one does:
 * between the two a unit is only left by a roll-back, and bt_insn.x87_before tells that of
 * instruction i. */
bool x87_unrecorded(const struct translator *t, unsigned i)
{
	const struct guest_insn *next = &t->insn[i + 1];

	return t->insn[i].x87 && !t->insn[i].memory && i + 1 < t->count &&
	       next->kind == GUEST_IDENTICAL && next->x87 && !next->memory && !next->target;
}

/* FNSTENV and others show the last x87 instruction and its operand, but the host's unit has
 * recorded host addresses. So the guest's are recorded here. */
static void emit_record_x87(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	struct guest_insn *g = &t->insn[i];
	uint32_t id;

	if (x87_unrecorded(t, i))
		return;
	id = add_exit(t, BT_EXIT_INTERPRET, i);
	mark(t, i, MARK_AFTER);
	exit_of(t, id)->fop = g->fop;
	emit_store_constant(c, at_address(&t->bt->run.last_x87), (int32_t)id);
	emit_rip(t, SCRATCH, 0);
	emit_store(c, at_address(&t->bt->run.last_x87_base), SCRATCH);
	if (!g->memory)
		return;
	emit_linear_again(t, i);
	emit_store(c, at_address(&t->cpu->fpu.fdp), SCRATCH);
}

/* An instruction that names AH to BH cannot have a prefix that names R11, where RCX is. So RCX is
 * put back where it belongs; or, where a memory operand needs the prefix, CH alone in CL. */
static void emit_load_rcx(struct translator *t, unsigned i, struct rewrite *r)
{
	struct code *c = &t->code;

	emit_move(c, SCRATCH, HOST_RCX);
	r->host[RCX] = SCRATCH;
	r->high_is_low = r->memory;
	if (r->memory)
		emit_bytes(c, (uint8_t[]){0x0f, 0xb6, 0xcd}, 3); /* movzx ecx, ch */
}

static void emit_store_rcx(struct translator *t, unsigned i, const struct rewrite *r)
{
	struct code *c = &t->code;
	uint8_t *rcx = (uint8_t *)&t->cpu->gpr[RCX];

	mark(t, i, MARK_AFTER);
	if (!r->high_is_low) {
		emit_move(c, HOST_RCX, SCRATCH);
		return;
	}
	emit_store(c, at_address(rcx), HOST_RCX);
	emit_memory_op(c, false, 0x88, RCX, at_address(rcx + 1)); /* mov [rcx + 1], cl */
	emit_load(c, HOST_RCX, at_address(rcx));
}

/* Instructions whose constant may change without anything else being different: what is known of
 * addresses (facts.c) does not come from it. */
static bool constant_is_free(const struct guest_insn *g)
{
	if (!g->in.raw.imm[0].size || g->in.raw.imm[1].size || g->in.raw.imm[0].is_relative ||
		g->in.raw.imm[0].offset + g->in.raw.imm[0].size / 8 != g->in.length)
		return false;
	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_TEST:
		return true;
	default:
		return false;
	}
}

/* The instruction's code, which ends with its constant, has just been emitted. */
static void note_constant(struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insn[i];

	if (constant_is_free(g))
		t->constant[i] = t->constant[i] ? CONSTANT_TWICE
						: (uint16_t)(t->code.at - t->unit->code -
							     g->in.raw.imm[0].size / 8);
}

/* There is a MARK_AFTER only where code follows the instruction; else the next instruction's mark
 * does. */
void emit_identical(struct translator *t, unsigned i, struct host_memory memory)
{
	struct code *c = &t->code;
	struct guest_insn *g = &t->insn[i];
	static const uint8_t temporaries[] = {SCRATCH, SCRATCH_ADDR};
	struct rewrite r = {.in = &g->in, .operands = g->operands, .bytes = g->bytes};
	unsigned next = g->implicit_rcx ? 1 : 0;
	bool named_rcx = g->high_byte && g->explicit_rcx;

	for (unsigned reg = 0; reg < 16; reg++)
		r.host[reg] = (uint8_t)host_register(reg);
	if (g->memory) {
		bool takes_scratch = g->spill_count || g->implicit_rcx || named_rcx;

		if (g->high_byte && !named_rcx && needs_rex(memory))
			memory = fold(c, memory, SCRATCH);
		else if (takes_scratch && uses(memory, SCRATCH))
			memory = fold(c, memory, SCRATCH_ADDR);
		r.memory = &memory;
	}
	for (unsigned s = 0; s < g->spill_count; s++) {
		unsigned reg = g->spilled[s], temporary = temporaries[next++];

		r.host[reg] = (uint8_t)temporary;
		if (g->spill_load & BIT(reg))
			value_of(t, reg, temporary);
	}
	if (named_rcx)
		emit_load_rcx(t, i, &r);
	else if (g->implicit_rcx)
		emit_move(c, SCRATCH, HOST_RCX);
	rewrite_emit(c, &r);
	note_constant(t, i);
	if (named_rcx && g->explicit_rcx_written)
		emit_store_rcx(t, i, &r);
	if (g->x87)
		emit_record_x87(t, i);
	if (!g->spill_store && !g->implicit_rcx_written)
		return;
	mark(t, i, MARK_AFTER);
	if (g->implicit_rcx_written)
		emit_move(c, HOST_RCX, SCRATCH);
	for (unsigned s = 0; s < g->spill_count; s++)
		if (g->spill_store & BIT(g->spilled[s]))
			set_register(t, g->spilled[s], r.host[g->spilled[s]]);
}

/* MOVS and STOS, mostly repeated: what a kernel clears and copies memory with. In window mode the
 * host's own instruction does it, with RSI and RDI turned into host addresses while it runs:
 *
 *	delta of RDI's slot to bt->run.string_delta[1], and added to RDI; the same for RSI
 *	mov	rcx, r11
 *	rep movs			MARK_STRINGS
 *	mov	r11, rcx
 *	both deltas subtracted again
 *
 * The slots are looked up in the table, so that nothing is predicted, and no flag is touched.
 * However far it runs, it cannot pass a window's guard: there it faults. A fault or kick in the
 * middle takes the deltas away and keeps what has been done (fault.c), as the processor itself
 * does; the interpreter or another run of this code goes on from there. DF is clear in every mode
 * that is translated. */
#include "engine/bt/string.h"

/* SSE's MOVSD has the mnemonic of the string instruction. With AC set the kernel may reach user
 * memory, and does so through the soft TLB. */
bool string_recognise(const struct translator *t, struct guest_insn *g)
{
	return g->in.meta.category == ZYDIS_CATEGORY_STRINGOP && windowed(t) && !t->mode.ac &&
	       g->in.address_width == 64 &&
	       !(g->in.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS));
}

/* MOVS; else STOS. */
static bool is_move(const struct guest_insn *g)
{
	return (g->in.opcode & 0xfe) == 0xa4;
}

/* The delta of the slot that `reg` points to: to `to` and to bt->run.string_delta[which]. */
static void find_delta(struct translator *t, unsigned which, unsigned to, unsigned reg)
{
	struct code *c = &t->code;
	struct bt *bt = t->bt;

	extract_field(t, EXTRACT_SLOT, to, reg);
	emit_load(c, to, at_element(bt_deltas(bt, t->mode), (int)to));
	emit_store(c, at_address(&bt->run.string_delta[which]), to);
}

static void add(struct translator *t, unsigned reg, unsigned delta)
{
	emit_lea(&t->code, reg, at_sum((int)reg, (int)delta, 0));
}

static void subtract_delta(struct translator *t, unsigned reg, unsigned which)
{
	struct code *c = &t->code;

	emit_load(c, SCRATCH, at_address(&t->bt->run.string_delta[which]));
	emit_register_op(c, true, 0xf7, 2, SCRATCH); /* not: minus one less */
	emit_lea(c, reg, at_sum((int)reg, SCRATCH, 1));
}

/* Not the guest's own bytes, which may have prefixes in any number and order: fault.c looks for the
 * REP. */
static void emit_instruction(struct code *c, const struct guest_insn *g, bool repeated)
{
	if (repeated)
		emit_byte(c, 0xf3);
	if (g->in.operand_width == 16)
		emit_byte(c, 0x66);
	if (g->in.operand_width == 64)
		emit_byte(c, 0x48);
	emit_byte(c, g->in.opcode);
}

bool string_translate(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];
	bool move = is_move(g),
	     repeated = g->in.attributes &
			(ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);

	/* AC may have been set since; and where pages are mostly touched once, the interpreter is
	 * better. */
	if (t->mode.ac || t->adapted[i] >= ADAPT_FAULTS)
		return false;
	find_delta(t, 1, SCRATCH, RDI);
	if (move)
		find_delta(t, 0, SCRATCH_ADDR, RSI);
	else
		emit_store_constant(c, at_address(&t->bt->run.string_delta[0]), 0);
	add(t, RDI, SCRATCH);
	mark(t, i, MARK_AFTER);
	if (move)
		add(t, RSI, SCRATCH_ADDR);
	if (repeated)
		emit_move(c, SCRATCH, HOST_RCX);
	mark(t, i, MARK_STRINGS);
	emit_instruction(c, g, repeated);
	mark(t, i, MARK_AFTER);
	if (repeated)
		emit_move(c, HOST_RCX, SCRATCH);
	subtract_delta(t, RDI, 1);
	if (move)
		subtract_delta(t, RSI, 0);
	return true;
}

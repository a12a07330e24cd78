/* String instructions. LODS and SCAS, where they are not repeated, are a load or a comparison with
 * memory, and a step of the index register behind it. Where they are, they are the interpreter's.
 *
 * MOVS and STOS, mostly repeated, clear and copy memory in kernels. In window mode the host's own
 * instruction does it, with RSI and RDI turned into host addresses while it runs:
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
 * that is translated.
 *
 * Where the soft TLB is to be used (without windows, with AC set, or where the instruction has
 * faulted often) its entries for the two pages give the deltas. That holds as far as the pages go,
 * so it is done only where both operands end in the page that they begin in, as most small copies
 * do; and where the destination's page is not watched. The interpreter does the others. */
#include "engine/bt/string.h"
#include "engine/bt/operand.h"
#include "engine/options.h"

static bool is_repeated(const struct guest_insn *g)
{
	return g->in.attributes &
	       (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

/* LODS. */
static bool is_load(const struct guest_insn *g)
{
	return (g->in.opcode & 0xfe) == 0xac;
}

/* LODS or SCAS. */
static bool is_step(const struct guest_insn *g)
{
	return is_load(g) || (g->in.opcode & 0xfe) == 0xae;
}

/* SSE's MOVSD has the mnemonic of the string instruction. */
bool string_recognise(const struct translator *t, struct guest_insn *g)
{
	return g->in.meta.category == ZYDIS_CATEGORY_STRINGOP &&
	       g->in.address_width == 8 * word_size(t) && !(is_step(g) && is_repeated(g)) &&
	       !(g->in.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS));
}

/* MOVS; else STOS. */
static bool is_move(const struct guest_insn *g)
{
	return (g->in.opcode & 0xfe) == 0xa4;
}

/* MOV or CMP between the accumulator and memory. */
static void op_step(struct translator *t, unsigned i, struct host_memory memory)
{
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];
	unsigned opcode = (is_load(g) ? 0x8a : 0x3a) | (g->in.opcode & 1);

	if (g->in.operand_width == 16)
		emit_byte(c, 0x66);
	emit_memory_op(c, g->in.operand_width == 64, opcode, RAX, memory);
}

static void translate_step(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];
	unsigned index = is_load(g) ? RSI : RDI, size = g->in.operand_width / 8;

	emit_register_op(c, !t->mode.code32, 0x89, index, SCRATCH_ADDR);
	emit_access(t, &(struct access){.insn = i, .size = size, .computed = true, .op = op_step});
	mark(t, i, MARK_AFTER);
	emit_lea_sized(c, word_size(t), index, at_register((int)index, (int32_t)size));
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

/* RDI has its delta already: add RSI's, run the instruction, and take both away. */
static void emit_with_deltas(struct translator *t, unsigned i, bool source_delta_in_r10)
{
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];
	bool move = is_move(g), repeated = is_repeated(g);

	mark(t, i, MARK_AFTER);
	if (move && !source_delta_in_r10)
		emit_load(c, SCRATCH, at_address(&t->bt->run.string_delta[0]));
	if (move)
		add(t, RSI, source_delta_in_r10 ? SCRATCH_ADDR : SCRATCH);
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
}

static void translate_in_windows(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	bool move = is_move(&t->insn[i]);

	find_delta(t, 1, SCRATCH, RDI);
	if (move)
		find_delta(t, 0, SCRATCH_ADDR, RSI);
	else
		emit_store_constant(c, at_address(&t->bt->run.string_delta[0]), 0);
	add(t, RDI, SCRATCH);
	emit_with_deltas(t, i, true);
}

/* --- by the soft TLB --- */

/* Leave by that exit unless RCX is zero. */
static void leave_unless_zero(struct translator *t, unsigned i, uint32_t exit)
{
	add_cold(t, COLD_EXIT, i, emit_unless_rcx_zero(&t->code), exit, NULL);
}

/* Leave unless the operand at `reg` ends in the page that it begins in. */
static void check_range(struct translator *t, unsigned i, unsigned reg, uint32_t exit)
{
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];
	struct host_memory last = at_register(SCRATCH, g->in.operand_width / 8 - 1);

	if (is_repeated(g)) {
		last = at_sum(SCRATCH, HOST_RCX, -1);
		last.scale = (uint8_t)__builtin_ctz(g->in.operand_width / 8);
	}
	extract_field(t, EXTRACT_OFFSET, SCRATCH, reg);
	emit_lea(c, SCRATCH, last);
	extract_field(t, EXTRACT_PAGE, SCRATCH, SCRATCH);
	leave_unless_zero(t, i, exit);
}

/* The delta of the page that `reg` points to, to RCX and bt->run.string_delta[which]; `reg` itself
 * to R10, where the exit of a miss expects it. After that it goes on here and not at the
 * instruction's beginning, for the two pages may want the same entry. */
static void find_page(struct translator *t, unsigned i, unsigned which, unsigned reg)
{
	struct code *c = &t->code;
	struct soft_tlb *tlb = soft_tlb_of(t);
	bool write = which == 1;
	uint32_t id = add_exit(t, BT_EXIT_SOFT_MISS, i);

	exit_of(t, id)->size = 1;
	exit_of(t, id)->write = write;
	exit_of(t, id)->resume = c->at;
	emit_move(c, SCRATCH_ADDR, reg);
	extract_field(t, EXTRACT_INDEX, SCRATCH, SCRATCH_ADDR);
	emit_load(c, SCRATCH, at_element(write ? tlb->minus_write : tlb->minus_read, SCRATCH));
	emit_lea(c, SCRATCH, at_sum(SCRATCH, SCRATCH_ADDR, 0));
	extract_field(t, EXTRACT_PAGE, SCRATCH, SCRATCH);
	leave_unless_zero(t, i, id);
	extract_field(t, EXTRACT_INDEX, SCRATCH, SCRATCH_ADDR);
	emit_load(c, SCRATCH, at_element(tlb->addend, SCRATCH));
	emit_store(c, at_address(&t->bt->run.string_delta[which]), SCRATCH);
}

/* In 32-bit code nothing is known of them, and nobody can tell. */
static void clear_upper_halves(struct translator *t)
{
	static const uint8_t used[] = {RSI, RDI, HOST_RCX};

	for (unsigned i = 0; i < ARRAY_SIZE(used); i++)
		emit_register_op(&t->code, false, 0x89, used[i], used[i]);
}

static void translate_in_pages(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];
	uint32_t interpret = add_exit(t, BT_EXIT_INTERPRET, i), written;

	if (t->mode.code32)
		clear_upper_halves(t);

	/* No count of 0, nor one with which the sums below would wrap. */
	if (is_repeated(g)) {
		emit_lea(c, SCRATCH, at_register(HOST_RCX, -1));
		extract_field(t, EXTRACT_PAGE, SCRATCH, SCRATCH);
		leave_unless_zero(t, i, interpret);
	}
	if (is_move(g)) {
		check_range(t, i, RSI, interpret);
		check_range(t, i, RDI, interpret);
		find_page(t, i, 0, RSI);
	} else {
		check_range(t, i, RDI, interpret);
		emit_store_constant(c, at_address(&t->bt->run.string_delta[0]), 0);
	}
	find_page(t, i, 1, RDI);
	emit_lea(c, SCRATCH_ADDR, at_sum(SCRATCH_ADDR, SCRATCH, 0));
	emit_page_flags(t);
	leave_unless_zero(t, i, interpret);
	emit_move(c, RDI, SCRATCH_ADDR);
	emit_with_deltas(t, i, false);
	/* Another processor may have begun to watch the page meanwhile. */
	emit_page_flags(t);
	written = add_exit(t, BT_EXIT_WRITTEN, i);
	leave_unless_zero(t, i, written);
	exit_of(t, written)->resume = c->at;
	exit_of(t, interpret)->resume = t->bt->options.verify ? 0 : c->at;
}

bool string_translate(struct translator *t, unsigned i)
{
	if (is_step(&t->insn[i])) {
		translate_step(t, i);
		return true;
	}
	/* AC may have been set since the instruction was recognised. */
	if (windowed(t) && !t->mode.ac && t->adapted[i] < ADAPT_FAULTS) {
		translate_in_windows(t, i);
		return true;
	}
	/* Hardened, an entry has no delta. */
	if (t->bt->options.hardened)
		return false;
	translate_in_pages(t, i);
	return true;
}

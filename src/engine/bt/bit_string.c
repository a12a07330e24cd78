/* BT, BTS, BTR and BTC with a bit offset in a register and a bit string in memory (SDM vol. 2A,
 * BT): the offset may be any number, also a negative one, and the instruction reads the word that
 * the bit is in. Kernels keep their bitmaps by these. The word's address is computed first, and
 * then the host's instruction gets the rest of the offset, so that it accesses this word only:
 *
 *	mov	r10d, 6			of 64 bits; else 5
 *	sarx	rcx, bit, r10		which word
 *	mov	[scratch], rcx
 *	lea	r10, address
 *	mov	rcx, [scratch]
 *	lea	r10, [r10 + 8 * rcx]
 *	...				the access at R10 (operand.c)
 *	pext	rcx, bit, [mask]	which bit of the word
 *	bt	[r10], rcx
 *
 * No flag is touched before the instruction itself, which leaves most as they are. */
#include "engine/bt/bit_string.h"
#include "engine/bt/operand.h"
#include "engine/bt/translate.h"

bool bit_string_recognise(const struct translator *t, struct guest_insn *g)
{
	const ZydisDecodedOperand *to = &g->operands[0], *bit = &g->operands[1];

	if (to->type != ZYDIS_OPERAND_TYPE_MEMORY || bit->type != ZYDIS_OPERAND_TYPE_REGISTER ||
		to->mem.type != ZYDIS_MEMOP_TYPE_MEM || g->in.operand_width < 32 ||
		g->in.address_width != 8 * word_size(t) || isa_gpr_number(bit->reg.value) == RSP)
		return false;
	g->memory = to;
	g->memory_size = g->in.operand_width / 8;
	g->writes_memory = g->in.mnemonic != ZYDIS_MNEMONIC_BT;
	return true;
}

static bool is_wide(const struct guest_insn *g)
{
	return g->in.operand_width == 64;
}

/* The bit offset, to RCX: of 32 bits, sign-extended. */
static void load_offset(struct translator *t, const struct guest_insn *g)
{
	struct code *c = &t->code;
	unsigned guest = isa_gpr_number(g->operands[1].reg.value);
	unsigned opcode = is_wide(g) ? 0x8b : 0x63; /* mov, movsxd */

	if (guest == R10 || guest == R11)
		emit_memory_op(c, true, opcode, SCRATCH, at_address(&t->cpu->gpr[guest]));
	else if (is_wide(g))
		emit_move(c, SCRATCH, host_register(guest));
	else
		emit_register_op(c, true, opcode, SCRATCH, host_register(guest));
}

static void emit_bit_op(struct translator *t, unsigned i, struct host_memory memory)
{
	static const struct vex pext = {VEX_0F38, VEX_F3 | VEX_W1, 0xf5};
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];

	if (memory.index != NO_REGISTER || memory.base != SCRATCH_ADDR)
		emit_lea(c, SCRATCH_ADDR, memory);
	load_offset(t, g);
	emit_vex_memory(c, pext, SCRATCH, SCRATCH, at_address(&t->bt->run.mask_bit[is_wide(g)]));
	if (g->in.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		emit_byte(c, 0xf0);
	emit_memory_op(c, is_wide(g), 0x0f00 | g->in.opcode, SCRATCH, at_register(SCRATCH_ADDR, 0));
}

void translate_bit_string(struct translator *t, unsigned i)
{
	static const struct vex sarx = {VEX_0F38, VEX_F3 | VEX_W1, 0xf7};
	struct code *c = &t->code;
	const struct guest_insn *g = &t->insn[i];
	struct host_memory word = at_sum(SCRATCH_ADDR, SCRATCH, 0),
			   kept = at_address(&t->bt->run.scratch[0]);

	if (!t->bt->host.bmi2) {
		translate_interpret(t, i);
		return;
	}
	word.scale = (uint8_t)__builtin_ctz(g->memory_size);
	load_offset(t, g);
	emit_constant(c, SCRATCH_ADDR, is_wide(g) ? 6 : 5);
	emit_vex_register(c, sarx, SCRATCH, SCRATCH_ADDR, SCRATCH);
	emit_store(c, kept, SCRATCH);
	emit_linear(t, g, g->memory, SCRATCH_ADDR, true);
	emit_load(c, SCRATCH, kept);
	emit_lea_sized(c, word_size(t), SCRATCH_ADDR, word);
	emit_access(t, &(struct access){.insn = i,
			       .size = g->memory_size,
			       .write = g->writes_memory,
			       .memory = g->memory,
			       .computed = true,
			       .op = emit_bit_op});
}

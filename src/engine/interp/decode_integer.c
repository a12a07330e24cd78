/* Integer instructions: families of handlers that differ in operand kinds, size and address form
 * (alu.c, move.c). */
#include "engine/interp/decoding.h"

/* Two operands, register, memory or immediate. */
bool choose_forms(struct decoding *d, const struct choice *choice)
{
	const ZydisDecodedOperand *first = &d->operand[0], *second = &d->operand[1];
	unsigned size = size_index(operand_bytes(d, 0));
	const struct op_forms *forms = choice->forms;
	struct insn *in = d->insn;

	if (is_immediate(second))
		in->imm = second->imm.value.u;
	if (is_register(second))
		in->src = (uint8_t)decoding_register_offset(second->reg.value);
	if (is_register(first))
		in->dst = (uint8_t)decoding_register_offset(first->reg.value);
	if (is_register(first) && is_register(second))
		return use_with_quiet(d, forms->rr[size], forms->rr_quiet[size]);
	if (is_register(first) && is_immediate(second))
		return use_with_quiet(d, forms->ri[size], forms->ri_quiet[size]);
	if (is_register(first) && is_memory(second))
		return use(d, forms->rm[decoding_set_address(d, second)][size]);
	if (is_memory(first) && is_register(second))
		return use(d, forms->mr[decoding_set_address(d, first)][size]);
	if (is_memory(first) && is_immediate(second))
		return use(d, forms->mi[decoding_set_address(d, first)][size]);
	return false;
}

bool choose_unary(struct decoding *d, const struct choice *choice)
{
	const struct unary_forms *forms = choice->unary;
	const ZydisDecodedOperand *operand = &d->operand[0];
	unsigned size = size_index(operand_bytes(d, 0));

	if (is_memory(operand))
		return use(d, forms->m[decoding_set_address(d, operand)][size]);
	d->insn->dst = (uint8_t)decoding_register_offset(operand->reg.value);
	return use_with_quiet(d, forms->r[size], forms->r_quiet[size]);
}

/* Memory forms of shifts are rare: a stub does them. */
bool choose_shift(struct decoding *d, const struct choice *choice)
{
	const struct shift_forms *forms = choice->shift;
	unsigned size = size_index(operand_bytes(d, 0));

	if (!is_register(&d->operand[0]))
		return false;
	d->insn->dst = (uint8_t)decoding_register_offset(d->operand[0].reg.value);
	if (is_immediate(&d->operand[1])) {
		d->insn->imm = d->operand[1].imm.value.u;
		return use_with_quiet(d, forms->ri[size], forms->ri_quiet[size]);
	}
	return use(d, forms->rc[size]);
}

bool choose_wide(struct decoding *d, const struct choice *choice)
{
	enum wide_op op = (enum wide_op)choice->number;
	unsigned size = size_index(operand_bytes(d, 0));

	if (is_memory(&d->operand[0])) {
		decoding_set_address(d, &d->operand[0]);
		return use(d, wide_memory[op][size]);
	}
	d->insn->src = (uint8_t)decoding_register_offset(d->operand[0].reg.value);
	return use(d, wide_register[op][size]);
}

bool choose_imul(struct decoding *d, const struct choice *choice)
{
	unsigned count = decoding_explicit_operands(d), size = size_index(operand_bytes(d, 0));

	if (count == 1)
		return choose_wide(d, choice);
	d->insn->dst = (uint8_t)decoding_register_offset(d->operand[0].reg.value);
	if (is_memory(&d->operand[1]))
		return count == 2 && use(d, imul_rm[decoding_set_address(d, &d->operand[1])][size]);
	d->insn->src = (uint8_t)decoding_register_offset(d->operand[1].reg.value);
	if (count == 3)
		d->insn->imm = d->operand[2].imm.value.u;
	if (count == 3)
		return use_with_quiet(d, imul_rri[size], imul_rri_quiet[size]);
	return use_with_quiet(d, imul_rr[size], imul_rr_quiet[size]);
}

bool choose_extend(struct decoding *d, const struct choice *choice)
{
	const struct extend_forms *forms = choice->extend;
	unsigned from = size_index(isa_operand_bytes(d->cpu->amd, &d->zydis, &d->operand[1]));
	unsigned to = size_index(operand_bytes(d, 0));

	d->insn->dst = (uint8_t)decoding_register_offset(d->operand[0].reg.value);
	if (is_memory(&d->operand[1]))
		return use(d, forms->m[decoding_set_address(d, &d->operand[1])][from][to]);
	d->insn->src = (uint8_t)decoding_register_offset(d->operand[1].reg.value);
	return use(d, forms->r[from][to]);
}

bool choose_lea(struct decoding *d, const struct choice *choice)
{
	unsigned size = size_index(operand_bytes(d, 0));
	enum address_form form = decoding_set_address(d, &d->operand[1]);

	d->insn->dst = (uint8_t)decoding_register_offset(d->operand[0].reg.value);
	/* No access is made, and segments play no part. */
	d->insn->attributes &= (uint8_t) ~(INSN_MEMORY | INSN_STACK);
	return use(d, form == FORM_SIMPLE ? lea_simple[size] : lea_any[size]);
}

bool choose_xchg(struct decoding *d, const struct choice *choice)
{
	if (!is_register(&d->operand[0]) || !is_register(&d->operand[1]))
		return false;
	d->insn->dst = (uint8_t)decoding_register_offset(d->operand[0].reg.value);
	d->insn->src = (uint8_t)decoding_register_offset(d->operand[1].reg.value);
	return use(d, xchg_rr[size_index(operand_bytes(d, 0))]);
}

bool choose_bswap(struct decoding *d, const struct choice *choice)
{
	unsigned size = operand_bytes(d, 0);

	d->insn->dst = (uint8_t)decoding_register_offset(d->operand[0].reg.value);
	/* A 16-bit BSWAP is undefined; the stub shows what the processor makes of it. */
	return size >= 4 && use(d, size == 8 ? op_bswap_8 : op_bswap_4);
}

bool choose_cmov(struct decoding *d)
{
	unsigned size = size_index(operand_bytes(d, 0)), code = d->zydis.opcode & 15;

	d->insn->dst = (uint8_t)decoding_register_offset(d->operand[0].reg.value);
	d->insn->imm = code;
	if (is_memory(&d->operand[1])) {
		decoding_set_address(d, &d->operand[1]);
		return use(d, cmov_rm[size]);
	}
	d->insn->src = (uint8_t)decoding_register_offset(d->operand[1].reg.value);
	return use(d, cmov_rr[code][size]);
}

bool choose_setcc(struct decoding *d)
{
	unsigned code = d->zydis.opcode & 15;

	d->insn->imm = code;
	if (is_memory(&d->operand[0])) {
		decoding_set_address(d, &d->operand[0]);
		return use(d, op_setcc_m);
	}
	d->insn->dst = (uint8_t)decoding_register_offset(d->operand[0].reg.value);
	return use(d, setcc_r[code]);
}

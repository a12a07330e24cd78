/* Operands: where registers and memory operands are, for struct insn. */
#include "engine/interp/decoding.h"

/* --- registers --- */

int decoding_register_offset(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL)
		return REG_OFFSET(reg - ZYDIS_REGISTER_AL);
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		return REG_OFFSET(reg - ZYDIS_REGISTER_AH) + 1;
	if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
		return REG_OFFSET(reg - ZYDIS_REGISTER_SPL + RSP);
	if (reg >= ZYDIS_REGISTER_AX && reg <= ZYDIS_REGISTER_R15W)
		return REG_OFFSET(reg - ZYDIS_REGISTER_AX);
	if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D)
		return REG_OFFSET(reg - ZYDIS_REGISTER_EAX);
	if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
		return REG_OFFSET(reg - ZYDIS_REGISTER_RAX);
	return -1;
}

int decoding_special_register(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_CR0 && reg <= ZYDIS_REGISTER_CR15)
		return reg - ZYDIS_REGISTER_CR0;
	if (reg >= ZYDIS_REGISTER_DR0 && reg <= ZYDIS_REGISTER_DR15)
		return reg - ZYDIS_REGISTER_DR0;
	if (reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS)
		return reg - ZYDIS_REGISTER_ES;
	return -1;
}

unsigned decoding_explicit_operands(const struct decoding *d)
{
	unsigned count = 0;

	while (count < d->zydis.operand_count &&
		d->operand[count].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
		count++;
	return count;
}

/* --- memory operands --- */

uint8_t decoding_address_size(const struct decoding *d)
{
	return d->zydis.address_width == 16   ? INSN_ADDRESS_16
	       : d->zydis.address_width == 32 ? INSN_ADDRESS_32
					      : 0;
}

enum address_form decoding_set_address(struct decoding *d, const ZydisDecodedOperand *operand)
{
	const ZydisDecodedOperandMem *mem = &operand->mem;
	struct insn *in = d->insn;
	int64_t displacement = mem->disp.value;
	enum seg segment = segment_of(mem->segment);

	in->attributes |= INSN_MEMORY;
	in->base = in->index = ZERO_OFFSET;
	in->scale = 0;
	if (mem->base == ZYDIS_REGISTER_RIP || mem->base == ZYDIS_REGISTER_EIP) {
		in->base = CODE_BASE_OFFSET;
		displacement += in->next;
	} else if (mem->base != ZYDIS_REGISTER_NONE) {
		in->base = (uint8_t)decoding_register_offset(mem->base);
	}
	if (mem->index != ZYDIS_REGISTER_NONE && decoding_register_offset(mem->index) >= 0) {
		in->index = (uint8_t)decoding_register_offset(mem->index);
		in->scale = (uint8_t)__builtin_ctz(mem->scale ? mem->scale : 1);
	}
	in->disp = (int32_t)displacement;
	if (segment == SEG_SS)
		in->attributes |= INSN_STACK;
	in->segment = segment;
	if (code64(d) && segment != SEG_FS && segment != SEG_GS)
		in->segment = SEG_NONE;

	in->attributes |= decoding_address_size(d);
	if (!code64(d) || d->zydis.address_width != 64)
		return FORM_LEGACY;
	return in->index == ZERO_OFFSET && in->segment == SEG_NONE ? FORM_SIMPLE : FORM_FULL;
}

bool decoding_displacement_fits(const struct decoding *d, const ZydisDecodedOperand *operand)
{
	int64_t value = operand->mem.disp.value;

	if (operand->mem.base == ZYDIS_REGISTER_RIP)
		value += d->insn->next;
	return !code64(d) || value == (int32_t)value;
}

void decoding_set_slow_operands(struct decoding *d)
{
	unsigned registers = 0;

	for (unsigned i = 0; i < decoding_explicit_operands(d); i++) {
		const ZydisDecodedOperand *operand = &d->operand[i];

		if (is_memory(operand)) {
			decoding_set_address(d, operand);
		} else if (is_immediate(operand)) {
			d->insn->imm = operand->imm.value.u;
			d->insn->attributes |= INSN_IMMEDIATE;
		} else if (is_register(operand) &&
			   decoding_register_offset(operand->reg.value) >= 0) {
			d->insn->src = (uint8_t)decoding_register_offset(operand->reg.value);
			if (registers++ == 0)
				d->insn->dst = d->insn->src;
		} else if (is_register(operand)) {
			d->insn->imm = (uint64_t)decoding_special_register(operand->reg.value);
		}
	}
}

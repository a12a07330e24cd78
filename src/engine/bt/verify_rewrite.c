/* Is an instruction that rewrite.c has put together the one that was meant? Its bytes are decoded
 * again and compared with the guest's instruction, operand by operand. Nothing here knows of the
 * fields of an encoding, so a field that is wrong there is not wrong here as well. */
#include "engine/bt/rewrite.h"

#include "isa/decode.h"
#include "isa/register.h"

#define COMPARED_ATTRIBUTES                                                                        \
	(ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |                    \
		ZYDIS_ATTRIB_HAS_REPNE | ZYDIS_ATTRIB_HAS_XACQUIRE | ZYDIS_ATTRIB_HAS_XRELEASE)

static bool same_vector_form(
	const ZydisDecodedInstructionAvx *a, const ZydisDecodedInstructionAvx *b)
{
	return a->vector_length == b->vector_length && a->mask.mode == b->mask.mode &&
	       a->mask.reg == b->mask.reg && a->broadcast.mode == b->broadcast.mode &&
	       a->rounding.mode == b->rounding.mode && a->has_sae == b->has_sae;
}

/* The register that is to stand for an operand's. One that the encoding does not name stays: the
 * caller has put the guest's value there. */
static bool is_register(
	const struct rewrite *r, const ZydisDecodedOperand *guest, const ZydisDecodedOperand *made)
{
	ZydisRegister from = guest->reg.value, to = made->reg.value;
	bool high = isa_is_high_byte(from) && !r->high_is_low;

	if (!isa_is_gpr(from) || guest->encoding == ZYDIS_OPERAND_ENCODING_NONE)
		return from == to;
	return isa_is_gpr(to) && isa_gpr_number(to) == r->host[isa_gpr_number(from)] &&
	       isa_is_high_byte(to) == high;
}

static bool is_address_register(ZydisRegister reg, int wanted)
{
	if (wanted == NO_REGISTER)
		return reg == ZYDIS_REGISTER_NONE;
	return ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR64 &&
	       isa_gpr_number(reg) == (unsigned)wanted;
}

static bool is_memory(const struct host_memory *wanted, const ZydisDecodedOperand *made)
{
	const ZydisDecodedOperandMem *mem = &made->mem;

	return mem->type == ZYDIS_MEMOP_TYPE_MEM && is_address_register(mem->base, wanted->base) &&
	       is_address_register(mem->index, wanted->index) &&
	       (wanted->index == NO_REGISTER || mem->scale == 1 << wanted->scale) &&
	       mem->disp.value == wanted->disp &&
	       (mem->segment == ZYDIS_REGISTER_GS) == wanted->gs &&
	       mem->segment != ZYDIS_REGISTER_FS;
}

/* EFLAGS in 32-bit code, RFLAGS in ours. */
static bool is_flags(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       isa_register_class(operand->reg.value) == ZYDIS_REGCLASS_FLAGS;
}

static bool is_operand(
	const struct rewrite *r, const ZydisDecodedOperand *guest, const ZydisDecodedOperand *made)
{
	if (is_flags(guest))
		return is_flags(made) && made->actions == guest->actions;
	if (made->type != guest->type || made->size != guest->size ||
		made->actions != guest->actions || made->element_type != guest->element_type ||
		made->element_size != guest->element_size)
		return false;
	switch (guest->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return is_register(r, guest, made);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		return r->memory && is_memory(r->memory, made);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		return made->imm.value.u == guest->imm.value.u;
	default:
		return false;
	}
}

const char *rewrite_difference(const struct rewrite *r, const uint8_t *made, unsigned size)
{
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

	if (isa_decode(ISA_64, NULL, made, size, &in, operands) != ISA_DECODED)
		return "it is not an instruction";
	if (in.length != size)
		return "it is shorter than what was emitted";
	if (in.mnemonic != r->in->mnemonic || in.encoding != r->in->encoding ||
		in.operand_width != r->in->operand_width ||
		(in.attributes ^ r->in->attributes) & COMPARED_ATTRIBUTES)
		return "it is another operation";
	if (!same_vector_form(&in.avx, &r->in->avx))
		return "vector length, mask, broadcast or rounding differ";
	if (in.operand_count != r->in->operand_count)
		return "it has other operands";
	for (unsigned i = 0; i < in.operand_count; i++)
		if (!is_operand(r, &r->operands[i], &operands[i]))
			return "an operand is another";
	return NULL;
}

#include "isa/fields.h"

#include "isa/register.h"

/* Change forms that 64-bit mode does not have, or that contain an absolute address, to equivalent
 * ones. */
static void modernise(const ZydisDecodedInstruction *in, struct isa_fields *f)
{
	if (in->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
		in->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		return;
	if (in->machine_mode != ZYDIS_MACHINE_MODE_LONG_64 && in->opcode >= 0x40 &&
		in->opcode <= 0x4f) { /* INC, DEC */
		f->opcode = 0xff;
		f->has_modrm = f->rm_is_gpr = true;
		f->reg = in->opcode >= 0x48;
		f->rm = f->opcode_reg;
		f->opcode_has_reg = false;
	} else if (in->opcode == 0x82) { /* the same as 80 */
		f->opcode = 0x80;
	} else if (in->opcode >= 0xa0 && in->opcode <= 0xa3) { /* MOV with an absolute address */
		static const uint8_t same[] = {0x8a, 0x8b, 0x88, 0x89};

		f->opcode = same[in->opcode - 0xa0];
		f->has_modrm = f->memory = f->reg_is_gpr = true;
		f->reg = 0; /* the accumulator */
	}
}

struct isa_fields isa_find_fields(const ZydisDecodedInstruction *in,
	const ZydisDecodedOperand *operands, const uint8_t host[16], bool high_is_low)
{
	struct isa_fields f = {
		.has_modrm = in->attributes & ZYDIS_ATTRIB_HAS_MODRM,
		.opcode = in->opcode,
		.reg = in->raw.modrm.reg,
		.rm = in->raw.modrm.rm,
	};

	f.memory = f.has_modrm && in->raw.modrm.mod != 3;
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *op = &operands[i];
		uint8_t reg;

		if (!isa_operand_is_gpr(op))
			continue;
		f.any_gpr = true;
		reg = host[isa_gpr_number(op->reg.value)];
		if (isa_is_high_byte(op->reg.value) && !high_is_low)
			reg += 4;
		switch (op->encoding) {
		case ZYDIS_OPERAND_ENCODING_MODRM_REG:
			f.reg = reg;
			f.reg_is_gpr = true;
			break;
		case ZYDIS_OPERAND_ENCODING_MODRM_RM:
			f.rm = reg;
			f.rm_is_gpr = true;
			break;
		case ZYDIS_OPERAND_ENCODING_NDSNDD:
			f.vvvv = reg;
			f.vvvv_is_gpr = true;
			break;
		case ZYDIS_OPERAND_ENCODING_OPCODE:
			f.opcode_reg = reg;
			f.opcode_has_reg = true;
			break;
		default:
			break;
		}
	}
	modernise(in, &f);
	return f;
}

static bool is_long(const ZydisDecodedInstruction *in)
{
	return in->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
}

void isa_vex_payload(const ZydisDecodedInstruction *in, const struct isa_fields *f,
	const uint8_t *bytes, uint8_t payload[2])
{
	const uint8_t *from = bytes + in->raw.vex.offset;

	if (from[0] == 0xc5) {
		payload[0] = (from[1] & 0x80) | 0x61;
		payload[1] = from[1] & 0x7f;
	} else {
		payload[0] = from[1];
		payload[1] = from[2];
	}
	if (is_long(in))
		return;
	payload[0] |= 0xe0;
	payload[1] |= 0x40;
	if (f->any_gpr)
		payload[1] &= 0x7f;
}

void isa_evex_payload(const ZydisDecodedInstruction *in, const struct isa_fields *f,
	const uint8_t *bytes, uint8_t payload[3])
{
	const uint8_t *from = bytes + in->raw.evex.offset;

	for (unsigned i = 0; i < 3; i++)
		payload[i] = from[i + 1];
	if (is_long(in))
		return;
	payload[0] |= 0xf0;
	payload[1] |= 0x40;
	payload[2] |= 0x08;
	if (f->any_gpr)
		payload[1] &= 0x7f;
}

#include "engine/bt/rewrite.h"

#include "engine/bt/verify.h"
#include "isa/fields.h"

static struct isa_fields find_fields(const struct rewrite *r)
{
	return isa_find_fields(r->in, r->operands, r->host, r->high_is_low);
}

static bool high(int reg)
{
	return reg != NO_REGISTER && (reg & 8);
}

/* Extension bits of the rm field or memory operand: X and B as in REX. `original` where the field
 * names a vector register. */
static unsigned extend_rm(const struct rewrite *r, const struct isa_fields *f, unsigned original)
{
	if (f->memory)
		return (high(r->memory->index) ? 2u : 0) | (high(r->memory->base) ? 1u : 0);
	if (f->rm_is_gpr)
		return f->rm & 8 ? 1 : 0;
	return original;
}

/* A register in an immediate's upper half (VBLENDVPS): only 64-bit mode has more than 8. */
static void clear_register_bit(struct code *c, const struct rewrite *r)
{
	for (unsigned i = 0; i < r->in->operand_count && !c->full; i++)
		if (r->operands[i].encoding == ZYDIS_OPERAND_ENCODING_IS4)
			*(uint8_t *)cache_writable(c->bt, c->at - 1) &= 0x7f;
}

static void emit_tail(struct code *c, const struct rewrite *r, const struct isa_fields *f,
	bool short_displacement)
{
	const ZydisDecodedInstruction *in = r->in;

	if (f->memory)
		emit_modrm_memory(c, f->reg, r->memory, short_displacement);
	else if (f->has_modrm)
		emit_byte(c, 0xc0 | (f->reg & 7u) << 3 | (f->rm & 7u));
	for (unsigned i = 0; i < 2; i++) {
		unsigned size = in->raw.imm[i].size / 8;

		if (size && !(in->opcode >= 0xa0 && in->opcode <= 0xa3 &&
				    in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT))
			emit_bytes(c, r->bytes + in->raw.imm[i].offset, size);
	}
	if (in->machine_mode != ZYDIS_MACHINE_MODE_LONG_64)
		clear_register_bit(c, r);
}

static void emit_legacy(struct code *c, const struct rewrite *r)
{
	const ZydisDecodedInstruction *in = r->in;
	bool had_rex = in->attributes & ZYDIS_ATTRIB_HAS_REX;
	unsigned rex = had_rex ? 0x40 | in->raw.rex.W << 3 : 0;
	struct isa_fields f = find_fields(r);

	for (unsigned i = 0; i < in->raw.prefix_count; i++) {
		uint8_t value = in->raw.prefixes[i].value;

		if (value == 0x66 || value == 0xf0 || value == 0xf2 || value == 0xf3)
			emit_byte(c, value);
	}
	if (f.reg_is_gpr ? f.reg & 8 : had_rex && in->raw.rex.R)
		rex |= 0x44;
	if (f.opcode_has_reg) {
		if (f.opcode_reg & 8)
			rex |= 0x41;
	} else {
		unsigned extension = extend_rm(r, &f, had_rex ? in->raw.rex.B : 0);

		if (extension)
			rex |= 0x40 | extension;
	}
	if (rex)
		emit_byte(c, rex);
	if (in->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		emit_byte(c, 0x0f);
	if (in->opcode_map == ZYDIS_OPCODE_MAP_0F38)
		emit_byte(c, 0x38);
	if (in->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
		emit_byte(c, 0x3a);
	emit_byte(c, f.opcode_has_reg ? (f.opcode & 0xf8) | (f.opcode_reg & 7) : f.opcode);
	emit_tail(c, r, &f, true);
}

/* R, X, B and vvvv are stored inverted. */
static void emit_vex(struct code *c, const struct rewrite *r)
{
	uint8_t payload[2];
	struct isa_fields f = find_fields(r);

	isa_vex_payload(r->in, &f, r->bytes, payload);
	if (f.reg_is_gpr)
		payload[0] = (uint8_t)((payload[0] & 0x7f) | (f.reg & 8 ? 0 : 0x80));
	if (f.rm_is_gpr || f.memory)
		payload[0] = (uint8_t)((payload[0] & 0x9f) | (~extend_rm(r, &f, 0) & 3) << 5);
	if (f.vvvv_is_gpr)
		payload[1] = (uint8_t)((payload[1] & 0x87) | (~f.vvvv & 15) << 3);
	emit_bytes(c, (uint8_t[]){0xc4, payload[0], payload[1], f.opcode}, 4);
	emit_tail(c, r, &f, true);
}

static void emit_evex(struct code *c, const struct rewrite *r)
{
	uint8_t payload[3];
	struct isa_fields f = find_fields(r);

	isa_evex_payload(r->in, &f, r->bytes, payload);
	if (f.reg_is_gpr)
		payload[0] = (uint8_t)((payload[0] & 0x7f) | (f.reg & 8 ? 0 : 0x80));
	if (f.rm_is_gpr || f.memory)
		payload[0] = (uint8_t)((payload[0] & 0x9f) | (~extend_rm(r, &f, 0) & 3) << 5);
	emit_bytes(c, (uint8_t[]){0x62, payload[0], payload[1], payload[2], f.opcode}, 5);
	emit_tail(c, r, &f, false);
}

void rewrite_emit(struct code *c, const struct rewrite *r)
{
	uintptr_t start = c->at;

	if (r->memory && r->memory->gs)
		emit_byte(c, 0x65);
	switch (r->in->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		emit_vex(c, r);
		break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		emit_evex(c, r);
		break;
	default:
		emit_legacy(c, r);
	}
	if (!c->full)
		verify_rewritten(c->bt, r, start, (unsigned)(c->at - start));
}

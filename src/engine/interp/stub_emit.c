/* Machine code for one stub.
 *
 *	void stub(struct cpu *rdi, void *rsi)
 *
 * is: load what the instruction reads, the instruction, store what it wrote, return. The
 * instruction is taken apart and put together from its own bytes, changed in as few places as
 * possible:
 *
 *	- its memory operand becomes [rsi]; segment and address-size prefixes are dropped;
 *	- general registers that must be ours or the caller's become others, by changing the
 *	  fields of ModRM, REX, VEX or EVEX that name them;
 *	- what 16- and 32-bit mode encode differently (operand size, short INC, absolute addresses)
 *	  becomes its 64-bit form.
 *
 * Then the result is decoded again, and must be the same instruction on the registers we meant.
 * That check is the reason to trust the rest: whatever instruction comes, either the stub does the
 * same or there is none.
 *
 * The flags travel as LAHF and SETO give them (cpu->arithmetic_flags): `add al, 127` sets OF from
 * AL's bit 0, SAHF the others. Loading the general registers afterwards disturbs no flag. */
#include "base/log.h"
#include "cpu/cpuid.h"
#include "engine/interp/stub_internal.h"
#include "isa/decode.h"

#include <string.h>

struct emit {
	uint8_t *start, *at;
	unsigned cpu_register; /* RDI; or RSI where the instruction wants its pointer in RDI */
};

static void byte(struct emit *e, unsigned value)
{
	*e->at++ = (uint8_t)value;
}

static void bytes(struct emit *e, const void *data, unsigned size)
{
	memcpy(e->at, data, size);
	e->at += size;
}

static void word(struct emit *e, uint32_t value)
{
	bytes(e, &value, 4);
}

/* ModRM and displacement of [cpu_register + offset]. */
static void cpu_field(struct emit *e, unsigned reg, size_t offset)
{
	if (offset < 128) {
		byte(e, 0x40 | (reg & 7) << 3 | e->cpu_register);
		byte(e, offset);
	} else {
		byte(e, 0x80 | (reg & 7) << 3 | e->cpu_register);
		word(e, offset);
	}
}

/* --- loads and stores --- */

static void move_gpr(struct emit *e, bool store, unsigned host, unsigned guest)
{
	byte(e, 0x48 | (host >> 3) << 2);
	byte(e, store ? 0x89 : 0x8b);
	cpu_field(e, host, offsetof(struct cpu, gpr) + 8 * guest);
}

static void move_vector(struct emit *e, bool store, unsigned number, unsigned width, bool legacy)
{
	size_t offset = offsetof(struct cpu, fpu.zmm) + 64 * number;

	if (legacy) { /* MOVUPS: leaves the rest of the register alone */
		if (number & 8)
			byte(e, 0x44);
		byte(e, 0x0f);
	} else if (number < 16 && width < 64) {
		byte(e, 0xc5);
		byte(e, (number & 8 ? 0 : 0x80) | 0x78 | (width == 32 ? 4 : 0));
	} else {
		byte(e, 0x62);
		byte(e, (number & 8 ? 0 : 0x80) | 0x60 | (number & 16 ? 0 : 0x10) | 1);
		byte(e, 0x7c);
		byte(e, 0x08 | (width == 64 ? 0x40 : width == 32 ? 0x20 : 0));
	}
	byte(e, store ? 0x11 : 0x10);
	/* A 32-bit displacement always: EVEX would scale a short one. */
	byte(e, 0x80 | (number & 7) << 3 | e->cpu_register);
	word(e, offset);
}

static void move_mask(struct emit *e, bool store, unsigned number)
{
	bytes(e, (uint8_t[]){0xc4, 0xe1, 0xf8, store ? 0x91 : 0x90}, 4); /* KMOVQ */
	byte(e, 0x80 | number << 3 | e->cpu_register);
	word(e, offsetof(struct cpu, fpu.opmask) + 8 * number);
}

static void load_flags(struct emit *e)
{
	byte(e, 0x0f); /* movzx eax, word [arithmetic_flags] */
	byte(e, 0xb7);
	cpu_field(e, RAX, offsetof(struct cpu, arithmetic_flags));
	bytes(e, (uint8_t[]){0x04, 0x7f, 0x9e}, 3); /* add al, 127; sahf */
}

static void store_flags(struct emit *e)
{
	bytes(e, (uint8_t[]){0x9f, 0x0f, 0x90, 0xc0}, 4); /* lahf; seto al */
	bytes(e, (uint8_t[]){0x66, 0x89}, 2);             /* mov [arithmetic_flags], ax */
	cpu_field(e, RAX, offsetof(struct cpu, arithmetic_flags));
}

static void load_state(struct emit *e, const struct stub_plan *plan)
{
	for (unsigned i = 0; i < 32; i++) {
		if (plan->vector_load & BIT(i))
			move_vector(e, false, i, plan->vector_width[i], !plan->vex);
	}
	for (unsigned i = 0; i < 8; i++) {
		if (plan->mask_load & BIT(i))
			move_mask(e, false, i);
	}
	if (plan->flags_load)
		load_flags(e);
	for (unsigned g = 0; g < 16; g++) {
		if (plan->gpr_used & BIT(g))
			move_gpr(e, false, plan->host[g], g);
	}
}

static void store_state(struct emit *e, const struct stub_plan *plan)
{
	/* A VEX result is zero above its own width, up to the widest register there is. */
	unsigned whole = cpuid_has(CPUID_AVX512F) ? 64 : 32;

	for (unsigned g = 0; g < 16; g++) {
		if (plan->gpr_written & BIT(g))
			move_gpr(e, true, plan->host[g], g);
	}
	if (plan->flags_store)
		store_flags(e);
	for (unsigned i = 0; i < 32; i++) {
		if (plan->vector_written & BIT(i))
			move_vector(e, true, i, plan->vex ? whole : 16, !plan->vex);
	}
	for (unsigned i = 0; i < 8; i++) {
		if (plan->mask_written & BIT(i))
			move_mask(e, true, i);
	}
	/* Dirty upper halves would slow every legacy SSE instruction from here on. */
	if (plan->wide)
		bytes(e, (uint8_t[]){0xc5, 0xf8, 0x77}, 3);
}

/* --- the instruction itself --- */

/* The instruction's fields that name general registers or the memory operand, as they are to be. */
struct fields {
	bool has_modrm, memory;
	uint8_t reg, rm, vvvv; /* 4 bits each (vectors: the low 4) */
	bool reg_is_gpr, rm_is_gpr, vvvv_is_gpr, any_gpr;
	uint8_t opcode; /* with the register in its low bits where it has one there */
	bool opcode_has_reg;
	uint8_t opcode_reg;
};

static unsigned host_register(const struct stub_plan *plan, ZydisRegister reg)
{
	unsigned guest = ZydisRegisterGetId(
		ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
	unsigned host = plan->host[guest];

	/* AH to BH are encoded as 4 to 7. */
	return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH ? host + 4 : host;
}

static void find_fields(const struct stub_plan *plan, struct fields *f)
{
	const ZydisDecodedInstruction *in = plan->instruction;

	memset(f, 0, sizeof(*f));
	f->has_modrm = in->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	f->memory = f->has_modrm && in->raw.modrm.mod != 3 && plan->memory != NO_OPERAND;
	f->reg = in->raw.modrm.reg;
	f->rm = f->memory ? RSI : in->raw.modrm.rm;
	f->opcode = in->opcode;
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *op = &plan->operands[i];
		unsigned class;

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		class = ZydisRegisterGetClass(op->reg.value);
		if (class < ZYDIS_REGCLASS_GPR8 || class > ZYDIS_REGCLASS_GPR64)
			continue;
		f->any_gpr = true;
		switch (op->encoding) {
		case ZYDIS_OPERAND_ENCODING_MODRM_REG:
			f->reg = host_register(plan, op->reg.value);
			f->reg_is_gpr = true;
			break;
		case ZYDIS_OPERAND_ENCODING_MODRM_RM:
			f->rm = host_register(plan, op->reg.value);
			f->rm_is_gpr = true;
			break;
		case ZYDIS_OPERAND_ENCODING_NDSNDD:
			f->vvvv = host_register(plan, op->reg.value);
			f->vvvv_is_gpr = true;
			break;
		case ZYDIS_OPERAND_ENCODING_OPCODE:
			f->opcode_reg = host_register(plan, op->reg.value);
			f->opcode_has_reg = true;
			break;
		default:
			break;
		}
	}
}

static bool is_long(const struct stub_plan *plan)
{
	return plan->instruction->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
}

static void emit_modrm(struct emit *e, const struct fields *f)
{
	if (f->has_modrm)
		byte(e, (f->memory ? 0 : 0xc0) | (f->reg & 7) << 3 | (f->rm & 7));
}

static void emit_immediates(struct emit *e, const struct stub_plan *plan)
{
	for (unsigned i = 0; i < 2; i++) {
		unsigned size = plan->instruction->raw.imm[i].size / 8;

		if (size)
			bytes(e, plan->bytes + plan->instruction->raw.imm[i].offset, size);
	}
	/* A register in an immediate's upper half (VBLENDVPS): only 64-bit mode has more than 8. */
	for (unsigned i = 0; i < plan->instruction->operand_count; i++) {
		if (!is_long(plan) && plan->operands[i].encoding == ZYDIS_OPERAND_ENCODING_IS4)
			e->at[-1] &= 0x7f;
	}
}

/* Forms that 64-bit mode has lost, or that hold an address: change them to their equals. */
static void modernise(const struct stub_plan *plan, struct fields *f)
{
	const ZydisDecodedInstruction *in = plan->instruction;

	if (in->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
		in->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		return;
	if (!is_long(plan) && in->opcode >= 0x40 && in->opcode <= 0x4f) { /* INC, DEC */
		f->opcode = 0xff;
		f->has_modrm = true;
		f->reg = in->opcode >= 0x48;
		f->rm = f->opcode_reg;
		f->opcode_has_reg = false;
	} else if (in->opcode == 0x82) { /* the same as 80 */
		f->opcode = 0x80;
	} else if (in->opcode >= 0xa0 && in->opcode <= 0xa3) { /* MOV with an absolute address */
		static const uint8_t same[] = {0x8a, 0x8b, 0x88, 0x89};

		f->opcode = same[in->opcode - 0xa0];
		f->has_modrm = f->memory = true;
		f->reg = RAX;
		f->rm = RSI;
	}
}

static void emit_legacy(struct emit *e, const struct stub_plan *plan, bool flip_operand_size)
{
	const ZydisDecodedInstruction *in = plan->instruction;
	bool rex_present = in->attributes & ZYDIS_ATTRIB_HAS_REX;
	unsigned rex = rex_present && in->raw.rex.W ? 0x48 : 0;
	bool operand_size = false;
	struct fields f;

	find_fields(plan, &f);
	modernise(plan, &f);
	for (unsigned i = 0; i < in->raw.prefix_count; i++) {
		uint8_t value = in->raw.prefixes[i].value;

		switch (value) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64:
		case 0x65:
		case 0x67:
			break;
		case 0x66:
			operand_size = true;
			if (!flip_operand_size)
				byte(e, value);
			break;
		case 0xf0:
		case 0xf2:
		case 0xf3:
			byte(e, value);
			break;
		}
	}
	if (flip_operand_size && !operand_size)
		byte(e, 0x66);

	if (f.reg_is_gpr ? f.reg & 8 : rex_present && in->raw.rex.R)
		rex |= 0x44;
	if (f.opcode_has_reg ? f.opcode_reg & 8
		: f.rm_is_gpr || f.memory || (f.has_modrm && f.opcode != in->opcode)
			? f.rm & 8
			: rex_present && in->raw.rex.B)
		rex |= 0x41;
	if (rex)
		byte(e, rex);
	if (in->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		byte(e, 0x0f);
	if (in->opcode_map == ZYDIS_OPCODE_MAP_0F38)
		byte(e, 0x38);
	if (in->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
		byte(e, 0x3a);
	byte(e, f.opcode_has_reg ? (f.opcode & 0xf8) | (f.opcode_reg & 7) : f.opcode);
	emit_modrm(e, &f);
	emit_immediates(e, plan);
}

/* The bits are stored inverted. Outside 64-bit mode, where they cannot name registers, they are
 * ignored in part: set them all, and clear W where it would choose a 64-bit register. */
static void emit_vex(struct emit *e, const struct stub_plan *plan)
{
	const ZydisDecodedInstruction *in = plan->instruction;
	const uint8_t *from = plan->bytes + in->raw.vex.offset;
	uint8_t rxb_map, w_vvvv_l_pp;
	struct fields f;

	find_fields(plan, &f);
	if (from[0] == 0xc5) {
		rxb_map = (from[1] & 0x80) | 0x61;
		w_vvvv_l_pp = from[1] & 0x7f;
	} else {
		rxb_map = from[1];
		w_vvvv_l_pp = from[2];
	}
	if (!is_long(plan)) {
		rxb_map |= 0xe0;
		w_vvvv_l_pp |= 0x40;
		if (f.any_gpr)
			w_vvvv_l_pp &= 0x7f;
	}
	if (f.reg_is_gpr)
		rxb_map = (rxb_map & 0x7f) | (f.reg & 8 ? 0 : 0x80);
	if (f.rm_is_gpr || f.memory)
		rxb_map = (rxb_map & 0x9f) | 0x40 | (f.rm & 8 ? 0 : 0x20);
	if (f.vvvv_is_gpr)
		w_vvvv_l_pp = (w_vvvv_l_pp & 0x87) | (~f.vvvv & 15) << 3;
	bytes(e, (uint8_t[]){0xc4, rxb_map, w_vvvv_l_pp, f.opcode}, 4);
	emit_modrm(e, &f);
	emit_immediates(e, plan);
}

static void emit_evex(struct emit *e, const struct stub_plan *plan)
{
	const ZydisDecodedInstruction *in = plan->instruction;
	const uint8_t *from = plan->bytes + in->raw.evex.offset;
	uint8_t p0 = from[1], p1 = from[2], p2 = from[3];
	struct fields f;

	find_fields(plan, &f);
	if (!is_long(plan)) {
		p0 |= 0xf0;
		p1 |= 0x40;
		p2 |= 0x08;
		if (f.any_gpr)
			p1 &= 0x7f;
	}
	if (f.reg_is_gpr)
		p0 = (p0 & 0x7f) | (f.reg & 8 ? 0 : 0x80);
	if (f.rm_is_gpr || f.memory)
		p0 = (p0 & 0x9f) | 0x40 | (f.rm & 8 ? 0 : 0x20);
	bytes(e, (uint8_t[]){0x62, p0, p1, p2, f.opcode}, 5);
	emit_modrm(e, &f);
	emit_immediates(e, plan);
}

/* --- was that the same instruction? --- */

static bool same_register(const struct stub_plan *plan, ZydisRegister want, ZydisRegister got)
{
	unsigned class = ZydisRegisterGetClass(want);

	if (class == ZYDIS_REGCLASS_FLAGS)
		return ZydisRegisterGetClass(got) == class;
	if (class < ZYDIS_REGCLASS_GPR8 || class > ZYDIS_REGCLASS_GPR64)
		return got == want;
	/* The decoder finds RAX in 32-bit code, where W is set but does not count (VPCMPESTRI). */
	if (class == ZYDIS_REGCLASS_GPR64 && !is_long(plan))
		class = ZYDIS_REGCLASS_GPR32;
	return ZydisRegisterGetClass(got) == class &&
	       (got >= ZYDIS_REGISTER_AH && got <= ZYDIS_REGISTER_BH) ==
		       (want >= ZYDIS_REGISTER_AH && want <= ZYDIS_REGISTER_BH) &&
	       ZydisRegisterGetId(
		       ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, got)) ==
		       plan->host[ZydisRegisterGetId(
			       ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, want))];
}

static bool same_operand(const struct stub_plan *plan, const ZydisDecodedOperand *want,
	const ZydisDecodedOperand *got)
{
	uint64_t mask = want->size >= 64 ? ~UINT64_C(0) : BIT(want->size) - 1;

	if (want->type != got->type)
		return false;
	switch (want->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return same_register(plan, want->reg.value, got->reg.value);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (want->size != got->size || want->element_count != got->element_count)
			return false;
		return plan->implicit_memory ||
		       (got->mem.base == ZYDIS_REGISTER_RSI &&
			       got->mem.index == ZYDIS_REGISTER_NONE && !got->mem.disp.value);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		return !((want->imm.value.u ^ got->imm.value.u) & mask);
	default:
		return false;
	}
}

static bool same_instruction(const struct stub_plan *plan, const uint8_t *code, unsigned size)
{
	const ZydisDecodedInstruction *want = plan->instruction;
	ZydisDecodedInstruction got;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

	if (isa_decode(ISA_64, false, code, size, &got, operands) != ISA_DECODED ||
		got.length != size || got.mnemonic != want->mnemonic ||
		got.operand_count != want->operand_count ||
		got.avx.vector_length != want->avx.vector_length ||
		got.avx.mask.mode != want->avx.mask.mode || got.avx.mask.reg != want->avx.mask.reg)
		return false;
	for (unsigned i = 0; i < want->operand_count; i++) {
		if (!same_operand(plan, &plan->operands[i], &operands[i]))
			return false;
	}
	return true;
}

/* The instruction in its 64-bit form at `e`; false where there is none. Code whose default operand
 * size is 16 bits needs a prefix where ours needs none, unless the prefix is part of the opcode:
 * try as it is, then the other way. */
static bool emit_instruction(struct emit *e, const struct stub_plan *plan)
{
	uint8_t *start = e->at;

	switch (plan->instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		emit_vex(e, plan);
		return same_instruction(plan, start, (unsigned)(e->at - start));
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		emit_evex(e, plan);
		return same_instruction(plan, start, (unsigned)(e->at - start));
	default:
		emit_legacy(e, plan, false);
		if (same_instruction(plan, start, (unsigned)(e->at - start)))
			return true;
		if (is_long(plan))
			return false;
		e->at = start;
		emit_legacy(e, plan, true);
		return same_instruction(plan, start, (unsigned)(e->at - start));
	}
}

unsigned stub_emit(const struct stub_plan *plan, uint8_t *code)
{
	struct emit e = {.start = code, .at = code, .cpu_register = RDI};
	bool saves_rbx = false;

	for (unsigned g = 0; g < 16; g++)
		saves_rbx |= (plan->gpr_used & BIT(g)) && plan->host[g] == RBX;
	if (saves_rbx)
		byte(&e, 0x53);
	if (plan->implicit_memory) {
		bytes(&e, (uint8_t[]){0x48, 0x87, 0xfe}, 3); /* xchg rsi, rdi */
		e.cpu_register = RSI;
	}
	load_state(&e, plan);
	if (!emit_instruction(&e, plan)) {
		log_debug("no stub for %s", ZydisMnemonicGetString(plan->instruction->mnemonic));
		return 0;
	}
	store_state(&e, plan);
	if (saves_rbx)
		byte(&e, 0x5b);
	byte(&e, 0xc3);
	return (unsigned)(e.at - e.start);
}

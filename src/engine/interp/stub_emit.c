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
#include "isa/fields.h"
#include "isa/register.h"

#include <string.h>

struct emit {
	uint8_t *start, *at;
	unsigned cpu_register; /* RDI; or RSI where the instruction wants its pointer in RDI */
	uint8_t host[16];      /* where a guest's register is while the instruction runs */
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

/* --- registers --- */

/* Host registers for the guest's. An implicit operand must be where it is; the others stay too if
 * they are registers that a C function may use freely, else they get one of those. RDI and RSI hold
 * our own pointers. False where it cannot be done. */
static bool assign_registers(struct emit *e, const struct native *n)
{
	static const uint8_t pool[] = {RAX, RCX, RDX, R8, R9, R10, R11};
	static const uint8_t pool_no_rex[] = {RAX, RCX, RDX, RBX};
	const uint8_t *from = n->high_byte ? pool_no_rex : pool;
	unsigned size = n->high_byte ? sizeof(pool_no_rex) : sizeof(pool);
	uint32_t fixed = 0, taken = 0, usable = 0;

	for (unsigned i = 0; i < size; i++)
		usable |= BIT(from[i]);
	for (unsigned i = 0; i < n->instruction->operand_count; i++) {
		const ZydisDecodedOperand *op = &n->operands[i];

		if (isa_operand_is_gpr(op) && op->encoding == ZYDIS_OPERAND_ENCODING_NONE)
			fixed |= BIT(isa_gpr_number(op->reg.value));
	}
	if (fixed & ~(usable | BIT(RBX)))
		return false;
	taken = fixed | (n->gpr_used & usable);
	for (unsigned g = 0; g < 16; g++) {
		if (!(n->gpr_used & BIT(g)))
			continue;
		e->host[g] = g;
		if (taken & BIT(g))
			continue;
		for (unsigned i = 0; i < size; i++) {
			if (taken & BIT(from[i]))
				continue;
			e->host[g] = from[i];
			taken |= BIT(from[i]);
			break;
		}
		if (e->host[g] == g)
			return false;
	}
	return true;
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

static void load_state(struct emit *e, const struct native *n)
{
	for (unsigned i = 0; i < 32; i++) {
		if (n->vector_load & BIT(i))
			move_vector(e, false, i, n->vector_width[i], !n->vex);
	}
	for (unsigned i = 0; i < 8; i++) {
		if (n->mask_load & BIT(i))
			move_mask(e, false, i);
	}
	if (n->flags_load)
		load_flags(e);
	for (unsigned g = 0; g < 16; g++) {
		if (n->gpr_used & BIT(g))
			move_gpr(e, false, e->host[g], g);
	}
}

static void store_state(struct emit *e, const struct native *n)
{
	/* A VEX result is zero above its own width, up to the widest register there is. */
	unsigned whole = cpu_model_has(n->model, CPUID_AVX512F) ? 64 : 32;

	for (unsigned g = 0; g < 16; g++) {
		if (n->gpr_written & BIT(g))
			move_gpr(e, true, e->host[g], g);
	}
	if (n->flags_store)
		store_flags(e);
	for (unsigned i = 0; i < 32; i++) {
		if (n->vector_written & BIT(i))
			move_vector(e, true, i, n->vex ? whole : 16, !n->vex);
	}
	for (unsigned i = 0; i < 8; i++) {
		if (n->mask_written & BIT(i))
			move_mask(e, true, i);
	}
	/* Dirty upper halves would slow every legacy SSE instruction from here on. */
	if (n->wide)
		bytes(e, (uint8_t[]){0xc5, 0xf8, 0x77}, 3);
}

/* --- the instruction itself --- */

static bool is_long(const struct native *n)
{
	return n->instruction->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
}

static void emit_modrm(struct emit *e, const struct isa_fields *f)
{
	if (f->has_modrm)
		byte(e, (f->memory ? 0 : 0xc0) | (f->reg & 7) << 3 | (f->rm & 7));
}

static void emit_immediates(struct emit *e, const struct native *n)
{
	for (unsigned i = 0; i < 2; i++) {
		unsigned size = n->instruction->raw.imm[i].size / 8;

		if (size)
			bytes(e, n->bytes + n->instruction->raw.imm[i].offset, size);
	}
	/* A register in an immediate's upper half (VBLENDVPS): only 64-bit mode has more than 8. */
	for (unsigned i = 0; i < n->instruction->operand_count; i++) {
		if (!is_long(n) && n->operands[i].encoding == ZYDIS_OPERAND_ENCODING_IS4)
			e->at[-1] &= 0x7f;
	}
}

/* The memory operand, where there is one, becomes [rsi]. */
static struct isa_fields find_fields(const struct emit *e, const struct native *n)
{
	struct isa_fields f = isa_find_fields(n->instruction, n->operands, e->host, false);

	if (f.memory)
		f.rm = RSI;
	return f;
}

static void emit_legacy(struct emit *e, const struct native *n, bool flip_operand_size)
{
	const ZydisDecodedInstruction *in = n->instruction;
	bool rex_present = in->attributes & ZYDIS_ATTRIB_HAS_REX;
	unsigned rex = rex_present && in->raw.rex.W ? 0x48 : 0;
	bool operand_size = false;
	struct isa_fields f = find_fields(e, n);

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
	if (f.opcode_has_reg              ? f.opcode_reg & 8
		: f.rm_is_gpr || f.memory ? f.rm & 8
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
	emit_immediates(e, n);
}

/* R, X, B and vvvv are stored inverted. */
static void emit_vex(struct emit *e, const struct native *n)
{
	uint8_t payload[2];
	struct isa_fields f = find_fields(e, n);

	isa_vex_payload(n->instruction, &f, n->bytes, payload);
	if (f.reg_is_gpr)
		payload[0] = (payload[0] & 0x7f) | (f.reg & 8 ? 0 : 0x80);
	if (f.rm_is_gpr || f.memory)
		payload[0] = (payload[0] & 0x9f) | 0x40 | (f.rm & 8 ? 0 : 0x20);
	if (f.vvvv_is_gpr)
		payload[1] = (payload[1] & 0x87) | (~f.vvvv & 15) << 3;
	bytes(e, (uint8_t[]){0xc4, payload[0], payload[1], f.opcode}, 4);
	emit_modrm(e, &f);
	emit_immediates(e, n);
}

static void emit_evex(struct emit *e, const struct native *n)
{
	uint8_t payload[3];
	struct isa_fields f = find_fields(e, n);

	isa_evex_payload(n->instruction, &f, n->bytes, payload);
	if (f.reg_is_gpr)
		payload[0] = (payload[0] & 0x7f) | (f.reg & 8 ? 0 : 0x80);
	if (f.rm_is_gpr || f.memory)
		payload[0] = (payload[0] & 0x9f) | 0x40 | (f.rm & 8 ? 0 : 0x20);
	bytes(e, (uint8_t[]){0x62, payload[0], payload[1], payload[2], f.opcode}, 5);
	emit_modrm(e, &f);
	emit_immediates(e, n);
}

/* --- was that the same instruction? --- */

static bool same_register(
	const struct emit *e, const struct native *n, ZydisRegister want, ZydisRegister got)
{
	unsigned class = ZydisRegisterGetClass(want);

	if (class == ZYDIS_REGCLASS_FLAGS)
		return ZydisRegisterGetClass(got) == class;
	if (!isa_is_gpr(want))
		return got == want;
	/* The decoder finds RAX in 32-bit code, where W is set but does not count (VPCMPESTRI). */
	if (class == ZYDIS_REGCLASS_GPR64 && !is_long(n))
		class = ZYDIS_REGCLASS_GPR32;
	return ZydisRegisterGetClass(got) == class &&
	       isa_is_high_byte(got) == isa_is_high_byte(want) &&
	       isa_gpr_number(got) == e->host[isa_gpr_number(want)];
}

static bool same_operand(const struct emit *e, const struct native *n,
	const ZydisDecodedOperand *want, const ZydisDecodedOperand *got)
{
	uint64_t mask = want->size >= 64 ? ~UINT64_C(0) : BIT(want->size) - 1;

	if (want->type != got->type)
		return false;
	switch (want->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return same_register(e, n, want->reg.value, got->reg.value);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (want->size != got->size || want->element_count != got->element_count)
			return false;
		return n->implicit_memory ||
		       (got->mem.base == ZYDIS_REGISTER_RSI &&
			       got->mem.index == ZYDIS_REGISTER_NONE && !got->mem.disp.value);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		return !((want->imm.value.u ^ got->imm.value.u) & mask);
	default:
		return false;
	}
}

static bool same_instruction(
	const struct emit *e, const struct native *n, const uint8_t *code, unsigned size)
{
	const ZydisDecodedInstruction *want = n->instruction;
	ZydisDecodedInstruction got;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

	if (isa_decode(ISA_64, NULL, code, size, &got, operands) != ISA_DECODED ||
		got.length != size || got.mnemonic != want->mnemonic ||
		got.operand_count != want->operand_count ||
		got.avx.vector_length != want->avx.vector_length ||
		got.avx.mask.mode != want->avx.mask.mode || got.avx.mask.reg != want->avx.mask.reg)
		return false;
	for (unsigned i = 0; i < want->operand_count; i++) {
		if (!same_operand(e, n, &n->operands[i], &operands[i]))
			return false;
	}
	return true;
}

/* The instruction in its 64-bit form at `e`; false where there is none. Code whose default operand
 * size is 16 bits needs a prefix where ours needs none, unless the prefix is part of the opcode:
 * try as it is, then the other way. */
static bool emit_instruction(struct emit *e, const struct native *n)
{
	uint8_t *start = e->at;

	switch (n->instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		emit_vex(e, n);
		return same_instruction(e, n, start, (unsigned)(e->at - start));
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		emit_evex(e, n);
		return same_instruction(e, n, start, (unsigned)(e->at - start));
	default:
		emit_legacy(e, n, false);
		if (same_instruction(e, n, start, (unsigned)(e->at - start)))
			return true;
		if (is_long(n))
			return false;
		e->at = start;
		emit_legacy(e, n, true);
		return same_instruction(e, n, start, (unsigned)(e->at - start));
	}
}

unsigned stub_emit(const struct native *n, uint8_t *code)
{
	struct emit e = {.start = code, .at = code, .cpu_register = RDI};
	bool saves_rbx = false;

	if (!assign_registers(&e, n))
		return 0;
	for (unsigned g = 0; g < 16; g++)
		saves_rbx |= (n->gpr_used & BIT(g)) && e.host[g] == RBX;
	if (saves_rbx)
		byte(&e, 0x53);
	if (n->implicit_memory) {
		bytes(&e, (uint8_t[]){0x48, 0x87, 0xfe}, 3); /* xchg rsi, rdi */
		e.cpu_register = RSI;
	}
	load_state(&e, n);
	if (!emit_instruction(&e, n)) {
		log_debug("no stub for %s", ZydisMnemonicGetString(n->instruction->mnemonic));
		return 0;
	}
	store_state(&e, n);
	if (saves_rbx)
		byte(&e, 0x5b);
	byte(&e, 0xc3);
	return (unsigned)(e.at - e.start);
}

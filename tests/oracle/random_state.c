/* States to start from. Uniformly random registers would make every address a fault, every shift a
 * long one and every float a NaN of no interest; so values come from a few kinds, and the registers
 * that an instruction addresses memory with are solved for. */
#include "oracle.h"

#include "isa/register.h"

#include <string.h>

#define FLAGS_RANDOM 0xcd5u   /* arithmetic flags and DF */
#define FLAG_AC      0x40000u /* alignment is checked */

static uint64_t random_integer(struct oracle_random *random)
{
	uint64_t value = random_u64(random);

	switch (random_below(random, 8)) {
	case 0:
		return value & 0xff;
	case 1:
		return (uint64_t) - (int64_t)(value & 0xff);
	case 2:
		return BIT(value & 63);
	case 3:
		return BIT(value & 63) - 1;
	case 4:
		return value & 0xffffffff;
	case 5:
		return ORACLE_DATA + (value & (ORACLE_DATA_SIZE - 1));
	default:
		return value;
	}
}

static uint32_t random_single(struct oracle_random *random)
{
	static const uint32_t special[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
		0xff800000, 0x7fc00000, 0x7fa00001, 0x00000001, 0x807fffff, 0x7f7fffff, 0x4f000000};
	uint64_t bits = random_u64(random);

	switch (bits & 3) {
	case 0:
		return special[(bits >> 8) % ARRAY_SIZE(special)];
	case 1: /* near one */
		return (uint32_t)(0x3c000000 + ((bits >> 8) & 0x07ffffff)) | (bits >> 63) << 31;
	default:
		return (uint32_t)(bits >> 8);
	}
}

static uint64_t random_double(struct oracle_random *random)
{
	static const uint64_t special[] = {0, UINT64_C(1) << 63, UINT64_C(0x3ff0000000000000),
		UINT64_C(0xbff0000000000000), UINT64_C(0x7ff0000000000000),
		UINT64_C(0xfff0000000000000), UINT64_C(0x7ff8000000000000),
		UINT64_C(0x7ff4000000000001), 1, UINT64_C(0x800fffffffffffff),
		UINT64_C(0x7fefffffffffffff), UINT64_C(0x43e0000000000000),
		UINT64_C(0x41e0000000000000)};
	uint64_t bits = random_u64(random);

	switch (bits & 3) {
	case 0:
		return special[(bits >> 8) % ARRAY_SIZE(special)];
	case 1:
		return (UINT64_C(0x3f80000000000000) + ((bits >> 8) & UINT64_C(0x00ffffffffffff))) |
		       (bits >> 63) << 63;
	default:
		return random_u64(random);
	}
}

/* Bytes that mean something as integers, floats and doubles. */
static void random_bytes(struct oracle_random *random, uint8_t *out, unsigned size)
{
	unsigned kind = random_below(random, 4);

	for (unsigned i = 0; i < size; i += 8) {
		uint64_t value;

		if (kind == 0)
			value = random_u64(random);
		else if (kind == 1)
			value = random_single(random) | (uint64_t)random_single(random) << 32;
		else if (kind == 2)
			value = random_double(random);
		else
			value = random_integer(random);
		memcpy(out + i, &value, 8);
	}
}

/* --- x87 and MXCSR --- */

static void random_x87_register(struct oracle_random *random, uint8_t *st)
{
	static const uint16_t exponents[] = {
		0, 0x3fff, 0xbfff, 0x7fff, 0xffff, 0x4000, 0x3ffe, 0x8000, 0x401e, 0x403e, 0x0001};
	uint64_t significand = random_u64(random) | UINT64_C(1) << 63;
	uint16_t exponent = (uint16_t)(0x3ff0 + random_below(random, 32));

	if (random_one_in(random, 3))
		exponent = exponents[random_below(random, ARRAY_SIZE(exponents))];
	if (random_one_in(random, 4))
		significand = UINT64_C(1) << 63;
	if ((exponent & 0x7fff) == 0 || random_one_in(random, 16))
		significand = random_one_in(random, 2) ? 0 : random_u64(random);
	memcpy(st, &significand, 8);
	memcpy(st + 8, &exponent, 2);
}

static void random_x87(struct oracle_random *random, uint8_t *x87)
{
	uint64_t bits = random_u64(random);
	uint16_t fcw = 0x037f, fsw;

	memset(x87, 0, 160);
	if (bits & 1)
		fcw = 0x007f | ((bits >> 8) & 0x0f00);
	if (random_one_in(random, 16))
		fcw &= ~(random_u64(random) & 0x3f);
	fsw = (bits >> 16) & 0x7f7f & ~0x40;
	if (bits & 2)
		fsw &= 0x4700 | 0x3800;
	if (fsw & ~fcw & 0x3f)
		fsw |= 0x8080;
	memcpy(x87, &fcw, 2);
	memcpy(x87 + 2, &fsw, 2);
	x87[4] = bits & 4 ? 0xff : (uint8_t)(bits >> 40);
	for (unsigned i = 0; i < 8; i++)
		random_x87_register(random, x87 + 32 + 16 * i);
}

static uint32_t random_mxcsr(struct oracle_random *random)
{
	uint32_t bits = (uint32_t)random_u64(random), value = 0x1f80;

	if (bits & 1)
		value |= bits & 0xe07f & 0xe03f; /* rounding, FTZ, flags */
	if (random_one_in(random, 8))
		value |= 0x40; /* DAZ */
	if (random_one_in(random, 16))
		value &= ~(bits & 0x1f80);
	return value;
}

/* --- addresses --- */

/* Two operands that fault for different reasons leave it to the processor which is told; so only
 * one, `may_fault`, is ever bad. An address that is not canonical is aligned, for the same reason.
 */
static uint64_t random_target(struct oracle_random *random, unsigned size, bool may_fault)
{
	uint64_t offset = random_below(random, ORACLE_DATA_SIZE);

	if (!may_fault)
		return ORACLE_DATA + (offset % 7168 + 512);

	switch (random_below(random, 16)) {
	case 0: /* over the end, or the last place that is not */
		if (random_one_in(random, 2))
			return ORACLE_DATA + ORACLE_DATA_SIZE - size + random_below(random, 2);
		return ORACLE_DATA + ORACLE_DATA_SIZE - 1 - random_below(random, 64);
	case 1: /* over the middle */
		return ORACLE_DATA + 4096 - random_below(random, 64);
	case 2: /* before the start, or nowhere */
		return random_one_in(random, 2) ? ORACLE_DATA - random_below(random, 64)
						: random_u64(random) & ~UINT64_C(63);
	case 3:
	case 4:
	case 5:
	case 6:
		return ORACLE_DATA + offset;
	default:
		return ORACLE_DATA + (offset & ~UINT64_C(63));
	}
}

static int gpr_of(ZydisRegister reg)
{
	return isa_is_gpr(reg) ? (int)isa_gpr_number(reg) : -1;
}

/* Index vectors: each element somewhere in the data, given that the base is its start. */
static void aim_vector_index(struct oracle_random *random, const ZydisDecodedOperand *op,
	unsigned element_size, struct oracle_state *state)
{
	uint8_t *index = state->zmm[ZydisRegisterGetId(op->mem.index)];

	for (unsigned at = 0; at < 64; at += element_size) {
		uint64_t value = random_below(random, ORACLE_DATA_SIZE) / op->mem.scale;

		if (random_one_in(random, 64))
			value = random_u64(random);
		memcpy(index + at, &value, element_size);
	}
}

static void aim_operand(struct oracle_random *random, const struct oracle_case *test,
	const ZydisDecodedOperand *op, bool may_fault, struct oracle_state *state)
{
	int base = gpr_of(op->mem.base), index = gpr_of(op->mem.index);
	uint64_t target = random_target(random, op->size / 8, may_fault),
		 offset = (uint64_t)op->mem.disp.value;

	if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
		aim_vector_index(random, op, test->instruction.opcode & 1 ? 8 : 4, state);
		target = ORACLE_DATA;
	}
	if (index >= 0 && index != base) {
		state->gpr[index] = random_below(random, 64);
		offset += state->gpr[index] * op->mem.scale;
	}
	if (base >= 0) {
		state->gpr[base] = target - offset;
		if (index == base) /* base * (1 + scale): somewhere near */
			state->gpr[base] =
				(ORACLE_DATA + (target & 0xfff) - offset) / (1u + op->mem.scale);
		/* Upper bits that a short address ignores. */
		if (test->instruction.address_width == 32 && test->code_bits == 64 &&
			op->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			state->gpr[base] |= random_u64(random) << 32;
	}
}

/* A bit string's bits may be 2^60 bytes away: keep them near. */
static void tame_bit_offset(
	struct oracle_random *random, const struct oracle_case *test, struct oracle_state *state)
{
	int reg = -1;

	if (test->instruction.meta.category != ZYDIS_CATEGORY_BITBYTE ||
		test->operands[0].type != ZYDIS_OPERAND_TYPE_MEMORY)
		return;
	if (test->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		reg = gpr_of(test->operands[1].reg.value);
	if (reg >= 0 && !random_one_in(random, 8))
		state->gpr[reg] = (uint64_t)((int64_t)random_below(random, 8192) - 4096);
}

static void aim_operands(
	struct oracle_random *random, const struct oracle_case *test, struct oracle_state *state)
{
	const ZydisDecodedInstruction *in = &test->instruction;
	/* A branch may have a bad target already, an x87 exception may be pending, both operands of
	 * a string may be misaligned; and a POPA that faults may have loaded some registers. */
	bool may_fault =
		in->meta.branch_type == ZYDIS_BRANCH_TYPE_NONE && !(state->x87[2] & 0x80) &&
		!((state->rflags & FLAG_AC) && in->meta.category == ZYDIS_CATEGORY_STRINGOP) &&
		in->mnemonic != ZYDIS_MNEMONIC_POPA && in->mnemonic != ZYDIS_MNEMONIC_POPAD;

	if (in->attributes &
		(ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
		state->gpr[1] = random_below(random, 24);
	tame_bit_offset(random, test, state);
	for (unsigned i = 0; i < in->operand_count; i++) {
		if (test->operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		aim_operand(random, test, &test->operands[i], may_fault, state);
		may_fault = false;
	}
}

/* Flags from memory: a program may set these, but its host would not get over it. */
static void tame_popf(const struct oracle_case *test, struct oracle_state *state)
{
	uint64_t at = state->gpr[4] - ORACLE_DATA;

	switch (test->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		break;
	default:
		return;
	}
	if (at + 1 < ORACLE_DATA_SIZE)
		state->data[at + 1] &= ~0x41; /* TF, NT */
	if (at + 2 < ORACLE_DATA_SIZE)
		state->data[at + 2] &= ~0x24; /* AC, ID */
}

/* Branches may have a bad target, strings a null segment, ENTER and PUSHA touch the stack in
 * several places: with #AC besides, which comes first is the processor's choice. */
static bool has_several_faults(const struct oracle_case *test)
{
	const ZydisDecodedInstruction *in = &test->instruction;

	return in->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
	       in->mnemonic == ZYDIS_MNEMONIC_ENTER || in->mnemonic == ZYDIS_MNEMONIC_PUSHA ||
	       in->mnemonic == ZYDIS_MNEMONIC_PUSHAD ||
	       (in->meta.category == ZYDIS_CATEGORY_STRINGOP &&
		       (in->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS));
}

void random_state(
	struct oracle_random *random, const struct oracle_case *test, struct oracle_state *state)
{
	for (unsigned i = 0; i < 16; i++)
		state->gpr[i] = random_integer(random);
	for (unsigned i = 0; i < 32; i++)
		random_bytes(random, state->zmm[i], 64);
	for (unsigned i = 0; i < 8; i++)
		state->opmask[i] =
			random_one_in(random, 4) ? random_integer(random) : random_u64(random);
	for (unsigned i = 0; i < ORACLE_DATA_SIZE; i += 256)
		random_bytes(random, state->data + i, 256);
	state->rip = ORACLE_CODE + test->offset;
	state->rflags = 0x202 | (random_u64(random) & FLAGS_RANDOM);
	if (random_one_in(random, 16) && !has_several_faults(test))
		state->rflags |= FLAG_AC;
	state->mxcsr = random_mxcsr(random);
	random_x87(random, state->x87);
	state->vector = 0;
	state->error = state->cr2 = 0;
	aim_operands(random, test, state);
	tame_popf(test, state);
	if (test->code_bits == 32) {
		for (unsigned i = 0; i < 16; i++)
			state->gpr[i] = i < 8 ? (uint32_t)state->gpr[i] : 0;
	}
}

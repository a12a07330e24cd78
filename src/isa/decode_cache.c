/* An instruction's shape is its bytes from the prefixes to SIB: all but displacement and immediate,
 * which are its last ones. decode_cached() finds out how many bytes that are, knowing of each
 * opcode no more than whether ModRM follows. Zydis is asked for one instruction of each shape, and
 * its answer is kept only where it says, too, that all other bytes are displacement and immediate,
 * and where nothing else depends on these. Then the answer for another of that shape differs in the
 * two numbers alone. */
#include "isa/decode_cache.h"

#include "base/bits.h"

#include <stdlib.h>
#include <string.h>

#define HASH_BITS    12
#define SHAPE_MAX    8 /* bytes: the key is one number */
#define OPERANDS_MAX 4
#define PREFIXES_MAX 4

/* ZydisDecodedInstruction without most of its places for prefixes. */
#define HEAD_SIZE offsetof(ZydisDecodedInstruction, raw.prefixes[PREFIXES_MAX])
#define TAIL      offsetof(ZydisDecodedInstruction, raw.encoding2)
#define TAIL_SIZE (sizeof(ZydisDecodedInstruction) - TAIL)

/* The bytes that shape_size() looks at. */
#define LOOK_AHEAD 12

struct shape {
	uint64_t key; /* the bytes, the first one lowest; 0: none is here */
	/* Where the two numbers are among the bytes; of size 0 where there is none. */
	uint8_t disp_offset, disp_size;
	uint8_t imm_offset, imm_size;
	bool imm_signed;
	/* Which operands have them; OPERANDS_MAX where none has. */
	uint8_t disp_operand, imm_operand;
	uint8_t length, operand_count;
	uint8_t head[HEAD_SIZE], tail[TAIL_SIZE]; /* of the answer */
	ZydisDecodedOperand operands[OPERANDS_MAX];
};

struct decode_cache {
	const struct cpu_model *model;
	struct shape shapes[1 << HASH_BITS];
};

struct decode_cache *decode_cache_create(const struct cpu_model *model)
{
	struct decode_cache *cache = calloc(1, sizeof(*cache));

	if (cache)
		cache->model = model;
	return cache;
}

void decode_cache_destroy(struct decode_cache *cache)
{
	free(cache);
}

/* --- shapes --- */

/* What a byte is at an opcode's place. */
enum {
	OPCODE,
	MODRM,  /* an opcode with ModRM */
	PREFIX, /* but not REX */
	REX,
	ESCAPE, /* 0F */
	VEX_2,
	VEX_3,
	EVEX,
};

#define M MODRM
#define P PREFIX
#define R REX
static const uint8_t one_byte[256] = {
	/* clang-format off */
	M, M, M, M, 0, 0, 0, 0, M, M, M, M, 0, 0, 0, ESCAPE,
	M, M, M, M, 0, 0, 0, 0, M, M, M, M, 0, 0, 0, 0,
	M, M, M, M, 0, 0, P, 0, M, M, M, M, 0, 0, P, 0,
	M, M, M, M, 0, 0, P, 0, M, M, M, M, 0, 0, P, 0,
	R, R, R, R, R, R, R, R, R, R, R, R, R, R, R, R,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, EVEX, M, P, P, P, P, 0, M, 0, M, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	M, M, 0, 0, VEX_3, VEX_2, M, M, 0, 0, 0, 0, 0, 0, 0, 0,
	M, M, M, M, 0, 0, 0, 0, M, M, M, M, M, M, M, M,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	P, 0, P, P, 0, 0, M, M, 0, 0, 0, 0, 0, 0, M, M,
	/* clang-format on */
};
#undef M
#undef P
#undef R

/* After 0F: a bit for each opcode without ModRM, by its high and its low 4 bits. */
static const uint16_t without_modrm[16] = {[0x0] = 0x4be0,
	[0x3] = 0x00ff,
	[0x7] = 0x0080,
	[0x8] = 0xffff,
	[0xa] = 0x0707,
	[0xc] = 0xff00};

static unsigned after_modrm(const uint8_t *bytes, unsigned at)
{
	unsigned modrm = bytes[at];

	return at + (modrm < 0xc0 && (modrm & 7) == 4 ? 2 : 1);
}

static unsigned after_0f(const uint8_t *bytes, unsigned at)
{
	unsigned opcode = bytes[at++];

	if (opcode == 0x38 || opcode == 0x3a)
		return after_modrm(bytes, at + 1);
	return without_modrm[opcode >> 4] >> (opcode & 15) & 1 ? at : after_modrm(bytes, at);
}

/* How many of the bytes make the shape, if this is an instruction. Looks at LOOK_AHEAD of them;
 * what is larger than SHAPE_MAX is no shape. */
static unsigned shape_size(const uint8_t *bytes)
{
	unsigned at = 0;

	while (one_byte[bytes[at]] == PREFIX && at < 4)
		at++;
	if (one_byte[bytes[at]] == REX)
		at++;
	switch (one_byte[bytes[at++]]) {
	case OPCODE:
		return at;
	case MODRM:
		return after_modrm(bytes, at);
	case ESCAPE:
		return after_0f(bytes, at);
	case VEX_2:
		return bytes[at + 1] == 0x77 ? at + 2 : after_modrm(bytes, at + 2);
	case VEX_3:
		return after_modrm(bytes, at + 3);
	case EVEX:
		return after_modrm(bytes, at + 4);
	default:
		return SHAPE_MAX + 1;
	}
}

/* --- an answer for another instruction of the shape --- */

/* A little-endian number of 1, 2, 4 or 8 bytes. */
static int64_t read_number(const uint8_t *bytes, unsigned size, bool is_signed)
{
	unsigned unused = 64 - 8 * size;
	uint64_t value = 0;

	memcpy(&value, bytes, size);
	return is_signed ? (int64_t)(value << unused) >> unused
			 : (int64_t)(value << unused >> unused);
}

static void fill_in(const struct shape *shape, const uint8_t *bytes, ZydisDecodedInstruction *in,
	ZydisDecodedOperand *operands)
{
	int64_t value;

	memcpy(in, shape->head, HEAD_SIZE);
	memcpy((uint8_t *)in + TAIL, shape->tail, TAIL_SIZE);
	for (unsigned i = 0; i < shape->operand_count; i++)
		operands[i] = shape->operands[i];
	if (shape->disp_size) {
		value = read_number(bytes + shape->disp_offset, shape->disp_size, true);
		in->raw.disp.value = value;
		if (shape->disp_operand < OPERANDS_MAX)
			operands[shape->disp_operand].mem.disp.value = value;
	}
	if (shape->imm_size) {
		value = read_number(bytes + shape->imm_offset, shape->imm_size, shape->imm_signed);
		in->raw.imm[0].value.s = value;
		if (shape->imm_operand < OPERANDS_MAX)
			operands[shape->imm_operand].imm.value.s = value;
	}
}

/* --- keeping one --- */

static bool is_kept(
	const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands, unsigned size)
{
	bool evex = in->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;

	if (in->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		in->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX && !evex)
		return false;
	if (in->operand_count > OPERANDS_MAX || in->raw.prefix_count > PREFIXES_MAX ||
		in->raw.imm[1].size ||
		in->length != size + in->raw.disp.size / 8u + in->raw.imm[0].size / 8u)
		return false;
	/* EVEX scales a short displacement. */
	if (evex && in->raw.disp.size == 8)
		return false;
	for (unsigned i = 0; i < in->operand_count; i++)
		if (operands[i].encoding == ZYDIS_OPERAND_ENCODING_IS4)
			return false; /* the immediate is a register's number */
	return true;
}

static void keep(struct shape *shape, uint64_t key, const ZydisDecodedInstruction *in,
	const ZydisDecodedOperand *operands)
{
	*shape = (struct shape){.key = key,
		.disp_offset = in->raw.disp.offset,
		.disp_size = in->raw.disp.size / 8,
		.imm_offset = in->raw.imm[0].offset,
		.imm_size = in->raw.imm[0].size / 8,
		.imm_signed = in->raw.imm[0].is_signed,
		.disp_operand = OPERANDS_MAX,
		.imm_operand = OPERANDS_MAX,
		.length = in->length,
		.operand_count = in->operand_count};
	memcpy(shape->head, in, HEAD_SIZE);
	memcpy(shape->tail, (const uint8_t *)in + TAIL, TAIL_SIZE);
	for (unsigned i = 0; i < in->operand_count; i++) {
		shape->operands[i] = operands[i];
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
			operands[i].mem.disp.has_displacement)
			shape->disp_operand = (uint8_t)i;
		if (operands[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			shape->imm_operand = (uint8_t)i;
	}
}

enum isa_status decode_cached(struct decode_cache *cache, const uint8_t *bytes, size_t available,
	ZydisDecodedInstruction *in, ZydisDecodedOperand *operands)
{
	struct shape *shape = NULL;
	enum isa_status status;
	unsigned size = 0;
	uint64_t key = 0;

	if (likely(available >= LOOK_AHEAD)) {
		size = shape_size(bytes);
		if (size <= SHAPE_MAX) {
			memcpy(&key, bytes, sizeof(key));
			key &= ~UINT64_C(0) >> (64 - 8 * size);
			shape = &cache->shapes[hash_slot(key, HASH_BITS)];
			if (shape->key == key && key && shape->length <= available) {
				fill_in(shape, bytes, in, operands);
				return ISA_DECODED;
			}
		}
	}
	status = isa_decode(ISA_64, cache->model, bytes, available, in, operands);
	if (status == ISA_DECODED && shape && is_kept(in, operands, size))
		keep(shape, key, in, operands);
	return status;
}

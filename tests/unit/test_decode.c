/* Instruction bytes as isa_decode() understands them, where Zydis alone does not, or not for the
 * vendor: every form of address, near branches with an operand size prefix, its four answers. */
#include "base/bits.h"
#include "isa/decode_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static ZydisDecodedInstruction in;
static ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

/* One with all features (main() sees to it), and an AMD processor with none. */
static struct cpu_model models[2] = {[1] = {.amd = true}};

static enum isa_status decode(enum isa_mode mode, bool amd, const void *bytes, size_t size)
{
	return isa_decode(mode, &models[amd], bytes, size, &in, operands);
}

#define DECODE(mode, amd, string) decode(mode, amd, string, sizeof(string) - 1)

static const ZydisDecodedOperand *memory_operand(void)
{
	for (unsigned i = 0; i < in.operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return &operands[i];
	fail_msg("no memory operand");
	return NULL;
}

/* --- addresses --- */

#define DISPLACEMENT UINT32_C(0x84332211)

enum encoding { LEGACY, VEX, EVEX, GATHER, ENCODINGS };

/* What is before ModRM; the bits are those of REX, `extend` its low three. Returns the size. */
static unsigned put_opcode(uint8_t *at, enum encoding encoding, bool narrow, unsigned extend)
{
	uint8_t inverted = (uint8_t)((~extend & 7) << 5), *start = at;

	if (narrow)
		*at++ = 0x67;
	switch (encoding) {
	case LEGACY: /* MOV r/m32, r32 */
		if (extend)
			*at++ = (uint8_t)(0x40 | extend);
		*at++ = 0x89;
		break;
	case VEX: /* VMOVUPS xmm, m128 */
		memcpy(at, (uint8_t[]){0xc4, inverted | 1, 0x78, 0x10}, 4);
		at += 4;
		break;
	case EVEX: /* the same */
		memcpy(at, (uint8_t[]){0x62, inverted | 0x11, 0x7c, 0x08, 0x10}, 5);
		at += 5;
		break;
	default: /* VGATHERDPS xmm, vm32x, xmm */
		memcpy(at, (uint8_t[]){0xc4, inverted | 2, 0x71, 0x92}, 4);
		at += 4;
	}
	return (unsigned)(at - start);
}

/* The base register of ModRM and SIB in 64-bit code (SDM vol. 2, 2.1.5 and 2.2.1). */
static ZydisRegister expected_base(bool narrow, unsigned b, uint8_t modrm, uint8_t sib)
{
	unsigned rm = (modrm & 7) == 4 ? sib & 7 : modrm & 7;
	bool displacement_only = modrm >> 6 == 0 && rm == 5;

	if (displacement_only && (modrm & 7) == 4)
		return ZYDIS_REGISTER_NONE;
	if (displacement_only)
		return narrow ? ZYDIS_REGISTER_EIP : ZYDIS_REGISTER_RIP;
	return (ZydisRegister)((narrow ? ZYDIS_REGISTER_EAX : ZYDIS_REGISTER_RAX) + rm + 8 * b);
}

static ZydisRegister expected_index(bool narrow, unsigned x, uint8_t modrm, uint8_t sib)
{
	unsigned index = (sib >> 3 & 7) + 8 * x;

	if ((modrm & 7) != 4 || index == 4)
		return ZYDIS_REGISTER_NONE;
	return (ZydisRegister)((narrow ? ZYDIS_REGISTER_EAX : ZYDIS_REGISTER_RAX) + index);
}

static void check_address(
	enum encoding encoding, bool narrow, unsigned extend, uint8_t modrm, uint8_t sib)
{
	uint8_t bytes[INSN_LENGTH_MAX + 4] = {0};
	unsigned size = put_opcode(bytes, encoding, narrow, extend);
	unsigned mod = modrm >> 6;
	const ZydisDecodedOperandMem *mem;
	ZydisRegister base = expected_base(narrow, extend & 1, modrm, sib);
	int64_t displacement = 0;
	uint32_t value = DISPLACEMENT;

	bytes[size++] = modrm;
	if ((modrm & 7) == 4)
		bytes[size++] = sib;
	memcpy(bytes + size, &value, 4);
	if (mod == 2 || (mod == 0 && (base == ZYDIS_REGISTER_NONE || base == ZYDIS_REGISTER_RIP ||
					     base == ZYDIS_REGISTER_EIP))) {
		displacement = (int32_t)DISPLACEMENT;
		size += 4;
	} else if (mod == 1) { /* EVEX counts in operands */
		displacement = (int8_t)DISPLACEMENT * (encoding == EVEX ? 16 : 1);
		size++;
	}
	if (decode(ISA_64, false, bytes, sizeof(bytes)) != ISA_DECODED)
		fail_msg("encoding %u, 67: %d, RXB %x, %02x %02x: not decoded", encoding, narrow,
			extend, modrm, sib);
	mem = &memory_operand()->mem;
	if (in.length != size || mem->base != base || mem->disp.value != displacement ||
		(encoding != GATHER &&
			mem->index != expected_index(narrow, extend >> 1 & 1, modrm, sib)))
		fail_msg("encoding %u, 67: %d, RXB %x, %02x %02x: %s + %s + %#lx, %u bytes",
			encoding, narrow, extend, modrm, sib, ZydisRegisterGetString(mem->base),
			ZydisRegisterGetString(mem->index), (long)mem->disp.value, in.length);
}

/* A gather has an index, and it must be neither its destination, here XMM8, nor its mask, XMM1. */
static bool is_gather(unsigned extend, unsigned modrm, unsigned sib)
{
	unsigned index = (sib >> 3 & 7) + (extend & 2 ? 8 : 0);

	return (modrm & 0x3f) == 4 && (extend & 4) && index != 8 && index != 1;
}

static void every_address_is_understood(void **state)
{
	for (unsigned i = 0; i < ENCODINGS * 8 * 0xc0 * 256 * 2; i++) {
		unsigned narrow = i & 1, sib = i >> 1 & 0xff, modrm = (i >> 9) % 0xc0;
		unsigned extend = (i >> 9) / 0xc0 & 7, encoding = (i >> 9) / 0xc0 / 8;

		if (((modrm & 7) == 4 || !sib) &&
			(encoding != GATHER || is_gather(extend, modrm, sib)))
			check_address(encoding, narrow, extend, (uint8_t)modrm, (uint8_t)sib);
	}
}

/* PUSH has two memory operands, and the one on the stack keeps its base. */
static void stack_operand_keeps_its_base(void **state)
{
	assert_int_equal(
		DECODE(ISA_64, false, "\x67\x41\xff\x34\x25\x11\x22\x33\x44"), ISA_DECODED);
	assert_int_equal(operands[0].mem.base, ZYDIS_REGISTER_NONE);
	assert_int_equal(operands[0].mem.disp.value, 0x44332211);
	for (unsigned i = in.operand_count_visible; i < in.operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			assert_int_equal(operands[i].mem.base, ZYDIS_REGISTER_RSP);
}

static void narrow_code_has_no_extensions(void **state)
{
	assert_int_equal(DECODE(ISA_32, false, "\x89\x04\x25\x11\x22\x33\x44"), ISA_DECODED);
	assert_int_equal(in.length, 7);
	assert_int_equal(memory_operand()->mem.base, ZYDIS_REGISTER_NONE);
	assert_int_equal(DECODE(ISA_16, false, "\x67\x89\x44\x25\x11"), ISA_DECODED);
	assert_int_equal(memory_operand()->mem.base, ZYDIS_REGISTER_EBP);
	assert_int_equal(DECODE(ISA_16, false, "\x89\x46\x11"), ISA_DECODED);
	assert_int_equal(memory_operand()->mem.base, ZYDIS_REGISTER_BP);
}

/* --- vendors --- */

/* Only AMD's processors take 66h as 16 bits of RIP: APM vol. 3, 1.2.2; SDM vol. 2, "Jcc". */
static void near_branches_are_the_vendors(void **state)
{
	static const struct {
		uint8_t bytes[4];
		uint8_t fixed; /* bytes before the displacement */
		bool byte;     /* the displacement is one, with both */
	} branches[] = {
		{{0x66, 0xe8}, 2, false},
		{{0x66, 0xe9}, 2, false},
		{{0x66, 0xeb}, 2, true},
		{{0x66, 0x74}, 2, true},
		{{0x66, 0x0f, 0x84}, 3, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(branches); i++) {
		uint8_t bytes[INSN_LENGTH_MAX] = {0};

		memcpy(bytes, branches[i].bytes, 4);
		assert_int_equal(decode(ISA_64, false, bytes, sizeof(bytes)), ISA_DECODED);
		assert_int_equal(in.length, branches[i].fixed + (branches[i].byte ? 1 : 4));
		assert_int_equal(in.operand_width, 64);
		assert_int_equal(decode(ISA_64, true, bytes, sizeof(bytes)), ISA_DECODED);
		assert_int_equal(in.length, branches[i].fixed + (branches[i].byte ? 1 : 2));
		assert_int_equal(in.operand_width, 16);
	}
	/* RET, and JMP through memory, too; REX.W outweighs 66h. */
	assert_int_equal(DECODE(ISA_64, true, "\x66\xc3"), ISA_DECODED);
	assert_int_equal(in.operand_width, 16);
	assert_int_equal(DECODE(ISA_64, false, "\x66\xc3"), ISA_DECODED);
	assert_int_equal(in.operand_width, 64);
	assert_int_equal(DECODE(ISA_64, true, "\x66\xff\x20"), ISA_DECODED);
	assert_int_equal(in.operand_width, 16);
	assert_int_equal(DECODE(ISA_64, true, "\x66\x48\xff\x20"), ISA_DECODED);
	assert_int_equal(in.operand_width, 64);
	assert_int_equal(DECODE(ISA_32, false, "\x66\xe9\x11\x22"), ISA_DECODED);
	assert_int_equal(in.length, 4);
}

static void unknown_extensions_are_nops(void **state)
{
	assert_int_equal(DECODE(ISA_64, false, "\x66\x0f\x1a\xc1"), ISA_DECODED);
	assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_NOP);
	assert_int_equal(DECODE(ISA_64, false, "\x0f\x1c\x00"), ISA_DECODED);
	assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_NOP);
}

/* --- answers --- */

static void bytes_may_be_too_few_or_too_many(void **state)
{
	uint8_t longest[16], nothing = 0x90;

	memset(longest, 0x66, sizeof(longest));
	longest[14] = 0x90;
	assert_int_equal(decode(ISA_64, false, longest, 16), ISA_DECODED);
	assert_int_equal(in.length, 15);
	assert_int_equal(decode(ISA_64, false, longest, 14), ISA_MORE);
	longest[14] = 0x66;
	longest[15] = 0x90;
	assert_int_equal(decode(ISA_64, false, longest, 15), ISA_TOO_LONG);
	assert_int_equal(decode(ISA_64, false, longest, 16), ISA_TOO_LONG);
	assert_int_equal(decode(ISA_64, false, &nothing, 0), ISA_MORE);
	assert_int_equal(DECODE(ISA_64, false, "\x48\xb8\x01\x02"), ISA_MORE);
	assert_int_equal(DECODE(ISA_64, false, "\x06"), ISA_UNDEFINED);
	assert_int_equal(DECODE(ISA_32, false, "\x06"), ISA_DECODED);
	assert_int_equal(DECODE(ISA_16, false, "\xb8\x11\x22"), ISA_DECODED);
	assert_int_equal(DECODE(ISA_32, false, "\xb8\x11\x22"), ISA_MORE);
}

/* F3 0F BC and BD, which processors without TZCNT and LZCNT take for BSF and BSR. */
static void test_bit_scans(void **state)
{
	assert_int_equal(DECODE(ISA_64, false, "\xf3\x0f\xbc\xc1"), ISA_DECODED);
	assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_TZCNT);
	assert_int_equal(DECODE(ISA_64, false, "\xf3\x0f\xbd\xc1"), ISA_DECODED);
	assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_LZCNT);
	assert_int_equal(DECODE(ISA_64, true, "\xf3\x0f\xbc\xc1"), ISA_DECODED);
	assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_BSF);
	assert_int_equal(in.raw.prefix_count, 0);
	assert_int_equal(in.length, 4);
	assert_int_equal(DECODE(ISA_64, true, "\x66\xf3\x48\x0f\xbd\xc1"), ISA_DECODED);
	assert_int_equal(in.mnemonic, ZYDIS_MNEMONIC_BSR);
	for (unsigned i = 0; i < in.raw.prefix_count; i++)
		assert_int_not_equal(in.raw.prefixes[i].value, 0xf3);
	assert_int_equal(in.raw.prefixes[0].value, 0x66);
}

/* --- features --- */

static enum isa_status decode_without(
	enum isa_mode mode, const uint8_t *bytes, size_t size, enum cpuid_feature feature)
{
	struct cpu_model model = models[0];

	model.features.word[CPUID_WORD(feature)] &= ~CPUID_BIT(feature);
	return isa_decode(mode, &model, bytes, size, &in, operands);
}

/* VL's are those of the shorter lengths, of each set (SDM vol. 1 15.2.1); not scalars, and not what
 * has one length only. */
static void short_evex_vectors_need_vl(void **state)
{
	static const uint8_t of_each_length[][6] = {
		{0xf1, 0x7c, 0x08, 0x28, 0xc1}, /* avx512f: vmovaps */
		{0xf1, 0x75, 0x08, 0xfc, 0xc2}, /* avx512bw: vpaddb */
		{0xf1, 0xf5, 0x08, 0x54, 0xc2}, /* avx512dq: vandpd */
		{0xf2, 0x7d, 0x08, 0x44, 0xc1}, /* avx512cd: vplzcntd */
		{0xf2, 0xf5, 0x08, 0xb4, 0xc2}, /* avx512ifma: vpmadd52luq */
		{0xf2, 0x75, 0x08, 0x8d, 0xc2}, /* avx512vbmi: vpermb */
		{0xf3, 0x75, 0x08, 0x71, 0xc2}, /* avx512vbmi2: vpshldd */
		{0xf2, 0x75, 0x08, 0x50, 0xc2}, /* avx512vnni: vpdpbusd */
		{0xf2, 0x7d, 0x08, 0x54, 0xc1}, /* avx512bitalg: vpopcntb */
		{0xf2, 0x7d, 0x08, 0x55, 0xc1}, /* avx512-vpopcntdq: vpopcntd */
		{0xf2, 0x76, 0x08, 0x52, 0xc2}, /* avx512-bf16: vdpbf16ps */
		{0xf2, 0x75, 0x08, 0xcf, 0xc2}, /* gfni: vgf2p8mulb */
		{0xf2, 0x75, 0x08, 0xdc, 0xc2}, /* vaes: vaesenc */
		{0xf3, 0x75, 0x08, 0x44, 0xc2}, /* vpclmulqdq */
	};
	static const uint8_t of_one_length[][6] = {
		{0xf1, 0x76, 0x08, 0x58, 0xc2}, /* vaddss */
		{0xf1, 0x7d, 0x08, 0x6e, 0xc1}, /* vmovd */
		{0xf1, 0x75, 0x08, 0xc4, 0xc2}, /* vpinsrw */
		{0xf3, 0x75, 0x08, 0x22, 0xc2}, /* vpinsrd */
		{0xf3, 0xf5, 0x08, 0x51, 0xc2}, /* vrangesd */
	};

	for (size_t i = 0; i < ARRAY_SIZE(of_each_length); i++)
		for (unsigned length = 0; length < 3; length++) {
			uint8_t bytes[INSN_LENGTH_MAX] = {0x62};

			memcpy(bytes + 1, of_each_length[i], 6);
			bytes[3] |= (uint8_t)(length << 5);
			assert_int_equal(decode(ISA_64, false, bytes, sizeof(bytes)), ISA_DECODED);
			assert_int_equal(in.avx.vector_length, 128 << length);
			assert_int_equal(
				decode_without(ISA_64, bytes, sizeof(bytes), CPUID_AVX512VL),
				length == 2 ? ISA_DECODED : ISA_UNDEFINED);
			if (length == 2)
				assert_int_equal(
					decode_without(ISA_64, bytes, sizeof(bytes), CPUID_AVX512F),
					ISA_UNDEFINED);
		}
	for (size_t i = 0; i < ARRAY_SIZE(of_one_length); i++) {
		uint8_t bytes[INSN_LENGTH_MAX] = {0x62};

		memcpy(bytes + 1, of_one_length[i], 6);
		assert_int_equal(
			decode_without(ISA_64, bytes, sizeof(bytes), CPUID_AVX512VL), ISA_DECODED);
	}
}

/* In 64-bit mode only are LAHF and SAHF a feature (SDM vol. 2, LAHF). */
static void lahf_is_a_feature_of_64_bit_mode(void **state)
{
	static const uint8_t lahf[1] = {0x9f};

	assert_int_equal(decode_without(ISA_64, lahf, 1, CPUID_LAHF), ISA_UNDEFINED);
	assert_int_equal(decode_without(ISA_32, lahf, 1, CPUID_LAHF), ISA_DECODED);
	assert_int_equal(decode_without(ISA_16, lahf, 1, CPUID_LAHF), ISA_DECODED);
}

/* --- the cache --- */

static struct decode_cache *cache;
static uint64_t tail_state = 1;

static void random_tail(uint8_t *at, const uint8_t *end)
{
	while (at < end) {
		tail_state = tail_state * UINT64_C(6364136223846793005) + 1442695040888963407;
		*at++ = (uint8_t)(tail_state >> 56);
	}
}

static bool same_instruction(const ZydisDecodedInstruction *other)
{
	size_t used = offsetof(ZydisDecodedInstruction, raw.prefixes[in.raw.prefix_count]);
	size_t tail = offsetof(ZydisDecodedInstruction, raw.encoding2);

	return memcmp(&in, other, used) == 0 &&
	       memcmp((uint8_t *)&in + tail, (const uint8_t *)other + tail, sizeof(in) - tail) == 0;
}

/* The cached answer is the other's, also where the bytes end within the instruction. */
static void compare_cached(const uint8_t *bytes, size_t size)
{
	ZydisDecodedOperand cached_operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction cached;
	enum isa_status status = decode(ISA_64, false, bytes, size);

	assert_int_equal(decode_cached(cache, bytes, size, &cached, cached_operands), status);
	if (status != ISA_DECODED)
		return;
	assert_true(same_instruction(&cached));
	assert_memory_equal(operands, cached_operands, in.operand_count * sizeof(operands[0]));
	assert_int_equal(
		decode_cached(cache, bytes, in.length - 1u, &cached, cached_operands), ISA_MORE);
}

/* Two instructions each that differ in what comes after ModRM and SIB. */
static void cached_answers_are_the_same(void **state)
{
	static const char *const prefixes[] = {
		"", "\x66", "\xf2", "\xf3", "\x48", "\x67\x45", "\x64\x66\x41", "\xf0\xf3\x2e\x3e"};
	static const char *const maps[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a", "\xc5\xf8",
		"\xc4\xe1\xf9", "\xc4\xe2\x7d", "\xc4\xe3\x79", "\x62\xf1\x7c\x48"};
	static const uint8_t rm[] = {0, 4, 5};

	cache = decode_cache_create(&models[0]);
	assert_non_null(cache);
	for (unsigned i = 0; i < ARRAY_SIZE(prefixes) * ARRAY_SIZE(maps) << 13; i++) {
		const char *map = maps[(i >> 13) % ARRAY_SIZE(maps)];
		const char *prefix = prefixes[(i >> 13) / ARRAY_SIZE(maps)];
		uint8_t bytes[24];
		uint8_t *at = bytes;

		at = (uint8_t *)stpcpy((char *)at, prefix);
		at = (uint8_t *)stpcpy((char *)at, map);
		*at++ = (uint8_t)i; /* opcode */
		for (unsigned k = 0; k < ARRAY_SIZE(rm); k++) {
			at[0] = (uint8_t)(i >> 8 << 3) | rm[k];
			at[1] = 0x25; /* SIB, where it is one */
			for (unsigned turn = 0; turn < 2; turn++) {
				random_tail(at + 2, bytes + sizeof(bytes));
				compare_cached(bytes, INSN_LENGTH_MAX);
			}
		}
	}
	decode_cache_destroy(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_address_is_understood),
		cmocka_unit_test(stack_operand_keeps_its_base),
		cmocka_unit_test(narrow_code_has_no_extensions),
		cmocka_unit_test(near_branches_are_the_vendors),
		cmocka_unit_test(unknown_extensions_are_nops),
		cmocka_unit_test(test_bit_scans),
		cmocka_unit_test(short_evex_vectors_need_vl),
		cmocka_unit_test(lahf_is_a_feature_of_64_bit_mode),
		cmocka_unit_test(bytes_may_be_too_few_or_too_many),
		cmocka_unit_test(cached_answers_are_the_same),
	};

	memset(&models[0].features, 0xff, sizeof(models[0].features));
	return cmocka_run_group_tests(tests, NULL, NULL);
}

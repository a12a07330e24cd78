#include "isa/decode.h"

#include "base/bits.h"
#include "isa/feature.h"

#include <pthread.h>

/* The properties by which the decoders in the table differ. */
enum { FOR_AMD = 1, NO_TZCNT = 2, NO_LZCNT = 4, VARIANTS = 8 };

static ZydisDecoder decoders[VARIANTS][ISA_MODES];

static void set_up_decoders(void)
{
	static const struct {
		ZydisMachineMode mode;
		ZydisStackWidth stack;
	} modes[ISA_MODES] = {
		[ISA_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
		[ISA_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
		[ISA_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
	};

	for (unsigned variant = 0; variant < VARIANTS; variant++)
		for (unsigned mode = 0; mode < ISA_MODES; mode++) {
			ZydisDecoder *decoder = &decoders[variant][mode];

			ZydisDecoderInit(decoder, modes[mode].mode, modes[mode].stack);
			ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
			ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
			ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES,
				variant & FOR_AMD ? ZYAN_TRUE : ZYAN_FALSE);
			ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_TZCNT,
				variant & NO_TZCNT ? ZYAN_FALSE : ZYAN_TRUE);
			ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_LZCNT,
				variant & NO_LZCNT ? ZYAN_FALSE : ZYAN_TRUE);
		}
}

/* A SIB byte with base 101b, where ModRM.mod is 00, has a displacement instead of a base, whatever
 * REX.B, VEX.B or EVEX.B says (SDM vol. 2, table 2-3, and 2.2.1.2). Where that bit is set and the
 * address has 32 bits, Zydis 4.0 finds the base R13D and no displacement; the length and the raw
 * displacement are right. */
static void correct_base(const ZydisDecodedInstruction *in, ZydisDecodedOperand *operands)
{
	if (likely(!(in->attributes & ZYDIS_ATTRIB_HAS_SIB)) || in->raw.modrm.mod != 0 ||
		in->raw.sib.base != 5)
		return;
	/* The stack operand of PUSH and POP, a hidden one, has a base. */
	for (unsigned i = 0; i < in->operand_count_visible; i++) {
		ZydisDecodedOperandMem *mem = &operands[i].mem;

		if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		mem->base = ZYDIS_REGISTER_NONE;
		mem->disp.has_displacement = ZYAN_TRUE;
		mem->disp.value = in->raw.disp.value;
	}
}

/* Zydis gives the operand width of near branches as on Intel's processors, even with its option for
 * AMD's branches. */
static void correct_width(ZydisDecodedInstruction *in)
{
	if (in->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 &&
		(in->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) && !in->raw.rex.W &&
		in->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		(in->meta.branch_type == ZYDIS_BRANCH_TYPE_SHORT ||
			in->meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR))
		in->operand_width = 16;
}

/* BSF and BSR ignore F3h; but a copy of theirs with that prefix would be TZCNT or LZCNT on a
 * host that has these. */
static void drop_repeat(ZydisDecodedInstruction *in)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < in->raw.prefix_count; i++)
		if (in->raw.prefixes[i].value != 0xf3)
			in->raw.prefixes[kept++] = in->raw.prefixes[i];
	in->raw.prefix_count = (ZyanU8)kept;
}

static unsigned variant_of(const struct cpu_model *model)
{
	if (!model)
		return 0;
	return (model->amd ? FOR_AMD : 0) | (cpu_model_has(model, CPUID_BMI1) ? 0 : NO_TZCNT) |
	       (cpu_model_has(model, CPUID_LZCNT) ? 0 : NO_LZCNT);
}

enum isa_status isa_decode(enum isa_mode mode, const struct cpu_model *model, const uint8_t *bytes,
	size_t available, ZydisDecodedInstruction *in, ZydisDecodedOperand *operands)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	unsigned variant = variant_of(model);
	ZyanStatus status;

	pthread_once(&once, set_up_decoders);
	available = MIN(available, INSN_LENGTH_MAX);
	status = ZydisDecoderDecodeFull(&decoders[variant][mode], bytes, available, in, operands);
	if (status == ZYDIS_STATUS_NO_MORE_DATA)
		return available < INSN_LENGTH_MAX ? ISA_MORE : ISA_TOO_LONG;
	if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return ISA_TOO_LONG;
	if (ZYAN_FAILED(status) || (model && !isa_is_offered(model, in)))
		return ISA_UNDEFINED;
	correct_base(in, operands);
	if (variant & FOR_AMD)
		correct_width(in);
	if (in->mnemonic == ZYDIS_MNEMONIC_BSF || in->mnemonic == ZYDIS_MNEMONIC_BSR)
		drop_repeat(in);
	return ISA_DECODED;
}

unsigned isa_operand_bytes(
	bool amd, const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operand)
{
	if (in->mnemonic == ZYDIS_MNEMONIC_MOVSXD && in->operand_width == 16 && !amd)
		return 2;
	return operand->size / 8;
}

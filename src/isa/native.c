/* An instruction has to pass three tests. The instruction set must be one that is known here
 * (isa/feature.h). That the guest's CPUID shows it too, so that an instruction the guest has not
 * been promised is #UD whatever the host makes of it, the decoder has seen to. The category and
 * mnemonic must be of those that touch nothing but registers, flags and one ordinary memory
 * operand. And every operand must be of a kind that is known here: that keeps out what the first
 * two overlooked. */
#include "isa/native.h"

#include "cpu/cpu.h"
#include "cpu/fpu.h"
#include "isa/decode.h"
#include "isa/feature.h"
#include "isa/register.h"

#include <string.h>

/* --- categories and mnemonics --- */

static bool is_plain(const ZydisDecodedInstruction *in)
{
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_CET:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_IO:
	case ZYDIS_CATEGORY_IOSTRINGOP:
	case ZYDIS_CATEGORY_POP:
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_SEGOP:
	case ZYDIS_CATEGORY_STRINGOP:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_XSAVE:
	case ZYDIS_CATEGORY_XSAVEOPT:
		return false;
	case ZYDIS_CATEGORY_DECIMAL: /* not in 64-bit mode, which the host is in */
		return false;
	default:
		break;
	}
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_LEAVE:
	case ZYDIS_MNEMONIC_XLAT:
	case ZYDIS_MNEMONIC_LEA:
	case ZYDIS_MNEMONIC_CLD:
	case ZYDIS_MNEMONIC_STD:
	case ZYDIS_MNEMONIC_CLI:
	case ZYDIS_MNEMONIC_STI:
	case ZYDIS_MNEMONIC_SALC:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FLDENV:
		return false;
	default:
		return !(in->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED);
	}
}

/* --- instructions that a routine does --- */

/* Is it one? Fills in the rules for it. */
static bool select_emulated(const struct cpu_model *model, const ZydisDecodedInstruction *in,
	struct native_rules *rules)
{
	bool vex = in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

	rules->check = FPU_CLASS_NONE;
	rules->memory = NATIVE_NO_MEMORY;
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_VZEROALL:
		rules->check = FPU_CLASS_AVX;
		return true;
	case ZYDIS_MNEMONIC_VZEROUPPER:
		rules->check = FPU_CLASS_AVX;
		return true;
	case ZYDIS_MNEMONIC_FNINIT:
		rules->check = FPU_CLASS_X87;
		return true;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
		rules->check = vex ? FPU_CLASS_AVX : FPU_CLASS_SSE;
		rules->memory = NATIVE_READ;
		rules->memory_size = rules->natural_alignment = 4;
		return true;
	case ZYDIS_MNEMONIC_STMXCSR:
	case ZYDIS_MNEMONIC_VSTMXCSR:
		rules->check = vex ? FPU_CLASS_AVX : FPU_CLASS_SSE;
		rules->memory = NATIVE_WRITE;
		rules->memory_size = rules->natural_alignment = 4;
		return true;
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB:
		/* Nothing to flush, but the address must be good. */
		rules->memory = NATIVE_READ;
		rules->memory_size = 1;
		return true;
	default:
		break;
	}
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_PREFETCH:
	case ZYDIS_CATEGORY_PREFETCHWT1:
	case ZYDIS_CATEGORY_WIDENOP:
		/* 0F 0D with a register, a prefetch of nothing, is undefined on AMD's processors.
		 */
		return in->opcode != 0x0d || in->raw.modrm.mod != 3 || !model->amd;
	default:
		return false;
	}
}

/* --- operands --- */

#define ACTION_WRITE (ZYDIS_OPERAND_ACTION_WRITE | ZYDIS_OPERAND_ACTION_CONDWRITE)

static bool plan_vector(struct native *n, const ZydisDecodedOperand *op, unsigned width)
{
	unsigned number = ZydisRegisterGetId(op->reg.value);
	bool merges = n->instruction->avx.mask.mode == ZYDIS_MASK_MODE_MERGING ||
		      n->instruction->avx.mask.mode == ZYDIS_MASK_MODE_CONTROL;

	/* Load every register of which some old part may remain: all but those that a VEX
	 * instruction overwrites wholly. */
	if (op->actions != ZYDIS_OPERAND_ACTION_WRITE || !n->vex || merges)
		n->vector_load |= BIT(number);
	if (op->actions & ACTION_WRITE)
		n->vector_written |= BIT(number);
	n->vector_width[number] = MAX(n->vector_width[number], width);
	if (number < 16 && width > 16)
		n->wide = true;
	return !(op->attributes & ZYDIS_OATTRIB_IS_MULTISOURCE4);
}

static bool plan_register(struct native *n, const ZydisDecodedOperand *op)
{
	ZydisRegister reg = op->reg.value;
	ZydisRegisterClass class = isa_register_class(reg);
	unsigned number;

	n->classes |= BIT(class);
	switch (class) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		number = isa_gpr_number(reg);
		n->gpr_used |= BIT(number);
		if (op->actions & ACTION_WRITE)
			n->gpr_written |= BIT(number);
		if (isa_is_high_byte(reg))
			n->high_byte = true;
		return true;
	case ZYDIS_REGCLASS_XMM:
		return plan_vector(n, op, 16);
	case ZYDIS_REGCLASS_YMM:
		return plan_vector(n, op, 32);
	case ZYDIS_REGCLASS_ZMM:
		return plan_vector(n, op, 64);
	case ZYDIS_REGCLASS_MASK:
		number = ZydisRegisterGetId(reg);
		/* As a writemask K0 means none. */
		if (op->encoding == ZYDIS_OPERAND_ENCODING_MASK && number == 0)
			return true;
		n->mask_load |= BIT(number);
		if (op->actions & ACTION_WRITE)
			n->mask_written |= BIT(number);
		return true;
	case ZYDIS_REGCLASS_X87:
	case ZYDIS_REGCLASS_MMX:
	case ZYDIS_REGCLASS_FLAGS:
		return true;
	default:
		return reg == ZYDIS_REGISTER_MXCSR || reg == ZYDIS_REGISTER_X87CONTROL ||
		       reg == ZYDIS_REGISTER_X87STATUS || reg == ZYDIS_REGISTER_X87TAG;
	}
}

static bool plan_memory(struct native *n, unsigned index)
{
	const ZydisDecodedOperand *op = &n->operands[index];

	if (n->memory != NO_OPERAND || op->mem.type == ZYDIS_MEMOP_TYPE_AGEN ||
		op->mem.type == ZYDIS_MEMOP_TYPE_MIB)
		return false;
	n->memory = (int)index;
	if (op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
		n->implicit_memory = true;
		return n->instruction->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ||
		       n->instruction->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
		       n->instruction->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
	}
	return true;
}

static bool plan_operands(struct native *n)
{
	for (unsigned i = 0; i < n->instruction->operand_count; i++) {
		const ZydisDecodedOperand *op = &n->operands[i];

		switch (op->type) {
		case ZYDIS_OPERAND_TYPE_REGISTER:
			if (!plan_register(n, op))
				return false;
			break;
		case ZYDIS_OPERAND_TYPE_MEMORY:
			if (!plan_memory(n, i))
				return false;
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			if (op->imm.is_relative)
				return false;
			break;
		default:
			return false;
		}
	}
	return true;
}

static void plan_flags(struct native *n)
{
	const ZydisAccessedFlags *flags = n->instruction->cpu_flags;
	uint32_t sure, any;

	if (!flags)
		return;
	sure = (flags->modified | flags->set_0 | flags->set_1) & RFLAGS_ARITHMETIC;
	any = sure | (flags->undefined & RFLAGS_ARITHMETIC);
	n->flags_store = any;
	/* A flag that is written only sometimes, or is undefined afterwards, may keep its old
	 * value, so the old flags are loaded. */
	n->flags_load = (flags->tested & RFLAGS_ARITHMETIC) || (any && sure != RFLAGS_ARITHMETIC);
}

/* --- memory operands --- */

/* Legacy SSE instructions whose 16-byte operand may be anywhere. */
static bool is_unaligned_sse(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return true;
	default:
		return false;
	}
}

/* Moves that check alignment by definition, also where MXCSR.MM is set. */
static bool is_aligned_move(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVDQA32:
	case ZYDIS_MNEMONIC_VMOVDQA64:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		return true;
	default:
		return false;
	}
}

static void select_alignment(struct native *n)
{
	const ZydisDecodedInstruction *in = n->instruction;

	if (is_aligned_move(in->mnemonic)) {
		n->rules.alignment = n->rules.memory_size;
	} else if (!n->vex && n->rules.check == FPU_CLASS_SSE && n->rules.memory_size == 16 &&
		   !n->implicit_memory && !is_unaligned_sse(in->mnemonic) &&
		   !(in->meta.isa_set == ZYDIS_ISA_SET_SHA && n->model->amd)) {
		n->rules.alignment = 16;
		n->rules.misaligned_mode = true;
	}
}

/* The decoder's exception classes, where it has them right. */
static bool suppresses_faults(const ZydisDecodedInstruction *in)
{
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_VGF2P8AFFINEQB:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB:
	case ZYDIS_MNEMONIC_VDBPSADBW:
	case ZYDIS_MNEMONIC_VCVTNE2PS2BF16:
		return false;
	default:
		break;
	}
	switch (in->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E4:
	case ZYDIS_EXCEPTION_CLASS_E5:
	case ZYDIS_EXCEPTION_CLASS_E6:
	case ZYDIS_EXCEPTION_CLASS_E10:
	case ZYDIS_EXCEPTION_CLASS_E11:
		return true;
	default:
		return false;
	}
}

static bool is_vector_mask_move(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return true;
	default:
		return false;
	}
}

/* An EVEX mask: one bit for each element that is computed. How many that are, and how many lie in
 * memory, differs for scalars, broadcasts, and conversions to another size. */
static struct native_elements opmask_elements(const struct native *n)
{
	const ZydisDecodedInstruction *in = n->instruction;
	const ZydisDecodedOperand *memory = &n->operands[n->memory];
	const ZydisDecodedOperand *target = &n->operands[0];
	unsigned count = memory->element_count, memory_count = count;
	bool expand = in->meta.category == ZYDIS_CATEGORY_EXPAND ||
		      in->mnemonic == ZYDIS_MNEMONIC_VPEXPANDB ||
		      in->mnemonic == ZYDIS_MNEMONIC_VPEXPANDW;

	if (in->avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID) {
		count = target->size / target->element_size;
		memory_count = 1;
		if (!in->avx.broadcast.is_static)
			count = MIN(count, in->avx.vector_length / memory->element_size);
		else if (memory->size > target->element_size)
			memory_count = memory->size / target->element_size;
	}
	return (struct native_elements){.kind = expand ? ELEMENTS_EXPAND : ELEMENTS_OPMASK,
		.mask = ZydisRegisterGetId(in->avx.mask.reg),
		.count = count,
		.memory_count = memory_count,
		.size = n->rules.memory_size / memory_count};
}

/* Which elements a mask lets through to memory. This has to be known for loads only: what a store
 * wrote is found out by running it twice. */
static void select_masked(struct native *n)
{
	const ZydisDecodedInstruction *in = n->instruction;
	const ZydisDecodedOperand *memory = &n->operands[n->memory];
	bool write = memory->actions & ACTION_WRITE;

	if (is_vector_mask_move(in->mnemonic)) {
		unsigned size = memory->element_size / 8;

		n->elements = (struct native_elements){.kind = ELEMENTS_VECTOR,
			.size = size,
			.mask = ZydisRegisterGetId(n->operands[1].reg.value),
			.count = n->rules.memory_size / size,
			.memory_count = n->rules.memory_size / size};
	} else if (in->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX &&
		   (write || suppresses_faults(in)) && in->avx.mask.reg != ZYDIS_REGISTER_NONE &&
		   in->avx.mask.reg != ZYDIS_REGISTER_K0) {
		n->elements = opmask_elements(n);
	} else if (!n->implicit_memory && !n->rules.computes_first) {
		return;
	}
	/* MASKMOVDQU is allowed to fault on all of its operand (SDM vol. 2), and does on AMD's. */
	n->elements.suppresses = in->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX
					 ? suppresses_faults(in)
					 : !n->implicit_memory;
	n->elements.segment = memory->mem.segment - ZYDIS_REGISTER_ES;
	n->rules.memory = write ? NATIVE_MASKED_WRITE : NATIVE_MASKED_READ;
}

/* Between vectors of half and of single precision (F16C and AVX-512). */
static bool is_half_conversion(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_VCVTPH2PS || mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH;
}

/* The alignment that an operand must have where EFLAGS.AC is in force. The manuals define it for
 * general registers, and the vendors differ on vectors. Intel's processors check operands of up to
 * 8 bytes for their size, except half-precision conversions, and no longer ones. AMD's check up to
 * 16 bytes; where a mask suppresses faults, and for compressed stores, they check for the size of
 * an element. Both found by experiment. */
static unsigned natural_alignment(const struct native *n)
{
	const ZydisDecodedOperand *memory = &n->operands[n->memory];
	unsigned size = n->rules.memory_size;

	if (n->elements.kind == ELEMENTS_VECTOR)
		return 1;
	if (n->implicit_memory || size == 10)
		return 8;
	if (!n->model->amd)
		return size <= 8 && !is_half_conversion(n->instruction->mnemonic) ? size : 1;
	if (n->elements.suppresses)
		size = n->elements.size;
	else if (n->instruction->meta.category == ZYDIS_CATEGORY_COMPRESS)
		size = memory->element_size / 8;
	return MIN(size & -size, 16);
}

static bool select_indexed(struct native *n)
{
	const ZydisDecodedInstruction *in = n->instruction;
	const ZydisDecodedOperand *memory = &n->operands[n->memory];
	bool evex = in->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	bool scatter = memory->actions & ACTION_WRITE;
	const ZydisDecodedOperand *data = &n->operands[scatter ? 2 : 0];
	const ZydisDecodedOperand *mask = &n->operands[evex ? 1 : 2];
	unsigned size = memory->element_size / 8;
	unsigned index_size = in->opcode & 1 ? 8 : 4;
	unsigned width = in->avx.vector_length / 8;

	if (in->operand_count < 3 || data->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false; /* a gather prefetch */
	n->elements = (struct native_elements){.kind = ELEMENTS_INDEXED,
		.mask = ZydisRegisterGetId(mask->reg.value),
		.count = width / MAX(size, index_size),
		.size = size,
		.data = ZydisRegisterGetId(data->reg.value),
		.index = ZydisRegisterGetId(memory->mem.index),
		.index_size = index_size,
		.scale = memory->mem.scale,
		.vector_size = width,
		.segment = memory->mem.segment - ZYDIS_REGISTER_ES,
		.address_bits = in->address_width,
		.vector_mask = !evex,
		.scatter = scatter};
	n->rules.memory = NATIVE_GATHER;
	n->rules.memory_size = size;
	return true;
}

static bool select_memory(struct native *n)
{
	const ZydisDecodedInstruction *in = n->instruction;
	const ZydisDecodedOperand *op = &n->operands[n->memory];
	bool read = op->actions & (ZYDIS_OPERAND_ACTION_READ | ZYDIS_OPERAND_ACTION_CONDREAD);
	bool write = op->actions & ACTION_WRITE;

	if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
		return select_indexed(n);
	if (op->size < 8 || op->size > 512)
		return false;
	/* A bit string: the bit offset moves the address. */
	if (in->meta.category == ZYDIS_CATEGORY_BITBYTE && in->operand_count > 1 &&
		(in->mnemonic == ZYDIS_MNEMONIC_BT || in->mnemonic == ZYDIS_MNEMONIC_BTS ||
			in->mnemonic == ZYDIS_MNEMONIC_BTR || in->mnemonic == ZYDIS_MNEMONIC_BTC) &&
		n->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	n->rules.memory = read && write ? NATIVE_READ_WRITE : write ? NATIVE_WRITE : NATIVE_READ;
	n->rules.memory_size = (uint8_t)isa_operand_bytes(n->model->amd, in, op);
	n->rules.locked =
		(in->attributes & ZYDIS_ATTRIB_HAS_LOCK) || in->mnemonic == ZYDIS_MNEMONIC_XCHG;
	select_alignment(n);
	n->rules.computes_first = in->mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH && !n->model->amd;
	select_masked(n);
	n->rules.natural_alignment = natural_alignment(n);
	return true;
}

/* --- classes --- */

static bool uses_mmx(const struct native *n)
{
	return n->classes & BIT(ZYDIS_REGCLASS_MMX);
}

static enum fpu_class select_class(const struct native *n)
{
	const ZydisDecodedInstruction *in = n->instruction;
	bool vector = n->classes &
		      (BIT(ZYDIS_REGCLASS_XMM) | BIT(ZYDIS_REGCLASS_YMM) | BIT(ZYDIS_REGCLASS_ZMM));
	bool mask = n->classes & BIT(ZYDIS_REGCLASS_MASK), mmx = uses_mmx(n);

	if (in->mnemonic == ZYDIS_MNEMONIC_FWAIT)
		return FPU_CLASS_WAIT;
	/* By opcode: the decoder counts FISTTP as SSE3. */
	if (in->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (in->opcode & 0xf8) == 0xd8)
		return FPU_CLASS_X87;
	if (in->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || mask)
		return FPU_CLASS_AVX512;
	if (in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		return vector ? FPU_CLASS_AVX : FPU_CLASS_VEX;
	if (vector)
		return FPU_CLASS_SSE;
	/* CVTPD2PI and such from memory name no XMM register, but compute with MXCSR. */
	if (mmx && in->meta.category == ZYDIS_CATEGORY_CONVERT)
		return FPU_CLASS_SSE;
	return mmx || in->mnemonic == ZYDIS_MNEMONIC_EMMS ? FPU_CLASS_MMX : FPU_CLASS_NONE;
}

/* Control instructions leave the last instruction and operand pointers alone. */
static bool records_pointers(const ZydisDecodedInstruction *in, enum fpu_class class)
{
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW:
		return false;
	default:
		return class == FPU_CLASS_X87;
	}
}

static bool is_encoding_known(const ZydisDecodedInstruction *in)
{
	return in->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
	       in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ||
	       in->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
}

/* The x87's last opcode, and whether the instruction raises what is pending. */
static void select_x87(struct native *n)
{
	const ZydisDecodedInstruction *in = n->instruction;

	n->rules.x87 = records_pointers(in, n->rules.check);
	if (n->rules.x87)
		n->rules.fop = (uint16_t)((in->opcode & 7) << 8 | n->bytes[in->raw.modrm.offset]);
	n->rules.waits =
		(n->rules.check == FPU_CLASS_X87 && in->mnemonic != ZYDIS_MNEMONIC_FNSTCW &&
			in->mnemonic != ZYDIS_MNEMONIC_FNSTSW) ||
		n->rules.check == FPU_CLASS_MMX || uses_mmx(n);
}

bool native_select(const struct cpu_model *model, const ZydisDecodedInstruction *in,
	const ZydisDecodedOperand *operands, const uint8_t *bytes, struct native *n)
{
	*n = (struct native){.model = model,
		.instruction = in,
		.operands = operands,
		.bytes = bytes,
		.rules = {.alignment = 1, .natural_alignment = 1},
		.memory = NO_OPERAND,
		.vex = in->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY};
	if (!isa_set_is_native(in) || !is_plain(in))
		return false;
	n->emulated = select_emulated(model, in, &n->rules);
	if (n->emulated)
		return true;
	if (!is_encoding_known(in) || !plan_operands(n))
		return false;
	n->rules.check = select_class(n);
	select_x87(n);
	if (n->memory != NO_OPERAND && !select_memory(n))
		return false;
	n->emulated = n->rules.memory == NATIVE_GATHER;
	plan_flags(n);
	return true;
}

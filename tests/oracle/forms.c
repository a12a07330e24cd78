/* Every instruction encoding, tried: all opcodes of all maps, with every combination of the
 * prefixes and fields that select an operation, are given to the decoder. What it accepts, and what
 * a program may safely do on the host, is sorted into forms: one mnemonic with one list of operand
 * kinds and sizes. The first encoding that yields a form stands for it. */
#include "oracle.h"

#include "cpu/cpuid.h"
#include "isa/decode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEGACY, VEX, EVEX };

/* The fields that select a form. */
struct oracle_form {
	uint64_t key;
	ZydisMnemonic mnemonic;
	ZydisISAExt isa_ext;
	uint8_t kind;
	uint8_t prefix[3], prefixes; /* 66, F2, F3, F0 */
	uint8_t map, opcode;
	uint8_t w, pp, length, b, z, mask;
	bool memory;
	uint8_t reg, rm;
};

/* The other fields of an instance. */
struct choice {
	uint8_t reg, rm, mod, sib, vvvv;
	uint8_t r, x, b, r2, v2, mask;
	uint8_t segment, address_size; /* prefixes, or 0 */
	uint8_t tail[16];              /* displacement and immediates */
};

/* --- encoding --- */

static unsigned encode_prefix(
	const struct oracle_form *form, const struct choice *c, bool wide, uint8_t *out)
{
	unsigned n = 0;

	if (c->segment)
		out[n++] = c->segment;
	if (c->address_size)
		out[n++] = c->address_size;
	for (unsigned i = 0; i < form->prefixes; i++)
		out[n++] = form->prefix[i];
	switch (form->kind) {
	case LEGACY:
		if (wide && (form->w || c->r || c->x || c->b))
			out[n++] = 0x40 | form->w << 3 | c->r << 2 | c->x << 1 | c->b;
		if (form->map)
			out[n++] = 0x0f;
		if (form->map > 1)
			out[n++] = form->map == 2 ? 0x38 : 0x3a;
		break;
	case VEX:
		out[n++] = 0xc4;
		out[n++] = !c->r << 7 | !c->x << 6 | !c->b << 5 | form->map;
		out[n++] = form->w << 7 | (~c->vvvv & 15) << 3 | form->length << 2 | form->pp;
		break;
	case EVEX:
		out[n++] = 0x62;
		out[n++] = !c->r << 7 | !c->x << 6 | !c->b << 5 | !c->r2 << 4 | form->map;
		out[n++] = form->w << 7 | (~c->vvvv & 15) << 3 | 4 | form->pp;
		out[n++] = form->z << 7 | form->length << 5 | form->b << 4 | !c->v2 << 3 | c->mask;
		break;
	}
	return n;
}

static unsigned encode(
	const struct oracle_form *form, const struct choice *c, bool wide, uint8_t out[40])
{
	unsigned n = encode_prefix(form, c, wide, out);

	out[n++] = form->opcode;
	out[n++] = c->mod << 6 | c->reg << 3 | c->rm;
	if (c->mod != 3 && c->rm == 4)
		out[n++] = c->sib;
	memcpy(out + n, c->tail, sizeof(c->tail));
	return n + sizeof(c->tail);
}

/* --- what may run --- */

static bool is_excluded_mnemonic(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	/* They read what differs between host and guest. */
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_RDPRU:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_LAR:
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_RDPKRU:
	/* State images, with the host's pointers in them. */
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	/* They reach the host's kernel or hypervisor, or debug it. */
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_WRPKRU:
	/* Not shown to guests, and not always refused by hosts. */
	case ZYDIS_MNEMONIC_MONITORX:
	case ZYDIS_MNEMONIC_MWAITX:
	case ZYDIS_MNEMONIC_CLZERO:
	case ZYDIS_MNEMONIC_MCOMMIT:
		return true;
	default:
		return false;
	}
}

static bool is_excluded_set(const ZydisDecodedInstruction *in)
{
	switch (in->meta.isa_set) {
	case ZYDIS_ISA_SET_VTX:
	case ZYDIS_ISA_SET_SVM:
	case ZYDIS_ISA_SET_SNP:
	case ZYDIS_ISA_SET_TDX:
	case ZYDIS_ISA_SET_SGX:
	case ZYDIS_ISA_SET_SGX_ENCLV:
	case ZYDIS_ISA_SET_VMFUNC:
	case ZYDIS_ISA_SET_AMD_INVLPGB:
	case ZYDIS_ISA_SET_PADLOCK_ACE:
	case ZYDIS_ISA_SET_PADLOCK_PHE:
	case ZYDIS_ISA_SET_PADLOCK_PMM:
	case ZYDIS_ISA_SET_PADLOCK_RNG:
	case ZYDIS_ISA_SET_RDWRFSGS:
	case ZYDIS_ISA_SET_RDRAND:
	case ZYDIS_ISA_SET_RDSEED:
	case ZYDIS_ISA_SET_XSAVE:
	case ZYDIS_ISA_SET_XSAVEC:
	case ZYDIS_ISA_SET_XSAVEOPT:
	case ZYDIS_ISA_SET_XSAVES:
	case ZYDIS_ISA_SET_FXSAVE:
	case ZYDIS_ISA_SET_FXSAVE64:
	case ZYDIS_ISA_SET_RTM:
	case ZYDIS_ISA_SET_UINTR:
	case ZYDIS_ISA_SET_KEYLOCKER:
	case ZYDIS_ISA_SET_KEYLOCKER_WIDE:
		return true;
	default:
		return false;
	}
}

/* The decoder takes KNC's instructions and others' for granted. */
static bool is_excluded(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands)
{
	if (in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || is_excluded_mnemonic(in->mnemonic) ||
		is_excluded_set(in) || in->meta.category == ZYDIS_CATEGORY_SEGOP ||
		in->meta.category == ZYDIS_CATEGORY_SYSRET || in->mnemonic == ZYDIS_MNEMONIC_IRET ||
		in->mnemonic == ZYDIS_MNEMONIC_IRETD || in->mnemonic == ZYDIS_MNEMONIC_IRETQ)
		return true;
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *op = &operands[i];

		/* Segment registers: loading them changes the host's. */
		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
			ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_SEGMENT &&
			(op->actions & ZYDIS_OPERAND_ACTION_WRITE))
			return true;
		/* FS is where the host keeps its thread's data. */
		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.segment == ZYDIS_REGISTER_FS)
			return true;
	}
	/* INT 0x80 is a system call. */
	return in->mnemonic == ZYDIS_MNEMONIC_INT && operands[0].imm.value.u == 0x80;
}

/* --- forms --- */

static uint64_t mix(uint64_t key, uint64_t value)
{
	return (key ^ value) * UINT64_C(0x100000001b3) + (key >> 29);
}

static uint64_t operand_key(uint64_t key, const ZydisDecodedOperand *op)
{
	key = mix(key, op->type | op->size << 4 | (uint64_t)op->encoding << 20 |
			       (uint64_t)op->visibility << 28);
	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		bool named = op->encoding == ZYDIS_OPERAND_ENCODING_NONE;
		bool high =
			op->reg.value >= ZYDIS_REGISTER_AH && op->reg.value <= ZYDIS_REGISTER_BH;

		key = mix(key, named ? 0x1000u + op->reg.value
				     : ZydisRegisterGetClass(op->reg.value) | high << 8);
	} else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		key = mix(key, op->mem.type);
	}
	return key;
}

static uint64_t form_key(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands)
{
	uint64_t key = mix(UINT64_C(0xcbf29ce484222325), in->mnemonic);

	key = mix(key, in->encoding | in->avx.mask.mode << 4 | in->avx.broadcast.mode << 8 |
			       in->avx.rounding.mode << 16 | in->avx.has_sae << 20);
	key = mix(key, in->avx.vector_length);
	key = mix(key, in->attributes & (ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_REP |
						ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));
	for (unsigned i = 0; i < in->operand_count; i++)
		key = operand_key(key, &operands[i]);
	return key ? key : 1;
}

/* The forms found so far, by key. */
#define KNOWN_SIZE (1u << 17)

static bool is_new(uint64_t *known, uint64_t key)
{
	uint32_t slot = (uint32_t)(key >> 20) & (KNOWN_SIZE - 1);

	while (known[slot] && known[slot] != key)
		slot = (slot + 1) & (KNOWN_SIZE - 1);
	if (known[slot])
		return false;
	known[slot] = key;
	return true;
}

static void add_form(struct oracle_forms *forms, const struct oracle_form *form)
{
	if (forms->count == forms->capacity) {
		forms->capacity = forms->capacity ? 2 * forms->capacity : 4096;
		forms->form = realloc(forms->form, forms->capacity * sizeof(*form));
		if (!forms->form) {
			fprintf(stderr, "oracle: out of memory\n");
			exit(2);
		}
	}
	forms->form[forms->count++] = *form;
}

static bool decode(const struct oracle_forms *forms, const uint8_t *bytes,
	ZydisDecodedInstruction *in, ZydisDecodedOperand *operands)
{
	return isa_decode(forms->code_bits == 64 ? ISA_64 : ISA_32, oracle_model(), bytes,
		       INSN_LENGTH_MAX, in, operands) == ISA_DECODED &&
	       !is_excluded(in, operands);
}

static bool try_form(struct oracle_forms *forms, uint64_t *known, struct oracle_form *form)
{
	struct choice c = {.reg = form->reg,
		.rm = form->rm,
		.mod = form->memory ? 0 : 3,
		.mask = form->mask,
		.sib = 0x24};
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction in;
	uint8_t bytes[40];
	bool wide = forms->code_bits == 64, decoded;

	/* VSIB, then a plain base register. */
	encode(form, &c, wide, bytes);
	decoded = decode(forms, bytes, &in, operands);
	if (!decoded &&
		form->kind != LEGACY) { /* some need a second source, some must not name one */
		c.vvvv = 1;
		encode(form, &c, wide, bytes);
		decoded = decode(forms, bytes, &in, operands);
	}
	if (!decoded)
		return false;
	form->key = form_key(&in, operands);
	form->mnemonic = in.mnemonic;
	form->isa_ext = in.meta.isa_ext;
	if (!is_new(known, form->key))
		return false;
	add_form(forms, form);
	return true;
}

/* Opcodes of VEX and EVEX where ModRM's reg field selects. */
static bool is_group(const struct oracle_form *form)
{
	return (form->map == 1 && (form->opcode == 0xae || (form->opcode & 0xfc) == 0x70)) ||
	       (form->map == 2 && (form->opcode == 0xf3 || (form->opcode & 0xfe) == 0xc6));
}

/* All of ModRM that may select: in registers all 64 combinations for the maps that use them. */
static void try_modrm(struct oracle_forms *forms, uint64_t *known, struct oracle_form *form)
{
	bool all = form->kind == LEGACY && form->map < 2;
	unsigned regs = form->kind == LEGACY || is_group(form) ? 8 : 2;

	for (form->reg = 0; form->reg < regs; form->reg++) {
		form->memory = true;
		form->rm = 4;
		try_form(forms, known, form);
		form->rm = 3;
		try_form(forms, known, form);
		form->memory = false;
		for (form->rm = 0; form->rm < (all ? 8 : 2); form->rm++)
			try_form(forms, known, form);
	}
}

static void enumerate_legacy(struct oracle_forms *forms, uint64_t *known)
{
	static const struct {
		uint8_t count, prefix[3];
	} sets[] = {{0, {0}}, {1, {0x66}}, {1, {0xf2}}, {1, {0xf3}}, {2, {0x66, 0xf2}},
		{2, {0x66, 0xf3}}, {1, {0xf0}}, {2, {0xf0, 0x66}}};
	struct oracle_form form = {.kind = LEGACY};

	for (unsigned at = 0; at < 4 * 256; at++) {
		form.map = at >> 8;
		form.opcode = at;
		for (unsigned set = 0; set < ARRAY_SIZE(sets); set++) {
			form.prefixes = sets[set].count;
			memcpy(form.prefix, sets[set].prefix, 3);
			for (form.w = 0; form.w < (forms->code_bits == 64 ? 2 : 1); form.w++)
				try_modrm(forms, known, &form);
		}
	}
}

static void enumerate_vex(struct oracle_forms *forms, uint64_t *known)
{
	struct oracle_form form = {.kind = VEX};

	for (form.map = 1; form.map < 4; form.map++) {
		for (unsigned at = 0; at < 256 * 4 * 2 * 2; at++) {
			form.opcode = at;
			form.pp = (at >> 8) & 3;
			form.length = (at >> 10) & 1;
			form.w = at >> 11;
			try_modrm(forms, known, &form);
		}
	}
}

static void enumerate_evex(struct oracle_forms *forms, uint64_t *known)
{
	struct oracle_form form = {.kind = EVEX};

	for (form.map = 1; form.map < 7; form.map++) {
		for (unsigned at = 0; at < 256 * 4 * 2 * 4 * 2; at++) {
			form.opcode = at;
			form.pp = (at >> 8) & 3;
			form.w = (at >> 10) & 1;
			form.length = (at >> 11) & 3;
			form.b = at >> 13;
			form.z = form.mask = 0;
			try_modrm(forms, known, &form);
			form.mask = 1;
			try_modrm(forms, known, &form);
			form.z = 1;
			try_modrm(forms, known, &form);
		}
	}
}

void forms_enumerate(struct oracle_forms *forms, unsigned code_bits)
{
	uint64_t *known = calloc(KNOWN_SIZE, sizeof(*known));

	if (!known) {
		fprintf(stderr, "oracle: out of memory\n");
		exit(2);
	}
	memset(forms, 0, sizeof(*forms));
	forms->code_bits = code_bits;
	enumerate_legacy(forms, known);
	enumerate_vex(forms, known);
	enumerate_evex(forms, known);
	free(known);
}

void forms_free(struct oracle_forms *forms)
{
	free(forms->form);
}

const char *forms_mnemonic(const struct oracle_forms *forms, unsigned index)
{
	return ZydisMnemonicGetString(forms->form[index].mnemonic);
}

const char *forms_class(const struct oracle_forms *forms, unsigned index)
{
	const struct oracle_form *form = &forms->form[index];

	if (form->kind == EVEX)
		return "avx512";
	switch (form->isa_ext) {
	case ZYDIS_ISA_EXT_X87:
		return "x87";
	case ZYDIS_ISA_EXT_MMX:
		return "mmx";
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_SSE4A:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_PCLMULQDQ:
	case ZYDIS_ISA_EXT_SHA:
	case ZYDIS_ISA_EXT_GFNI:
		return "sse";
	case ZYDIS_ISA_EXT_BMI1:
	case ZYDIS_ISA_EXT_BMI2:
		return "integer";
	case ZYDIS_ISA_EXT_AVX512VEX:
		return "avx512";
	default:
		return form->kind == VEX ? "avx" : "integer";
	}
}

/* --- instances --- */

static void choose(const struct oracle_forms *forms, const struct oracle_form *form,
	struct oracle_random *random, struct choice *c)
{
	static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x65};
	uint64_t bits = random_u64(random);
	bool wide = forms->code_bits == 64;

	memset(c, 0, sizeof(*c));
	/* A field that selects must keep its value, one that names a register is free. */
	c->reg = bits & 1 ? form->reg : (bits >> 1) & 7;
	c->rm = bits & 16 ? form->rm : (bits >> 5) & 7;
	c->mod = form->memory ? (bits >> 8) % 3 : 3;
	c->sib = (bits >> 10) & 0xff;
	if (wide) {
		c->r = (bits >> 18) & 1;
		c->x = (bits >> 19) & 1;
		c->b = (bits >> 20) & 1;
		c->r2 = (bits >> 21) & 1;
		c->v2 = (bits >> 22) & 1;
	}
	c->vvvv = bits >> 23 & 1 ? 0 : (bits >> 24) & (wide ? 15 : 7);
	c->mask = form->mask ? 1 + (bits >> 28) % 7 : 0;
	if (random_one_in(random, 12))
		c->segment = segments[random_below(random, sizeof(segments))];
	if (random_one_in(random, wide ? 16 : 64))
		c->address_size = 0x67;
	for (unsigned i = 0; i < sizeof(c->tail); i += 8) {
		uint64_t value = random_u64(random);

		memcpy(c->tail + i, &value, 8);
	}
}

/* Displacements without a base register are addresses: make them point into the data. */
static void aim(struct oracle_random *random, struct oracle_case *test)
{
	const ZydisDecodedInstruction *in = &test->instruction;
	unsigned size = in->raw.disp.size / 8;
	uint64_t target = ORACLE_DATA + random_below(random, ORACLE_DATA_SIZE);

	if (random_one_in(random, 2))
		target &= ~UINT64_C(63);
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *op = &test->operands[i];

		if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || size < 4)
			continue;
		if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP)
			target -= ORACLE_CODE + test->offset + in->length;
		else if (op->mem.base != ZYDIS_REGISTER_NONE)
			continue;
		memcpy(test->bytes + in->raw.disp.offset, &target, size);
		return;
	}
}

/* Instances that would tell nothing: a branch to itself never ends, and where two faults are due it
 * is the processor's choice which is told. */
static bool is_useless(const struct oracle_case *test)
{
	const ZydisDecodedInstruction *in = &test->instruction;
	bool mmx_or_x87 = false;

	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *op = &test->operands[i];
		int64_t target = (int64_t)in->length;

		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			unsigned class = ZydisRegisterGetClass(op->reg.value);

			mmx_or_x87 |= class == ZYDIS_REGCLASS_MMX || class == ZYDIS_REGCLASS_X87;
		}
		if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op->imm.is_relative) {
			target += op->imm.value.s;
			if (target >= 0 && target < in->length)
				return true;
		}
	}
	/* F3 90 with REX.B is an XCHG to the processor but a PAUSE to the decoder. */
	if (in->mnemonic == ZYDIS_MNEMONIC_PAUSE && in->length > 2)
		return true;
	if (test->code_bits == 64)
		return false;
	/* Segment faults are not suppressed by a mask here. */
	if (in->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		(in->attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_CS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)))
		return true;
	/* Null GS, or a write to CS, beside a pending x87 exception or an MMX state change. */
	if (mmx_or_x87 &&
		(in->attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_CS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)))
		return true;
	/* 16-bit addresses are never mapped, and strings have two; mask moves wrap in each element.
	 */
	return in->address_width == 16 && (in->meta.category == ZYDIS_CATEGORY_STRINGOP ||
						  in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX);
}

bool forms_instantiate(const struct oracle_forms *forms, unsigned index,
	struct oracle_random *random, struct oracle_case *out)
{
	const struct oracle_form *form = &forms->form[index];

	for (unsigned attempt = 0; attempt < 64; attempt++) {
		uint8_t bytes[40];
		struct choice c;

		choose(forms, form, random, &c);
		encode(form, &c, forms->code_bits == 64, bytes);
		if (!decode(forms, bytes, &out->instruction, out->operands) ||
			form_key(&out->instruction, out->operands) != form->key)
			continue;
		memcpy(out->bytes, bytes, sizeof(out->bytes));
		out->length = out->instruction.length;
		out->code_bits = forms->code_bits;
		/* In the middle, so that short jumps stay in the page. */
		out->offset = 1024 + random_below(random, 2048);
		aim(random, out);
		decode(forms, out->bytes, &out->instruction, out->operands);
		if (!is_useless(out))
			return true;
	}
	return false;
}

/* False where what results is another instruction. */
static bool put_before(const struct oracle_forms *forms, struct oracle_case *test,
	const uint8_t *prefixes, unsigned count)
{
	ZydisDecodedInstruction was = test->instruction, now;
	uint8_t bytes[15 + 14];

	memcpy(bytes, prefixes, count);
	memcpy(bytes + count, test->bytes, test->length);
	memcpy(test->bytes, bytes, sizeof(test->bytes));
	test->length += count;
	/* What is wrong is to raise #UD; what is right must still be the instruction that was
	 * chosen. */
	if (!decode(forms, test->bytes, &now, test->operands)) {
		decode(forms, test->bytes + count, &test->instruction, test->operands);
		/* #UD or, where too long for what the processor makes of it, #GP; LOCK MOV CR0 is
		 * AMD's MOV CR8. */
		return test->length < 12 && was.mnemonic != ZYDIS_MNEMONIC_MOV;
	}
	test->instruction = now;
	test->length = now.length;
	return now.mnemonic == was.mnemonic && now.length == was.length + count;
}

bool forms_add_prefixes(
	const struct oracle_forms *forms, struct oracle_random *random, struct oracle_case *test)
{
	static const uint8_t prefixes[] = {
		0x66, 0x67, 0x2e, 0x3e, 0x36, 0x26, 0x66, 0xf0, 0x40, 0xf2, 0xf3};
	/* On AMD's processors it takes more than Zydis knows to tell how long a branch is that has
	 * all of 66h, F2h or F3h, and REX. */
	unsigned choices = test->instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE
				   ? ARRAY_SIZE(prefixes)
				   : ARRAY_SIZE(prefixes) - 3;
	unsigned count =
		1 + (random_one_in(random, 8) ? random_below(random, 14) : random_below(random, 4));
	uint8_t bytes[14];

	count = MIN(count, 15 - test->length + (random_one_in(random, 16) ? 1u : 0));
	count = MIN(count, sizeof(test->bytes) - test->length);
	if (!count)
		return false;
	for (unsigned i = 0; i < count; i++) {
		bytes[i] = prefixes[random_below(random, choices)];
		if (bytes[i] == 0x40 && test->code_bits == 64)
			bytes[i] |= random_below(random, 16);
		else if (bytes[i] == 0x40)
			bytes[i] = 0x2e;
	}
	return put_before(forms, test, bytes, count);
}

bool forms_add_size_prefixes(
	const struct oracle_forms *forms, unsigned which, struct oracle_case *test)
{
	uint8_t bytes[2];
	unsigned count = 0;

	if (which & 1)
		bytes[count++] = 0x66;
	if (which & 2)
		bytes[count++] = 0x67;
	return test->length + count <= sizeof(test->bytes) && put_before(forms, test, bytes, count);
}

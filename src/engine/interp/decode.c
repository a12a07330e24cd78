/* From instruction bytes to a handler: isa_decode() takes the bytes apart, and a handler is
 * chosen: by category where that says enough, else by a table of mnemonics.
 *
 * Choosing goes from the common to the rare. Integer instructions have families of handlers, picked
 * by operand kinds, size and address form. What touches the system, and old or odd instructions,
 * are "slow": a C function that fetches its own operands. Everything that is left computes on
 * registers and memory only (SIMD, x87, rare integer instructions) and becomes a stub, the
 * instruction itself run natively. An instruction for which there is no handler is undefined. */
#include "engine/interp/decoding.h"

#include "isa/decode_cache.h"

#include <string.h>

/* --- single handlers --- */

static bool choose_run(struct decoding *d, const struct choice *choice)
{
	return use(d, choice->run);
}

static bool choose_undefined(struct decoding *d, const struct choice *choice)
{
	d->ends = true;
	return use(d, op_undefined);
}

static bool choose_decimal(struct decoding *d, const struct choice *choice)
{
	d->insn->disp = choice->number;
	return use_slow(d, choice->call, op_call_continue);
}

/* BT and its kin with a register bit index and a memory operand. */
static bool choose_bit_string(struct decoding *d, const struct choice *choice)
{
	if (!is_memory(&d->operand[0]) || !is_register(&d->operand[1]))
		return false;
	decoding_set_slow_operands(d);
	d->insn->size = (uint8_t)operand_bytes(d, 0);
	d->insn->imm = (uint64_t)choice->number;
	if (d->zydis.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		d->insn->attributes |= INSN_LOCK;
	return use_slow(d, slow_bit_string, op_call_continue);
}

/* --- slow handlers of system.c --- */

static bool choose_slow(struct decoding *d)
{
	const struct slow_entry *entry = slow_find(d->zydis.mnemonic);

	if (!entry)
		return false;
	decoding_set_slow_operands(d);
	d->insn->size = (uint8_t)(d->zydis.operand_width / 8);
	return use_slow(d, entry->call, entry->how);
}

static bool choose_in(struct decoding *d, const struct choice *choice)
{
	choose_slow(d);
	d->insn->size = (uint8_t)operand_bytes(d, 0);
	d->insn->attributes &= (uint8_t)~INSN_IMMEDIATE;
	if (is_immediate(&d->operand[1])) {
		d->insn->imm = d->operand[1].imm.value.u & 0xff;
		d->insn->attributes |= INSN_IMMEDIATE;
	}
	return true;
}

static bool choose_out(struct decoding *d, const struct choice *choice)
{
	choose_slow(d);
	d->insn->size = (uint8_t)operand_bytes(d, 1);
	if (is_immediate(&d->operand[0]))
		d->insn->imm &= 0xff;
	return true;
}

/* Images of the x87 state have a size that is not an operand's. */
static bool choose_x87_image(struct decoding *d, const struct choice *choice)
{
	choose_slow(d);
	d->insn->size = d->zydis.operand_width == 16 ? 2 : 4;
	return true;
}

/* The VEX forms need other things enabled than the legacy forms: imm says which form it is. */
static bool choose_mxcsr(struct decoding *d, const struct choice *choice)
{
	choose_slow(d);
	d->insn->imm = (uint64_t)choice->number;
	return true;
}

static bool choose_xlat(struct decoding *d, const struct choice *choice)
{
	choose_slow(d);
	for (unsigned i = 0; i < d->zydis.operand_count; i++)
		if (is_memory(&d->operand[i]))
			decoding_set_address(d, &d->operand[i]);
	d->insn->base = REG_OFFSET(RBX);
	d->insn->index = ZERO_OFFSET; /* AL, added by the handler */
	return true;
}

/* --- the table --- */

#define ROW(name, chooser, ...)                                                                    \
	[ZYDIS_MNEMONIC_##name] = {.choose = choose_##chooser, ##__VA_ARGS__}
#define INTEGER(name, chooser, ...) ROW(name, chooser, .integer = true, ##__VA_ARGS__)
#define RUN(name, op)               ROW(name, run, .run = op_##op)

static const struct choice choices[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
	INTEGER(ADD, forms, .forms = &alu_forms[ALU_ADD]),
	INTEGER(OR, forms, .forms = &alu_forms[ALU_OR]),
	INTEGER(ADC, forms, .forms = &alu_forms[ALU_ADC]),
	INTEGER(SBB, forms, .forms = &alu_forms[ALU_SBB]),
	INTEGER(AND, forms, .forms = &alu_forms[ALU_AND]),
	INTEGER(SUB, forms, .forms = &alu_forms[ALU_SUB]),
	INTEGER(XOR, forms, .forms = &alu_forms[ALU_XOR]),
	INTEGER(CMP, forms, .forms = &alu_forms[ALU_CMP]),
	INTEGER(TEST, forms, .forms = &alu_forms[ALU_TEST]),
	INTEGER(INC, unary, .unary = &unary_forms[UNARY_INC]),
	INTEGER(DEC, unary, .unary = &unary_forms[UNARY_DEC]),
	INTEGER(NEG, unary, .unary = &unary_forms[UNARY_NEG]),
	INTEGER(NOT, unary, .unary = &unary_forms[UNARY_NOT]),
	INTEGER(SHL, shift, .shift = &shift_forms[SHIFT_SHL]),
	INTEGER(SHR, shift, .shift = &shift_forms[SHIFT_SHR]),
	INTEGER(SAR, shift, .shift = &shift_forms[SHIFT_SAR]),
	INTEGER(ROL, shift, .shift = &shift_forms[SHIFT_ROL]),
	INTEGER(ROR, shift, .shift = &shift_forms[SHIFT_ROR]),
	INTEGER(MUL, wide, .number = WIDE_MUL),
	INTEGER(IMUL, imul, .number = WIDE_IMUL),
	INTEGER(DIV, wide, .number = WIDE_DIV),
	INTEGER(IDIV, wide, .number = WIDE_IDIV),
	INTEGER(MOVZX, extend, .extend = &movzx_forms),
	INTEGER(MOVSX, extend, .extend = &movsx_forms),
	INTEGER(MOVSXD, extend, .extend = &movsx_forms),
	INTEGER(LEA, lea),
	INTEGER(XCHG, xchg),
	INTEGER(BSWAP, bswap),

	ROW(MOV, mov, .forms = &mov_forms),
	ROW(PUSH, push),
	ROW(POP, pop),
	ROW(ENTER, enter),
	ROW(LEAVE, leave),
	ROW(JMP, jump),
	ROW(CALL, call),
	ROW(RET, return ),
	ROW(LOOP, loop),
	ROW(LOOPE, loop),
	ROW(LOOPNE, loop),
	ROW(JCXZ, loop),
	ROW(JECXZ, loop),
	ROW(JRCXZ, loop),
	ROW(LDS, load_far, .number = SEG_DS),
	ROW(LES, load_far, .number = SEG_ES),
	ROW(LFS, load_far, .number = SEG_FS),
	ROW(LGS, load_far, .number = SEG_GS),
	ROW(LSS, load_far, .number = SEG_SS),
	ROW(BT, bit_string, .number = 0),
	ROW(BTS, bit_string, .number = 1),
	ROW(BTR, bit_string, .number = 2),
	ROW(BTC, bit_string, .number = 3),
	ROW(DAA, decimal, .call = slow_daa_das, .number = 1),
	ROW(DAS, decimal, .call = slow_daa_das, .number = -1),
	ROW(AAA, decimal, .call = slow_aaa_aas, .number = 1),
	ROW(AAS, decimal, .call = slow_aaa_aas, .number = -1),

	RUN(CBW, cbw),
	RUN(CWDE, cwde),
	RUN(CDQE, cdqe),
	RUN(CWD, cwd),
	RUN(CDQ, cdq),
	RUN(CQO, cqo),
	RUN(CLC, clc),
	RUN(STC, stc),
	RUN(CMC, cmc),
	RUN(CLD, cld),
	RUN(STD, std),
	RUN(LAHF, lahf),
	RUN(SAHF, sahf),
	RUN(NOP, nop),
	RUN(ENDBR32, nop),
	RUN(ENDBR64, nop),
	RUN(RDSSPD, nop), /* without CET these are hint NOPs */
	RUN(RDSSPQ, nop),
	ROW(UD0, undefined),
	ROW(UD1, undefined),
	ROW(UD2, undefined),

	ROW(IN, in),
	ROW(OUT, out),
	ROW(LDMXCSR, mxcsr, .number = 0),
	ROW(STMXCSR, mxcsr, .number = 0),
	ROW(VLDMXCSR, mxcsr, .number = 1),
	ROW(VSTMXCSR, mxcsr, .number = 1),
	ROW(FNSAVE, x87_image),
	ROW(FRSTOR, x87_image),
	ROW(FNSTENV, x87_image),
	ROW(FLDENV, x87_image),
	ROW(XLAT, xlat),
};

static bool choose_row(struct decoding *d)
{
	const struct choice *choice = &choices[d->zydis.mnemonic];
	bool chosen;

	if (!choice->choose || (choice->integer && (d->zydis.attributes & ZYDIS_ATTRIB_HAS_LOCK)))
		return false;
	chosen = choice->choose(d, choice);
	d->integer |= chosen && choice->integer;
	return chosen;
}

/* --- the rest --- */

/* The instruction itself, run natively. */
static bool choose_stub(struct decoding *d)
{
	struct interp *interp = interp_of(d->cpu);
	const struct stub *stub = stub_get(interp->stubs, &d->zydis, d->operand, d->bytes);

	if (stub == STUB_FULL) {
		d->ends = true;
		return use(d, op_stubs_full);
	}
	if (!stub)
		return false;
	d->insn->stub = stub;
	d->insn->size = stub->rules.memory_size;
	if (stub->rules.memory == NATIVE_NO_MEMORY)
		return use(d, op_stub);
	for (unsigned i = 0; i < d->zydis.operand_count; i++)
		if (is_memory(&d->operand[i])) {
			enum address_form form = decoding_set_address(d, &d->operand[i]);

			if (stub->rules.memory == NATIVE_GATHER ||
				(form != FORM_LEGACY &&
					(stub->rules.memory == NATIVE_MASKED_READ ||
						stub->rules.memory == NATIVE_MASKED_WRITE)))
				return use(d, op_stub_unchecked);
			return use(d, form == FORM_LEGACY ? op_stub_legacy
				      : form == FORM_FULL ? op_stub_full
							  : op_stub_simple);
		}
	return false;
}

/* Prefetches and wide NOPs do nothing. But PREFETCHW of a register is undefined on AMD's
 * processors, and Zydis knows VEX prefetches, which only Knights Corner had. */
static bool choose_hint(struct decoding *d)
{
	bool prefetchw = d->zydis.opcode_map == ZYDIS_OPCODE_MAP_0F && d->zydis.opcode == 0x0d;

	if (d->zydis.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
		(prefetchw && d->zydis.raw.modrm.mod == 3 && d->cpu->amd)) {
		d->ends = true;
		return use(d, op_undefined);
	}
	return use(d, op_nop);
}

/* Conditions are in opcodes, and string instructions have a mnemonic for each size. */
static bool choose_by_category(struct decoding *d)
{
	unsigned row = d->zydis.opcode & 0xf0;

	switch (d->zydis.meta.category) {
	case ZYDIS_CATEGORY_STRINGOP:
	case ZYDIS_CATEGORY_IOSTRINGOP:
		return choose_string(d);
	case ZYDIS_CATEGORY_COND_BR:
		return d->zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		       (row == 0x70 || row == 0x80) && choose_conditional(d);
	case ZYDIS_CATEGORY_CMOV:
		return row == 0x40 && choose_cmov(d);
	case ZYDIS_CATEGORY_SETCC:
		return choose_setcc(d);
	case ZYDIS_CATEGORY_PREFETCH:
	case ZYDIS_CATEGORY_WIDENOP:
		return choose_hint(d);
	default:
		return false;
	}
}

static void choose(struct decoding *d)
{
	if (choose_by_category(d) || choose_row(d) || choose_slow(d) || choose_stub(d))
		return;
	d->ends = true;
	use(d, op_undefined);
}

/* What comes of the flags, for struct decoded. Only integer handlers on registers count as plain.
 */
static void describe(const struct decoding *d, struct decoded *info)
{
	const ZydisAccessedFlags *flags = d->zydis.cpu_flags;
	uint64_t all = RFLAGS_ARITHMETIC, written = 0, read = 0;
	bool divides =
		d->zydis.mnemonic == ZYDIS_MNEMONIC_DIV || d->zydis.mnemonic == ZYDIS_MNEMONIC_IDIV;
	bool shifts = d->zydis.meta.category == ZYDIS_CATEGORY_SHIFT ||
		      d->zydis.meta.category == ZYDIS_CATEGORY_ROTATE;

	if (flags) {
		read = flags->tested & all;
		written = (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & all;
	}
	*info = (struct decoded){
		.quiet = d->quiet,
		.ends = d->ends,
		.plain = d->integer && !d->ends && !divides && !read &&
			 !(d->insn->attributes & INSN_MEMORY),
		/* A count of zero leaves the flags as they were. */
		.sets_all_flags = d->integer && written == all && !shifts,
	};
}

static enum isa_status take_apart(struct decoding *d, struct cpu *cpu, unsigned mode,
	const uint8_t *bytes, unsigned available)
{
	d->cpu = cpu;
	d->mode = mode;
	d->bytes = bytes;
	d->quiet = NULL;
	d->integer = d->ends = false;
	if (mode & MODE_CODE_64)
		return decode_cached(
			interp_of(cpu)->shapes, bytes, available, &d->zydis, d->operand);
	return isa_decode(mode & MODE_CODE_32 ? ISA_32 : ISA_16, cpu->model, bytes, available,
		&d->zydis, d->operand);
}

unsigned decode_instruction(struct cpu *cpu, unsigned mode, const uint8_t *bytes,
	unsigned available, unsigned page_offset, struct insn *out, struct decoded *info)
{
	struct decoding d; /* large: only what is used is set */
	enum isa_status status = take_apart(&d, cpu, mode, bytes, available);

	memset(out, 0, sizeof(*out));
	d.insn = out;
	if (status == ISA_MORE)
		return 0;
	if (status != ISA_DECODED) {
		out->run = status == ISA_TOO_LONG ? op_too_long : op_undefined;
		out->length = 1;
		out->next = (uint16_t)(page_offset + 1);
		*info = (struct decoded){.ends = true};
		/* All of these bytes made it undefined: a change of any may define it. */
		return available;
	}
	for (unsigned i = d.zydis.operand_count; i < 3; i++) /* these are looked at */
		d.operand[i].type = ZYDIS_OPERAND_TYPE_UNUSED;
	out->length = d.zydis.length;
	out->next = (uint16_t)(page_offset + d.zydis.length);
	choose(&d);
	describe(&d, info);
	return d.zydis.length;
}

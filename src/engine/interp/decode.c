/* From instruction bytes to a handler: isa_decode() takes the bytes apart, this file chooses.
 *
 * Choosing goes from the common to the rare. Integer instructions have families of handlers, picked
 * by operand kinds, size and address form. What touches the system, and old or odd instructions,
 * are "slow": a C function that fetches its own operands. Everything that is left computes on
 * registers and memory only (SIMD, x87, rare integer instructions) and becomes a stub, the
 * instruction itself run natively. What no one takes is undefined. */
#include "engine/interp/legacy.h"
#include "isa/decode.h"

#include <string.h>

/* One instruction on its way from Zydis to struct insn. */
struct decoding {
	struct cpu *cpu;
	unsigned mode; /* enum block_mode */
	const uint8_t *bytes;
	ZydisDecodedInstruction zydis;
	ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
	struct insn *insn;
	op_fn *quiet;
	bool integer; /* a family of integer handlers took it */
	bool ends;
};

static bool code64(const struct decoding *d)
{
	return d->mode & MODE_CODE_64;
}

/* --- registers and sizes --- */

/* Byte offset of a general register in struct cpu, or -1. */
static int register_offset(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL)
		return REG_OFFSET(reg - ZYDIS_REGISTER_AL);
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		return REG_OFFSET(reg - ZYDIS_REGISTER_AH) + 1;
	if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
		return REG_OFFSET(reg - ZYDIS_REGISTER_SPL + RSP);
	if (reg >= ZYDIS_REGISTER_AX && reg <= ZYDIS_REGISTER_R15W)
		return REG_OFFSET(reg - ZYDIS_REGISTER_AX);
	if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D)
		return REG_OFFSET(reg - ZYDIS_REGISTER_EAX);
	if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
		return REG_OFFSET(reg - ZYDIS_REGISTER_RAX);
	return -1;
}

static unsigned size_index(unsigned bytes)
{
	return bytes == 1 ? SIZE_1 : bytes == 2 ? SIZE_2 : bytes == 4 ? SIZE_4 : SIZE_8;
}

static bool is_register(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER;
}

static bool is_memory(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_MEMORY;
}

static bool is_immediate(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

static unsigned operand_bytes(const struct decoding *d, unsigned i)
{
	return d->operand[i].size / 8;
}

/* --- memory operands --- */

static enum seg segment_of(ZydisRegister reg)
{
	return (enum seg)(reg - ZYDIS_REGISTER_ES);
}

/* Note where a memory operand is; returns its form. */
static enum address_form set_address(struct decoding *d, const ZydisDecodedOperand *operand)
{
	const ZydisDecodedOperandMem *mem = &operand->mem;
	struct insn *in = d->insn;
	int64_t displacement = mem->disp.value;
	enum seg segment = segment_of(mem->segment);

	in->attributes |= INSN_MEMORY;
	in->base = in->index = ZERO_OFFSET;
	in->scale = 0;
	if (mem->base == ZYDIS_REGISTER_RIP || mem->base == ZYDIS_REGISTER_EIP) {
		in->base = CODE_BASE_OFFSET;
		displacement += in->next;
	} else if (mem->base != ZYDIS_REGISTER_NONE) {
		in->base = (uint8_t)register_offset(mem->base);
	}
	if (mem->index != ZYDIS_REGISTER_NONE && register_offset(mem->index) >= 0) {
		in->index = (uint8_t)register_offset(mem->index);
		in->scale = (uint8_t)__builtin_ctz(mem->scale ? mem->scale : 1);
	}
	in->disp = (int32_t)displacement;
	if (segment == SEG_SS)
		in->attributes |= INSN_STACK;
	in->segment = segment;
	if (code64(d) && segment != SEG_FS && segment != SEG_GS)
		in->segment = SEG_NONE;

	if (d->zydis.address_width == 16)
		in->attributes |= INSN_ADDRESS_16;
	else if (d->zydis.address_width == 32)
		in->attributes |= INSN_ADDRESS_32;
	if (!code64(d) || d->zydis.address_width != 64)
		return FORM_LEGACY;
	return in->index == ZERO_OFFSET && in->segment == SEG_NONE ? FORM_SIMPLE : FORM_FULL;
}

/* A 64-bit absolute address or a RIP-relative one at the very edge does not fit struct insn's
 * displacement. */
static bool displacement_fits(const struct decoding *d, const ZydisDecodedOperand *operand)
{
	int64_t value = operand->mem.disp.value;

	if (operand->mem.base == ZYDIS_REGISTER_RIP)
		value += d->insn->next;
	return !code64(d) || value == (int32_t)value;
}

/* --- handlers with families --- */

static bool use(struct decoding *d, op_fn *run)
{
	if (!run)
		return false;
	d->insn->run = run;
	return true;
}

static bool use_with_quiet(struct decoding *d, op_fn *run, op_fn *quiet)
{
	d->quiet = quiet;
	return use(d, run);
}

/* Two operands, register, memory or immediate. */
static bool choose_forms(struct decoding *d, const struct op_forms *forms)
{
	const ZydisDecodedOperand *first = &d->operand[0], *second = &d->operand[1];
	unsigned size = size_index(operand_bytes(d, 0));
	struct insn *in = d->insn;

	d->integer = true;
	if (is_immediate(second))
		in->imm = second->imm.value.u;
	if (is_register(second))
		in->src = (uint8_t)register_offset(second->reg.value);
	if (is_register(first))
		in->dst = (uint8_t)register_offset(first->reg.value);
	if (is_register(first) && is_register(second))
		return use_with_quiet(d, forms->rr[size], forms->rr_quiet[size]);
	if (is_register(first) && is_immediate(second))
		return use_with_quiet(d, forms->ri[size], forms->ri_quiet[size]);
	if (is_register(first) && is_memory(second))
		return use(d, forms->rm[set_address(d, second)][size]);
	if (is_memory(first) && is_register(second))
		return use(d, forms->mr[set_address(d, first)][size]);
	if (is_memory(first) && is_immediate(second))
		return use(d, forms->mi[set_address(d, first)][size]);
	return false;
}

static bool choose_unary(struct decoding *d, const struct unary_forms *forms)
{
	const ZydisDecodedOperand *operand = &d->operand[0];
	unsigned size = size_index(operand_bytes(d, 0));

	if (is_memory(operand))
		return use(d, forms->m[set_address(d, operand)][size]);
	d->insn->dst = (uint8_t)register_offset(operand->reg.value);
	return use_with_quiet(d, forms->r[size], forms->r_quiet[size]);
}

/* Memory forms of shifts are rare: a stub does them. */
static bool choose_shift(struct decoding *d, const struct shift_forms *forms)
{
	unsigned size = size_index(operand_bytes(d, 0));

	if (!is_register(&d->operand[0]))
		return false;
	d->insn->dst = (uint8_t)register_offset(d->operand[0].reg.value);
	if (is_immediate(&d->operand[1])) {
		d->insn->imm = d->operand[1].imm.value.u;
		return use_with_quiet(d, forms->ri[size], forms->ri_quiet[size]);
	}
	return use(d, forms->rc[size]);
}

static bool choose_wide(struct decoding *d, enum wide_op op)
{
	unsigned size = size_index(operand_bytes(d, 0));

	if (is_memory(&d->operand[0])) {
		set_address(d, &d->operand[0]);
		return use(d, wide_memory[op][size]);
	}
	d->insn->src = (uint8_t)register_offset(d->operand[0].reg.value);
	return use(d, wide_register[op][size]);
}

static unsigned explicit_operands(const struct decoding *d)
{
	unsigned count = 0;

	while (count < d->zydis.operand_count &&
		d->operand[count].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
		count++;
	return count;
}

static bool choose_imul(struct decoding *d)
{
	unsigned count = explicit_operands(d), size = size_index(operand_bytes(d, 0));

	if (count == 1)
		return choose_wide(d, WIDE_IMUL);
	d->insn->dst = (uint8_t)register_offset(d->operand[0].reg.value);
	if (is_memory(&d->operand[1]))
		return count == 2 && use(d, imul_rm[set_address(d, &d->operand[1])][size]);
	d->insn->src = (uint8_t)register_offset(d->operand[1].reg.value);
	if (count == 3)
		d->insn->imm = d->operand[2].imm.value.u;
	if (count == 3)
		return use_with_quiet(d, imul_rri[size], imul_rri_quiet[size]);
	return use_with_quiet(d, imul_rr[size], imul_rr_quiet[size]);
}

static bool choose_extend(struct decoding *d, const struct extend_forms *forms)
{
	unsigned from = size_index(operand_bytes(d, 1)), to = size_index(operand_bytes(d, 0));

	d->insn->dst = (uint8_t)register_offset(d->operand[0].reg.value);
	if (is_memory(&d->operand[1]))
		return use(d, forms->m[set_address(d, &d->operand[1])][from][to]);
	d->insn->src = (uint8_t)register_offset(d->operand[1].reg.value);
	return use(d, forms->r[from][to]);
}

static bool choose_lea(struct decoding *d)
{
	unsigned size = size_index(operand_bytes(d, 0));
	enum address_form form = set_address(d, &d->operand[1]);

	d->insn->dst = (uint8_t)register_offset(d->operand[0].reg.value);
	/* No access is made, and segments play no part. */
	d->insn->attributes &= (uint8_t) ~(INSN_MEMORY | INSN_STACK);
	return use(d, form == FORM_SIMPLE ? lea_simple[size] : lea_any[size]);
}

static bool choose_cmov(struct decoding *d)
{
	unsigned size = size_index(operand_bytes(d, 0)), code = d->zydis.opcode & 15;

	d->insn->dst = (uint8_t)register_offset(d->operand[0].reg.value);
	d->insn->imm = code;
	if (is_memory(&d->operand[1])) {
		set_address(d, &d->operand[1]);
		return use(d, cmov_rm[size]);
	}
	d->insn->src = (uint8_t)register_offset(d->operand[1].reg.value);
	return use(d, cmov_rr[code][size]);
}

static bool choose_setcc(struct decoding *d)
{
	unsigned code = d->zydis.opcode & 15;

	d->insn->imm = code;
	if (is_memory(&d->operand[0])) {
		set_address(d, &d->operand[0]);
		return use(d, op_setcc_m);
	}
	d->insn->dst = (uint8_t)register_offset(d->operand[0].reg.value);
	return use(d, setcc_r[code]);
}

static bool choose_xchg(struct decoding *d)
{
	if (!is_register(&d->operand[0]) || !is_register(&d->operand[1]))
		return false;
	d->insn->dst = (uint8_t)register_offset(d->operand[0].reg.value);
	d->insn->src = (uint8_t)register_offset(d->operand[1].reg.value);
	return use(d, xchg_rr[size_index(operand_bytes(d, 0))]);
}

/* --- slow handlers --- */

static bool use_slow(struct decoding *d, slow_fn *call, op_fn *how)
{
	d->insn->call = call;
	d->insn->run = how;
	if (how != op_call_continue && how != op_call_string)
		d->ends = true;
	return true;
}

/* A control, debug or segment register's number, or -1. */
static int special_register(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_CR0 && reg <= ZYDIS_REGISTER_CR15)
		return reg - ZYDIS_REGISTER_CR0;
	if (reg >= ZYDIS_REGISTER_DR0 && reg <= ZYDIS_REGISTER_DR15)
		return reg - ZYDIS_REGISTER_DR0;
	if (reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS)
		return reg - ZYDIS_REGISTER_ES;
	return -1;
}

/* The convention that slow handlers rely on; see system.c. */
static void set_slow_operands(struct decoding *d)
{
	unsigned registers = 0;

	for (unsigned i = 0; i < explicit_operands(d); i++) {
		const ZydisDecodedOperand *operand = &d->operand[i];

		if (is_memory(operand)) {
			set_address(d, operand);
		} else if (is_immediate(operand)) {
			d->insn->imm = operand->imm.value.u;
			d->insn->attributes |= INSN_IMMEDIATE;
		} else if (is_register(operand) && register_offset(operand->reg.value) >= 0) {
			d->insn->src = (uint8_t)register_offset(operand->reg.value);
			if (registers++ == 0)
				d->insn->dst = d->insn->src;
		} else if (is_register(operand)) {
			d->insn->imm = (uint64_t)special_register(operand->reg.value);
		}
	}
}

static bool choose_string(struct decoding *d)
{
	struct insn *in = d->insn;
	slow_fn *call;

	switch (d->zydis.mnemonic) {
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
		call = slow_movs;
		break;
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		call = slow_cmps;
		break;
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ:
		call = slow_stos;
		break;
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ:
		call = slow_lods;
		break;
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ:
		call = slow_scas;
		break;
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD:
		call = slow_ins;
		break;
	default:
		call = slow_outs;
	}
	/* The size is in the opcode's low bit and the operand size; port instructions know no 8. */
	in->size = d->zydis.opcode & 1 ? (uint8_t)(d->zydis.operand_width / 8) : 1;
	if ((call == slow_ins || call == slow_outs) && in->size == 8)
		in->size = 4;
	in->segment = SEG_DS;
	for (unsigned i = 0; i < d->zydis.operand_count; i++)
		if (is_memory(&d->operand[i]) &&
			(d->operand[i].mem.base == ZYDIS_REGISTER_RSI ||
				d->operand[i].mem.base == ZYDIS_REGISTER_ESI ||
				d->operand[i].mem.base == ZYDIS_REGISTER_SI))
			in->segment = segment_of(d->operand[i].mem.segment);
	in->attributes |= d->zydis.address_width == 16   ? INSN_ADDRESS_16
			  : d->zydis.address_width == 32 ? INSN_ADDRESS_32
							 : 0;
	if (d->zydis.attributes & ZYDIS_ATTRIB_HAS_REPNE)
		in->attributes |= INSN_REPNE;
	else if (d->zydis.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		in->attributes |= INSN_REP;
	return use_slow(d, call, op_call_string);
}

/* MOV with a segment, control or debug register, or a far address. */
static bool choose_mov(struct decoding *d)
{
	const ZydisDecodedOperand *first = &d->operand[0], *second = &d->operand[1];
	ZydisRegister special = is_register(first) && special_register(first->reg.value) >= 0
					? first->reg.value
				: is_register(second) ? second->reg.value
						      : ZYDIS_REGISTER_NONE;
	bool to = is_register(first) && special == first->reg.value;

	for (unsigned i = 0; i < 2; i++)
		if (is_memory(&d->operand[i]) && !displacement_fits(d, &d->operand[i])) {
			set_address(d, &d->operand[i]);
			d->insn->imm = (uint64_t)d->operand[i].mem.disp.value;
			d->insn->size = (uint8_t)operand_bytes(d, i);
			d->insn->disp = i == 0;
			return use_slow(d, slow_mov_absolute, op_call_continue);
		}
	if (special_register(special) < 0)
		return choose_forms(d, &mov_forms);
	set_slow_operands(d);
	d->insn->size = (uint8_t)(d->zydis.operand_width / 8);
	if (special >= ZYDIS_REGISTER_CR0 && special <= ZYDIS_REGISTER_CR15)
		return use_slow(d, slow_mov_cr[to], to ? op_call_jump : op_call_continue);
	if (special >= ZYDIS_REGISTER_DR0 && special <= ZYDIS_REGISTER_DR15)
		return use_slow(d, slow_mov_dr[to], op_call_leave);
	if (!to)
		return use_slow(d, slow_mov_from_segment, op_call_continue);
	if (special == ZYDIS_REGISTER_CS)
		return use(d, op_undefined);
	return use_slow(d, slow_mov_to_segment,
		special == ZYDIS_REGISTER_SS ? op_call_leave : op_call_continue);
}

static bool choose_push_pop(struct decoding *d, bool push)
{
	const ZydisDecodedOperand *operand = &d->operand[0];
	struct insn *in = d->insn;
	bool fast = code64(d) && d->zydis.operand_width == 64;

	in->size = (uint8_t)(d->zydis.operand_width / 8);
	if (is_register(operand) && special_register(operand->reg.value) >= 0) {
		in->imm = (uint64_t)special_register(operand->reg.value);
		/* FS and GS in 64-bit mode push eight bytes. */
		if (push)
			return use_slow(d, slow_push_segment, op_call_continue);
		return use_slow(
			d, slow_pop_segment, in->imm == SEG_SS ? op_call_leave : op_call_continue);
	}
	set_slow_operands(d);
	if (is_immediate(operand) && in->size == 8)
		in->imm = (uint64_t)(int64_t)(int32_t)operand->imm.value.s;
	/* A bad stack is #SS, but a bad operand address is what its own segment says. */
	if (!is_memory(operand))
		in->attributes |= INSN_STACK;
	if (fast && !is_memory(operand)) {
		if (!push)
			return use(d, op_pop_r);
		return use(d, is_immediate(operand) ? op_push_i : op_push_r);
	}
	if (fast && push)
		return use(d, op_push_m);
	return use_slow(d, push ? slow_push : slow_pop, op_call_continue);
}

/* --- branches --- */

/* Where a relative branch goes: from cpu->code_base for the fast handlers. */
static bool choose_relative(struct decoding *d, op_fn *fast, op_fn *far, slow_fn *slow)
{
	struct insn *in = d->insn;
	unsigned size = d->zydis.operand_width / 8;

	uint64_t target = in->next + (uint64_t)d->operand[0].imm.value.s;
	bool checked = (d->mode & MODE_CHECKED_BRANCHES) && !(code64(d) && target < PAGE_SIZE);

	in->size = (uint8_t)size;
	in->imm = (uint64_t)d->operand[0].imm.value.s;
	if (slow == slow_call)
		in->attributes |= INSN_STACK;
	/* A 16-bit operand size cuts the target; CALL pushes by size: only JMP and Jcc are
	 * the same in 32- and 64-bit code. */
	if (size == 2 || (!code64(d) && slow == slow_call) || checked)
		return use_slow(d, slow, op_call_jump);
	in->imm = target;
	return use(d, target < PAGE_SIZE ? fast : far);
}

/* Bytes of the offset in a far pointer in memory. With REX.W Intel's processors read 64 bits, while
 * AMD's ignore it (APM vol. 3, JMP far and LSS). */
static uint8_t far_offset_size(const struct decoding *d)
{
	if (d->zydis.operand_width < 64 || !d->cpu->amd)
		return (uint8_t)(d->zydis.operand_width / 8);
	return d->zydis.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE ? 2 : 4;
}

static bool choose_far(struct decoding *d, slow_fn *call)
{
	const ZydisDecodedOperand *operand = &d->operand[0];
	struct insn *in = d->insn;

	in->size = far_offset_size(d);
	if (operand->type == ZYDIS_OPERAND_TYPE_POINTER) {
		in->imm = operand->ptr.offset;
		in->disp = operand->ptr.segment;
	} else {
		set_address(d, operand);
	}
	return use_slow(d, call, op_call_flags);
}

static bool choose_jump_call(struct decoding *d, bool call)
{
	const ZydisDecodedOperand *operand = &d->operand[0];
	struct insn *in = d->insn;

	d->ends = true;
	if (d->zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return choose_far(d, call ? slow_far_call : slow_far_jump);
	if (is_immediate(operand))
		return call ? choose_relative(d, op_call, op_call_far, slow_call)
			    : choose_relative(d, op_jmp, op_jmp_far, slow_jmp);
	set_slow_operands(d);
	in->size = (uint8_t)(d->zydis.operand_width / 8);
	if (!code64(d) || in->size != 8)
		return use_slow(d, call ? slow_call_operand : slow_jmp_operand, op_call_jump);
	if (is_memory(operand))
		return use(d, call ? op_call_m : op_jmp_m);
	in->attributes |= INSN_STACK;
	return use(d, call ? op_call_r : op_jmp_r);
}

static bool choose_return(struct decoding *d)
{
	struct insn *in = d->insn;

	d->ends = true;
	in->size = (uint8_t)(d->zydis.operand_width / 8);
	in->imm = is_immediate(&d->operand[0]) ? d->operand[0].imm.value.u & 0xffff : 0;
	in->attributes |= INSN_STACK;
	if (d->zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return use_slow(d, slow_far_ret, op_call_flags);
	if (!code64(d) || in->size != 8)
		return use_slow(d, slow_ret, op_call_jump);
	return use(d, in->imm ? op_ret_i : op_ret);
}

static bool choose_conditional(struct decoding *d)
{
	d->insn->disp = d->zydis.opcode & 15;
	return choose_relative(d, jcc[d->insn->disp], jcc_far[d->insn->disp], slow_jcc);
}

static bool choose_loop(struct decoding *d)
{
	struct insn *in = d->insn;

	in->size = (uint8_t)(d->zydis.operand_width / 8);
	in->imm = (uint64_t)d->operand[0].imm.value.s;
	in->disp = d->zydis.opcode & 3;
	in->attributes |= d->zydis.address_width == 16   ? INSN_ADDRESS_16
			  : d->zydis.address_width == 32 ? INSN_ADDRESS_32
							 : 0;
	return use_slow(d, slow_loop, op_call_jump);
}

/* BT and its kin with a register bit index and a memory operand. */
static bool choose_bit_string(struct decoding *d)
{
	static const uint8_t operation[] = {0, 1, 2, 3};
	unsigned which = d->zydis.mnemonic == ZYDIS_MNEMONIC_BT    ? 0
			 : d->zydis.mnemonic == ZYDIS_MNEMONIC_BTS ? 1
			 : d->zydis.mnemonic == ZYDIS_MNEMONIC_BTR ? 2
								   : 3;

	if (!is_memory(&d->operand[0]) || !is_register(&d->operand[1]))
		return false;
	set_slow_operands(d);
	d->insn->size = (uint8_t)operand_bytes(d, 0);
	d->insn->imm = operation[which];
	if (d->zydis.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		d->insn->attributes |= INSN_LOCK;
	return use_slow(d, slow_bit_string, op_call_continue);
}

static bool choose_old(struct decoding *d, slow_fn *call, int32_t argument)
{
	d->insn->disp = argument;
	return use_slow(d, call, op_call_continue);
}

static bool choose_enter(struct decoding *d)
{
	d->insn->size = (uint8_t)(d->zydis.operand_width / 8);
	d->insn->imm = d->operand[0].imm.value.u;
	d->insn->disp = (int32_t)d->operand[1].imm.value.u;
	return use_slow(d, slow_enter, op_call_continue);
}

static bool choose_leave(struct decoding *d)
{
	d->insn->size = (uint8_t)(d->zydis.operand_width / 8);
	d->insn->attributes |= INSN_STACK;
	return code64(d) && d->insn->size == 8 ? use(d, op_leave64)
					       : use_slow(d, slow_leave, op_call_continue);
}

static bool choose_load_far(struct decoding *d, enum seg seg)
{
	set_slow_operands(d);
	d->insn->size = far_offset_size(d);
	d->insn->imm = seg;
	return use_slow(d, slow_load_far, seg == SEG_SS ? op_call_leave : op_call_continue);
}

static bool choose_convert(struct decoding *d)
{
	switch (d->zydis.mnemonic) {
	case ZYDIS_MNEMONIC_CBW:
		return use(d, op_cbw);
	case ZYDIS_MNEMONIC_CWDE:
		return use(d, op_cwde);
	case ZYDIS_MNEMONIC_CDQE:
		return use(d, op_cdqe);
	case ZYDIS_MNEMONIC_CWD:
		return use(d, op_cwd);
	case ZYDIS_MNEMONIC_CDQ:
		return use(d, op_cdq);
	default:
		return use(d, op_cqo);
	}
}

static bool choose_bswap(struct decoding *d)
{
	unsigned size = operand_bytes(d, 0);

	d->insn->dst = (uint8_t)register_offset(d->operand[0].reg.value);
	/* A 16-bit BSWAP is undefined; the stub shows what the processor makes of it. */
	return size >= 4 && use(d, size == 8 ? op_bswap_8 : op_bswap_4);
}

/* With a LOCK prefix the operation must be one host instruction: a stub. */
static bool choose_integer(struct decoding *d)
{
	switch (d->zydis.mnemonic) {
	case ZYDIS_MNEMONIC_ADD:
		return choose_forms(d, &alu_forms[ALU_ADD]);
	case ZYDIS_MNEMONIC_OR:
		return choose_forms(d, &alu_forms[ALU_OR]);
	case ZYDIS_MNEMONIC_ADC:
		return choose_forms(d, &alu_forms[ALU_ADC]);
	case ZYDIS_MNEMONIC_SBB:
		return choose_forms(d, &alu_forms[ALU_SBB]);
	case ZYDIS_MNEMONIC_AND:
		return choose_forms(d, &alu_forms[ALU_AND]);
	case ZYDIS_MNEMONIC_SUB:
		return choose_forms(d, &alu_forms[ALU_SUB]);
	case ZYDIS_MNEMONIC_XOR:
		return choose_forms(d, &alu_forms[ALU_XOR]);
	case ZYDIS_MNEMONIC_CMP:
		return choose_forms(d, &alu_forms[ALU_CMP]);
	case ZYDIS_MNEMONIC_TEST:
		return choose_forms(d, &alu_forms[ALU_TEST]);
	case ZYDIS_MNEMONIC_INC:
		return choose_unary(d, &unary_forms[UNARY_INC]);
	case ZYDIS_MNEMONIC_DEC:
		return choose_unary(d, &unary_forms[UNARY_DEC]);
	case ZYDIS_MNEMONIC_NEG:
		return choose_unary(d, &unary_forms[UNARY_NEG]);
	case ZYDIS_MNEMONIC_NOT:
		return choose_unary(d, &unary_forms[UNARY_NOT]);
	case ZYDIS_MNEMONIC_SHL:
		return choose_shift(d, &shift_forms[SHIFT_SHL]);
	case ZYDIS_MNEMONIC_SHR:
		return choose_shift(d, &shift_forms[SHIFT_SHR]);
	case ZYDIS_MNEMONIC_SAR:
		return choose_shift(d, &shift_forms[SHIFT_SAR]);
	case ZYDIS_MNEMONIC_ROL:
		return choose_shift(d, &shift_forms[SHIFT_ROL]);
	case ZYDIS_MNEMONIC_ROR:
		return choose_shift(d, &shift_forms[SHIFT_ROR]);
	case ZYDIS_MNEMONIC_MUL:
		return choose_wide(d, WIDE_MUL);
	case ZYDIS_MNEMONIC_IMUL:
		return choose_imul(d);
	case ZYDIS_MNEMONIC_DIV:
		return choose_wide(d, WIDE_DIV);
	case ZYDIS_MNEMONIC_IDIV:
		return choose_wide(d, WIDE_IDIV);
	case ZYDIS_MNEMONIC_MOVZX:
		return choose_extend(d, &movzx_forms);
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
		return choose_extend(d, &movsx_forms);
	case ZYDIS_MNEMONIC_LEA:
		return choose_lea(d);
	case ZYDIS_MNEMONIC_XCHG:
		return choose_xchg(d);
	case ZYDIS_MNEMONIC_BSWAP:
		return choose_bswap(d);
	default:
		return false;
	}
}

static bool choose_transfer(struct decoding *d)
{
	switch (d->zydis.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		return choose_mov(d);
	case ZYDIS_MNEMONIC_PUSH:
		return choose_push_pop(d, true);
	case ZYDIS_MNEMONIC_POP:
		return choose_push_pop(d, false);
	case ZYDIS_MNEMONIC_JMP:
		return choose_jump_call(d, false);
	case ZYDIS_MNEMONIC_CALL:
		return choose_jump_call(d, true);
	case ZYDIS_MNEMONIC_RET:
		return choose_return(d);
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		return choose_loop(d);
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		return choose_bit_string(d);
	case ZYDIS_MNEMONIC_ENTER:
		return choose_enter(d);
	case ZYDIS_MNEMONIC_LEAVE:
		return choose_leave(d);
	case ZYDIS_MNEMONIC_LDS:
		return choose_load_far(d, SEG_DS);
	case ZYDIS_MNEMONIC_LES:
		return choose_load_far(d, SEG_ES);
	case ZYDIS_MNEMONIC_LFS:
		return choose_load_far(d, SEG_FS);
	case ZYDIS_MNEMONIC_LGS:
		return choose_load_far(d, SEG_GS);
	case ZYDIS_MNEMONIC_LSS:
		return choose_load_far(d, SEG_SS);
	case ZYDIS_MNEMONIC_DAA:
		return choose_old(d, slow_daa_das, 1);
	case ZYDIS_MNEMONIC_DAS:
		return choose_old(d, slow_daa_das, -1);
	case ZYDIS_MNEMONIC_AAA:
		return choose_old(d, slow_aaa_aas, 1);
	case ZYDIS_MNEMONIC_AAS:
		return choose_old(d, slow_aaa_aas, -1);
	default:
		return false;
	}
}

static bool choose_flag_op(struct decoding *d)
{
	switch (d->zydis.mnemonic) {
	case ZYDIS_MNEMONIC_CLC:
		return use(d, op_clc);
	case ZYDIS_MNEMONIC_STC:
		return use(d, op_stc);
	case ZYDIS_MNEMONIC_CMC:
		return use(d, op_cmc);
	case ZYDIS_MNEMONIC_CLD:
		return use(d, op_cld);
	case ZYDIS_MNEMONIC_STD:
		return use(d, op_std);
	case ZYDIS_MNEMONIC_LAHF:
		return use(d, op_lahf);
	case ZYDIS_MNEMONIC_SAHF:
		return use(d, op_sahf);
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_RDSSPD: /* without CET these are hint NOPs */
	case ZYDIS_MNEMONIC_RDSSPQ:
		return use(d, op_nop);
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
		d->ends = true;
		return use(d, op_undefined);
	default:
		return false;
	}
}

static bool choose_slow(struct decoding *d)
{
	const struct slow_entry *entry = slow_find(d->zydis.mnemonic);
	unsigned fnsave = d->zydis.operand_width == 16 ? 2 : 4;

	if (!entry)
		return false;
	set_slow_operands(d);
	d->insn->size = (uint8_t)(d->zydis.operand_width / 8);
	switch (d->zydis.mnemonic) {
	case ZYDIS_MNEMONIC_IN:
		d->insn->size = (uint8_t)operand_bytes(d, 0);
		d->insn->attributes &= (uint8_t)~INSN_IMMEDIATE;
		if (is_immediate(&d->operand[1])) {
			d->insn->imm = d->operand[1].imm.value.u & 0xff;
			d->insn->attributes |= INSN_IMMEDIATE;
		}
		break;
	case ZYDIS_MNEMONIC_OUT:
		d->insn->size = (uint8_t)operand_bytes(d, 1);
		if (is_immediate(&d->operand[0]))
			d->insn->imm &= 0xff;
		break;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_STMXCSR:
		d->insn->imm = 0;
		break;
	case ZYDIS_MNEMONIC_VLDMXCSR:
	case ZYDIS_MNEMONIC_VSTMXCSR:
		d->insn->imm = 1;
		break;
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FLDENV:
		d->insn->size = (uint8_t)fnsave;
		break;
	case ZYDIS_MNEMONIC_XLAT:
		for (unsigned i = 0; i < d->zydis.operand_count; i++)
			if (is_memory(&d->operand[i]))
				set_address(d, &d->operand[i]);
		d->insn->base = REG_OFFSET(RBX);
		d->insn->index = ZERO_OFFSET; /* AL, added by the handler */
		break;
	default:
		break;
	}
	return use_slow(d, entry->call, entry->how);
}

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
			enum address_form form = set_address(d, &d->operand[i]);

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
 * processors, and Zydis knows VEX prefetches of a processor that is no more. */
static bool choose_hint(struct decoding *d)
{
	bool prefetchw = d->zydis.opcode_map == ZYDIS_OPCODE_MAP_0F && d->zydis.opcode == 0x0d;

	if (d->zydis.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
		(prefetchw && d->zydis.raw.modrm.mod == 3 && d->cpu->amd)) {
		d->ends = true;
		return use(d, op_undefined);
	}
	return choose_flag_op(d) || use(d, op_nop);
}

static void choose(struct decoding *d)
{
	ZydisInstructionCategory category = d->zydis.meta.category;
	bool locked = d->zydis.attributes & ZYDIS_ATTRIB_HAS_LOCK;
	unsigned opcode = d->zydis.opcode;
	bool chosen = false;

	if (category == ZYDIS_CATEGORY_STRINGOP || category == ZYDIS_CATEGORY_IOSTRINGOP)
		chosen = choose_string(d);
	else if (category == ZYDIS_CATEGORY_COND_BR &&
		 d->zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
		 ((opcode & 0xf0) == 0x70 || (opcode & 0xf0) == 0x80))
		chosen = choose_conditional(d);
	else if (category == ZYDIS_CATEGORY_CMOV && (opcode & 0xf0) == 0x40)
		chosen = choose_cmov(d);
	else if (category == ZYDIS_CATEGORY_SETCC)
		chosen = choose_setcc(d);
	else if (category == ZYDIS_CATEGORY_CONVERT && d->zydis.operand_count_visible == 0)
		chosen = choose_convert(d);
	else if (category == ZYDIS_CATEGORY_PREFETCH || category == ZYDIS_CATEGORY_WIDENOP)
		chosen = choose_hint(d);
	if (!chosen && !locked)
		chosen = d->integer = choose_integer(d);
	if (!chosen)
		chosen =
			choose_transfer(d) || choose_flag_op(d) || choose_slow(d) || choose_stub(d);
	if (!chosen) {
		d->ends = true;
		use(d, op_undefined);
	}
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

unsigned decode_instruction(struct cpu *cpu, unsigned mode, const uint8_t *bytes,
	unsigned available, unsigned page_offset, struct insn *out, struct decoded *info)
{
	struct decoding d = {.cpu = cpu, .mode = mode, .bytes = bytes, .insn = out};
	enum isa_mode code = mode & MODE_CODE_64 ? ISA_64 : mode & MODE_CODE_32 ? ISA_32 : ISA_16;
	enum isa_status status = isa_decode(code, cpu->amd, bytes, available, &d.zydis, d.operand);

	memset(out, 0, sizeof(*out));
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
	out->length = d.zydis.length;
	out->next = (uint16_t)(page_offset + d.zydis.length);
	choose(&d);
	describe(&d, info);
	return d.zydis.length;
}

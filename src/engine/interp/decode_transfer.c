/* MOV in all its forms, the stack, and control transfers. */
#include "engine/interp/decoding.h"

/* MOV with a segment, control or debug register, or a far address. */
bool choose_mov(struct decoding *d, const struct choice *choice)
{
	const ZydisDecodedOperand *first = &d->operand[0], *second = &d->operand[1];
	ZydisRegister special =
		is_register(first) && decoding_special_register(first->reg.value) >= 0
			? first->reg.value
		: is_register(second) ? second->reg.value
				      : ZYDIS_REGISTER_NONE;
	bool to = is_register(first) && special == first->reg.value;

	for (unsigned i = 0; i < 2; i++)
		if (is_memory(&d->operand[i]) && !decoding_displacement_fits(d, &d->operand[i])) {
			decoding_set_address(d, &d->operand[i]);
			d->insn->imm = (uint64_t)d->operand[i].mem.disp.value;
			d->insn->size = (uint8_t)operand_bytes(d, i);
			d->insn->disp = i == 0;
			return use_slow(d, slow_mov_absolute, op_call_continue);
		}
	if (decoding_special_register(special) < 0)
		return d->integer = choose_forms(d, choice);
	decoding_set_slow_operands(d);
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

/* --- the stack --- */

static bool choose_push_pop(struct decoding *d, bool push)
{
	const ZydisDecodedOperand *operand = &d->operand[0];
	struct insn *in = d->insn;
	bool fast = code64(d) && d->zydis.operand_width == 64;

	in->size = (uint8_t)(d->zydis.operand_width / 8);
	if (is_register(operand) && decoding_special_register(operand->reg.value) >= 0) {
		in->imm = (uint64_t)decoding_special_register(operand->reg.value);
		/* FS and GS in 64-bit mode push eight bytes. */
		if (push)
			return use_slow(d, slow_push_segment, op_call_continue);
		return use_slow(
			d, slow_pop_segment, in->imm == SEG_SS ? op_call_leave : op_call_continue);
	}
	decoding_set_slow_operands(d);
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

bool choose_push(struct decoding *d, const struct choice *choice)
{
	return choose_push_pop(d, true);
}

bool choose_pop(struct decoding *d, const struct choice *choice)
{
	return choose_push_pop(d, false);
}

bool choose_enter(struct decoding *d, const struct choice *choice)
{
	d->insn->size = (uint8_t)(d->zydis.operand_width / 8);
	d->insn->imm = d->operand[0].imm.value.u;
	d->insn->disp = (int32_t)d->operand[1].imm.value.u;
	return use_slow(d, slow_enter, op_call_continue);
}

bool choose_leave(struct decoding *d, const struct choice *choice)
{
	d->insn->size = (uint8_t)(d->zydis.operand_width / 8);
	d->insn->attributes |= INSN_STACK;
	return code64(d) && d->insn->size == 8 ? use(d, op_leave64)
					       : use_slow(d, slow_leave, op_call_continue);
}

/* Bytes of the offset in a far pointer in memory. With REX.W Intel's processors read 64 bits, while
 * AMD's ignore it (APM vol. 3, JMP far and LSS). */
static uint8_t far_offset_size(const struct decoding *d)
{
	if (d->zydis.operand_width < 64 || !d->cpu->amd)
		return (uint8_t)(d->zydis.operand_width / 8);
	return d->zydis.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE ? 2 : 4;
}

bool choose_load_far(struct decoding *d, const struct choice *choice)
{
	enum seg seg = (enum seg)choice->number;

	decoding_set_slow_operands(d);
	d->insn->size = far_offset_size(d);
	d->insn->imm = seg;
	return use_slow(d, slow_load_far, seg == SEG_SS ? op_call_leave : op_call_continue);
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

static bool choose_far(struct decoding *d, slow_fn *call)
{
	const ZydisDecodedOperand *operand = &d->operand[0];
	struct insn *in = d->insn;

	in->size = far_offset_size(d);
	if (operand->type == ZYDIS_OPERAND_TYPE_POINTER) {
		in->imm = operand->ptr.offset;
		in->disp = operand->ptr.segment;
	} else {
		decoding_set_address(d, operand);
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
	decoding_set_slow_operands(d);
	in->size = (uint8_t)(d->zydis.operand_width / 8);
	if (!code64(d) || in->size != 8)
		return use_slow(d, call ? slow_call_operand : slow_jmp_operand, op_call_jump);
	if (is_memory(operand))
		return use(d, call ? op_call_m : op_jmp_m);
	in->attributes |= INSN_STACK;
	return use(d, call ? op_call_r : op_jmp_r);
}

bool choose_jump(struct decoding *d, const struct choice *choice)
{
	return choose_jump_call(d, false);
}

bool choose_call(struct decoding *d, const struct choice *choice)
{
	return choose_jump_call(d, true);
}

bool choose_return(struct decoding *d, const struct choice *choice)
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

bool choose_conditional(struct decoding *d)
{
	d->insn->disp = d->zydis.opcode & 15;
	return choose_relative(d, jcc[d->insn->disp], jcc_far[d->insn->disp], slow_jcc);
}

bool choose_loop(struct decoding *d, const struct choice *choice)
{
	struct insn *in = d->insn;

	in->size = (uint8_t)(d->zydis.operand_width / 8);
	in->imm = (uint64_t)d->operand[0].imm.value.s;
	in->disp = d->zydis.opcode & 3;
	in->attributes |= decoding_address_size(d);
	return use_slow(d, slow_loop, op_call_jump);
}

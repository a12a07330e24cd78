/* Units as the lockstep wants them: each instruction decoded for the interpreter, with what of
 * memory it touches as addresses in terms of registers, and what it does to flags. Zydis knows all
 * that; what is here is where the processor and Zydis see things differently. */
#include "engine/bt/verify_internal.h"
#include "isa/decode.h"

#include <stdlib.h>

static bool is_x87(ZydisRegister reg)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(reg);

	return class == ZYDIS_REGCLASS_X87 || class == ZYDIS_REGCLASS_MMX ||
	       reg == ZYDIS_REGISTER_X87CONTROL || reg == ZYDIS_REGISTER_X87STATUS ||
	       reg == ZYDIS_REGISTER_X87TAG;
}

static bool is_vector(ZydisRegister reg)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(reg);

	return class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM ||
	       class == ZYDIS_REGCLASS_ZMM || class == ZYDIS_REGCLASS_MASK ||
	       reg == ZYDIS_REGISTER_MXCSR;
}

static bool touches_no_memory(const ZydisDecodedInstruction *in)
{
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
	case ZYDIS_CATEGORY_PREFETCH:
		return true;
	default:
		return in->mnemonic == ZYDIS_MNEMONIC_NOP;
	}
}

/* False: not an address that we can compute. */
static bool plan_operand(
	struct plan_insn *insn, const ZydisDecodedInstruction *in, const ZydisDecodedOperand *op)
{
	struct plan_operand *o = &insn->operand[insn->operand_count];

	if (insn->operand_count == MAX_OPERANDS || !op->size)
		return false;
	*o = (struct plan_operand){.size = op->size / 8,
		.write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE,
		.repeated = insn->string &&
			    (in->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
						      ZYDIS_ATTRIB_HAS_REPNE))};
	if (!isa_address(in, op, insn->rip + in->length, &o->address))
		return false;
	insn->operand_count++;
	return true;
}

/* A search through a string ends where it finds something: how far it goes is not known before. */
static bool plan_string(struct plan_insn *insn, const ZydisDecodedInstruction *in)
{
	insn->string = in->meta.category == ZYDIS_CATEGORY_STRINGOP;
	if (!insn->string)
		return true;
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ:
		return !(in->attributes &
			 (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));
	default:
		return true;
	}
}

static bool plan_operands(struct plan_insn *insn, const ZydisDecodedInstruction *in,
	const ZydisDecodedOperand *operands)
{
	if (!plan_string(insn, in))
		return false;
	insn->x87 = in->meta.category == ZYDIS_CATEGORY_X87_ALU ||
		    in->meta.category == ZYDIS_CATEGORY_MMX;
	insn->vector = in->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER ||
		       in->mnemonic == ZYDIS_MNEMONIC_VZEROALL;
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *op = &operands[i];

		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			insn->x87 |= is_x87(op->reg.value);
			insn->vector |= is_vector(op->reg.value);
		}
		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY &&
			op->mem.type != ZYDIS_MEMOP_TYPE_AGEN && !touches_no_memory(in) &&
			!plan_operand(insn, in, op))
			return false;
	}
	return true;
}

/* Flags that the manuals leave undefined are mostly what the processor makes of them, with the
 * interpreter, too. These it computes itself; and it rotates by CL where the instruction says by
 * how much, of which Intel's processors make another OF. */
static uint64_t undefined_flags(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MUL:
	case ZYDIS_MNEMONIC_IMUL:
		return RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF;
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		return RFLAGS_ARITHMETIC;
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
		return RFLAGS_OF;
	default:
		return 0;
	}
}

static void plan_flags(struct plan_insn *insn, const ZydisDecodedInstruction *in)
{
	const ZydisAccessedFlags *flags = in->cpu_flags;

	insn->undefined = undefined_flags(in->mnemonic);
	insn->tested = flags ? flags->tested & RFLAGS_ARITHMETIC : 0;
	/* A count of zero leaves them alone. */
	if (!flags || in->meta.category == ZYDIS_CATEGORY_SHIFT ||
		in->meta.category == ZYDIS_CATEGORY_ROTATE)
		return;
	insn->overwritten = (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) &
			    RFLAGS_ARITHMETIC;
	insn->defined = insn->overwritten & ~(uint64_t)flags->undefined;
}

/* Can it have another result the second time? */
static bool is_volatile(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_RDTSC || mnemonic == ZYDIS_MNEMONIC_RDTSCP ||
	       mnemonic == ZYDIS_MNEMONIC_RDRAND || mnemonic == ZYDIS_MNEMONIC_RDSEED;
}

/* Does it branch back, to an instruction of the unit, which begins at `first`? */
static bool branches_back(
	uint64_t first, const struct plan_insn *insn, const ZydisDecodedInstruction *in)
{
	uint64_t target = insn->rip + in->length + (uint64_t)in->raw.imm[0].value.s;

	return in->raw.imm[0].is_relative && target >= first && target <= insn->rip;
}

static void plan_instruction(
	struct bt *bt, const struct bt_unit *unit, unsigned i, struct plan_insn *insn)
{
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	unsigned offset = unit->insns[i].offset;
	const uint8_t *bytes = unit->guest + (offset - unit->guest_start);

	*insn = (struct plan_insn){.rip = bt_rip(bt, (unit->rip & PAGE_MASK) + offset),
		.interpreted = unit->insns[i].interpreted,
		.apart = true,
		.tested = RFLAGS_ARITHMETIC};
	if (insn->interpreted || isa_decode(bt_mode_isa(unit->mode), bt->cpu->model, bytes,
					 unit->insns[i].length, &in, operands) != ISA_DECODED)
		return;
	interp_decode_one(bt->cpu, bytes, unit->insns[i].length, offset, insn->run);
	plan_flags(insn, &in);
	insn->back = branches_back(bt_rip(bt, unit->rip), insn, &in);
	insn->sti = in.mnemonic == ZYDIS_MNEMONIC_STI;
	insn->apart = is_volatile(in.mnemonic) || !plan_operands(insn, &in, operands);
}

void verify_fill_plan(struct bt *bt, const struct bt_unit *unit, struct verify_plan *plan)
{
	*plan = (struct verify_plan){
		.next = plan->next, .base = bt->run.base, .count = unit->count};
	for (unsigned i = 0; i < plan->count; i++) {
		plan_instruction(bt, unit, i, &plan->insn[i]);
		plan->vector |= plan->insn[i].vector;
		plan->x87 |= plan->insn[i].x87;
		plan->loops |= plan->insn[i].back && !unit->straight;
	}
}

struct verify_plan *verify_make_plan(struct bt *bt, const struct bt_unit *unit)
{
	struct verify_plan *plan = malloc(sizeof(*plan) + unit->count * sizeof(plan->insn[0]));

	if (!plan)
		return NULL;
	plan->next = NULL;
	verify_fill_plan(bt, unit, plan);
	return plan;
}

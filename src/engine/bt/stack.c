/* RSP from the stack or by a register. The new RSP is not known at translation time,
 * so its slot is looked up at run time.
 * The system call path of Linux has two: SUB RSP, RAX takes a random piece off the kernel's stack,
 * and POP RSP goes back to the user's. */
#include "engine/bt/stack.h"
#include "engine/bt/operand.h"
#include "engine/bt/push_pop.h"

/* Is it in a host register as it is? */
static bool is_tracked(const ZydisDecodedOperand *op)
{
	unsigned reg = isa_gpr_number(op->reg.value);

	return reg != RSP && reg != R10 && reg != R11;
}

bool stack_recognise(struct guest_insn *g)
{
	const ZydisDecodedOperand *to = &g->operands[0], *from = &g->operands[1];

	if (to->type != ZYDIS_OPERAND_TYPE_REGISTER || to->reg.value != ZYDIS_REGISTER_RSP)
		return false;
	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_POP:
		break;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		if (isa_operand_is_gpr64(from) && is_tracked(from))
			break;
		return false;
	default:
		return false;
	}
	g->kind = GUEST_STACK_SET;
	g->reason = guest_kinds[GUEST_STACK_SET].reason;
	return true;
}

/* For its flags the guest's RSP is computed, in R10; then it is made the host's. */
static void emit_arithmetic(struct translator *t, struct guest_insn *g)
{
	struct rewrite r = {.in = &g->in, .operands = g->operands, .bytes = g->bytes};

	for (unsigned reg = 0; reg < 16; reg++)
		r.host[reg] = (uint8_t)(reg == RCX ? HOST_RCX : reg);
	r.host[RSP] = SCRATCH_ADDR;
	emit_stack_value(t, SCRATCH_ADDR, 0);
	rewrite_emit(&t->code, &r);
}

bool stack_translate(struct translator *t, unsigned i)
{
	struct guest_insn *g = &t->insn[i];

	switch (g->in.mnemonic) {
	case ZYDIS_MNEMONIC_POP:
		if (stack_is_soft(t, i))
			emit_access(t, &(struct access){.insn = i, .size = 8, .op = op_to_address});
		else
			emit_load(&t->code, SCRATCH_ADDR, at_register(RSP, 0));
		break;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		emit_arithmetic(t, g);
		break;
	default:
		return false;
	}
	/* The deltas are stored before RSP is right. */
	mark(t, i, MARK_AFTER);
	emit_set_stack(t);
	return true;
}

/* Near branches in 64-bit mode, and what ends a block. Other modes' branches are in legacy.c; far
 * ones are cpu/'s. */
#include "engine/interp/ops.h"
#include "cpu/transfer.h"

/* A target that is not canonical faults at the branch, before anything has changed. Five-level
 * paging allows more, so the check proper decides. */
static inline void check_target(struct cpu *cpu, const struct insn *in, uint64_t target)
{
	if (unlikely((uint64_t)((int64_t)(target << 16) >> 16) != target))
		thunked_check_target(cpu, in, target, 0, 8);
}

OP(op_jmp)
{
	BRANCH;
}

OP(op_jmp_far)
{
	JUMP_TO(cpu->code_base + in->imm);
}

OP(op_block_end)
{
	BRANCH;
}

OP(op_page_end)
{
	JUMP_TO(cpu->code_base + in->imm);
}

OP(op_leave)
{
	cpu->rip = cpu->next_rip = (cpu->code_base + in->next) & interp_of(cpu)->rip_mask;
	return NULL;
}

/* A branch not taken goes on in the block; one taken leaves the rest of it uncounted. */
#define DEFINE_JCC(code)                                                                           \
	static OP(jcc_##code)                                                                      \
	{                                                                                          \
		if (!condition(cpu, code))                                                         \
			NEXT;                                                                      \
		cpu->stats.instructions -= in->remaining;                                          \
		BRANCH;                                                                            \
	}                                                                                          \
	static OP(jcc_far_##code)                                                                  \
	{                                                                                          \
		if (!condition(cpu, code))                                                         \
			NEXT;                                                                      \
		cpu->stats.instructions -= in->remaining;                                          \
		JUMP_TO(cpu->code_base + in->imm);                                                 \
	}
FOR_CONDITIONS(DEFINE_JCC)
#define JCC_ROW(code)     [code] = jcc_##code,
#define JCC_FAR_ROW(code) [code] = jcc_far_##code,
op_fn *const jcc[16] = {FOR_CONDITIONS(JCC_ROW)};
op_fn *const jcc_far[16] = {FOR_CONDITIONS(JCC_FAR_ROW)};

OP(op_call)
{
	DO_PUSH(cpu->code_base + in->next);
	if (unlikely(stale_)) {
		cpu->rip = cpu->next_rip = cpu->code_base + in->imm;
		return NULL;
	}
	BRANCH;
}

OP(op_call_far)
{
	uint64_t target = cpu->code_base + in->imm;

	DO_PUSH(cpu->code_base + in->next);
	(void)stale_; /* the target is looked up, or found stale, anyway */
	JUMP_TO(target);
}

/* After the push nothing may fault, so the target is checked before. */
OP(op_call_r)
{
	uint64_t target = REG(guest_8, in->src);

	check_target(cpu, in, target);
	DO_PUSH(cpu->code_base + in->next);
	(void)stale_;
	JUMP_TO(target);
}

OP(op_call_m)
{
	uint64_t target;

	sync_rip(cpu, in);
	target = operand_read(cpu, in, 8);
	check_target(cpu, in, target);
	DO_PUSH(cpu->code_base + in->next);
	(void)stale_;
	JUMP_TO(target);
}

OP(op_jmp_r)
{
	uint64_t target = REG(guest_8, in->src);

	check_target(cpu, in, target);
	JUMP_TO(target);
}

OP(op_jmp_m)
{
	uint64_t target;

	sync_rip(cpu, in);
	target = operand_read(cpu, in, 8);
	check_target(cpu, in, target);
	JUMP_TO(target);
}

OP(op_ret)
{
	uint64_t target = stack_load(cpu, in, cpu->gpr[RSP]);

	check_target(cpu, in, target);
	cpu->gpr[RSP] += 8;
	JUMP_TO(target);
}

OP(op_ret_i)
{
	uint64_t target = stack_load(cpu, in, cpu->gpr[RSP]);

	check_target(cpu, in, target);
	cpu->gpr[RSP] += 8 + in->imm;
	JUMP_TO(target);
}

/* --- instructions that are called, not threaded --- */

OP(op_call_continue)
{
	struct interp *interp = interp_of(cpu);

	sync_rip(cpu, in);
	in->call(cpu, in);
	if (unlikely(interp->leave)) {
		interp->leave = false;
		return leave_after(cpu, in);
	}
	NEXT;
}

OP(op_call_jump)
{
	sync_rip(cpu, in);
	in->call(cpu, in);
	interp_of(cpu)->leave = false;
	JUMP_TO(cpu->next_rip);
}

OP(op_call_leave)
{
	sync_rip(cpu, in);
	in->call(cpu, in);
	interp_of(cpu)->leave = false;
	cpu->rip = cpu->next_rip;
	return NULL;
}

OP(op_call_flags)
{
	sync_rip(cpu, in);
	in->call(cpu, in);
	interp_of(cpu)->leave = false;
	if (unlikely(cpu->system_flags & RFLAGS_TF)) {
		cpu->rip = cpu->next_rip;
		return NULL;
	}
	/* IRET after a fault sets RF, for one instruction. With no breakpoint armed nothing comes
	 * of it; otherwise we are stepping already. */
	if (!interp_of(cpu)->stepping)
		cpu->system_flags &= ~RFLAGS_RF;
	JUMP_TO(cpu->next_rip);
}

OP(op_call_string)
{
	struct interp *interp = interp_of(cpu);

	sync_rip(cpu, in);
	in->call(cpu, in);
	if (unlikely(interp->leave || cpu->next_rip == cpu->rip)) {
		interp->leave = false;
		cpu->stats.instructions -= in->remaining;
		cpu->rip = cpu->next_rip;
		return NULL;
	}
	NEXT;
}

OP(op_undefined)
{
	sync_rip(cpu, in);
	cpu_raise(cpu, VECTOR_UD);
}

OP(op_too_long)
{
	sync_rip(cpu, in);
	cpu_raise_error(cpu, VECTOR_GP, 0);
}

OP(op_stub)
{
	sync_rip(cpu, in);
	if (stub_run(cpu, in->stub, 0))
		return leave_after(cpu, in);
	NEXT;
}

/* An address that hits the TLB is canonical; any other is checked before it is looked up. */
#define DEFINE_STUB_OP(name, address)                                                              \
	OP(name)                                                                                   \
	{                                                                                          \
		uint64_t linear = address;                                                         \
		sync_rip(cpu, in);                                                                 \
		if (unlikely(access_tlb(cpu, linear)->read != (linear & PAGE_MASK))) {             \
			fpu_check(cpu, in->stub->rules.check);                                     \
			check_canonical(cpu, in, linear, in->size);                                \
		}                                                                                  \
		if (unlikely(stub_run(cpu, in->stub, linear)))                                     \
			return leave_after(cpu, in);                                               \
		NEXT;                                                                              \
	}
DEFINE_STUB_OP(op_stub_simple, ea_simple(cpu, in))
DEFINE_STUB_OP(op_stub_full, ea_full(cpu, in))

OP(op_stub_legacy)
{
	uint64_t linear;

	sync_rip(cpu, in);
	fpu_check(cpu, in->stub->rules.check);
	linear = ea_checked(cpu, in, in->size, in->stub->rules.memory != NATIVE_READ);
	if (stub_run(cpu, in->stub, linear))
		return leave_after(cpu, in);
	NEXT;
}

/* Of a gather or a masked operand only the elements that are accessed are checked, by the stub. */
OP(op_stub_unchecked)
{
	sync_rip(cpu, in);
	if (stub_run(cpu, in->stub, ea_full(cpu, in)))
		return leave_after(cpu, in);
	NEXT;
}

OP(op_stubs_full)
{
	sync_rip(cpu, in);
	interp_drop_blocks(cpu);
	stub_cache_reset(interp_of(cpu)->stubs);
	interp_of(cpu)->stub_resets++;
	return NULL;
}

/* Control transfers: within the unit; to units that are known (an exit, then patched into a direct
 * jump); and by the jump table to anywhere. */
#include "engine/bt/branch.h"
#include "engine/bt/identical.h"
#include "engine/bt/operand.h"
#include "engine/bt/push_pop.h"
#include "engine/options.h"

int unit_index(const struct translator *t, uint64_t rip)
{
	/* Most branches lead out of the unit. */
	if (rip - t->insn[0].rip > t->insn[t->count - 1].rip - t->insn[0].rip)
		return -1;
	for (unsigned i = 0; i < t->count; i++)
		if (t->insn[i].rip == rip)
			return (int)i;
	return -1;
}

static uintptr_t emit_jump_if(struct translator *t, int condition)
{
	return condition < 0 ? emit_jump(&t->code) : emit_jcc(&t->code, (unsigned)condition);
}

/* To the address in R10. */
static void emit_indirect(struct translator *t)
{
	emit_zero_extend_16(&t->code, SCRATCH, SCRATCH_ADDR);
	emit_jump_memory(&t->code, at_element(t->bt->jump[bt_mode_table(t->mode)], SCRATCH));
}

/* An exit for the branch at `patch`, which leads to `rip`. Returns its ID. */
static uint32_t branch_exit(struct translator *t, unsigned i, uint64_t rip, uintptr_t patch)
{
	uint32_t id = add_exit(t, BT_EXIT_BRANCH, i);

	exit_of(t, id)->rip = rip;
	exit_of(t, id)->patch = patch;
	return id;
}

/* To `rip`, which R10 holds if it is in another page. */
static void emit_link_known(struct translator *t, unsigned i, uint64_t rip)
{
	emit_exit(t, branch_exit(t, i, rip, emit_jump_on(&t->code)));
}

/* From another page the unit there has to see that it is the right one, by R10. */
void emit_link(struct translator *t, unsigned i, uint64_t rip)
{
	if (!same_page(rip, t->unit->rip))
		emit_rip(t, SCRATCH_ADDR, rip);
	emit_link_known(t, i, rip);
}

/* A branch to code of this unit that is to be patched when that code is there. */
static void branch_within(struct translator *t, int condition, struct forward forward)
{
	forward.patch = emit_jump_if(t, condition);
	if (t->forward_count == ARRAY_SIZE(t->forward)) {
		t->failed = true;
		return;
	}
	t->forward[t->forward_count++] = forward;
}

/* The loop with that head whose assumptions hold here. */
static struct loop *find_loop(struct translator *t, unsigned head)
{
	for (unsigned i = 0; i < t->loop_count; i++)
		if (t->loop[i].head == head && facts_include(&t->facts, &t->loop[i].start))
			return &t->loop[i];
	return NULL;
}

static struct loop *new_loop(struct translator *t, unsigned head, unsigned back)
{
	struct loop *loop = &t->loop[t->loop_count];

	if (t->inside || t->loop_count == MAX_LOOPS)
		return NULL;
	*loop = (struct loop){.head = head, .back = back, .start = t->facts, .end = t->facts};
	facts_of_loop(t, &loop->start, head, back);
	t->loop_count++;
	return loop;
}

/* Within the unit? Branches back go to the second code of a loop, never into the straight run,
 * where other things are known. With the soft TLB nothing is known anyway at any target. */
static bool emit_branch_within(struct translator *t, unsigned i, int condition, unsigned index)
{
	struct loop *loop;

	if (!windowed(t)) {
		branch_within(t, condition, (struct forward){.insn = index});
		return true;
	}
	if (index > i && (!t->inside || index <= t->inside->back)) {
		facts_join(t->join, &t->joined, index, &t->facts);
		branch_within(t, condition, (struct forward){.insn = index, .inside = t->inside});
		return true;
	}
	loop = index <= i ? find_loop(t, index) : NULL;
	if (!loop && index <= i)
		loop = new_loop(t, index, i);
	if (!loop)
		return false;
	branch_within(t, condition, (struct forward){.insn = index, .loop = loop});
	return true;
}

/* Go to `rip`, if `condition` holds. */
void emit_branch(struct translator *t, unsigned i, int condition, uint64_t rip)
{
	int index = t->unit->straight ? -1 : unit_index(t, rip);
	uintptr_t patch;

	if (index >= 0 && bt_mode_equal(t->insn_mode[index], t->mode) &&
		emit_branch_within(t, i, condition, (unsigned)index))
		return;
	if (!same_page(rip, t->unit->rip)) {
		if (condition == ALWAYS) {
			emit_link(t, i, rip);
			return;
		}
		patch = emit_jump_if(t, condition);
		add_cold(t, COLD_JUMP, i, patch, 0, NULL);
		t->cold[t->cold_count - 1].rip = rip;
		return;
	}
	patch = emit_jump_if(t, condition);
	add_cold(t, COLD_EXIT, i, patch, branch_exit(t, i, rip, patch), NULL);
}

void translate_jrcxz(struct translator *t, unsigned i)
{
	struct code *c = &t->code;
	struct guest_insn *g = &t->insn[i];

	/* mov rcx, r11 or mov ecx, r11d */
	emit_register_op(c, g->in.address_width == 64, 0x89, HOST_RCX, SCRATCH);
	emit_skip_unless_rcx_zero(c, JUMP_BYTES);
	emit_branch(t, i, ALWAYS_IN_5_BYTES, branch_target(g));
}

void translate_loop(struct translator *t, unsigned i)
{
	struct code *c = &t->code;

	emit_lea_sized(c, word_size(t), HOST_RCX, at_register(HOST_RCX, -1));
	mark(t, i, MARK_AFTER);
	emit_move(c, SCRATCH, HOST_RCX);
	emit_jrcxz(c, JUMP_BYTES);
	facts_after(t, &t->facts, i);
	emit_branch(t, i, ALWAYS_IN_5_BYTES, branch_target(&t->insn[i]));
}

/* Only the exit for unknown targets finds that a target is not canonical. RSP has changed by
 * `moved` then and a return address may have been pushed, so serve.c undoes the branch by this
 * exit. In 32-bit code all targets are good. */
static void remember_branch(struct translator *t, unsigned i, int32_t moved)
{
	uint32_t id;

	if (t->mode.code32)
		return;
	id = add_exit(t, BT_EXIT_INTERPRET, i);
	exit_of(t, id)->moved = moved;
	emit_store_constant(&t->code, at_address(&t->bt->run.branch), (int32_t)id);
}

/* The base is read once for the return address and for the target. */
static void emit_far_call(struct translator *t, unsigned i, uint64_t target)
{
	struct code *c = &t->code;

	emit_load(c, SCRATCH_ADDR, at_address(&t->bt->run.base));
	emit_lea(c, SCRATCH, at_register(SCRATCH_ADDR, (int32_t)guest_next(&t->insn[i])));
	emit_push(c, SCRATCH);
	mark(t, i, MARK_AFTER);
	emit_lea(c, SCRATCH_ADDR, at_register(SCRATCH_ADDR, (int32_t)target));
	emit_link_known(t, i, target);
}

void translate_call(struct translator *t, unsigned i)
{
	uint64_t target = branch_target(&t->insn[i]);

	if (!t->mode.bound && !stack_is_soft(t, i) && !same_page(target, t->unit->rip)) {
		emit_far_call(t, i, target);
		return;
	}
	push_return_address(t, i);
	mark(t, i, MARK_AFTER);
	emit_branch(t, i, ALWAYS, target);
}

/* The target of an indirect branch, to R10. */
static void emit_target(struct translator *t, unsigned i)
{
	struct guest_insn *g = &t->insn[i];

	if (g->memory) {
		emit_access(t, &(struct access){.insn = i,
				       .size = word_size(t),
				       .memory = g->memory,
				       .op = op_to_address});
	} else {
		unsigned from = value_of(t, isa_gpr_number(g->operands[0].reg.value), SCRATCH_ADDR);

		if (from != SCRATCH_ADDR)
			emit_register_op(&t->code, !t->mode.code32, 0x89, from, SCRATCH_ADDR);
	}
}

void translate_jmp_indirect(struct translator *t, unsigned i)
{
	remember_branch(t, i, 0);
	emit_target(t, i);
	emit_indirect(t);
}

/* To push by the soft TLB takes R10, so the target waits in memory then. */
void translate_call_indirect(struct translator *t, unsigned i)
{
	bool soft = stack_is_soft(t, i);

	remember_branch(t, i, -8);
	emit_target(t, i);
	if (soft)
		emit_store(&t->code, at_address(&t->bt->run.scratch[0]), SCRATCH_ADDR);
	push_return_address(t, i);
	mark(t, i, MARK_AFTER);
	if (soft)
		emit_load(&t->code, SCRATCH_ADDR, at_address(&t->bt->run.scratch[0]));
	emit_indirect(t);
}

static int32_t return_pops(const struct translator *t, const struct guest_insn *g)
{
	return (int32_t)word_size(t) +
	       (g->in.raw.imm[0].size ? (int32_t)(uint16_t)g->in.raw.imm[0].value.u : 0);
}

static void emit_return(struct translator *t, unsigned i)
{
	int32_t pops = return_pops(t, &t->insn[i]);

	if (pops == 8) {
		emit_pop(&t->code, SCRATCH_ADDR);
		return;
	}
	emit_load(&t->code, SCRATCH_ADDR, at_register(RSP, 0));
	emit_lea(&t->code, RSP, at_register(RSP, pops));
}

/* emit_soft_stack() sets RSP after this and changes R10, so the target waits in memory. */
static void op_soft_return(struct translator *t, unsigned i, struct host_memory memory)
{
	op_to_address(t, i, memory);
	emit_store(&t->code, at_address(&t->bt->run.scratch[0]), SCRATCH_ADDR);
	move_stack(t, return_pops(t, &t->insn[i]));
	mark(t, i, MARK_AFTER);
}

void translate_return(struct translator *t, unsigned i)
{
	remember_branch(t, i, return_pops(t, &t->insn[i]));
	if (!stack_is_soft(t, i)) {
		emit_return(t, i);
		mark(t, i, MARK_AFTER);
	} else {
		emit_soft_stack(
			t, &(struct access){.insn = i, .size = word_size(t), .op = op_soft_return});
		emit_load(&t->code, SCRATCH_ADDR, at_address(&t->bt->run.scratch[0]));
	}
	emit_indirect(t);
}

/* Far jumps and calls, direct and through call gates (SDM vol. 3A 5.8; vol. 2A CALL, JMP). */
#include "cpu/access.h"
#include "cpu/descriptor.h"
#include "cpu/segmentation.h"
#include "cpu/task.h"
#include "cpu/transfer.h"

static uint64_t cut(uint64_t value, unsigned size)
{
	return bits_zero_extend(value, size);
}

void transfer_check_near(struct cpu *cpu, uint64_t target)
{
	if (cpu_code64(cpu) ? !cpu_canonical(cpu, target) : target > cpu->segment[SEG_CS].limit)
		cpu_raise_error(cpu, VECTOR_GP, 0);
}

/* --- real and virtual-8086 mode --- */

static void real_jump(struct cpu *cpu, uint16_t selector, uint64_t offset)
{
	if (offset > cpu->segment[SEG_CS].limit)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	segment_load_real(cpu, SEG_CS, selector);
	cpu->next_rip = offset;
}

static void push_return(struct cpu *cpu, struct stack *stack, unsigned size)
{
	stack_reserve(stack, 2 * size);
	stack_push(stack, cpu->segment[SEG_CS].selector, size);
	stack_push(stack, cpu->next_rip, size);
}

static void real_call(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned size)
{
	struct stack stack = stack_current(cpu);

	if (offset > cpu->segment[SEG_CS].limit)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	push_return(cpu, &stack, size);
	stack_commit(&stack);
	real_jump(cpu, selector, offset);
}

/* --- call gates --- */

struct gate {
	uint16_t selector;
	uint64_t offset;
	unsigned parameters;
	unsigned size; /* of what is pushed */
};

static void check_gate_access(struct cpu *cpu, const struct descriptor *d)
{
	if (descriptor_dpl(d) < MAX(cpu->cpl, SELECTOR_RPL(d->selector)))
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(d->selector));
	if (!descriptor_present(d))
		cpu_raise_error(cpu, VECTOR_NP, SELECTOR_ERROR(d->selector));
}

static struct gate read_gate(struct cpu *cpu, struct descriptor *d)
{
	struct gate gate = {
		.selector = (uint16_t)bits_get(d->raw, 31, 16),
		.offset = d->raw & 0xffff,
		.parameters = bits_get(d->raw, 36, 32),
		.size = 2,
	};

	check_gate_access(cpu, d);
	if (descriptor_type(d) == SYS_CALL_GATE32) {
		gate.offset |= bits_get(d->raw, 63, 48) << 16;
		gate.size = 4;
	}
	if (cpu_long_mode(cpu)) {
		descriptor_require_high(cpu, d, VECTOR_GP);
		gate.offset |= d->high << 32;
		gate.size = 8;
		gate.parameters = 0;
	}
	return gate;
}

/* The code segment behind a gate: the privilege rule is the caller's. */
static void read_gate_code(struct cpu *cpu, const struct gate *gate, struct code_target *target)
{
	struct descriptor *d = &target->descriptor;

	if (SELECTOR_NULL(gate->selector))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	descriptor_require(cpu, gate->selector, VECTOR_GP, d);
	if (!descriptor_code(d) || descriptor_dpl(d) > cpu->cpl)
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(gate->selector));
	/* In IA-32e mode gates lead to 64-bit code only. */
	if (cpu_long_mode(cpu) && bits_get(d->raw, 54, 53) != 1)
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(gate->selector));
}

static void gate_jump(struct cpu *cpu, struct descriptor *d)
{
	struct gate gate = read_gate(cpu, d);
	struct code_target target;

	read_gate_code(cpu, &gate, &target);
	if (!descriptor_conforming(&target.descriptor) &&
		descriptor_dpl(&target.descriptor) != cpu->cpl)
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(gate.selector));
	code_target_finish(cpu, &target, cpu->cpl, gate.offset);
	code_target_enter(cpu, &target, gate.offset);
}

/* A call to more privilege: the stack comes from the TSS, and parameters are copied over. */
static void gate_call_inner(struct cpu *cpu, const struct gate *gate, struct code_target *target)
{
	unsigned cpl = descriptor_dpl(&target->descriptor);
	struct stack old = stack_current(cpu);
	struct stack new;
	uint64_t old_rsp = cpu->gpr[RSP];

	new = stack_from_tss(cpu, cpl, 0);
	stack_reserve(&new, (4 + gate->parameters) * gate->size);
	code_target_finish(cpu, target, cpl, gate->offset);
	stack_push(&new, cpu->segment[SEG_SS].selector, gate->size);
	stack_push(&new, old_rsp, gate->size);
	for (unsigned i = gate->parameters; i-- > 0;)
		stack_push(&new, stack_peek(&old, i * gate->size, gate->size), gate->size);
	stack_push(&new, cpu->segment[SEG_CS].selector, gate->size);
	stack_push(&new, cpu->next_rip, gate->size);

	code_target_enter(cpu, target, gate->offset);
	cpu_set_segment(cpu, SEG_SS, &new.segment);
	stack_commit(&new);
}

static void gate_call(struct cpu *cpu, struct descriptor *d)
{
	struct gate gate = read_gate(cpu, d);
	struct code_target target;
	struct stack stack;

	read_gate_code(cpu, &gate, &target);
	if (!descriptor_conforming(&target.descriptor) &&
		descriptor_dpl(&target.descriptor) < cpu->cpl) {
		gate_call_inner(cpu, &gate, &target);
		return;
	}
	/* From compatibility mode the stack becomes a 64-bit one even at the same privilege. */
	stack = stack_make(
		cpu, &cpu->segment[SEG_SS], cpu->gpr[RSP], cpu->cpl, cpu_long_mode(cpu), 0);
	code_target_finish(cpu, &target, cpu->cpl, gate.offset);
	push_return(cpu, &stack, gate.size);
	code_target_enter(cpu, &target, gate.offset);
	stack_commit(&stack);
}

/* --- far jump and call --- */

static void switch_task(struct cpu *cpu, struct descriptor *d, enum task_reason reason)
{
	uint16_t selector = d->selector;

	if (descriptor_type(d) == SYS_TASK_GATE) {
		check_gate_access(cpu, d);
		selector = task_gate_selector(cpu, d, VECTOR_GP);
	} else if (descriptor_dpl(d) < MAX(cpu->cpl, SELECTOR_RPL(selector))) {
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(selector));
	}
	task_switch(cpu, selector, reason, cpu->next_rip, NULL);
}

/* Far transfers to system descriptors. */
static void jump_or_call_system(struct cpu *cpu, struct descriptor *d, bool call)
{
	unsigned type = descriptor_type(d);
	bool legacy = !cpu_long_mode(cpu);

	if (type == SYS_CALL_GATE32 || (legacy && type == SYS_CALL_GATE16)) {
		if (call)
			gate_call(cpu, d);
		else
			gate_jump(cpu, d);
	} else if (legacy && (type == SYS_TASK_GATE || type == SYS_TSS16 || type == SYS_TSS32 ||
				     type == SYS_TSS16_BUSY || type == SYS_TSS32_BUSY)) {
		switch_task(cpu, d, call ? TASK_CALL : TASK_JUMP);
	} else {
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(d->selector));
	}
}

void transfer_far_jump(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size)
{
	struct code_target target;
	struct descriptor d;

	offset = cut(offset, operand_size);
	if (cpu_real_segments(cpu)) {
		real_jump(cpu, selector, offset);
		return;
	}
	if (SELECTOR_NULL(selector))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	descriptor_require(cpu, selector, VECTOR_GP, &d);
	if (descriptor_system(&d)) {
		jump_or_call_system(cpu, &d, false);
		return;
	}
	if (!descriptor_code(&d))
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(selector));
	code_target_direct(cpu, &d, offset, &target);
	code_target_enter(cpu, &target, offset);
}

void transfer_far_call(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size)
{
	struct code_target target;
	struct descriptor d;
	struct stack stack;

	offset = cut(offset, operand_size);
	if (cpu_real_segments(cpu)) {
		real_call(cpu, selector, offset, operand_size);
		return;
	}
	if (SELECTOR_NULL(selector))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	descriptor_require(cpu, selector, VECTOR_GP, &d);
	if (descriptor_system(&d)) {
		jump_or_call_system(cpu, &d, true);
		return;
	}
	if (!descriptor_code(&d))
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(selector));
	stack = stack_current(cpu);
	code_target_direct(cpu, &d, offset, &target);
	push_return(cpu, &stack, operand_size);
	code_target_enter(cpu, &target, offset);
	stack_commit(&stack);
}

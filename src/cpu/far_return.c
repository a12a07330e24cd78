/* RET FAR and IRET: back to where a far call or an interrupt came from (SDM vol. 2 RET, IRET).
 *
 * Both pop a code address, and where privilege drops (or, for IRET, always in 64-bit mode) a stack
 * address. Every popped value was in the guest's reach, so it gets the same checks as a fresh
 * load; nothing is changed before all of them have passed. */
#include "cpu/access.h"
#include "cpu/descriptor.h"
#include "cpu/segmentation.h"
#include "cpu/task.h"
#include "cpu/transfer.h"

/* --- shared by both --- */

/* The code returned to: never more privileged than the code that returns. */
static void return_target(
	struct cpu *cpu, uint16_t selector, uint64_t offset, struct code_target *target)
{
	struct descriptor *d = &target->descriptor;
	unsigned rpl = SELECTOR_RPL(selector), dpl;

	if (SELECTOR_NULL(selector))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	descriptor_require(cpu, selector, VECTOR_GP, d);
	dpl = descriptor_dpl(d);
	if (!descriptor_code(d) || rpl < cpu->cpl ||
		(descriptor_conforming(d) ? dpl > rpl : dpl != rpl))
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(selector));
	code_target_finish(cpu, target, rpl, offset);
}

/* Its stack. A null SS is good for 64-bit code above CPL 3. */
static struct stack return_stack(
	struct cpu *cpu, uint16_t selector, uint64_t pointer, const struct code_target *target)
{
	struct segment segment;

	if (SELECTOR_NULL(selector)) {
		if (!target->code64 || target->cpl == 3 || SELECTOR_RPL(selector) != target->cpl)
			cpu_raise_error(cpu, VECTOR_GP, 0);
		segment = descriptor_null_segment(selector, target->cpl);
	} else {
		stack_segment_check(cpu, selector, target->cpl, VECTOR_GP, &segment);
	}
	return stack_make(cpu, &segment, pointer, target->cpl, target->code64, 0);
}

static void enter_with_stack(
	struct cpu *cpu, const struct code_target *target, uint64_t offset, struct stack *stack)
{
	bool outward = target->cpl > cpu->cpl;

	code_target_enter(cpu, target, offset);
	cpu_set_segment(cpu, SEG_SS, &stack->segment);
	stack_commit(stack);
	if (outward)
		segment_drop_privileged(cpu, target->cpl);
}

/* Real and virtual-8086 mode: CS:IP as they come. */
static void check_real_offset(struct cpu *cpu, uint64_t offset)
{
	if (offset > cpu->segment[SEG_CS].limit)
		cpu_raise_error(cpu, VECTOR_GP, 0);
}

static void enter_real(struct cpu *cpu, uint16_t selector, uint64_t offset)
{
	segment_load_real(cpu, SEG_CS, selector);
	cpu->next_rip = offset;
}

/* --- RET FAR --- */

void transfer_far_return(struct cpu *cpu, unsigned operand_size, unsigned pop_bytes)
{
	struct stack stack = stack_current(cpu);
	uint64_t offset = stack_pop(&stack, operand_size);
	uint16_t selector = (uint16_t)stack_pop(&stack, operand_size);
	struct code_target target;

	stack.pointer = (stack.pointer + pop_bytes) & stack.mask;
	if (cpu_real_segments(cpu)) {
		check_real_offset(cpu, offset);
		stack_commit(&stack);
		enter_real(cpu, selector, offset);
		return;
	}
	return_target(cpu, selector, offset, &target);
	if (target.cpl > cpu->cpl) {
		uint64_t pointer = stack_pop(&stack, operand_size);
		uint16_t ss = (uint16_t)stack_pop(&stack, operand_size);
		struct stack outer = return_stack(cpu, ss, pointer + pop_bytes, &target);

		enter_with_stack(cpu, &target, offset, &outer);
	} else {
		code_target_enter(cpu, &target, offset);
		stack_commit(&stack);
	}
}

/* --- IRET --- */

struct iret_frame {
	uint64_t offset, flags;
	uint16_t selector;
};

static struct iret_frame pop_frame(struct stack *stack, unsigned size)
{
	struct iret_frame frame;

	frame.offset = stack_pop(stack, size);
	frame.selector = (uint16_t)stack_pop(stack, size);
	frame.flags = stack_pop(stack, size);
	return frame;
}

/* Flags that `mask` names come from the image, the others stay. 16-bit images have only the low
 * half. NMIs are let in again (SDM vol. 3A 6.7.1). */
static void finish_iret(struct cpu *cpu, uint64_t image, uint64_t mask, unsigned size)
{
	if (size == 2)
		mask &= 0xffff;
	cpu_set_rflags(cpu, (image & mask) | (cpu_rflags(cpu) & ~mask));
	cpu_unblock_nmi(cpu);
	if (atomic_load(&cpu->pending) & ~PENDING_WAITING)
		atomic_store(&cpu->attention, 1);
}

#define FLAGS_ANY_CPL                                                                              \
	(RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | RFLAGS_ID)
#define FLAGS_VIRTUAL (RFLAGS_VIF | RFLAGS_VIP)

static void iret_real(struct cpu *cpu, unsigned size)
{
	struct stack stack = stack_current(cpu);
	struct iret_frame frame = pop_frame(&stack, size);

	check_real_offset(cpu, frame.offset);
	stack_commit(&stack);
	enter_real(cpu, frame.selector, frame.offset);
	finish_iret(cpu, frame.flags, FLAGS_ANY_CPL | RFLAGS_IF | RFLAGS_IOPL, size);
}

/* IOPL below 3 needs the virtual interrupt flag of VME (SDM vol. 3B 21.3.3.5). */
static void iret_v86(struct cpu *cpu, unsigned size)
{
	bool iopl3 = (cpu->system_flags & RFLAGS_IOPL) == RFLAGS_IOPL;
	uint64_t mask = FLAGS_ANY_CPL | RFLAGS_IF;
	struct stack stack = stack_current(cpu);
	struct iret_frame frame;

	if (!iopl3 && (!(cpu->cr4 & CR4_VME) || size != 2))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	frame = pop_frame(&stack, size);
	check_real_offset(cpu, frame.offset);
	if (!iopl3) {
		bool enable = frame.flags & RFLAGS_IF;

		if ((frame.flags & RFLAGS_TF) || (enable && (cpu->system_flags & RFLAGS_VIP)))
			cpu_raise_error(cpu, VECTOR_GP, 0);
		mask = (mask & 0xffff & ~RFLAGS_IF) | RFLAGS_VIF;
		frame.flags = (frame.flags & 0xffff) | (enable ? RFLAGS_VIF : 0);
		size = 4; /* so that VIF is in the image */
	}
	stack_commit(&stack);
	enter_real(cpu, frame.selector, frame.offset);
	finish_iret(cpu, frame.flags, mask, size);
}

/* From CPL 0 into virtual-8086 mode (SDM vol. 3B 21.2.5): six more values on the stack. */
static void iret_to_v86(struct cpu *cpu, struct stack *stack, const struct iret_frame *frame)
{
	static const enum seg order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	uint64_t esp = stack_pop(stack, 4);
	uint16_t selectors[ARRAY_SIZE(order)];

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		selectors[i] = (uint16_t)stack_pop(stack, 4);
	if (frame->offset > 0xffff)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	finish_iret(cpu, frame->flags, ~UINT64_C(0), 4);
	cpu_set_cpl(cpu, 3);
	cpu->gpr[RSP] = esp;
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		segment_load_real(cpu, order[i], selectors[i]);
	enter_real(cpu, frame->selector, frame->offset);
}

static uint64_t protected_flags_mask(const struct cpu *cpu)
{
	unsigned iopl = bits_get(cpu->system_flags, 13, 12);
	uint64_t mask = FLAGS_ANY_CPL;

	if (cpu->cpl <= iopl)
		mask |= RFLAGS_IF;
	if (cpu->cpl == 0)
		mask |= RFLAGS_IOPL | FLAGS_VIRTUAL;
	return mask;
}

static void iret_protected(struct cpu *cpu, unsigned size)
{
	uint64_t mask = protected_flags_mask(cpu);
	struct stack stack = stack_current(cpu);
	struct iret_frame frame = pop_frame(&stack, size);
	struct code_target target;

	if ((frame.flags & RFLAGS_VM) && size == 4 && cpu->cpl == 0 && !cpu_long_mode(cpu)) {
		iret_to_v86(cpu, &stack, &frame);
		return;
	}
	return_target(cpu, frame.selector, frame.offset, &target);
	if (target.cpl > cpu->cpl || cpu_code64(cpu)) {
		uint64_t pointer = stack_pop(&stack, size);
		uint16_t ss = (uint16_t)stack_pop(&stack, size);
		struct stack outer = return_stack(cpu, ss, pointer, &target);

		enter_with_stack(cpu, &target, frame.offset, &outer);
	} else {
		code_target_enter(cpu, &target, frame.offset);
		stack_commit(&stack);
	}
	finish_iret(cpu, frame.flags, mask, size);
}

void transfer_iret(struct cpu *cpu, unsigned operand_size)
{
	if (!cpu_protected(cpu)) {
		iret_real(cpu, operand_size);
	} else if (cpu_v86(cpu)) {
		iret_v86(cpu, operand_size);
	} else if (cpu->system_flags & RFLAGS_NT) {
		if (cpu_long_mode(cpu))
			cpu_raise_error(cpu, VECTOR_GP, 0);
		task_switch(cpu, task_back_link(cpu), TASK_IRET, cpu->next_rip, NULL);
		cpu_unblock_nmi(cpu);
	} else {
		iret_protected(cpu, operand_size);
	}
}

/* Delivering interrupts and exceptions, in every mode (SDM vol. 3A chapter 6).
 *
 * Delivery is itself a long instruction: it reads the IDT, two descriptors, maybe a TSS, and
 * writes a stack, and each of these can fault. Such a fault must find the state from before
 * the delivery, so everything is computed and pushed first and only then put in force. The fault
 * then takes the place of the event, or is combined with it into a double fault, or ends
 * the processor's life: escalate() is the table for that. */
#include "cpu/access.h"
#include "cpu/debug.h"
#include "cpu/descriptor.h"
#include "cpu/segmentation.h"
#include "cpu/task.h"
#include "cpu/transfer.h"
#include "cpu/v86.h"

#include <string.h>

/* --- what an event is --- */

/* Faults push RFLAGS with RF set, so that the instruction runs on its return even where a
 * breakpoint sits on it. #DB is left out: its handler decides (SDM vol. 3B 18.3.1.1). Traps (#BP,
 * #OF), aborts and interrupts push RF as it is. */
#define FAULT_VECTORS                                                                              \
	(BIT(VECTOR_DE) | BIT(VECTOR_BR) | BIT(VECTOR_UD) | BIT(VECTOR_NM) | BIT(9) |              \
		BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) | BIT(VECTOR_GP) |                \
		BIT(VECTOR_PF) | BIT(VECTOR_MF) | BIT(VECTOR_AC) | BIT(VECTOR_XM) | BIT(20) |      \
		BIT(21))
#define CONTRIBUTORY_VECTORS                                                                       \
	(BIT(VECTOR_DE) | BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) | BIT(VECTOR_GP) |      \
		BIT(21))

/* Those whose error code is a selector. */
#define SELECTOR_ERROR_VECTORS (BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) | BIT(VECTOR_GP))

static bool event_is_exception(const struct exception *event)
{
	return !event->software && !event->external && event->vector < 32;
}

static bool in_set(uint64_t set, unsigned vector)
{
	return vector < 64 && (set >> vector & 1);
}

static bool contributory(const struct exception *event)
{
	return event_is_exception(event) && in_set(CONTRIBUTORY_VECTORS, event->vector);
}

static uint64_t flags_image(const struct cpu *cpu, const struct exception *event)
{
	uint64_t flags = cpu_rflags(cpu);

	if (event_is_exception(event) && in_set(FAULT_VECTORS, event->vector))
		flags |= RFLAGS_RF;
	return flags;
}

static uint64_t return_rip(const struct cpu *cpu, const struct exception *event)
{
	return event->software ? cpu->next_rip : cpu->rip;
}

/* The error code that blames the IDT entry. Its EXT bit is set in exception_deliver(). */
static _Noreturn void bad_gate(struct cpu *cpu, const struct exception *event, enum vector vector)
{
	cpu_raise_error(cpu, vector, event->vector * 8u + ERROR_IDT);
}

/* --- real mode --- */

/* Through the vector table, which IDTR can move and cut short. No error codes are pushed. */
static void deliver_real(struct cpu *cpu, const struct exception *event)
{
	unsigned entry = event->vector * 4u;
	struct stack stack = stack_current(cpu);
	uint32_t pointer;

	if (entry + 3 > cpu->idtr.limit)
		bad_gate(cpu, event, VECTOR_GP);
	pointer = (uint32_t)access_load(
		cpu, (uint32_t)(cpu->idtr.base + entry), 4, ACCESS_SUPERVISOR);
	stack_reserve(&stack, 6);
	stack_push(&stack, cpu_rflags(cpu), 2);
	stack_push(&stack, cpu->segment[SEG_CS].selector, 2);
	stack_push(&stack, return_rip(cpu, event), 2);
	stack_commit(&stack);
	segment_load_real(cpu, SEG_CS, (uint16_t)(pointer >> 16));
	cpu->next_rip = pointer & 0xffff;
	cpu_set_rflags(cpu, cpu_rflags(cpu) & ~(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF));
}

/* --- the IDT --- */

struct gate {
	struct descriptor descriptor;
	uint16_t selector;
	uint64_t offset;
	unsigned ist;
	unsigned size;  /* of what is pushed: 2, 4, 8 */
	bool interrupt; /* clears IF; a trap gate does not */
};

static void read_gate(struct cpu *cpu, const struct exception *event, struct gate *gate)
{
	struct descriptor *d = &gate->descriptor;
	unsigned size = cpu_long_mode(cpu) ? 16 : 8;
	uint64_t address = cpu->idtr.base + event->vector * size;
	unsigned type;

	if (event->vector * size + size - 1 > cpu->idtr.limit)
		bad_gate(cpu, event, VECTOR_GP);
	if (size == 8)
		address = (uint32_t)address;
	else if (!cpu_canonical(cpu, address))
		bad_gate(cpu, event, VECTOR_GP);
	d->raw = access_load(cpu, address, 8, ACCESS_SUPERVISOR);
	d->high = size == 16 ? access_load(cpu, address + 8, 8, ACCESS_SUPERVISOR) : 0;
	d->address = address;

	type = descriptor_type(d);
	if (!descriptor_system(d) ||
		(type != SYS_INTERRUPT_GATE32 && type != SYS_TRAP_GATE32 &&
			(size == 16 || (type != SYS_INTERRUPT_GATE16 && type != SYS_TRAP_GATE16 &&
					       type != SYS_TASK_GATE))))
		bad_gate(cpu, event, VECTOR_GP);
	if (event->software && !event->privileged && descriptor_dpl(d) < cpu->cpl)
		bad_gate(cpu, event, VECTOR_GP);
	if (!descriptor_present(d))
		bad_gate(cpu, event, VECTOR_NP);

	gate->selector = (uint16_t)bits_get(d->raw, 31, 16);
	gate->size = size == 16 ? 8 : type & 8 ? 4 : 2;
	gate->offset = d->raw & 0xffff;
	if (type & 8)
		gate->offset |= bits_get(d->raw, 63, 48) << 16;
	gate->offset |= d->high << 32;
	gate->ist = size == 16 ? bits_get(d->raw, 34, 32) : 0;
	gate->interrupt = !(type & 1);
}

/* The handler's code segment, and the privilege it runs at. */
static void read_handler(struct cpu *cpu, const struct gate *gate, struct code_target *target)
{
	struct descriptor *d = &target->descriptor;
	unsigned cpl = cpu->cpl;

	if (SELECTOR_NULL(gate->selector))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	descriptor_require(cpu, gate->selector, VECTOR_GP, d);
	if (!descriptor_code(d) || descriptor_dpl(d) > cpl ||
		(cpu_long_mode(cpu) && bits_get(d->raw, 54, 53) != 1))
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(gate->selector));
	if (!descriptor_conforming(d))
		cpl = descriptor_dpl(d);
	if (cpu_v86(cpu) && cpl != 0)
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(gate->selector));
	code_target_finish(cpu, target, cpl, gate->offset);
}

static void push_v86_segments(struct cpu *cpu, struct stack *stack, unsigned size)
{
	stack_push(stack, cpu->segment[SEG_GS].selector, size);
	stack_push(stack, cpu->segment[SEG_FS].selector, size);
	stack_push(stack, cpu->segment[SEG_DS].selector, size);
	stack_push(stack, cpu->segment[SEG_ES].selector, size);
}

/* Where the handler's frame goes. IA-32e mode aligns frames to 16 bytes (SDM vol. 3A 6.14.2). */
static struct stack frame_stack(
	struct cpu *cpu, const struct gate *gate, const struct code_target *target)
{
	struct stack stack;

	if (target->cpl < cpu->cpl || gate->ist)
		stack = stack_from_tss(cpu, target->cpl, gate->ist);
	else
		stack = stack_make(
			cpu, &cpu->segment[SEG_SS], cpu->gpr[RSP], cpu->cpl, cpu_long_mode(cpu), 0);
	if (cpu_long_mode(cpu))
		stack.pointer &= ~UINT64_C(15);
	return stack;
}

static void deliver_gate(struct cpu *cpu, const struct exception *event, struct gate *gate)
{
	uint64_t flags = flags_image(cpu, event);
	bool v86 = cpu_v86(cpu), inner;
	unsigned size = gate->size, values;
	struct code_target target;
	struct stack stack;

	read_handler(cpu, gate, &target);
	inner = target.cpl < cpu->cpl;
	stack = frame_stack(cpu, gate, &target);
	values = 3 + (inner || size == 8 ? 2 : 0) + (v86 ? 4 : 0) + (event->has_error ? 1 : 0);
	stack_reserve(&stack, values * size);
	if (v86)
		push_v86_segments(cpu, &stack, size);
	if (inner || size == 8) {
		stack_push(&stack, cpu->segment[SEG_SS].selector, size);
		stack_push(&stack, cpu->gpr[RSP], size);
	}
	stack_push(&stack, flags, size);
	stack_push(&stack, cpu->segment[SEG_CS].selector, size);
	stack_push(&stack, return_rip(cpu, event), size);
	if (event->has_error)
		stack_push(&stack, event->error, size);

	cpu_set_rflags(cpu, cpu_rflags(cpu) & ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM |
						      (gate->interrupt ? RFLAGS_IF : 0)));
	code_target_enter(cpu, &target, gate->offset);
	if (inner)
		cpu_set_segment(cpu, SEG_SS, &stack.segment);
	stack_commit(&stack);
	if (v86) {
		struct segment null = descriptor_null_segment(0, 0);

		cpu_set_segment(cpu, SEG_GS, &null);
		cpu_set_segment(cpu, SEG_FS, &null);
		cpu_set_segment(cpu, SEG_DS, &null);
		cpu_set_segment(cpu, SEG_ES, &null);
	}
}

static void deliver(struct cpu *cpu, const struct exception *event)
{
	struct gate gate;

	if (!cpu_protected(cpu)) {
		deliver_real(cpu, event);
		return;
	}
	read_gate(cpu, event, &gate);
	if (descriptor_type(&gate.descriptor) == SYS_TASK_GATE)
		task_switch(cpu, task_gate_selector(cpu, &gate.descriptor, VECTOR_GP), TASK_EVENT,
			return_rip(cpu, event), event->has_error ? &event->error : NULL);
	else
		deliver_gate(cpu, event, &gate);
}

/* --- faults on the way --- */

/* cpu->exception happened during the delivery of cpu->delivering: leave in cpu->delivering what is
 * to be delivered now. False: neither, the processor shuts down (SDM vol. 3A table 6-5). */
static bool escalate(struct cpu *cpu)
{
	struct exception *first = &cpu->delivering, second = cpu->exception;
	bool first_page_fault = event_is_exception(first) && first->vector == VECTOR_PF;
	bool second_serious = contributory(&second) || second.vector == VECTOR_PF;

	if (event_is_exception(first) && first->vector == VECTOR_DF && second_serious)
		return false;
	if ((first_page_fault && second_serious) || (contributory(first) && contributory(&second)))
		second = (struct exception){.vector = VECTOR_DF, .has_error = true};
	/* A selector's error code tells whether the program itself asked for the event. */
	else if (in_set(SELECTOR_ERROR_VECTORS, second.vector) &&
		 (!first->software || first->privileged))
		second.error |= ERROR_EXT;
	*first = second;
	return true;
}

bool exception_deliver(struct cpu *cpu)
{
	bool alive;
	jmp_buf outer;

	cpu->delivering = cpu->exception;
	/* What a faulting instruction did before it faulted will be done again: its data
	 * breakpoints have not happened yet. */
	if (event_is_exception(&cpu->delivering) && cpu->delivering.vector != VECTOR_DB)
		cpu->pending_debug = 0;
	cpu->debugger.alone = true;
	memcpy(&outer, &cpu->unwind, sizeof(outer));
	alive = _setjmp(cpu->unwind) == 0 || escalate(cpu);
	if (alive) {
		deliver(cpu, &cpu->delivering);
		if (event_is_exception(&cpu->delivering))
			cpu->stats.exceptions++;
		if (cpu->delivering.vector == VECTOR_DB && !cpu->delivering.external)
			debug_delivered(cpu);
		cpu->no_step_trap = false;
		cpu->rip = cpu->next_rip;
		cpu->interrupt_shadow = SHADOW_NONE;
	} else {
		cpu->activity = ACTIVITY_SHUTDOWN;
	}
	memcpy(&cpu->unwind, &outer, sizeof(outer));
	cpu->debugger.alone = false;
	return alive;
}

/* --- INT n, INT3, INTO, INT1 --- */

void transfer_software_interrupt(struct cpu *cpu, uint8_t vector, enum software_interrupt kind)
{
	if (kind == SOFTWARE_INT_N && cpu_v86(cpu)) {
		if ((cpu->cr4 & CR4_VME) && v86_redirect(cpu, vector))
			return;
		if ((cpu->system_flags & RFLAGS_IOPL) != RFLAGS_IOPL)
			cpu_raise_error(cpu, VECTOR_GP, 0);
	}
	/* A data breakpoint that MOV SS held back is reported by the #DB that INT1 makes anyway. */
	if (kind == SOFTWARE_INT1 && cpu->pending_debug) {
		debug_record(cpu, cpu->pending_debug);
		cpu->pending_debug = 0;
		cpu_clear_pending(cpu, PENDING_DEBUG);
	}
	cpu->exception = (struct exception){
		.vector = vector,
		.software = true,
		.privileged = kind == SOFTWARE_INT1,
	};
	_longjmp(cpu->unwind, 1);
}

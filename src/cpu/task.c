/* Task switching (SDM vol. 3A chapter 8).
 *
 * A switch has a commit point. Before it, everything is checked and every page that will be written
 * is probed, and a fault leaves the old task as it was. After it, the new task's registers are in
 * the processor, and what is wrong with its segments is its own fault: the exception is raised
 * with the new task's CS:EIP. */
#include "cpu/task.h"
#include "cpu/access.h"
#include "cpu/debug.h"
#include "cpu/paging.h"
#include "cpu/segmentation.h"
#include "cpu/transfer.h"

/* The two layouts (SDM vol. 3A figures 8-2 and 8-10): where the dynamic part is. Selectors are in
 * the order of enum seg; a 16-bit TSS has no FS and GS. */
struct tss_layout {
	unsigned width; /* of EIP, EFLAGS and general registers, which follow each other */
	unsigned eip, selectors, selector_count, ldt, minimum_limit;
};

static const struct tss_layout layout16 = {2, 0x0e, 0x22, 4, 0x2a, 0x2b};
static const struct tss_layout layout32 = {4, 0x20, 0x48, 6, 0x60, 0x67};

#define TSS32_CR3   0x1c
#define TSS32_DEBUG 0x64

struct tss {
	struct descriptor descriptor;
	struct segment segment;
	const struct tss_layout *layout;
};

/* What is read from the new TSS before the commit point. */
struct task_state {
	uint32_t cr3, eip, eflags;
	uint32_t gpr[8];
	uint16_t selector[6];
	uint16_t ldt;
	bool debug_trap;
};

static const struct tss_layout *layout_of(unsigned type)
{
	return type & 8 ? &layout32 : &layout16;
}

static uint64_t tss_address(const struct segment *segment, unsigned offset)
{
	return (uint32_t)(segment->base + offset);
}

static uint32_t tss_load(struct cpu *cpu, const struct tss *tss, unsigned offset, unsigned size)
{
	return (uint32_t)access_load(
		cpu, tss_address(&tss->segment, offset), size, ACCESS_SUPERVISOR);
}

static void tss_store(
	struct cpu *cpu, const struct tss *tss, unsigned offset, uint64_t value, unsigned size)
{
	access_store(cpu, tss_address(&tss->segment, offset), value, size, ACCESS_SUPERVISOR);
}

/* --- before the commit point --- */

uint16_t task_gate_selector(struct cpu *cpu, const struct descriptor *gate, enum vector vector)
{
	uint16_t selector = (uint16_t)bits_get(gate->raw, 31, 16);

	if (SELECTOR_NULL(selector) || (selector & SELECTOR_TI))
		cpu_raise_error(cpu, vector, SELECTOR_ERROR(selector));
	return selector;
}

uint16_t task_back_link(struct cpu *cpu)
{
	const struct segment *tr = &cpu->segment[SEG_TR];

	if (tr->limit < 1)
		cpu_raise_error(cpu, VECTOR_TS, SELECTOR_ERROR(tr->selector));
	return (uint16_t)access_load(cpu, tss_address(tr, 0), 2, ACCESS_SUPERVISOR);
}

static void find_new(struct cpu *cpu, uint16_t selector, enum task_reason reason, struct tss *new)
{
	enum vector vector = reason == TASK_IRET ? VECTOR_TS : VECTOR_GP;
	struct descriptor *d = &new->descriptor;
	unsigned busy = reason == TASK_IRET ? SYS_TSS_BUSY_BIT : 0;

	if (SELECTOR_NULL(selector) || (selector & SELECTOR_TI))
		cpu_raise_error(cpu, vector, SELECTOR_ERROR(selector));
	descriptor_require(cpu, selector, vector, d);
	if (!descriptor_system(d) || (descriptor_type(d) != (SYS_TSS16 | busy) &&
					     descriptor_type(d) != (SYS_TSS32 | busy)))
		cpu_raise_error(cpu, vector, SELECTOR_ERROR(selector));
	if (!descriptor_present(d))
		cpu_raise_error(cpu, VECTOR_NP, SELECTOR_ERROR(selector));
	new->segment = descriptor_segment(d);
	new->layout = layout_of(descriptor_type(d));
	if (new->segment.limit < new->layout->minimum_limit)
		cpu_raise_error(cpu, VECTOR_TS, SELECTOR_ERROR(selector));
}

static void find_old(struct cpu *cpu, struct tss *old)
{
	old->segment = cpu->segment[SEG_TR];
	old->layout = layout_of(old->segment.access & AR_TYPE_MASK);
	if ((old->segment.access & AR_UNUSABLE) || old->segment.limit < old->layout->minimum_limit)
		cpu_raise_error(cpu, VECTOR_TS, SELECTOR_ERROR(old->segment.selector));
	descriptor_require(cpu, old->segment.selector, VECTOR_TS, &old->descriptor);
}

static void read_state(struct cpu *cpu, const struct tss *tss, struct task_state *state)
{
	const struct tss_layout *layout = tss->layout;
	unsigned width = layout->width;

	*state = (struct task_state){0};
	state->eip = tss_load(cpu, tss, layout->eip, width);
	state->eflags = tss_load(cpu, tss, layout->eip + width, width);
	for (unsigned i = 0; i < 8; i++)
		state->gpr[i] = tss_load(cpu, tss, layout->eip + (2 + i) * width, width);
	for (unsigned i = 0; i < layout->selector_count; i++)
		state->selector[i] = (uint16_t)tss_load(cpu, tss, layout->selectors + i * width, 2);
	state->ldt = (uint16_t)tss_load(cpu, tss, layout->ldt, 2);
	if (layout == &layout32) {
		state->cr3 = tss_load(cpu, tss, TSS32_CR3, 4);
		state->debug_trap = tss_load(cpu, tss, TSS32_DEBUG, 2) & 1;
	}
}

/* Every byte that the commit will write, so that it cannot fault. */
static void probe(struct cpu *cpu, const struct tss *old, const struct tss *new)
{
	unsigned end = old->layout->selectors + old->layout->selector_count * old->layout->width;

	access_probe_write(cpu, old->descriptor.address + 5, 1, ACCESS_SUPERVISOR);
	access_probe_write(cpu, new->descriptor.address + 5, 1, ACCESS_SUPERVISOR);
	access_probe_write(cpu, tss_address(&old->segment, old->layout->eip),
		end - old->layout->eip, ACCESS_SUPERVISOR);
	access_probe_write(cpu, tss_address(&new->segment, 0), 2, ACCESS_SUPERVISOR);
}

/* --- the commit --- */

static void save_state(struct cpu *cpu, const struct tss *tss, uint64_t eip, uint64_t eflags)
{
	const struct tss_layout *layout = tss->layout;
	unsigned width = layout->width;

	tss_store(cpu, tss, layout->eip, eip, width);
	tss_store(cpu, tss, layout->eip + width, eflags, width);
	for (unsigned i = 0; i < 8; i++)
		tss_store(cpu, tss, layout->eip + (2 + i) * width, cpu->gpr[i], width);
	for (unsigned i = 0; i < layout->selector_count; i++)
		tss_store(cpu, tss, layout->selectors + i * width, cpu->segment[i].selector, 2);
}

static void load_cr3(struct cpu *cpu, uint32_t cr3)
{
	bool pae = cpu->cr4 & CR4_PAE;

	if (!(cpu->cr0 & CR0_PG))
		return;
	if (pae && !paging_load_pdptes(cpu, cr3))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	cpu->cr3 = cr3;
	tlb_flush_non_global(cpu);
}

/* General registers, and the segment registers as bare selectors that nothing can be reached
 * through until their descriptors are loaded. */
static void load_registers(struct cpu *cpu, const struct tss *tss, const struct task_state *state)
{
	/* A 16-bit TSS leaves the upper halves alone. */
	uint64_t keep = tss->layout->width == 2 ? 0xffff0000 : 0;

	for (unsigned i = 0; i < 8; i++)
		cpu->gpr[i] = (cpu->gpr[i] & keep) | state->gpr[i];
	cpu->rip = cpu->next_rip = state->eip;
	cpu_set_rflags(cpu, state->eflags);
	for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++) {
		struct segment segment = descriptor_null_segment(state->selector[seg], 0);

		if (seg == SEG_CS)
			segment.access |= tss->layout == &layout32 ? AR_DB : 0;
		cpu_set_segment(cpu, seg, &segment);
	}
	cpu_set_cpl(cpu, cpu_v86(cpu) ? 3 : SELECTOR_RPL(state->selector[SEG_CS]));
}

/* --- in the new task --- */

static void load_ldt(struct cpu *cpu, uint16_t selector)
{
	struct segment segment = descriptor_null_segment(selector, 0);
	struct descriptor d;

	cpu_set_segment(cpu, SEG_LDTR, &segment);
	if (SELECTOR_NULL(selector))
		return;
	if (selector & SELECTOR_TI)
		cpu_raise_error(cpu, VECTOR_TS, SELECTOR_ERROR(selector));
	descriptor_require(cpu, selector, VECTOR_TS, &d);
	if (!descriptor_system(&d) || descriptor_type(&d) != SYS_LDT || !descriptor_present(&d))
		cpu_raise_error(cpu, VECTOR_TS, SELECTOR_ERROR(selector));
	segment = descriptor_segment(&d);
	cpu_set_segment(cpu, SEG_LDTR, &segment);
}

static void load_code(struct cpu *cpu, uint16_t selector)
{
	struct segment segment;
	struct descriptor d;
	unsigned dpl;

	if (SELECTOR_NULL(selector))
		cpu_raise_error(cpu, VECTOR_TS, 0);
	descriptor_require(cpu, selector, VECTOR_TS, &d);
	dpl = descriptor_dpl(&d);
	if (!descriptor_code(&d) || (descriptor_conforming(&d) ? dpl > cpu->cpl : dpl != cpu->cpl))
		cpu_raise_error(cpu, VECTOR_TS, SELECTOR_ERROR(selector));
	if (!descriptor_present(&d))
		cpu_raise_error(cpu, VECTOR_NP, SELECTOR_ERROR(selector));
	descriptor_set_accessed(cpu, &d);
	segment = descriptor_segment(&d);
	cpu_set_segment(cpu, SEG_CS, &segment);
}

static void load_segments(struct cpu *cpu, const struct task_state *state)
{
	static const enum seg data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	struct segment segment;

	load_ldt(cpu, state->ldt);
	if (cpu_v86(cpu)) {
		for (enum seg seg = SEG_ES; seg <= SEG_GS; seg++)
			segment_load_real(cpu, seg, state->selector[seg]);
		return;
	}
	load_code(cpu, state->selector[SEG_CS]);
	if (SELECTOR_NULL(state->selector[SEG_SS]))
		cpu_raise_error(cpu, VECTOR_TS, 0);
	stack_segment_check(cpu, state->selector[SEG_SS], cpu->cpl, VECTOR_TS, &segment);
	cpu_set_segment(cpu, SEG_SS, &segment);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		data_segment_check(cpu, state->selector[data[i]], VECTOR_TS, &segment);
		cpu_set_segment(cpu, data[i], &segment);
	}
}

void task_switch(struct cpu *cpu, uint16_t selector, enum task_reason reason, uint64_t return_rip,
	const uint32_t *error)
{
	uint64_t old_flags = cpu_rflags(cpu);
	struct task_state state;
	struct tss old, new;

	find_new(cpu, selector, reason, &new);
	find_old(cpu, &old);
	read_state(cpu, &new, &state);
	probe(cpu, &old, &new);

	if (reason == TASK_JUMP || reason == TASK_IRET)
		descriptor_set_busy(cpu, &old.descriptor, false);
	save_state(cpu, &old, return_rip, reason == TASK_IRET ? old_flags & ~RFLAGS_NT : old_flags);
	if (reason == TASK_CALL || reason == TASK_EVENT) {
		tss_store(cpu, &new, 0, old.segment.selector, 2);
		state.eflags |= RFLAGS_NT;
	}
	if (reason != TASK_IRET)
		descriptor_set_busy(cpu, &new.descriptor, true);
	new.segment.access |= SYS_TSS_BUSY_BIT;
	cpu_set_segment(cpu, SEG_TR, &new.segment);
	cpu->cr0 |= CR0_TS;
	load_registers(cpu, &new, &state);

	debug_task_switched(cpu);
	if (new.layout == &layout32)
		load_cr3(cpu, state.cr3);
	load_segments(cpu, &state);
	cpu->engine_ops->code_context_changed(cpu);
	transfer_check_near(cpu, cpu->rip);
	if (error) {
		struct stack stack = stack_current(cpu);

		stack_push(&stack, *error, new.layout->width);
		stack_commit(&stack);
	}
	if (state.debug_trap)
		debug_trap(cpu, DR6_BT);
}

/* Pushing and popping on stacks that are not, or not yet, the current one.
 *
 * Every control transfer that can fault half-way works on a struct stack and touches RSP and SS
 * only when nothing can go wrong any more. */
#include "cpu/access.h"
#include "cpu/descriptor.h"

struct stack stack_make(struct cpu *cpu, const struct segment *segment, uint64_t pointer,
	unsigned cpl, bool wide, uint32_t error)
{
	uint64_t mask = wide ? ~UINT64_C(0) : segment->access & AR_DB ? 0xffffffff : 0xffff;

	return (struct stack){
		.cpu = cpu,
		.segment = *segment,
		.pointer = pointer & mask,
		.mask = mask,
		.mode = cpl == 3 ? STACK_USER : STACK_SUPERVISOR,
		.wide = wide,
		.error = error,
	};
}

struct stack stack_current(struct cpu *cpu)
{
	return stack_make(cpu, &cpu->segment[SEG_SS], cpu->gpr[RSP], cpu->cpl, cpu_code64(cpu), 0);
}

static void stack_fault(const struct stack *stack)
{
	cpu_raise_error(stack->cpu, VECTOR_SS, stack->error);
}

/* [offset, offset + size) lies inside the stack segment? */
static void check_limit(const struct stack *stack, uint64_t offset, unsigned size)
{
	const struct segment *segment = &stack->segment;
	uint64_t last = offset + size - 1;

	if (stack->wide) {
		if (!cpu_canonical(stack->cpu, offset) || !cpu_canonical(stack->cpu, last))
			stack_fault(stack);
		return;
	}
	if (segment->access & AR_UNUSABLE)
		stack_fault(stack);
	if ((segment->access & (AR_CODE | AR_EXPAND_DOWN)) == AR_EXPAND_DOWN) {
		uint64_t top = segment->access & AR_DB ? 0xffffffff : 0xffff;

		if (offset <= segment->limit || last > top)
			stack_fault(stack);
	} else if (last > segment->limit) {
		stack_fault(stack);
	}
}

static uint64_t linear_address(const struct stack *stack, uint64_t offset)
{
	return stack->wide ? offset : (uint32_t)(stack->segment.base + offset);
}

static enum access_mode access_mode(const struct stack *stack)
{
	return stack->mode == STACK_USER ? ACCESS_USER : ACCESS_SUPERVISOR;
}

void stack_reserve(struct stack *stack, unsigned bytes)
{
	uint64_t low = (stack->pointer - bytes) & stack->mask;

	/* A stack that wraps around is checked push by push. */
	if (low < stack->pointer || stack->wide)
		check_limit(stack, low, bytes);
}

void stack_push(struct stack *stack, uint64_t value, unsigned size)
{
	uint64_t offset = (stack->pointer - size) & stack->mask;

	check_limit(stack, offset, size);
	access_store(stack->cpu, linear_address(stack, offset), value, size, access_mode(stack));
	stack->pointer = offset;
}

uint64_t stack_peek(struct stack *stack, unsigned offset, unsigned size)
{
	uint64_t at = (stack->pointer + offset) & stack->mask;

	check_limit(stack, at, size);
	return access_load(stack->cpu, linear_address(stack, at), size, access_mode(stack));
}

uint64_t stack_pop(struct stack *stack, unsigned size)
{
	uint64_t value = stack_peek(stack, 0, size);

	stack->pointer = (stack->pointer + size) & stack->mask;
	return value;
}

void stack_commit(struct stack *stack)
{
	uint64_t *rsp = &stack->cpu->gpr[RSP];

	if (stack->mask == 0xffff)
		*rsp = (*rsp & ~UINT64_C(0xffff)) | stack->pointer;
	else
		*rsp = stack->pointer;
}

/* #TS names the TSS where the TSS itself is at fault. */
static uint64_t tss_load(struct cpu *cpu, unsigned offset, unsigned size)
{
	const struct segment *tss = &cpu->segment[SEG_TR];

	if ((tss->access & AR_UNUSABLE) || offset + size - 1 > tss->limit ||
		(cpu_long_mode(cpu) && !cpu_canonical(cpu, tss->base + offset)))
		cpu_raise_error(cpu, VECTOR_TS, SELECTOR_ERROR(tss->selector));
	return access_load(cpu,
		cpu_long_mode(cpu) ? tss->base + offset : (uint32_t)(tss->base + offset), size,
		ACCESS_SUPERVISOR);
}

static struct stack stack_from_tss64(struct cpu *cpu, unsigned cpl, unsigned ist)
{
	uint64_t pointer = tss_load(cpu, ist ? 28 + 8 * ist : 4 + 8 * cpl, 8);
	struct segment null = descriptor_null_segment((uint16_t)cpl, cpl);

	return stack_make(cpu, &null, pointer, cpl, true, 0);
}

struct stack stack_from_tss(struct cpu *cpu, unsigned cpl, unsigned ist)
{
	struct segment segment;
	uint64_t pointer;
	uint16_t selector;

	if (cpu_long_mode(cpu))
		return stack_from_tss64(cpu, cpl, ist);
	if ((cpu->segment[SEG_TR].access & AR_TYPE_MASK) <= SYS_TSS16_BUSY) {
		uint64_t both = tss_load(cpu, 2 + 4 * cpl, 4);

		pointer = both & 0xffff;
		selector = (uint16_t)(both >> 16);
	} else {
		uint64_t both = tss_load(cpu, 4 + 8 * cpl, 6);

		pointer = (uint32_t)both;
		selector = (uint16_t)(both >> 32);
	}
	if (SELECTOR_NULL(selector))
		cpu_raise_error(cpu, VECTOR_TS, 0);
	stack_segment_check(cpu, selector, cpl, VECTOR_TS, &segment);
	return stack_make(cpu, &segment, pointer, cpl, false, SELECTOR_ERROR(selector));
}

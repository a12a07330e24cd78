/* Loading segment registers and using them: all checks of SDM vol. 3A 5.2 to 5.10.
 *
 * The rule that orders every function here: read the descriptor, check everything, change memory
 * (the accessed bit), and only then the register. */
#include "cpu/segmentation.h"
#include "cpu/access.h"
#include "cpu/descriptor.h"

/* --- real and virtual-8086 mode --- */

void segment_load_real(struct cpu *cpu, enum seg seg, uint16_t selector)
{
	struct segment segment = cpu->segment[seg];

	segment.selector = selector;
	segment.base = (uint64_t)selector << 4;
	if (cpu_v86(cpu) || (segment.access & AR_UNUSABLE)) {
		segment.limit = 0xffff;
		segment.access =
			AR_P | AR_S | AR_WRITABLE | AR_ACCESSED | (cpu_v86(cpu) ? AR_DPL_MASK : 0);
	}
	cpu_set_segment(cpu, seg, &segment);
}

/* --- data and stack segments --- */

void stack_segment_check(
	struct cpu *cpu, uint16_t selector, unsigned cpl, enum vector vector, struct segment *out)
{
	struct descriptor d;

	descriptor_require(cpu, selector, vector, &d);
	if (SELECTOR_RPL(selector) != cpl || !descriptor_writable_data(&d) ||
		descriptor_dpl(&d) != cpl)
		cpu_raise_error(cpu, vector, SELECTOR_ERROR(selector));
	if (!descriptor_present(&d))
		cpu_raise_error(cpu, VECTOR_SS, SELECTOR_ERROR(selector));
	descriptor_set_accessed(cpu, &d);
	*out = descriptor_segment(&d);
}

static struct segment check_stack_segment(struct cpu *cpu, uint16_t selector)
{
	struct segment segment;

	if (SELECTOR_NULL(selector)) {
		if (!cpu_code64(cpu) || cpu->cpl == 3 || SELECTOR_RPL(selector) != cpu->cpl)
			cpu_raise_error(cpu, VECTOR_GP, 0);
		return descriptor_null_segment(selector, cpu->cpl);
	}
	stack_segment_check(cpu, selector, cpu->cpl, VECTOR_GP, &segment);
	return segment;
}

void data_segment_check(struct cpu *cpu, uint16_t selector, enum vector vector, struct segment *out)
{
	struct descriptor d;

	if (SELECTOR_NULL(selector)) {
		*out = descriptor_null_segment(selector, 0);
		return;
	}
	descriptor_require(cpu, selector, vector, &d);
	if (!descriptor_readable(&d))
		cpu_raise_error(cpu, vector, SELECTOR_ERROR(selector));
	if (!descriptor_conforming(&d) &&
		MAX(SELECTOR_RPL(selector), cpu->cpl) > descriptor_dpl(&d))
		cpu_raise_error(cpu, vector, SELECTOR_ERROR(selector));
	if (!descriptor_present(&d))
		cpu_raise_error(cpu, VECTOR_NP, SELECTOR_ERROR(selector));
	descriptor_set_accessed(cpu, &d);
	*out = descriptor_segment(&d);
}

void segment_load(struct cpu *cpu, enum seg seg, uint16_t selector)
{
	struct segment segment;

	if (cpu_real_segments(cpu)) {
		segment_load_real(cpu, seg, selector);
		return;
	}
	if (seg == SEG_SS)
		segment = check_stack_segment(cpu, selector);
	else
		data_segment_check(cpu, selector, VECTOR_GP, &segment);
	cpu_set_segment(cpu, seg, &segment);
}

void segment_drop_privileged(struct cpu *cpu, unsigned cpl)
{
	static const enum seg data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct segment segment = cpu->segment[data[i]];
		uint32_t conforming_code = AR_CODE | AR_CONFORMING;

		if ((segment.access & AR_UNUSABLE) ||
			(segment.access & conforming_code) == conforming_code ||
			bits_get(segment.access, 6, 5) >= cpl)
			continue;
		segment.selector = 0;
		segment.access |= AR_UNUSABLE;
		cpu_set_segment(cpu, data[i], &segment);
	}
}

/* --- code segments --- */

static _Noreturn void bad_code(struct cpu *cpu, const struct descriptor *d, enum vector vector)
{
	cpu_raise_error(cpu, vector, SELECTOR_ERROR(d->selector));
}

void code_target_finish(struct cpu *cpu, struct code_target *target, unsigned cpl, uint64_t offset)
{
	struct descriptor *d = &target->descriptor;
	bool long_bit = d->raw & BIT(53), default_bit = d->raw & BIT(54);

	target->cpl = cpl;
	target->code64 = cpu_long_mode(cpu) && long_bit;
	if (target->code64 && default_bit)
		bad_code(cpu, d, VECTOR_GP);
	if (!descriptor_present(d))
		bad_code(cpu, d, VECTOR_NP);
	target->segment = descriptor_segment(d);
	if (target->code64 ? !cpu_canonical(cpu, offset) : offset > target->segment.limit)
		cpu_raise_error(cpu, VECTOR_GP, 0);
	descriptor_set_accessed(cpu, d);
	target->segment.access |= AR_ACCESSED;
	target->segment.selector = (uint16_t)((d->selector & ~3) | cpl);
}

void code_target_direct(
	struct cpu *cpu, struct descriptor *d, uint64_t offset, struct code_target *target)
{
	unsigned dpl = descriptor_dpl(d);

	if (descriptor_conforming(d) ? dpl > cpu->cpl
				     : SELECTOR_RPL(d->selector) > cpu->cpl || dpl != cpu->cpl)
		bad_code(cpu, d, VECTOR_GP);
	target->descriptor = *d;
	code_target_finish(cpu, target, cpu->cpl, offset);
}

void code_target_enter(struct cpu *cpu, const struct code_target *target, uint64_t offset)
{
	cpu_set_segment(cpu, SEG_CS, &target->segment);
	cpu_set_cpl(cpu, target->cpl);
	cpu->next_rip = offset;
}

/* --- LDTR and TR --- */

/* What LLDT and LTR have in common; `types` is a bit mask of the system types that fit. */
static struct segment check_system_segment(
	struct cpu *cpu, uint16_t selector, unsigned types, struct descriptor *d)
{
	struct segment segment;

	if (selector & SELECTOR_TI)
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(selector));
	descriptor_require(cpu, selector, VECTOR_GP, d);
	if (!descriptor_system(d) || !(types >> descriptor_type(d) & 1))
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(selector));
	if (!descriptor_present(d))
		cpu_raise_error(cpu, VECTOR_NP, SELECTOR_ERROR(selector));
	descriptor_require_high(cpu, d, VECTOR_GP);
	segment = descriptor_system_segment(cpu, d);
	if (!cpu_canonical_base(cpu, segment.base))
		cpu_raise_error(cpu, VECTOR_GP, SELECTOR_ERROR(selector));
	return segment;
}

void segment_load_ldtr(struct cpu *cpu, uint16_t selector)
{
	struct segment segment = descriptor_null_segment(selector, 0);
	struct descriptor d;

	if (!SELECTOR_NULL(selector))
		segment = check_system_segment(cpu, selector, BIT(SYS_LDT), &d);
	cpu_set_segment(cpu, SEG_LDTR, &segment);
}

void segment_load_tr(struct cpu *cpu, uint16_t selector)
{
	unsigned types = BIT(SYS_TSS32) | (cpu_long_mode(cpu) ? 0 : BIT(SYS_TSS16));
	struct segment segment;
	struct descriptor d;

	if (SELECTOR_NULL(selector))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	segment = check_system_segment(cpu, selector, types, &d);
	descriptor_set_busy(cpu, &d, true);
	segment.access |= SYS_TSS_BUSY_BIT;
	cpu_set_segment(cpu, SEG_TR, &segment);
}

/* --- LAR, LSL, VERR, VERW --- */

/* System types that LAR and LSL accept. */
#define TSS32_TYPES (BIT(SYS_LDT) | BIT(SYS_TSS32) | BIT(SYS_TSS32_BUSY))
#define TSS16_TYPES (BIT(SYS_TSS16) | BIT(SYS_TSS16_BUSY))
#define LAR_LEGACY                                                                                 \
	(TSS32_TYPES | TSS16_TYPES | BIT(SYS_CALL_GATE16) | BIT(SYS_TASK_GATE) |                   \
		BIT(SYS_CALL_GATE32))
#define LAR_LONG   (TSS32_TYPES | BIT(SYS_CALL_GATE32))
#define LSL_LEGACY (TSS32_TYPES | TSS16_TYPES)
#define LSL_LONG   TSS32_TYPES

/* Find a descriptor the program may look at. `system_types`: the system descriptors that count. */
static bool inspect(struct cpu *cpu, uint16_t selector, unsigned system_types, struct descriptor *d)
{
	if (cpu_real_segments(cpu))
		cpu_raise(cpu, VECTOR_UD);
	if (SELECTOR_NULL(selector) || !descriptor_read(cpu, selector, d))
		return false;
	if (descriptor_system(d) && !(system_types >> descriptor_type(d) & 1))
		return false;
	return descriptor_conforming(d) ||
	       descriptor_dpl(d) >= MAX(SELECTOR_RPL(selector), cpu->cpl);
}

bool segment_lar(struct cpu *cpu, uint16_t selector, uint32_t *out)
{
	struct descriptor d;

	if (!inspect(cpu, selector, cpu_long_mode(cpu) ? LAR_LONG : LAR_LEGACY, &d))
		return false;
	*out = (uint32_t)(d.raw >> 32) & 0x00ffff00;
	return true;
}

bool segment_lsl(struct cpu *cpu, uint16_t selector, uint32_t *out)
{
	struct descriptor d;

	if (!inspect(cpu, selector, cpu_long_mode(cpu) ? LSL_LONG : LSL_LEGACY, &d))
		return false;
	*out = descriptor_segment(&d).limit;
	return true;
}

bool segment_verify(struct cpu *cpu, uint16_t selector, bool write)
{
	struct descriptor d;

	if (!inspect(cpu, selector, 0, &d))
		return false;
	return write ? descriptor_writable_data(&d) : descriptor_readable(&d);
}

/* --- use --- */

static _Noreturn void bad_address(struct cpu *cpu, enum seg seg)
{
	cpu_raise_error(cpu, seg == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
}

static bool type_allows(const struct cpu *cpu, const struct segment *segment, bool write)
{
	if (segment->access & AR_UNUSABLE)
		return false;
	if (!cpu_protected(cpu) && (segment->access & AR_CODE))
		return true; /* CS still holds what a protected mode or RESET put there */
	if (write)
		return (segment->access & (AR_CODE | AR_WRITABLE)) == AR_WRITABLE;
	return (segment->access & (AR_CODE | AR_READABLE)) != AR_CODE;
}

uint64_t segment_linear(struct cpu *cpu, enum seg seg, uint64_t offset, unsigned size, bool write)
{
	const struct segment *segment = &cpu->segment[seg];
	uint64_t last = offset + size - 1;

	if (cpu_code64(cpu)) {
		uint64_t linear = seg == SEG_FS || seg == SEG_GS ? segment->base + offset : offset;

		if (unlikely(!cpu_canonical(cpu, linear) || !cpu_canonical(cpu, linear + size - 1)))
			bad_address(cpu, seg);
		return linear;
	}
	if (unlikely(!type_allows(cpu, segment, write)))
		bad_address(cpu, seg);
	if ((segment->access & (AR_CODE | AR_EXPAND_DOWN)) == AR_EXPAND_DOWN) {
		uint64_t top = segment->access & AR_DB ? 0xffffffff : 0xffff;

		if (unlikely(offset <= segment->limit || last > top))
			bad_address(cpu, seg);
	} else if (unlikely(last > segment->limit)) {
		bad_address(cpu, seg);
	}
	return (uint32_t)(segment->base + offset);
}
